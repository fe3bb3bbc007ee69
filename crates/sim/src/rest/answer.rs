//! What an endpoint answers, before it becomes HTTP: mostly a promise of a body that nobody may need.
//! Must never build a body that a 304 or the cache makes unnecessary.

use serde_json::Value;

use crate::hash::Digest;

/// Makes a body.
pub(crate) type Make = Box<dyn FnOnce() -> Vec<u8> + Send>;

/// An endpoint's answer.
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// What the body says, as a digest; none for answers that are never conditional.
    pub(crate) content: Option<u128>,
    /// What the headers say beside; a 304 leaves them out.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// The media type.
    pub(crate) media: &'static str,
    /// The body.
    pub(crate) body: Make,
}

/// The media type of most answers.
pub(crate) const JSON: &str = "application/json; charset=utf-8";
/// What a front server answers with when it has nothing better.
const HTML: &str = "text/html; charset=utf-8";

impl Answer {
    /// Promises a body with this digest.
    pub(crate) fn promise(content: u128, body: Make) -> Self {
        Self { status: 200, content: Some(content), headers: Vec::new(), media: JSON, body }
    }

    /// Answers with a small value.
    pub(crate) fn value(value: &Value) -> Self {
        let bytes = value.to_string().into_bytes();
        Self::promise(Digest::new(3).bytes(&bytes).finish(), Box::new(move || bytes))
    }

    /// Adds a header.
    pub(crate) fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Adds links, if there are any.
    pub(crate) fn linked(self, link: Option<String>) -> Self {
        match link {
            Some(link) => self.with("link", link),
            None => self,
        }
    }

    /// Answers with text that is never conditional.
    pub(crate) fn text(status: u16, media: &'static str, text: String) -> Self {
        let body: Make = Box::new(move || text.into_bytes());
        Self { status, content: None, headers: Vec::new(), media, body }
    }

    /// Refuses with a body in JSON.
    pub(crate) fn refusal_with(status: u16, body: &Value) -> Self {
        Self::text(status, JSON, body.to_string())
    }

    /// Answers with a page for people.
    pub(crate) fn html(status: u16, text: String) -> Self {
        Self::text(status, HTML, text)
    }
}
