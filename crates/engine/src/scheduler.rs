//! The scheduler: fires ticks that are due. Any number of processes may run one; the database gives each tick to one.
//!
//! It never decides when a tick is due, nor whether a sync begins: both are the policy's. It never waits for a sync.

mod hint;

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use domain::id::SourceId;
use domain::policy::schedule::{next_tick, place};
use domain::trigger::Trigger;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use jiff::Timestamp;
use store::{Plan, StoreError, StoredSchedule, Tick};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::service::SyncService;
use crate::service::schedule::{PAGE, due_at};
use crate::service::source::connector;

/// How often the database is asked for ticks, at most: what another process adds or changes waits this long.
const POLL: Duration = Duration::from_secs(1);

/// Ticks that are fired side by side: as many as share a commit with profit, few beside what workers write.
const SIDE_BY_SIDE: usize = 8;

/// How the scheduler of this process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedulerHealth {
    /// Whether it is switched on.
    pub enabled: bool,
    /// When it last looked for ticks without trouble; a healthy one looks every second.
    pub last_round_at: Option<Timestamp>,
}

impl SyncService {
    /// Runs workers and, where it is switched on, scheduler and chores, until `stop` is cancelled; then gives back what it holds.
    ///
    /// # Errors
    /// When the database stays out of reach or is full.
    pub async fn run(&self, stop: CancellationToken) -> Result<(), Error> {
        self.run_over(None, stop).await
    }

    /// The same for some sources alone: the ticks and jobs of all others are left to other processes.
    ///
    /// # Errors
    /// When the database stays out of reach or is full.
    pub async fn run_only(&self, sources: Vec<SourceId>, stop: CancellationToken) -> Result<(), Error> {
        self.run_over(Some(sources), stop).await
    }

    async fn run_over(&self, only: Option<Vec<SourceId>>, stop: CancellationToken) -> Result<(), Error> {
        let enough = stop.child_token();
        let work = async {
            let worked = self.work(only.clone(), enough.clone()).await;
            enough.cancel();
            worked
        };
        let schedule = async {
            if self.options.schedule.enabled {
                self.keep_schedules(only.as_deref(), &enough).await;
            }
        };
        let maintain = async {
            // Chores are everybody's: a process that is there for some sources leaves them to others.
            if self.options.schedule.enabled && only.is_none() {
                Box::pin(self.keep_chores(&enough)).await;
            }
        };
        // What providers deliver is followed also where nothing is synced by itself.
        let follow = async { Box::pin(self.keep_following(only.as_deref(), &enough)).await };
        let (worked, (), (), ()) = tokio::join!(work, schedule, maintain, follow);
        worked
    }

