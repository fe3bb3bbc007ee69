//! A server that is stopped in the middle of its work ends in time, and the next one goes on where it was.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use sim::{Options, WorldSource};

use super::{Stage, add};
use crate::support::{Database, Scene, Server, assert_kept_rules, assert_truth, on_both, started, until};

/// What the README promises.
const STOPS_WITHIN: Duration = Duration::from_secs(10);

const NAMES: [&str; 2] = ["acme/repo-1", "acme/repo-2"];

on_both!(a_server_stopped_in_mid_page_loses_nothing);

async fn a_server_stopped_in_mid_page_loses_nothing(database: Database) {
    let stage = Stage::set_over(Scene::new(database), &[]).await;
    let world = WorldSource::Seeded { seed: 14, repos: 2, commits: 1_500 };
    let latency = Duration::from_millis(60);
    // Without a last page nothing is asked side by side: many pages in a row.
    let links = NAMES.map(|it| format!("nolast={it}")).join(",");
    let sim = started(Options { world, latency, ..Options::default() }, &links, "").await;
    let admin = stage.server.admin();
    let source = add(&admin, &sim, "acme").await;
    let start = json!({ "source": source, "group": "commits" });
    let sync = admin.post("/api/v1/syncs", &start).await.expect(202)["syncs"][0]["sync"].clone();
    let pages = "select coalesce(sum(pages), 0) from jobs";
    let enough = async || (stage.scene.database.number(pages).await >= 6).then_some(());
    until("pages are committed", Duration::from_mins(1), enough).await;
    // Somebody listens, and somebody waits: neither keeps it from ending.
    let listening = admin.raw("GET", "/api/v1/events/stream?after=0").send().await.unwrap();
    assert_eq!(listening.status(), 200);
    let Stage { scene, mut server } = stage;
    server.signal(Signal::TERM);
    let told = Instant::now();
    let code = server.ended_within(STOPS_WITHIN).await;
    assert_eq!(code, Some(0), "{}", server.logged());
    assert!(told.elapsed() <= STOPS_WITHIN);
    let held = "select count(*) from jobs where state = 'running' or lease_until is not null";
    assert_eq!(scene.database.number(held).await, 0, "work was not given back: {}", server.logged());
    let server = Server::start(&scene).await;
    let admin = server.admin();
    let ended = async || {
        let shown = admin.get(&format!("/api/v1/syncs/{sync}")).await.expect(200);
        (shown["state"] != "running").then_some(shown)
    };
    let ended = until("the next server ends the sync", Duration::from_mins(2), ended).await;
    assert_eq!(ended["state"], "completed", "{ended:#}");
    assert_truth(&scene.database, &sim, &NAMES).await;
    assert_kept_rules(&sim);
    server.stop().await;
}
