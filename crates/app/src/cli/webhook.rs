//! `syncline webhook`: where a provider delivers, what it signs with, and what came.
//!
//! A secret is shown once, when it is made, and on standard output only.

use clap::{Args, Subcommand};
use engine::{DeliveryQuery, DeliveryRow, HintRow, Missed, SourceRow, SyncService};
use jiff::Timestamp;
use serde_json::{Value, json};
use url::Url;

use super::App;
use super::view;
use crate::exit::{Exit, Failure};
use crate::output::{Field, Style};
use crate::words;

/// What stands for the server's address where nobody named it.
const SOMEWHERE: &str = "https://YOUR-SERVER";

/// Have a provider tell what changes
#[derive(Debug, Subcommand)]
pub(crate) enum WebhookCommand {
    /// Show the address that a provider delivers to
    #[command(after_help = "Examples:
  syncline webhook url acme --at https://sync.example.com

Enter it at the provider, with the content type application/json and the secret that
`syncline webhook secret` makes. docs/webhooks.md says where, for each provider.")]
    Url(UrlArgs),
    /// Make the secret that a provider signs with; it is shown this once
    #[command(after_help = "Examples:
  syncline webhook secret acme
  syncline webhook secret acme --rotate            another one; the one before ends at once
  syncline webhook secret acme --json | jq -r .secret

At GitLab it serves as the signing token, and as the secret token where there is no other.")]
    Secret(SecretArgs),
    /// List what was delivered, the newest first
    #[command(after_help = "Examples:
  syncline webhook deliveries acme
  syncline webhook deliveries acme --json | jq '.deliveries[] | select(.hints == [])'

A delivery that hints at nothing that is read was accepted and ignored. They are kept for seven days.
Below stands how much of what was read in that time no delivery told of: an estimate, an hour behind.")]
    Deliveries(DeliveriesArgs),
}

/// Of which source, and where the server is.
#[derive(Debug, Args)]
pub(crate) struct UrlArgs {
    /// The source
    #[arg(value_name = "NAME")]
    name: String,
    /// Where the provider reaches this server
    #[arg(long, value_name = "URL")]
    at: Option<String>,
}

/// Of which source.
#[derive(Debug, Args)]
pub(crate) struct SecretArgs {
    /// The source
    #[arg(value_name = "NAME")]
    name: String,
    /// Make another one in place of the one that there is
    #[arg(long)]
    rotate: bool,
}

/// Of which source, and how many.
#[derive(Debug, Args)]
pub(crate) struct DeliveriesArgs {
    /// The source
    #[arg(value_name = "NAME")]
    name: String,
    /// How many at most, 1 to 500
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    limit: u32,
}

/// Runs the command.
pub(crate) async fn run(command: WebhookCommand, app: &App) -> anyhow::Result<Exit> {
    let service = app.open().await?;
    let ended = match command {
        WebhookCommand::Url(args) => url(&args, app, &service).await,
        WebhookCommand::Secret(args) => secret(&args, app, &service).await,
        WebhookCommand::Deliveries(args) => deliveries(&args, app, &service).await,
    };
    service.close().await;
    ended
}

fn path(source: &SourceRow) -> String {
    format!("/api/webhooks/{}", source.id)
}

/// Passes an address that a provider can deliver to.
fn reachable(at: &str) -> anyhow::Result<&str> {
    let is_one = |it: &Url| {
        let plain = it.query().is_none() && it.fragment().is_none() && it.username().is_empty();
        matches!(it.scheme(), "https" | "http") && it.has_host() && plain && it.password().is_none()
    };
    if at.contains(char::is_whitespace) || !Url::parse(at).is_ok_and(|it| is_one(&it)) {
        let says = format!("--at: `{at}` is no address to deliver to; say it as https://sync.example.com");
        return Err(Failure::with(Exit::Usage, "invalid", says));
    }
    Ok(at)
}

