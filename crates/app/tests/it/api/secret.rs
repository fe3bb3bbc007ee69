//! That nothing secret is shown: not in answers, logs, events, metrics, errors, or the list of processes.

use serde_json::json;

use super::{Stage, world};
use crate::support::{Database, KEY, Scene, make_token};

/// Secrets that are planted everywhere a person could put one.
const CREDENTIAL: &str = "bad_planted1credential2that3nobody4may5see";
const SECOND: &str = "bad_second6credential7that8nobody9may0see";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_secrets_are_shown_nowhere() {
    let stage = Stage::set_over(Scene::new(Database::sqlite()), &[("SYNCLINE_LOG", "trace")]).await;
    let sim = world().await;
    let admin = stage.server.admin();
    let text = make_token(&stage.scene, "other", "admin").await;
    let mut shown = Vec::new();
    let mut new = super::source_of(&sim, "acme");
    new["credential"] = json!(CREDENTIAL);
    let added = admin.post("/api/v1/sources", &new).await;
    let id = added.expect(201)["id"].clone();
    shown.push(added.text);
    // It is refused at the provider, which is an error with every way to leak.
    for path in ["/api/sync/commits?wait=true", "/api/sync/commits"] {
        shown.push(admin.ask("POST", path, None).await.text);
    }
    let source = format!("/api/v1/sources/{id}");
    shown.push(admin.ask("PATCH", &source, Some(&json!({ "credential": SECOND }))).await.text);
    // Secrets where they do not belong, and bodies that do not fit.
    let wrong = json!({ "provider": "github", "name": "b", "credential": [CREDENTIAL] });
    let refused = admin.post("/api/v1/sources", &wrong).await;
    refused.expect_problem(422, "invalid");
    let wrong_token = stage.server.client(&format!("{text}x"));
    shown.push(wrong_token.get("/api/v1/sources").await.text);
    shown.push(admin.get(&format!("/api/v1/sources?token={text}")).await.text);
    for path in [
        "sources",
        "status",
        "syncs",
        "jobs",
        "events?limit=500",
        "schedules",
        "tokens",
        "tenants",
        "records/commits",
    ] {
        shown.push(admin.get(&format!("/api/v1/{path}")).await.text);
    }
    shown.push(admin.get(&format!("{source}/partitions")).await.text);
    shown.push(admin.get("/api/sync/status").await.text);
    shown.push(admin.get("/api/health?deep=1").await.text);
    shown.push(admin.get("/metrics").await.text);
    let process = format!("/proc/{}", stage.server.pid());
    shown.push(String::from_utf8_lossy(&std::fs::read(format!("{process}/cmdline")).unwrap()).into_owned());
    shown.push(stage.server.logged());
    let Stage { scene, server } = stage;
    let admin_token = server.admin_token.clone();
    server.stop().await;
    // Whoever copies the database has none of them either.
    let folder = std::fs::read_dir(scene.database.folder()).unwrap();
    for file in folder.map(|it| it.unwrap().path()) {
        shown.push(String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned());
    }
    for secret in [CREDENTIAL, SECOND, KEY, &text, &admin_token] {
        for text in &shown {
            assert!(!text.contains(secret), "{secret} is shown in {}", &text[..text.len().min(2_000)]);
        }
    }
}
