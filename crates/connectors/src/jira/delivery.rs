//! Deliveries of Jira's webhooks: their signature, and what they hint at.
//!
//! Never takes anything for the truth that a delivery says. Which board or sprint an issue is in, it does not say.

use domain::connector::delivery::{Delivery, Hint, Received, Rejected, Verified, word, word_of};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::kit::signature;

/// How old a signed time may be: Jira sends again for some hours, and ids are kept for these days.
const AGE_MAX: SignedDuration = SignedDuration::from_hours(7 * 24);

/// What events begin with that say nothing of boards, sprints or cards.
const OF_OTHERS: &[&str] = &["user_", "project_", "option_", "jira:version_", "jira:worklog_"];

/// Checks the signature, and reads the id; what happened stands in the body alone.
pub(super) fn verify(secret: &str, delivery: &Delivery<'_>) -> Result<Verified, Rejected> {
    signature::check_hex(secret, delivery, "x-hub-signature")?;
    let id = word(delivery.headers, "x-atlassian-webhook-identifier").map(str::to_owned);
    Ok(Verified { id: id.unwrap_or_else(|| signature::id_of(delivery.body)), event: None })
}

/// What is read of a delivery.
#[derive(Deserialize)]
struct Payload {
    timestamp: Option<i64>,
    #[serde(rename = "webhookEvent")]
    event: Option<String>,
}

/// Reads what happened, and what that hints at.
pub(super) fn receive(delivery: &Delivery<'_>, now: Timestamp) -> Result<Received, Rejected> {
    let Some(payload) = signature::payload::<Payload>(delivery.body)? else {
        return Ok(signature::nothing("unknown"));
    };
    if let Some(ms) = payload.timestamp {
        let at = Timestamp::from_millisecond(ms).map_err(|_| Rejected::Stale)?;
        if now.duration_since(at).abs() > AGE_MAX {
            return Err(Rejected::Stale);
        }
    }
    let event = payload.event.as_deref().and_then(word_of).unwrap_or("unknown").to_owned();
    if OF_OTHERS.iter().any(|it| event.starts_with(it)) {
        return Ok(signature::nothing(&event));
    }
    Ok(Received { event, hints: vec![Hint { group: "jira", parts: Vec::new() }] })
}
