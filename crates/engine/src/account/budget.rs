//! What each account may still ask, as its provider's answers say, and what of it is granted to this node.
//!
//! It must never let a request go that the provider said it would refuse, and never spend what is another node's.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use domain::connector::{Meter, Spec, WHOLE_ACCOUNT};
use domain::policy::ledger::{Class, SHORT_WINDOW};
use domain::policy::{self, Thresholds};
use jiff::{SignedDuration, Timestamp};
use store::{BudgetRow, Granted, Kept, Want};
use tokio::sync::Notify;

use super::bucket::Bucket;

/// The budgets of one account.
#[derive(Debug)]
pub(crate) struct Budgets {
    state: Mutex<State>,
    /// Whether a refusal was noted that the database does not know yet.
    untold: AtomicBool,
    /// Woken at each refusal.
    refused: Arc<Notify>,
    /// What is left to people and other tools.
    thresholds: Thresholds,
    /// The size of a budget that the provider counts and has not told yet; `None` where it may count none.
    assumed: Option<u64>,
    /// Whether an answer that nothing has changed costs nothing.
    unchanged_is_free: bool,
    /// How many nodes are at work, this one among them.
    nodes: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    buckets: HashMap<String, Bucket>,
    /// Looks in a row that found nothing spent and nothing under way.
    quiet: u32,
    /// When the ledger was last told anything.
    told_at: Option<Timestamp>,
}

/// Says that a request was let go; to be given back to [`Budgets::finish`].
#[derive(Debug)]
pub(crate) struct Pass {
    bucket: &'static str,
    class: Class,
}

/// Why a request is not let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The budget is spent until a time.
    Spent(Timestamp),
    /// A grant has to be taken of this budget first.
    Ungranted(&'static str),
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It was answered, after so many requests: each redirect is one more.
    Answered(u64),
    /// It was answered that nothing has changed, after so many.
    Unchanged(u64),
    /// No answer came; it may have been counted.
    Unknown,
}

impl Budgets {
    /// Makes the budgets of an account at a provider, which leave what `thresholds` say and wake `refused` at each
    /// refusal.
    pub(crate) fn new(spec: &Spec, thresholds: Thresholds, refused: Arc<Notify>) -> Self {
        Self {
            state: Mutex::default(),
            untold: AtomicBool::new(false),
            refused,
            thresholds,
            assumed: spec.limits.budget.filter(|_| spec.limits.budget_window > SHORT_WINDOW),
            unchanged_is_free: spec.limits.unchanged_is_free,
            nodes: AtomicU64::new(1),
        }
    }

    /// Notes how many nodes are at work.
    pub(crate) fn share_with(&self, nodes: u64) {
        self.nodes.store(nodes.max(1), Ordering::Relaxed);
    }

    /// Says whether there was a refusal that was not taken note of since.
    fn is_untold(&self) -> bool {
        self.untold.load(Ordering::Relaxed)
    }

    /// Takes over what the database knows: refusals, and the counts of the same or newer windows.
    pub(crate) fn load(&self, rows: &[BudgetRow], now: Timestamp) {
        let mut state = self.lock();
        for row in rows {
            let bucket = state.buckets.entry(row.bucket.clone()).or_default();
            bucket.blocked_until = bucket.blocked_until.max(policy::believed(row.blocked_until, now));
            if row.remaining.is_some() && policy::believed(row.resets_at, now).is_some_and(|at| at > now) {
                // Only long windows are written down.
                bucket.is_long = true;
                bucket.note_count(&row.count(), now);
                bucket.observed_at = bucket.observed_at.max(Some(row.observed_at));
            }
        }
    }

    /// Returns how many requests are left of each budget, as far as this node knows.
    pub(crate) fn left(&self) -> Vec<(String, u64)> {
        let state = self.lock();
        let left = state.buckets.iter().filter_map(|(name, it)| Some((name.clone(), it.count.remaining?)));
        left.collect()
    }

