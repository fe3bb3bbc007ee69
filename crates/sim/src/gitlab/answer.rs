//! How GitLab refuses and redirects.
//! Must never make one kind of error body out of its two: a client has to read both.

use serde_json::json;

use crate::rest::Answer;

/// GitLab's media types.
pub(crate) const JSON: &str = "application/json";
pub(crate) const TEXT: &str = "text/plain";

/// Refuses in the words of the application.
pub(crate) fn refusal(status: u16, message: &str) -> Answer {
    Answer::refusal_with(status, &json!({ "message": message }))
}

/// Refuses in the words of the part that reads paths and parameters.
pub(super) fn error(status: u16, error: &str) -> Answer {
    Answer::refusal_with(status, &json!({ "error": error }))
}

/// Sends the client to a project's number; its body is text and not JSON.
pub(super) fn moved(location: String) -> Answer {
    let text = format!("This resource has been moved permanently to {location}");
    Answer::text(301, TEXT, text).with("location", location)
}
