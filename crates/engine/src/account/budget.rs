//! What each account may still ask, as its provider's answers say.
//!
//! It must never let a request go that the provider said it would refuse.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use domain::connector::{Meter, WHOLE_ACCOUNT};
use domain::policy::{self, Thresholds};
use domain::trigger::Trigger;
use jiff::{SignedDuration, Timestamp};
use store::BudgetRow;
use tokio::sync::Notify;

/// The budgets of one account.
#[derive(Debug, Default)]
pub(crate) struct Budgets {
    buckets: Mutex<HashMap<String, Bucket>>,
    /// Whether a refusal was noted that the database does not know yet.
    untold: AtomicBool,
    /// Woken at each refusal.
    refused: Arc<Notify>,
    /// What is left to people and other tools.
    thresholds: Thresholds,
}

#[derive(Clone, Debug, Default)]
struct Bucket {
    limit: Option<u64>,
    remaining: Option<u64>,
    resets_at: Option<Timestamp>,
    blocked_until: Option<Timestamp>,
    observed_at: Option<Timestamp>,
    /// Requests that are under way: their cost is not yet in `remaining`.
    under_way: u64,
    /// Refusals in a row that named no time.
    unnamed: u32,
}

/// Says that a request was let go; to be given back to [`Budgets::finish`].
#[derive(Debug)]
pub(crate) struct Grant {
    bucket: &'static str,
}

/// A budget is spent until a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spent {
    pub(crate) bucket: &'static str,
    pub(crate) until: Timestamp,
}

impl Budgets {
    /// Makes budgets that leave the floor of `thresholds`, and wake `refused` at each refusal.
    pub(crate) fn new(thresholds: Thresholds, refused: Arc<Notify>) -> Self {
        Self { refused, thresholds, ..Self::default() }
    }

    /// Says whether there was a refusal that was not taken note of since.
    pub(crate) fn is_untold(&self) -> bool {
        self.untold.load(Ordering::Relaxed)
    }

    /// Says whether there was a refusal since the last time this was asked.
    pub(crate) fn take_untold(&self) -> bool {
        self.untold.swap(false, Ordering::Relaxed)
    }

    /// Takes over what the database knows: refusals, and the counts of buckets of which nothing newer is known.
    pub(crate) fn load(&self, rows: Vec<BudgetRow>) {
        let mut buckets = self.lock();
        for row in rows {
            let bucket = buckets.entry(row.bucket).or_default();
            bucket.blocked_until = bucket.blocked_until.max(row.blocked_until);
            if bucket.observed_at.is_none_or(|at| at < row.observed_at) {
                bucket.limit = row.limit.and_then(|it| u64::try_from(it).ok());
                bucket.remaining = row.remaining.and_then(|it| u64::try_from(it).ok());
                bucket.resets_at = row.resets_at;
                bucket.observed_at = Some(row.observed_at);
            }
        }
    }

    /// Returns what is known, for the database.
    pub(crate) fn rows(&self) -> Vec<BudgetRow> {
        let rows = self.lock();
        let mut rows: Vec<_> = rows
            .iter()
            .filter_map(|(name, it)| {
                Some(BudgetRow {
                    bucket: name.clone(),
                    limit: it.limit.and_then(|it| i64::try_from(it).ok()),
                    remaining: it.remaining.and_then(|it| i64::try_from(it).ok()),
                    resets_at: it.resets_at,
                    blocked_until: it.blocked_until,
                    observed_at: it.observed_at?,
                })
            })
            .collect();
        rows.sort_by(|a, b| a.bucket.cmp(&b.bucket));
        rows
    }

    /// Lets a request go, or says how long its budget is spent.
    pub(crate) fn admit(&self, name: &'static str, now: Timestamp) -> Result<Grant, Spent> {
        let mut buckets = self.lock();
        for held in [WHOLE_ACCOUNT, name] {
            if let Some(until) = buckets.get(held).and_then(|it| it.spent_until(&self.thresholds, now)) {
                return Err(Spent { bucket: name, until });
            }
        }
        buckets.entry(name.to_owned()).or_default().under_way += 1;
        Ok(Grant { bucket: name })
    }

