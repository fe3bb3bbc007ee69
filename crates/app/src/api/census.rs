//! `/api/v1/censuses`: which records a provider no longer lists, what became of them, and a person's answer where much is
//! gone.
//!
//! It must never decide what is gone.

use axum::Json;
use axum::http::StatusCode;
use domain::id::SourceId;
use engine::{AbsenceRow, CensusRow};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::{Caller, Operator, Viewer};
use super::extract::{Path, Query};
use super::page;
use super::problem::Problem;

/// A census of a partition.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Census {
    id: i64,
    /// The source's number.
    source: i64,
    /// The source's name.
    source_name: String,
    stream: String,
    partition: String,
    /// What people call the partition.
    title: Option<String>,
    #[schema(schema_with = super::word::census_state)]
    state: &'static str,
    began_at: i64,
    ended_at: Option<i64>,
    /// When a person answered last.
    decided_at: Option<i64>,
    /// Ids that the provider listed; null until all are.
    listed: Option<u64>,
    /// Rows that were there.
    known: Option<u64>,
    /// Of them, those that were not listed.
    absent: Option<u64>,
    /// Absent ones that the provider says do not exist.
    deleted: u64,
    /// Absent ones that are elsewhere.
    moved: u64,
    /// Absent ones that the credential may no longer see.
    access_lost: u64,
    /// Absent ones of which nothing is known.
    unobserved: u64,
    /// Rows that are marked as deleted by this census.
    marked: u64,
    /// The stable word of what kept it from its end.
    error_code: Option<String>,
}

/// A census with what it found absent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CensusOf {
    census: Census,
    /// The absent records that were looked up, or are to be.
    absences: Vec<Absent>,
}

/// A record that is absent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Absent {
    /// The provider's id.
    key: String,
    /// What became of it.
    #[schema(schema_with = super::word::absence)]
    absence: Option<&'static str>,
    /// Where it went, where the provider says so.
    moved_to: Option<String>,
    /// Whether its row is marked by this census.
    marked: bool,
    /// Whether a person had it brought back.
    restored: bool,
}

/// Censuses, the newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Censuses {
    censuses: Vec<Census>,
    /// What to give as `before` for the next page; null on the last.
    next: Option<String>,
}

/// Partitions whose censuses began.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Begun {
    begun: u64,
}

/// What became of an answer.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CensusAnswer {
    census: Census,
    /// Rows that were marked, or brought back.
    records: u64,
}

/// Which censuses.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct CensusQuery {
    /// Only those of this source.
    source: Option<i64>,
    /// Only those before this one.
    before: Option<i64>,
    /// How many, 1 to 500.
    #[serde(default = "page::limit")]
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: u32,
}

/// Which streams.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamQuery {
    /// Only this one; otherwise all that can be counted.
    stream: Option<String>,
}

/// Lists censuses, the newest first.
#[utoipa::path(
    get, path = "/api/v1/censuses", tag = "census", params(CensusQuery),
    responses((status = 200, body = Censuses))
)]
pub(super) async fn list(
    caller: Caller<Viewer>,
    Query(query): Query<CensusQuery>,
) -> Result<Json<Censuses>, Problem> {
    let limit = page::checked(query.limit)?;
    let rows = caller.service.censuses(query.source.map(SourceId), query.before, limit).await?;
    let next = page::next(&rows, limit, |it| it.id.to_string());
    Ok(Json(Censuses { censuses: rows.into_iter().map(told).collect(), next }))
}

/// Shows a census with the records that it found absent.
#[utoipa::path(
    get, path = "/api/v1/censuses/{census}", tag = "census", params(("census" = i64, Path)),
    responses((status = 200, body = CensusOf))
)]
pub(super) async fn show(caller: Caller<Viewer>, Path(census): Path<i64>) -> Result<Json<CensusOf>, Problem> {
    let (row, absences) = caller.service.census(census).await?;
    Ok(Json(CensusOf { census: told(row), absences: absences.into_iter().map(absent).collect() }))
}

/// Begins to count a source's partitions now, beside the schedule.
#[utoipa::path(
    post, path = "/api/v1/sources/{source}/census", tag = "census", params(("source" = i64, Path), StreamQuery),
    responses((status = 202, body = Begun))
)]
pub(super) async fn start(
    caller: Caller<Operator>,
    Path(source): Path<i64>,
    Query(query): Query<StreamQuery>,
) -> Result<(StatusCode, Json<Begun>), Problem> {
    let begun = caller.service.start_census(SourceId(source), query.stream.as_deref()).await?;
    Ok((StatusCode::ACCEPTED, Json(Begun { begun })))
}

/// Lets what a census found to be gone be marked as deleted.
#[utoipa::path(
    post, path = "/api/v1/censuses/{census}/approve", tag = "census", params(("census" = i64, Path)),
    responses((status = 200, body = CensusAnswer))
)]
pub(super) async fn approve(
    caller: Caller<Operator>,
    Path(census): Path<i64>,
) -> Result<Json<CensusAnswer>, Problem> {
    let records = caller.service.approve_census(census).await?;
    Ok(Json(CensusAnswer { census: told(caller.service.census(census).await?.0), records }))
}

/// Brings back what a census marked as deleted.
#[utoipa::path(
    post, path = "/api/v1/censuses/{census}/undo", tag = "census", params(("census" = i64, Path)),
    responses((status = 200, body = CensusAnswer))
)]
pub(super) async fn undo(
    caller: Caller<Operator>,
    Path(census): Path<i64>,
) -> Result<Json<CensusAnswer>, Problem> {
    let records = caller.service.undo_census(census).await?;
    Ok(Json(CensusAnswer { census: told(caller.service.census(census).await?.0), records }))
}

fn told(it: CensusRow) -> Census {
    let ms = |at: Option<Timestamp>| at.map(Timestamp::as_millisecond);
    let [deleted, moved, access_lost, unobserved] = it.absences;
    Census {
        id: it.id,
        source: it.source.0,
        source_name: it.source_name,
        stream: it.stream,
        partition: it.partition,
        title: it.title,
        state: it.state.as_str(),
        began_at: it.began_at.as_millisecond(),
        ended_at: ms(it.ended_at),
        decided_at: ms(it.decided_at),
        listed: it.listed,
        known: it.known,
        absent: it.absent,
        deleted,
        moved,
        access_lost,
        unobserved,
        marked: it.marked,
        error_code: it.error.map(|it| it.0),
    }
}

fn absent(it: AbsenceRow) -> Absent {
    Absent {
        key: it.key,
        absence: it.absence.map(domain::census::Absence::as_str),
        moved_to: it.moved_to,
        marked: it.marked,
        restored: it.restored,
    }
}
