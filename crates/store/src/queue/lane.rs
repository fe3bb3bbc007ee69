//! Lanes beside the forward one: the jobs of those that have something left to read, in a sync of their own.
//!
//! Never stands in the way of a forward sync: none of theirs is whole. Begin with [`open`].

use domain::id::{SourceId, SyncId};
use domain::job::{JobState, Lane, SyncState};
use domain::policy::ledger::Class;
use domain::trigger::Trigger;
use jiff::{SignedDuration, Timestamp};
use sqlx::AssertSqlSafe;

use super::turn::begins;
use super::{Lease, closing};
use crate::db::{Conn, args, to_json};
use crate::dialect::each;
use crate::error::StoreError;

/// What has begun, has not ended, and that nobody reads or waits to read.
const LEFT: &str = "checkpoints as place join partitions as partition on partition.source_id = place.source_id
        and partition.stream = place.stream and partition.key = place.partition and partition.active
        and partition.is_valid
    where place.source_id = $1 and place.lane <> 'forward' and place.ended_at is null
        and not exists (select 1 from jobs where jobs.source_id = place.source_id and jobs.stream = place.stream
            and jobs.partition = place.partition and jobs.lane = place.lane
            and jobs.state in ('available', 'scheduled', 'retryable', 'running'))";

/// How long after a reread its partition is read again. What a reread is for changes without saying so, so it has to be
/// looked at again and again; an hour is four syncs of a group that is synced every quarter of one.
const REREAD_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// Opens the rereads of a group that ended long enough ago, or by a clock that was ahead. Each goes on where its last page
/// left it, which is its start.
pub(crate) async fn reread(
    conn: &mut Conn,
    source: SourceId,
    streams: &[[&'static str; 1]],
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = format!(
        "update checkpoints set ended_at = null
         where source_id = $1 and lane = 'reread' and (ended_at <= $3 or ended_at > $4)
             and stream in (select t.value ->> 0 from {})",
        each(conn, "$2"),
    );
    let before = now.saturating_sub(REREAD_EVERY).unwrap_or(now);
    conn.execute(AssertSqlSafe(sql), args![source, to_json(&streams)?, before, now]).await?;
    Ok(())
}

/// Makes the jobs of all lanes of a group that have something left to read: also of those whose job failed, was cancelled,
/// or went with a process. Says whether there were any.
pub(crate) async fn open(
    conn: &mut Conn,
    source: SourceId,
    (group, streams): (&str, &[[&'static str; 1]]),
    now: Timestamp,
) -> Result<bool, StoreError> {
    let names = to_json(&streams)?;
    let among = format!("and place.stream in (select t.value ->> 0 from {})", each(conn, "$2"));
    let sql = format!("select distinct place.lane from {LEFT} {among} order by place.lane");
    let rows = conn.rows(AssertSqlSafe(sql), args![source, &names]).await?;
    for row in &rows {
        let lane = row.word("lane", Lane::from_word, ("checkpoints of source", &source))?;
        let sync = sync_of(conn, source, group, lane, now).await?;
        let turn = begins(conn, source, Class::Backfill).await?;
        let sql = format!(
            "insert into jobs (sync_id, source_id, stream_group, stream, partition, lane, state, priority, not_before,
                 attempt, rescues, generation, again, cancel_requested, pages, records, rows_written, requests,
                 created_at, class, turn, stride)
             select $3, place.source_id, $4, place.stream, place.partition, place.lane, $5, 0, $6,
                 0, 0, 0, false, false, 0, 0, 0, 0, $6, $7,
                 $8 + $9 * (row_number() over (order by place.stream, place.partition) - 1), $9
             from {LEFT} {among} and place.lane = $10
             on conflict do nothing",
        );
        let available = JobState::Available.as_str();
        let mut args = args![source, &names, sync, group, available, now];
        args.extend(args![turn.class.rank(), turn.at, turn.stride, lane.as_str()]);
        conn.execute(AssertSqlSafe(sql), args).await?;
    }
    Ok(!rows.is_empty())
}

/// Finds the sync of a lane that is under way, or makes one; it is locked then, so that it does not close meanwhile.
async fn sync_of(
    conn: &mut Conn,
    source: SourceId,
    group: &str,
    lane: Lane,
    now: Timestamp,
) -> Result<SyncId, StoreError> {
    let going =
        "select id from syncs where source_id = $1 and stream_group = $2 and lane = $3 and state = 'running'";
    if let Some(row) = conn.row(going, args![source, group, lane.as_str()]).await? {
        let sync = SyncId(row.get("id")?);
        closing::lock(conn, sync).await?;
        if conn.row(going, args![source, group, lane.as_str()]).await?.is_some() {
            return Ok(sync);
        }
    }
    let turn = begins(conn, source, Class::Backfill).await?;
    let sql =
        "insert into syncs (source_id, stream_group, trigger, whole, state, created_at, class, turn, lane)
        values ($1, $2, $3, false, $4, $5, $6, $7, $8) on conflict do nothing returning id";
    // Nobody asked for it but the reading itself: it counts as no request, by hand or otherwise.
    let (trigger, running) = (Trigger::Maintenance.as_str(), SyncState::Running.as_str());
    let class = turn.class;
    let args =
        args![source, group, trigger, running, now, class.rank(), turn.at - class.behind(), lane.as_str()];
    // Where another was quicker, the whole transaction is tried again.
    let row = conn.row(sql, args).await?.ok_or(StoreError::Busy)?;
    Ok(SyncId(row.get("id")?))
}

/// Notes that a lane is over: it has read all that it was to read.
pub(super) async fn ended(conn: &mut Conn, lease: &Lease, now: Timestamp) -> Result<(), StoreError> {
    let sql = "update checkpoints set ended_at = $5
        where source_id = $1 and stream = $2 and partition = $3 and lane = $4";
    conn.execute(sql, args![lease.source, &lease.stream, &lease.partition, lease.lane.as_str(), now]).await?;
    Ok(())
}
