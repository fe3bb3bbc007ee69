//! Deliveries of GitHub's webhooks: their signature, and what they hint at.
//!
//! Never takes anything for the truth that a delivery says; it only names what to read.

use domain::connector::delivery::{Delivery, Hint, Received, Rejected, Verified, word};
use percent_encoding::percent_decode;
use serde::Deserialize;

use super::listing::VISIBLE;
use super::tables::{BRANCHES_STREAM, ISSUES_STREAM, PULL_REQUESTS_STREAM, REPOSITORIES_STREAM};
use crate::kit::signature;

/// Events that say that branches may have moved.
const OF_BRANCHES: &[&str] = &["push", "create", "delete"];

/// Events that say that an issue changed, or that something happened to it. Each pull request is an issue too.
const OF_ISSUES: &[&str] = &["issues", "issue_comment"];

/// Events that say that a pull request changed, or that something happened to it.
const OF_PULL_REQUESTS: &[&str] =
    &["pull_request", "pull_request_review", "pull_request_review_comment", "pull_request_review_thread"];

/// Events that say that the list of repositories may have changed.
const OF_REPOSITORIES: &[&str] = &["repository", "installation_repositories", "public"];

/// Checks the signature, and reads id and event.
pub(super) fn verify(secret: &str, delivery: &Delivery<'_>) -> Result<Verified, Rejected> {
    signature::check_hex(secret, delivery, "x-hub-signature-256")?;
    let id = word(delivery.headers, "x-github-delivery").map(str::to_owned);
    let event = word(delivery.headers, "x-github-event").map(str::to_owned);
    Ok(Verified { id: id.unwrap_or_else(|| signature::id_of(delivery.body)), event })
}

/// What is read of a delivery.
#[derive(Deserialize)]
struct Payload {
    repository: Option<Repository>,
}

#[derive(Default, Deserialize)]
struct Repository {
    id: Option<i64>,
    full_name: Option<String>,
}

/// Reads what a delivery hints at; an event that says nothing of what is read here hints at nothing.
pub(super) fn receive(event: &str, delivery: &Delivery<'_>) -> Result<Received, Rejected> {
    let of_branches = OF_BRANCHES.contains(&event);
    let of_timeline: &[&'static str] = match event {
        _ if OF_ISSUES.contains(&event) => &[ISSUES_STREAM],
        _ if OF_PULL_REQUESTS.contains(&event) => &[PULL_REQUESTS_STREAM, ISSUES_STREAM],
        _ if of_branches || OF_REPOSITORIES.contains(&event) => &[],
        _ => return Ok(signature::nothing(event)),
    };
    let json = body(delivery);
    let Some(Payload { repository }) = signature::payload(&json)? else {
        return Ok(signature::nothing(event));
    };
    let repository = repository.unwrap_or_default();
    if !of_timeline.is_empty() {
        let hint = |id: i64, stream| Hint { group: "timeline", parts: vec![(stream, id.to_string())] };
        let hints = repository.id.map(|id| of_timeline.iter().map(|it| hint(id, *it)).collect());
        return Ok(Received { event: event.to_owned(), hints: hints.unwrap_or_default() });
    }
    let branches = repository.id.filter(|_| of_branches).map(|id| (BRANCHES_STREAM, id.to_string()));
    // What is not known yet is found where repositories are listed, or by its own name.
    let listing = Some((REPOSITORIES_STREAM, VISIBLE.to_owned()));
    let named = repository.full_name.map(|it| (REPOSITORIES_STREAM, it));
    let parts = [branches, listing, named].into_iter().flatten().collect();
    Ok(Received { event: event.to_owned(), hints: vec![Hint { group: "commits", parts }] })
}

/// Returns the JSON of a delivery, which a hook may be set to send as a form.
fn body<'a>(delivery: &Delivery<'a>) -> std::borrow::Cow<'a, [u8]> {
    let kind = delivery.headers.get("content-type").unwrap_or_default();
    if !kind.starts_with("application/x-www-form-urlencoded") {
        return delivery.body.into();
    }
    let field = delivery.body.split(|it| *it == b'&').find_map(|it| it.strip_prefix(b"payload="));
    let spaced: Vec<u8> =
        field.unwrap_or_default().iter().map(|it| if *it == b'+' { b' ' } else { *it }).collect();
    percent_decode(&spaced).collect::<Vec<u8>>().into()
}
