//! The chores that keep everything in order, and who runs them: of all processes on a database one has each run.
//!
//! A chore decides nothing that the policy decides, and is safe to run twice at once, as a slow one may be. Begin with
//! [`CHORES`]: a new chore is one function and one line there.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use domain::connector::Connector;
use domain::id::{EventId, SyncId};
use domain::policy::{self, Outcome};
use domain::trigger::Trigger;
use jiff::{SignedDuration, Timestamp};
use store::{ChoreEnd, ChoreRun, ChoreTurn, Expiry, Removed, Settlement, StoreError};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::pool::node;
use crate::service::schedule::PAGE;
use crate::service::{Maintenance, Requested, SyncService, connector};

/// What a run did, in numbers.
type Did = Vec<(&'static str, u64)>;

/// A run under way.
type Running<'a> = Pin<Box<dyn Future<Output = Result<Did, Error>> + Send + 'a>>;

/// Something that is done again and again.
struct Chore {
    name: &'static str,
    every: SignedDuration,
    /// What it is for, in a sentence.
    does: &'static str,
    run: for<'a> fn(&'a SyncService) -> Running<'a>,
}

/// All of them. The intervals are short beside what each is to mend, and long beside what looking costs.
static CHORES: &[Chore] = &[
    Chore {
        name: "rescue",
        every: SignedDuration::from_secs(30),
        does: "frees jobs whose worker is gone; workers look for themselves too",
        run: |it| Box::pin(rescue(it)),
    },
    Chore {
        name: "wake",
        every: SignedDuration::from_secs(60),
        does: "wakes workers for blocked jobs that are due, and mends wake-ups that a wrong clock set",
        run: |it| Box::pin(wake(it)),
    },
    Chore {
        name: "stuck",
        every: SignedDuration::from_secs(30),
        does: "interrupts jobs that committed no page for long and wait for nothing; they go on from their cursor",
        run: |it| Box::pin(stuck(it)),
    },
    Chore {
        name: "catch_up",
        every: SignedDuration::from_mins(10),
        does: "asks for a sync of scheduled groups that had no success for long",
        run: |it| Box::pin(catch_up(it)),
    },
    Chore {
        name: "heal",
        every: SignedDuration::from_mins(1),
        does: "reads parts once more, with care, of which nothing came though the provider shows that there is something",
        run: |it| Box::pin(it.heal()),
    },
    Chore {
        name: "census",
        every: CENSUS_PACE,
        does: "begins to list the ids of parts whose last census is the oldest, some of each source at a time",
        run: |it| Box::pin(census(it)),
    },
    Chore {
        name: RETENTION,
        every: SignedDuration::from_hours(1),
        does: "removes old jobs, syncs, events and deliveries; what landed stays",
        run: |it| Box::pin(retention(it)),
    },
    Chore {
        name: "statistics",
        every: SignedDuration::from_hours(1),
        does: "counts what there is, and has SQLite look after its file",
        run: |it| Box::pin(statistics(it)),
    },
];

/// How often some censuses are begun: of a thousand partitions that are counted once a week, one each time.
const CENSUS_PACE: SignedDuration = SignedDuration::from_mins(10);

/// The chore that removes what is too old.
const RETENTION: &str = "retention";

/// How long a delivery is known again: twice as long as any provider sends one again.
const KEEP_DELIVERIES: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Syncs whose remains are removed in one step.
const SYNCS_AT_ONCE: u32 = 50;

/// How soon a neglected group is asked for again that was refused. One that failed has to wait as long as one that
/// succeeded: its schedule tries anyway, and a provider that always fails is not to be asked more often for it.
const ASK_AGAIN_AFTER: SignedDuration = SignedDuration::from_hours(1);

/// How often the database is asked for chores that are due, at most.
const POLL: Duration = Duration::from_secs(5);

/// Rounds after which chores are planned anew: a minute.
const PLAN_EVERY: u64 = 12;

