//! What a sync will take: requests, time, and when it ends, reckoned from what earlier ones took. Pure, like the rest of
//! the policy.
//!
//! It must never make a number up: where nothing was measured, what is told is a lower bound and says so. Begin with
//! [`expect`], then [`Purse::spend`].

use jiff::{SignedDuration, Timestamp};

/// Partitions, and what reading them took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// How many there are.
    pub partitions: u64,
    /// Requests that they took together.
    pub requests: u64,
    /// Of them, those that were answered as unchanged.
    pub unchanged: u64,
}

impl Measured {
    /// Returns what `partitions` take that are like these; `None` where nothing was measured.
    fn like(self, partitions: u64) -> Option<u64> {
        (self.partitions > 0).then(|| share(self.requests, partitions, self.partitions))
    }
}

/// Rounds up: half a request is one.
fn share(of: u64, part: u64, whole: u64) -> u64 {
    let product = u128::from(of) * u128::from(part);
    u64::try_from(product.div_ceil(u128::from(whole.max(1)))).unwrap_or(u64::MAX)
}

/// What a whole sync would read of a stream now, and what reading it took so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// The stream.
    pub stream: String,
    /// Whether its pages are one listing, so that the first complete read is like all later ones.
    pub is_listing: bool,
    /// Partitions to be read that were read more than once; what the last time took.
    pub repeated: Measured,
    /// Partitions to be read that were read once; what that took.
    pub once: Measured,
    /// Partitions to be read that were never read.
    pub unread: u64,
    /// Pages that the due items make that stand in partitions that were read.
    pub due_pages: u64,
    /// Pages that the due items make, at least, that stand in partitions that were never read.
    pub unread_pages: u64,
    /// All partitions that were read more than once; what the last time took.
    pub again: Measured,
    /// All partitions that were read; what the first time took.
    pub first: Measured,
    /// What the last time took of all partitions that were read, by the page: `partitions` are pages here.
    pub by_page: Measured,
    /// What the last syncs spent on the stream that found nothing new to begin with, where it is read by items.
    pub recent: Vec<u64>,
}

impl Demand {
    /// Says whether no partition of the stream was ever read, nor waits to be.
    fn knows_nothing(&self) -> bool {
        let read =
            [self.repeated, self.once, self.again, self.first].iter().map(|it| it.partitions).sum::<u64>();
        read == 0 && self.unread == 0
    }
}

/// From what a number was reckoned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// From what the same partitions took.
    Measured,
    /// From what others of the stream took.
    Alike,
    /// From what is listed: one request each, at least.
    Listed,
}

impl Basis {
    /// Returns the word shown to people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Measured => "measured",
            Self::Alike => "alike",
            Self::Listed => "listed",
        }
    }
}

/// What is expected of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamForecast {
    /// The stream.
    pub stream: String,
    /// Partitions to be read, as far as they are known.
    pub partitions: u64,
    /// Requests.
    pub requests: u64,
    /// From what that was reckoned, at the worst.
    pub basis: Basis,
}

/// What is expected of a whole sync.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// By stream, where there is something to read.
    pub streams: Vec<StreamForecast>,
    /// Requests.
    pub requests: u64,
    /// Of them, those that a budget pays for.
    pub charged: u64,
    /// Whether there may be more: something is to be read that nothing was measured of, or nobody knows what there is.
    pub at_least: bool,
    /// Partitions that were never read.
    pub unread: u64,
}

/// Adds up what is expected of a sync's streams.
#[must_use]
pub fn expect(demands: &[Demand], unchanged_is_free: bool) -> Expected {
    let mut all = Expected::default();
    let mut unchanged = 0_u64;
    for it in demands {
        let (forecast, free) = expect_stream(it);
        all.unread += it.unread;
        unchanged = unchanged.saturating_add(free);
        all.requests = all.requests.saturating_add(forecast.requests);
        // What was never read may find more to read.
        all.at_least |= it.unread > 0 || forecast.basis == Basis::Listed;
        if forecast.partitions > 0 || forecast.requests > 0 {
            all.streams.push(forecast);
        }
    }
    // Where no partition is known, what finds them was not read yet.
    all.at_least |= demands.iter().all(Demand::knows_nothing);
    all.charged = all.requests.saturating_sub(if unchanged_is_free { unchanged } else { 0 });
    all
}

