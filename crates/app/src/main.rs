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

use std::num::NonZeroUsize;
use std::process::ExitCode;

use clap::Parser;

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

/// Threads beyond one for each core where others are answered too: a page that was read is taken apart at one go, in
/// milliseconds, and while that happens on every core a question would wait for its turn again and again. The system
/// gives a thread that slept its turn at once. Each costs some MiB.
const ANSWERING_THREADS: usize = 2;

fn run(cli: Cli, config: Config, out: &Output) -> anyhow::Result<Exit> {
    // Sends what is left when everything else has ended, outside the runtime.
    let _traces = telemetry::start(&config, out);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if matches!(cli.command, Command::Serve(_)) {
        let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        builder.worker_threads(cores + ANSWERING_THREADS);
    }
    let runtime = builder.enable_all().build()?;
    runtime.block_on(cli::run(cli.command, App { config, tenant: cli.global.tenant, out: out.clone() }))
}
