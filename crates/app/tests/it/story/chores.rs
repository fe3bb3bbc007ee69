//! Chores as an operator sees them: who runs them, what they tell, and what they mend.
//!
//! Time here is moved by hand; it must never be waited for.

use std::time::Duration;

use domain::policy::schedule::Own;
use domain::trigger::Trigger;
use engine::{Requested, SourceChanges};
use jiff::SignedDuration;
use serde_json::Value;

use crate::support::{
    Database, SOURCE, Scene, Server, Work, assert_kept_rules, assert_truth, on_both, seeded, service,
    service_that_holds, until,
};

on_both!(
    processes_share_the_chores,
    a_job_that_hangs_is_interrupted_and_goes_on_at_its_page,
    a_group_without_success_is_caught_up_within_bounds,
    what_is_old_is_removed_and_what_landed_stays,
);

/// A test that is not where it should be by then hangs.
const SOON: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_runs_chores_and_shows_them() {
    let scene = Scene::new(Database::sqlite());
    let server = Server::start(&scene).await;
    let admin = server.admin();
    let all_ran = async || {
        let chores = admin.get("/api/v1/chores").await.expect(200)["chores"].clone();
        let ran = |it: &Value| it["lastRun"]["tookMs"].is_i64();
        chores.as_array().unwrap().iter().all(ran).then_some(chores)
    };
    let chores = until("every chore ran", SOON, all_ran).await;
    for it in chores.as_array().unwrap() {
        assert_eq!((&it["lastRun"]["error"], &it["runs"]), (&Value::Null, &1.into()), "{it:#}");
        let due_in = it["nextAt"].as_i64().unwrap() - it["lastRun"]["at"].as_i64().unwrap();
        assert_eq!(due_in, it["everyMs"].as_i64().unwrap(), "{it:#}");
    }
    let listed = scene.run(&["chore", "list", "--json"]).await;
    listed.expect_code(0);
    assert_eq!(listed.json()["chores"].as_array().unwrap().len(), chores.as_array().unwrap().len());
    let told = scene.run(&["chore", "list"]).await;
    told.expect_words("rescue").expect_words("nothing to do");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn switched_off_means_no_chore_but_by_hand() {
    let scene = Scene::new(Database::sqlite());
    let server = Server::start_with(&scene, &[("SYNC_ENABLED", "false")]).await;
    let admin = server.admin();
    for it in admin.get("/api/v1/chores").await.expect(200)["chores"].as_array().unwrap() {
        assert_eq!((&it["nextAt"], &it["lastRun"]), (&Value::Null, &Value::Null), "{it:#}");
    }
    let ran = scene.run(&["chore", "run", "rescue", "--json"]).await;
    ran.expect_code(0);
    assert_eq!(ran.json()["lastRun"]["did"]["rescued"], 0, "{}", ran.told());
    let chores = admin.get("/api/v1/chores").await.expect(200);
    assert_eq!(chores["chores"][0]["runs"], 1, "{chores:#}");
    let unknown = scene.run(&["chore", "run", "dishes", "--json"]).await;
    unknown.expect_code(2);
    assert_eq!(unknown.json()["error"]["code"], "unknown", "{}", unknown.told());
    server.stop().await;
}

async fn processes_share_the_chores(database: Database) {
    let (one, other) = (service(&database, 1).await, service(&database, 1).await);
    let count = u64::try_from(one.chores().await.unwrap().len()).unwrap();
    let both = async || {
        let (one, other) = tokio::join!(one.run_due_chores(), other.run_due_chores());
        one.unwrap() + other.unwrap()
    };
    assert_eq!(both().await, count);
    assert_eq!(both().await, 0, "nothing is due yet");
    for service in [&one, &other] {
        service.clock().advance(SignedDuration::from_hours(25));
    }
    assert_eq!(both().await, count);
    assert!(one.chores().await.unwrap().iter().all(|it| it.runs == 2));
    one.close().await;
    other.close().await;
}

async fn a_job_that_hangs_is_interrupted_and_goes_on_at_its_page(database: Database) {
    let sim = seeded(71, 2, 60, "", "").await;
    let names = ["acme/repo-1", "acme/repo-2"];
    let scene = Scene::with_source(database, &sim, &names).await;
    let service = service_that_holds(&scene.database).await;
    sim.set_faults("hang=1".parse().unwrap());
    let Requested::Started { sync, .. } = service.request(SOURCE, "commits", Trigger::Manual).await.unwrap()
    else {
        panic!("nothing stands in the way");
    };
    let work = Work::begin(&service);
    let asked = async || (sim.report().requests >= 2).then_some(());
    until("both jobs wait for an answer", SOON, asked).await;
    service.clock().advance(SignedDuration::from_mins(9));
    let did = service.run_chore("stuck").await.unwrap().last.unwrap().did;
    assert_eq!(did["interrupted"], 0, "ten minutes are not over");
    service.clock().advance(SignedDuration::from_mins(2));
    let did = service.run_chore("stuck").await.unwrap().last.unwrap().did;
    assert_eq!(did["interrupted"], 2);
    sim.set_faults("".parse().unwrap());
    let closed = async || {
        let row = service.sync(sync).await.unwrap();
        row.closed_at.map(|_| row)
    };
    let row = until("the sync closes", SOON, closed).await;
    assert_eq!((row.state.as_str(), row.errors_total), ("completed", 0));
    work.end().await;
    service.close().await;
    assert_truth(&scene.database, &sim, &names).await;
    let twice = "select count(*) from jobs where generation = 2 and stream = 'repositories'";
    assert_eq!(scene.database.number(twice).await, 2);
    assert_kept_rules(&sim);
}

async fn a_group_without_success_is_caught_up_within_bounds(database: Database) {
    let sim = seeded(72, 1, 20, "", "").await;
    let scene = Scene::with_source(database, &sim, &["acme/repo-1"]).await;
    scene.completes().await;
    let service = service_that_holds(&scene.database).await;
    service.prepare_schedules().await.unwrap();
    let caught_up = async || service.run_chore("catch_up").await.unwrap().last.unwrap().did["started"];
    let later = |hours| service.clock().advance(SignedDuration::from_hours(hours));
    later(23);
    assert_eq!(caught_up().await, 0, "a day is not over");
    later(2);
    // Both groups: commits had a success, merge requests or whatever else there is never had one.
    let started = caught_up().await;
    assert!(started >= 1);
    assert_eq!(caught_up().await, 0, "one is under way");
    let by = "select distinct trigger from syncs where state = 'running'";
    assert_eq!(scene.database.lines(by).await, ["maintenance"]);
    // The provider refuses the credential: the sync fails, and is not repeated for that.
    sim.set_faults("5xx=1".parse().unwrap());
    let cancel = async || {
        for sync in service.syncs(None, 10).await.unwrap() {
            service.cancel(sync.id).await.unwrap();
        }
    };
    cancel().await;
    later(2);
    assert_eq!(caught_up().await, 0, "it was tried a short while ago");
    later(23);
    assert_eq!(caught_up().await, started);
    cancel().await;
    // Of what is read once a week nobody expects a success every day; what is switched off is left alone.
    later(25);
    let source = service.source(SOURCE).await.unwrap().id;
    let groups: Vec<String> =
        service.schedules(Some(source)).await.unwrap().into_iter().map(|it| it.group).collect();
    for own in [Own::Every(SignedDuration::from_hours(24 * 7)), Own::Off] {
        for group in &groups {
            service.set_schedule(source, group, own).await.unwrap();
        }
        assert_eq!(caught_up().await, 0, "{own:?}");
    }
    for group in &groups {
        service.set_schedule(source, group, Own::Default).await.unwrap();
    }
    let switch = async |enabled| {
        let changes = SourceChanges { enabled: Some(enabled), ..SourceChanges::default() };
        service.update_source(SOURCE, changes).await.unwrap();
    };
    switch(false).await;
    assert_eq!(caught_up().await, 0, "the source is switched off");
    switch(true).await;
    assert_eq!(caught_up().await, started);
    service.close().await;
}

async fn what_is_old_is_removed_and_what_landed_stays(database: Database) {
    let sim = seeded(73, 1, 20, "", "").await;
    let scene = Scene::with_source(database, &sim, &["acme/repo-1"]).await;
    scene.completes().await;
    scene.completes().await;
    let service = service_that_holds(&scene.database).await;
    let did = service.run_chore("retention").await.unwrap().last.unwrap().did;
    assert_eq!((did["jobs"], did["syncs"], did["events"]), (0, 0, 0));
    let status = service.status(None).await.unwrap().remove(0);
    service.clock().advance(SignedDuration::from_hours(24 * 8));
    let did = service.run_chore("retention").await.unwrap().last.unwrap().did;
    assert!(did["jobs"] > 0 && did["events"] > 0 && did["syncs"] == 1, "{did:?}");
    let after = service.status(None).await.unwrap().remove(0);
    assert_eq!((after.last_synced_at, after.last_state), (status.last_synced_at, status.last_state));
    service.run_chore("statistics").await.unwrap();
    service.close().await;
    assert_truth(&scene.database, &sim, &["acme/repo-1"]).await;
    // Nothing is asked for again that is known.
    sim.reset_report();
    scene.completes().await;
    assert_eq!(sim.report().requests, sim.report().not_modified, "{:?}", sim.report());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_only_syncs_by_hand_is_tidied_up_too() {
    let sim = seeded(74, 1, 5, "", "").await;
    let scene = Scene::with_source(Database::sqlite(), &sim, &["acme/repo-1"]).await;
    for _ in 0..2 {
        scene.completes().await;
    }
    let old = "update jobs set finished_at = finished_at - 864000000; update syncs set closed_at = closed_at - 864000000";
    scene.database.execute(old).await;
    scene.completes().await;
    assert_eq!(scene.database.number("select count(*) from syncs").await, 1);
    assert_eq!(scene.run(&["chore", "list", "--json"]).await.json()["chores"][0]["name"], "rescue");
}
