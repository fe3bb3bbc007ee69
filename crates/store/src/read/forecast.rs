//! What a whole sync would read now, and what reading took so far: what forecasts are reckoned from.
//!
//! Never reckons one; `domain::policy::forecast` does.

use domain::connector::Group;
use domain::id::{SourceId, SyncId};
use domain::job::{Lane, SyncState};
use domain::policy::forecast::{Demand, Measured, Pace};
use jiff::{SignedDuration, Timestamp};
use sqlx::AssertSqlSafe;

use crate::Store;
use crate::db::{Conn, Row, args, to_json};
use crate::dialect::each;
use crate::error::{StoreError, corrupt};
use crate::queue::enqueue::PROBE_EVERY_MS;
use crate::queue::forecast::KEPT;

/// Syncs whose spending says what is usual: of five, one that is unlike the others does not count.
const USUAL: usize = 5;

/// What a forecast of one group is reckoned from.
#[derive(Clone, Debug, Default)]
pub struct Outlook {
    /// What there is to be read, by stream.
    pub demands: Vec<Demand>,
    /// The latest syncs that completed.
    pub paces: Vec<Pace>,
    /// The latest forecasts, the newest first.
    pub past: Vec<PastForecast>,
    /// Requests that the sync under way has spent so far, and the jobs of it that have not ended.
    pub active: (u64, u64),
    /// Lanes beside the forward one that have something left to read.
    pub lanes: Vec<OpenLane>,
}

/// A lane of a group that has something left to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenLane {
    /// The lane.
    pub lane: Lane,
    /// Partitions that it is not through with.
    pub partitions: u64,
    /// Requests that their jobs have spent so far.
    pub spent: u64,
}

/// What was expected of a sync, and what came true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastForecast {
    /// The sync.
    pub sync: SyncId,
    /// When it was asked for.
    pub made_at: Timestamp,
    /// Requests that were expected.
    pub requests: u64,
    /// Of them, those that the budget was expected to pay for.
    pub charged: u64,
    /// Whether that was a lower bound.
    pub at_least: bool,
    /// How long it was expected to take, waits included.
    pub takes: Option<SignedDuration>,
    /// What came true; `None` until it has ended.
    pub came_true: Option<CameTrue>,
}

/// What came true of a forecast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CameTrue {
    /// Requests that it took.
    pub requests: u64,
    /// Of them, those that were answered as unchanged.
    pub unchanged: u64,
    /// How long it took.
    pub took: SignedDuration,
    /// How it ended.
    pub state: SyncState,
    /// When.
    pub ended_at: Timestamp,
}

impl Store {
    /// Reads what a forecast of a group is reckoned from.
    pub async fn outlook(
        &self,
        source: SourceId,
        group: &'static Group,
        now: Timestamp,
    ) -> Result<Outlook, StoreError> {
        let input = (source, group, now);
        self.inner
            .db
            .read(input, |conn, (source, group, now)| Box::pin(outlook(conn, *source, group, *now)))
            .await
    }
}

async fn outlook(
    conn: &mut Conn,
    source: SourceId,
    group: &'static Group,
    now: Timestamp,
) -> Result<Outlook, StoreError> {
    let mut demands = demands(conn, source, group, now).await?;
    let (past, usual) = past(conn, source, group.name).await?;
    for it in &mut demands {
        if group.streams.iter().any(|known| known.name == it.stream && known.item_batch.is_some()) {
            it.recent = usual.iter().map(|it_spent| spent_on(it_spent, &it.stream)).collect();
        }
    }
    let completed = past.iter().filter_map(|it| it.came_true).filter(|it| it.state == SyncState::Completed);
    let paces = completed.map(|it| Pace { requests: it.requests, took: it.took }).collect();
    let sql = "select cast(coalesce(sum(job.requests), 0) as bigint) as spent,
            count(case when job.state in ('available', 'scheduled', 'retryable', 'running') then 1 end) as going
        from syncs as sync join jobs as job on job.sync_id = sync.id
        where sync.source_id = $1 and sync.stream_group = $2 and sync.state = 'running' and sync.whole";
    let row = conn.one(sql, args![source, group.name]).await?;
    let active = (row.count("spent")?, row.count("going")?);
    Ok(Outlook { demands, paces, past, active, lanes: lanes(conn, source, group).await? })
}

