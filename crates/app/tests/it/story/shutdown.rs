//! A process that is asked to stop does so within ten seconds and gives its work back; a sync that is cancelled from
//! elsewhere stops within two.
//!
//! What was committed before must never be read again.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use sim::{Options, Sim, WorldSource};

use crate::support::{Database, Running, Scene, assert_kept_rules, assert_truth, on_both, started, until};

on_both!(
    a_terminated_process_gives_its_work_back,
    a_running_sync_is_cancelled_from_elsewhere,
    a_sync_is_cancelled_while_it_still_finds_its_work,
    a_waiting_sync_is_cancelled_from_elsewhere,
    a_sync_that_was_put_away_is_cancelled,
);

const NAMES: [&str; 3] = ["acme/repo-1", "acme/repo-2", "acme/repo-3"];

/// What the README promises of a shutdown, and of a cancel.
const STOPS_WITHIN: Duration = Duration::from_secs(10);
const CANCELS_WITHIN: Duration = Duration::from_secs(2);

async fn slow(latency_ms: u64) -> Sim {
    let world = WorldSource::Seeded { seed: 51, repos: 3, commits: 1_500 };
    let latency = Duration::from_millis(latency_ms);
    // Without a last page nothing is asked side by side: many pages in a row.
    let links = NAMES.map(|it| format!("nolast={it}")).join(",");
    started(Options { world, latency, ..Options::default() }, &links, "").await
}

async fn pages_committed(scene: &Scene, pages: i64) {
    let enough = async || {
        (scene.database.number("select coalesce(sum(pages), 0) from jobs").await >= pages).then_some(())
    };
    until("pages are committed", Duration::from_mins(1), enough).await;
}

