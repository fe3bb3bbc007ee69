//! How a source stands, in the one word that people are shown: each word at the moment that it is for.
//!
//! No story here may make a state by hand that an engine makes by itself.

use std::time::Duration;

use domain::policy::status::State;
use domain::trigger::Trigger;
use engine::{GroupStatus, Requested, SyncService};
use sim::{Options, WorldSource};

use crate::support::{Database, SOURCE, Scene, Work, assert_truth, on_both, seeded, service, started, until};

on_both!(the_last_jobs_of_a_sync_are_told, what_mends_an_earlier_sync_is_told);

const NAMES: [&str; 2] = ["acme/repo-1", "acme/repo-2"];

/// A test that is not where it should be by then hangs.
const SOON: Duration = Duration::from_secs(40);

async fn stands(service: &SyncService) -> GroupStatus {
    let groups = service.status(None).await.unwrap();
    groups.into_iter().find(|it| it.group == "commits").unwrap()
}

/// Says what the program tells of it in JSON, and fails unless it tells people the same word.
async fn told(scene: &Scene) -> serde_json::Value {
    let status = scene.run(&["status", "--json"]).await.json();
    let group = status["sources"].as_array().unwrap().iter().find(|it| it["group"] == "commits");
    let group = group.unwrap_or_else(|| panic!("{status:#}")).clone();
    scene.run(&["status"]).await.expect_words(group["state"].as_str().unwrap());
    group
}

async fn start(service: &SyncService, trigger: Trigger) {
    let requested = service.request(SOURCE, "commits", trigger).await.unwrap();
    assert!(matches!(requested, Requested::Started { .. }), "{requested:?}");
}

/// Waits until the source stands so.
async fn comes_to(service: &SyncService, state: State) -> GroupStatus {
    let there = async || Some(stands(service).await).filter(|it| it.state == state);
    until(state.as_str(), SOON, there).await
}

async fn the_last_jobs_of_a_sync_are_told(database: Database) {
    // Slow enough that the provider falls silent while pages are still to be asked for.
    let world = WorldSource::Seeded { seed: 95, repos: 2, commits: 1_500 };
    let slow = Options { world, latency: Duration::from_millis(30), ..Options::default() };
    let sim = started(slow, "", "").await;
    let scene = Scene::with_source(database, &sim, &NAMES).await;
    let service = service(&scene.database, 4).await;
    start(&service, Trigger::Manual).await;
    assert_eq!(stands(&service).await.state, State::Syncing);

    let work = Work::begin(&service);
    let begun = async || (scene.database.number("select count(*) from commits").await > 0).then_some(());
    until("commits come", SOON, begun).await;
    sim.set_faults("hang=1".parse().unwrap());
    let last = comes_to(&service, State::Finishing).await;
    let progress = last.active_job_progress.unwrap();
    assert!(progress.current > 0 && progress.current < progress.total, "{last:?}");
    let group = told(&scene).await;
    assert_eq!((&group["state"], &group["canSyncNow"]), (&"finishing".into(), &false.into()), "{group:#}");

    // Nobody waits for answers that never come.
    sim.set_faults("".parse().unwrap());
    let sync = last.active_sync.unwrap();
    assert!(service.cancel(sync).await.unwrap());
    comes_to(&service, State::Idle).await;
    start(&service, Trigger::Manual).await;
    comes_to(&service, State::Idle).await;
    work.end().await;
    service.close().await;
    assert_truth(&scene.database, &sim, &NAMES).await;
}

async fn what_mends_an_earlier_sync_is_told(database: Database) {
    let sim = seeded(96, 2, 12, "gone=acme/repo-2", "").await;
    let scene = Scene::with_source(database, &sim, &NAMES).await;
    scene.sync().await.expect_code(3);
    sim.world().set_state(NAMES[1], sim::State::Ok).unwrap();
    let service = service(&scene.database, 4).await;
    start(&service, Trigger::Recovery).await;
    assert_eq!(stands(&service).await.state, State::Recovering);
    assert_eq!(told(&scene).await["state"], "recovering");
    let work = Work::begin(&service);
    comes_to(&service, State::Idle).await;
    work.end().await;
    service.close().await;
    assert_eq!(told(&scene).await["state"], "idle");
}
