//! Requests for some partitions of a group, as a person or a delivery names them.
//!
//! Never reads anything itself, and never drops a request: what is being read is read once more.

use domain::connector::{Group, Spec};
use domain::id::{SourceId, SyncId};
use domain::policy::{self, Action, Decision, Metadata, Reason};
use domain::trigger::Trigger;
use store::{EnqueueTargets, Refuse, StoredFacts, Target, Targeted};

use super::source::{connector, group_of};
use super::{SyncService, facts};
use crate::error::Error;

/// What became of a request for some partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetsRequested {
    /// A sync was made of those that nobody was about to read; the others are read once more.
    Started {
        /// The sync.
        sync: SyncId,
        /// The jobs it began with.
        jobs: u64,
    },
    /// All of them are being read, or about to be: they are read once more where they are.
    Again {
        /// The sync that does.
        sync: SyncId,
    },
    /// It was skipped or refused.
    Refused {
        /// What the policy answered.
        decision: Decision,
        /// The active sync, where that is the reason.
        active: Option<SyncId>,
    },
}

impl SyncService {
    /// Asks for a sync of some partitions of a source's stream group, and says what became of it.
    ///
    /// A sync of the whole group stands in nobody's way who asks by hand: a partition that it reads is read once more.
    pub async fn request_targets(
        &self,
        source: SourceId,
        group: &str,
        targets: Vec<Target>,
        trigger: Trigger,
    ) -> Result<TargetsRequested, Error> {
        let row = self.source_by_id(source).await?;
        let spec = connector(&row.provider)?.spec();
        let group = group_of(spec, group)?;
        if let Some(it) = targets.iter().find(|it| !group.streams.iter().any(|known| known.name == it.stream))
        {
            return Err(Error::Unknown { what: "stream", id: it.stream.clone() });
        }
        // A key that was mistyped must not pass beside others, nor read as if everything had to be synced first.
        if let Some(it) = self.store.unknown_target(source, &targets).await? {
            let why = format!(
                "nothing that is read of `{}` has the key `{}`; /api/v1/sources/{source}/partitions lists the keys",
                it.stream, it.partition
            );
            return Err(Error::Invalid { field: "partition", why });
        }
        let (decision, stored) = self.decide_targets(source, (spec, group), trigger, &targets).await?;
        let refuse = |decision| Refuse { source, group, trigger, decision, tick: None };
        if decision.action != Action::Start {
            self.store.refuse(refuse(decision), self.clock.now()).await?;
            let active = stored.active_sync.filter(|_| decision.reason == Reason::AlreadySyncing);
            return Ok(TargetsRequested::Refused { decision, active });
        }
        let request = EnqueueTargets { source, group, trigger, decision, targets };
        match self.store.enqueue_targets(request, self.clock.now()).await? {
            Targeted::Started { sync, jobs } => Ok(TargetsRequested::Started { sync, jobs }),
            Targeted::Again { sync } => Ok(TargetsRequested::Again { sync }),
            Targeted::Nothing => {
                let reason = Reason::NothingToSync;
                let decision = Decision { action: Action::Block, reason, metadata: Metadata::default() };
                self.store.refuse(refuse(decision), self.clock.now()).await?;
                Ok(TargetsRequested::Refused { decision, active: None })
            }
        }
    }

    /// Decides about a request for some partitions. One by hand meets no running sync, because it joins it; a hint waits
    /// for the sync that runs, and is followed once after it. The cooldown is of the group where all of it was asked for,
    /// and of a partition where that was: otherwise it would be no guard, or one partition would keep another back.
    pub(crate) async fn decide_targets(
        &self,
        source: SourceId,
        (spec, group): (&'static Spec, &'static Group),
        trigger: Trigger,
        targets: &[Target],
    ) -> Result<(Decision, StoredFacts), Error> {
        let now = self.clock.now();
        let mut stored = self.store.facts(source, group, now).await?;
        let cools = trigger == Trigger::Manual && !self.options.thresholds(group).manual_cooldown.is_zero();
        if cools {
            let asked = self.store.last_manual_target(source, targets.to_vec()).await?;
            stored.last_manual_at = stored.last_manual_at.max(asked.map(|at| at.min(now)));
        }
        let mut known = facts::facts(&stored, spec, self.options.thresholds(group), now);
        known.syncing &= trigger != Trigger::Manual;
        Ok((policy::evaluate(&known, trigger, now), stored))
    }
}
