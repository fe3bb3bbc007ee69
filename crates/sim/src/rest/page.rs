//! Pages counted from 1, as both git hosts count them.
//! Must never refuse a number: what makes no sense is cut to what does.

use super::query::Query;

/// More are cut to this, without an error.
const PER_PAGE_MAX: usize = 100;

/// Which page was asked for.
#[derive(Clone, Copy)]
pub(crate) struct Page {
    /// Counted from 1.
    pub(crate) number: usize,
    /// Entries on a page.
    pub(crate) size: usize,
}

impl Page {
    /// Reads the page from the query; a page has so many entries when the request does not say.
    pub(crate) fn read(query: &Query<'_>, usual: usize) -> Self {
        let size = query.number("per_page").unwrap_or(usual).min(PER_PAGE_MAX);
        Self { number: query.number("page").unwrap_or(1), size }
    }

    /// Returns the page's part of so many entries.
    pub(crate) fn range(self, entries: usize) -> std::ops::Range<usize> {
        let start = (self.number - 1).saturating_mul(self.size).min(entries);
        start..start.saturating_add(self.size).min(entries)
    }

    /// Counts the pages of so many entries; even nothing is a page.
    pub(crate) fn last(self, entries: usize) -> usize {
        entries.div_ceil(self.size).max(1)
    }
}
