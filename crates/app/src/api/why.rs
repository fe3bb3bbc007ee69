//! `/api/v1/sources/{source}/why`: what keeps a source from being synced now, and when it will be.
//!
//! It must never decide anything; it tells what the policy answers.

use axum::Json;
use domain::id::SourceId;
use domain::policy::Decision;
use engine::{GroupWhy, LastDecision};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::access::{Caller, Viewer};
use super::extract::{Path, Query};
use super::problem::Problem;
use crate::words::{self, About};

/// Why a stream group is not being synced, and when it will be.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Explained {
    group: &'static str,
    /// What keeps it from being synced now, and when it will be: one line for people.
    why: String,
    #[schema(schema_with = super::word::standing)]
    state: &'static str,
    /// Whether a manual sync would start now.
    can_sync_now: bool,
    /// What would be answered to a person now.
    #[schema(value_type = Object)]
    decision: Decision,
    /// What would be answered to the schedule now.
    #[schema(value_type = Object)]
    by_schedule: Decision,
    /// Whether anything is synced by itself.
    scheduler_enabled: bool,
    /// When the next scheduled sync is due; null for never.
    next_sync_at: Option<i64>,
    /// Jobs that wait for the provider's limit.
    blocked_jobs: u64,
    /// When the first of them goes on.
    blocked_until: Option<i64>,
    /// Partitions that the provider does not let us read.
    invalid_partitions: u64,
    /// Recoveries in a row that brought nothing, though the provider shows that something happened.
    recovery_attempts: u64,
    /// What a person has to look at, because recoveries bring nothing; null where they do not.
    escalation: Option<String>,
    /// When the first of the partitions that cannot be read is tried again.
    next_probe_at: Option<i64>,
    /// What was last answered; null when nobody has asked yet.
    last_decision: Option<Answered>,
}

/// What was last answered to a request for a sync.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Answered {
    at: i64,
    #[schema(schema_with = super::word::trigger)]
    trigger: &'static str,
    /// `start`, `skip` or `block`.
    action: &'static str,
    /// The stable word for why.
    reason: &'static str,
    /// The numbers behind it.
    #[schema(value_type = Object)]
    metadata: Value,
    /// The sync that was made.
    sync: Option<i64>,
}

/// Why a source is not being synced, and when it will be.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Whys {
    groups: Vec<Explained>,
}

/// Which stream group.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct WhyQuery {
    /// Only this one.
    group: Option<String>,
}

/// Says what keeps a source from being synced now, and when it will be.
#[utoipa::path(
    get, path = "/api/v1/sources/{source}/why", tag = "status", params(("source" = i64, Path), WhyQuery),
    responses((status = 200, body = Whys))
)]
pub(super) async fn show(
    caller: Caller<Viewer>,
    Path(source): Path<i64>,
    Query(query): Query<WhyQuery>,
) -> Result<Json<Whys>, Problem> {
    let row = caller.service.source_by_id(SourceId(source)).await?;
    let all = caller.service.why(row.id, query.group.as_deref()).await?;
    let now = caller.service.clock().now();
    let about = About { source: &row.name, provider: &row.provider };
    Ok(Json(Whys { groups: all.into_iter().map(|it| told(about, it, now)).collect() }))
}

fn told(about: About<'_>, why: GroupWhy, now: Timestamp) -> Explained {
    let ms = |at: Option<Timestamp>| at.map(Timestamp::as_millisecond);
    Explained {
        why: words::why(about, &why, now),
        state: why.status.state.as_str(),
        can_sync_now: why.status.can_sync_now,
        decision: why.status.decision,
        by_schedule: why.by_schedule,
        scheduler_enabled: why.scheduler_enabled,
        next_sync_at: ms(why.status.next_sync_at),
        blocked_jobs: why.blocked_jobs,
        blocked_until: ms(why.blocked_until),
        invalid_partitions: why.status.invalid_partitions,
        recovery_attempts: why.status.recoveries_in_vain,
        escalation: words::escalation(about, &why.status),
        next_probe_at: ms(why.next_probe_at),
        last_decision: why.last.map(answered),
        group: why.status.group,
    }
}

fn answered(last: LastDecision) -> Answered {
    Answered {
        at: last.at.as_millisecond(),
        trigger: last.trigger.as_str(),
        action: last.action.as_str(),
        reason: last.reason.as_str(),
        metadata: last.metadata,
        sync: last.sync.map(|it| it.0),
    }
}
