//! `syncline source schedule`: when a source is synced by itself.
//!
//! It never syncs anything; a running server does when the time comes.

use clap::Args;
use domain::policy::schedule::Own;
use engine::{ScheduleRow, SyncService};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::super::App;
use super::super::view;
use crate::config::{EVERY, parse_every};
use crate::exit::{Exit, Failure};
use crate::output::{Field, Style, clock_time, count, span};

/// Show or set when a source is synced by itself
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  syncline source schedule acme                         when its groups are synced
  syncline source schedule acme --every 10m             every group
  syncline source schedule acme --group commits --off   only when somebody asks
  syncline source schedule acme --default               as configured

A running `syncline serve` keeps the schedule. It follows a change within a second or two.")]
pub(crate) struct ScheduleArgs {
    /// The source
    #[arg(value_name = "NAME")]
    name: String,
    /// Which group of streams [default: all of the source]
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Its own interval, such as 10m or 1h30m
    #[arg(long, value_name = "DURATION", conflicts_with_all = ["off", "default"])]
    every: Option<String>,
    /// Not by itself any more
    #[arg(long, conflicts_with = "default")]
    off: bool,
    /// As configured again
    #[arg(long)]
    default: bool,
}

/// Runs the command.
pub(super) async fn run(args: &ScheduleArgs, app: &App, service: &SyncService) -> anyhow::Result<Exit> {
    let source = service.source(&args.name).await?;
    let wanted = match &args.every {
        Some(text) => Some(Own::Every(parse_every(text).ok_or_else(|| {
            Failure::usage(format!("--every: `{text}` is not allowed; allowed is {EVERY}"))
        })?)),
        None if args.off => Some(Own::Off),
        None => args.default.then_some(Own::Default),
    };
    let mut rows = service.schedules(Some(source.id)).await?;
    if let Some(group) = &args.group {
        rows.retain(|it| it.group == *group);
        if rows.is_empty() {
            return Err(engine::Error::Unknown { what: "stream group", id: group.clone() }.into());
        }
    }
    if let Some(own) = wanted {
        for row in &mut rows {
            *row = service.set_schedule(source.id, &row.group, own).await?;
        }
    }
    app.out.json(&json!({ "schedules": rows.iter().map(schedule_json).collect::<Vec<_>>() }))?;
    let now = service.clock().now();
    let lines = rows.iter().map(|it| {
        vec![
            Field::styled(Style::Strong, &it.source_name),
            it.group.as_str().into(),
            interval(it).into(),
            next(it.next_at, now).into(),
            view::moment(it.last_tick_at, now).into(),
            count(it.skipped).into(),
        ]
    });
    let header = ["source", "group", "every", "next", "last tick", ">skipped"];
    app.out.line(app.out.table(&header, lines).trim_fmt())?;
    Ok(Exit::Done)
}

fn schedule_json(row: &ScheduleRow) -> Value {
    json!({
        "source": row.source_name,
        "group": row.group,
        "own": matches!(row.own, Own::Every(_) | Own::Off),
        "everyMs": row.every.map(millis),
        "nextAt": row.next_at.map(Timestamp::as_millisecond),
        "lastTickAt": row.last_tick_at.map(Timestamp::as_millisecond),
        "skipped": row.skipped,
        "lastSkippedAt": row.last_skipped_at.map(Timestamp::as_millisecond),
    })
}

fn millis(duration: SignedDuration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn interval(row: &ScheduleRow) -> String {
    let text = row.every.map(|it| span(it.unsigned_abs()));
    match (row.own, text) {
        (Own::Default, Some(text)) => format!("{text} (default)"),
        (_, Some(text)) => text,
        (_, None) => "off".to_owned(),
    }
}

/// Says when the next tick is due.
pub(crate) fn next(at: Option<Timestamp>, now: Timestamp) -> String {
    match at {
        None => "–".to_owned(),
        Some(at) if at <= now => "due".to_owned(),
        Some(at) => clock_time(at, now),
    }
}
