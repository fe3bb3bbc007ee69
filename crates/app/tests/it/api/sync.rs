//! Syncs over HTTP: asked for, waited for, refused, watched and cancelled.

use std::time::Duration;

use serde_json::{Value, json};
use sim::{Options, WorldSource};

use super::{Stage, add, synced, world};
use crate::support::{started, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_that_is_waited_for_tells_what_came_of_each_repository() {
    let stage = Stage::set().await;
    let sim = world().await;
    let admin = stage.server.admin();
    let source = add(&admin, &sim, "acme").await;
    let asked = admin
        .post("/api/v1/syncs?wait=true", &json!({ "source": source, "group": "commits" }))
        .await
        .expect(200);
    let sync = &asked["syncs"][0];
    let names: Vec<&str> =
        sync["results"].as_array().unwrap().iter().filter_map(|it| it["name"].as_str()).collect();
    for wanted in ["acme/repo-1", "acme/repo-2"] {
        assert!(names.iter().any(|it| it.contains(wanted)), "no {wanted} in {asked:#}");
    }
    let shown = admin.get(&format!("/api/v1/syncs/{}", sync["sync"])).await.expect(200);
    assert_eq!((&shown["state"], &shown["trigger"]), (&json!("completed"), &json!("manual")), "{shown:#}");
    assert!(shown["records"].as_u64() > Some(0), "{shown:#}");
    let jobs = admin.get(&format!("/api/v1/jobs?sync={}&limit=1", sync["sync"])).await.expect(200);
    assert_eq!(jobs["jobs"].as_array().unwrap().len(), 1, "{jobs:#}");
    let more = format!("/api/v1/jobs?sync={}&after={}", sync["sync"], jobs["next"]);
    let more = admin.get(&more).await.expect(200);
    assert_eq!(
        more["jobs"].as_array().unwrap().len() as u64 + 1,
        shown["jobs"]["total"].as_u64().unwrap(),
        "{more:#}"
    );
    let status = admin.get(&format!("/api/v1/sources/{source}/status")).await.expect(200);
    assert_eq!((&status["state"], &status["name"]), (&json!("idle"), &json!("acme")), "{status:#}");
    assert!(status["groups"][0]["lastSyncedAt"].is_i64(), "{status:#}");
    let second = synced(&admin, source).await;
    let listed = admin.get("/api/v1/syncs?limit=1").await.expect(200);
    assert_eq!(listed["syncs"][0]["id"], second, "{listed:#}");
    let older = admin.get(&format!("/api/v1/syncs?before={}", listed["next"])).await.expect(200);
    assert_eq!(older["syncs"][0]["id"], sync["sync"], "{older:#}");
    stage.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_request_is_refused_and_names_the_sync_that_runs_until_that_is_cancelled() {
    let stage = Stage::set().await;
    let world = WorldSource::Seeded { seed: 12, repos: 2, commits: 1_500 };
    let latency = Duration::from_millis(150);
    let sim = started(Options { world, latency, ..Options::default() }, "", "").await;
    let admin = stage.server.admin();
    let source = add(&admin, &sim, "acme").await;
    let start = json!({ "source": source, "group": "commits" });
    let asked = admin.post("/api/v1/syncs", &start).await.expect(202);
    let sync = &asked["syncs"][0]["sync"];
    let problem = admin.post("/api/v1/syncs", &start).await.expect_problem(409, "already_syncing");
    assert_eq!(&problem["activeSync"], sync, "{problem:#}");
    assert_eq!(problem["decision"]["reason"], "already_syncing", "{problem:#}");
    let held = until("a worker holds a job", Duration::from_secs(30), async || {
        let jobs = admin.get(&format!("/api/v1/jobs?sync={sync}")).await.expect(200);
        let held = jobs["jobs"].as_array().unwrap().iter().find(|it| it["worker"].is_string())?;
        Some((held["worker"].as_str()?.to_owned(), held["id"].clone()))
    })
    .await;
    let worker: String = url::form_urlencoded::byte_serialize(held.0.as_bytes()).collect();
    let theirs = admin.get(&format!("/api/v1/jobs?worker={worker}")).await.expect(200);
    assert!(!theirs["jobs"].as_array().unwrap().is_empty(), "{theirs:#}");
    let none = admin.get("/api/v1/jobs?worker=nobody").await.expect(200);
    assert_eq!(none["jobs"], json!([]));
    let cancelled = admin.ask("POST", &format!("/api/v1/syncs/{sync}/cancel"), None).await.expect(200);
    assert_eq!(cancelled["cancelled"], true, "{cancelled:#}");
    let ended = async || {
        let shown = admin.get(&format!("/api/v1/syncs/{sync}")).await.expect(200);
        (shown["state"] != "running").then_some(shown)
    };
    let ended: Value = until("the sync ends", Duration::from_secs(10), ended).await;
    assert!(ended["jobs"]["cancelled"].as_u64() > Some(0), "{ended:#}");
    stage.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spent_budget_is_429_with_the_time_to_come_again() {
    let stage = Stage::set().await;
    let world = WorldSource::Seeded { seed: 13, repos: 1, commits: 300 };
    let limits = "primary=6,window=3600";
    let sim = started(Options { world, ..Options::default() }, "", limits).await;
    let admin = stage.server.admin();
    let mut new = super::source_of(&sim, "acme");
    new["options"] = json!({ "repos": ["acme/repo-1"] });
    let source = admin.post("/api/v1/sources", &new).await.expect(201)["id"].clone();
    let start = json!({ "source": source, "group": "commits" });
    let asked = admin.post("/api/v1/syncs?wait=true", &start).await.expect(200);
    assert_eq!(asked["syncs"][0]["state"], "partial", "{asked:#}");
    let status = admin.get(&format!("/api/v1/sources/{source}/status")).await.expect(200);
    assert_eq!(status["state"], "blocked", "{status:#}");
    assert!(status["blockedUntil"].is_i64(), "{status:#}");
    let refused = admin.post("/api/v1/syncs", &start).await;
    let problem = refused.expect_problem(429, "rate_limited");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    // The window is an hour; what is left of it is rounded up, so that nobody comes too early.
    assert!((1..=3_601).contains(&wait), "{wait}");
    assert!(problem["decision"]["metadata"]["requiredBudget"].is_u64(), "{problem:#}");
    stage.server.stop().await;
}
