//! What people ask to see: syncs, jobs, and how sources stand. Totals are sums over jobs, made when asked for.
//!
//! Never writes, and never holds a read open.

pub(crate) mod budget;
pub(crate) mod census;
pub(crate) mod forecast;
pub(crate) mod list;
pub(crate) mod record;
pub(crate) mod status;
pub(crate) mod why;

use domain::id::{JobId, SourceId, SyncId, TenantId};
use domain::job::{JobState, Lane, SyncState};
use domain::trigger::Trigger;
use jiff::Timestamp;
use sqlx::AssertSqlSafe;

use crate::db::{Conn, Row, args};
use crate::error::{StoreError, corrupt};

/// Errors that a sync shows: enough to see what they have in common.
const ERRORS_MAX: u32 = 100;

/// Jobs by state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobCounts {
    /// All of them.
    pub total: u64,
    /// Ready to be claimed.
    pub available: u64,
    /// Waiting for a budget.
    pub scheduled: u64,
    /// Waiting for their next attempt.
    pub retryable: u64,
    /// Held by a worker.
    pub running: u64,
    /// Caught up.
    pub completed: u64,
    /// Failed for good.
    pub discarded: u64,
    /// Stopped by a person.
    pub cancelled: u64,
}

/// What went wrong with a job, or with an item in one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobError {
    /// The stream.
    pub stream: String,
    /// The partition.
    pub partition: String,
    /// What people call the partition.
    pub title: Option<String>,
    /// The item, where it is one of an item.
    pub item: Option<String>,
    /// The fault's word.
    pub code: String,
    /// A sentence about it.
    pub detail: String,
    /// When the job ended; `None` while it goes on.
    pub at: Option<Timestamp>,
}

/// A sync as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncRow {
    /// Its id.
    pub id: SyncId,
    /// Its source.
    pub source: SourceId,
    /// What people call the source.
    pub source_name: String,
    /// The source's owner.
    pub tenant: Option<TenantId>,
    /// The group of streams.
    pub group: String,
    /// What its jobs read; `None` where the stored word is damaged.
    pub lane: Option<Lane>,
    /// Why it was asked for.
    pub trigger: Trigger,
    /// Where it stands.
    pub state: SyncState,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it closed.
    pub closed_at: Option<Timestamp>,
    /// Its jobs.
    pub jobs: JobCounts,
    /// Pages committed.
    pub pages: u64,
    /// Records delivered.
    pub records: u64,
    /// Landed rows that were inserted or changed.
    pub rows_written: u64,
    /// Requests answered.
    pub requests: u64,
    /// When the first blocked job goes on.
    pub blocked_until: Option<Timestamp>,
    /// What went wrong, the first of them.
    pub errors: Vec<JobError>,
    /// How many errors there are.
    pub errors_total: i64,
}

/// A job as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRow {
    /// Its id.
    pub id: JobId,
    /// Its sync.
    pub sync: SyncId,
    /// Its source.
    pub source: SourceId,
    /// Its stream.
    pub stream: String,
    /// Its partition.
    pub partition: String,
    /// What people call the partition.
    pub title: Option<String>,
    /// Its lane; `None` where the stored word is damaged.
    pub lane: Option<Lane>,
    /// Where it stands.
    pub state: JobState,
    /// When it may be claimed.
    pub not_before: Timestamp,
    /// Claims since it last made progress.
    pub attempt: u32,
    /// The process that holds it.
    pub node: Option<String>,
    /// Pages committed.
    pub pages: u64,
    /// Records delivered.
    pub records: u64,
    /// Landed rows that were inserted or changed.
    pub rows_written: u64,
    /// Requests answered.
    pub requests: u64,
    /// The fault's word and a sentence.
    pub error: Option<(String, String)>,
    /// When it was first claimed.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

