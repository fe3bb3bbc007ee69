//! When to sync, and what to do when an attempt ended: pure, total, and the same for the same arguments.
//!
//! It must never make words for people: the reasons are a closed list. Begin with [`evaluate`] and [`settle`].

pub mod forecast;
pub mod heal;
pub mod ledger;
pub mod schedule;
pub mod status;
#[cfg(test)]
mod tests;
pub mod turn;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, Serializer};

use crate::fault::Fault;
use crate::job::{Lane, words};
use crate::trigger::Trigger;
use ledger::Class;

/// What the policy knows of a source and stream group.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Whether the source is switched on.
    pub enabled: bool,
    /// Whether the source belongs to a tenant.
    pub has_owner: bool,
    /// How many partitions there are to read.
    pub partitions: u64,
    /// When a manual sync was last accepted.
    pub last_manual_at: Option<Timestamp>,
    /// When a whole sync last ended with success.
    pub last_success_at: Option<Timestamp>,
    /// What is known of the budget that the sync would spend.
    pub budget: Budget,
    /// Whether a whole-group forward sync is active.
    pub syncing: bool,
    /// The numbers to decide by.
    pub thresholds: Thresholds,
}

/// What is known of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// The provider states no remaining count: requests are paced, and a sync is never refused for them.
    Paced,
    /// The provider counts.
    Counted {
        /// How many requests a full budget has.
        limit: u64,
        /// How many are left; unknown counts as full.
        remaining: Option<u64>,
        /// When it is full again. A time in the past counts as full, and so does none at all or one further
        /// away than [`RESET_MAX`]: a count that no time ends could only be mended by the sync that it forbids.
        resets_at: Option<Timestamp>,
    },
}

/// The numbers that decisions depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// How long after a manual sync another one is refused.
    pub manual_cooldown: SignedDuration,
    /// A source without success for longer than this may be synced by hand at any time.
    pub stale_after: SignedDuration,
    /// Requests that are left to people and other tools.
    pub floor: u64,
    /// The floor in percent of a small limit; the lower of the two counts.
    pub floor_percent: u64,
    /// Requests that scheduled syncs leave to webhooks, beside the floor.
    pub reserve: u64,
    /// The reserve in percent of a small limit; the lower of the two counts.
    pub reserve_percent: u64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            manual_cooldown: SignedDuration::from_hours(1),
            stale_after: SignedDuration::from_hours(48),
            floor: 100,
            floor_percent: 2,
            reserve: 500,
            reserve_percent: 10,
        }
    }
}

impl Thresholds {
    /// Returns how many requests must be left of a budget of `limit` before a request of `class` may be made.
    #[must_use]
    pub fn required(&self, class: Class, limit: u64) -> u64 {
        let floor = self.floor.min(percent(limit, self.floor_percent));
        let reserve = self.reserve.min(percent(limit, self.reserve_percent));
        let required = if class.leaves_reserve() { floor.saturating_add(reserve) } else { floor };
        // Whatever is configured, a full budget is enough: else a source would be blocked for ever.
        required.min(limit)
    }
}

/// Rounds up, so that even the smallest limit keeps one request back: a sync never begins with nothing left.
fn percent(of: u64, percent: u64) -> u64 {
    // Through u128: a provider may state any limit, and the product must not wrap.
    u64::try_from((u128::from(of) * u128::from(percent)).div_ceil(100)).unwrap_or(u64::MAX)
}

/// What the policy answers to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// What to do.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// The numbers behind it; left out of the JSON where there are none.
    #[serde(skip_serializing_if = "Metadata::is_empty")]
    pub metadata: Metadata,
}

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Make a sync of it.
    Start,
    /// Drop it: nothing is wrong, it is not needed now.
    Skip,
    /// Refuse it: something stands in the way.
    Block,
}

words!(Action { Start => "start", Skip => "skip", Block => "block" });

/// Why; a closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Nothing stands in the way.
    Ready,
    /// The source is switched off.
    Disabled,
    /// The source belongs to nobody.
    NoOwner,
    /// The source has no partition to read.
    NothingToSync,
    /// A manual sync was accepted a short while ago.
    CooldownActive,
    /// The budget is too low.
    RateLimited,
    /// A whole sync of the same group is active.
    AlreadySyncing,
}

words!(Reason { Ready => "ready", Disabled => "disabled", NoOwner => "no_owner", NothingToSync => "nothing_to_sync", CooldownActive => "cooldown_active", RateLimited => "rate_limited", AlreadySyncing => "already_syncing" });

/// The numbers behind a decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// How long the cooldown still lasts, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cooldown_ms: Option<i64>,
    /// When the budget is full again, in epoch milliseconds.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "epoch_ms")]
    pub blocked_until: Option<Timestamp>,
    /// Requests that must be left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required_budget: Option<u64>,
    /// Requests that are left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub available_budget: Option<u64>,
}

