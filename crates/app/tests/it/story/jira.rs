//! Jira from end to end: what landed is what the site holds, only what changed is read again, and limits are kept.
//!
//! Both kinds of Jira are read by the same stories; what only one of them does has a story of its own.

use serde_json::json;
use sim::{Endpoint, JiraOptions, Options, Sim, SiteSize};

use crate::support::{
    Database, Kind, SOURCE, Scene, TOKEN, assert_kept_rules, assert_site, busiest, epoch_ms, on_both,
    started, work,
};

on_both!(
    a_first_sync_is_the_truth_and_a_second_reads_no_card,
    data_center_is_read_as_truly,
    only_what_people_changed_is_read_again,
    a_large_sprint_is_asked_for_its_changes_when_clocks_go_back,
    a_sprint_that_is_closed_is_read_once_more,
    search_lags_and_nothing_is_missed,
    the_account_moves_to_another_zone,
    two_sites_with_the_same_numbers_stay_apart,
    a_burst_is_waited_for,
    a_quota_puts_the_sync_away,
    a_bucket_of_data_center_is_kept,
    faults_on_the_way_lose_nothing,
);

async fn site(projects: usize, issues: usize, faults: &str, limits: &str) -> Sim {
    let jira = JiraOptions { size: SiteSize { projects, issues }, ..JiraOptions::default() };
    started(Options { jira, ..Options::default() }, faults, limits).await
}

fn now() -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(epoch_ms()).unwrap()
}

/// Asked of issues and their histories: what a card costs.
fn cards_asked(sim: &Sim) -> u64 {
    let report = sim.report();
    [Endpoint::Issues, Endpoint::Changelog].iter().filter_map(|it| report.by_endpoint.get(it)).sum()
}

async fn is_true(scene: &Scene, kind: Kind, sim: &Sim) {
    assert_site(&scene.database, SOURCE, kind, sim, now()).await;
    assert_kept_rules(sim);
}

async fn a_first_sync_is_the_truth_and_a_second_reads_no_card(database: Database) {
    let sim = site(4, 160, "", "").await;
    let scene = Scene::with_jira(database, Kind::Cloud, &sim, &[]).await;
    scene.completes().await;
    is_true(&scene, Kind::Cloud, &sim).await;
    assert!(
        sim.report().by_endpoint.contains_key(&Endpoint::Changelog),
        "no history was cut inside its issue"
    );
    reads_no_card_again(&scene, Kind::Cloud, &sim).await;
}

async fn data_center_is_read_as_truly(database: Database) {
    let sim = site(4, 160, "", "").await;
    let scene = Scene::with_jira(database, Kind::DataCenter, &sim, &[]).await;
    scene.completes().await;
    is_true(&scene, Kind::DataCenter, &sim).await;
    assert!(!sim.report().by_endpoint.contains_key(&Endpoint::Changelog), "it has no such endpoint");
    reads_no_card_again(&scene, Kind::DataCenter, &sim).await;
}

async fn reads_no_card_again(scene: &Scene, kind: Kind, sim: &Sim) {
    sim.reset_report();
    let again = scene.completes().await;
    assert_eq!((cards_asked(sim), again["rowsWritten"].as_i64()), (0, Some(0)), "{again:#}");
    is_true(scene, kind, sim).await;
}

async fn only_what_people_changed_is_read_again(database: Database) {
    let sim = site(2, 60, "", "").await;
    let scene = Scene::with_jira(database, Kind::Cloud, &sim, &["--project", "PAY", "OPS"]).await;
    scene.completes().await;
    let truth = sim.world().site().truth();
    let (sprint, issue) = busiest(&truth);
    let named = issue.to_string();
    // Each with how many issues are read because of it.
    for (change, read) in [
        (json!({ "edit": { "issue": named, "summary": "Another title", "status": "done" } }), 1),
        (json!({ "move": { "issue": named, "sprint": null, "quiet": true } }), 0),
        (json!({ "move": { "issue": named, "sprint": sprint } }), 1),
        (
            json!({ "create": { "project": "PAY", "kind": "bug", "summary": "New here", "sprint": sprint } }),
            1,
        ),
        (json!({ "change_project": { "issue": named, "project": "OPS" } }), 1),
        (json!({ "delete": { "issue": named } }), 0),
    ] {
        work(&sim, change.clone());
        sim.reset_report();
        scene.completes().await;
        let asked = sim.report().by_endpoint.get(&Endpoint::Issues).copied().unwrap_or_default();
        assert_eq!(asked, read, "{change}");
        is_true(&scene, Kind::Cloud, &sim).await;
    }
    let left = format!("select count(*) from jira_cards where id = {issue} and deleted_at is not null");
    assert!(scene.database.number(&left).await >= 1, "what is gone keeps its row");
}

