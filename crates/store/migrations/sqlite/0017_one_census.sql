-- A partition is counted once at a time: of several that were begun at once, the last one goes on.

update censuses set state = 'failed', ended_at = began_at, error_code = 'cancelled',
    error_detail = 'another was begun at the same time'
where state = 'counting' and exists (select 1 from censuses as later where later.source_id = censuses.source_id
    and later.stream = censuses.stream and later.partition = censuses.partition and later.state = 'counting'
    and later.id > censuses.id);
create unique index censuses_counting on censuses (source_id, stream, partition) where state = 'counting';
