//! Issues and pull requests, read by when they last changed: forward from the moment that a repository was found, and all
//! that is older in a lane of its own.
//!
//! The order of what changes moves while it is walked, so no page is counted on: issues are asked for from the moment on
//! that the last page ended with, and pull requests, which GitHub does not give since a moment, from the newest back to
//! what is known.
//!
//! A sync without news is one page that says the same as the last time, so it is asked for only if it changed; but not while
//! something in it is so young that more may happen at its time. Begin with [`issues`].

use domain::connector::Step;
use domain::fault::Fault;
use domain::job::Lane;
use domain::page::{Cursor, Next, Page, Read, Response, Wanted};
use jiff::Timestamp;
use serde_json::json;

use super::listing::{PER_PAGE, send};
use super::place::{Place, has_issues};
use super::tables::TIMELINE_EVENTS_STREAM;
use super::{limits, repository_id, wire};
use crate::git::{self, OVERLAP};
use crate::kit;

/// Reads the next page of a repository's issues, which pull requests are among, in the order in which they changed.
pub(super) fn issues(read: &Read<'_>, got: &[Response]) -> Result<Step, Fault> {
    let id = repository_id(read)?;
    let place = Place::of(read)?;
    let url = place.next.clone().unwrap_or_else(|| {
        let since = place.since.map(|it| format!("&since={}", kit::escaped(&it.to_string())));
        format!(
            "{}/repositories/{id}/issues?state=all&sort=updated&direction=asc&per_page={PER_PAGE}{}",
            read.source.base_url,
            since.unwrap_or_default()
        )
    });
    let Some(response) = got.first() else { return Ok(send(url)) };
    limits::check(response)?;
    let mut page = Page::empty(Next::CaughtUp { cursor: None, sweep: None });
    let listed = kit::listed(&response.body, "issues")?;
    // What comes behind a full page leaves that as it is.
    let is_whole = place.began.is_none() && listed.len() < PER_PAGE;
    let (mut newest, mut any_young) = (place.since, false);
    for raw in listed {
        let changed = wire::issue(id, raw, &mut page.records)?;
        newest = newest.max(Some(changed.at));
        any_young |= git::is_young(changed.at, response);
        if read.lane == Lane::Forward {
            page.wanted.push(wanted(read, &changed, response));
        }
    }
    let next = kit::links(&response.headers).next.map(ToOwned::to_owned);
    // Nothing changed at GitHub before there was one.
    let began = Some(place.began.or(place.since).unwrap_or(Timestamp::UNIX_EPOCH));
    // What the other lane reads from there on.
    let reached = place.until.is_some_and(|until| newest.is_some_and(|it| it >= until));
    page.next = match next.filter(|_| !reached) {
        Some(_) if newest > place.since => {
            Next::More(Place { since: newest, began, until: place.until, ..Place::default() }.cursor())
        }
        // More than a page of one second.
        Some(next) => Next::More(Place { next: Some(next), began, ..place }.cursor()),
        None => {
            let cursor = resting(newest, began);
            page.settled = is_whole && !any_young && cursor.as_ref() == read.cursor;
            Next::CaughtUp { cursor, sweep: None }
        }
    };
    Ok(Step::Page(page))
}

/// Returns where the next sync begins: a little before the newest change, but never before where this one did, so that
/// nothing new is no step back.
fn resting(newest: Option<Timestamp>, began: Option<Timestamp>) -> Option<Cursor> {
    let since = newest.map(|it| Some(it.saturating_sub(OVERLAP).unwrap_or(it)).max(began));
    since.map(|since| Place { since, ..Place::default() }.cursor())
}

/// Wants the timeline of what changed.
fn wanted(read: &Read<'_>, changed: &wire::Changed, response: &Response) -> Wanted {
    Wanted {
        stream: TIMELINE_EVENTS_STREAM,
        partition: read.partition.to_owned(),
        key: changed.number.to_string(),
        version: git::version(changed.at, response),
        base: None,
        args: json!({}),
    }
}

/// Reads the next page of a repository's pull requests: forward those that changed, the newest first, until what is
/// known; in a backfill all of them, in the order of their making; and again and again the open ones, because not all that
/// happens to them changes their time.
pub(super) fn pull_requests(read: &Read<'_>, got: &[Response]) -> Result<Step, Fault> {
    let id = repository_id(read)?;
    let place = Place::of(read)?;
    if read.lane == Lane::Reread && place.idle {
        return Ok(Step::Page(Page::empty(all_read())));
    }
    let chosen = match read.lane {
        Lane::Forward => "state=all&sort=updated&direction=desc",
        Lane::Reread => "state=open&sort=created&direction=asc",
        Lane::Backfill | Lane::Census => "state=all&sort=created&direction=asc",
    };
    let url = place.next.clone().unwrap_or_else(|| {
        format!("{}/repositories/{id}/pulls?{chosen}&per_page={PER_PAGE}", read.source.base_url)
    });
    let Some(response) = got.first() else { return Ok(send(url)) };
    limits::check(response)?;
    let mut page = Page::empty(Next::CaughtUp { cursor: None, sweep: None });
    let is_first = place.next.is_none();
    let (mut newest, mut oldest, mut any_young) = (place.newest, None, false);
    for raw in kit::listed(&response.body, "pull requests")? {
        let changed = wire::pull_request(id, raw, &mut page.records)?;
        newest = newest.max(Some(changed.at));
        oldest = Some(oldest.map_or(changed.at, |it: Timestamp| it.min(changed.at)));
        // Where there are no issues, nothing else says that a pull request changed.
        if read.lane == Lane::Forward && !has_issues(read) {
            any_young |= git::is_young(changed.at, response);
            page.wanted.push(wanted(read, &changed, response));
        }
    }
    let next = kit::links(&response.headers).next.map(ToOwned::to_owned);
    page.next = match (read.lane, next) {
        (Lane::Forward, next) => {
            let known = place.since.is_some_and(|since| oldest.is_none_or(|it| it < since));
            if let Some(next) = next.filter(|_| !known) {
                Next::More(Place { newest, next: Some(next), ..place }.cursor())
            } else {
                page.settled = is_first && !any_young;
                Next::CaughtUp { cursor: resting(newest.max(place.since), place.since), sweep: None }
            }
        }
        (_, Some(next)) => Next::More(Place { next: Some(next), ..place }.cursor()),
        (_, None) => all_read(),
    };
    Ok(Step::Page(page))
}

/// Ends a lane that begins at its start when it is read again.
fn all_read() -> Next {
    Next::CaughtUp { cursor: Some(Place::default().cursor()), sweep: None }
}
