//! The worker pool: claims jobs, runs each in a task of its own, keeps their leases, and hands them back on shutdown.
//!
//! Polling is the truth; wake-ups only make it quicker. A panicking job costs that job an attempt, nothing else.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::id::SourceId;
use domain::job::Lane;
use domain::policy::ledger::Class;
use domain::policy::{self, Outcome, Verdict};
use jiff::{SignedDuration, Timestamp};
use store::{Claim, Lease, Settlement, StoreError};
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::fetch::{Fetcher, Place};
use crate::pool::Reins;
use crate::run::{Ended, Run, Tally, hopeless};
use crate::service::entry::{Entrant, Entry, NoEntry};
use crate::service::{Options, SyncService};

/// How often the table is looked at when nothing woke us: what another process enqueues waits at most this long.
const POLL: Duration = Duration::from_secs(1);

/// How often held jobs are asked whether they were cancelled or lost; half of the two seconds a cancel may take.
const SIGNALS_EVERY: Duration = Duration::from_millis(500);

/// How often leases that ran out are looked for.
const RESCUE_EVERY: SignedDuration = SignedDuration::from_secs(5);

/// Jobs of one process at most, as a multiple of its workers: those that only wait for a silent provider take no
/// worker's place, but each has its row and its lease.
const SILENT_FACTOR: usize = 8;

/// How long a job may take to stop on shutdown: its page is committed or dropped within this.
const GRACE: Duration = Duration::from_secs(10);

/// How long the database may be out of reach before the pool gives up, and the pauses between its attempts.
const STORE_PATIENCE: SignedDuration = SignedDuration::from_secs(60);
const STORE_PAUSE: Duration = Duration::from_millis(500);

impl SyncService {
    /// Runs due jobs of `sources` (all, when `None`) until `stop` is cancelled; then gives back what it holds.
    ///
    /// # Errors
    /// When the database stays out of reach or is full. The jobs are then as their last pages left them.
    pub async fn work(
        &self,
        sources: Option<Vec<SourceId>>,
        stop: CancellationToken,
    ) -> Result<(), crate::Error> {
        let mut tasks: JoinSet<Result<(), StoreError>> = JoinSet::new();
        let mut leases: HashMap<Id, Lease> = HashMap::new();
        let keeper = self.clone();
        let mut keeping = JoinSet::new();
        keeping.spawn(async move { keeper.keep_leases().await });
        let sharer = self.clone();
        keeping.spawn(async move { sharer.share_refusals().await });
        let worked = self.work_until(sources, &stop, &mut tasks, &mut leases).await;
        self.pool.stop_all();
        let drain = async {
            while let Some(ended) = tasks.join_next_with_id().await {
                self.after_task(ended, &mut leases).await.ok();
            }
        };
        if tokio::time::timeout(GRACE, drain).await.is_err() {
            tracing::warn!("jobs did not stop in time; their leases run out by themselves");
        }
        keeping.abort_all();
        self.give_back().await;
        worked.map_err(Into::into)
    }

