-- When a group that fell behind was last asked for by the chore that looks for such.

alter table schedules add column
    catch_up_at /* When a sync was last asked for because none succeeded for long; epoch milliseconds. */ bigint;
