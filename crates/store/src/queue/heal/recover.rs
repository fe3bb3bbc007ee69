//! Recoveries that are due: one request of all of a stream group, whose partitions are read with care.
//!
//! Never has a partition read with care that somebody else reads at this moment; it waits.

use domain::connector::Group;
use domain::id::{SourceId, SyncId};
use domain::policy::Decision;
use domain::trigger::Trigger;
use jiff::{SignedDuration, Timestamp};
use sqlx::AssertSqlSafe;

use super::AT_ONCE;
use crate::Store;
use crate::db::{Conn, Row, args, to_json};
use crate::dialect::{each, for_update};
use crate::error::StoreError;
use crate::queue::target::{self, EnqueueTargets, Target, Targeted};

/// Partitions that one request reads with care; the others are the next one's.
const PARTITIONS_MAX: u32 = 500;

/// How soon a recovery is asked for again of which no job could be made: its partition is being read, or may not be.
const AGAIN_AFTER: SignedDuration = SignedDuration::from_mins(5);

/// Recoveries of a stream group that are due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovering {
    /// The source.
    pub source: SourceId,
    /// The source's connector.
    pub provider: String,
    /// The group of streams.
    pub group: String,
}

/// Recoveries that the policy lets start.
#[derive(Clone, Debug)]
pub struct EnqueueRecoveries {
    /// The source.
    pub source: SourceId,
    /// The group of streams.
    pub group: &'static Group,
    /// What the policy answered.
    pub decision: Decision,
}

impl Store {
    /// Lists stream groups with recoveries that are due.
    pub async fn due_recoveries(&self, now: Timestamp) -> Result<Vec<Recovering>, StoreError> {
        self.inner.db.read(now, |conn, now| Box::pin(due(conn, *now))).await
    }

    /// Makes a sync of the recoveries of a group that are due, and has each partition read with care: without validators,
    /// and from a while before its cursor. `None` when there is none that may be read now.
    pub async fn enqueue_recoveries(
        &self,
        request: EnqueueRecoveries,
        now: Timestamp,
    ) -> Result<Option<(SyncId, u64)>, StoreError> {
        let made =
            self.inner.db.write((request, now), 0, |conn, input| Box::pin(enqueue(conn, input))).await?;
        if made.is_some() {
            self.woke();
        }
        Ok(made)
    }

    /// Puts the recoveries of a group off that wait.
    pub async fn put_off_recoveries(
        &self,
        source: SourceId,
        group: &'static str,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        let input = (source, group, until);
        self.inner.db.write(input, 0, |conn, input| Box::pin(put_off(conn, input))).await
    }
}

async fn due(conn: &mut Conn, now: Timestamp) -> Result<Vec<Recovering>, StoreError> {
    let sql = "select recovery.source_id, source.provider, recovery.stream_group
        from recoveries as recovery join sources as source on source.id = recovery.source_id
        where recovery.sync_id is null and recovery.due_at <= $1
        group by recovery.source_id, source.provider, recovery.stream_group
        order by min(recovery.due_at) limit $2";
    let rows = conn.rows(sql, args![now, AT_ONCE]).await?;
    rows.iter().map(recovering).collect()
}

pub(super) fn recovering(row: &Row) -> Result<Recovering, StoreError> {
    Ok(Recovering {
        source: SourceId(row.get("source_id")?),
        provider: row.get("provider")?,
        group: row.get("stream_group")?,
    })
}

async fn enqueue(
    conn: &mut Conn,
    (request, now): &(EnqueueRecoveries, Timestamp),
) -> Result<Option<(SyncId, u64)>, StoreError> {
    let (source, group) = (request.source, request.group);
    let sql = format!(
        "select stream, partition from recoveries
         where source_id = $1 and stream_group = $2 and sync_id is null and due_at <= $3
         order by due_at, stream, partition limit $4 {}",
        for_update(conn),
    );
    let rows = conn.rows(AssertSqlSafe(sql), args![source, group.name, *now, PARTITIONS_MAX]).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let mut places: Vec<(String, String)> = Vec::with_capacity(rows.len());
    for row in &rows {
        places.push((row.get("stream")?, row.get("partition")?));
    }
    let places = to_json(&places)?;
    forget_known(conn, source, &places).await?;
    let targets = free(conn, source, &places).await?;
    let mut made = None;
    if !targets.is_empty() {
        with_care(conn, source, group, &targets).await?;
        let (trigger, decision) = (Trigger::Recovery, request.decision);
        let request = EnqueueTargets { source, group, trigger, decision, targets };
        if let Targeted::Started { sync, .. } = target::enqueue(conn, &(request, *now)).await? {
            // What another sign was given meanwhile is read for that one too.
            let sql = "update recoveries set sync_id = $2, asked_at = $3, sign_at = (select partitions.sign_at
                    from partitions where partitions.source_id = $1 and partitions.stream = recoveries.stream
                        and partitions.key = recoveries.partition)
                where source_id = $1 and sync_id is null and exists (select 1 from jobs where jobs.sync_id = $2
                    and jobs.stream = recoveries.stream and jobs.partition = recoveries.partition)";
            let read = conn.execute(sql, args![source, sync, *now]).await?;
            made = (read > 0).then_some((sync, read));
        }
    }
    let again = now.saturating_add(AGAIN_AFTER).unwrap_or(*now);
    let sql = format!(
        "update recoveries set due_at = $3 where source_id = $1 and sync_id is null
             and (stream, partition) in (select t.value ->> 0, t.value ->> 1 from {})",
        each(conn, "$2"),
    );
    conn.execute(AssertSqlSafe(sql), args![source, places, again]).await?;
    Ok(made)
}