/// How long one run may take: every statement of one is short, so that one this long is a database that hangs. What is
/// left is the next run's.
const RUN_MAX: Duration = Duration::from_mins(2);

/// A chore as people see it.
#[derive(Clone, Debug)]
pub struct ChoreRow {
    /// Its word.
    pub name: &'static str,
    /// What it is for, in a sentence.
    pub does: &'static str,
    /// How often it is run.
    pub every: SignedDuration,
    /// When it is due; `None` when no process has planned it yet.
    pub next_at: Option<Timestamp>,
    /// How often it was begun.
    pub runs: u64,
    /// The last run.
    pub last: Option<ChoreRun>,
}

impl SyncService {
    /// Lists the chores.
    pub async fn chores(&self) -> Result<Vec<ChoreRow>, Error> {
        let mut stored = self.store.chores().await?;
        let row = |chore: &Chore| {
            let at = stored.iter().position(|it| it.name == chore.name);
            let known = at.map(|at| stored.swap_remove(at));
            ChoreRow {
                name: chore.name,
                does: chore.does,
                every: chore.every,
                next_at: known.as_ref().map(|it| it.next_at),
                runs: known.as_ref().map_or(0, |it| it.runs),
                last: known.and_then(|it| it.last),
            }
        };
        Ok(CHORES.iter().map(row).collect())
    }

    /// Runs a chore now, whether it is due or not.
    pub async fn run_chore(&self, name: &str) -> Result<ChoreRow, Error> {
        let unknown = || Error::Unknown { what: "chore", id: name.to_owned() };
        let chore = CHORES.iter().find(|it| it.name == name).ok_or_else(unknown)?;
        self.plan_chores().await?;
        let stored = self.store.chores().await?;
        let due_at = stored.into_iter().find(|it| it.name == name).ok_or_else(unknown)?.next_at;
        if !self.run_one(chore, due_at).await? {
            return Err(Error::Conflict(format!("another process has just begun the chore {name}")));
        }
        self.chores().await?.into_iter().find(|it| it.name == name).ok_or_else(unknown)
    }

    /// Runs every chore that is due, one after the other, and returns how many this process had.
    pub async fn run_due_chores(&self) -> Result<u64, Error> {
        self.plan_chores().await?;
        self.run_due().await
    }

    /// Runs chores until told to stop. Trouble with the database is borne: the workers decide when it is too much.
    pub(crate) async fn keep_chores(&self, stop: &CancellationToken) {
        for number in 0_u64.. {
            let round = async {
                // Now and then anew: a clock that was set back would put them all off.
                if number.is_multiple_of(PLAN_EVERY)
                    && let Err(error) = self.plan_chores().await
                {
                    tracing::warn!(%error, "chores could not be planned; trying again");
                }
                if let Err(error) = self.run_due().await {
                    tracing::warn!(%error, "chores could not be run; trying again");
                }
                tokio::time::sleep(POLL).await;
            };
            tokio::select! {
                biased;
                // A chore that is left half-way has committed what it did; the next run does the rest.
                () = stop.cancelled() => return,
                () = round => {}
            }
        }
    }

    /// Removes what is too old, where no process runs chores: after work that a person asked for.
    pub async fn tidy_up(&self) -> Result<(), Error> {
        let now = self.clock.now();
        let stored = self.store.chores().await?;
        let is_due = stored.iter().find(|it| it.name == RETENTION).is_none_or(|it| it.next_at <= now);
        if !self.options.schedule.enabled
            || !is_due
            || self.store.expired_syncs(SyncId(0), expiry(self), 1).await?.is_empty()
        {
            return Ok(());
        }
        match self.run_chore(RETENTION).await {
            Err(Error::Conflict(_)) => Ok(()),
            ran => ran.map(|_| ()),
        }
    }

    async fn plan_chores(&self) -> Result<(), Error> {
        let plans = CHORES.iter().map(|it| (it.name, it.every)).collect();
        Ok(self.store.plan_chores(plans, self.clock.now()).await?)
    }

