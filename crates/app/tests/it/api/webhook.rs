//! The endpoint that providers deliver to: what is accepted, and that a refusal tells nothing.
//!
//! It must never make a signature with the code that checks it; the simulator makes them.

use serde_json::{Value, json};
use sim::{Delivery, Hook, Outbox, Sim};

use super::{Stage, add, world};
use crate::support::{Answer, Client};

/// Sends a delivery as a stranger, and holds the answer against the document.
async fn deliver(client: &Client, path: &str, headers: &[(String, String)], body: &[u8]) -> Answer {
    let stranger = client.stranger();
    let mut request = stranger.raw("POST", path).body(body.to_vec());
    for (name, value) in headers {
        request = request.header(name, value);
    }
    stranger.send("POST", path, request).await
}

/// Makes a source's secret.
pub(super) async fn secret(client: &Client, source: i64) -> String {
    let made = client.post(&format!("/api/v1/sources/{source}/webhook"), &json!({})).await.expect(201);
    assert_eq!(made["path"], format!("/api/webhooks/{source}"));
    made["secret"].as_str().unwrap().to_owned()
}

/// Pushes once, and returns the delivery of it.
fn pushed(sim: &Sim, secret: &str) -> Delivery {
    let mut outbox = Outbox::new(sim.world()).unwrap();
    sim.world().push("acme/repo-1", "main", 1).unwrap();
    outbox.collect(sim.world(), Hook::GitHub, secret).unwrap().remove(0)
}

fn with(delivery: &Delivery, name: &str, value: &str) -> Vec<(String, String)> {
    let mut headers = delivery.headers.clone();
    headers.retain(|it| it.0 != name);
    headers.push((name.to_owned(), value.to_owned()));
    headers
}

/// What is wrong, where it is sent, and what.
type Case<'a> = (&'a str, String, Vec<(String, String)>, &'a [u8]);

