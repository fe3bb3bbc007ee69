//! The program as people run it: a process in a folder of its own, with nothing configured but what a story says.
//!
//! It must never take a setting from the environment of the tests.

use std::process::{Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sim::Sim;
use tokio::process::Command;
use tokio::task::JoinSet;

use super::{Database, Host, Kind};

/// The name of every story's source.
pub(crate) const SOURCE: &str = "acme";

/// The key that stories seal with.
pub(crate) const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// The variable that holds the credential, and the credential.
pub(crate) const TOKEN: (&str, &str) = ("STORY_TOKEN", "good-token");

/// No command of a story takes longer, on a machine that is busy with other tests too.
const COMMAND_MAX: Duration = Duration::from_secs(150);

/// A database, and the settings that the program is run with.
pub(crate) struct Scene {
    pub(crate) database: Database,
    /// The group of streams that its source is synced by, where it has several.
    group: Option<&'static str>,
    settings: Vec<(String, String)>,
}

impl Scene {
    /// Sets the scene over a database.
    pub(crate) fn new(database: Database) -> Self {
        let settings = [
            ("SYNCLINE_DATABASE_URL", database.url().to_owned()),
            ("SYNCLINE_KEY", KEY.to_owned()),
            (TOKEN.0, TOKEN.1.to_owned()),
            ("NO_COLOR", "1".to_owned()),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value)).into();
        Self { settings, database, group: None }
    }

    /// Sets the scene with a source that reads `repos` of a simulator, or all it shows where none is named.
    pub(crate) async fn with_source(database: Database, sim: &Sim, repos: &[&str]) -> Self {
        Self::at_host(Host::first(), database, sim, repos).await
    }

    /// Sets the same scene at one of the hosts of git repositories.
    pub(crate) async fn at_host(host: Host, database: Database, sim: &Sim, repos: &[&str]) -> Self {
        let scene = Self { group: Some("commits"), ..Self::new(database) };
        scene.add(host, sim, repos).await;
        scene
    }

    /// Has the story's source synced by another group of streams from now on.
    pub(crate) fn of_group(mut self, group: &'static str) -> Self {
        self.group = Some(group);
        self
    }

    /// Changes a variable of the environment for what is run from now on.
    pub(crate) fn set(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.settings.retain(|it| it.0 != name);
        self.settings.push((name.to_owned(), value.to_string()));
        self
    }

    /// Takes a variable of the environment away.
    pub(crate) fn unset(mut self, name: &str) -> Self {
        self.settings.retain(|it| it.0 != name);
        self
    }

    /// Sets the same scene over a copy of the database.
    pub(crate) async fn copy(&self) -> Self {
        let database = self.database.copy().await;
        let mut settings = self.settings.clone();
        for (name, value) in &mut settings {
            if name == "SYNCLINE_DATABASE_URL" {
                database.url().clone_into(value);
            }
        }
        Self { database, settings, group: self.group }
    }

    /// Adds the story's source.
    pub(crate) async fn add_source(&self, sim: &Sim, repos: &[&str]) {
        self.add(Host::first(), sim, repos).await;
    }

    async fn add(&self, host: Host, sim: &Sim, repos: &[&str]) {
        let (url, flag) = (host.url(sim), host.flag());
        let mut arguments = vec!["source", "add", host.provider(), "--name", SOURCE, "--base-url", &url];
        arguments.extend(repos.iter().flat_map(|it| [flag.as_str(), it]));
        arguments.extend(["--token-env", TOKEN.0, "--json"]);
        self.run(&arguments).await.expect_code(0);
    }

    /// Sets the scene with a source that reads a simulator's Jira.
    pub(crate) async fn with_jira(database: Database, kind: Kind, sim: &Sim, more: &[&str]) -> Self {
        let scene = Self::new(database);
        scene.add_jira(SOURCE, kind, sim, more).await;
        scene
    }

    /// Adds a source that reads a simulator's Jira; Cloud is told the account's address.
    pub(crate) async fn add_jira(&self, name: &str, kind: Kind, sim: &Sim, more: &[&str]) {
        let url = kind.url(sim);
        let mut arguments = vec!["source", "add", "jira", "--name", name, "--base-url", &url];
        if kind == Kind::Cloud {
            arguments.extend(["--email", "me@acme.example"]);
        }
        arguments.extend(["--token-env", TOKEN.0, "--json"]);
        arguments.extend(more);
        self.run(&arguments).await.expect_code(0);
    }

    /// Runs a command to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).ended().await
    }

    /// Syncs the story's source to the end.
    pub(crate) async fn sync(&self) -> Ended {
        self.sync_with(&[]).await
    }

    /// Syncs the story's source to the end, with more in the environment of this one process.
    pub(crate) async fn sync_with(&self, more: &[(&str, &str)]) -> Ended {
        self.start_with(&self.sync_arguments(), more).ended().await
    }

    /// Begins to sync the story's source.
    pub(crate) fn start_sync(&self) -> Running {
        self.start(&self.sync_arguments())
    }

    fn sync_arguments(&self) -> Vec<&'static str> {
        let mut arguments = vec!["sync", "start", "--source", SOURCE, "--wait", "--json"];
        arguments.extend(self.group.into_iter().flat_map(|it| ["--group", it]));
        arguments
    }

    /// Syncs the story's source to the end, and fails unless it completed.
    pub(crate) async fn completes(&self) -> Value {
        let ended = self.sync().await;
        ended.expect_code(0);
        let sync = ended.json();
        assert_eq!(sync["state"], "completed", "{sync:#}");
        sync
    }

    /// Begins to run a command.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        self.start_with(arguments, &[])
    }

    fn start_with(&self, arguments: &[&str], more: &[(&str, &str)]) -> Running {
        let mut command = self.command(arguments, more);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let pid = child.id().and_then(|it| i32::try_from(it).ok()).and_then(Pid::from_raw).unwrap();
        let mut waiting = JoinSet::new();
        waiting.spawn(async move { child.wait_with_output().await.unwrap() });
        Running { pid, waiting, said: arguments.join(" ") }
    }

    /// Prepares to run a command; where its output goes is for the caller to say.
    pub(crate) fn command(&self, arguments: &[&str], more: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_syncline"));
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("SYNCLINE_") || name.ends_with("_TOKEN") {
                command.env_remove(&*name);
            }
        }
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command.envs(more.iter().copied()).current_dir(self.database.folder()).args(arguments);
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }
}

