//! Whose turn it is: where in the queue a job stands, fair between tenants and sources, with people first.
//!
//! It must never depend on how long a queue is: a place is reckoned once, from a few numbers, and does not move while
//! the job waits. Begin with [`Line::begins`]; docs/decisions/0008-fair-order.md says why.

use super::ledger::Class;

#[cfg(test)]
mod tests;

/// How far the queue moves on for a page of a person's: a number with many divisors, so that other classes take whole
/// multiples of it.
const PAGE: i64 = 16;

/// How far ahead of the next one a class is. A source of a higher class reads this much before the lower one has its
/// turn: 256 pages of a person's, 64 of a scheduled sync.
const HEAD_START: i64 = 256 * PAGE;

impl Class {
    /// Returns the number that is stored: 0 for the most urgent.
    #[must_use]
    pub fn rank(self) -> i64 {
        match self {
            Self::Human => 0,
            Self::Webhook => 1,
            Self::Cron => 2,
            Self::Backfill => 3,
        }
    }

    /// Reads a stored number back; one that no version wrote is the least urgent.
    #[must_use]
    pub fn from_rank(rank: i64) -> Self {
        Self::ALL.into_iter().find(|it| it.rank() == rank).unwrap_or(Self::Backfill)
    }

    /// Returns how far a page of this class moves its source back. Where all are busy for ever, a person has twice the
    /// pages of a provider's hint, four times those of a scheduled sync, and sixteen times those of a backfill: nobody
    /// has none.
    fn page(self) -> i64 {
        match self {
            Self::Human => PAGE,
            Self::Webhook => 2 * PAGE,
            Self::Cron => 4 * PAGE,
            Self::Backfill => 16 * PAGE,
        }
    }

    /// Returns how far behind the most urgent class this one stands.
    #[must_use]
    pub fn behind(self) -> i64 {
        self.rank() * HEAD_START
    }
}

/// Where a job stands: the lowest is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Its class.
    pub class: Class,
    /// The number that jobs are claimed by.
    pub at: i64,
    /// How far apart the jobs of its source stand, and so how far it goes back for each page.
    pub stride: i64,
}

impl Turn {
    /// Returns the place of the next job of the same source.
    #[must_use]
    pub fn next(self) -> Self {
        Self { at: self.at.saturating_add(self.stride), ..self }
    }
}

/// What a place depends on. But for `waits` these are turns without what their class stands behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// How far the jobs that run have come, at most.
    pub served: Option<i64>,
    /// The first job that waits and is due, with its class.
    pub waits: Option<(Class, i64)>,
    /// The last job of the same source and class that has not ended.
    pub last: Option<i64>,
    /// The furthest first place of the tenant's syncs of the same class that are under way.
    pub first: Option<i64>,
    /// The tenant's other sources with a sync of the same class under way.
    pub others: i64,
}

impl Line {
    /// Returns the place of the first job of a sync that begins.
    ///
    /// A source without any stands half a page behind what is next: before every second page of anybody's, and still so
    /// that the queue moves on. The sources of one tenant that wait for their first page stand a page apart, like the
    /// pages of one source: a tenant with 900 of them has no more turns than one with a single source.
    #[must_use]
    pub fn begins(&self, class: Class) -> Turn {
        let (page, served) = (class.page(), self.served());
        // A job of a higher class has a head start, which is not this one's.
        let next = self
            .waits
            .filter(|it| it.0.rank() >= class.rank())
            .map_or(served, |it| served.min(it.1 - class.behind()));
        let fresh = next.saturating_add(page / 2);
        let first = match self.first {
            Some(first) if first > served => fresh.max(first.saturating_add(page)),
            _ => fresh,
        };
        let stride = self.stride(class);
        let at = self.last.map_or(first, |last| first.max(last.saturating_add(stride)));
        Turn { class, at: at.saturating_add(class.behind()), stride }
    }

    /// Returns the place of the next job of a source that has one at `turn`: of one that it found, or of itself after a
    /// page, when it gives way. It stands behind all of its source's.
    #[must_use]
    pub fn follows(&self, turn: Turn) -> Turn {
        let last = self.last.map_or(i64::MIN, |it| it.saturating_add(turn.class.behind()));
        Turn { at: last.saturating_add(turn.stride).max(self.goes_on(turn).at), ..turn }
    }

    /// Returns how far the queue is.
    fn served(&self) -> i64 {
        self.served.or_else(|| self.waits.map(|(class, at)| at - class.behind())).unwrap_or(0)
    }

    /// Returns where a job that read a page would read its next one: whoever waits before that comes first.
    #[must_use]
    pub fn goes_on(&self, turn: Turn) -> Turn {
        let served = self.served().saturating_add(turn.class.behind());
        Turn { at: turn.at.max(served), ..turn }.next()
    }

    /// Returns how far apart a source's jobs stand, so that all sources of its tenant together move like one.
    #[must_use]
    pub fn stride(&self, class: Class) -> i64 {
        class.page().saturating_mul(self.others.max(0).saturating_add(1))
    }
}
