//! Whether a partition is read once more with care, because nothing of it came although its provider shows that there is
//! something, and what is made of what that brought: pure.
//!
//! It must never take silence for a fault: where nothing speaks for more than is there, nothing is read again. Begin with
//! [`judge`].

use jiff::{SignedDuration, Timestamp};

/// The numbers to decide by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Healing {
    /// How old the newest that came may be, before a sign of more is believed rather than what was read.
    pub stale_after: SignedDuration,
    /// How long after that is noticed the partition is read with care: a provider's cache may be right by then.
    pub after: SignedDuration,
    /// So many recoveries in a row that bring nothing are a warning.
    pub warn_after: u64,
}

impl Default for Healing {
    fn default() -> Self {
        Self {
            stale_after: SignedDuration::from_hours(3 * 24),
            after: SignedDuration::from_mins(5),
            warn_after: 3,
        }
    }
}

/// How much later than the newest that came a sign has to be: clocks differ, and a delivery may come after a schedule has
/// read what it tells of.
pub const TOLERANCE: SignedDuration = SignedDuration::from_mins(1);

/// How soon a partition is looked at again that was not read since the sign: the shortest schedules are as long.
const UNREAD: SignedDuration = SignedDuration::from_mins(5);

/// What is known of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signs {
    /// When something last happened in it, as its provider shows, or news of it was delivered.
    pub sign_at: Timestamp,
    /// When something of it last landed that was new or had changed; at first, when it was first read.
    pub news_at: Timestamp,
    /// When it was last read to its end.
    pub read_at: Option<Timestamp>,
    /// The sign for which it was read with care and found to have nothing.
    pub quiet_at: Option<Timestamp>,
}

/// What is made of a partition's signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Nothing speaks for more than is there.
    Well,
    /// It may be read with care later on: look again then.
    Later(Timestamp),
    /// It is to be read once more, with care, from this time on.
    Heal {
        /// The time.
        at: Timestamp,
    },
}

/// Decides whether a partition is to be read with care.
#[must_use]
pub fn judge(signs: &Signs, healing: &Healing, now: Timestamp) -> Judgement {
    let is_known = signs.sign_at <= plus(signs.news_at, TOLERANCE);
    if is_known || signs.quiet_at.is_some_and(|at| signs.sign_at <= at) {
        return Judgement::Well;
    }
    if now.duration_since(signs.news_at) <= healing.stale_after {
        // A clock that was set back makes nobody wait longer.
        return Judgement::Later(
            plus(signs.news_at, healing.stale_after).min(plus(now, healing.stale_after)),
        );
    }
    // What was not read since may still come by itself.
    if signs.read_at.is_none_or(|at| at < signs.sign_at) {
        return Judgement::Later(plus(now, UNREAD));
    }
    Judgement::Heal { at: plus(now, healing.after) }
}

/// What a recovery brought of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Something that was missing.
    News,
    /// Nothing: it is quiet until there is another sign.
    Nothing,
    /// It was not read to its end.
    Unknown,
}

/// Says what a recovery that was asked for at a time brought of a partition.
#[must_use]
pub fn found(asked_at: Timestamp, news_at: Option<Timestamp>, read_at: Option<Timestamp>) -> Found {
    let since = |at: Option<Timestamp>| at.is_some_and(|at| at >= asked_at);
    match (since(news_at), since(read_at)) {
        (true, _) => Found::News,
        (false, true) => Found::Nothing,
        (false, false) => Found::Unknown,
    }
}

/// Counts the recoveries in a row that brought nothing, after one more of which this was found.
#[must_use]
pub fn in_vain(before: u64, found: &[Found]) -> u64 {
    if found.contains(&Found::News) {
        0
    } else if found.contains(&Found::Nothing) {
        before.saturating_add(1)
    } else {
        before
    }
}

/// Says whether a person is to be warned.
#[must_use]
pub fn warns(in_vain: u64, healing: &Healing) -> bool {
    in_vain >= healing.warn_after
}

/// What was delivered of a partition that a read brought rows of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Since it was read before, up to this read.
    pub before: u64,
    /// Later, of which nothing else was read.
    pub late: u64,
}

/// Estimates how many deliveries never came, of those that rows which were read should have had: one each.
#[must_use]
pub fn missed(rows: u64, told: Told) -> u64 {
    rows.saturating_sub(told.before.saturating_add(told.late))
}

