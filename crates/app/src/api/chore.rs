//! `/api/v1/chores`: what keeps everything in order, and what each chore last did.
//!
//! It must never run a chore; the engine does, and one process of all has each run.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::StatusCode;
use engine::{ChoreRow, ChoreRun};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::access::{Caller, Viewer};
use super::problem::Problem;

/// A chore.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Chore {
    name: &'static str,
    /// What it is for.
    does: &'static str,
    every_ms: i64,
    /// When it is due; null until a process runs chores.
    next_at: Option<i64>,
    /// How often it was begun.
    runs: u64,
    last_run: Option<LastRun>,
}

/// The last run of a chore.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct LastRun {
    at: i64,
    /// The process that ran it.
    node: String,
    /// How long it took; null while it runs, or when its process died.
    took_ms: Option<i64>,
    /// What it did, in numbers.
    did: BTreeMap<String, u64>,
    /// Why it failed; null when it did not.
    error: Option<String>,
}

/// The chores.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Chores {
    chores: Vec<Chore>,
}

fn ms(duration: SignedDuration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl From<ChoreRun> for LastRun {
    fn from(run: ChoreRun) -> Self {
        let ChoreRun { at, node, took, did, error } = run;
        Self { at: at.as_millisecond(), node, took_ms: took.map(ms), did, error }
    }
}

impl From<ChoreRow> for Chore {
    fn from(row: ChoreRow) -> Self {
        Self {
            name: row.name,
            does: row.does,
            every_ms: ms(row.every),
            next_at: row.next_at.map(Timestamp::as_millisecond),
            runs: row.runs,
            last_run: row.last.map(Into::into),
        }
    }
}

/// Lists the chores. They are of all tenants together, so only the tenant `default` sees them.
#[utoipa::path(get, path = "/api/v1/chores", tag = "server", responses((status = 200, body = Chores)))]
pub(super) async fn list(caller: Caller<Viewer>) -> Result<Json<Chores>, Problem> {
    if !caller.sees_all() {
        let says = "chores are of all tenants: use a token of the tenant `default`";
        return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", says));
    }
    let chores = caller.service.chores().await?;
    Ok(Json(Chores { chores: chores.into_iter().map(Into::into).collect() }))
}