impl Metadata {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Rounds up, so that a caller who waits until then is not refused again.
#[expect(clippy::ref_option, reason = "serde passes the field by reference")]
fn epoch_ms<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    at.map(|at| millis_up(at.duration_since(Timestamp::UNIX_EPOCH))).serialize(serializer)
}

impl Decision {
    fn new(action: Action, reason: Reason) -> Self {
        Self { action, reason, metadata: Metadata::default() }
    }
}

/// Decides whether a request for a whole-group sync starts one. The first check that fails wins.
#[must_use]
pub fn evaluate(facts: &Facts, trigger: Trigger, now: Timestamp) -> Decision {
    if !facts.enabled {
        return Decision::new(Action::Block, Reason::Disabled);
    }
    if !facts.has_owner {
        return Decision::new(Action::Block, Reason::NoOwner);
    }
    if facts.partitions == 0 {
        return Decision::new(Action::Block, Reason::NothingToSync);
    }
    if let Some(rest) = cooldown_rest(facts, trigger, now) {
        let metadata = Metadata { cooldown_ms: Some(millis_up(rest)), ..Metadata::default() };
        return Decision { action: Action::Skip, reason: Reason::CooldownActive, metadata };
    }
    if let Some(metadata) = budget_shortage(facts, trigger, now) {
        return Decision { action: Action::Block, reason: Reason::RateLimited, metadata };
    }
    if facts.syncing {
        let action = if trigger == Trigger::Manual { Action::Block } else { Action::Skip };
        return Decision::new(action, Reason::AlreadySyncing);
    }
    Decision::new(Action::Start, Reason::Ready)
}

fn cooldown_rest(facts: &Facts, trigger: Trigger, now: Timestamp) -> Option<SignedDuration> {
    if trigger != Trigger::Manual {
        return None;
    }
    let stale = facts.last_success_at.is_none_or(|at| now.duration_since(at) > facts.thresholds.stale_after);
    if stale {
        return None;
    }
    // The distance counts, not the direction: after a clock was set back, nobody waits for it to catch up.
    let since = now.duration_since(facts.last_manual_at?).abs();
    let rest = facts.thresholds.manual_cooldown.saturating_sub(since);
    rest.is_positive().then_some(rest)
}

fn budget_shortage(facts: &Facts, trigger: Trigger, now: Timestamp) -> Option<Metadata> {
    let Budget::Counted { limit, remaining, resets_at } = facts.budget else { return None };
    let resets_at = resets_at.filter(|at| *at > now && at.duration_since(now) <= RESET_MAX)?;
    let available = remaining.unwrap_or(limit);
    let required = facts.thresholds.required(Class::of(trigger, Lane::Forward), limit);
    (available < required).then_some(Metadata {
        blocked_until: Some(resets_at),
        required_budget: Some(required),
        available_budget: Some(available),
        cooldown_ms: None,
    })
}

/// Rounds up, so that a caller who waits exactly this long is not refused again.
fn millis_up(rest: SignedDuration) -> i64 {
    let whole = i64::try_from(rest.as_millis()).unwrap_or(i64::MAX);
    // The remainder of a negative time is negative, and cutting it off has already rounded up.
    if rest.subsec_nanos() % 1_000_000 > 0 { whole.saturating_add(1) } else { whole }
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The partition was read to its end.
    CaughtUp,
    /// The provider refused, or no answer came.
    Faulted(Fault),
    /// Our own code panicked.
    Panicked,
    /// It committed no page for long, and waited for nothing.
    Stuck,
    /// The process is shutting down.
    Interrupted,
    /// A page was committed, and another source's job comes before the next one.
    Overtaken,
    /// A person stopped the sync.
    Cancelled,
}

/// What the policy makes of an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The job is done.
    Complete,
    /// Keep the lease, wait, and ask again.
    WaitHere {
        /// When to ask again.
        until: Timestamp,
    },
    /// Free the worker; the next attempt begins later and this one counts.
    Retry {
        /// When the next attempt may begin.
        at: Timestamp,
    },
    /// Free the worker until a budget is full again; this attempt does not count.
    Snooze {
        /// When the job may go on.
        until: Timestamp,
    },
    /// Forget the place to read on from, and begin anew. To be obeyed once for each place in a job: pages read again
    /// would look like progress, and a place that is lost each time would be read for ever.
    StartOver,
    /// Failed for good; kept for people to see.
    Discard {
        /// Whether the partition itself is at fault: it is then only probed daily.
        invalidates: bool,
    },
    /// Failed for good, and so would every other job of the source.
    StopSource,
    /// Give the job back, as if this attempt had not begun.
    Release,
    /// Give the job back after a page, to go on when its turn comes.
    Yield,
    /// Stopped by a person.
    Cancel,
}

