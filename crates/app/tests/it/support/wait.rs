//! Waiting until something is so.
//!
//! It must never wait without a deadline.

use std::time::{Duration, Instant};

/// How often a condition is looked at: often enough to catch a state that lasts some milliseconds.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks until there is an answer, and fails when there is none within the time.
pub(crate) async fn until<T, F>(what: &str, within: Duration, mut look: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let began = Instant::now();
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    loop {
        ticks.tick().await;
        if let Some(answer) = look().await {
            return answer;
        }
        assert!(began.elapsed() < within, "{what}: not within {within:?}");
    }
}
