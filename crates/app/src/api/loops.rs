//! `/api/sync/…`: the commit and the Jira loop as a dashboard asks for them, over all sources of the tenant.
//!
//! The fields and times (RFC 3339) are those that its users know, and must never change.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use domain::policy::status::State as Standing;
use engine::{GroupStatus, SourceRow, SyncService, provider_specs};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::access::{Caller, Operator, Viewer};
use super::ask::{self, Asked, Waits};
use super::extract::Query;
use super::problem::Problem;
use super::status::error_sentence;

/// The stream groups that the two loops stand for.
const COMMITS: &str = "commits";
const JIRA: &str = "jira";

/// Where both loops stand.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Loops {
    commits: Loop,
    jira: Loop,
}

/// Where a loop stands, over all sources of the tenant.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Loop {
    /// When the source that waits longest was last synced; null when one never was.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_sync: Option<String>,
    /// When the next one is due.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_sync: Option<String>,
    status: LoopStatus,
    /// The latest error that is not resolved.
    last_error: Option<String>,
}

/// Whether a loop works.
#[derive(Clone, Copy, Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum LoopStatus {
    #[default]
    Idle,
    Syncing,
}

/// Shows where both loops stand.
#[utoipa::path(get, path = "/api/sync/status", tag = "loops", responses((status = 200, body = Loops)))]
pub(super) async fn status(caller: Caller<Viewer>) -> Result<Json<Loops>, Problem> {
    let groups = caller.service.status(None).await?;
    Ok(Json(Loops { commits: over(&groups, COMMITS), jira: over(&groups, JIRA) }))
}

fn over(groups: &[GroupStatus], name: &str) -> Loop {
    let groups: Vec<&GroupStatus> = groups.iter().filter(|it| it.group == name).collect();
    let mut last = groups.iter().map(|it| it.last_synced_at);
    // One that was never synced makes the whole never synced: the oldest is what a person can rely on.
    let oldest = last.next().and_then(|first| last.try_fold(first?, |oldest, at| Some(oldest.min(at?))));
    let next = groups.iter().filter_map(|it| it.next_sync_at).min();
    let failed = groups.iter().filter(|it| it.last_sync_error.is_some());
    let latest = failed.max_by_key(|it| it.last_sync_error.as_ref().map(|error| error.at));
    let busy = [Standing::Syncing, Standing::Recovering, Standing::Finishing];
    let status =
        if groups.iter().any(|it| busy.contains(&it.state)) { LoopStatus::Syncing } else { LoopStatus::Idle };
    Loop {
        last_sync: oldest.map(|it| it.to_string()),
        next_sync: next.map(|it| it.to_string()),
        status,
        last_error: latest.and_then(|it| error_sentence(it)),
    }
}

/// Asks for a sync of the commits of every source that has them.
#[utoipa::path(
    post, path = "/api/sync/commits", tag = "loops", params(Waits),
    responses((status = 202, body = Asked), (status = 200, body = Asked, description = "They ended (`wait=true`)."))
)]
pub(super) async fn commits(
    caller: Caller<Operator>,
    State(api): State<Api>,
    Query(waits): Query<Waits>,
) -> Result<(StatusCode, Json<Asked>), Problem> {
    let sources = having(&caller.service, COMMITS).await?;
    ask::ask(&api, &caller.service, sources, Some(COMMITS), waits).await
}

/// Asks for a sync of every source at Jira.
#[utoipa::path(
    post, path = "/api/sync/jira", tag = "loops", params(Waits),
    responses((status = 202, body = Asked), (status = 200, body = Asked, description = "They ended (`wait=true`)."))
)]
pub(super) async fn jira(
    caller: Caller<Operator>,
    State(api): State<Api>,
    Query(waits): Query<Waits>,
) -> Result<(StatusCode, Json<Asked>), Problem> {
    let sources = having(&caller.service, JIRA).await?;
    ask::ask(&api, &caller.service, sources, Some(JIRA), waits).await
}

/// Lists the sources whose connector has a group.
async fn having(service: &SyncService, group: &str) -> Result<Vec<SourceRow>, Problem> {
    let has = |row: &SourceRow| {
        provider_specs().any(|it| it.provider == row.provider && it.groups.iter().any(|it| it.name == group))
    };
    Ok(service.sources().await?.into_iter().filter(has).collect())
}
