//! Merge requests, read by when they last changed.
//!
//! Their order moves while it is walked: whatever changes goes to its end. So no page is counted on: each one is asked
//! for from the moment on that the last one ended with, and what stood at that moment comes twice.

use domain::connector::Step;
use domain::fault::Fault;
use domain::page::{Cursor, Next, Page, Read, Response};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::listing::{self, PER_PAGE};
use super::{limits, project_id, wire};
use crate::{git, kit};

/// How far behind the newest change the next sync begins. GitLab notes that something was merged up to some seconds
/// after it noted the change, and a change may be seen later than another that was noted after it.
const OVERLAP: SignedDuration = SignedDuration::from_mins(1);

/// Where the reading stands.
#[derive(Default, Deserialize, Serialize)]
struct Place {
    /// The moment from which changes are asked for.
    since: Option<Timestamp>,
    /// The moment that the sync under way began with.
    #[serde(skip_serializing_if = "Option::is_none")]
    began: Option<Timestamp>,
    /// The next page of those changes, where more than one page of them fell on one moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Reads the next page of a project's merge requests.
pub(super) fn merge_requests(read: &Read<'_>, got: &[Response]) -> Result<Step, Fault> {
    let id = project_id(read)?;
    let place = match read.cursor {
        None => Place::default(),
        Some(cursor) => Place::deserialize(&cursor.0).map_err(|_| Fault::CursorLost)?,
    };
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
        newest = newest.max(Some(wire::merge_request(raw, &mut page.records)?));
    }
    let following = listing::given(&url, response)
        .or_else(|| is_full.then(|| git::page_behind(&url, is_first)).flatten());
    page.next = match following {
        Some(_) if newest > place.since => {
            Next::More(cursor(&Place { since: newest, began: Some(began), next: None }))
        }
        Some(next) => Next::More(cursor(&Place { since: place.since, began: Some(began), next: Some(next) })),
        None => {
            // Never back behind what the sync began with, so that nothing new is no step back.
            let since = newest.map(|it| it.saturating_sub(OVERLAP).unwrap_or(it).max(began));
            let on = |since| cursor(&Place { since: Some(since), began: None, next: None });
            Next::CaughtUp { cursor: since.map(on), sweep: None }
        }
    };
    Ok(Step::Page(page))
}

fn cursor(place: &Place) -> Cursor {
    // A moment and text always make a JSON value; should that ever change, all is read anew and nothing is lost.
    Cursor(serde_json::to_value(place).unwrap_or_default())
}
