//! A real git repository behind the API: the shas and their order are git's own, at every moment.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sim::{Options, Sim, WorldSource};
use tempfile::TempDir;

use crate::client::{all_shas, get, shas, walk};

/// A repository that git itself writes.
pub(crate) struct Work {
    folder: TempDir,
    pub(crate) path: PathBuf,
    pub(crate) clock: std::cell::Cell<u32>,
}

impl Work {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my project");
        std::fs::create_dir(&path).unwrap();
        let work = Self { folder, path, clock: std::cell::Cell::new(1_700_000_000) };
        work.git(&["init", "-q", "-b", "main"]);
        work
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        git_at(&self.path, self.clock.get(), arguments)
    }

    /// Commits without a change, a minute after the last one.
    pub(crate) fn commit(&self, message: &str) -> String {
        self.clock.set(self.clock.get() + 60);
        self.git(&["commit", "-q", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Makes the branches look as if they had not moved for long.
    fn settle(&self) {
        for name in ["HEAD", "refs/heads", "refs/heads/main", "refs/heads/next"] {
            let file = std::fs::File::open(self.path.join(".git").join(name)).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000)).unwrap();
        }
    }

    pub(crate) async fn serve(&self) -> Sim {
        serve(&self.path).await
    }
}

fn git_at(path: &Path, date: u32, arguments: &[&str]) -> String {
    let mut command = Command::new("git");
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
        command.env_remove(name);
    }
    let date = format!("{date} +0200");
    command
        .env("GIT_AUTHOR_DATE", &date)
        .env("GIT_COMMITTER_DATE", &date)
        .env("GIT_CONFIG_GLOBAL", "/dev/null");
    for role in ["AUTHOR", "COMMITTER"] {
        command.env(format!("GIT_{role}_NAME"), "Zoë").env(format!("GIT_{role}_EMAIL"), "zoe@example.org");
    }
    let output = command.arg("-C").arg(path).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

async fn serve(path: &Path) -> Sim {
    let world = WorldSource::Git(path.to_owned());
    sim::start(Options { world, ..Options::default() }).await.unwrap()
}

/// Checks truth, branches and lists against git's own answers.
async fn agrees(sim: &Sim, path: &Path) {
    let name = sim.world().names().remove(0);
    let lines =
        |arguments: &[&str]| git_at(path, 0, arguments).lines().map(str::to_owned).collect::<Vec<_>>();
    let truth = sim.world().repository_truth(&name).unwrap();
    let branches = lines(&["rev-list", "--branches"]);
    assert_eq!(truth.shas, branches.into_iter().collect::<BTreeSet<_>>());
    let mut listed = Vec::new();
    for page in walk(sim, &format!("/repos/{name}/branches?per_page=2")).await {
        listed.extend(page.json().as_array().unwrap().clone());
    }
    let listed = listed.iter().map(|branch| {
        format!("{} {}", branch["commit"]["sha"].as_str().unwrap(), branch["name"].as_str().unwrap())
    });
    let mut expected = lines(&["for-each-ref", "--format=%(objectname) %(refname:lstrip=2)", "refs/heads"]);
    expected.sort_by_key(|line| line[41..].to_owned());
    assert_eq!(listed.collect::<Vec<_>>(), expected);
    for line in &expected {
        let seen = all_shas(sim, &format!("/repos/{name}/commits?per_page=3&sha={}", &line[..40])).await;
        assert_eq!(seen, lines(&["log", "--format=%H", &line[..40]]), "{line}");
    }
    for (base, head) in
        expected.iter().flat_map(|base| expected.iter().map(move |head| (&base[..40], &head[..40])))
    {
        let compared = get(sim, &format!("/repos/{name}/compare/{base}...{head}")).await;
        let bases = if compared.status == 404 { Vec::new() } else { lines(&["merge-base", base, head]) };
        if let Some(merge_base) = bases.first() {
            let shown = compared.json();
            assert_eq!(shown["merge_base_commit"]["sha"], merge_base.as_str());
            assert_eq!(
                shas(&shown["commits"]),
                lines(&["rev-list", "--reverse", &format!("{base}..{head}")])
            );
        }
    }
}

