//! Frees jobs whose worker is gone, and finds those that do not get on.
//!
//! Never decides what becomes of one that does not get on; the policy does, and [`super::settle`] writes it.

use domain::id::{JobId, SourceId, SyncId};
use domain::job::JobState;
use jiff::Timestamp;
use sqlx::AssertSqlSafe;

use super::{Lease, budget, enqueue, lease, settle};
use crate::Store;
use crate::db::{Conn, args, to_json};
use crate::dialect::each;
use crate::error::{StoreError, corrupt};

/// Rescues without progress before a job is discarded: enough for a night of restarts, too few for a job that kills
/// its process each time to go on doing so for ever.
pub const RESCUES_MAX: i64 = 100;

/// Jobs that are found not to get on at once: more than a few processes hold.
const STALLED_MAX: u32 = 500;

/// Jobs that wait for a limit, as they were found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Woken {
    /// Those whose time has come: workers were woken for them.
    pub due: u64,
    /// Those that still wait.
    pub waiting: u64,
    /// Those that waited for a time further away than any limit, and are due now.
    pub pulled_in: u64,
}

impl Store {
    /// Reads jobs that are held and did not move since `before`: no page, and no wait that was seen.
    pub async fn stalled(&self, before: Timestamp, now: Timestamp) -> Result<Vec<Lease>, StoreError> {
        self.inner.db.read((before, now), |conn, input| Box::pin(stalled(conn, input))).await
    }

    /// Wakes workers for blocked jobs that are due. One that would wait until after `latest` got its time from a clock
    /// that was wrong: it is due at once.
    pub async fn wake_blocked(&self, latest: Timestamp, now: Timestamp) -> Result<Woken, StoreError> {
        let woken = self.inner.db.write((latest, now), 0, |conn, input| Box::pin(wake(conn, input))).await?;
        if woken.due > 0 {
            self.woke();
        }
        Ok(woken)
    }
}

/// Frees jobs whose lease ran out or whose process is known to be dead, and returns how many. What such a process was
/// granted is others' again, too.
pub(crate) async fn rescue(
    conn: &mut Conn,
    (dead_nodes, now): &(Vec<String>, Timestamp),
) -> Result<u64, StoreError> {
    let dead: Vec<[&String; 1]> = dead_nodes.iter().map(|it| [it]).collect();
    let dead = to_json(&dead)?;
    let lost = format!(
        "state = 'running' and (lease_until <= $1 or node in (select t.value ->> 0 from {}))",
        each(conn, "$2"),
    );
    let sql = format!(
        "select id, source_id, sync_id, cancel_requested from jobs
         where {lost} and (rescues >= $3 or cancel_requested) order by sync_id, id"
    );
    if !dead_nodes.is_empty() {
        budget::give_back(conn, &dead).await?;
    }
    let mut count = 0;
    for row in conn.rows(AssertSqlSafe(sql), args![*now, &dead, RESCUES_MAX]).await? {
        let (job, sync) = (JobId(row.get("id")?), SyncId(row.get("sync_id")?));
        if row.get("cancel_requested")? {
            // Nobody else could obey.
            settle::stop(conn, sync, job, *now).await?;
        } else {
            let crashed = ("crashed", "its worker died again and again without finishing a page");
            settle::give_up(conn, (SourceId(row.get("source_id")?), sync, job), crashed, *now).await?;
        }
        count += 1;
    }
    let sql = format!(
        "update jobs set state = $3, rescues = rescues + 1, not_before = $1, lease_until = null, node = null,
             worker = null, attempt = case when attempt > 0 then attempt - 1 else 0 end
         where {lost}",
    );
    let freed = conn.execute(AssertSqlSafe(sql), args![*now, &dead, JobState::Available.as_str()]).await?;
    if freed > 0 {
        enqueue::wake(conn).await?;
    }
    Ok(count + freed)
}

/// Reads which processes hold jobs or grants.
pub(crate) async fn nodes(conn: &mut Conn, now: Timestamp) -> Result<Vec<String>, StoreError> {
    let sql = "select node from jobs where state = 'running' and node is not null
        union select node from grants where expires_at > $1 order by node";
    conn.rows(sql, args![now]).await?.iter().map(|row| row.get("node")).collect()
}

async fn stalled(conn: &mut Conn, (before, now): &(Timestamp, Timestamp)) -> Result<Vec<Lease>, StoreError> {
    let sql = "select id, generation, source_id, sync_id, stream_group, stream, partition, lane, attempt, lease_until,
            class, turn, stride
        from jobs where state = 'running' and moved_at <= $1 and lease_until > $2 order by id limit $3";
    let rows = conn.rows(sql, args![*before, *now, STALLED_MAX]).await?;
    rows.iter()
        .map(|row| {
            let id: i64 = row.get("id")?;
            lease(row, row.time("lease_until")?.ok_or_else(|| corrupt("jobs", id, "lease_until"))?)
        })
        .collect()
}

async fn wake(conn: &mut Conn, (latest, now): &(Timestamp, Timestamp)) -> Result<Woken, StoreError> {
    let sql = "update jobs set not_before = $2 where state in ('scheduled', 'retryable') and not_before > $1";
    let jobs = conn.execute(sql, args![*latest, *now]).await?;
    // No tick is further away than an interval and a half (`next_tick`); a minute more, because clocks of nodes differ.
    let sql = "update schedules set next_at = $1
        where not off and next_at > $1 + interval_ms + interval_ms / 2 + 60000";
    let pulled_in = jobs + conn.execute(sql, args![*now]).await?;
    let sql = "select count(case when not_before <= $1 then 1 end) as due, count(*) as waiting
        from jobs where state = 'scheduled'";
    let row = conn.one(sql, args![*now]).await?;
    let (due, all) = (row.count("due")?, row.count("waiting")?);
    if due > 0 {
        enqueue::wake(conn).await?;
    }
    Ok(Woken { due, waiting: all.saturating_sub(due), pulled_in })
}
