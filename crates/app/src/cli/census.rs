//! `syncline census`: what is no longer at the providers, and what became of it; where much is gone, a person's answer.
//!
//! It must never decide what is gone.

use clap::{Args, Subcommand};
use domain::census::{Absence, CensusState};
use engine::{AbsenceRow, CensusRow, SyncService};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::App;
use super::view;
use crate::exit::Exit;
use crate::output::{Field, Style, count, plural};
use crate::words::{self, About};

/// Censuses that are shown.
const SHOWN_MAX: u32 = 100;

/// Show what is no longer at the providers, and answer where much is
#[derive(Debug, Subcommand)]
pub(crate) enum CensusCommand {
    /// List the latest censuses, or show what one found absent
    #[command(after_help = "Examples:
  syncline census show
  syncline census show 12
  syncline census show --json | jq '.censuses[] | select(.state == \"asks\")'

States: counting, clear (nothing is gone), applied (what is gone was marked as deleted), asks (so
much is gone that you are asked), approved, undone, superseded (a later one took its place),
failed (it says nothing).")]
    Show(ShowArgs),
    /// Count a source now: list its ids and compare them with what landed
    #[command(after_help = "Examples:
  syncline census start --source acme
  syncline census start --source acme --stream merge_requests

A running server, or the next `syncline sync start --wait`, does it, after everything else.")]
    Start(StartArgs),
    /// Let what a census found to be gone be marked as deleted
    #[command(after_help = "Examples:\n  syncline census approve 12")]
    Approve(OneArgs),
    /// Bring back what a census marked as deleted; no census marks it again unasked
    #[command(after_help = "Examples:\n  syncline census undo 12")]
    Undo(OneArgs),
}

/// What to show.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// The census; without one the latest of all
    #[arg(value_name = "ID")]
    id: Option<i64>,
    /// Only of this source
    #[arg(long, value_name = "NAME", conflicts_with = "id")]
    source: Option<String>,
}

/// What to count.
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// The source
    #[arg(long, value_name = "NAME")]
    source: String,
    /// Only this stream
    #[arg(long, value_name = "STREAM")]
    stream: Option<String>,
}

/// Which census.
#[derive(Debug, Args)]
pub(crate) struct OneArgs {
    /// The census
    #[arg(value_name = "ID")]
    id: i64,
}

/// Runs the command.
pub(crate) async fn run(command: CensusCommand, app: &App) -> anyhow::Result<Exit> {
    let service = app.open().await?;
    let ended = match command {
        CensusCommand::Show(ShowArgs { id: Some(id), .. }) => show_one(id, app, &service).await,
        CensusCommand::Show(args) => show(&args, app, &service).await,
        CensusCommand::Start(args) => start(&args, app, &service).await,
        CensusCommand::Approve(args) => approve(args.id, app, &service).await,
        CensusCommand::Undo(args) => undo(args.id, app, &service).await,
    };
    service.close().await;
    ended
}

async fn show(args: &ShowArgs, app: &App, service: &SyncService) -> anyhow::Result<Exit> {
    let source = match &args.source {
        Some(name) => Some(service.source(name).await?.id),
        None => None,
    };
    let rows = service.censuses(source, None, SHOWN_MAX).await?;
    app.out.json(&json!({ "censuses": rows.iter().map(census_json).collect::<Vec<_>>() }))?;
    if rows.is_empty() {
        app.out.line(
            "nothing was counted yet: chores do it by and by, or `syncline census start --source NAME`",
        )?;
        return Ok(Exit::Done);
    }
    let now = service.clock().now();
    let header = [
        ">census",
        "source",
        "stream",
        "part",
        "state",
        "begun",
        ">listed",
        ">known",
        ">deleted",
        ">moved",
        ">no access",
        ">unknown",
        ">marked",
        "note",
    ];
    app.out.line(app.out.table(&header, rows.iter().map(|it| fields(it, now))).trim_fmt())?;
    Ok(Exit::Done)
}

async fn show_one(id: i64, app: &App, service: &SyncService) -> anyhow::Result<Exit> {
    let (row, absences) = service.census(id).await?;
    let values: Vec<Value> = absences.iter().map(absence_json).collect();
    app.out.json(&json!({ "census": census_json(&row), "absences": values }))?;
    let part = row.title.as_deref().unwrap_or(&row.partition);
    let (listed, known) = (row.listed.map_or_else(|| "–".to_owned(), count), row.known.unwrap_or(0));
    let state = row.state;
    app.out.line(format!(
        "census {id} of {} {} {part}: {state}; {listed} listed, {} known",
        row.source_name,
        row.stream,
        count(known)
    ))?;
    let note = note(&row);
    if !note.is_empty() {
        app.out.line(note)?;
    }
    if absences.is_empty() {
        return Ok(Exit::Done);
    }
    let rows = absences.iter().map(|it| {
        let (word, style) = match it.absence {
            Some(Absence::Deleted) => ("deleted", Style::Bad),
            Some(Absence::Moved) => ("moved", Style::Careful),
            Some(Absence::AccessLost) => ("no access", Style::Careful),
            Some(Absence::Unobserved) => ("unknown", Style::Quiet),
            None => ("not looked up yet", Style::Quiet),
        };
        let becomes = match (it.marked, it.restored) {
            (true, _) => "marked",
            (_, true) => "brought back",
            _ => "kept",
        };
        let to = it.moved_to.as_deref().unwrap_or_default();
        vec![Field::styled(Style::Strong, &it.key), Field::styled(style, word), to.into(), becomes.into()]
    });
    app.out.line(app.out.table(&["id", "became", "to", "row"], rows).trim_fmt())?;
    Ok(Exit::Done)
}

