//! The simulator's own endpoints under `/__sim`: report, truth and changes to the world.
//! Must never count as a provider's request.

use std::fmt::Display;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::{Request, Response};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Service;
use super::body::Sending;
use super::deliver::Recipient;
use crate::error::Error;
use crate::world::site::SiteControl;
use crate::world::{Control, World};

/// A change is a line of JSON.
const CONTROL_BYTES_MAX: usize = 64 << 10;
/// What is here, for whoever looks.
const HELP: &str = "GET /github/…, GET /gitlab/api/v4/…, GET /jira/cloud/…, GET /jira/dc/…, GET /__sim/report, \
                    POST /__sim/reset, GET /__sim/truth[?repository=OWNER/NAME], POST /__sim/github/repos/OWNER/NAME, \
                    GET /__sim/gitlab/truth?repository=OWNER/NAME, GET /__sim/github/truth?repository=OWNER/NAME, \
                    GET /__sim/jira/truth, POST /__sim/jira, POST /__sim/clock, POST /__sim/work, GET and POST /__sim/hooks";
/// Where the Jira site is changed, and the clock is set.
const JIRA: &str = "/__sim/jira";
const CLOCK: &str = "/__sim/clock";
const WORK: &str = "/__sim/work";
/// Where hooks are registered.
const HOOKS: &str = "/__sim/hooks";
const CHANGED: [&str; 3] = [JIRA, CLOCK, WORK];
/// What a hook may be.
const RECIPIENT: &str = "{\"provider\":\"github|gitlab|jira\",\"url\":\"http://…\",\"secret\":…,\"mishaps\":{\"seed\":1,\"lost\":10,\"late\":10,\"twice\":10,\"forged\":10}} is allowed";
/// So many things are done at one request at most.
const THINGS_MAX: u32 = 10_000;
/// What a change to the Jira site may be.
const SITE_CONTROLS: &str = "edit, comment, move, change_project, create, delete, hide, create_sprint, start_sprint, \
    close_sprint, delete_sprint, project_access, board_access, time_zone, repeated_hour and lag_ms are allowed; docs/sim.md shows each";
/// What a change may be.
const CONTROLS: &str = "{\"rename\":\"OWNER/NAME\"}, {\"state\":\"ok|empty|gone|legal|denied\"}, \
    {\"archive\":true}, {\"push\":{\"branch\":…,\"commits\":1,\"days_old\":0}}, {\"create_branch\":{\"name\":…,\"from\":…}}, \
    {\"merge\":{\"branch\":…,\"into\":…}}, {\"force_push\":{\"branch\":…}}, {\"delete_branch\":{\"branch\":…}}, \
    {\"open_merge_request\":{\"branch\":…,\"into\":…,\"title\":…}}, \
    {\"edit_merge_request\":{\"iid\":1,\"title\":…,\"labels\":[…]}}, {\"close_merge_request\":{\"iid\":1}}, \
    {\"reopen_merge_request\":{\"iid\":1}}, {\"delete_merge_request\":{\"iid\":1}}, {\"open_issue\":{\"title\":…}}, {\"open_pull\":{\"title\":…}}, \
    {\"edit_issue\":{\"number\":1,\"title\":…,\"labels\":[…]}}, {\"comment_issue\":{\"number\":1,\"text\":…}}, \
    {\"close_issue\":{\"number\":1}}, {\"merge_pull\":{\"number\":1}}, \
    {\"review_pull\":{\"number\":1,\"state\":\"approved\"}}, {\"push_pull\":{\"number\":1}}, \
    {\"happen_to_issue\":{\"number\":1,\"event\":…}}, {\"delete_issue\":{\"number\":1}}, {\"hide_issue\":{\"number\":1}} and \
    {\"transfer_issue\":{\"number\":1,\"to\":\"OWNER/NAME\"}} are allowed";

impl Service {
    /// Answers a request to the simulator itself.
    pub(super) async fn administer(self: Arc<Self>, request: Request<Incoming>) -> Response<Sending> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let query = request.uri().query().unwrap_or_default().to_owned();
        match (&method, path.as_str()) {
            (&Method::GET, "/__sim/report") => reply(StatusCode::OK, &self.recorder.report()),
            (&Method::POST, "/__sim/reset") => {
                self.recorder.reset();
                reply(StatusCode::OK, &json!({ "reset": true }))
            }
            (&Method::GET, "/__sim/truth") => blocking(move || truth(&self.world, &query)).await,
            (&Method::GET, "/__sim/gitlab/truth") => {
                blocking(move || merge_requests(&self.world, &query)).await
            }
            (&Method::GET, "/__sim/github/truth") => blocking(move || issues(&self.world, &query)).await,
            (&Method::GET, "/__sim/jira/truth") => {
                blocking(move || reply(StatusCode::OK, &self.world.site().truth())).await
            }
            (&Method::GET, HOOKS) => reply(StatusCode::OK, &json!({ "hooks": self.hooks.told().await })),
            (&Method::POST, HOOKS) => {
                let body = Limited::new(request.into_body(), CONTROL_BYTES_MAX).collect().await;
                let Ok(body) = body else {
                    return refuse(StatusCode::BAD_REQUEST, "the body is cut or longer than 64 KiB");
                };
                match serde_json::from_slice::<Recipient>(&body.to_bytes()) {
                    Ok(recipient) => match self.hooks.register(&self.world, recipient).await {
                        Ok(()) => reply(StatusCode::OK, &json!({ "registered": true })),
                        Err(error) => refuse(status(&error), error),
                    },
                    Err(error) => refuse(StatusCode::BAD_REQUEST, format!("{error}; {RECIPIENT}")),
                }
            }
            (&Method::POST, path) if path.starts_with("/__sim/github/repos/") || CHANGED.contains(&path) => {
                let body = Limited::new(request.into_body(), CONTROL_BYTES_MAX).collect().await;
                let Ok(body) = body else {
                    return refuse(StatusCode::BAD_REQUEST, "the body is cut or longer than 64 KiB");
                };
                let (path, body) = (path.to_owned(), body.to_bytes());
                let change = move || match path.as_str() {
                    JIRA => change_site(&self.world, &body),
                    CLOCK => set_clock(&self.world, &body),
                    WORK => work(&self.world, &body),
                    _ => change(&self.world, &decode(path.trim_start_matches("/__sim/github/repos/")), &body),
                };
                blocking(change).await
            }
            _ => refuse(StatusCode::NOT_FOUND, HELP),
        }
    }
}

