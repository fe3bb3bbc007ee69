-- Jobs that are ready are claimed in the order of their turns; those that wait for a time are found by that.

drop index jobs_waiting;
create index jobs_ready on jobs (turn, priority, id) where state = 'available';
create index jobs_later on jobs (not_before) where state in ('scheduled', 'retryable');
