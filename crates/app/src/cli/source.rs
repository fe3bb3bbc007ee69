//! `syncline source`: what is read, from where, and with which credential.
//!
//! A credential is only ever taken from the environment, and never shown.

mod add;
mod schedule;

use clap::{Args, Subcommand};
use engine::{Finding, SourceChanges, SourceRow, SyncService, provider_specs};
use serde_json::{Map, Value, json};

use super::App;
use super::view;
use crate::exit::{Exit, Failure};
use crate::output::{Field, Style, count, plural};
use crate::words::{self, About};

pub(crate) use add::AddArgs;
pub(crate) use schedule::{ScheduleArgs, next};

/// Add, list, show, check and remove sources
#[derive(Debug, Subcommand)]
pub(crate) enum SourceCommand {
    /// Add a source, or change one
    #[command(
        subcommand,
        subcommand_value_name = "PROVIDER",
        subcommand_help_heading = "Providers",
        arg_required_else_help = true,
        after_help = "Examples:
  syncline source add github --name acme --repo acme/api acme/web
  syncline source add github --help                what can be said of one provider's sources"
    )]
    Add(AddArgs),
    /// List the sources
    #[command(after_help = "Examples:\n  syncline source list --json | jq -r '.sources[].name'")]
    List,
    /// Show one source and what landed from it
    #[command(after_help = "Examples:\n  syncline source show acme")]
    Show(NameArgs),
    /// Ask the provider whether everything that a source names can be read
    #[command(after_help = "Examples:
  syncline source check acme

Nothing is landed. Ends with 1 when something cannot be read.")]
    Check(NameArgs),
    /// Let syncs of a source begin again
    #[command(after_help = "Examples:\n  syncline source enable acme")]
    Enable(NameArgs),
    /// Let no sync of a source begin until it is enabled
    #[command(after_help = "Examples:
  syncline source disable acme

What landed stays, and so does the credential. A sync that runs goes on: `syncline sync cancel`
stops it.")]
    Disable(NameArgs),
    /// Show or set when a source is synced by itself
    Schedule(ScheduleArgs),
    /// Remove a source with its credential and its place in the work
    #[command(after_help = "Examples:
  syncline source remove acme --yes             what landed from it stays
  syncline source remove acme --purge --yes     what landed from it is deleted too")]
    Remove(RemoveArgs),
}

/// Which source.
#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    /// The source
    #[arg(value_name = "NAME")]
    name: String,
}

/// Which source, and how thoroughly.
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// The source
    #[arg(value_name = "NAME")]
    name: String,
    /// Delete what landed from it too
    #[arg(long)]
    purge: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// Runs the command.
pub(crate) async fn run(command: SourceCommand, app: &App) -> anyhow::Result<Exit> {
    // What can be wrong with the credential is found before a database is made.
    let command = match command {
        SourceCommand::Add(args) => SourceCommand::Add(args.with_token()?),
        other => other,
    };
    let service = app.open().await?;
    let ended = match command {
        SourceCommand::Add(args) => add::run(args, app, &service).await,
        SourceCommand::List => list(app, &service).await,
        SourceCommand::Show(args) => show(&args.name, app, &service).await,
        SourceCommand::Schedule(args) => schedule::run(&args, app, &service).await,
        SourceCommand::Check(args) => check(&args.name, app, &service).await,
        SourceCommand::Enable(args) => switch(&args.name, true, app, &service).await,
        SourceCommand::Disable(args) => switch(&args.name, false, app, &service).await,
        SourceCommand::Remove(args) => remove(&args, app, &service).await,
    };
    service.close().await;
    ended
}

/// A source as JSON; of its credential only whether there is one.
fn source_json(source: &SourceRow) -> Value {
    json!({
        "id": source.id,
        "name": source.name,
        "tenant": source.tenant_name,
        "provider": source.provider,
        "baseUrl": source.settings.base_url,
        "options": source.settings.options,
        "enabled": source.enabled,
        "credential": source.has_secret,
        "createdAt": source.created_at.as_millisecond(),
    })
}

fn about(source: &SourceRow) -> About<'_> {
    About { source: &source.name, provider: &source.provider }
}

fn credential(source: &SourceRow) -> Field {
    if source.has_secret { Field::styled(Style::Good, "set") } else { Field::styled(Style::Careful, "none") }
}

fn state(source: &SourceRow) -> Field {
    if source.enabled { Field::styled(Style::Good, "on") } else { Field::styled(Style::Careful, "off") }
}

async fn list(app: &App, service: &SyncService) -> anyhow::Result<Exit> {
    let sources = service.sources().await?;
    app.out.json(&json!({ "sources": sources.iter().map(source_json).collect::<Vec<_>>() }))?;
    if sources.is_empty() {
        app.out.line("no source yet: add one with `syncline source add`, or see `syncline demo`")?;
        return Ok(Exit::Done);
    }
    let rows = sources.iter().map(|it| {
        vec![
            it.tenant_name.as_deref().unwrap_or("–").into(),
            Field::styled(Style::Strong, &it.name),
            about(it).title().into(),
            it.settings.base_url.as_str().into(),
            view::options_text(&it.settings.options).into(),
            credential(it),
            state(it),
        ]
    });
    let header = ["tenant", "name", "provider", "address", "reads", "credential", "state"];
    app.out.line(app.out.table(&header, rows).trim_fmt())?;
    Ok(Exit::Done)
}

