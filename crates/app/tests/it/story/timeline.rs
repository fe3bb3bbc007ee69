//! Issues, pull requests and what happened to them stand in the database as they are at GitHub: after the first sync,
//! after every kind of change, and whatever became of them.
//!
//! What is expected must never come from anything but the simulator's own truth.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use sim::{Endpoint, Issue, Options, Sim, WorldSource};

use crate::support::{
    Database, SOURCE, Scene, Sender, Server, assert_kept_rules, landed_rows, on_both, started, until,
};

on_both!(
    issues_and_what_happened_to_them_stand_as_they_are,
    an_issue_that_is_edited_twice_in_one_second_is_current,
    what_is_asked_for_only_if_it_changed_misses_nothing,
    an_open_pull_request_is_read_again_though_its_time_stands_still,
    an_issue_that_went_away_is_noticed,
    what_is_delivered_of_issues_and_pull_requests_is_read,
);

const NAME: &str = "acme/repo-1";

async fn serve(repos: usize, issues: usize) -> Sim {
    let world = WorldSource::Seeded { seed: 71, repos, commits: 20 };
    started(Options { world, issues: Some(issues), ..Options::default() }, "", "").await
}

/// Sets the scene with a source whose repositories are known, and whose timelines may be read as often as the story wants.
async fn known(database: Database, sim: &Sim) -> Scene {
    let scene = Scene::with_source(database, sim, &[]).await;
    let scene = scene.set("SYNCLINE_MANUAL_COOLDOWN", "timeline=0s");
    scene.completes().await;
    sim.reset_report();
    scene
}

async fn timeline(scene: &Scene) -> Value {
    let arguments = ["sync", "start", "--source", SOURCE, "--group", "timeline", "--wait", "--json"];
    let ended = scene.run(&arguments).await;
    ended.expect_code(0);
    let sync = ended.json();
    assert_eq!(sync["state"], "completed", "{}", ended.told());
    sync
}

/// Returns every issue that is there, with its repository's number.
fn truth(sim: &Sim) -> Vec<(u64, Issue)> {
    let world = sim.world();
    let of = |name: String| {
        let id = world.repository_truth(&name).unwrap().id;
        let all = world.issues(&name).unwrap().into_iter();
        all.filter(|it| it.gone.is_none()).map(move |it| (id, it))
    };
    world.names().into_iter().flat_map(of).collect()
}

fn assert_same(what: &str, found: &[String], expected: &[String]) {
    let (found, expected): (BTreeSet<_>, BTreeSet<_>) = (found.iter().collect(), expected.iter().collect());
    let missing: Vec<_> = expected.difference(&found).take(3).collect();
    let odd: Vec<_> = found.difference(&expected).take(3).collect();
    assert!(missing.is_empty() && odd.is_empty(), "{what}: missing: {missing:#?}\nodd: {odd:#?}");
}

