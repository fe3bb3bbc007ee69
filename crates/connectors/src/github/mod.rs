//! The GitHub connector: repositories, branches and commits over the REST API, and issues, pull requests and what
//! happened to them.
//!
//! Commits are exact by heads, never by dates: git's dates say nothing of when a commit was pushed. It never sends, waits
//! or looks at a clock. Begin with [`GitHub`], then `commits`; the provider's facts are in docs/connectors/github.md.

use domain::census::Census;
use domain::connector::delivery::{Delivery, Received, Rejected, Verified};
use domain::connector::{Connector, Meter, SettingsError, Spec, Step};
use domain::fault::Fault;
use domain::job::Lane;
use domain::page::{Partition, Read, Request, Response};
use domain::source::Settings;
use jiff::Timestamp;
use serde_json::Value;

mod census;
mod commits;
mod delivery;
mod detail;
mod limits;
mod listing;
mod place;
mod tables;
#[cfg(test)]
mod tests;
mod timeline;
mod wire;

use crate::kit;

/// Reads GitHub, and GitHub Enterprise Server under its own base URL.
#[derive(Clone, Copy, Debug)]
pub struct GitHub;

impl Connector for GitHub {
    fn spec(&self) -> &'static Spec {
        &tables::SPEC
    }

    fn roots(&self, source: &Settings) -> Result<Vec<Partition>, SettingsError> {
        Ok(listing::roots(&named(&source.options)?))
    }

    fn step(&self, read: &Read<'_>, got: &[Response]) -> Result<Step, Fault> {
        match read.stream {
            tables::ISSUES_STREAM | tables::PULL_REQUESTS_STREAM if read.lane == Lane::Census => {
                census::step(read, got)
            }
            tables::REPOSITORIES_STREAM => listing::repositories(read, got),
            tables::BRANCHES_STREAM => listing::branches(read, got),
            tables::COMMITS_STREAM => commits::step(read, got),
            tables::ISSUES_STREAM => timeline::issues(read, got),
            tables::PULL_REQUESTS_STREAM => timeline::pull_requests(read, got),
            tables::TIMELINE_EVENTS_STREAM => detail::step(read, got),
            _ => Err(kit::malformed("the connector has no such stream")),
        }
    }

    fn census(&self, stream: &str) -> Option<Census> {
        match stream {
            tables::ISSUES_STREAM => Some(census::ISSUES),
            tables::PULL_REQUESTS_STREAM => Some(census::PULL_REQUESTS),
            _ => None,
        }
    }

    fn meter(&self, _request: &Request, response: &Response) -> Vec<Meter> {
        limits::meter(response)
    }

    fn identify(&self, source: &Settings) -> Option<Request> {
        Some(Request { url: format!("{}/user", source.base_url), bucket: limits::CORE })
    }

    fn owner(&self, response: &Response) -> Result<Option<String>, Fault> {
        kit::owner(limits::check(response), response, &["id"])
    }

    fn verify(&self, secret: &str, delivery: &Delivery<'_>, _now: Timestamp) -> Result<Verified, Rejected> {
        delivery::verify(secret, delivery)
    }

    fn delivers(&self) -> &'static [&'static str] {
        // Each pull request is an issue too.
        &[tables::BRANCHES_STREAM, tables::ISSUES_STREAM]
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

/// Reads the setting `repos`: the names, each once, or none for all that the credential sees.
fn named(options: &Value) -> Result<Vec<&str>, SettingsError> {
    let wrong = |value: String, why: &str| SettingsError {
        setting: tables::REPOS_SETTING,
        value,
        why: why.to_owned(),
    };
    let given = match options.get(tables::REPOS_SETTING) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(given)) => given,
        Some(other) => return Err(wrong(other.to_string(), "is not a list of \"OWNER/NAME\"")),
    };
    let mut names: Vec<&str> = Vec::with_capacity(given.len());
    for value in given {
        let Some(name) = value.as_str() else {
            return Err(wrong(value.to_string(), "is not text; a repository is given as \"OWNER/NAME\""));
        };
        if !is_repository_name(name) {
            let why =
                "is not a repository; it is given as OWNER/NAME, in letters, digits, \"-\", \"_\" and \".\"";
            return Err(wrong(name.to_owned(), why));
        }
        // GitHub's names are the same in either case.
        if !names.iter().any(|it| it.eq_ignore_ascii_case(name)) {
            names.push(name);
        }
    }
    Ok(names)
}

/// Says whether `name` is shaped like `owner/name`, so that nothing else can get into an address.
fn is_repository_name(name: &str) -> bool {
    let of = |part: &str, more: &[u8]| {
        // GitHub allows 39 characters to an owner and 100 to a repository; the larger bound serves other hosts.
        (1..=100).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
    };
    name.split_once('/').is_some_and(|(owner, repository)| {
        of(owner, b"-_") && of(repository, b"-_.") && !matches!(repository, "." | "..")
    })
}

/// Returns GitHub's number of the repository that a partition below one belongs to.
fn repository_id(read: &Read<'_>) -> Result<i64, Fault> {
    read.partition.parse().map_err(|_| kit::malformed("the partition's key is no repository's number"))
}

/// Returns a request that spends the usual budget.
fn request(url: String) -> Request {
    Request { url, bucket: limits::CORE }
}