async fn start(args: &StartArgs, app: &App, service: &SyncService) -> anyhow::Result<Exit> {
    let source = service.source(&args.source).await?;
    let begun = service.start_census(source.id, args.stream.as_deref()).await?;
    app.out.json(&json!({ "source": source.name, "begun": begun }))?;
    app.out.line(match begun {
        0 => "nothing to count: no part was read yet, or all are being counted".to_owned(),
        begun => {
            format!("{} of `{}` will be counted, after everything else", plural(begun, "part"), source.name)
        }
    })?;
    Ok(Exit::Done)
}

async fn approve(id: i64, app: &App, service: &SyncService) -> anyhow::Result<Exit> {
    let records = service.approve_census(id).await?;
    answered(id, records, app, service).await?;
    let rows = plural(records, "row");
    app.out.line(format!("{rows} marked as deleted; `syncline census undo {id}` brings them back"))?;
    Ok(Exit::Done)
}

async fn undo(id: i64, app: &App, service: &SyncService) -> anyhow::Result<Exit> {
    let records = service.undo_census(id).await?;
    answered(id, records, app, service).await?;
    app.out.line(format!("{} brought back; no census marks them again unasked", plural(records, "row")))?;
    Ok(Exit::Done)
}

async fn answered(id: i64, records: u64, app: &App, service: &SyncService) -> anyhow::Result<()> {
    let (row, _) = service.census(id).await?;
    app.out.json(&json!({ "census": census_json(&row), "records": records }))?;
    Ok(())
}

/// A census as a JSON object; times are epoch milliseconds.
fn census_json(it: &CensusRow) -> Value {
    let ms = |at: Option<Timestamp>| at.map(Timestamp::as_millisecond);
    let [deleted, moved, access_lost, unobserved] = it.absences;
    json!({
        "id": it.id,
        "source": it.source_name,
        "stream": it.stream,
        "partition": it.partition,
        "title": it.title,
        "state": it.state,
        "beganAt": it.began_at.as_millisecond(),
        "endedAt": ms(it.ended_at),
        "decidedAt": ms(it.decided_at),
        "listed": it.listed,
        "known": it.known,
        "absent": it.absent,
        "deleted": deleted,
        "moved": moved,
        "accessLost": access_lost,
        "unobserved": unobserved,
        "marked": it.marked,
        "errorCode": it.error.as_ref().map(|it| &it.0),
    })
}

fn absence_json(it: &AbsenceRow) -> Value {
    json!({ "key": it.key, "absence": it.absence, "movedTo": it.moved_to, "marked": it.marked,
        "restored": it.restored })
}

fn fields(it: &CensusRow, now: Timestamp) -> Vec<Field> {
    let style = match it.state {
        CensusState::Clear | CensusState::Applied | CensusState::Approved => Style::Good,
        CensusState::Counting => Style::Name,
        CensusState::Asks => Style::Careful,
        CensusState::Failed => Style::Bad,
        CensusState::Undone | CensusState::Superseded => Style::Quiet,
    };
    let number = |it: Option<u64>| it.map_or_else(|| "–".to_owned(), count);
    let mut fields = vec![
        Field::styled(Style::Strong, it.id),
        it.source_name.as_str().into(),
        it.stream.as_str().into(),
        it.title.as_deref().unwrap_or(&it.partition).into(),
        Field::styled(style, it.state),
        view::moment(Some(it.began_at), now).into(),
        number(it.listed).into(),
        number(it.known).into(),
    ];
    fields.extend(it.absences.iter().map(|it| Field::from(count(*it))));
    fields.push(count(it.marked).into());
    fields.push(note(it).into());
    fields
}

/// What a person should know, or do.
fn note(it: &CensusRow) -> String {
    let about = About { source: &it.source_name, provider: &it.provider };
    if let Some((code, detail)) = &it.error {
        return words::fault(about, code, detail);
    }
    let id = it.id;
    match it.state {
        CensusState::Asks if it.listed == Some(0) => format!(
            "the provider listed nothing at all: look there, then say `syncline census approve {id}` if that is right"
        ),
        CensusState::Asks => format!("so much is gone: `syncline census approve {id}` marks it as deleted"),
        CensusState::Applied | CensusState::Approved => {
            format!("`syncline census undo {id}` brings it back")
        }
        _ => String::new(),
    }
}
