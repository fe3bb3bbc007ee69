-- Lanes beside the forward one: each sync is of one lane, and a lane ends.

alter table syncs add column lane text not null default 'forward';
comment on column syncs.lane is 'What its jobs read: forward, backfill, reread or census.';
create unique index syncs_of_lane on syncs (source_id, stream_group, lane) where lane <> 'forward' and state = 'running';

alter table checkpoints add column ended_at bigint;
comment on column checkpoints.ended_at is 'When a lane other than forward had read all of it; epoch milliseconds.';
create index checkpoints_open on checkpoints (source_id, stream) where lane <> 'forward' and ended_at is null;
