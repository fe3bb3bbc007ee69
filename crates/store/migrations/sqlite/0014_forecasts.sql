-- What reading takes, as measured, and what was expected of each sync beside what came true. The same tables stand in
-- ../postgres, with the same comments.

alter table jobs add column
    unchanged /* Of its requests, those that were answered as unchanged. */ bigint not null default 0;

alter table partitions add column
    reads /* How often it was read to its end, since this is counted. */ bigint not null default 0;
alter table partitions add column
    first_requests /* Requests of the first of those times. */ bigint;
alter table partitions add column
    last_requests /* Requests of the last of those times. */ bigint;
alter table partitions add column
    last_unchanged /* Of those, how many were answered as unchanged. */ bigint;
alter table partitions add column
    last_pages /* Pages of the last of those times. */ bigint;

-- What was expected of a whole sync when it was asked for, and what came true.
create table forecasts (
    -- The sync.
    sync_id bigint primary key,
    -- Its source.
    source_id bigint not null,
    -- Its group of streams.
    stream_group text not null,
    -- When it was asked for; epoch milliseconds.
    made_at bigint not null,
    -- Requests that were expected.
    requests bigint not null,
    -- Of them, those that the budget was expected to pay for.
    charged bigint not null,
    -- Whether that was a lower bound: something was to be read that nothing was measured of.
    at_least boolean not null,
    -- Partitions that had never been read.
    unread bigint not null,
    -- How long it was expected to take, in milliseconds, waits included; null where nothing was measured.
    takes_ms bigint,
    -- Requests that it took.
    spent bigint,
    -- Of them, those that were answered as unchanged.
    spent_unchanged bigint,
    -- The requests that it took by stream: a JSON object.
    spent_by_stream text,
    -- How long it took, in milliseconds.
    took_ms bigint,
    -- How it ended: completed, partial, failed or cancelled.
    state text,
    -- When it ended; epoch milliseconds.
    ended_at bigint
);
create index forecasts_of_group on forecasts (source_id, stream_group, sync_id);
