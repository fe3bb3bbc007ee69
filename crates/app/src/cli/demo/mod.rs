//! `syncline demo`: the main job in an empty folder. A simulator in this process, one source, a sync that lands
//! something, and a second one that finds nothing new.
//!
//! It does nothing that a person could not type, but for the simulator that ends with it.

mod query;
mod world;

use std::time::Duration;

use clap::Args;
use engine::{AddSource, Secret, SourceChanges, SourceRow, SyncRow, SyncService};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::App;
use super::follow::{Asked, ask, follow, groups};
use super::sim::{WorldArgs, providers};
use super::stop::Stop;
use super::view;
use crate::config::shown;
use crate::exit::{Exit, Failure};
use crate::output::{Field, Output, Style, count};
use query::Query;

/// The simulator takes any word for a credential.
const TOKEN: &str = "made-up-for-the-demo";

/// See it work in this folder, with nothing configured
#[derive(Debug, Args)]
#[command(
    long_about = "Shows the main job in this folder, with nothing configured: a fake provider on this machine serves \
                  the git history that this folder is in (a made-up one where there is none), a source `demo` is \
                  added, a first sync lands everything in ./syncline.db, and a second one finds nothing new. Another \
                  run goes on from what is there. Another history gets a source of its own.",
    after_help = "Examples:
  syncline demo
  syncline demo --git ../other-repository
  syncline demo --repos 20 --commits 5000 --latency-ms 0
  syncline demo --database postgres://me@localhost/syncline"
)]
pub(crate) struct DemoArgs {
    #[command(flatten)]
    world: WorldArgs,
    /// How long every answer of the fake provider takes, as over a network
    #[arg(long, value_name = "N", default_value_t = 25)]
    latency_ms: u64,
}

/// Everything that one run found out.
struct Story {
    world: world::World,
    source: SourceRow,
    before: Vec<(String, i64)>,
    first: SyncRow,
    landed: Vec<(String, i64)>,
    second: SyncRow,
    second_report: sim::Report,
    rules_broken: usize,
}

/// Runs the command.
pub(crate) async fn run(args: DemoArgs, app: &App) -> anyhow::Result<Exit> {
    let stop = Stop::listen(&app.out, "stopping cleanly; press Ctrl-C again to stop at once")?;
    let service = app.open().await?;
    let told = tell(&args, app, &service, stop.token()).await;
    service.close().await;
    if let Some(exit) = told? {
        return Ok(exit);
    }
    app.out.note("stopped; the next `syncline demo` goes on from here");
    Ok(Exit::Interrupted)
}

/// Tells the story; `None` when a signal ended it.
async fn tell(
    args: &DemoArgs,
    app: &App,
    service: &SyncService,
    stop: &CancellationToken,
) -> anyhow::Result<Option<Exit>> {
    let out = &app.out;
    let known = service.sources().await?;
    let latency = Duration::from_millis(args.latency_ms);
    // A database that other folders may use too holds other folders' histories too.
    let is_our_folders = app.config.sqlite_file().is_some_and(|it| it.is_relative());
    let (world, sim) = world::start(&args.world, latency, &known, is_our_folders).await?;
    let name = world.source();
    let known = known.into_iter().find(|it| it.name == name);
    if let Some(known) = &known {
        world::must_be_ours(known)?;
    }
    let source = configure(service, &sim, name, known).await?;
    out.line(heading(out, "The provider"))?;
    out.line(format!("  {}", world.words()))?;
    let (address, ms) = (&source.settings.base_url, args.latency_ms);
    out.line(format!("  {address}, on this machine; every answer takes {ms} ms, as over a network\n"))?;

    let before = service.landed_counts(source.id).await?;
    out.line(heading(
        out,
        if commits(&before) == 0 { "First sync" } else { "What is new since the last run" },
    ))?;
    let Some(first) = sync(service, &source, out, stop).await? else { return Ok(None) };
    let landed = service.landed_counts(source.id).await?;
    tell_landed(app, &before, &landed)?;
    let queries = query::all(&app.config, source.id);
    tell_queries(app, &queries).await?;

    out.line(heading(out, "Second sync, with nothing new"))?;
    let rules_broken = sim.report().violations.len();
    sim.reset_report();
    let Some(second) = sync(service, &source, out, stop).await? else { return Ok(None) };
    let second_report = sim.report();
    let rules_broken = rules_broken + second_report.violations.len();
    sim.stop().await;
    let story = Story { world, source, before, first, landed, second, second_report, rules_broken };
    story.tell_second(out)?;
    story.tell_next(app)?;
    out.json(&story.json(app, &queries, service))?;
    Ok(Some(view::exit_of(&story.first).worse(view::exit_of(&story.second))))
}

/// Adds the source, or gives the one that is there the simulator's address of today.
async fn configure(
    service: &SyncService,
    sim: &sim::Sim,
    name: &str,
    known: Option<SourceRow>,
) -> anyhow::Result<SourceRow> {
    let (provider, url) = providers(sim).swap_remove(0);
    if known.is_some() {
        let changes = SourceChanges { base_url: Some(url), ..SourceChanges::default() };
        service.update_source(name, changes).await?;
    } else {
        let token = Some(Secret::from(TOKEN.to_owned()));
        let add = AddSource {
            provider: provider.to_owned(),
            name: name.to_owned(),
            base_url: Some(url),
            options: json!({}),
            token,
        };
        service.add_source(add).await?;
    }
    Ok(service.source(name).await?)
}

