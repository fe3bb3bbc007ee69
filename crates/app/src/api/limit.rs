//! How much one address, one token and all together may ask of the API at a time.
//!
//! Limits are this process's own. A refusal must always say when to ask again.

use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use domain::id::TokenId;
use governor::clock::{Clock as _, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Api;
use super::listen::Peer;
use super::problem::Problem;

/// The largest body: a source with some thousand names in its settings.
pub(super) const BODY_BYTES_MAX: usize = 256 << 10;

/// The longest time to answer. Every answer but those that are meant to last takes milliseconds.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Requests under way at once. The database's connections are fewer; more would only wait in line.
const UNDER_WAY_MAX: usize = 256;

/// Answers that last at once: event streams, and requests that wait for a sync.
const LASTING_MAX: usize = 128;

/// An address may ask as much as this many tokens, because a team shares one.
const TOKENS_PER_ADDRESS: u32 = 4;

/// Where providers deliver; their addresses are counted by themselves.
pub(super) const DELIVERIES: &str = "/api/webhooks/";

/// Deliveries that one address may send in a minute. All of a provider's come from few addresses, for all sources, and a
/// release or a rebase of many branches sends hundreds within seconds; one that is refused may never come again.
const DELIVERIES_PER_MINUTE: NonZeroU32 = NonZeroU32::MIN.saturating_add(12_000 - 1);

/// Bytes of deliveries under way, which are checked whole before anything is known of their sender: two of the largest,
/// and many of the usual kilobytes.
const DELIVERIES_KIB_MAX: usize = 64 << 10;

/// A minute's requests may come within this part of it.
const BURST_PART: u32 = 6;

/// How many checks pass between two looks for keys that nobody uses any more.
const CLEAN_EVERY: u32 = 4_096;

/// The limits of one process.
pub(super) struct Limits {
    addresses: Rate<IpAddr>,
    deliveries: Rate<IpAddr>,
    room: Arc<Semaphore>,
    tokens: Rate<TokenId>,
    under_way: Arc<Semaphore>,
    lasting: Arc<Semaphore>,
}

struct Rate<K: Hash + Eq + Clone> {
    limiter: RateLimiter<K, HashMapStateStore<K>, DefaultClock>,
    checks: AtomicU32,
}

impl<K: Hash + Eq + Clone> Rate<K> {
    fn new(per_minute: NonZeroU32) -> Self {
        let burst = NonZeroU32::new(per_minute.get() / BURST_PART).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_minute(per_minute).allow_burst(burst);
        Self { limiter: RateLimiter::hashmap(quota), checks: AtomicU32::new(0) }
    }

    fn check(&self, key: &K) -> Result<(), Problem> {
        if self.checks.fetch_add(1, Ordering::Relaxed) % CLEAN_EVERY == CLEAN_EVERY - 1 {
            self.limiter.retain_recent();
        }
        self.limiter.check_key(key).map_err(|refused| {
            let wait = refused.wait_time_from(DefaultClock::default().now());
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            let says = "too many requests: ask again after the time in `Retry-After`";
            Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", says).retry_after_s(seconds)
        })
    }
}

impl Limits {
    /// Makes limits of what one token may ask in a minute.
    pub(super) fn new(per_minute: NonZeroU32) -> Self {
        Self {
            addresses: Rate::new(
                per_minute.saturating_mul(NonZeroU32::MIN.saturating_add(TOKENS_PER_ADDRESS - 1)),
            ),
            deliveries: Rate::new(DELIVERIES_PER_MINUTE),
            room: Arc::new(Semaphore::new(DELIVERIES_KIB_MAX)),
            tokens: Rate::new(per_minute),
            under_way: Arc::new(Semaphore::new(UNDER_WAY_MAX)),
            lasting: Arc::new(Semaphore::new(LASTING_MAX)),
        }
    }

    /// Counts a request of a token.
    pub(super) fn count_token(&self, token: TokenId) -> Result<(), Problem> {
        self.tokens.check(&token)
    }

    /// Returns the room that a delivery takes as it comes.
    pub(super) fn room(&self) -> Room {
        Room { all: Arc::clone(&self.room), taken: None }
    }

    /// Takes room for an answer that lasts; it is given back when the permit is dropped.
    pub(super) fn last(&self) -> Result<OwnedSemaphorePermit, Problem> {
        self.lasting.clone().try_acquire_owned().map_err(|_| busy())
    }
}

/// Room for a delivery; it is given back when this is dropped.
pub(super) struct Room {
    all: Arc<Semaphore>,
    taken: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// Takes room for a delivery of so many bytes in all, in however many parts they came.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), Problem> {
        let taken = self.taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.div_ceil(1 << 10).saturating_sub(taken);
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        let permit = self.all.clone().try_acquire_many_owned(more).map_err(|_| busy())?;
        match &mut self.taken {
            Some(taken) => taken.merge(permit),
            None => self.taken = Some(permit),
        }
        Ok(())
    }
}

fn busy() -> Problem {
    let says = "the server has all it can do: ask again in a moment";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", says).retry_after_s(1)
}

/// Counts a request of its address, before anything is read of it.
pub(super) async fn by_address(State(api): State<Api>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().map(|it| network(it.0));
    let is_delivery = request.uri().path().starts_with(DELIVERIES);
    let rate = if is_delivery { &api.limits.deliveries } else { &api.limits.addresses };
    match peer.map_or(Ok(()), |it| rate.check(&it)) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// Bounds how many requests are under way, and how long each may take until its answer begins.
pub(super) async fn by_time(State(api): State<Api>, request: Request, next: Next) -> Response {
    let Ok(_permit) = api.limits.under_way.try_acquire() else { return busy().into_response() };
    tokio::time::timeout(ANSWER_MAX, next.run(request)).await.unwrap_or_else(|_| late())
}

/// Reads a body within that time too, for endpoints whose answers may take longer.
pub(super) async fn by_body(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    // One byte more than is allowed, so that whoever takes the body out sees that it is too large.
    let body = axum::body::to_bytes(body, BODY_BYTES_MAX + 1);
    match tokio::time::timeout(ANSWER_MAX, body).await {
        Ok(Ok(body)) => next.run(Request::from_parts(parts, body.into())).await,
        Ok(Err(_)) => too_large().into_response(),
        Err(_) => late(),
    }
}

/// A body that is larger than any request needs.
pub(super) fn too_large() -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body is larger than 256 KiB")
}

fn late() -> Response {
    let says = "the answer took longer than 30 seconds: ask for less at a time, or again later";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", says).retry_after_s(1).into_response()
}

/// Returns what is counted as one asker: whoever has an IPv6 address has 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(it) => Ipv6Addr::from_bits(it.to_bits() & (u128::MAX << 64)).into(),
    }
}
