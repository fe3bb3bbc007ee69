//! Listings page by page: where one stands, and how it goes on.
//!
//! A listing never builds the address of a page that a link names.

use domain::fault::Fault;
use domain::page::{CARE, Cursor, Next, Partition, Read, Response, Sweep, Wanted};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::kit;

/// Named repositories change so rarely that a sync without news need not ask for them: once a day is enough.
const NAMED_REFRESH: SignedDuration = SignedDuration::from_hours(24);

/// Returns the partitions of the repositories that are named, or the one of all that there are, whose key no name has.
pub(crate) fn named_or_all(stream: &'static str, names: &[&str], all: &str) -> Vec<Partition> {
    if names.is_empty() {
        return vec![whole(stream, all, json!({}))];
    }
    let one = |it: &&str| Partition { refresh: Some(NAMED_REFRESH), ..whole(stream, it, json!({})) };
    names.iter().map(one).collect()
}

/// Returns a partition that is read from its start by every sync.
pub(crate) fn whole(stream: &'static str, key: &str, args: Value) -> Partition {
    Partition { stream, key: key.to_owned(), args, start: Vec::new(), refresh: None, shown_at: None }
}

/// What is read of a branch beside its record.
pub(crate) struct Branch {
    pub(crate) name: String,
    pub(crate) head_sha: String,
}

/// Wants the commits of a branch up to its head. A new one may start from what is read of the default branch.
pub(crate) fn wanted(read: &Read<'_>, commits: &'static str, branch: Branch) -> Wanted {
    let default_branch = read.args.get("default_branch").and_then(Value::as_str);
    Wanted {
        stream: commits,
        partition: read.partition.to_owned(),
        base: default_branch.filter(|it| *it != branch.name).map(ToOwned::to_owned),
        key: branch.name,
        version: branch.head_sha,
        args: json!({}),
    }
}

/// What the end of a listing of a repository's branches sweeps: branches that are gone, and the wish for their commits.
pub(crate) fn of_branches(read: &Read<'_>, repository_id: i64, commits: &str) -> Sweep {
    let items = Some(Box::new((commits.to_owned(), read.partition.to_owned())));
    Sweep { owner: Some(repository_id), items, partitions: None }
}

/// Where a listing stands.
#[derive(Deserialize)]
struct Place {
    next: String,
}

/// Returns the address that the cursor names, or that of the first page.
pub(crate) fn here(read: &Read<'_>, first: impl FnOnce() -> String) -> Result<String, Fault> {
    match read.cursor {
        None => Ok(first()),
        Some(cursor) => Place::deserialize(&cursor.0).map(|it| it.next).map_err(|_| Fault::CursorLost),
    }
}

/// Goes on from the page at `url`, the first one or another, whose answer gave an address to go on with or none, else ends
/// the listing.
///
/// A page's validator covers its body, not its links. So where the last page is full, a record added behind it would
/// leave that page unchanged and stay unseen: such a page is followed by the one after it, empty until then.
pub(crate) fn onward(
    (url, is_first): (&str, bool),
    given: Option<String>,
    is_full: bool,
    sweep: Sweep,
) -> Next {
    let behind = || is_full.then(|| page_behind(url, is_first)).flatten();
    match given.or_else(behind) {
        Some(next) => Next::More(Cursor(json!({ "next": next }))),
        None => Next::CaughtUp { cursor: None, sweep: Some(sweep) },
    }
}

/// Returns the address of the page after `url`, where pages are numbered.
pub(crate) fn page_behind(url: &str, is_first: bool) -> Option<String> {
    if let Some(number) = kit::page_number(url) {
        return kit::with_page_number(url, number + 1);
    }
    // Only the first page, whose address is ours, bears no number; another one goes on by a word of the host's.
    is_first.then(|| format!("{url}&page=2"))
}

/// Returns the moment from which changes are asked for that are read with care.
pub(crate) fn with_care(since: Option<Timestamp>) -> Option<Timestamp> {
    since.map(|it| it.saturating_sub(CARE).unwrap_or(it))
}

/// How far behind the newest change the next sync begins, and for how long a change counts as young. Hosts note some
/// changes later than their time, to the second, and may show one later than another that was noted after it.
pub(crate) const OVERLAP: SignedDuration = SignedDuration::from_mins(1);

/// Names the version of something that changed at `updated_at`, as an answer shows it.
///
/// While that time is young, more may happen at the same one. Such a version is of this answer alone, so that the next
/// listing, which begins before it, names another one.
pub(crate) fn version(updated_at: Timestamp, response: &Response) -> String {
    if is_young(updated_at, response) {
        format!("{updated_at}~{}", response.requested_at.as_microsecond())
    } else {
        updated_at.to_string()
    }
}

/// Says whether more may happen at the time of a change, as an answer shows it.
pub(crate) fn is_young(updated_at: Timestamp, response: &Response) -> bool {
    let now = kit::answered_at(&response.headers).unwrap_or(response.requested_at);
    now.duration_since(updated_at) < OVERLAP
}
