//! The budget ledger, judged by the simulator: nodes share what an account may spend, and none of it is lost.
//!
//! No story here may spend more than its class may, and each says how much of that it spent.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use domain::trigger::Trigger;
use engine::{Requested, SyncService};
use rustix::process::Signal;
use sim::{Options, Sim, WorldSource};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::{
    Database, SOURCE, Scene, TOKEN, assert_kept_rules, assert_truth, on_both, seeded, service, started, until,
};

on_both!(
    a_person_spends_all_but_the_floor,
    the_schedule_leaves_its_reserve_to_the_end,
    credentials_of_one_account_are_one_budget,
    what_others_spend_is_seen,
    a_restart_loop_burns_nothing,
);

/// The budget of an hour: small, so that it is soon spent, and large enough for grants of several requests.
const LIMIT: u64 = 200;

/// What a class leaves of it: 2 %, and 10 % beside.
const FLOOR: u64 = 4;
const RESERVE: u64 = 20;

/// The second credential of the account whose first one is every story's.
const SECOND: (&str, &str) = ("SECOND_TOKEN", "good-token+2");

/// Sets a scene with two sources of one account, which read different repositories.
async fn two_sources(database: Database, sim: &Sim) -> Scene {
    let names = sim.world().names();
    let (first, second) = names.split_at(names.len() / 2);
    let first: Vec<&str> = first.iter().map(String::as_str).collect();
    let scene = Scene::with_source(database, sim, &first).await.set(SECOND.0, SECOND.1);
    add_second(&scene, sim, second).await;
    scene
}

async fn add_second(scene: &Scene, sim: &Sim, names: &[String]) {
    let url = sim.github_url();
    let mut arguments = vec!["source", "add", "github", "--name", "second", "--base-url", &url];
    arguments.extend(names.iter().flat_map(|it| ["--repo", it.as_str()]));
    arguments.extend(["--token-env", SECOND.0, "--json"]);
    scene.run(&arguments).await.expect_code(0);
}

async fn begins(service: &SyncService, source: &str, trigger: Trigger) {
    let requested = service.request(source, "commits", trigger).await.unwrap();
    assert!(matches!(requested, Requested::Started { .. }), "{source}: {requested:?}");
}

/// Lets two nodes of eight workers read two sources of one account until nothing can go on, and returns how many
/// requests the provider let through.
async fn spent_by_two_nodes(database: Database, trigger: Trigger) -> u64 {
    let sim = seeded(71, 24, 900, "", &format!("primary={LIMIT},window=3600")).await;
    let scene = two_sources(database, &sim).await;
    let nodes = [service(&scene.database, 8).await, service(&scene.database, 8).await];
    begins(&nodes[0], SOURCE, trigger).await;
    begins(&nodes[1], "second", trigger).await;
    let stop = CancellationToken::new();
    let mut working = JoinSet::new();
    for node in nodes {
        let stop = stop.clone();
        working.spawn(async move {
            node.work(None, stop).await.unwrap();
            node.close().await;
        });
    }
    let open = "select count(*) from jobs where state in ('available', 'retryable', 'running')";
    let spent = async || (scene.database.number(open).await == 0).then_some(());
    until("all jobs wait for the reset", Duration::from_mins(2), spent).await;
    stop.cancel();
    while let Some(worked) = working.join_next().await {
        worked.unwrap();
    }
    assert!(scene.database.number("select count(*) from jobs where state = 'scheduled'").await > 0);
    assert_kept_rules(&sim);
    let report = sim.report();
    assert_eq!(report.limits_met.primary, 0, "the provider had to refuse: {report:?}");
    let kept = "select count(*) from grants where expires_at > 0";
    assert_eq!(scene.database.number(kept).await, 0, "a node kept what it was granted");
    // What each node told adds up to what was spent, and nobody else spent anything.
    let told = "select own || ' ' || (request_limit - remaining) || ' ' || bucket from budgets";
    assert_eq!(scene.database.lines(told).await, [format!("{0} {0} core", report.requests)]);
    report.requests
}

async fn a_person_spends_all_but_the_floor(database: Database) {
    let spent = spent_by_two_nodes(database, Trigger::Manual).await;
    assert_spent(spent, LIMIT - FLOOR);
}

async fn the_schedule_leaves_its_reserve_to_the_end(database: Database) {
    let spent = spent_by_two_nodes(database, Trigger::Cron).await;
    assert_spent(spent, LIMIT - FLOOR - RESERVE);
}

/// Fails unless at least 95 % of what may be spent is spent, and no more; a budget at its floor lets one request go.
fn assert_spent(spent: u64, may: u64) {
    eprintln!("{spent} of {may} were spent");
    assert!(spent <= may + 1, "{spent} of {may} were spent");
    assert!(spent * 100 >= may * 95, "only {spent} of {may} were spent");
}

