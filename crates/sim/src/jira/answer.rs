//! What the fake Jira answers, before it becomes HTTP.
//! Must never carry an error that Jira would not write.

use serde_json::{Value, json};

/// An endpoint's answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// The media type.
    pub(crate) media: &'static str,
    /// The body.
    pub(crate) body: Vec<u8>,
    /// How many objects it holds, which is what the points quota counts.
    pub(crate) objects: u32,
}

const JSON: &str = "application/json;charset=UTF-8";
const HTML: &str = "text/html;charset=UTF-8";

impl Answer {
    /// Answers with one object.
    pub(crate) fn value(value: &Value) -> Self {
        Self::objects(value, 1)
    }

    /// Answers with a list.
    pub(crate) fn objects(value: &Value, objects: usize) -> Self {
        let objects = u32::try_from(objects).unwrap_or(u32::MAX);
        Self { status: 200, media: JSON, body: value.to_string().into_bytes(), objects }
    }

    /// Refuses with Jira's error body.
    pub(crate) fn refusal(status: u16, message: &str) -> Self {
        let value = json!({ "errorMessages": [message], "errors": {} });
        Self { status, ..Self::objects(&value, 0) }
    }

    /// Refuses one field of what was written.
    pub(crate) fn field(field: &str, message: &str) -> Self {
        let value = json!({ "errorMessages": [], "errors": { field: message } });
        Self { status: 400, ..Self::objects(&value, 0) }
    }

    /// Refuses with a body that another layer than Jira writes.
    pub(crate) fn message(status: u16, message: &str) -> Self {
        Self { status, ..Self::objects(&json!({ "message": message, "status-code": status }), 0) }
    }

    /// Answers with a page for people.
    pub(crate) fn html(status: u16, text: &str) -> Self {
        Self { status, media: HTML, body: text.as_bytes().to_vec(), objects: 0 }
    }

    /// Refuses an issue that is not there, or that the credential may not see: the answer does not tell which.
    pub(crate) fn no_issue() -> Self {
        Self::refusal(404, "Issue does not exist or you do not have permission to see it.")
    }

    /// Refuses a path that leads nowhere.
    pub(crate) fn no_path() -> Self {
        Self::html(
            404,
            "<!DOCTYPE html><html><head><title>Oops, you've found a dead link. - Jira</title></head></html>",
        )
    }
}
