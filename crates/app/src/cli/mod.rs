//! The commands: what can be typed, and which function answers. One file a verb.
//!
//! Every command goes through the engine's one door; none starts work in another way.

mod budget;
mod census;
mod chore;
mod demo;
mod follow;
mod plan;
mod serve;
mod sim;
mod source;
mod status;
mod stop;
mod sync;
mod tenant;
mod token;
mod view;
mod webhook;
mod why;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use engine::{Clock, HttpLimits, SealingKey, SyncService};
use jiff::SignedDuration;
use tokio::runtime::Handle;

use crate::config::{self, Config};
use crate::exit::{self, Exit};
use crate::output::Output;

/// The command line.
#[derive(Debug, Parser)]
#[command(
    name = "syncline",
    version,
    about = "Keeps a team's data from its providers in step with the team's own database",
    long_about = "Keeps a team's data from its providers in step with the team's own database.\n\nA source is one \
                  account at a provider. A sync reads what changed since the last one; it survives being killed at \
                  any moment, and the next start goes on where it stopped.",
    after_help = EXAMPLES,
    after_long_help = long_help(),
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "Examples:
  syncline demo                                            see it work, with nothing configured
  syncline source add github --name acme --repo acme/api   name what to read; export GITHUB_TOKEN
  syncline sync start --source acme --wait                 read it
  syncline status                                          see where everything stands
  syncline sync start --wait --json | jq .state            the same for scripts

`syncline --help` lists the settings and exit codes too; every command has a --help of its own.";

/// What may be typed with every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Where everything is kept
    #[arg(
        long,
        global = true,
        value_name = "URL",
        help_heading = "Global options",
        help = "Where everything is kept: sqlite://FILE or postgres://USER@HOST:PORT/NAME [default: \
                sqlite://syncline.db]"
    )]
    database: Option<String>,
    /// The configuration file [default: syncline.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    pub(crate) config: Option<PathBuf>,
    /// The file with the key that credentials are sealed with; made on first start
    #[arg(long, global = true, value_name = "FILE", help_heading = "Global options")]
    key_file: Option<String>,
    /// Only what belongs to this tenant [default: everybody's; new things go to `default`]
    #[arg(long, global = true, value_name = "NAME", help_heading = "Global options")]
    pub(crate) tenant: Option<String>,
    /// Jobs that run side by side, 1 to 256 [default: 10]
    #[arg(long, global = true, value_name = "N", help_heading = "Global options")]
    workers: Option<String>,
    /// Print results (and errors) as JSON on standard output
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
    /// Log more, to standard error; twice for even more
    #[arg(long, short, global = true, action = clap::ArgAction::Count, help_heading = "Global options")]
    verbose: u8,
}

impl Global {
    /// Returns the settings that flags gave, by their keys.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        let log = match self.verbose {
            0 => None,
            1 => Some("warn,syncline=info,engine=info,store=info,sim=info".to_owned()),
            _ => Some("info,syncline=debug,engine=debug,store=debug,sim=debug".to_owned()),
        };
        let given = [
            ("database_url", self.database.clone()),
            ("key_file", self.key_file.clone()),
            ("workers", self.workers.clone()),
            ("log", log),
        ];
        given.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Add, list, show, check and remove sources
    #[command(
        subcommand,
        after_help = "Examples:
  syncline source add github --name acme --repo acme/api
  syncline source check acme
  syncline source list --json"
    )]
    Source(source::SourceCommand),
    /// Start, watch and cancel syncs
    #[command(
        subcommand,
        after_help = "Examples:
  syncline sync start --wait
  syncline sync status
  syncline sync cancel 7"
    )]
    Sync(sync::SyncCommand),
    /// Show where every source stands
    Status(status::StatusArgs),
    /// Say what keeps a source from being synced now, and when it will be
    Why(why::WhyArgs),
    /// Show what is due, the requests it will take, and when it will be finished
    Plan(plan::PlanArgs),
    /// Show what is no longer at the providers, and answer where much is
    #[command(
        subcommand,
        after_help = "Examples:
  syncline census show
  syncline census show 12
  syncline census approve 12
  syncline census undo 12"
    )]
    Census(census::CensusCommand),
    /// Show what the providers still answer
    Budget(budget::BudgetArgs),
    /// Make, list and revoke tenants, who own sources
    #[command(
        subcommand,
        after_help = "Examples:
  syncline tenant create acme
  syncline source add github --name api --repo acme/api --tenant acme
  syncline tenant list"
    )]
    Tenant(tenant::TenantCommand),
    /// Make, list and revoke tokens, which open the API
    #[command(
        subcommand,
        after_help = "Examples:
  syncline token create --tenant acme --name laptop --role viewer
  syncline token list
  syncline token revoke 3"
    )]
    Token(token::TokenCommand),
    /// Have a provider tell what changes: the address, the secret, and what came
    #[command(
        subcommand,
        after_help = "Examples:
  syncline webhook url acme --at https://sync.example.com
  syncline webhook secret acme
  syncline webhook deliveries acme"
    )]
    Webhook(webhook::WebhookCommand),
    /// List the chores that keep everything in order, and run one
    #[command(
        subcommand,
        after_help = "Examples:
  syncline chore list
  syncline chore run rescue"
    )]
    Chore(chore::ChoreCommand),
    /// Serve the API, with schedules and workers, until a signal stops it
    Serve(serve::ServeArgs),
    /// Run fake providers to rehearse against
    Sim(sim::SimArgs),
    /// See it work in this folder, with nothing configured
    Demo(demo::DemoArgs),
}

