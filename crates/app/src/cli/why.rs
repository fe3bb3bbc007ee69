//! `syncline why`: in one line for each stream group, what keeps it from being synced now and when it will be.

use clap::Args;
use engine::{GroupWhy, SyncService};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::App;
use crate::exit::Exit;
use crate::output::Style;
use crate::words::{self, About};

/// Say what keeps a source from being synced now, and when it will be
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  syncline why acme
  syncline why acme --group commits
  syncline why acme --json | jq -r '.groups[].why'")]
pub(crate) struct WhyArgs {
    /// The source
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Only this group of streams
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(args: &WhyArgs, app: &App) -> anyhow::Result<Exit> {
    let service = app.open().await?;
    let shown = show(args, app, &service).await;
    service.close().await;
    shown
}

async fn show(args: &WhyArgs, app: &App, service: &SyncService) -> anyhow::Result<Exit> {
    let source = service.source(&args.source).await?;
    let all = service.why(source.id, args.group.as_deref()).await?;
    let now = service.clock().now();
    let about = About { source: &source.name, provider: &source.provider };
    let groups: Vec<Value> = all.iter().map(|it| why_json(about, it, now)).collect();
    app.out.json(&json!({ "source": source.name, "groups": groups }))?;
    for it in &all {
        let group = app.out.paint().of(Style::Strong, it.status.group);
        let last = it.last.as_ref().map_or_else(String::new, |it| format!(" ({})", words::last(it, now)));
        app.out.line(format!("{group}: {}{last}", words::why(about, it, now)))?;
    }
    Ok(Exit::Done)
}

fn why_json(about: About<'_>, why: &GroupWhy, now: Timestamp) -> Value {
    let ms = |at: Option<Timestamp>| at.map(Timestamp::as_millisecond);
    let last = why.last.as_ref().map(|it| {
        json!({
            "at": it.at.as_millisecond(),
            "trigger": it.trigger,
            "action": it.action,
            "reason": it.reason,
            "metadata": it.metadata,
            "sync": it.sync,
        })
    });
    json!({
        "group": why.status.group,
        "why": words::why(about, why, now),
        "state": why.status.state,
        "canSyncNow": why.status.can_sync_now,
        "decision": why.status.decision,
        "bySchedule": why.by_schedule,
        "schedulerEnabled": why.scheduler_enabled,
        "nextSyncAt": ms(why.status.next_sync_at),
        "blockedJobs": why.blocked_jobs,
        "blockedUntil": ms(why.blocked_until),
        "invalidPartitions": why.status.invalid_partitions,
        "recoveryAttempts": why.status.recoveries_in_vain,
        "escalation": words::escalation(about, &why.status),
        "nextProbeAt": ms(why.next_probe_at),
        "lastDecision": last,
    })
}
