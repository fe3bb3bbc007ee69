//! `syncline plan`: what is due, the requests it will take, how long that is at the present budget, and when it will be
//! finished, beside what the last plan said and what came true.
//!
//! It asks no provider, and starts nothing.

use std::time::Duration;

use clap::Args;
use domain::job::SyncState;
use engine::{GroupPlan, PastForecast, Plans, SyncService};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::App;
use super::source::next;
use crate::exit::Exit;
use crate::output::{Field, Style, clock_time, count, plural, span};

/// Groups that are shown: who has more asks for a source.
const SHOWN_MAX: usize = 500;

/// Show what is due, the requests it will take, and when it will be finished
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  syncline plan
  syncline plan --source acme
  syncline plan --json | jq '.plans[] | select(.waitsMs > 0)'

Requests are reckoned from what the last syncs took; `≥` says that more may follow from what was
never read. In the column `of budget` stands what the budget pays for of them, and what it may
pay now. The last columns say what was expected of the last sync, and what came true.")]
pub(crate) struct PlanArgs {
    /// Only of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(args: &PlanArgs, app: &App) -> anyhow::Result<Exit> {
    let service = app.open().await?;
    let shown = show(args, app, &service).await;
    service.close().await;
    shown
}

async fn show(args: &PlanArgs, app: &App, service: &SyncService) -> anyhow::Result<Exit> {
    let source = match &args.source {
        Some(name) => Some(service.source(name).await?.id),
        None => None,
    };
    let Plans { plans, more } = service.plan(source, SHOWN_MAX).await?;
    let now = service.clock().now();
    let values: Vec<Value> = plans.iter().map(plan_json).collect();
    app.out.json(&json!({ "now": now.as_millisecond(), "plans": values, "more": more }))?;
    if plans.is_empty() {
        app.out.line("no source yet: add one with `syncline source add`, or see `syncline demo`")?;
        return Ok(Exit::Done);
    }
    let header = [
        "source",
        "group",
        "due",
        ">requests",
        ">of budget",
        ">takes",
        "finished",
        ">expected",
        ">came true",
        "note",
    ];
    app.out.line(app.out.table(&header, plans.iter().map(|it| fields(it, now))).trim_fmt())?;
    app.out.line(in_all(&plans, now))?;
    if more > 0 {
        app.out.line(format!("{} more are due later: ask for a source", count(more)))?;
    }
    Ok(Exit::Done)
}

fn millis(it: SignedDuration) -> i64 {
    i64::try_from(it.as_millis()).unwrap_or(i64::MAX)
}

fn ms(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::as_millisecond)
}

/// A plan as a JSON object; times are epoch milliseconds.
fn plan_json(it: &GroupPlan) -> Value {
    let streams: Vec<Value> = it
        .expected
        .streams
        .iter()
        .map(|it| {
            json!({ "stream": it.stream, "partitions": it.partitions, "requests": it.requests,
                "basis": it.basis.as_str() })
        })
        .collect();
    let lane =
        |it: &engine::OpenLane| json!({ "lane": it.lane, "partitions": it.partitions, "spent": it.spent });
    json!({
        "source": it.source_name,
        "provider": it.provider,
        "group": it.group,
        "activeSync": it.active_sync,
        "dueAt": ms(it.due_at),
        "everyMs": it.every.map(millis),
        "requests": it.expected.requests,
        "charged": it.expected.charged,
        "atLeast": it.expected.at_least,
        "unread": it.expected.unread,
        "spent": it.spent,
        "takesMs": it.takes.map(millis),
        "waitsMs": millis(it.waits),
        "endsAt": ms(it.ends_at),
        "budget": it.purse.map(|it| json!({
            "limit": it.limit, "left": it.left, "leaves": it.required, "resetsAt": ms(it.resets_at) })),
        "streams": streams,
        "lanes": it.lanes.iter().map(lane).collect::<Vec<_>>(),
        "last": it.last.as_ref().map(past_json),
    })
}

fn past_json(it: &PastForecast) -> Value {
    let came_true = it.came_true.map(|it| {
        json!({ "requests": it.requests, "unchanged": it.unchanged, "tookMs": millis(it.took), "state": it.state,
            "endedAt": it.ended_at.as_millisecond() })
    });
    json!({
        "sync": it.sync,
        "madeAt": it.made_at.as_millisecond(),
        "requests": it.requests,
        "charged": it.charged,
        "atLeast": it.at_least,
        "takesMs": it.takes.map(millis),
        "cameTrue": came_true,
    })
}

