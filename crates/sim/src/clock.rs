//! The one place where the simulator looks at the wall clock, and the providers' clock that can be set by hand.
//! Must never be used for anything that shapes a seeded world, which has to be the same on every day.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

/// Stands for "not set by hand".
const WALL: i64 = i64::MIN;

/// Returns the time since the Unix epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "the simulator knows nothing of ours, so it has a clock of its own"
)]
pub(crate) fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Finds a time zone in the database that is built in, so that a world is the same on every machine.
pub(crate) fn zone(name: &str) -> Option<TimeZone> {
    TimeZoneDatabase::bundled().get(name).ok()
}

/// What time it is for the fake providers: the wall clock's, one that runs ahead of it, or one that stands where it was
/// set.
#[derive(Debug)]
pub(crate) struct Clock {
    stands_at_ms: AtomicI64,
    ahead_ms: AtomicI64,
}

impl Default for Clock {
    fn default() -> Self {
        Self { stands_at_ms: AtomicI64::new(WALL), ahead_ms: AtomicI64::new(0) }
    }
}

impl Clock {
    /// Returns the time in milliseconds since the epoch.
    pub(crate) fn now_ms(&self) -> i64 {
        match self.stands_at_ms.load(Ordering::Relaxed) {
            WALL => {
                let wall_ms = i64::try_from(since_epoch().as_millis()).unwrap_or(i64::MAX);
                wall_ms.saturating_add(self.ahead_ms.load(Ordering::Relaxed))
            }
            set => set,
        }
    }

    /// Writes the time as HTTP's `Date`.
    pub(crate) fn http_date(&self) -> String {
        let now = Timestamp::from_millisecond(self.now_ms()).unwrap_or_default();
        now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }

    /// Returns where the clock stands, where it was set by hand, in milliseconds since the epoch.
    pub(crate) fn stands_at_ms(&self) -> Option<i64> {
        Some(self.stands_at_ms.load(Ordering::Relaxed)).filter(|it| *it != WALL)
    }

    /// Lets the clock stand at a moment, or follow the wall clock again.
    pub(crate) fn set(&self, at_ms: Option<i64>) {
        self.ahead_ms.store(0, Ordering::Relaxed);
        self.stands_at_ms.store(at_ms.unwrap_or(WALL), Ordering::Relaxed);
    }

    /// Lets the clock run, so much ahead of the wall clock.
    pub(crate) fn run_ahead(&self, ahead_ms: i64) {
        self.ahead_ms.store(ahead_ms, Ordering::Relaxed);
        self.stands_at_ms.store(WALL, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::Clock;

    #[test]
    fn a_clock_stands_runs_ahead_and_follows_the_wall_again() {
        let clock = Clock::default();
        let wall_ms = clock.now_ms();
        clock.set(Some(1_000));
        assert_eq!(clock.now_ms(), 1_000);
        clock.run_ahead(3_600_000);
        assert!((wall_ms + 3_600_000..wall_ms + 3_660_000).contains(&clock.now_ms()));
        clock.set(None);
        assert!((wall_ms..wall_ms + 60_000).contains(&clock.now_ms()));
    }
}
