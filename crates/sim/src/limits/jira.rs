//! What was spent at Jira: Cloud's points, bursts and writes to one issue, and the buckets of Data Center.
//! Must never count an API token's requests against the quota, from which they are exempt.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::Limits;
use super::kind::{Kind, Scope};

/// The two windows in which writes to one issue are counted, and by how much the second one holds more.
const WRITES_SHORT: Duration = Duration::from_secs(2);
const WRITES_LONG: Duration = Duration::from_secs(30);
const WRITES_LONG_TIMES: usize = 5;
/// Tokens are counted in thousandths, so that a bucket fills evenly.
const THOUSANDTHS: u64 = 1_000;

/// What a request is, as far as limits care.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// Whether it goes to Cloud.
    pub(crate) cloud: bool,
    /// Whether it carries an access token and not a login.
    pub(crate) bearer: bool,
    /// The endpoint and method.
    pub(crate) endpoint: Scope,
    /// How many halves of the burst limit the endpoint has.
    pub(crate) burst_halves: u32,
    /// Which issue it writes to.
    pub(crate) writes: Option<Scope>,
    /// Whether it is free on Data Center.
    pub(crate) exempt: bool,
}

impl Call {
    /// Tells what demands may hold it back.
    pub(crate) fn parts(&self) -> Vec<Scope> {
        [&self.writes].into_iter().flatten().chain([&self.endpoint]).cloned().collect()
    }
}

/// What is left, as the headers show it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Shown {
    /// What a second, an hour or a bucket holds.
    pub(crate) limit: u32,
    /// What is left of it.
    pub(crate) remaining: u32,
    /// When the quota's window ends, in milliseconds.
    pub(crate) reset_ms: u64,
}

/// Why a request is held back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stop {
    /// Which limit.
    pub(crate) kind: Kind,
    /// For how long.
    pub(crate) after: Duration,
    /// What the headers show.
    pub(crate) shown: Shown,
}

/// A token bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    thousandths: u64,
    filled: Instant,
}

impl Bucket {
    pub(super) fn full(size: u32, now: Instant) -> Self {
        Self { thousandths: u64::from(size) * THOUSANDTHS, filled: now }
    }

    /// Takes one token, and tells what is left, or how long one takes to come.
    pub(super) fn take(
        &mut self,
        size: u32,
        fill: u32,
        interval_ms: u64,
        now: Instant,
    ) -> Result<u32, Duration> {
        let passed = u64::try_from(now.duration_since(self.filled).as_millis()).unwrap_or(u64::MAX);
        let per_ms = u64::from(fill) * THOUSANDTHS;
        // What a fraction of a thousandth would have brought waits for the next time.
        let gained = passed.saturating_mul(per_ms) / interval_ms;
        if gained > 0 {
            self.thousandths = self.thousandths.saturating_add(gained).min(u64::from(size) * THOUSANDTHS);
            self.filled = now;
        }
        if self.thousandths < THOUSANDTHS {
            let missing = (THOUSANDTHS - self.thousandths).saturating_mul(interval_ms);
            return Err(Duration::from_millis(missing.div_ceil(per_ms.max(1))));
        }
        self.thousandths -= THOUSANDTHS;
        Ok(u32::try_from(self.thousandths / THOUSANDTHS).unwrap_or(u32::MAX))
    }
}

/// One credential's book.
#[derive(Default)]
pub(super) struct Book {
    pub(super) points: u64,
    window_end_ms: u64,
    pub(super) bucket: Option<Bucket>,
}

impl Book {
    pub(super) fn roll(&mut self, limits: Limits, now_ms: u64) {
        if now_ms >= self.window_end_ms {
            let window_ms = u64::from(limits.jira_window_s) * 1_000;
            self.points = 0;
            self.window_end_ms = (now_ms / window_ms + 1) * window_ms;
        }
    }

    pub(super) fn quota(&self, limits: Limits) -> Shown {
        let used = u32::try_from(self.points).unwrap_or(u32::MAX);
        let remaining = limits.jira_quota.saturating_sub(used);
        Shown { limit: limits.jira_quota, remaining, reset_ms: self.window_end_ms }
    }
}

