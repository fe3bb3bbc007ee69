//! What all jobs of this process share: the way out, the room for answers, and which leases are held.
//!
//! It knows no database and decides nothing.

pub(crate) mod node;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::connector::Spec;
use domain::id::{JobId, SourceId};
use domain::policy::Thresholds;
use jiff::Timestamp;
use store::{Beat, BudgetRow, Lease, Rivals, Signals};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::account::budget::Budgets;
use crate::account::gate::Gate;
use crate::http::Http;
use crate::room::Bodies;

/// What all jobs of this process share.
#[derive(Debug)]
pub(crate) struct Pool {
    /// This process, as leases name it.
    pub(crate) node: String,
    pub(crate) http: Http,
    pub(crate) bodies: Bodies,
    in_flight_max: usize,
    thresholds: Thresholds,
    /// Woken when a provider refuses a request, so that other processes are told.
    pub(crate) refused: Arc<Notify>,
    /// When the scheduler last looked for ticks without trouble, in epoch milliseconds; zero is never.
    pub(crate) scheduled_at: AtomicI64,
    /// By account.
    gates: Mutex<HashMap<String, Arc<Gate>>>,
    /// How many nodes are at work, this one among them.
    nodes: AtomicU64,
    identifying: Mutex<HashMap<SourceId, Arc<tokio::sync::Mutex<()>>>>,
    held: Mutex<HashMap<JobId, Held>>,
}

/// A job that a task of this process runs.
#[derive(Debug)]
struct Held {
    generation: i64,
    source: SourceId,
    reins: Reins,
    cancelled: bool,
}

/// What a running job is led by, and tells of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reins {
    /// Tells it to stop.
    pub(crate) stop: CancellationToken,
    /// Set while it waits for a provider that has not answered for a while: it then takes no worker's place.
    pub(crate) silent: Arc<AtomicBool>,
    /// Set while it waits for something that is not its own work: a limit, its turn, or room for an answer.
    pub(crate) waiting: Arc<AtomicBool>,
    /// Set while no worker is free and somebody may wait for one.
    pub(crate) pressed: Arc<AtomicBool>,
    /// Whose jobs are claimed here; `None` is anybody's.
    among: Option<Arc<[SourceId]>>,
}

impl Pool {
    pub(crate) fn new(http: Http, in_flight_max: usize, thresholds: Thresholds) -> Self {
        Self {
            node: node::this_node(),
            http,
            bodies: Bodies::new(),
            in_flight_max,
            thresholds,
            refused: Arc::default(),
            scheduled_at: AtomicI64::new(0),
            gates: Mutex::default(),
            nodes: AtomicU64::new(1),
            identifying: Mutex::default(),
            held: Mutex::default(),
        }
    }

    /// Notes that a job runs here, and returns what it is led by.
    pub(crate) fn hold(&self, lease: &Lease, among: Option<&Arc<[SourceId]>>) -> Reins {
        let reins = Reins { among: among.cloned(), ..Reins::default() };
        let (generation, source) = (lease.generation, lease.source);
        let held = Held { generation, source, reins: reins.clone(), cancelled: false };
        self.held().insert(lease.job, held);
        reins
    }

    /// Returns the sources whose provider keeps jobs waiting here, once for each such job.
    pub(crate) fn silent(&self) -> Vec<SourceId> {
        let held = self.held();
        held.values().filter(|it| it.reins.silent.load(Ordering::Relaxed)).map(|it| it.source).collect()
    }

    /// Tells all jobs whether somebody may wait for a worker while none is free.
    pub(crate) fn press(&self, pressed: bool) {
        for it in self.held().values() {
            it.reins.pressed.store(pressed, Ordering::Relaxed);
        }
    }

    /// Returns to whom a job would give way after its page: `None` where nobody can be waiting for its worker.
    pub(crate) fn rivals(&self, reins: &Reins) -> Option<Rivals> {
        let pressed = reins.pressed.load(Ordering::Relaxed);
        pressed.then(|| Rivals { sources: reins.among.clone(), except: self.silent() })
    }

    /// Notes that a claim of a job no longer runs here; false when that was known. Another claim of the same job may
    /// run here by then, and stays held.
    pub(crate) fn let_go(&self, lease: &Lease) -> bool {
        let mut held = self.held();
        let ours = held.get(&lease.job).is_some_and(|it| it.generation == lease.generation);
        if ours {
            held.remove(&lease.job);
        }
        ours
    }

    /// Says whether a person stopped the job.
    pub(crate) fn is_cancelled(&self, lease: &Lease) -> bool {
        self.held().get(&lease.job).is_some_and(|it| it.generation == lease.generation && it.cancelled)
    }

    /// Returns the held jobs with their fences.
    pub(crate) fn generations(&self) -> Vec<(JobId, i64)> {
        self.held().iter().map(|(job, it)| (*job, it.generation)).collect()
    }

    /// Returns the held jobs as a heartbeat tells of them.
    pub(crate) fn beats(&self) -> Vec<Beat> {
        let beat = |(job, it): (&JobId, &Held)| Beat {
            job: *job,
            generation: it.generation,
            waits: it.reins.waiting.load(Ordering::Relaxed),
        };
        self.held().iter().map(beat).collect()
    }

