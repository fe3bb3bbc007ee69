//! The view of budgets: what an account may still ask, and who spent the rest, as far as that is the tenant's to know.
//!
//! It must never take the ledger's tables for the view: they only say when to look.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Stage, add, synced, world};
use crate::support::{Client, until};

/// Returns the one budget that a tenant sees.
async fn budget(client: &Client) -> Value {
    let seen = client.get("/api/v1/budgets").await.expect(200)["budgets"].clone();
    let budgets = seen.as_array().unwrap();
    assert_eq!(budgets.len(), 1, "{seen:#}");
    budgets[0].clone()
}

/// Waits until the ledger knows of so many requests, and nothing of it is granted.
async fn told(stage: &Stage, spent: u64) {
    let sql =
        format!("select count(*) from budgets where own = {spent} and not exists (select 1 from grants)");
    let told = async || (stage.scene.database.number(&sql).await == 1).then_some(());
    until("the ledger is told", Duration::from_secs(20), told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_is_shown_with_who_spent_it_unless_that_is_anothers() {
    let sim = world().await;
    let stage = Stage::set().await;
    let (admin, other) = (stage.server.admin(), stage.caller("other", "admin").await);
    let source = add(&admin, &sim, "acme").await;
    assert_eq!(admin.get("/api/v1/budgets").await.expect(200)["budgets"], json!([]), "nothing is known yet");
    synced(&admin, source).await;
    let spent = sim.report().requests;
    // A second after its last request the server tells the ledger, and gives back what it was granted.
    told(&stage, spent).await;
    let shown = budget(&admin).await;
    assert_eq!((&shown["own"], &shown["granted"]), (&spent.into(), &0.into()));
    assert_eq!((&shown["sourceName"], &shown["bucket"]), (&"acme".into(), &"core".into()));
    let numbers = ["limit", "remaining", "floor", "reserve", "foreign"].map(|it| shown[it].as_u64().unwrap());
    assert_eq!(numbers, [5000, 5000 - spent, 100, 500, 0]);
    assert!(shown["resetsAt"].is_i64() && shown["blockedUntil"].is_null(), "{shown:#}");
    assert_eq!(shown["account"].as_str().unwrap().len(), 8);

    // The same account in another tenant: both see its count, neither what the other spent.
    let theirs = add(&other, &sim, "acme").await;
    synced(&other, theirs).await;
    let all = sim.report().requests;
    let operator = async || {
        let seen = stage.scene.run(&["budget", "--source", "acme", "--tenant", "other", "--json"]).await;
        seen.expect_code(0);
        seen.json()["budgets"][0].clone()
    };
    told(&stage, all).await;
    for view in [budget(&other).await, budget(&admin).await, operator().await] {
        assert_eq!((&view["account"], &view["remaining"]), (&shown["account"], &(5000 - all).into()));
        let told = [&view["own"], &view["foreign"], &view["granted"]];
        assert_eq!(told, [&Value::Null; 3], "{view:#}");
    }
    // Who runs the machine sees it all.
    let seen = stage.scene.run(&["budget", "--json"]).await;
    seen.expect_code(0);
    let seen = seen.json();
    assert_eq!(seen["budgets"].as_array().unwrap().len(), 2);
    assert_eq!((&seen["budgets"][0]["own"], &seen["budgets"][1]["foreign"]), (&all.into(), &0.into()));
    stage.scene.run(&["budget"]).await.expect_code(0).expect_words("core");
    stage.server.stop().await;
}
