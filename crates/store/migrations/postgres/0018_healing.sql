-- Self-healing: what speaks for more than was read, the recoveries that follow, and what came of them.
-- docs/decisions/0014-self-healing.md tells of it; the same tables stand in ../sqlite, with the same comments.

alter table partitions add column sign_at bigint;
comment on column partitions.sign_at is
    'When something last happened in it, as its provider shows, or news of it was delivered; epoch milliseconds.';
alter table partitions add column news_at bigint;
comment on column partitions.news_at is
    'When something of it last landed that was new or had changed; at first, when it was first read; epoch milliseconds.';
alter table partitions add column quiet_at bigint not null default 0;
comment on column partitions.quiet_at is 'The sign for which it was read with care and had nothing; 0 for none.';
alter table partitions add column heal_at bigint not null default 0;
comment on column partitions.heal_at is 'When its signs are looked at again; epoch milliseconds.';
-- Of what is known already nobody noted when it came: it is taken to be as new as can be.
update partitions set news_at = last_synced_at;
-- A minute, because clocks differ.
create index partitions_suspect on partitions (heal_at) where active and sign_at > news_at + 60000 and sign_at > quiet_at;

create table recoveries (
    source_id bigint not null references sources (id),
    stream_group text not null,
    stream text not null,
    partition text not null,
    sign_at bigint not null,
    due_at bigint not null,
    sync_id bigint,
    asked_at bigint,
    primary key (source_id, stream, partition)
);
comment on table recoveries is 'Partitions that are to be read with care, or are being read.';
comment on column recoveries.source_id is 'The source.';
comment on column recoveries.stream_group is 'The group of its stream.';
comment on column recoveries.stream is 'The stream.';
comment on column recoveries.partition is 'The partition.';
comment on column recoveries.sign_at is 'The sign for which it is read.';
comment on column recoveries.due_at is 'When it may be asked for; epoch milliseconds.';
comment on column recoveries.sync_id is 'The sync that reads it; null until it is asked for.';
comment on column recoveries.asked_at is 'When it was asked for; epoch milliseconds.';
create index recoveries_due on recoveries (due_at) where sync_id is null;
create index recoveries_of_sync on recoveries (sync_id) where sync_id is not null;

create table healing (
    source_id bigint not null references sources (id),
    stream_group text not null,
    in_vain bigint not null,
    since bigint,
    healed bigint not null,
    primary key (source_id, stream_group)
);
comment on table healing is 'What came of the recoveries of each stream group.';
comment on column healing.source_id is 'The source.';
comment on column healing.stream_group is 'The group of streams.';
comment on column healing.in_vain is 'Recoveries in a row that brought nothing.';
comment on column healing.since is 'When the first of those ended; epoch milliseconds.';
comment on column healing.healed is 'Recoveries that brought something.';
create index healing_in_vain on healing (source_id, stream_group) where in_vain > 0;

create trigger healing_written after insert or update or delete on healing
    for each row execute function source_changed();

-- A look at the status finds recoveries under way by this.
create index syncs_recovering on syncs (source_id, stream_group) where trigger = 'recovery' and state = 'running';

create table delivery_counts (
    source_id bigint not null references sources (id),
    stream_group text not null,
    day bigint not null,
    found bigint not null,
    missed bigint not null,
    primary key (source_id, stream_group, day)
);
comment on table delivery_counts is
    'How much of what was read had been delivered, by days: an estimate of the deliveries that never came.';
comment on column delivery_counts.source_id is 'The source.';
comment on column delivery_counts.stream_group is 'The group of streams.';
comment on column delivery_counts.day is 'The day, in days since the epoch.';
comment on column delivery_counts.found is 'Rows that were read, of those that are delivered one by one.';
comment on column delivery_counts.missed is 'Of them, those that no delivery told of.';

create table delivery_marks (
    source_id bigint not null references sources (id),
    stream_group text not null,
    closed_at bigint not null,
    sync_id bigint not null,
    primary key (source_id, stream_group)
);
comment on table delivery_marks is 'Up to where the syncs of a group are counted.';
comment on column delivery_marks.source_id is 'The source.';
comment on column delivery_marks.stream_group is 'The group of streams.';
comment on column delivery_marks.closed_at is 'When the last one ended that was counted; epoch milliseconds.';
comment on column delivery_marks.sync_id is 'That sync.';
