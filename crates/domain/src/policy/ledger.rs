//! How a budget is shared: who may spend down to where, how much a node is granted at once, and which of two counts
//! holds. Pure, like the rest of the policy.
//!
//! It must never let more be granted than is left. Begin with [`grant`].

use jiff::{SignedDuration, Timestamp};

use super::believed;
use crate::job::Lane;
use crate::trigger::Trigger;

/// Whose request it is, the most urgent first: the further down, the more it leaves to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// A person asked and waits.
    Human,
    /// A hint, or a repair: something is known to have changed.
    Webhook,
    /// The schedule came round.
    Cron,
    /// What nobody waits for: older records, those read again, those counted.
    Backfill,
}

impl Class {
    /// Every class, the most urgent first.
    pub const ALL: [Self; 4] = [Self::Human, Self::Webhook, Self::Cron, Self::Backfill];

    /// Returns the class of a job, by what its sync was asked for and by the lane it reads.
    #[must_use]
    pub fn of(trigger: Trigger, lane: Lane) -> Self {
        if lane != Lane::Forward {
            return Self::Backfill;
        }
        match trigger {
            Trigger::Manual => Self::Human,
            Trigger::Webhook | Trigger::Maintenance | Trigger::Recovery => Self::Webhook,
            Trigger::Cron => Self::Cron,
        }
    }

    /// Says whether it leaves the reserve to hints, beside the floor.
    #[must_use]
    pub fn leaves_reserve(self) -> bool {
        matches!(self, Self::Cron | Self::Backfill)
    }

    /// Returns the word stored in the database and shown to people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Webhook => "webhook",
            Self::Cron => "cron",
            Self::Backfill => "backfill",
        }
    }

    /// Reads a stored word back; `None` for a word that no version wrote.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == word)
    }
}

/// The most that a node is granted at once: what one listing takes, and little to lose with a node that dies.
pub const GRANT_MAX: u64 = 50;

/// How long a grant may be spent. What a dead node leaves unspent is others' again after this.
pub const GRANT_FOR: SignedDuration = SignedDuration::from_secs(60);

/// The part of what is left that all nodes together are granted at once: near the end grants become single requests,
/// so that nearly nothing lies with a node that does not need it.
const GRANT_PARTS: u64 = 20;

/// The longest window that every node counts by itself: what is in the database would be old before it is read.
pub const SHORT_WINDOW: SignedDuration = SignedDuration::from_secs(60);

/// Returns how many requests a node may take of what is left, where `required` have to stay; zero where none may be
/// taken. What is granted to others and not given back counts as no longer left.
#[must_use]
pub fn grant(left: u64, required: u64, nodes: u64) -> u64 {
    match left.checked_sub(required.max(1)) {
        // At its floor a budget lets a sync begin, so it lets one request go too.
        Some(free) => (free / GRANT_PARTS.saturating_mul(nodes.max(1))).clamp(1, GRANT_MAX),
        None => 0,
    }
}

/// Returns how many requests others than we have spent, where we spent `own` of what is missing in the budget.
#[must_use]
pub fn foreign(limit: u64, remaining: u64, own: u64) -> u64 {
    limit.saturating_sub(remaining).saturating_sub(own)
}

/// What is known of a budget's window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How many requests a full budget has.
    pub limit: Option<u64>,
    /// How many are left; unknown counts as full.
    pub remaining: Option<u64>,
    /// When it is full again.
    pub resets_at: Option<Timestamp>,
}

/// What another statement of the same budget is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// One that is over.
    Older,
    /// The one that was known.
    Same,
    /// One that began since.
    Newer,
}

/// Two statements of one window's end may differ by this much, because providers compute it anew for each answer.
const WINDOW_JITTER: SignedDuration = SignedDuration::from_secs(5);

impl Count {
    /// Takes over another statement, and says which window it is of. Windows are told apart by their end; answers of
    /// one window may arrive in any order, so its lowest count holds.
    pub fn note(&mut self, stated: &Self, now: Timestamp) -> Window {
        let window = self.window(stated.resets_at, now);
        match window {
            Window::Older => return window,
            Window::Same => {
                let known = self.remaining.unwrap_or(u64::MAX);
                self.remaining = stated.remaining.map(|it| it.min(known)).or(self.remaining);
            }
            Window::Newer => {
                self.remaining = stated.remaining;
                self.resets_at = stated.resets_at;
            }
        }
        self.limit = stated.limit.or(self.limit);
        window
    }

    fn window(&self, stated: Option<Timestamp>, now: Timestamp) -> Window {
        let ended = believed(self.resets_at, now).is_none_or(|at| at <= now);
        let (Some(known), Some(stated)) = (self.resets_at, stated) else {
            return if ended { Window::Newer } else { Window::Same };
        };
        let ahead = stated.duration_since(known);
        if ahead > WINDOW_JITTER {
            Window::Newer
        } else if ahead >= -WINDOW_JITTER {
            // Its end is reckoned anew with each answer, and the last word of a window that ended says so.
            if ended && stated > now { Window::Newer } else { Window::Same }
        } else if ended {
            Window::Newer
        } else {
            Window::Older
        }
    }

