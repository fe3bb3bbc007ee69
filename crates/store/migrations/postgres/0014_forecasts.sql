-- What reading takes, as measured, and what was expected of each sync beside what came true.

alter table jobs add column unchanged bigint not null default 0;
comment on column jobs.unchanged is 'Of its requests, those that were answered as unchanged.';

alter table partitions add column reads bigint not null default 0;
comment on column partitions.reads is 'How often it was read to its end, since this is counted.';
alter table partitions add column first_requests bigint;
comment on column partitions.first_requests is 'Requests of the first of those times.';
alter table partitions add column last_requests bigint;
comment on column partitions.last_requests is 'Requests of the last of those times.';
alter table partitions add column last_unchanged bigint;
comment on column partitions.last_unchanged is 'Of those, how many were answered as unchanged.';
alter table partitions add column last_pages bigint;
comment on column partitions.last_pages is 'Pages of the last of those times.';

create table forecasts (
    sync_id bigint primary key,
    source_id bigint not null,
    stream_group text not null,
    made_at bigint not null,
    requests bigint not null,
    charged bigint not null,
    at_least boolean not null,
    unread bigint not null,
    takes_ms bigint,
    spent bigint,
    spent_unchanged bigint,
    spent_by_stream text,
    took_ms bigint,
    state text,
    ended_at bigint
);
comment on table forecasts is 'What was expected of a whole sync when it was asked for, and what came true.';
comment on column forecasts.sync_id is 'The sync.';
comment on column forecasts.source_id is 'Its source.';
comment on column forecasts.stream_group is 'Its group of streams.';
comment on column forecasts.made_at is 'When it was asked for; epoch milliseconds.';
comment on column forecasts.requests is 'Requests that were expected.';
comment on column forecasts.charged is 'Of them, those that the budget was expected to pay for.';
comment on column forecasts.at_least is
    'Whether that was a lower bound: something was to be read that nothing was measured of.';
comment on column forecasts.unread is 'Partitions that had never been read.';
comment on column forecasts.takes_ms is
    'How long it was expected to take, in milliseconds, waits included; null where nothing was measured.';
comment on column forecasts.spent is 'Requests that it took.';
comment on column forecasts.spent_unchanged is 'Of them, those that were answered as unchanged.';
comment on column forecasts.spent_by_stream is 'The requests that it took by stream: a JSON object.';
comment on column forecasts.took_ms is 'How long it took, in milliseconds.';
comment on column forecasts.state is 'How it ended: completed, partial, failed or cancelled.';
comment on column forecasts.ended_at is 'When it ended; epoch milliseconds.';
create index forecasts_of_group on forecasts (source_id, stream_group, sync_id);
