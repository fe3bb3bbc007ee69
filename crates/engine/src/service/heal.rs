//! Self-healing: partitions of which nothing came though their provider shows that there is something are read once more,
//! with care, by the same door as everything.
//!
//! It never reads a partition with care twice for one sign. Begin with [`SyncService::heal`].

use domain::connector::{Connector, Group, Spec};
use domain::id::SourceId;
use domain::policy::heal::{self, Found, Judgement};
use domain::policy::{self, Action, Reason};
use domain::trigger::Trigger;
use jiff::{SignedDuration, Timestamp};
use store::{EnqueueRecoveries, Missed, Recovering, Refuse, StoreError, Suspect, Suspected};

use super::{SyncService, connector};
use crate::error::Error;

/// Suspects of one look: a statement of some milliseconds.
const LOOK: u32 = 200;

/// Looks of one round: it takes less than a second, and the next one comes in a minute.
const LOOKS_MAX: u32 = 10;

/// Steps in which a group's syncs are counted in one round: some days of them, after which a round takes a second.
const COUNTS_MAX: u32 = 20;

/// How soon a recovery is asked for again that a sync under way stands in the way of.
const BESIDE_SYNC: SignedDuration = SignedDuration::from_mins(1);

/// How soon a recovery is asked for again that something else than a limit stands in the way of: a source that is
/// switched off is mostly switched on by a person, some hours later.
const REFUSED_FOR: SignedDuration = SignedDuration::from_hours(1);

impl SyncService {
    /// Concludes the recoveries that ended, looks at what speaks for more than was read, and asks for the recoveries that
    /// are due.
    pub(crate) async fn heal(&self) -> Result<Vec<(&'static str, u64)>, Error> {
        let (healed, quiet) = self.conclude_recoveries().await?;
        self.forgive_recoveries().await?;
        let suspected = self.suspect().await?;
        let (started, refused) = self.recover().await?;
        self.count_missed().await?;
        Ok(vec![
            ("suspected", suspected),
            ("started", started),
            ("refused", refused),
            ("healed", healed),
            ("quiet", quiet),
        ])
    }

    async fn conclude_recoveries(&self) -> Result<(u64, u64), Error> {
        let (mut healed, mut quiet) = (0, 0);
        for sync in self.store.ended_recoveries().await? {
            let Some(it) = self.store.conclude_recovery(sync, self.clock.now()).await? else { continue };
            let count = |what| it.found.iter().filter(|found| **found == what).count() as u64;
            healed += count(Found::News);
            quiet += count(Found::Nothing);
            for (outcome, what) in
                [("healed", Found::News), ("quiet", Found::Nothing), ("unread", Found::Unknown)]
            {
                metrics::counter!("syncline_recoveries_total", "outcome" => outcome).increment(count(what));
            }
            let (source, group, in_vain) = (it.source.0, it.group.as_str(), it.in_vain);
            if heal::warns(in_vain, &self.options.maintenance.healing) {
                tracing::warn!(
                    source,
                    group,
                    in_vain,
                    "recoveries bring nothing though the provider shows that something happened; webhooks may have stopped"
                );
            } else {
                tracing::info!(source, group, in_vain, healed, quiet, "a recovery has ended");
            }
        }
        Ok((healed, quiet))
    }

    async fn forgive_recoveries(&self) -> Result<(), Error> {
        for it in self.store.vain_recoveries().await? {
            if let Some((_, group)) = known(&it) {
                self.store.forgive_recoveries(it.source, group).await?;
            }
        }
        Ok(())
    }

