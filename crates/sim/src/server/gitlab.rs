//! A request to GitLab from the gate to the answer: who asks, limits, faults, conditions, headers.
//! Must never block the runtime, and never let a 304 be free: GitLab counts it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::HeaderMap;
use http::header::HeaderName;
use hyper::{Request, Response};
use jiff::Timestamp;

use super::Service;
use super::body::Sending;
use super::faults::{Fault, Provider};
use super::host::{Asked, authorization, text};
use super::reply::Reply;
use crate::gitlab::{self, Ask, JSON, PREFIX, Route, TEXT, refusal};
use crate::hash::mix;
use crate::limits::{Kind, Passage, Scope, Throttle, number, owner};
use crate::rest::Answer;

/// What the application's limit asks for when a fault makes it answer.
const FAULT_RETRY_S: u64 = 2;
/// The absurd resets: midnight of 2100-01-01, a moment in 2020.
const FAR_RESET_S: u64 = 4_102_444_800;
const PAST_RESET_S: u64 = 1_577_836_800;
/// What an absurd reset demands at most: a client has to doubt it, and to pause a little.
const FAR_WAIT: Duration = Duration::from_secs(10);
const MISSING_WAIT: Duration = Duration::from_secs(1);
/// One good answer in so many tells of the limit: real servers tell by the part that answers.
const TOLD_EVERY: u64 = 3;
/// Job tokens may not read these endpoints.
const JOB_TOKEN: &str = "glcbt-";
const TOO_MANY: &str =
    "{\"message\":{\"error\":\"This endpoint has been requested too many times. Try again later.\"}}";
const GATEWAY: &str = "<html>\n<head><title>502 Bad Gateway</title></head>\n<body>\n<h1>GitLab is not responding</h1>\n\
                       </body>\n</html>\n";
const SIGN_IN: &str =
    "<!DOCTYPE html>\n<html><head><title>Sign in · GitLab</title></head><body></body></html>\n";

/// Finds the credential, and tells whether it is good.
fn credential(headers: &HeaderMap) -> (Option<&str>, bool) {
    let header =
        |name: &'static str| text(headers, HeaderName::from_static(name)).filter(|it| !it.is_empty());
    if let Some(job) = header("job-token") {
        return (Some(job), false);
    }
    let token = header("private-token").or_else(|| authorization(headers, &["bearer"]));
    (token, !token.is_some_and(|token| token.starts_with("bad") || token.starts_with(JOB_TOKEN)))
}

impl Throttle {
    /// Shows how a credential stands.
    fn show(&self, reply: &mut Reply, authorised: bool) {
        let name = if authorised { "throttle_authenticated_api" } else { "throttle_unauthenticated_api" };
        reply.set("ratelimit-limit", &self.limit.to_string());
        reply.set("ratelimit-name", name);
        reply.set("ratelimit-observed", &self.observed.to_string());
        reply.set("ratelimit-remaining", &self.remaining().to_string());
        reply.set("ratelimit-reset", &self.reset_s.to_string());
        let reset = i64::try_from(self.reset_s).ok().and_then(|it| Timestamp::from_second(it).ok());
        let date = reset.unwrap_or_default().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        reply.set("ratelimit-resettime", &date);
    }
}

impl Service {
    /// Answers a request to GitLab.
    pub(super) async fn provide_gitlab<B>(self: Arc<Self>, request: &Request<B>) -> Response<Sending> {
        let (token, good) = credential(request.headers());
        let asked = Asked::read(request, PREFIX, token);
        let route = Route::read(&asked.path);
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        self.recorder.asked(route.endpoint());
        let part = Scope::Only(format!("gitlab {:?}", route.endpoint()));
        // The same secret at another provider is another account.
        let account = format!("gitlab {}", owner(asked.token.as_deref().unwrap_or_default()));
        let asks = format!("GET {PREFIX}{}", asked.path);
        let mut passage = self.gate.enter(&account, &asks, std::slice::from_ref(&part));
        let fault = self.fault(Provider::GitLab, number);
        self.hold_up(fault).await;
        let mut reply = match self.admit_gitlab(&asked, good, part, &mut passage, fault) {
            Err(reply) => *reply,
            Ok(throttle) => {
                let authorised = asked.token.is_some();
                let mut reply = self.look_up_gitlab(asked, route).await;
                if throttle.limit > 0 && number.is_multiple_of(TOLD_EVERY) {
                    throttle.show(&mut reply, authorised);
                }
                reply
            }
        };
        let id = format!("{:026X}", u128::from(mix(number)));
        reply.set("x-request-id", &id);
        reply.set("x-gitlab-meta", &format!("{{\"correlation_id\":\"{id}\",\"version\":\"1\"}}"));
        reply.set("x-content-type-options", "nosniff");
        reply.set("x-runtime", "0.043117");
        reply.set("vary", "Origin, Accept-Encoding");
        reply.set("date", &self.world.site().clock.http_date());
        self.hand_over(reply, fault, passage)
    }

