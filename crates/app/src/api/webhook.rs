//! `/api/webhooks/{source}`: what providers deliver. Their signature is the only token.
//!
//! It must never tell a sender whether there is such a source, and never log or repeat a body.

use std::time::Duration;

use axum::Json;
use axum::body::{Body, HttpBody as _};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use domain::connector::delivery::Delivery;
use domain::id::SourceId;
use domain::page::Headers;
use engine::{Arrived, DeliveryQuery, DeliveryRow, Receipt, Refusal, Target};
use futures::StreamExt as _;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::access::{Admin, Caller, Viewer};
use super::extract::{Path, Query};
use super::limit::{DELIVERIES, Room};
use super::page;
use super::problem::Problem;

/// The largest delivery: what GitHub and GitLab cap theirs at.
const DELIVERY_BYTES_MAX: usize = 25 << 20;

/// How long a delivery may take to come: GitHub and GitLab wait ten seconds for its answer. A body that never ends would
/// keep its room for as long.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// What became of a delivery.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Accepted {
    /// The provider's id of it.
    delivery: String,
    /// Whether its hints wait for a request, or why they do not.
    state: Fate,
}

/// What becomes of a delivery.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = DeliveryState)]
#[serde(rename_all = "snake_case")]
enum Fate {
    /// Its hints become a request within seconds.
    Waiting,
    /// It says nothing of what is read.
    Ignored,
    /// It came before.
    Duplicate,
}

/// Takes a delivery. Only a right signature is accepted; whatever else is wrong, and where there is no such source, the
/// answer is the same.
#[utoipa::path(
    post, path = "/api/webhooks/{source}", tag = "webhooks", security(()),
    params(("source" = String, Path, description = "The source's number.")),
    request_body(content = Object, description = "What the provider sends, up to 25 MiB."),
    responses(
        (status = 202, body = Accepted, description = "It is kept, and followed within seconds."),
        (status = 200, body = Accepted, description = "It says nothing of what is read, or came before.")
    )
)]
pub(super) async fn receive(
    State(api): State<Api>,
    Path(source): Path<String>,
    request: Request,
) -> Result<(StatusCode, Json<Accepted>), Problem> {
    let (head, body) = request.into_parts();
    let headers = head
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())));
    let headers = Headers(headers.collect());
    // Given back when the delivery is dealt with: all that are under way share the room.
    let mut room = api.limits.room();
    let body = tokio::time::timeout(BODY_WITHIN, read(body, &mut room)).await;
    let body = body.unwrap_or_else(|_| {
        let says = "the body did not come within 10 seconds: deliver again";
        Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", says))
    })?;
    // What is no number is checked like a number that nobody has.
    let source = source.parse().ok().map(SourceId);
    let taken = api.service.receive(source, Delivery { headers: &headers, body: &body }).await?;
    let Receipt { id, arrived, .. } = taken.map_err(refused)?;
    let (status, state) = match arrived {
        Arrived::Waiting => (StatusCode::ACCEPTED, Fate::Waiting),
        Arrived::Ignored => (StatusCode::OK, Fate::Ignored),
        Arrived::Duplicate => (StatusCode::OK, Fate::Duplicate),
        Arrived::Full => return Err(refused(Refusal::Full)),
    };
    Ok((status, Json(Accepted { delivery: id, state })))
}

/// Reads a body as far as there is room.
async fn read(body: Body, room: &mut Room) -> Result<Vec<u8>, Problem> {
    let expected = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    let mut read = Vec::with_capacity(expected.min(DELIVERY_BYTES_MAX / 100));
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let cut = |_| Problem::new(StatusCode::BAD_REQUEST, "malformed", "the body could not be read");
        let chunk = chunk.map_err(cut)?;
        if read.len() + chunk.len() > DELIVERY_BYTES_MAX {
            let says = "the delivery is larger than 25 MiB";
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", says));
        }
        room.grow(read.len() + chunk.len())?;
        read.extend_from_slice(&chunk);
    }
    Ok(read)
}

fn refused(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Unsigned => {
            let says = "send a delivery that is signed with the source's secret: `syncline webhook secret` makes one";
            Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", says)
        }
        Refusal::Malformed => Problem::new(StatusCode::BAD_REQUEST, "malformed", "the body is no JSON"),
        Refusal::Full => {
            let says = "too many deliveries wait for this source, which cannot be synced: `syncline status` says why; \
                        deliver again later";
            // Whatever keeps the source from being synced lasts for minutes.
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", says).retry_after_s(300)
        }
    }
}

/// The secret of a webhook, as it is shown once.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Made {
    /// Where the provider is to deliver, at this server's address.
    #[schema(example = "/api/webhooks/3")]
    path: String,
    /// What the provider is to sign with; shown this once.
    secret: String,
}

/// Makes the secret that a source's deliveries are signed with. The one before ends at once.
#[utoipa::path(
    post, path = "/api/v1/sources/{source}/webhook", tag = "webhooks", params(("source" = i64, Path)),
    responses((status = 201, body = Made))
)]
pub(super) async fn make(
    caller: Caller<Admin>,
    Path(source): Path<i64>,
) -> Result<(StatusCode, Json<Made>), Problem> {
    let secret = caller.service.make_webhook_secret(SourceId(source)).await?;
    let made = Made { path: format!("{DELIVERIES}{source}"), secret: secret.expose().to_owned() };
    Ok((StatusCode::CREATED, Json(made)))
}

