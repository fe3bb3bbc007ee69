//! Over real git repositories, what landed is what git itself says: after the first sync, and after everything that
//! people do to branches.
//!
//! Expected shas must never come from anything but git.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;
use sim::{Options, Sim, State, WorldSource};

use crate::support::{
    Database, Git, Host, Scene, assert_kept_rules, git_at, landed_rows, landed_tables, on_both, started,
    until,
};

on_both!(
    history_is_followed,
    a_listing_of_several_pages_is_followed,
    a_sync_without_news_asks_once_per_page_of_branches,
    a_listing_that_fails_deletes_nothing,
    a_listing_that_is_killed_deletes_nothing,
);

const NAME: &str = "local/project";

async fn serve(git: &Git, latency_ms: u64) -> Sim {
    let latency = Duration::from_millis(latency_ms);
    let world = WorldSource::Git(git.path().to_owned());
    started(Options { world, latency, ..Options::default() }, "", "").await
}

/// Fails unless the database holds what git has. Once history was rewritten, rows that nothing reaches may stay.
async fn assert_like_git(scene: &Scene, git: &Git, rewritten: bool, when: &str) {
    let landed: Vec<String> = scene.database.lines("select sha from commits").await;
    let found: std::collections::BTreeSet<String> = landed.iter().cloned().collect();
    assert_eq!(found.len(), landed.len(), "{when}: a commit stands there twice");
    let expected = git.shas(&["--branches"]);
    let missing = expected.difference(&found).count();
    assert_eq!(missing, 0, "{when}: of {} commits {missing} are missing", expected.len());
    if !rewritten {
        assert_eq!(found.len(), expected.len(), "{when}: more landed than git has");
    }
    let mut reached = std::collections::BTreeMap::<String, std::collections::BTreeSet<String>>::new();
    for line in scene.database.lines("select branch || ' ' || sha from commit_branches").await {
        let (branch, sha) = line.rsplit_once(' ').unwrap();
        reached.entry(branch.to_owned()).or_default().insert(sha.to_owned());
    }
    let expected = git.branches();
    for (branch, shas) in &expected {
        let found = reached.remove(branch).unwrap_or_default();
        assert!(found == *shas, "{when}: {branch} has {} commits, git says {}", found.len(), shas.len());
    }
    assert!(reached.is_empty(), "{when}: git has no branches {:?}", reached.keys());
}

/// Syncs when nothing is new, and fails unless each page of branches was asked for once and no landed row was written.
async fn assert_nothing_new(scene: &Scene, sim: &Sim, branches: usize) {
    let before = landed_rows(&scene.database).await;
    if scene.database.is_sqlite() {
        scene.database.execute(&witness()).await;
    }
    sim.reset_report();
    let sync = scene.completes().await;
    let report = sim.report();
    // A full last page is followed by the one behind it: docs/decisions/0006-full-last-page.md.
    let pages = u64::try_from(branches / 100 + 1).unwrap();
    assert_eq!(report.requests, pages, "requests for {branches} branches");
    assert_eq!(report.not_modified, report.requests, "{report:?}");
    assert_eq!((&sync["rowsWritten"], &sync["requests"]), (&0.into(), &report.requests.into()), "{sync:#}");
    before.assert_same(&landed_rows(&scene.database).await, "after a sync with nothing new");
    if scene.database.is_sqlite() {
        let written = scene.database.lines("select what from witness").await;
        assert!(written.is_empty(), "a sync with nothing new wrote {written:?}");
    }
}

/// Notes every write to a landed row in a table; SQLite keeps no trace of one that changes nothing.
fn witness() -> String {
    let mut sql = "create table if not exists witness (what text); delete from witness; ".to_owned();
    for table in landed_tables() {
        for act in ["insert", "update", "delete"] {
            write!(
                sql,
                "create trigger if not exists seen_{act}_{table} after {act} on {table}
                 begin insert into witness values ('{act} {table}'); end; "
            )
            .unwrap();
        }
    }
    sql
}

