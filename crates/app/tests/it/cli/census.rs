//! The census: what is deleted, moved or out of sight at a provider is told apart, and what is marked follows from a
//! complete listing only.
//!
//! Nothing here may be found out by a forward sync: it sees what changed, and not what is gone.

use std::time::Duration;

use domain::census::{Absence, CensusState};
use domain::id::EventId;
use engine::{CensusRow, SyncService};
use jiff::SignedDuration;
use serde_json::{Value, json};
use sim::{JiraOptions, Options, Sim, SiteSize, State};

use crate::support::{
    Database, Host, Kind, SOURCE, Scene, Server, Work, assert_kept_rules, busiest, on_both, seeded, service,
    service_that_holds, started, until, work,
};

mod github;

on_both!(
    what_was_deleted_is_noticed_and_can_be_brought_back,
    much_that_is_gone_waits_for_a_person,
    a_listing_that_fails_marks_nothing,
    an_issue_that_went_elsewhere_is_told_apart,
    every_part_is_counted_in_its_time,
    nobody_is_counted_whose_access_ended,
);

/// A test that is not where it should be by then hangs.
const SOON: Duration = Duration::from_mins(1);

const NAME: &str = "acme/repo-1";

fn gitlab() -> Host {
    Host::all().into_iter().find(|it| it.provider() == "gitlab").unwrap()
}

/// A project with merge requests, all of them read.
async fn with_merge_requests(database: Database, seed: u64, more: usize) -> (Sim, Scene) {
    let sim = seeded(seed, 1, 60, "", "").await;
    let world = sim.world();
    for nth in 0..more {
        let branch = format!("topic-{nth}");
        world.create_branch(NAME, &branch, "main").unwrap();
        world.open_merge_request(NAME, &branch, "main", &format!("topic {nth}")).unwrap();
    }
    let scene = Scene::at_host(gitlab(), database, &sim, &[NAME]).await;
    scene.completes().await;
    let arguments = ["sync", "start", "--source", SOURCE, "--group", "timeline", "--wait", "--json"];
    scene.run(&arguments).await.expect_code(0);
    (sim, scene)
}

/// Has a stream counted, and returns what came of it.
async fn counted(service: &SyncService, stream: &str) -> CensusRow {
    let source = service.source(SOURCE).await.unwrap().id;
    assert_eq!(service.start_census(source, Some(stream)).await.unwrap(), 1, "one part is counted");
    ended(service).await
}

async fn ended(service: &SyncService) -> CensusRow {
    let at_work = Work::begin(service);
    let over = async || {
        let rows = service.censuses(None, None, 10).await.unwrap();
        let running = service.syncs(None, 20).await.unwrap().iter().any(|it| it.state.as_str() == "running");
        (!running && rows.iter().all(|it| it.state != CensusState::Counting)).then(|| rows[0].clone())
    };
    let row = until("the census ends", SOON, over).await;
    at_work.end().await;
    row
}

