//! The status view: how every source and stream group stands, and what the policy would answer a person now.
//!
//! Never makes a sentence, and never looks at a partition or an ended job.

use std::sync::Arc;

use domain::id::{SourceId, SyncId, TenantId};
use domain::job::SyncState;
use domain::policy::heal;
use domain::policy::status::{State, state};
use domain::policy::{self, Action, Decision, Reason};
use domain::trigger::Trigger;
use jiff::{SignedDuration, Timestamp};
use store::{Among, StatusQuery, StoredStatus};

use super::source::{connector, provider_specs};
use super::{SyncService, facts};
use crate::error::Error;

/// How a source's stream group stands.
#[derive(Clone, Debug)]
pub struct GroupStatus {
    /// The source.
    pub source: SourceId,
    /// What people call it.
    pub name: Arc<str>,
    /// The word of its connector.
    pub provider: &'static str,
    /// Its owner.
    pub tenant: Option<TenantId>,
    /// What people call its owner.
    pub tenant_name: Option<Arc<str>>,
    /// The group of streams.
    pub group: &'static str,
    /// Whether the source is switched on.
    pub enabled: bool,
    /// Where it stands.
    pub state: State,
    /// Whether a person's request would start a sync now.
    pub can_sync_now: bool,
    /// What the policy would answer that request.
    pub decision: Decision,
    /// How long a person still has to wait, in milliseconds.
    pub cooldown_ms: Option<i64>,
    /// When the provider's limit ends that stands in the way.
    pub blocked_until: Option<Timestamp>,
    /// The sync that is under way.
    pub active_sync: Option<SyncId>,
    /// How far it is, in jobs.
    pub active_job_progress: Option<Progress>,
    /// When a sync last completed.
    pub last_synced_at: Option<Timestamp>,
    /// When the last sync ended, whatever came of it.
    pub last_ended_at: Option<Timestamp>,
    /// How it ended.
    pub last_state: Option<SyncState>,
    /// What went wrong in it, or before and is not mended since.
    pub last_sync_error: Option<LastError>,
    /// When the next tick is due; see [`ScheduleRow::next_at`](super::schedule::ScheduleRow::next_at).
    pub next_sync_at: Option<Timestamp>,
    /// The interval in force; `None` is off.
    pub every: Option<SignedDuration>,
    /// Ticks that met their running sync.
    pub skipped_ticks: u64,
    /// Partitions whose last job failed.
    pub failed_partitions: u64,
    /// Of them, those that the provider no longer lets us read; they are tried again daily.
    pub invalid_partitions: u64,
    /// Recoveries in a row that brought nothing, though the provider shows that something happened.
    pub recoveries_in_vain: u64,
    /// Whether they are so many that a person has to look.
    pub escalates: bool,
}

/// How far a sync is, in jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Those that ended.
    pub current: u64,
    /// All of them so far.
    pub total: u64,
}

/// What went wrong, and is not mended since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    /// What the first failure could not read: a repository's name, or its key.
    pub what: String,
    /// The fault's word.
    pub code: String,
    /// A sentence about it.
    pub detail: String,
    /// How many jobs and items failed.
    pub count: u64,
    /// Of how many jobs.
    pub of: u64,
    /// When the sync ended.
    pub at: Timestamp,
}

/// A page of sources, with how their groups stand.
#[derive(Clone, Debug)]
pub struct StatusPage {
    /// The groups, in the order of their sources' names.
    pub groups: Vec<GroupStatus>,
    /// The last source, where there may be more behind it.
    pub last: Option<(String, SourceId)>,
}

impl SyncService {
    /// Returns how a source stands, or all of them, by name; one for each group of its connector.
    pub async fn status(&self, source: Option<SourceId>) -> Result<Vec<GroupStatus>, Error> {
        let groups = self.stand(source.map_or(Among::All, Among::One)).await?.groups;
        if let (Some(id), []) = (source, &*groups) {
            self.source_by_id(id).await?;
        }
        Ok(groups)
    }