/// More cards than are listed whole each time, read in the hour that Berlin has twice: nothing is missed, and only the
/// changes are listed.
async fn a_large_sprint_is_asked_for_its_changes_when_clocks_go_back(database: Database) {
    let jira = JiraOptions {
        size: SiteSize { projects: 1, issues: 20 },
        time_zone: "Europe/Berlin".to_owned(),
        ..JiraOptions::default()
    };
    let sim = started(Options { jira, ..Options::default() }, "", "").await;
    let (sprint, _) = busiest(&sim.world().site().truth());
    // The clocks go back from three to two at one o'clock UTC.
    let fold_ms = "2026-10-25T01:00:00Z".parse::<jiff::Timestamp>().unwrap().as_millisecond();
    let at = |minutes: i64| sim.set_time(Some(fold_ms + minutes * 60_000));
    at(-70);
    let mut issues = Vec::new();
    for nth in 0..120 {
        let summary = format!("Card {nth}");
        let card = json!({ "project": "PAY", "kind": "task", "summary": summary, "sprint": sprint });
        issues.push(work(&sim, json!({ "create": card })).to_string());
    }
    at(-60);
    let scene = Scene::with_jira(database, Kind::Cloud, &sim, &[]).await;
    scene.completes().await;
    for (minutes, nth) in [(-31, 3), (-1, 50), (0, 7), (1, 99), (29, 3)] {
        at(minutes);
        work(&sim, json!({ "edit": { "issue": issues[nth], "summary": format!("Changed at {minutes}") } }));
        sim.reset_report();
        scene.completes().await;
        let asked = sim.report().by_endpoint.get(&Endpoint::Issues).copied();
        assert_eq!(asked, Some(1), "at {minutes} minutes");
        let summary = format!("select summary from jira_cards where id = {}", issues[nth]);
        assert_eq!(scene.database.lines(&summary).await, [format!("Changed at {minutes}")]);
    }
    let points = sim.report().jira_points;
    assert!(points < 120, "{points} points: the whole sprint was listed");
    // What left is seen when the whole is listed again: by the first sync after the hour is found to be over.
    work(&sim, json!({ "move": { "issue": issues[0], "sprint": null, "quiet": true } }));
    for minutes in [65, 70] {
        at(minutes);
        scene.completes().await;
    }
    let now = jiff::Timestamp::from_millisecond(fold_ms + 70 * 60_000).unwrap();
    assert_site(&scene.database, SOURCE, Kind::Cloud, &sim, now).await;
}

async fn a_sprint_that_is_closed_is_read_once_more(database: Database) {
    let sim = site(1, 60, "", "").await;
    let scene = Scene::with_jira(database, Kind::DataCenter, &sim, &[]).await;
    scene.completes().await;
    let (sprint, issue) = busiest(&sim.world().site().truth());
    work(&sim, json!({ "edit": { "issue": issue.to_string(), "summary": "Changed just before the end" } }));
    work(&sim, json!({ "close_sprint": { "sprint": sprint } }));
    let next = work(&sim, json!({ "create_sprint": { "board": 1, "name": "The next" } }));
    work(&sim, json!({ "start_sprint": { "sprint": next } }));
    work(&sim, json!({ "move": { "issue": issue.to_string(), "sprint": next } }));
    scene.completes().await;
    is_true(&scene, Kind::DataCenter, &sim).await;
    let closed = format!("select summary from jira_cards where id = {issue} and sprint_id = {sprint}");
    assert_eq!(scene.database.lines(&closed).await, ["Changed just before the end"]);
    // A sprint that is deleted cannot be told from one that is hidden: it is said once, and its cards stay.
    work(&sim, json!({ "delete_sprint": { "sprint": next } }));
    scene.sync().await.expect_code(3).expect_words("\"code\":\"gone\"");
    scene.completes().await;
    let there = format!("select count(*) from sprints where id = {next} and deleted_at is null");
    assert_eq!(scene.database.number(&there).await, 0);
}

async fn search_lags_and_nothing_is_missed(database: Database) {
    let sim = site(1, 60, "", "").await;
    let scene = Scene::with_jira(database, Kind::Cloud, &sim, &[]).await;
    scene.completes().await;
    // A search of now shows what was a minute and a half ago; the details show what is.
    work(&sim, json!({ "lag_ms": 90_000 }));
    let (_, issue) = busiest(&sim.world().site().truth());
    work(&sim, json!({ "edit": { "issue": issue.to_string(), "summary": "Not known to searches yet" } }));
    scene.completes().await;
    work(&sim, json!({ "lag_ms": 0 }));
    scene.completes().await;
    is_true(&scene, Kind::Cloud, &sim).await;
}