    async fn run_due(&self) -> Result<u64, Error> {
        let now = self.clock.now();
        let mut had = 0;
        for it in self.store.chores().await?.into_iter().filter(|it| it.next_at <= now) {
            // Another version's chores are left to its processes.
            let Some(chore) = CHORES.iter().find(|known| known.name == it.name) else { continue };
            had += u64::from(self.run_one(chore, it.next_at).await?);
        }
        Ok(had)
    }

    /// Runs a chore that was due at `due_at`; false when another process had it.
    async fn run_one(&self, chore: &'static Chore, due_at: Timestamp) -> Result<bool, Error> {
        let (name, began_at, node) = (chore.name, self.clock.now(), self.pool.node.clone());
        let next_at = began_at.saturating_add(chore.every).unwrap_or(Timestamp::MAX);
        let turn = ChoreTurn { name, due_at, next_at, node: node.clone() };
        if !self.store.take_chore(turn, began_at).await? {
            return Ok(false);
        }
        let (did, error) = match tokio::time::timeout(RUN_MAX, (chore.run)(self)).await {
            Ok(Ok(did)) => (did, None),
            Ok(Err(error)) => (Vec::new(), Some(error.to_string())),
            Err(_) => (Vec::new(), Some(format!("it took longer than {} s", RUN_MAX.as_secs()))),
        };
        if let Some(error) = &error {
            tracing::warn!(chore = name, error, "a chore failed; it is run again");
        }
        if did.iter().any(|it| it.1 > 0) {
            tracing::info!(chore = name, ?did, "a chore is done");
        }
        let did: BTreeMap<String, u64> =
            did.into_iter().map(|(what, count)| (what.to_owned(), count)).collect();
        self.store.end_chore(ChoreEnd { name, began_at, node, did, error }, self.clock.now()).await?;
        Ok(true)
    }

    /// Frees jobs whose lease ran out, and those of processes of this machine that are no more.
    pub(crate) async fn rescue_lost(&self) -> Result<u64, StoreError> {
        let now = self.clock.now();
        let nodes = self.store.nodes(now).await?;
        let (dead, alive): (Vec<String>, Vec<String>) = nodes.into_iter().partition(|it| node::is_dead(it));
        let others = alive.iter().filter(|it| **it != self.pool.node).count() as u64;
        self.pool.share_with(others + 1);
        let rescued = self.store.rescue(&dead, now).await?;
        if rescued > 0 {
            tracing::info!(rescued, "jobs whose worker is gone can be claimed again");
        }
        Ok(rescued)
    }
}

async fn rescue(service: &SyncService) -> Result<Did, Error> {
    Ok(vec![("rescued", service.rescue_lost().await?)])
}

async fn wake(service: &SyncService) -> Result<Did, Error> {
    let now = service.clock.now();
    // No wait that the policy makes is longer, whatever a provider says.
    let latest = now.saturating_add(policy::RESET_MAX).unwrap_or(Timestamp::MAX);
    let woken = service.store.wake_blocked(latest, now).await?;
    Ok(vec![("due", woken.due), ("waiting", woken.waiting), ("pulledIn", woken.pulled_in)])
}

