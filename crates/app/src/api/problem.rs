//! What the API answers when it does not do what was asked: a problem document (RFC 9457) with a stable code.
//!
//! It must never quote an inner error, a credential or another tenant's name. A code once given never changes its
//! meaning; docs/api.md lists them.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// The media type of problem documents.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";

/// Why a request was not answered as it hoped.
#[derive(Clone, Debug)]
pub(crate) struct Problem(Box<Told>);

/// A problem as it is told.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Told {
    /// Always `about:blank`: the code says more than a page could.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: String,
    /// The status.
    #[schema(minimum = 400, maximum = 599)]
    status: u16,
    /// A stable word for programs.
    code: &'static str,
    /// A sentence for people, which names the fix where there is one.
    detail: String,
    /// The request, as it stands in the log.
    request_id: String,
    /// The field that is wrong, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// What the policy answered, where it refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    decision: Option<Value>,
    /// The sync that stands in the way, where one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    active_sync: Option<i64>,
    #[serde(skip)]
    retry_after_s: Option<u64>,
}

impl Problem {
    /// Makes a problem of a status, a stable code and a sentence.
    pub(super) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self(Box::new(Told {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            code,
            detail: detail.into(),
            request_id: String::new(),
            field: None,
            decision: None,
            active_sync: None,
            retry_after_s: None,
        }))
    }

    /// Says which field is wrong.
    pub(super) fn field(mut self, field: impl Into<String>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    /// Says when to ask again, in whole seconds.
    pub(super) fn retry_after_s(mut self, seconds: u64) -> Self {
        // Zero would ask for a loop without pause.
        self.0.retry_after_s = Some(seconds.max(1));
        self
    }

    /// Shows what the policy answered, and the sync that stands in the way.
    pub(super) fn decided(mut self, decision: Value, active_sync: Option<i64>) -> Self {
        self.0.decision = Some(decision);
        self.0.active_sync = active_sync;
        self
    }

    /// A thing that is not there, or is another tenant's.
    pub(super) fn unknown(what: &str, id: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown", format!("there is no {what} `{id}`"))
    }

    /// A value that cannot be used.
    pub(super) fn invalid(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", why).field(field)
    }

    /// A fault of ours; what it was stands in the log under the request's id.
    pub(super) fn internal() -> Self {
        let says = "a fault in syncline itself: look for the request's id in its log, and report it";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", says)
    }

    /// The server is being stopped.
    pub(super) fn stopping() -> Self {
        let says = "the server is being stopped: ask again once it runs";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", says).retry_after_s(10)
    }

    /// Writes the problem as the body of an answer that already has its status.
    pub(super) fn write(mut self, request_id: &str, answer: &mut Response) {
        request_id.clone_into(&mut self.0.request_id);
        // Every field is text or a number, which cannot fail to be written.
        let text = serde_json::to_string(&self.0).unwrap_or_default();
        *answer.body_mut() = text.into();
        let headers = answer.headers_mut();
        headers.remove(axum::http::header::CONTENT_LENGTH);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    }
}

/// The answer carries the problem beside it; [`super::request`] writes it out, because it knows the request's id.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut answer = status.into_response();
        if let Some(seconds) = self.0.retry_after_s {
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer realm=\"syncline\"");
            answer.headers_mut().insert(axum::http::header::WWW_AUTHENTICATE, scheme);
        }
        answer.extensions_mut().insert(self);
        answer
    }
}

impl From<engine::Error> for Problem {
    fn from(error: engine::Error) -> Self {
        use engine::Error as E;
        match error {
            E::Unknown { what, id } => Self::unknown(what, id),
            E::Invalid { field, why } => Self::invalid(field, why),
            E::Conflict(says) => Self::new(StatusCode::CONFLICT, "conflict", says),
            E::Store(error) => {
                tracing::error!(%error, "the database refused");
                let says =
                    "the database does not answer: ask again, and look at the server's log if it goes on";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "database", says).retry_after_s(1)
            }
            E::Open(_) | E::Key(_) | E::Internal(_) => {
                tracing::error!(%error, "a request failed");
                Self::internal()
            }
        }
    }
}

/// An address that leads nowhere.
pub(super) async fn no_such_endpoint() -> Problem {
    let says = "there is no such endpoint: `/api/openapi.json` lists them";
    Problem::new(StatusCode::NOT_FOUND, "no_such_endpoint", says)
}

/// An endpoint that is not asked in this way.
pub(super) async fn no_such_method() -> Problem {
    let says = "this endpoint is asked with another method: the header `Allow` names them";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "no_such_method", says)
}
