//! One budget of an account, as this node knows it: its count, its refusals, and what of it is granted here.
//!
//! It must never believe an older count over a newer one.

use domain::connector::Meter;
use domain::policy::ledger::{Class, Count, SHORT_WINDOW, Window};
use domain::policy::{self, Thresholds};
use jiff::{SignedDuration, Timestamp};
use store::BudgetRow;

#[derive(Clone, Debug, Default)]
pub(super) struct Bucket {
    pub(super) count: Count,
    pub(super) blocked_until: Option<Timestamp>,
    pub(super) observed_at: Option<Timestamp>,
    /// Whether its window is longer than what every node counts by itself: then it is spent by grants.
    pub(super) is_long: bool,
    /// Requests spent in this window that the ledger was not told of; `None` before the first.
    pub(super) own: Option<u64>,
    /// Whether anything was learned that the ledger was not told of.
    pub(super) is_news: bool,
    /// What this node was granted, for each class.
    pub(super) grants: [Held; Class::ALL.len()],
    /// Refusals in a row that named no time.
    pub(super) unnamed: u32,
}

/// What this node was granted of one budget for one class.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    pub(super) left: u64,
    pub(super) until: Option<Timestamp>,
    /// Requests that are under way: their cost is not yet in the count.
    pub(super) under_way: u64,
    /// When to ask again, where nothing was granted.
    pub(super) none_until: Option<Timestamp>,
    /// Whether anything was spent of it since it was last looked at.
    pub(super) in_use: bool,
}

impl Held {
    pub(super) fn is_granted(&self, now: Timestamp) -> bool {
        self.left > 0 && self.until.is_some_and(|at| at > now)
    }
}

impl Bucket {
    /// Says whether the ledger is told of it: of a short window only that it refused.
    pub(super) fn is_told(&self, now: Timestamp) -> bool {
        self.is_long || self.blocked_until.is_some_and(|at| at > now)
    }

    pub(super) fn row(&self, name: &str) -> Option<BudgetRow> {
        let number = |it: Option<u64>| it.and_then(|it| i64::try_from(it).ok());
        let count = if self.is_long { self.count } else { Count::default() };
        Some(BudgetRow {
            bucket: name.to_owned(),
            limit: number(count.limit),
            remaining: number(count.remaining),
            resets_at: count.resets_at,
            own: number(self.own.filter(|_| self.is_long)),
            blocked_until: self.blocked_until,
            observed_at: self.observed_at?,
        })
    }

    pub(super) fn spent_until(
        &self,
        class: Class,
        thresholds: &Thresholds,
        nodes: u64,
        now: Timestamp,
    ) -> Option<Timestamp> {
        if let Some(until) = policy::believed(self.blocked_until, now).filter(|until| *until > now) {
            return Some(until);
        }
        let (limit, remaining) = (self.count.limit?, self.count.remaining?);
        let resets_at = policy::believed(self.count.resets_at, now).filter(|at| *at > now)?;
        // A budget at its floor lets a sync begin, so it lets a request go too; below it, both wait for the reset.
        let required = thresholds.required(class, limit).max(1);
        if remaining < required {
            return Some(policy::reset(Some(resets_at), now));
        }
        // Of a short window every node takes as much as this one has under way: nobody writes down who has how much.
        let nodes = if self.is_long { 1 } else { nodes };
        let under_way: u64 = self.grants.iter().map(|it| it.under_way).sum();
        let free = remaining.saturating_sub(under_way.saturating_mul(nodes));
        // What is under way may turn out to cost nothing, so it is waited for and not for the reset.
        (free < required)
            .then(|| resets_at.min(now.saturating_add(SignedDuration::from_secs(1)).unwrap_or(now)))
    }

    pub(super) fn note(&mut self, meter: &Meter, now: Timestamp) {
        self.observed_at = Some(now);
        self.is_news = true;
        // Clamped when it is noted, not when it is used: an absurd time must not move away from us for ever.
        let resets_at = meter.resets_at.map(|at| policy::reset(Some(at), now));
        let stated = Count { limit: meter.limit, remaining: meter.remaining, resets_at };
        if meter.remaining.is_some() {
            self.is_long |= resets_at.is_some_and(|at| at.duration_since(now) > SHORT_WINDOW);
            self.note_count(&stated, now);
        } else if meter.limit.is_some() {
            self.count.limit = meter.limit;
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
                self.blocked_until = policy::believed(self.blocked_until, now).max(Some(until));
            }
            None => self.unnamed = 0,
        }
    }

    pub(super) fn note_count(&mut self, stated: &Count, now: Timestamp) {
        if self.count.note(stated, now) == Window::Newer {
            // What was spent of the window before is not told any more: the new one begins with nothing.
            self.own = self.own.map(|_| 0);
        }
    }
}
