//! `/api/v1/syncs` and `/api/v1/jobs`: asking for syncs, watching and cancelling them.
//!
//! Whether a sync may start is the policy's to say. It must never wait for one without a limit.

use axum::Json;
use axum::http::StatusCode;
use domain::id::{JobId, SourceId, SyncId};
use engine::{JobCounts, JobQuery, JobRow, SyncQuery, SyncRow, Target};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::{Caller, Operator, Viewer};
use super::ask::{self, Waits};
use super::extract::{Body, Path, Query};
use super::page;
use super::problem::Problem;
use super::source::Fault;
use crate::words::About;

/// A sync: one accepted request, its jobs together.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Sync {
    id: i64,
    /// The source's number.
    source: i64,
    /// The source's name.
    source_name: String,
    group: String,
    /// What its jobs read; null where the row is damaged.
    #[schema(schema_with = super::word::lane)]
    lane: Option<&'static str>,
    #[schema(schema_with = super::word::trigger)]
    trigger: &'static str,
    #[schema(schema_with = super::word::sync_state)]
    state: &'static str,
    jobs: Jobs,
    /// Pages committed.
    pages: u64,
    /// Records delivered.
    records: u64,
    /// Landed rows that were new or changed.
    rows_written: u64,
    /// Requests answered.
    requests: u64,
    started_at: i64,
    closed_at: Option<i64>,
    /// When the first job that waits for a limit goes on.
    blocked_until: Option<i64>,
    /// What went wrong, the first hundred.
    errors: Vec<Failure>,
    errors_total: i64,
}

/// Jobs by state.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Jobs {
    total: u64,
    available: u64,
    scheduled: u64,
    retryable: u64,
    running: u64,
    completed: u64,
    discarded: u64,
    cancelled: u64,
}

impl From<JobCounts> for Jobs {
    fn from(counts: JobCounts) -> Self {
        let JobCounts { total, available, scheduled, retryable, running, completed, discarded, cancelled } =
            counts;
        Self { total, available, scheduled, retryable, running, completed, discarded, cancelled }
    }
}

/// What went wrong with a job, or with an item in one.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Failure {
    stream: String,
    partition: String,
    /// What people call the partition.
    title: Option<String>,
    item: Option<String>,
    error: Fault,
    at: Option<i64>,
}

impl Sync {
    /// Shows a sync of a provider's source.
    pub(super) fn of(row: SyncRow, provider: &str) -> Self {
        let about = About { source: &row.source_name, provider };
        let failure = |it: &engine::JobError| Failure {
            stream: it.stream.clone(),
            partition: it.partition.clone(),
            title: it.title.clone(),
            item: it.item.clone(),
            error: Fault::of(about, &it.code, &it.detail),
            at: it.at.map(Timestamp::as_millisecond),
        };
        Self {
            errors: row.errors.iter().map(failure).collect(),
            id: row.id.0,
            source: row.source.0,
            group: row.group,
            lane: row.lane.map(domain::job::Lane::as_str),
            trigger: row.trigger.as_str(),
            state: row.state.as_str(),
            jobs: row.jobs.into(),
            pages: row.pages,
            records: row.records,
            rows_written: row.rows_written,
            requests: row.requests,
            started_at: row.created_at.as_millisecond(),
            closed_at: row.closed_at.map(Timestamp::as_millisecond),
            blocked_until: row.blocked_until.map(Timestamp::as_millisecond),
            errors_total: row.errors_total,
            source_name: row.source_name,
        }
    }
}

/// Syncs, the newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Syncs {
    syncs: Vec<Sync>,
    /// What to ask for with `before`; null at the end.
    next: Option<i64>,
}

/// Which syncs.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// Only those of this source.
    source: Option<i64>,
    /// Only older ones than this.
    before: Option<i64>,
    /// How many at most.
    #[serde(default = "page::limit")]
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: u32,
}

/// Lists syncs, the newest first.
#[utoipa::path(
    get, path = "/api/v1/syncs", tag = "syncs", params(ListQuery), responses((status = 200, body = Syncs))
)]
pub(super) async fn list(
    caller: Caller<Viewer>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Syncs>, Problem> {
    let limit = page::checked(query.limit)?;
    let source = match query.source {
        Some(id) => Some(caller.service.source_by_id(SourceId(id)).await?.id),
        None => None,
    };
    let before = query.before.map(SyncId);
    let rows = caller.service.syncs_before(SyncQuery { source, before, limit }).await?;
    let next = page::next(&rows, limit, |it| it.id.to_string()).and_then(|it| it.parse().ok());
    let providers = ask::providers(&caller.service, rows.iter().map(|it| it.source)).await?;
    let syncs = rows.into_iter().map(|row| {
        let provider = providers.get(&row.source).map_or("", |it| &it.1);
        Sync::of(row, provider)
    });
    let syncs = syncs.collect();
    Ok(Json(Syncs { syncs, next }))
}

/// Shows a sync.
#[utoipa::path(
    get, path = "/api/v1/syncs/{sync}", tag = "syncs", params(("sync" = i64, Path)),
    responses((status = 200, body = Sync))
)]
pub(super) async fn show(caller: Caller<Viewer>, Path(sync): Path<i64>) -> Result<Json<Sync>, Problem> {
    let row = caller.service.sync(SyncId(sync)).await?;
    let provider = ask::provider(&caller.service, row.source).await?;
    Ok(Json(Sync::of(row, &provider)))
}

/// What to sync.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Start {
    /// The source's number.
    source: i64,
    /// One group of its streams; all of them when it is left out.
    group: Option<String>,
    /// Some partitions of that group alone, at most 100; all of it when they are left out.
    #[serde(default)]
    #[schema(max_items = 100)]
    targets: Vec<OneTarget>,
}

