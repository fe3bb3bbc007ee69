//! The provider's limits: waited for in place when that is short, and else the job is put away and resumed once; and
//! what looks like a limit and is none.
//!
//! No story here must wait out a long limit: the engine's clock is moved, and the simulator started anew.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use domain::policy::{Reason, Thresholds};
use domain::trigger::Trigger;
use engine::Requested;
use jiff::SignedDuration;
use rustix::process::Signal;
use sim::{Options, Sim, State, WorldSource};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::{
    Database, SOURCE, Scene, assert_kept_rules, assert_truth, epoch_ms, on_both, seeded, service,
    service_with, started, until,
};

on_both!(
    a_spent_budget_puts_jobs_away_and_resumes_each_once,
    a_limit_outlives_the_process_that_met_it,
    a_denied_repository_is_no_limit,
    a_higher_reserve_holds_back_scheduled_syncs_only,
);

const NAMES: [&str; 2] = ["acme/repo-1", "acme/repo-2"];
const WORLD: WorldSource = WorldSource::Seeded { seed: 31, repos: 2, commits: 300 };

const BLOCKED_EVENTS: &str = "select count(*) from events where name = 'sync.job.blocked'";

/// Starts the same world again at the same address, with fresh accounts: its hour is over.
async fn an_hour_later(sim: Sim, world: WorldSource) -> Sim {
    let listen: SocketAddr = sim.address();
    sim.stop().await;
    let options = Options { listen, world, ..Options::default() };
    started(options, "", "").await
}

/// Works in two processes' stead, some hours later, until the sync completes.
async fn resumed_later(scene: &Scene, sync: i64, by: SignedDuration) {
    let stop = CancellationToken::new();
    let mut working = JoinSet::new();
    for _ in 0..2 {
        let service = service(&scene.database, 2).await;
        service.clock().advance(by);
        let stop = stop.clone();
        working.spawn(async move {
            service.work(None, stop).await.unwrap();
            service.close().await;
        });
    }
    let sql = format!("select count(*) from syncs where id = {sync} and state = 'completed'");
    let completed = async || (scene.database.number(&sql).await == 1).then_some(());
    until("the sync completes", Duration::from_mins(1), completed).await;
    stop.cancel();
    while let Some(worked) = working.join_next().await {
        worked.unwrap();
    }
}

async fn a_spent_budget_puts_jobs_away_and_resumes_each_once(database: Database) {
    let undisturbed = {
        let sim = started(Options { world: WORLD, ..Options::default() }, "", "").await;
        let scene = Scene::with_source(Database::sqlite(), &sim, &NAMES).await;
        scene.completes().await;
        sim.report().requests
    };
    let options = Options { world: WORLD, ..Options::default() };
    let sim = started(options, "", "primary=14,window=3600").await;
    let scene = Scene::with_source(database, &sim, &NAMES).await.set("SYNCLINE_WORKERS", 2);
    let ended = scene.sync().await;
    ended.expect_code(3);
    let sync = ended.json();
    assert_eq!(sync["state"], "partial", "{sync:#}");
    let scheduled = sync["jobsByState"]["scheduled"].as_u64().unwrap();
    assert!(scheduled > 0, "{sync:#}");
    assert_eq!(sync["errors"][0]["code"], "rate_limited", "{sync:#}");
    assert_blocked_for(&sync["blockedUntil"], 3_400..=3_602);
    let held =
        "select count(*) from jobs where lease_until is not null or node is not null or state = 'running'";
    assert_eq!(scene.database.number(held).await, 0, "a worker was not freed");
    let status = scene.run(&["status", "--json"]).await.json();
    assert_eq!(status["sources"][0]["state"], "blocked", "{status:#}");
    assert_blocked_for(&status["sources"][0]["blockedUntil"], 3_400..=3_602);

    // Another start asks nothing: it says until when the budget is spent.
    let asked = sim.report().requests;
    let refused = scene.sync().await;
    refused.expect_code(4);
    assert_eq!(refused.json()["decision"]["reason"], "rate_limited", "{}", refused.told());
    assert_blocked_for(&refused.json()["decision"]["metadata"]["blockedUntil"], 3_400..=3_602);
    assert_eq!(sim.report().requests, asked);
    assert_kept_rules(&sim);

    let waiting = "select cast(id as text) || ' ' || cast(generation + 1 as text) from jobs
        where state = 'scheduled' order by id";
    let waiting = scene.database.lines(waiting).await;
    let sim = an_hour_later(sim, WORLD).await;
    resumed_later(&scene, sync["id"].as_i64().unwrap(), SignedDuration::from_hours(1)).await;
    assert_truth(&scene.database, &sim, &NAMES).await;
    for resumed in waiting {
        let (id, generation) = resumed.split_once(' ').unwrap();
        let found = scene.database.number(&format!("select generation from jobs where id = {id}")).await;
        assert_eq!(found.to_string(), generation, "job {id} was resumed more than once");
    }
    assert_eq!(scene.database.number(BLOCKED_EVENTS).await, i64::try_from(scheduled).unwrap());
    // What was asked side by side with the request that met the limit may be asked again, and nothing before it.
    let total = asked + sim.report().requests;
    assert!(total <= undisturbed + 2 * 8, "{total} requests, {undisturbed} without a limit");
    assert_kept_rules(&sim);
}

