//! The parameters of a request, from its query or its body, with the limits that Jira sets.
//! Must never guess: what Jira refuses is refused.

use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::answer::Answer;

/// What Jira says to a body that it cannot use, whatever is wrong with it.
const BAD_PAYLOAD: &str = "Invalid request payload. Refer to the REST API documentation and try again.";

/// Reads a body, or refuses it as Jira does.
pub(crate) fn body<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Answer> {
    serde_json::from_slice(body).map_err(|_| Answer::refusal(400, BAD_PAYLOAD))
}

/// A query, as it was written.
#[derive(Clone, Copy)]
pub(crate) struct Query<'a>(pub(crate) &'a str);

impl Query<'_> {
    /// Reads every value of a key; a comma separates values, too.
    pub(crate) fn list(&self, key: &str) -> Option<Vec<String>> {
        let mut found = None::<Vec<String>>;
        for value in self.values(key) {
            let parts = value.split(',').map(str::trim).filter(|it| !it.is_empty()).map(str::to_owned);
            found.get_or_insert_default().extend(parts);
        }
        found
    }

    /// Reads the first value of a key; an empty one counts as absent.
    pub(crate) fn get(&self, key: &str) -> Option<String> {
        self.values(key).next().filter(|it| !it.is_empty())
    }

    fn values(&self, key: &str) -> impl Iterator<Item = String> {
        let parts = self.0.split('&').filter_map(|part| part.split_once('='));
        parts.filter(move |(name, _)| decode(name) == key).map(|(_, value)| decode(value))
    }

    /// Reads a number from 0, or refuses what is none.
    pub(crate) fn number(&self, key: &str) -> Result<Option<usize>, Answer> {
        let Some(text) = self.get(key) else { return Ok(None) };
        let refuse =
            |_| Answer::refusal(400, &format!("The value '{text}' of '{key}' is not a valid number."));
        text.parse().map(Some).map_err(refuse)
    }
}

/// In a query a plus stands for a space, as in a form.
fn decode(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

/// Which part of a list is asked for by offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// Where it begins.
    pub(crate) start: usize,
    /// How many at most.
    pub(crate) max: usize,
}

impl Span {
    /// Reads `startAt` and `maxResults`, with what is taken when nothing is asked for and what is given at most.
    pub(crate) fn read(query: Query<'_>, default: usize, most: usize) -> Result<Self, Answer> {
        let (start, max) = (query.number("startAt")?, query.number("maxResults")?);
        Ok(Self::new(start, max, default, most))
    }

    /// Applies the limits.
    pub(crate) fn new(start: Option<usize>, max: Option<usize>, default: usize, most: usize) -> Self {
        Self { start: start.unwrap_or(0), max: max.unwrap_or(default).min(most) }
    }

    /// Cuts the part out of a list.
    pub(crate) fn of<T>(self, list: &[T]) -> &[T] {
        let start = self.start.min(list.len());
        &list[start..(start.saturating_add(self.max)).min(list.len())]
    }

    /// Tells whether nothing follows it.
    pub(crate) fn is_last(self, total: usize) -> bool {
        self.start.saturating_add(self.max) >= total
    }
}

#[cfg(test)]
mod tests {
    use super::{Query, Span};

    #[test]
    fn values_are_decoded_and_lists_may_repeat() {
        let query = Query("jql=project+%3D+PAY&fields=id,key&fields=summary&empty=&maxResults=7");
        assert_eq!(query.get("jql").as_deref(), Some("project = PAY"));
        assert_eq!(query.list("fields").unwrap(), ["id", "key", "summary"]);
        assert_eq!((query.get("empty"), query.list("none")), (None, None));
        assert_eq!(query.number("maxResults").unwrap(), Some(7));
        assert_eq!(Query("maxResults=x").number("maxResults").unwrap_err().status, 400);
    }

    #[test]
    fn a_span_never_leaves_its_list() {
        let list = [1, 2, 3];
        for (start, max, expect, last) in
            [(0, 2, &list[..2], false), (2, 2, &list[2..], true), (9, 2, &[][..], true)]
        {
            let span = Span { start, max };
            assert_eq!((span.of(&list), span.is_last(list.len())), (expect, last));
        }
    }
}
