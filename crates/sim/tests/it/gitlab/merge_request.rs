//! Merge requests: the list is the world's own, and what people do to them is found again.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};
use sim::{MergeRequest, MergeRequestState, Sim};

use super::{FIRST, FIRST_ID, all, get, walk};
use crate::client::{Answer, seeded, send};
use crate::git::Work;

const NAME: &str = "acme/repo-1";

fn list(query: &str) -> String {
    format!("{FIRST}/merge_requests{query}")
}

fn truth(sim: &Sim) -> Vec<MergeRequest> {
    sim.world().merge_requests(NAME).unwrap()
}

fn ms(shown: &Value) -> Option<i64> {
    shown.as_str().map(|text| {
        assert!(text.len() == 24 && text.ends_with('Z'), "{text}");
        text.parse::<Timestamp>().unwrap().as_millisecond()
    })
}

async fn iids(sim: &Sim, query: &str) -> Vec<u64> {
    let pages = walk(sim, &list(query)).await;
    let shown = pages.iter().flat_map(|page| page.json().as_array().unwrap().clone());
    shown.map(|it| it["iid"].as_u64().unwrap()).collect()
}

async fn control(sim: &Sim, change: &str) -> Answer {
    send(sim, "POST", &format!("/__sim/github/repos/{NAME}"), &[], change).await
}

#[tokio::test]
async fn a_walk_sees_every_one_as_it_is_the_latest_first() {
    let sim = seeded(1_500).await;
    let pages = walk(&sim, &list("?per_page=10")).await;
    let mut told = truth(&sim);
    told.reverse();
    assert!(told.len() > 40, "the test needs some pages");
    assert_eq!(pages[0].header("x-total"), Some(&*told.len().to_string()));
    let listed: Vec<_> = pages.iter().flat_map(|page| page.json().as_array().unwrap().clone()).collect();
    assert_eq!(listed.len(), told.len());
    let mut states = BTreeSet::new();
    for (shown, truth) in listed.iter().zip(&told) {
        assert_eq!((&shown["id"], &shown["iid"]), (&truth.id.into(), &truth.iid.into()));
        assert_eq!((&shown["project_id"], &shown["title"]), (&FIRST_ID.into(), &json!(truth.title)));
        assert_eq!(
            (ms(&shown["created_at"]), ms(&shown["updated_at"])),
            (Some(truth.created_ms), Some(truth.updated_ms))
        );
        assert_eq!(ms(&shown["merged_at"]), truth.merged.as_ref().map(|it| it.0));
        assert_eq!(ms(&shown["closed_at"]), truth.closed.as_ref().map(|it| it.0));
        assert_eq!(shown["merged_by"]["username"].as_str(), truth.merged.as_ref().map(|it| &*it.1.username));
        assert_eq!((&shown["sha"], &shown["merge_commit_sha"]), (&json!(truth.sha), &json!(truth.merge_sha)));
        assert_eq!(
            (&shown["source_branch"], &shown["target_branch"]),
            (&json!(truth.source_branch), &"main".into())
        );
        assert_eq!(shown["author"]["username"], truth.author.username);
        assert_eq!(shown["draft"], truth.title.starts_with("Draft: "));
        states.insert(shown["state"].as_str().unwrap().to_owned());
    }
    assert_eq!(states.len(), 3, "{states:?}");
    let each = pages[0].body.len() / 10;
    assert!((1_800..4_500).contains(&each), "{each} bytes each");
    let commits = sim.world().commits(NAME).unwrap();
    for truth in told.iter().filter(|it| it.state == MergeRequestState::Merged) {
        assert_eq!(commits[truth.merge_sha.as_ref().unwrap()].parents[1], truth.sha, "a merge that there is");
    }
    let one = get(&sim, &list(&format!("/{}", told[3].iid))).await.json();
    assert_eq!(one, listed[3]);
    let lost = get(&sim, &list("/99999")).await;
    assert_eq!((lost.status, &*lost.message()), (404, "404 Not found"));
}

