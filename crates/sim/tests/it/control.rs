//! The simulator's own endpoints, as a shell script uses them.

use serde_json::Value;

use crate::client::{AGENT, Answer, all_shas, get, seeded, send};

async fn post(sim: &sim::Sim, target: &str, body: &str) -> Answer {
    send(sim, "POST", target, &[], body).await
}

async fn own(sim: &sim::Sim, target: &str) -> Value {
    let answer = send(sim, "GET", target, &[], "").await;
    assert_eq!(answer.status, 200);
    answer.json()
}

#[tokio::test]
async fn a_script_can_change_the_world_and_read_the_truth() {
    let sim = seeded(50).await;
    let repository = "/__sim/github/repos/acme/repo-1";
    let heads = async || own(&sim, "/__sim/truth?repository=acme/repo-1").await["branches"].clone();
    for change in [
        r#"{"create_branch":{"name":"feature/new","from":"main"}}"#,
        r#"{"push":{"branch":"feature/new","commits":3,"days_old":500}}"#,
        r#"{"push":{"branch":"main"}}"#,
        r#"{"merge":{"branch":"feature/new","into":"main"}}"#,
        r#"{"force_push":{"branch":"feature/new"}}"#,
        r#"{"delete_branch":{"branch":"staging"}}"#,
    ] {
        let before = heads().await;
        let answer = post(&sim, repository, change).await;
        assert_eq!((answer.status, answer.message()), (200, String::new()), "{change}");
        assert_ne!(heads().await, before, "{change}");
    }
    let truth = own(&sim, "/__sim/truth").await["repositories"]["acme/repo-1"].clone();
    let listed = all_shas(&sim, "/repos/acme/repo-1/commits?per_page=100").await;
    assert_eq!(truth["branches"]["main"]["shas"].as_array().unwrap().len(), listed.len());
    assert_eq!(truth["branches"]["main"]["head"], listed[0].as_str());
    assert!(truth["branches"].get("staging").is_none());
    assert_eq!(post(&sim, repository, r#"{"state":"gone"}"#).await.status, 200);
    assert_eq!(get(&sim, "/repos/acme/repo-1").await.status, 404);
    assert_eq!(post(&sim, repository, r#"{"state":"ok"}"#).await.status, 200);
    assert_eq!(post(&sim, repository, r#"{"rename":"acme/renamed"}"#).await.status, 200);
    assert_eq!(get(&sim, "/repos/acme/repo-1").await.status, 301);
}

#[tokio::test]
async fn a_wrong_change_says_what_is_allowed() {
    let sim = seeded(10).await;
    let repository = "/__sim/github/repos/acme/repo-1";
    for (target, change, status, part) in [
        (repository, "{\"explode\":1}", 400, "force_push"),
        (repository, r#"{"push":{"branch":"none"}}"#, 404, "no branch none"),
        (repository, r#"{"create_branch":{"name":"main","from":"staging"}}"#, 409, "already"),
        (repository, r#"{"rename":"acme/repo-2"}"#, 409, "taken"),
        (repository, r#"{"rename":"repo"}"#, 400, "owner/name"),
        ("/__sim/github/repos/acme/none", r#"{"state":"ok"}"#, 404, "no repository acme/none"),
    ] {
        let answer = post(&sim, target, change).await;
        assert_eq!(answer.status, status, "{change}");
        assert!(answer.message().contains(part), "{change}: {}", answer.message());
    }
    let lost = send(&sim, "GET", "/elsewhere", &[AGENT], "").await;
    assert_eq!(lost.status, 404);
    assert!(lost.message().contains("/__sim/report"));
}

#[tokio::test]
async fn the_report_counts_what_was_asked_and_can_start_over() {
    let sim = seeded(50).await;
    let mut bytes = 0;
    for target in [
        "/user/repos",
        "/repos/acme/repo-1",
        "/repos/acme/repo-1/branches",
        "/repos/acme/repo-1/commits",
        "/nothing",
    ] {
        bytes += get(&sim, target).await.body.len();
    }
    let report = own(&sim, "/__sim/report").await;
    assert_eq!((&report["requests"], &report["bytes_sent"]), (&5.into(), &bytes.into()));
    for endpoint in ["repos", "repo", "branches", "commits", "other"] {
        assert_eq!(report["by_endpoint"][endpoint], 1, "{endpoint}");
    }
    assert_eq!((&report["by_status"]["200"], &report["by_status"]["404"]), (&4.into(), &1.into()));
    assert_eq!((&report["in_flight_max"], &report["violations"]), (&1.into(), &Value::Array(Vec::new())));
    assert_eq!(post(&sim, "/__sim/reset", "").await.status, 200);
    assert_eq!(own(&sim, "/__sim/report").await["requests"], 0);
}