fn plus(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::{Found, Healing, Judgement, Signs, TOLERANCE, Told, found, in_vain, judge, missed, warns};

    const DAY_S: i64 = 24 * 60 * 60;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    /// Something of it came at 0, a sign of more a day later, and it was read since.
    fn signs() -> Signs {
        Signs { sign_at: at(DAY_S), news_at: at(0), read_at: Some(at(2 * DAY_S)), quiet_at: None }
    }

    #[test]
    fn exactly_three_days_are_not_stale() {
        let healing = Healing::default();
        assert_eq!(judge(&signs(), &healing, at(3 * DAY_S)), Judgement::Later(at(3 * DAY_S)));
        let later = at(3 * DAY_S) + SignedDuration::from_millis(1);
        let heal = Judgement::Heal { at: later + SignedDuration::from_mins(5) };
        assert_eq!(judge(&signs(), &healing, later), heal);
        let sooner = Healing { stale_after: SignedDuration::from_hours(60), ..healing };
        assert_eq!(
            judge(&signs(), &Healing { after: SignedDuration::ZERO, ..sooner }, at(3 * DAY_S)),
            Judgement::Heal { at: at(3 * DAY_S) }
        );
    }

    #[test]
    fn a_partition_is_healed_only_where_something_speaks_for_it() {
        let (healing, now) = (Healing::default(), at(10 * DAY_S));
        let heal = Judgement::Heal { at: now + healing.after };
        let unread = Judgement::Later(now + SignedDuration::from_mins(5));
        let minute = TOLERANCE.as_secs();
        let cases = [
            (signs(), heal, "a sign, read since, nothing came"),
            (Signs { sign_at: at(0), ..signs() }, Judgement::Well, "the sign of what came"),
            (Signs { sign_at: at(-DAY_S), ..signs() }, Judgement::Well, "an older sign"),
            (Signs { sign_at: at(minute), ..signs() }, Judgement::Well, "clocks differ by a minute"),
            (Signs { sign_at: at(minute + 1), ..signs() }, heal, "and no more"),
            (Signs { quiet_at: Some(at(DAY_S)), ..signs() }, Judgement::Well, "quiet for this sign"),
            (Signs { quiet_at: Some(at(DAY_S - 1)), ..signs() }, heal, "quiet for an older one"),
            (Signs { read_at: None, ..signs() }, unread, "never read"),
            (Signs { read_at: Some(at(DAY_S - 1)), ..signs() }, unread, "not read since"),
            (Signs { read_at: Some(at(DAY_S)), ..signs() }, heal, "read at that moment"),
        ];
        for (signs, expected, why) in cases {
            assert_eq!(judge(&signs, &healing, now), expected, "{why}");
        }
    }

    #[test]
    fn a_clock_that_was_set_back_puts_nothing_off_for_ever() {
        let signs = Signs { sign_at: at(30 * DAY_S), news_at: at(20 * DAY_S), ..signs() };
        assert_eq!(judge(&signs, &Healing::default(), at(0)), Judgement::Later(at(3 * DAY_S)));
    }

    #[test]
    fn what_a_recovery_brought_follows_from_what_landed_and_what_was_read() {
        let cases = [
            (Some(10), Some(10), Found::News, "news and read"),
            (Some(11), None, Found::News, "news, and the rest is still to come"),
            (Some(9), Some(10), Found::Nothing, "read at that moment"),
            (None, Some(12), Found::Nothing, "nothing ever came"),
            (Some(9), Some(9), Found::Unknown, "not read since"),
            (None, None, Found::Unknown, "never read"),
        ];
        for (news, read, expected, why) in cases {
            assert_eq!(found(at(10), news.map(at), read.map(at)), expected, "{why}");
        }
    }

    #[test]
    fn the_third_in_a_row_warns_and_news_begins_anew() {
        let healing = Healing::default();
        assert!(!warns(in_vain(1, &[Found::Nothing, Found::Nothing]), &healing), "one sync is one");
        assert!(warns(in_vain(2, &[Found::Nothing, Found::Unknown]), &healing));
        assert_eq!(in_vain(2, &[Found::Unknown]), 2, "what was not read says nothing");
        assert_eq!(in_vain(2, &[Found::Nothing, Found::News]), 0);
        assert_eq!(in_vain(7, &[]), 7);
    }

    #[test]
    fn a_row_that_no_delivery_told_of_was_missed() {
        let told = |before, late| Told { before, late };
        let cases = [
            (3, told(0, 0), 3),
            (3, told(1, 0), 2),
            (3, told(1, 1), 1),
            (3, told(2, 2), 0),
            (0, told(5, 0), 0),
        ];
        for (rows, told, expected) in cases {
            assert_eq!(missed(rows, told), expected, "{rows} rows, {told:?}");
        }
    }
}
