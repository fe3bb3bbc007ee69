-- Self-healing: what speaks for more than was read, the recoveries that follow, and what came of them.
-- docs/decisions/0014-self-healing.md tells of it; the same tables stand in ../postgres, with the same comments.

alter table partitions add column
    sign_at /* When something last happened in it, as its provider shows, or news of it was delivered; epoch milliseconds. */ bigint;
alter table partitions add column
    news_at /* When something of it last landed that was new or had changed; at first, when it was first read; epoch milliseconds. */ bigint;
alter table partitions add column
    quiet_at /* The sign for which it was read with care and had nothing; 0 for none. */ bigint not null default 0;
alter table partitions add column
    heal_at /* When its signs are looked at again; epoch milliseconds. */ bigint not null default 0;
-- Of what is known already nobody noted when it came: it is taken to be as new as can be.
update partitions set news_at = last_synced_at;
-- A minute, because clocks differ.
create index partitions_suspect on partitions (heal_at) where active and sign_at > news_at + 60000 and sign_at > quiet_at;

-- Partitions that are to be read with care, or are being read.
create table recoveries (
    -- The source.
    source_id bigint not null references sources (id),
    -- The group of its stream.
    stream_group text not null,
    -- The stream.
    stream text not null,
    -- The partition.
    partition text not null,
    -- The sign for which it is read.
    sign_at bigint not null,
    -- When it may be asked for; epoch milliseconds.
    due_at bigint not null,
    -- The sync that reads it; null until it is asked for.
    sync_id bigint,
    -- When it was asked for; epoch milliseconds.
    asked_at bigint,
    primary key (source_id, stream, partition)
) without rowid;
create index recoveries_due on recoveries (due_at) where sync_id is null;
create index recoveries_of_sync on recoveries (sync_id) where sync_id is not null;

-- What came of the recoveries of each stream group.
create table healing (
    -- The source.
    source_id bigint not null references sources (id),
    -- The group of streams.
    stream_group text not null,
    -- Recoveries in a row that brought nothing.
    in_vain bigint not null,
    -- When the first of those ended; epoch milliseconds.
    since bigint,
    -- Recoveries that brought something.
    healed bigint not null,
    primary key (source_id, stream_group)
) without rowid;
create index healing_in_vain on healing (source_id, stream_group) where in_vain > 0;

create trigger healing_added after insert on healing begin
    update sources set revision = revision + 1 where id = new.source_id;
end;
create trigger healing_altered after update on healing begin
    update sources set revision = revision + 1 where id = new.source_id;
end;
create trigger healing_removed after delete on healing begin
    update sources set revision = revision + 1 where id = old.source_id;
end;

-- A look at the status finds recoveries under way by this.
create index syncs_recovering on syncs (source_id, stream_group) where trigger = 'recovery' and state = 'running';

-- How much of what was read had been delivered, by days: an estimate of the deliveries that never came.
create table delivery_counts (
    -- The source.
    source_id bigint not null references sources (id),
    -- The group of streams.
    stream_group text not null,
    -- The day, in days since the epoch.
    day bigint not null,
    -- Rows that were read, of those that are delivered one by one.
    found bigint not null,
    -- Of them, those that no delivery told of.
    missed bigint not null,
    primary key (source_id, stream_group, day)
) without rowid;

-- Up to where the syncs of a group are counted.
create table delivery_marks (
    -- The source.
    source_id bigint not null references sources (id),
    -- The group of streams.
    stream_group text not null,
    -- When the last one ended that was counted; epoch milliseconds.
    closed_at bigint not null,
    -- That sync.
    sync_id bigint not null,
    primary key (source_id, stream_group)
) without rowid;
