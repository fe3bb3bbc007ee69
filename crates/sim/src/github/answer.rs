//! How GitHub refuses and redirects.
//! Must never leave out where an error sends its readers: clients show it.

use serde_json::json;

use crate::rest::Answer;

/// Where errors send their readers.
const DOCUMENTATION: &str = "https://docs.github.com/rest";

/// Refuses with GitHub's error body.
pub(crate) fn refusal(status: u16, message: &str) -> Answer {
    Answer::refusal_with(
        status,
        &json!({
            "message": message,
            "documentation_url": DOCUMENTATION,
            "status": status.to_string(),
        }),
    )
}

/// Sends the client to where a renamed repository is now.
pub(super) fn moved(location: String) -> Answer {
    let body = json!({ "message": "Moved Permanently", "url": location, "documentation_url": DOCUMENTATION });
    Answer::refusal_with(301, &body).with("location", location)
}

/// Refuses what is not there.
pub(super) fn not_found() -> Answer {
    refusal(404, "Not Found")
}