    /// Returns how many requests are left at `now` of a budget that is taken to have `assumed` where it never said.
    #[must_use]
    pub fn left(&self, assumed: Option<u64>, now: Timestamp) -> Option<u64> {
        let full = self.limit.or(assumed)?;
        let counted = self.remaining.filter(|_| believed(self.resets_at, now).is_some_and(|at| at > now));
        Some(counted.unwrap_or(full))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

    fn at(seconds: i64) -> Timestamp {
        NOW + SignedDuration::from_secs(seconds)
    }

    fn count(remaining: u64, resets_at: i64) -> Count {
        Count { limit: Some(5000), remaining: Some(remaining), resets_at: Some(at(resets_at)) }
    }

    #[test]
    fn a_grant_is_a_twentieth_of_what_is_left_shared_by_the_nodes() {
        for (left, required, nodes, granted) in [
            (5000, 100, 1, 50),
            (1099, 100, 1, 49),
            (1100, 100, 2, 25),
            (139, 100, 2, 1),
            (119, 100, 1, 1),
            (100, 100, 1, 1),
            (99, 100, 1, 0),
            (0, 0, 1, 0),
            (1, 0, 1, 1),
            (1001, 0, 0, 50),
            (u64::MAX, 0, u64::MAX, 1),
        ] {
            assert_eq!(grant(left, required, nodes), granted, "{left} left, {required} stay, {nodes} nodes");
        }
    }

    #[test]
    fn a_class_follows_from_trigger_and_lane() {
        use Trigger::{Cron, Maintenance, Manual, Recovery, Webhook};
        for (trigger, class, reserve) in [
            (Manual, Class::Human, false),
            (Webhook, Class::Webhook, false),
            (Maintenance, Class::Webhook, false),
            (Recovery, Class::Webhook, false),
            (Cron, Class::Cron, true),
        ] {
            assert_eq!(Class::of(trigger, Lane::Forward), class);
            assert_eq!(class.leaves_reserve(), reserve);
            for lane in [Lane::Backfill, Lane::Reread, Lane::Census] {
                assert_eq!(Class::of(trigger, lane), Class::Backfill);
            }
        }
        assert!(Class::Backfill.leaves_reserve());
        for class in Class::ALL {
            assert_eq!(Class::from_word(class.as_str()), Some(class));
        }
        assert_eq!(Class::from_word("nobody"), None);
        assert!(Class::ALL.is_sorted());
    }

    #[test]
    fn the_lowest_count_of_the_newest_window_holds() {
        for (known, stated, now, window, then) in [
            // Nothing was known.
            (Count::default(), count(7, 600), 0, Window::Newer, count(7, 600)),
            // Late answers of the same window.
            (count(7, 600), count(9, 600), 0, Window::Same, count(7, 600)),
            (count(7, 600), count(5, 604), 0, Window::Same, count(5, 600)),
            // The next window, told before and after the end of the last one.
            (count(7, 600), count(9, 700), 0, Window::Newer, count(9, 700)),
            (count(7, 600), count(9, 4200), 601, Window::Newer, count(9, 4200)),
            (count(7, 600), count(9, 603), 601, Window::Newer, count(9, 603)),
            // A late answer of the last window, before and after the new one's end.
            (count(7, 600), count(2, 100), 50, Window::Older, count(7, 600)),
            (count(7, 600), count(2, 100), 601, Window::Newer, count(2, 100)),
            // What a provider said of a window that is over for us.
            (count(7, 600), count(6, 600), 601, Window::Same, count(6, 600)),
        ] {
            let mut known = known;
            assert_eq!(known.note(&stated, at(now)), window, "{stated:?} at {now}");
            assert_eq!(known, then);
        }
        let unnamed = Count { resets_at: None, ..count(3, 0) };
        let mut known = count(7, 600);
        assert_eq!(known.note(&unnamed, NOW), Window::Same);
        assert_eq!(known, count(3, 600));
        assert_eq!(known.note(&unnamed, at(600)), Window::Newer);
        assert_eq!(known, unnamed);
        let silent = Count { limit: None, remaining: None, resets_at: Some(at(600)) };
        let mut known = count(7, 600);
        known.note(&silent, NOW);
        assert_eq!(known, count(7, 600));
    }

    #[test]
    fn what_is_unknown_or_over_is_full() {
        assert_eq!(count(7, 600).left(None, NOW), Some(7));
        assert_eq!(count(7, 600).left(None, at(600)), Some(5000));
        assert_eq!(Count::default().left(Some(60), NOW), Some(60));
        assert_eq!(Count::default().left(None, NOW), None);
        assert_eq!((foreign(100, 40, 50), foreign(100, 40, 70), foreign(9, 10, 0)), (10, 0, 0));
    }

    proptest! {
        /// Nodes that take grants one after the other never take what has to stay, and nearly nothing else stays.
        #[test]
        fn grants_never_take_what_has_to_stay(limit in 1_u64..6000, required in 0_u64..700, nodes in 1_u64..9) {
            prop_assume!(required < limit);
            let (mut left, mut takes) = (limit, 0);
            loop {
                let granted = grant(left, required, nodes);
                if granted == 0 {
                    break;
                }
                prop_assert!(granted <= left && granted <= (left - required).max(1) && granted <= GRANT_MAX);
                left -= granted;
                takes += 1;
                prop_assert!(takes <= limit);
            }
            prop_assert_eq!(left, required.saturating_sub(1));
        }
    }
}
