//! `/api/v1/schedules`: when each stream group of each source is synced by itself.
//!
//! It must never fire a tick; the engine's scheduler does.

use axum::Json;
use domain::id::SourceId;
use domain::policy::schedule::Own;
use engine::ScheduleRow;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::{Admin, Caller, Viewer};
use super::extract::{Body, Path, Query};
use super::problem::Problem;
use crate::config::{EVERY, parse_every};

/// When a stream group of a source is synced by itself.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Schedule {
    /// The source's number.
    source: i64,
    /// The source's name.
    source_name: String,
    group: String,
    /// Where the interval comes from.
    own: Origin,
    /// The interval in force; null for none.
    every_ms: Option<i64>,
    /// When the next tick is due; null for never.
    next_at: Option<i64>,
    /// When the last tick was.
    last_tick_at: Option<i64>,
    /// Ticks that met a running sync and were skipped.
    skipped: u64,
    last_skipped_at: Option<i64>,
}

/// Where an interval comes from.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Origin {
    /// The configuration's, or the connector's.
    Default,
    /// The source's own.
    Own,
    /// The source's own: none.
    Off,
}

impl From<ScheduleRow> for Schedule {
    fn from(row: ScheduleRow) -> Self {
        let own = match row.own {
            Own::Default => Origin::Default,
            Own::Every(_) => Origin::Own,
            Own::Off => Origin::Off,
        };
        Self {
            source: row.source.0,
            source_name: row.source_name,
            group: row.group,
            own,
            every_ms: row.every.and_then(|it| i64::try_from(it.as_millis()).ok()),
            next_at: row.next_at.map(Timestamp::as_millisecond),
            last_tick_at: row.last_tick_at.map(Timestamp::as_millisecond),
            skipped: row.skipped,
            last_skipped_at: row.last_skipped_at.map(Timestamp::as_millisecond),
        }
    }
}

/// The tenant's schedules.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Schedules {
    schedules: Vec<Schedule>,
}

/// Which schedules.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ScheduleQuery {
    /// Only those of this source.
    source: Option<i64>,
}

/// Lists the schedules.
#[utoipa::path(
    get, path = "/api/v1/schedules", tag = "schedules", params(ScheduleQuery),
    responses((status = 200, body = Schedules))
)]
pub(super) async fn list(
    caller: Caller<Viewer>,
    Query(query): Query<ScheduleQuery>,
) -> Result<Json<Schedules>, Problem> {
    let source = match query.source {
        Some(id) => Some(caller.service.source_by_id(SourceId(id)).await?.id),
        None => None,
    };
    let rows = caller.service.schedules(source).await?;
    Ok(Json(Schedules { schedules: rows.into_iter().map(Into::into).collect() }))
}

/// A source's own interval for a stream group.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Interval {
    /// A duration such as `15m` or `1h30m`, or `default`, or `off`.
    #[schema(example = "15m")]
    every: String,
}

/// Sets a source's own interval for a stream group.
#[utoipa::path(
    put, path = "/api/v1/sources/{source}/schedules/{group}", tag = "schedules",
    params(("source" = i64, Path), ("group" = String, Path)), request_body = Interval,
    responses((status = 200, body = Schedule))
)]
pub(super) async fn set(
    caller: Caller<Admin>,
    Path((source, group)): Path<(i64, String)>,
    Body(interval): Body<Interval>,
) -> Result<Json<Schedule>, Problem> {
    let own = match interval.every.as_str() {
        "default" => Own::Default,
        "off" => Own::Off,
        text => Own::Every(duration(text)?),
    };
    let row = caller.service.source_by_id(SourceId(source)).await?;
    Ok(Json(caller.service.set_schedule(row.id, &group, own).await?.into()))
}

fn duration(text: &str) -> Result<SignedDuration, Problem> {
    let refused = || Problem::invalid("every", format!("every: give {EVERY}, or `default`, or `off`"));
    parse_every(text).ok_or_else(refused)
}