async fn a_terminated_process_gives_its_work_back(database: Database) {
    let signals =
        if database.is_sqlite() { [Signal::TERM, Signal::INT] } else { [Signal::INT, Signal::TERM] };
    let sim = slow(60).await;
    let scene = Scene::with_source(database, &sim, &NAMES).await.set("SYNCLINE_WORKERS", 2);
    let undisturbed = scene.copy().await;
    undisturbed.completes().await;
    let undisturbed = sim.report().requests;
    sim.reset_report();
    for (signal, pages) in signals.into_iter().zip([8, 20]) {
        let syncing = scene.start_sync();
        pages_committed(&scene, pages).await;
        syncing.signal(signal);
        let ended = syncing.ended_within(STOPS_WITHIN).await;
        ended.expect_code(130);
        assert_eq!(ended.json()["state"], "running", "{}", ended.told());
        let held =
            "select count(*) from jobs where state = 'running' or lease_until is not null or attempt > 0
            and state = 'available'";
        assert_eq!(scene.database.number(held).await, 0, "work was not given back: {}", ended.told());
        assert!(scene.database.number("select count(*) from jobs where state = 'available'").await > 0);
    }
    scene.completes().await;
    assert_truth(&scene.database, &sim, &NAMES).await;
    // Twice, each of two workers dropped at most a page in flight and one ahead, of one request each here.
    let requests = sim.report().requests;
    assert!(requests <= undisturbed + 8, "{requests} requests, {undisturbed} undisturbed");
    assert_kept_rules(&sim);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_waits_for_a_limit_stops_too() {
    let (sim, scene, syncing) = waiting_for_a_limit(Database::sqlite()).await;
    syncing.signal(Signal::TERM);
    syncing.ended_within(STOPS_WITHIN).await.expect_code(130);
    assert_eq!(scene.database.number("select count(*) from jobs where state = 'running'").await, 0);
    assert_kept_rules(&sim);
}

/// Begins a sync that has spent its budget and waits for the next window in place.
async fn waiting_for_a_limit(database: Database) -> (Sim, Scene, Running) {
    let world = WorldSource::Seeded { seed: 52, repos: 1, commits: 300 };
    let sim = started(Options { world, ..Options::default() }, "", "primary=6,window=45").await;
    let scene = Scene::with_source(database, &sim, &["acme/repo-1"]).await.set("SYNCLINE_WORKERS", 1);
    let syncing = scene.start_sync();
    // One request of six is kept back.
    let spent = async || (sim.report().requests >= 5).then_some(());
    until("the budget is spent", Duration::from_secs(30), spent).await;
    let running = "select count(*) from jobs where state = 'running' and pages > 0";
    let waits = async || (scene.database.number(running).await == 1).then_some(());
    until("a job waits", Duration::from_secs(10), waits).await;
    (sim, scene, syncing)
}

async fn a_running_sync_is_cancelled_from_elsewhere(database: Database) {
    let sim = slow(100).await;
    let scene = Scene::with_source(database, &sim, &NAMES).await;
    let syncing = scene.start_sync();
    pages_committed(&scene, 9).await;
    assert_cancelled(&scene, syncing).await;
    // What was read stays, and the next sync goes on there.
    let landed = scene.database.number("select count(*) from commits").await;
    assert!(landed > 0);
    scene.completes().await;
    assert_truth(&scene.database, &sim, &NAMES).await;
    assert_kept_rules(&sim);
}

async fn a_sync_is_cancelled_while_it_still_finds_its_work(database: Database) {
    // The listing under way is committed before the cancel is noticed: what it finds must not be begun.
    let sim = slow(400).await;
    let scene = Scene::with_source(database, &sim, &NAMES).await;
    let syncing = scene.start_sync();
    let lists = "select count(*) from jobs where state = 'running' and stream = 'branches'";
    let listing = async || (scene.database.number(lists).await > 0).then_some(());
    until("branches are listed", Duration::from_secs(30), listing).await;
    assert_cancelled(&scene, syncing).await;
    scene.completes().await;
    assert_truth(&scene.database, &sim, &NAMES).await;
    assert_kept_rules(&sim);
}

async fn a_waiting_sync_is_cancelled_from_elsewhere(database: Database) {
    let (sim, scene, syncing) = waiting_for_a_limit(database).await;
    assert_cancelled(&scene, syncing).await;
    assert_kept_rules(&sim);
}

/// Cancels the only sync from another process, and fails unless the one that works on it ends soon.
async fn assert_cancelled(scene: &Scene, syncing: Running) {
    let sync = scene.database.number("select max(id) from syncs").await.to_string();
    scene.run(&["sync", "cancel", &sync, "--json"]).await.expect_code(0);
    let cancelled = Instant::now();
    let closed = format!("select count(*) from syncs where id = {sync} and state <> 'running'");
    let closed = async || (scene.database.number(&closed).await == 1).then_some(());
    until("the sync is closed", CANCELS_WITHIN, closed).await;
    assert!(cancelled.elapsed() <= CANCELS_WITHIN);
    let ended = syncing.ended_within(STOPS_WITHIN).await;
    assert!(matches!(ended.code, Some(1 | 3)), "{}", ended.told());
    assert!(ended.json()["jobsByState"]["cancelled"].as_u64().unwrap() > 0, "{}", ended.told());
    let active =
        "select count(*) from jobs where state in ('available', 'scheduled', 'retryable', 'running')";
    assert_eq!(scene.database.number(active).await, 0, "a job goes on: {}", ended.told());
    // There is nothing more to cancel.
    scene.run(&["sync", "cancel", &sync, "--json"]).await.expect_code(4);
}

async fn a_sync_that_was_put_away_is_cancelled(database: Database) {
    let world = WorldSource::Seeded { seed: 53, repos: 1, commits: 300 };
    let sim = started(Options { world, ..Options::default() }, "", "primary=6,window=3600").await;
    let scene = Scene::with_source(database, &sim, &["acme/repo-1"]).await;
    let ended = scene.sync().await;
    ended.expect_code(3);
    let sync = ended.json()["id"].as_i64().unwrap().to_string();
    scene.run(&["sync", "cancel", &sync, "--json"]).await.expect_code(0);
    let scheduled = "select count(*) from jobs where state = 'scheduled'";
    assert_eq!(scene.database.number(scheduled).await, 0);
    let shown = scene.run(&["sync", "status", &sync, "--json"]).await.json();
    assert!(shown["jobsByState"]["cancelled"].as_u64().unwrap() > 0, "{shown:#}");
    assert!(shown.get("blockedUntil").is_none_or(serde_json::Value::is_null), "{shown:#}");
}
