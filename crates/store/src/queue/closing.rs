//! Closes syncs: when nothing of one can go on, what its jobs came to becomes its state.
//!
//! Never closes one whose lock the transaction does not hold; see [`lock`].

use domain::event::Event;
use domain::id::{SourceId, SyncId};
use domain::job::SyncState;
use jiff::Timestamp;
use sqlx::AssertSqlSafe;

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
            (select count(*) from jobs as other where other.source_id = sync.source_id
                and other.stream_group = sync.stream_group and other.lane = 'forward' and other.sync_id <> sync.id
                and other.state in ('available', 'scheduled', 'retryable', 'running')) as skipped
        from syncs as sync left join jobs as job on job.sync_id = sync.id
        where sync.id = $1 group by sync.id, sync.source_id, sync.stream_group, sync.state";
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
        return Ok(());
    }
    let source = row.get("source_id").map(SourceId).map_err(|_| corrupt("syncs", sync, "source_id"))?;
    conn.execute(
        "update syncs set state = $2, closed_at = $3 where id = $1",
        args![sync, after.as_str(), now],
    )
    .await?;
    let event = Event::SyncClosed { sync_id: sync, state: after.as_str().to_owned() };
    event::record(conn, now, &event, About { source, sync: Some(sync), job: None }).await
}

struct Counts {
    total: u64,
    blocked: u64,
    completed: u64,
    cancelled: u64,
    item_errors: u64,
    /// Partitions that it left to jobs of an earlier sync, which are still blocked.
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
