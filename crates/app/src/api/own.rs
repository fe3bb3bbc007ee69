//! What the server says of itself: its OpenAPI document, and its metrics.
//!
//! Metrics are of all tenants together; they must never have a tenant, a source or anything a client wrote as a label.

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::Api;
use super::access::{Caller, Viewer};
use super::problem::Problem;
use crate::telemetry::Metrics;

/// The media type of Prometheus' text.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Describes this API.
#[utoipa::path(
    get, path = "/api/openapi.json", tag = "server", responses((status = 200, body = Object))
)]
pub(super) async fn document(_: Caller<Viewer>, State(api): State<Api>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], api.document.clone())
}

/// Shows the server's metrics, for Prometheus. They are of all tenants, so only the tenant `default` sees them.
#[utoipa::path(
    get, path = "/metrics", tag = "server", responses((status = 200, content_type = "text/plain", body = String))
)]
pub(super) async fn metrics(
    caller: Caller<Viewer>,
    State(api): State<Api>,
) -> Result<impl IntoResponse, Problem> {
    if !caller.sees_all() {
        let says = "metrics are of all tenants: use a token of the tenant `default`";
        return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", says));
    }
    Ok(([(CONTENT_TYPE, TEXT)], api.metrics.render().await?))
}

/// Shows the server's metrics to whoever reaches the address that is for them alone.
pub(super) async fn unguarded(State(metrics): State<Metrics>) -> Response {
    match metrics.render().await {
        Ok(text) => ([(CONTENT_TYPE, TEXT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be told");
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
    }
}