/// A process under way; it is killed when it is dropped.
pub(crate) struct Running {
    pid: Pid,
    waiting: JoinSet<Output>,
    said: String,
}

impl Running {
    /// Returns the process's number.
    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) async fn ended(self) -> Ended {
        self.ended_within(COMMAND_MAX).await
    }

    /// Waits for its end, and fails when that takes longer.
    pub(crate) async fn ended_within(mut self, limit: Duration) -> Ended {
        let ended = tokio::time::timeout(limit, self.waiting.join_next()).await;
        let output = ended.unwrap_or_else(|_| panic!("`{}` did not end within {limit:?}", self.said));
        Ended::new(self.said, output.unwrap().unwrap())
    }
}

/// How a process ended.
pub(crate) struct Ended {
    said: String,
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    fn new(said: String, output: Output) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        Self {
            said,
            code: output.status.code(),
            signal: output.status.signal(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Says whether it was killed with SIGKILL.
    pub(crate) fn was_killed(&self) -> bool {
        self.signal == Some(9)
    }

    /// Fails unless it ended with this code.
    pub(crate) fn expect_code(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "{}", self.told());
        self
    }

    /// Fails unless it told this.
    pub(crate) fn expect_words(&self, words: &str) -> &Self {
        assert!(
            self.stdout.contains(words) || self.stderr.contains(words),
            "no {words:?} in {}",
            self.told()
        );
        self
    }

    /// Returns the one JSON object that it printed.
    pub(crate) fn json(&self) -> Value {
        let lines: Vec<&str> = self.stdout.lines().filter(|it| !it.trim().is_empty()).collect();
        assert_eq!(lines.len(), 1, "one JSON object was expected: {}", self.told());
        serde_json::from_str(lines[0]).unwrap_or_else(|error| panic!("{error}: {}", self.told()))
    }

    /// Returns the error that it printed as JSON: its stable word and its sentence.
    pub(crate) fn error(&self) -> (String, String) {
        let error = &self.json()["error"];
        let text = |key: &str| error[key].as_str().unwrap_or_else(|| panic!("{}", self.told())).to_owned();
        (text("code"), text("message"))
    }

    /// Returns all that is known, for a failing test.
    pub(crate) fn told(&self) -> String {
        format!(
            "`{}` ended with code {:?}, signal {:?}\nstdout: {}\nstderr: {}",
            self.said, self.code, self.signal, self.stdout, self.stderr
        )
    }
}
