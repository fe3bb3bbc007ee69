//! The process is killed at every commit point, once and again; what is there in the end is what an undisturbed run
//! leaves, and next to nothing is asked twice.
//!
//! A loop here must never skip a commit point: it goes on until a run survives.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use sim::{JiraOptions, Options, Sim, SiteSize, WorldSource};

use super::timeline::assert_timeline;
use crate::support::{
    Database, Host, Kind, Rows, SOURCE, Scene, Server, assert_kept_rules, assert_site, assert_truth, on_both,
    seeded, snapshot, started, until,
};

/// No run of these worlds commits as often; a loop that gets here would never end.
const COMMITS_MAX: u64 = 400;

on_both!(
    killed_at_every_commit_of_a_first_sync,
    killed_at_every_commit_by_several_workers,
    killed_at_every_commit_after_a_force_push,
    killed_at_every_commit_of_a_long_listing_without_news,
    killed_at_every_commit_of_a_long_listing_that_changed,
    killed_at_every_commit_of_a_board,
    killed_at_every_commit_of_a_timeline,
    killed_twice_in_a_row,
    #[ignore = "long: a kill at every commit of a larger world"]
    killed_at_every_commit_of_a_larger_world,
    #[ignore = "long: a kill at every commit of a first sync of hundreds of branches"]
    killed_at_every_commit_of_a_first_long_listing,
);

async fn killed_at_every_commit_of_a_first_sync(database: Database) {
    for host in Host::all() {
        killed_at_every_commit_of_a_first_sync_at(host, database.another().await).await;
    }
}

async fn killed_at_every_commit_of_a_first_sync_at(host: Host, database: Database) {
    // Five pages in a row, so that one read anew from its beginning would be seen.
    let sim = seeded(7, 1, 430, "nolast=acme/repo-1", "").await;
    // Places remember when a pass began, by the provider's clock.
    sim.set_time(Some(SITE_TIME_MS));
    let begun = Scene::at_host(host, database, &sim, &["acme/repo-1"]).await;
    let story = Story::new(begun.set("SYNCLINE_WORKERS", 1), &sim).await;
    story.killed_everywhere(&[None]).await.asked_little_twice(&story);
}

async fn killed_at_every_commit_by_several_workers(database: Database) {
    let sim = seeded(8, 2, 40, "", "").await;
    sim.set_time(Some(SITE_TIME_MS));
    let begun = Scene::with_source(database, &sim, &["acme/repo-1", "acme/repo-2"]).await;
    let story = Story::new(begun.set("SYNCLINE_WORKERS", 4), &sim).await;
    story.killed_everywhere(&[None]).await;
}

async fn killed_at_every_commit_after_a_force_push(database: Database) {
    for host in Host::all() {
        killed_at_every_commit_after_a_force_push_at(host, database.another().await).await;
    }
}

async fn killed_at_every_commit_after_a_force_push_at(host: Host, database: Database) {
    let sim = seeded(9, 1, 120, "", "").await;
    let begun = Scene::at_host(host, database, &sim, &["acme/repo-1"]).await.set("SYNCLINE_WORKERS", 1);
    begun.completes().await;
    let (world, name) = (sim.world(), "acme/repo-1");
    let truth = world.repository_truth(name).unwrap();
    let side: Vec<&String> = truth.branches.keys().filter(|it| *it != "main" && *it != "staging").collect();
    world.force_push(name, side[0]).unwrap();
    world.delete_branch(name, side[1]).unwrap();
    world.push_old(name, side[2], 3, 400).unwrap();
    world.create_branch(name, "a-new-one", side[2]).unwrap();
    world.push(name, "a-new-one", 2).unwrap();
    world.merge(name, side[2], "main").unwrap();
    world.force_push(name, "staging").unwrap();
    let story = Story::new(begun, &sim).await;
    story.killed_everywhere(&[None]).await.asked_little_twice(&story);
}

