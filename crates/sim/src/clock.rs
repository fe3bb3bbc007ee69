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

/// What time it is for the fake providers: the wall clock's, or one that stands where it was set.
#[derive(Debug)]
pub(crate) struct Clock(AtomicI64);

impl Default for Clock {
    fn default() -> Self {
        Self(AtomicI64::new(WALL))
    }
}

impl Clock {
    /// Returns the time in milliseconds since the epoch.
    pub(crate) fn now_ms(&self) -> i64 {
        match self.0.load(Ordering::Relaxed) {
            WALL => i64::try_from(since_epoch().as_millis()).unwrap_or(i64::MAX),
            set => set,
        }
    }

    /// Writes the time as HTTP's `Date`.
    pub(crate) fn http_date(&self) -> String {
        let now = Timestamp::from_millisecond(self.now_ms()).unwrap_or_default();
        now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }

    /// Lets the clock stand at a moment, or follow the wall clock again.
    pub(crate) fn set(&self, at_ms: Option<i64>) {
        self.0.store(at_ms.unwrap_or(WALL), Ordering::Relaxed);
    }
}