/// Keeps slow work off the runtime.
async fn blocking(work: impl FnOnce() -> Response<Sending> + Send + 'static) -> Response<Sending> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| refuse(StatusCode::INTERNAL_SERVER_ERROR, error))
}

fn truth(world: &World, query: &str) -> Response<Sending> {
    let told = match query.strip_prefix("repository=") {
        Some(name) => world.repository_truth(&decode(name)).map(|truth| reply(StatusCode::OK, &truth)),
        None => world.truth().map(|truth| reply(StatusCode::OK, &truth)),
    };
    told.unwrap_or_else(|error| refuse(status(&error), error))
}

fn merge_requests(world: &World, query: &str) -> Response<Sending> {
    let name = decode(query.strip_prefix("repository=").unwrap_or_default());
    match world.merge_requests(&name) {
        Ok(told) => reply(StatusCode::OK, &json!({ "merge_requests": told })),
        Err(error) => refuse(status(&error), error),
    }
}

fn issues(world: &World, query: &str) -> Response<Sending> {
    let name = decode(query.strip_prefix("repository=").unwrap_or_default());
    match world.issues(&name) {
        Ok(told) => reply(StatusCode::OK, &json!({ "issues": told })),
        Err(error) => refuse(status(&error), error),
    }
}

fn change(world: &World, name: &str, body: &[u8]) -> Response<Sending> {
    let control: Control = match serde_json::from_slice(body) {
        Ok(control) => control,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, format!("{error}; {CONTROLS}")),
    };
    match world.apply(name, &control) {
        Ok(()) => reply(StatusCode::OK, &json!({ "changed": name })),
        Err(error) => refuse(status(&error), error),
    }
}

fn change_site(world: &World, body: &[u8]) -> Response<Sending> {
    let control: SiteControl = match serde_json::from_slice(body) {
        Ok(control) => control,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, format!("{error}; {SITE_CONTROLS}")),
    };
    match world.site().apply(&control) {
        Ok(id) => reply(StatusCode::OK, &json!({ "changed": id })),
        Err(error) => refuse(status(&error), error),
    }
}

/// Lets the providers' clock stand at a moment, or follow the wall clock again.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Setting {
    at_ms: Option<i64>,
}

fn set_clock(world: &World, body: &[u8]) -> Response<Sending> {
    match serde_json::from_slice::<Setting>(body) {
        Ok(Setting { at_ms }) => {
            let clock = &world.site().clock;
            clock.set(at_ms);
            reply(StatusCode::OK, &json!({ "now_ms": clock.now_ms() }))
        }
        Err(error) => {
            refuse(StatusCode::BAD_REQUEST, format!("{error}; {{\"at_ms\":NUMBER}} or null is allowed"))
        }
    }
}

/// Lets people do so many things.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Work {
    things: u32,
}

fn work(world: &World, body: &[u8]) -> Response<Sending> {
    match serde_json::from_slice::<Work>(body) {
        Ok(Work { things }) if things <= THINGS_MAX => {
            world.work(things);
            reply(StatusCode::OK, &json!({ "done": world.things_done() }))
        }
        Ok(_) => refuse(StatusCode::BAD_REQUEST, format!("{THINGS_MAX} things at once are allowed")),
        Err(error) => refuse(StatusCode::BAD_REQUEST, format!("{error}; {{\"things\":NUMBER}} is allowed")),
    }
}

fn status(error: &Error) -> StatusCode {
    match error {
        Error::UnknownRepository(_)
        | Error::UnknownBranch { .. }
        | Error::UnknownMergeRequest { .. }
        | Error::UnknownIssue { .. }
        | Error::UnknownInSite(_) => StatusCode::NOT_FOUND,
        Error::NameTaken(_)
        | Error::BranchTaken { .. }
        | Error::NotSeeded(_)
        | Error::WrongMergeRequest { .. }
        | Error::WrongIssue { .. }
        | Error::WrongSprint { .. }
        | Error::NoSprints(_) => StatusCode::CONFLICT,
        Error::BadName(_) | Error::BadHook(_) | Error::UnknownZone(_) => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn refuse(status: StatusCode, why: impl Display) -> Response<Sending> {
    reply(status, &json!({ "message": why.to_string() }))
}

fn reply(status: StatusCode, value: &impl Serialize) -> Response<Sending> {
    let body = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(Sending::whole(Bytes::from(body), None));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}
