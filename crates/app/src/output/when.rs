//! Times as people say them. It never says what time it is: every function is told.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Says when something is, in the reader's own zone: the hour alone where it is today, else with the date.
pub(crate) fn clock_time(at: Timestamp, now: Timestamp) -> String {
    clock_time_in(at, now, TimeZone::system())
}

fn clock_time_in(at: Timestamp, now: Timestamp, zone: TimeZone) -> String {
    let at = at.to_zoned(zone.clone());
    let today = now.to_zoned(zone).date();
    if at.date() == today {
        at.strftime("%H:%M").to_string()
    } else {
        at.strftime("%Y-%m-%d %H:%M").to_string()
    }
}

/// Says how long ago something was.
pub(crate) fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(at).as_secs().max(0);
    let (number, unit) = match seconds {
        0..5 => return "just now".to_owned(),
        5..60 => (seconds, "s"),
        60..3600 => (seconds / 60, "min"),
        3600..86_400 => (seconds / 3600, "h"),
        _ => (seconds / 86_400, if seconds < 2 * 86_400 { "day" } else { "days" }),
    };
    format!("{number} {unit} ago")
}

/// Says how long something took.
pub(crate) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..10 => format!("{}.{} s", seconds, duration.subsec_millis() / 100),
        10..60 => format!("{seconds} s"),
        60..3600 if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ if seconds % 3600 < 60 => format!("{} h", seconds / 3600),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::{ago, clock_time_in, span};
    use std::time::Duration;

    #[test]
    fn a_time_is_told_in_the_readers_zone() {
        let zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(2));
        let now: jiff::Timestamp = "2026-11-21T22:30:00Z".parse().unwrap();
        let cases = [("2026-11-21T22:45:00Z", "00:45"), ("2026-11-21T21:45:00Z", "2026-11-21 23:45")];
        for (at, text) in cases {
            assert_eq!(clock_time_in(at.parse().unwrap(), now, zone.clone()), text);
        }
    }

    #[test]
    fn what_was_is_told_by_its_distance() {
        let now: jiff::Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let cases = [
            ("2026-11-21T12:00:01Z", "just now"),
            ("2026-11-21T11:59:50Z", "10 s ago"),
            ("2026-11-21T11:58:01Z", "1 min ago"),
            ("2026-11-21T10:00:00Z", "2 h ago"),
            ("2026-11-20T11:00:00Z", "1 day ago"),
            ("2026-11-11T12:00:00Z", "10 days ago"),
        ];
        for (at, text) in cases {
            assert_eq!(ago(at.parse().unwrap(), now), text);
        }
    }

    #[test]
    fn spans_have_two_figures_at_most() {
        let cases = [
            (7, "7 ms"),
            (2345, "2.3 s"),
            (12_000, "12 s"),
            (80_000, "1 min 20 s"),
            (600_000, "10 min"),
            (7_200_000, "2 h"),
            (3_700_000, "1 h 1 min"),
        ];
        for (ms, text) in cases {
            assert_eq!(span(Duration::from_millis(ms)), text);
        }
    }
}
