//! `syncline demo` in an empty folder, and again: its first part, the main job. The second one is in `background`.

use std::process::Command;

use super::sandbox::Sandbox;

#[tokio::test]
async fn the_demo_works_in_an_empty_folder_and_again() {
    let sandbox = Sandbox::new();
    let said = sandbox.ends(0, "demo --latency-ms 0 --for 0s").await;
    assert!(sandbox.path("syncline.db").exists());
    for expected in [
        "a made-up history of 3 repositories with 200 commits each",
        "What landed, in syncline.db",
        "commit_parents",
        "Three queries worth running",
        "from commit_branches",
        concat!(env!("CARGO_BIN_EXE_syncline"), " source add github --name mine"),
        "jira_key",
        "Second sync, with nothing new",
        "4 requests, 4 of them answered 304 (unchanged), 0 rows written",
    ] {
        assert!(said.stdout.contains(expected), "{expected:?} is missing in:\n{}", said.stdout);
    }
    let again = sandbox.ends(0, "demo --latency-ms 0 --for 0s").await;
    assert!(again.stdout.contains("What is new since the last run"), "{}", again.stdout);
    let again = sandbox.ends(0, "demo --latency-ms 0 --for 0s --json").await.json();
    assert_eq!(again["landed"], again["landedBefore"]);
    assert_eq!(again["landed"]["commits"], 600);
    assert_eq!(
        (&again["first"]["state"], &again["second"]["state"]),
        (&"completed".into(), &"completed".into())
    );
    assert_eq!(again["second"]["requests"], again["second"]["notModified"]);
    assert_eq!(again["rulesBroken"], 0);
    assert_eq!(again["queries"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn the_demo_reads_the_history_it_stands_in() {
    let sandbox = Sandbox::new();
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.arg("-C").arg(sandbox.path("")).args(["-c", "user.name=A", "-c", "user.email=a@example.com"]);
        assert!(command.args(arguments).output().unwrap().status.success(), "{arguments:?}");
    };
    git(&["init", "--initial-branch=main"]);
    let empty =
        sandbox.ends(0, "demo --latency-ms 0 --for 0s --json --database sqlite://other.db").await.json();
    assert_eq!(empty["world"]["seed"], 1, "a repository without commits is no history");
    git(&["commit", "--allow-empty", "--message=ABC-1 begin"]);
    git(&["commit", "--allow-empty", "--message=go on"]);
    git(&["branch", "side"]);
    let first = sandbox.ends(0, "demo --latency-ms 0 --for 0s --json").await.json();
    assert_eq!(first["world"]["git"], ".");
    assert_eq!((&first["landed"]["commits"], &first["landed"]["branches"]), (&2.into(), &2.into()));
    git(&["commit", "--allow-empty", "--message=and on"]);
    let next = sandbox.ends(0, "demo --latency-ms 0 --for 0s --json").await.json();
    assert_eq!((&next["landedBefore"]["commits"], &next["landed"]["commits"]), (&2.into(), &3.into()));
}

#[tokio::test]
async fn the_demo_keeps_histories_apart() {
    let sandbox = Sandbox::new();
    let git = |folder: &str, commits: usize| {
        let git = |arguments: &[&str]| {
            let mut command = Command::new("git");
            command.arg("-C").arg(sandbox.path(folder));
            command.args(["-c", "user.name=A", "-c", "user.email=a@example.com"]).args(arguments);
            assert!(command.output().unwrap().status.success(), "{arguments:?}");
        };
        std::fs::create_dir_all(sandbox.path(folder)).unwrap();
        git(&["init", "--initial-branch=main"]);
        for _ in 0..commits {
            git(&["commit", "--allow-empty", "--message=ABC-1 begin"]);
        }
    };
    git("", 1);
    git("one/app", 2);
    git("two/app", 3);
    let demo = async |flags: &str| {
        let said = sandbox.ends(0, &format!("demo --latency-ms 0 --for 0s --json {flags}")).await.json();
        (said["source"].as_str().unwrap().to_owned(), said["landed"]["commits"].as_u64().unwrap())
    };
    assert_eq!(demo("").await, ("demo".to_owned(), 1));
    let (one, commits) = demo("--git one/app").await;
    assert!(one.starts_with("demo-app-") && commits == 2, "{one}: {commits}");
    let (two, commits) = demo("--git two/app").await;
    assert!(two.starts_with("demo-app-") && two != one && commits == 3, "{two}: {commits}");
    assert_eq!(demo("--git one/../one/app").await, (one, 2), "it goes on with what is there");
    assert_eq!(demo("").await, ("demo".to_owned(), 1));
    // A database that other folders may use too.
    let shared = format!("--database sqlite://{}", sandbox.path("shared.db").display());
    assert!(demo(&shared).await.0.starts_with("demo-"), "it bears the folder's name");
}

#[tokio::test]
async fn the_demo_leaves_a_source_of_somebody_alone() {
    let sandbox = Sandbox::new();
    sandbox.ends(0, "source add github --name demo-1-3-200 --repo acme/api").await;
    let said = sandbox.ends(4, "demo --for 0s --json").await.json();
    assert!(said["error"]["message"].as_str().unwrap().contains("another folder"), "{said}");
    assert_eq!(
        sandbox.ends(0, "source show demo-1-3-200 --json").await.json()["baseUrl"],
        "https://api.github.com"
    );
}
