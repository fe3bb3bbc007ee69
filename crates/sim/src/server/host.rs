//! What a request to either git host goes through alike: how it is read, its conditions, and its body.
//! Must never choose a header's words; those are each host's own.

use bytes::Bytes;
use http::header::{self, HeaderName};
use http::{HeaderMap, Method};
use hyper::Request;

use super::Service;
use super::reply::Reply;
use crate::rest::Answer;

/// A request to a git host, apart from its connection.
pub(super) struct Asked {
    pub(super) get: bool,
    /// The path below the host's prefix, as written.
    pub(super) path: String,
    pub(super) query: String,
    /// The prefix of URLs that lead back here.
    pub(super) base: String,
    /// The credential.
    pub(super) token: Option<String>,
    pub(super) accept: String,
    condition: Option<String>,
    gzip: bool,
}

/// Reads a header that is text.
pub(super) fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Reads the credential of one of these schemes.
pub(super) fn authorization<'a>(headers: &'a HeaderMap, schemes: &[&str]) -> Option<&'a str> {
    let (scheme, secret) = text(headers, header::AUTHORIZATION)?.split_once(' ')?;
    let known = schemes.iter().any(|known| scheme.eq_ignore_ascii_case(known));
    Some(secret.trim()).filter(|secret| known && !secret.is_empty())
}

impl Asked {
    /// Reads a request to the host below a prefix.
    pub(super) fn read<B>(request: &Request<B>, prefix: &str, token: Option<&str>) -> Self {
        let headers = request.headers();
        let path = request.uri().path();
        Self {
            get: matches!(*request.method(), Method::GET | Method::HEAD),
            path: path.strip_prefix(prefix).unwrap_or(path).to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            base: format!("http://{}{prefix}", text(headers, header::HOST).unwrap_or("localhost")),
            token: token.map(str::to_owned),
            accept: text(headers, header::ACCEPT).unwrap_or_default().to_owned(),
            condition: text(headers, header::IF_NONE_MATCH).map(str::to_owned),
            gzip: text(headers, header::ACCEPT_ENCODING)
                .is_some_and(|value| value.to_ascii_lowercase().contains("gzip")),
        }
    }

    /// Tells what the client has, where it asks for anything else only.
    pub(super) fn condition(&self) -> Option<&str> {
        self.condition.as_deref()
    }

    /// Tells whether the client has this representation.
    fn has(&self, tag: &str) -> bool {
        let bare = tag.trim_start_matches("W/");
        self.condition.as_deref().is_some_and(|known| {
            known
                .split(',')
                .map(str::trim)
                .any(|known| known == "*" || known.trim_start_matches("W/") == bare)
        })
    }
}

impl Reply {
    /// Sends an answer as it is, without a condition.
    pub(super) fn plain(answer: Answer) -> Self {
        let mut reply = Self::new(answer.status, Bytes::from((answer.body)()));
        reply.set("content-type", answer.media);
        for (name, value) in answer.headers {
            reply.set(name, &value);
        }
        reply
    }
}

impl Service {
    /// Makes the representation that was asked for, or finds that the client has it.
    pub(super) fn represent(&self, asked: &Asked, answer: Answer, tag: impl Fn(u128) -> String) -> Reply {
        let Some(content) = answer.content else { return Reply::plain(answer) };
        let tag = tag(content);
        let mut reply = Reply::new(304, Bytes::new());
        reply.set("etag", &tag);
        if asked.has(&tag) {
            return reply;
        }
        let (body, gzip) = self.cache.body(Some(content), asked.gzip, answer.body);
        reply.status = answer.status;
        reply.body = body;
        reply.set("content-type", answer.media);
        if gzip {
            reply.set("content-encoding", "gzip");
        }
        for (name, value) in answer.headers {
            reply.set(name, &value);
        }
        reply
    }
}
