-- Budgets belong to accounts: all credentials of one account share them, and all nodes spend them by grants. What was
-- known by source is forgotten: the next answers tell it again.
alter table sources add column account text;
comment on column sources.account is 'Who pays for its requests: a hash; null until that is known.';
create index sources_account on sources (account) where account is not null;

drop table budgets;

create table budgets (
    account text not null,
    bucket text not null,
    request_limit bigint,
    remaining bigint,
    resets_at bigint,
    own bigint,
    blocked_until bigint,
    observed_at bigint not null,
    primary key (account, bucket)
);
comment on table budgets is 'What is known of how many requests an account may still spend.';
comment on column budgets.account is 'The account, as sources name it.';
comment on column budgets.bucket is 'The budget''s name in the account; * stands for all.';
comment on column budgets.request_limit is 'How many requests a full budget has.';
comment on column budgets.remaining is 'How many are left: the lowest count of the newest window.';
comment on column budgets.resets_at is 'When it is full again; epoch milliseconds. It tells windows apart.';
comment on column budgets.own is
    'How many of those that are gone we spent ourselves in this window; null where it is not counted in requests.';
comment on column budgets.blocked_until is
    'When the provider will answer again after a refusal; epoch milliseconds.';
comment on column budgets.observed_at is 'When the provider last said so; epoch milliseconds.';

create table grants (
    account text not null,
    bucket text not null,
    node text not null,
    class text not null,
    requests bigint not null,
    expires_at bigint not null,
    primary key (account, bucket, node, class)
);
comment on table grants is 'Requests that a node may spend from its memory.';
comment on column grants.account is 'The account.';
comment on column grants.bucket is 'The budget.';
comment on column grants.node is 'The node.';
comment on column grants.class is 'For whose requests: human, webhook, cron or backfill.';
comment on column grants.requests is 'How many, as far as the node has told.';
comment on column grants.expires_at is 'When it ends; epoch milliseconds.';
