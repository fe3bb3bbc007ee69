//! GitLab where it is not like other hosts: projects that are moved, archived, emptied or made private, thousands of
//! branches, and merge requests.
//!
//! What every host of git repositories has to hold is told elsewhere, of all of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sim::{Sim, State};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::{
    Database, Host, SOURCE, Scene, TOKEN, assert_kept_rules, assert_truth, on_both, seeded,
};

on_both!(
    a_project_is_followed_whatever_becomes_of_it,
    merge_requests_stand_as_they_are_at_gitlab,
    notes_stand_as_they_are_at_gitlab,
    two_hosts_answer_one_query,
);

fn gitlab() -> Host {
    Host::all().into_iter().find(|it| it.provider() == "gitlab").unwrap()
}

async fn a_project_is_followed_whatever_becomes_of_it(database: Database) {
    let sim = seeded(51, 5, 60, "empty=acme/repo-2,denied=acme/repo-3,legal=acme/repo-4", "").await;
    let world = sim.world();
    let names: Vec<String> = world.names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let scene = Scene::at_host(gitlab(), database, &sim, &names).await;
    let ended = scene.sync().await;
    ended.expect_code(3);
    let sync = ended.json();
    let errors = sync["errors"].as_array().unwrap().iter();
    let told = |it: &serde_json::Value| {
        format!("{} {}", it["partition"].as_str().unwrap(), it["code"].as_str().unwrap())
    };
    let mut errors: Vec<String> = errors.map(told).collect();
    errors.sort();
    assert_eq!(errors, ["acme/repo-3 denied", "acme/repo-4 denied"], "{sync:#}");
    assert_truth(&scene.database, &sim, &["acme/repo-1", "acme/repo-5"]).await;
    let empty = "select path_with_namespace from gitlab_projects where empty_repo = true";
    assert_eq!(scene.database.lines(empty).await, ["acme/repo-2"]);

    // One is moved and archived while it is known, one gets its first commits, one is made private, and all else is well.
    for name in &names[1..4] {
        world.set_state(name, State::Ok).unwrap();
    }
    world.rename("acme/repo-1", "other/place").unwrap();
    world.push("other/place", "main", 3).unwrap();
    world.archive("other/place", true).unwrap();
    scene.completes().await;
    let all = ["other/place", "acme/repo-2", "acme/repo-3", "acme/repo-4", "acme/repo-5"];
    assert_truth(&scene.database, &sim, &all).await;

    // One is emptied, and filled again.
    world.set_state("acme/repo-4", State::Empty).unwrap();
    scene.completes().await;
    let id = world.repository_truth("acme/repo-4").unwrap().id;
    let left = format!("select count(*) from branches where repository_id = {id} and deleted_at is null");
    assert_eq!(scene.database.number(&left).await, 0, "an emptied project has branches");
    world.set_state("acme/repo-4", State::Ok).unwrap();
    scene.completes().await;
    assert_truth(&scene.database, &sim, &all).await;

    world.set_state("acme/repo-5", State::Gone).unwrap();
    let ended = scene.sync().await;
    ended.expect_code(3);
    assert_eq!(ended.json()["errors"][0]["code"], "gone", "{}", ended.told());
    world.set_state("acme/repo-5", State::Ok).unwrap();
    assert_truth(&scene.database, &sim, &all).await;
    assert_kept_rules(&sim);
}

/// A listing that is longer than GitLab counts: no totals, no last page.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twelve_thousand_branches_are_followed() {
    let sim = seeded(52, 1, 30, "", "gitlab=0").await;
    let (world, name) = (sim.world(), "acme/repo-1");
    for nth in world.repository_truth(name).unwrap().branches.len()..12_000 {
        world.create_branch(name, &format!("b/{nth:05}"), "main").unwrap();
    }
    let scene = Scene::at_host(gitlab(), Database::sqlite(), &sim, &[name]).await;
    scene.completes().await;
    assert_eq!(heads(&scene).await, true_heads(&sim, name));
    sim.reset_report();
    let sync = scene.completes().await;
    let report = sim.report();
    assert_eq!((report.requests, report.not_modified), (121, 121), "{report:?}");
    assert_eq!(sync["rowsWritten"], 0, "{sync:#}");

    world.push(name, "b/11999", 2).unwrap();
    world.delete_branch(name, "b/00500").unwrap();
    scene.completes().await;
    assert_eq!(heads(&scene).await, true_heads(&sim, name));
    assert_kept_rules(&sim);
}