async fn url(args: &UrlArgs, app: &App, service: &SyncService) -> anyhow::Result<Exit> {
    let at = args.at.as_deref().map_or(Ok(SOMEWHERE), reachable)?;
    let source = service.source(&args.name).await?;
    let since = service.webhook_since(source.id).await?;
    let url = format!("{}{}", at.trim_end_matches('/'), path(&source));
    app.out.json(&json!({
        "source": source.name,
        "path": path(&source),
        "url": args.at.is_some().then_some(&url),
        "secretSince": since.map(Timestamp::as_millisecond),
    }))?;
    app.out.line(&url)?;
    if since.is_none() {
        let name = &source.name;
        app.out.note(format!(
            "no delivery is accepted yet: make its secret with `syncline webhook secret {name}`"
        ));
    }
    Ok(Exit::Done)
}

async fn secret(args: &SecretArgs, app: &App, service: &SyncService) -> anyhow::Result<Exit> {
    let source = service.source(&args.name).await?;
    if !args.rotate && service.webhook_since(source.id).await?.is_some() {
        let name = &source.name;
        let says = format!(
            "`{name}` has a secret already, which is not shown again; make another one with `syncline webhook secret \
             {name} --rotate`, and enter it at the provider"
        );
        return Err(Failure::with(Exit::Refused, "conflict", says));
    }
    let made = service.make_webhook_secret(source.id).await?;
    app.out.json(&json!({ "source": source.name, "path": path(&source), "secret": made.expose() }))?;
    app.out.line(made.expose())?;
    app.out.note("this is shown once; only a sealed copy is kept");
    Ok(Exit::Done)
}

async fn deliveries(args: &DeliveriesArgs, app: &App, service: &SyncService) -> anyhow::Result<Exit> {
    let source = service.source(&args.name).await?;
    let query = DeliveryQuery { limit: args.limit, ..DeliveryQuery::default() };
    let rows = service.deliveries(source.id, query).await?;
    let missed = service.missed(source.id).await?;
    app.out.json(&json!({
        "deliveries": rows.iter().map(delivery_json).collect::<Vec<_>>(),
        "missed": missed.iter().map(missed_json).collect::<Vec<_>>(),
    }))?;
    if rows.is_empty() {
        app.out.line("nothing was delivered within seven days")?;
    } else {
        list(&rows, app, service.clock().now())?;
    }
    for it in &missed {
        app.out.note(words::missed(it));
    }
    Ok(Exit::Done)
}

fn list(rows: &[DeliveryRow], app: &App, now: Timestamp) -> anyhow::Result<()> {
    let fields = rows.iter().map(|it| {
        vec![
            view::moment(Some(it.received_at), now).into(),
            Field::styled(Style::Strong, &it.event),
            hints(&it.hints).into(),
            state(it),
            it.id.as_str().into(),
        ]
    });
    let header = ["came", "event", "hints at", "state", "delivery"];
    Ok(app.out.line(app.out.table(&header, fields).trim_fmt())?)
}

fn missed_json(it: &Missed) -> Value {
    json!({ "group": it.group, "found": it.found, "missed": it.missed })
}

fn hints(hints: &[HintRow]) -> String {
    let named = |it: &HintRow| match (&it.stream, &it.partition) {
        (Some(stream), Some(partition)) => format!("{stream} {partition}"),
        _ => format!("all of {}", it.group),
    };
    hints.iter().map(named).collect::<Vec<_>>().join(", ")
}

fn state(row: &DeliveryRow) -> Field {
    let sync = row.hints.iter().find_map(|it| it.sync);
    match (row.hints.is_empty(), row.hints.iter().all(|it| it.done), sync) {
        (true, ..) => Field::styled(Style::Quiet, "ignored"),
        (_, false, _) => Field::styled(Style::Careful, "waiting"),
        (_, true, Some(sync)) => Field::styled(Style::Good, format!("sync {sync}")),
        (_, true, None) => Field::styled(Style::Quiet, "not read any more"),
    }
}

fn delivery_json(row: &DeliveryRow) -> Value {
    let hint = |it: &HintRow| {
        json!({
            "group": it.group,
            "stream": it.stream,
            "partition": it.partition,
            "done": it.done,
            "sync": it.sync,
            "dueAt": it.due_at.as_millisecond(),
            "tries": it.tries,
        })
    };
    json!({
        "id": row.id,
        "event": row.event,
        "receivedAt": row.received_at.as_millisecond(),
        "hints": row.hints.iter().map(hint).collect::<Vec<_>>(),
    })
}
