//! Events over everything that can happen to their listener: none is lost and none comes twice, whoever is killed, and each
//! has the fields that it is known by.
//!
//! Listens over HTTP only; what has happened is held against the database.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::api::event::listen;
use crate::support::{Database, SOURCE, Scene, Server, assert_kept_rules, on_both, seeded, until};

on_both!(a_listener_misses_nothing_and_hears_nothing_twice);

/// What consumers know each event by.
const FIELDS: [(&str, &[&str]); 7] = [
    ("sync.request", &["installationId", "result", "trigger"]),
    ("sync.job.started", &["installationId", "jobId", "repoCount"]),
    ("sync.job.progress", &["current", "jobId", "total"]),
    ("sync.job.blocked", &["blockedUntil", "jobId", "reason"]),
    ("sync.job.completed", &["durationMs", "eventsIngested", "jobId"]),
    ("sync.job.failed", &["error", "jobId"]),
    ("sync.closed", &["state", "syncId"]),
];

/// Times that the server is killed in the midst of its sync.
const KILLS: usize = 3;

async fn a_listener_misses_nothing_and_hears_nothing_twice(database: Database) {
    // One repository is put off for an hour, another may not be read, four others are.
    let sim = seeded(96, 6, 230, "paused=acme/repo-2,denied=acme/repo-3", "").await;
    let names = sim.world().names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let scene = Scene::with_source(database, &sim, &names).await.set("SYNCLINE_WORKERS", 2);
    let off = ["source", "schedule", SOURCE, "--group", "timeline", "--off"];
    scene.run(&off).await.expect_code(0);
    let mut heard = Vec::new();
    let last = |heard: &[(i64, String, Value)]| heard.last().map(|it| it.0);
    // The first tick is due at once; after each kill the same sync goes on.
    for _ in 0..KILLS {
        let mut server = Server::start(&scene).await;
        let told = listen(&server.admin(), last(&heard).or(Some(0)), 4).await;
        server.signal(Signal::KILL);
        server.ended_within(Duration::from_secs(10)).await;
        heard.extend(told);
    }
    let server = Server::start(&scene).await;
    let closed = async || (scene.database.number("select count(*) from standings").await > 0).then_some(());
    until("the sync ends", Duration::from_mins(1), closed).await;
    let all = scene.database.lines("select cast(id as text) as number from events order by events.id").await;
    let all: Vec<i64> = all.iter().map(|it| it.parse().unwrap()).collect();
    heard.extend(listen(&server.admin(), last(&heard), all.len() - heard.len()).await);
    server.stop().await;
    assert_eq!(heard.iter().map(|it| it.0).collect::<Vec<_>>(), all, "lost, doubled or out of order");
    assert_kept_rules(&sim);

    let mut of_jobs: BTreeMap<i64, Vec<&str>> = BTreeMap::new();
    for (_, name, event) in &heard {
        let (_, wanted) = FIELDS.iter().find(|it| it.0 == name).unwrap_or_else(|| panic!("{event:#}"));
        let given: BTreeSet<&str> = event["fields"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(given, wanted.iter().copied().collect(), "{event:#}");
        assert!(event["syncId"].is_i64() && event["tenant"].is_i64(), "{event:#}");
        if let Some(job) = event["fields"]["jobId"].as_i64() {
            of_jobs.entry(job).or_default().push(name);
        }
    }
    let names: BTreeSet<&str> = heard.iter().map(|it| it.1.as_str()).collect();
    assert_eq!(names, FIELDS.iter().map(|it| it.0).collect(), "not all of them happened");
    for (job, events) in of_jobs {
        let count = |name: &str| events.iter().filter(|it| **it == name).count();
        let ends = ["sync.job.completed", "sync.job.failed", "sync.job.blocked"].map(count);
        assert_eq!((count("sync.job.started"), ends.iter().sum::<usize>()), (1, 1), "job {job}: {events:?}");
    }
}
