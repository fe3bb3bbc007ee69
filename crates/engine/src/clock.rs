//! The one home of the time: everything else is told what time it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

/// Tells the time: the system's, corrected by an offset. Clones share the offset.
///
/// On PostgreSQL the offset is what the database's clock is ahead of ours, so that leases mean the same on every
/// node; in tests it is moved by hand.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    offset_ms: Arc<AtomicI64>,
}

impl Clock {
    /// Returns the time now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the clock's home")]
    pub fn now(&self) -> Timestamp {
        let offset = SignedDuration::from_millis(self.offset_ms.load(Ordering::Relaxed));
        Timestamp::now().saturating_add(offset).unwrap_or(Timestamp::MAX)
    }

    /// Sets how far the time is ahead of the system's, in milliseconds.
    pub fn set_offset_ms(&self, offset_ms: i64) {
        self.offset_ms.store(offset_ms, Ordering::Relaxed);
    }

    /// Moves the time forward.
    pub fn advance(&self, by: SignedDuration) {
        self.offset_ms.fetch_add(i64::try_from(by.as_millis()).unwrap_or(0), Ordering::Relaxed);
    }

    /// Waits until `at`; returns at once when it is past.
    pub(crate) async fn sleep_until(&self, at: Timestamp) {
        let rest = at.duration_since(self.now());
        if let Ok(rest) = std::time::Duration::try_from(rest) {
            tokio::time::sleep(rest).await;
        }
    }
}