/// A repository with merges, an old side branch, and more than a page of commits.
fn repository() -> Git {
    let git = Git::new();
    git.set_date(1_500_000_000);
    git.commits(40, "begin");
    git.branch("old-side", "main");
    git.commits(7, "aside");
    git.checkout("main");
    git.set_date(1_700_000_000);
    git.commits(90, "go on");
    git.branch("topic/ü#1%", "main~20");
    git.commits(4, "a topic");
    git.checkout("main");
    git.merge("topic/ü#1%");
    git.commits(3, "after the merge");
    git
}

/// Lives through everything that people do to branches, with a sync after each.
async fn live_through(scene: &Scene, git: &Git) {
    let mut rewritten = false;
    let steps: [(&str, &dyn Fn()); 11] = [
        ("new commits", &|| git.commits(5, "new")),
        ("a merge of an old side branch", &|| git.merge("old-side")),
        ("a new branch", &|| {
            git.branch("fresh", "main~3");
            git.commits(2, "fresh");
        }),
        ("a late push with old dates", &|| {
            git.set_date(1_100_000_000);
            git.branch("late", "main~60");
            git.commits(4, "written long ago");
            git.checkout("old-side");
            git.commits(2, "also long ago");
            git.set_date(1_710_000_000);
        }),
        ("a push of more than a page", &|| {
            git.checkout("late");
            git.commits(230, "much");
        }),
        ("a merge of three", &|| {
            git.checkout("main");
            git.run(&["merge", "-q", "--no-ff", "-m", "three", "late", "fresh"]);
        }),
        ("a rebase", &|| {
            git.run(&["checkout", "-q", "-B", "fresh", "main~1"]);
            git.commits(3, "fresh, rebased");
        }),
        ("a force push", &|| {
            git.checkout("main");
            git.run(&["reset", "-q", "--hard", "main~12"]);
            git.commits(2, "instead");
        }),
        ("a deleted branch", &|| git.delete_branch("old-side")),
        ("an unrelated history", &|| {
            git.run(&["checkout", "-q", "--orphan", "pages"]);
            git.commits(3, "unrelated");
        }),
        ("packed branches and a branch set back", &|| {
            git.run(&["branch", "-q", "-f", "late", "main~5"]);
            git.run(&["pack-refs", "--all"]);
        }),
    ];
    for (what, step) in steps {
        step();
        rewritten |= what == "a rebase";
        scene.completes().await;
        assert_like_git(scene, git, rewritten, what).await;
    }
}

async fn history_is_followed(database: Database) {
    for host in Host::all() {
        history_is_followed_at(host, database.another().await).await;
    }
}

async fn history_is_followed_at(host: Host, database: Database) {
    let git = repository();
    let sim = serve(&git, 0).await;
    let scene = Scene::at_host(host, database, &sim, &[NAME]).await;
    scene.completes().await;
    assert_like_git(&scene, &git, false, "the first sync").await;
    let keys = "select count(*) from commits where jira_key like 'PAY-%'";
    assert!(scene.database.number(keys).await > 100, "Jira keys are found");
    assert_nothing_new(&scene, &sim, git.branches().len()).await;
    live_through(&scene, &git).await;
    assert_nothing_new(&scene, &sim, git.branches().len()).await;
    assert_kept_rules(&sim);
}

/// 250 branches, three pages of a listing, on a line of commits.
fn many_branches() -> Git {
    let git = Git::new();
    git.commits(30, "a line");
    let line: Vec<String> = git.run(&["rev-list", "main"]).lines().map(str::to_owned).collect();
    let branches: Vec<_> =
        (0..249).map(|nth| (format!("b{nth:03}"), line[nth % line.len()].clone())).collect();
    git.set_branches(&branches);
    git
}

async fn a_listing_of_several_pages_is_followed(database: Database) {
    for host in Host::all() {
        a_listing_of_several_pages_is_followed_at(host, database.another().await).await;
    }
}

