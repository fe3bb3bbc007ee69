//! Turns: a huge source is under way and a small one does not wait for it, although there is one worker for both.
//!
//! No story here must depend on how fast the machine is: it counts pages.

use std::time::Duration;

use domain::trigger::Trigger;
use engine::{AddSource, Requested, Secret, SyncService};
use serde_json::json;
use sim::{Options, WorldSource};
use tokio_util::sync::CancellationToken;

use crate::support::{Database, TOKEN, assert_kept_rules, on_both, seeded, service, started, until};

on_both!(a_small_source_waits_for_a_page_of_a_huge_one);

async fn add(service: &SyncService, name: &str, url: &str) -> i64 {
    let add = AddSource {
        provider: "github".to_owned(),
        name: name.to_owned(),
        base_url: Some(url.to_owned()),
        options: json!({ "repos": ["acme/repo-1"] }),
        token: Some(Secret::from(TOKEN.1.to_owned())),
    };
    service.add_source(add).await.unwrap().0
}

async fn begin(service: &SyncService, name: &str) -> i64 {
    let asked = service.request(name, "commits", Trigger::Manual).await.unwrap();
    let Requested::Started { sync, .. } = asked else { panic!("{asked:?}") };
    sync.0
}

async fn a_small_source_waits_for_a_page_of_a_huge_one(database: Database) {
    // Slow enough that a page is under way when the small source comes.
    let world = WorldSource::Seeded { seed: 7, repos: 1, commits: 6_000 };
    let slow = Options { world, latency: Duration::from_millis(30), ..Options::default() };
    let (much, little) = (started(slow, "", "").await, seeded(8, 1, 20, "", "").await);
    let service = service(&database, 1).await;
    let huge = add(&service, "huge", &much.github_url()).await;
    let small = add(&service, "small", &little.github_url()).await;
    let first = begin(&service, "huge").await;
    let stop = CancellationToken::new();
    let looking = async {
        // All rows of a page have one time: when its first request was sent.
        let pages = format!("select count(distinct observed_at) from commits where source_id = {huge}");
        let begun = async || (database.number(&pages).await >= 3).then_some(());
        until("the huge source is under way", Duration::from_mins(1), begun).await;
        let second = begin(&service, "small").await;
        let before = database.number(&pages).await;
        let running = format!("select count(*) from syncs where id = {second} and state = 'running'");
        let closed = async || (database.number(&running).await == 0).then_some(());
        until("the small source is read", Duration::from_mins(1), closed).await;
        let going = format!("select count(*) from syncs where id = {first} and state = 'running'");
        assert_eq!(database.number(&going).await, 1, "the huge source ended first: its world is too small");
        let until_then = format!(
            "{pages} and observed_at < (select min(observed_at) from branches where source_id = {small})"
        );
        let waited = database.number(&until_then).await - before;
        // Those that were counted had landed. Beside them one was under way, and up to three were with the database.
        assert!(waited <= 4, "{waited} pages came before the small source's first");
        let meanwhile = format!(
            "{pages} and observed_at > (select min(observed_at) from branches where source_id = {small})
             and observed_at < (select max(observed_at) from commits where source_id = {small})"
        );
        let jobs = format!("select count(*) from jobs where sync_id = {second}");
        let (between, jobs) = (database.number(&meanwhile).await, database.number(&jobs).await);
        assert!(between <= jobs, "{between} pages between the small source's {jobs} jobs");
        let going = async || {
            (database.number("select count(*) from syncs where state = 'running'").await == 0).then_some(())
        };
        until("the huge source is read", Duration::from_mins(2), going).await;
        stop.cancel();
    };
    let (worked, ()) = tokio::join!(service.work(None, stop.clone()), looking);
    worked.unwrap();
    let commits = "select count(*) from commits";
    assert_eq!(database.number(commits).await, 6_020, "what gave way goes on where it was");
    service.close().await;
    assert_kept_rules(&much);
    assert_kept_rules(&little);
}
