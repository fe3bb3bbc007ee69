//! Durations such as `1h30m` and sizes such as `32MiB`, as people write them.
//!
//! A bare number is neither: its unit would be a guess.

use std::time::Duration;

/// The units of a duration, the largest first, in nanoseconds.
pub(super) const UNITS: [(&str, u64); 4] =
    [("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000), ("ms", 1_000_000)];

/// Reads a duration: whole numbers with the units h, m, s and ms, each once, the largest first.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut nanos = 0_u64;
    let mut above = u64::MAX;
    while !rest.is_empty() {
        let (number, after) = leading(rest, char::is_ascii_digit);
        let (unit, after) = leading(after, char::is_ascii_alphabetic);
        let (_, size) = UNITS.iter().find(|(name, _)| *name == unit)?;
        if *size >= above {
            return None;
        }
        above = *size;
        nanos = nanos.checked_add(number.parse::<u64>().ok()?.checked_mul(*size)?)?;
        rest = after;
    }
    (!text.is_empty()).then(|| Duration::from_nanos(nanos))
}

/// Reads a size: a whole number of KiB, MiB or GiB, or of bytes (B).
pub(super) fn parse_bytes(text: &str) -> Option<u64> {
    let (number, unit) = leading(text, char::is_ascii_digit);
    let size = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(size)
}

fn leading(text: &str, belongs: fn(&char) -> bool) -> (&str, &str) {
    let end = text.find(|it| !belongs(&it)).unwrap_or(text.len());
    text.split_at(end)
}