async fn a_listing_of_several_pages_is_followed_at(host: Host, database: Database) {
    let git = many_branches();
    let sim = serve(&git, 0).await;
    let scene = Scene::at_host(host, database, &sim, &[NAME]).await;
    scene.completes().await;
    assert_like_git(&scene, &git, false, "the first sync").await;
    assert_nothing_new(&scene, &sim, 250).await;

    // The name stands on the last of the three pages.
    git.commit("on the last page");
    sim.reset_report();
    scene.completes().await;
    assert_like_git(&scene, &git, false, "a change on the last page").await;
    let report = sim.report();
    assert_eq!(report.not_modified, 2, "the first two pages were unchanged: {report:?}");
    assert_eq!(
        report.by_endpoint[&sim::Endpoint::Branches],
        6,
        "three pages, and all of them again: {report:?}"
    );
    assert_nothing_new(&scene, &sim, 250).await;

    for nth in [3, 120, 248] {
        git.delete_branch(&format!("b{nth:03}"));
    }
    scene.completes().await;
    assert_like_git(&scene, &git, false, "three branches deleted").await;
    let deleted = "select name from branches where deleted_at is not null order by name";
    assert_eq!(scene.database.lines(deleted).await, ["b003", "b120", "b248"]);
    assert_eq!(scene.database.number("select count(*) from items").await, 247);
    assert_nothing_new(&scene, &sim, 247).await;
    assert_kept_rules(&sim);
}

async fn a_sync_without_news_asks_once_per_page_of_branches(database: Database) {
    for host in Host::all() {
        a_sync_without_news_asks_once_per_page_of_branches_at(host, database.another().await).await;
    }
}

async fn a_sync_without_news_asks_once_per_page_of_branches_at(host: Host, database: Database) {
    let git = Git::new();
    let head = git.commit("the only one");
    let sim = serve(&git, 0).await;
    let named = Scene::at_host(host, database, &sim, &[NAME]).await;
    let visible = Scene::at_host(host, Database::sqlite(), &sim, &[]).await;
    let mut there = 1;
    for (branches, pages) in [(1, 1), (99, 1), (100, 2), (101, 2), (200, 3), (250, 3)] {
        let more: Vec<_> = (there..branches).map(|nth| (format!("z{nth:03}"), head.clone())).collect();
        git.set_branches(&more);
        there = branches;
        for scene in [&named, &visible] {
            scene.completes().await;
            // Also the 101st, which stands on a page that did not exist and leaves the one before it unchanged.
            assert_like_git(scene, &git, false, &format!("{branches} branches")).await;
        }
        assert_nothing_new(&named, &sim, branches).await;
        sim.reset_report();
        visible.completes().await;
        let report = sim.report();
        let asked = (report.by_endpoint[&sim::Endpoint::Branches], report.requests, report.not_modified);
        // The list of repositories, which at some hosts ends only with an empty page.
        let lists = report.by_endpoint[&sim::Endpoint::Repos];
        assert!((1..=2).contains(&lists), "{report:?}");
        assert_eq!(asked, (pages, pages + lists, pages + lists), "{report:?}");
    }
    assert_kept_rules(&sim);
}

const DELETED: &str = "select count(*) from branches where deleted_at is not null";

/// A listing under way that has committed a page and not the last one.
const HALFWAY: &str = "select count(*) from checkpoints where stream = 'branches' and cursor is not null";

async fn halfway(scene: &Scene) {
    let begun = async || (scene.database.number(HALFWAY).await > 0).then_some(());
    until("the listing is half-way", Duration::from_secs(30), begun).await;
}

async fn a_listing_that_fails_deletes_nothing(database: Database) {
    for host in Host::all() {
        a_listing_that_fails_deletes_nothing_at(host, database.another().await).await;
    }
}

