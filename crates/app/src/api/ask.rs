//! Asking for syncs over HTTP, and waiting for them: for `/api/v1/syncs` and for the loops' own endpoints.
//!
//! It must never start a sync but through the engine's one door, and never wait without a limit.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use domain::id::{SourceId, SyncId};
use domain::job::SyncState;
use domain::policy::{Decision, Reason};
use domain::trigger::Trigger;
use engine::{JobQuery, JobRow, Requested, SourceRow, SyncService, Target, TargetsRequested, provider_specs};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::problem::Problem;
use super::source::Fault;
use crate::words::{self, About};

/// The longest time that a request waits for its syncs: what a proxy in front can be set to bear.
const WAIT_MAX: Duration = Duration::from_mins(10);

/// How often a sync is looked at while a request waits for it.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Results that one answer shows; `/api/v1/jobs` pages through all.
const RESULTS_MAX: u32 = 500;

/// How the provider of a source is named that is no longer there.
const REMOVED: &str = "the provider";

/// Whether to wait.
#[derive(Clone, Copy, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Waits {
    /// Whether to answer only when the syncs ended, or after ten minutes.
    #[serde(default)]
    wait: bool,
}

/// What became of a request for syncs.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// Those that were started; one for each source and stream group.
    syncs: Vec<Started>,
    /// Those that were not, and why.
    refused: Vec<Refused>,
}

/// A sync that was started.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Started {
    /// The sync's number.
    sync: i64,
    /// The source's number.
    source: i64,
    /// The source's name.
    source_name: String,
    group: String,
    #[schema(schema_with = super::word::sync_state)]
    state: &'static str,
    /// What came of each repository or other part, once the sync ended (`wait=true`); at most 500.
    #[serde(skip_serializing_if = "Option::is_none")]
    results: Option<Vec<Outcome>>,
}

/// What came of one part of a source: a repository, a project.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Outcome {
    /// What people call it.
    name: String,
    stream: String,
    #[schema(schema_with = super::word::job_state)]
    state: &'static str,
    records: u64,
    /// Landed rows that were new or changed.
    rows_written: u64,
    error: Option<Fault>,
}

/// A request that was not made into a sync.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Refused {
    /// The source's number.
    source: i64,
    /// The source's name.
    source_name: String,
    group: String,
    /// What the policy answered: `action`, `reason`, `metadata`.
    #[schema(value_type = Object)]
    decision: Value,
    /// The same for people.
    message: String,
    /// The sync that runs already, where that is the reason.
    active_sync: Option<i64>,
}

/// Returns the provider of a source; one that was removed since has none any more.
pub(super) async fn provider(service: &SyncService, source: SourceId) -> Result<String, Problem> {
    match service.source_by_id(source).await {
        Ok(row) => Ok(row.provider),
        Err(engine::Error::Unknown { .. }) => Ok(REMOVED.to_owned()),
        Err(error) => Err(error.into()),
    }
}

/// Returns the name and provider of each source in a list, each asked for once. Of one that was removed since there is
/// neither any more.
pub(super) async fn providers(
    service: &SyncService,
    sources: impl Iterator<Item = SourceId>,
) -> Result<HashMap<SourceId, (String, String)>, Problem> {
    let mut known = HashMap::new();
    for source in sources {
        if let Entry::Vacant(place) = known.entry(source) {
            place.insert(match service.source_by_id(source).await {
                Ok(row) => (row.name, row.provider),
                Err(engine::Error::Unknown { .. }) => (String::new(), REMOVED.to_owned()),
                Err(error) => return Err(error.into()),
            });
        }
    }
    Ok(known)
}

/// Asks for a sync of each of the sources: of the named group, or of all that each has.
pub(super) async fn ask(
    api: &Api,
    service: &SyncService,
    sources: Vec<SourceRow>,
    group: Option<&str>,
    waits: Waits,
) -> Result<(StatusCode, Json<Asked>), Problem> {
    let permit = if waits.wait { Some(api.limits.last()?) } else { None };
    let mut asked = Asked { syncs: Vec::new(), refused: Vec::new() };
    let mut decisions = Vec::new();
    for source in sources {
        for group in groups(&source, group) {
            match service.request_source(source.id, group, Trigger::Manual).await? {
                Requested::Started { sync, .. } => asked.syncs.push(started(&source, group, sync)),
                Requested::Refused { decision, active } => {
                    asked.refused.push(refused(&source, group, &decision, active, api.service.clock().now()));
                    decisions.push(decision);
                }
            }
        }
    }
    answer(api, service, asked, &decisions, permit).await
}

/// Asks for a sync of some partitions of a source. What is being read is read once more: the sync that does is named.
pub(super) async fn ask_targets(
    api: &Api,
    service: &SyncService,
    source: SourceRow,
    group: &str,
    targets: Vec<Target>,
    waits: Waits,
) -> Result<(StatusCode, Json<Asked>), Problem> {
    let permit = if waits.wait { Some(api.limits.last()?) } else { None };
    let mut asked = Asked { syncs: Vec::new(), refused: Vec::new() };
    let mut decisions = Vec::new();
    match service.request_targets(source.id, group, targets, Trigger::Manual).await? {
        TargetsRequested::Started { sync, .. } | TargetsRequested::Again { sync } => {
            asked.syncs.push(started(&source, group, sync));
        }
        TargetsRequested::Refused { decision, active } => {
            asked.refused.push(refused(&source, group, &decision, active, api.service.clock().now()));
            decisions.push(decision);
        }
    }
    answer(api, service, asked, &decisions, permit).await
}

