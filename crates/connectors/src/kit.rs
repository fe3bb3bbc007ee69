//! Small pure pieces that connectors share: links, header values, JSON without copies, Jira keys.
//!
//! Nothing here knows a provider; what only one provider does belongs in its folder.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use domain::fault::Fault;
use domain::page::{Headers, Record, Response};
use domain::table::Cell;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

mod object;
pub(crate) mod signature;

pub(crate) use self::object::{Object, body_text, listed, malformed, parts};

/// Where a `Link` header leads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Links<'a> {
    /// The address of the following page; absent on the last.
    pub(crate) next: Option<&'a str>,
    /// The address of the last page, where the provider knows it.
    pub(crate) last: Option<&'a str>,
}

/// Reads the `Link` header; what cannot be understood is passed over.
pub(crate) fn links(headers: &Headers) -> Links<'_> {
    let mut links = Links::default();
    let mut rest = headers.get("link").unwrap_or_default();
    // The address is cut out first, because commas and semicolons may stand inside it.
    while let Some((address, after)) =
        rest.split_once('<').and_then(|(_, it)| it.split_once('>')).filter(|(it, _)| !it.is_empty())
    {
        let (parameters, following) = match after.find('<') {
            Some(at) => after.split_at(at),
            None => (after, ""),
        };
        for relation in relations(parameters) {
            let slot = match relation {
                "next" => &mut links.next,
                "last" => &mut links.last,
                _ => continue,
            };
            slot.get_or_insert(address);
        }
        rest = following;
    }
    links
}

/// Reads `; rel="next last"; title=…` into the relations it names.
fn relations(parameters: &str) -> impl Iterator<Item = &str> {
    parameters
        .split([';', ','])
        .filter_map(|it| it.trim().strip_prefix("rel="))
        .flat_map(|it| it.trim_matches('"').split_ascii_whitespace())
}

/// Returns the number in the query parameter `page` of an address, if it has one and it is a number.
pub(crate) fn page_number(url: &str) -> Option<u64> {
    page_digits(url).and_then(|(from, to)| url.get(from..to)?.parse().ok())
}

/// Returns the address with the number in its query parameter `page` replaced.
pub(crate) fn with_page_number(url: &str, number: u64) -> Option<String> {
    let (from, to) = page_digits(url)?;
    Some(format!("{}{number}{}", url.get(..from)?, url.get(to..)?))
}

/// Finds where the digits of the query parameter `page` stand; a value that is no number has none.
fn page_digits(url: &str) -> Option<(usize, usize)> {
    let query = url.find('?')? + 1;
    let mut from = query;
    for parameter in url.get(query..)?.split('&') {
        if let Some(value) = parameter.strip_prefix("page=") {
            let start = from + "page=".len();
            let numeric = !value.is_empty() && value.bytes().all(|it| it.is_ascii_digit());
            return numeric.then_some((start, start + value.len()));
        }
        from += parameter.len() + 1;
    }
    None
}

/// What must be escaped in a path segment or a query value: all but RFC 3986's unreserved characters.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Escapes a value for a path segment or a query value.
pub(crate) fn escaped(value: &str) -> String {
    utf8_percent_encode(value, ESCAPED).to_string()
}

/// Reads who a credential belongs to: the first of these fields that the answer has. A credential that may not ask has no
/// owner to be told of; every other fault is the request's.
pub(crate) fn owner(
    checked: Result<(), Fault>,
    response: &Response,
    fields: &[&str],
) -> Result<Option<String>, Fault> {
    match checked {
        Err(Fault::Denied | Fault::Gone) => return Ok(None),
        checked => checked?,
    }
    let body: Value = serde_json::from_slice(&response.body).map_err(|_| malformed("the owner: no JSON"))?;
    let named = fields.iter().find_map(|field| match body.get(field)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    });
    Ok(named)
}

/// Returns how long `retry-after` asks to wait, where it counts seconds; anything else is ignored.
pub(crate) fn retry_after(headers: &Headers) -> Option<Duration> {
    count(headers, "retry-after").map(Duration::from_secs)
}

/// Returns the header `name` as a count; anything but a number is ignored.
pub(crate) fn count(headers: &Headers, name: &str) -> Option<u64> {
    headers.get(name)?.trim().parse().ok()
}

/// Returns the header `name`, seconds since 1970, as an instant; what is no instant is ignored.
pub(crate) fn epoch_seconds(headers: &Headers, name: &str) -> Option<Timestamp> {
    Timestamp::from_second(headers.get(name)?.trim().parse().ok()?).ok()
}

/// Returns when the provider says that it answered, by its own clock.
pub(crate) fn answered_at(headers: &Headers) -> Option<Timestamp> {
    DateTimeParser::new().parse_timestamp(headers.get("date")?).ok()
}