    /// Tells jobs that were cancelled or lost to stop.
    pub(crate) fn obey(&self, signals: &Signals) {
        let mut held = self.held();
        for job in &signals.cancelled {
            if let Some(it) = held.get_mut(job) {
                it.cancelled = true;
            }
        }
        for job in signals.cancelled.iter().chain(&signals.lost) {
            if let Some(it) = held.get(job) {
                it.reins.stop.cancel();
            }
        }
    }

    /// Tells all jobs to stop.
    pub(crate) fn stop_all(&self) {
        for it in self.held().values() {
            it.reins.stop.cancel();
        }
    }

    /// Returns the gate that all jobs of an account go through, if there is one yet.
    pub(crate) fn known_gate(&self, account: &str) -> Option<Arc<Gate>> {
        self.gates().get(account).cloned()
    }

    /// Returns the gates of all accounts that were asked here.
    pub(crate) fn known_gates(&self) -> Vec<Arc<Gate>> {
        self.gates().values().cloned().collect()
    }

    /// Returns the gates of the accounts that jobs ask here, and of those that owe the ledger anything.
    pub(crate) fn gates_in_use(&self, now: Timestamp) -> Vec<Arc<Gate>> {
        // The map itself holds each once.
        let in_use = |gate: &&Arc<Gate>| Arc::strong_count(gate) > 1 || gate.budgets.owes(now);
        self.gates().values().filter(in_use).cloned().collect()
    }

    /// Makes the gate of an account, with what the database knows of its budgets.
    pub(crate) fn make_gate(
        &self,
        spec: &Spec,
        base_url: &str,
        account: &str,
        rows: &[BudgetRow],
        now: Timestamp,
    ) -> Arc<Gate> {
        let mut gates = self.gates();
        let new = || {
            let budgets = Budgets::new(spec, self.thresholds, self.refused.clone());
            let gate = Gate::new(spec, base_url, account.to_owned(), self.in_flight_max, budgets);
            gate.share_with(self.nodes.load(Ordering::Relaxed));
            Arc::new(gate)
        };
        let gate = gates.entry(account.to_owned()).or_insert_with(new);
        gate.budgets.load(rows, now);
        gate.clone()
    }

    /// Forgets the gate of an account that turned out to be another.
    pub(crate) fn forget_gate(&self, account: &str) {
        self.gates().remove(account);
    }

    /// Returns what is held by whoever asks to whom a source's credential belongs: the others take what it finds out.
    pub(crate) fn identifying(&self, source: SourceId) -> Arc<tokio::sync::Mutex<()>> {
        let mut identifying = self.identifying.lock().unwrap_or_else(PoisonError::into_inner);
        identifying.retain(|_, it| Arc::strong_count(it) > 1);
        identifying.entry(source).or_default().clone()
    }

    /// Notes how many nodes are at work: what the accounts bear is theirs together.
    pub(crate) fn share_with(&self, nodes: u64) {
        self.nodes.store(nodes, Ordering::Relaxed);
        for gate in self.known_gates() {
            gate.share_with(nodes);
        }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<JobId, Held>> {
        // Whoever held the lock only inserts, removes or sets a flag: the map is whole even after a panic.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gates(&self) -> MutexGuard<'_, HashMap<String, Arc<Gate>>> {
        // Whoever held the lock only inserts or removes: the map is whole even after a panic.
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use domain::id::{JobId, SourceId, SyncId};
    use domain::job::Lane;
    use domain::policy::Thresholds;
    use domain::policy::ledger::Class;
    use domain::policy::turn::Turn;
    use jiff::Timestamp;
    use store::{Lease, Signals};

    use super::Pool;
    use crate::clock::Clock;
    use crate::http::{Http, HttpLimits};

    fn claim(generation: i64) -> Lease {
        Lease {
            job: JobId(1),
            generation,
            until: Timestamp::MAX,
            source: SourceId(1),
            sync: SyncId(1),
            group: "commits".to_owned(),
            stream: "commits".to_owned(),
            partition: "1".to_owned(),
            lane: Lane::Forward,
            attempt: 1,
            turn: Turn { class: Class::Cron, at: 0, stride: 1 },
        }
    }

    #[test]
    fn a_job_that_runs_once_more_stays_held_when_its_first_run_ends() {
        let http = Http::new(HttpLimits::default(), Clock::default()).unwrap();
        let pool = Pool::new(http, 1, Thresholds::default());
        let (first, second) = (claim(1), claim(2));
        pool.hold(&first, None);
        let stop = pool.hold(&second, None).stop;
        assert!(!pool.let_go(&first));
        assert_eq!(pool.generations(), [(JobId(1), 2)]);
        pool.obey(&Signals { lost: Vec::new(), cancelled: vec![JobId(1)] });
        assert!(stop.is_cancelled());
        assert!(pool.is_cancelled(&second) && !pool.is_cancelled(&first));
        assert!(pool.let_go(&second));
    }
}
