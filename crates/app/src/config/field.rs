//! Fills fields of the configuration from text, each within its bounds; what does not fit leaves the field as it was.
//!
//! Never knows which setting it reads.

use std::collections::BTreeMap;
use std::time::Duration;

use engine::provider_specs;
use jiff::SignedDuration;

use super::quantity::parse_duration;

/// Below a tenth of a second loopback is cut off, above ten minutes a hanging server holds its worker too long.
pub(super) const TIMEOUTS: &str = "a duration from 100ms to 10m";

pub(super) fn timeout(field: &mut Duration, value: &str) -> bool {
    span(field, value, Duration::from_millis(100), Duration::from_mins(10))
}

pub(super) fn span(field: &mut Duration, value: &str, min: Duration, max: Duration) -> bool {
    let parsed = parse_duration(value).filter(|it| (min..=max).contains(it));
    parsed.map(|it| *field = it).is_some()
}

/// No provider's budget is larger by far; what is above a budget's limit counts as the limit.
pub(super) const REQUESTS_MAX: u64 = 1_000_000;
pub(super) const REQUESTS: &str = "a whole number from 1 to 1000000";

/// Below an hour people could not see what happened, above a year nobody asks.
pub(super) const KEPT: &str = "a duration from 1h to 8760h";

pub(super) fn kept(field: &mut SignedDuration, value: &str) -> bool {
    period(field, value, Duration::from_hours(1), Duration::from_hours(8760))
}

pub(super) fn period(field: &mut SignedDuration, value: &str, min: Duration, max: Duration) -> bool {
    let parsed = parse_duration(value).filter(|it| (min..=max).contains(it));
    parsed.and_then(|it| SignedDuration::try_from(it).ok()).map(|it| *field = it).is_some()
}

pub(super) fn number(field: &mut u64, value: &str, min: u64, max: u64) -> bool {
    within(value, min, max).map(|it| *field = it).is_some()
}

/// Reads a duration of up to thirty days: longer than any provider's data takes to be called old.
fn signed(value: &str) -> Option<SignedDuration> {
    let duration = parse_duration(value).filter(|it| *it <= Duration::from_hours(720))?;
    SignedDuration::try_from(duration).ok()
}

pub(super) fn own(field: &mut SignedDuration, value: &str) -> bool {
    signed(value).map(|it| *field = it).is_some()
}

/// Reads `GROUP=DURATION` with commas between; each group once, and only those that a connector has.
pub(super) fn cooldowns(value: &str) -> Option<BTreeMap<String, SignedDuration>> {
    let mut cooldowns = BTreeMap::new();
    for part in value.split(',') {
        let (group, duration) = part.split_once('=')?;
        let group = group.trim();
        let known = provider_specs().flat_map(|it| it.groups).any(|it| it.name == group);
        if !known || cooldowns.insert(group.to_owned(), signed(duration.trim())?).is_some() {
            return None;
        }
    }
    Some(cooldowns)
}

pub(super) fn count(field: &mut usize, value: &str, min: usize, max: usize) -> bool {
    within(value, min, max).map(|it| *field = it).is_some()
}

pub(super) fn within<N: std::str::FromStr + PartialOrd>(value: &str, min: N, max: N) -> Option<N> {
    value.parse().ok().filter(|it| (min..=max).contains(it))
}
