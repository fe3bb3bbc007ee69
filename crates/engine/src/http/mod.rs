//! Outbound HTTP, once for all connectors: time and size limits, redirects, credentials, what an error means.
//!
//! It never retries (that is the policy's business), and it never lets a credential out to another server.

mod address;
mod body;

use std::error::Error as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use domain::fault::{Cause, Fault};
use domain::page::{Headers, Response};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH, LOCATION};
use store::Secret;
use url::Url;

pub use address::check_base_url;
pub(crate) use address::is_same_keeper;
use address::{ForbiddenAddress, GuardedResolver, UnknownHost, may_follow, same_server};
use body::Body;

use crate::clock::Clock;
use crate::room::Room;

/// The limits of outbound requests.
#[derive(Clone, Copy, Debug)]
pub struct HttpLimits {
    /// The longest time to make a connection.
    pub connect_timeout: Duration,
    /// The longest silence while an answer arrives.
    pub read_timeout: Duration,
    /// The longest time from the request's first byte to the answer's last.
    pub total_timeout: Duration,
    /// The largest answer, decoded.
    pub body_bytes_max: usize,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(15),
            total_timeout: Duration::from_secs(30),
            // 32 MiB: the largest answers seen (comparisons with 300 patches) are about a fifth of this.
            body_bytes_max: 32 << 20,
        }
    }
}

/// Redirects followed for one request. A renamed repository takes one; more than a few is a circle.
const REDIRECTS_MAX: u64 = 5;

/// Sends requests.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    client: reqwest::Client,
    limits: HttpLimits,
    clock: Clock,
    spare: body::Spare,
}

/// Chooses the cryptography that TLS uses, for the whole process; twice is once.
pub fn install_tls() {
    // An error means that a provider is installed already, which is just as good.
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// Where a request belongs, and what lets it in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access<'a> {
    pub(crate) base: &'a Url,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) token: Option<&'a Secret>,
    /// Whom the token belongs to; then both go along as `Basic`.
    pub(crate) user: Option<&'a str>,
    /// How large the answer will be, by the last one: room is made once, and not more than is needed.
    pub(crate) body_bytes: usize,
    /// What an answer waits for before it is read.
    pub(crate) room: &'a Room,
}

/// What came back.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A whole answer.
    Whole(Response),
    /// 304: what the validator stood for is still so. There is no body.
    NotModified(Response),
}

