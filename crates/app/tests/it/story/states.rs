//! Repositories that are not as usual: renamed, empty, gone, blocked, denied, vanished from a listing; and lists whose
//! links only the provider understands.
//!
//! What one repository is must never change what another one's rows are.

use std::time::Duration;

use sim::{Options, State, WorldSource};

use crate::support::{
    Database, Host, SOURCE, Scene, assert_kept_rules, assert_truth, on_both, seeded, started,
};

on_both!(
    each_state_is_told_and_the_others_go_on,
    all_visible_repositories_are_followed,
    a_hundred_visible_repositories_fill_a_page,
    what_comes_back_is_read_to_its_end,
);

async fn each_state_is_told_and_the_others_go_on(database: Database) {
    let states = "empty=acme/repo-2,gone=acme/repo-3,legal=acme/repo-4,denied=acme/repo-5,\
                  renamed=acme/repo-6>acme/moved";
    let sim = seeded(41, 6, 70, states, "").await;
    let names: Vec<String> = (1..=6).map(|nth| format!("acme/repo-{nth}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let scene = Scene::with_source(database, &sim, &names).await;
    let ended = scene.sync().await;
    ended.expect_code(3);
    let sync = ended.json();
    let mut errors: Vec<String> = sync["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| format!("{} {}", it["partition"].as_str().unwrap(), it["code"].as_str().unwrap()))
        .collect();
    errors.sort();
    assert_eq!(errors, ["acme/repo-3 gone", "acme/repo-4 gone", "acme/repo-5 denied"], "{sync:#}");
    assert!(sim.report().by_status[&301] > 0);
    assert_truth(&scene.database, &sim, &["acme/repo-1", "acme/moved"]).await;
    let listed = "select full_name from github_repositories order by full_name";
    assert_eq!(scene.database.lines(listed).await, ["acme/moved", "acme/repo-1", "acme/repo-2"]);
    let empty = sim.world().repository_truth("acme/repo-2").unwrap().id;
    for table in ["branches", "commits"] {
        let rows = format!("select count(*) from {table} where repository_id = {empty}");
        assert_eq!(scene.database.number(&rows).await, 0, "an empty repository has {table}");
    }

    // All is well again, and one more is renamed while it is known.
    for name in &names[1..5] {
        sim.world().set_state(name, State::Ok).unwrap();
    }
    sim.world().rename("acme/repo-1", "acme/elsewhere").unwrap();
    sim.world().push("acme/elsewhere", "main", 3).unwrap();
    scene.completes().await;
    let now = ["acme/elsewhere", "acme/repo-2", "acme/repo-3", "acme/repo-4", "acme/repo-5", "acme/moved"];
    assert_truth(&scene.database, &sim, &now).await;
    assert_eq!(scene.database.number("select count(*) from github_repositories").await, 6);
    assert_kept_rules(&sim);
}

async fn what_comes_back_is_read_to_its_end(database: Database) {
    for host in Host::all() {
        what_comes_back_is_read_to_its_end_at(host, database.another().await).await;
    }
}

/// A repository whose branches were listed and whose commits were not all read leaves the listing, or the settings, and
/// comes back: its branches are as they were, and all that follows from them has to be read all the same.
async fn what_comes_back_is_read_to_its_end_at(host: Host, database: Database) {
    let sim = seeded(46, 2, 900, "", "").await;
    let world = sim.world();
    let names = ["acme/repo-1", "acme/repo-2"];
    let scene = Scene::at_host(host, database, &sim, &[]).await.set("SYNCLINE_WORKERS", 1);
    // Killed once and again, until branches stand there and commits are due.
    let due = "select count(*) from items where have is null";
    let mut nth = 4;
    while scene.database.number(due).await == 0 {
        assert!(scene.sync_with(&[("SYNCLINE_KILL_AT", &nth.to_string())]).await.was_killed(), "{nth}");
        scene.database.left_alone().await;
        nth += 1;
    }
    for name in names {
        world.set_state(name, State::Gone).unwrap();
    }
    scene.sync().await;
    scene.sync().await;
    for name in names {
        world.set_state(name, State::Ok).unwrap();
    }
    scene.sync().await;
    scene.completes().await;
    assert_truth(&scene.database, &sim, &names).await;

    // The same by the settings: one is named alone, and then both again.
    let update = async |repos: &[&str]| {
        let (url, flag) = (host.url(&sim), host.flag());
        let mut arguments =
            vec!["source", "add", host.provider(), "--name", SOURCE, "--update", "--base-url", &url];
        arguments.extend(repos.iter().flat_map(|it| [flag.as_str(), it]));
        scene.run(&arguments).await.expect_code(0);
    };
    update(&names[1..]).await;
    scene.completes().await;
    world.push(names[0], "main", 3).unwrap();
    update(&names).await;
    scene.completes().await;
    assert_truth(&scene.database, &sim, &names).await;
    let stopped = "select stream || ' ' || key from partitions where not active and stream = 'commits'";
    assert_eq!(scene.database.lines(stopped).await, [""; 0]);
    assert_kept_rules(&sim);
}

async fn a_hundred_visible_repositories_fill_a_page(database: Database) {
    let sim = seeded(44, 100, 1, "", "").await;
    let scene = Scene::with_source(database, &sim, &[]).await;
    scene.completes().await;
    sim.reset_report();
    scene.completes().await;
    // The list, the page behind it, and the branches of each.
    let report = sim.report();
    assert_eq!((report.requests, report.not_modified), (102, 102), "{report:?}");
}

async fn all_visible_repositories_are_followed(database: Database) {
    let sim = seeded(42, 4, 50, "", "").await;
    let names: Vec<String> = sim.world().names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let scene = Scene::with_source(database, &sim, &[]).await;
    scene.completes().await;
    assert_truth(&scene.database, &sim, &names).await;

    // One vanishes: its rows stay, and it is not asked for any more. The sync that finds that out may have asked for
    // its branches just before, and says so then.
    sim.world().set_state(names[2], State::Gone).unwrap();
    sim.world().push(names[0], "main", 2).unwrap();
    let ended = scene.sync().await;
    if ended.code != Some(0) {
        ended.expect_code(3);
        let sync = ended.json();
        assert_eq!(
            (&sync["errorsTotal"], &sync["errors"][0]["title"]),
            (&1.into(), &names[2].into()),
            "{sync:#}"
        );
        assert_eq!(sync["errors"][0]["code"], "gone", "{sync:#}");
    }
    assert_truth(&scene.database, &sim, &[names[0], names[1], names[3]]).await;
    let gone = "select full_name from github_repositories where deleted_at is not null";
    assert_eq!(scene.database.lines(gone).await, [names[2]]);
    let id = sim.world().repository_truth(names[2]).unwrap().id;
    let kept = format!("select count(*) from commits where repository_id = {id}");
    assert_eq!(scene.database.number(&kept).await, 50);
    sim.reset_report();
    scene.completes().await;
    let report = sim.report();
    // The listing of repositories, and one of branches for each that is there.
    assert_eq!((report.requests, report.not_modified), (4, 4), "{report:?}");

    // It is back, and moved on while it was away.
    sim.world().set_state(names[2], State::Ok).unwrap();
    sim.world().push(names[2], "main", 3).unwrap();
    scene.completes().await;
    assert_truth(&scene.database, &sim, &names).await;
    assert!(scene.database.lines(gone).await.is_empty(), "it is still taken for deleted");
    assert_kept_rules(&sim);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_are_followed_as_given() {
    let sim = seeded(43, 3, 650, "opaque=acme/repo-1,nolast=acme/repo-2", "").await;
    let names = ["acme/repo-1", "acme/repo-2", "acme/repo-3"];
    let scene = Scene::with_source(Database::sqlite(), &sim, &names).await;
    scene.completes().await;
    assert_truth(&scene.database, &sim, &names).await;
    for name in names {
        sim.world().push(name, "main", 230).unwrap();
    }
    scene.completes().await;
    assert_truth(&scene.database, &sim, &names).await;
    assert_kept_rules(&sim);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repositories_are_read_side_by_side() {
    let world = WorldSource::Seeded { seed: 44, repos: 6, commits: 60 };
    let latency = Duration::from_millis(150);
    let sim = started(Options { world, latency, ..Options::default() }, "", "").await;
    let names: Vec<String> = sim.world().names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let scene = Scene::with_source(Database::sqlite(), &sim, &names).await.set("SYNCLINE_WORKERS", 6);
    scene.completes().await;
    assert_truth(&scene.database, &sim, &names).await;
    assert!(sim.report().in_flight_max >= 6, "{:?}", sim.report());
    assert_kept_rules(&sim);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_number_of_requests_at_once_is_kept_and_enough() {
    let world = WorldSource::Seeded { seed: 45, repos: 3, commits: 900 };
    let latency = Duration::from_millis(5);
    let sim = started(Options { world, latency, ..Options::default() }, "", "").await;
    let names: Vec<String> = sim.world().names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for in_flight in [1, 8, 12] {
        sim.reset_report();
        let scene = Scene::with_source(Database::sqlite(), &sim, &names).await;
        let scene = scene.set("SYNCLINE_REQUESTS_IN_FLIGHT", in_flight);
        scene.completes().await;
        assert_truth(&scene.database, &sim, &names).await;
        let most = sim.report().in_flight_max;
        assert!(most <= in_flight, "{most} at once, of {in_flight}");
        assert_kept_rules(&sim);
    }
}
