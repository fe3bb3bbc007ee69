-- What was last answered to a request for a sync of each stream group, and why.

create table decisions (
    -- The source.
    source_id bigint not null references sources (id),
    -- The group of streams.
    stream_group text not null,
    -- Who asked: manual, cron, webhook, maintenance or recovery.
    trigger text not null,
    -- What was answered: start, skip or block.
    action text not null,
    -- Why.
    reason text not null,
    -- The numbers behind it: a JSON object.
    metadata text not null,
    -- The sync that was made.
    sync_id bigint,
    -- When it was asked for; epoch milliseconds.
    asked_at bigint not null,
    primary key (source_id, stream_group)
) without rowid;
