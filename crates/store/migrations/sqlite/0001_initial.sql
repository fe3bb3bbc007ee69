-- Our own tables. Times are epoch milliseconds (docs/decisions/0004-time.md); landed tables are made from the
-- specs of the connectors, not here. The same tables stand in ../postgres, with the same comments.

-- Who owns sources.
create table tenants (
    -- Our number of the tenant.
    id integer primary key autoincrement,
    -- The word it is known by.
    name text not null unique
);

-- One configured account at a provider.
create table sources (
    -- Our number of the source; the first key column of every landed table.
    id integer primary key autoincrement,
    -- The owner; null for a source that belongs to nobody, which is never synced.
    tenant_id bigint references tenants (id),
    -- The word that people call it by; unique in its tenant.
    name text not null,
    -- The word of the connector that reads it.
    provider text not null,
    -- The root of the provider's API, without a trailing slash.
    base_url text not null,
    -- What was set for the connector: a JSON object.
    options text not null,
    -- Whether it may be synced.
    enabled boolean not null,
    -- The credential, sealed: a nonce of 24 bytes, then the ciphertext; null for none.
    secret blob,
    -- The id of the key that sealed the credential.
    secret_key_id text,
    -- When it was added; epoch milliseconds.
    created_at bigint not null,
    -- When its settings last changed; epoch milliseconds.
    updated_at bigint not null,
    -- When it was removed while its landed rows were kept; epoch milliseconds.
    removed_at bigint
);
create unique index sources_name on sources (coalesce(tenant_id, 0), name);

-- The parts of a stream that are read by themselves.
create table partitions (
    -- Its source.
    source_id bigint not null references sources (id),
    -- Its stream.
    stream text not null,
    -- Its key, unique in the source and stream.
    key text not null,
    -- What the connector needs to read it: JSON.
    args text not null,
    -- What people call it, where the connector said so.
    title text,
    -- The stream that found it; null where it follows from the settings.
    listed_by_stream text,
    -- The partition of that stream that found it.
    listed_by_key text,
    -- Whether it is still read.
    active boolean not null,
    -- How old its last complete read may be before a whole sync reads it again; null reads it every time.
    refresh_ms bigint,
    -- When it was last read to its end; epoch milliseconds.
    last_synced_at bigint,
    -- Whether the provider still lets us read it; if not it is probed once a day.
    is_valid boolean not null,
    -- When it was found invalid; epoch milliseconds.
    invalid_at bigint,
    -- The word of the fault that last ended its job for good.
    error_code text,
    -- A sentence about that fault.
    error_detail text,
    primary key (source_id, stream, key)
);
create index partitions_listed_by on partitions (source_id, listed_by_stream, listed_by_key);

-- Where each lane of a partition is read on. Without a row it is read from its start.
create table checkpoints (
    -- The source.
    source_id bigint not null,
    -- The stream.
    stream text not null,
    -- The partition.
    partition text not null,
    -- The lane: forward, backfill, reread or census.
    lane text not null,
    -- The committed cursor: JSON of the connector's own; null for the start.
    cursor text,
    -- Whether the listing under way asks for every page without validators.
    plain boolean not null,
    primary key (source_id, stream, partition, lane)
) without rowid;

-- What makes the next request for a page conditional.
create table validators (
    -- The source.
    source_id bigint not null,
    -- The stream.
    stream text not null,
    -- The partition.
    partition text not null,
    -- The page's address.
    url text not null,
    -- The validator that the provider sent with it.
    etag text not null,
    -- How the listing went on after it: JSON, replayed when the page has not changed.
    next text not null,
    primary key (source_id, stream, partition, url)
) without rowid;

-- The keys that a listing under way has delivered; dropped at its end.
create table seen (
    -- The source.
    source_id bigint not null,
    -- The stream.
    stream text not null,
    -- The partition.
    partition text not null,
    -- The last key column of a delivered row, as text.
    key text not null,
    primary key (source_id, stream, partition, key)
) without rowid;

-- Things in a partition that are due while what we have differs from what is wanted.
create table items (
    -- The source.
    source_id bigint not null,
    -- The stream that reads it.
    stream text not null,
    -- The partition of that stream.
    partition text not null,
    -- Its key, unique in the partition.
    key text not null,
    -- The version last read completely.
    have text,
    -- The version to reach.
    wanted text not null,
    -- The version that the walk under way began with.
    reading text,
    -- The key of an item of the same partition that is read before this one.
    base text,
    -- Whether the base is ignored, because a walk from it failed.
    no_base boolean not null,
    -- What the connector noted when it listed the item: JSON.
    args text not null,
    -- Where the walk under way stands: JSON; null when none is.
    cursor text,
    -- How often it failed since it was last read.
    attempts bigint not null,
    -- The word of the fault that it last failed with.
    error_code text,
    -- A sentence about that fault.
    error_detail text,
    -- The job in which it last failed; it is not due again in that one.
    failed_job bigint,
    primary key (source_id, stream, partition, key)
) without rowid;
create index items_failed on items (failed_job) where failed_job is not null;

