//! A request to GitHub from the gate to the answer: limits, faults, conditions, headers.
//! Must never block the runtime: worlds are asked on threads that may wait.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderName};
use hyper::{Request, Response};

use super::Service;
use super::body::Sending;
use super::faults::{Fault, Provider};
use super::host::{self, authorization, text};
use super::reply::Reply;
use crate::github::{self, Allowance, Ask, Route, VERSIONS, refusal};
use crate::hash::{Digest, mix};
use crate::limits::{Kind, Passage, Refusal, Scope, number, owner};
use crate::report::Endpoint;
use crate::rest::Answer;

/// The tokens of an app's installation, which is nobody's.
const INSTALLATION: &str = "ghs_";
/// What the secondary limit asks for when a fault makes it answer.
const FAULT_RETRY_S: u64 = 2;
/// What is asked for while a repository is paused: longer than any client waits in place.
const PAUSE_S: u64 = 3_600;
/// The absurd resets: midnight of 2100-01-01, a moment in 2020.
const FAR_RESET_S: u64 = 4_102_444_800;
const PAST_RESET_S: u64 = 1_577_836_800;
/// What an absurd reset demands at most: a client has to doubt it, and to pause a little.
const FAR_WAIT: Duration = Duration::from_secs(10);
const MISSING_WAIT: Duration = Duration::from_secs(1);
const VARY: &str = "Accept, Authorization, Cookie, X-GitHub-OTP,Accept-Encoding, Accept, X-Requested-With";
const PRIMARY: &str = "API rate limit exceeded for user ID 1000. If you reach out to GitHub Support for help, please \
                       include the request ID.";
const SECONDARY: &str = "You have exceeded a secondary rate limit. Please wait a few minutes before you try again. If \
                         you reach out to GitHub Support for help, please include the request ID.";
const NO_AGENT: &str = "\r\nRequest forbidden by administrative rules. Please make sure your request has a User-Agent \
                        header (https://docs.github.com/en/rest/overview/resources-in-the-rest-api#user-agent-required). \
                        Check https://developer.github.com for other possible causes.\r\n";
const UNICORN: &str = "<!DOCTYPE html>\n<html>\n  <head><title>Unicorn! &middot; GitHub</title></head>\n  <body>\n    \
                       <p><strong>We had issues producing the response to your request.</strong></p>\n  </body>\n</html>\n";

/// A request to GitHub, apart from its connection.
struct Asked {
    host: host::Asked,
    agent: bool,
    version: String,
}

impl Asked {
    fn read<B>(request: &Request<B>) -> Self {
        let headers = request.headers();
        let version = text(headers, HeaderName::from_static("x-github-api-version"));
        Self {
            host: host::Asked::read(request, "/github", authorization(headers, &["bearer", "token"])),
            agent: text(headers, header::USER_AGENT).is_some_and(|agent| !agent.is_empty()),
            version: version.unwrap_or(VERSIONS[0]).to_owned(),
        }
    }

    /// Makes the weak tag of one representation.
    fn tag(&self, content: u128) -> String {
        let host::Asked { path, query, accept, token, .. } = &self.host;
        let digest = Digest::new(12).bytes(path.as_bytes()).bytes(query.as_bytes());
        let digest = digest.bytes(accept.as_bytes()).bytes(token.as_deref().unwrap_or_default().as_bytes());
        format!("W/\"{content:032x}{:032x}\"", digest.bytes(&content.to_le_bytes()).finish())
    }
}

impl Reply {
    fn rate(&mut self, allowance: Allowance) {
        self.set("x-ratelimit-limit", &allowance.limit.to_string());
        self.set("x-ratelimit-remaining", &allowance.remaining().to_string());
        self.set("x-ratelimit-used", &allowance.used.to_string());
        self.set("x-ratelimit-reset", &allowance.reset_s.to_string());
        self.set("x-ratelimit-resource", "core");
    }
}

