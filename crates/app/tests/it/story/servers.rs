//! `syncline serve` as several processes over one database: a tick is fired once, whoever looks, also when one of them is
//! killed; and a process that is told to fire none fires none.
//!
//! Everything here is seen from outside, in the events that the processes write.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Database, Scene, Server, assert_kept_rules, on_both, seeded, until};

on_both!(a_server_that_is_not_to_schedule_fires_no_tick);

/// Two ticks of a schedule lie at least half of this apart.
const EVERY_MS: i64 = 2_000;

/// A tick is late by as long as a busy machine takes to look.
const LATE_MS: i64 = 100;

const SOURCES: usize = 6;

/// No story here takes longer, on a machine that is busy with other tests too.
const SOON: Duration = Duration::from_mins(1);

async fn with_sources(database: Database, sim: &sim::Sim) -> Scene {
    let scene = Scene::new(database).set("SYNC_INTERVAL_COMMITS", "2s").set("SYNCLINE_WORKERS", 2);
    let url = sim.github_url();
    for nth in 0..SOURCES {
        let name = format!("source-{nth}");
        let add = ["source", "add", "github", "--name", &name, "--base-url", &url, "--repo", "acme/repo-1"];
        scene.run(&add).await.expect_code(0);
        // Ticks are counted by source, and those of another group are no second one of this.
        let off = ["source", "schedule", &name, "--group", "timeline", "--off"];
        scene.run(&off).await.expect_code(0);
    }
    scene
}

/// Returns when ticks were fired, by source, in their order.
async fn fired(scene: &Scene) -> Vec<Vec<i64>> {
    let of = async |nth: usize| {
        let sql = format!(
            "select cast(events.at as text) from events join sources on sources.id = source_id
             where events.name = 'sync.request' and fields like '%\"cron\"%' and sources.name = 'source-{nth}'
             order by events.id"
        );
        scene.database.lines(&sql).await.iter().map(|it| it.parse().unwrap()).collect()
    };
    let mut all = Vec::new();
    for nth in 0..SOURCES {
        all.push(of(nth).await);
    }
    all
}

async fn each_fired(scene: &Scene, count: usize) {
    let enough = async || fired(scene).await.iter().all(|it| it.len() >= count).then_some(());
    until("every source has had its ticks", SOON, enough).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_fire_a_tick_once_also_when_one_is_killed() {
    let sim = seeded(61, 1, 10, "", "").await;
    let scene = with_sources(Database::postgres().await, &sim).await;
    let (mut one, other) = tokio::join!(Server::start(&scene), Server::start(&scene));
    each_fired(&scene, 4).await;
    for server in [&one, &other] {
        let health = server.admin().get("/api/health?deep=1").await.expect(200);
        assert_eq!(health["checks"]["scheduler"]["enabled"], true, "{health:#}");
        assert_ne!(health["checks"]["scheduler"]["lastRoundAt"], Value::Null, "{health:#}");
    }
    one.signal(Signal::KILL);
    assert_eq!(one.ended_within(SOON).await, None);
    each_fired(&scene, 8).await;
    other.stop().await;
    for (nth, ticks) in fired(&scene).await.iter().enumerate() {
        for pair in ticks.windows(2) {
            let apart = pair[1] - pair[0];
            assert!(apart >= EVERY_MS / 2 - LATE_MS, "source-{nth}: two ticks within {apart} ms: {ticks:?}");
        }
    }
    assert_kept_rules(&sim);
}

async fn a_server_that_is_not_to_schedule_fires_no_tick(database: Database) {
    let sim = seeded(62, 1, 10, "", "").await;
    let scene = with_sources(database, &sim).await.set("SYNC_ENABLED", "false");
    let server = Server::start(&scene).await;
    let admin = server.admin();
    // People are answered, and what they ask for is done, longer than any tick would have waited.
    for _ in 0..3 {
        let answer = admin.ask("POST", "/api/sync/commits?wait=true", None).await.expect(200);
        assert!(answer.to_string().contains("source-0"), "{answer:#}");
    }
    let shown = admin.get("/api/sync/status").await.expect(200);
    assert_eq!((&shown["commits"]["next_sync"], &shown["commits"]["status"]), (&Value::Null, &"idle".into()));
    let seconds = "select (max(at) - min(at)) / 1000 from events";
    let passed = async || {
        admin.ask("POST", "/api/sync/commits?wait=true", None).await;
        (scene.database.number(seconds).await >= 2 * EVERY_MS / 1000).then_some(())
    };
    until("two ticks would have come", SOON, passed).await;
    assert!(fired(&scene).await.iter().all(Vec::is_empty), "{:?}", fired(&scene).await);
    server.stop().await;
    // The same database, and ticks come.
    let scene = scene.set("SYNC_ENABLED", "true");
    let server = Server::start(&scene).await;
    each_fired(&scene, 1).await;
    server.stop().await;
}

#[tokio::test]
async fn a_server_does_not_start_with_a_wrong_schedule() {
    for (name, value, expected) in [
        ("SYNC_INTERVAL_COMMITS", "fortnightly", "allowed is a duration from 1s to 8760h"),
        ("SYNC_INTERVAL_JIRA", "0s", "`0s` is not allowed"),
        ("SYNC_INTERVAL_JIRA", "0", "`0` is not allowed"),
        ("SYNC_INTERVAL_COMMITS", "-5m", "`-5m` is not allowed"),
        ("SYNC_INTERVAL_JIRAS", "5m", "did you mean SYNC_INTERVAL_JIRA?"),
        ("SYNC_ENABLED", "perhaps", "allowed is true, false"),
    ] {
        let scene = Scene::new(Database::sqlite()).set(name, value);
        let ended = scene.run(&["serve", "--listen", "127.0.0.1:0"]).await;
        ended.expect_code(2).expect_words(expected);
        assert_eq!(ended.stdout, "", "it never listened");
        assert!(!scene.database.folder().join("story.db").exists(), "it opened the database");
    }
    let scene = Scene::new(Database::sqlite());
    std::fs::write(scene.database.folder().join("syncline.toml"), "sync_intervall = \"5m\"\n").unwrap();
    let ended = scene.run(&["serve", "--listen", "127.0.0.1:0"]).await;
    ended.expect_code(2).expect_words("syncline.toml, line 1: unknown key `sync_intervall`");
}