/// Returns the instant `wait` after `from`, or the last one there is.
pub(crate) fn later(from: Timestamp, wait: Duration) -> Timestamp {
    from.checked_add(wait).unwrap_or(Timestamp::MAX)
}

/// Returns what stands in a record's column `name`.
fn cell<'a>(record: &'a Record, name: &str) -> Option<&'a Cell> {
    record.cells.get(record.table.columns.iter().position(|it| it.name == name)?)
}

/// Returns the number that stands in a record's column `name`.
pub(crate) fn integer(record: &Record, name: &str) -> Option<i64> {
    if let Cell::Integer(it) = cell(record, name)? { Some(*it) } else { None }
}

/// Returns the moment that stands in a record's column `name`.
pub(crate) fn timestamp(record: &Record, name: &str) -> Option<Timestamp> {
    if let Cell::Timestamp(it) = cell(record, name)? { Some(*it) } else { None }
}

/// What is wrong with a JSON document, without quoting it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotJson;

/// Reads the elements of a JSON array in one pass: each as a `T`, with the part of `text` that it was read from.
///
/// An element that is JSON but no `T` is given as `None`, so that one odd element does not cost the others.
pub(crate) fn elements<'a, T: Deserialize<'a>>(
    text: &'a str,
    mut each: impl FnMut(&'a str, Option<T>),
) -> Result<(), NotJson> {
    let mut rest = text.trim_ascii_start().strip_prefix('[').ok_or(NotJson)?.trim_ascii_start();
    if let Some(after) = rest.strip_prefix(']') {
        return ended(after);
    }
    loop {
        let (raw, element) = first_value(rest)?;
        each(raw, element);
        rest = rest.get(raw.len()..).unwrap_or_default().trim_ascii_start();
        if let Some(after) = rest.strip_prefix(']') {
            return ended(after);
        }
        rest = rest.strip_prefix(',').ok_or(NotJson)?.trim_ascii_start();
    }
}

fn ended(rest: &str) -> Result<(), NotJson> {
    if rest.trim_ascii().is_empty() { Ok(()) } else { Err(NotJson) }
}

/// Reads the value that `text` begins with.
fn first_value<'a, T: Deserialize<'a>>(text: &'a str) -> Result<(&'a str, Option<T>), NotJson> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<T>();
    if let Some(Ok(value)) = values.next() {
        let raw = text.get(..values.byte_offset()).ok_or(NotJson)?;
        return Ok((raw, Some(value)));
    }
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&'a RawValue>();
    match values.next() {
        Some(Ok(raw)) => Ok((raw.get(), None)),
        _ => Err(NotJson),
    }
}

/// Returns the members of a JSON object, each as it stands; `None` for anything else.
pub(crate) fn members(text: &str) -> Option<HashMap<Cow<'_, str>, &RawValue>> {
    serde_json::from_str(text).ok()
}

/// Returns the body as text; a body that is not UTF-8 is no JSON.
pub(crate) fn text(body: &Bytes) -> Result<&str, NotJson> {
    std::str::from_utf8(body).map_err(|_| NotJson)
}

/// Finds the Jira keys in the first line of `text`: distinct, in their order.
///
/// A key is a capital, at least one more capital or digit, a hyphen and digits, standing for itself.
pub(crate) fn jira_keys(text: &str) -> Vec<&str> {
    let line = text.lines().next().unwrap_or_default();
    let bytes = line.as_bytes();
    let mut keys = Vec::new();
    let mut at = 0;
    while let Some(hyphen) = bytes.get(at..).and_then(|it| it.iter().position(|b| *b == b'-')) {
        let hyphen = at + hyphen;
        at = hyphen + 1;
        if let Some(key) = jira_key_around(line, hyphen)
            && !keys.contains(&key)
        {
            keys.push(key);
        }
    }
    keys
}

/// Returns the key whose hyphen stands at `hyphen`.
fn jira_key_around(line: &str, hyphen: usize) -> Option<&str> {
    let (before, after) = (line.get(..hyphen)?, line.get(hyphen + 1..)?);
    let project = before.bytes().rev().take_while(|b| b.is_ascii_uppercase() || b.is_ascii_digit()).count();
    let number = after.bytes().take_while(u8::is_ascii_digit).count();
    let from = hyphen - project;
    let starts_with_capital = line.as_bytes().get(from).is_some_and(u8::is_ascii_uppercase);
    let joined = |it: char| it.is_alphanumeric() || it == '_';
    let stands_alone = !before.get(..from)?.ends_with(joined) && !after.get(number..)?.starts_with(joined);
    if project < 2 || number == 0 || !starts_with_capital || !stands_alone {
        return None;
    }
    line.get(from..=hyphen + number)
}

#[cfg(test)]
mod tests;
