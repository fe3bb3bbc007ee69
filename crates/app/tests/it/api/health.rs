//! Health and metrics, as probes and Prometheus see them.

use serde_json::{Value, json};

use super::{Stage, add, synced, world};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_is_shallow_for_everybody_and_deep_with_a_token() {
    let stage = Stage::set_with(&[("SYNC_ENABLED", "true")]).await;
    let admin = stage.server.admin();
    let stranger = admin.stranger();
    let shallow = stranger.get("/api/health").await.expect(200);
    assert_eq!(shallow["status"], "ok");
    assert_eq!(shallow.get("checks"), None, "{shallow:#}");
    stranger.get("/api/health?deep=1").await.expect_problem(401, "unauthorized");
    // A fresh server is well.
    let deep = admin.get("/api/health?deep=1").await.expect(200);
    assert_eq!(deep["status"], "ok", "{deep:#}");
    assert_eq!(deep["checks"]["scheduler"]["enabled"], true, "{deep:#}");
    let sim = world().await;
    let mut new = super::source_of(&sim, "acme");
    new["credential"] = json!("bad-credential");
    admin.post("/api/v1/sources", &new).await.expect(201);
    admin.ask("POST", "/api/sync/commits?wait=true", None).await;
    let degraded =
        crate::support::until("the failure shows", std::time::Duration::from_secs(30), async || {
            let deep = admin.get("/api/health?deep=1").await.expect(200);
            (deep["status"] == "degraded").then_some(deep)
        })
        .await;
    let sources = degraded["checks"]["sources"].as_array().unwrap();
    assert!(sources.iter().any(|it| it["error"] == "unauthorized"), "{degraded:#}");
    // Another tenant's trouble is none of ours.
    let other = stage.caller("other", "viewer").await.get("/api/health?deep=1").await.expect(200);
    assert_eq!((&other["status"], &other["checks"]["sources"]), (&json!("ok"), &json!([])), "{other:#}");
    stage.server.stop().await;
}

/// Reads one number from Prometheus' text.
fn number(text: &str, series: &str) -> f64 {
    let line = text.lines().find(|it| it.starts_with(series) && it[series.len()..].starts_with(' '));
    let line = line.unwrap_or_else(|| panic!("no {series} in\n{text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_tell_what_was_done_and_name_nobody() {
    let stage = Stage::set_with(&[("SYNCLINE_METRICS_LISTEN", "127.0.0.1:0")]).await;
    let sim = world().await;
    let admin = stage.server.admin();
    let source = add(&admin, &sim, "confidential-name").await;
    let sync = synced(&admin, source).await;
    let shown = admin.get(&format!("/api/v1/syncs/{sync}")).await.expect(200);
    let text = admin.get("/metrics").await.text;
    let float = |it: &Value| it.as_f64().unwrap();
    let labels = "{provider=\"github\",group=\"commits\"}";
    assert!(
        (number(&text, &format!("syncline_pages_total{labels}")) - float(&shown["pages"])).abs() < 0.5,
        "{text}"
    );
    assert!(
        (number(&text, &format!("syncline_rows_total{labels}")) - float(&shown["rowsWritten"])).abs() < 0.5
    );
    assert!(number(&text, "syncline_provider_requests_total{provider=\"github\",status=\"200\"}") > 0.0);
    assert!(number(&text, &format!("syncline_freshness_seconds{labels}")) < 60.0);
    assert!(number(&text, "syncline_jobs{state=\"available\"}") < 0.5);
    assert!(text.contains("syncline_page_commit_duration_seconds_bucket"), "{text}");
    assert!(text.contains("syncline_api_request_duration_seconds_bucket"), "{text}");
    assert!(text.contains("syncline_budget_remaining{provider=\"github\""), "{text}");
    for secret in ["confidential-name", "acme/repo", crate::support::TOKEN.1, "default"] {
        assert!(!text.contains(secret), "{secret} is in\n{text}");
    }
    let open = stage.server.metrics_url.clone().unwrap();
    let scraped = admin.stranger().raw("GET", "").build().unwrap();
    assert!(!scraped.headers().contains_key("authorization"));
    let scraped = reqwest::get(open).await.unwrap();
    assert_eq!(scraped.status(), 200);
    assert!(scraped.text().await.unwrap().contains("syncline_pages_total"));
    stage.server.stop().await;
}
