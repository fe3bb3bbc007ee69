//! `syncline sync`: asks for syncs, works on them until they close, shows and cancels them.
//!
//! Whether a sync may start is the policy's to say; this only asks, through the engine's one door.

use clap::{Args, Subcommand};
use domain::id::{JobId, SyncId};
use domain::job::Lane;
use domain::policy::Reason;
use engine::{SourceRow, SyncRow, SyncService, Target};
use serde_json::{Value, json};

use super::App;
use super::follow::{Asked, ask, ask_targets, follow, groups};
use super::stop::Stop;
use super::view;
use crate::exit::{Exit, Failure};
use crate::output::{Field, Style, count, plural};
use crate::words::{self, About};

/// Syncs that are listed when none is named: a screenful.
const LATEST: u32 = 20;

/// Start, watch and cancel syncs
#[derive(Debug, Subcommand)]
pub(crate) enum SyncCommand {
    /// Read what changed since the last sync
    Start(StartArgs),
    /// Show a sync and its jobs, or the latest syncs
    Status(StatusArgs),
    /// Stop a sync; what it read stays
    Cancel(CancelArgs),
}

/// Read what changed since the last sync
#[derive(Debug, Args)]
#[command(
    long_about = "Reads what changed since the last sync.\n\nWithout --wait the sync is only entered in the database; \
                  the next `syncline sync start --wait` works on it. With --wait this process works on it until it \
                  closes, and joins in where another process, or one that was killed, left it. Ctrl-C stops cleanly \
                  within 10 seconds: nothing is lost, and the next start goes on there.",
    after_help = "Examples:
  syncline sync start --wait                        every source
  syncline sync start --source acme --wait --json   for scripts: one JSON object
  syncline sync start --source acme                 only enter it
  syncline sync start --source acme --group commits --stream branches --partition 417300001 --wait

The object has id, state, jobs, records, requests and errors, and more; its times are epoch
milliseconds. With several sources it is one object a line. Where a sync runs already and --wait is
not said, the request is refused: the object is that sync's, with the decision.

Ends with 0 when the sync completed, 3 when it is partial, 1 when it failed, 4 when it was refused,
130 when a signal stopped it; of several sources the worst counts."
)]
pub(crate) struct StartArgs {
    /// Which sources; may be repeated [default: all]
    #[arg(long, value_name = "NAME", num_args = 1..)]
    source: Vec<String>,
    /// Which group of streams [default: all of the source]
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Only some partitions of this stream of the group, beside whatever else is read
    #[arg(long, value_name = "STREAM", requires_all = ["partition", "group", "source"])]
    stream: Option<String>,
    /// Which partitions of that stream, by their keys; may be repeated
    #[arg(long, value_name = "KEY", num_args = 1.., requires = "stream")]
    partition: Vec<String>,
    /// Work on it in this process until it closes
    #[arg(long)]
    wait: bool,
}

impl StartArgs {
    /// Returns the partitions that were named.
    fn targets(&self) -> Vec<Target> {
        let stream = self.stream.as_deref().unwrap_or_default();
        let target = |it: &String| Target { stream: stream.to_owned(), partition: it.clone() };
        self.partition.iter().map(target).collect()
    }
}

/// Show a sync and its jobs, or the latest syncs
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  syncline sync status                  the latest syncs
  syncline sync status 7                one sync with its jobs
  syncline sync status --job-id 42      the sync that job 42 belongs to")]
pub(crate) struct StatusArgs {
    /// The sync
    #[arg(value_name = "ID")]
    sync: Option<i64>,
    /// A job, to show its sync; a sync's own number is understood too
    #[arg(long, value_name = "ID", conflicts_with = "sync")]
    job_id: Option<i64>,
    /// Only syncs of this source
    #[arg(long, value_name = "NAME", conflicts_with_all = ["sync", "job_id"])]
    source: Option<String>,
}

/// Stop a sync; what it read stays
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  syncline sync cancel 7                running jobs stop within two seconds, after the page they are at

Ends with 4 when the sync had ended already.")]
pub(crate) struct CancelArgs {
    /// The sync
    #[arg(value_name = "ID")]
    sync: i64,
}

/// Runs the command.
pub(crate) async fn run(command: SyncCommand, app: &App) -> anyhow::Result<Exit> {
    let service = app.open().await?;
    let ended = match command {
        SyncCommand::Start(args) => start(&args, app, &service).await,
        SyncCommand::Status(args) => status(&args, app, &service).await,
        SyncCommand::Cancel(args) => cancel(&args, app, &service).await,
    };
    service.close().await;
    ended
}

