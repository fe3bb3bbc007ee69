//! `GET /api/health`: whether the server does its work. The one endpoint that needs no token, unless it looks deep.
//!
//! It must never ask a provider anything: what is known of sources is from their last attempt.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use domain::policy::status::State as Standing;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::access::recognise;
use super::extract::Query;
use super::problem::Problem;

/// How long the scheduler may be silent before it counts as dead: its rounds are a second or so apart.
const SCHEDULER_SILENT_MAX_MS: i64 = 60_000;

/// What is told of a source whose recoveries bring nothing: its webhooks may have stopped.
const RECOVERIES_IN_VAIN: &str = "recoveries_in_vain";

/// How deep to look.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct HealthQuery {
    /// `1` looks at the database, the queue, the scheduler and the sources; this needs a token.
    #[param(inline)]
    deep: Option<Deep>,
}

/// Whether to look deep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, ToSchema)]
enum Deep {
    #[serde(rename = "0", alias = "false")]
    No,
    #[serde(rename = "1", alias = "true")]
    Yes,
}

/// How the server is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Health {
    /// The worst of what was looked at.
    status: Grade,
    /// The program's version.
    version: &'static str,
    /// What was looked at, when asked to look deep.
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<Checks>,
}

/// How a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Grade {
    /// It does its work.
    Ok,
    /// It does its work, but a source of the tenant does not answer as it should.
    Degraded,
    /// It does not.
    Down,
}

/// What a deep look found.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Checks {
    /// The database answers.
    database: Grade,
    /// The queue can be read.
    queue: Queue,
    /// The scheduler goes round.
    scheduler: Scheduler,
    /// The tenant's sources, by what their last attempt told.
    sources: Vec<Reached>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Queue {
    status: Grade,
    /// Jobs of all tenants that wait or run.
    active: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Scheduler {
    status: Grade,
    /// Whether it is switched on.
    enabled: bool,
    /// When it last went round.
    last_round_at: Option<i64>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Reached {
    source: String,
    group: &'static str,
    status: Grade,
    /// The code of what went wrong.
    error: Option<String>,
}

/// Says how the server is.
#[utoipa::path(
    get, path = "/api/health", tag = "health", params(HealthQuery), security((), ("token" = [])),
    responses((status = 200, body = Health), (status = 503, body = Health, description = "It does not do its work."))
)]
pub(super) async fn health(
    State(api): State<Api>,
    headers: HeaderMap,
    Query(query): Query<HealthQuery>,
) -> Result<(StatusCode, Json<Health>), Problem> {
    let version = env!("CARGO_PKG_VERSION");
    if query.deep != Some(Deep::Yes) {
        return Ok((StatusCode::OK, Json(Health { status: Grade::Ok, version, checks: None })));
    }
    let database = match api.service.ping().await {
        Ok(()) => Grade::Ok,
        Err(error) => {
            tracing::error!(%error, "the database does not answer");
            Grade::Down
        }
    };
    if database == Grade::Down {
        // Nobody can be recognised without it, so nothing more is told.
        return Ok((
            StatusCode::SERVICE_UNAVAILABLE,
            Json(Health { status: Grade::Down, version, checks: None }),
        ));
    }
    let caller = recognise(&api, &headers).await?;
    let queue = match api.service.queue_depth().await {
        Ok(depth) => Queue { status: Grade::Ok, active: Some(depth.iter().map(|it| it.1).sum()) },
        Err(_) => Queue { status: Grade::Down, active: None },
    };
    let scheduler = scheduler(&api);
    let mut sources = Vec::new();
    for it in api.service.scoped(caller.tenant).status(None).await? {
        let degraded = it.state == Standing::Error || it.escalates;
        let status = if degraded { Grade::Degraded } else { Grade::Ok };
        let vain = it.escalates.then(|| RECOVERIES_IN_VAIN.to_owned());
        let error = it.last_sync_error.map(|it| it.code).or(vain);
        sources.push(Reached { source: it.name.to_string(), group: it.group, status, error });
    }
    let worst = sources.iter().map(|it| it.status).max().unwrap_or(Grade::Ok);
    let status = worst.max(queue.status).max(scheduler.status);
    let answer = if status == Grade::Down { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let checks = Some(Checks { database, queue, scheduler, sources });
    Ok((answer, Json(Health { status, version, checks })))
}

fn scheduler(api: &Api) -> Scheduler {
    let health = api.service.scheduler_health();
    let now_ms = api.service.clock().now().as_millisecond();
    let last_round_at = health.last_round_at.map(jiff::Timestamp::as_millisecond);
    // One that has not gone round yet is given as long as one that has.
    let silent_ms = now_ms - last_round_at.unwrap_or(api.began_ms);
    let is_dead = health.enabled && silent_ms > SCHEDULER_SILENT_MAX_MS;
    let status = if is_dead { Grade::Down } else { Grade::Ok };
    Scheduler { status, enabled: health.enabled, last_round_at }
}