async fn credentials_of_one_account_are_one_budget(database: Database) {
    let sim = seeded(72, 2, 20, "", "").await;
    let scene = two_sources(database, &sim).await;
    let other = scene.set(SECOND.0, "another-token");
    let url = sim.github_url();
    let arguments = ["source", "add", "github", "--name", "third", "--base-url", &url];
    let repo = ["--repo", "acme/repo-1", "--token-env", SECOND.0, "--json"];
    other.run(&[&arguments[..], &repo].concat()).await.expect_code(0);
    for source in [SOURCE, "second", "third"] {
        let ended = other.run(&["sync", "start", "--source", source, "--wait", "--json"]).await;
        ended.expect_code(0);
    }
    let accounts = other.database.lines("select account from sources order by id").await;
    assert_eq!(accounts[0], accounts[1]);
    assert_ne!(accounts[0], accounts[2]);
    let text = accounts.join(" ");
    assert!(!text.contains("token") && accounts.iter().all(|it| it.len() == 32), "{text}");
    let own =
        |account: &str| format!("select own from budgets where account = '{account}' and bucket = 'core'");
    let of_both = other.database.number(&own(&accounts[0])).await;
    let of_third = other.database.number(&own(&accounts[2])).await;
    assert_eq!(u64::try_from(of_both + of_third).unwrap(), sim.report().requests);
    // Whose each credential is was asked once, and is not asked again.
    let owners = || sim.report().by_endpoint[&sim::Endpoint::Other];
    assert_eq!(owners(), 3);
    other.run(&["sync", "start", "--source", "second", "--wait", "--json"]).await.expect_code(0);
    assert_eq!(owners(), 3);
    assert_kept_rules(&sim);
}

/// Asks as another tool with the same account would, and returns the answer.
fn asked_by_another_tool(sim: &Sim, path: &str) -> String {
    let mut stream = std::net::TcpStream::connect(sim.address()).unwrap();
    let request = format!(
        "GET /github/{path} HTTP/1.1\r\nhost: sim\r\nuser-agent: another\r\n\
         authorization: Bearer good-token+tool\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Returns what the provider says that the account has spent.
fn used(sim: &Sim) -> i64 {
    let answer = asked_by_another_tool(sim, "rate_limit");
    let used = answer.lines().find_map(|it| it.strip_prefix("x-ratelimit-used: "));
    used.unwrap_or_else(|| panic!("{answer}")).trim().parse().unwrap()
}

async fn what_others_spend_is_seen(database: Database) {
    let sim = seeded(73, 1, 20, "", "primary=300").await;
    let scene = Scene::with_source(database, &sim, &["acme/repo-1"]).await;
    let spent = async || {
        let seen = scene.run(&["budget", "--source", SOURCE, "--json"]).await;
        seen.expect_code(0);
        let budget = &seen.json()["budgets"][0];
        format!("{} {}", budget["own"], budget["foreign"])
    };
    scene.completes().await;
    let first = sim.report().requests;
    assert_eq!(spent().await, format!("{first} 0"));
    for _ in 0..40 {
        asked_by_another_tool(&sim, "repos/acme/repo-1");
    }
    scene.completes().await;
    // Without news every answer is free but shows the count.
    assert_eq!(spent().await, format!("{first} 40"));
    assert_kept_rules(&sim);
}

async fn a_restart_loop_burns_nothing(database: Database) {
    let world = WorldSource::Seeded { seed: 74, repos: 6, commits: 900 };
    let undisturbed = {
        let sim = started(Options { world: world.clone(), ..Options::default() }, "", "").await;
        Scene::with_source(Database::sqlite(), &sim, &[]).await.completes().await;
        sim.report().requests
    };
    let latency = Duration::from_millis(20);
    let sim = started(Options { world, latency, ..Options::default() }, "", "").await;
    let scene = Scene::with_source(database, &sim, &[]).await.set("SYNCLINE_WORKERS", 2);
    let kills: u64 = 3;
    for kill in 1..=kills {
        let asked = sim.report().requests;
        let syncing = scene.start_sync();
        let asks = async || (sim.report().requests >= asked + 10).then_some(());
        until("it asks", Duration::from_secs(30), asks).await;
        syncing.signal(Signal::KILL);
        assert!(syncing.ended().await.was_killed());
        let granted = "select coalesce(sum(requests), 0) from grants";
        let granted = scene.database.number(granted).await;
        assert!((0..=50).contains(&granted), "{granted} are with the dead after {kill} kills");
    }
    scene.completes().await;
    let names = sim.world().names();
    assert_truth(&scene.database, &sim, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let spent = sim.report().requests;
    // What two workers had under way, of a page or two each, is asked again.
    assert!(spent <= undisturbed + kills * 2 * 2 * 8, "{spent} requests, {undisturbed} without a kill");
    assert_eq!(scene.database.number("select count(*) from grants").await, 0, "the dead kept what they had");
    let missing = "select request_limit - remaining from budgets where bucket = 'core'";
    assert_eq!(scene.database.number(missing).await, used(&sim), "what the dead spent is known");
    assert_kept_rules(&sim);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_without_an_owner_is_an_account_by_itself() {
    let sim = seeded(75, 1, 20, "", "").await;
    let scene = Scene::new(Database::sqlite()).set(TOKEN.0, "ghs_of-an-installation");
    scene.add_source(&sim, &["acme/repo-1"]).await;
    for _ in 0..2 {
        let sync = ["sync", "start", "--source", SOURCE, "--group", "commits", "--wait", "--json"];
        scene.run(&sync).await.expect_code(0);
    }
    let asked = sim.report().by_endpoint[&sim::Endpoint::Other];
    assert_eq!(asked, 1, "whose it is was asked again");
    let seen = scene.run(&["budget", "--json"]).await;
    seen.expect_code(0);
    let seen = seen.json();
    assert_eq!(seen["budgets"].as_array().unwrap().len(), 1, "{seen:#}");
    assert_eq!(seen["budgets"][0]["own"], sim.report().requests - sim.report().not_modified);
    assert!(!seen.to_string().contains("ghs_"), "{seen:#}");
    assert_truth(&scene.database, &sim, &["acme/repo-1"]).await;
    assert_kept_rules(&sim);
}