-- Accepted requests: the jobs of each belong together.
create table syncs (
    -- Our number of the sync.
    id integer primary key autoincrement,
    -- The source.
    source_id bigint not null references sources (id),
    -- The group of streams.
    stream_group text not null,
    -- Why it was asked for.
    trigger text not null,
    -- Whether it reads the whole group forward; one such sync runs at a time.
    whole boolean not null,
    -- Where it stands: running, completed, partial, failed or cancelled.
    state text not null,
    -- When it was accepted; epoch milliseconds.
    created_at bigint not null,
    -- When its last job that could go on ended; epoch milliseconds.
    closed_at bigint
);
create unique index syncs_running on syncs (source_id, stream_group) where whole and state = 'running';
create index syncs_by_trigger on syncs (source_id, stream_group, trigger, created_at);
create index syncs_by_state on syncs (source_id, stream_group, state, closed_at);

-- The queue: one partition of one stream in one sync.
create table jobs (
    -- Our number of the job.
    id integer primary key autoincrement,
    -- Its sync.
    sync_id bigint not null references syncs (id),
    -- Its source.
    source_id bigint not null,
    -- The group of its stream.
    stream_group text not null,
    -- Its stream.
    stream text not null,
    -- Its partition.
    partition text not null,
    -- Its lane.
    lane text not null,
    -- Where it stands; docs/job-states.md draws the steps.
    state text not null,
    -- Lower ones are claimed first.
    priority bigint not null,
    -- When it may be claimed; epoch milliseconds.
    not_before bigint not null,
    -- Claims since it last made progress.
    attempt bigint not null,
    -- How often its lease ran out since it last made progress.
    rescues bigint not null,
    -- The fence: counts claims, so that a lost lease cannot write.
    generation bigint not null,
    -- When its lease runs out; epoch milliseconds.
    lease_until bigint,
    -- The process that holds it.
    node text,
    -- The worker in that process.
    worker text,
    -- Whether there is more to read than when it was claimed: it runs once more.
    again boolean not null,
    -- Whether a person asked the running job to stop.
    cancel_requested boolean not null,
    -- Pages committed.
    pages bigint not null,
    -- Records delivered.
    records bigint not null,
    -- Landed rows that were inserted or changed.
    rows_written bigint not null,
    -- Requests sent.
    requests bigint not null,
    -- The word of the fault that last ended an attempt.
    error_code text,
    -- A sentence about that fault.
    error_detail text,
    -- When its last progress event was written; epoch milliseconds.
    last_progress_at bigint,
    -- When it was made; epoch milliseconds.
    created_at bigint not null,
    -- When it was first claimed; epoch milliseconds.
    started_at bigint,
    -- When it ended; epoch milliseconds.
    finished_at bigint
);
create unique index jobs_active on jobs (source_id, stream, partition, lane)
    where state in ('available', 'scheduled', 'retryable', 'running');
create index jobs_waiting on jobs (priority, not_before, id) where state in ('available', 'scheduled', 'retryable');
create index jobs_running on jobs (id) where state = 'running';
create index jobs_of_sync on jobs (sync_id, state);
create index jobs_of_partition on jobs (source_id, stream, partition, sync_id);
create index jobs_told_to_stop on jobs (sync_id) where cancel_requested;

-- Facts of ours: appended, numbered, never changed.
create table events (
    -- Its number; later events have larger ones.
    id integer primary key autoincrement,
    -- When it happened; epoch milliseconds.
    at bigint not null,
    -- What happened.
    name text not null,
    -- The tenant that it concerns.
    tenant_id bigint,
    -- The source that it concerns.
    source_id bigint,
    -- The sync that it concerns.
    sync_id bigint,
    -- The job that it concerns.
    job_id bigint,
    -- Its content: a JSON object.
    fields text not null
);

-- What is known of how many requests a source may still spend.
create table budgets (
    -- The source.
    source_id bigint not null references sources (id),
    -- The budget's name in the account; * stands for all.
    bucket text not null,
    -- How many requests a full budget has.
    request_limit bigint,
    -- How many are left.
    remaining bigint,
    -- When it is full again; epoch milliseconds.
    resets_at bigint,
    -- When the provider will answer again after a refusal; epoch milliseconds.
    blocked_until bigint,
    -- When the provider said so; epoch milliseconds. Newer words win.
    observed_at bigint not null,
    primary key (source_id, bucket)
) without rowid;

-- Sources belong to this tenant until there are others.
insert into tenants (id, name) values (1, 'default');