/// Ends the attempts of jobs that do not get on, as any attempt ends: the next claim has another generation, so
/// whatever the old one still commits, it writes nothing.
async fn stuck(service: &SyncService) -> Result<Did, Error> {
    let now = service.clock.now();
    let after = service.options.maintenance.stuck_after;
    let before = now.saturating_sub(after).unwrap_or(Timestamp::MIN);
    let mut interrupted = 0;
    for lease in service.store.stalled(before, now).await? {
        let fault = Some(("stuck".to_owned(), format!("no page within {after:#}")));
        let verdict = policy::settle(&Outcome::Stuck, lease.attempt, now);
        tracing::warn!(
            job = lease.job.0,
            stream = lease.stream,
            partition = lease.partition,
            ?verdict,
            "the job is stuck"
        );
        let settlement = Settlement { verdict, fault, requests: 0 };
        match service.store.settle(&lease, settlement, now).await {
            Ok(()) => interrupted += 1,
            // It moved on meanwhile.
            Err(StoreError::LeaseLost) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(vec![("interrupted", interrupted)])
}

/// Asks for syncs of groups that are scheduled and had no success for long: by the same door as everybody.
async fn catch_up(service: &SyncService) -> Result<Did, Error> {
    let now = service.clock.now();
    let before = |by| now.saturating_sub(by).unwrap_or(Timestamp::MIN);
    let allowed = service.options.maintenance.catch_up_after;
    let (since, asked) = (before(allowed), before(ASK_AGAIN_AFTER));
    let (mut started, mut refused, mut after) = (0, 0, None);
    loop {
        let page = service.store.neglected(after, PAGE, (since, asked)).await?;
        let more = page.len() >= PAGE as usize;
        after = page.last().map(|it| (it.0.source, it.0.group.clone()));
        for (schedule, last) in page {
            let Ok(spec) = connector(&schedule.provider).map(Connector::spec) else { continue };
            let Some(group) = spec.groups.iter().find(|it| it.name == schedule.group) else { continue };
            let every = schedule.own.in_force(service.options.schedule.interval(group));
            // Of what is read once a week nobody expects a success every day.
            let is_late = every.is_some_and(|every| now.duration_since(last) >= every.max(allowed));
            if !is_late || !service.store.note_catch_up(schedule.source, group.name, asked, now).await? {
                continue;
            }
            match service.ask(schedule.source, (spec, group), Trigger::Maintenance, None).await {
                Ok(Some(Requested::Started { .. })) => started += 1,
                Ok(_) => refused += 1,
                // It was removed since it was listed.
                Err(Error::Store(StoreError::NotFound)) => {}
                Err(error) => return Err(error),
            }
        }
        if !more {
            return Ok(vec![("started", started), ("refused", refused)]);
        }
    }
}

async fn census(service: &SyncService) -> Result<Did, Error> {
    let every = service.options.maintenance.census_every;
    Ok(vec![("begun", service.keep_counting(every, CENSUS_PACE).await?)])
}

fn expiry(service: &SyncService) -> Expiry {
    let Maintenance { keep_completed, keep_failed, .. } = service.options.maintenance;
    let before = |by| now_less(service, by);
    Expiry { completed_before: before(keep_completed), failed_before: before(keep_failed) }
}

fn now_less(service: &SyncService, by: SignedDuration) -> Timestamp {
    service.clock.now().saturating_sub(by).unwrap_or(Timestamp::MIN)
}

async fn retention(service: &SyncService) -> Result<Did, Error> {
    let expiry = expiry(service);
    let (mut removed, mut after) = (Removed::default(), SyncId(0));
    loop {
        let syncs = service.store.expired_syncs(after, expiry, SYNCS_AT_ONCE).await?;
        let Some(last) = syncs.last() else { break };
        after = *last;
        loop {
            let step = service.store.remove_expired(syncs.clone(), expiry).await?;
            removed.jobs += step.jobs;
            removed.syncs += step.syncs;
            if step.jobs == 0 {
                break;
            }
        }
    }
    let (mut events, mut after) = (0, Some(EventId(0)));
    while let Some(from) = after {
        let (count, more) = service.store.remove_events(from, expiry).await?;
        events += count;
        after = more;
    }
    let kept = now_less(service, KEEP_DELIVERIES);
    let mut deliveries = 0;
    loop {
        let step = service.store.remove_deliveries(kept).await?;
        deliveries += step;
        if step == 0 {
            break;
        }
    }
    Ok(vec![("jobs", removed.jobs), ("syncs", removed.syncs), ("events", events), ("deliveries", deliveries)])
}

async fn statistics(service: &SyncService) -> Result<Did, Error> {
    let sizes = service.store.tune().await?;
    Ok(vec![("syncs", sizes.syncs), ("jobs", sizes.jobs), ("events", sizes.events)])
}
