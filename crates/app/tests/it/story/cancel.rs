//! A person stops a sync: whatever its jobs are at, and whichever process holds them, they stop within two seconds.
//!
//! Who stops it here is never the process that works.

use std::time::{Duration, Instant};

use domain::id::SyncId;
use domain::job::SyncState;
use domain::trigger::Trigger;
use engine::{Options as EngineOptions, Requested, SyncService};
use sim::{Options, Sim, WorldSource};

use crate::support::{
    Database, SOURCE, Scene, Server, TOKEN, Work, assert_truth, engine_options, epoch_ms, on_both, service,
    started, until,
};

on_both!(
    jobs_that_wait_are_stopped_at_once,
    a_job_in_a_request_is_stopped,
    a_job_whose_provider_is_silent_is_stopped,
    a_job_that_waits_in_place_is_stopped,
    a_job_that_may_not_ask_yet_is_stopped,
    jobs_that_commit_page_after_page_are_stopped,
);

/// A test that is not where it should be by then hangs.
const SOON: Duration = Duration::from_secs(40);

/// How long a person waits at most.
const PROMPT: Duration = Duration::from_secs(2);

/// A provider, and two engines over one database: one works, the other is asked.
struct Stage {
    sim: Sim,
    scene: Scene,
    works: SyncService,
    asked: SyncService,
}

impl Stage {
    async fn set(database: Database, commits: usize) -> Self {
        Self::set_with(database, commits, 4).await
    }

    async fn set_with(database: Database, commits: usize, workers: usize) -> Self {
        let world = WorldSource::Seeded { seed: 81, repos: 2, commits };
        let sim = started(Options { world, ..Options::default() }, "", "").await;
        let scene = Scene::with_source(database, &sim, &["acme/repo-1", "acme/repo-2"]).await;
        let (works, asked) = (service(&scene.database, workers).await, service(&scene.database, 1).await);
        Self { sim, scene, works, asked }
    }

    async fn start(&self) -> SyncId {
        match self.asked.request(SOURCE, "commits", Trigger::Manual).await.unwrap() {
            Requested::Started { sync, .. } => sync,
            refused @ Requested::Refused { .. } => panic!("{refused:?}"),
        }
    }

    /// Waits until a statement counts something.
    async fn is_at(&self, what: &str, count: &str) {
        let there = async || (self.scene.database.number(count).await > 0).then_some(());
        until(what, SOON, there).await;
    }

    /// Stops a sync, and fails unless everything of it stands still within two seconds.
    async fn stops(&self, sync: SyncId) {
        let began = Instant::now();
        assert!(self.asked.cancel(sync).await.unwrap(), "there is something to stop");
        let closed = async || {
            let row = self.asked.sync(sync).await.unwrap();
            row.closed_at.map(|_| row)
        };
        let row = until("the sync closes", SOON, closed).await;
        let took = began.elapsed();
        assert_eq!((row.state, row.jobs.cancelled > 0), (SyncState::Cancelled, true), "{row:?}");
        assert!(took < PROMPT, "it took {took:?}");
        let active = format!(
            "select count(*) from jobs where sync_id = {sync} and (lease_until is not null
                or state in ('available', 'scheduled', 'retryable', 'running'))"
        );
        assert_eq!(self.scene.database.number(&active).await, 0);
        assert!(!self.asked.cancel(sync).await.unwrap(), "nothing is left to stop");
    }

    /// Says that nothing of what was stopped stands in the way of the next sync.
    async fn goes_on(self, work: Work) {
        self.sim.set_faults("".parse().unwrap());
        let sync = self.start().await;
        let closed = async || self.asked.sync(sync).await.unwrap().closed_at;
        until("the next sync closes", SOON, closed).await;
        assert_eq!(self.asked.sync(sync).await.unwrap().state, SyncState::Completed);
        work.end().await;
        self.works.close().await;
        self.asked.close().await;
        assert_truth(&self.scene.database, &self.sim, &["acme/repo-1", "acme/repo-2"]).await;
    }
}

async fn jobs_that_wait_are_stopped_at_once(database: Database) {
    let stage = Stage::set(database, 20).await;
    // Nobody works: what a worker would have made of the jobs is written here.
    for state in ["available", "scheduled", "retryable"] {
        let sync = stage.start().await;
        let later = format!("update jobs set state = '{state}', not_before = {}", epoch_ms() + 3_600_000);
        let later = format!("{later} where sync_id = {sync} and state = 'available'");
        stage.scene.database.execute(&later).await;
        stage.stops(sync).await;
    }
    let work = Work::begin(&stage.works);
    stage.goes_on(work).await;
}

async fn a_job_in_a_request_is_stopped(database: Database) {
    let stage = Stage::set(database, 20).await;
    stage.sim.set_faults("hang=1".parse().unwrap());
    let work = Work::begin(&stage.works);
    let sync = stage.start().await;
    let asked = async || (stage.sim.report().requests >= 2).then_some(());
    until("both jobs wait for an answer", SOON, asked).await;
    stage.stops(sync).await;
    stage.goes_on(work).await;
}

