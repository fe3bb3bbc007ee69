//! What handlers take from a request, with refusals that are problems of ours.
//!
//! It must never repeat a rejected body to the log.

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts};
use axum::http::StatusCode;

use super::limit::too_large;
use super::problem::Problem;

/// A JSON body.
#[derive(FromRequest)]
#[from_request(via(axum::Json), rejection(Problem))]
pub(super) struct Body<T>(pub(super) T);

/// What stands behind the question mark.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Query), rejection(Problem))]
pub(super) struct Query<T>(pub(super) T);

/// What stands in the path.
#[derive(FromRequestParts)]
#[from_request(via(axum::extract::Path), rejection(Problem))]
pub(super) struct Path<T>(pub(super) T);

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        let status = rejection.status();
        match status {
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                Self::new(status, "not_json", "send the body as JSON, with `Content-Type: application/json`")
            }
            StatusCode::PAYLOAD_TOO_LARGE => too_large(),
            StatusCode::UNPROCESSABLE_ENTITY => Self::new(status, "invalid", inner(&rejection)),
            StatusCode::BAD_REQUEST => Self::new(status, "malformed", "the body is no JSON"),
            _ => Self::new(StatusCode::BAD_REQUEST, "malformed", "the body could not be read"),
        }
    }
}

/// Says where a body does not fit; these are the words of our own reading, about the asker's own words.
fn inner(rejection: &JsonRejection) -> String {
    std::error::Error::source(rejection).map_or_else(|| rejection.body_text(), ToString::to_string)
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        let why =
            std::error::Error::source(&rejection).map_or_else(|| rejection.body_text(), ToString::to_string);
        Self::new(StatusCode::BAD_REQUEST, "malformed_query", format!("the query does not fit: {why}"))
    }
}

impl From<PathRejection> for Problem {
    fn from(_: PathRejection) -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown", "there is no such thing: the path names none")
    }
}
