//! A folder with nothing in it, and the program run there with no environment but what a test gives.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use sim::{Options, Sim, WorldSource};
use tempfile::TempDir;
use tokio::process::Command;

/// The credential of tests; nothing may ever show it.
pub(super) const TOKEN: &str = "ghp_planted0credential1that2nobody3may4see";

/// An empty folder.
pub(super) struct Sandbox {
    folder: TempDir,
    environment: Vec<(String, String)>,
}

/// What one run of the program said.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) code: Option<i32>,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Sandbox {
    pub(super) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), environment: Vec::new() }
    }

    /// Sets a variable for all runs from now on.
    pub(super) fn set(mut self, name: &str, value: &str) -> Self {
        self.environment.retain(|it| it.0 != name);
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Prepares a run.
    pub(super) fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_syncline"));
        command.args(line.split_whitespace()).current_dir(self.folder.path()).env_clear();
        // git and sqlite3 are found like everywhere; a test's folder may lie in somebody's repository.
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("GIT_CEILING_DIRECTORIES", "/");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }

    /// Runs the program; words are split at spaces.
    pub(super) async fn run(&self, line: &str) -> Said {
        Said::from(self.command(line).output().await.unwrap())
    }

    /// Runs the program, which has to end with `code`.
    pub(super) async fn ends(&self, code: i32, line: &str) -> Said {
        let said = self.run(line).await;
        assert_eq!(said.code, Some(code), "{line}: {said:#?}");
        said
    }

    /// Adds the source `acme` with what the simulator shows.
    pub(super) async fn add(&self, sim: &Sim, more: &str) {
        let line = format!("source add github --name acme --base-url {} {more}", sim.github_url());
        self.ends(0, &line).await;
    }

    /// Every byte of every file in the folder.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let files = std::fs::read_dir(self.folder.path()).unwrap().map(|it| it.unwrap().path());
        files.flat_map(|it| std::fs::read(it).unwrap()).collect()
    }
}

impl From<std::process::Output> for Said {
    fn from(output: std::process::Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Said {
    /// Reads standard output, which has to be one JSON object and nothing else.
    pub(super) fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "{self:#?}");
        serde_json::from_str(&self.stdout).unwrap()
    }
}

/// A small world: three repositories of forty commits.
pub(super) fn world() -> Options {
    Options { world: WorldSource::Seeded { seed: 7, repos: 3, commits: 40 }, ..Options::default() }
}

pub(super) async fn simulate(options: Options) -> Sim {
    sim::start(options).await.unwrap()
}