/// Fails unless issues, pull requests, events and reviews stand there as GitHub has them.
pub(super) async fn assert_timeline(scene: &Scene, sim: &Sim) {
    let truth = truth(sim);
    assert!(!truth.is_empty());
    let second = |column: &str| {
        if scene.database.is_sqlite() {
            format!("strftime('%s', {column})")
        } else {
            format!("cast(cast(extract(epoch from {column}) as bigint) as text)")
        }
    };
    let sql = format!(
        "select cast(repository_id as text) || ' ' || cast(number as text) || ' ' || cast(id as text) || ' ' || state
             || ' ' || title || ' ' || {} from github_issues",
        second("updated_at")
    );
    let state = |it: &Issue| if it.open { "open" } else { "closed" };
    let issue = |(id, it): &(u64, Issue)| {
        format!("{id} {} {} {} {} {}", it.number, it.id, state(it), it.title, it.updated_s)
    };
    let expected: Vec<String> = truth.iter().map(issue).collect();
    assert_same("issues", &scene.database.lines(&sql).await, &expected);

    let sql = format!(
        "select cast(repository_id as text) || ' ' || cast(number as text) || ' ' || state || ' ' || head_sha || ' '
             || coalesce(head_repository, 'none') || ' ' || coalesce({}, 'unmerged') from github_pull_requests",
        second("merged_at")
    );
    let pull = |(id, it): &(u64, Issue)| {
        let pull = it.pull.as_ref()?;
        let merged = pull.merged_s.map_or("unmerged".to_owned(), |it| it.to_string());
        let names = sim.world().names();
        let name = names.iter().find(|it| sim.world().repository_truth(it).unwrap().id == *id).unwrap();
        let fork = if pull.forkless { "none" } else { name };
        Some(format!("{id} {} {} {} {fork} {merged}", it.number, state(it), pull.sha))
    };
    let expected: Vec<String> = truth.iter().filter_map(pull).collect();
    assert_same("pull requests", &scene.database.lines(&sql).await, &expected);

    let mut expected = BTreeMap::<String, usize>::new();
    for (id, it) in &truth {
        for event in &it.events {
            *expected.entry(format!("{id} {} {}", it.number, event.event)).or_default() += 1;
        }
    }
    let expected: Vec<String> = expected.into_iter().map(|(what, count)| format!("{what} {count}")).collect();
    let sql = "select cast(repository_id as text) || ' ' || cast(number as text) || ' ' || event || ' '
            || cast(count(*) as text) from github_timeline_events group by repository_id, number, event";
    assert_same("events", &scene.database.lines(sql).await, &expected);

    let reviews = truth.iter().flat_map(|(id, it)| {
        let given = it.events.iter().filter(|it| it.event == "reviewed");
        given.map(move |event| {
            format!("{id} {} {} {}", it.number, event.id, event.more["state"].as_str().unwrap())
        })
    });
    let sql =
        "select cast(repository_id as text) || ' ' || cast(number as text) || ' ' || cast(id as text) || ' '
            || state from github_reviews";
    assert_same("reviews", &scene.database.lines(sql).await, &reviews.collect::<Vec<_>>());
}

fn asked(sim: &Sim, endpoint: Endpoint) -> u64 {
    sim.report().by_endpoint.get(&endpoint).copied().unwrap_or_default()
}

async fn issues_and_what_happened_to_them_stand_as_they_are(database: Database) {
    let sim = serve(2, 130).await;
    let (world, scene) = (sim.world(), known(database, &sim).await);
    timeline(&scene).await;
    assert_timeline(&scene, &sim).await;

    // Nothing is new: two requests for each repository, which cost nothing, and no row is written.
    let before = landed_rows(&scene.database).await;
    sim.reset_report();
    let sync = timeline(&scene).await;
    let report = sim.report();
    let told = (report.requests, report.not_modified, &sync["rowsWritten"]);
    assert_eq!(told, (4, 4, &0.into()), "{report:?}");
    before.assert_same(&landed_rows(&scene.database).await, "after a sync with nothing new");

    let pulls: Vec<u64> = world
        .issues(NAME)
        .unwrap()
        .iter()
        .filter(|it| it.pull.is_some() && it.open)
        .map(|it| it.number)
        .collect();
    let opened = world.open_issue(NAME, "PAY-7: it does not add up").unwrap();
    world.comment_issue(NAME, opened, "I can see it, too.").unwrap();
    world.close_issue(NAME, opened, true).unwrap();
    let pull = world.open_pull(NAME, "Mend it").unwrap();
    world.review_pull(NAME, pull, "changes_requested").unwrap();
    world.merge_pull(NAME, pulls[0]).unwrap();
    world.review_pull("acme/repo-2", world.open_pull("acme/repo-2", "Another").unwrap(), "approved").unwrap();
    // GitHub has kinds of events that nobody has heard of yet.
    world.happen_to_issue(NAME, 3, "hologram_projected").unwrap();
    timeline(&scene).await;
    assert_timeline(&scene, &sim).await;
    let raw = "select cast(raw as text) from github_timeline_events where event = 'hologram_projected'";
    let raw: Value = serde_json::from_str(&scene.database.lines(raw).await[0]).unwrap();
    assert_eq!(raw["detail"]["of"], "hologram_projected", "{raw}");
    let key =
        format!("select jira_key from github_issues where number = {opened} and is_pull_request = false");
    assert_eq!(scene.database.lines(&key).await, ["PAY-7"]);

    // More than a page of one timeline, and more than a page of issues in one second.
    let second_ms = 1_000 * (1 + world.issues(NAME).unwrap().iter().map(|it| it.updated_s).max().unwrap());
    sim.set_time(Some(second_ms));
    for nth in 0..230 {
        world.comment_issue(NAME, 5, &format!("and again {nth}")).unwrap();
    }
    for number in 1..=120 {
        world.edit_issue("acme/repo-2", number, None, Some(&["swept".to_owned()])).unwrap();
    }
    timeline(&scene).await;
    assert_timeline(&scene, &sim).await;
    assert_kept_rules(&sim);
}