async fn heads(scene: &Scene) -> BTreeSet<String> {
    let heads = "select name || ' ' || head_sha from branches where deleted_at is null";
    scene.database.lines(heads).await.into_iter().collect()
}

fn true_heads(sim: &Sim, name: &str) -> BTreeSet<String> {
    let truth = sim.world().repository_truth(name).unwrap();
    truth.branches.iter().map(|(name, it)| format!("{name} {}", it.head)).collect()
}

async fn merge_requests_stand_as_they_are_at_gitlab(database: Database) {
    let sim = seeded(53, 2, 900, "", "").await;
    let (world, name) = (sim.world(), "acme/repo-1");
    let scene = Scene::at_host(gitlab(), database, &sim, &[]).await;
    let scene = scene.set("SYNCLINE_MANUAL_COOLDOWN", "timeline=0s");
    scene.completes().await;
    let requests = sim.world().merge_requests(name).unwrap().len()
        + sim.world().merge_requests("acme/repo-2").unwrap().len();
    let first = scene.run(&["sync", "start", "--source", SOURCE, "--group", "timeline", "--wait"]).await;
    first.expect_code(0).expect_words(&format!("beside it timeline backfill: {requests} records"));
    assert_merge_requests(&scene, &sim).await;
    // All of them were there before the project was found, so the backfill read them, and once.
    let lanes =
        "select job.lane || ' ' || sync.state || ' ' || cast(sum(job.records) as text) from jobs as job
        join syncs as sync on sync.id = job.sync_id where job.stream = 'merge_requests'
        group by job.lane, sync.state order by job.lane";
    let requests = scene.database.number("select count(*) from gitlab_merge_requests").await;
    let expected = [format!("backfill completed {requests}"), "forward completed 0".to_owned()];
    assert_eq!(scene.database.lines(lanes).await, expected);

    for nth in 0..130 {
        let (branch, title) = (format!("topic-{nth}"), format!("PAY-{nth} topic"));
        world.create_branch(name, &branch, "main").unwrap();
        world.push(name, &branch, 1).unwrap();
        world.open_merge_request(name, &branch, "main", &title).unwrap();
    }
    timeline(&scene).await;
    assert_merge_requests(&scene, &sim).await;

    // Each looked at between its change and its merge, which GitLab dates later than the change.
    let opened = world.merge_requests(name).unwrap();
    let last = opened.iter().map(|it| it.iid).max().unwrap();
    for nth in [3, 70, 129] {
        world.merge(name, &format!("topic-{nth}"), "main").unwrap();
        timeline(&scene).await;
    }
    world.close_merge_request(name, last - 5).unwrap();
    world.edit_merge_request(name, last - 7, Some("OPS-1 another title"), None).unwrap();
    timeline(&scene).await;
    assert_merge_requests(&scene, &sim).await;
    let backfills = "select count(*) from syncs where lane = 'backfill'";
    assert_eq!(scene.database.number(backfills).await, 1, "what is read is not read again");
    let merged = "select count(*) from gitlab_merge_requests where merged_at > updated_at";
    assert!(scene.database.number(merged).await > 0, "some are merged after their last change");
    assert_kept_rules(&sim);
}

async fn timeline(scene: &Scene) {
    let arguments = ["sync", "start", "--source", SOURCE, "--group", "timeline", "--wait", "--json"];
    let ended = scene.run(&arguments).await;
    ended.expect_code(0);
    assert_eq!(ended.json()["state"], "completed", "{}", ended.told());
}

