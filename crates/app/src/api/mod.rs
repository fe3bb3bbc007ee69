//! The HTTP API: one function per endpoint, and the table of them.
//!
//! It asks the engine through its one door, always in the scope of the token's tenant, and never decides what may
//! sync. Begin with [`quick`] and its neighbours, which are the table; docs/api.md is its manual.

mod access;
mod ask;
mod budget;
mod census;
mod chore;
mod document;
mod event;
mod extract;
mod health;
mod limit;
mod listen;
mod loops;
mod own;
mod page;
mod plan;
mod problem;
mod record;
mod request;
mod schedule;
mod source;
mod status;
mod sync;
mod tenant;
mod webhook;
mod why;
mod word;

use std::num::NonZeroU32;
use std::ops::Deref;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use engine::SyncService;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use limit::Limits;
use problem::Problem;
use request::Ids;

use crate::telemetry::Metrics;

pub(crate) use listen::serve;

/// How the API is set up.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// Whether a proxy stands in front, whose word about a client's address is taken.
    pub(crate) behind_tls_proxy: bool,
    /// Requests that one token may make in a minute.
    pub(crate) requests_per_minute: NonZeroU32,
}

/// What every endpoint is given.
#[derive(Clone)]
struct Api(Arc<Shared>);

struct Shared {
    /// The engine in nobody's scope; handlers get theirs from [`access`].
    service: SyncService,
    options: Options,
    limits: Limits,
    ids: Ids,
    metrics: Metrics,
    document: String,
    stop: CancellationToken,
    began_ms: i64,
}

impl Deref for Api {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// Makes the API over an engine. Answers that last end when `stop` is cancelled.
pub(crate) fn router(
    service: SyncService,
    options: Options,
    metrics: Metrics,
    stop: CancellationToken,
) -> Router {
    let began_ms = service.clock().now().as_millisecond();
    let document = OpenApiRouter::with_openapi(document::Beginning::openapi())
        .merge(open())
        .merge(quick())
        .merge(lasting())
        .into_openapi();
    let api = Api(Arc::new(Shared {
        limits: Limits::new(options.requests_per_minute),
        ids: Ids::new(began_ms),
        began_ms,
        document: document::finish(document),
        service,
        options,
        metrics,
        stop,
    }));
    let known = from_fn_with_state(api.clone(), access::authenticate);
    let timed = from_fn_with_state(api.clone(), limit::by_time);
    Router::from(quick())
        .route_layer(known.clone())
        .merge(open())
        .route_layer(timed)
        .merge(Router::from(lasting()).route_layer(from_fn(limit::by_body)).route_layer(known))
        .fallback(problem::no_such_endpoint)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(DefaultBodyLimit::max(limit::BODY_BYTES_MAX))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(api.clone(), limit::by_address))
        .layer(from_fn_with_state(api.clone(), request::around))
        .with_state(api)
}

/// Makes what answers on the address for metrics alone; nobody is asked for a token there.
pub(crate) fn metrics_router(metrics: Metrics) -> Router {
    Router::new().route("/metrics", get(own::unguarded)).with_state(metrics)
}

/// Endpoints that need no token, or say themselves when they do.
fn open() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(health::health)).routes(routes!(webhook::receive))
}

/// Endpoints that answer at once. Each needs a token, and its function says which role.
fn quick() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(loops::status))
        .routes(routes!(status::list))
        .routes(routes!(status::show))
        .routes(routes!(source::list, source::add))
        .routes(routes!(source::show, source::change, source::remove))
        .routes(routes!(why::show))
        .routes(routes!(plan::list))
        .routes(routes!(plan::show))
        .routes(routes!(webhook::show, webhook::make))
        .routes(routes!(webhook::list))
        .routes(routes!(source::streams))
        .routes(routes!(source::partitions))
        .routes(routes!(budget::list))
        .routes(routes!(census::list))
        .routes(routes!(census::show))
        .routes(routes!(census::start))
        .routes(routes!(census::approve))
        .routes(routes!(census::undo))
        .routes(routes!(schedule::list))
        .routes(routes!(schedule::set))
        .routes(routes!(sync::list))
        .routes(routes!(sync::show))
        .routes(routes!(sync::cancel))
        .routes(routes!(sync::jobs))
        .routes(routes!(record::tables))
        .routes(routes!(record::list))
        .routes(routes!(event::list))
        .routes(routes!(tenant::list, tenant::add))
        .routes(routes!(tenant::show, tenant::revoke))
        .routes(routes!(tenant::tokens, tenant::add_token))
        .routes(routes!(tenant::revoke_token))
        .routes(routes!(chore::list))
        .routes(routes!(own::document))
        .routes(routes!(own::metrics))
}

/// Endpoints whose answers may last, so that they bound themselves.
fn lasting() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(loops::commits))
        .routes(routes!(loops::jira))
        .routes(routes!(sync::start))
        .routes(routes!(event::stream))
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    Problem::internal().into_response()
}
