//! The chores that keep everything in order, and who runs them: of all processes on a database one has each run.
//!
//! A chore decides nothing that the policy decides, and is safe to run twice at once, as a slow one may be. Begin with
//! [`CHORES`]: a new chore is one function and one line there.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use domain::policy::{self, Outcome};
use jiff::{SignedDuration, Timestamp};
use store::{ChoreEnd, ChoreRun, ChoreTurn, Settlement, StoreError};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::pool::node;
use crate::service::SyncService;

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
];

/// How often the database is asked for chores that are due, at most.
const POLL: Duration = Duration::from_secs(5);

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
        let mut is_planned = false;
        loop {
            if !is_planned {
                match self.plan_chores().await {
                    Ok(()) => is_planned = true,
                    Err(error) => tracing::warn!(%error, "chores could not be planned; trying again"),
                }
            }
            let round = async {
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
        let dead: Vec<String> =
            self.store.nodes().await?.into_iter().filter(|it| node::is_dead(it)).collect();
        let rescued = self.store.rescue(&dead, self.clock.now()).await?;
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
        let settlement = Settlement { verdict, fault, requests: 0, budgets: Vec::new() };
        match service.store.settle(&lease, settlement, now).await {
            Ok(()) => interrupted += 1,
            // It moved on meanwhile.
            Err(StoreError::LeaseLost) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(vec![("interrupted", interrupted)])
}