/// Fails unless every merge request stands there as GitLab has it.
async fn assert_merge_requests(scene: &Scene, sim: &Sim) {
    let landed = "select cast(id as text) || ' ' || cast(iid as text) || ' ' || state || ' ' || title || ' '
        || source_branch || ' ' || target_branch || ' ' || head_sha || ' ' || coalesce(merge_commit_sha, 'none')
        from gitlab_merge_requests";
    let found: BTreeSet<String> = scene.database.lines(landed).await.into_iter().collect();
    let world = sim.world();
    let all = world.names().into_iter().flat_map(|name| world.merge_requests(&name).unwrap());
    let expected: BTreeSet<String> = all
        .map(|it| {
            let state = serde_json::to_value(it.state).unwrap();
            let (state, merged) = (state.as_str().unwrap(), it.merge_sha.as_deref().unwrap_or("none"));
            let (from, to) = (it.source_branch, it.target_branch);
            format!("{} {} {state} {} {from} {to} {} {merged}", it.id, it.iid, it.title, it.sha)
        })
        .collect();
    let missing: Vec<_> = expected.difference(&found).take(3).collect();
    let odd: Vec<_> = found.difference(&expected).take(3).collect();
    assert!(missing.is_empty() && odd.is_empty(), "missing: {missing:#?}\nodd: {odd:#?}");
    assert!(!expected.is_empty());
}

async fn notes_stand_as_they_are_at_gitlab(database: Database) {
    let sim = seeded(56, 1, 900, "", "").await;
    let (world, name) = (sim.world(), "acme/repo-1");
    for nth in 0..9 {
        let branch = format!("topic-{nth}");
        world.create_branch(name, &branch, "main").unwrap();
        world.open_merge_request(name, &branch, "main", &format!("topic {nth}")).unwrap();
    }
    let scene = Scene::at_host(gitlab(), database, &sim, &[]).await;
    let scene = scene.set("SYNCLINE_MANUAL_COOLDOWN", "timeline=0s");
    scene.completes().await;
    // The second one reads the notes of what the backfill beside the first one found, whichever of the two ended first.
    timeline(&scene).await;
    timeline(&scene).await;
    let all = world.merge_requests(name).unwrap();
    let open = all.iter().filter(|it| it.state == sim::MergeRequestState::Opened);
    let mut known: BTreeSet<u64> = open.map(|it| it.iid).collect();
    assert_notes(&scene, &sim, &known).await;

    // More than a page of one, some of several others, and one of a merge request that is over: all of it is read then.
    let over = all.iter().find(|it| !known.contains(&it.iid) && it.notes > 1).unwrap().iid;
    let few: Vec<u64> = known.iter().copied().take(3).collect();
    for nth in 0..230 {
        world.note_merge_request(name, few[0], &format!("and again {nth}")).unwrap();
    }
    for iid in [few[1], few[2], over] {
        world.note_merge_request(name, iid, "Why not here? 👍").unwrap();
    }
    known.insert(over);
    timeline(&scene).await;
    assert_notes(&scene, &sim, &known).await;

    // Somebody thinks better of what was said, on another page than the newest, and another note comes behind it.
    let said = |iid: u64| {
        let all = world.merge_requests(name).unwrap();
        all.into_iter().find(|it| it.iid == iid).unwrap().said[0].id
    };
    for iid in [few[0], over] {
        world.edit_note(name, iid, said(iid), "on second thoughts").unwrap();
        world.note_merge_request(name, iid, "just so").unwrap();
    }
    timeline(&scene).await;
    assert_notes(&scene, &sim, &known).await;
    let edited =
        "select count(*) from gitlab_notes where body = 'on second thoughts' and updated_at > created_at";
    assert_eq!(scene.database.number(edited).await, 2);
    assert_kept_rules(&sim);
}

/// Fails unless exactly these merge requests' notes stand there, each once and as GitLab has it.
async fn assert_notes(scene: &Scene, sim: &Sim, of: &BTreeSet<u64>) {
    let landed = "select cast(merge_request_iid as text) || ' ' || cast(id as text) || ' ' || author || ' '
        || case when system then 'system' else 'person' end || ' ' || body from gitlab_notes
        where deleted_at is null order by id";
    let found = scene.database.lines(landed).await;
    let world = sim.world();
    let mut expected = Vec::new();
    for it in world.merge_requests("acme/repo-1").unwrap().iter().filter(|it| of.contains(&it.iid)) {
        expected.extend(it.remarks().into_iter().map(|note| {
            let by = if note.system { "system" } else { "person" };
            (note.id, format!("{} {} {} {by} {}", it.iid, note.id, note.author.username, note.body))
        }));
    }
    expected.sort();
    let expected: Vec<String> = expected.into_iter().map(|it| it.1).collect();
    let odd = found.iter().zip(&expected).find(|(found, expected)| found != expected);
    assert!(
        found == expected,
        "{} notes, {} expected; the first that differs: {odd:?}",
        found.len(),
        expected.len()
    );
    assert!(!expected.is_empty());
}