async fn start(args: &StartArgs, app: &App, service: &SyncService) -> anyhow::Result<Exit> {
    let (mut asked, mut unknown) = (Vec::new(), Vec::new());
    for source in chosen(args, service).await? {
        let mut of_source = Vec::new();
        for group in groups(&source, args.group.as_deref()) {
            of_source.push(match args.targets() {
                targets if targets.is_empty() => ask(service, source.clone(), group, args.wait).await?,
                targets => ask_targets(service, source.clone(), group, targets).await?,
            });
        }
        let (busy, idle) = without_idle(of_source, app, service);
        asked.extend(busy);
        unknown.extend(idle);
    }
    let mut exit = Exit::Done;
    if !args.wait {
        for it in &asked {
            exit = exit.worse(tell_entered(it, app, service).await?);
        }
        return Ok(exit);
    }
    let stop = Stop::listen(&app.out, "stopping cleanly; press Ctrl-C again to stop at once")?;
    for it in asked.iter().filter(|it| it.decision.is_some()) {
        if let Some(sync) = it.sync {
            app.out.note(format!("sync {sync} of `{}` is under way: going on with it", it.source.name));
        }
    }
    loop {
        let followed = follow(service, &asked, &app.out, stop.token()).await?;
        for it in &asked {
            let row = followed.iter().find(|row| Some(row.id) == it.sync);
            exit = exit.worse(tell_ended(it, row, app, service).await?);
            if let Some(row) = row {
                tell_beside(it, row, app, service).await?;
            }
        }
        // What the others found may be theirs to read.
        asked = Vec::new();
        for it in unknown.drain(..).filter(|_| exit != Exit::Interrupted) {
            let again = ask(service, it.source, &it.group, args.wait).await?;
            asked.extend(Some(again).filter(|it| it.sync.is_some()));
        }
        if asked.is_empty() {
            break;
        }
    }
    if exit != Exit::Interrupted
        && let Err(error) = service.tidy_up().await
    {
        // The syncs are done all the same.
        tracing::warn!(%error, "what is too old could not be removed; the next sync tries again");
    }
    if exit == Exit::Interrupted {
        app.out.note("stopped; the sync goes on where it is with the next `syncline sync start --wait`");
    }
    Ok(exit)
}

/// Leaves groups out that have nothing to do again or yet, beside one that does: it says so of those that may not yet be
/// asked for again, and that is no failure. The others are those that nothing is known of yet.
fn without_idle(asked: Vec<Asked>, app: &App, service: &SyncService) -> (Vec<Asked>, Vec<Asked>) {
    if !asked.iter().any(|it| it.sync.is_some()) {
        return (asked, Vec::new());
    }
    let now = service.clock().now();
    let (mut busy, mut unknown) = (Vec::new(), Vec::new());
    for it in asked {
        match it.decision.as_ref().filter(|_| it.sync.is_none()) {
            Some(decision) if decision.reason == Reason::CooldownActive => {
                let why = words::decision(it.about(), decision, now);
                app.out.note(format!("{} of `{}` waits: {why}", it.group, it.source.name));
            }
            Some(decision) if decision.reason == Reason::NothingToSync => unknown.push(it),
            _ => busy.push(it),
        }
    }
    (busy, unknown)
}

/// Returns the sources that were named, or all of them.
async fn chosen(args: &StartArgs, service: &SyncService) -> anyhow::Result<Vec<SourceRow>> {
    if args.source.is_empty() {
        let all = service.sources().await?;
        if all.is_empty() {
            let help = "there is no source yet: add one with `syncline source add`, or see `syncline demo`";
            return Err(Failure::with(Exit::Usage, "unknown", help));
        }
        return Ok(all);
    }
    let mut sources: Vec<SourceRow> = Vec::new();
    for name in &args.source {
        if sources.iter().all(|it| it.name != *name) {
            sources.push(service.source(name).await?);
        }
    }
    Ok(sources)
}

async fn tell_entered(asked: &Asked, app: &App, service: &SyncService) -> anyhow::Result<Exit> {
    let now = service.clock().now();
    let Some(sync) = asked.sync else { return tell_ended(asked, None, app, service).await };
    let row = service.sync(sync).await?;
    app.out.json(&view::sync_json(asked.about(), &row, now))?;
    let jobs = plural(row.jobs.total, "job");
    app.out.line(format!("sync {sync} of `{}` is entered with {jobs}", asked.source.name))?;
    app.out.note("a process with workers goes on with it: `syncline sync start --wait`");
    Ok(Exit::Done)
}

async fn tell_ended(
    asked: &Asked,
    row: Option<&SyncRow>,
    app: &App,
    service: &SyncService,
) -> anyhow::Result<Exit> {
    let now = service.clock().now();
    match (row, &asked.decision) {
        (Some(row), _) => {
            app.out.json(&view::sync_json(asked.about(), row, now))?;
            view::print_sync(&app.out, asked.about(), row, now)?;
            Ok(view::exit_of(row))
        }
        (None, Some(decision)) => {
            let active = match asked.active {
                Some(sync) => Some(view::sync_json(asked.about(), &service.sync(sync).await?, now)),
                None => None,
            };
            app.out.json(&view::refused_json(asked.about(), &asked.group, decision, active, now))?;
            let sentence = words::decision(asked.about(), decision, now);
            app.out.line(format!("{} {sentence}", app.out.paint().of(Style::Careful, "refused:")))?;
            Ok(Exit::Refused)
        }
        (None, None) => Ok(Exit::Failed),
    }
}