/// A partition to read.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = Target)]
#[serde(deny_unknown_fields)]
struct OneTarget {
    stream: String,
    partition: String,
}

/// Partitions that one request may name; more are better asked for as a whole.
const TARGETS_MAX: usize = 100;

/// Asks for a sync of a source. Nothing is started that the policy refuses (409, or 429 with `Retry-After`).
#[utoipa::path(
    post, path = "/api/v1/syncs", tag = "syncs", params(Waits), request_body = Start,
    responses((status = 202, body = ask::Asked), (status = 200, body = ask::Asked, description = "It ended (`wait=true`)."))
)]
pub(super) async fn start(
    caller: Caller<Operator>,
    axum::extract::State(api): axum::extract::State<super::Api>,
    Query(waits): Query<Waits>,
    Body(start): Body<Start>,
) -> Result<(StatusCode, Json<ask::Asked>), Problem> {
    let row = caller.service.source_by_id(SourceId(start.source)).await?;
    if start.targets.is_empty() {
        return ask::ask(&api, &caller.service, vec![row], start.group.as_deref(), waits).await;
    }
    if start.targets.len() > TARGETS_MAX {
        return Err(Problem::invalid(
            "targets",
            format!("targets: name at most {TARGETS_MAX}, or leave them out"),
        ));
    }
    let unnamed = || Problem::invalid("group", "group: name the group that the targets are of");
    let group = start.group.as_deref().ok_or_else(unnamed)?;
    let target = |it: OneTarget| Target { stream: it.stream, partition: it.partition };
    let targets = start.targets.into_iter().map(target).collect();
    ask::ask_targets(&api, &caller.service, row, group, targets, waits).await
}

/// What became of a cancel.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Cancelled {
    /// False when the sync had ended already.
    cancelled: bool,
    sync: Sync,
}

/// Cancels a sync; what it read stays. Running jobs stop within two seconds, after the page they are at.
#[utoipa::path(
    post, path = "/api/v1/syncs/{sync}/cancel", tag = "syncs", params(("sync" = i64, Path)),
    responses((status = 200, body = Cancelled))
)]
pub(super) async fn cancel(
    caller: Caller<Operator>,
    Path(sync): Path<i64>,
) -> Result<Json<Cancelled>, Problem> {
    let cancelled = caller.service.cancel(SyncId(sync)).await?;
    let row = caller.service.sync(SyncId(sync)).await?;
    let provider = ask::provider(&caller.service, row.source).await?;
    Ok(Json(Cancelled { cancelled, sync: Sync::of(row, &provider) }))
}

/// A job: one partition of one stream in one sync.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Job {
    id: i64,
    sync: i64,
    stream: String,
    partition: String,
    /// What people call the partition.
    title: Option<String>,
    /// Which end of the partition it reads; null where the row is damaged.
    #[schema(schema_with = super::word::lane)]
    lane: Option<&'static str>,
    #[schema(schema_with = super::word::job_state)]
    state: &'static str,
    /// Claims since it last made progress.
    attempt: u32,
    /// The process that holds it.
    worker: Option<String>,
    /// When it may be claimed.
    not_before: i64,
    pages: u64,
    records: u64,
    rows_written: u64,
    requests: u64,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    error: Option<Fault>,
}

/// Jobs.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct JobList {
    jobs: Vec<Job>,
    /// What to ask for with `after`; null at the end.
    next: Option<i64>,
}

/// Which jobs.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct JobListQuery {
    /// Only those of this sync.
    sync: Option<i64>,
    /// Only those that this process holds.
    worker: Option<String>,
    /// Only later ones than this.
    after: Option<i64>,
    /// How many at most.
    #[serde(default = "page::limit")]
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: u32,
}

/// Lists jobs, of one sync, of one worker, or all of the tenant's.
#[utoipa::path(
    get, path = "/api/v1/jobs", tag = "syncs", params(JobListQuery), responses((status = 200, body = JobList))
)]
pub(super) async fn jobs(
    caller: Caller<Viewer>,
    Query(query): Query<JobListQuery>,
) -> Result<Json<JobList>, Problem> {
    let limit = page::checked(query.limit)?;
    let sync = match query.sync {
        Some(id) => Some(caller.service.sync(SyncId(id)).await?.id),
        None => None,
    };
    let asked = JobQuery { sync, worker: query.worker, after: query.after.map(JobId), limit };
    let rows = caller.service.jobs_after(asked).await?;
    let next = page::next(&rows, limit, |it| it.id.to_string()).and_then(|it| it.parse().ok());
    let known = ask::providers(&caller.service, rows.iter().map(|it| it.source)).await?;
    let jobs = rows.into_iter().map(|row| {
        let (source, provider) = known.get(&row.source).map_or(("", ""), |it| (&it.0, &it.1));
        job(About { source, provider }, row)
    });
    let jobs = jobs.collect();
    Ok(Json(JobList { jobs, next }))
}

fn job(about: About<'_>, row: JobRow) -> Job {
    Job {
        id: row.id.0,
        sync: row.sync.0,
        error: row.error.map(|(code, detail)| Fault::of(about, &code, &detail)),
        stream: row.stream,
        partition: row.partition,
        title: row.title,
        lane: row.lane.map(domain::job::Lane::as_str),
        state: row.state.as_str(),
        attempt: row.attempt,
        worker: row.node,
        not_before: row.not_before.as_millisecond(),
        pages: row.pages,
        records: row.records,
        rows_written: row.rows_written,
        requests: row.requests,
        started_at: row.started_at.map(Timestamp::as_millisecond),
        finished_at: row.finished_at.map(Timestamp::as_millisecond),
    }
}