impl Service {
    /// Answers a request to GitHub.
    pub(super) async fn provide_github<B>(self: Arc<Self>, request: &Request<B>) -> Response<Sending> {
        let asked = Asked::read(request);
        let host = &asked.host;
        let route = Route::read(&host.path);
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        self.recorder.asked(route.endpoint());
        let repository = github::repository_of(&route, &self.world);
        let part = repository.as_ref().map(|it| Scope::Only(it.id.to_string()));
        let mut passage = self.gate.enter(
            owner(host.token.as_deref().unwrap_or_default()),
            &format!("GET {}", host.path),
            part.as_slice(),
        );
        let fault = if repository.is_some_and(|it| self.is_paused(&it)) {
            Some(Fault::Paused)
        } else {
            self.fault(Provider::GitHub, number)
        };
        self.hold_up(fault).await;
        let version = if VERSIONS.contains(&asked.version.as_str()) {
            asked.version.clone()
        } else {
            VERSIONS[0].into()
        };
        let mut reply = match self.admit(&asked, &route, &mut passage, fault) {
            Err(reply) => *reply,
            Ok(allowance) => self.look_up(asked, route, allowance, &passage).await,
        };
        reply.set("x-github-api-version-selected", &version);
        reply.set("x-github-request-id", &format!("{:016X}", mix(number)));
        reply.set("x-github-media-type", "github.v3; format=json");
        reply.set("vary", VARY);
        reply.set("date", &self.world.site().clock.http_date());
        self.hand_over(reply, fault, passage)
    }

    /// Lets a request through to the world, or answers in its place.
    fn admit(
        &self,
        asked: &Asked,
        route: &Route,
        passage: &mut Passage,
        fault: Option<Fault>,
    ) -> Result<Allowance, Box<Reply>> {
        let refused = |answer: Answer, passage: &Passage| {
            let mut reply = Reply::plain(answer);
            reply.rate(passage.allowance());
            Err(Box::new(reply))
        };
        if !asked.agent {
            return refused(Answer::html(403, NO_AGENT.to_owned()), passage);
        }
        if asked.host.token.as_deref().is_some_and(|token| token.starts_with("bad")) {
            return refused(refusal(401, "Bad credentials"), passage);
        }
        if !VERSIONS.contains(&asked.version.as_str()) {
            return refused(refusal(400, "The API version that was asked for is not supported."), passage);
        }
        if *route == Route::RateLimit {
            return Ok(passage.allowance());
        }
        let allowance = match passage.charge() {
            Ok(allowance) => allowance,
            Err(Refusal::Secondary { after_s }) => return Err(Box::new(self.secondary(passage, after_s))),
            Err(Refusal::Primary(allowance)) => {
                let until = passage.wait_until(allowance.reset_s);
                return Err(Box::new(self.primary(passage, Some(until), allowance)));
            }
        };
        match fault {
            Some(Fault::ServerError(_) | Fault::Html | Fault::Reset(_) | Fault::Secondary) => {
                Err(Box::new(self.serve_fault(fault, passage, allowance)))
            }
            Some(Fault::Paused) => Err(Box::new(self.pause(route, passage, allowance))),
            _ if !asked.host.get => refused(refusal(404, "Not Found"), passage),
            _ => Ok(allowance),
        }
    }

    /// Answers badly on purpose.
    fn serve_fault(&self, fault: Option<Fault>, passage: &mut Passage, allowance: Allowance) -> Reply {
        self.recorder.fault(fault.map_or("none", Fault::key));
        let mut reply = match fault {
            Some(Fault::Secondary) => return self.secondary(passage, FAULT_RETRY_S),
            Some(Fault::Reset(detail)) => {
                let (wait, reset_s) = match detail % 3 {
                    0 => (Some(FAR_WAIT), FAR_RESET_S),
                    1 => (None, PAST_RESET_S),
                    _ => (Some(MISSING_WAIT), 0),
                };
                let mut reply =
                    self.primary(passage, wait, Allowance { used: allowance.limit, reset_s, ..allowance });
                if reset_s == 0 {
                    reply.headers.remove("x-ratelimit-reset");
                }
                return reply;
            }
            Some(Fault::ServerError(detail)) => match detail % 3 {
                0 => Reply::plain(refusal(500, "Server Error")),
                1 => Reply::plain(Answer::html(502, UNICORN.to_owned())),
                _ => {
                    let mut reply = Reply::plain(refusal(503, "Service unavailable"));
                    reply.set("retry-after", "1");
                    reply
                }
            },
            _ => Reply::plain(Answer::html(200, UNICORN.to_owned())),
        };
        reply.rate(allowance);
        reply
    }

