//! A request to Jira from the gate to the answer: who asks, limits, faults, headers.
//! Must never let a credential into a log, a report or an answer.

mod limit;
mod login;

use std::sync::Arc;
use std::sync::atomic::Ordering;

pub use self::login::Login;
use bytes::Bytes;
use http::Method;
use http::header::{self, HeaderName};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::{Request, Response};

use super::Service;
use super::body::Sending;
use super::faults::{Fault, Provider};
use super::reply::Reply;
use crate::hash::{Digest, mix};
use crate::jira::{self, Answer, Ask, CardPaths, Deployment, Route, Standing};
use crate::limits::{Call, Passage, Shown, number};

/// The longest body that is read; a thousand issues by key are far less.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Why Jira did not take a credential.
const LOGIN_REASON: &str = "x-seraph-loginreason";
const FAILED: &str = "AUTHENTICATED_FAILED";
const DENIED: &str = "AUTHENTICATION_DENIED";
const CAPTCHA: &str = "CAPTCHA_CHALLENGE; login-url=https://jira.acme.example/login.jsp";
const FORBIDDEN_PAGE: &str =
    "<html><head><title>Forbidden (403)</title></head><body><h1>Forbidden (403)</h1></body></html>\n";
const LOG_IN_PAGE: &str = "<!DOCTYPE html>\n<html><head><title>Log in - Acme Jira</title></head><body><h1>Log in</h1></body></html>\n";
const GATEWAY_PAGE: &str = "<html>\n<head><title>502 Bad Gateway</title></head>\n<body>\n<center><h1>502 Bad Gateway</h1></center>\n</body>\n</html>\n";
const UNAUTHORIZED_PAGE: &str =
    "<html><head><title>Unauthorized (401)</title></head><body><h1>Unauthorized (401)</h1></body></html>\n";

/// What the fake Jira is like, beside its world.
pub(crate) struct Jira {
    /// Where Cloud lists the issues of boards and sprints.
    pub(crate) cards: CardPaths,
    /// The credentials that are good.
    pub(crate) logins: Vec<Login>,
}

impl Jira {
    fn takes(&self, login: &Login) -> bool {
        if self.logins.is_empty() { !login.secret.starts_with("bad") } else { self.logins.contains(login) }
    }
}

/// A request, apart from its connection.
struct Asked {
    deployment: Deployment,
    method: Method,
    path: String,
    query: String,
    base: String,
    login: Option<Login>,
    gzip: bool,
    body: Bytes,
}

impl Asked {
    async fn read(deployment: Deployment, request: Request<Incoming>) -> Option<Self> {
        let (parts, body) = request.into_parts();
        let text = |name: HeaderName| parts.headers.get(name).and_then(|value| value.to_str().ok());
        let (path, prefix) = (parts.uri.path(), deployment.prefix());
        let asked = Self {
            deployment,
            path: path.strip_prefix(prefix).unwrap_or(path).to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            base: format!("http://{}{prefix}", text(header::HOST).unwrap_or("localhost")),
            login: Login::read(&parts.headers),
            gzip: text(header::ACCEPT_ENCODING).is_some_and(|it| it.to_ascii_lowercase().contains("gzip")),
            body: Bytes::new(),
            method: parts.method,
        };
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await.ok()?.to_bytes();
        Some(Self { body, ..asked })
    }

    fn account(&self) -> String {
        self.login.as_ref().map_or_else(String::new, |it| it.account(self.deployment))
    }
}

impl Reply {
    fn of(answer: Answer) -> Self {
        let mut reply = Self::new(answer.status, Bytes::from(answer.body));
        reply.set("content-type", answer.media);
        reply
    }
}

impl Service {
    /// Answers a request to Jira.
    pub(super) async fn provide_jira(
        self: Arc<Self>,
        deployment: Deployment,
        request: Request<Incoming>,
    ) -> Response<Sending> {
        let number = self.requests.fetch_add(1, Ordering::Relaxed);
        let Some(asked) = Asked::read(deployment, request).await else {
            let reply = Reply::of(Answer::refusal(413, "The request is larger than 1 MiB, or was cut."));
            return reply.response(|body| Sending::whole(body, None));
        };
        let route = Route::read(deployment, &asked.method, &asked.path);
        self.recorder.asked(route.endpoint());
        let call = self.call(&asked, &route);
        let request = format!("{} {}{}", asked.method, deployment.prefix(), asked.path);
        let mut passage = self.gate.enter(&asked.account(), &request, &call.parts());
        let fault = self.fault(Provider::Jira, number);
        self.hold_up(fault).await;
        let mut reply = match self.admit_jira(&asked, &call, &mut passage, fault) {
            Err(reply) => *reply,
            Ok((standing, shown)) => {
                let (mut reply, objects) = self.look_up_jira(asked, route, standing).await;
                self.show_limits(&mut reply, &call, shown, objects, &passage);
                reply
            }
        };
        reply.set("date", &self.world.site().clock.http_date());
        match deployment {
            Deployment::Cloud => reply.set("atl-traceid", &format!("{:032x}", u128::from(mix(number)))),
            Deployment::DataCenter => reply.set("x-arequestid", &format!("{number}x{number}x1")),
        }
        reply.set("vary", "Accept-Encoding");
        self.hand_over(reply, fault, passage)
    }