async fn an_issue_that_is_edited_twice_in_one_second_is_current(database: Database) {
    let sim = serve(1, 5).await;
    let (world, second_ms) = (sim.world(), 1_790_000_000_000);
    sim.set_time(Some(second_ms));
    let scene = known(database, &sim).await;
    timeline(&scene).await;
    for title in ["the first time", "the second time"] {
        world.edit_issue(NAME, 2, Some(title), None).unwrap();
        timeline(&scene).await;
        assert_timeline(&scene, &sim).await;
    }
    // Nothing of the issue itself tells of this.
    world.happen_to_issue(NAME, 2, "subscribed").unwrap();
    sim.set_time(Some(second_ms + 120_000));
    timeline(&scene).await;
    assert_timeline(&scene, &sim).await;
    // What is old enough is read no more, and asked for only if it changed.
    sim.reset_report();
    timeline(&scene).await;
    assert_eq!(asked(&sim, Endpoint::Timeline), 0);
    let report = sim.report();
    assert_eq!((report.requests, report.not_modified), (2, 2), "{report:?}");
}

/// What may be read as unchanged must never hide what changed: at the same time, behind a full page, or late.
async fn what_is_asked_for_only_if_it_changed_misses_nothing(database: Database) {
    let sim = serve(1, 5).await;
    let (world, begins_ms) = (sim.world(), 1_790_000_000_000);
    sim.set_time(Some(begins_ms));
    let scene = known(database, &sim).await;
    let unchanged = async |expected: u64, why: &str| {
        sim.reset_report();
        timeline(&scene).await;
        assert_timeline(&scene, &sim).await;
        let report = sim.report();
        assert_eq!(report.not_modified, expected, "{why}: {report:?}");
    };
    unchanged(0, "the first time").await;
    unchanged(2, "nothing is new").await;
    // Of two changes in one second the second one is seen, and nothing is taken for settled while it is young.
    sim.set_time(Some(begins_ms + 300_000));
    for title in ["the first time", "the second time"] {
        world.edit_issue(NAME, 2, Some(title), None).unwrap();
        unchanged(1, title).await;
    }
    unchanged(1, "it is still young").await;
    sim.set_time(Some(begins_ms + 600_000));
    unchanged(1, "it is read once more, when nothing can be added to its second").await;
    unchanged(2, "nothing is new").await;
    // A hundred of one second fill a page exactly, and one more stands behind it, with the same time.
    sim.set_time(Some(begins_ms + 900_000));
    for nth in 0..99 {
        world.open_issue(NAME, &format!("of one second {nth}")).unwrap();
    }
    // With the one before it: the next sync begins a minute before the newest change.
    world.open_issue(NAME, "the hundredth").unwrap();
    timeline(&scene).await;
    sim.set_time(Some(begins_ms + 1_200_000));
    for _ in 0..2 {
        timeline(&scene).await;
    }
    unchanged(1, "a full page is asked for as it is, for what may stand behind it").await;
    sim.set_time(Some(begins_ms + 900_000));
    world.open_issue(NAME, "shown late, behind a full page").unwrap();
    sim.set_time(Some(begins_ms + 1_300_000));
    timeline(&scene).await;
    assert_timeline(&scene, &sim).await;
    // A pull request whose time stands still is another answer all the same.
    let pull = world.open_pull(NAME, "Mend it").unwrap();
    for at_ms in [begins_ms + 1_600_000, begins_ms + 1_900_000] {
        sim.set_time(Some(at_ms));
        timeline(&scene).await;
    }
    world.push_pull(NAME, pull).unwrap();
    timeline(&scene).await;
    assert_timeline(&scene, &sim).await;
    // What is to be read without validators is read so once.
    unchanged(2, "nothing is new").await;
    scene.database.execute("delete from validators where stream in ('issues', 'pull_requests')").await;
    unchanged(0, "nothing is known to compare with").await;
    assert_kept_rules(&sim);
}

