//! Where every source stands (`/api/v1/status` and `/api/v1/sources/{source}/status`): the one view of sync state.
//!
//! It must never show a provider's own words: errors are sentences of ours.

use axum::Json;
use domain::id::SourceId;
use domain::policy::status::State;
use engine::GroupStatus;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::{Caller, Viewer};
use super::extract::{Path, Query};
use super::page;
use super::problem::Problem;
use crate::words::{self, About};

/// Where a stream group of a source stands. What does not apply is left out.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Standing {
    #[schema(schema_with = super::word::standing)]
    state: &'static str,
    /// Whether a manual sync would start now.
    can_sync_now: bool,
    /// How long a manual sync is still refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    cooldown_ms: Option<i64>,
    /// When the provider answers again.
    #[serde(skip_serializing_if = "Option::is_none")]
    blocked_until: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    active_job_progress: Option<Progress>,
    /// When a sync last completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_synced_at: Option<i64>,
    /// What went wrong in the last sync, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_sync_error: Option<String>,
    /// The stable word of what went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_sync_error_code: Option<String>,
    /// The sync that runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    active_sync: Option<i64>,
    /// When the next scheduled sync is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_sync_at: Option<i64>,
    /// Partitions that the provider does not let us read.
    invalid_partitions: u64,
    /// Ticks of the schedule that met a running sync and were skipped.
    skipped_ticks: u64,
    /// Recoveries in a row that brought nothing, though the provider shows that something happened.
    recovery_attempts: u64,
    /// What a person has to look at, because recoveries bring nothing: webhooks may have stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    escalation: Option<String>,
}

/// How far a sync is.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Progress {
    /// Jobs that ended.
    current: u64,
    /// Jobs in all, so far.
    total: u64,
}

/// Where a source stands: its groups taken together, and each of them.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct SourceStanding {
    /// The source's number.
    source: i64,
    /// The source's name.
    name: String,
    /// The provider's word.
    provider: &'static str,
    /// Whether it may be synced.
    enabled: bool,
    #[serde(flatten)]
    together: Standing,
    groups: Vec<GroupStanding>,
}

/// Where one stream group of a source stands.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct GroupStanding {
    group: &'static str,
    #[serde(flatten)]
    standing: Standing,
}

/// Where the sources of the tenant stand, by name.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Standings {
    sources: Vec<SourceStanding>,
    /// What to ask for with `after`; null at the end.
    next: Option<String>,
}

/// Which sources.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct StandingQuery {
    /// How many at most.
    #[serde(default = "page::limit")]
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: u32,
    /// `next` of the page before.
    after: Option<String>,
}

/// Shows where the sources stand, by name.
#[utoipa::path(
    get, path = "/api/v1/status", tag = "status", params(StandingQuery),
    responses((status = 200, body = Standings))
)]
pub(super) async fn list(
    caller: Caller<Viewer>,
    Query(query): Query<StandingQuery>,
) -> Result<Json<Standings>, Problem> {
    let limit = page::checked(query.limit)?;
    let after = query.after.as_deref().map(place).transpose()?;
    let page = caller.service.status_after(after, limit).await?;
    let next = page.last.map(|(name, source)| page::of_pair(&source.to_string(), &name));
    Ok(Json(Standings { sources: by_source(page.groups), next }))
}

/// Reads the word that goes on behind a source.
fn place(word: &str) -> Result<(String, SourceId), Problem> {
    let (source, name) = page::pair(word)?;
    let source = source.parse().map_err(|_| page::unknown_word())?;
    Ok((name, SourceId(source)))
}

/// Shows where a source stands.
#[utoipa::path(
    get, path = "/api/v1/sources/{source}/status", tag = "status", params(("source" = i64, Path)),
    responses((status = 200, body = SourceStanding))
)]
pub(super) async fn show(
    caller: Caller<Viewer>,
    Path(source): Path<i64>,
) -> Result<Json<SourceStanding>, Problem> {
    let groups = caller.service.status(Some(SourceId(source))).await?;
    by_source(groups).pop().map(Json).ok_or_else(|| Problem::unknown("source", source))
}

