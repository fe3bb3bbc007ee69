//! Comparisons: together with the base they must be the head, whatever was pushed, merged or forced.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::client::{get, seeded, shas, walk};

/// Compares and returns the first page with the shas of all pages.
async fn compare(sim: &sim::Sim, base: &str, head: &str) -> (Value, Vec<String>) {
    let pages = walk(sim, &format!("/repos/acme/repo-1/compare/{base}...{head}?per_page=10")).await;
    let all = pages.iter().flat_map(|page| shas(&page.json()["commits"])).collect();
    (pages[0].json(), all)
}

/// Encodes a branch name for a path.
fn encoded(name: &str) -> String {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    name.bytes()
        .map(|byte| if legal(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[tokio::test]
async fn every_pair_of_branches_compares_as_their_sets_do() {
    let sim = seeded(700).await;
    let truth = sim.world().repository_truth("acme/repo-1").unwrap();
    let mut met = BTreeSet::new();
    for (base, from) in &truth.branches {
        for (head, to) in &truth.branches {
            let (shown, commits) = compare(&sim, &encoded(base), &encoded(head)).await;
            let ahead: BTreeSet<_> = to.shas.difference(&from.shas).cloned().collect();
            let behind = from.shas.difference(&to.shas).count();
            assert_eq!(commits.len(), ahead.len(), "{base}...{head}");
            assert_eq!(commits.iter().cloned().collect::<BTreeSet<_>>(), ahead, "{base}...{head}");
            assert_eq!((&shown["ahead_by"], &shown["behind_by"]), (&ahead.len().into(), &behind.into()));
            assert_eq!(shown["total_commits"], ahead.len());
            let status = match (ahead.len(), behind) {
                (0, 0) => "identical",
                (_, 0) => "ahead",
                (0, _) => "behind",
                _ => "diverged",
            };
            assert_eq!(shown["status"], status);
            assert_eq!(shown["base_commit"]["sha"], from.head.as_str());
            let merge_base = shown["merge_base_commit"]["sha"].as_str().unwrap();
            assert!(from.shas.contains(merge_base) && to.shas.contains(merge_base));
            met.insert(status);
        }
    }
    assert_eq!(met.len(), 4, "the world has all kinds of pairs: {met:?}");
}

#[tokio::test]
async fn a_comparison_is_chronological_and_shows_the_latest_when_no_page_is_asked_for() {
    let sim = seeded(300).await;
    let old = sim.world().repository_truth("acme/repo-1").unwrap().branches["main"].head.clone();
    let head = sim.world().push("acme/repo-1", "main", 320).unwrap();
    let (_, paged) = compare(&sim, &old, "main").await;
    assert_eq!(paged.len(), 320);
    assert_eq!(paged.last(), Some(&head), "the newest comes last");
    let whole = get(&sim, &format!("/repos/acme/repo-1/compare/{old}...main")).await;
    assert_eq!(whole.header("link"), None);
    assert_eq!(shas(&whole.json()["commits"]), paged[70..]);
}

#[tokio::test]
async fn a_force_push_diverges_and_the_old_head_is_still_known() {
    let sim = seeded(100).await;
    let old = sim.world().repository_truth("acme/repo-1").unwrap().branches["main"].head.clone();
    let new = sim.world().force_push("acme/repo-1", "main").unwrap();
    let (shown, commits) = compare(&sim, &old, &new).await;
    assert_eq!(
        (shown["status"].as_str(), commits.len(), &shown["behind_by"]),
        (Some("diverged"), 3, &3.into())
    );
    assert_eq!(get(&sim, &format!("/repos/acme/repo-1/commits/{old}")).await.status, 200);
}

#[tokio::test]
async fn histories_that_share_nothing_have_no_comparison() {
    let sim = seeded(2).await;
    let old = sim.world().repository_truth("acme/repo-1").unwrap().branches["main"].head.clone();
    sim.world().force_push("acme/repo-1", "main").unwrap();
    let answer = get(&sim, &format!("/repos/acme/repo-1/compare/{old}...main")).await;
    assert_eq!(answer.status, 404);
    assert!(answer.message().starts_with("No common ancestor between"), "{}", answer.message());
}

#[tokio::test]
async fn a_merge_of_an_old_branch_brings_commits_older_than_the_base() {
    let sim = seeded(100).await;
    let world = sim.world();
    world.create_branch("acme/repo-1", "late/one", "main").unwrap();
    let base = world.repository_truth("acme/repo-1").unwrap().branches["main"].head.clone();
    world.push_old("acme/repo-1", "late/one", 2, 300).unwrap();
    world.push("acme/repo-1", "main", 1).unwrap();
    let merge = world.merge("acme/repo-1", "late/one", "main").unwrap();
    let (shown, commits) = compare(&sim, &base, "main").await;
    assert_eq!((shown["status"].as_str(), commits.len()), (Some("ahead"), 4));
    let since = shown["base_commit"]["commit"]["committer"]["date"].as_str().unwrap();
    let old = shown["commits"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|commit| commit["commit"]["committer"]["date"].as_str() < Some(since));
    assert_eq!(old.count(), 2);
    let merged = get(&sim, &format!("/repos/acme/repo-1/commits/{merge}")).await.json();
    assert_eq!(merged["parents"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn every_commit_is_told_of_also_when_no_branch_reaches_it() {
    let sim = seeded(60).await;
    let (world, name) = (sim.world(), "acme/repo-1");
    let before = world.repository_truth(name).unwrap();
    let head = before.branches["main"].head.clone();
    world.force_push(name, "main").unwrap();
    let after = world.repository_truth(name).unwrap();
    let told = world.commits(name).unwrap();
    assert!(told.contains_key(&head) && !after.branches["main"].shas.contains(&head));
    assert!(before.shas.iter().chain(&after.shas).all(|sha| told.contains_key(sha)));
    let shown = get(&sim, &format!("/repos/acme/repo-1/commits/{head}")).await.json();
    let it = &told[&head];
    let parents: Vec<&str> =
        shown["parents"].as_array().unwrap().iter().map(|it| it["sha"].as_str().unwrap()).collect();
    assert_eq!(
        (parents, shown["commit"]["message"].as_str().unwrap()),
        (it.parents.iter().map(String::as_str).collect(), it.message.as_str())
    );
    assert_eq!(shown["commit"]["author"]["name"], it.author.0);
    assert_eq!(shown["commit"]["committer"]["email"], it.committer.1);
}
