//! What GitHub's answers say of limits and failures: which fault a refusal is, and what each budget has left.
//!
//! The order of the rules is GitHub's own. Nothing here waits; an unreadable number is ignored, never a failure.

use std::time::Duration;

use domain::connector::{Meter, Refusal, WHOLE_ACCOUNT};
use domain::fault::{Cause, Fault};
use domain::page::{Headers, Response};
use jiff::Timestamp;

use super::wire;
use crate::kit::{self, malformed};

/// The budget that all reading of repositories, branches and commits spends.
pub(super) const CORE: &str = "core";

/// The budgets that GitHub names; a new one counts as [`OTHER`], so that it never empties one of these.
const RESOURCES: &[&str] = &[CORE, "search", "code_search", "graphql", "integration_manifest"];
const OTHER: &str = "other";

/// How long to wait for a limit that names no time: "at least one minute", by GitHub's own rules.
const UNNAMED_WAIT: Duration = Duration::from_mins(1);

/// A limit that an answer refuses by.
struct Limit {
    until: Option<Timestamp>,
    bucket: &'static str,
}

/// Passes a good answer, and classifies every other.
pub(super) fn check(response: &Response) -> Result<(), Fault> {
    let after = kit::retry_after(&response.headers);
    match response.status {
        // 202 promises the answer for later; its body is an empty object.
        202 | 500..=599 => Err(Fault::Transient { after, cause: Cause::Server(response.status) }),
        200..=299 => Ok(()),
        401 => Err(Fault::Unauthorized),
        403 | 429 => Err(match limit(response) {
            Some(Limit { until, bucket }) => Fault::RateLimited { until, bucket },
            None => Fault::Denied,
        }),
        404 | 410 | 451 => Err(Fault::Gone),
        status => Err(malformed(format!("unexpected status {status}"))),
    }
}

/// Says whether the answer means that the repository has no commit at all.
pub(super) fn is_empty_repository(response: &Response) -> bool {
    response.status == 409 && said(response).message.to_ascii_lowercase().contains("empty")
}

/// Reads the budgets that an answer speaks of.
pub(super) fn meter(response: &Response) -> Vec<Meter> {
    let headers = &response.headers;
    let limit = limit(response);
    let stated = Meter {
        bucket: bucket(headers),
        limit: kit::count(headers, "x-ratelimit-limit"),
        remaining: kit::count(headers, "x-ratelimit-remaining"),
        resets_at: kit::epoch_seconds(headers, "x-ratelimit-reset"),
        refused: None,
    };
    let mut meters = Vec::new();
    if stated.limit.is_some() || stated.remaining.is_some() {
        meters.push(stated);
    }
    if let Some(Limit { until, bucket }) = limit {
        let refused = Some(Refusal { until });
        match meters.iter_mut().find(|it| it.bucket == bucket) {
            Some(meter) => meter.refused = refused,
            None => meters.push(Meter { bucket, limit: None, remaining: None, resets_at: None, refused }),
        }
    }
    meters
}

/// Finds the limit that a 403 or 429 refuses by; `None` where it is a lack of permission.
fn limit(response: &Response) -> Option<Limit> {
    if !matches!(response.status, 403 | 429) {
        return None;
    }
    let headers = &response.headers;
    let spent = kit::count(headers, "x-ratelimit-remaining") == Some(0);
    let secondary = names_a_limit(response);
    if let Some(wait) = kit::retry_after(headers) {
        let bucket = if spent && !secondary { bucket(headers) } else { WHOLE_ACCOUNT };
        return Some(Limit { until: Some(kit::later(response.received_at, wait)), bucket });
    }
    if spent {
        let until = kit::epoch_seconds(headers, "x-ratelimit-reset");
        return Some(Limit { until, bucket: bucket(headers) });
    }
    if secondary || response.status == 429 {
        let until = Some(kit::later(response.received_at, UNNAMED_WAIT));
        return Some(Limit { until, bucket: WHOLE_ACCOUNT });
    }
    None
}

/// Says whether the body blames a limit other than a spent budget.
fn names_a_limit(response: &Response) -> bool {
    let said = said(response);
    let (message, page) = (said.message.to_ascii_lowercase(), said.documentation_url.to_ascii_lowercase());
    message.contains("secondary rate limit")
        || message.contains("abuse")
        || page.contains("secondary-rate-limit")
        || page.contains("abuse-rate-limit")
}

/// Reads an error's body; HTML and everything else that is no JSON says nothing.
fn said(response: &Response) -> wire::Refusal {
    serde_json::from_slice(&response.body).unwrap_or_default()
}

/// Names the budget that an answer counts; an answer that names none counts the usual one.
fn bucket(headers: &Headers) -> &'static str {
    let Some(named) = headers.get("x-ratelimit-resource") else { return CORE };
    RESOURCES.iter().copied().find(|it| *it == named).unwrap_or(OTHER)
}