/// What every command is given.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) config: Config,
    /// Whose things are meant; all of them where nobody was named.
    pub(crate) tenant: Option<String>,
    pub(crate) out: Output,
    /// Where requests are answered, where that is not beside everything else.
    pub(crate) answering: Option<Handle>,
}

/// Runs a command.
pub(crate) async fn run(command: Command, app: App) -> anyhow::Result<Exit> {
    match command {
        Command::Source(command) => source::run(command, &app).await,
        Command::Sync(command) => sync::run(command, &app).await,
        Command::Status(args) => status::run(&args, &app).await,
        Command::Why(args) => why::run(&args, &app).await,
        Command::Plan(args) => plan::run(&args, &app).await,
        Command::Census(command) => census::run(command, &app).await,
        Command::Budget(args) => budget::run(&args, &app).await,
        Command::Tenant(command) => tenant::run(command, &app).await,
        Command::Token(command) => token::run(command, &app).await,
        Command::Webhook(command) => webhook::run(command, &app).await,
        Command::Chore(command) => chore::run(command, &app).await,
        Command::Serve(args) => serve::run(&args, &app).await,
        Command::Sim(args) => sim::run(args, &app).await,
        Command::Demo(args) => demo::run(args, &app).await,
    }
}

impl App {
    /// Opens the engine as configured, for the tenant that was named.
    pub(crate) async fn open(&self) -> Result<SyncService, engine::Error> {
        let service = self.open_whole().await?;
        let scoped = self.scoped(&service).await;
        if scoped.is_err() {
            service.close().await;
        }
        scoped
    }

    /// Returns the handle for the tenant that was named; the given one where nobody was.
    pub(crate) async fn scoped(&self, service: &SyncService) -> Result<SyncService, engine::Error> {
        match &self.tenant {
            None => Ok(service.clone()),
            Some(tenant) => Ok(service.scoped(service.tenant(tenant).await?.id)),
        }
    }

    /// Opens the engine as configured, for everybody.
    pub(crate) async fn open_whole(&self) -> Result<SyncService, engine::Error> {
        let config = &self.config;
        let key = match &config.key {
            Some(text) => SealingKey::Text(text.clone()),
            None => SealingKey::File(config.key_file()),
        };
        let options = engine::Options {
            database_url: config.database_url.clone(),
            max_page_count: config.database_max_pages,
            key,
            workers: config.workers,
            in_flight: config.requests_in_flight,
            // The setting is bounded far below what a signed duration holds.
            lease: SignedDuration::try_from(config.lease).unwrap_or(SignedDuration::from_mins(1)),
            thresholds: config.thresholds,
            manual_cooldowns: config.manual_cooldowns.clone(),
            schedule: config.schedule.clone(),
            maintenance: config.maintenance,
            http: HttpLimits {
                connect_timeout: config.http_connect_timeout,
                read_timeout: config.http_read_timeout,
                total_timeout: config.http_timeout,
                body_bytes_max: config.http_body_bytes_max,
            },
            clock: Clock::default(),
            #[cfg(debug_assertions)]
            kill_at: config.kill_at.map(|(nth, before)| engine::KillAt { nth, before }),
        };
        SyncService::open(options).await
    }
}

fn long_help() -> String {
    format!("{EXAMPLES}\n\n{}\n{}", exit::help(), config::help())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
