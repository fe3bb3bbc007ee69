//! Hooks that somebody registered, and sending what changes to them, as providers do.
//! Must never send to anything but plain HTTP: it is for rehearsals on one's own machine.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::error::Error;
use crate::world::{Delivery, Hook, Mishaps, Outbox, World};

/// How often changes are looked for: people's push and the delivery of it are as far apart.
const EVERY: Duration = Duration::from_millis(500);
/// How long an answer may take; GitHub waits as long.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Rounds that a late delivery is late by: five seconds.
const LATE_BY: u32 = 10;
/// How often one is sent again by GitLab and Jira, each time a little later; GitHub sends none again by itself.
const TRIES_MAX: u32 = 5;
/// Hooks at once; each has its own memory of the world.
const HOOKS_MAX: usize = 100;

/// Where to deliver.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipient {
    /// As which provider.
    pub provider: Sender,
    /// The address, `http://HOST:PORT/PATH`.
    pub url: String,
    /// What deliveries are signed with.
    pub secret: String,
    /// What befalls them on their way.
    #[serde(default)]
    pub mishaps: Mishaps,
}

/// Who delivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sender {
    /// GitHub.
    Github,
    /// GitLab, with a signing token.
    Gitlab,
    /// Jira.
    Jira,
}

/// What was sent to a hook.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Told {
    provider: Sender,
    url: String,
    /// Answered 2xx.
    accepted: u64,
    /// Answered otherwise.
    refused: u64,
    /// Not answered at all.
    unanswered: u64,
    /// Never sent, as was asked for.
    lost: u64,
}

struct Registered {
    recipient: Recipient,
    uri: Uri,
    outbox: Outbox,
    waiting: Vec<Waiting>,
    told: Told,
}

struct Waiting {
    delivery: Delivery,
    rounds: u32,
    tries: u32,
}

/// The registered hooks.
#[derive(Default)]
pub(crate) struct Hooks(Mutex<Vec<Registered>>);

impl Hooks {
    /// Registers a hook: what changes from now on is delivered.
    pub(crate) async fn register(&self, world: &World, recipient: Recipient) -> Result<(), Error> {
        let uri: Uri = recipient.url.parse().map_err(|_| Error::BadHook(recipient.url.clone()))?;
        if uri.scheme_str() != Some("http") || uri.host().is_none() {
            return Err(Error::BadHook(recipient.url));
        }
        let mut hooks = self.0.lock().await;
        if hooks.len() >= HOOKS_MAX {
            return Err(Error::BadHook(format!("{}, as there are {HOOKS_MAX} already", recipient.url)));
        }
        let told = Told {
            provider: recipient.provider,
            url: recipient.url.clone(),
            accepted: 0,
            refused: 0,
            unanswered: 0,
            lost: 0,
        };
        let outbox = Outbox::new(world)?;
        hooks.push(Registered { recipient, uri, outbox, waiting: Vec::new(), told });
        Ok(())
    }

    /// Tells what was sent to each.
    pub(super) async fn told(&self) -> Vec<Told> {
        self.0.lock().await.iter().map(|it| it.told.clone()).collect()
    }

    /// Delivers until it is dropped.
    pub(crate) async fn deliver(&self, world: &World) {
        let mut rounds = tokio::time::interval(EVERY);
        for round in 0_u64.. {
            rounds.tick().await;
            for hook in self.0.lock().await.iter_mut() {
                if let Err(error) = hook.round(world, round).await {
                    tracing::warn!(%error, "nothing could be delivered");
                }
            }
        }
    }
}

impl Registered {
    async fn round(&mut self, world: &World, round: u64) -> Result<(), Error> {
        let now_ms = world.site().clock.now_ms();
        let hook = match self.recipient.provider {
            Sender::Github => Hook::GitHub,
            Sender::Gitlab => Hook::GitLabSigned(now_ms / 1000),
            Sender::Jira => Hook::Jira(now_ms),
        };
        let made = self.outbox.collect(world, hook, &self.recipient.secret)?;
        let mishaps = Mishaps { seed: self.recipient.mishaps.seed ^ round, ..self.recipient.mishaps };
        let count = made.len();
        let (soon, late) = mishaps.befall(made);
        let kept = soon.iter().filter(|it| it.genuine).count() + late.len();
        self.told.lost += u64::try_from(count.saturating_sub(kept)).unwrap_or_default();
        let wait = |rounds| move |delivery| Waiting { delivery, rounds, tries: 0 };
        self.waiting.extend(soon.into_iter().map(wait(0)).chain(late.into_iter().map(wait(LATE_BY))));
        let mut later = Vec::new();
        for mut it in std::mem::take(&mut self.waiting) {
            if it.rounds > 0 {
                it.rounds -= 1;
                later.push(it);
                continue;
            }
            let status = send(&self.uri, &it.delivery).await;
            match status {
                Some(200..=299) => self.told.accepted += 1,
                Some(_) => self.told.refused += 1,
                None => self.told.unanswered += 1,
            }
            it.tries += 1;
            let is_passing = matches!(status, None | Some(408 | 425 | 429 | 500..=599));
            if is_passing && self.recipient.provider != Sender::Github && it.tries < TRIES_MAX {
                later.push(Waiting { rounds: it.tries * 2, ..it });
            }
        }
        self.waiting = later;
        Ok(())
    }
}

/// Sends one, and returns the status; `None` where no answer came in time.
async fn send(uri: &Uri, delivery: &Delivery) -> Option<u16> {
    let sending = async {
        let host = uri.host()?;
        let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(80))).await.ok()?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        let path = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let mut request = Request::post(path).header("host", uri.authority()?.as_str());
        for (name, value) in &delivery.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(Bytes::from(delivery.body.clone()))).ok()?;
        // The connection ends when nobody has anything left to ask of it.
        let asking = async move { sender.send_request(request).await.ok().map(|it| it.status().as_u16()) };
        let (status, _) = tokio::join!(asking, connection);
        status
    };
    tokio::time::timeout(ANSWER_MAX, sending).await.ok().flatten()
}
