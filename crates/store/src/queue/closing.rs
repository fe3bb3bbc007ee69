//! Closes syncs: when nothing of one can go on, what its jobs came to becomes its state.
//!
//! Never closes one whose lock the transaction does not hold; see [`lock`].

use domain::event::Event;
use domain::id::{SourceId, SyncId};
use domain::job::SyncState;
use jiff::Timestamp;
use sqlx::AssertSqlSafe;

use super::forecast;
use crate::db::{Conn, args};
use crate::dialect::for_update;
use crate::error::{StoreError, corrupt};
use crate::event::{self, About};

/// Locks a sync, so that two jobs that end at the same time do not both see the other one running.
pub(crate) async fn lock(conn: &mut Conn, sync: SyncId) -> Result<(), StoreError> {
    let sql = format!("select id from syncs where id = $1 {}", for_update(conn));
    conn.one(AssertSqlSafe(sql), args![sync]).await?;
    Ok(())
}

/// Closes a sync of which only blocked and ended jobs remain; of a closed one, computes the state anew.
pub(crate) async fn close_if_done(conn: &mut Conn, sync: SyncId, now: Timestamp) -> Result<(), StoreError> {
    let going =
        "select id from jobs where sync_id = $1 and state in ('available', 'running', 'retryable') limit 1";
    if conn.row(going, args![sync]).await?.is_some() {
        return Ok(());
    }
    let sql = "select sync.source_id, sync.state,
            count(job.id) as total,
            count(case when job.state = 'scheduled' and job.not_before <= $2 then 1 end) as due,
            count(case when job.state = 'scheduled' then 1 end) as blocked,
            count(case when job.state = 'completed' then 1 end) as completed,
            count(case when job.state = 'cancelled' then 1 end) as cancelled,
            (select count(*) from items join jobs as failed on failed.id = items.failed_job
                where failed.sync_id = $1) as item_errors,
            (select count(*) from jobs as other join syncs as theirs on theirs.id = other.sync_id
                where other.source_id = sync.source_id
                and other.stream_group = sync.stream_group and other.lane = sync.lane and other.sync_id <> sync.id
                and other.state in ('available', 'scheduled', 'retryable', 'running')
                and (sync.whole or sync.lane <> 'forward')
                and (theirs.whole or theirs.lane <> 'forward' or theirs.state <> 'running')) as skipped
        from syncs as sync left join jobs as job on job.sync_id = sync.id
        where sync.id = $1 group by sync.id, sync.source_id, sync.stream_group, sync.lane,
            sync.state, sync.whole";
    let row = conn.one(sql, args![sync, now]).await?;
    let before = row.word("state", SyncState::from_word, ("syncs", &sync))?;
    if before == SyncState::Running && row.count("due")? > 0 {
        return Ok(());
    }
    let after = outcome(&Counts {
        total: row.count("total")?,
        blocked: row.count("blocked")?,
        completed: row.count("completed")?,
        cancelled: row.count("cancelled")?,
        item_errors: row.count("item_errors")?,
        skipped: row.count("skipped")?,
    });
    if before == after {
        // Jobs that went on after the sync closed may have changed what is told of it.
        return stand(conn, sync).await;
    }
    let source = row.get("source_id").map(SourceId).map_err(|_| corrupt("syncs", sync, "source_id"))?;
    conn.execute(
        "update syncs set state = $2, closed_at = $3 where id = $1",
        args![sync, after.as_str(), now],
    )
    .await?;
    stand(conn, sync).await?;
    let event = Event::SyncClosed { sync_id: sync, state: after.as_str().to_owned() };
    event::record(conn, now, &event, About { source, sync: Some(sync), job: None }).await
}

/// Keeps how the last sync of a group ended, so that a look at it reads one row.
async fn stand(conn: &mut Conn, sync: SyncId) -> Result<(), StoreError> {
    // The first job or item that failed, with what people call its partition.
    let sql = "with error as (
            select job.id, job.source_id, job.stream, job.partition, job.error_code, job.error_detail
            from jobs as job where job.sync_id = $1 and job.state = 'discarded'
            union all
            select job.id, job.source_id, item.stream, item.partition, item.error_code, item.error_detail
            from jobs as job join items as item on item.failed_job = job.id where job.sync_id = $1
        ), first as (
            select coalesce(partition.title, error.partition) as what, error.error_code, error.error_detail
            from error left join partitions as partition on partition.source_id = error.source_id
                and partition.stream = error.stream and partition.key = error.partition
            order by error.id limit 1
        )
        insert into standings (source_id, stream_group, sync_id, state, ended_at, last_success_at, jobs, failed,
            error_what, error_code, error_detail)
        select source_id, stream_group, id, state, closed_at, case when state = 'completed' then closed_at end,
            (select count(*) from jobs where sync_id = $1), (select count(*) from error),
            (select what from first), (select error_code from first), (select error_detail from first)
        from syncs where id = $1 and whole and closed_at is not null
        on conflict (source_id, stream_group) do update
            set sync_id = excluded.sync_id, state = excluded.state, ended_at = excluded.ended_at,
                last_success_at = coalesce(excluded.last_success_at, standings.last_success_at),
                jobs = excluded.jobs, failed = excluded.failed, error_what = excluded.error_what,
                error_code = excluded.error_code, error_detail = excluded.error_detail
            where excluded.sync_id >= standings.sync_id";
    conn.execute(sql, args![sync]).await?;
    forecast::came_true(conn, sync).await
}

struct Counts {
    total: u64,
    blocked: u64,
    completed: u64,
    cancelled: u64,
    item_errors: u64,
    /// Partitions that it left to jobs of an earlier sync, which are still blocked. A targeted sync under way reads its
    /// own once more, and a targeted one leaves nothing to others.
    skipped: u64,
}

/// What the ended jobs of a sync came to.
fn outcome(jobs: &Counts) -> SyncState {
    if jobs.completed == jobs.total {
        let whole = jobs.item_errors == 0 && jobs.skipped == 0;
        return if whole { SyncState::Completed } else { SyncState::Partial };
    }
    if jobs.cancelled > 0 && jobs.blocked == 0 {
        SyncState::Cancelled
    } else if jobs.completed > 0 || jobs.blocked > 0 {
        SyncState::Partial
    } else {
        SyncState::Failed
    }
}
