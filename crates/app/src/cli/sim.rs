//! `syncline sim`: fake providers on this machine, until a signal ends them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};

use super::App;
use super::stop::Stop;
use crate::exit::{Exit, Failure};
use crate::output::{Style, count};

const EXAMPLES: &str = "Examples:
  syncline sim --git .                             this repository's commits, followed live
  syncline sim --repos 20 --commits 5000           a made-up world: acme/repo-1 to acme/repo-20
  syncline sim --projects 8 --issues 2000          a larger Jira; it is there as Cloud and as Data Center
  syncline sim --activity 0.5                      people at work: something new every other second
  syncline sim --latency-ms 50 --faults 5xx=0.05,cut=0.02,seed=7
  syncline sim --limits primary=60,window=120      a small budget, to see a sync wait

Faults: seed=N; only=github|gitlab|jira;
  5xx, cut, html, slow, reset, secondary, hang = a probability from 0 to 1;
  empty, gone, legal, denied, opaque, nolast, paused = OWNER/NAME; renamed=OWNER/OLD>OWNER/NEW
Limits: primary, points, concurrent, anonymous, gitlab, jira_quota, jira_burst, jira_writes,
  dc_bucket, dc_fill = a number (0 switches it off); window, jira_window, dc_interval = seconds

What it was asked, and every rule that was broken: the report under /__sim/report of the same
address.";

/// Run fake providers to rehearse against
#[derive(Debug, Args)]
#[command(
    long_about = "Runs fake providers to rehearse against. Prints one line a provider with its base URL, and serves \
                  until Ctrl-C or SIGTERM.",
    after_help = EXAMPLES
)]
pub(crate) struct SimArgs {
    /// Where to listen; port 0 takes any free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    #[command(flatten)]
    world: WorldArgs,
    /// How many issues and pull requests each made-up repository has at GitHub [default: a few, by its commits]
    #[arg(long, value_name = "N", conflicts_with = "git", value_parser = clap::value_parser!(u32).range(0..=100_000))]
    repo_issues: Option<u32>,
    #[command(flatten)]
    site: SiteArgs,
    /// How many things people do a second by themselves, at all providers; 0 is nobody at work, 50 the most
    #[arg(long, value_name = "RATE", default_value_t = 0.0, value_parser = rate)]
    activity: f64,
    /// How long every answer takes at least
    #[arg(long, value_name = "N", default_value_t = 0)]
    latency_ms: u64,
    /// Faults to serve, as key=value,key=value
    #[arg(long, value_name = "SPEC", default_value = "")]
    faults: String,
    /// Limits to keep, as key=value,key=value
    #[arg(long, value_name = "SPEC", default_value = "")]
    limits: String,
}

/// What the fake providers show.
#[derive(Clone, Debug, Args)]
pub(crate) struct WorldArgs {
    /// Show this git repository, followed live
    #[arg(long, value_name = "PATH", conflicts_with_all = ["seed", "repos", "commits"])]
    git: Option<PathBuf>,
    /// What a made-up world is made from; the same seed makes the same world [default: 1]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// How many repositories a made-up world has [default: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    repos: Option<u32>,
    /// How many commits each of them has [default: 200]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    commits: Option<u32>,
}

/// What the fake Jira holds. Its seed is that of the made-up world.
#[derive(Clone, Debug, Args)]
pub(crate) struct SiteArgs {
    /// How many projects the fake Jira has
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    projects: u32,
    /// How many issues each of them has
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    issues: u32,
}

impl SiteArgs {
    /// Returns the Jira that was asked for.
    pub(crate) fn options(&self) -> sim::JiraOptions {
        // Both are bounded far below a usize by the parser.
        let size = sim::SiteSize { projects: self.projects as usize, issues: self.issues as usize };
        sim::JiraOptions { size, ..sim::JiraOptions::default() }
    }
}

impl WorldArgs {
    /// Says whether nothing was asked for.
    pub(crate) fn is_default(&self) -> bool {
        self.git.is_none() && self.seed.is_none() && self.repos.is_none() && self.commits.is_none()
    }

    /// Returns the world that was asked for.
    pub(crate) fn source(&self) -> sim::WorldSource {
        match &self.git {
            Some(path) => sim::WorldSource::Git(path.clone()),
            None => sim::WorldSource::Seeded {
                seed: self.seed.unwrap_or(1),
                // Both are bounded far below a usize by the parser.
                repos: self.repos.unwrap_or(3) as usize,
                commits: self.commits.unwrap_or(200) as usize,
            },
        }
    }
}

/// Runs the command.
pub(crate) async fn run(args: SimArgs, app: &App) -> anyhow::Result<Exit> {
    let options = sim::Options {
        listen: args.listen,
        world: args.world.source(),
        // Bounded far below a usize by the parser.
        issues: args.repo_issues.map(|it| it as usize),
        latency: Duration::from_millis(args.latency_ms),
        faults: args
            .faults
            .parse()
            .map_err(|it: sim::SpecError| Failure::usage(format!("--faults: {it}")))?,
        limits: args
            .limits
            .parse()
            .map_err(|it: sim::SpecError| Failure::usage(format!("--limits: {it}")))?,
        jira: args.site.options(),
        activity_per_s: args.activity,
    };
    // Listened for before anything is printed: whoever reads the line may end us at once.
    let stop = Stop::listen(&app.out, "")?;
    let sim = start(options).await?;
    let providers = sim.providers();
    let width = providers.iter().map(|it| it.0.len()).max().unwrap_or(0);
    for (provider, url) in &providers {
        app.out.line(format!("{provider:width$}  {url}"))?;
    }
    let urls: Map<String, Value> =
        providers.into_iter().map(|(name, url)| (name.to_owned(), json!(url))).collect();
    app.out.json(&Value::Object(urls))?;
    stop.token().cancelled().await;
    let report = sim.report();
    sim.stop().await;
    let quiet = |text: String| app.out.paint().of(Style::Quiet, text);
    app.out.note(quiet(format!(
        "answered {} requests, {} of them 304; {} rules broken",
        count(report.requests),
        count(report.not_modified),
        count(report.violations.len())
    )));
    Ok(Exit::Done)
}

/// Reads how many things are done a second.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    let found = text.parse().ok().filter(|it| (0.0..=sim::ACTIVITY_PER_S_MAX).contains(it));
    found.ok_or_else(|| format!("a number from 0 to {} is allowed", sim::ACTIVITY_PER_S_MAX))
}

/// Starts a simulator; what can be wrong is what was asked for.
pub(crate) async fn start(options: sim::Options) -> anyhow::Result<sim::Sim> {
    sim::start(options).await.map_err(|it| Failure::usage(it.to_string()))
}