async fn a_listing_that_fails_deletes_nothing_at(host: Host, database: Database) {
    let git = many_branches();
    let sim = serve(&git, 250).await;
    let scene = Scene::at_host(host, database, &sim, &[NAME]).await;
    scene.completes().await;
    // A page changes, so that the listing is read in full and could sweep.
    git.delete_branch("b002");
    let syncing = scene.start_sync();
    halfway(&scene).await;
    sim.world().set_state(NAME, State::Denied).unwrap();
    let ended = syncing.ended().await;
    // The listing was the sync's only work, so that nothing of it succeeded.
    assert!(matches!(ended.code, Some(1 | 3)), "{}", ended.told());
    assert_eq!(ended.json()["errors"][0]["code"], "denied", "{}", ended.told());
    assert_eq!(scene.database.number(DELETED).await, 0);
    assert_eq!(scene.database.number("select count(*) from items").await, 250);

    sim.world().set_state(NAME, State::Ok).unwrap();
    scene.completes().await;
    assert_like_git(&scene, &git, false, "after the failed listing").await;
    assert_eq!(scene.database.number(DELETED).await, 1);
}

async fn a_listing_that_is_killed_deletes_nothing(database: Database) {
    let git = many_branches();
    let sim = serve(&git, 250).await;
    let scene = Scene::with_source(database, &sim, &[NAME]).await;
    scene.completes().await;
    git.delete_branch("b002");
    git.delete_branch("b240");
    let syncing = scene.start_sync();
    halfway(&scene).await;
    syncing.signal(Signal::KILL);
    assert!(syncing.ended().await.was_killed());
    assert_eq!(scene.database.number(DELETED).await, 0);
    // A branch that was on a page already read comes and another one goes meanwhile.
    git.delete_branch("b001");
    git.set_branches(&[("b002".to_owned(), git.run(&["rev-parse", "main"]))]);
    scene.completes().await;
    scene.completes().await;
    assert_like_git(&scene, &git, false, "after the killed listing").await;
    assert_eq!(scene.database.number(DELETED).await, 2);
}

/// The project's own repository, copied so that nobody commits meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_projects_own_history_is_followed() {
    for host in Host::all() {
        the_projects_own_history_is_followed_at(host).await;
    }
}

async fn the_projects_own_history_is_followed_at(host: Host) {
    let git = own_repository();
    if !git.branches().contains_key("main") {
        git.run(&["branch", "-q", "main"]);
    }
    git.run(&["checkout", "-q", "-f", "main"]);
    let sim = serve(&git, 0).await;
    let scene = Scene::at_host(host, Database::sqlite(), &sim, &[NAME]).await;
    scene.completes().await;
    assert_like_git(&scene, &git, false, "the first sync").await;
    assert_nothing_new(&scene, &sim, git.branches().len()).await;

    git.set_date(1_800_000_000);
    git.commits(3, "new");
    git.branch("a-side", "main~5");
    git.commits(2, "aside");
    scene.completes().await;
    assert_like_git(&scene, &git, false, "new commits and a new branch").await;
    git.checkout("main");
    git.merge("a-side");
    scene.completes().await;
    assert_like_git(&scene, &git, false, "a merge of a side branch").await;
    git.run(&["reset", "-q", "--hard", "main~2"]);
    git.commits(1, "instead");
    git.delete_branch("a-side");
    scene.completes().await;
    assert_like_git(&scene, &git, true, "a force push and a deleted branch").await;
    assert_nothing_new(&scene, &sim, git.branches().len()).await;
    assert_kept_rules(&sim);
}

/// Copies the repository that this checkout belongs to. A checkout without its whole history, such as one unpacked
/// from an archive, is replaced by a generated one, so that the story is told everywhere.
fn own_repository() -> Git {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ask = |arguments: &[&str]| git_at(here, 0, arguments, "");
    let whole = ask(&["rev-parse", "--is-shallow-repository"]).is_ok_and(|it| it == "false");
    let long = ask(&["rev-list", "--count", "HEAD"]).is_ok_and(|it| it.parse().is_ok_and(|it: u64| it > 10));
    match ask(&["rev-parse", "--show-toplevel"]) {
        Ok(top) if whole && long => {
            println!("over the project's own repository");
            Git::copy_of(Path::new(&top))
        }
        _ => {
            println!("over a generated repository: this checkout does not have the project's history");
            repository()
        }
    }
}