/// Says what other lanes of the group read meanwhile: it may be all that came.
async fn tell_beside(asked: &Asked, row: &SyncRow, app: &App, service: &SyncService) -> anyhow::Result<()> {
    let latest = service.syncs(Some(asked.source.id), LATEST).await?;
    let meanwhile = |it: &&SyncRow| {
        let other = it.lane.is_some_and(|lane| lane != Lane::Forward) && it.group == asked.group;
        other && it.requests > 0 && it.closed_at.is_none_or(|at| at >= row.created_at)
    };
    for it in latest.iter().filter(meanwhile) {
        view::print_beside(&app.out, it)?;
    }
    Ok(())
}

async fn status(args: &StatusArgs, app: &App, service: &SyncService) -> anyhow::Result<Exit> {
    let sync = match (args.sync, args.job_id) {
        (Some(sync), _) => SyncId(sync),
        (None, Some(job)) => service.sync_of_job(JobId(job)).await?.unwrap_or(SyncId(job)),
        (None, None) => return latest(args, app, service).await,
    };
    let now = service.clock().now();
    let row = service.sync(sync).await?;
    let jobs = service.jobs(sync).await?;
    let provider = provider_of(service, &row).await?;
    let about = About { source: &row.source_name, provider: &provider };
    let mut value = view::sync_json(about, &row, now);
    value["jobList"] = jobs.iter().map(|it| view::job_json(about, it)).collect();
    app.out.json(&value)?;
    view::print_sync(&app.out, about, &row, now)?;
    let header = ["job", "stream", "partition", "state", ">pages", ">records", ">rows", ">requests", "note"];
    let rows = jobs.iter().map(|job| {
        let note = match &job.error {
            Some((code, detail)) if detail.is_empty() => code.clone(),
            Some((_, detail)) => detail.clone(),
            None => String::new(),
        };
        vec![
            Field::styled(Style::Quiet, job.id),
            job.stream.as_str().into(),
            job.title.as_deref().unwrap_or(&job.partition).into(),
            job.state.into(),
            count(job.pages).into(),
            count(job.records).into(),
            count(job.rows_written).into(),
            count(job.requests).into(),
            note.into(),
        ]
    });
    app.out.line("")?;
    app.out.line(app.out.table(&header, rows).trim_fmt())?;
    Ok(Exit::Done)
}

async fn latest(args: &StatusArgs, app: &App, service: &SyncService) -> anyhow::Result<Exit> {
    let source = match &args.source {
        Some(name) => Some(service.source(name).await?.id),
        None => None,
    };
    let now = service.clock().now();
    let syncs = service.syncs(source, LATEST).await?;
    let mut values: Vec<Value> = Vec::new();
    for row in &syncs {
        let provider = provider_of(service, row).await?;
        values.push(view::sync_json(About { source: &row.source_name, provider: &provider }, row, now));
    }
    app.out.json(&json!({ "syncs": values }))?;
    if syncs.is_empty() {
        app.out.line("no sync yet: start one with `syncline sync start --wait`")?;
        return Ok(Exit::Done);
    }
    let header =
        ["sync", "source", "group", "state", "started", ">jobs", ">records", ">rows", ">requests", ">errors"];
    let rows = syncs.iter().map(|row| {
        let (mark, style) = view::mark(row.state);
        vec![
            Field::styled(Style::Quiet, row.id),
            Field::styled(Style::Strong, &row.source_name),
            view::what(row).into(),
            Field::styled(style, format!("{mark} {}", row.state)),
            view::moment(Some(row.created_at), now).into(),
            count(row.jobs.total).into(),
            count(row.records).into(),
            count(row.rows_written).into(),
            count(row.requests).into(),
            count(row.errors_total).into(),
        ]
    });
    app.out.line(app.out.table(&header, rows).trim_fmt())?;
    Ok(Exit::Done)
}

/// Finds the provider of a sync; a source that was removed since has none any more.
async fn provider_of(service: &SyncService, row: &SyncRow) -> Result<String, engine::Error> {
    let known = service.sources().await?.into_iter().find(|it| it.id == row.source);
    Ok(known.map_or_else(|| "the provider".to_owned(), |it| it.provider))
}

async fn cancel(args: &CancelArgs, app: &App, service: &SyncService) -> anyhow::Result<Exit> {
    let sync = SyncId(args.sync);
    let cancelled = service.cancel(sync).await?;
    let row = service.sync(sync).await?;
    app.out.json(&json!({ "id": sync, "cancelled": cancelled, "state": row.state }))?;
    if cancelled {
        app.out
            .line(format!("sync {sync} is cancelled; what it read stays, and the next sync goes on there"))?;
        return Ok(Exit::Done);
    }
    app.out.line(format!("sync {sync} had ended already: {}", row.state))?;
    Ok(Exit::Refused)
}