    /// Counts what was read that no delivery told of, of the sources that are delivered to.
    async fn count_missed(&self) -> Result<(), Error> {
        for (source, provider) in self.store.delivered_sources().await? {
            let Ok(connector) = connector(&provider) else { continue };
            for group in connector.spec().groups {
                if !connector.delivers().iter().any(|it| group.streams.iter().any(|of| of.name == *it)) {
                    continue;
                }
                for _ in 0..COUNTS_MAX {
                    let now = self.clock.now();
                    if !self.store.count_missed(source, group, connector.delivers(), now).await? {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns how many of the rows that were read of a source within seven days no delivery told of, by stream group: an
    /// estimate, an hour behind. Nothing of groups and sources that are not delivered to.
    pub async fn missed(&self, source: SourceId) -> Result<Vec<Missed>, Error> {
        let row = self.source_by_id(source).await?;
        Ok(self.store.missed(row.id, self.clock.now()).await?)
    }

    /// Judges partitions whose signs speak for more than was read; returns how many are to be read with care.
    async fn suspect(&self) -> Result<u64, Error> {
        let mut heal = 0;
        for _ in 0..LOOKS_MAX {
            let now = self.clock.now();
            let suspects = self.store.suspects(now, LOOK).await?;
            let more = suspects.len() >= LOOK as usize;
            let noted: Vec<_> = suspects.into_iter().map(|it| self.suspected(it, now)).collect();
            heal += noted.iter().filter(|it| matches!(it.1, Suspected::Heal { .. })).count() as u64;
            if !noted.is_empty() {
                self.store.note_suspects(noted).await?;
            }
            if !more {
                break;
            }
        }
        Ok(heal)
    }

    fn suspected(&self, suspect: Suspect, now: Timestamp) -> (Suspect, Suspected) {
        let healing = &self.options.maintenance.healing;
        let stream =
            connector(&suspect.provider).ok().and_then(|it| it.spec().stream(&suspect.target.stream));
        let what = match (heal::judge(&suspect.signs, healing, now), stream) {
            (Judgement::Heal { at }, Some((group, _))) => Suspected::Heal { group: group.name, at },
            (Judgement::Later(at), _) => Suspected::Later(at),
            // Of what this version does not know, another one's process decides.
            (Judgement::Heal { .. } | Judgement::Well, _) => Suspected::Later(later(now, REFUSED_FOR)),
        };
        (suspect, what)
    }

    /// Asks for the recoveries that are due; returns how many syncs were started, and how many requests refused.
    async fn recover(&self) -> Result<(u64, u64), Error> {
        let (mut started, mut refused) = (0, 0);
        for due in self.store.due_recoveries(self.clock.now()).await? {
            let Some(of) = known(&due) else { continue };
            match self.recover_group(&due, of).await {
                Ok(true) => started += 1,
                Ok(false) => refused += 1,
                // It was removed since it was listed.
                Err(Error::Store(StoreError::NotFound)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((started, refused))
    }

    async fn recover_group(
        &self,
        due: &Recovering,
        (spec, group): (&'static Spec, &'static Group),
    ) -> Result<bool, Error> {
        let (source, now, trigger) = (due.source, self.clock.now(), Trigger::Recovery);
        let (decision, _) = self.decide_targets(source, (spec, group), trigger, &[]).await?;
        if decision.action == Action::Start {
            let request = EnqueueRecoveries { source, group, decision };
            let made = self.store.enqueue_recoveries(request, now).await?;
            if let Some((sync, partitions)) = made {
                tracing::info!(source = source.0, group = group.name, %sync, partitions, "reading with care");
            }
            return Ok(made.is_some());
        }
        let until = match decision.reason {
            Reason::AlreadySyncing => later(now, BESIDE_SYNC),
            Reason::RateLimited => policy::reset(decision.metadata.blocked_until, now),
            _ => later(now, REFUSED_FOR),
        };
        // First put off: if the process dies in between, it is only tried later.
        self.store.put_off_recoveries(source, group.name, until).await?;
        self.store.refuse(Refuse { source, group, trigger, decision, tick: None }, now).await?;
        Ok(false)
    }
}

/// Finds the group, where this version knows it.
fn known(it: &Recovering) -> Option<(&'static Spec, &'static Group)> {
    let spec = connector(&it.provider).map(Connector::spec).ok()?;
    spec.groups.iter().find(|group| group.name == it.group).map(|group| (spec, group))
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}
