//! Where the reading of issues, pull requests and timelines stands, and which partitions of them a repository has.
//!
//! Nothing here reads an answer's body.

use domain::fault::Fault;
use domain::job::Lane;
use domain::page::{Cursor, Partition, Read, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::tables::{ISSUES_STREAM, PULL_REQUESTS_STREAM, TIMELINE_EVENTS_STREAM};
use crate::git::{self, OVERLAP};
use crate::kit;

/// Where a list stands that is read by when its entries changed, or page by page.
#[derive(Clone, Default, Deserialize, Serialize)]
pub(super) struct Place {
    /// The moment from which changes are asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) since: Option<Timestamp>,
    /// The moment that the sync under way began with; nothing changed at GitHub before there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) began: Option<Timestamp>,
    /// The moment from which on another lane reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) until: Option<Timestamp>,
    /// The newest change that the sync under way has seen, where it reads from the newest back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) newest: Option<Timestamp>,
    /// The next page, as its link was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
    /// Whether the lane waits for its next turn: what it would read is being read by another one.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) idle: bool,
}

impl Place {
    /// Reads the cursor; none is the beginning.
    pub(super) fn of(read: &Read<'_>) -> Result<Self, Fault> {
        let Some(cursor) = read.cursor else { return Ok(Self::default()) };
        let place = Self::deserialize(&cursor.0).map_err(|_| Fault::CursorLost)?;
        let rests = read.lane == Lane::Forward && place.began.is_none() && place.next.is_none();
        let since = if read.careful && rests { git::with_care(place.since) } else { place.since };
        Ok(Self { since, ..place })
    }

    /// Makes the cursor of a place.
    pub(super) fn cursor(&self) -> Cursor {
        // Moments and text always make a JSON value; should that ever change, all is read anew and nothing is lost.
        Cursor(serde_json::to_value(self).unwrap_or_default())
    }
}

/// Returns the partitions of a repository's issues, pull requests and timelines, found by this answer.
///
/// What changes from then on is read forward, beginning a little before; what is older by a backfill, in its own time. An
/// answer that does not say when it was given has all read forward.
pub(super) fn partitions(read: &Read<'_>, response: &Response, has_issues: bool) -> Vec<Partition> {
    // A clock that is ahead, of GitHub's or of what stands before it, must not hide what changes meanwhile.
    let at = kit::answered_at(&response.headers).map(|it| it.min(response.requested_at));
    let since = at.map(|it| it.saturating_sub(OVERLAP).unwrap_or(it));
    let args = json!({
        "id": read.args.get("id"),
        "full_name": read.args.get("full_name"),
        "issues": has_issues,
    });
    let forward = Place { since, ..Place::default() }.cursor();
    let lanes = |stream: &str| -> Vec<(Lane, Cursor)> {
        if at.is_none() {
            return Vec::new();
        }
        let older = Place { until: at, ..Place::default() }.cursor();
        match stream {
            ISSUES_STREAM => vec![(Lane::Forward, forward.clone()), (Lane::Backfill, older)],
            PULL_REQUESTS_STREAM => {
                // The backfill reads the open ones too, so there is nothing to read again at first.
                let reread = Place { idle: true, ..Place::default() }.cursor();
                vec![(Lane::Forward, forward.clone()), (Lane::Backfill, older), (Lane::Reread, reread)]
            }
            _ => vec![(Lane::Backfill, Cursor(json!({})))],
        }
    };
    let streams = [ISSUES_STREAM, PULL_REQUESTS_STREAM, TIMELINE_EVENTS_STREAM];
    let offered = streams.into_iter().filter(|it| has_issues || *it != ISSUES_STREAM);
    offered.map(|it| Partition { start: lanes(it), ..git::whole(it, read.partition, args.clone()) }).collect()
}

/// Says whether the repository of a partition can have issues.
pub(super) fn has_issues(read: &Read<'_>) -> bool {
    read.args.get("issues") != Some(&Value::Bool(false))
}

/// Returns the address that an answer comes from, where that does not end in the path `own` that was asked for: what it
/// is of was transferred.
pub(super) fn elsewhere<'a>(answer: &'a Response, own: &str) -> Option<&'a str> {
    let address = answer.url.split('?').next().unwrap_or_default();
    (!address.is_empty() && !address.ends_with(own)).then_some(address)
}
