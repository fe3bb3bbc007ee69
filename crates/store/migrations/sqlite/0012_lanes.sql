-- Lanes beside the forward one: each sync is of one lane, and a lane ends. The same columns stand in ../postgres, with the
-- same comments.

alter table syncs add column
    lane /* What its jobs read: forward, backfill, reread or census. */ text not null default 'forward';
create unique index syncs_of_lane on syncs (source_id, stream_group, lane) where lane <> 'forward' and state = 'running';

alter table checkpoints add column
    ended_at /* When a lane other than forward had read all of it; epoch milliseconds. */ bigint;
create index checkpoints_open on checkpoints (source_id, stream) where lane <> 'forward' and ended_at is null;
