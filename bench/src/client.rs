//! Sends requests, at most so many at once, and unpacks the answers. It never retries.

use std::io::Read as _;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, HeaderMap, HeaderValue, LINK,
};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::args::Args;

/// The most that is set aside for an answer before it is unpacked: 100 commits are some 500 KB.
const BODY_BYTES: usize = 512 * 1024;

/// The way to the provider.
pub(crate) struct Client {
    http: reqwest::Client,
    free: Semaphore,
    requests: AtomicU64,
    decode_whole: bool,
}

/// An answer. Until it is dropped it counts as under way, so that answers do not pile up before a slower writer.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    /// The address in the `Link` header of the last page.
    pub(crate) last: Option<String>,
    /// When the request was sent, as landed tables write it.
    pub(crate) sent_at: String,
    _under_way: SemaphorePermit<'a>,
}

impl Client {
    pub(crate) fn new(args: &Args) -> Result<Self> {
        // An error means that a provider is installed already, which is just as good.
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/vnd.github+json"));
        headers.insert("x-github-api-version", HeaderValue::from_static("2022-11-28"));
        let credential = format!("Bearer {}", args.token).parse().context("--token is no header value")?;
        headers.insert(AUTHORIZATION, credential);
        if args.decode_whole {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let http = reqwest::Client::builder()
            .user_agent("ideal")
            .default_headers(headers)
            .gzip(!args.decode_whole)
            .no_proxy()
            .build()
            .context("make the HTTP client")?;
        let free = Semaphore::new(args.in_flight);
        Ok(Self { http, free, requests: AtomicU64::new(0), decode_whole: args.decode_whole })
    }

    /// Returns how many requests were sent.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Gets a page that must be there.
    pub(crate) async fn get(&self, url: &str) -> Result<Answer<'_>> {
        let answer = self.ask(url).await?;
        if answer.status != 200 {
            bail!("{url}: answered {}", answer.status);
        }
        Ok(answer)
    }

    /// Gets a page whatever its status.
    pub(crate) async fn ask(&self, url: &str) -> Result<Answer<'_>> {
        let under_way = self.free.acquire().await?;
        self.requests.fetch_add(1, Ordering::Relaxed);
        let sent_at = now();
        let response = self.http.get(url).send().await.with_context(|| format!("{url}: no answer"))?;
        let status = response.status().as_u16();
        let last = response.headers().get(LINK).and_then(|it| it.to_str().ok()).and_then(last_link);
        let packed = response.headers().get(CONTENT_ENCODING).is_some_and(|it| it == "gzip");
        let body = response.bytes().await.with_context(|| format!("{url}: the answer broke off"))?;
        let body = if packed && self.decode_whole { unpack(&body)? } else { body };
        Ok(Answer { status, body, last, sent_at, _under_way: under_way })
    }
}

#[expect(clippy::disallowed_methods, reason = "this program has no clock but the system's")]
fn now() -> String {
    format!("{:.3}", jiff::Timestamp::now())
}

fn unpack(packed: &[u8]) -> Result<Bytes> {
    let mut body = Vec::with_capacity(BODY_BYTES);
    flate2::bufread::GzDecoder::new(packed).read_to_end(&mut body).context("unpack an answer")?;
    Ok(body.into())
}

/// Returns the address of the last page in a `Link` header.
fn last_link(header: &str) -> Option<String> {
    let part = header.split(',').find(|it| it.contains("rel=\"last\""))?;
    let (_, rest) = part.split_once('<')?;
    Some(rest.split_once('>')?.0.to_owned())
}
