//! What Jira's answers say of limits and failures: which of its limits refused, and until when.
//!
//! The three limits of Cloud are told apart by their reason; Data Center has one, per account and node. Nothing here
//! waits, and what is announced but not in force (`Beta-…`) never makes anybody wait.

use std::time::Duration;

use domain::connector::{Meter, Refusal, WHOLE_ACCOUNT};
use domain::fault::{Cause, Fault};
use domain::page::{Headers, Request, Response};
use jiff::Timestamp;

use super::time;
use crate::kit::{self, malformed};

/// The endpoints that Cloud's burst limit is counted for, one bucket each.
pub(super) const BOARDS: &str = "boards";
pub(super) const SEARCH: &str = "search";
pub(super) const ISSUE: &str = "issue";
pub(super) const CHANGELOG: &str = "changelog";
pub(super) const OTHER: &str = "other";

/// The limit of writes to one issue; reading never spends it.
const ISSUE_WRITES: &str = "issue_writes";

/// How long to wait for a burst that names no time: its bucket is full again after a second, and five spare the rest.
const UNNAMED_BURST: Duration = Duration::from_secs(5);

/// Returns a request that spends from `bucket`.
pub(super) fn request(url: String, bucket: &'static str) -> Request {
    Request { url, bucket }
}

/// Passes a good answer, and classifies every other.
pub(super) fn check(response: &Response) -> Result<(), Fault> {
    if is_stranger(&response.headers) {
        return Err(Fault::Unauthorized);
    }
    let after = kit::retry_after(&response.headers);
    match response.status {
        200..=299 => Ok(()),
        401 => Err(Fault::Unauthorized),
        403 => Err(Fault::Denied),
        404 => Err(Fault::Gone),
        410 => Err(malformed("this part of the API was removed")),
        // A bucket that is spent is told by `meter`; here it is enough that it is one.
        429 => Err(Fault::RateLimited { until: until(response), bucket: WHOLE_ACCOUNT }),
        500..=599 => Err(Fault::Transient { after, cause: Cause::Server(response.status) }),
        status => Err(malformed(format!("unexpected status {status}"))),
    }
}

/// Says whether Jira answered as it would to anybody, because it did not take the credential: it then shows empty lists.
fn is_stranger(headers: &Headers) -> bool {
    let refused = ["AUTHENTICATED_FAILED", "AUTHENTICATION_DENIED"];
    headers.get("x-seraph-loginreason").is_some_and(|it| refused.iter().any(|word| it.contains(word)))
        || headers.get("x-ausername").is_some_and(|it| it == "anonymous")
        || headers.get("x-authentication-denied-reason").is_some()
}

/// Reads the budgets that an answer speaks of.
pub(super) fn meter(request: &Request, response: &Response) -> Vec<Meter> {
    let mut meters = Vec::new();
    meters.extend(bucket_of_data_center(response));
    meters.extend(quota(response));
    if response.status != 429 {
        return meters;
    }
    let refused = Some(Refusal { until: until(response) });
    let bucket = match reason(&response.headers) {
        Some(it) if it.contains("burst") => request.bucket,
        Some(it) if it.contains("per-issue-on-write") => ISSUE_WRITES,
        _ => WHOLE_ACCOUNT,
    };
    match meters.iter_mut().find(|it| it.bucket == bucket) {
        Some(meter) => meter.refused = refused,
        None => meters.push(Meter { bucket, limit: None, remaining: None, resets_at: None, refused }),
    }
    meters
}

fn reason(headers: &Headers) -> Option<&str> {
    headers.get("ratelimit-reason")
}

/// Reads when a refused request may be sent again.
///
/// A quota's own words are off by minutes once it is spent, or lie in the past; it is full again with the next hour, and
/// no sooner than `Retry-After` says.
fn until(response: &Response) -> Option<Timestamp> {
    let (headers, now) = (&response.headers, response.received_at);
    // Zero is what Data Center says with every answer.
    let asked = kit::retry_after(headers).filter(|it| !it.is_zero()).map(|it| kit::later(now, it));
    let reset = headers.get("x-ratelimit-reset").and_then(reset).filter(|it| *it > now);
    match reason(headers) {
        Some(it) if it.contains("quota") => {
            let hour = time::next_hour(now);
            let stated = reset.map_or(hour, |it| it.min(hour));
            Some(asked.map_or(stated, |it| it.max(stated)))
        }
        Some(it) if it.contains("burst") => {
            Some(asked.or(reset).unwrap_or_else(|| kit::later(now, UNNAMED_BURST)))
        }
        _ => asked.or(reset).or_else(|| Some(kit::later(now, interval(headers)?))),
    }
}

/// Reads an instant that may lack its seconds, `2026-03-26T16:00Z`.
fn reset(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    text.parse().ok().or_else(|| {
        let (minutes, zone) = text.split_at_checked("2026-03-26T16:00".len())?;
        format!("{minutes}:00{zone}").parse().ok()
    })
}

fn interval(headers: &Headers) -> Option<Duration> {
    kit::count(headers, "x-ratelimit-interval-seconds").map(Duration::from_secs)
}

/// Reads Data Center's token bucket, which every answer counts; more comes in with each interval.
fn bucket_of_data_center(response: &Response) -> Option<Meter> {
    let headers = &response.headers;
    let resets_at = Some(kit::later(response.received_at, interval(headers)?));
    let limit = kit::count(headers, "x-ratelimit-limit");
    let remaining = kit::count(headers, "x-ratelimit-remaining");
    remaining?;
    Some(Meter { bucket: WHOLE_ACCOUNT, limit, remaining, resets_at, refused: None })
}

/// Reads the lowest quota of points that Cloud counts and enforces: `"jira-quota-tenant-based";r=1200;t=900`. Where
/// plenty is left it states no remainder.
fn quota(response: &Response) -> Option<Meter> {
    let headers = &response.headers;
    let entries = |name: &str| headers.get(name).unwrap_or_default().split(',').map(Entry::read);
    entries("ratelimit")
        .filter(|it| it.name.contains("quota"))
        .filter_map(|it| {
            let limit = entries("ratelimit-policy").find(|policy| policy.name == it.name)?.number("q");
            let wait = Duration::from_secs(it.number("t")?);
            let resets_at = kit::later(response.received_at, wait).min(time::next_hour(response.received_at));
            Some(Meter {
                bucket: WHOLE_ACCOUNT,
                limit,
                remaining: Some(it.number("r")?),
                resets_at: Some(resets_at),
                refused: None,
            })
        })
        .min_by_key(|it| it.remaining)
}

/// One entry of a structured header: a name in quotes, then parameters.
struct Entry<'a> {
    name: &'a str,
    parameters: &'a str,
}

impl<'a> Entry<'a> {
    fn read(text: &'a str) -> Self {
        let (name, parameters) = text.split_once(';').unwrap_or((text, ""));
        Self { name: name.trim().trim_matches('"'), parameters }
    }

    fn number(&self, name: &str) -> Option<u64> {
        let mut pairs = self.parameters.split(';').filter_map(|it| it.trim().split_once('='));
        pairs.find(|(it, _)| *it == name)?.1.parse().ok()
    }
}
