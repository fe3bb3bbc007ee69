//! `syncline serve`: the API, the schedules and the workers in one process, until a signal stops it.
//!
//! It must never be reached from elsewhere without TLS: the proxy in front is said in the configuration.

use std::net::SocketAddr;

use axum::Router;
use clap::Args;
use domain::id::SourceId;
use engine::SyncService;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::App;
use super::stop::Stop;
use crate::api;
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::telemetry::Metrics;

/// Serve the API, with schedules and workers, until a signal stops it
#[derive(Debug, Args)]
#[command(
    long_about = "Serves the API, fires the schedules and works on syncs, all in this process.\n\nAny number of such \
                  processes may share one PostgreSQL database: a tick fires once, and each job runs in one of them. \
                  Ctrl-C and SIGTERM stop it within 10 seconds: pages under way are committed or dropped, and \
                  nothing is lost.",
    after_help = "Examples:
  syncline serve                            answer on 127.0.0.1:7878
  syncline serve --listen 127.0.0.1:0       on a free port, which the first line names
  syncline serve --listen 0.0.0.0:7878      needs behind_tls_proxy = true: it speaks no TLS itself
  syncline token create --name me --role admin; curl -H \"Authorization: Bearer $TOKEN\" \\
      http://127.0.0.1:7878/api/v1/status

Ends with 0 when a signal stopped it, 5 when the database stayed out of reach."
)]
pub(crate) struct ServeArgs {
    /// Where to answer [default: 127.0.0.1:7878, or the setting `listen`]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
}

/// Runs the command.
pub(crate) async fn run(args: &ServeArgs, app: &App) -> anyhow::Result<Exit> {
    let config = &app.config;
    // Before the database is opened: whoever starts a second server by mistake is told so at once.
    let api = bind(args.listen.unwrap_or(config.listen), config).await?;
    let metrics = match config.metrics_listen {
        Some(address) => Some(bind(address, config).await?),
        None => None,
    };
    let service = app.open().await?;
    let listening = Stop::listen(&app.out, "stopping cleanly; press Ctrl-C again to stop at once")?;
    tell(app, &api, metrics.as_ref())?;
    let served = answer(app, &service, Listeners { api, metrics }, None, listening.token()).await;
    service.close().await;
    served?;
    Ok(Exit::Done)
}

/// Where a server answers.
pub(crate) struct Listeners {
    pub(crate) api: TcpListener,
    /// Where it shows its metrics to anybody.
    pub(crate) metrics: Option<TcpListener>,
}

/// Answers, fires schedules and works until `stop` is cancelled. With `only`, no other source is synced by this process.
pub(crate) async fn answer(
    app: &App,
    service: &SyncService,
    listeners: Listeners,
    only: Option<Vec<SourceId>>,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let metrics = Metrics::install(service.clone())?;
    let options = api::Options {
        behind_tls_proxy: app.config.behind_tls_proxy,
        requests_per_minute: app.config.api_requests_per_minute,
    };
    let router = api::router(service.clone(), options, metrics.clone(), stop.clone());
    let mut answering = JoinSet::new();
    let handle = app.answering.clone().unwrap_or_else(Handle::current);
    let mut answer = |listener: TcpListener, router: Router| -> std::io::Result<()> {
        // A listener belongs to where it was made.
        let (listener, stop, _there) = (listener.into_std()?, stop.clone(), handle.enter());
        let listener = TcpListener::from_std(listener)?;
        answering.spawn_on(api::serve(listener, router, stop), &handle);
        Ok(())
    };
    answer(listeners.api, router)?;
    if let Some(listener) = listeners.metrics {
        answer(listener, api::metrics_router(metrics))?;
    }
    let working = async {
        let worked = match only {
            None => service.run(stop.clone()).await,
            Some(sources) => service.run_only(sources, stop.clone()).await,
        };
        // Without workers an API would only collect work; whoever watches the process starts it again.
        stop.cancel();
        worked
    };
    let answering = async {
        // The first that ends, by a signal or by a fault, ends the others: work that nobody could ask about is not begun.
        let first = answering.join_next().await;
        stop.cancel();
        answering.join_all().await;
        first
    };
    let (worked, answered) = tokio::join!(working, answering);
    if let Some(Err(error)) = answered {
        return Err(anyhow::Error::new(error).context("the API has ended"));
    }
    Ok(worked?)
}

/// Takes an address to answer on, unless it would be reached from elsewhere in plain words.
pub(crate) async fn bind(address: SocketAddr, config: &Config) -> anyhow::Result<TcpListener> {
    if !address.ip().is_loopback() && !config.behind_tls_proxy {
        return Err(Failure::usage(format!(
            "{address} can be reached from elsewhere, and syncline speaks no TLS: put a proxy that does in front and \
             say behind_tls_proxy = true, or listen on 127.0.0.1"
        )));
    }
    TcpListener::bind(address).await.map_err(|error| {
        let says = format!("cannot listen on {address} ({error}): name another address with --listen");
        Failure::with(Exit::Failed, "listen", says)
    })
}

/// Says where it answers, before anything else: with port 0 nobody could know.
fn tell(app: &App, listener: &TcpListener, metrics: Option<&TcpListener>) -> anyhow::Result<()> {
    let url = format!("http://{}", listener.local_addr()?);
    let metrics = match metrics {
        Some(it) => Some(format!("http://{}/metrics", it.local_addr()?)),
        None => None,
    };
    app.out.json(&json!({ "listening": url, "metrics": metrics }))?;
    app.out.line(format!("listening on {url}"))?;
    if let Some(metrics) = metrics {
        app.out.line(format!("metrics on {metrics}"))?;
    }
    // What runs it in the background has no Ctrl-C.
    let stop = if app.out.is_terminal() { "; Ctrl-C stops it" } else { "" };
    app.out.note(format!("make a token with `syncline token create`{stop}"));
    Ok(())
}