    /// Says whether what is asked for comes from a cache that is behind.
    fn is_behind(&self, route: &Route) -> bool {
        let repository = github::repository_of(route, &self.world);
        route.endpoint() == Endpoint::Branches && repository.is_some_and(|it| self.is_stale(&it))
    }

    /// Answers that a repository has to be left alone for a while, and holds whoever asks again before that to it.
    fn pause(&self, route: &Route, passage: &mut Passage, allowance: Allowance) -> Reply {
        self.recorder.fault(Fault::Paused.key());
        let mut reply = Reply::plain(refusal(self.gate.limiting_status(Kind::Pause), "Service unavailable"));
        reply.set("retry-after", &PAUSE_S.to_string());
        reply.rate(allowance);
        if let Some(repository) = github::repository_of(route, &self.world) {
            let part = Scope::Only(repository.id.to_string());
            passage.demand(Kind::Pause, part, Duration::from_secs(PAUSE_S));
        }
        reply
    }

    /// Answers for the primary limit.
    fn primary(&self, passage: &mut Passage, wait: Option<Duration>, allowance: Allowance) -> Reply {
        let mut reply = Reply::plain(refusal(self.gate.limiting_status(Kind::Primary), PRIMARY));
        reply.rate(allowance);
        if let Some(wait) = wait {
            passage.demand(Kind::Primary, Scope::All, wait);
        }
        reply
    }

    /// Answers for the secondary limit, which shows no numbers.
    fn secondary(&self, passage: &mut Passage, after_s: u64) -> Reply {
        let mut reply = Reply::plain(refusal(self.gate.limiting_status(Kind::Secondary), SECONDARY));
        reply.set("retry-after", &after_s.to_string());
        passage.demand(Kind::Secondary, Scope::All, Duration::from_secs(after_s));
        reply
    }

    /// Asks the world, on a thread that may wait for git or for a long walk.
    async fn look_up(
        self: &Arc<Self>,
        asked: Asked,
        route: Route,
        allowance: Allowance,
        passage: &Passage,
    ) -> Reply {
        let service = Arc::clone(self);
        let authorised = asked.host.token.is_some();
        let looked_up =
            tokio::task::spawn_blocking(move || service.represent_github(&asked, &route, allowance)).await;
        let mut reply = looked_up.unwrap_or_else(|error| {
            tracing::error!(%error, "the simulator failed");
            Reply::plain(refusal(500, "the simulator failed; its log says why"))
        });
        let free = reply.status == 304 && authorised;
        reply.rate(if free { passage.refund() } else { allowance });
        reply
    }

    /// Makes the representation that was asked for, or finds that the client has it.
    fn represent_github(&self, asked: &Asked, route: &Route, allowance: Allowance) -> Reply {
        let host::Asked { path, query, base, token, .. } = &asked.host;
        let authorised = token.is_some();
        let of = token.as_deref().unwrap_or_default();
        let person = (!of.starts_with(INSTALLATION)).then(|| number(owner(of)));
        let ask = Ask { path, query, base, authorised, person, version: &asked.version, allowance };
        let answer = github::answer(&self.world, route, &ask).unwrap_or_else(|error| {
            tracing::warn!(%error, "the world cannot be read");
            refusal(500, &error.to_string())
        });
        let conditional = answer.content.is_some();
        let mut reply = match asked.host.condition().filter(|_| self.is_behind(route)) {
            Some(known) => {
                self.recorder.fault("stale");
                let mut reply = Reply::new(304, Bytes::new());
                reply.set("etag", known);
                reply
            }
            None => self.represent(&asked.host, answer, |content| asked.tag(content)),
        };
        if conditional {
            let shared = if authorised { "private" } else { "public" };
            reply.set("cache-control", &format!("{shared}, max-age=60, s-maxage=60"));
        }
        reply
    }
}