async fn killed_at_every_commit_of_a_long_listing_without_news(database: Database) {
    for host in Host::all() {
        killed_at_every_commit_of_a_long_listing_without_news_at(host, database.another().await).await;
    }
}

async fn killed_at_every_commit_of_a_long_listing_without_news_at(host: Host, database: Database) {
    let sim = seeded(12, 1, 20, "", "").await;
    let story = Story::new(long_listing(host, database, &sim).await, &sim).await;
    assert_eq!(story.requests, 4);
    story.killed_everywhere(&[None]).await.asked_little_twice(&story);
}

async fn killed_at_every_commit_of_a_long_listing_that_changed(database: Database) {
    let sim = seeded(12, 1, 20, "", "").await;
    let begun = long_listing(Host::first(), database, &sim).await;
    // On the third page, so that the listing is read anew from its beginning.
    sim.world().push("acme/repo-1", "b-250", 1).unwrap();
    let story = Story::new(begun, &sim).await;
    story.killed_everywhere(&[None]).await.asked_little_twice(&story);
}

async fn killed_at_every_commit_of_a_first_long_listing(database: Database) {
    // Each run reads everything again: together they would spend an hour's budget.
    let sim = seeded(12, 1, 20, "", "primary=0").await;
    let story = Story::new(many_branches(Host::first(), database, &sim).await, &sim).await;
    story.killed_everywhere(&[None]).await.asked_little_twice(&story);
}

/// Syncs a repository of many branches for the first time.
async fn long_listing(host: Host, database: Database, sim: &Sim) -> Scene {
    let begun = many_branches(host, database, sim).await;
    begun.completes().await;
    begun
}

/// Adds a repository whose branches fill three pages and a part of the fourth.
async fn many_branches(host: Host, database: Database, sim: &Sim) -> Scene {
    let (world, name) = (sim.world(), "acme/repo-1");
    for nth in world.repository_truth(name).unwrap().branches.len()..330 {
        world.create_branch(name, &format!("b-{nth:03}"), "main").unwrap();
    }
    Scene::at_host(host, database, sim, &[name]).await.set("SYNCLINE_WORKERS", 1)
}

async fn killed_at_every_commit_of_a_board(database: Database) {
    let jira = JiraOptions { size: SiteSize { projects: 1, issues: 30 }, ..JiraOptions::default() };
    let sim = started(Options { jira, ..Options::default() }, "", "").await;
    // Places remember when a pass began, by the site's clock.
    sim.set_time(Some(SITE_TIME_MS));
    let begun = Scene::with_jira(database, Kind::Cloud, &sim, &[]).await.set("SYNCLINE_WORKERS", 1);
    let story = Story::new(begun, &sim).await;
    story.killed_everywhere(&[None]).await.asked_little_twice(&story);
}

async fn killed_at_every_commit_of_a_timeline(database: Database) {
    let world = WorldSource::Seeded { seed: 13, repos: 1, commits: 10 };
    let sim = started(Options { world, issues: Some(9), ..Options::default() }, "", "").await;
    // What is young is read twice, so time stands still.
    sim.set_time(Some(SITE_TIME_MS));
    let begun = Scene::with_source(database, &sim, &["acme/repo-1"]).await.set("SYNCLINE_WORKERS", 1);
    begun.completes().await;
    // Both lanes have something to read, and one timeline takes more pages than one answer may have.
    let (world, name) = (sim.world(), "acme/repo-1");
    sim.set_time(Some(SITE_TIME_MS + 1_000));
    for nth in 0..130 {
        world.comment_issue(name, 2, &format!("and again {nth}")).unwrap();
    }
    let pull = world.open_pull(name, "Mend it").unwrap();
    world.review_pull(name, pull, "approved").unwrap();
    sim.set_time(Some(SITE_TIME_MS + 120_000));
    let begun = begun.of_group("timeline").set("SYNCLINE_MANUAL_COOLDOWN", "timeline=0s");
    let story = Story::new(begun, &sim).await;
    story.killed_in_turn().await.asked_little_twice(&story);
}

