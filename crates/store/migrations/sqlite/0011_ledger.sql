-- Budgets belong to accounts: all credentials of one account share them, and all nodes spend them by grants. What was
-- known by source is forgotten: the next answers tell it again.
alter table sources add column
    account /* Who pays for its requests: a hash; null until that is known. */ text;
create index sources_account on sources (account) where account is not null;

drop table budgets;

-- What is known of how many requests an account may still spend.
create table budgets (
    -- The account, as sources name it.
    account text not null,
    -- The budget's name in the account; * stands for all.
    bucket text not null,
    -- How many requests a full budget has.
    request_limit bigint,
    -- How many are left: the lowest count of the newest window.
    remaining bigint,
    -- When it is full again; epoch milliseconds. It tells windows apart.
    resets_at bigint,
    -- How many of those that are gone we spent ourselves in this window; null where it is not counted in requests.
    own bigint,
    -- When the provider will answer again after a refusal; epoch milliseconds.
    blocked_until bigint,
    -- When the provider last said so; epoch milliseconds.
    observed_at bigint not null,
    primary key (account, bucket)
) without rowid;

-- Requests that a node may spend from its memory.
create table grants (
    -- The account.
    account text not null,
    -- The budget.
    bucket text not null,
    -- The node.
    node text not null,
    -- For whose requests: human, webhook, cron or backfill.
    class text not null,
    -- How many, as far as the node has told.
    requests bigint not null,
    -- When it ends; epoch milliseconds.
    expires_at bigint not null,
    primary key (account, bucket, node, class)
) without rowid;