/// Where a source's deliveries go.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Webhook {
    /// Where the provider is to deliver, at this server's address.
    #[schema(example = "/api/webhooks/3")]
    path: String,
    /// Since when there is a secret; null where there is none, and no delivery is accepted.
    secret_since: Option<i64>,
    /// How much of what was read within seven days no delivery told of: an estimate, an hour behind.
    missed: Vec<Undelivered>,
}

/// What was read of a stream group, beside what was delivered of it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Undelivered {
    group: String,
    /// Changes that were read, of what is delivered change by change.
    found: u64,
    /// Of them, those that no delivery told of.
    missed: u64,
}

/// Shows where a source's deliveries go, and whether there is a secret.
#[utoipa::path(
    get, path = "/api/v1/sources/{source}/webhook", tag = "webhooks", params(("source" = i64, Path)),
    responses((status = 200, body = Webhook))
)]
pub(super) async fn show(caller: Caller<Viewer>, Path(source): Path<i64>) -> Result<Json<Webhook>, Problem> {
    let since = caller.service.webhook_since(SourceId(source)).await?;
    let secret_since = since.map(Timestamp::as_millisecond);
    let missed = caller.service.missed(SourceId(source)).await?;
    let missed = missed
        .into_iter()
        .map(|it| Undelivered { group: it.group, found: it.found, missed: it.missed })
        .collect();
    Ok(Json(Webhook { path: format!("{DELIVERIES}{source}"), secret_since, missed }))
}

/// A delivery as it was kept.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Kept {
    /// The provider's id of it.
    id: String,
    /// What the provider calls what happened.
    event: String,
    received_at: i64,
    /// What it hints at that is read; none where it was ignored.
    hints: Vec<Hinted>,
}

/// What a delivery hints at.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Hinted {
    group: String,
    /// Null for all of the group.
    stream: Option<String>,
    /// Null for all of the group.
    partition: Option<String>,
    /// Whether a request was made of it; the others wait.
    done: bool,
    /// The sync that was made of it, or that reads once more because of it.
    sync: Option<i64>,
    /// When it may be made into a request.
    due_at: i64,
    /// How often that was put off.
    tries: u64,
}

impl From<DeliveryRow> for Kept {
    fn from(row: DeliveryRow) -> Self {
        let hint = |it: engine::HintRow| Hinted {
            group: it.group,
            stream: it.stream,
            partition: it.partition,
            done: it.done,
            sync: it.sync.map(|it| it.0),
            due_at: it.due_at.as_millisecond(),
            tries: it.tries,
        };
        Self {
            id: row.id,
            event: row.event,
            received_at: row.received_at.as_millisecond(),
            hints: row.hints.into_iter().map(hint).collect(),
        }
    }
}

/// Deliveries, the newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Deliveries {
    deliveries: Vec<Kept>,
    /// What to ask for with `before`; null at the end.
    next: Option<String>,
}

/// Which deliveries.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// Only those that hint at a partition of this stream.
    stream: Option<String>,
    /// Only those that hint at this partition.
    partition: Option<String>,
    /// Only those that came at this time or later.
    since: Option<i64>,
    /// Only those before this place, which `next` named.
    before: Option<String>,
    /// How many at most.
    #[serde(default = "page::limit")]
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: u32,
}

/// Lists the deliveries for a source, the newest first. They are kept for seven days.
#[utoipa::path(
    get, path = "/api/v1/sources/{source}/deliveries", tag = "webhooks",
    params(("source" = i64, Path), ListQuery), responses((status = 200, body = Deliveries))
)]
pub(super) async fn list(
    caller: Caller<Viewer>,
    Path(source): Path<i64>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Deliveries>, Problem> {
    let limit = page::checked(query.limit)?;
    let of = match (query.stream, query.partition) {
        (Some(stream), Some(partition)) => Some(Target { stream, partition }),
        (None, None) => None,
        _ => return Err(Problem::invalid("partition", "partition: name stream and partition together")),
    };
    let time = |ms: i64, field: &'static str| {
        Timestamp::from_millisecond(ms).map_err(|_| Problem::invalid(field, format!("{field}: is no time")))
    };
    let since = query.since.map(|it| time(it, "since")).transpose()?;
    let before = query.before.map(|it| place(&it)).transpose()?;
    let asked = DeliveryQuery { of, since, before, limit };
    let rows = caller.service.deliveries(SourceId(source), asked).await?;
    let next = page::next(&rows, limit, |it| format!("{}:{}", it.received_at.as_millisecond(), it.id));
    Ok(Json(Deliveries { deliveries: rows.into_iter().map(Into::into).collect(), next }))
}

/// Reads a place that `next` named.
fn place(text: &str) -> Result<(Timestamp, String), Problem> {
    let parts = text
        .split_once(':')
        .and_then(|(ms, id)| Some((Timestamp::from_millisecond(ms.parse().ok()?).ok()?, id.to_owned())));
    parts.ok_or_else(|| Problem::invalid("before", "before: give what `next` named"))
}
