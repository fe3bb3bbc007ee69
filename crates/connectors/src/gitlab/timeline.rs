//! Merge requests, read by when they last changed: forward from the moment that a project was found, and back from it in a
//! lane of its own, so that what is new is there before all that is old.
//!
//! Their order moves while it is walked: whatever changes goes to its end. So no page is counted on: each one is asked
//! for from the moment on that the last one ended with, and what stood at that moment comes twice.

use domain::connector::Step;
use domain::fault::Fault;
use domain::job::Lane;
use domain::page::{Next, Page, Read, Response, Wanted};
use jiff::Timestamp;
use serde::Deserialize as _;
use serde_json::json;

use super::listing::{self, PER_PAGE};
use super::tables::NOTES_STREAM;
use super::{Place, cursor, limits, project_id, wire};
use crate::git::{self, OVERLAP};
use crate::kit;

/// Reads the next page of a project's merge requests.
pub(super) fn merge_requests(read: &Read<'_>, got: &[Response]) -> Result<Step, Fault> {
    let id = project_id(read)?;
    let place = match read.cursor {
        None => Place::default(),
        Some(cursor) => Place::deserialize(&cursor.0).map_err(|_| Fault::CursorLost)?,
    };
    if read.lane == Lane::Backfill {
        return older(read, id, place, got);
    }
    let is_first = place.next.is_none();
    // Nothing changed at GitLab before there was one.
    let began = place.began.or(place.since).unwrap_or(Timestamp::UNIX_EPOCH);
    let url = place.next.unwrap_or_else(|| {
        let since = place.since.map(|it| format!("&updated_after={}", kit::escaped(&it.to_string())));
        format!(
            "{}/projects/{id}/merge_requests?per_page={PER_PAGE}&scope=all&state=all&order_by=updated_at&sort=asc{}",
            read.source.base_url,
            since.unwrap_or_default()
        )
    });
    let Some(response) = got.first() else { return Ok(listing::send(url)) };
    limits::check(response)?;
    let mut page = Page::empty(Next::CaughtUp { cursor: None, sweep: None });
    let listed = kit::listed(&response.body, "merge requests")?;
    let is_full = listed.len() >= PER_PAGE;
    let mut newest = place.since;
    for raw in listed {
        let changed = wire::merge_request(raw, &mut page.records)?;
        newest = newest.max(Some(changed.at));
        page.wanted.push(notes_of(read, &changed, response));
    }
    let following = listing::given(&url, response)
        .or_else(|| is_full.then(|| git::page_behind(&url, is_first)).flatten());
    page.next = match following {
        Some(_) if newest > place.since => {
            Next::More(cursor(&Place { since: newest, began: Some(began), ..Place::default() }))
        }
        Some(next) => {
            let (since, began) = (place.since, Some(began));
            Next::More(cursor(&Place { since, began, next: Some(next), ..Place::default() }))
        }
        None => {
            // Never back behind what the sync began with, so that nothing new is no step back.
            let since = newest.map(|it| it.saturating_sub(OVERLAP).unwrap_or(it).max(began));
            let on = |since| cursor(&Place { since: Some(since), ..Place::default() });
            Next::CaughtUp { cursor: since.map(on), sweep: None }
        }
    };
    Ok(Step::Page(page))
}

/// Reads the next page of older merge requests, the newest first. One that changes meanwhile leaves them, and is read
/// forward; none joins them.
fn older(read: &Read<'_>, id: i64, place: Place, got: &[Response]) -> Result<Step, Fault> {
    let is_first = place.next.is_none();
    let url = place.next.unwrap_or_else(|| {
        let until = place.until.map(|it| format!("&updated_before={}", kit::escaped(&it.to_string())));
        format!(
            "{}/projects/{id}/merge_requests?per_page={PER_PAGE}&scope=all&state=all&order_by=updated_at&sort=desc{}",
            read.source.base_url,
            until.unwrap_or_default()
        )
    });
    let Some(response) = got.first() else { return Ok(listing::send(url)) };
    limits::check(response)?;
    let mut page = Page::empty(Next::CaughtUp { cursor: None, sweep: None });
    let listed = kit::listed(&response.body, "merge requests")?;
    let is_full = listed.len() >= PER_PAGE;
    let mut oldest = place.until;
    for raw in listed {
        let changed = wire::merge_request(raw, &mut page.records)?;
        oldest = Some(oldest.map_or(changed.at, |it| it.min(changed.at)));
        // Of what is over, nobody asks what was said, until it changes.
        if changed.is_open {
            page.wanted.push(notes_of(read, &changed, response));
        }
    }
    let following = listing::given(&url, response)
        .or_else(|| is_full.then(|| git::page_behind(&url, is_first)).flatten());
    let on = |next| cursor(&Place { until: oldest, next, ..Place::default() });
    page.next = match following {
        // Not by the link: who leaves the list moves all behind it.
        Some(_) if oldest != place.until => Next::More(on(None)),
        Some(next) => Next::More(on(Some(next))),
        None => Next::CaughtUp { cursor: Some(on(None)), sweep: None },
    };
    Ok(Step::Page(page))
}

/// Wants the notes of a merge request that changed.
fn notes_of(read: &Read<'_>, changed: &wire::Changed, response: &Response) -> Wanted {
    Wanted {
        stream: NOTES_STREAM,
        partition: read.partition.to_owned(),
        key: changed.iid.to_string(),
        version: git::version(changed.at, response),
        base: None,
        args: json!({}),
    }
}
