//! `syncline budget`: what each source's account may still ask its provider, and who spent the rest.
//!
//! It asks no provider; it shows what the last answers said.

use clap::Args;
use engine::{SourceBudget, SyncService};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::App;
use crate::exit::Exit;
use crate::output::{Field, Style, clock_time, count};

/// Show what the providers still answer
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  syncline budget
  syncline budget --source acme
  syncline budget --json | jq '.budgets[] | select(.foreign > 0)'

Sources with the same account share its budget. What a sync leaves: every one the floor, to people
and other tools; scheduled ones and backfills the reserve too, to hints.")]
pub(crate) struct BudgetArgs {
    /// Only of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
}

/// Runs the command.
pub(crate) async fn run(args: &BudgetArgs, app: &App) -> anyhow::Result<Exit> {
    let service = app.open().await?;
    let shown = show(args, app, &service).await;
    service.close().await;
    shown
}

async fn show(args: &BudgetArgs, app: &App, service: &SyncService) -> anyhow::Result<Exit> {
    let source = match &args.source {
        Some(name) => Some(service.source(name).await?.id),
        None => None,
    };
    let budgets = service.budgets(source).await?;
    app.out.json(&json!({ "budgets": budgets.iter().map(budget_json).collect::<Vec<_>>() }))?;
    if budgets.is_empty() {
        app.out.line("nothing is known of any budget yet: the first sync of a source finds it out")?;
        return Ok(Exit::Done);
    }
    let now = service.clock().now();
    let header = [
        "source",
        "account",
        "budget",
        ">left",
        ">of",
        "full again",
        ">floor",
        ">reserve",
        ">ours",
        ">others",
        ">granted",
        "note",
    ];
    app.out.line(app.out.table(&header, budgets.iter().map(|it| fields(it, now))).trim_fmt())?;
    Ok(Exit::Done)
}

fn budget_json(it: &SourceBudget) -> Value {
    json!({
        "source": it.source_name,
        "provider": it.provider,
        "account": it.account,
        "bucket": it.bucket,
        "limit": it.limit,
        "remaining": it.remaining,
        "resetsAt": it.resets_at.map(Timestamp::as_millisecond),
        "blockedUntil": it.blocked_until.map(Timestamp::as_millisecond),
        "floor": it.floor,
        "reserve": it.reserve,
        "own": it.own,
        "foreign": it.foreign,
        "granted": it.granted,
    })
}

fn fields(it: &SourceBudget, now: Timestamp) -> Vec<Field> {
    let number = |it: Option<u64>| it.map_or_else(|| "–".to_owned(), count);
    let style = match (it.remaining, it.floor, it.reserve) {
        (Some(left), Some(floor), _) if left < floor => Style::Bad,
        (Some(left), Some(floor), Some(reserve)) if left < floor.saturating_add(reserve) => Style::Careful,
        _ => Style::Good,
    };
    let refused = it.blocked_until.map(|at| format!("refused until {}", clock_time(at, now)));
    vec![
        Field::styled(Style::Strong, &it.source_name),
        it.account.as_str().into(),
        it.bucket.as_str().into(),
        Field::styled(style, number(it.remaining)),
        number(it.limit).into(),
        it.resets_at.map_or_else(|| "–".to_owned(), |at| clock_time(at, now)).into(),
        number(it.floor).into(),
        number(it.reserve).into(),
        number(it.own).into(),
        number(it.foreign).into(),
        number(it.granted).into(),
        refused.unwrap_or_default().into(),
    ]
}