async fn the_account_moves_to_another_zone(database: Database) {
    let sim = site(1, 60, "", "").await;
    let scene = Scene::with_jira(database, Kind::Cloud, &sim, &[]).await;
    scene.completes().await;
    let zone = async || scene.database.lines("select facts from learned").await.remove(0);
    assert!(zone().await.contains("Asia/Shanghai"));
    work(&sim, json!({ "time_zone": "America/St_Johns" }));
    sim.reset_report();
    scene.completes().await;
    assert!(zone().await.contains("America/St_Johns"));
    assert_eq!(cards_asked(&sim), 0, "another zone is no change of a card");
    is_true(&scene, Kind::Cloud, &sim).await;
}

async fn two_sites_with_the_same_numbers_stay_apart(database: Database) {
    let (ours, theirs) = (site(2, 40, "", "").await, site(2, 40, "", "").await);
    let (_, issue) = busiest(&theirs.world().site().truth());
    work(&theirs, json!({ "edit": { "issue": issue.to_string(), "summary": "Of the other site" } }));
    let scene = Scene::with_jira(database, Kind::Cloud, &ours, &[]).await;
    scene.add_jira("other", Kind::DataCenter, &theirs, &[]).await;
    scene.run(&["sync", "start", "--wait", "--group", "jira"]).await.expect_code(0);
    assert_site(&scene.database, SOURCE, Kind::Cloud, &ours, now()).await;
    assert_site(&scene.database, "other", Kind::DataCenter, &theirs, now()).await;
    assert_ne!(ours.world().site().truth(), theirs.world().site().truth());
}

async fn a_burst_is_waited_for(database: Database) {
    let sim = site(2, 80, "", "jira_burst=6").await;
    let scene = Scene::with_jira(database, Kind::Cloud, &sim, &[]).await.set("SYNCLINE_WORKERS", 4);
    scene.completes().await;
    assert!(sim.report().limits_met.jira_burst > 0, "{:?}", sim.report().limits_met);
    is_true(&scene, Kind::Cloud, &sim).await;
}

/// A token by itself spends points; when none are left, everything of the account waits for the full hour.
async fn a_quota_puts_the_sync_away(database: Database) {
    let sim = site(2, 80, "", "jira_quota=60").await;
    let scene = Scene::new(database).set("SYNCLINE_WORKERS", 2);
    let url = sim.jira_cloud_url();
    let add = ["source", "add", "jira", "--name", SOURCE, "--base-url", &url, "--token-env", TOKEN.0];
    scene.run(&add).await.expect_code(0);
    let ended = scene.sync().await;
    ended.expect_code(3);
    let report = sim.report();
    assert!(report.limits_met.jira_quota > 0 || report.jira_points >= 55, "{report:?}");
    assert_kept_rules(&sim);
    let until = "select max(not_before) from jobs where state = 'scheduled'";
    let wait_ms = scene.database.number(until).await - epoch_ms();
    assert!(wait_ms > 0 && wait_ms <= 3_600_000, "until the full hour: {wait_ms} ms");
    // Another start asks nothing more.
    sim.reset_report();
    scene.sync().await;
    assert_eq!(sim.report().limits_met.jira_quota, 0);
    assert_kept_rules(&sim);
}

async fn a_bucket_of_data_center_is_kept(database: Database) {
    let sim = site(1, 60, "", "dc_bucket=20,dc_fill=10,dc_interval=1").await;
    let scene = Scene::with_jira(database, Kind::DataCenter, &sim, &[]).await.set("SYNCLINE_WORKERS", 4);
    scene.completes().await;
    is_true(&scene, Kind::DataCenter, &sim).await;
}

async fn faults_on_the_way_lose_nothing(database: Database) {
    let sim = site(2, 60, "seed=5,5xx=0.08,cut=0.08,secondary=0.02", "").await;
    let scene = Scene::with_jira(database, Kind::Cloud, &sim, &[]).await;
    // What failed again and again is given up for one sync, and read by the next.
    let mut syncs = 1;
    while scene.sync().await.code != Some(0) {
        syncs += 1;
        assert!(syncs < 20, "faults as rare as these end");
    }
    assert!(!sim.report().faults_served.is_empty());
    is_true(&scene, Kind::Cloud, &sim).await;
}