#[tokio::test]
async fn lists_are_filtered_and_ordered_with_both_ends_inside() {
    let sim = seeded(1_500).await;
    let told = truth(&sim);
    let of = |state| told.iter().filter(|it| it.state == state).map(|it| it.iid).collect::<BTreeSet<_>>();
    for (query, wanted) in [
        ("?state=opened", of(MergeRequestState::Opened)),
        ("?state=closed", of(MergeRequestState::Closed)),
        ("?state=merged&scope=all", of(MergeRequestState::Merged)),
        ("?state=all", told.iter().map(|it| it.iid).collect()),
        ("?iids[]=2&iids%5B%5D=5", BTreeSet::from([2, 5])),
        ("?scope=created_by_me", BTreeSet::new()),
    ] {
        assert_eq!(iids(&sim, query).await.into_iter().collect::<BTreeSet<_>>(), wanted, "{query}");
    }
    let mut updated: Vec<_> = told.iter().map(|it| (it.updated_ms, it.iid)).collect();
    updated.sort_unstable();
    let from = updated.len() / 2;
    let at = Timestamp::from_millisecond(updated[from].0).unwrap();
    let inside: Vec<_> = updated.iter().filter(|it| it.0 >= updated[from].0).map(|it| it.1).collect();
    let after = format!("?order_by=updated_at&sort=asc&updated_after={at}");
    assert_eq!(iids(&sim, &after).await, inside);
    let before = format!("?order_by=updated_at&updated_before={at}");
    assert_eq!(iids(&sim, &before).await[0], updated[from].1);
    for query in ["?state=open", "?order_by=size", "?sort=up", "?updated_after=yesterday", "?iids[]=x"] {
        let refused = get(&sim, &list(query)).await;
        assert_eq!(refused.status, 400, "{query}");
        assert!(refused.json()["error"].is_string(), "{query}");
    }
}