async fn show(name: &str, app: &App, service: &SyncService) -> anyhow::Result<Exit> {
    let source = service.source(name).await?;
    let mut landed = service.landed_counts(source.id).await?;
    // Tables of other providers hold nothing of it.
    let spec = provider_specs().find(|it| it.provider == source.provider);
    landed.retain(|(table, _)| spec.is_none_or(|it| it.tables.iter().any(|own| own.name == table)));
    let syncs = service.syncs(Some(source.id), 1).await?;
    let now = service.clock().now();
    let mut value = source_json(&source);
    value["landed"] =
        landed.iter().map(|(table, rows)| (table.clone(), json!(rows))).collect::<Map<_, _>>().into();
    value["lastSync"] = syncs.first().map_or(Value::Null, |it| view::sync_json(about(&source), it, now));
    app.out.json(&value)?;
    let last = match syncs.first() {
        Some(it) => format!("sync {}, {}, {}", it.id, it.state, view::moment(Some(it.created_at), now)),
        None => "never synced".to_owned(),
    };
    let lines = [
        ("name", Field::styled(Style::Strong, &source.name)),
        ("tenant", source.tenant_name.as_deref().unwrap_or("–").into()),
        ("provider", about(&source).title().into()),
        ("address", source.settings.base_url.as_str().into()),
        ("reads", view::options_text(&source.settings.options).into()),
        ("credential", credential(&source)),
        ("state", state(&source)),
        ("added", view::moment(Some(source.created_at), now).into()),
        ("last sync", last.into()),
    ];
    let rows = lines.into_iter().map(|(name, field)| vec![Field::styled(Style::Quiet, name), field]);
    app.out.line(app.out.table(&[], rows).trim_fmt())?;
    app.out.line("")?;
    let rows = landed.iter().map(|(table, rows)| vec![table.as_str().into(), count(*rows).into()]);
    app.out.line(app.out.table(&["landed in", ">rows"], rows).trim_fmt())?;
    Ok(Exit::Done)
}

async fn check(name: &str, app: &App, service: &SyncService) -> anyhow::Result<Exit> {
    let source = service.source(name).await?;
    let checked = service.check_source(name).await?;
    let mut exit = Exit::Done;
    let mut values = Vec::new();
    let mut rows: Vec<Vec<Field>> = Vec::new();
    for it in checked {
        let place = it.partition.as_str();
        match it.finding {
            Finding::Readable { records, found } => {
                values.push(json!({ "partition": it.partition, "readable": true, "records": records, "found": found }));
                let says =
                    format!("{} on the first page: {}", plural(records as u64, "record"), view::some(&found));
                rows.push(vec![place.into(), Field::styled(Style::Good, "✓ readable"), says.into()]);
            }
            Finding::Refused { code, detail } => {
                exit = Exit::Failed;
                let mut value = view::fault_json(about(&source), &code, &detail);
                value["partition"] = json!(it.partition);
                value["readable"] = json!(false);
                values.push(value);
                let sentence = words::fault(about(&source), &code, &detail);
                rows.push(vec![place.into(), Field::styled(Style::Bad, "✗ refused"), sentence.into()]);
            }
        }
    }
    app.out.json(&json!({ "source": source.name, "ok": exit == Exit::Done, "checked": values }))?;
    app.out.line(app.out.table(&["what", "finding", "note"], rows).trim_fmt())?;
    Ok(exit)
}

async fn switch(name: &str, on: bool, app: &App, service: &SyncService) -> anyhow::Result<Exit> {
    let changes = SourceChanges { enabled: Some(on), ..SourceChanges::default() };
    service.update_source(name, changes).await?;
    let source = service.source(name).await?;
    app.out.json(&source_json(&source))?;
    if on {
        app.out.line(format!("`{name}` is on: read it with `syncline sync start --source {name} --wait`"))?;
    } else {
        app.out.line(format!(
            "`{name}` is off: no sync of it begins until `syncline source enable {name}`; one that runs goes on"
        ))?;
    }
    Ok(Exit::Done)
}

async fn remove(args: &RemoveArgs, app: &App, service: &SyncService) -> anyhow::Result<Exit> {
    let source = service.source(&args.name).await?;
    let rows: i64 = service.landed_counts(source.id).await?.iter().map(|it| it.1).sum();
    let what = if args.purge { "and delete" } else { "and keep" };
    let question =
        format!("Remove `{}` with its credential {what} {} landed rows?", source.name, count(rows));
    if !args.yes {
        if !app.out.can_ask() {
            return Err(Failure::usage(format!("nobody can be asked here: say --yes. {question}")));
        }
        if !app.out.ask(&question)? {
            app.out.note("nothing was removed");
            return Ok(Exit::Refused);
        }
    }
    service.remove_source(&args.name, args.purge).await?;
    app.out.json(&json!({ "removed": source.name, "purged": args.purge, "landedRows": rows }))?;
    let kept = if args.purge { "deleted" } else { "kept" };
    app.out.line(format!("removed `{}`; {} landed rows {kept}", source.name, count(rows)))?;
    Ok(Exit::Done)
}

/// Returns every provider's word, for messages.
fn provider_words() -> String {
    provider_specs().map(|it| it.provider).collect::<Vec<_>>().join(", ")
}
