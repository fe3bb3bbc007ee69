//! Random triggers, faults, clock moves, deaths of nodes and cancels, held against a model of what must hold.
//!
//! The model knows who holds which job, and nothing of how the store does it. It never waits, and its walk is the same
//! every time: a failure names its seed and step.

use std::collections::{BTreeMap, BTreeSet};

use domain::id::{EventId, JobId, SourceId, SyncId};
use domain::job::SyncState;
use domain::page::Page;
use domain::policy::{self, Action, Budget, Facts, Outcome, Reason, Thresholds, Verdict};
use domain::trigger::Trigger;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use store::{Beat, Enqueue, Enqueued, Expiry, Lease, Pass, Refuse, Store, StoreError};

use crate::database::Database;
use crate::world::*;

for_each_database!(what_must_hold_holds_on_every_walk);

/// Walks and their steps: some thousand transactions, in a few seconds.
const WALKS: u64 = 6;
const STEPS: u64 = 160;

/// Rounds in which all that is under way ends, once nothing goes wrong any more: each takes what is due and an hour.
const ROUNDS_MAX: u64 = 60;

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn of(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 29)) % sides
    }

    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.of(length as u64)).unwrap()
    }
}

/// The walk under way, and what must hold of it.
struct Model<'a> {
    database: &'a Database,
    stores: [Store; 2],
    sources: Vec<SourceId>,
    now: Timestamp,
    /// Who may write: each job with the generation that holds it, and until when.
    held: BTreeMap<JobId, (i64, Timestamp)>,
    /// Every lease that was ever given, with its node; also those of the dead, who still try.
    leases: Vec<(Lease, u64)>,
    accepted: BTreeSet<SyncId>,
    /// Jobs for which something was found while they were held.
    more: BTreeSet<JobId>,
    /// The last version that a listing named, by source and repository.
    wanted: BTreeMap<(SourceId, String), u64>,
    step: String,
}