async fn two_hosts_answer_one_query(database: Database) {
    let sim = seeded(54, 2, 80, "", "").await;
    let scene = Scene::with_source(database, &sim, &[]).await;
    let url = gitlab().url(&sim);
    let add = ["source", "add", "gitlab", "--name", "lab", "--base-url", &url, "--token-env", TOKEN.0];
    scene.run(&add).await.expect_code(0);
    scene.run(&["sync", "start", "--group", "commits", "--wait"]).await.expect_code(0);
    // Each commit stands there once for each source, and says the same.
    let both = "select count(*) from commits as hub join commits as lab
            on hub.repository_id = lab.repository_id and hub.sha = lab.sha and hub.source_id < lab.source_id
        where hub.message = lab.message and hub.author_email = lab.author_email
            and hub.committed_at = lab.committed_at and coalesce(hub.jira_key, '') = coalesce(lab.jira_key, '')";
    let truth = sim.world().truth().unwrap();
    let expected: usize = truth.repositories.values().map(|it| it.shas.len()).sum();
    assert_eq!(scene.database.number(both).await, i64::try_from(expected).unwrap());
}

/// Answers every request with one project, and a link that goes on at `next`; counts what it is asked.
async fn leading_on(next: &'static str) -> (String, Arc<AtomicU64>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/api/v4", listener.local_addr().unwrap());
    let (asked, own) = (Arc::new(AtomicU64::new(0)), url.clone());
    let count = asked.clone();
    let answer = move || {
        count.fetch_add(1, Ordering::SeqCst);
        let link = format!("<{}>; rel=\"next\"", next.replace("OWN", &own));
        async move { ([("link", link)], r#"[{"id":7,"path_with_namespace":"acme/api"}]"#) }
    };
    let router = axum::Router::new().fallback(answer);
    let mut serving = JoinSet::new();
    serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, asked, serving)
}

/// Nothing may go round for ever, and nothing that another server says is taken for the provider's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_leads_nowhere_new_is_told() {
    for (next, words) in [
        ("OWN/projects?id_after=7", "a page that leads to itself"),
        ("https://gitlab.elsewhere.example/api/v4/projects?id_after=7", "another server than the base URL"),
    ] {
        let (url, asked, _serving) = leading_on(next).await;
        let scene = Scene::new(Database::sqlite());
        let add = ["source", "add", "gitlab", "--name", SOURCE, "--base-url", &url, "--token-env", TOKEN.0];
        scene.run(&add).await.expect_code(0);
        let ended = scene.sync().await;
        assert!(matches!(ended.code, Some(1 | 3)), "{}", ended.told());
        ended.expect_words(words);
        assert!(asked.load(Ordering::SeqCst) < 20, "{} requests", asked.load(Ordering::SeqCst));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_jobs_token_is_refused_with_a_sentence() {
    let sim = seeded(55, 1, 5, "", "").await;
    let scene = Scene::new(Database::sqlite()).set("JOB", "glcbt-64_not-a-real-one");
    let url = gitlab().url(&sim);
    let add = ["source", "add", "gitlab", "--name", "lab", "--base-url", &url, "--token-env", "JOB"];
    let told = scene.run(&add).await;
    told.expect_code(2).expect_words("CI job token").expect_words("read_api");
    assert!(!told.told().contains("not-a-real-one"), "{}", told.told());
    let root = url.trim_end_matches("/api/v4").to_owned();
    let add = ["source", "add", "gitlab", "--name", "lab", "--base-url", &root, "--token-env", TOKEN.0];
    scene.run(&add).await.expect_code(2).expect_words("does not end in /api/v4");
}