async fn an_open_pull_request_is_read_again_though_its_time_stands_still(database: Database) {
    let sim = serve(1, 0).await;
    let (world, begins_ms) = (sim.world(), 1_790_000_000_000);
    sim.set_time(Some(begins_ms));
    let scene = known(database, &sim).await;
    // More than a page, so that the first is on another one than the newest.
    let pulls: Vec<u64> =
        (0..120).map(|nth| world.open_pull(NAME, &format!("topic {nth}")).unwrap()).collect();
    timeline(&scene).await;
    assert_timeline(&scene, &sim).await;
    sim.set_time(Some(begins_ms + 3_600_000));
    world.open_pull(NAME, "a newer one").unwrap();
    timeline(&scene).await;
    let pushed = world.push_pull(NAME, pulls[0]).unwrap();
    let head = format!("select head_sha from github_pull_requests where number = {}", pulls[0]);
    timeline(&scene).await;
    assert_ne!(scene.database.lines(&head).await, std::slice::from_ref(&pushed), "its time says nothing");
    // An hour goes by.
    let hour = "update checkpoints set ended_at = ended_at - 3600000 where lane = 'reread'";
    scene.database.execute(hour).await;
    timeline(&scene).await;
    assert_eq!(scene.database.lines(&head).await, [pushed]);
    assert_timeline(&scene, &sim).await;
    let rereads = "select count(*) from syncs where lane = 'reread' and state = 'completed'";
    assert_eq!(scene.database.number(rereads).await, 2, "the one that waited, and this one");
    assert_kept_rules(&sim);
}

async fn an_issue_that_went_away_is_noticed(database: Database) {
    let sim = serve(2, 12).await;
    let (world, scene) = (sim.world(), known(database, &sim).await);
    timeline(&scene).await;
    let plain: Vec<u64> =
        world.issues(NAME).unwrap().iter().filter(|it| it.pull.is_none()).map(|it| it.number).collect();
    let (deleted, moved, stays) = (plain[0], plain[1], plain[2]);
    for number in [deleted, moved, stays] {
        world.comment_issue(NAME, number, "look").unwrap();
    }
    timeline(&scene).await;
    // They changed, and went before that was read.
    scene.database.execute("update items set have = null where stream = 'timeline_events'").await;
    world.delete_issue(NAME, deleted).unwrap();
    let there = world.transfer_issue(NAME, moved, "acme/repo-2").unwrap();
    timeline(&scene).await;
    let (id, other) =
        (world.repository_truth(NAME).unwrap().id, world.repository_truth("acme/repo-2").unwrap().id);
    let absences = "select cast(repository_id as text) || ' ' || cast(number as text) || ' ' || how || ' '
            || coalesce(moved_to, 'nowhere') from github_issue_absences order by number";
    let to = format!("{}/repositories/{other}/issues/{there}", sim.github_url());
    let mut expected =
        vec![format!("{id} {deleted} deleted nowhere"), format!("{id} {moved} transferred {to}")];
    let mut found = scene.database.lines(absences).await;
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    let due = "select count(*) from items where stream = 'timeline_events' and have is distinct from wanted";
    assert_eq!(scene.database.number(due).await, 0, "what is gone is not asked for again and again");
    // In its new place it is an issue like any other.
    let landed =
        format!("select count(*) from github_issues where repository_id = {other} and number = {there}");
    assert_eq!(scene.database.number(&landed).await, 1);

    // A repository that is gone says nothing of its issues.
    scene.database.execute("update items set have = null where stream = 'timeline_events'").await;
    world.set_state(NAME, sim::State::Gone).unwrap();
    let arguments = ["sync", "start", "--source", SOURCE, "--group", "timeline", "--wait", "--json"];
    scene.run(&arguments).await.expect_code(3);
    assert_eq!(scene.database.lines(absences).await.len(), 2);
}

