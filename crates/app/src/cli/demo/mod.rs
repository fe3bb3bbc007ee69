//! `syncline demo`: the main job in an empty folder. A simulator in this process, one source, a sync that lands
//! something, and a second one that finds nothing new; then the same by itself, for two tenants and both providers.
//!
//! It does nothing that a person could not type, but for the simulators that end with it. Sources of anybody else are
//! never synced.

mod background;
mod board;
mod query;
mod tenants;
mod world;

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use engine::{SourceRow, SyncRow, SyncService};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::App;
use super::follow::{Asked, ask, follow, groups};
use super::serve;
use super::sim::{WorldArgs, rate};
use super::stop::Stop;
use super::view;
use crate::config::{parse_go_duration, shown};
use crate::exit::{Exit, Failure};
use crate::output::{Field, Output, Style, count, plural};
use background::Background;
use query::Query;
use tenants::Wanted;

/// How long the background part goes on where nobody watches: some syncs of every source.
const LASTING: Duration = Duration::from_secs(20);

/// See it work in this folder, with nothing configured
#[derive(Debug, Args)]
#[command(
    long_about = "Shows the main job in this folder, with nothing configured: a fake provider on this machine serves \
                  the git history that this folder is in (a made-up one where there is none), a source `demo` is \
                  added, a first sync lands everything in ./syncline.db, and a second one finds nothing new.\n\nThen \
                  it goes on by itself, as `syncline serve` does it: the API, schedules and workers for two tenants, \
                  each with a GitHub and a Jira, the second one's all made up. Made-up people are at work there; a \
                  git history is followed as you commit, and never written to. Nobody else's sources are synced.\n\n\
                  Another run goes on from what is there, but for what made-up people did: their work begins anew. \
                  Another history gets a source of its own.",
    after_help = "Examples:
  syncline demo
  syncline demo --for 0s                       the main job alone
  syncline demo --for 1m --activity 5          a busy minute
  syncline demo --git ../other-repository
  syncline demo --repos 20 --commits 5000 --latency-ms 0
  syncline demo --database postgres://me@localhost/syncline

