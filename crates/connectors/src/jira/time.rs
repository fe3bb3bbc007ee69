//! Jira's times: read with the offset that they carry, and asked for in the account's own zone, to the minute.
//!
//! A bound must never be later than the instant it stands for, however the server understands it.

use std::sync::LazyLock;

use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp, ToSpan, Unit};

/// What every change of the index may lag behind, and more than a search takes to be answered.
pub(super) const OVERLAP: SignedDuration = SignedDuration::from_mins(2);

/// How far a bound is set back where the account's zone is unknown: no zone is further behind UTC than twelve hours,
/// and a day leaves room for those that once were.
const UNKNOWN_ZONE: SignedDuration = SignedDuration::from_hours(24);

/// How often a bound is set back by an hour to leave a stretch of wall time that exists twice or not at all. The longest
/// was a whole day, where the date line was moved.
const STEPS_MAX: usize = 26;

/// The zones as they are known when this is built. The system's own would make the same arguments mean different things
/// on different machines.
static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Finds a zone by its name.
pub(super) fn zone(name: &str) -> Option<TimeZone> {
    ZONES.get(name).ok()
}

/// Reads an instant as Jira writes it, `2020-06-12T08:13:13.360+0800`, or with a colon, or as `Z`.
pub(super) fn instant(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// Writes a bound for a query: the latest minute of the zone's wall clock that every reading puts at `at` or before.
pub(super) fn bound(at: Timestamp, zone: Option<&TimeZone>) -> String {
    let unknown = || minute(earlier(at, UNKNOWN_ZONE).to_zoned(TimeZone::UTC).datetime());
    let Some(zone) = zone else { return written(unknown()) };
    let mut candidate = at;
    for _ in 0..STEPS_MAX {
        let wall = minute(zone.to_datetime(candidate));
        if let AmbiguousOffset::Unambiguous { .. } = zone.to_ambiguous_timestamp(wall).offset() {
            return written(wall);
        }
        candidate = earlier(candidate, SignedDuration::from_hours(1));
    }
    written(unknown())
}

/// Cuts off the seconds, which Jira's queries do not have.
fn minute(wall: DateTime) -> DateTime {
    let floored = wall.with().second(0).subsec_nanosecond(0).build();
    floored.unwrap_or(wall)
}

fn written(wall: DateTime) -> String {
    format!(
        "{:04}/{:02}/{:02} {:02}:{:02}",
        wall.year(),
        wall.month(),
        wall.day(),
        wall.hour(),
        wall.minute()
    )
}

fn earlier(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_sub(by).unwrap_or(Timestamp::MIN)
}

/// Returns the beginning of the next hour.
pub(super) fn next_hour(at: Timestamp) -> Timestamp {
    let hour = at.to_zoned(TimeZone::UTC).checked_add(1.hour()).ok();
    let start = hour.and_then(|it| {
        it.round(jiff::ZonedRound::new().smallest(Unit::Hour).mode(jiff::RoundMode::Trunc)).ok()
    });
    start.map_or(Timestamp::MAX, |it| it.timestamp())
}
