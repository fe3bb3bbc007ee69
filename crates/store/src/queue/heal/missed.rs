//! How many deliveries never came: what was read is compared with what was delivered, an hour later, once.
//!
//! An estimate: never a reason to read anything.

use domain::connector::Group;
use domain::id::SourceId;
use domain::policy::heal::{Told, missed};
use jiff::{SignedDuration, Timestamp};
use sqlx::AssertSqlSafe;

use crate::Store;
use crate::db::{Conn, args, to_json};
use crate::dialect::each;
use crate::error::StoreError;

/// Syncs of a group that are counted in one step: some hours of them.
const SYNCS_AT_ONCE: u32 = 20;

/// How late a delivery may come and still be one that came. Providers try again for some minutes.
const LATE: SignedDuration = SignedDuration::from_hours(1);

/// How long counts are kept and shown: as long as deliveries and the jobs that they are compared with.
const KEPT_DAYS: i64 = 7;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Rows of a stream group that were read within seven days, and how many of them no delivery told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missed {
    /// The group of streams.
    pub group: String,
    /// Rows that were read, of those that are delivered one by one.
    pub found: u64,
    /// Of them, those that no delivery told of.
    pub missed: u64,
}

impl Store {
    /// Lists sources that are delivered to, each with its connector.
    pub async fn delivered_sources(&self) -> Result<Vec<(SourceId, String)>, StoreError> {
        self.inner.db.read((), |conn, ()| Box::pin(delivered(conn))).await
    }

    /// Counts what the next syncs of a group found that ended an hour ago, in streams whose rows are delivered one by one;
    /// says whether there may be more.
    pub async fn count_missed(
        &self,
        source: SourceId,
        group: &'static Group,
        streams: &'static [&'static str],
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let input = (source, group, streams, now);
        self.inner.db.write(input, 0, |conn, input| Box::pin(count(conn, input))).await
    }

    /// Reads how many deliveries for a source never came within seven days, by an estimate.
    pub async fn missed(&self, source: SourceId, now: Timestamp) -> Result<Vec<Missed>, StoreError> {
        self.inner.db.read((source, now), |conn, (source, now)| Box::pin(read(conn, *source, *now))).await
    }
}

async fn delivered(conn: &mut Conn) -> Result<Vec<(SourceId, String)>, StoreError> {
    let sql = "select source.id, source.provider from webhooks join sources as source on source.id = webhooks.source_id
        where source.removed_at is null order by source.id";
    let rows = conn.rows(sql, args![]).await?;
    rows.iter().map(|row| Ok((SourceId(row.get("id")?), row.get("provider")?))).collect()
}

