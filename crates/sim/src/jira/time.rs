//! How a fake Jira writes and reads moments: in the zone of the account that asks, as Jira does.
//! Must never write a zone's offset with a colon where Jira writes none.

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, Zoned};

use crate::clock;
use crate::world::site::RepeatedHour;

/// The account's zone.
#[derive(Clone)]
pub(crate) struct Zone(TimeZone, RepeatedHour);

impl Zone {
    /// Finds a zone; what is unknown is UTC.
    pub(crate) fn find(name: &str, repeated: RepeatedHour) -> Self {
        Self(clock::zone(name).unwrap_or(TimeZone::UTC), repeated)
    }

    fn at(&self, at_ms: i64) -> Zoned {
        Timestamp::from_millisecond(at_ms).unwrap_or_default().to_zoned(self.0.clone())
    }

    /// Writes a moment as issues show it: `2020-06-12T08:13:13.360+0800`.
    pub(crate) fn stamp(&self, at_ms: i64) -> String {
        self.at(at_ms).strftime("%Y-%m-%dT%H:%M:%S.%3f%z").to_string()
    }

    /// Writes a moment with a colon in its offset, as Data Center shows sprints.
    pub(crate) fn stamp_with_colon(&self, at_ms: i64) -> String {
        self.at(at_ms).strftime("%Y-%m-%dT%H:%M:%S.%3f%:z").to_string()
    }

    /// Reads a wall time. One that a clock shows twice is the earlier, unless the site takes the later; one that it
    /// skips is as much later.
    fn moment(&self, wall: DateTime) -> Option<i64> {
        let ambiguous = self.0.to_ambiguous_timestamp(wall);
        let is_fold = matches!(ambiguous.offset(), AmbiguousOffset::Fold { .. });
        let moment =
            if is_fold && self.1 == RepeatedHour::Later { ambiguous.later() } else { ambiguous.compatible() };
        Some(moment.ok()?.as_millisecond())
    }

    /// Reads a day or a minute as JQL allows it, in the account's zone.
    pub(crate) fn read(&self, text: &str) -> Option<i64> {
        let text = text.trim().replace('/', "-");
        let (day, time) = text.split_once(' ').unwrap_or((&text, "00:00"));
        let mut parts = day.splitn(3, '-').map(number);
        let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
        let (hour, minute) = time.split_once(':')?;
        let (hour, minute) = (number(hour)?, number(minute)?);
        let small = |it: i16| i8::try_from(it).ok();
        let date = Date::new(year, small(month)?, small(day)?).ok()?;
        let time = jiff::civil::Time::new(small(hour)?, small(minute)?, 0, 0).ok()?;
        self.moment(DateTime::from_parts(date, time))
    }
}

/// Reads a number that has digits and nothing else.
fn number(text: &str) -> Option<i16> {
    let digits = !text.is_empty() && text.bytes().all(|it| it.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// Writes a moment as Cloud shows sprints: UTC with milliseconds.
pub(crate) fn utc(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// Writes a moment of a limit with seconds.
pub(crate) fn utc_second(at_ms: u64) -> String {
    limit_moment(at_ms, "%Y-%m-%dT%H:%M:%SZ")
}

/// Writes a moment of a limit without seconds, as Cloud writes the end of a quota's window.
pub(crate) fn utc_minute(at_ms: u64) -> String {
    limit_moment(at_ms, "%Y-%m-%dT%H:%MZ")
}

fn limit_moment(at_ms: u64, format: &str) -> String {
    let at_ms = i64::try_from(at_ms).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(at_ms).unwrap_or_default().strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::{RepeatedHour, Zone, utc};

    fn zone(name: &str) -> Zone {
        Zone::find(name, RepeatedHour::Earlier)
    }

    #[test]
    fn moments_are_written_in_the_zone_without_a_colon() {
        let at_ms = 1_591_920_793_360;
        assert_eq!(zone("Asia/Shanghai").stamp(at_ms), "2020-06-12T08:13:13.360+0800");
        assert_eq!(zone("Etc/UTC").stamp(at_ms), "2020-06-12T00:13:13.360+0000");
        assert_eq!(zone("America/Bogota").stamp_with_colon(at_ms), "2020-06-11T19:13:13.360-05:00");
        assert_eq!(utc(at_ms), "2020-06-12T00:13:13.360Z");
    }

    #[test]
    fn minutes_are_read_in_the_zone_also_when_clocks_change() {
        let berlin = zone("Europe/Berlin");
        for (text, at) in [
            ("2026-01-15 14:30", Some("2026-01-15T13:30:00.000Z")),
            ("2026/07/15 14:30", Some("2026-07-15T12:30:00.000Z")),
            ("2026-07-15", Some("2026-07-14T22:00:00.000Z")),
            ("2026-03-29 02:30", Some("2026-03-29T01:30:00.000Z")),
            ("2026-10-25 02:30", Some("2026-10-25T00:30:00.000Z")),
            ("2026-10-25T02:30", None),
            ("2026-10-25 02:30:10", None),
            ("2026-13-01", None),
        ] {
            assert_eq!(berlin.read(text).map(utc).as_deref(), at, "{text}");
        }
        let later = Zone::find("Europe/Berlin", RepeatedHour::Later);
        for (text, at) in [
            ("2026-10-25 02:30", "2026-10-25T01:30:00.000Z"),
            ("2026-03-29 02:30", "2026-03-29T01:30:00.000Z"),
            ("2026-10-25 01:59", "2026-10-24T23:59:00.000Z"),
        ] {
            assert_eq!(later.read(text).map(utc).as_deref(), Some(at), "{text}");
        }
    }
}
