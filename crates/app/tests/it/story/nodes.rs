//! Two processes on one PostgreSQL share the work. One is killed, or sleeps through its lease: the other takes over,
//! and the one that wakes up writes nothing.
//!
//! A process here must never be waited for by the clock alone, only by what stands in the database.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use sim::{Options, Sim, WorldSource};

use crate::support::{
    Database, Running, Scene, assert_kept_rules, assert_truth, every_row, snapshot, started, until,
};

/// A test that is not where it should be by then hangs.
const SOON: Duration = Duration::from_secs(40);

/// Starts a simulator that answers slowly enough to be interrupted.
async fn slow(repos: usize, commits: usize, latency_ms: u64, faults: &str) -> Sim {
    let world = WorldSource::Seeded { seed: 21, repos, commits };
    let latency = Duration::from_millis(latency_ms);
    let sim = started(Options { world, latency, ..Options::default() }, faults, "").await;
    // Places remember when they were found, by the provider's clock.
    sim.set_time(Some(1_735_718_400_000));
    sim
}

/// Counts the jobs that a process holds.
async fn held_by(scene: &Scene, process: &Running) -> i64 {
    let sql = "select count(*) from jobs where state = 'running' and node like";
    scene.database.number(&format!("{sql} '%/{}/%'", process.pid())).await
}

/// Stops a process at a moment when it holds a job, and `also` counts what this says.
async fn stop_while_holding(scene: &Scene, process: &Running, holding: &str, also: (&str, i64)) {
    let held = format!(
        "select count(*) from jobs where state = 'running' and node like '%/{}/%' {holding}",
        process.pid()
    );
    let stopped = async || {
        process.signal(Signal::STOP);
        if scene.database.number(&held).await > 0 && scene.database.number(also.0).await == also.1 {
            return Some(());
        }
        process.signal(Signal::CONT);
        None
    };
    until("the process stands still where it should", SOON, stopped).await;
}

/// Transactions under way in other sessions; those of a process that stands still stay so.
const TRANSACTIONS: &str = "select count(*) from pg_stat_activity where datname = current_database()
    and pid <> pg_backend_pid() and backend_type = 'client backend' and state <> 'idle'";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_is_killed_and_the_other_finishes_within_one_lease() {
    let lease = Duration::from_secs(12);
    let sim = slow(8, 400, 30, "").await;
    let scene = Scene::with_source(Database::postgres().await, &sim, &[]).await;
    let scene = scene.set("SYNCLINE_LEASE", "12s").set("SYNCLINE_WORKERS", 2);
    let (one, other) = (scene.start_sync(), scene.start_sync());
    let both = async || {
        let (one, other) = (held_by(&scene, &one).await, held_by(&scene, &other).await);
        (one > 0 && other > 0).then_some(())
    };
    until("both hold jobs", SOON, both).await;
    stop_while_holding(&scene, &one, "", ("select 1", 1)).await;
    one.signal(Signal::KILL);
    let killed = Instant::now();
    assert!(one.ended().await.was_killed());
    let ended = other.ended_within(SOON).await;
    let took = killed.elapsed();
    ended.expect_code(0);
    assert_eq!(ended.json()["state"], "completed", "{}", ended.told());
    assert!(took < lease, "the other one took {took:?}");
    let taken_over = "select count(*) from jobs where generation > 1";
    assert!(scene.database.number(taken_over).await > 0, "nothing was taken over");
    let names = sim.world().names();
    assert_truth(&scene.database, &sim, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_kept_rules(&sim);
}

/// Begins a long walk with one process, stops it there inside of so many transactions, and lets another one take its
/// job over.
async fn taken_over(scene: &Scene, transactions: i64) -> (Running, Running) {
    let first = scene.start_sync();
    let walking = "and stream = 'commits' and pages between 2 and 9";
    stop_while_holding(scene, &first, walking, (TRANSACTIONS, transactions)).await;
    let second = scene.start_sync();
    let sql = "select count(*) from jobs where stream = 'commits' and generation = 2";
    let taken = async || (scene.database.number(sql).await == 1).then_some(());
    until("the job is taken over", SOON, taken).await;
    (first, second)
}

async fn long_walk() -> (Sim, Scene) {
    // Without a last page nothing can be asked side by side: fifteen pages in a row.
    let sim = slow(1, 1_500, 150, "nolast=acme/repo-1").await;
    let scene = Scene::with_source(Database::postgres().await, &sim, &["acme/repo-1"]).await;
    (sim, scene.set("SYNCLINE_LEASE", "2s").set("SYNCLINE_WORKERS", 1))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_wakes_while_another_has_its_job_writes_nothing() {
    let (sim, scene) = long_walk().await;
    let undisturbed = scene.copy().await;
    undisturbed.completes().await;
    let undisturbed = snapshot(&undisturbed.database).await;

    let (first, second) = taken_over(&scene, 0).await;
    first.signal(Signal::CONT);
    let (first, second) = (first.ended().await, second.ended().await);
    for ended in [&first, &second] {
        ended.expect_code(0);
        assert_eq!(ended.json()["state"], "completed", "{}", ended.told());
        assert!(!ended.stderr.contains("panicked"), "{}", ended.told());
    }
    // Had the first one's page been written too, the job would count a page, its records and requests twice.
    undisturbed.assert_same(&snapshot(&scene.database).await, "after a worker slept through its lease");
    let generation = "select max(generation) from jobs";
    assert_eq!(scene.database.number(generation).await, 2);
    assert_truth(&scene.database, &sim, &["acme/repo-1"]).await;
    assert_kept_rules(&sim);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_wakes_after_another_finished_its_job_writes_nothing() {
    let (sim, scene) = long_walk().await;
    let (first, second) = taken_over(&scene, 0).await;
    second.ended().await.expect_code(0);
    let before = every_row(&scene.database).await;
    first.signal(Signal::CONT);
    let first = first.ended().await;
    first.expect_code(0);
    assert!(!first.stderr.contains("panicked"), "{}", first.told());
    before.assert_same(&every_row(&scene.database).await, "after a worker woke up too late");
    assert_truth(&scene.database, &sim, &["acme/repo-1"]).await;
    assert_kept_rules(&sim);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_stands_still_in_a_transaction_holds_nobody_up() {
    // Answers come at once, so that it mostly commits.
    let sim = slow(1, 2_500, 0, "nolast=acme/repo-1").await;
    let scene = Scene::with_source(Database::postgres().await, &sim, &["acme/repo-1"]).await;
    let scene = scene.set("SYNCLINE_LEASE", "2s").set("SYNCLINE_WORKERS", 1);
    let (first, second) = taken_over(&scene, 1).await;
    second.ended().await.expect_code(0);
    let before = every_row(&scene.database).await;
    first.signal(Signal::CONT);
    let first = first.ended().await;
    first.expect_code(0);
    before.assert_same(&every_row(&scene.database).await, "after a process woke up in a transaction");
    assert_truth(&scene.database, &sim, &["acme/repo-1"]).await;
    assert_kept_rules(&sim);
}
