-- The census: which ids a provider still lists of a partition, which rows it no longer names, and what became of them.
-- The same tables stand in ../postgres, with the same comments.

create table censuses (
    -- Our number of the census.
    id integer primary key autoincrement,
    -- The source.
    source_id bigint not null references sources (id),
    -- The group of the stream.
    stream_group text not null,
    -- The stream.
    stream text not null,
    -- The partition.
    partition text not null,
    -- Where it stands: counting, clear, applied, asks, approved, undone, superseded or failed.
    state text not null,
    -- The landed table that is counted.
    counts text not null,
    -- Its column of the partition's key.
    owner_column text not null,
    -- Its column of the ids.
    key_column text not null,
    -- Its columns that looking an id up needs: a JSON array.
    lookup_columns text not null,
    -- When it was begun: what landed later is not counted; epoch milliseconds.
    began_at bigint not null,
    -- When all ids had been listed; epoch milliseconds.
    listed_at bigint,
    -- How many were listed.
    listed bigint,
    -- Rows that were there when it was begun, and not marked as gone.
    known bigint,
    -- Of them, those that were not listed; only some of very many are looked up.
    absent bigint,
    -- When it ended; epoch milliseconds.
    ended_at bigint,
    -- When rows were marked, as it stands in them; epoch milliseconds.
    applied_at bigint,
    -- Rows that were marked.
    marked bigint,
    -- When a person answered last; epoch milliseconds.
    decided_at bigint,
    -- The word of what kept it from its end.
    error_code text,
    -- A sentence about that.
    error_detail text
);
create index censuses_of_partition on censuses (source_id, stream, partition, id);

-- The ids that a census under way has been listed.
create table census_seen (
    -- The source.
    source_id bigint not null,
    -- The stream.
    stream text not null,
    -- The partition.
    partition text not null,
    -- The id, as text.
    key text not null,
    primary key (source_id, stream, partition, key)
) without rowid;

-- Rows that a census found absent, and what became of them.
create table census_absences (
    -- The census.
    census_id bigint not null,
    -- The source.
    source_id bigint not null,
    -- The id, as text.
    key text not null,
    -- What looking it up needs: a JSON object of text.
    args text not null,
    -- What became of it: deleted, moved, access_lost or unobserved; null until it was looked up.
    absence text,
    -- Where it went, where the provider said so.
    moved_to text,
    -- Whether its row was marked by this census.
    marked boolean not null,
    -- Whether a person had it brought back: no census marks it again unasked.
    restored boolean not null,
    primary key (census_id, key)
) without rowid;
create index census_absences_restored on census_absences (source_id, key) where restored;