async fn killed_twice_in_a_row(database: Database) {
    let is_sqlite = database.is_sqlite();
    let sim = seeded(10, 1, 110, "", "").await;
    sim.set_time(Some(SITE_TIME_MS));
    let begun = Scene::with_source(database, &sim, &["acme/repo-1"]).await.set("SYNCLINE_WORKERS", 1);
    let story = Story::new(begun, &sim).await;
    let again: &[_] = if is_sqlite { &[Some("3"), Some("5:before")] } else { &[Some("4")] };
    story.killed_everywhere(again).await;
}

async fn killed_at_every_commit_of_a_larger_world(database: Database) {
    // Hundreds of runs with one credential would spend an hour's budget.
    let sim = seeded(11, 3, 700, "nolast=acme/repo-2,opaque=acme/repo-3", "primary=0").await;
    sim.set_time(Some(SITE_TIME_MS));
    let begun = Scene::with_source(database, &sim, &[]).await.set("SYNCLINE_WORKERS", 1);
    let story = Story::new(begun, &sim).await;
    story.killed_everywhere(&[None]).await.asked_little_twice(&story);
}

/// The first of January 2025, after everything that the made-up site holds.
const SITE_TIME_MS: i64 = 1_735_718_400_000;

/// A sync that is about to be begun, and how it ends when nothing happens to it.
struct Story<'a> {
    sim: &'a Sim,
    /// Its content is put back before each run.
    scene: Scene,
    undisturbed: Rows,
    /// What an undisturbed run asks.
    requests: u64,
    /// What the jobs of an undisturbed run count, beside what they had counted before.
    counted: i64,
}

/// One run that was killed: what its pages had counted until then, and what was asked until all was done.
struct Killed {
    when: String,
    counted: i64,
    requests: u64,
}

struct Kills(Vec<Killed>);

const COUNTED: &str = "select coalesce(sum(requests), 0) from jobs";

impl<'a> Story<'a> {
    async fn new(scene: Scene, sim: &'a Sim) -> Self {
        scene.database.keep().await;
        let before = scene.database.number(COUNTED).await;
        sim.reset_report();
        scene.completes().await;
        let requests = sim.report().requests;
        assert_kept_rules(sim);
        assert_everything(&scene, sim).await;
        let counted = scene.database.number(COUNTED).await;
        assert_eq!(counted - before, i64::try_from(requests).unwrap(), "each request is counted once");
        Self { sim, undisturbed: snapshot(&scene.database).await, scene, requests, counted }
    }

    /// Kills a run at every commit point, then as often as `again` says, and lets the last one finish.
    async fn killed_everywhere(&self, again: &[Option<&str>]) -> Kills {
        self.killed_wherever(again, |nth| vec![format!("{nth}:before"), nth.to_string()]).await
    }

    /// The same in half of the time: before and behind every commit in turn.
    async fn killed_in_turn(&self) -> Kills {
        let in_turn =
            |nth: u64| if nth.is_multiple_of(2) { nth.to_string() } else { format!("{nth}:before") };
        self.killed_wherever(&[None], |nth| vec![in_turn(nth)]).await
    }

    async fn killed_wherever(&self, again: &[Option<&str>], points: impl Fn(u64) -> Vec<String>) -> Kills {
        let mut kills = Vec::new();
        for nth in 1.. {
            assert!(nth < COMMITS_MAX, "no run survives");
            let (points, mut survived) = (points(nth), 0);
            for point in &points {
                for second in again {
                    match self.killed_at(point, *second).await {
                        Some(killed) => kills.push(killed),
                        None => survived += 1,
                    }
                }
            }
            if survived == points.len() * again.len() {
                // The request, a claim and the pages of a listing, at least.
                assert!(nth > 6, "only {nth} commit points");
                return Kills(kills);
            }
        }
        unreachable!("the loop above returns or fails")
    }