/// Syncs the source once; `None` when a signal ended it.
async fn sync(
    service: &SyncService,
    source: &SourceRow,
    out: &Output,
    stop: &CancellationToken,
) -> anyhow::Result<Option<SyncRow>> {
    let mut asked: Vec<Asked> = Vec::new();
    for group in groups(source, None) {
        asked.push(ask(service, source.clone(), group, true).await?);
    }
    let mut rows = follow(service, &asked, out, stop).await?;
    if stop.is_cancelled() {
        return Ok(None);
    }
    let Some(it) = asked.first() else { return Ok(None) };
    if rows.is_empty() {
        let says =
            it.decision.map(|decision| crate::words::decision(it.about(), &decision, service.clock().now()));
        return Err(Failure::with(Exit::Refused, "refused", says.unwrap_or_default()));
    }
    let row = rows.swap_remove(0);
    view::print_sync(out, it.about(), &row, service.clock().now())?;
    Ok(Some(row))
}

fn commits(landed: &[(String, i64)]) -> i64 {
    landed.iter().find(|it| it.0 == domain::table::COMMITS.name).map_or(0, |it| it.1)
}

/// Returns what this program was called as, which may not be where the shell looks for programs.
fn called() -> String {
    let called = std::env::args().next().filter(|it| !it.is_empty());
    called.map_or_else(|| "syncline".to_owned(), |it| query::quoted(&it))
}

fn heading(out: &Output, text: &str) -> String {
    out.paint().of(Style::Strong, text)
}

fn tell_landed(app: &App, before: &[(String, i64)], landed: &[(String, i64)]) -> std::io::Result<()> {
    let place = app
        .config
        .sqlite_file()
        .map_or_else(|| shown(&app.config.database_url), |it| it.display().to_string());
    app.out.line("")?;
    app.out.line(heading(&app.out, &format!("What landed, in {place}")))?;
    let rows = landed.iter().map(|(table, rows)| {
        let new = rows - before.iter().find(|it| it.0 == *table).map_or(0, |it| it.1);
        let new = match new {
            0 => Field::from(""),
            1.. => Field::styled(Style::Good, format!("+{}", count(new))),
            _ => Field::styled(Style::Careful, count(new)),
        };
        vec![Field::styled(Style::Name, table), count(*rows).into(), new]
    });
    for line in app.out.table(&["table", ">rows", ">new"], rows).lines() {
        app.out.line(format!("  {}", line.trim_end()))?;
    }
    app.out.line("")
}

async fn tell_queries(app: &App, queries: &[Query]) -> std::io::Result<()> {
    let out = &app.out;
    if out.is_json() {
        return Ok(());
    }
    out.line(heading(out, "Three queries worth running"))?;
    for query in queries {
        out.line(format!("\n  {}", out.paint().of(Style::Quiet, format!("-- {}", query.title))))?;
        out.line(format!("  {} {}", out.paint().of(Style::Quiet, "$"), query.command.replace('\n', "\n  ")))?;
        let answer = query.answer(&app.config).await;
        for line in answer.as_deref().unwrap_or_default().lines() {
            out.line(format!("  {line}"))?;
        }
    }
    out.line("")
}

impl Story {
    fn tell_second(&self, out: &Output) -> std::io::Result<()> {
        let requests = view::plural(self.second.requests, "request");
        let unchanged = count(self.second_report.not_modified);
        let rows = count(self.second.rows_written);
        let text = format!("{requests}, {unchanged} of them answered 304 (unchanged), {rows} rows written");
        out.line(format!("  {}", out.paint().of(Style::Good, text)))
    }

    fn tell_next(&self, app: &App) -> std::io::Result<()> {
        let out = &app.out;
        let spec = engine::provider_specs().find(|it| it.provider == self.source.provider);
        let variable = spec.map_or("TOKEN", |it| it.token_env);
        let provider = &self.source.provider;
        out.line("")?;
        out.line(heading(out, "With a repository of your own"))?;
        out.line(format!("  export {variable}=…"))?;
        let syncline = called();
        out.line(format!("  {syncline} source add {provider} --name mine --repo OWNER/NAME"))?;
        out.line(format!("  {syncline} sync start --source mine --wait"))?;
        let again = if self.world.is_git() {
            format!("Commit something and run `{syncline} demo` again: only what is new is read.")
        } else {
            format!(
                "Run `{syncline} demo` in a folder with a git history, and it is that history that lands."
            )
        };
        out.line(format!("\n{}", out.paint().of(Style::Quiet, again)))
    }

    fn json(&self, app: &App, queries: &[Query], service: &SyncService) -> Value {
        let about = crate::words::About { source: &self.source.name, provider: &self.source.provider };
        let now = service.clock().now();
        let counts = |landed: &[(String, i64)]| -> Value {
            landed.iter().map(|(table, rows)| (table.clone(), json!(rows))).collect::<Map<_, _>>().into()
        };
        let mut second = view::sync_json(about, &self.second, now);
        second["notModified"] = json!(self.second_report.not_modified);
        json!({
            "database": shown(&app.config.database_url),
            "world": self.world.json(),
            "baseUrl": self.source.settings.base_url,
            "source": self.source.name,
            "landedBefore": counts(&self.before),
            "landed": counts(&self.landed),
            "first": view::sync_json(about, &self.first, now),
            "second": second,
            "rulesBroken": self.rules_broken,
            "queries": queries.iter().map(Query::json).collect::<Vec<_>>(),
        })
    }
}
