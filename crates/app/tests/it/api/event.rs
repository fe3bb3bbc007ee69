//! Events over HTTP: pages, and a stream that goes on where a client left it.

use std::time::Duration;

use futures::StreamExt as _;
use serde_json::Value;

use super::{Stage, add, synced, world};
use crate::support::Client;

/// Reads a stream until `enough` of its events were seen.
pub(crate) async fn listen(client: &Client, last: Option<i64>, enough: usize) -> Vec<(i64, String, Value)> {
    let mut asked = client.raw("GET", "/api/v1/events/stream");
    asked = match last {
        Some(last) => asked.header("last-event-id", last.to_string()),
        None => asked,
    };
    let answer = asked.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut body = answer.bytes_stream();
    let mut text = String::new();
    let mut seen = Vec::new();
    while seen.len() < enough {
        let piece = tokio::time::timeout(Duration::from_secs(30), body.next()).await;
        text.push_str(std::str::from_utf8(&piece.expect("an event comes").unwrap().unwrap()).unwrap());
        while let Some((event, rest)) = text.split_once("\n\n") {
            let field = |name: &str| event.lines().find_map(|it| it.strip_prefix(name)).map(str::trim);
            if let (Some(id), Some(name), Some(data)) = (field("id:"), field("event:"), field("data:")) {
                seen.push((id.parse().unwrap(), name.to_owned(), serde_json::from_str(data).unwrap()));
            }
            text = rest.to_owned();
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_goes_on_where_a_client_left_it() {
    let stage = Stage::set().await;
    let sim = world().await;
    let admin = stage.server.admin();
    let source = add(&admin, &sim, "acme").await;
    synced(&admin, source).await;
    let all = admin.get("/api/v1/events?limit=500").await.expect(200);
    let all = all["events"].as_array().unwrap().clone();
    let names: Vec<&str> = all.iter().filter_map(|it| it["name"].as_str()).collect();
    for wanted in ["sync.request", "sync.job.started", "sync.job.completed"] {
        assert!(names.contains(&wanted), "no {wanted} in {names:?}");
    }
    let completed = all.iter().find(|it| it["name"] == "sync.job.completed").unwrap();
    for field in ["jobId", "eventsIngested", "durationMs"] {
        assert!(completed["fields"][field].is_i64(), "{completed:#}");
    }
    // All of it, then the rest behind the third, each once.
    let heard = listen(&admin, Some(0), all.len()).await;
    let ids = |events: &[(i64, String, Value)]| events.iter().map(|it| it.0).collect::<Vec<_>>();
    let wanted: Vec<i64> = all.iter().filter_map(|it| it["id"].as_i64()).collect();
    assert_eq!(ids(&heard), wanted);
    assert_eq!(heard[1].2, all[1]);
    assert_eq!(ids(&listen(&admin, Some(wanted[2]), wanted.len() - 3).await), wanted[3..]);
    let pages = admin.get(&format!("/api/v1/events?after={}&limit=2", wanted[2])).await.expect(200);
    assert_eq!(pages["next"], wanted[4], "{pages:#}");
    stage.server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_without_a_place_begins_now_and_brings_what_happens() {
    let stage = Stage::set().await;
    let sim = world().await;
    let admin = stage.server.admin();
    let source = add(&admin, &sim, "acme").await;
    synced(&admin, source).await;
    let before = admin.get("/api/v1/events?limit=500").await.expect(200)["next"].as_i64().unwrap();
    let (heard, ()) = tokio::join!(listen(&admin, None, 1), async {
        // Asked again and again, because the stream may begin later than the first of them.
        for _ in 0..5 {
            synced(&admin, source).await;
        }
    });
    assert!(heard[0].0 > before, "{heard:?} is not later than {before}");
    let bad = admin.raw("GET", "/api/v1/events/stream").header("last-event-id", "yesterday");
    admin.send("GET", "/api/v1/events/stream", bad).await.expect_problem(422, "invalid");
    stage.server.stop().await;
}
