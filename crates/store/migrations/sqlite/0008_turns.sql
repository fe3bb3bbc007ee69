-- The order of claims: fair between tenants and sources. docs/decisions/0008-fair-order.md says how. The same columns
-- stand in ../postgres, with the same comments.

alter table syncs add column
    class /* How urgent it is: 0 a person's, 1 a hint's, 2 a schedule's, 3 another lane's. */ bigint not null default 2;
alter table syncs add column
    turn /* Where its first job stood, without what its class stands behind. */ bigint not null default 0;
create index syncs_under_way on syncs (class, source_id, turn) where state = 'running';

alter table jobs add column
    class /* How urgent it is: 0 a person's, 1 a hint's, 2 a schedule's, 3 another lane's. */ bigint not null default 2;
alter table jobs add column
    turn /* Its place in the queue: the lowest is claimed first. */ bigint not null default 8192;
alter table jobs add column
    stride /* How far apart the jobs of its sync stand. */ bigint not null default 64;
alter table jobs add column
    reached /* How far it has come since it was claimed, as a place in the queue. */ bigint not null default 8192;
drop index jobs_waiting;
create index jobs_waiting on jobs (turn, priority, id, not_before)
    where state in ('available', 'scheduled', 'retryable');
create index jobs_turns on jobs (source_id, class, turn) where state in ('available', 'scheduled', 'retryable', 'running');