    /// Says how the scheduler of this process stands.
    #[must_use]
    pub fn scheduler_health(&self) -> SchedulerHealth {
        let ms = Some(self.pool.scheduled_at.load(Ordering::Relaxed)).filter(|it| *it > 0);
        SchedulerHealth {
            enabled: self.options.schedule.enabled,
            last_round_at: ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()),
        }
    }

    /// Fires ticks until told to stop. Trouble with the database is borne: the workers decide when it is too much.
    async fn keep_schedules(&self, only: Option<&[SourceId]>, stop: &CancellationToken) {
        let mut is_prepared = false;
        loop {
            match self.tend(only, &mut is_prepared).await {
                Ok(()) => {
                    self.pool.scheduled_at.store(self.clock.now().as_millisecond(), Ordering::Relaxed);
                }
                Err(error) => tracing::warn!(%error, "ticks could not be fired; trying again"),
            }
            let pause = match self.store.next_tick().await {
                Ok(Some(at)) => Duration::try_from(at.duration_since(self.clock.now())).unwrap_or(POLL),
                Ok(None) | Err(_) => POLL,
            };
            // A tick that is due already could not be fired: it is not tried without a pause.
            let pause = if pause.is_zero() { POLL } else { pause.min(POLL) };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn tend(&self, only: Option<&[SourceId]>, is_prepared: &mut bool) -> Result<(), Error> {
        if only.is_some() {
            // Some sources have the schedules that they were given; those of others are not for this process to make.
            return self.fire(only).await.map(|_| ());
        }
        if *is_prepared {
            self.plan_new().await?;
        } else {
            self.prepare_schedules().await?;
            *is_prepared = true;
        }
        self.fire(None).await.map(|_| ())
    }

    /// Fires every tick that is due now, a page at a time, and returns how many this process had.
    pub async fn fire_due(&self) -> Result<u64, Error> {
        self.fire(None).await
    }

    async fn fire(&self, only: Option<&[SourceId]>) -> Result<u64, Error> {
        let mut after = None;
        let mut fired = 0;
        loop {
            let page = self.store.due_schedules(after, PAGE, self.clock.now()).await?;
            let more = page.len() >= PAGE as usize;
            after = page.last().map(|it| (it.source, it.group.clone()));
            let due = page.into_iter().filter(|it| only.is_none_or(|only| only.contains(&it.source)));
            let firing = stream::iter(due.map(|due| self.fire_one(due))).buffer_unordered(SIDE_BY_SIDE);
            fired += firing.try_fold(0, async |sum, had| Ok(sum + u64::from(had))).await?;
            if !more {
                return Ok(fired);
            }
        }
    }

    /// Fires one tick; false when it was another process's, or of nothing that this version knows.
    async fn fire_one(&self, due: StoredSchedule) -> Result<bool, Error> {
        let Ok(connector) = connector(&due.provider) else { return Ok(false) };
        let spec = connector.spec();
        let Some(group) = spec.groups.iter().find(|it| it.name == due.group) else { return Ok(false) };
        let Some(interval) = due.own.in_force(self.options.schedule.interval(group)) else {
            return Ok(false);
        };
        let now = self.clock.now();
        let next_at = next_tick(interval, place(due.source, group.name), Some(now), now);
        let tick = Tick { due_at: due.next_at, next_at, interval };
        match self.ask(due.source, (spec, group), Trigger::Cron, Some(tick)).await {
            Ok(asked) => Ok(asked.is_some()),
            // It was removed since it was listed.
            Err(Error::Store(StoreError::NotFound)) => Ok(false),
            // What is damaged of one source keeps no other from its ticks; this one has its next.
            Err(error @ Error::Store(StoreError::Corrupt { .. })) => {
                tracing::warn!(source = due.source.0, group = group.name, %error, "a tick is passed over");
                let was = Some(due.next_at);
                let plan = Plan { source: due.source, group: due.group, own: None, interval, next_at, was };
                self.store.plan(vec![plan]).await?;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes the schedules of sources that have none yet: due at once.
    async fn plan_new(&self) -> Result<(), Error> {
        let mut after = SourceId(0);
        loop {
            let page = self.store.unscheduled(after, PAGE).await?;
            let more = page.len() >= PAGE as usize;
            let plans: Vec<Plan> =
                page.iter().flat_map(|(source, provider)| self.plans(*source, provider)).collect();
            after = page.last().map_or(after, |it| it.0);
            if !plans.is_empty() {
                self.store.plan(plans).await?;
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// Makes the schedules that are missing, also of groups that are new in this version, and reckons anew what the
    /// configuration has given another interval. [`SyncService::run`] begins with it.
    pub async fn prepare_schedules(&self) -> Result<(), Error> {
        let now = self.clock.now();
        let mut known = HashSet::new();
        let mut after = None;
        loop {
            let page = self.store.schedules(None, None, after, PAGE).await?;
            let more = page.len() >= PAGE as usize;
            after = page.last().map(|it| (it.source, it.group.clone()));
            let plans: Vec<Plan> = page.iter().filter_map(|it| self.changed(it, now)).collect();
            known.extend(page.into_iter().map(|it| (it.source, it.group)));
            if !plans.is_empty() {
                self.store.plan(plans).await?;
            }
            if !more {
                break;
            }
        }
        let sources = self.store.sources(None).await?;
        let plans = sources.iter().flat_map(|it| self.plans(it.id, &it.provider));
        let missing: Vec<Plan> = plans.filter(|it| !known.contains(&(it.source, it.group.clone()))).collect();
        for page in missing.chunks(PAGE as usize) {
            self.store.plan(page.to_vec()).await?;
        }
        Ok(())
    }

    /// Returns a schedule for each group of a source that has none: due at once.
    pub(crate) fn plans(&self, source: SourceId, provider: &str) -> Vec<Plan> {
        let now = self.clock.now();
        let groups = connector(provider).map_or(&[][..], |it| it.spec().groups);
        let plan = |group: &domain::connector::Group| Plan {
            source,
            group: group.name.to_owned(),
            own: None,
            interval: self.options.schedule.interval(group),
            next_at: now,
            was: None,
        };
        groups.iter().map(plan).collect()
    }

    fn changed(&self, stored: &StoredSchedule, now: Timestamp) -> Option<Plan> {
        let groups = connector(&stored.provider).ok()?.spec().groups;
        let group = groups.iter().find(|it| it.name == stored.group)?;
        let interval = stored.own.in_force(self.options.schedule.interval(group))?;
        (interval != stored.interval).then(|| Plan {
            source: stored.source,
            group: stored.group.clone(),
            own: None,
            interval,
            next_at: due_at(stored, interval, now),
            was: Some(stored.next_at),
        })
    }
}
