//! The one home of the time: everything else is told what time it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;

/// Tells the time: the system's, corrected by an offset. Clones share the offset.
///
/// On PostgreSQL the offset is what the database's clock is ahead of ours, so that leases mean the same on every
/// node; in tests it is moved by hand, and whoever waits for a time then looks again.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    offset_ms: Arc<AtomicI64>,
    moved: Arc<Notify>,
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
        self.moved.notify_waiters();
    }

    /// Moves the time forward.
    pub fn advance(&self, by: SignedDuration) {
        self.offset_ms.fetch_add(i64::try_from(by.as_millis()).unwrap_or(0), Ordering::Relaxed);
        self.moved.notify_waiters();
    }

    /// Waits until `at`; returns at once when it is past.
    pub(crate) async fn sleep_until(&self, at: Timestamp) {
        loop {
            let mut moved = std::pin::pin!(self.moved.notified());
            // Listening begins before the look, so that no move falls between the two.
            moved.as_mut().enable();
            let rest = std::time::Duration::try_from(at.duration_since(self.now())).unwrap_or_default();
            if rest.is_zero() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = moved => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use tokio::task::JoinSet;

    use super::Clock;

    #[tokio::test]
    async fn who_waits_for_a_time_looks_again_when_the_clock_is_moved() {
        let clock = Clock::default();
        let at = clock.now() + SignedDuration::from_hours(1);
        let mut waiting = JoinSet::new();
        let same = clock.clone();
        waiting.spawn(async move { same.sleep_until(at).await });
        tokio::task::yield_now().await;
        clock.advance(SignedDuration::from_mins(30));
        tokio::task::yield_now().await;
        assert!(waiting.try_join_next().is_none(), "half an hour is left");
        clock.advance(SignedDuration::from_mins(30));
        waiting.join_next().await.unwrap().unwrap();
        clock.sleep_until(at).await;
    }
}
