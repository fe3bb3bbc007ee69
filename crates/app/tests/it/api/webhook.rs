//! The endpoint that providers deliver to: what is accepted, and that a refusal tells nothing.
//!
//! It must never make a signature with the code that checks it; the simulator makes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use sim::{Delivery, Hook, Outbox, Sim};
use tokio::task::JoinSet;

use super::{Stage, add, synced, world};
use crate::support::{Answer, Client, Database, Scene, assert_truth, on_both};

on_both!(what_a_full_queue_refuses_is_new_when_it_comes_again_and_found_by_polling);

const REPOS: [&str; 2] = ["acme/repo-1", "acme/repo-2"];

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
    push_again(sim, &mut Outbox::new(sim.world()).unwrap(), secret)
}

/// Pushes once more, and returns the delivery of that.
fn push_again(sim: &Sim, outbox: &mut Outbox, secret: &str) -> Delivery {
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
    admin.post("/api/v1/syncs", &unknown).await.expect_problem(422, "invalid");
    admin
        .post("/api/v1/syncs", &json!({ "source": source, "targets": one }))
        .await
        .expect_problem(422, "invalid");
    let stream =
        json!({ "source": source, "group": "commits", "targets": [{ "stream": "x", "partition": "7" }] });
    admin.post("/api/v1/syncs", &stream).await.expect_problem(404, "unknown");
    stage.server.stop().await;
}

/// Returns the seconds after which a refusal says to come again.
fn again_after_s(refused: &Answer) -> u64 {
    refused.header("retry-after").expect("it says when to come again").parse().unwrap()
}

async fn what_a_full_queue_refuses_is_new_when_it_comes_again_and_found_by_polling(database: Database) {
    let (stage, sim) = (Stage::set_over(Scene::new(database), &[]).await, world().await);
    let admin = stage.server.admin();
    let source = add(&admin, &sim, "acme").await;
    synced(&admin, source).await;
    let secret = secret(&admin, source).await;
    let path = format!("/api/webhooks/{source}");
    // Ten thousand hints that were put off by a year, as of a source that cannot be synced; one may still come.
    let later = crate::support::epoch_ms() + 365 * 86_400_000;
    let database = &stage.scene.database;
    let delivered = format!(
        "insert into deliveries (source_id, id, event, received_at) values ({source}, 'w', 'push', 1)"
    );
    database.execute(&delivered).await;
    let waiting = format!(
        "with recursive nth (n) as (select 1 union all select n + 1 from nth where n < 9999)
         insert into hints (source_id, delivery_id, stream_group, received_at, state, due_at, tries)
         select {source}, 'w', 'commits', 1, 'waiting', {later}, 1 from nth"
    );
    database.execute(&waiting).await;
    let mut outbox = Outbox::new(sim.world()).unwrap();
    let last = push_again(&sim, &mut outbox, &secret);
    deliver(&admin, &path, &last.headers, &last.body).await.expect(202);

    let it = push_again(&sim, &mut outbox, &secret);
    let refused = deliver(&admin, &path, &it.headers, &it.body).await;
    refused.expect_problem(503, "busy");
    assert!(refused.text.contains("`syncline status` says why"), "{}", refused.text);
    assert_eq!(again_after_s(&refused), 300);
    deliver(&admin, &path, &last.headers, &last.body).await.expect(200);
    let ping = {
        let mut headers = sim::signed(&secret, b"{}");
        headers.push(("x-github-event".to_owned(), "ping".to_owned()));
        headers
    };
    deliver(&admin, &path, &ping, b"{}").await.expect(200);
    assert_eq!(database.number("select count(*) from hints").await, 10_000, "nothing of it was kept");
    let metrics = admin.get("/metrics").await.text;
    assert!(metrics.contains("syncline_deliveries_total{outcome=\"full\"} 1"), "{metrics}");

    // Polling finds what it told of.
    synced(&admin, source).await;
    assert_truth(database, &sim, &REPOS).await;
    // Once there is room, it is no duplicate.
    database.execute("delete from hints where due_at > 1").await;
    let taken = deliver(&admin, &path, &it.headers, &it.body).await.expect(202);
    assert_eq!(taken["state"], "waiting");
    stage.server.stop().await;
}