    async fn work_until(
        &self,
        sources: Option<Vec<SourceId>>,
        stop: &CancellationToken,
        tasks: &mut JoinSet<Result<(), StoreError>>,
        leases: &mut HashMap<Id, Lease>,
    ) -> Result<(), StoreError> {
        let mut wakeups = self.store.wakeups();
        let sources: Option<Arc<[SourceId]>> = sources.map(Into::into);
        let mut rescued_at = Timestamp::MIN;
        let mut trouble_since = None;
        loop {
            let now = self.clock.now();
            let round = self.round(sources.as_ref(), &mut rescued_at, tasks, leases, now).await;
            let pause = match patience(round, &mut trouble_since, now)? {
                Some(next) => next,
                None => STORE_PAUSE,
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                Some(ended) = tasks.join_next_with_id() => {
                    let settled = self.after_task(ended, leases).await;
                    patience(settled.map(|()| Duration::ZERO), &mut trouble_since, now)?;
                }
                () = wakeups.wait() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Rescues and claims; returns how long to wait for the next round.
    async fn round(
        &self,
        sources: Option<&Arc<[SourceId]>>,
        rescued_at: &mut Timestamp,
        tasks: &mut JoinSet<Result<(), StoreError>>,
        leases: &mut HashMap<Id, Lease>,
        now: Timestamp,
    ) -> Result<Duration, StoreError> {
        if now.duration_since(*rescued_at) >= RESCUE_EVERY {
            // Not left to the chore: work that people ask for goes on where there is none.
            self.rescue_lost().await?;
            *rescued_at = now;
        }
        let silent = self.pool.silent();
        let busy = tasks.len().saturating_sub(silent.len());
        let room = self.options.workers.saturating_mul(SILENT_FACTOR).saturating_sub(tasks.len());
        let free = self.options.workers.saturating_sub(busy).min(room);
        let claim = Claim {
            node: self.pool.node.clone(),
            worker: self.pool.node.clone(),
            sources: sources.map(|it| it.to_vec()),
            except: silent,
            max: u32::try_from(free).unwrap_or(u32::MAX),
            lease: self.options.lease,
        };
        let claimed = if free > 0 { self.store.claim(claim, now).await? } else { Vec::new() };
        let is_full = claimed.len() >= free;
        for lease in claimed {
            let reins = self.pool.hold(&lease, sources);
            let (service, running) = (self.clone(), lease.clone());
            let span = tracing::info_span!(
                "job",
                job = lease.job.0,
                sync = lease.sync.0,
                stream = lease.stream,
                attempt = lease.attempt
            );
            let task = tasks.spawn(async move { service.run_job(running, reins).await }.instrument(span));
            leases.insert(task.id(), lease);
        }
        // Without a free worker, more may wait than was claimed, and whatever woke us too.
        self.pool.press(is_full);
        if is_full {
            // A job's end wakes this loop. What is due later need not be looked for among all that waits.
            return Ok(POLL);
        }
        let due = self.store.next_due(sources.map(|it| &**it)).await?;
        let until_due = due.and_then(|at| Duration::try_from(at.duration_since(now)).ok());
        // A job that is due already waits for a free worker, whose end wakes this loop.
        Ok(until_due.filter(|it| !it.is_zero()).map_or(POLL, |it| it.min(POLL)))
    }

    /// Takes note of a task's end; one that panicked is settled here, because it could not do so itself.
    async fn after_task(
        &self,
        ended: Result<(Id, Result<(), StoreError>), tokio::task::JoinError>,
        leases: &mut HashMap<Id, Lease>,
    ) -> Result<(), StoreError> {
        let (id, result) = match ended {
            Ok((id, result)) => (id, result),
            Err(error) => (error.id(), Ok(())),
        };
        let Some(lease) = leases.remove(&id) else { return result };
        // What is still held did not settle itself.
        let panicked = self.pool.let_go(&lease) && result.is_ok();
        if panicked {
            tracing::error!(
                job = lease.job.0,
                stream = lease.stream,
                partition = lease.partition,
                "the job panicked"
            );
            let verdict = policy::settle(&Outcome::Panicked, lease.attempt, self.clock.now());
            let fault = Some(("panicked".to_owned(), "a fault in Syncline itself".to_owned()));
            let settlement = Settlement { verdict, fault, requests: 0 };
            return ignore_lost(self.store.settle(&lease, settlement, self.clock.now()).await);
        }
        result
    }

    /// Runs one claimed job to its end and settles it, where its last page has not.
    async fn run_job(&self, mut lease: Lease, reins: Reins) -> Result<(), StoreError> {
        let began = Instant::now();
        let attempted = self.attempt(&lease, &reins).await;
        metrics::histogram!("syncline_attempt_duration_seconds", "group" => lease.group.clone())
            .record(began.elapsed());
        let ended = match attempted {
            Ok(Some(ended)) => ended,
            Ok(None) => {
                self.pool.let_go(&lease);
                return Ok(());
            }
            // A row that cannot be read stops this job, not the others.
            Err(StoreError::Corrupt { what }) => hopeless(&lease, "corrupt_state", what),
            Err(error) => {
                self.pool.let_go(&lease);
                return ignore_lost(Err(error));
            }
        };
        let cancelled = self.pool.is_cancelled(&lease);
        let verdict = match ended.verdict {
            Verdict::Release | Verdict::Yield if cancelled => {
                policy::settle(&Outcome::Cancelled, lease.attempt, self.clock.now())
            }
            verdict => verdict,
        };
        if let Some((code, detail)) = &ended.fault {
            // It is kept with the job and shown to whoever asks, so the log only follows along.
            tracing::info!(
                job = lease.job.0,
                stream = lease.stream,
                partition = lease.partition,
                code,
                detail,
                ?verdict,
                "the attempt ended with a fault"
            );
        }
        let settlement = Settlement { verdict, fault: ended.fault, requests: ended.requests };
        lease.turn = ended.turn;
        let settled = self.store.settle(&lease, settlement, self.clock.now()).await;
        self.pool.let_go(&lease);
        ignore_lost(settled)
    }

    async fn attempt(&self, lease: &Lease, reins: &Reins) -> Result<Option<Ended>, StoreError> {
        let open = self.store.open_job(lease).await?;
        let Some(connector) = connectors::find(&open.provider) else {
            let detail = format!("this version has no connector for {}", open.provider);
            return Ok(Some(hopeless(lease, "unknown_provider", detail)));
        };
        let Some((group, stream)) = connector.spec().stream(&lease.stream) else {
            let detail = format!("this version has no stream {}", lease.stream);
            return Ok(Some(hopeless(lease, "unknown_stream", detail)));
        };
        let who = Entrant {
            source: lease.source,
            connector,
            settings: &open.settings,
            class: Class::of(open.trigger, lease.lane),
            attempt: lease.attempt,
            reins,
        };
        let Entry { account, gate, requests } = match self.way_in(&who).await? {
            Ok(entry) => entry,
            Err(NoEntry { verdict, fault, requests }) => {
                return Ok(Some(Ended { verdict, fault, requests, turn: lease.turn }));
            }
        };
        let fetcher = Fetcher {
            connector,
            account: &account,
            clock: &self.clock,
            bodies: &self.pool.bodies,
            stop: &reins.stop,
            silent: &reins.silent,
            waiting: &reins.waiting,
            settings: &open.settings,
            learned: open.learned,
            stream: &lease.stream,
            partition: &lease.partition,
            args: &open.args,
            lane: lease.lane,
            // What other lanes read is no complete listing, and never asked for in the same words again.
            conditional: stream.conditional && lease.lane == Lane::Forward,
            listing: stream.is_listing() && lease.lane == Lane::Forward,
            attempt: lease.attempt,
        };
        let run = Run {
            store: &self.store,
            lease: lease.clone(),
            pool: &self.pool,
            reins,
            fetcher,
            group,
            stream,
            clock: &self.clock,
            lease_time: self.options.lease,
            place: Place { cursor: open.cursor, items: Vec::new(), plain: open.plain },
            validators: open.validators,
            queue: VecDeque::new(),
            tally: Tally::after(requests, open.is_listed),
        };
        // Boxed, as it is most of what a job keeps in memory, and larger than what is moved about lightly.
        let ended = Box::pin(run.run()).await?;
        let is_put_away = ended.as_ref().is_some_and(|it| matches!(it.verdict, Verdict::Snooze { .. }));
        if is_put_away && gate.budgets.has_news(self.clock.now()) {
            // Whoever asks for a sync now is to be told what this job was told.
            self.tell(&gate, false).await?;
        }
        Ok(ended)
    }

    /// Opens the way into the account of a job's source; a credential that does not open ends all its jobs.
    async fn way_in(&self, who: &Entrant<'_>) -> Result<Result<Entry, NoEntry>, StoreError> {
        match self.enter(who).await {
            Err(StoreError::Secret(error)) => {
                let fault = Some((error.code().to_owned(), error.detail()));
                Ok(Err(NoEntry { verdict: Verdict::StopSource, fault, requests: 0 }))
            }
            other => other,
        }
    }

    /// Renews the leases of all held jobs, and tells those that were cancelled or lost to stop.
    async fn keep_leases(&self) {
        let beat = Options::heartbeat(self.options.lease);
        let mut renewed_at = self.clock.now();
        loop {
            tokio::time::sleep(SIGNALS_EVERY.min(beat)).await;
            let held = self.pool.generations();
            if held.is_empty() {
                continue;
            }
            let now = self.clock.now();
            match self.store.signals(&held).await {
                Ok(signals) => self.pool.obey(&signals),
                Err(error) => tracing::warn!(%error, "cannot see whether jobs were cancelled"),
            }
            if now.duration_since(renewed_at) >= SignedDuration::try_from(beat).unwrap_or_default() {
                let until = now.saturating_add(self.options.lease).unwrap_or(now);
                match self.store.heartbeat(self.pool.beats(), until, now).await {
                    Ok(()) => renewed_at = now,
                    Err(error) => tracing::warn!(%error, "cannot renew leases"),
                }
            }
        }
    }
}

/// Bears a database that is out of reach for a while; `None` says that it was borne.
fn patience<T>(
    result: Result<T, StoreError>,
    since: &mut Option<Timestamp>,
    now: Timestamp,
) -> Result<Option<T>, StoreError> {
    match result {
        Ok(value) => {
            *since = None;
            Ok(Some(value))
        }
        Err(error @ (StoreError::Busy | StoreError::Broken(_))) => {
            let first = *since.get_or_insert(now);
            if now.duration_since(first) >= STORE_PATIENCE {
                return Err(error);
            }
            tracing::warn!(%error, "the database does not answer; trying again");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn ignore_lost(result: Result<(), StoreError>) -> Result<(), StoreError> {
    match result {
        // Another worker has the job; whatever this one did not commit, that one will.
        Err(StoreError::LeaseLost) => {
            metrics::counter!("syncline_leases_lost_total").increment(1);
            Ok(())
        }
        other => other,
    }
}