async fn count(
    conn: &mut Conn,
    (source, group, streams, now): &(SourceId, &Group, &[&'static str], Timestamp),
) -> Result<bool, StoreError> {
    let until = now.saturating_sub(LATE).unwrap_or(Timestamp::MIN);
    // Begun when there was a secret: before, nothing could be delivered.
    let sql = "with mark as (
            select coalesce(marks.closed_at, webhooks.created_at) as closed_at, coalesce(marks.sync_id, 0) as sync_id
            from webhooks left join delivery_marks as marks on marks.source_id = webhooks.source_id
                and marks.stream_group = $2
            where webhooks.source_id = $1
        )
        select syncs.id, syncs.closed_at from mark join syncs on syncs.source_id = $1 and syncs.stream_group = $2
            and syncs.state in ('completed', 'partial', 'failed', 'cancelled') and syncs.closed_at >= mark.closed_at
        where syncs.closed_at <= $3 and syncs.lane = 'forward'
            and (syncs.closed_at > mark.closed_at or syncs.id > mark.sync_id)
        order by syncs.closed_at, syncs.id limit $4";
    let syncs = conn.rows(sql, args![*source, group.name, until, SYNCS_AT_ONCE]).await?;
    let Some(last) = syncs.last() else { return Ok(false) };
    for sync in &syncs {
        let closed_ms: i64 = sync.get("closed_at")?;
        let (found, gone) = of_sync(conn, *source, group, streams, sync.get("id")?).await?;
        if found > 0 {
            let sql = "insert into delivery_counts (source_id, stream_group, day, found, missed) values ($1, $2, $3, $4, $5)
                on conflict (source_id, stream_group, day) do update
                    set found = delivery_counts.found + excluded.found, missed = delivery_counts.missed + excluded.missed";
            conn.execute(sql, args![*source, group.name, closed_ms / DAY_MS, found, gone]).await?;
        }
    }
    let sql = "insert into delivery_marks (source_id, stream_group, closed_at, sync_id) values ($1, $2, $3, $4)
        on conflict (source_id, stream_group) do update set closed_at = excluded.closed_at, sync_id = excluded.sync_id";
    let (closed_ms, sync): (i64, i64) = (last.get("closed_at")?, last.get("id")?);
    conn.execute(sql, args![*source, group.name, closed_ms, sync]).await?;
    let sql = "delete from delivery_counts where source_id = $1 and stream_group = $2 and day < $3";
    conn.execute(sql, args![*source, group.name, oldest_day(*now)]).await?;
    Ok(syncs.len() >= SYNCS_AT_ONCE as usize)
}

/// Counts the rows that a sync found, and those of them that no delivery told of. What a partition was first read with is
/// not counted: nobody tells of what was always there.
async fn of_sync(
    conn: &mut Conn,
    source: SourceId,
    group: &Group,
    streams: &[&'static str],
    sync: i64,
) -> Result<(u64, u64), StoreError> {
    let sql = format!(
        "select job.stream, job.partition, job.rows_written, job.finished_at,
             (select before.finished_at from jobs as before where before.source_id = $1 and before.stream = job.stream
                 and before.partition = job.partition and before.sync_id < job.sync_id and before.lane = 'forward'
                 and before.state = 'completed' order by before.sync_id desc limit 1) as before_at
         from jobs as job where job.sync_id = $2 and job.state = 'completed' and job.lane = 'forward'
             and job.rows_written > 0 and job.stream in (select t.value ->> 0 from {})",
        each(conn, "$3"),
    );
    let names: Vec<[&str; 1]> = streams.iter().map(|it| [*it]).collect();
    let jobs = conn.rows(AssertSqlSafe(sql), args![source, sync, to_json(&names)?]).await?;
    let (mut found, mut gone) = (0, 0);
    for job in &jobs {
        let (Some(before), Some(read_at)) = (job.time("before_at")?, job.time("finished_at")?) else {
            continue;
        };
        let late = read_at.saturating_add(LATE).unwrap_or(Timestamp::MAX);
        let (stream, partition): (String, String) = (job.get("stream")?, job.get("partition")?);
        // A late one is one whose own reading brought nothing: else it tells of something else.
        let sql = "select count(case when received_at <= $6 then 1 end) as before,
                count(case when received_at > $6 and not exists (select 1 from jobs where jobs.sync_id = hints.sync_id
                    and jobs.stream = $2 and jobs.partition = $3 and jobs.rows_written > 0) then 1 end) as late
            from hints where source_id = $1 and received_at > $5 and received_at <= $7
                and (stream = $2 and partition = $3 or stream is null and stream_group = $4)";
        let row =
            conn.one(sql, args![source, &stream, &partition, group.name, before, read_at, late]).await?;
        let told = Told { before: row.count("before")?, late: row.count("late")? };
        let rows = job.count("rows_written")?;
        found += rows;
        gone += missed(rows, told);
    }
    Ok((found, gone))
}

fn oldest_day(now: Timestamp) -> i64 {
    now.as_millisecond() / DAY_MS - KEPT_DAYS
}

async fn read(conn: &mut Conn, source: SourceId, now: Timestamp) -> Result<Vec<Missed>, StoreError> {
    let sql =
        "select stream_group, cast(sum(found) as bigint) as found, cast(sum(missed) as bigint) as missed
        from delivery_counts where source_id = $1 and day >= $2 group by stream_group order by stream_group";
    let rows = conn.rows(sql, args![source, oldest_day(now)]).await?;
    rows.iter()
        .map(|row| {
            Ok(Missed {
                group: row.get("stream_group")?,
                found: row.count("found")?,
                missed: row.count("missed")?,
            })
        })
        .collect()
}
