//! The plan: what is due, what it will take and when it ends, against what the provider then counts.
//!
//! No expectation here is reckoned a second way: what the simulator was asked is the truth.

use serde_json::Value;
use sim::Sim;

use crate::support::{Database, SOURCE, Scene, Server, assert_kept_rules, epoch_ms, on_both, seeded};

on_both!(a_plan_says_what_the_next_sync_takes, what_the_budget_does_not_hold_waits_for_it);

/// Returns the plan of the story's commits.
async fn planned(scene: &Scene) -> Value {
    let ended = scene.run(&["plan", "--source", SOURCE, "--json"]).await;
    ended.expect_code(0);
    let seen = ended.json();
    let plans = seen["plans"].as_array().unwrap();
    plans.iter().find(|it| it["group"] == "commits").unwrap_or_else(|| panic!("{seen:#}")).clone()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// Syncs, and returns the requests that the simulator was asked, and those of them that it counts.
async fn asked(scene: &Scene, sim: &Sim) -> (u64, u64) {
    sim.reset_report();
    scene.completes().await;
    let report = sim.report();
    (report.requests, report.requests - report.not_modified)
}

async fn a_plan_says_what_the_next_sync_takes(database: Database) {
    let sim = seeded(91, 3, 90, "", "").await;
    let names = ["acme/repo-1", "acme/repo-2", "acme/repo-3"];
    let scene = Scene::with_source(database, &sim, &names).await;
    // Of what was never read only the beginning is known, and no time at all.
    let new = planned(&scene).await;
    assert_eq!((&new["requests"], &new["atLeast"], &new["unread"]), (&3.into(), &true.into(), &3.into()));
    assert_eq!((&new["takesMs"], &new["endsAt"], &new["last"]), (&Value::Null, &Value::Null, &Value::Null));
    assert!(new["dueAt"].is_i64(), "{new:#}");
    scene.run(&["plan"]).await.expect_code(0).expect_words("≥ 3").expect_words("3 parts never read");
    // What the group of issues will read is found by the other one first.
    let all = scene.run(&["plan", "--json"]).await.json();
    let timeline = all["plans"].as_array().unwrap().iter().find(|it| it["group"] == "timeline").unwrap();
    assert_eq!((&timeline["requests"], &timeline["atLeast"]), (&0.into(), &true.into()), "{all:#}");

    let first = scene.completes().await;
    let told = planned(&scene).await;
    let last = &told["last"];
    assert_eq!((&last["sync"], &last["requests"]), (&first["id"], &3.into()), "{told:#}");
    assert_eq!(last["cameTrue"]["requests"], first["requests"], "{told:#}");
    assert_eq!(last["cameTrue"]["tookMs"], first["durationMs"], "{told:#}");
    // What is listed takes as much again, and commits are read where something changed.
    let (requests, paid) = asked(&scene, &sim).await;
    assert_eq!(number(&told["requests"]), requests, "{told:#}");
    assert_eq!((&told["atLeast"], &told["unread"]), (&false.into(), &0.into()));
    assert!(number(&told["takesMs"]) > 0 && told["endsAt"].is_i64(), "{told:#}");
    assert_eq!(paid, 0, "nothing changed");

    let told = planned(&scene).await;
    assert_eq!((&told["charged"], &told["requests"]), (&0.into(), &requests.into()), "{told:#}");
    assert_eq!(told["last"]["cameTrue"]["unchanged"], requests, "{told:#}");
    // People push, as they do: what a sync without news takes is no longer all that is expected.
    for round in 1..=3 {
        for name in names {
            sim.world().push(name, "main", 2).unwrap();
        }
        let (more, _) = asked(&scene, &sim).await;
        assert!(more > requests, "round {round}: {more} requests");
    }
    let told = planned(&scene).await;
    let (busy, _) = asked(&scene, &sim).await;
    assert_eq!(busy, requests, "this time nobody did");
    assert!(number(&told["requests"]) > requests, "{told:#}");
    let seen = scene.run(&["plan", "--source", SOURCE]).await;
    seen.expect_code(0).expect_words("in all ").expect_words("FINISHED");
    assert_kept_rules(&sim);

    let scene = scene.set("SYNC_ENABLED", "false");
    let server = Server::start(&scene).await;
    let admin = server.admin();
    let all = admin.get("/api/v1/plan?limit=1").await.expect(200);
    assert_eq!(all["plans"].as_array().unwrap().len(), 1, "{all:#}");
    let source = all["plans"][0]["source"].clone();
    let of = admin.get(&format!("/api/v1/sources/{source}/plan")).await.expect(200);
    let commits = of["plans"].as_array().unwrap().iter().find(|it| it["group"] == "commits").unwrap();
    // Nothing is synced by itself here, and what it would take is told all the same.
    assert_eq!((&commits["dueAt"], &commits["sourceName"]), (&Value::Null, &SOURCE.into()), "{commits:#}");
    assert_eq!(commits["last"]["cameTrue"]["requests"], busy, "{commits:#}");
    admin.get("/api/v1/plan?limit=0").await.expect_problem(422, "invalid");
    admin.get("/api/v1/sources/999/plan").await.expect_problem(404, "unknown");
    server.stop().await;
}

async fn what_the_budget_does_not_hold_waits_for_it(database: Database) {
    let sim = seeded(92, 1, 30, "", "").await;
    let scene = Scene::with_source(database, &sim, &["acme/repo-1"]).await;
    scene.completes().await;
    // A partition that took 4,500 requests the last time, none of them unchanged, and 700 that are left for an hour.
    let large = "update partitions set last_requests = 4500, last_unchanged = 0 where stream = 'branches'";
    scene.database.execute(large).await;
    let resets_at = epoch_ms() + 40 * 60_000;
    let low = format!("update budgets set request_limit = 5000, remaining = 700, resets_at = {resets_at}");
    scene.database.execute(&low).await;
    let told = planned(&scene).await;
    let budget = &told["budget"];
    assert_eq!(
        (&budget["left"], &budget["leaves"], &budget["limit"]),
        (&700.into(), &600.into(), &5000.into())
    );
    // 100 now, 4,400 of a full budget that leaves 600: all at the reset.
    assert_eq!(told["charged"], 4500, "{told:#}");
    assert!(told["waitsMs"].as_i64().unwrap() > 0, "{told:#}");
    assert!(told["endsAt"].as_i64().unwrap() >= resets_at, "{told:#}");
    let seen = scene.run(&["plan"]).await;
    seen.expect_code(0).expect_words("4,500 of 100").expect_words("for the budget, full again at ");
}