impl Model<'_> {
    fn store(&self, node: u64) -> &Store {
        &self.stores[usize::try_from(node % 2).unwrap()]
    }

    /// Says whether a lease is the one that may write now.
    fn may_write(&self, lease: &Lease) -> bool {
        self.held
            .get(&lease.job)
            .is_some_and(|(generation, until)| *generation == lease.generation && *until > self.now)
    }

    /// Fails unless a write went through exactly if its lease was good.
    fn judge<T>(&self, lease: &Lease, may: bool, written: Result<T, StoreError>) -> Option<T> {
        match written {
            Ok(answer) => {
                assert!(may, "{}: {lease:?} wrote without a right to", self.step);
                Some(answer)
            }
            Err(StoreError::LeaseLost) => {
                assert!(!may, "{}: {lease:?} was refused", self.step);
                None
            }
            Err(error) => panic!("{}: {error}", self.step),
        }
    }

    /// Asks as the service does: looks, decides, and enters or refuses.
    async fn request(&mut self, source: SourceId, trigger: Trigger, stale_look: bool) {
        let stored = self.stores[0].facts(source, &GROUP, self.now).await.unwrap();
        let facts = Facts {
            enabled: stored.enabled,
            has_owner: stored.has_owner,
            partitions: stored.partitions,
            last_manual_at: stored.last_manual_at,
            last_success_at: stored.last_success_at,
            budget: Budget::Paced,
            // Another request may come between the look and the entry.
            syncing: stored.active_sync.is_some() && !stale_look,
            thresholds: Thresholds::default(),
        };
        let decision = policy::evaluate(&facts, trigger, self.now);
        if decision.action != Action::Start {
            let refused = Refuse { source, group: &GROUP, trigger, decision, tick: None };
            assert!(self.stores[1].refuse(refused, self.now).await.unwrap());
            return;
        }
        let enqueue = Enqueue { source, group: &GROUP, trigger, decision, tick: None, forecast: None };
        match self.stores[1].enqueue(enqueue, self.now).await.unwrap() {
            Enqueued::Started { sync, .. } => {
                assert_eq!(stored.active_sync, None, "{}: a second sync", self.step);
                assert!(self.accepted.insert(sync), "{}: one sync twice", self.step);
            }
            Enqueued::Active { sync } => assert_eq!(Some(sync), stored.active_sync, "{}", self.step),
            Enqueued::TickTaken => panic!("{}: there was no tick", self.step),
        }
    }

    async fn claim(&mut self, node: u64, max: u32) -> Vec<Lease> {
        let claim = claim_of(&node.to_string(), max);
        let claimed = self.store(node).claim(claim, self.now).await.unwrap();
        for it in &claimed {
            let before = self.held.insert(it.job, (it.generation, it.until));
            assert_eq!(before, None, "{}: {it:?} was held already", self.step);
            // It sees what was found before it began.
            self.more.remove(&it.job);
            self.leases.push((it.clone(), node));
        }
        claimed
    }

    /// Commits a page of a job: a listing finds something new, an item is read to its end.
    async fn page(&mut self, lease: &Lease, node: u64, news: bool) {
        let may = self.may_write(lease);
        let store = self.store(node).clone();
        let commit = if lease.stream == "commits" {
            let due = store.due_items(lease, 1).await.unwrap();
            let Some(item) = due.first() else { return };
            let done = Page { done: vec![item.key.clone()], ..Page::empty(caught_up(None)) };
            commit_items(done, &[(item.key.as_str(), item.wanted.as_str())], self.now)
        } else {
            let mut page = Page::empty(more(json!(self.now.as_second())));
            let key = (lease.source, lease.partition.clone());
            let version = self.wanted.get(&key).copied().unwrap_or(0) + u64::from(news);
            if news {
                page.partitions = vec![partition("commits", &lease.partition)];
                page.wanted = vec![wanted(&lease.partition, "main", &version.to_string(), None)];
            }
            if news && may {
                self.wanted.insert(key, version);
                let of_it = |it: &&(Lease, u64)| {
                    (it.0.source, it.0.stream.as_str(), &it.0.partition)
                        == (lease.source, "commits", &lease.partition)
                };
                let reading = self.leases.iter().filter(of_it).map(|it| it.0.job);
                self.more.extend(reading.filter(|it| self.held.contains_key(it)));
            }
            commit(page, Pass::Incremental, self.now)
        };
        let until = commit.lease_until;
        let written = store.commit_page(lease, commit, self.now).await;
        if self.judge(lease, may, written).is_some() {
            self.held.insert(lease.job, (lease.generation, until));
        }
    }

    async fn settle(&mut self, lease: &Lease, node: u64, outcome: &Outcome) {
        let may = self.may_write(lease);
        let verdict = policy::settle(outcome, lease.attempt, self.now);
        let verdict = match verdict {
            // What keeps the lease is not settled: the worker waits and goes on.
            Verdict::WaitHere { until } => Verdict::Retry { at: until },
            Verdict::StartOver => Verdict::Release,
            other => other,
        };
        let ended = match outcome {
            Outcome::Faulted(fault) => failed(verdict, fault.code()),
            _ => settlement(verdict),
        };
        let written = self.store(node).settle(lease, ended, self.now).await;
        if self.judge(lease, may, written).is_none() {
            return;
        }
        self.held.remove(&lease.job);
        if verdict == Verdict::Complete && self.more.contains(&lease.job) {
            let state = format!("select state from jobs where id = {}", lease.job);
            let state = self.database.lines(&state).await;
            assert!(state == ["available"] || state == ["cancelled"], "{}: {lease:?} {state:?}", self.step);
        }
    }

    /// Frees what is lost: of these nodes, and whatever ran out.
    async fn rescue(&mut self, dead: Option<u64>) {
        let nodes: Vec<String> = dead.iter().map(u64::to_string).collect();
        self.stores[0].rescue(&nodes, self.now).await.unwrap();
        let now = self.now;
        let of_dead = |job: &JobId, generation: i64, all: &[(Lease, u64)]| {
            all.iter().any(|(it, node)| it.job == *job && it.generation == generation && Some(*node) == dead)
        };
        let leases = &self.leases;
        self.held.retain(|job, (generation, until)| *until > now && !of_dead(job, *generation, leases));
    }

    /// Interrupts what has not moved for ten minutes.
    async fn interrupt(&mut self) {
        let before = self.now - SignedDuration::from_mins(10);
        for lease in self.stores[1].stalled(before, self.now).await.unwrap() {
            self.settle(&lease, 1, &Outcome::Stuck).await;
        }
    }

    /// Removes what is a minute old: nothing that goes on may be touched.
    async fn clean(&self) {
        let old = self.now - SignedDuration::from_mins(1);
        let expiry = Expiry { completed_before: old, failed_before: old };
        let active = "select cast(id as text) || ' ' || cast(generation as text) || ' ' || state from jobs
            where state in ('available', 'scheduled', 'retryable', 'running')
                or sync_id in (select id from syncs where state = 'running')
                or sync_id in (select sync_id from jobs where state in ('available', 'scheduled', 'retryable', 'running'))
            order by id";
        let before = self.database.lines(active).await;
        let syncs = self.stores[0].expired_syncs(SyncId(0), expiry, 100).await.unwrap();
        self.stores[0].remove_expired(syncs, expiry).await.unwrap();
        self.stores[1].remove_events(EventId(0), expiry).await.unwrap();
        assert_eq!(
            self.database.lines(active).await,
            before,
            "{}: something that goes on was removed",
            self.step
        );
    }

    async fn step(&mut self, dice: &mut Dice) {
        let node = dice.of(3);
        // Mostly one that is held; now and then one that is long gone.
        let gone = dice.of(4) == 0;
        let among = |it: &&(Lease, u64)| {
            gone || self.held.get(&it.0.job).is_some_and(|held| held.0 == it.0.generation)
        };
        let among: Vec<&(Lease, u64)> = self.leases.iter().filter(among).collect();
        let lease = (!among.is_empty()).then(|| among[dice.index(among.len())].clone());
        match (dice.of(20), lease) {
            (0..=2, _) => {
                let source = self.sources[dice.index(self.sources.len())];
                let trigger = Trigger::ALL[dice.index(Trigger::ALL.len())];
                let stale_look = dice.of(3) == 0;
                self.request(source, trigger, stale_look).await;
            }
            (3..=5, _) => drop(self.claim(node, 1 + u32::try_from(dice.of(3)).unwrap()).await),
            (6..=10, Some((lease, node))) => {
                let news = dice.of(2) == 0;
                self.page(&lease, node, news).await;
            }
            (11..=14, Some((lease, node))) => {
                let outcome = some_outcome(dice, self.now);
                self.settle(&lease, node, &outcome).await;
            }
            (15, _) => self.rescue((dice.of(2) == 0).then_some(node)).await,
            (16, _) => self.interrupt().await,
            (17, _) => self.clean().await,
            (18, _) if dice.of(3) == 0 => {
                if let Some(sync) = self.accepted.iter().nth_back(dice.index(3)).copied()
                    && self.stores[0].sync(sync).await.unwrap().is_some()
                {
                    self.stores[0].cancel(sync, self.now).await.unwrap();
                }
            }
            (18, Some((lease, _))) => {
                let beat = Beat { job: lease.job, generation: lease.generation, waits: dice.of(2) == 0 };
                let until = self.now + SignedDuration::from_secs(60);
                self.stores[0].heartbeat(vec![beat], until, self.now).await.unwrap();
                if let Some(held) = self.held.get_mut(&lease.job).filter(|it| it.0 == lease.generation) {
                    held.1 = held.1.max(until);
                }
            }
            _ => {
                let by = [1, 3, 7, 30, 70, 2_000][dice.index(6)];
                // Now and then a clock is set back.
                let by = if dice.of(8) == 0 { -by.min(30) } else { by };
                self.now += SignedDuration::from_secs(by);
            }
        }
        let twice =
            "select source_id from syncs where state = 'running' and whole group by source_id, stream_group
            having count(*) > 1";
        let doubled = format!(
            "select cast(source_id as text) from ({twice}) as it union all
             select cast(source_id as text) from jobs where state in ('available', 'scheduled', 'retryable', 'running')
             group by source_id, stream, partition, lane having count(*) > 1"
        );
        assert_eq!(self.database.lines(&doubled).await, [""; 0], "{}: two at once", self.step);
    }

    /// Lets everything end well.
    async fn drain(&mut self) {
        let going = "select cast(id as text) from jobs where state in ('available', 'scheduled', 'retryable', 'running')";
        for _ in 0..ROUNDS_MAX {
            self.now += SignedDuration::from_hours(2);
            self.rescue(None).await;
            for lease in self.claim(0, 100).await {
                while lease.stream == "commits"
                    && !self.stores[0].due_items(&lease, 1).await.unwrap().is_empty()
                {
                    self.page(&lease, 0, false).await;
                }
                self.settle(&lease, 0, &Outcome::CaughtUp).await;
            }
            if self.database.lines(going).await.is_empty() {
                return;
            }
        }
        panic!("{}: {:?} never end", self.step, self.database.lines(going).await);
    }

    /// What must hold once everything has ended.
    async fn ends_well(&mut self) {
        self.drain().await;
        for sync in &self.accepted {
            let row = self.stores[0].sync(*sync).await.unwrap();
            let state = row.as_ref().map(|it| it.state);
            assert_ne!(state, Some(SyncState::Running), "{}: sync {sync} never ended", self.step);
        }
        // The next sync reads whatever was left, and nothing of what went wrong is told any more.
        for source in self.sources.clone() {
            let before = self.accepted.len();
            self.request(source, Trigger::Manual, false).await;
            assert_eq!(self.accepted.len(), before + 1, "{}: nothing stands in the way", self.step);
        }
        self.drain().await;
        let left = "select key || ' ' || wanted from items where have is distinct from wanted";
        assert_eq!(self.database.lines(left).await, [""; 0], "{}: something was dropped", self.step);
        for ((source, repository), version) in &self.wanted {
            let have = format!(
                "select have from items where source_id = {source} and partition = '{repository}' and key = 'main'"
            );
            assert_eq!(self.database.lines(&have).await, [version.to_string()], "{}", self.step);
        }
        let trouble = "select key from partitions where error_code is not null or not is_valid
            union all select state from standings where state <> 'completed' or error_code is not null";
        assert_eq!(self.database.lines(trouble).await, [""; 0], "{}: it sticks", self.step);
    }
}