const SYNC: &str =
    "select sync.id, sync.source_id, source.name as source_name, source.tenant_id, sync.stream_group, sync.lane,
        sync.trigger, sync.state, sync.created_at, sync.closed_at,
        count(job.id) as total,
        count(case when job.state = 'available' then 1 end) as available,
        count(case when job.state = 'scheduled' then 1 end) as scheduled,
        count(case when job.state = 'retryable' then 1 end) as retryable,
        count(case when job.state = 'running' then 1 end) as running,
        count(case when job.state = 'completed' then 1 end) as completed,
        count(case when job.state = 'discarded' then 1 end) as discarded,
        count(case when job.state = 'cancelled' then 1 end) as cancelled,
        cast(coalesce(sum(job.pages), 0) as bigint) as pages,
        cast(coalesce(sum(job.records), 0) as bigint) as records,
        cast(coalesce(sum(job.rows_written), 0) as bigint) as rows_written,
        cast(coalesce(sum(job.requests), 0) as bigint) as requests,
        min(case when job.state = 'scheduled' then job.not_before end) as blocked_until
    from syncs as sync join sources as source on source.id = sync.source_id
    left join jobs as job on job.sync_id = sync.id";

const SYNC_BY: &str =
    "group by sync.id, sync.source_id, source.name, source.tenant_id, sync.stream_group, sync.lane, sync.trigger, sync.state,
    sync.created_at, sync.closed_at";

pub(crate) async fn sync(conn: &mut Conn, id: SyncId) -> Result<Option<SyncRow>, StoreError> {
    let sql = format!("{SYNC} where sync.id = $1 {SYNC_BY}");
    match conn.row(AssertSqlSafe(sql), args![id]).await? {
        Some(row) => Ok(Some(sync_row(conn, &row).await?)),
        None => Ok(None),
    }
}

pub(crate) async fn syncs(
    conn: &mut Conn,
    (scope, source, limit): &(Option<TenantId>, Option<SourceId>, u32),
) -> Result<Vec<SyncRow>, StoreError> {
    // The newest ids first, then the sums over their jobs only.
    let mut args = args![*limit];
    let mut of = String::new();
    if let Some(source) = source {
        args.push((*source).into());
        of = format!("where source_id = ${}", args.len());
    } else if let Some(scope) = scope {
        args.push((*scope).into());
        of = format!("where source_id in (select id from sources where tenant_id = ${})", args.len());
    }
    let newest = format!("select id from syncs {of} order by id desc limit $1");
    let sql = format!("{SYNC} where sync.id in ({newest}) {SYNC_BY} order by sync.id desc");
    let mut syncs = Vec::new();
    for row in conn.rows(AssertSqlSafe(sql), args).await? {
        syncs.push(sync_row(conn, &row).await?);
    }
    Ok(syncs)
}

fn counts(row: &Row) -> Result<JobCounts, StoreError> {
    Ok(JobCounts {
        total: row.count("total")?,
        available: row.count("available")?,
        scheduled: row.count("scheduled")?,
        retryable: row.count("retryable")?,
        running: row.count("running")?,
        completed: row.count("completed")?,
        discarded: row.count("discarded")?,
        cancelled: row.count("cancelled")?,
    })
}

async fn sync_row(conn: &mut Conn, row: &Row) -> Result<SyncRow, StoreError> {
    let id = SyncId(row.get("id")?);
    let (errors, errors_total) = errors(conn, id).await?;
    Ok(SyncRow {
        id,
        source: SourceId(row.get("source_id")?),
        source_name: row.get("source_name")?,
        tenant: row.get::<Option<i64>>("tenant_id")?.map(TenantId),
        group: row.get("stream_group")?,
        lane: Lane::from_word(&row.get::<String>("lane")?),
        trigger: row.word("trigger", Trigger::from_word, ("syncs", &id))?,
        state: row.word("state", SyncState::from_word, ("syncs", &id))?,
        created_at: row.time("created_at")?.ok_or_else(|| corrupt("syncs", id, "created_at"))?,
        closed_at: row.time("closed_at")?,
        jobs: counts(row)?,
        pages: row.count("pages")?,
        records: row.count("records")?,
        rows_written: row.count("rows_written")?,
        requests: row.count("requests")?,
        blocked_until: row.time("blocked_until")?,
        errors,
        errors_total,
    })
}

