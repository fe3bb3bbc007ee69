//! An answer that is ready to be sent, whichever provider it comes from.
//! Must never decide anything.

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode};
use hyper::Response;

use super::body::Sending;

/// An answer that is ready to be sent.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Reply {
    /// Starts an answer without headers.
    pub(super) fn new(status: u16, body: Bytes) -> Self {
        Self { status, headers: HeaderMap::new(), body }
    }

    /// Sets a header; a value that cannot stand in one is left out.
    pub(super) fn set(&mut self, name: &'static str, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
    }

    /// Makes the response, with the body on its way out.
    pub(super) fn response(self, sending: impl FnOnce(Bytes) -> Sending) -> Response<Sending> {
        let mut response = Response::new(sending(self.body));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        *response.headers_mut() = self.headers;
        response
    }
}
