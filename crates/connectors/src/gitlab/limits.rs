//! What GitLab's answers say of limits and failures: which fault a refusal is, and what the budget has left.
//!
//! Its limits are told in headers that are often missing, so their absence says nothing. Nothing here waits; an
//! unreadable number is ignored, never a failure.

use std::time::Duration;

use domain::connector::{Meter, Refusal};
use domain::fault::{Cause, Fault};
use domain::page::Response;
use jiff::Timestamp;

use super::wire;
use crate::kit::{self, malformed};

/// The budget that every request of an account spends.
pub(super) const API_REQUESTS: &str = "api";

/// How long to wait for a limit that names no time: GitLab's limits are counted by the minute.
const UNNAMED_WAIT: Duration = Duration::from_mins(1);

/// Passes a good answer, and classifies every other.
pub(super) fn check(response: &Response) -> Result<(), Fault> {
    let after = kit::retry_after(&response.headers);
    match response.status {
        200..=299 => Ok(()),
        401 => Err(Fault::Unauthorized),
        403 => Err(Fault::Denied),
        404 | 410 | 451 => Err(Fault::Gone),
        429 => Err(Fault::RateLimited { until: until(response), bucket: API_REQUESTS }),
        500..=599 => Err(Fault::Transient { after, cause: Cause::Server(response.status) }),
        status => {
            let said = wire::said(&response.body);
            let colon = if said.is_empty() { "" } else { ": " };
            Err(malformed(format!("unexpected status {status}{colon}{said}")))
        }
    }
}

/// Reads the budget, as far as an answer speaks of it.
pub(super) fn meter(response: &Response) -> Vec<Meter> {
    let headers = &response.headers;
    let meter = Meter {
        bucket: API_REQUESTS,
        limit: kit::count(headers, "ratelimit-limit"),
        remaining: kit::count(headers, "ratelimit-remaining"),
        resets_at: kit::epoch_seconds(headers, "ratelimit-reset"),
        refused: (response.status == 429).then(|| Refusal { until: until(response) }),
    };
    let says = meter.limit.is_some() || meter.remaining.is_some() || meter.refused.is_some();
    if says { vec![meter] } else { Vec::new() }
}

/// Returns when a refused request may be made again.
fn until(response: &Response) -> Option<Timestamp> {
    let headers = &response.headers;
    let asked = kit::retry_after(headers).map(|it| kit::later(response.received_at, it));
    let reset = || kit::epoch_seconds(headers, "ratelimit-reset");
    asked.or_else(reset).or_else(|| Some(kit::later(response.received_at, UNNAMED_WAIT)))
}