/// Jobs that failed or are blocked or wait after a fault, and items that failed, each with its fault.
const ERRORS: &str = "select job.stream, job.partition, null as item, job.error_code as code,
        coalesce(job.error_detail, '') as detail, job.finished_at as at, job.source_id, job.id as job_id
    from jobs as job where job.sync_id = $1 and job.error_code is not null and job.state <> 'completed'
    union all
    select item.stream, item.partition, item.key as item, coalesce(item.error_code, '') as code,
        coalesce(item.error_detail, '') as detail, job.finished_at as at, job.source_id, job.id as job_id
    from jobs as job join items as item on item.failed_job = job.id where job.sync_id = $1";

async fn errors(conn: &mut Conn, sync: SyncId) -> Result<(Vec<JobError>, i64), StoreError> {
    let sql = format!("select count(*) as total from ({ERRORS}) as error");
    let total: i64 = conn.one(AssertSqlSafe(sql), args![sync]).await?.get("total")?;
    if total == 0 {
        return Ok((Vec::new(), 0));
    }
    let sql = format!(
        "select error.*, partition.title from ({ERRORS}) as error
         left join partitions as partition on partition.source_id = error.source_id
             and partition.stream = error.stream and partition.key = error.partition
         order by error.job_id, error.item limit $2",
    );
    let rows = conn.rows(AssertSqlSafe(sql), args![sync, ERRORS_MAX]).await?;
    let errors = rows.iter().map(|row| {
        Ok(JobError {
            stream: row.get("stream")?,
            partition: row.get("partition")?,
            title: row.get("title")?,
            item: row.get("item")?,
            code: row.get("code")?,
            detail: row.get("detail")?,
            at: row.time("at")?,
        })
    });
    Ok((errors.collect::<Result<_, StoreError>>()?, total))
}

pub(crate) async fn sync_of_job(conn: &mut Conn, job: JobId) -> Result<Option<SyncId>, StoreError> {
    let row = conn.row("select sync_id from jobs where id = $1", args![job]).await?;
    row.map(|row| row.get("sync_id").map(SyncId)).transpose()
}

pub(crate) async fn jobs(conn: &mut Conn, sync: SyncId) -> Result<Vec<JobRow>, StoreError> {
    let sql = "select job.*, partition.title from jobs as job
        left join partitions as partition on partition.source_id = job.source_id
            and partition.stream = job.stream and partition.key = job.partition
        where job.sync_id = $1 order by job.priority, job.id";
    conn.rows(sql, args![sync]).await?.iter().map(job_row).collect()
}

fn job_row(row: &Row) -> Result<JobRow, StoreError> {
    let id = JobId(row.get("id")?);
    let code: Option<String> = row.get("error_code")?;
    let detail: Option<String> = row.get("error_detail")?;
    Ok(JobRow {
        id,
        sync: SyncId(row.get("sync_id")?),
        source: SourceId(row.get("source_id")?),
        stream: row.get("stream")?,
        partition: row.get("partition")?,
        title: row.get("title")?,
        // Shown all the same: a person who looks for the damage needs to see the job.
        lane: Lane::from_word(&row.get::<String>("lane")?),
        state: row.word("state", JobState::from_word, ("jobs", &id))?,
        not_before: row.time("not_before")?.ok_or_else(|| corrupt("jobs", id, "not_before"))?,
        attempt: u32::try_from(row.get::<i64>("attempt")?).map_err(|_| corrupt("jobs", id, "attempt"))?,
        node: row.get("node")?,
        pages: row.count("pages")?,
        records: row.count("records")?,
        rows_written: row.count("rows_written")?,
        requests: row.count("requests")?,
        error: code.map(|code| (code, detail.unwrap_or_default())),
        started_at: row.time("started_at")?,
        finished_at: row.time("finished_at")?,
    })
}