#[tokio::test]
async fn a_life_from_the_first_push_to_the_merge() {
    let sim = seeded(60).await;
    let world = sim.world();
    let at = |ms: i64| sim.set_time(Some(1_790_000_000_000 + ms));
    at(0);
    world.create_branch(NAME, "feature/new", "main").unwrap();
    let first = world.push(NAME, "feature/new", 1).unwrap();
    let iid = world.open_merge_request(NAME, "feature/new", "main", "Draft: something new").unwrap();
    let show = async || get(&sim, &list(&format!("/{iid}"))).await.json();
    let opened = show().await;
    assert_eq!(
        (&opened["sha"], &opened["draft"], &opened["state"]),
        (&json!(first), &true.into(), &"opened".into())
    );
    assert_eq!(
        (&opened["created_at"], &opened["updated_at"]),
        (&"2026-09-21T14:13:20.000Z".into(), &"2026-09-21T14:13:20.000Z".into())
    );
    at(5_000);
    let second = world.push(NAME, "feature/new", 2).unwrap();
    let pushed = show().await;
    assert_eq!((&pushed["sha"], &pushed["updated_at"]), (&json!(second), &"2026-09-21T14:13:25.000Z".into()));
    at(10_000);
    let edit =
        format!(r#"{{"edit_merge_request":{{"iid":{iid},"title":"Something new","labels":["a","b"]}}}}"#);
    assert_eq!(control(&sim, &edit).await.status, 200);
    let edited = show().await;
    assert_eq!((&edited["draft"], &edited["labels"]), (&false.into(), &json!(["a", "b"])));
    world.close_merge_request(NAME, iid).unwrap();
    let closed = show().await;
    assert_eq!(
        (&closed["state"], &closed["closed_at"]),
        (&"closed".into(), &"2026-09-21T14:13:30.000Z".into())
    );
    world.reopen_merge_request(NAME, iid).unwrap();
    assert_eq!((&show().await["state"], &show().await["closed_at"]), (&"opened".into(), &Value::Null));
    at(20_000);
    let merge = world.merge(NAME, "feature/new", "main").unwrap();
    let merged = show().await;
    assert_eq!((&merged["state"], &merged["merge_commit_sha"]), (&"merged".into(), &json!(merge)));
    assert_eq!((&merged["sha"], &merged["detailed_merge_status"]), (&json!(second), &"not_open".into()));
    assert_eq!(truth(&sim).last().unwrap().merged.as_ref().unwrap().0, 1_790_000_020_000);
}

#[tokio::test]
async fn most_merges_are_noted_later_than_the_last_change_of_which_a_list_knows() {
    let sim = seeded(60).await;
    let world = sim.world();
    sim.set_time(Some(1_790_000_000_000));
    let mut opened = Vec::new();
    for number in 0..40 {
        let branch = format!("many/{number}");
        world.create_branch(NAME, &branch, "main").unwrap();
        opened.push(world.open_merge_request(NAME, &branch, "main", "one of many").unwrap());
    }
    sim.set_time(Some(1_790_000_060_000));
    for number in 0..40 {
        world.merge(NAME, &format!("many/{number}"), "main").unwrap();
    }
    let seen = iids(&sim, "?per_page=100&updated_after=2026-09-21T14:14:20.000Z").await;
    assert!((1..20).contains(&seen.len()), "who asks from the moment of the merge misses most: {seen:?}");
    let overlapping = iids(&sim, "?per_page=100&updated_after=2026-09-21T14:14:19Z").await;
    assert_eq!(overlapping.into_iter().collect::<BTreeSet<_>>(), opened.into_iter().collect());
}

#[tokio::test]
async fn a_wrong_change_says_what_is_in_the_way_and_git_has_no_merge_requests() {
    let sim = seeded(60).await;
    let open = r#"{"open_merge_request":{"branch":"staging","into":"release/1.0","title":"t"}}"#;
    assert_eq!(control(&sim, open).await.status, 200);
    let iid = truth(&sim).last().unwrap().iid;
    for (change, status, part) in [
        (open.to_owned(), 409, "open for the same branches"),
        (open.replace("staging", "none"), 404, "no branch none"),
        (format!(r#"{{"reopen_merge_request":{{"iid":{iid}}}}}"#), 409, "is not closed"),
        (r#"{"close_merge_request":{"iid":9999}}"#.to_owned(), 404, "no merge request 9999"),
    ] {
        let refused = control(&sim, &change).await;
        assert_eq!(refused.status, status, "{change}");
        assert!(refused.message().contains(part), "{}", refused.message());
    }
    let told = send(&sim, "GET", &format!("/__sim/gitlab/truth?repository={NAME}"), &[], "").await.json();
    assert_eq!(told["merge_requests"].as_array().unwrap().len(), truth(&sim).len());
    assert_eq!(told["merge_requests"][0]["title"], truth(&sim)[0].title);
    let work = Work::new();
    work.commit("first");
    let real = work.serve().await;
    assert_eq!(
        all(&real, "/projects/local%2Fmy-project/merge_requests", "title").await,
        Vec::<String>::new()
    );
    let refused = real.world().open_merge_request("local/my-project", "main", "main", "t").unwrap_err();
    assert!(refused.to_string().contains("change it with git"), "{refused}");
}

#[tokio::test]
async fn people_at_work_open_change_merge_and_close() {
    let sim = seeded(100).await;
    let before = truth(&sim);
    sim.world().work(3_000);
    let after = truth(&sim);
    let new: Vec<_> = after.iter().skip(before.len()).collect();
    let with = |state| new.iter().filter(|it| it.state == state).count();
    assert!(new.len() > 20 && with(MergeRequestState::Merged) > 3, "{} new", new.len());
    assert!(
        new.iter().any(|it| it.closed.is_some())
            || before.iter().zip(&after).any(|(a, b)| a.closed != b.closed)
    );
    assert!(after.iter().any(|it| it.labels.iter().any(|label| label == "reviewed")));
    let listed = iids(&sim, "?per_page=100&sort=asc").await;
    assert_eq!(listed, after.iter().map(|it| it.iid).collect::<Vec<_>>());
}