    /// Tells whose request it is, or refuses it.
    fn identify(&self, asked: &Asked) -> Result<Standing, Box<Reply>> {
        match &asked.login {
            None => Ok(Standing::Anonymous),
            // After several wrong passwords Data Center wants to see a person, whatever comes then.
            Some(login) if asked.deployment == Deployment::DataCenter && login.is_puzzled() => {
                let mut reply = Reply::of(Answer::html(403, FORBIDDEN_PAGE));
                reply.set(LOGIN_REASON, DENIED);
                reply.set("x-authentication-denied-reason", CAPTCHA);
                Err(Box::new(reply))
            }
            Some(login) if self.jira.takes(login) => Ok(Standing::Known),
            // Cloud goes on without a login by name that is wrong; everything else is refused.
            Some(Login { user: Some(_), .. }) if asked.deployment == Deployment::Cloud => {
                Ok(Standing::Refused)
            }
            Some(login) => {
                let mut reply = match (asked.deployment, &login.user) {
                    (Deployment::DataCenter, Some(_)) => Reply::of(Answer::html(401, UNAUTHORIZED_PAGE)),
                    _ => Reply::of(Answer::message(
                        401,
                        "Client must be authenticated to access this resource.",
                    )),
                };
                reply.set(LOGIN_REASON, FAILED);
                Err(Box::new(reply))
            }
        }
    }

    /// Lets a request through to the site, or answers in its place.
    fn admit_jira(
        &self,
        asked: &Asked,
        call: &Call,
        passage: &mut Passage,
        fault: Option<Fault>,
    ) -> Result<(Standing, Shown), Box<Reply>> {
        let standing = self.identify(asked)?;
        let shown = match passage.charge_jira(call) {
            Ok(shown) => shown,
            Err(stop) => return Err(Box::new(self.stop(stop, call, passage))),
        };
        match fault {
            Some(Fault::ServerError(_) | Fault::Html | Fault::Reset(_) | Fault::Secondary) => {
                Err(Box::new(self.serve_jira_fault(call, passage, fault)))
            }
            _ => Ok((standing, shown)),
        }
    }

    /// Answers badly on purpose.
    fn serve_jira_fault(&self, call: &Call, passage: &mut Passage, fault: Option<Fault>) -> Reply {
        self.recorder.fault(fault.map_or("none", Fault::key));
        match fault {
            Some(Fault::ServerError(detail)) => match detail % 3 {
                0 => Reply::of(Answer::refusal(500, "Internal server error")),
                1 => Reply::of(Answer::html(502, GATEWAY_PAGE)),
                _ => {
                    let mut reply = Reply::of(Answer::message(503, "Service unavailable"));
                    reply.set("retry-after", "1");
                    reply
                }
            },
            Some(Fault::Html) => Reply::of(Answer::html(200, LOG_IN_PAGE)),
            Some(Fault::Reset(detail)) => self.absurd_stop(detail, call, passage),
            _ => self.short_stop(call, passage),
        }
    }

    /// Asks the site, on a thread that may take its time.
    async fn look_up_jira(self: &Arc<Self>, asked: Asked, route: Route, standing: Standing) -> (Reply, u32) {
        let service = Arc::clone(self);
        let looked_up =
            tokio::task::spawn_blocking(move || service.represent_jira(&asked, &route, standing)).await;
        looked_up.unwrap_or_else(|error| {
            tracing::error!(%error, "the simulator failed");
            (Reply::of(Answer::refusal(500, "the simulator failed; its log says why")), 0)
        })
    }

    fn represent_jira(&self, asked: &Asked, route: &Route, standing: Standing) -> (Reply, u32) {
        let ask = Ask {
            deployment: asked.deployment,
            standing,
            post: asked.method == Method::POST,
            path: &asked.path,
            query: &asked.query,
            body: &asked.body,
            base: &asked.base,
            cards: self.jira.cards,
            person: number(&asked.account()),
        };
        let Answer { status, media, body, objects } = jira::answer(self.world.site(), route, &ask);
        let content = Digest::new(36).bytes(&body).finish();
        let (body, gzip) = self.cache.body(Some(content), asked.gzip, || body);
        let mut reply = Reply::new(status, body);
        reply.set("content-type", media);
        if gzip {
            reply.set("content-encoding", "gzip");
        }
        if standing == Standing::Refused {
            reply.set(LOGIN_REASON, FAILED);
        }
        (reply, objects)
    }
}
