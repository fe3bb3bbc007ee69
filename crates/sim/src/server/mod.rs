//! Connections, and which of them speak to a provider and which to the simulator itself.
//! Must never answer a provider's request without passing the gate.

mod admin;
mod body;
mod deliver;
mod encode;
mod faults;
mod github;
mod gitlab;
mod host;
mod jira;
mod reply;

pub use self::deliver::{Recipient, Sender};
pub use self::faults::{Faults, Provider};
pub(crate) use self::jira::Jira;
pub use self::jira::Login;

use std::convert::Infallible;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use self::body::Sending;
use self::deliver::Hooks;
use self::encode::Cache;
use self::faults::Fault;
use self::reply::Reply;
use crate::ACTIVITY_PER_S_MAX;
use crate::gitlab::PREFIX as GITLAB;
use crate::jira::Deployment;
use crate::limits::{Gate, Limits, Passage};
use crate::lock::{read, write};
use crate::report::Recorder;
use crate::world::{Repository, World};

/// After a failed accept (no more file descriptors) a pause lets connections end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Everything that answers.
pub(crate) struct Service {
    /// What is shown.
    pub(crate) world: World,
    /// What was asked.
    pub(crate) recorder: Arc<Recorder>,
    gate: Arc<Gate>,
    cache: Cache,
    faults: RwLock<Faults>,
    latency: Duration,
    jira: Jira,
    hooks: Hooks,
    requests: AtomicU64,
}

impl Service {
    /// Puts the parts together.
    pub(crate) fn new(world: World, limits: Limits, faults: Faults, latency: Duration, jira: Jira) -> Self {
        let recorder = Arc::new(Recorder::new());
        let gate = Arc::new(Gate::new(limits, Arc::clone(&recorder), Arc::clone(&world.site().clock)));
        Self {
            world,
            recorder,
            gate,
            cache: Cache::default(),
            faults: RwLock::new(faults),
            latency,
            jira,
            hooks: Hooks::default(),
            requests: AtomicU64::new(0),
        }
    }

    /// Serves other faults from now on; what state a repository is in stays.
    pub(crate) fn set_faults(&self, faults: Faults) {
        *write(&self.faults) = faults;
    }

    /// Decides about the request to this provider with this number.
    fn fault(&self, provider: Provider, request: u64) -> Option<Fault> {
        read(&self.faults).decide(provider, request)
    }

    /// Says whether a repository is paused at this moment, by the name it has now.
    fn is_paused(&self, repository: &Repository) -> bool {
        read(&self.faults).pauses(&repository.identity().full_name())
    }

    /// Says whether the cache of a repository is behind at this moment.
    fn is_stale(&self, repository: &Repository) -> bool {
        read(&self.faults).is_stale(&repository.identity().full_name())
    }

    /// Takes the time that every answer takes, or that a fault makes it take.
    async fn hold_up(&self, fault: Option<Fault>) {
        let mut wait = self.latency;
        if let Some(Fault::Slow(extra)) = fault {
            self.recorder.fault("slow");
            wait += extra;
        }
        if fault == Some(Fault::Hang) {
            self.recorder.fault("hang");
            // Until the client gives up and closes the connection.
            std::future::pending::<()>().await;
        }
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// Counts an answer and sends it, or one half of it.
    fn hand_over(&self, reply: Reply, fault: Option<Fault>, passage: Passage) -> Response<Sending> {
        self.recorder.answered(reply.status);
        let cut = fault == Some(Fault::Cut) && reply.body.len() > 1;
        if cut {
            self.recorder.fault("cut");
        }
        reply.response(
            |body| {
                if cut { Sending::half(body, passage) } else { Sending::whole(body, Some(passage)) }
            },
        )
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Sending> {
        let path = request.uri().path();
        let below = |prefix: &str| {
            path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if below("/github") {
            self.provide_github(&request).await
        } else if below(GITLAB) {
            self.provide_gitlab(&request).await
        } else if below(Deployment::Cloud.prefix()) {
            self.provide_jira(Deployment::Cloud, request).await
        } else if below(Deployment::DataCenter.prefix()) {
            self.provide_jira(Deployment::DataCenter, request).await
        } else {
            self.administer(request).await
        }
    }
}

/// A simulator that is left alone for days must not grow for ever: a day at ten a second.
const ACTIVITY_MAX: u64 = 864_000;

/// Lets people work until it is dropped.
pub(crate) async fn keep_busy(service: Arc<Service>, per_s: f64) {
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / per_s.min(ACTIVITY_PER_S_MAX)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while service.world.things_done() < ACTIVITY_MAX {
        ticks.tick().await;
        let busy = Arc::clone(&service);
        // A change looks through a whole world, which must not hold up the answers.
        if let Err(error) = tokio::task::spawn_blocking(move || busy.world.work(1)).await {
            tracing::error!(%error, "nobody works any more");
            return;
        }
    }
}

/// Delivers what changes to whoever asked for it, until it is dropped.
pub(crate) async fn deliver(service: Arc<Service>) {
    service.hooks.deliver(&service.world).await;
}

/// Accepts connections until it is dropped, and its connections with it.
pub(crate) async fn accept(listener: TcpListener, service: Arc<Service>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, Arc::clone(&service)));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, service: Arc<Service>) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot switch Nagle's algorithm off");
    }
    let answer = service_fn(move |request| {
        let service = Arc::clone(&service);
        async move { Ok::<_, Infallible>(service.answer(request).await) }
    });
    // A client that waits for a limit keeps its connection: there is no timeout for an idle one.
    let serving =
        http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(stream), answer);
    if let Err(error) = serving.await {
        tracing::debug!(%error, "a connection ended early");
    }
}
