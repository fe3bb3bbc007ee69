//! What an endpoint answers, before it becomes HTTP: mostly a promise of a body that nobody may need.
//! Must never build a body that a 304 or the cache makes unnecessary.

use serde_json::{Value, json};

use crate::hash::Digest;

/// Makes a body.
pub(crate) type Make = Box<dyn FnOnce() -> Vec<u8> + Send>;

/// An endpoint's answer.
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// What the body says, as a digest; none for answers that are never conditional.
    pub(crate) content: Option<u128>,
    /// The `Link` header.
    pub(crate) link: Option<String>,
    /// The `Location` header.
    pub(crate) location: Option<String>,
    /// The media type.
    pub(crate) media: &'static str,
    /// The body.
    pub(crate) body: Make,
}

/// GitHub's media type.
const JSON: &str = "application/json; charset=utf-8";
/// What GitHub's front answers with when it has nothing better.
const HTML: &str = "text/html; charset=utf-8";
/// Where errors send their readers.
const DOCUMENTATION: &str = "https://docs.github.com/rest";

impl Answer {
    /// Promises a body with this digest.
    pub(crate) fn promise(content: u128, body: Make) -> Self {
        Self { status: 200, content: Some(content), link: None, location: None, media: JSON, body }
    }

    /// Answers with a small value.
    pub(crate) fn value(value: &Value) -> Self {
        let bytes = value.to_string().into_bytes();
        Self::promise(Digest::new(3).bytes(&bytes).finish(), Box::new(move || bytes))
    }

    /// Adds links.
    pub(crate) fn linked(mut self, link: Option<String>) -> Self {
        self.link = link;
        self
    }

    /// Refuses with GitHub's error body.
    pub(crate) fn refusal(status: u16, message: &str) -> Self {
        Self::refusal_with(
            status,
            &json!({
                "message": message,
                "documentation_url": DOCUMENTATION,
                "status": status.to_string(),
            }),
        )
    }

    /// Refuses with a body of its own.
    pub(crate) fn refusal_with(status: u16, body: &Value) -> Self {
        let bytes = body.to_string().into_bytes();
        Self { status, content: None, link: None, location: None, media: JSON, body: Box::new(move || bytes) }
    }

    /// Answers with a page for people.
    pub(crate) fn html(status: u16, text: String) -> Self {
        let body: Make = Box::new(move || text.into_bytes());
        Self { status, content: None, link: None, location: None, media: HTML, body }
    }

    /// Sends the client to where a renamed repository is now.
    pub(crate) fn moved(location: String) -> Self {
        let body =
            json!({ "message": "Moved Permanently", "url": location, "documentation_url": DOCUMENTATION });
        Self { location: Some(location), ..Self::refusal_with(301, &body) }
    }

    /// Refuses what is not there.
    pub(crate) fn not_found() -> Self {
        Self::refusal(404, "Not Found")
    }
}