fn spent_on(spent: &serde_json::Map<String, serde_json::Value>, stream: &str) -> u64 {
    spent.get(stream).and_then(serde_json::Value::as_u64).unwrap_or(0)
}

/// Each active partition with whether a whole sync would read it now, as `enqueue` decides it, and its due items.
const PARTS: &str = "select partition.stream, stream.batch, partition.reads, partition.first_requests,
        partition.last_requests, partition.last_unchanged, partition.last_pages,
        case when (partition.is_valid or partition.invalid_at <= $3 - $4) and (partition.refresh_ms is null
            or partition.last_synced_at is null or partition.last_synced_at <= $3 - partition.refresh_ms)
            then 1 else 0 end as due,
        case when stream.batch = 0 then 0 else (select count(*) from items as item
            where item.source_id = partition.source_id and item.stream = partition.stream
                and item.partition = partition.key and item.have is distinct from item.wanted) end as items
    from partitions as partition join stream on stream.name = partition.stream
    where partition.source_id = $1 and partition.active";

async fn demands(
    conn: &mut Conn,
    source: SourceId,
    group: &Group,
    now: Timestamp,
) -> Result<Vec<Demand>, StoreError> {
    let streams: Vec<(&str, usize)> =
        group.streams.iter().map(|it| (it.name, it.item_batch.unwrap_or(0))).collect();
    let count = |what: &str, when: &str| format!("count(case when {when} then 1 end) as {what}");
    let sum = |what: &str, of: &str, when: &str| {
        format!("cast(coalesce(sum(case when {when} then {of} end), 0) as bigint) as {what}")
    };
    let (repeated, once) = ("batch = 0 and due = 1 and reads > 1", "batch = 0 and due = 1 and reads = 1");
    // Whole pages of items: a part of one takes a page too.
    let pages = "(items + batch - 1) / batch";
    let columns = [
        count("repeated", repeated),
        sum("repeated_requests", "last_requests", repeated),
        sum("repeated_unchanged", "last_unchanged", repeated),
        count("once", once),
        sum("once_requests", "last_requests", once),
        sum("once_unchanged", "last_unchanged", once),
        count("unread", "reads = 0 and (items > 0 or batch = 0 and due = 1)"),
        sum("due_pages", pages, "batch > 0 and reads > 0"),
        sum("unread_pages", pages, "batch > 0 and reads = 0"),
        count("again", "reads > 1"),
        sum("again_requests", "last_requests", "reads > 1"),
        count("first", "reads > 0"),
        sum("first_requests", "first_requests", "reads > 0"),
        sum("pages", "last_pages", "reads > 0"),
        sum("page_requests", "last_requests", "reads > 0"),
    ]
    .join(", ");
    let sql = format!(
        "with stream as (select t.value ->> 0 as name, cast(t.value ->> 1 as bigint) as batch from {}),
             part as ({PARTS})
         select stream, {columns} from part group by stream",
        each(conn, "$2"),
    );
    let args = args![source, to_json(&streams)?, now, PROBE_EVERY_MS];
    let rows = conn.rows(AssertSqlSafe(sql), args).await?;
    let mut found = rows.iter().map(|row| demand(row, group)).collect::<Result<Vec<_>, StoreError>>()?;
    let place = |name: &str| group.streams.iter().position(|it| it.name == name);
    found.sort_by_key(|it| place(&it.stream));
    Ok(found)
}

