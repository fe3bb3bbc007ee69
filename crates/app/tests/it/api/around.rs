//! What surrounds every request: ids, problems, limits, and where the server may listen at all.

use serde_json::{Value, json};

use super::Stage;
use crate::support::{Database, Scene};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_refusal_is_a_problem_with_a_stable_code() {
    let stage = Stage::set().await;
    let admin = stage.server.admin();
    admin.get("/api/v2/nothing").await.expect_problem(404, "no_such_endpoint");
    let wrong = admin.delete("/api/v1/status").await;
    wrong.expect_problem(405, "no_such_method");
    assert!(wrong.header("allow").is_some_and(|it| it.contains("GET")), "{wrong:?}");
    admin.get("/api/v1/sources/1").await.expect_problem(404, "unknown");
    admin.get("/api/v1/sources/one").await.expect_problem(404, "unknown");
    admin.get("/api/v1/syncs?limit=0").await.expect_problem(422, "invalid");
    admin.get("/api/v1/syncs?limit=many").await.expect_problem(400, "malformed_query");
    admin.get("/api/v1/syncs?colour=red").await.expect_problem(400, "malformed_query");
    let path = "/api/v1/sources";
    let text = admin.raw("POST", path).header("content-type", "text/plain").body("{}");
    admin.send("POST", path, text).await.expect_problem(415, "not_json");
    let broken = admin.raw("POST", path).header("content-type", "application/json").body("{");
    admin.send("POST", path, broken).await.expect_problem(400, "malformed");
    admin.post(path, &json!({ "provider": "github" })).await.expect_problem(422, "invalid");
    let colour = json!({ "provider": "github", "name": "a", "colour": "red" });
    admin.post(path, &colour).await.expect_problem(422, "invalid");
    let large = json!({ "provider": "github", "name": "x".repeat(300 << 10) });
    admin.post(path, &large).await.expect_problem(413, "too_large");
    let lasting = json!({ "source": 1, "group": "x".repeat(300 << 10) });
    admin.post("/api/v1/syncs", &lasting).await.expect_problem(413, "too_large");
    admin.get("/api/v1/records/passwords").await.expect_problem(404, "unknown");
    admin.get("/api/v1/records/commits?nothing=1").await.expect_problem(422, "invalid");
    stage.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_keeps_its_id_if_a_log_can_bear_it() {
    let stage = Stage::set().await;
    let admin = stage.server.admin();
    let asked = admin.raw("GET", "/api/v1/sources").header("x-request-id", "check-7.a");
    let answer = admin.send("GET", "/api/v1/sources", asked).await;
    assert_eq!(answer.header("x-request-id"), Some("check-7.a"));
    assert!(stage.server.logged().contains("check-7.a"), "{}", stage.server.logged());
    for bad in ["a b", "x\"y", &"z".repeat(65), ""] {
        let asked = admin.raw("GET", "/api/v1/sources").header("x-request-id", bad);
        let answer = admin.send("GET", "/api/v1/sources", asked).await;
        assert_ne!(answer.header("x-request-id"), Some(bad));
    }
    stage.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_asks_too_much_is_told_when_to_come_again() {
    let stage = Stage::set_with(&[("SYNCLINE_API_REQUESTS_PER_MINUTE", "60")]).await;
    let viewer = stage.caller("default", "viewer").await;
    let mut refused = None;
    // Ten may come at once; each second brings one more.
    for _ in 0..40 {
        let answer = viewer.get("/api/v1/tables").await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("40 requests at once were all answered");
    refused.expect_problem(429, "too_many_requests");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&wait), "{wait}");
    // Another token is not held back by that.
    stage.caller("other", "viewer").await.get("/api/v1/tables").await.expect(200);
    stage.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_headers_than_anybody_sends_are_refused() {
    let stage = Stage::set().await;
    let admin = stage.server.admin();
    let mut asked = admin.raw("GET", "/api/health");
    for nth in 0..150 {
        asked = asked.header(format!("x-filler-{nth}"), "1");
    }
    assert_eq!(asked.send().await.unwrap().status(), 431);
    let long = admin.raw("GET", "/api/health").header("x-filler", "1".repeat(64 << 10));
    assert!(long.send().await.is_ok_and(|it| it.status() == 431));
    stage.server.stop().await;
}

#[tokio::test]
async fn it_listens_beyond_loopback_only_behind_a_proxy() {
    let scene = Scene::new(Database::sqlite());
    let refused = scene.run(&["serve", "--listen", "0.0.0.0:0", "--json"]).await;
    refused.expect_code(2).expect_words("behind_tls_proxy = true");
    let wrong = scene.set("SYNCLINE_METRICS_LISTEN", "0.0.0.0:9464");
    wrong.run(&["serve"]).await.expect_code(2).expect_words("a loopback address");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let stage = Stage::set().await;
    let taken = stage.server.url.trim_start_matches("http://").to_owned();
    let refused = stage.scene.run(&["serve", "--listen", &taken, "--json"]).await;
    refused.expect_code(1).expect_words(&taken);
    stage.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_endpoint_is_described_with_its_problems() {
    let stage = Stage::set().await;
    let document = stage.server.document();
    assert_eq!(document["openapi"].as_str().map(|it| &it[..3]), Some("3.1"));
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let problem = &operation["responses"]["default"]["content"]["application/problem+json"];
            assert_eq!(problem["schema"]["$ref"], "#/components/schemas/Problem", "{method} {path}");
            assert_ne!(operation["operationId"], Value::Null, "{method} {path}");
            assert_ne!(operation["summary"], Value::Null, "{method} {path}");
        }
    }
    stage.server.stop().await;
}
