-- Tenants with their tokens, schedules, and how each stream group of a source stands. The same tables stand in
-- ../postgres, with the same comments.

alter table tenants add column
    created_at /* When it was made; epoch milliseconds. */ bigint not null default 0;
alter table tenants add column
    revoked_at /* When its access ended; epoch milliseconds. Its rows stay. */ bigint;
update tenants set created_at = cast((julianday('now') - 2440587.5) * 86400000 as bigint);

-- What opens the API: each belongs to a tenant.
create table api_tokens (
    -- Our number of the token.
    id integer primary key autoincrement,
    -- Whose sources it opens.
    tenant_id bigint not null references tenants (id),
    -- What people call it.
    name text not null,
    -- What its holder may do: admin, operator or viewer.
    role text not null,
    -- The hash of its text; the text is nowhere.
    hash blob not null unique,
    -- When it was made; epoch milliseconds.
    created_at bigint not null,
    -- When it stops to work; epoch milliseconds. Null is never.
    expires_at bigint,
    -- The hour in which it was last used; epoch milliseconds.
    last_used_at bigint,
    -- When it was revoked; epoch milliseconds.
    revoked_at bigint
);
create unique index api_tokens_name on api_tokens (tenant_id, name) where revoked_at is null;

-- When a stream group of a source is synced by itself.
create table schedules (
    -- The source.
    source_id bigint not null references sources (id),
    -- The group of streams.
    stream_group text not null,
    -- The interval of its own, in milliseconds; null for the configured one, or the connector's.
    every_ms bigint,
    -- Whether it is not synced by itself.
    off boolean not null,
    -- The interval that next_at was reckoned with, in milliseconds.
    interval_ms bigint not null,
    -- When the next tick is due; epoch milliseconds. Who moves it on has the tick.
    next_at bigint not null,
    -- When the last tick was, whatever came of it; epoch milliseconds.
    last_tick_at bigint,
    -- Ticks that met their running sync.
    skipped bigint not null,
    -- When the last one of those was; epoch milliseconds.
    last_skipped_at bigint,
    primary key (source_id, stream_group)
) without rowid;
create index schedules_due on schedules (next_at, source_id, stream_group) where not off;

-- How the last sync of each stream group ended; written when one closes.
create table standings (
    -- The source.
    source_id bigint not null references sources (id),
    -- The group of streams.
    stream_group text not null,
    -- The sync.
    sync_id bigint not null,
    -- How it ended: completed, partial, failed or cancelled.
    state text not null,
    -- When it ended; epoch milliseconds.
    ended_at bigint not null,
    -- When one last completed; epoch milliseconds.
    last_success_at bigint,
    -- Its jobs.
    jobs bigint not null,
    -- Of them and their items, those that failed.
    failed bigint not null,
    -- What the first of those could not read.
    error_what text,
    -- The word of its fault.
    error_code text,
    -- A sentence about that fault.
    error_detail text,
    primary key (source_id, stream_group)
) without rowid;
insert into standings (source_id, stream_group, sync_id, state, ended_at, last_success_at, jobs, failed)
select latest.source_id, latest.stream_group, latest.id, latest.state, latest.closed_at,
    (select max(closed_at) from syncs as good where good.source_id = latest.source_id
        and good.stream_group = latest.stream_group and good.state = 'completed' and good.whole),
    (select count(*) from jobs where sync_id = latest.id),
    (select count(*) from jobs where sync_id = latest.id and state = 'discarded')
from syncs as latest
where latest.id in (select max(id) from syncs where closed_at is not null and whole group by source_id, stream_group);

create index partitions_failed on partitions (source_id, stream) where error_code is not null;
create index jobs_blocked on jobs (source_id, stream_group, not_before) where state = 'scheduled';
create index events_of_tenant on events (tenant_id, id);
