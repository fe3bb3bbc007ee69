//! The times of the answers, by kind. It never leaves out one that failed or came late.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

/// One answer, or the pages of one together.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) kind: String,
    /// From when it was meant to be asked for, to the last byte.
    pub(crate) took: Duration,
    pub(crate) pages: usize,
    pub(crate) bytes: usize,
    /// Why there is no good answer.
    pub(crate) failed: Option<String>,
}

/// What came of all.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    kinds: BTreeMap<String, Times>,
    /// How long the rate was kept.
    wall_ms: f64,
    /// How late the latest request was asked for, by this program's own fault.
    behind_max_ms: f64,
    /// The first failures, for people.
    failures: Vec<String>,
}

/// The times of one kind, in milliseconds.
#[derive(Debug, Default, Serialize)]
struct Times {
    count: usize,
    failed: usize,
    pages: usize,
    bytes: usize,
    p50_ms: f64,
    p90_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    #[serde(skip)]
    all: Vec<f64>,
}

/// Failures that are told: enough to see what they have in common.
const FAILURES_MAX: usize = 5;

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

impl Report {
    /// Notes that a request was asked for so late.
    pub(crate) fn behind(&mut self, late: Duration) {
        self.behind_max_ms = self.behind_max_ms.max(ms(late));
    }

    /// Notes an answer; one that does not count only has to be good.
    pub(crate) fn note(&mut self, counts: bool, answer: Answer) {
        let times = self.kinds.entry(answer.kind).or_default();
        if let Some(why) = answer.failed {
            times.failed += 1;
            if self.failures.len() < FAILURES_MAX {
                self.failures.push(why);
            }
        }
        if counts {
            times.count += 1;
            times.pages += answer.pages;
            times.bytes += answer.bytes;
            times.all.push(ms(answer.took));
        }
    }

    /// Reckons what is told of the times.
    pub(crate) fn finish(&mut self, wall: Duration) {
        self.wall_ms = ms(wall);
        for times in self.kinds.values_mut() {
            times.all.sort_by(f64::total_cmp);
            times.p50_ms = at(&times.all, 50);
            times.p90_ms = at(&times.all, 90);
            times.p99_ms = at(&times.all, 99);
            times.max_ms = times.all.last().copied().unwrap_or(0.0);
        }
    }
}

/// Returns the value that so many percent do not exceed: one that was measured, never one between two.
fn at(sorted: &[f64], percent: usize) -> f64 {
    let place = (sorted.len() * percent).div_ceil(100).max(1) - 1;
    sorted.get(place).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::at;

    #[test]
    fn a_percentile_is_a_time_that_was_measured() {
        let times: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!((at(&times, 50), at(&times, 99), at(&times, 100)), (100.0, 198.0, 200.0));
        assert_eq!((at(&[7.0], 99), at(&[], 99)), (7.0, 0.0));
    }
}
