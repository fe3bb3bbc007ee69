-- What was last answered to a request for a sync of each stream group, and why.

create table decisions (
    source_id bigint not null references sources (id),
    stream_group text not null,
    trigger text not null,
    action text not null,
    reason text not null,
    metadata text not null,
    sync_id bigint,
    asked_at bigint not null,
    primary key (source_id, stream_group)
);
comment on table decisions is 'What was last answered to a request for a sync of each stream group, and why.';
comment on column decisions.source_id is 'The source.';
comment on column decisions.stream_group is 'The group of streams.';
comment on column decisions.trigger is 'Who asked: manual, cron, webhook, maintenance or recovery.';
comment on column decisions.action is 'What was answered: start, skip or block.';
comment on column decisions.reason is 'Why.';
comment on column decisions.metadata is 'The numbers behind it: a JSON object.';
comment on column decisions.sync_id is 'The sync that was made.';
comment on column decisions.asked_at is 'When it was asked for; epoch milliseconds.';
