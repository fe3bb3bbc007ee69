//! Traces: sent to a collector where one is configured.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{Stage, add, synced, world};
use crate::support::until;

/// Everything that a collector was sent, one after the other.
type Received = Arc<Mutex<Vec<u8>>>;

async fn take(State(received): State<Received>, body: Bytes) {
    received.lock().unwrap().extend_from_slice(&body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_of_requests_and_jobs_reach_a_collector() {
    let received = Received::default();
    let router = axum::Router::new().route("/v1/traces", post(take)).with_state(received.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let mut collecting = JoinSet::new();
    collecting.spawn(async move { axum::serve(listener, router).await.unwrap() });
    let stage = Stage::set_with(&[("SYNCLINE_OTLP_ENDPOINT", &endpoint)]).await;
    let sim = world().await;
    let admin = stage.server.admin();
    let source = add(&admin, &sim, "acme").await;
    synced(&admin, source).await;
    // What is left is sent at the end.
    stage.server.stop().await;
    let sent = |word: &str| {
        let received = received.lock().unwrap();
        received.windows(word.len()).any(|it| it == word.as_bytes())
    };
    for word in ["syncline", "request", "job", "commit", "provider_request", "/api/v1/sources"] {
        until(word, Duration::from_secs(10), async || sent(word).then_some(())).await;
    }
    assert!(!sent(crate::support::TOKEN.1), "a credential was sent to the collector");
}