/// What may differ between two answers that tell the same.
fn without_id(answer: &Answer) -> (u16, Value, Vec<String>) {
    let mut body = answer.json();
    body["requestId"] = Value::Null;
    let mut names: Vec<String> = answer.headers.keys().map(ToString::to_string).collect();
    names.sort();
    (answer.status, body, names)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_is_accepted_once_and_shown() {
    let (stage, sim) = (Stage::set().await, world().await);
    let admin = stage.server.admin();
    let source = add(&admin, &sim, "acme").await;
    let shown = admin.get(&format!("/api/v1/sources/{source}/webhook")).await.expect(200);
    assert_eq!(shown["secretSince"], Value::Null, "{shown:#}");
    let secret = secret(&admin, source).await;
    let delivery = pushed(&sim, &secret);
    let path = format!("/api/webhooks/{source}");
    let first = deliver(&admin, &path, &delivery.headers, &delivery.body).await.expect(202);
    assert_eq!(first["state"], "waiting");
    let again = deliver(&admin, &path, &delivery.headers, &delivery.body).await.expect(200);
    assert_eq!((&again["state"], &again["delivery"]), (&"duplicate".into(), &first["delivery"]));
    let list = format!("/api/v1/sources/{source}/deliveries");
    let shown = admin.get(&list).await;
    assert!(!shown.text.contains(&secret), "{}", shown.text);
    let shown = shown.expect(200);
    assert_eq!(shown["deliveries"].as_array().unwrap().len(), 1, "{shown:#}");
    assert_eq!((&shown["deliveries"][0]["id"], &shown["next"]), (&first["delivery"], &Value::Null));
    let page = admin.get(&format!("{list}?limit=1")).await.expect(200);
    let next = format!("{list}?limit=1&before={}", page["next"].as_str().unwrap());
    assert_eq!(admin.get(&next).await.expect(200)["deliveries"], json!([]));
    admin.get(&format!("{list}?stream=branches")).await.expect_problem(422, "invalid");
    let none = admin.get(&format!("{list}?stream=branches&partition=1")).await.expect(200);
    assert_eq!(none["deliveries"], json!([]));
    let metrics = admin.get("/metrics").await.text;
    assert!(metrics.contains("syncline_deliveries_total{outcome=\"duplicate\"} 1"), "{metrics}");
    stage.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_wrong_with_a_signature_the_answer_is_the_same() {
    let (stage, sim) = (Stage::set().await, world().await);
    let admin = stage.server.admin();
    let (source, bare) = (add(&admin, &sim, "acme").await, add(&admin, &sim, "bare").await);
    let secret = secret(&admin, source).await;
    let it = pushed(&sim, &secret);
    let signature = "x-hub-signature-256";
    let (right, wrong) =
        (format!("/api/webhooks/{source}"), with(&it, signature, &format!("sha256={}", "0".repeat(64))));
    let refused = deliver(&admin, &right, &wrong, &it.body).await;
    refused.expect_problem(401, "unauthorized");
    let told = without_id(&refused);
    let mut changed = it.body.clone();
    changed.push(b' ');
    let cases: [Case<'_>; 8] = [
        ("another body", right.clone(), it.headers.clone(), &changed),
        ("no signature", right.clone(), with(&it, signature, ""), &it.body),
        ("half of it", right.clone(), with(&it, signature, "sha256=00"), &it.body),
        ("the secret itself", right.clone(), with(&it, signature, &secret), &it.body),
        ("a source without a secret", format!("/api/webhooks/{bare}"), it.headers.clone(), &it.body),
        ("no source", "/api/webhooks/999".to_owned(), it.headers.clone(), &it.body),
        ("no number", "/api/webhooks/acme".to_owned(), it.headers.clone(), &it.body),
        ("far beyond", format!("/api/webhooks/{}", u64::MAX), it.headers.clone(), &it.body),
    ];
    for (what, path, headers, body) in cases {
        assert_eq!(without_id(&deliver(&admin, &path, &headers, body).await), told, "{what}");
    }
    // Another secret ends the one before.
    let other = self::secret(&admin, source).await;
    assert_ne!(secret, other);
    assert_eq!(without_id(&deliver(&admin, &right, &it.headers, &it.body).await), told, "the secret before");
    admin.delete(&format!("/api/v1/sources/{source}")).await.expect(204);
    assert_eq!(without_id(&deliver(&admin, &right, &it.headers, &it.body).await), told, "a removed source");
    assert_eq!(stage.scene.database.number("select count(*) from deliveries").await, 0);
    let logged = stage.server.logged();
    assert!(!logged.contains(&secret) && !logged.contains(&other));
    stage.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_signed_but_says_nothing_is_answered_well() {
    let (stage, sim) = (Stage::set().await, world().await);
    let admin = stage.server.admin();
    let source = add(&admin, &sim, "acme").await;
    let secret = secret(&admin, source).await;
    let path = format!("/api/webhooks/{source}");
    for (event, body, status, state) in [
        ("ping", "{\"zen\":\"Keep it logically awesome.\"}", 200, "ignored"),
        ("from_the_future", "{\"repository\":7}", 200, "ignored"),
        ("push", "{\"repository\":\"gone\"}", 200, "ignored"),
        ("push", "[]", 200, "ignored"),
        ("push", "{\"repository\":{\"id\":5,\"full_name\":\"a/b\"}}", 202, "waiting"),
        ("push", "no JSON", 400, ""),
    ] {
        let delivery = Delivery { headers: Vec::new(), body: body.as_bytes().to_vec(), genuine: true };
        let mut headers = sim::signed(&secret, body.as_bytes());
        headers.push(("x-github-event".to_owned(), event.to_owned()));
        headers.push(("x-github-delivery".to_owned(), format!("{event}-{}", body.len())));
        let answer = deliver(&admin, &path, &headers, &delivery.body).await;
        if status == 400 {
            answer.expect_problem(400, "malformed");
        } else {
            assert_eq!(answer.expect(status)["state"], state, "{event} {body}");
        }
    }
    let large = vec![b' '; (25 << 20) + 1];
    deliver(&admin, &path, &sim::signed(&secret, &large), &large).await.expect_problem(413, "too_large");
    stage.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_may_be_asked_for_one_repository() {
    let (stage, sim) = (Stage::set().await, world().await);
    let admin = stage.server.admin();
    let source = add(&admin, &sim, "acme").await;
    super::synced(&admin, source).await;
    let id = sim.world().truth().unwrap().repositories["acme/repo-1"].id.to_string();
    for name in ["acme/repo-1", "acme/repo-2"] {
        sim.world().push(name, "main", 1).unwrap();
    }
    let one = json!([{ "stream": "branches", "partition": id }]);
    let asked = json!({ "source": source, "group": "commits", "targets": one });
    let ended = admin.post("/api/v1/syncs?wait=true", &asked).await.expect(200);
    assert_eq!(ended["syncs"][0]["state"], "completed", "{ended:#}");
    let results: Vec<&str> = ended["syncs"][0]["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["stream"].as_str().unwrap())
        .collect();
    assert_eq!(results, ["branches", "commits"], "{ended:#}");
    let truth = sim.world().truth().unwrap();
    for (name, expected) in [("acme/repo-1", 1), ("acme/repo-2", 0)] {
        let head = &truth.repositories[name].branches["main"].head;
        let sql = format!("select count(*) from commits where sha = '{head}'");
        assert_eq!(stage.scene.database.number(&sql).await, expected, "{name}");
    }
    let unknown = json!({ "source": source, "group": "commits", "targets": [{ "stream": "branches", "partition": "7" }] });
    admin.post("/api/v1/syncs", &unknown).await.expect_problem(409, "nothing_to_sync");
    admin
        .post("/api/v1/syncs", &json!({ "source": source, "targets": one }))
        .await
        .expect_problem(422, "invalid");
    let stream =
        json!({ "source": source, "group": "commits", "targets": [{ "stream": "x", "partition": "7" }] });
    admin.post("/api/v1/syncs", &stream).await.expect_problem(404, "unknown");
    stage.server.stop().await;
}