impl Http {
    pub(crate) fn new(limits: HttpLimits, clock: Clock) -> Result<Self, reqwest::Error> {
        install_tls();
        let client = reqwest::Client::builder()
            .user_agent(concat!("syncline/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(limits.connect_timeout)
            .read_timeout(limits.read_timeout)
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(std::sync::Arc::new(GuardedResolver))
            // A proxy from the environment would be one more place that sees credentials; none is used unasked.
            .no_proxy()
            .build()?;
        Ok(Self { client, limits, clock, spare: body::Spare::default() })
    }

    /// Sends one GET and returns its answer and how many requests that took, redirects included.
    pub(crate) async fn get(
        &self,
        access: Access<'_>,
        url: &str,
        validator: Option<&str>,
    ) -> (Result<Answer, Fault>, u64) {
        let mut sent = 0;
        let Ok(mut url) = Url::parse(url) else {
            return (Err(Fault::Malformed { what: "a link that is not a URL".to_owned() }), sent);
        };
        loop {
            if !may_follow(access.base, &url) {
                return (Err(transient(Cause::Redirect)), sent);
            }
            sent += 1;
            match self.get_once(access, &url, validator).await {
                Err(fault) => return (Err(fault), sent),
                Ok(Hop::Done(answer)) => return (Ok(answer), sent),
                Ok(Hop::To(next)) if sent <= REDIRECTS_MAX => url = next,
                Ok(Hop::To(_)) => return (Err(transient(Cause::Redirect)), sent),
            }
        }
    }

    async fn get_once(&self, access: Access<'_>, url: &Url, validator: Option<&str>) -> Result<Hop, Fault> {
        let mut headers = access.headers.clone();
        if let Some(etag) = validator.and_then(|it| HeaderValue::from_str(it).ok()) {
            headers.insert(IF_NONE_MATCH, etag);
        }
        let mut request = self.client.get(url.clone()).headers(headers);
        if let Some(token) = access.token
            && same_server(access.base, url)
        {
            // Both ways mark the header as sensitive, so that nothing prints it.
            request = match access.user {
                Some(user) => request.basic_auth(user, Some(token.expose())),
                None => request.header(AUTHORIZATION, bearer(token)?),
            };
        }
        let requested_at = self.clock.now();
        let began = Instant::now();
        let answer = self.in_time(began, request.send()).await?.map_err(|it| classify(&it))?;
        let received_at = self.clock.now();
        let status = answer.status();
        if status.is_redirection() && status.as_u16() != 304 {
            let to = answer.headers().get(LOCATION).and_then(|it| it.to_str().ok());
            let to = to.and_then(|it| url.join(it).ok()).ok_or(transient(Cause::Redirect))?;
            return Ok(Hop::To(to));
        }
        let headers = owned(answer.headers());
        let not_modified = status.as_u16() == 304;
        let body = if not_modified {
            Bytes::new()
        } else {
            // That wait is ours, and no fault of the provider's.
            let took = began.elapsed();
            access.room.enter().await;
            let began = Instant::now().checked_sub(took).unwrap_or(began);
            self.in_time(began, self.body(answer, access.body_bytes)).await??
        };
        let response = Response {
            status: status.as_u16(),
            headers,
            body,
            url: url.to_string(),
            requested_at,
            received_at,
        };
        Ok(Hop::Done(if not_modified { Answer::NotModified(response) } else { Answer::Whole(response) }))
    }

    /// Waits for what began then, for as long as an answer may take.
    async fn in_time<T>(&self, began: Instant, work: impl Future<Output = T>) -> Result<T, Fault> {
        let left = self.limits.total_timeout.saturating_sub(began.elapsed());
        tokio::time::timeout(left, work).await.map_err(|_| transient(Cause::Timeout))
    }

    async fn body(&self, mut answer: reqwest::Response, expected: usize) -> Result<Bytes, Fault> {
        let stated = answer.content_length().and_then(|it| usize::try_from(it).ok()).unwrap_or(0);
        if stated > self.limits.body_bytes_max {
            return Err(transient(Cause::TooLarge));
        }
        // A packed answer states no size.
        let mut body = Body::new(if stated > 0 { stated } else { expected }, &self.spare);
        while let Some(chunk) = answer.chunk().await.map_err(|it| classify(&it))? {
            if body.len() + chunk.len() > self.limits.body_bytes_max {
                return Err(transient(Cause::TooLarge));
            }
            body.extend(&chunk);
        }
        Ok(body.freeze())
    }
}

enum Hop {
    Done(Answer),
    To(Url),
}

fn bearer(token: &Secret) -> Result<HeaderValue, Fault> {
    let text = format!("Bearer {}", token.expose());
    let mut value = HeaderValue::from_str(&text).map_err(|_| Fault::Unauthorized)?;
    value.set_sensitive(true);
    Ok(value)
}

fn owned(headers: &HeaderMap) -> Headers {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Headers(headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect())
}

fn transient(cause: Cause) -> Fault {
    Fault::Transient { after: None, cause }
}

/// Says what an error of the client means. Its text is dropped: it may quote the URL.
fn classify(error: &reqwest::Error) -> Fault {
    let mut source = error.source();
    while let Some(it) = source {
        if it.is::<UnknownHost>() {
            return transient(Cause::UnknownHost);
        }
        if it.is::<ForbiddenAddress>() {
            return transient(Cause::ForbiddenAddress);
        }
        if it.is::<rustls::Error>() {
            return transient(Cause::Tls);
        }
        if it.downcast_ref::<std::io::Error>().is_some_and(wraps_tls) {
            return transient(Cause::Tls);
        }
        source = it.source();
    }
    if error.is_timeout() {
        transient(Cause::Timeout)
    } else if error.is_connect() {
        transient(Cause::Connect)
    } else {
        transient(Cause::Cut)
    }
}

/// Says whether an I/O error stands for one of TLS: such errors wrap each other without giving their source.
fn wraps_tls(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(|inner| {
        inner.is::<rustls::Error>() || inner.downcast_ref::<std::io::Error>().is_some_and(wraps_tls)
    })
}

/// Turns a connector's fixed headers into the client's form; one that cannot be sent is left out.
pub(crate) fn fixed_headers(headers: &[(&'static str, &'static str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &'static str)| {
        Some((HeaderName::from_bytes(name.as_bytes()).ok()?, HeaderValue::from_str(value).ok()?))
    };
    headers.iter().filter_map(pair).collect()
}

#[cfg(test)]
mod tests;