/// Returns the numbers of the merge requests that are there for people.
async fn there(scene: &Scene) -> Vec<u64> {
    let sql = "select cast(iid as text) from gitlab_merge_requests where deleted_at is null";
    let mut numbers: Vec<u64> =
        scene.database.lines(sql).await.iter().map(|it| it.parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

fn at_gitlab(sim: &Sim) -> Vec<u64> {
    sim.world().merge_requests(NAME).unwrap().iter().map(|it| it.iid).collect()
}

/// Returns the last event of a census, once it says this; events of other databases' time may hold one back for a moment.
async fn told(service: &SyncService, state: &str) -> Value {
    let told = async || {
        let events = service.events_after(EventId(0), 1000).await.unwrap();
        let last = events.into_iter().rfind(|it| it.name.starts_with("census."));
        last.map(|it| it.fields).filter(|it| it["state"] == state)
    };
    until("the census is told of", SOON, told).await
}

async fn what_was_deleted_is_noticed_and_can_be_brought_back(database: Database) {
    let (sim, scene) = with_merge_requests(database, 101, 130).await;
    let all = at_gitlab(&sim);
    assert_eq!(there(&scene).await, all);
    let service = service(&scene.database, 4).await;
    let none = counted(&service, "merge_requests").await;
    assert_eq!((none.state, none.listed, none.absent), (CensusState::Clear, none.known, Some(0)));

    let gone = [all[0], all[70], all[all.len() - 1]];
    let ids: Vec<String> = {
        let listed = sim.world().merge_requests(NAME).unwrap();
        listed.iter().filter(|it| gone.contains(&it.iid)).map(|it| it.id.to_string()).collect()
    };
    for iid in gone {
        sim.world().delete_merge_request(NAME, iid).unwrap();
    }
    let found = counted(&service, "merge_requests").await;
    assert_eq!((found.state, found.marked), (CensusState::Applied, 3), "{found:?}");
    assert_eq!(found.absences, [3, 0, 0, 0]);
    assert_eq!(there(&scene).await, at_gitlab(&sim));
    let event = told(&service, "applied").await;
    assert_eq!((&event["deleted"], &event["gone"]), (&json!(3), &json!(ids)), "{event:#}");

    // Somebody wants them back, and they stay although they are still gone, until somebody says otherwise.
    let undone = scene.run(&["census", "undo", &found.id.to_string()]).await;
    undone.expect_code(0).expect_words("3 rows brought back");
    assert_eq!(there(&scene).await, all);
    let again = counted(&service, "merge_requests").await;
    assert_eq!((again.state, again.absent), (CensusState::Clear, Some(3)), "{again:?}");
    assert_eq!(there(&scene).await, all);
    let approved = scene.run(&["census", "approve", &again.id.to_string(), "--json"]).await;
    approved.expect_code(0);
    assert_eq!(approved.json()["records"], 3, "{}", approved.told());
    assert_eq!(there(&scene).await, at_gitlab(&sim));
    let last = told(&service, "approved").await;
    assert_eq!(last["records"], 3, "{last:#}");
    service.close().await;
    assert_kept_rules(&sim);
}

async fn much_that_is_gone_waits_for_a_person(database: Database) {
    let (sim, scene) = with_merge_requests(database, 102, 30).await;
    let all = at_gitlab(&sim);
    let service = service(&scene.database, 4).await;
    // An empty list says nothing: each is there when it is looked up.
    sim.world().set_state(NAME, State::Empty).unwrap();
    let empty = counted(&service, "merge_requests").await;
    assert_eq!((empty.state, empty.listed, empty.marked), (CensusState::Clear, Some(0), 0), "{empty:?}");
    assert_eq!(empty.absences, [0, 0, 0, all.len() as u64]);
    assert_eq!(there(&scene).await, all);
    sim.world().set_state(NAME, State::Ok).unwrap();
    for iid in all.iter().rev().take(6) {
        sim.world().delete_merge_request(NAME, *iid).unwrap();
    }
    let asks = counted(&service, "merge_requests").await;
    assert_eq!((asks.state, asks.marked, asks.absences[0]), (CensusState::Asks, 0, 6), "{asks:?}");
    assert_eq!(there(&scene).await, all, "nobody was asked yet");
    scene
        .run(&["census", "show"])
        .await
        .expect_code(0)
        .expect_words("so much is gone: `syncline census approve");

    let scene = scene.set("SYNC_ENABLED", "false");
    let server = Server::start(&scene).await;
    let admin = server.admin();
    let path = format!("/api/v1/censuses/{}", asks.id);
    let shown = admin.get(&path).await.expect(200);
    assert_eq!(shown["absences"].as_array().unwrap().len(), 6, "{shown:#}");
    assert_eq!(shown["absences"][0]["absence"], "deleted", "{shown:#}");
    admin.post(&format!("{path}/undo"), &json!({})).await.expect_problem(409, "conflict");
    let approved = admin.post(&format!("{path}/approve"), &json!({})).await.expect(200);
    assert_eq!((&approved["records"], &approved["census"]["state"]), (&json!(6), &json!("approved")));
    let newest = format!("/api/v1/censuses?source={}&limit=1", shown["census"]["source"]);
    let listed = admin.get(&newest).await.expect(200);
    assert_eq!(listed["censuses"][0]["marked"], 6, "{listed:#}");
    let undone = admin.post(&format!("{path}/undo"), &json!({})).await.expect(200);
    assert_eq!(undone["records"], 6, "{undone:#}");
    let again = admin.post(&format!("{path}/approve"), &json!({})).await.expect(200);
    assert_eq!(again["records"], 6, "{again:#}");
    server.stop().await;
    let rows = service.censuses(None, None, 10).await.unwrap();
    assert_eq!((rows[0].state, rows[0].marked), (CensusState::Approved, 6));
    service.close().await;
}

async fn a_listing_that_fails_marks_nothing(database: Database) {
    let (sim, scene) = with_merge_requests(database, 103, 330).await;
    let all = at_gitlab(&sim);
    sim.world().delete_merge_request(NAME, all[0]).unwrap();
    let service = service(&scene.database, 4).await;
    let source = service.source(SOURCE).await.unwrap().id;

    // The credential loses the project when the listing is half-way through.
    sim.set_faults("slow=1".parse().unwrap());
    service.start_census(source, None).await.unwrap();
    let at_work = Work::begin(&service);
    let half = async || {
        let seen = scene.database.number("select count(*) from census_seen").await;
        (seen > 0).then_some(())
    };
    until("some ids are listed", SOON, half).await;
    sim.world().set_state(NAME, State::Denied).unwrap();
    at_work.end().await;
    let failed = ended(&service).await;
    assert_eq!((failed.state, failed.marked), (CensusState::Failed, 0), "{failed:?}");
    assert_eq!(failed.error.unwrap().0, "denied");
    assert_eq!(failed.listed, None, "half a listing is none");
    assert_eq!(there(&scene).await, all);

    // From the beginning.
    sim.set_faults("".parse().unwrap());
    let denied = counted(&service, "merge_requests").await;
    assert_eq!(denied.state, CensusState::Failed);
    assert_eq!(there(&scene).await, all);
    let last = told(&service, "failed").await;
    assert_eq!(last["gone"], json!([]), "{last:#}");
    // With the permission back the same census tells what is gone, and nothing more.
    sim.world().set_state(NAME, State::Ok).unwrap();
    let found = counted(&service, "merge_requests").await;
    assert_eq!((found.state, found.marked), (CensusState::Applied, 1), "{found:?}");
    assert_eq!(there(&scene).await, at_gitlab(&sim));
    assert_eq!(scene.database.number("select count(*) from census_seen").await, 0);
    service.close().await;
}

async fn an_issue_that_went_elsewhere_is_told_apart(database: Database) {
    let jira = JiraOptions { size: SiteSize { projects: 2, issues: 60 }, ..JiraOptions::default() };
    let sim = started(Options { jira, ..Options::default() }, "", "").await;
    let scene = Scene::with_jira(database, Kind::Cloud, &sim, &[]).await;
    let truth = sim.world().site().truth();
    let (sprint, moved) = busiest(&truth);
    let alone = |id: &&u64| **id != moved && truth.issues[id].subtasks.is_empty();
    let mut others = truth.sprints[&sprint].issues.iter().filter(alone);
    let (deleted, hidden) = (*others.next().unwrap(), *others.next().unwrap());
    // One is of another project, which the credential will lose.
    let key = |id: u64| sim.world().site().truth().issues[&id].key.clone();
    let own = key(moved).rsplit_once('-').unwrap().0.to_owned();
    let projects: Vec<String> =
        truth.issues.values().filter_map(|it| Some(it.key.rsplit_once('-')?.0.to_owned())).collect();
    let other = projects.iter().find(|it| **it != own).expect("the site has several projects").clone();
    work(&sim, json!({ "change_project": { "issue": hidden.to_string(), "project": other } }));
    scene.run(&["sync", "start", "--source", SOURCE, "--wait", "--json"]).await.expect_code(0);
    let cards =
        format!("select cast(id as text) from jira_cards where sprint_id = {sprint} and deleted_at is null");
    let before = scene.database.lines(&cards).await;

    work(&sim, json!({ "move": { "issue": moved.to_string(), "sprint": null, "quiet": true } }));
    work(&sim, json!({ "delete": { "issue": deleted.to_string() } }));
    work(&sim, json!({ "project_access": { "project": other, "access": "denied" } }));
    let service = service(&scene.database, 4).await;
    let source = service.source(SOURCE).await.unwrap().id;
    assert!(service.start_census(source, Some("issues")).await.unwrap() > 0);
    ended(&service).await;
    let rows = service.censuses(None, None, 100).await.unwrap();
    let row = rows.iter().find(|it| it.partition == sprint.to_string()).unwrap();
    let (row, absences) = service.census(row.id).await.unwrap();
    assert_eq!((row.state, row.marked), (CensusState::Applied, 2), "{row:?}");
    let of = |id: u64| absences.iter().find(|it| it.key == id.to_string()).unwrap();
    assert_eq!(of(deleted).absence, Some(Absence::Deleted));
    assert_eq!((of(moved).absence, of(moved).moved_to.clone()), (Some(Absence::Moved), Some(key(moved))));
    assert_eq!(of(hidden).absence, Some(Absence::AccessLost));
    let after = scene.database.lines(&cards).await;
    let left: Vec<_> = before.iter().filter(|it| !after.contains(it)).cloned().collect();
    let mut expected = vec![deleted.to_string(), moved.to_string()];
    expected.sort();
    let mut left = left;
    left.sort();
    assert_eq!(left, expected, "what only cannot be seen stays");
    let shown = scene.run(&["census", "show", &row.id.to_string()]).await;
    shown.expect_code(0).expect_words("no access").expect_words(&key(moved));
    service.close().await;

    // Where no server runs, the next sync that is waited for counts too.
    let newest = row.id;
    scene.run(&["census", "start", "--source", SOURCE, "--stream", "issues"]).await.expect_code(0);
    scene.run(&["sync", "start", "--source", SOURCE, "--wait"]).await;
    let shown = scene.run(&["census", "show", "--json"]).await.json();
    let rows = shown["censuses"].as_array().unwrap();
    assert!(rows[0]["id"].as_i64().unwrap() > newest, "{shown:#}");
    assert!(rows.iter().all(|it| it["state"] != "counting"), "{shown:#}");
}

async fn every_part_is_counted_in_its_time(database: Database) {
    let (_sim, scene) = with_merge_requests(database, 105, 3).await;
    let service = service_that_holds(&scene.database).await;
    let begun = async || service.run_chore("census").await.unwrap().last.unwrap().did["begun"];
    assert_eq!(begun().await, 1);
    assert_eq!(begun().await, 0, "it is being counted");
    ended(&service).await;
    service.clock().advance(SignedDuration::from_hours(167));
    assert_eq!(begun().await, 0, "a week is not over");
    service.clock().advance(SignedDuration::from_hours(2));
    assert_eq!(begun().await, 1);
    assert_eq!(ended(&service).await.state, CensusState::Clear);
    service.close().await;
}

async fn nobody_is_counted_whose_access_ended(database: Database) {
    let (sim, scene) = with_merge_requests(database, 106, 3).await;
    scene.run(&["source", "disable", SOURCE]).await.expect_code(0);
    let start = ["census", "start", "--source", SOURCE];
    let off = scene.run(&start).await;
    off.expect_code(4);
    assert!(off.stderr.contains("is switched off"), "{}", off.told());
    scene.run(&["source", "enable", SOURCE]).await.expect_code(0);
    scene.run(&["tenant", "revoke", "default", "--yes"]).await.expect_code(0);
    let refused = scene.run(&start).await;
    refused.expect_code(4);
    assert!(refused.stderr.contains("a tenant that is revoked"), "{}", refused.told());
    let service = service_that_holds(&scene.database).await;
    sim.reset_report();
    assert_eq!(service.run_chore("census").await.unwrap().last.unwrap().did["begun"], 0);
    assert_eq!(service.censuses(None, None, 10).await.unwrap(), []);
    service.close().await;
    assert_eq!(sim.report().requests, 0, "nothing is asked with its credential");
}
