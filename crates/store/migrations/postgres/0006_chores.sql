-- The chores that keep everything in order, and when each job last moved.

create table chores (
    name text primary key,
    interval_ms bigint not null,
    next_at bigint not null,
    runs bigint not null,
    started_at bigint,
    node text,
    took_ms bigint,
    did text,
    error text
);
comment on table chores is 'The chores that keep everything in order.';
comment on column chores.name is 'The word it is known by.';
comment on column chores.interval_ms is 'How often it is run, in milliseconds.';
comment on column chores.next_at is 'When it is due; epoch milliseconds. Who moves it on has the run.';
comment on column chores.runs is 'How often it was begun.';
comment on column chores.started_at is 'When it was last begun; epoch milliseconds.';
comment on column chores.node is 'The process that began it.';
comment on column chores.took_ms is 'How long that took, in milliseconds; null while it runs, or when its process died.';
comment on column chores.did is 'What it did: a JSON object of numbers.';
comment on column chores.error is 'Why it failed; null when it did not.';

alter table jobs add column moved_at bigint;
comment on column jobs.moved_at is 'When it last began, committed a page, or was seen to wait; epoch milliseconds.';