fn demand(row: &Row, group: &Group) -> Result<Demand, StoreError> {
    let stream: String = row.get("stream")?;
    let is_listing = group.streams.iter().any(|it| it.name == stream && it.is_listing());
    let measured = |partitions, requests, unchanged: Option<&str>| {
        Ok::<_, StoreError>(Measured {
            partitions: row.count(partitions)?,
            requests: row.count(requests)?,
            unchanged: unchanged.map_or(Ok(0), |it| row.count(it))?,
        })
    };
    Ok(Demand {
        is_listing,
        repeated: measured("repeated", "repeated_requests", Some("repeated_unchanged"))?,
        once: measured("once", "once_requests", Some("once_unchanged"))?,
        unread: row.count("unread")?,
        due_pages: row.count("due_pages")?,
        unread_pages: row.count("unread_pages")?,
        again: measured("again", "again_requests", None)?,
        first: measured("first", "first_requests", None)?,
        by_page: measured("pages", "page_requests", None)?,
        recent: Vec::new(),
        stream,
    })
}

/// What a sync spent, by stream.
type Spent = serde_json::Map<String, serde_json::Value>;

/// Reads the latest forecasts, and what those syncs spent that say what is usual: they read nothing for the first time.
async fn past(
    conn: &mut Conn,
    source: SourceId,
    group: &str,
) -> Result<(Vec<PastForecast>, Vec<Spent>), StoreError> {
    let sql =
        "select * from forecasts where source_id = $1 and stream_group = $2 order by sync_id desc limit $3";
    let rows = conn.rows(sql, args![source, group, KEPT]).await?;
    let (mut all, mut usual) = (Vec::new(), Vec::new());
    for row in &rows {
        let it = forecast(row)?;
        let completed = it.came_true.is_some_and(|it| it.state == SyncState::Completed);
        if completed && row.count("unread")? == 0 && usual.len() < USUAL {
            usual.push(row.json("spent_by_stream", ("forecasts", &it.sync))?.unwrap_or_default());
        }
        all.push(it);
    }
    Ok((all, usual))
}

fn forecast(row: &Row) -> Result<PastForecast, StoreError> {
    let sync = SyncId(row.get("sync_id")?);
    let millis =
        |column| Ok::<_, StoreError>(row.get::<Option<i64>>(column)?.map(SignedDuration::from_millis));
    let came_true = match (row.time("ended_at")?, millis("took_ms")?) {
        (Some(ended_at), Some(took)) => Some(CameTrue {
            requests: row.count("spent")?,
            unchanged: row.count("spent_unchanged")?,
            took,
            state: row.word("state", SyncState::from_word, ("forecasts", &sync))?,
            ended_at,
        }),
        _ => None,
    };
    Ok(PastForecast {
        sync,
        made_at: row.time("made_at")?.ok_or_else(|| corrupt("forecasts", sync, "made_at"))?,
        requests: row.count("requests")?,
        charged: row.count("charged")?,
        at_least: row.get("at_least")?,
        takes: millis("takes_ms")?,
        came_true,
    })
}

async fn lanes(conn: &mut Conn, source: SourceId, group: &Group) -> Result<Vec<OpenLane>, StoreError> {
    let names: Vec<[&str; 1]> = group.streams.iter().map(|it| [it.name]).collect();
    let sql = format!(
        "select place.lane, count(*) as partitions,
             cast(coalesce(sum((select sum(requests) from jobs where jobs.source_id = place.source_id
                 and jobs.stream = place.stream and jobs.partition = place.partition
                 and jobs.lane = place.lane)), 0) as bigint) as spent
         from checkpoints as place join partitions as partition on partition.source_id = place.source_id
             and partition.stream = place.stream and partition.key = place.partition and partition.active
             and partition.is_valid
         where place.source_id = $1 and place.lane <> 'forward' and place.ended_at is null
             and place.stream in (select t.value ->> 0 from {})
         group by place.lane order by place.lane",
        each(conn, "$2"),
    );
    let rows = conn.rows(AssertSqlSafe(sql), args![source, to_json(&names)?]).await?;
    let lane = |row: &Row| {
        Ok(OpenLane {
            lane: row.word("lane", Lane::from_word, ("checkpoints of source", &source))?,
            partitions: row.count("partitions")?,
            spent: row.count("spent")?,
        })
    };
    rows.iter().map(lane).collect()
}
