//! The census at GitHub: issues and pull requests that were deleted, transferred, hidden, or can no longer be seen.

use domain::census::{Absence, CensusState};
use engine::SyncService;
use sim::{Endpoint, Options, Sim, State, WorldSource};

use super::{NAME, SOON, counted, ended};
use crate::support::{
    Database, SOURCE, Scene, Work, assert_kept_rules, landed_rows, on_both, service, started, until,
};

on_both!(
    issues_that_went_away_are_told_apart,
    a_census_that_loses_the_repository_marks_nothing,
    many_issues_that_are_gone_wait_for_a_person,
);

/// A repository with issues, all of them read.
async fn with_issues(database: Database, seed: u64, issues: usize) -> (Sim, Scene) {
    let world = WorldSource::Seeded { seed, repos: 2, commits: 20 };
    let sim = started(Options { world, issues: Some(issues), ..Options::default() }, "", "").await;
    let scene = Scene::with_source(database, &sim, &[NAME]).await;
    scene.completes().await;
    let arguments = ["sync", "start", "--source", SOURCE, "--group", "timeline", "--wait", "--json"];
    scene.run(&arguments).await.expect_code(0);
    (sim, scene)
}

/// Returns the numbers that are there for people.
async fn there(scene: &Scene, table: &str) -> Vec<u64> {
    let sql = format!("select cast(number as text) from {table} where deleted_at is null");
    let mut numbers: Vec<u64> =
        scene.database.lines(&sql).await.iter().map(|it| it.parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

fn at_github(sim: &Sim, is_pull: bool) -> Vec<u64> {
    let all = sim.world().issues(NAME).unwrap().into_iter();
    all.filter(|it| it.gone.is_none() && (!is_pull || it.pull.is_some())).map(|it| it.number).collect()
}

/// Fails unless exactly what is at GitHub is there.
async fn assert_there(scene: &Scene, sim: &Sim) {
    assert_eq!(there(scene, "github_issues").await, at_github(sim, false), "issues");
    assert_eq!(there(scene, "github_pull_requests").await, at_github(sim, true), "pull requests");
}

async fn issues_that_went_away_are_told_apart(database: Database) {
    let (sim, scene) = with_issues(database, 111, 230).await;
    assert_there(&scene, &sim).await;
    let service = service(&scene.database, 4).await;
    // Where nothing is gone, nothing is looked up, and no row is touched.
    let rows = landed_rows(&scene.database).await;
    sim.reset_report();
    let none = counted(&service, "issues").await;
    assert_eq!((none.state, none.listed, none.absent), (CensusState::Clear, Some(230), Some(0)), "{none:?}");
    rows.assert_same(&landed_rows(&scene.database).await, "after a census of what is there");
    let report = sim.report();
    assert_eq!(report.requests, 3, "230 by 99 at a time: {report:?}");

    let world = sim.world();
    let all = world.issues(NAME).unwrap();
    let plain: Vec<u64> = all.iter().filter(|it| it.pull.is_none()).map(|it| it.number).collect();
    let pulls: Vec<u64> = all.iter().filter(|it| it.pull.is_some()).map(|it| it.number).collect();
    let (deleted, moved, hidden) = (plain[0], plain[plain.len() / 2], pulls[1]);
    world.delete_issue(NAME, deleted).unwrap();
    let there_now = world.transfer_issue(NAME, moved, "acme/repo-2").unwrap();
    world.hide_issue(NAME, hidden).unwrap();
    // It changes its place in the list, and is listed all the same.
    world.comment_issue(NAME, plain[5], "look").unwrap();
    let found = counted(&service, "issues").await;
    assert_eq!(
        (found.state, found.marked, found.absences),
        (CensusState::Applied, 3, [2, 1, 0, 0]),
        "{found:?}"
    );
    let (_, absences) = service.census(found.id).await.unwrap();
    let of = |number: u64| absences.iter().find(|it| it.key == number.to_string()).unwrap();
    assert_eq!((of(deleted).absence, of(hidden).absence), (Some(Absence::Deleted), Some(Absence::Deleted)));
    let other = world.repository_truth("acme/repo-2").unwrap().id;
    let to = format!("{}/repositories/{other}/issues/{there_now}", sim.github_url());
    assert_eq!((of(moved).absence, of(moved).moved_to.clone()), (Some(Absence::Moved), Some(to)));
    assert_eq!(there(&scene, "github_issues").await, at_github(&sim, false));
    let pulled = counted(&service, "pull_requests").await;
    assert_eq!(
        (pulled.state, pulled.marked, pulled.absences),
        (CensusState::Applied, 1, [1, 0, 0, 0]),
        "{pulled:?}"
    );
    assert_there(&scene, &sim).await;
    service.close().await;
    assert_kept_rules(&sim);
}

/// Has the issues listed, and stops when as much is in the database as `sql` counts.
async fn listed_until(scene: &Scene, service: &SyncService, sql: &str) {
    let source = service.source(SOURCE).await.unwrap().id;
    assert_eq!(service.start_census(source, Some("issues")).await.unwrap(), 1);
    let at_work = Work::begin(service);
    let so_far = async || (scene.database.number(sql).await > 0).then_some(());
    until("so much is listed", SOON, so_far).await;
    at_work.end().await;
}

async fn a_census_that_loses_the_repository_marks_nothing(database: Database) {
    let (sim, scene) = with_issues(database, 112, 330).await;
    let before = there(&scene, "github_issues").await;
    let world = sim.world();
    let gone = world.issues(NAME).unwrap().iter().find(|it| it.pull.is_none()).unwrap().number;
    world.delete_issue(NAME, gone).unwrap();
    let service = service(&scene.database, 4).await;
    for (state, code) in [(State::Denied, "denied"), (State::Gone, "gone"), (State::Legal, "gone")] {
        sim.set_faults("slow=1".parse().unwrap());
        listed_until(&scene, &service, "select count(*) from census_seen").await;
        let listed = "select count(*) from censuses where state = 'counting' and listed_at is null";
        assert_eq!(scene.database.number(listed).await, 1, "it is half-way through");
        sim.set_faults("".parse().unwrap());
        world.set_state(NAME, state).unwrap();
        let failed = ended(&service).await;
        assert_eq!(
            (failed.state, failed.marked, failed.listed),
            (CensusState::Failed, 0, None),
            "{failed:?}"
        );
        assert_eq!(failed.error.unwrap().0, code);
        assert_eq!(there(&scene, "github_issues").await, before, "half a listing is none");
        world.set_state(NAME, State::Ok).unwrap();
    }
    let found = counted(&service, "issues").await;
    assert_eq!(
        (found.state, found.marked, found.absences),
        (CensusState::Applied, 1, [1, 0, 0, 0]),
        "{found:?}"
    );
    assert_there(&scene, &sim).await;
    assert_eq!(scene.database.number("select count(*) from census_seen").await, 0);
    service.close().await;
}

async fn many_issues_that_are_gone_wait_for_a_person(database: Database) {
    let (sim, scene) = with_issues(database, 113, 60).await;
    let before = there(&scene, "github_issues").await;
    let plain: Vec<u64> =
        sim.world().issues(NAME).unwrap().iter().filter(|it| it.pull.is_none()).map(|it| it.number).collect();
    for number in &plain[..6] {
        sim.world().delete_issue(NAME, *number).unwrap();
    }
    let service = service(&scene.database, 4).await;
    sim.reset_report();
    let asks = counted(&service, "issues").await;
    assert_eq!((asks.state, asks.marked, asks.absences[0]), (CensusState::Asks, 0, 6), "{asks:?}");
    assert_eq!(there(&scene, "github_issues").await, before, "nobody was asked yet");
    // A page, six that are looked up, and the list that shows that they may be seen.
    assert_eq!(sim.report().by_endpoint.get(&Endpoint::RepoIssues), Some(&8), "{:?}", sim.report());
    let approved = scene.run(&["census", "approve", &asks.id.to_string()]).await;
    approved.expect_code(0);
    assert_there(&scene, &sim).await;
    service.close().await;
}
