-- What providers deliver by themselves, and what it hints at. docs/webhooks.md tells of it; the same tables stand in
-- ../postgres, with the same comments.

-- What the deliveries for a source are signed with.
create table webhooks (
    -- The source.
    source_id bigint primary key not null references sources (id),
    -- The secret, sealed as credentials are: a nonce of 24 bytes, then the ciphertext.
    secret blob not null,
    -- The id of the key that sealed the secret.
    secret_key_id text not null,
    -- When it was made; epoch milliseconds.
    created_at bigint not null
) without rowid;

-- Deliveries that were accepted: each once, however often it was sent.
create table deliveries (
    -- The source.
    source_id bigint not null references sources (id),
    -- The provider's id of it; the same when it is sent again.
    id text not null,
    -- What the provider calls what happened.
    event text not null,
    -- When it came; epoch milliseconds.
    received_at bigint not null,
    primary key (source_id, id)
) without rowid;
create index deliveries_by_time on deliveries (received_at);
create index deliveries_of_source on deliveries (source_id, received_at, id);

-- What deliveries say may have changed.
create table hints (
    -- Our number of the hint.
    id integer primary key autoincrement,
    -- The source.
    source_id bigint not null references sources (id),
    -- The delivery.
    delivery_id text not null,
    -- The group of streams.
    stream_group text not null,
    -- The stream to read; null for all of the group.
    stream text,
    -- The partition to read; null for all of the group.
    partition text,
    -- When its delivery came; epoch milliseconds.
    received_at bigint not null,
    -- Where it stands: waiting or done.
    state text not null,
    -- The sync that was made of it, or that reads once more because of it.
    sync_id bigint,
    -- When it may be made into a request; epoch milliseconds.
    due_at bigint not null,
    -- How often the request was put off.
    tries bigint not null,
    -- The sync that has to end first.
    awaits_sync bigint
);
create index hints_waiting on hints (source_id, stream_group, due_at) where state = 'waiting';
create index hints_due on hints (due_at) where state = 'waiting';
create index hints_of_delivery on hints (source_id, delivery_id);
create index hints_of_partition on hints (source_id, stream, partition, received_at);