fn fields(it: &GroupPlan, now: Timestamp) -> Vec<Field> {
    let due = match it.active_sync {
        Some(_) => Field::styled(Style::Name, "under way"),
        None => next(it.due_at, now).into(),
    };
    let takes = it.takes.map_or_else(|| "–".to_owned(), told);
    let finished = it.ends_at.map_or_else(|| "–".to_owned(), |at| clock_time(at, now));
    let late = it.waits > SignedDuration::ZERO;
    let finished = if late { Field::styled(Style::Careful, finished) } else { finished.into() };
    vec![
        Field::styled(Style::Strong, &it.source_name),
        it.group.as_str().into(),
        due,
        requests(it.expected.requests, it.expected.at_least).into(),
        of_budget(it),
        takes.into(),
        finished,
        it.last.as_ref().map_or_else(String::new, expected).into(),
        it.last.as_ref().map_or_else(|| "".into(), came_true),
        note(it, now).into(),
    ]
}

fn requests(number: u64, at_least: bool) -> String {
    let sign = if at_least { "≥ " } else { "" };
    format!("{sign}{}", count(number))
}

fn told(it: SignedDuration) -> String {
    span(Duration::try_from(it).unwrap_or_default())
}

/// What the budget pays for, and what it may pay.
fn of_budget(it: &GroupPlan) -> Field {
    let Some(purse) = it.purse else { return Field::styled(Style::Quiet, "only paced") };
    let usable = purse.left.saturating_sub(purse.required);
    let text = format!("{} of {}", count(it.expected.charged), count(usable));
    let style = if it.expected.charged > usable { Style::Careful } else { Style::Good };
    Field::styled(style, text)
}

/// What was expected of the last sync.
fn expected(it: &PastForecast) -> String {
    let time = it.takes.map_or_else(String::new, |it| format!(", {}", told(it)));
    format!("{}{time}", requests(it.requests, it.at_least))
}

/// What came true of it.
fn came_true(it: &PastForecast) -> Field {
    let Some(it) = it.came_true else { return Field::styled(Style::Quiet, "under way") };
    let (text, style) = (format!("{}, {}", count(it.requests), told(it.took)), Style::Careful);
    match it.state {
        SyncState::Completed | SyncState::Running => text.into(),
        state => Field::styled(style, format!("{text}, {state}")),
    }
}

fn note(it: &GroupPlan, now: Timestamp) -> String {
    let mut notes = Vec::new();
    if it.waits > SignedDuration::ZERO {
        let full = it.purse.and_then(|it| it.resets_at);
        let full = full.map_or_else(String::new, |at| format!(", full again at {}", clock_time(at, now)));
        notes.push(format!("waits {} for the budget{full}", told(it.waits)));
    }
    let whole = it.takes.map(|takes| takes.saturating_add(it.waits));
    if let (Some(whole), Some(every)) = (whole, it.every)
        && whole > every
        && it.due_at.is_some()
    {
        notes.push(format!("takes longer than its interval of {}", told(every)));
    }
    if it.active_sync.is_some() {
        notes.push(format!("{} spent so far", count(it.spent)));
    }
    if it.expected.unread > 0 {
        notes.push(format!("{} never read", plural(it.expected.unread, "part")));
    }
    for lane in &it.lanes {
        let (parts, spent) = (plural(lane.partitions, "part"), count(lane.spent));
        notes.push(format!("{} of {parts} goes on after, {spent} spent", lane.lane));
    }
    notes.join("; ")
}

/// What all that is due by itself comes to.
fn in_all(plans: &[GroupPlan], now: Timestamp) -> String {
    let due: Vec<&GroupPlan> = plans.iter().filter(|it| it.due_at.is_some()).collect();
    if due.is_empty() {
        return "nothing is due by itself: schedules are off, or sync_enabled is false".to_owned();
    }
    let number = due.iter().map(|it| it.expected.requests).fold(0, u64::saturating_add);
    let at_least = due.iter().any(|it| it.expected.at_least);
    let sum = requests(number, at_least);
    match due.iter().map(|it| it.ends_at).collect::<Option<Vec<_>>>().and_then(|it| it.into_iter().max()) {
        Some(at) => format!("in all {sum} requests, finished at {}", clock_time(at, now)),
        None => format!("in all {sum} requests; how long that takes is known after the first sync"),
    }
}