async fn what_is_delivered_of_issues_and_pull_requests_is_read(database: Database) {
    let sim = serve(2, 9).await;
    let scene = known(database, &sim).await;
    timeline(&scene).await;
    let made = scene.run(&["webhook", "secret", SOURCE, "--json"]).await.json();
    let secret = made["secret"].as_str().unwrap();
    let server = Server::start_with(&scene, &[("SYNCLINE_LOG", "info"), ("SYNC_ENABLED", "false")]).await;
    let sender = Sender::new(&server.url, 1);
    let world = sim.world();
    let id = world.repository_truth(NAME).unwrap().id;
    let body = format!(r#"{{"action":"edited","repository":{{"id":{id},"full_name":"{NAME}"}}}}"#);
    let issues = world.issues(NAME).unwrap();
    let pull = issues.iter().find(|it| it.pull.is_some()).unwrap().number;
    let issue = issues.iter().find(|it| it.pull.is_none()).unwrap().number;
    sim.reset_report();
    for (event, number) in [("issues", issue), ("pull_request_review", pull)] {
        world.edit_issue(NAME, number, Some("as it was delivered"), None).unwrap();
        let mut headers = sim::signed(secret, body.as_bytes());
        headers.extend(
            [("x-github-event", event), ("x-github-delivery", event)].map(|(a, b)| (a.into(), b.into())),
        );
        let delivery = sim::Delivery { headers, body: body.clone().into_bytes(), genuine: true };
        assert_eq!(sender.send(&delivery).await, Some(202), "{event}");
        let sql = "select (select count(*) from hints where state = 'waiting')
            + (select count(*) from jobs where state not in ('completed', 'discarded', 'cancelled'))";
        let ended = async || (scene.database.number(sql).await == 0).then_some(());
        until("it is followed", Duration::from_mins(1), ended).await;
        assert_timeline(&scene, &sim).await;
    }
    server.stop().await;
    // Of one repository, and nothing of the other.
    let whole = "select count(*) from syncs where trigger = 'webhook' and whole";
    assert_eq!(scene.database.number(whole).await, 0);
    assert_eq!(scene.database.number("select count(*) from syncs where trigger = 'webhook'").await, 2);
    let lists = asked(&sim, Endpoint::RepoIssues) + asked(&sim, Endpoint::Pulls);
    assert!(lists <= 3, "{lists} lists: {:?}", sim.report().by_endpoint);
    assert_kept_rules(&sim);
}

/// Issues come a hundred at a time, each page from the second on that the last one ended with: that one comes twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_issues_take_one_request_and_nothing_new_takes_two() {
    let sim = serve(1, 1_050).await;
    let scene = known(Database::sqlite(), &sim).await;
    timeline(&scene).await;
    assert_eq!(scene.database.number("select count(*) from github_issues").await, 1_050);
    let pulls = truth(&sim).iter().filter(|it| it.1.pull.is_some()).count();
    // One going forward, 1,049 by 99 at a time going back, and one that tells the newest number.
    assert_eq!(asked(&sim, Endpoint::RepoIssues), 1 + 11 + 1);
    assert_eq!(asked(&sim, Endpoint::Pulls), 1 + u64::try_from(pulls.div_ceil(100)).unwrap());
    // The timelines of the newest thousand, in their own time.
    assert_eq!(asked(&sim, Endpoint::Timeline), 1_000);
    sim.reset_report();
    timeline(&scene).await;
    let report = sim.report();
    assert_eq!((report.requests, report.not_modified), (2, 2), "{report:?}");
    assert_kept_rules(&sim);
}
