-- The chores that keep everything in order, and when each job last moved. The same tables stand in ../postgres, with
-- the same comments.

create table chores (
    -- The word it is known by.
    name text primary key,
    -- How often it is run, in milliseconds.
    interval_ms bigint not null,
    -- When it is due; epoch milliseconds. Who moves it on has the run.
    next_at bigint not null,
    -- How often it was begun.
    runs bigint not null,
    -- When it was last begun; epoch milliseconds.
    started_at bigint,
    -- The process that began it.
    node text,
    -- How long that took, in milliseconds; null while it runs, or when its process died.
    took_ms bigint,
    -- What it did: a JSON object of numbers.
    did text,
    -- Why it failed; null when it did not.
    error text
) without rowid;

alter table jobs add column
    moved_at /* When it last began, committed a page, or was seen to wait; epoch milliseconds. */ bigint;
