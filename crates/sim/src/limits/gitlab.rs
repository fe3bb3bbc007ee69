//! What a credential spent at GitLab: so many requests in each minute of the clock.
//! Must never carry anything from one minute into the next.

use super::Limits;

/// The length of a window, which begins with a full minute of the clock.
const WINDOW_S: u64 = 60;

/// One credential's book.
#[derive(Default)]
pub(super) struct Book {
    window: u64,
    observed: u32,
}

/// How a credential stands, as the headers show it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Throttle {
    /// Requests per minute; 0 when there is no limit.
    pub(crate) limit: u32,
    /// Requests in this minute, this one among them.
    pub(crate) observed: u32,
    /// When the minute ends, in seconds since the epoch.
    pub(crate) reset_s: u64,
}

impl Book {
    /// Counts a request, also one that is refused.
    pub(super) fn charge(&mut self, limits: Limits, now_ms: u64) -> Throttle {
        let window = now_ms / 1_000 / WINDOW_S;
        if window != self.window {
            *self = Self { window, observed: 0 };
        }
        self.observed = self.observed.saturating_add(1);
        Throttle { limit: limits.gitlab, observed: self.observed, reset_s: (window + 1) * WINDOW_S }
    }
}

impl Throttle {
    /// Tells whether more came than may.
    pub(crate) fn is_spent(&self) -> bool {
        self.limit > 0 && self.observed > self.limit
    }

    /// Returns how many requests are left.
    pub(crate) fn remaining(&self) -> u32 {
        self.limit.saturating_sub(self.observed)
    }
}

#[cfg(test)]
mod tests {
    use super::Book;

    #[test]
    fn a_minute_of_the_clock_has_so_many_requests_and_the_next_one_as_many() {
        let (mut book, limits) = (Book::default(), "gitlab=2".parse().unwrap());
        let mut spent = |now_ms: u64| {
            let it = book.charge(limits, now_ms);
            (it.is_spent(), it.remaining(), it.reset_s)
        };
        assert_eq!(spent(119_000), (false, 1, 120));
        assert_eq!(spent(119_500), (false, 0, 120));
        assert_eq!(spent(119_999), (true, 0, 120));
        assert_eq!(spent(120_000), (false, 1, 180));
    }
}
