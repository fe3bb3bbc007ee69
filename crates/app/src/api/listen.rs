//! The listener: takes connections, bounds what each may cost, and lets requests under way end when it stops.
//!
//! It speaks HTTP/1.1 without TLS; a proxy in front does the rest. It must never read a request's content.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// Connections at once. Each costs a task and some KiB; browsers keep six open, so this serves a large team.
const CONNECTIONS_MAX: usize = 1_024;

/// Headers of one request: browsers and proxies send some thirty.
const HEADERS_MAX: usize = 100;

/// The size of a request's line and headers together: what nginx takes by default.
const HEAD_BYTES_MAX: usize = 32 << 10;

/// How long a connection may be silent, before or between requests. A proxy keeps its own for a minute.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

/// How long requests under way may take to end after a signal; the process has ten seconds in all.
const DRAIN: Duration = Duration::from_secs(5);

/// How long to wait after a connection could not be taken, mostly because files ran out: others may end meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// Serves until `stop` is cancelled, then lets what is under way end.
pub(crate) async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let permit = tokio::select! {
            () = stop.cancelled() => break,
            permit = room.clone().acquire_owned() => permit,
            Some(_) = connections.join_next() => continue,
        };
        let (stream, peer) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        let answering = answer(stream, peer, router.clone(), graceful.watcher());
        connections.spawn(async move {
            answering.await;
            drop(permit);
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not end in time and are cut off");
    }
    connections.shutdown().await;
}

async fn answer(stream: TcpStream, peer: SocketAddr, router: Router, watcher: Watcher) {
    // Answers are small and written at once: waiting to fill packets only delays them.
    stream.set_nodelay(true).ok();
    let peer = Peer(peer.ip().to_canonical());
    let service = router.map_request(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        request
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    // A client that goes away in the middle is none of our troubles.
    let _ended = watcher.watch(connection).await;
}