    /// Lets a request through to the world, or answers in its place.
    fn admit_gitlab(
        &self,
        asked: &Asked,
        good: bool,
        part: Scope,
        passage: &mut Passage,
        fault: Option<Fault>,
    ) -> Result<Throttle, Box<Reply>> {
        if !good {
            return Err(Box::new(refuse(401, "401 Unauthorized")));
        }
        let throttle = passage.charge_gitlab();
        if throttle.is_spent() {
            let wait = passage.wait_until(throttle.reset_s);
            let mut reply = self.throttled(passage, Some(wait));
            throttle.show(&mut reply, asked.token.is_some());
            reply.set("retry-after", &wait.as_millis().div_ceil(1_000).to_string());
            return Err(Box::new(reply));
        }
        match fault {
            Some(Fault::ServerError(_) | Fault::Html | Fault::Reset(_) | Fault::Secondary) => {
                Err(Box::new(self.serve_gitlab_fault(asked, part, passage, throttle, fault)))
            }
            _ if !asked.get => Err(Box::new(refuse(405, "405 Method Not Allowed"))),
            _ => Ok(throttle),
        }
    }

    /// Answers badly on purpose.
    fn serve_gitlab_fault(
        &self,
        asked: &Asked,
        part: Scope,
        passage: &mut Passage,
        throttle: Throttle,
        fault: Option<Fault>,
    ) -> Reply {
        self.recorder.fault(fault.map_or("none", Fault::key));
        match fault {
            Some(Fault::Secondary) => {
                let status = self.gate.limiting_status(Kind::Application);
                let mut reply = Reply::plain(Answer::text(status, JSON, TOO_MANY.to_owned()));
                reply.set("retry-after", &FAULT_RETRY_S.to_string());
                passage.demand(Kind::Application, part, Duration::from_secs(FAULT_RETRY_S));
                reply
            }
            Some(Fault::Reset(detail)) => {
                let (wait, reset_s) = match detail % 3 {
                    0 => (Some(FAR_WAIT), Some(FAR_RESET_S)),
                    1 => (None, Some(PAST_RESET_S)),
                    _ => (Some(MISSING_WAIT), None),
                };
                let mut reply = self.throttled(passage, wait);
                if let Some(reset_s) = reset_s {
                    let spent = Throttle { observed: throttle.limit.saturating_add(1), reset_s, ..throttle };
                    spent.show(&mut reply, asked.token.is_some());
                }
                reply
            }
            Some(Fault::ServerError(detail)) => match detail % 3 {
                0 => refuse(500, "500 Internal Server Error"),
                1 => Reply::plain(Answer::html(502, GATEWAY.to_owned())),
                _ => {
                    let mut reply = refuse(503, "503 Service Unavailable");
                    reply.set("retry-after", "1");
                    reply
                }
            },
            _ => Reply::plain(Answer::html(200, SIGN_IN.to_owned())),
        }
    }

    /// Answers for the limit per minute, in the words of the part before the application.
    fn throttled(&self, passage: &mut Passage, wait: Option<Duration>) -> Reply {
        let status = self.gate.limiting_status(Kind::Throttle);
        if let Some(wait) = wait {
            passage.demand(Kind::Throttle, Scope::All, wait);
        }
        Reply::plain(Answer::text(status, TEXT, "Retry later\n".to_owned()))
    }

    /// Asks the world, on a thread that may wait for git or for a long walk.
    async fn look_up_gitlab(self: &Arc<Self>, asked: Asked, route: Route) -> Reply {
        let service = Arc::clone(self);
        let looked_up = tokio::task::spawn_blocking(move || service.represent_gitlab(&asked, &route)).await;
        looked_up.unwrap_or_else(|error| {
            tracing::error!(%error, "the simulator failed");
            refuse(500, "the simulator failed; its log says why")
        })
    }

    fn represent_gitlab(&self, asked: &Asked, route: &Route) -> Reply {
        let Asked { path, query, base, token, .. } = asked;
        let person = number(owner(token.as_deref().unwrap_or_default()));
        let ask = Ask { path, query, base, authorised: token.is_some(), person };
        let answer = gitlab::answer(&self.world, route, &ask).unwrap_or_else(|error| {
            tracing::warn!(%error, "the world cannot be read");
            refusal(500, &error.to_string())
        });
        let conditional = answer.content.is_some();
        let mut reply = self.represent(asked, answer, |content| format!("W/\"{content:032x}\""));
        if conditional {
            reply.set("cache-control", "max-age=0, private, must-revalidate");
        }
        reply
    }
}

fn refuse(status: u16, message: &str) -> Reply {
    let mut reply = Reply::plain(refusal(status, message));
    reply.set("content-type", JSON);
    reply
}
