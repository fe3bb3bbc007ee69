//! `syncline status`: where every source stands, whether it can be synced now, and when it is synced next.

use clap::Args;
use domain::policy::status::State;
use engine::{GroupStatus, SyncService};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::App;
use super::source::next;
use super::view;
use crate::exit::Exit;
use crate::output::{Field, Style, clock_time, count, plural};
use crate::words::{self, About};

/// Show where every source stands
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  syncline status
  syncline status --tenant acme
  syncline status --json | jq '.sources[] | select(.state != \"idle\")'

States: idle, syncing, finishing (its last jobs), recovering, blocked (waits for the provider's
limit), error (the last sync failed). Shown as new what was never synced, as off what is
switched off; both are idle in --json.")]
pub(crate) struct StatusArgs;

/// Runs the command.
pub(crate) async fn run(_: &StatusArgs, app: &App) -> anyhow::Result<Exit> {
    let service = app.open().await?;
    let shown = show(app, &service).await;
    service.close().await;
    shown
}

async fn show(app: &App, service: &SyncService) -> anyhow::Result<Exit> {
    let now = service.clock().now();
    let all = service.status(None).await?;
    app.out.json(&json!({ "sources": all.iter().map(status_json).collect::<Vec<_>>() }))?;
    if all.is_empty() {
        app.out.line("no source yet: add one with `syncline source add`, or see `syncline demo`")?;
        return Ok(Exit::Done);
    }
    let several = all.iter().any(|it| it.tenant != all[0].tenant);
    let mut header = vec!["source", "group", "state", "last success", "next sync", ">progress", "note"];
    if several {
        header.insert(0, "tenant");
    }
    let rows = all.iter().map(|it| {
        let mut fields = fields(it, now);
        if several {
            fields.insert(0, it.tenant_name.as_deref().unwrap_or("–").into());
        }
        fields
    });
    app.out.line(app.out.table(&header, rows).trim_fmt())?;
    Ok(Exit::Done)
}

fn about(status: &GroupStatus) -> About<'_> {
    About { source: &status.name, provider: status.provider }
}

/// How a source's group stands, as a JSON object; times are epoch milliseconds.
fn status_json(status: &GroupStatus) -> Value {
    let error = status.last_sync_error.as_ref().map(|it| {
        let mut value = view::fault_json(about(status), &it.code, &it.detail);
        value["what"] = json!(it.what);
        value["failed"] = json!(it.count);
        value["of"] = json!(it.of);
        value
    });
    let progress = status.active_job_progress;
    json!({
        "source": &*status.name,
        "provider": status.provider,
        "tenant": status.tenant_name.as_deref(),
        "group": status.group,
        "enabled": status.enabled,
        "state": status.state,
        "canSyncNow": status.can_sync_now,
        "cooldownMs": status.cooldown_ms,
        "blockedUntil": status.blocked_until.map(Timestamp::as_millisecond),
        "activeSync": status.active_sync,
        "activeJobProgress": progress.map(|it| json!({ "current": it.current, "total": it.total })),
        "lastSyncedAt": status.last_synced_at.map(Timestamp::as_millisecond),
        "lastSyncError": error,
        "nextSyncAt": status.next_sync_at.map(Timestamp::as_millisecond),
        "skippedTicks": status.skipped_ticks,
        "failedPartitions": status.failed_partitions,
        "invalidPartitions": status.invalid_partitions,
        "recoveryAttempts": status.recoveries_in_vain,
        "escalation": words::escalation(about(status), status),
    })
}

/// Returns the word for where it stands, and how it is coloured.
pub(crate) fn state(status: &GroupStatus) -> (&'static str, Style) {
    let style = match status.state {
        State::Syncing | State::Finishing | State::Recovering => Style::Name,
        State::Blocked => Style::Careful,
        State::Error => Style::Bad,
        State::Idle if !status.enabled => return ("off", Style::Quiet),
        State::Idle if status.last_ended_at.is_none() => return ("new", Style::Quiet),
        // What is not whole is never green.
        State::Idle if status.last_sync_error.is_some() => Style::Careful,
        State::Idle => Style::Good,
    };
    (status.state.as_str(), style)
}

fn fields(status: &GroupStatus, now: Timestamp) -> Vec<Field> {
    let (state, style) = state(status);
    let progress = status
        .active_job_progress
        .map_or_else(String::new, |it| format!("{}/{} jobs", count(it.current), count(it.total)));
    vec![
        Field::styled(Style::Strong, &*status.name),
        status.group.into(),
        Field::styled(style, state),
        view::moment(status.last_synced_at, now).into(),
        next(status.next_sync_at, now).into(),
        progress.into(),
        note(status, now).into(),
    ]
}

fn note(status: &GroupStatus, now: Timestamp) -> String {
    let mut notes = Vec::new();
    if let Some(at) = status.blocked_until.filter(|it| *it > now) {
        notes.push(format!("waits for {} until {}", about(status).title(), clock_time(at, now)));
    }
    if let Some(error) = &status.last_sync_error {
        let sentence = words::fault(about(status), &error.code, &error.detail);
        let (failed, all) = (count(error.count), count(error.of));
        notes.push(format!("{failed} of {all} failed, first {}: {sentence}", error.what));
    }
    notes.extend(words::escalation(about(status), status));
    if status.invalid_partitions > 0 {
        let invalid = plural(status.invalid_partitions, "part");
        notes.push(format!(
            "{invalid} cannot be read; tried again daily, and with the next `syncline sync start`"
        ));
    }
    if status.skipped_ticks > 0 {
        notes.push(format!("{} skipped, as its sync still ran", plural(status.skipped_ticks, "tick")));
    }
    notes.join("; ")
}