async fn a_job_whose_provider_is_silent_is_stopped(database: Database) {
    let stage = Stage::set_with(database, 20, 1).await;
    let world = WorldSource::Seeded { seed: 83, repos: 1, commits: 5 };
    let other = started(Options { world, ..Options::default() }, "", "").await;
    let url = other.github_url();
    let add = ["source", "add", "github", "--name", "other", "--base-url", &url, "--repo", "acme/repo-1"];
    let add = [&add[..], &["--token-env", TOKEN.0]].concat();
    stage.scene.run(&add).await.expect_code(0);
    stage.sim.set_faults("hang=1".parse().unwrap());
    let sync = stage.start().await;
    let work = Work::begin(&stage.works);
    let asked = async || (stage.sim.report().requests >= 1).then_some(());
    until("the only worker waits for an answer", SOON, asked).await;
    stage.asked.request("other", "commits", Trigger::Manual).await.unwrap();
    // Another source is read only once the job has given the worker's place back.
    stage.is_at("another is read", "select count(*) from commits").await;
    stage.stops(sync).await;
    let closed = "select count(*) from syncs where state = 'completed'";
    stage.is_at("the other source is read to its end", closed).await;
    stage.asked.remove_source("other", true).await.unwrap();
    stage.goes_on(work).await;
}

async fn a_job_that_waits_in_place_is_stopped(database: Database) {
    let stage = Stage::set(database, 20).await;
    stage.sim.set_faults("secondary=1".parse().unwrap());
    let work = Work::begin(&stage.works);
    let sync = stage.start().await;
    stage.is_at("a limit is met", "select count(*) from budgets where blocked_until is not null").await;
    stage.stops(sync).await;
    stage.goes_on(work).await;
}

async fn a_job_that_may_not_ask_yet_is_stopped(database: Database) {
    let stage = Stage::set(database, 20).await;
    let url = stage.sim.github_url();
    let add = ["source", "add", "github", "--name", "other", "--base-url", &url, "--repo", "acme/repo-1"];
    stage.scene.run(&[&add[..], &["--token-env", TOKEN.0]].concat()).await.expect_code(0);
    // Whose the credential is has to be known, so that one account holds both sources back.
    stage.scene.completes().await;
    let first = ["sync", "start", "--source", "other", "--group", "commits", "--wait"];
    stage.scene.run(&first).await.expect_code(0);
    let one_at_once = EngineOptions { in_flight: 1, ..engine_options(&stage.scene.database, 4) };
    let works = SyncService::open(one_at_once).await.unwrap();
    stage.sim.reset_report();
    stage.sim.set_faults("hang=1".parse().unwrap());
    let work = Work::begin(&works);
    let other = stage.asked.request("other", "commits", Trigger::Manual).await.unwrap();
    let Requested::Started { sync: other, .. } = other else { panic!("{other:?}") };
    let asked = async || (stage.sim.report().requests == 1).then_some(());
    until("the only request that may be under way is", SOON, asked).await;
    let sync = stage.start().await;
    let both = format!("select count(*) from jobs where sync_id = {sync} and state = 'running'");
    stage.is_at("a worker holds a job that may not ask", &both).await;
    stage.stops(sync).await;
    assert_eq!(stage.sim.report().requests, 1, "it was in a request");
    stage.stops(other).await;
    stage.asked.remove_source("other", true).await.unwrap();
    stage.sim.set_faults("".parse().unwrap());
    work.end().await;
    works.close().await;
    let work = Work::begin(&stage.works);
    stage.goes_on(work).await;
}

async fn jobs_that_commit_page_after_page_are_stopped(database: Database) {
    let stage = Stage::set(database, 1_500).await;
    let work = Work::begin(&stage.works);
    let sync = stage.start().await;
    stage.is_at("pages come", "select count(*) from jobs where stream = 'commits' and pages > 2").await;
    stage.stops(sync).await;
    stage.goes_on(work).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_stops_what_another_one_works_on() {
    let world = WorldSource::Seeded { seed: 82, repos: 2, commits: 20 };
    let sim = started(Options { world, ..Options::default() }, "hang=1", "").await;
    let scene = Scene::with_source(Database::postgres().await, &sim, &["acme/repo-1", "acme/repo-2"]).await;
    let off = [("SYNC_ENABLED", "false"), ("SYNCLINE_WORKERS", "1")];
    let (one, other) = (Server::start_with(&scene, &off).await, Server::start_with(&scene, &off).await);
    let source = one.admin().get("/api/v1/sources").await.expect(200)["sources"][0]["id"].clone();
    let body = serde_json::json!({ "source": source, "group": "commits" });
    let sync = one.admin().post("/api/v1/syncs", &body).await.expect(202)["syncs"][0]["sync"].clone();
    let both = async || {
        (scene.database.number("select count(distinct node) from jobs where state = 'running'").await == 2)
            .then_some(())
    };
    until("each server holds a job", SOON, both).await;
    let began = Instant::now();
    let path = format!("/api/v1/syncs/{sync}");
    other.admin().post(&format!("{path}/cancel"), &serde_json::json!({})).await.expect(200);
    let closed = async || (other.admin().get(&path).await.expect(200)["state"] == "cancelled").then_some(());
    until("the sync is stopped", SOON, closed).await;
    assert!(began.elapsed() < PROMPT, "it took {:?}", began.elapsed());
    one.stop().await;
    other.stop().await;
}
