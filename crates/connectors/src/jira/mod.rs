//! The Jira connector: boards, their sprints, and the cards of active sprints with all that happened to them.
//!
//! One connector for Jira Cloud and Jira Data Center; which one answers is learned. It never sends, waits or looks at a
//! clock. Begin with [`Jira`], then `jira`; the provider's facts are in docs/connectors/jira.md.

use domain::census::Census;
use domain::connector::delivery::{Delivery, Received, Rejected, Verified};
use domain::connector::{Connector, Meter, SettingsError, Spec, Step};
use domain::fault::Fault;
use domain::job::Lane;
use domain::page::{Partition, Read, Request, Response};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde_json::Value;

mod account;
mod census;
mod delivery;
#[expect(
    clippy::module_inception,
    reason = "a stream group's file has its name, and this group has the provider's"
)]
mod jira;
mod limits;
mod listing;
mod tables;
#[cfg(test)]
mod tests;
mod time;
mod wire;

use crate::kit;

/// Reads Jira Cloud and Jira Data Center.
#[derive(Clone, Copy, Debug)]
pub struct Jira;

impl Connector for Jira {
    fn spec(&self) -> &'static Spec {
        &tables::SPEC
    }

    fn roots(&self, source: &domain::source::Settings) -> Result<Vec<Partition>, SettingsError> {
        let settings = Settings::read(&source.options)?;
        if settings.email.is_none() && is_cloud(&source.base_url) {
            let why = "is Jira Cloud, which takes a token only together with the address of its account: add \
                       --email ME@EXAMPLE.COM";
            return Err(wrong(tables::EMAIL_SETTING, source.base_url.clone(), why));
        }
        Ok(listing::roots(&settings))
    }

    fn step(&self, read: &Read<'_>, got: &[Response]) -> Result<Step, Fault> {
        match read.stream {
            tables::BOARDS_STREAM => listing::boards(read, got),
            tables::SPRINTS_STREAM => listing::sprints(read, got),
            tables::ISSUES_STREAM if read.lane == Lane::Census => census::issues(read, got),
            tables::ISSUES_STREAM => jira::issues(read, got),
            tables::CARDS_STREAM => jira::cards(read, got),
            _ => Err(kit::malformed("the connector has no such stream")),
        }
    }

    fn census(&self, stream: &str) -> Option<Census> {
        (stream == tables::ISSUES_STREAM).then_some(census::ISSUES)
    }

    fn meter(&self, request: &Request, response: &Response) -> Vec<Meter> {
        limits::meter(request, response)
    }

    fn identify(&self, source: &domain::source::Settings) -> Option<Request> {
        Some(limits::request(format!("{}/rest/api/2/myself", source.base_url), limits::OTHER))
    }

    fn owner(&self, response: &Response) -> Result<Option<String>, Fault> {
        kit::owner(limits::check(response), response, &["accountId", "key", "name"])
    }

    fn verify(&self, secret: &str, delivery: &Delivery<'_>, _now: Timestamp) -> Result<Verified, Rejected> {
        delivery::verify(secret, delivery)
    }

    fn delivers(&self) -> &'static [&'static str] {
        &[tables::CARDS_STREAM]
    }

    fn receive(
        &self,
        _verified: &Verified,
        delivery: &Delivery<'_>,
        now: Timestamp,
    ) -> Result<Received, Rejected> {
        delivery::receive(delivery, now)
    }
}

/// What is set for a source, checked.
struct Settings<'a> {
    email: Option<&'a str>,
    projects: Vec<&'a str>,
    boards: Vec<u64>,
}

impl<'a> Settings<'a> {
    fn read(options: &'a Value) -> Result<Self, SettingsError> {
        let email = match options.get(tables::EMAIL_SETTING) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) if is_address(text) => Some(text.as_str()),
            Some(other) => {
                return Err(wrong(
                    tables::EMAIL_SETTING,
                    plain(other),
                    "is not an address like ME@EXAMPLE.COM",
                ));
            }
        };
        let mut projects = Vec::new();
        for value in list(options, tables::PROJECTS_SETTING)? {
            let Some(key) = value.as_str().filter(|it| is_project_key(it)) else {
                let why = "is not a project's key, such as PAY: capitals, digits and \"_\", beginning with a capital";
                return Err(wrong(tables::PROJECTS_SETTING, plain(value), why));
            };
            if !projects.contains(&key) {
                projects.push(key);
            }
        }
        let mut boards = Vec::new();
        for value in list(options, tables::BOARDS_SETTING)? {
            let number = value.as_u64().or_else(|| value.as_str()?.parse().ok());
            let Some(number) = number.filter(|it| i64::try_from(*it).is_ok()) else {
                let why = "is not a board's number, which stands in its address as rapidView=7 or boards/7";
                return Err(wrong(tables::BOARDS_SETTING, plain(value), why));
            };
            if !boards.contains(&number) {
                boards.push(number);
            }
        }
        Ok(Self { email, projects, boards })
    }
}

fn list<'a>(options: &'a Value, setting: &'static str) -> Result<&'a [Value], SettingsError> {
    match options.get(setting) {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(values)) => Ok(values),
        Some(other) => Err(wrong(setting, plain(other), "is not a list")),
    }
}

fn wrong(setting: &'static str, value: String, why: &str) -> SettingsError {
    SettingsError { setting, value, why: why.to_owned() }
}

/// Writes a value as it was typed.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Jira's own rule for keys, as sites come; so nothing else can get into an address.
fn is_project_key(key: &str) -> bool {
    let mut bytes = key.bytes();
    // 255 is the longest that Jira stores.
    (2..=255).contains(&key.len())
        && bytes.next().is_some_and(|it| it.is_ascii_uppercase())
        && bytes.all(|it| it.is_ascii_uppercase() || it.is_ascii_digit() || it == b'_')
}

/// A user of basic access holds no colon, because the password begins with the first one.
fn is_address(text: &str) -> bool {
    // 254 characters are the longest address there is.
    let fits =
        text.len() <= 254 && !text.contains(|it: char| it == ':' || it.is_control() || it.is_whitespace());
    fits && text.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty())
}

/// Says whether a base URL leads to one of Atlassian's own sites.
fn is_cloud(base_url: &str) -> bool {
    let host = base_url.split("://").nth(1).unwrap_or_default().split(['/', ':']).next().unwrap_or_default();
    host.to_ascii_lowercase().ends_with(".atlassian.net")
}

/// Returns when an answer was given, by the provider's clock, or by ours where that is behind or nothing is said: what
/// is asked for later must reach back far enough.
fn request_time(response: &Response) -> Timestamp {
    let stated = response.headers.get("date").and_then(|it| rfc2822::parse(it).ok());
    stated.map_or(response.requested_at, |it| it.timestamp().min(response.requested_at))
}
