//! The one place where the simulator looks at the wall clock: rate-limit resets and the age of git's files.
//! Must never be used for anything that shapes a world, which has to be the same on every day.

use std::time::{Duration, SystemTime};

/// Returns the time since the Unix epoch.
#[expect(
    clippy::disallowed_methods,
    reason = "the simulator knows nothing of ours, so it has a clock of its own"
)]
pub(crate) fn since_epoch() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
