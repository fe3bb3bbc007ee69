-- What a connector learned of a source's account, beside what was configured: which dialect the server speaks, the
-- account's time zone.
create table learned (
    source_id bigint primary key references sources (id),
    facts text not null,
    learned_at bigint not null
);
comment on table learned is 'What a connector learned of a source''s account, beside what was configured.';
comment on column learned.source_id is 'The source.';
comment on column learned.facts is 'What is known: JSON of the connector''s own.';
comment on column learned.learned_at is 'When it last changed; epoch milliseconds.';
