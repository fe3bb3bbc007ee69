//! Forecasts: what was expected of a sync when it was asked for, and what came true when it had ended.
//!
//! Never changes what was expected, and never stands in a sync's way.

use domain::id::{SourceId, SyncId};
use jiff::{SignedDuration, Timestamp};

use crate::db::{Conn, args};
use crate::error::StoreError;

/// Forecasts that are kept of each group: what is usual is told by the last few, and how long things take by more.
pub(crate) const KEPT: u32 = 20;

/// What is expected of a sync that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// Requests.
    pub requests: u64,
    /// Of them, those that a budget pays for.
    pub charged: u64,
    /// Whether there may be more.
    pub at_least: bool,
    /// Partitions that were never read.
    pub unread: u64,
    /// How long it takes, waits included; `None` where nothing was measured.
    pub takes: Option<SignedDuration>,
}

/// Keeps what is expected of a sync, in place of the oldest of its group.
pub(super) async fn keep(
    conn: &mut Conn,
    (source, group): (SourceId, &str),
    sync: SyncId,
    it: Forecast,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "delete from forecasts where source_id = $1 and stream_group = $2 and sync_id not in
        (select sync_id from forecasts where source_id = $1 and stream_group = $2 order by sync_id desc limit $3)";
    conn.execute(sql, args![source, group, KEPT - 1]).await?;
    let sql = "insert into forecasts
            (sync_id, source_id, stream_group, made_at, requests, charged, at_least, unread, takes_ms)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9) on conflict do nothing";
    let takes_ms = it.takes.map(|it| i64::try_from(it.as_millis()).unwrap_or(i64::MAX));
    let mut args = args![sync, source, group, now, it.requests, it.charged];
    args.extend(args![it.at_least, it.unread, takes_ms]);
    conn.execute(sql, args).await?;
    Ok(())
}

/// Keeps what came true of what was expected of a sync that closed; once more when a job of it went on afterwards.
pub(super) async fn came_true(conn: &mut Conn, sync: SyncId) -> Result<(), StoreError> {
    let object = if conn.is_sqlite() { "json_group_object" } else { "json_object_agg" };
    let sql = format!(
        "update forecasts set spent = (select cast(coalesce(sum(requests), 0) as bigint) from jobs where sync_id = $1),
             spent_unchanged = (select cast(coalesce(sum(unchanged), 0) as bigint) from jobs where sync_id = $1),
             spent_by_stream = (select cast({object}(stream, requests) as text) from
                 (select stream, cast(sum(requests) as bigint) as requests from jobs where sync_id = $1
                  group by stream) as each_stream),
             took_ms = (select closed_at - created_at from syncs where id = $1),
             state = (select state from syncs where id = $1),
             ended_at = (select closed_at from syncs where id = $1)
         where sync_id = $1"
    );
    conn.execute(sqlx::AssertSqlSafe(sql), args![sync]).await?;
    Ok(())
}
