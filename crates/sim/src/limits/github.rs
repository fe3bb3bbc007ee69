//! What a credential spent at GitHub: its window, its points, and whether the door is closed.
//! Must never count for anything but GitHub.

use std::time::{Duration, Instant};

use super::Limits;
use crate::github::Allowance;

/// The window of the points limit, which is also what it asks for.
const POINTS_S: u64 = 60;
/// What is shown when there is no primary limit: GitHub's usual one.
const SHOWN_WITHOUT_LIMIT: u32 = 5_000;

/// One credential's book.
#[derive(Default)]
pub(super) struct Book {
    pub(super) used: u32,
    reset_s: u64,
    points: u32,
    points_since: Option<Instant>,
    closed_until: Option<Instant>,
}

/// Why a request is held back.
pub(crate) enum Refusal {
    /// The primary limit is spent.
    Primary(Allowance),
    /// The secondary limit wants a pause.
    Secondary { after_s: u64 },
}

impl Book {
    /// Begins a new window when the last one is over.
    pub(super) fn roll(&mut self, window_s: u64, now_ms: u64) {
        if now_ms / 1_000 >= self.reset_s {
            self.used = 0;
            // A whole second, rounded up: the window is never shorter than promised.
            self.reset_s = now_ms.div_ceil(1_000) + window_s;
        }
    }

    pub(super) fn show(&self, primary: u32) -> Allowance {
        let reset_s = self.reset_s;
        match primary {
            0 => Allowance { limit: SHOWN_WITHOUT_LIMIT, used: 1, reset_s },
            limit => Allowance { limit, used: self.used, reset_s },
        }
    }

    pub(super) fn points(&mut self, limits: Limits, now: Instant) -> Result<(), Refusal> {
        if let Some(until) = self.closed_until.filter(|until| *until > now) {
            return Err(Refusal::Secondary { after_s: (until - now).as_secs() + 1 });
        }
        if limits.points > 0 {
            let since = *self.points_since.get_or_insert(now);
            if now.duration_since(since) >= Duration::from_secs(POINTS_S) {
                (self.points, self.points_since) = (0, Some(now));
            }
            self.points += 1;
            if self.points > limits.points {
                self.closed_until = Some(now + Duration::from_secs(POINTS_S));
                return Err(Refusal::Secondary { after_s: POINTS_S });
            }
        }
        Ok(())
    }
}
