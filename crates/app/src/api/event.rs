//! `/api/v1/events`: what happened, as pages of JSON and as a stream (server-sent events).
//!
//! It must never show an event twice under two numbers, or hold a read open while it waits.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use axum::response::sse::{self, KeepAlive, Sse};
use domain::id::EventId;
use engine::{EventRow, SyncService};
use futures::Stream;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::access::{Caller, Viewer};
use super::extract::Query;
use super::page;
use super::problem::Problem;

/// How often a stream looks for new events: soon enough for a person, one indexed read each time.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Events that one look brings.
const LOOK_LIMIT: u32 = 200;

/// How long a stream lasts before its client comes again, so that a revoked token does not listen for ever.
const LASTS: Duration = Duration::from_mins(5);

/// How long a client waits before it comes again.
const RETRY: Duration = Duration::from_secs(2);

/// Something that happened.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Event {
    /// Its number; later events have larger ones.
    id: i64,
    at: i64,
    /// What happened, such as `sync.job.completed`.
    name: String,
    /// The tenant's number.
    tenant: Option<i64>,
    /// The source that it concerns.
    source: Option<i64>,
    /// The sync that it concerns; null of a request that was refused.
    #[serde(rename = "syncId")]
    sync: Option<i64>,
    /// The job that it concerns.
    job: Option<i64>,
    /// What there is to say of it.
    #[schema(value_type = Object)]
    fields: Value,
}

impl From<EventRow> for Event {
    fn from(row: EventRow) -> Self {
        Self {
            id: row.id.0,
            at: Timestamp::as_millisecond(row.at),
            name: row.name,
            tenant: row.tenant.map(|it| it.0),
            source: row.source.map(|it| it.0),
            sync: row.sync.map(|it| it.0),
            job: row.job.map(|it| it.0),
            fields: row.fields,
        }
    }
}

/// Events, the oldest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Events {
    events: Vec<Event>,
    /// What to ask for with `after` next time; the same as before when nothing happened.
    next: i64,
}

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct EventQuery {
    /// Only later ones than this.
    #[serde(default)]
    after: i64,
    /// How many at most.
    #[serde(default = "page::limit")]
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: u32,
}

/// Lists events, the oldest first.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "events", params(EventQuery), responses((status = 200, body = Events))
)]
pub(super) async fn list(
    caller: Caller<Viewer>,
    Query(query): Query<EventQuery>,
) -> Result<Json<Events>, Problem> {
    let limit = page::checked(query.limit)?;
    let rows = caller.service.events_after(EventId(query.after), limit).await?;
    let next = rows.last().map_or(query.after, |it| it.id.0);
    Ok(Json(Events { events: rows.into_iter().map(Into::into).collect(), next }))
}

/// Where a stream begins.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamQuery {
    /// Only later ones than this. The header `Last-Event-ID` comes first; without either the stream begins now.
    after: Option<i64>,
}

/// Sends events as they happen (server-sent events): `id` is the event's number, `event` its name, `data` the event.
///
/// A stream ends after five minutes; clients come again with `Last-Event-ID` and miss nothing.
#[utoipa::path(
    get, path = "/api/v1/events/stream", tag = "events",
    params(StreamQuery, ("last-event-id" = Option<i64>, Header, description = "The last event that the client has.")),
    responses((status = 200, content_type = "text/event-stream", body = String))
)]
pub(super) async fn stream(
    caller: Caller<Viewer>,
    State(api): State<Api>,
    headers: HeaderMap,
    Query(query): Query<StreamQuery>,
) -> Result<impl IntoResponse, Problem> {
    let permit = api.limits.last()?;
    let given = match headers.get("last-event-id") {
        Some(text) => Some(text.to_str().ok().and_then(|it| it.parse().ok()).ok_or_else(bad_id)?),
        None => query.after,
    };
    let after = match given {
        Some(id) => EventId(id),
        None => caller.service.last_event().await?,
    };
    let feed = Feed {
        service: caller.service,
        after,
        waiting: VecDeque::new(),
        until: Instant::now() + LASTS,
        began: false,
        stop: api.stop.clone(),
        _permit: permit,
    };
    // A proxy must not keep events back to send several at once.
    let headers = [(CACHE_CONTROL.as_str(), "no-store"), ("x-accel-buffering", "no")];
    Ok((headers, Sse::new(feed.stream()).keep_alive(KeepAlive::default())))
}

fn bad_id() -> Problem {
    Problem::invalid("last-event-id", "last-event-id: give the number of an event")
}

/// One client's place among the events.
struct Feed {
    service: SyncService,
    after: EventId,
    waiting: VecDeque<EventRow>,
    until: Instant,
    began: bool,
    stop: CancellationToken,
    /// Room for this stream; given back at its end.
    _permit: OwnedSemaphorePermit,
}

impl Feed {
    fn stream(self) -> impl Stream<Item = Result<sse::Event, Infallible>> {
        futures::stream::unfold(self, |mut feed| async move { Some((Ok(feed.next().await?), feed)) })
    }

    async fn next(&mut self) -> Option<sse::Event> {
        if !std::mem::replace(&mut self.began, true) {
            return Some(sse::Event::default().retry(RETRY));
        }
        loop {
            if let Some(row) = self.waiting.pop_front() {
                self.after = row.id;
                let (id, name) = (row.id.to_string(), row.name.clone());
                return sse::Event::default().id(id).event(name).json_data(Event::from(row)).ok();
            }
            match self.service.events_after(self.after, LOOK_LIMIT).await {
                Ok(rows) => self.waiting = rows.into(),
                Err(error) => {
                    // The client comes again, and is told then what is wrong.
                    tracing::warn!(%error, "an event stream ends");
                    return None;
                }
            }
            if self.waiting.is_empty() {
                tokio::select! {
                    () = self.stop.cancelled() => return None,
                    () = tokio::time::sleep_until(self.until) => return None,
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
            }
        }
    }
}
