//! Durations such as `1h30m` and sizes such as `32MiB`, as people write them.
//!
//! A bare number is neither: its unit would be a guess.

use std::time::Duration;

use jiff::SignedDuration;

/// The units of a duration, the largest first, in nanoseconds.
pub(super) const UNITS: [(&str, u64); 4] =
    [("h", 3_600_000_000_000), ("m", 60_000_000_000), ("s", 1_000_000_000), ("ms", 1_000_000)];

/// Reads a duration: whole numbers with the units h, m, s and ms, each once, the largest first.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
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

/// Reads a duration as Go does: decimal numbers, each with a unit, in any order (`1h30m`, `1.5h`, `90s`), with a sign
/// or not. `None` for what is none, or lies beyond three hundred years either way.
pub(crate) fn parse_go_duration(text: &str) -> Option<SignedDuration> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(SignedDuration::ZERO);
    }
    let mut nanos = 0_i128;
    while !rest.is_empty() {
        let (whole, after) = leading(rest, char::is_ascii_digit);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => leading(after, char::is_ascii_digit),
            None => ("", after),
        };
        let (unit, after) = leading(after, |it| !it.is_ascii_digit() && *it != '.');
        let (_, size) = GO_UNITS.iter().find(|(name, _)| *name == unit)?;
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let read = |digits: &str| if digits.is_empty() { Some(0) } else { digits.parse::<i128>().ok() };
        // Eighteen digits are finer than any unit is in nanoseconds.
        let fraction = fraction.get(..18).unwrap_or(fraction);
        let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        nanos = nanos.checked_add(read(whole)?.checked_mul(*size)?)?;
        nanos = nanos.checked_add(read(fraction)?.checked_mul(*size)? / scale)?;
        rest = after;
    }
    let nanos = i64::try_from(sign * nanos).ok()?;
    (!text.trim_start_matches(['-', '+']).is_empty()).then(|| SignedDuration::from_nanos(nanos))
}

/// The units of Go's durations in nanoseconds; both letters that are written for micro.
const GO_UNITS: [(&str, i128); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

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