/// Attempts without progress before a job is discarded: the waits between them are 1 s and 2 s.
pub const ATTEMPTS_MAX: u32 = 3;

// The waits double without a cap of their own, so more attempts need one: no wait of ours is longer than 30 s.
const _: () = assert!(ATTEMPTS_MAX >= 2 && (1 << (ATTEMPTS_MAX - 2)) <= 30);

/// The longest wait that keeps a worker: a minute is shorter than giving the job away and back.
pub const WAIT_HERE_MAX: SignedDuration = SignedDuration::from_secs(60);

/// The wait for a limit whose end is unknown: the longest window that a provider who counts uses.
pub const RESET_FALLBACK: SignedDuration = SignedDuration::from_hours(1);

/// The longest wait that a provider can make us keep. A reset further away is taken for a mistake and asked again
/// after this; providers' windows last an hour, and their clocks may be some minutes ahead of ours.
pub const RESET_MAX: SignedDuration = SignedDuration::from_mins(65);

/// Decides what becomes of a job whose attempt number `attempt` (from 1; progress resets it) ended.
#[must_use]
pub fn settle(outcome: &Outcome, attempt: u32, now: Timestamp) -> Verdict {
    match outcome {
        Outcome::CaughtUp => Verdict::Complete,
        Outcome::Interrupted => Verdict::Release,
        Outcome::Overtaken => Verdict::Yield,
        Outcome::Cancelled => Verdict::Cancel,
        Outcome::Panicked | Outcome::Stuck => passing(None, attempt, now, false),
        Outcome::Faulted(fault) => match fault {
            Fault::RateLimited { until, .. } => limited(*until, now),
            Fault::Transient { after, .. } => passing(*after, attempt, now, true),
            Fault::Malformed { .. } => passing(None, attempt, now, true),
            Fault::CursorLost if attempt >= ATTEMPTS_MAX => Verdict::Discard { invalidates: false },
            Fault::CursorLost => Verdict::StartOver,
            Fault::Unauthorized => Verdict::StopSource,
            Fault::Denied | Fault::Gone => Verdict::Discard { invalidates: true },
        },
    }
}

fn limited(until: Option<Timestamp>, now: Timestamp) -> Verdict {
    let until = reset(until, now);
    if until.duration_since(now) <= WAIT_HERE_MAX {
        Verdict::WaitHere { until }
    } else {
        Verdict::Snooze { until }
    }
}

/// Returns when a limit ends, whatever the provider said: never in the past, never absurdly far away.
#[must_use]
pub fn reset(until: Option<Timestamp>, now: Timestamp) -> Timestamp {
    // One second at least: an answer that refuses and names a time already past must not be asked again at once.
    let earliest = after(now, SignedDuration::from_secs(1));
    until.unwrap_or_else(|| after(now, RESET_FALLBACK)).clamp(earliest, after(now, RESET_MAX))
}

/// Returns a stored time that something is limited until, unless it is further away than any is noted for: then a clock
/// was set since, and nothing is known. A minute more than the longest, because clocks of nodes differ.
#[must_use]
pub fn believed(until: Option<Timestamp>, now: Timestamp) -> Option<Timestamp> {
    until.filter(|at| at.duration_since(now) <= RESET_MAX.saturating_add(SignedDuration::from_mins(1)))
}

/// Waits 1 s, 2 s … or as long as the provider asked, whichever is longer. A pause of more than a minute is asked for by a
/// provider alone: it is no attempt that failed, and is kept however often it is asked for.
fn passing(asked: Option<Duration>, attempt: u32, now: Timestamp, may_wait_here: bool) -> Verdict {
    let own = SignedDuration::from_secs(1 << attempt.clamp(1, ATTEMPTS_MAX).saturating_sub(1));
    // Longer than any duration of ours is still a wish to wait long; how long it may be is bounded below.
    let asked = asked.map_or(own, |it| SignedDuration::try_from(it).unwrap_or(RESET_MAX));
    let wait = own.max(asked).min(RESET_MAX);
    if attempt >= ATTEMPTS_MAX && wait <= WAIT_HERE_MAX {
        return Verdict::Discard { invalidates: false };
    }
    let at = after(now, wait);
    if may_wait_here && wait <= WAIT_HERE_MAX {
        Verdict::WaitHere { until: at }
    } else {
        Verdict::Retry { at }
    }
}

/// Adds without leaving the range of times: the clock comes from outside and may be at either end.
fn after(now: Timestamp, wait: SignedDuration) -> Timestamp {
    now.saturating_add(wait).unwrap_or(Timestamp::MAX)
}
