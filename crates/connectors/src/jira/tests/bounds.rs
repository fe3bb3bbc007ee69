//! No change is ever missed at a bound: over every zone there is, at every kind of change of its clocks.
//!
//! The server's part is played here by its definition: it reads a wall time without an offset in the zone of the
//! account, and where that time exists twice or not at all, in whichever way.

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use crate::jira::time;

/// Returns every instant that a server may take the bound for.
fn readings(bound: &str, zone: &TimeZone) -> Vec<Timestamp> {
    let wall = DateTime::strptime("%Y/%m/%d %H:%M", bound).expect("a bound as queries have it");
    let at = |offset: jiff::tz::Offset| offset.to_timestamp(wall).expect("an instant");
    match zone.to_ambiguous_timestamp(wall).offset() {
        AmbiguousOffset::Unambiguous { offset } => vec![at(offset)],
        AmbiguousOffset::Gap { before, after } | AmbiguousOffset::Fold { before, after } => {
            vec![at(before), at(after)]
        }
    }
}

/// How far back a bound may reach at most: to before a stretch that exists twice, three hours at most, and the minute.
const BACK_MAX: SignedDuration = SignedDuration::from_mins(6 * 60 + 1);

fn assert_bound(at: Timestamp, zone: &TimeZone, back_max: SignedDuration) -> Result<(), TestCaseError> {
    let bound = time::bound(at, Some(zone));
    for reading in readings(&bound, zone) {
        prop_assert!(reading <= at, "{bound} is read as {reading}, after {at}");
        prop_assert!(
            at.duration_since(reading) <= back_max,
            "{bound} is read as {reading}, long before {at}"
        );
    }
    Ok(())
}

fn names() -> Vec<String> {
    let names: Vec<String> = TimeZoneDatabase::bundled().available().map(|it| it.to_string()).collect();
    assert!(names.len() > 400, "all zones are there");
    names
}

/// An instant from 2000 to 2040.
fn instants() -> impl Strategy<Value = Timestamp> {
    (946_684_800_000_i64..2_208_988_800_000)
        .prop_map(|it| Timestamp::from_millisecond(it).expect("within range"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    /// At any instant, in any zone of the world.
    #[test]
    fn a_bound_is_never_late(at in instants(), name in prop::sample::select(names())) {
        let zone = time::zone(&name).expect("a zone that is listed");
        assert_bound(at, &zone, BACK_MAX)?;
    }

    /// Around every change of a zone's clocks, to the millisecond.
    #[test]
    fn a_bound_is_never_late_around_a_change_of_clocks(
        from in instants(),
        name in prop::sample::select(names()),
        offset_ms in -10_800_000_i64..10_800_000,
    ) {
        let zone = time::zone(&name).expect("a zone that is listed");
        let Some(change) = zone.following(from).next() else { return Ok(()) };
        let at = change.timestamp() + SignedDuration::from_millis(offset_ms);
        assert_bound(at, &zone, BACK_MAX)?;
    }

    /// At any offset, whole hours or not.
    #[test]
    fn a_bound_is_never_late_at_any_offset(at in instants(), seconds in -93_599..93_599_i32) {
        let zone = TimeZone::fixed(jiff::tz::Offset::from_seconds(seconds).expect("an offset"));
        assert_bound(at, &zone, BACK_MAX)?;
    }

    /// Where the zone is not known: whichever it is.
    #[test]
    fn a_bound_of_an_unknown_zone_is_never_late(at in instants(), name in prop::sample::select(names())) {
        let bound = time::bound(at, None);
        let zone = time::zone(&name).expect("a zone that is listed");
        for reading in readings(&bound, &zone) {
            prop_assert!(reading <= at, "{name}: {bound} is read as {reading}, after {at}");
        }
    }

    /// What changed after a pass began is in the next pass's answer, however the two fall on the minute.
    #[test]
    fn no_change_falls_between_two_passes(
        began in instants(),
        name in prop::sample::select(names()),
        lag_ms in 0..120_000_i64,
        later_ms in 0..7_200_000_i64,
    ) {
        let zone = time::zone(&name).expect("a zone that is listed");
        // It was made known to searches too late for the pass that began then, or happened after it.
        let updated = began - SignedDuration::from_millis(lag_ms) + SignedDuration::from_millis(later_ms);
        let bound = time::bound(began - time::OVERLAP, Some(&zone));
        for reading in readings(&bound, &zone) {
            prop_assert!(updated >= reading, "{updated} is not at or after {reading}, read from {bound}");
        }
    }
}

#[test]
fn bounds_are_written_as_queries_want_them() {
    let at = |text: &str| text.parse().expect("an instant");
    let in_zone = |text: &str, name: &str| time::bound(at(text), time::zone(name).as_ref());
    assert_eq!(in_zone("2026-11-21T08:30:59.999Z", "UTC"), "2026/11/21 08:30");
    assert_eq!(in_zone("2026-11-21T23:30:59Z", "Asia/Kathmandu"), "2026/11/22 05:15");
    // The hour that exists twice when clocks go back in Berlin: both readings of 02:30 may be too late.
    assert_eq!(in_zone("2026-10-25T00:30:00Z", "Europe/Berlin"), "2026/10/25 01:30");
    assert_eq!(in_zone("2026-10-25T01:30:00Z", "Europe/Berlin"), "2026/10/25 01:30");
    assert_eq!(in_zone("2026-10-25T02:00:00Z", "Europe/Berlin"), "2026/10/25 03:00");
    // And the hour that does not exist when they go forward.
    assert_eq!(in_zone("2026-03-29T01:00:00Z", "Europe/Berlin"), "2026/03/29 03:00");
    assert_eq!(in_zone("2026-03-29T00:59:00Z", "Europe/Berlin"), "2026/03/29 01:59");
    assert_eq!(in_zone("2026-11-21T08:30:00Z", "No/Such_Zone"), "2026/11/20 08:30");
    assert_eq!(
        time::bound(Timestamp::MIN, None).len(),
        "2026/11/21 08:30".len() + 1,
        "the end of time has an end"
    );
}
