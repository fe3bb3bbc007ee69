//! `syncline serve` as a process: started on a free port, and asked over HTTP like anybody would.
//!
//! It must never be left running when a story ends.

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Child;

use super::client::Client;
use super::program::Scene;

/// No server takes longer to start, on a machine that is busy with other tests too.
const START_MAX: Duration = Duration::from_mins(1);

/// A server under way.
pub(crate) struct Server {
    child: Child,
    /// Where it answers, without a trailing slash.
    pub(crate) url: String,
    /// Where it shows its metrics without a token, if it was told to.
    pub(crate) metrics_url: Option<String>,
    log: PathBuf,
    document: Arc<Value>,
    /// An admin's token of the tenant `default`.
    pub(crate) admin_token: String,
}

impl Server {
    /// Starts a server over a scene's database, with more in its environment, and makes an admin's token.
    pub(crate) async fn start_with(scene: &Scene, more: &[(&str, &str)]) -> Self {
        let admin_token = make_token(scene, "default", "admin").await;
        // Its own name for each server of a scene.
        let began = std::time::UNIX_EPOCH.elapsed().unwrap().as_micros();
        let log = scene.database.folder().join(format!("serve-{began}.log"));
        let mut command = scene.command(&["serve", "--listen", "127.0.0.1:0", "--json"], more);
        command.stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = tokio::time::timeout(START_MAX, lines.next_line()).await;
        let told = || std::fs::read_to_string(&log).unwrap_or_default();
        let first = first.unwrap_or_else(|_| panic!("the server did not start: {}", told())).unwrap();
        let first = first.unwrap_or_else(|| panic!("the server ended: {}", told()));
        let first: Value = serde_json::from_str(&first).unwrap();
        let url = first["listening"].as_str().unwrap().to_owned();
        let metrics_url = first["metrics"].as_str().map(str::to_owned);
        let document = Client::document(&url, &admin_token).await;
        Self { child, url, metrics_url, log, document: Arc::new(document), admin_token }
    }

    /// Starts a server over a scene's database.
    pub(crate) async fn start(scene: &Scene) -> Self {
        Self::start_with(scene, &[("SYNCLINE_LOG", "info")]).await
    }

    /// Returns its OpenAPI document.
    pub(crate) fn document(&self) -> &Value {
        &self.document
    }

    /// Asks as whoever has this token.
    pub(crate) fn client(&self, token: &str) -> Client {
        Client::new(&self.url, token, self.document.clone())
    }

    /// Asks as an admin of the tenant `default`.
    pub(crate) fn admin(&self) -> Client {
        self.client(&self.admin_token)
    }

    /// Returns the process's number.
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id().unwrap()).unwrap()
    }

    /// Returns what it logged so far.
    pub(crate) fn logged(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.pid()).unwrap(), signal).unwrap();
    }

    /// Waits for its end, and returns its exit code.
    pub(crate) async fn ended_within(&mut self, limit: Duration) -> Option<i32> {
        let ended = tokio::time::timeout(limit, self.child.wait()).await;
        ended
            .unwrap_or_else(|_| panic!("the server did not end within {limit:?}: {}", self.logged()))
            .unwrap()
            .code()
    }

    /// Stops it cleanly, and fails when it does not end well.
    pub(crate) async fn stop(mut self) {
        self.signal(Signal::TERM);
        let code = self.ended_within(Duration::from_secs(10)).await;
        assert_eq!(code, Some(0), "{}", self.logged());
    }
}

/// Makes a token with the command line, as an operator does.
pub(crate) async fn make_token(scene: &Scene, tenant: &str, role: &str) -> String {
    static MADE: AtomicU32 = AtomicU32::new(0);
    let name = format!("{role}-{}", MADE.fetch_add(1, Ordering::Relaxed));
    let arguments = ["token", "create", "--tenant", tenant, "--name", &name, "--role", role, "--json"];
    let ended = scene.run(&arguments).await;
    ended.expect_code(0);
    ended.json()["token"].as_str().unwrap_or_else(|| panic!("{}", ended.told())).to_owned()
}
