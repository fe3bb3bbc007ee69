//! `syncline chore`: what keeps everything in order, and what each chore last did.

use clap::{Args, Subcommand};
use engine::{ChoreRow, SyncService};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::App;
use super::source::next;
use super::view;
use crate::exit::Exit;
use crate::output::{Field, Style, count, span};

/// List the chores that keep everything in order, and run one
#[derive(Debug, Subcommand)]
pub(crate) enum ChoreCommand {
    /// List the chores, with what each last did
    #[command(after_help = "Examples:
  syncline chore list
  syncline chore list --json | jq '.chores[] | select(.lastRun.error != null)'")]
    List,
    /// Run a chore now, in this process
    #[command(after_help = "Examples:\n  syncline chore run rescue")]
    Run(RunArgs),
}

/// Which chore.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The chore
    #[arg(value_name = "NAME")]
    name: String,
}

/// Runs the command.
pub(crate) async fn run(command: ChoreCommand, app: &App) -> anyhow::Result<Exit> {
    // Chores are of all tenants together.
    let service = app.open_whole().await?;
    let ended = match command {
        ChoreCommand::List => list(app, &service).await,
        ChoreCommand::Run(args) => run_one(&args.name, app, &service).await,
    };
    service.close().await;
    ended
}

async fn list(app: &App, service: &SyncService) -> anyhow::Result<Exit> {
    let now = service.clock().now();
    let chores = service.chores().await?;
    app.out.json(&json!({ "chores": chores.iter().map(chore_json).collect::<Vec<_>>() }))?;
    let rows = chores.iter().map(|it| {
        vec![
            Field::styled(Style::Strong, it.name),
            span(it.every.unsigned_abs()).into(),
            next(it.next_at, now).into(),
            view::moment(it.last.as_ref().map(|it| it.at), now).into(),
            outcome(it),
            it.does.into(),
        ]
    });
    app.out.line(
        app.out.table(&["chore", "every", "next", "last", "what it did", "what for"], rows).trim_fmt(),
    )?;
    if !app.config.schedule.enabled {
        app.out.note(
            "chores are switched off by sync_enabled = false; workers still free jobs whose worker is gone",
        );
    }
    Ok(Exit::Done)
}

async fn run_one(name: &str, app: &App, service: &SyncService) -> anyhow::Result<Exit> {
    let chore = service.run_chore(name).await?;
    app.out.json(&chore_json(&chore))?;
    app.out.line(format!("{}: {}", chore.name, told(&chore)))?;
    let failed = chore.last.is_some_and(|it| it.error.is_some());
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

fn chore_json(chore: &ChoreRow) -> Value {
    let last = chore.last.as_ref().map(|it| {
        json!({
            "at": it.at.as_millisecond(),
            "node": it.node,
            "tookMs": it.took.map(|it| i64::try_from(it.as_millis()).unwrap_or(i64::MAX)),
            "did": it.did,
            "error": it.error,
        })
    });
    json!({
        "name": chore.name,
        "does": chore.does,
        "everyMs": i64::try_from(chore.every.as_millis()).unwrap_or(i64::MAX),
        "nextAt": chore.next_at.map(Timestamp::as_millisecond),
        "runs": chore.runs,
        "lastRun": last,
    })
}

fn outcome(chore: &ChoreRow) -> Field {
    match &chore.last {
        Some(last) if last.error.is_some() => Field::styled(Style::Bad, told(chore)),
        _ => told(chore).into(),
    }
}

/// Says what the last run did.
fn told(chore: &ChoreRow) -> String {
    let Some(last) = &chore.last else { return String::new() };
    if let Some(error) = &last.error {
        return format!("failed: {error}");
    }
    let numbers = last.did.iter().filter(|it| *it.1 > 0);
    let numbers: Vec<String> = numbers.map(|(what, number)| format!("{} {what}", count(*number))).collect();
    if numbers.is_empty() { "nothing to do".to_owned() } else { numbers.join(", ") }
}
