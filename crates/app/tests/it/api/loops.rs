//! `/api/sync/…`, field by field as its users know it.

use serde_json::{Value, json};

use super::{Stage, add, world};
use crate::support::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_of_the_loops_has_its_shape_with_and_without_sources() {
    let stage = Stage::set_with(&[("SYNC_ENABLED", "true")]).await;
    let admin = stage.server.admin();
    let empty = json!({ "last_sync": null, "next_sync": null, "status": "idle", "last_error": null });
    let status = admin.get("/api/sync/status").await.expect(200);
    assert_eq!(status, json!({ "commits": empty, "jira": empty }));
    admin.ask("POST", "/api/sync/commits", None).await.expect_problem(409, "nothing_to_sync");
    let sim = world().await;
    let source = add(&admin, &sim, "acme").await;
    // The first tick may come before the request does; either way there is one sync.
    let asked = admin.ask("POST", "/api/sync/commits?wait=true", None).await;
    assert!(matches!(asked.status, 200 | 409), "{asked:?}");
    let first = crate::support::until("a sync completed", std::time::Duration::from_secs(30), async || {
        let status = admin.get("/api/sync/status").await.expect(200);
        status["commits"]["last_sync"].is_string().then_some(status)
    })
    .await;
    let commits = &first["commits"];
    assert_eq!(commits["status"], "idle", "{first:#}");
    assert_eq!(commits["last_error"], Value::Null, "{first:#}");
    let time = |it: &Value| it.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(time(&commits["next_sync"]) > time(&commits["last_sync"]), "{first:#}");
    assert_eq!(first["jira"], empty, "{first:#}");
    // It survives a restart, and another tenant has loops of its own.
    let Stage { scene, server } = stage;
    server.stop().await;
    let server = Server::start(&scene).await;
    let again = server.admin().get("/api/sync/status").await.expect(200);
    // A tick may have followed the request before the first server ended.
    assert!(time(&again["commits"]["last_sync"]) >= time(&commits["last_sync"]), "{again:#}");
    let path = format!("/api/v1/sources/{source}/schedules/commits");
    server.admin().ask("PUT", &path, Some(&json!({ "every": "off" }))).await.expect(200);
    let off = server.admin().get("/api/sync/status").await.expect(200);
    assert_eq!(off["commits"]["next_sync"], Value::Null, "{off:#}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_stays_in_the_status_until_it_is_resolved() {
    let stage = Stage::set().await;
    let sim = world().await;
    let admin = stage.server.admin();
    let mut new = super::source_of(&sim, "acme");
    new["credential"] = json!("bad-credential");
    let source = admin.post("/api/v1/sources", &new).await.expect(201)["id"].clone();
    admin.ask("POST", "/api/sync/commits?wait=true", None).await.expect(200);
    let status = admin.get("/api/sync/status").await.expect(200);
    let error = status["commits"]["last_error"].as_str().unwrap_or_else(|| panic!("{status:#}"));
    assert!(error.contains("GitHub refuses the credential"), "{error}");
    let fix = json!({ "credential": crate::support::TOKEN.1 });
    admin.ask("PATCH", &format!("/api/v1/sources/{source}"), Some(&fix)).await.expect(200);
    admin.ask("POST", "/api/sync/commits?wait=true", None).await.expect(200);
    let status = admin.get("/api/sync/status").await.expect(200);
    assert_eq!(status["commits"]["last_error"], Value::Null, "{status:#}");
    stage.server.stop().await;
}