#[tokio::test]
async fn real_history_is_shown_and_followed() {
    let work = Work::new();
    let first = work.commit("first");
    let sim = work.serve().await;
    assert_eq!(sim.world().names(), ["local/my-project"]);
    work.commit("PAY-1: second\n\nbody \"quoted\"\tand ü");
    agrees(&sim, &work.path).await;
    work.git(&["checkout", "-q", "-b", "feature/x", &first]);
    let side = work.commit("on the side");
    agrees(&sim, &work.path).await;
    work.git(&["checkout", "-q", "main"]);
    work.clock.set(work.clock.get() + 60);
    work.git(&["merge", "-q", "--no-ff", "-m", "merge", "feature/x"]);
    agrees(&sim, &work.path).await;
    work.git(&["checkout", "-q", "--orphan", "pages"]);
    work.commit("unrelated");
    agrees(&sim, &work.path).await;
    let unrelated = get(&sim, "/repos/local/my-project/compare/pages...main").await;
    assert!(unrelated.status == 404 && unrelated.message().starts_with("No common ancestor"));
    work.git(&["checkout", "-q", "main"]);
    work.git(&["branch", "-q", "-D", "feature/x"]);
    work.git(&["reset", "-q", "--hard", &first]);
    agrees(&sim, &work.path).await;
    work.git(&["pack-refs", "--all"]);
    agrees(&sim, &work.path).await;
    let old = get(&sim, &format!("/repos/local/my-project/compare/{side}...main")).await.json();
    assert_eq!((old["status"].as_str(), &old["behind_by"]), (Some("behind"), &1.into()));
    let message = |sha: &str| format!("/repos/local/my-project/commits/{sha}");
    let shown = get(&sim, &message(&first)).await.json();
    assert_eq!(shown["commit"]["message"], "first");
    assert_eq!(shown["commit"]["author"]["name"], "Zoë");
    assert_eq!(shown["commit"]["committer"]["date"], "2023-11-14T22:14:20Z");
}

#[tokio::test]
async fn every_request_sees_the_moment_it_is_asked_in() {
    let work = Work::new();
    work.commit("first");
    let sim = work.serve().await;
    for round in 0..40 {
        let head = work.commit(&format!("round {round}"));
        let branch = get(&sim, "/repos/local/my-project/branches/main").await.json();
        assert_eq!(branch["commit"]["sha"], head.as_str(), "round {round}");
    }
}

#[tokio::test]
async fn crossed_merges_and_dates_that_lie_compare_as_git_does() {
    let work = Work::new();
    work.commit("root");
    let sim = work.serve().await;
    // The common ancestor is dated long before its own parent.
    work.clock.set(1_500_000_000);
    work.commit("dated back");
    work.clock.set(1_700_100_000);
    work.git(&["branch", "-q", "other"]);
    let mine = work.commit("on main");
    work.git(&["checkout", "-q", "other"]);
    let theirs = work.commit("on the other");
    agrees(&sim, &work.path).await;
    work.clock.set(work.clock.get() + 60);
    work.git(&["merge", "-q", "--no-ff", "-m", "main into other", &mine]);
    work.git(&["checkout", "-q", "main"]);
    work.git(&["merge", "-q", "--no-ff", "-m", "other into main", &theirs]);
    agrees(&sim, &work.path).await;
    work.commit("further");
    agrees(&sim, &work.path).await;
}

#[tokio::test]
async fn the_default_branch_is_the_one_that_head_names_now() {
    let work = Work::new();
    work.commit("first");
    work.git(&["branch", "-q", "next"]);
    let sim = work.serve().await;
    for name in ["main", "next", "main"] {
        work.settle();
        get(&sim, "/repos/local/my-project").await;
        work.git(&["symbolic-ref", "HEAD", &format!("refs/heads/{name}")]);
        assert_eq!(get(&sim, "/repos/local/my-project").await.json()["default_branch"], name);
    }
    work.git(&["checkout", "-q", "--detach"]);
    assert_eq!(get(&sim, "/repos/local/my-project").await.json()["default_branch"], "main");
}

#[tokio::test]
async fn a_commit_that_no_branch_reaches_is_known_after_a_restart() {
    let work = Work::new();
    let first = work.commit("first");
    let lost = work.commit("lost");
    work.git(&["reset", "-q", "--hard", &first]);
    let new = work.commit("new");
    let sim = work.serve().await;
    let compared = get(&sim, &format!("/repos/local/my-project/compare/{lost}...{new}")).await.json();
    assert_eq!((compared["status"].as_str(), &compared["behind_by"]), (Some("diverged"), &1.into()));
    let tree = work.git(&["rev-parse", "HEAD^{tree}"]);
    assert_eq!(get(&sim, &format!("/repos/local/my-project/commits/{tree}")).await.status, 422);
    assert!(!sim.world().truth().unwrap().repositories["local/my-project"].shas.contains(&lost));
}