/// Answers what was asked, after its syncs ended where there is a permit to wait for them.
async fn answer(
    api: &Api,
    service: &SyncService,
    mut asked: Asked,
    decisions: &[Decision],
    permit: Option<OwnedSemaphorePermit>,
) -> Result<(StatusCode, Json<Asked>), Problem> {
    if asked.syncs.is_empty() {
        return Err(refusal(&asked.refused, decisions, api.service.clock().now()));
    }
    let ended = permit.is_some() && wait(api, service, &mut asked.syncs).await?;
    drop(permit);
    Ok((if ended { StatusCode::OK } else { StatusCode::ACCEPTED }, Json(asked)))
}

fn started(source: &SourceRow, group: &str, sync: SyncId) -> Started {
    Started {
        sync: sync.0,
        source: source.id.0,
        source_name: source.name.clone(),
        group: group.to_owned(),
        state: SyncState::Running.as_str(),
        results: None,
    }
}

fn groups<'a>(source: &SourceRow, named: Option<&'a str>) -> Vec<&'a str> {
    if let Some(group) = named {
        return vec![group];
    }
    let spec = provider_specs().find(|it| it.provider == source.provider);
    spec.into_iter().flat_map(|it| it.groups).map(|it| it.name).collect()
}

fn refused(
    source: &SourceRow,
    group: &str,
    decision: &Decision,
    active: Option<SyncId>,
    now: Timestamp,
) -> Refused {
    let about = About { source: &source.name, provider: &source.provider };
    Refused {
        source: source.id.0,
        source_name: source.name.clone(),
        group: group.to_owned(),
        decision: json!(decision),
        message: words::decision(about, decision, now),
        active_sync: active.map(|it| it.0),
    }
}

/// Makes one problem of refusals: 429 where waiting helps, else 409. The first one is shown.
fn refusal(refused: &[Refused], decisions: &[Decision], now: Timestamp) -> Problem {
    let Some((first, decision)) = refused.first().zip(decisions.first()) else {
        let says = "there is nothing to sync: add a source first";
        return Problem::new(StatusCode::CONFLICT, "nothing_to_sync", says);
    };
    let wait = decisions.iter().filter_map(|it| wait_of(it, now)).min();
    let code = match decision.reason {
        Reason::Ready => "ready",
        Reason::Disabled => "disabled",
        Reason::NoOwner => "no_owner",
        Reason::NothingToSync => "nothing_to_sync",
        Reason::CooldownActive => "cooldown_active",
        Reason::RateLimited => "rate_limited",
        Reason::AlreadySyncing => "already_syncing",
    };
    let status = if wait.is_some() { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::CONFLICT };
    let problem =
        Problem::new(status, code, first.message.clone()).decided(first.decision.clone(), first.active_sync);
    match wait {
        Some(wait) => problem.retry_after_s(u64::try_from(wait.as_secs()).unwrap_or(0).saturating_add(1)),
        None => problem,
    }
}

fn wait_of(decision: &Decision, now: Timestamp) -> Option<SignedDuration> {
    let metadata = &decision.metadata;
    let until = metadata.blocked_until.map(|it| it.duration_since(now));
    until.or(metadata.cooldown_ms.map(SignedDuration::from_millis))
}

/// Waits until all syncs ended, and notes what came of them; false when that took too long.
async fn wait(api: &Api, service: &SyncService, syncs: &mut [Started]) -> Result<bool, Problem> {
    let began = tokio::time::Instant::now();
    loop {
        let mut open = false;
        for it in syncs.iter_mut().filter(|it| it.results.is_none()) {
            let row = service.sync(SyncId(it.sync)).await?;
            it.state = row.state.as_str();
            if row.state == SyncState::Running {
                open = true;
                continue;
            }
            let provider = provider(service, row.source).await?;
            let about = About { source: &row.source_name, provider: &provider };
            let query = JobQuery { sync: Some(row.id), worker: None, after: None, limit: RESULTS_MAX };
            let jobs = service.jobs_after(query).await?;
            it.results = Some(jobs.into_iter().map(|job| outcome(about, job)).collect());
        }
        if !open {
            return Ok(true);
        }
        if began.elapsed() >= WAIT_MAX {
            return Ok(false);
        }
        tokio::select! {
            () = api.stop.cancelled() => return Err(Problem::stopping()),
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

fn outcome(about: About<'_>, job: JobRow) -> Outcome {
    Outcome {
        name: job.title.unwrap_or(job.partition),
        stream: job.stream,
        state: job.state.as_str(),
        records: job.records,
        rows_written: job.rows_written,
        error: job.error.map(|(code, detail)| Fault::of(about, &code, &detail)),
    }
}