/// Asks where deliveries go, again and again, until it is told to stop: what a flood costs the address that it comes from.
fn flood(server: &str, stop: &Arc<AtomicBool>) -> JoinSet<()> {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut flooding = JoinSet::new();
    // As many as keep the server at work, and no more than it takes at once.
    for _ in 0..16 {
        let (http, url, stop) = (http.clone(), format!("{server}/api/webhooks/1"), stop.clone());
        flooding.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                // Not what providers send: it is refused before anything is read, and counts all the same.
                drop(http.get(&url).send().await);
            }
        });
    }
    flooding
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_rate_limit_refuses_is_taken_later_and_found_by_polling() {
    let (stage, sim) = (Stage::set().await, world().await);
    let admin = stage.server.admin();
    let source = add(&admin, &sim, "acme").await;
    synced(&admin, source).await;
    let secret = secret(&admin, source).await;
    let path = format!("/api/webhooks/{source}");
    let stop = Arc::new(AtomicBool::new(false));
    let mut flooding = flood(&stage.server.url, &stop);
    let mut outbox = Outbox::new(sim.world()).unwrap();
    let it = push_again(&sim, &mut outbox, &secret);
    // Two thousand may come at once, and two hundred more each second.
    let mut bad = it.clone();
    bad.headers.retain(|it| it.0 != "x-hub-signature-256");
    let refused = loop {
        let answer = deliver(&admin, &path, &bad.headers, &bad.body).await;
        if answer.status == 429 {
            break answer;
        }
        assert_eq!(answer.status, 401, "{answer:?}");
    };
    refused.expect_problem(429, "too_many_requests");
    assert!(refused.text.contains("ask again after the time in `Retry-After`"), "{}", refused.text);
    assert!((1..=60).contains(&again_after_s(&refused)), "{}", again_after_s(&refused));
    // Whoever asks for something else is not held back by it.
    admin.get("/api/v1/sources").await.expect(200);
    // A good one is refused like any other, and nothing of it is kept.
    let mut tries = 0;
    let good = loop {
        let it = push_again(&sim, &mut outbox, &secret);
        if deliver(&admin, &path, &it.headers, &it.body).await.status == 429 {
            break it;
        }
        tries += 1;
        assert!(tries < 200, "a flood lets everything through");
    };
    stop.store(true, Ordering::Relaxed);
    while flooding.join_next().await.is_some() {}
    let id = &good.headers.iter().find(|it| it.0 == "x-github-delivery").unwrap().1;
    let kept = format!("select count(*) from deliveries where id = '{id}'");
    assert_eq!(stage.scene.database.number(&kept).await, 0);
    synced(&admin, source).await;
    assert_truth(&stage.scene.database, &sim, &REPOS).await;
    // Sent again, as GitLab and Jira do and GitHub's redelivery, it is new.
    let taken = async || {
        let answer = deliver(&admin, &path, &good.headers, &good.body).await;
        (answer.status != 429).then_some(answer)
    };
    let taken =
        crate::support::until("it is taken", std::time::Duration::from_mins(1), taken).await.expect(202);
    assert_eq!(taken["state"], "waiting");
    stage.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_takes_the_room_of_its_bytes_however_it_comes() {
    let stage = Stage::set().await;
    let admin = stage.server.admin();
    // More parts than there are kibibytes for all deliveries under way, of a byte each.
    let parts = (0..70_000).map(|_| Ok::<_, std::io::Error>(" "));
    let body = reqwest::Body::wrap_stream(futures::stream::iter(parts));
    let path = "/api/webhooks/1";
    let stranger = admin.stranger();
    let refused = stranger.send("POST", path, stranger.raw("POST", path).body(body)).await;
    refused.expect_problem(401, "unauthorized");
    stage.server.stop().await;
}