#[tokio::test]
async fn bare_linked_shallow_and_nested_folders_work() {
    let work = Work::new();
    for round in 0..5 {
        work.commit(&format!("round {round}"));
    }
    let inner = work.path.join("inner");
    std::fs::create_dir(&inner).unwrap();
    assert_eq!(serve(&inner).await.world().names(), ["local/my-project"]);

    let (from, bare) = (format!("file://{}", work.path.display()), work.folder.path().join("copy.git"));
    work.git(&["clone", "-q", "--bare", &from, bare.to_str().unwrap()]);
    let sim = serve(&bare).await;
    assert_eq!(sim.world().names(), ["local/copy"]);
    agrees(&sim, &bare).await;

    let shallow = work.folder.path().join("shallow");
    work.git(&["clone", "-q", "--depth", "2", &from, shallow.to_str().unwrap()]);
    let sim = serve(&shallow).await;
    agrees(&sim, &shallow).await;
    assert_eq!(sim.world().repository_truth("local/shallow").unwrap().shas.len(), 2);
    git_at(&shallow, 0, &["fetch", "-q", "--unshallow"]);
    agrees(&sim, &shallow).await;
    assert_eq!(sim.world().repository_truth("local/shallow").unwrap().shas.len(), 5);

    let linked = work.folder.path().join("linked");
    work.git(&["worktree", "add", "-q", "-b", "second", linked.to_str().unwrap()]);
    let sim = serve(&linked).await;
    assert_eq!(sim.world().names(), ["local/linked"]);
    agrees(&sim, &linked).await;
    git_at(&linked, 1_800_000_000, &["commit", "-q", "--allow-empty", "-m", "in the linked one"]);
    agrees(&sim, &linked).await;
    let shown = get(&sim, "/repos/local/linked").await.json();
    assert_eq!(shown["default_branch"], "second");
}

#[tokio::test]
async fn a_repository_without_commits_is_empty_until_the_first() {
    let work = Work::new();
    let sim = work.serve().await;
    assert_eq!(get(&sim, "/repos/local/my-project/commits").await.status, 409);
    assert_eq!(get(&sim, "/repos/local/my-project/branches").await.json(), Value::Array(Vec::new()));
    let first = work.commit("first");
    let list = get(&sim, "/repos/local/my-project/commits").await.json();
    assert_eq!(list[0]["sha"], first.as_str());
}

#[tokio::test]
async fn text_that_is_not_utf8_and_huge_messages_are_shown() {
    let work = Work::new();
    let parent = work.commit("first");
    let file = work.folder.path().join("commit");
    // Git's own commands would repair such text, so the object is written as an old tool wrote it.
    let mut object =
        format!("tree {}\nparent {parent}\n", work.git(&["rev-parse", "HEAD^{tree}"])).into_bytes();
    object.extend(b"author Zo\xeb <zo\xeb@example.org> 1700000000 +0000\ncommitter C <> 1700000000 +0000\n\ncaf\xe9 \xff\n\n");
    object.extend(std::iter::repeat_n(b"0123456789abcde\n", 40_000).flatten());
    std::fs::write(&file, &object).unwrap();
    let sha = work.git(&["hash-object", "-t", "commit", "-w", "--literally", file.to_str().unwrap()]);
    work.git(&["update-ref", "refs/heads/main", &sha]);
    let sim = work.serve().await;
    let list = get(&sim, "/repos/local/my-project/commits").await.json();
    let shown = &list[0]["commit"];
    assert_eq!((&list[0]["sha"], &list[0]["parents"][0]["sha"]), (&sha.into(), &parent.into()));
    assert_eq!(shown["author"]["name"], "Zo\u{fffd}");
    let message = shown["message"].as_str().unwrap();
    assert_eq!(message.lines().next(), Some("caf\u{fffd} \u{fffd}"));
    assert_eq!(message.lines().count(), 40_002);
}

#[tokio::test]
async fn what_is_no_repository_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    for (path, part) in
        [(folder.path().to_owned(), "not a git repository"), (folder.path().join("none"), "no such folder")]
    {
        let world = WorldSource::Git(path.clone());
        let refused = sim::start(Options { world, ..Options::default() }).await.err().unwrap().to_string();
        assert!(refused.contains(part) && refused.contains(path.to_str().unwrap()), "{refused}");
    }
    let work = Work::new();
    work.commit("first");
    let sim = work.serve().await;
    let refused = sim.world().push("local/my-project", "main", 1).unwrap_err().to_string();
    assert!(refused.contains("change it with git"), "{refused}");
}
