//! `/api/v1/plan` and `/api/v1/sources/{source}/plan`: what is due, what it will take, and when it will be finished.
//!
//! It must never reckon anything; the engine does.

use axum::Json;
use domain::id::SourceId;
use domain::policy::forecast::{Purse, StreamForecast};
use engine::{CameTrue, GroupPlan, OpenLane, PastForecast, Plans};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::{Caller, Viewer};
use super::extract::{Path, Query};
use super::page;
use super::problem::Problem;

/// What is planned for a stream group of a source.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Planned {
    /// The source's number.
    source: i64,
    /// The source's name.
    source_name: String,
    provider: String,
    group: String,
    /// The sync that is under way.
    active_sync: Option<i64>,
    /// When it is due: now where a sync is under way; null where nothing is synced by itself.
    due_at: Option<i64>,
    /// The interval of its schedule; null where that is off.
    every_ms: Option<i64>,
    /// Requests that it takes, or that the one under way still takes.
    requests: u64,
    /// Of them, those that the budget pays for.
    charged: u64,
    /// Whether there may be more, because something is to be read that nothing was measured of yet.
    at_least: bool,
    /// Partitions that were never read.
    unread: u64,
    /// Requests that the one under way has spent.
    spent: u64,
    /// How long it works; null where nothing was measured yet.
    takes_ms: Option<i64>,
    /// How long it waits for the budget beside that.
    waits_ms: i64,
    /// When it is finished; null where that cannot be told.
    ends_at: Option<i64>,
    /// What it may spend; null where the provider counts nothing.
    budget: Option<Allowance>,
    /// The requests by stream.
    streams: Vec<OfStream>,
    /// Lanes beside it that have something left to read; they come after everything else.
    lanes: Vec<LaneLeft>,
    /// The last plan that was carried out, or is; null where none was.
    last: Option<Past>,
}

/// What may be spent of a budget, as those leave it that are due before.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Allowance {
    /// Requests of a full budget.
    limit: u64,
    /// Requests that are left.
    left: u64,
    /// Requests that have to stay.
    leaves: u64,
    /// When it is full again; null when it is.
    resets_at: Option<i64>,
}

/// What is expected of a stream.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct OfStream {
    stream: String,
    /// Partitions to be read, as far as they are known.
    partitions: u64,
    requests: u64,
    /// From what that was reckoned: `measured` on the same partitions, on `alike` ones of the stream, or only `listed`,
    /// one request each at least.
    basis: &'static str,
}

/// A lane that has something left to read.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LaneLeft {
    #[schema(schema_with = super::word::lane)]
    lane: &'static str,
    /// Partitions that it is not through with.
    partitions: u64,
    /// Requests that it has spent on them so far.
    spent: u64,
}

/// What was expected of a sync when it was asked for.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Past {
    sync: i64,
    made_at: i64,
    requests: u64,
    charged: u64,
    at_least: bool,
    /// How long it was expected to take, waits included.
    takes_ms: Option<i64>,
    /// What came true; null until it has ended.
    came_true: Option<True>,
}

/// What came true of a plan.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct True {
    requests: u64,
    /// Of them, those that were answered as unchanged.
    unchanged: u64,
    took_ms: i64,
    #[schema(schema_with = super::word::sync_state)]
    state: &'static str,
    ended_at: i64,
}

/// What is due, the soonest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Plan {
    /// When this was reckoned.
    now: i64,
    plans: Vec<Planned>,
    /// Groups that are due after all of these.
    more: u64,
}

/// How much of the plan.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanQuery {
    /// How many groups, those that are due first, 1 to 500.
    #[serde(default = "page::limit")]
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: u32,
}

/// Says what is due, the requests it will take, and when it will be finished.
#[utoipa::path(get, path = "/api/v1/plan", tag = "status", params(PlanQuery), responses((status = 200, body = Plan)))]
pub(super) async fn list(
    caller: Caller<Viewer>,
    Query(query): Query<PlanQuery>,
) -> Result<Json<Plan>, Problem> {
    let limit = page::checked(query.limit)? as usize;
    let now = caller.service.clock().now();
    Ok(Json(told(caller.service.plan(None, limit).await?, now)))
}

/// Says the same of one source.
#[utoipa::path(
    get, path = "/api/v1/sources/{source}/plan", tag = "status", params(("source" = i64, Path)),
    responses((status = 200, body = Plan))
)]
pub(super) async fn show(caller: Caller<Viewer>, Path(source): Path<i64>) -> Result<Json<Plan>, Problem> {
    let source = caller.service.source_by_id(SourceId(source)).await?.id;
    let now = caller.service.clock().now();
    Ok(Json(told(caller.service.plan(Some(source), usize::MAX).await?, now)))
}

fn told(plans: Plans, now: Timestamp) -> Plan {
    Plan {
        now: now.as_millisecond(),
        plans: plans.plans.into_iter().map(planned).collect(),
        more: plans.more as u64,
    }
}

fn ms(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::as_millisecond)
}

fn millis(it: SignedDuration) -> i64 {
    i64::try_from(it.as_millis()).unwrap_or(i64::MAX)
}

fn planned(it: GroupPlan) -> Planned {
    Planned {
        source: it.source.0,
        source_name: it.source_name,
        provider: it.provider,
        group: it.group,
        active_sync: it.active_sync.map(|it| it.0),
        due_at: ms(it.due_at),
        every_ms: it.every.map(millis),
        requests: it.expected.requests,
        charged: it.expected.charged,
        at_least: it.expected.at_least,
        unread: it.expected.unread,
        spent: it.spent,
        takes_ms: it.takes.map(millis),
        waits_ms: millis(it.waits),
        ends_at: ms(it.ends_at),
        budget: it.purse.map(allowance),
        streams: it.expected.streams.into_iter().map(of_stream).collect(),
        lanes: it.lanes.into_iter().map(lane).collect(),
        last: it.last.as_ref().map(past),
    }
}

fn allowance(it: Purse) -> Allowance {
    Allowance { limit: it.limit, left: it.left, leaves: it.required, resets_at: ms(it.resets_at) }
}

fn of_stream(it: StreamForecast) -> OfStream {
    OfStream { stream: it.stream, partitions: it.partitions, requests: it.requests, basis: it.basis.as_str() }
}

fn lane(it: OpenLane) -> LaneLeft {
    LaneLeft { lane: it.lane.as_str(), partitions: it.partitions, spent: it.spent }
}

fn past(it: &PastForecast) -> Past {
    Past {
        sync: it.sync.0,
        made_at: it.made_at.as_millisecond(),
        requests: it.requests,
        charged: it.charged,
        at_least: it.at_least,
        takes_ms: it.takes.map(millis),
        came_true: it.came_true.map(came_true),
    }
}

fn came_true(it: CameTrue) -> True {
    True {
        requests: it.requests,
        unchanged: it.unchanged,
        took_ms: millis(it.took),
        state: it.state.as_str(),
        ended_at: it.ended_at.as_millisecond(),
    }
}