    /// Says whether the ledger should be told now, and if so whether what was granted should be given back, because
    /// nobody spends it.
    pub(crate) fn is_due(&self, now: Timestamp) -> Option<bool> {
        let mut state = self.lock();
        let (mut in_use, mut is_news, mut is_granted) = (false, false, false);
        for it in state.buckets.values_mut() {
            is_news |= it.is_news && it.is_told(now);
            for held in &mut it.grants {
                in_use |= std::mem::take(&mut held.in_use) || held.under_way > 0;
                is_granted |= held.until.is_some_and(|at| at > now);
            }
        }
        state.quiet = if in_use { 0 } else { state.quiet.saturating_add(1) };
        let waited = state.told_at.is_none_or(|at| now.duration_since(at) >= TOLD_EVERY);
        if state.quiet >= QUIET_LOOKS && (is_news || is_granted) {
            return Some(true);
        }
        (self.is_untold() || (is_news && waited)).then_some(false)
    }

    /// Says whether the ledger is owed anything: a word of what was spent, or what was granted.
    pub(crate) fn owes(&self, now: Timestamp) -> bool {
        let is_granted = |it: &Bucket| it.grants.iter().any(|held| held.until.is_some_and(|at| at > now));
        self.lock().buckets.values().any(|it| is_granted(it) || (it.is_news && it.is_told(now)))
    }

    /// Says whether anything was learned or spent that the ledger was not told of.
    pub(crate) fn has_news(&self, now: Timestamp) -> bool {
        self.lock().buckets.values().any(|it| it.is_news && it.is_told(now))
    }

    /// Takes over all that is known and owed of an account that turned out to be this one.
    pub(crate) fn absorb(&self, other: &Self, now: Timestamp) {
        let (rows, _) = other.tell(true, now);
        self.load(&rows, now);
        let mut state = self.lock();
        for row in &rows {
            let it = state.buckets.entry(row.bucket.clone()).or_default();
            it.own = it.own.or(row.own.map(|_| 0));
        }
        drop(state);
        self.untell(&rows);
    }

    /// Takes what the ledger has to be told: what was learned and spent since, and what is kept of grants, which is
    /// nothing where they are given back.
    pub(crate) fn tell(&self, give_back: bool, now: Timestamp) -> (Vec<BudgetRow>, Vec<Kept>) {
        self.untold.store(false, Ordering::Relaxed);
        let mut state = self.lock();
        state.told_at = Some(now);
        let (mut told, mut kept) = (Vec::new(), Vec::new());
        for (name, it) in &mut state.buckets {
            if it.is_told(now)
                && std::mem::take(&mut it.is_news)
                && let Some(row) = it.row(name)
            {
                told.push(row);
                it.own = it.own.map(|_| 0);
            }
            let grants = if it.is_long { &mut it.grants[..] } else { &mut [] };
            for (class, held) in Class::ALL.into_iter().zip(grants) {
                if give_back {
                    (held.left, held.until) = (0, None);
                }
                let left = if held.is_granted(now) { held.left } else { 0 };
                let requests = left + held.under_way;
                let ends_at = now.saturating_add(GRANT_FOR_UNDER_WAY).unwrap_or(now);
                let until = held.until.unwrap_or(now).max(ends_at);
                if requests > 0 {
                    kept.push(Kept { bucket: name.clone(), class, requests, until });
                }
            }
        }
        (told, kept)
    }

    /// Takes back what the ledger could not be told.
    pub(crate) fn untell(&self, rows: &[BudgetRow]) {
        let mut state = self.lock();
        for row in rows {
            if let Some(it) = state.buckets.get_mut(&row.bucket) {
                let own = row.own.and_then(|it| u64::try_from(it).ok()).unwrap_or_default();
                it.own = it.own.map(|known| known.saturating_add(own));
                it.is_news = true;
            }
        }
    }

    /// Says what to ask the ledger for before a request of `class` can go; `None` where it can go already.
    pub(crate) fn want(&self, bucket: &'static str, class: Class, now: Timestamp) -> Option<Want> {
        let state = self.lock();
        let known = state.buckets.get(bucket);
        let held = known.map(|it| it.grants[class as usize]).unwrap_or_default();
        let waits = held.is_granted(now) || held.none_until.is_some_and(|at| at > now);
        (!waits).then(|| Want {
            bucket: bucket.to_owned(),
            class,
            assumed: self.assumed,
            thresholds: self.thresholds,
            nodes: self.nodes.load(Ordering::Relaxed),
            under_way: held.under_way,
        })
    }