fn by_source(groups: Vec<GroupStatus>) -> Vec<SourceStanding> {
    let mut sources: Vec<SourceStanding> = Vec::new();
    for group in groups {
        let standing = standing(&group);
        let one = GroupStanding { group: group.group, standing: standing.clone() };
        match sources.last_mut().filter(|it| it.source == group.source.0) {
            Some(source) => {
                source.together = together(&source.together, &standing);
                source.groups.push(one);
            }
            None => sources.push(SourceStanding {
                source: group.source.0,
                name: group.name.to_string(),
                provider: group.provider,
                enabled: group.enabled,
                together: standing,
                groups: vec![one],
            }),
        }
    }
    sources
}

fn standing(group: &GroupStatus) -> Standing {
    let ms = |at: Option<Timestamp>| at.map(Timestamp::as_millisecond);
    Standing {
        state: group.state.as_str(),
        can_sync_now: group.can_sync_now,
        cooldown_ms: group.cooldown_ms,
        blocked_until: ms(group.blocked_until),
        active_job_progress: group
            .active_job_progress
            .as_ref()
            .map(|it| Progress { current: it.current, total: it.total }),
        last_synced_at: ms(group.last_synced_at),
        last_sync_error: error_sentence(group),
        last_sync_error_code: group.last_sync_error.as_ref().map(|it| it.code.clone()),
        active_sync: group.active_sync.map(|it| it.0),
        next_sync_at: ms(group.next_sync_at),
        invalid_partitions: group.invalid_partitions,
        skipped_ticks: group.skipped_ticks,
        recovery_attempts: group.recoveries_in_vain,
        escalation: words::escalation(About { source: &group.name, provider: group.provider }, group),
    }
}

/// Says what went wrong in the last sync of a group, and how much of it.
pub(super) fn error_sentence(group: &GroupStatus) -> Option<String> {
    let error = group.last_sync_error.as_ref()?;
    let about = About { source: &group.name, provider: group.provider };
    let sentence = words::fault(about, &error.code, &error.detail);
    let (count, of) = (error.count, error.of);
    Some(if count < of {
        format!("{count} of {of} failed, first {}: {sentence}", error.what)
    } else {
        sentence
    })
}

/// Which state stands for a source whose groups stand differently: what goes on first, then what is wrong.
const WEIGHTS: [State; 6] =
    [State::Syncing, State::Recovering, State::Finishing, State::Blocked, State::Error, State::Idle];

/// Takes two groups together: the oldest success, the earliest next sync, the sums.
fn together(a: &Standing, b: &Standing) -> Standing {
    let weight = |it: &Standing| WEIGHTS.iter().position(|state| state.as_str() == it.state);
    let heavier = if weight(a) <= weight(b) { a } else { b };
    let failed = if a.last_sync_error.is_some() { a } else { b };
    let progress = match (a.active_job_progress, b.active_job_progress) {
        (Some(a), Some(b)) => Some(Progress { current: a.current + b.current, total: a.total + b.total }),
        (a, b) => a.or(b),
    };
    Standing {
        state: heavier.state,
        can_sync_now: a.can_sync_now || b.can_sync_now,
        cooldown_ms: a.cooldown_ms.zip(b.cooldown_ms).map(|(a, b)| a.min(b)),
        blocked_until: earliest(a.blocked_until, b.blocked_until),
        active_job_progress: progress,
        // A group that was never synced makes the whole never synced.
        last_synced_at: a.last_synced_at.zip(b.last_synced_at).map(|(a, b)| a.min(b)),
        last_sync_error: failed.last_sync_error.clone(),
        last_sync_error_code: failed.last_sync_error_code.clone(),
        active_sync: a.active_sync.or(b.active_sync),
        next_sync_at: earliest(a.next_sync_at, b.next_sync_at),
        invalid_partitions: a.invalid_partitions.max(b.invalid_partitions),
        skipped_ticks: a.skipped_ticks + b.skipped_ticks,
        recovery_attempts: a.recovery_attempts.max(b.recovery_attempts),
        escalation: a.escalation.clone().or_else(|| b.escalation.clone()),
    }
}

fn earliest(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    a.into_iter().chain(b).min()
}