fn some_outcome(dice: &mut Dice, now: Timestamp) -> Outcome {
    use domain::fault::{Cause, Fault};
    let minutes = |count| now + SignedDuration::from_mins(count);
    match dice.of(11) {
        0..=3 => Outcome::CaughtUp,
        4 => Outcome::Interrupted,
        5 => Outcome::Panicked,
        6 => Outcome::Faulted(Fault::RateLimited { until: Some(minutes(30)), bucket: "core" }),
        7 => Outcome::Faulted(Fault::Transient { after: None, cause: Cause::Server(502) }),
        8 => Outcome::Faulted(Fault::Gone),
        9 => Outcome::Faulted(Fault::Unauthorized),
        _ => Outcome::Faulted(Fault::Malformed { what: "no list".to_owned() }),
    }
}

async fn what_must_hold_holds_on_every_walk(database: &Database) {
    let stores = [open(database).await, open(database).await];
    let walks = if database.is_sqlite() { WALKS } else { WALKS / 2 };
    let mut reasons = BTreeSet::new();
    for seed in 1..=walks {
        let mut sources = Vec::new();
        for nth in 0..2 {
            let roots = ["1", "2", "3"].map(|it| partition("branches", it)).to_vec();
            let new = new_source(&format!("walk-{seed}-{nth}"), roots);
            sources.push(stores[0].add_source(new, &vault(), at(0)).await.unwrap());
        }
        let mut model = Model {
            database,
            stores: stores.clone(),
            sources,
            // Later than all of the walk before.
            now: at(i64::try_from(seed).unwrap() * 100_000_000),
            held: BTreeMap::new(),
            leases: Vec::new(),
            accepted: BTreeSet::new(),
            more: BTreeSet::new(),
            wanted: BTreeMap::new(),
            step: String::new(),
        };
        let mut dice = Dice(seed);
        for nth in 0..STEPS {
            model.step = format!("seed {seed}, step {nth}");
            model.step(&mut dice).await;
        }
        model.step = format!("seed {seed}, the end");
        model.ends_well().await;
        let last = database.lines("select distinct reason from decisions order by reason").await;
        reasons.extend(last);
        assert!(model.accepted.len() > 2, "seed {seed}: hardly anything was asked for");
    }
    assert!(reasons.contains(Reason::Ready.as_str()), "{reasons:?}");
}