Ctrl-C ends the second part, which is its regular end: the exit code is 0. Before, a sync is
interrupted, and the next run goes on with it: 130."
)]
pub(crate) struct DemoArgs {
    #[command(flatten)]
    world: WorldArgs,
    /// How long every answer of the fake providers takes, as over a network
    #[arg(long, value_name = "N", default_value_t = 25)]
    latency_ms: u64,
    /// How long it goes on by itself, 0s for not at all [default: until Ctrl-C at a terminal, else 20s]
    #[arg(long = "for", value_name = "DURATION", value_parser = lasting)]
    lasting: Option<Duration>,
    /// How many things the made-up people of each tenant do a second; 0 is nobody at work
    #[arg(long, value_name = "RATE", default_value_t = 1.0, value_parser = rate)]
    activity: f64,
    /// Where its API answers meanwhile; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

/// Reads how long something goes on.
fn lasting(text: &str) -> Result<Duration, String> {
    let found = parse_go_duration(text).and_then(|it| Duration::try_from(it).ok());
    found.ok_or_else(|| "a duration such as 20s, 5m or 0s is allowed".to_owned())
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

/// What a run is told with.
struct Teller<'a> {
    args: &'a DemoArgs,
    app: &'a App,
    /// Sees everybody's things.
    whole: &'a SyncService,
    stop: &'a CancellationToken,
}

/// Runs the command.
pub(crate) async fn run(args: DemoArgs, app: &App) -> anyhow::Result<Exit> {
    let lasting = args.lasting.or_else(|| (!app.out.is_terminal()).then_some(LASTING));
    // Before anything else: that the address is taken is no news for the end.
    let listener = match lasting {
        Some(Duration::ZERO) => None,
        _ => Some(serve::bind(args.listen, &app.config).await?),
    };
    let stop = Stop::listen(&app.out, "stopping cleanly; press Ctrl-C again to stop at once")?;
    let mut app = app.clone();
    // Its own sources are synced by themselves also where `serve` is told to leave all others alone.
    app.config.schedule.enabled = true;
    let whole = app.open_whole().await?;
    let teller = Teller { args: &args, app: &app, whole: &whole, stop: stop.token() };
    let told = teller.tell(listener, lasting).await;
    whole.close().await;
    if let Some(exit) = told? {
        return Ok(exit);
    }
    app.out.note("stopped; the next `syncline demo` goes on from here");
    Ok(Exit::Interrupted)
}

impl Teller<'_> {
    /// Tells both parts; `None` when a signal ended the first one.
    async fn tell(
        &self,
        listener: Option<TcpListener>,
        lasting: Option<Duration>,
    ) -> anyhow::Result<Option<Exit>> {
        let service = self.app.scoped(self.whole).await?;
        let known = service.sources().await?;
        let latency = Duration::from_millis(self.args.latency_ms);
        // A database that other folders may use too holds other folders' histories too.
        let is_our_folders = self.app.config.sqlite_file().is_some_and(|it| it.is_relative());
        let (world, mut sim) = world::start(&self.args.world, latency, &known, is_our_folders).await?;
        let Some(mut story) = self.first_part(&service, world, &sim).await? else { return Ok(None) };
        let queries = query::all(&self.app.config, story.source.id);
        let mut exit = view::exit_of(&story.first).worse(view::exit_of(&story.second));
        let mut value = story.json(self.app, &queries, &service);
        if let Some(listener) = listener {
            sim.reset_report();
            let own = tenants::own(self.whole, &story.source, &sim).await?;
            let (neighbour, mut other) =
                tenants::neighbour(self.whole, &story.source, is_our_folders, latency).await?;
            for it in [&mut sim, &mut other] {
                it.keep_busy(self.args.activity);
            }
            let background = Background {
                app: self.app,
                service: self.whole,
                parties: &[own, neighbour],
                is_git: story.world.is_git(),
                lasting,
                stop: self.stop,
            };
            // A whole server; on the stack of every command it would be too much.
            let outcome = Box::pin(background.run(listener)).await?;
            let reports = [sim.report(), other.report()];
            other.stop().await;
            story.rules_broken += reports.iter().map(|it| it.violations.len()).sum::<usize>();
            let not_modified = reports.iter().map(|it| it.not_modified).sum();
            outcome.tell(&self.app.out, not_modified, story.rules_broken)?;
            value["background"] = outcome.json(not_modified);
            exit = exit.worse(outcome.exit());
        }
        sim.stop().await;
        value["rulesBroken"] = json!(story.rules_broken);
        story.tell_next(self.app)?;
        self.app.out.json(&value)?;
        Ok(Some(exit))
    }

    /// Tells the main job: a first sync, what landed, and a second sync.
    async fn first_part(
        &self,
        service: &SyncService,
        world: world::World,
        sim: &sim::Sim,
    ) -> anyhow::Result<Option<Story>> {
        let out = &self.app.out;
        let wanted = Wanted {
            provider: "github",
            name: world.source(),
            base_url: sim.github_url(),
            options: json!({}),
        };
        let source = tenants::keep(service, wanted).await?;
        out.line(heading(out, "The provider"))?;
        out.line(format!("  {}", world.words()))?;
        let (address, ms) = (&source.settings.base_url, self.args.latency_ms);
        out.line(format!("  {address}, on this machine; every answer takes {ms} ms, as over a network\n"))?;

        let before = service.landed_counts(source.id).await?;
        out.line(heading(
            out,
            if commits(&before) == 0 { "First sync" } else { "What is new since the last run" },
        ))?;
        let Some(first) = sync(service, &source, out, self.stop).await? else { return Ok(None) };
        let landed = service.landed_counts(source.id).await?;
        tell_landed(self.app, &before, &landed)?;
        tell_queries(self.app, &query::all(&self.app.config, source.id)).await?;

        out.line(heading(out, "Second sync, with nothing new"))?;
        let rules_broken = sim.report().violations.len();
        sim.reset_report();
        let Some(second) = sync(service, &source, out, self.stop).await? else { return Ok(None) };
        let second_report = sim.report();
        let rules_broken = rules_broken + second_report.violations.len();
        let story = Story { world, source, before, first, landed, second, second_report, rules_broken };
        story.tell_second(out)?;
        Ok(Some(story))
    }
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
    // Tables of other providers have nothing from this source.
    let rows = landed.iter().filter(|it| it.1 > 0).map(|(table, rows)| {
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
        let requests = plural(self.second.requests, "request");
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