    /// Kills one run at a commit point; `None` when it survived.
    async fn killed_at(&self, point: &str, second: Option<&str>) -> Option<Killed> {
        let scene = &self.scene;
        scene.database.restore().await;
        self.sim.reset_report();
        let first = scene.sync_with(&[("SYNCLINE_KILL_AT", point)]).await;
        let mut when = format!("killed at {point}");
        scene.database.left_alone().await;
        let mut counted = scene.database.number(COUNTED).await;
        if !first.was_killed() {
            first.expect_code(0);
        } else if let Some(second) = second
            && !is_finished(scene, self).await
        {
            when = format!("{when}, then at {second}");
            let ended = scene.sync_with(&[("SYNCLINE_KILL_AT", second)]).await;
            assert!(ended.was_killed() || ended.code == Some(0), "{when}: {}", ended.told());
            scene.database.left_alone().await;
            counted = scene.database.number(COUNTED).await;
        }
        if !is_finished(scene, self).await {
            go_on(scene).await;
        }
        let requests = self.sim.report().requests;
        self.undisturbed.assert_same(&snapshot(&scene.database).await, &when);
        assert_everything(scene, self.sim).await;
        assert_kept_rules(self.sim);
        first.was_killed().then_some(Killed { when, counted, requests })
    }
}

/// Says whether the killed run had come to its end, so that another start would be another sync.
async fn is_finished(scene: &Scene, story: &Story<'_>) -> bool {
    let rows = story.undisturbed.0["syncs"].len();
    let closed = scene.database.number("select count(*) from syncs where state = 'completed'").await;
    usize::try_from(closed).unwrap() == rows
}

/// Brings a killed run to its end. Where its forward lane has ended, others may be left: they go on wherever there is a
/// process, and another start would be another sync.
async fn go_on(scene: &Scene) {
    let lanes = "select count(*) from syncs where lane <> 'forward' and state <> 'completed'";
    if scene.database.number(lanes).await == 0 {
        scene.completes().await;
        return;
    }
    let server = Server::start_with(scene, &[("SYNC_ENABLED", "false")]).await;
    let ended = async || {
        let open = "select count(*) from syncs where state = 'running'";
        (scene.database.number(open).await == 0).then_some(())
    };
    until("all lanes ended", Duration::from_mins(1), ended).await;
    server.stop().await;
}

async fn assert_everything(scene: &Scene, sim: &Sim) {
    let names = sim.world().names();
    if scene.database.number("select count(*) from sources where provider = 'jira'").await == 1 {
        let now = Timestamp::from_millisecond(SITE_TIME_MS).unwrap();
        assert_site(&scene.database, SOURCE, Kind::Cloud, sim, now).await;
    } else {
        if scene.database.number("select count(*) from github_issues").await > 0 {
            assert_timeline(scene, sim).await;
        }
        assert_truth(&scene.database, sim, &names.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
    let active =
        "select count(*) from jobs where state in ('available', 'scheduled', 'retryable', 'running')";
    assert_eq!(scene.database.number(active).await, 0, "a job was left behind");
}

impl Kills {
    /// Fails where more was asked twice than the page in flight and the one ahead.
    fn asked_little_twice(&self, story: &Story<'_>) {
        // With one worker each page ends at one of these counts: the kills went through all of them.
        let mut ends: BTreeSet<i64> = self.0.iter().map(|it| it.counted).collect();
        ends.insert(story.counted);
        let repeated: u64 = self.0.iter().map(|it| it.requests.saturating_sub(story.requests)).sum();
        assert!(repeated > 0, "no kill hit a page under way, so that nothing was shown");
        for Killed { when, counted, requests } in &self.0 {
            let two_pages_on = ends.range(counted + 1..).take(2).last().copied().unwrap_or(*counted);
            let allowed = story.requests + u64::try_from(two_pages_on - counted).unwrap();
            assert!(
                *requests <= allowed,
                "{when}: {requests} requests, {} undisturbed, {allowed} with two pages asked twice",
                story.requests
            );
        }
    }
}
