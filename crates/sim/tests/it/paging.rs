//! Pages and links: what a client walks must be everything, once.

use std::collections::BTreeSet;

use crate::client::{Answer, all_shas, get, seeded, seeded_with, shas, walk};

#[tokio::test]
async fn a_walk_over_next_links_sees_every_commit_of_a_branch_once() {
    let sim = seeded(1_234).await;
    let truth = sim.world().repository_truth("acme/repo-1").unwrap();
    assert_eq!(truth.shas.len(), 1_234);
    for (branch, told) in &truth.branches {
        let target = format!("/repos/acme/repo-1/commits?per_page=100&sha={}", told.head);
        let seen = all_shas(&sim, &target).await;
        assert_eq!(seen.len(), told.shas.len(), "{branch}");
        assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), told.shas, "{branch}");
    }
}

#[tokio::test]
async fn links_name_the_repository_by_number_and_end_with_prev_and_first() {
    let sim = seeded(250).await;
    let pages = walk(&sim, "/repos/acme/repo-1/commits?per_page=100&sha=main").await;
    let main = &sim.world().repository_truth("acme/repo-1").unwrap().branches["main"];
    let count = main.shas.len().div_ceil(100);
    assert_eq!(pages.len(), count);
    assert!(count > 1, "the test needs two pages");
    let base = sim.github_url();
    let first = pages[0].links();
    let numeric = format!("{base}/repositories/417300001/commits?per_page=100&sha=main&page=");
    assert_eq!(pages[0].rels(), ["next", "last"]);
    assert_eq!(first["next"], format!("{numeric}2"));
    assert_eq!(first["last"], format!("{numeric}{count}"));
    assert_eq!(pages[count - 1].rels(), ["prev", "first"]);
    assert_eq!(pages[count - 1].links()["first"], format!("{numeric}1"));
}

#[tokio::test]
async fn a_single_page_has_no_link_and_per_page_is_cut_to_a_hundred() {
    let sim = seeded(250).await;
    assert_eq!(get(&sim, "/repos/acme/repo-1/branches?per_page=100").await.header("link"), None);
    let page = get(&sim, "/repos/acme/repo-1/commits?per_page=1000").await;
    assert_eq!((page.status, shas(&page.json()).len()), (200, 100));
    let page = get(&sim, "/repos/acme/repo-1/commits").await;
    assert_eq!(shas(&page.json()).len(), 30);
    let beyond = get(&sim, "/repos/acme/repo-1/commits?page=99").await;
    assert_eq!((beyond.status, shas(&beyond.json()).len()), (200, 0));
}

#[tokio::test]
async fn opaque_links_and_lists_without_a_last_page_can_be_walked_too() {
    let sim = seeded_with(450, "opaque=acme/repo-1,nolast=acme/repo-2", "").await;
    for (name, part) in [("acme/repo-1", "last_sha="), ("acme/repo-2", "page=2")] {
        let target = format!("/repos/{name}/commits?per_page=100");
        let first = get(&sim, &target).await;
        assert_eq!(first.rels(), ["next"], "{name}");
        assert!(first.links()["next"].contains(part), "{:?}", first.links());
        let seen = all_shas(&sim, &target).await;
        let main = &sim.world().repository_truth(name).unwrap().branches["main"];
        assert_eq!(seen.len(), main.shas.len());
        assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), main.shas);
    }
    let branches = get(&sim, "/repos/acme/repo-1/branches?per_page=1").await;
    assert_eq!(branches.rels(), ["next", "last"], "only the commits list is unusual");
}

#[tokio::test]
async fn branches_are_listed_by_name_and_filtered_by_protection() {
    let sim = seeded(400).await;
    let names = |pages: &[Answer]| {
        let all = pages.iter().flat_map(|page| page.json().as_array().unwrap().clone());
        all.map(|branch| branch["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let truth = sim.world().repository_truth("acme/repo-1").unwrap();
    let listed = names(&walk(&sim, "/repos/acme/repo-1/branches?per_page=2").await);
    assert_eq!(listed, truth.branches.keys().cloned().collect::<Vec<_>>());
    assert!(listed.len() > 6 && listed.iter().any(|name| name.contains('/')), "{listed:?}");
    let protected = names(&walk(&sim, "/repos/acme/repo-1/branches?protected=true").await);
    assert_eq!(protected, ["main"]);
    let others = names(&walk(&sim, "/repos/acme/repo-1/branches?protected=false&per_page=100").await);
    assert_eq!(others.len(), listed.len() - 1);
}

#[tokio::test]
async fn commits_are_filtered_by_their_committer_date() {
    let sim = seeded(400).await;
    let everything: Vec<_> =
        walk(&sim, "/repos/acme/repo-1/commits?per_page=100").await.iter().map(Answer::json).collect();
    let dates: Vec<_> = everything.iter().flat_map(|page| page.as_array().unwrap().clone()).collect();
    let inside = |commit: &&serde_json::Value| {
        let date = commit["commit"]["committer"]["date"].as_str().unwrap();
        ("2023-06-01T00:00:00Z"..="2024-03-01T00:00:00Z").contains(&date)
    };
    let wanted: Vec<_> =
        dates.iter().filter(inside).map(|commit| commit["sha"].as_str().unwrap().to_owned()).collect();
    let target = "/repos/acme/repo-1/commits?per_page=100&since=2023-06-01T00:00:00Z&until=2024-03-01";
    assert_eq!(all_shas(&sim, target).await, wanted);
    assert!(wanted.len() > 50 && wanted.len() < dates.len());
    assert_eq!(get(&sim, "/repos/acme/repo-1/commits?since=yesterday").await.status, 422);
}