/// What goes on at the one site of Cloud, whoever asks.
#[derive(Default)]
pub(super) struct Traffic {
    endpoints: HashMap<Scope, Bucket>,
    writes: HashMap<Scope, VecDeque<Instant>>,
}

impl Traffic {
    pub(super) fn burst(&mut self, call: &Call, limits: Limits, now: Instant) -> Result<Shown, Stop> {
        let limit = limits.jira_burst.saturating_mul(call.burst_halves) / 2;
        if limits.jira_burst == 0 || limit == 0 {
            return Ok(Shown::default());
        }
        let bucket = self.endpoints.entry(call.endpoint.clone()).or_insert_with(|| Bucket::full(limit, now));
        let shown = |remaining| Shown { limit, remaining, reset_ms: 0 };
        match bucket.take(limit, limit, 1_000, now) {
            Ok(remaining) => Ok(shown(remaining)),
            Err(after) => Err(Stop { kind: Kind::Burst, after, shown: shown(0) }),
        }
    }

    pub(super) fn write(&mut self, issue: &Scope, limits: Limits, now: Instant) -> Result<(), Stop> {
        let most = limits.jira_writes as usize;
        if most == 0 {
            return Ok(());
        }
        let written = self.writes.entry(issue.clone()).or_default();
        written.retain(|at| now.duration_since(*at) < WRITES_LONG);
        for (window, most) in [(WRITES_SHORT, most), (WRITES_LONG, most * WRITES_LONG_TIMES)] {
            let recent = written.iter().filter(|at| now.duration_since(**at) < window);
            let (count, oldest) = recent.fold((0, now), |(count, oldest), at| (count + 1, oldest.min(*at)));
            if count >= most {
                let limit = u32::try_from(most).unwrap_or(u32::MAX);
                let shown = Shown { limit, ..Shown::default() };
                return Err(Stop { kind: Kind::Writes, after: window.saturating_sub(now - oldest), shown });
            }
        }
        written.push_back(now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Bucket, Call, Kind, Limits, Scope, Traffic};

    #[test]
    fn a_bucket_fills_evenly_and_no_further_than_it_holds() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut bucket = Bucket::full(2, start);
        let mut take = |ms: u64| bucket.take(2, 10, 1_000, at(ms));
        assert_eq!((take(0), take(0)), (Ok(1), Ok(0)));
        assert_eq!(take(40), Err(Duration::from_millis(60)));
        assert_eq!(take(100), Ok(0));
        assert_eq!((take(9_000), take(9_000), take(9_000)), (Ok(1), Ok(0), Err(Duration::from_millis(100))));
    }

    #[test]
    fn endpoints_have_bursts_of_their_own() {
        let (mut traffic, now) = (Traffic::default(), Instant::now());
        let limits: Limits = "jira_burst=2".parse().unwrap();
        let call = |part: &str, burst_halves: u32| Call {
            cloud: true,
            bearer: false,
            endpoint: Scope::Only(part.to_owned()),
            burst_halves,
            writes: None,
            exempt: false,
        };
        let mut count = |part: &str, halves: u32| {
            (0..10).take_while(|_| traffic.burst(&call(part, halves), limits, now).is_ok()).count()
        };
        assert_eq!((count("GET search", 2), count("GET issue", 3), count("GET changelog", 4)), (2, 3, 4));
    }

    #[test]
    fn writes_to_one_issue_are_counted_in_two_windows() {
        let (mut traffic, start) = (Traffic::default(), Instant::now());
        let limits: Limits = "jira_writes=2".parse().unwrap();
        let mut write = |issue: &str, s: u64| {
            traffic.write(&Scope::Only(issue.to_owned()), limits, start + Duration::from_secs(s))
        };
        assert!(write("1", 0).is_ok() && write("1", 0).is_ok() && write("2", 0).is_ok());
        let stop = write("1", 1).unwrap_err();
        assert_eq!((stop.kind, stop.after), (Kind::Writes, Duration::from_secs(1)));
        for s in [2, 2, 4, 4, 6, 6, 8, 8] {
            assert!(write("1", s).is_ok(), "after {s} s");
        }
        assert_eq!(write("1", 10).unwrap_err().after, Duration::from_secs(20), "ten in thirty seconds");
    }
}