fn expect_stream(it: &Demand) -> (StreamForecast, u64) {
    let mut basis = Basis::Measured;
    let mut worse = |than| {
        if basis != Basis::Listed {
            basis = than;
        }
    };
    // A first time that read all there was is no measure of the next one, where others say what that takes.
    let once = match it.again.like(it.once.partitions) {
        Some(alike) if !it.is_listing && it.once.partitions > 0 => {
            worse(Basis::Alike);
            alike.min(it.once.requests)
        }
        _ => it.once.requests,
    };
    let unread = match it.first.like(it.unread) {
        _ if it.unread == 0 => 0,
        Some(alike) => {
            worse(Basis::Alike);
            alike.max(it.unread_pages).max(it.unread)
        }
        None => {
            worse(Basis::Listed);
            it.unread_pages.max(it.unread)
        }
    };
    let due = it.by_page.like(it.due_pages).unwrap_or(it.due_pages);
    let due = due.max(median(&it.recent));
    let requests = [it.repeated.requests, once, unread, due].into_iter().fold(0, u64::saturating_add);
    let partitions = it.repeated.partitions + it.once.partitions + it.unread;
    let unchanged = it.repeated.unchanged.saturating_add(it.once.unchanged);
    (StreamForecast { stream: it.stream.clone(), partitions, requests, basis }, unchanged)
}

/// The middle one: a single large sync among them changes nothing.
fn median(numbers: &[u64]) -> u64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or(0)
}

/// A sync that ended: how many requests it took, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The requests.
    pub requests: u64,
    /// How long it took.
    pub took: SignedDuration,
}

/// Returns how long `requests` take, by the sync of those that took nearest to as many; `None` where there is none.
#[must_use]
pub fn takes(requests: u64, paces: &[Pace]) -> Option<SignedDuration> {
    let measured = paces.iter().filter(|it| it.requests > 0);
    let nearest = measured.min_by_key(|it| it.requests.abs_diff(requests))?;
    let ms = u64::try_from(nearest.took.as_millis()).unwrap_or(0);
    let ms = share(ms, requests, nearest.requests);
    Some(SignedDuration::from_millis(i64::try_from(ms).unwrap_or(i64::MAX)))
}

/// What may be spent of a budget, now and after each of its resets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purse {
    /// Requests of a full budget.
    pub limit: u64,
    /// Requests that are left.
    pub left: u64,
    /// Requests that have to stay.
    pub required: u64,
    /// When it is full again; `None` when it is.
    pub resets_at: Option<Timestamp>,
    /// How long its window is.
    pub window: SignedDuration,
}

/// What came of a spending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bill {
    /// When it ends.
    pub ends_at: Timestamp,
    /// How much of the time until then is waited for the budget.
    pub waits: SignedDuration,
}

