-- What a connector learned of a source's account, beside what was configured: which dialect the server speaks, the
-- account's time zone.
create table learned (
    -- The source.
    source_id integer primary key references sources (id),
    -- What is known: JSON of the connector's own.
    facts text not null,
    -- When it last changed; epoch milliseconds.
    learned_at bigint not null
);