/// Forgets recoveries of partitions that nobody reads any more, or of which something came since.
async fn forget_known(conn: &mut Conn, source: SourceId, places: &str) -> Result<(), StoreError> {
    let sql = format!(
        "delete from recoveries where source_id = $1 and sync_id is null
             and (stream, partition) in (select t.value ->> 0, t.value ->> 1 from {})
             and not exists (select 1 from partitions where partitions.source_id = $1
                 and partitions.stream = recoveries.stream and partitions.key = recoveries.partition
                 and partitions.active and partitions.sign_at > partitions.news_at + 60000)",
        each(conn, "$2"),
    );
    conn.execute(AssertSqlSafe(sql), args![source, places]).await?;
    Ok(())
}

/// Returns those that nobody reads or waits to read.
async fn free(conn: &mut Conn, source: SourceId, places: &str) -> Result<Vec<Target>, StoreError> {
    let sql = format!(
        "select recovery.stream, recovery.partition from recoveries as recovery
         where recovery.source_id = $1 and recovery.sync_id is null
             and (recovery.stream, recovery.partition) in (select t.value ->> 0, t.value ->> 1 from {})
             and not exists (select 1 from jobs where jobs.source_id = $1 and jobs.stream = recovery.stream
                 and jobs.partition = recovery.partition and jobs.lane = 'forward'
                 and jobs.state in ('available', 'scheduled', 'retryable', 'running'))
         order by recovery.stream, recovery.partition",
        each(conn, "$2"),
    );
    let rows = conn.rows(AssertSqlSafe(sql), args![source, places]).await?;
    rows.iter()
        .map(|row| Ok(Target { stream: row.get("stream")?, partition: row.get("partition")? }))
        .collect()
}

/// Has the next reading of partitions be one with care. A listing is begun anew, wherever one stopped: half of one must not
/// say what is gone. What is no listing goes on at its cursor.
async fn with_care(
    conn: &mut Conn,
    source: SourceId,
    group: &Group,
    targets: &[Target],
) -> Result<(), StoreError> {
    let is_listing = |it: &Target| group.streams.iter().any(|of| of.name == it.stream && of.is_listing());
    let from = |it: &Target| if is_listing(it) { "start" } else { "cursor" };
    let place = |it: &Target| (it.stream.clone(), it.partition.clone(), from(it));
    let rows = to_json(&targets.iter().map(place).collect::<Vec<_>>())?;
    for table in ["seen", "validators"] {
        let sql = format!(
            "delete from {table} where source_id = $1
                 and (stream, partition) in (select t.value ->> 0, t.value ->> 1 from {})",
            each(conn, "$2"),
        );
        conn.execute(AssertSqlSafe(sql), args![source, &rows]).await?;
    }
    let of = each(conn, "$2");
    let sql = format!(
        "update checkpoints set cursor = null where source_id = $1 and lane = 'forward'
             and (stream, partition) in (select t.value ->> 0, t.value ->> 1 from {of} where t.value ->> 2 = 'start')",
    );
    conn.execute(AssertSqlSafe(sql), args![source, &rows]).await?;
    let sql = format!(
        "insert into checkpoints (source_id, stream, partition, lane, cursor, plain)
         select $1, t.value ->> 0, t.value ->> 1, 'forward', null, true from {of} where true
         on conflict (source_id, stream, partition, lane) do update set plain = true",
    );
    conn.execute(AssertSqlSafe(sql), args![source, rows]).await?;
    Ok(())
}

async fn put_off(
    conn: &mut Conn,
    (source, group, until): &(SourceId, &'static str, Timestamp),
) -> Result<(), StoreError> {
    let sql =
        "update recoveries set due_at = $3 where source_id = $1 and stream_group = $2 and sync_id is null";
    conn.execute(sql, args![*source, *group, *until]).await?;
    Ok(())
}
