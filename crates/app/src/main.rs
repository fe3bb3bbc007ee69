//! `syncline`: keeps a team's data from its providers in step with the team's own database.
//!
//! It reads the command line and the configuration, hands over to `cli`, and turns what comes back into an exit
//! code; it never starts a sync itself. Begin with `cli`.

mod api;
mod cli;
mod config;
mod exit;
mod output;
mod progress;
mod telemetry;
mod words;

use std::process::ExitCode;

use clap::Parser;
use tokio::runtime::Builder;

use cli::{App, Cli, Command};
use config::{Config, Layers};
use exit::Exit;
use output::Output;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return output::refuse_usage(&error).into(),
    };
    let out = Output::new(cli.global.json, config::no_color());
    let layers = Layers {
        file: cli.global.config.as_deref(),
        environment: config::environment(),
        flags: cli.global.settings(),
    };
    let ended = Config::load(&layers).map_err(Into::into).and_then(|config| run(cli, config, &out));
    match ended {
        Ok(exit) => exit.into(),
        Err(error) => out.fail(&error).into(),
    }
}

/// Threads that answer requests and do nothing else: a page that was read is taken apart at one go, in milliseconds, and
/// while that happens on every core a question would wait for its turn again and again. Answers are small: two do.
const ANSWERING_THREADS: usize = 2;

/// By how much the rest of a server steps behind its answering threads, in the system's scale from 0 to 19. Syncing
/// then takes what others leave on a busy machine, a third of an even share, and all of an idle one.
const BEHIND: i32 = 5;

fn run(cli: Cli, config: Config, out: &Output) -> anyhow::Result<Exit> {
    // Sends what is left when everything else has ended, outside the runtime.
    let _traces = telemetry::start(&config, out);
    let is_server = matches!(cli.command, Command::Serve(_));
    let answering = is_server
        .then(|| Builder::new_multi_thread().worker_threads(ANSWERING_THREADS).enable_all().build())
        .transpose()?;
    // Threads have the rank of the one that makes them, so what is made from here on steps behind what was before.
    if is_server && let Err(error) = rustix::process::nice(BEHIND) {
        tracing::debug!(%error, "syncing does not step behind answering");
    }
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let handle = answering.as_ref().map(|it| it.handle().clone());
    let app = App { config, tenant: cli.global.tenant, out: out.clone(), answering: handle };
    let ended = runtime.block_on(cli::run(cli.command, app));
    drop(runtime);
    drop(answering);
    ended
}
