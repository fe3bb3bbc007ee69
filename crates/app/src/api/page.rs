//! Paging: how many of a list at once, and the opaque word that goes on with it.
//!
//! It must never hold a page's content.

use super::problem::Problem;

/// Rows of a page when nobody says.
const DEFAULT: u32 = 100;

/// The most rows of a page: some hundred KiB of JSON.
const MAX: u32 = 500;

/// Returns how many rows a page has when nobody says.
pub(super) fn limit() -> u32 {
    DEFAULT
}

/// Checks how many rows are asked for.
pub(super) fn checked(limit: u32) -> Result<u32, Problem> {
    if (1..=MAX).contains(&limit) {
        Ok(limit)
    } else {
        Err(Problem::invalid("limit", format!("limit: `{limit}` is not from 1 to {MAX}")))
    }
}

/// Makes the word that goes on behind the last of a full page; a page that is not full is the last one.
pub(super) fn next<T>(rows: &[T], limit: u32, word: impl FnOnce(&T) -> String) -> Option<String> {
    let is_full = u32::try_from(rows.len()).is_ok_and(|it| it >= limit);
    rows.last().filter(|_| is_full).map(word)
}

/// Writes a pair of keys as one word; the first holds no colon.
pub(super) fn of_pair(first: &str, second: &str) -> String {
    format!("{first}:{second}")
}

/// Reads what [`of_pair`] wrote.
pub(super) fn pair(word: &str) -> Result<(String, String), Problem> {
    let pair = word.split_once(':').map(|(first, second)| (first.to_owned(), second.to_owned()));
    pair.ok_or_else(unknown_word)
}

/// A word that no page gave.
pub(super) fn unknown_word() -> Problem {
    Problem::invalid("after", "after: give `next` of the page before")
}
