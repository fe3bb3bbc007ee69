//! The second part of `syncline demo`: two tenants and both providers, by themselves, until it is ended.
//!
//! It must never look at the demo but as a person, a script or a client of its API does.

use std::process::Command as Git;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::sandbox::{Sandbox, TOKEN, simulate, world};
use crate::support::{Client, Database};

/// No line that a test waits for comes later, on a machine that is busy with other tests too.
const LINE_MAX: Duration = Duration::from_mins(1);

/// A demo that goes on until it is ended.
struct Lasting {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    said: Vec<String>,
}

impl Lasting {
    fn start(sandbox: &Sandbox, more: &str) -> Self {
        // Far longer than any test waits: whatever ends it, its own time does not.
        let mut child = sandbox.command(&format!("demo --latency-ms 0 --for 10m {more}")).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines, said: Vec::new() }
    }

    /// Returns the first line that holds all words, and reads on until there is one.
    async fn line(&mut self, words: &[&str]) -> String {
        let holds = |line: &String| words.iter().all(|it| line.contains(it));
        if let Some(line) = self.said.iter().find(|it| holds(it)) {
            return line.clone();
        }
        let read = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                self.said.push(line);
                if self.said.last().is_some_and(holds) {
                    return self.said.last().cloned();
                }
            }
            None
        };
        let found = tokio::time::timeout(LINE_MAX, read).await.ok().flatten();
        found.unwrap_or_else(|| panic!("no line with {words:?} in:\n{}", self.said.join("\n")))
    }

    /// Reads where it answers, and makes a client for each of its two tokens.
    async fn clients(&mut self) -> [Client; 2] {
        let api = self.line(&["the API of tenants"]).await;
        let url = api.split_whitespace().next_back().unwrap().to_owned();
        let mut clients = Vec::new();
        for name in ["MINE=", "THEIRS="] {
            let line = self.line(&[name]).await;
            let token = line.trim().trim_start_matches(name);
            let document = Arc::new(Client::document(&url, token).await);
            clients.push(Client::new(&url, token, document));
        }
        clients.try_into().unwrap_or_else(|_| panic!("two clients"))
    }

    /// Presses Ctrl-C, and reads on to the end.
    async fn interrupted(mut self) -> (Option<i32>, String) {
        let id = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().await.unwrap().success());
        while let Some(line) = self.lines.next_line().await.unwrap() {
            self.said.push(line);
        }
        (self.child.wait().await.unwrap().code(), self.said.join("\n"))
    }
}

async fn names(client: &Client) -> Vec<String> {
    let sources = client.get("/api/v1/sources").await.expect(200);
    let sources = sources["sources"].as_array().unwrap().clone();
    sources.iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect()
}

/// Fails unless nothing of the demo begins by itself or opens anything any more.
async fn assert_at_rest(sandbox: &Sandbox) {
    let status = sandbox.ends(0, "status --json").await.json();
    let sources = status["sources"].as_array().unwrap();
    assert!(sources.len() >= 4 && sources.iter().all(|it| it["nextSyncAt"].is_null()), "{status:#}");
    let tokens = sandbox.ends(0, "token list --json").await.json();
    let tokens = tokens["tokens"].as_array().unwrap();
    assert!(tokens.len() >= 2 && tokens.iter().all(|it| it["revokedAt"].is_i64()), "{tokens:?}");
}

#[tokio::test]
async fn what_made_up_people_do_lands_by_itself_and_tenants_see_only_their_own() {
    let sandbox = Sandbox::new().set("SYNC_ENABLED", "false");
    let mut demo = Lasting::start(&sandbox, "--activity 20");
    let [mine, theirs] = demo.clients().await;
    assert_eq!(names(&mine).await, ["demo-1-3-200", "demo-1-3-200-jira"]);
    let listed = theirs.get("/api/v1/sources").await.expect(200);
    assert_eq!(names(&theirs).await, ["github", "jira"]);
    let id = listed["sources"][0]["id"].as_i64().unwrap();
    theirs.get(&format!("/api/v1/sources/{id}/status")).await.expect(200);
    mine.get(&format!("/api/v1/sources/{id}/status")).await.expect_problem(404, "unknown");
    assert_eq!(mine.get(&format!("/api/v1/records/commits?source={id}")).await.status, 404);
    mine.post("/api/v1/syncs", &json!({ "source": 1, "group": "commits" }))
        .await
        .expect_problem(403, "forbidden");
    for source in ["demo-1-3-200  ", "demo-1-3-200-jira  "] {
        demo.line(&["✓ default · ", source, "landed"]).await;
    }
    let (code, said) = demo.interrupted().await;
    assert_eq!(code, Some(0), "{said}");
    for expected in ["What happened in", "neighbour", "0 rules broken", "With a repository of your own"] {
        assert!(said.contains(expected), "{expected:?} is missing in:\n{said}");
    }
    assert_at_rest(&sandbox).await;
}

