//! When a stream group of a source is synced next, without anybody asking: pure, and the same on every node.
//!
//! It must never look at a clock. Begin with [`next_tick`].

use jiff::{SignedDuration, Timestamp};

use crate::id::SourceId;

/// The shortest interval: below a second a tick would meet its own sync.
pub const EVERY_MIN: SignedDuration = SignedDuration::from_secs(1);

/// The longest interval, a year: what is read less often is read by hand.
pub const EVERY_MAX: SignedDuration = SignedDuration::from_hours(8760);

/// What a source says of a group's schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Own {
    /// Nothing: the configured interval holds, or else the connector's.
    #[default]
    Default,
    /// An interval of its own.
    Every(SignedDuration),
    /// It is not synced by itself.
    Off,
}

impl Own {
    /// Returns the interval in force, `default` being the configured one; `None` is off.
    #[must_use]
    pub fn in_force(self, default: SignedDuration) -> Option<SignedDuration> {
        match self {
            Self::Default => Some(default),
            Self::Every(every) => Some(every),
            Self::Off => None,
        }
    }
}

/// Returns when the next tick is due. `last` is when the last one was, whatever came of it; without one it is due now.
///
/// Ticks lie on a grid of `every`, so that they do not drift; where on it is settled by `place`, so that a thousand
/// sources of one interval are spread over it. However many ticks were missed, one is due. Two are never nearer to
/// one another than half an interval: a first one may lie anywhere on the grid.
#[must_use]
pub fn next_tick(every: SignedDuration, place: u64, last: Option<Timestamp>, now: Timestamp) -> Timestamp {
    // After a clock was set back, nobody waits for it to catch up.
    let Some(last) = last.map(|at| at.min(now)) else { return now };
    let every = i64::try_from(every.clamp(EVERY_MIN, EVERY_MAX).as_millis()).unwrap_or(i64::MAX);
    let earliest = i128::from(last.as_millisecond()) + i128::from(every / 2);
    let place = i128::from(place) % i128::from(every);
    let every = i128::from(every);
    // Rounded up to the grid.
    let late = (earliest - place).rem_euclid(every);
    let due = if late == 0 { earliest } else { earliest - late + every };
    let due = i64::try_from(due).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    due.unwrap_or(Timestamp::MAX).max(now)
}

/// Returns the place of a source's group on the grid of its interval: the same everywhere, and far from its neighbours'.
#[must_use]
pub fn place(source: SourceId, group: &str) -> u64 {
    // FNV-1a over the name, then the finishing steps of SplitMix64: neighbouring numbers end far apart.
    let seed = group.bytes().fold(0xcbf2_9ce4_8422_2325_u64 ^ source.0.cast_unsigned(), |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};
    use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, proptest};

    use super::{EVERY_MIN, Own, next_tick, place};
    use crate::id::SourceId;

    const HOUR: SignedDuration = SignedDuration::from_hours(1);

    fn at(text: &str) -> Timestamp {
        format!("2026-11-21T{text}Z").parse().unwrap()
    }

    #[test]
    fn ticks_are_on_their_grid() {
        let ten_past = 10 * 60 * 1000;
        let cases = [
            (None, "09:59:00", "09:59:00", "never synced: at once"),
            (Some("10:10:00"), "10:10:00", "11:10:00", "in step: an interval later"),
            (Some("10:10:03"), "10:10:03", "11:10:00", "somewhat late: back in step"),
            (
                Some("10:00:00"),
                "10:00:00",
                "11:10:00",
                "the first one: half an interval later at the earliest",
            ),
            (Some("10:40:00"), "10:40:00", "11:10:00", "exactly half an interval is enough"),
            (Some("10:40:01"), "10:40:01", "12:10:00", "less is not"),
            (Some("10:10:00"), "10:50:00", "11:10:00", "asked in between: the same answer"),
            (Some("10:10:00"), "16:00:00", "16:00:00", "after a long stop: one, at once"),
            (Some("13:00:00"), "10:00:00", "11:10:00", "the clock was set back"),
        ];
        for (last, now, expected, why) in cases {
            let last = last.map(at);
            assert_eq!(next_tick(HOUR, ten_past, last, at(now)), at(expected), "{why}");
        }
    }

    #[test]
    fn a_source_of_its_own_mind_wins() {
        let quick = SignedDuration::from_mins(1);
        assert_eq!(Own::Default.in_force(HOUR), Some(HOUR));
        assert_eq!(Own::Every(quick).in_force(HOUR), Some(quick));
        assert_eq!(Own::Off.in_force(HOUR), None);
    }

    #[test]
    fn a_thousand_sources_are_spread_over_their_interval() {
        let quarter_ms = 15 * 60 * 1000;
        let mut minutes = [0; 15];
        for source in 1..=1000 {
            let minute = place(SourceId(source), "commits") % quarter_ms / 60_000;
            minutes[usize::try_from(minute).unwrap()] += 1;
        }
        // Sixty-seven in each minute on average.
        assert!(minutes.iter().all(|count| (40..=100).contains(count)), "{minutes:?}");
        assert_ne!(place(SourceId(1), "commits"), place(SourceId(1), "jira"));
    }

    fn moments() -> impl Strategy<Value = Timestamp> {
        (0..4_000_000_000_000_i64).prop_map(|ms| Timestamp::from_millisecond(ms).unwrap())
    }

    proptest! {
        #[test]
        fn never_in_the_past_and_never_too_soon_or_too_late(
            every_ms in 1_000..31_536_000_000_i64, place: u64, now in moments(), ago_ms in 0..40_000_000_000_i64,
        ) {
            let every = SignedDuration::from_millis(every_ms);
            let last = now - SignedDuration::from_millis(ago_ms);
            let next = next_tick(every, place, Some(last), now);
            prop_assert!(next >= now);
            prop_assert!(next.duration_since(last).as_millis() >= i128::from(every_ms / 2));
            // Half an interval, and the rest of one to the grid; unless it is due at once.
            prop_assert!(next == now || next.duration_since(last) < every + every / 2 + EVERY_MIN);
            // Asking again before it is due changes nothing.
            prop_assert_eq!(next_tick(every, place, Some(last), next), next);
        }

        #[test]
        fn ticks_that_are_kept_in_time_are_an_interval_apart(
            every_ms in 1_000..31_536_000_000_i64, place: u64, now in moments(), late_permille in 0..500_i64,
        ) {
            let every = SignedDuration::from_millis(every_ms);
            let first = next_tick(every, place, Some(now), now);
            let fired = first + SignedDuration::from_millis(every_ms * late_permille / 1000);
            let second = next_tick(every, place, Some(fired), fired);
            prop_assert_eq!(second.duration_since(first), every);
        }
    }
}
