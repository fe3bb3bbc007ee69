//! Deliveries of GitLab's webhooks: their token or signature, and what they hint at.
//!
//! Never takes anything for the truth that a delivery says; it only names what to read.

use domain::connector::delivery::{Delivery, Hint, Received, Rejected, Verified, word};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::listing::MEMBER;
use super::tables::{BRANCHES_STREAM, MERGE_REQUESTS_STREAM, PROJECTS_STREAM};
use crate::kit::signature;

/// How far a signed time may be from ours: what Standard Webhooks recommends.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// Checks the signature, or the token where a hook has none, and reads id and event.
pub(super) fn verify(secret: &str, delivery: &Delivery<'_>, now: Timestamp) -> Result<Verified, Rejected> {
    let headers = delivery.headers;
    if let Some(signatures) = headers.get("webhook-signature") {
        let id = headers.get("webhook-id").unwrap_or_default();
        let time = headers.get("webhook-timestamp").unwrap_or_default();
        signature::check_standard(secret, delivery, (id, time, signatures))?;
        let at = time.parse().ok().and_then(|it| Timestamp::from_second(it).ok()).ok_or(Rejected::Stale)?;
        if at.duration_since(now).abs() > TOLERANCE {
            return Err(Rejected::Stale);
        }
    } else {
        signature::check_plain(secret, delivery, "x-gitlab-token")?;
    }
    // The hook's own UUID is the same in all of its deliveries, and the event's in those of other hooks.
    let id = word(headers, "webhook-id").or_else(|| word(headers, "idempotency-key")).map(str::to_owned);
    let event = word(headers, "x-gitlab-event").map(str::to_owned);
    Ok(Verified { id: id.unwrap_or_else(|| signature::id_of(delivery.body)), event })
}

/// What is read of a delivery.
#[derive(Deserialize)]
struct Payload {
    object_kind: Option<String>,
    event_name: Option<String>,
    project_id: Option<i64>,
    project: Option<Project>,
}

#[derive(Deserialize)]
struct Project {
    id: Option<i64>,
    path_with_namespace: Option<String>,
}

/// Reads what a delivery hints at; an event that says nothing of what is read here hints at nothing.
pub(super) fn receive(event: &str, delivery: &Delivery<'_>) -> Result<Received, Rejected> {
    let Some(payload) = signature::payload::<Payload>(delivery.body)? else {
        return Ok(signature::nothing(event));
    };
    let project = payload.project.as_ref().and_then(|it| it.id).or(payload.project_id);
    let kind = payload.object_kind.or(payload.event_name).unwrap_or_default();
    let (group, stream) = match kind.as_str() {
        "push" => ("commits", Some(BRANCHES_STREAM)),
        // A note is written on many things; of those, merge requests are read.
        "merge_request" | "note" => ("timeline", Some(MERGE_REQUESTS_STREAM)),
        "project_create" | "project_destroy" | "project_rename" | "project_transfer" | "project_update" => {
            ("commits", None)
        }
        _ => return Ok(signature::nothing(event)),
    };
    let mut parts: Vec<_> =
        stream.zip(project).map(|(stream, id)| (stream, id.to_string())).into_iter().collect();
    if group == "commits" {
        // What is not known yet is found where projects are listed, or by its own path.
        parts.push((PROJECTS_STREAM, MEMBER.to_owned()));
        parts.extend(payload.project.and_then(|it| it.path_with_namespace).map(|it| (PROJECTS_STREAM, it)));
    }
    let hints = if parts.is_empty() { Vec::new() } else { vec![Hint { group, parts }] };
    Ok(Received { event: event.to_owned(), hints })
}
