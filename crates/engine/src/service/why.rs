//! Why a stream group is not being synced, and when it will be: what the policy would answer now, and what it last did.
//!
//! Never makes a sentence; whatever shows it does.

use domain::connector::{Group, Spec};
use domain::id::SourceId;
use domain::policy::{self, Decision};
use domain::trigger::Trigger;
use jiff::Timestamp;
use store::LastDecision;

use super::source::{connector, group_of};
use super::status::GroupStatus;
use super::{SyncService, facts};
use crate::error::Error;

/// Why a stream group is not being synced, and when it will be.
#[derive(Clone, Debug)]
pub struct GroupWhy {
    /// Where it stands, with what the policy would answer a person now.
    pub status: GroupStatus,
    /// What the policy would answer the schedule now.
    pub by_schedule: Decision,
    /// Whether anything is synced by itself at all.
    pub scheduler_enabled: bool,
    /// Jobs that wait for a limit.
    pub blocked_jobs: u64,
    /// When the first of them goes on.
    pub blocked_until: Option<Timestamp>,
    /// When the first partition is tried again that the provider does not let us read.
    pub next_probe_at: Option<Timestamp>,
    /// What was last answered to a request.
    pub last: Option<LastDecision>,
    /// Of what was read within seven days, how much no delivery told of, by an estimate; `None` where nothing is delivered.
    pub missed: Option<u64>,
}

impl SyncService {
    /// Says why the stream groups of a source, or one of them, are not being synced, and when they will be.
    pub async fn why(&self, source: SourceId, group: Option<&str>) -> Result<Vec<GroupWhy>, Error> {
        let row = self.source_by_id(source).await?;
        let spec: &'static Spec = connector(&row.provider)?.spec();
        let only = group.map(|it| group_of(spec, it)).transpose()?;
        let mut all = Vec::new();
        for status in self.status(Some(source)).await? {
            let Some(group) = spec.groups.iter().find(|it| it.name == status.group) else { continue };
            if only.is_none_or(|only| only.name == group.name) {
                all.push(self.why_of(spec, group, status).await?);
            }
        }
        Ok(all)
    }

    async fn why_of(
        &self,
        spec: &'static Spec,
        group: &'static Group,
        status: GroupStatus,
    ) -> Result<GroupWhy, Error> {
        let now = self.clock.now();
        let stored = self.store.facts(status.source, group, now).await?;
        let known = facts::facts(&stored, spec, self.options.thresholds(group), now);
        let why = self.store.why(status.source, group).await?;
        let missed = self.store.missed(status.source, now).await?;
        Ok(GroupWhy {
            by_schedule: policy::evaluate(&known, Trigger::Cron, now),
            scheduler_enabled: self.options.schedule.enabled,
            blocked_jobs: why.blocked_jobs,
            // What is due goes on with the next free worker.
            blocked_until: why.blocked_until.map(|at| at.max(now)),
            next_probe_at: why.next_probe_at,
            last: why.last,
            missed: missed.into_iter().find(|it| it.group == group.name).map(|it| it.missed),
            status,
        })
    }
}