#[tokio::test]
async fn commits_of_a_git_history_land_while_the_demo_runs() {
    let sandbox = Sandbox::new();
    let git = |arguments: &[&str]| {
        let mut command = Git::new("git");
        command.arg("-C").arg(sandbox.path("")).args(["-c", "user.name=A", "-c", "user.email=a@example.com"]);
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    git(&["init", "--initial-branch=main"]);
    git(&["commit", "--allow-empty", "--message=begin"]);
    let mut demo = Lasting::start(&sandbox, "--activity 20");
    let [mine, _] = demo.clients().await;
    demo.line(&["Commit something"]).await;
    git(&["commit", "--allow-empty", "--message=ABC-7 go on"]);
    demo.line(&["default · demo  ", "landed"]).await;
    let found = mine.get("/api/v1/records/commits?source=1&jira_key=ABC-7").await.expect(200);
    assert_eq!(found["records"].as_array().unwrap().len(), 1, "{found:#}");
    // Made-up people work everywhere but in this repository.
    demo.line(&["neighbour · github  ", "landed"]).await;
    let (code, said) = demo.interrupted().await;
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(git(&["rev-list", "--all", "--count"]).trim(), "2");
    assert_eq!(git(&["branch", "--format=%(refname)"]).trim(), "refs/heads/main");
}

#[tokio::test]
async fn a_later_run_goes_on_with_the_same_tenants_and_sources() {
    let sandbox = Sandbox::new();
    let mut demo = Lasting::start(&sandbox, "--activity 0");
    for source in ["default · demo-1-3-200-jira  ", "neighbour · github  ", "neighbour · jira  "] {
        demo.line(&[source, "landed"]).await;
    }
    assert_eq!(demo.interrupted().await.0, Some(0));
    assert_at_rest(&sandbox).await;
    let show = async |line: &str| sandbox.ends(0, &format!("source show {line} --json")).await.json();
    assert_eq!(show("github --tenant neighbour").await["landed"]["commits"], 120);
    let (cloud, center) = (show("demo-1-3-200-jira").await, show("jira --tenant neighbour").await);
    for landed in [&cloud["landed"], &center["landed"]] {
        assert!(landed["jira_cards"].as_i64() > Some(0) && landed["sprints"].as_i64() > Some(0), "{landed}");
    }
    let again = sandbox.ends(0, "demo --latency-ms 0 --activity 0 --for 1s --json").await.json();
    let background = &again["background"];
    let text = |it: &Value, name: &str| it[name].as_str().unwrap().to_owned();
    let sources = background["sources"].as_array().unwrap().iter();
    let sources: Vec<_> = sources.map(|it| (text(it, "tenant"), text(it, "source"))).collect();
    let named = |tenant: &str, source: &str| (tenant.to_owned(), source.to_owned());
    let expected = [
        named("default", "demo-1-3-200"),
        named("default", "demo-1-3-200-jira"),
        named("neighbour", "github"),
        named("neighbour", "jira"),
    ];
    assert_eq!(sources, expected);
    assert_eq!((&background["rowsWritten"], &again["rulesBroken"]), (&0.into(), &0.into()), "{again:#}");
    assert!(!again.to_string().contains("slt_"), "a token that ended is no use to a script");
    let tenants = sandbox.ends(0, "tenant list --json").await.json();
    assert_eq!(tenants["tenants"].as_array().unwrap().len(), 2);
    assert_at_rest(&sandbox).await;
}

#[tokio::test]
async fn what_is_somebodys_is_left_alone() {
    let sim = simulate(world()).await;
    let sandbox = Sandbox::new().set("GITHUB_TOKEN", TOKEN);
    sandbox.add(&sim, "").await;
    sandbox.ends(0, "source schedule acme --every 1s").await;
    sandbox.ends(0, "tenant create neighbour").await;
    sandbox.ends(0, "token create --name mine").await;
    let said = sandbox.ends(0, "demo --latency-ms 0 --for 2s --json").await.json();
    assert_eq!(said["background"]["sources"][2]["tenant"], "neighbour-2", "{said:#}");
    assert_eq!(sim.report().requests, 0, "a source of somebody is not synced");
    let schedule = sandbox.ends(0, "source schedule acme --json").await.json();
    assert_eq!(schedule["schedules"][0]["everyMs"], 1_000);
    let tokens = sandbox.ends(0, "token list --json").await.json();
    let mine = tokens["tokens"].as_array().unwrap().iter().find(|it| it["name"] == "mine").unwrap();
    assert!(mine["revokedAt"].is_null());
}

#[tokio::test]
async fn the_demo_works_on_postgresql() {
    let database = Database::postgres().await;
    let sandbox = Sandbox::new().set("SYNCLINE_DATABASE_URL", database.url());
    for _ in 0..2 {
        let mut demo = Lasting::start(&sandbox, "--activity 20");
        let [mine, theirs] = demo.clients().await;
        assert_eq!((names(&mine).await.len(), names(&theirs).await.len()), (2, 2));
        for source in ["default · demo-1-3-200-", "· github  ", "· jira  "] {
            demo.line(&["✓", source, "landed"]).await;
        }
        let (code, said) = demo.interrupted().await;
        assert!(code == Some(0) && said.contains("0 rules broken"), "{said}");
    }
    assert_at_rest(&sandbox).await;
}

#[tokio::test]
async fn an_address_that_others_can_reach_needs_tls_in_front() {
    let sandbox = Sandbox::new();
    let said = sandbox.ends(2, "demo --listen 0.0.0.0:0 --for 1s").await;
    assert!(said.stderr.contains("behind_tls_proxy"), "{}", said.stderr);
    assert!(!sandbox.path("syncline.db").exists(), "it was refused before anything was made");
    assert!(sandbox.ends(2, "demo --for soon").await.stderr.contains("20s, 5m or 0s is allowed"));
}