impl Purse {
    /// Spends `requests` from `from` on, work of `takes` in all; `None` where no budget is ever enough.
    pub fn spend(&mut self, requests: u64, takes: SignedDuration, from: Timestamp) -> Option<Bill> {
        if self.resets_at.is_some_and(|at| at <= from) {
            (self.left, self.resets_at) = (self.limit, None);
        }
        let usable = self.left.saturating_sub(self.required);
        let after = |at: Timestamp, by: SignedDuration| at.saturating_add(by).unwrap_or(Timestamp::MAX);
        if requests <= usable {
            self.left -= requests;
            return Some(Bill { ends_at: after(from, takes), waits: SignedDuration::ZERO });
        }
        let per_window = self.limit.saturating_sub(self.required);
        if per_window == 0 {
            return None;
        }
        let rest = requests - usable;
        // Full windows are spent from reset to reset; the last one for as long as its part of the work takes.
        let resets = (rest - 1) / per_window;
        let last = rest - resets * per_window;
        let first = self.resets_at.unwrap_or_else(|| after(from, self.window));
        let window_ms = u64::try_from(self.window.as_millis()).unwrap_or(0);
        let later = i64::try_from(window_ms.saturating_mul(resets)).unwrap_or(i64::MAX);
        let begins = after(first, SignedDuration::from_millis(later));
        let takes_ms = u64::try_from(takes.as_millis()).unwrap_or(0);
        let part = i64::try_from(share(takes_ms, last, requests)).unwrap_or(i64::MAX);
        let ends_at = after(begins, SignedDuration::from_millis(part)).max(after(from, takes));
        (self.left, self.resets_at) = (self.limit - last, Some(after(begins, self.window)));
        let waits = ends_at.duration_since(from) - takes;
        Some(Bill { ends_at, waits: waits.max(SignedDuration::ZERO) })
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

    fn measured(partitions: u64, requests: u64, unchanged: u64) -> Measured {
        Measured { partitions, requests, unchanged }
    }

    fn demand() -> Demand {
        Demand { stream: "issues".to_owned(), ..Demand::default() }
    }

    #[track_caller]
    fn check(it: Demand, requests: u64, basis: Basis, at_least: bool) {
        let all = expect(&[it], false);
        assert_eq!((all.requests, all.streams[0].basis, all.at_least), (requests, basis, at_least));
    }

    #[test]
    fn what_was_read_takes_what_it_took() {
        check(Demand { repeated: measured(3, 7, 0), ..demand() }, 7, Basis::Measured, false);
        let once = Demand { once: measured(2, 40, 0), ..demand() };
        check(once.clone(), 40, Basis::Measured, false);
        // Others say that the second time takes less than the first.
        let again = Demand { again: measured(4, 6, 0), ..once };
        check(again.clone(), 3, Basis::Alike, false);
        check(Demand { is_listing: true, ..again }, 40, Basis::Measured, false);
    }

    #[test]
    fn what_was_never_read_takes_what_others_took_at_first_or_is_a_lower_bound() {
        let unread = Demand { unread: 10, ..demand() };
        check(unread.clone(), 10, Basis::Listed, true);
        check(Demand { unread_pages: 25, ..unread.clone() }, 25, Basis::Listed, true);
        check(Demand { first: measured(2, 9, 0), ..unread }, 45, Basis::Alike, true);
    }

    #[test]
    fn what_nobody_has_looked_for_is_no_number() {
        for demands in [vec![], vec![demand()], vec![demand(), demand()]] {
            let all = expect(&demands, true);
            assert_eq!((all.requests, all.at_least), (0, true), "{demands:?}");
        }
    }

    #[test]
    fn due_items_take_their_pages_and_never_less_than_usual() {
        let due =
            Demand { first: measured(10, 25, 0), due_pages: 4, by_page: measured(10, 25, 0), ..demand() };
        check(due.clone(), 10, Basis::Measured, false);
        check(Demand { recent: vec![3, 900, 12, 11, 14], ..due.clone() }, 12, Basis::Measured, false);
        check(Demand { by_page: Measured::default(), ..due }, 4, Basis::Measured, false);
        let idle = Demand { first: measured(1, 2, 0), ..demand() };
        assert_eq!(expect(&[demand(), idle], true), Expected::default());
    }

    #[test]
    fn a_budget_pays_for_what_changed() {
        let it = Demand { repeated: measured(5, 9, 8), ..demand() };
        assert_eq!(expect(std::slice::from_ref(&it), true).charged, 1);
        assert_eq!(expect(&[it], false).charged, 9);
    }

    #[test]
    fn time_follows_from_the_sync_that_was_most_like_it() {
        let pace = |requests, ms| Pace { requests, took: SignedDuration::from_millis(ms) };
        let paces = [pace(10, 400), pace(3000, 60_000), pace(0, 9)];
        for (requests, ms) in [(10, 400), (5, 200), (100, 4000), (3300, 66_000), (0, 0)] {
            assert_eq!(takes(requests, &paces), Some(SignedDuration::from_millis(ms)), "{requests}");
        }
        assert_eq!(takes(7, &[pace(0, 9)]), None);
    }

    #[test]
    fn what_a_budget_does_not_hold_waits_for_its_resets() {
        let hour = SignedDuration::from_hours(1);
        let purse = |left, resets_at: Option<i64>| Purse {
            limit: 5000,
            left,
            required: 600,
            resets_at: resets_at.map(at),
            window: hour,
        };
        for (mut it, requests, ends_at, waits, left) in [
            (purse(5000, None), 100, 10, 0, 4900),
            (purse(700, Some(900)), 100, 10, 0, 600),
            // One more than may be spent: it ends in the next window, a hundredth of its work behind the reset.
            (purse(699, Some(900)), 100, 900, 890, 4999),
            // Over two resets.
            (purse(600, Some(900)), 8800, 900 + 3600 + 5, 900 + 3600 - 5, 600),
            // A reset that is past is a full budget.
            (purse(0, Some(0)), 100, 10, 0, 4900),
            (purse(0, None), 4400, 3600 + 10, 3600, 600),
        ] {
            let bill = it.spend(requests, SignedDuration::from_secs(10), NOW).unwrap();
            assert_eq!(bill.ends_at.as_second(), at(ends_at).as_second(), "{requests} of {it:?}");
            assert_eq!((bill.waits.as_secs(), it.left), (waits, left), "{requests}");
        }
        let mut none = Purse { required: 5000, ..purse(10, None) };
        assert_eq!(none.spend(1, SignedDuration::ZERO, NOW), None);
    }

    proptest! {
        /// Spending in parts ends no earlier than at once, and leaves the same.
        #[test]
        fn parts_are_paid_as_the_whole(left in 0_u64..5000, one in 1_u64..9000, other in 1_u64..9000) {
            let purse = Purse {
                limit: 5000, left, required: 600, resets_at: Some(at(900)), window: SignedDuration::from_hours(1),
            };
            let (mut whole, mut parts) = (purse, purse);
            let all = whole.spend(one + other, SignedDuration::ZERO, NOW).unwrap();
            let first = parts.spend(one, SignedDuration::ZERO, NOW).unwrap();
            let second = parts.spend(other, SignedDuration::ZERO, first.ends_at).unwrap();
            prop_assert!(second.ends_at >= first.ends_at);
            prop_assert!(first.ends_at <= all.ends_at);
            prop_assert!(parts.left >= 600 || parts.left == left, "{parts:?}");
        }
    }
}
