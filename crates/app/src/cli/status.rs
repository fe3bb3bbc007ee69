//! `syncline status`: where every source stands, and whether it can be synced now.

use clap::Args;
use engine::{SourceRow, SourceStatus, SyncService};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::App;
use super::follow::groups;
use super::view;
use crate::exit::Exit;
use crate::output::{Field, Style, clock_time, count};
use crate::words::{self, About};

/// Show where every source stands
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  syncline status
  syncline status --json | jq '.sources[] | select(.state != \"idle\")'

States: new (never synced), idle, syncing, blocked (waits for the provider's limit),
error (the last sync failed), off.")]
pub(crate) struct StatusArgs;

/// A source and group as it stands, with what was looked up for it.
struct Standing {
    status: SourceStatus,
    group: String,
    can_sync_now: bool,
}

/// Runs the command.
pub(crate) async fn run(_: &StatusArgs, app: &App) -> anyhow::Result<Exit> {
    let service = app.open().await?;
    let shown = show(app, &service).await;
    service.close().await;
    shown
}

async fn show(app: &App, service: &SyncService) -> anyhow::Result<Exit> {
    let now = service.clock().now();
    let sources = service.sources().await?;
    let mut standings = Vec::new();
    for status in service.status().await? {
        if let Some(source) = sources.iter().find(|it| it.id == status.source) {
            standings.extend(standings_of(service, source, status).await?);
        }
    }
    let values: Vec<Value> = standings.iter().map(|it| it.json(now)).collect();
    app.out.json(&json!({ "sources": values }))?;
    if standings.is_empty() {
        app.out.line("no source yet: add one with `syncline source add`, or see `syncline demo`")?;
        return Ok(Exit::Done);
    }
    let header = ["source", "group", "state", "last success", ">progress", "note"];
    let rows = standings.iter().map(|it| it.fields(now));
    app.out.line(app.out.table(&header, rows).trim_fmt())?;
    Ok(Exit::Done)
}

/// A source that was never synced stands in one row for each of its groups.
async fn standings_of(
    service: &SyncService,
    source: &SourceRow,
    status: SourceStatus,
) -> Result<Vec<Standing>, engine::Error> {
    let mut found = Vec::new();
    for group in groups(source, status.group.as_deref()) {
        let decision = service.decide(source, group).await?;
        let can_sync_now = decision.is_some_and(|it| it.action == domain::policy::Action::Start);
        found.push(Standing { status: status.clone(), group: group.to_owned(), can_sync_now });
    }
    Ok(found)
}

impl Standing {
    fn about(&self) -> About<'_> {
        About { source: &self.status.name, provider: &self.status.provider }
    }

    /// Returns the word for where it stands, and how it is coloured.
    fn state(&self, now: Timestamp) -> (&'static str, Style) {
        let status = &self.status;
        let is_blocked = status.blocked_until.is_some_and(|it| it > now);
        let failed_whole = status.last_error.as_ref().is_some_and(|it| it.count >= it.of);
        match &status.active_sync {
            _ if !status.enabled => ("off", Style::Quiet),
            Some((_, jobs)) if jobs.running == 0 && is_blocked => ("blocked", Style::Careful),
            Some(_) => ("syncing", Style::Name),
            None if is_blocked => ("blocked", Style::Careful),
            None if failed_whole => ("error", Style::Bad),
            None if status.last_success_at.is_none() && status.last_error.is_none() => ("new", Style::Quiet),
            None => ("idle", Style::Good),
        }
    }

    fn progress(&self) -> Option<(u64, u64)> {
        let (_, jobs) = self.status.active_sync?;
        Some((jobs.completed + jobs.discarded + jobs.cancelled, jobs.total))
    }

    fn json(&self, now: Timestamp) -> Value {
        let status = &self.status;
        let error = status.last_error.as_ref().map(|it| {
            let mut value = view::fault_json(self.about(), &it.code, &it.detail);
            value["failed"] = json!(it.count);
            value["of"] = json!(it.of);
            value
        });
        json!({
            "source": status.name,
            "provider": status.provider,
            "group": self.group,
            "state": self.state(now).0,
            "canSyncNow": self.can_sync_now,
            "activeSync": status.active_sync.map(|it| it.0),
            "activeJobProgress": self.progress().map(|(current, total)| json!({ "current": current, "total": total })),
            "blockedUntil": status.blocked_until.map(Timestamp::as_millisecond),
            "lastSyncedAt": status.last_success_at.map(Timestamp::as_millisecond),
            "lastSyncError": error,
            "partitions": status.partitions,
            "invalidPartitions": status.invalid_partitions,
        })
    }

    fn fields(&self, now: Timestamp) -> Vec<Field> {
        let (state, style) = self.state(now);
        let progress = self
            .progress()
            .map_or_else(String::new, |(current, total)| format!("{}/{} jobs", count(current), count(total)));
        vec![
            Field::styled(Style::Strong, &self.status.name),
            self.group.as_str().into(),
            Field::styled(style, state),
            view::moment(self.status.last_success_at, now).into(),
            progress.into(),
            self.note(now).into(),
        ]
    }

    fn note(&self, now: Timestamp) -> String {
        let status = &self.status;
        let mut notes = Vec::new();
        if let Some(at) = status.blocked_until.filter(|it| *it > now) {
            notes.push(format!("waits for {} until {}", self.about().title(), clock_time(at, now)));
        }
        let waits = !notes.is_empty();
        if let Some(error) = status.last_error.as_ref().filter(|it| !waits || it.code != view::WAITING) {
            let sentence = words::fault(self.about(), &error.code, &error.detail);
            let (failed, all) = (count(error.count), count(error.of));
            notes.push(format!("{failed} of {all} failed, first {}: {sentence}", error.what));
        }
        if status.invalid_partitions > 0 {
            let (invalid, all) = (count(status.invalid_partitions), count(status.partitions));
            notes.push(format!("{invalid} of {all} parts cannot be read; they are tried again with the next `syncline sync start`"));
        }
        notes.join("; ")
    }
}
