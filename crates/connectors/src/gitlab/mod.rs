//! The GitLab connector: projects, branches, commits, merge requests and their notes over the REST API, version 4.
//!
//! Commits are exact by heads, never by dates: git's dates say nothing of when a commit was pushed. It never sends, waits
//! or looks at a clock. Begin with [`GitLab`], then `commits`; the provider's facts are in docs/connectors/gitlab.md.

use domain::census::Census;
use domain::connector::delivery::{Delivery, Received, Rejected, Verified};
use domain::connector::{Connector, Meter, SettingsError, Spec, Step};
use domain::fault::Fault;
use domain::job::Lane;
use domain::page::{Cursor, Partition, Read, Request, Response};
use domain::source::Settings;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

mod census;
mod commits;
mod delivery;
mod detail;
mod limits;
mod listing;
mod tables;
#[cfg(test)]
mod tests;
mod timeline;
mod wire;

use crate::git::OVERLAP;
use crate::kit;

/// Reads gitlab.com, and self-managed GitLab under its own base URL.
#[derive(Clone, Copy, Debug)]
pub struct GitLab;

impl Connector for GitLab {
    fn spec(&self) -> &'static Spec {
        &tables::SPEC
    }

    fn roots(&self, source: &Settings) -> Result<Vec<Partition>, SettingsError> {
        if !source.base_url.ends_with(API) {
            return Err(SettingsError {
                setting: "base-url",
                value: source.base_url.clone(),
                why: format!("does not end in {API}, as the root of GitLab's API does: https://HOST{API}"),
            });
        }
        Ok(listing::roots(&named(&source.options)?))
    }

    fn step(&self, read: &Read<'_>, got: &[Response]) -> Result<Step, Fault> {
        match read.stream {
            tables::MERGE_REQUESTS_STREAM if read.lane == Lane::Census => census::merge_requests(read, got),
            tables::PROJECTS_STREAM => listing::projects(read, got),
            tables::BRANCHES_STREAM => listing::branches(read, got),
            tables::COMMITS_STREAM => commits::step(read, got),
            tables::MERGE_REQUESTS_STREAM => timeline::merge_requests(read, got),
            tables::NOTES_STREAM => detail::step(read, got),
            _ => Err(kit::malformed("the connector has no such stream")),
        }
    }

    fn census(&self, stream: &str) -> Option<Census> {
        (stream == tables::MERGE_REQUESTS_STREAM).then_some(census::MERGE_REQUESTS)
    }

    fn meter(&self, _request: &Request, response: &Response) -> Vec<Meter> {
        limits::meter(response)
    }

    fn identify(&self, source: &Settings) -> Option<Request> {
        Some(Request { url: format!("{}/user", source.base_url), bucket: limits::API_REQUESTS })
    }

    fn owner(&self, response: &Response) -> Result<Option<String>, Fault> {
        kit::owner(limits::check(response), response, &["id"])
    }

    fn verify(&self, secret: &str, delivery: &Delivery<'_>, now: Timestamp) -> Result<Verified, Rejected> {
        delivery::verify(secret, delivery, now)
    }

    fn delivers(&self) -> &'static [&'static str] {
        &[tables::BRANCHES_STREAM, tables::MERGE_REQUESTS_STREAM]
    }

    fn receive(
        &self,
        verified: &Verified,
        delivery: &Delivery<'_>,
        _now: Timestamp,
    ) -> Result<Received, Rejected> {
        delivery::receive(verified.event.as_deref().unwrap_or("unknown"), delivery)
    }
}

/// What the root of the API ends in, at every GitLab.
const API: &str = "/api/v4";

/// Reads the setting `projects`: the paths, each once, or none for all that the credential is a member of.
fn named(options: &Value) -> Result<Vec<&str>, SettingsError> {
    let wrong = |value: String, why: &str| SettingsError {
        setting: tables::PROJECTS_SETTING,
        value,
        why: why.to_owned(),
    };
    let given = match options.get(tables::PROJECTS_SETTING) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(given)) => given,
        Some(other) => return Err(wrong(other.to_string(), "is not a list of \"GROUP/PROJECT\"")),
    };
    let mut paths: Vec<&str> = Vec::with_capacity(given.len());
    for value in given {
        let Some(path) = value.as_str() else {
            return Err(wrong(value.to_string(), "is not text; a project is given as \"GROUP/PROJECT\""));
        };
        if !is_project_path(path) {
            let why = "is not a project's path; it is given as GROUP/PROJECT or GROUP/SUBGROUP/PROJECT, in letters, \
                       digits, \"-\", \"_\" and \".\"";
            return Err(wrong(path.to_owned(), why));
        }
        // GitLab's paths are the same in either case.
        if !paths.iter().any(|it| it.eq_ignore_ascii_case(path)) {
            paths.push(path);
        }
    }
    Ok(paths)
}

/// Says whether `path` is shaped like a project's full path, so that nothing else can get into an address.
fn is_project_path(path: &str) -> bool {
    let fits = |part: &str| {
        // 255 bytes are the most that GitLab stores of one.
        (1..=255).contains(&part.len())
            && part.chars().all(|it| it.is_alphanumeric() || matches!(it, '-' | '_' | '.'))
            && !part.starts_with(['-', '.'])
    };
    // A project in twenty groups inside one another is the deepest there is.
    (2..=21).contains(&path.split('/').count()) && path.split('/').all(fits)
}

/// Returns GitLab's number of the project that a partition of branches, commits or merge requests belongs to.
fn project_id(read: &Read<'_>) -> Result<i64, Fault> {
    read.partition.parse().map_err(|_| kit::malformed("the partition's key is no project's number"))
}

/// Returns a request; all of them spend the same budget.
fn request(url: String) -> Request {
    Request { url, bucket: limits::API_REQUESTS }
}

/// Where the reading of merge requests stands.
#[derive(Default, Deserialize, Serialize)]
struct Place {
    /// The moment from which changes are asked for.
    since: Option<Timestamp>,
    /// The moment that the sync under way began with.
    #[serde(skip_serializing_if = "Option::is_none")]
    began: Option<Timestamp>,
    /// The moment up to which changes are asked for, going back.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    /// The next page of those changes, where more than one page of them fell on one moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Returns where the lanes of a project begin that was found by this answer: forward a little before it was given, and
/// back from then. None where it does not say when that was: all is then read forward.
fn lanes(response: &Response) -> Vec<(Lane, Cursor)> {
    // A clock that is ahead, of GitLab's or of what stands before it, must not hide what changes meanwhile.
    let Some(at) = kit::answered_at(&response.headers).map(|it| it.min(response.requested_at)) else {
        return Vec::new();
    };
    let since = at.saturating_sub(OVERLAP).unwrap_or(at);
    vec![
        (Lane::Forward, cursor(&Place { since: Some(since), ..Place::default() })),
        (Lane::Backfill, cursor(&Place { until: Some(at), ..Place::default() })),
    ]
}

/// Makes the cursor of a place.
fn cursor(place: &Place) -> Cursor {
    // A moment and text always make a JSON value; should that ever change, all is read anew and nothing is lost.
    Cursor(serde_json::to_value(place).unwrap_or_default())
}
