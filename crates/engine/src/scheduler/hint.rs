//! Follows hints: what deliveries named becomes one request after a short while, by the same door as everything.
//!
//! It never drops a hint: what the policy refuses is put off, and tried again.

use std::time::Duration;

use domain::connector::{Connector, Group, Spec};
use domain::id::SourceId;
use domain::job::Lane;
use domain::policy::ledger::Class;
use domain::policy::{self, Action, Decision, Reason};
use domain::trigger::Trigger;
use jiff::{SignedDuration, Timestamp};
use store::{DueHints, EnqueueHints, HintsEnqueued, PutOff, Refuse, StoreError};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::service::SyncService;
use crate::service::source::connector;

/// How often hints that are due are looked for: a look costs one row of an index.
const POLL: Duration = Duration::from_millis(500);

/// How soon hints are tried again that something else keeps from being followed than a limit; each time twice as long, up
/// to [`REFUSED_FOR_MAX`].
const REFUSED_FOR: SignedDuration = SignedDuration::from_mins(5);

/// How long hints are put off at most: what keeps them back may last for ever, such as a repository that is gone.
const REFUSED_FOR_MAX: SignedDuration = SignedDuration::from_hours(1);

/// How long after the last sync of all of a group that hints began another one is made of hints: their providers deliver
/// every change, and a sync of all of a group takes requests for each of its parts.
const WHOLE_EVERY: SignedDuration = SignedDuration::from_mins(1);

/// How soon hints are looked at again that wait for a sync to end.
const BESIDE_SYNC: SignedDuration = SignedDuration::from_secs(1);

impl SyncService {
    /// Follows hints until told to stop. Trouble with the database is borne: the workers decide when it is too much.
    pub(crate) async fn keep_following(&self, only: Option<&[SourceId]>, stop: &CancellationToken) {
        loop {
            if let Err(error) = self.follow(only).await {
                tracing::warn!(%error, "hints could not be followed; trying again");
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// Makes requests of all hints that are due, and returns of how many.
    pub async fn follow_hints(&self) -> Result<u64, Error> {
        self.follow(None).await
    }

    async fn follow(&self, only: Option<&[SourceId]>) -> Result<u64, Error> {
        let mut followed = 0;
        for due in self.store.due_hints(self.clock.now()).await? {
            if only.is_none_or(|only| only.contains(&due.source)) {
                followed += match self.follow_one(&due).await {
                    // It was removed since it was listed.
                    Err(Error::Store(StoreError::NotFound)) => 0,
                    // What is damaged of one source keeps no other from being read.
                    Err(error @ Error::Store(StoreError::Corrupt { .. })) => {
                        let source = due.source.0;
                        tracing::warn!(source, group = due.group, %error, "hints are put off");
                        self.put_off(
                            due.source,
                            &due.group,
                            PutOff { until: self.refused_until(due.tries), awaits: None },
                        )
                        .await?;
                        0
                    }
                    other => other?,
                };
            }
        }
        Ok(followed)
    }

    async fn follow_one(&self, due: &DueHints) -> Result<u64, Error> {
        let Ok(spec) = connector(&due.provider).map(Connector::spec) else { return Ok(0) };
        // Of a group that this version does not know another one's process makes the request.
        let Some(group) = spec.groups.iter().find(|it| it.name == due.group) else { return Ok(0) };
        let (now, whole) = (self.clock.now(), due.whole || !due.ever_synced);
        let rested = due.last_whole_at.map(|at| later(at.min(now), WHOLE_EVERY)).filter(|at| *at > now);
        if let Some(until) = rested.filter(|_| whole) {
            self.put_off(due.source, group.name, PutOff { until, awaits: None }).await?;
            return Ok(0);
        }
        let (decision, stored) =
            self.decide_targets(due.source, (spec, group), Trigger::Webhook, &[]).await?;
        if decision.action != Action::Start {
            self.refuse_hints(due, (spec, group), decision, stored.active_sync).await?;
            return Ok(0);
        }
        let class = Class::of(Trigger::Webhook, Lane::Forward);
        let forecast = if whole {
            Some(self.forecast(due.source, (spec, group), (&stored, class), now).await?)
        } else {
            None
        };
        let request = EnqueueHints { source: due.source, group, decision, whole, forecast };
        match self.store.enqueue_hints(request, now).await? {
            HintsEnqueued::Done { hints, sync } => {
                tracing::info!(source = due.source.0, group = group.name, hints, ?sync, "hints are followed");
                Ok(hints)
            }
            HintsEnqueued::Nothing => Ok(0),
            // Another request came first, between the look and the enqueueing.
            HintsEnqueued::Active { sync } => {
                let decision = Decision { action: Action::Skip, reason: Reason::AlreadySyncing, ..decision };
                self.refuse_hints(due, (spec, group), decision, Some(sync)).await?;
                Ok(0)
            }
        }
    }

    /// Keeps that hints were not let through, and puts them off: one of all of a group until its sync ended, then once.
    async fn refuse_hints(
        &self,
        &DueHints { source, tries, .. }: &DueHints,
        (spec, group): (&'static Spec, &'static Group),
        decision: Decision,
        active: Option<domain::id::SyncId>,
    ) -> Result<(), Error> {
        let now = self.clock.now();
        let (until, awaits) = match decision.reason {
            Reason::AlreadySyncing => (later(now, BESIDE_SYNC), active),
            Reason::RateLimited => (policy::reset(decision.metadata.blocked_until, now), None),
            _ => (self.refused_until(tries), None),
        };
        // First put off: if the process dies in between, they are only tried later.
        self.put_off(source, group.name, PutOff { until, awaits }).await?;
        let refuse = Refuse { source, group, trigger: Trigger::Webhook, decision, tick: None };
        self.store.refuse(refuse, now).await?;
        // What a group reads may be found by the first one. Where it finds nothing, its own schedule goes on looking.
        let first = spec.groups.first().filter(|it| it.name != group.name && tries == 0);
        if let Some(first) = first.filter(|_| decision.reason == Reason::NothingToSync) {
            self.ask(source, (spec, first), Trigger::Webhook, None).await?;
        }
        Ok(())
    }

    /// Until when hints wait that were put off so often.
    fn refused_until(&self, tries: u64) -> Timestamp {
        let doubled = 1 << tries.min(8);
        later(self.clock.now(), REFUSED_FOR.saturating_mul(doubled).min(REFUSED_FOR_MAX))
    }

    async fn put_off(&self, source: SourceId, group: &str, put_off: PutOff) -> Result<(), Error> {
        Ok(self.store.put_off_hints(source, group, put_off).await?)
    }
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}