/// Fails unless a moment is so many seconds away.
fn assert_blocked_for(moment: &serde_json::Value, seconds: std::ops::RangeInclusive<i64>) {
    let at = moment.as_i64().unwrap_or_else(|| panic!("blocked until {moment}"));
    let away = (at - epoch_ms()) / 1000;
    assert!(seconds.contains(&away), "blocked for {away} s, not {seconds:?}");
}

/// Fails where a job was put away, or ran more than once.
async fn assert_waited_in_place(scene: &Scene) {
    assert_eq!(scene.database.number(BLOCKED_EVENTS).await, 0, "a job was put away");
    assert_eq!(
        scene.database.number("select max(generation) from jobs").await,
        1,
        "a job ran more than once"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_limit_is_waited_for_in_place() {
    let options = Options { world: WORLD, ..Options::default() };
    let sim = started(options, "", "primary=12,window=2").await;
    let scene = Scene::with_source(Database::sqlite(), &sim, &NAMES).await.set("SYNCLINE_WORKERS", 2);
    scene.completes().await;
    assert_truth(&scene.database, &sim, &NAMES).await;
    assert!(sim.report().requests > 12, "one window was enough");
    assert_waited_in_place(&scene).await;
    assert_kept_rules(&sim);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secondary_limit_is_waited_for_as_long_as_it_says() {
    let sim = seeded(32, 2, 300, "seed=5,secondary=0.3", "").await;
    let scene = Scene::with_source(Database::sqlite(), &sim, &NAMES).await.set("SYNCLINE_WORKERS", 4);
    scene.completes().await;
    assert_truth(&scene.database, &sim, &NAMES).await;
    assert!(sim.report().limits_met.secondary > 0, "{:?}", sim.report());
    assert_waited_in_place(&scene).await;
    assert_kept_rules(&sim);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_at_once_are_slowed_down_and_not_lost() {
    let sim = seeded(33, 4, 60, "", "concurrent=3").await;
    let names = sim.world().names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let scene = Scene::with_source(Database::sqlite(), &sim, &names).await.set("SYNCLINE_WORKERS", 16);
    scene.completes().await;
    assert_truth(&scene.database, &sim, &names).await;
    assert!(sim.report().limits_met.secondary > 0, "the limit was never met: {:?}", sim.report());
    assert_kept_rules(&sim);
}

/// A world whose answers take a while, so that processes meet limits while others are asking.
async fn slow_and_limited(faults: &str) -> Sim {
    let world = WorldSource::Seeded { seed: 36, repos: 4, commits: 230 };
    let latency = Duration::from_millis(40);
    let links = "nolast=acme/repo-1,nolast=acme/repo-2,opaque=acme/repo-3,opaque=acme/repo-4";
    started(Options { world, latency, ..Options::default() }, &format!("{links},{faults}"), "").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_keep_one_limit() {
    let sim = slow_and_limited("seed=2,secondary=0.12").await;
    let names = sim.world().names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let scene = Scene::with_source(Database::postgres().await, &sim, &names).await.set("SYNCLINE_WORKERS", 2);
    let (one, other) = (scene.start_sync(), scene.start_sync());
    one.ended().await.expect_code(0);
    other.ended().await.expect_code(0);
    assert_truth(&scene.database, &sim, &names).await;
    assert!(sim.report().limits_met.secondary > 1, "{:?}", sim.report());
    assert_kept_rules(&sim);
}

async fn a_limit_outlives_the_process_that_met_it(database: Database) {
    let sim = slow_and_limited("seed=3,secondary=0.12").await;
    let names = sim.world().names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let scene = Scene::with_source(database, &sim, &names).await.set("SYNCLINE_WORKERS", 2);
    for _ in 0..2 {
        let syncing = scene.start_sync();
        // The provider asked for two seconds; most of them are left when this is written down.
        let left = || format!("select count(*) from budgets where blocked_until > {}", epoch_ms() + 1_200);
        let known = async || (scene.database.number(&left()).await > 0).then_some(());
        until("a limit is written down", Duration::from_secs(30), known).await;
        syncing.signal(Signal::KILL);
        assert!(syncing.ended().await.was_killed());
    }
    scene.completes().await;
    assert_truth(&scene.database, &sim, &names).await;
    assert_kept_rules(&sim);
}

const TINY: WorldSource = WorldSource::Seeded { seed: 34, repos: 1, commits: 5 };

/// Starts a world that answers every request with an absurd reset.
async fn absurd(seed: u64) -> Sim {
    started(Options { world: TINY, ..Options::default() }, &format!("seed={seed},reset=1"), "").await
}

/// Finds a seed whose first answers name these resets, as far as they go.
async fn seed_with(resets: &[&str]) -> u64 {
    for seed in 1..200 {
        let sim = absurd(seed).await;
        let address = sim.address();
        let wanted: Vec<String> = resets.iter().map(|it| (*it).to_owned()).collect();
        let named = tokio::task::spawn_blocking(move || {
            wanted.iter().all(|it| reset_named(address).as_deref().unwrap_or("none") == *it)
        });
        if named.await.unwrap() {
            return seed;
        }
    }
    panic!("no seed answers {resets:?}");
}

/// Asks once, and returns the reset that the answer names.
fn reset_named(address: SocketAddr) -> Option<String> {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let request = "GET /github/repos/acme/repo-1 HTTP/1.1\r\nhost: sim\r\nuser-agent: story\r\n\
                   authorization: Bearer good-token\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let line = answer.lines().find_map(|it| it.strip_prefix("x-ratelimit-reset: "));
    line.map(|it| it.trim().to_owned())
}

const FAR: &str = "4102444800";
const PAST: &str = "1577836800";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_in_another_century_ends_within_the_hour() {
    let sim = absurd(seed_with(&[FAR]).await).await;
    let scene = Scene::with_source(Database::sqlite(), &sim, &["acme/repo-1"]).await;
    let ended = scene.sync().await;
    ended.expect_code(3);
    assert_blocked_for(&ended.json()["blockedUntil"], 3_500..=3_900);
    assert_eq!(sim.report().requests, 1);
    let sim = an_hour_later(sim, TINY).await;
    resumed_later(&scene, ended.json()["id"].as_i64().unwrap(), SignedDuration::from_mins(66)).await;
    assert_truth(&scene.database, &sim, &["acme/repo-1"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_in_the_past_is_no_reason_to_ask_at_once() {
    let sim = absurd(seed_with(&[PAST, FAR]).await).await;
    let scene = Scene::with_source(Database::sqlite(), &sim, &["acme/repo-1"]).await;
    let began = std::time::Instant::now();
    scene.sync().await.expect_code(3);
    assert!(began.elapsed() >= Duration::from_secs(1), "it asked again at once");
    assert_eq!(sim.report().requests, 2);
    assert_kept_rules(&sim);
}

async fn a_higher_reserve_holds_back_scheduled_syncs_only(database: Database) {
    let sim = seeded(36, 1, 20, "", "primary=1000").await;
    let scene = Scene::with_source(database, &sim, &["acme/repo-1"]).await;
    scene.completes().await;
    let left = 1000 - sim.report().requests;
    let as_they_are = Thresholds::default();
    let all = Thresholds { reserve: 1000, reserve_percent: 100, ..as_they_are };
    for (thresholds, trigger, starts) in
        [(all, Trigger::Cron, false), (all, Trigger::Manual, true), (as_they_are, Trigger::Cron, true)]
    {
        let service = service_with(&scene.database, 1, thresholds).await;
        match service.request(SOURCE, "commits", trigger).await.unwrap() {
            Requested::Started { sync, .. } => {
                assert!(starts, "{trigger:?} started");
                service.cancel(sync).await.unwrap();
            }
            Requested::Refused { decision, .. } => {
                assert!(!starts, "{trigger:?}: {decision:?}");
                assert_eq!(decision.reason, Reason::RateLimited);
                let numbers = (decision.metadata.required_budget, decision.metadata.available_budget);
                assert_eq!(numbers, (Some(1000), Some(left)));
            }
        }
        service.close().await;
    }
}

async fn a_denied_repository_is_no_limit(database: Database) {
    let sim = seeded(35, 3, 60, "denied=acme/repo-2", "").await;
    let names = ["acme/repo-1", "acme/repo-2", "acme/repo-3"];
    let scene = Scene::with_source(database, &sim, &names).await;
    for _ in 0..2 {
        let ended = scene.sync().await;
        ended.expect_code(3);
        let sync = ended.json();
        assert_eq!((&sync["state"], &sync["errorsTotal"]), (&"partial".into(), &1.into()), "{sync:#}");
        assert_eq!(sync["errors"][0]["code"], "denied", "{sync:#}");
        assert_eq!(sync["errors"][0]["partition"], "acme/repo-2", "{sync:#}");
        assert_truth(&scene.database, &sim, &["acme/repo-1", "acme/repo-3"]).await;
        let invalid = "select stream || ' ' || key from partitions where not is_valid";
        assert_eq!(scene.database.lines(invalid).await, ["repositories acme/repo-2"]);
        let status = scene.run(&["status", "--json"]).await.json();
        assert_eq!(status["sources"][0]["invalidPartitions"], 1, "{status:#}");
        assert_eq!(status["sources"][0]["lastSyncError"]["code"], "denied", "{status:#}");
        assert!(
            status["sources"][0]["lastSyncedAt"].is_null(),
            "{SOURCE} was never synced whole: {status:#}"
        );
    }
    assert_eq!(scene.database.number(BLOCKED_EVENTS).await, 0, "it was taken for a limit");
    // Lost later, when its branches are known: the rest goes on as before, and comes back as it is.
    sim.world().set_state("acme/repo-2", State::Ok).unwrap();
    sim.world().set_state("acme/repo-3", State::Denied).unwrap();
    sim.world().push("acme/repo-1", "main", 2).unwrap();
    sim.world().push("acme/repo-3", "main", 2).unwrap();
    let ended = scene.sync().await;
    ended.expect_code(3);
    assert_eq!(ended.json()["errorsTotal"], 1, "{}", ended.told());
    assert_truth(&scene.database, &sim, &["acme/repo-1", "acme/repo-2"]).await;
    sim.world().set_state("acme/repo-3", State::Ok).unwrap();
    scene.completes().await;
    assert_truth(&scene.database, &sim, &names).await;
    assert_eq!(scene.database.number("select count(*) from partitions where not is_valid").await, 0);
    assert_kept_rules(&sim);
}
