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
    let rests = place.next.is_none() && place.began.is_none();
    let since = if read.careful && rests { git::with_care(place.since) } else { place.since };
    let place = Place { since, ..place };
    // Nothing changed at GitLab before there was one.
    let began = place.began.or(place.since).unwrap_or(Timestamp::UNIX_EPOCH);
    let from = Order { by: "updated_at&sort=asc", bound: "updated_after", at: place.since };
    let at = Sheet::new(read, id, place.next, from);
    let Some(response) = got.first() else { return Ok(listing::send(at.url)) };
    let Listed { mut page, changed, following } = at.read(response)?;
    let newest = changed.iter().map(|it| it.at).max().max(place.since);
    page.wanted.extend(changed.iter().map(|it| notes_of(read, it, response)));
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
    let until = Order { by: "updated_at&sort=desc", bound: "updated_before", at: place.until };
    let at = Sheet::new(read, id, place.next, until);
    let Some(response) = got.first() else { return Ok(listing::send(at.url)) };
    let Listed { mut page, changed, following } = at.read(response)?;
    let oldest = changed.iter().map(|it| it.at).chain(place.until).min();
    // Of what is over, nobody asks what was said, until it changes.
    let open = changed.iter().filter(|it| it.is_open);
    page.wanted.extend(open.map(|it| notes_of(read, it, response)));
    let on = |next| cursor(&Place { until: oldest, next, ..Place::default() });
    page.next = match following {
        // Not by the link: who leaves the list moves all behind it.
        Some(_) if oldest != place.until => Next::More(on(None)),
        Some(next) => Next::More(on(Some(next))),
        None => Next::CaughtUp { cursor: Some(on(None)), sweep: None },
    };
    Ok(Step::Page(page))
}

/// In which order merge requests are asked for, and from which moment on.
#[derive(Clone, Copy)]
pub(super) struct Order {
    /// What they are sorted by.
    pub(super) by: &'static str,
    /// The parameter that bounds them.
    pub(super) bound: &'static str,
    /// Its moment; none asks for all.
    pub(super) at: Option<Timestamp>,
}

/// A page of a project's merge requests that is to be asked for.
pub(super) struct Sheet {
    pub(super) url: String,
    is_first: bool,
}

/// What such a page says.
pub(super) struct Listed {
    /// The page with the records of them, and nothing else yet.
    pub(super) page: Page,
    pub(super) changed: Vec<wire::Changed>,
    /// The address of the page behind it, where there is one.
    pub(super) following: Option<String>,
}

impl Sheet {
    /// The page at `next`, or the first one in this order.
    pub(super) fn new(read: &Read<'_>, project: i64, next: Option<String>, order: Order) -> Self {
        let is_first = next.is_none();
        let first = || {
            let Order { by, bound, at } = order;
            let bound = at.map(|it| format!("&{bound}={}", kit::escaped(&it.to_string())));
            format!(
                "{}/projects/{project}/merge_requests?per_page={PER_PAGE}&scope=all&state=all&order_by={by}{}",
                read.source.base_url,
                bound.unwrap_or_default()
            )
        };
        Self { url: next.unwrap_or_else(first), is_first }
    }

    /// Reads its answer.
    pub(super) fn read(&self, response: &Response) -> Result<Listed, Fault> {
        limits::check(response)?;
        let mut page = Page::empty(Next::CaughtUp { cursor: None, sweep: None });
        let listed = kit::listed(&response.body, "merge requests")?;
        let is_full = listed.len() >= PER_PAGE;
        let mut changed = Vec::with_capacity(listed.len());
        for raw in listed {
            changed.push(wire::merge_request(raw, &mut page.records)?);
        }
        let behind = || is_full.then(|| git::page_behind(&self.url, self.is_first)).flatten();
        let following = listing::given(&self.url, response).or_else(behind);
        Ok(Listed { page, changed, following })
    }
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