    /// Takes note of what an answer says; `meters` is empty when no answer came.
    pub(crate) fn finish(&self, grant: &Grant, meters: &[Meter], now: Timestamp) {
        let mut buckets = self.lock();
        if let Some(bucket) = buckets.get_mut(grant.bucket) {
            bucket.under_way = bucket.under_way.saturating_sub(1);
        }
        for meter in meters {
            buckets.entry(meter.bucket.to_owned()).or_default().note(meter, now);
        }
        drop(buckets);
        if meters.iter().any(|it| it.refused.is_some()) {
            self.untold.store(true, Ordering::Relaxed);
            self.refused.notify_one();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Bucket>> {
        // No code that holds the lock can leave a bucket half written, so a poisoned lock is still good.
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bucket {
    fn spent_until(&self, thresholds: &Thresholds, now: Timestamp) -> Option<Timestamp> {
        if let Some(until) = self.blocked_until.filter(|until| *until > now) {
            return Some(until);
        }
        let (limit, remaining, resets_at) = (self.limit?, self.remaining?, self.resets_at?);
        // A budget at its floor lets a sync begin, so it lets a request go too; below it, both wait for the reset.
        let floor = thresholds.required(Trigger::Manual, limit);
        let free = remaining.saturating_sub(self.under_way);
        (resets_at > now && free < floor).then(|| policy::reset(Some(resets_at), now))
    }

    fn note(&mut self, meter: &Meter, now: Timestamp) {
        self.observed_at = Some(now);
        if meter.limit.is_some() {
            self.limit = meter.limit;
        }
        if let Some(remaining) = meter.remaining {
            // Clamped when it is noted, not when it is used: an absurd time must not move away from us for ever.
            self.note_remaining(remaining, meter.resets_at.map(|at| policy::reset(Some(at), now)), now);
        }
        match meter.refused {
            Some(refusal) => {
                let until = refusal.until.unwrap_or_else(|| {
                    // 1 min, 2 min, 4 min … : a provider that names no time wants at least a minute (GitHub's rule).
                    let minutes = 1_i64 << self.unnamed.min(6);
                    now.saturating_add(SignedDuration::from_mins(minutes)).unwrap_or(Timestamp::MAX)
                });
                if refusal.until.is_none() {
                    self.unnamed = self.unnamed.saturating_add(1);
                }
                let until = policy::reset(Some(until), now);
                self.blocked_until = Some(self.blocked_until.map_or(until, |known| known.max(until)));
            }
            None => self.unnamed = 0,
        }
    }

    /// Windows are told apart by their end; answers of one window may arrive in any order, so its lowest count holds.
    fn note_remaining(&mut self, remaining: u64, resets_at: Option<Timestamp>, now: Timestamp) {
        let ended = self.resets_at.is_none_or(|at| at <= now);
        let apart = |known: Timestamp, stated: Timestamp| stated.duration_since(known) > WINDOW_JITTER;
        let (newer, older) = match (self.resets_at, resets_at) {
            (Some(known), Some(stated)) => (apart(known, stated), apart(stated, known) && !ended),
            _ => (ended, false),
        };
        if older {
            return;
        }
        let known = if newer || ended { u64::MAX } else { self.remaining.unwrap_or(u64::MAX) };
        self.remaining = Some(remaining.min(known));
        if newer || ended {
            self.resets_at = resets_at;
        }
    }
}

/// Two statements of one window's end may differ by this much, because providers compute it anew for each answer.
const WINDOW_JITTER: SignedDuration = SignedDuration::from_secs(5);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use domain::connector::{Meter, Refusal, WHOLE_ACCOUNT};
    use domain::policy::Thresholds;
    use jiff::{SignedDuration, Timestamp};

    use super::Budgets;

    const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

    fn at(seconds: i64) -> Timestamp {
        NOW + SignedDuration::from_secs(seconds)
    }

    fn counted(remaining: u64, resets_at: Timestamp) -> Meter {
        Meter {
            bucket: "core",
            limit: Some(5000),
            remaining: Some(remaining),
            resets_at: Some(resets_at),
            refused: None,
        }
    }

    fn refused(bucket: &'static str, until: Option<Timestamp>) -> Meter {
        Meter { bucket, limit: None, remaining: None, resets_at: None, refused: Some(Refusal { until }) }
    }

    fn note(budgets: &Budgets, meter: Meter, now: Timestamp) {
        let grant = budgets.admit("core", now).or_else(|_| budgets.admit("other", now));
        let grant = grant.unwrap_or(super::Grant { bucket: "none" });
        budgets.finish(&grant, &[meter], now);
    }

    fn spent_until(budgets: &Budgets, now: Timestamp) -> Option<Timestamp> {
        budgets.admit("core", now).err().map(|it| it.until)
    }

    #[test]
    fn a_budget_at_its_floor_waits_for_its_reset_and_is_then_full() {
        let budgets = Budgets::default();
        note(&budgets, counted(100, at(600)), NOW);
        let grant = budgets.admit("core", NOW).unwrap();
        // The one under way may cost the last request that the floor of 100 allows.
        assert_eq!(spent_until(&budgets, NOW), Some(at(600)));
        budgets.finish(&grant, &[counted(100, at(600))], NOW);
        assert_eq!(spent_until(&budgets, NOW), None);
        assert_eq!(spent_until(&budgets, at(600)), None);
    }

    #[test]
    fn a_floor_of_ones_own_holds() {
        let thresholds = Thresholds { floor: 200, floor_percent: 100, ..Thresholds::default() };
        let budgets = Budgets::new(thresholds, Arc::default());
        note(&budgets, counted(199, at(600)), NOW);
        assert_eq!(spent_until(&budgets, NOW), Some(at(600)));
    }

    #[test]
    fn late_answers_of_a_window_do_not_raise_its_count() {
        let budgets = Budgets::default();
        note(&budgets, counted(99, at(600)), NOW);
        note(&budgets, counted(4000, at(601)), NOW);
        assert_eq!(spent_until(&budgets, NOW), Some(at(600)));
        note(&budgets, counted(4999, at(4200)), at(600));
        assert_eq!(spent_until(&budgets, at(601)), None);
    }

    #[test]
    fn a_secondary_limit_holds_for_every_bucket() {
        let budgets = Budgets::default();
        note(&budgets, refused(WHOLE_ACCOUNT, Some(at(30))), NOW);
        assert_eq!(spent_until(&budgets, NOW), Some(at(30)));
        assert_eq!(spent_until(&budgets, at(30)), None);
    }

    #[test]
    fn refusals_without_a_time_wait_longer_each_time() {
        let budgets = Budgets::default();
        note(&budgets, refused("core", None), NOW);
        assert_eq!(spent_until(&budgets, NOW), Some(at(60)));
        note(&budgets, refused("core", None), at(60));
        assert_eq!(spent_until(&budgets, at(60)), Some(at(180)));
    }

    #[test]
    fn an_absurd_reset_ends() {
        let budgets = Budgets::default();
        note(&budgets, counted(0, Timestamp::MAX), NOW);
        let until = spent_until(&budgets, NOW).unwrap();
        assert_eq!(until, at(65 * 60));
        assert_eq!(spent_until(&budgets, until), None);
    }

    #[test]
    fn what_the_database_knows_survives_a_restart() {
        let before = Budgets::default();
        note(&before, counted(0, at(600)), NOW);
        let after = Budgets::default();
        after.load(before.rows());
        assert_eq!(spent_until(&after, at(1)), Some(at(600)));
    }
}
