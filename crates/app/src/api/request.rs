//! What happens around every request: its id, its place in the log and in the metrics, and problems written out.
//!
//! It must never log a body, a query or an `Authorization` header.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument as _;

use super::Api;
use super::listen::Peer;
use super::problem::Problem;

/// The header that carries a request's id, both ways.
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is taken from a client: a UUID with some words.
const ID_BYTES_MAX: usize = 64;

/// Gives out ids of requests that came without one.
#[derive(Debug)]
pub(super) struct Ids {
    began_ms: i64,
    given: AtomicU64,
}

impl Ids {
    /// Begins to count; the time keeps apart what two processes give out.
    pub(super) fn new(began_ms: i64) -> Self {
        Self { began_ms, given: AtomicU64::new(0) }
    }

    fn next(&self) -> String {
        let nth = self.given.fetch_add(1, Ordering::Relaxed);
        format!("{:x}-{:x}-{nth:x}", self.began_ms, std::process::id())
    }
}

/// Surrounds every request.
pub(super) async fn around(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = given_id(request.headers()).unwrap_or_else(|| api.ids.next());
    if api.options.behind_tls_proxy
        && let Some(client) = forwarded_for(request.headers())
    {
        request.extensions_mut().insert(client);
    }
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("request", id, %method, route);
    let mut answer = next.run(request).instrument(span.clone()).await;
    if let Some(problem) = answer.extensions_mut().remove::<Problem>() {
        problem.write(&id, &mut answer);
    }
    let status = answer.status().as_u16();
    let elapsed = began.elapsed();
    span.in_scope(|| tracing::info!(status, duration_ms = elapsed.as_millis(), "answered"));
    let labels =
        [("route", route.clone()), ("method", word(&method).to_owned()), ("status", status.to_string())];
    metrics::counter!("syncline_api_requests_total", &labels).increment(1);
    metrics::histogram!("syncline_api_request_duration_seconds", "route" => route).record(elapsed);
    finish(answer, &id)
}

fn finish(mut answer: Response<Body>, id: &str) -> Response<Body> {
    let headers = answer.headers_mut();
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID.clone(), id);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Answers are one tenant's, and they change.
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    answer
}

/// A method's word for the metrics; what a client invents is not kept.
fn word(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    KNOWN.into_iter().find(|it| *it == method.as_str()).unwrap_or("other")
}

/// Takes a client's id if a log can bear it.
fn given_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(&REQUEST_ID)?.to_str().ok()?;
    let fits = (1..=ID_BYTES_MAX).contains(&id.len())
        && id.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_.".contains(&it));
    fits.then(|| id.to_owned())
}

/// Reads the client's address as the proxy saw it: the last one, because those before it are the client's own words.
fn forwarded_for(headers: &HeaderMap) -> Option<Peer> {
    let last = headers.get_all("x-forwarded-for").iter().next_back()?.to_str().ok()?;
    last.rsplit(',').next()?.trim().parse().ok().map(Peer)
}