    /// Returns how the sources behind one stand, by name, at most `limit` of them.
    pub async fn status_after(
        &self,
        after: Option<(String, SourceId)>,
        limit: u32,
    ) -> Result<StatusPage, Error> {
        self.stand(Among::Behind(after, limit)).await
    }

    async fn stand(&self, among: Among) -> Result<StatusPage, Error> {
        let now = self.clock.now();
        let limit = match &among {
            Among::Behind(_, limit) => Some(*limit as usize),
            Among::All | Among::One(_) => None,
        };
        let specs = provider_specs();
        let groups = specs.flat_map(|spec| spec.groups.iter().map(move |it| (spec.provider, it))).collect();
        let found = self.store.status(StatusQuery { scope: self.scope, among, groups }).await?;
        let mut groups = Vec::with_capacity(found.rows.len());
        for mut stored in found.rows {
            // A clock that was set back must not make a cooldown longer than it is.
            stored.facts.last_manual_at = stored.facts.last_manual_at.map(|at| at.min(now));
            stored.facts.last_success_at = stored.facts.last_success_at.map(|at| at.min(now));
            let spec = connector(stored.provider)?.spec();
            let facts = facts::facts(&stored.facts, spec, self.options.thresholds(stored.group), now);
            let decision = policy::evaluate(&facts, Trigger::Manual, now);
            let runs = stored.facts.enabled && stored.facts.has_owner;
            let tick = self.next_tick(stored.group, stored.schedule.as_deref(), runs, now);
            let escalates = heal::warns(stored.recoveries_in_vain, &self.options.maintenance.healing);
            groups.push(GroupStatus { escalates, ..group_status(stored, decision, tick, now) });
        }
        let last = found.last.filter(|_| limit.is_some_and(|it| found.sources >= it));
        Ok(StatusPage { groups, last })
    }
}

/// What is unresolved: what failed in the last sync, or before in partitions that it left out because they cannot be read.
fn last_error(stored: &StoredStatus) -> Option<LastError> {
    let last = stored.standing.as_ref()?;
    let (jobs, failed) = (last.jobs, stored.failed_partitions);
    let ((what, code, detail), count, of) = match (&last.error, &stored.unresolved) {
        (Some(error), _) => (error.clone(), last.failed, jobs),
        (None, Some(error)) => (error.as_ref().clone(), failed, jobs + failed),
        (None, None) => return None,
    };
    Some(LastError { what, code, detail, count, of, at: last.ended_at })
}

fn group_status(
    stored: StoredStatus,
    decision: Decision,
    (every, next_sync_at): (Option<SignedDuration>, Option<Timestamp>),
    now: Timestamp,
) -> GroupStatus {
    let waits = stored.blocked_until.filter(|at| *at > now);
    let limited = decision.metadata.blocked_until.filter(|_| decision.reason == Reason::RateLimited);
    let last_state = stored.standing.as_ref().map(|it| it.state);
    let state = state(stored.active, last_state, waits.is_some() || limited.is_some());
    let last_sync_error = last_error(&stored);
    GroupStatus {
        source: stored.source,
        name: stored.name,
        provider: stored.provider,
        tenant: stored.tenant,
        tenant_name: stored.tenant_name,
        group: stored.group.name,
        enabled: stored.facts.enabled,
        state,
        can_sync_now: decision.action == Action::Start,
        decision,
        cooldown_ms: decision.metadata.cooldown_ms,
        // Of a sync under way only what it waits for itself stands in the way.
        blocked_until: waits.or(limited).filter(|_| state == State::Blocked),
        active_sync: stored.facts.active_sync,
        active_job_progress: stored.active.map(|it| Progress { current: it.ended, total: it.jobs }),
        last_synced_at: stored.facts.last_success_at,
        last_ended_at: stored.standing.as_ref().map(|it| it.ended_at),
        last_state,
        last_sync_error,
        next_sync_at,
        every,
        skipped_ticks: stored.schedule.map_or(0, |it| it.skipped),
        failed_partitions: stored.failed_partitions,
        invalid_partitions: stored.invalid_partitions,
        recoveries_in_vain: stored.recoveries_in_vain,
        escalates: false,
    }
}