    /// Takes what the ledger answered.
    pub(crate) fn take(&self, want: &Want, granted: Granted) {
        let mut state = self.lock();
        let held = &mut state.buckets.entry(want.bucket.clone()).or_default().grants[want.class as usize];
        if granted.requests == 0 {
            held.none_until = Some(granted.until);
            return;
        }
        (held.left, held.until, held.none_until) = (granted.requests, Some(granted.until), None);
    }

    /// Lets a request go, or says what it waits for.
    pub(crate) fn admit(&self, name: &'static str, class: Class, now: Timestamp) -> Result<Pass, Stop> {
        let nodes = self.nodes.load(Ordering::Relaxed);
        let mut state = self.lock();
        for held in [WHOLE_ACCOUNT, name] {
            let known = state.buckets.get(held);
            if let Some(until) = known.and_then(|it| it.spent_until(class, &self.thresholds, nodes, now)) {
                return Err(Stop::Spent(until));
            }
        }
        let mut spent = [None, None];
        for (held, spent) in [WHOLE_ACCOUNT, name].into_iter().zip(&mut spent) {
            let known = state.buckets.get(held);
            let is_unknown = known.is_none_or(|it| it.observed_at.is_none());
            let is_counted = known.is_some_and(|it| it.is_long && it.count.remaining.is_some());
            let is_assumed = held == name && is_unknown && self.assumed.is_some();
            if !(is_counted || is_assumed) {
                continue;
            }
            let grant = known.map(|it| it.grants[class as usize]).unwrap_or_default();
            if !grant.is_granted(now) {
                let until = grant.none_until.filter(|at| *at > now);
                return Err(until.map_or(Stop::Ungranted(held), Stop::Spent));
            }
            *spent = Some(held);
        }
        for held in spent.into_iter().flatten() {
            if let Some(it) = state.buckets.get_mut(held) {
                let grant = &mut it.grants[class as usize];
                (grant.left, grant.in_use) = (grant.left.saturating_sub(1), true);
            }
        }
        state.buckets.entry(name.to_owned()).or_default().grants[class as usize].under_way += 1;
        Ok(Pass { bucket: name, class })
    }

    /// Says until when requests are refused, after an answer that refused one.
    pub(crate) fn refused_until(&self, name: &'static str, now: Timestamp) -> Option<Timestamp> {
        let state = self.lock();
        let until = |held| state.buckets.get(held).and_then(|it| it.blocked_until).filter(|at| *at > now);
        until(WHOLE_ACCOUNT).max(until(name))
    }

    /// Takes note of how a request ended, and of what its answer says.
    pub(crate) fn finish(&self, pass: &Pass, end: End, meters: &[Meter], now: Timestamp) {
        let mut state = self.lock();
        for meter in meters {
            state.buckets.entry(meter.bucket.to_owned()).or_default().note(meter, now);
        }
        let is_refused = meters.iter().any(|it| it.refused.is_some());
        let free = u64::from(is_refused || (matches!(end, End::Unchanged(_)) && self.unchanged_is_free));
        let sent = match end {
            End::Answered(sent) | End::Unchanged(sent) => sent,
            End::Unknown => 1,
        };
        let cost = sent.saturating_sub(free);
        if let Some(it) = state.buckets.get_mut(pass.bucket) {
            let grant = &mut it.grants[pass.class as usize];
            grant.under_way = grant.under_way.saturating_sub(1);
            if !is_refused && grant.is_granted(now) {
                grant.left += free;
            }
            if cost > 0 {
                it.own = Some(it.own.unwrap_or_default().saturating_add(cost));
                it.is_news = true;
            }
        }
        drop(state);
        if is_refused {
            self.untold.store(true, Ordering::Relaxed);
            self.refused.notify_one();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // No code that holds the lock can leave a bucket half written, so a poisoned lock is still good.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often the ledger is told of what is spent where no grant is taken meanwhile: often enough for people to see it.
const TOLD_EVERY: SignedDuration = SignedDuration::from_secs(5);

/// Looks in a row, half a second apart, that find nothing spent before a grant is given back.
const QUIET_LOOKS: u32 = 2;

/// How long requests under way count as spent: no request takes longer.
const GRANT_FOR_UNDER_WAY: SignedDuration = SignedDuration::from_secs(30);

#[cfg(test)]
mod tests;
