//! Issues, pull requests and timelines at GitHub: lists are the world's own, and what became of an issue is found again.

use jiff::Timestamp;
use serde_json::{Value, json};
use sim::{Issue, Options, Sim, WorldSource};

use crate::client::{Answer, TOKEN, get, get_with, send, walk};

const NAME: &str = "acme/repo-1";
const ISSUES: &str = "/repos/acme/repo-1/issues";

async fn serve() -> Sim {
    let world = WorldSource::Seeded { seed: 5, repos: 2, commits: 20 };
    sim::start(Options { world, issues: Some(130), ..Options::default() }).await.unwrap()
}

fn truth(sim: &Sim) -> Vec<Issue> {
    sim.world().issues(NAME).unwrap()
}

fn second(shown: &Value) -> i64 {
    shown.as_str().unwrap().parse::<Timestamp>().unwrap().as_second()
}

async fn numbers(sim: &Sim, target: &str) -> Vec<u64> {
    let pages = walk(sim, target).await;
    let shown = pages.iter().flat_map(|page| page.json().as_array().unwrap().clone());
    shown.map(|it| it["number"].as_u64().unwrap()).collect()
}

async fn control(sim: &Sim, change: &Value) -> Answer {
    send(sim, "POST", &format!("/__sim/github/repos/{NAME}"), &[], &change.to_string()).await
}

#[tokio::test]
async fn lists_are_as_they_were_asked_for() {
    let sim = serve().await;
    let told = truth(&sim);
    let all = numbers(&sim, &format!("{ISSUES}?state=all&per_page=100")).await;
    assert_eq!(all, (1..=130).rev().collect::<Vec<_>>(), "the newest first, pull requests among them");
    let open: Vec<u64> = told.iter().rev().filter(|it| it.open).map(|it| it.number).collect();
    assert_eq!(numbers(&sim, ISSUES).await, open, "only open ones, where nobody says which");
    let first = get(&sim, &format!("{ISSUES}?state=all&per_page=100")).await;
    let next = &first.links()["next"];
    assert!(next.contains("/repositories/417300001/issues?"), "{next}");
    for (shown, it) in first.json().as_array().unwrap().iter().zip(told.iter().rev()) {
        assert_eq!((&shown["id"], &shown["title"]), (&json!(it.id), &json!(it.title)));
        assert_eq!(
            (second(&shown["updated_at"]), second(&shown["created_at"])),
            (it.updated_s, it.created_s)
        );
        assert_eq!(shown["pull_request"].is_object(), it.pull.is_some());
    }

    // From a second on, that second among them.
    let mut changed: Vec<_> = told.iter().map(|it| (it.updated_s, it.number)).collect();
    changed.sort_unstable();
    let since = Timestamp::from_second(changed[70].0).unwrap();
    let expected: Vec<u64> = changed.iter().filter(|it| it.0 >= changed[70].0).map(|it| it.1).collect();
    let asked = format!("{ISSUES}?state=all&sort=updated&direction=asc&per_page=30&since={since}");
    assert_eq!(numbers(&sim, &asked).await, expected);

    // Pull requests come oldest first where they are sorted by another time than their making, and since nothing.
    let pulls = "/repos/acme/repo-1/pulls?state=all&per_page=100";
    let expected: Vec<u64> = told.iter().filter(|it| it.pull.is_some()).map(|it| it.number).collect();
    assert_eq!(numbers(&sim, &format!("{pulls}&direction=asc")).await, expected);
    let updated = numbers(&sim, &format!("{pulls}&sort=updated&since={since}")).await;
    assert_eq!(updated.len(), expected.len());
    let of = |number: u64| told[usize::try_from(number).unwrap() - 1].updated_s;
    assert!(updated.windows(2).all(|it| of(it[0]) <= of(it[1])));
    for wrong in ["state=merged", "sort=size", "direction=up", "since=yesterday"] {
        let refused = get(&sim, &format!("{ISSUES}?{wrong}")).await;
        assert_eq!((refused.status, &*refused.message()), (422, "Validation Failed"), "{wrong}");
    }
}

#[tokio::test]
async fn a_list_that_did_not_change_is_answered_so_and_for_nothing() {
    let sim = serve().await;
    let first = get(&sim, ISSUES).await;
    let (tag, left) =
        (first.header("etag").unwrap().to_owned(), first.header("x-ratelimit-remaining").unwrap().to_owned());
    let again = get_with(&sim, ISSUES, &[("if-none-match", &tag)]).await;
    assert_eq!((again.status, again.header("x-ratelimit-remaining")), (304, Some(left.as_str())));
    sim.world().open_issue(NAME, "another").unwrap();
    assert_eq!(get_with(&sim, ISSUES, &[("if-none-match", &tag)]).await.status, 200);
}

#[tokio::test]
async fn what_happened_is_told_and_no_kind_has_all_members() {
    let sim = serve().await;
    let world = sim.world();
    let pull = world.open_pull(NAME, "Mend it").unwrap();
    for change in [
        json!({ "comment_issue": { "number": pull, "text": "look" } }),
        json!({ "edit_issue": { "number": pull, "title": "Mend it well", "labels": ["bug"] } }),
        json!({ "review_pull": { "number": pull, "state": "approved" } }),
        json!({ "happen_to_issue": { "number": pull, "event": "hologram_projected" } }),
        json!({ "merge_pull": { "number": pull } }),
    ] {
        assert_eq!(control(&sim, &change).await.status, 200, "{change}");
    }
    let shown = get(&sim, &format!("{ISSUES}/{pull}/timeline")).await.json();
    let kinds: Vec<_> = shown.as_array().unwrap().iter().map(|it| it["event"].as_str().unwrap()).collect();
    let expected = ["commented", "renamed", "labeled", "reviewed", "hologram_projected", "merged", "closed"];
    assert_eq!(kinds, expected);
    assert_eq!(shown[1]["rename"], json!({ "from": "Mend it", "to": "Mend it well" }));
    assert!(shown[3]["created_at"].is_null() && shown[3]["submitted_at"].is_string(), "{}", shown[3]);
    let reviews = get(&sim, &format!("/repos/{NAME}/pulls/{pull}/reviews")).await.json();
    assert_eq!((&reviews[0]["id"], &reviews[0]["state"]), (&shown[3]["id"], &json!("APPROVED")));
    let one = get(&sim, &format!("/repos/{NAME}/pulls/{pull}")).await.json();
    assert_eq!((&one["state"], one["merged_at"].is_string()), (&json!("closed"), true));

    let seeded = truth(&sim);
    let lacks =
        |kind: &str| seeded.iter().find(|it| it.events.iter().any(|it| it.event == kind)).unwrap().number;
    for (kind, missing) in
        [("committed", "created_at"), ("cross-referenced", "id"), ("line-commented", "actor")]
    {
        let shown = get(&sim, &format!("{ISSUES}/{}/timeline", lacks(kind))).await.json();
        let event = shown.as_array().unwrap().iter().find(|it| it["event"] == kind).unwrap();
        assert!(event.get(missing).is_none(), "{event}");
    }
}

#[tokio::test]
async fn an_issue_that_is_gone_says_how() {
    let sim = serve().await;
    let world = sim.world();
    let plain: Vec<u64> = truth(&sim).iter().filter(|it| it.pull.is_none()).map(|it| it.number).collect();
    world.delete_issue(NAME, plain[0]).unwrap();
    let there = world.transfer_issue(NAME, plain[1], "acme/repo-2").unwrap();
    for below in ["", "/timeline"] {
        assert_eq!(get(&sim, &format!("{ISSUES}/{}{below}", plain[0])).await.status, 410);
        let moved = get(&sim, &format!("{ISSUES}/{}{below}?per_page=7", plain[1])).await;
        let to = format!("{}/repositories/417300002/issues/{there}{below}?per_page=7", sim.github_url());
        assert_eq!((moved.status, moved.header("location")), (301, Some(to.as_str())));
        assert_eq!(get(&sim, &to).await.status, 200);
        assert_eq!(get(&sim, &format!("{ISSUES}/9999{below}")).await.status, 404);
    }
    let listed = numbers(&sim, &format!("{ISSUES}?state=all&per_page=100")).await;
    assert!(!listed.contains(&plain[0]) && !listed.contains(&plain[1]));
    let told =
        send(&sim, "GET", &format!("/__sim/github/truth?repository={NAME}"), &[TOKEN], "").await.json();
    assert_eq!(told["issues"][usize::try_from(plain[0]).unwrap() - 1]["gone"], "deleted");

    // What a suspended account wrote is shown to nobody, in either list.
    let pulls: Vec<u64> = truth(&sim).iter().filter(|it| it.pull.is_some()).map(|it| it.number).collect();
    let (hidden, pull) = (pulls[0], pulls[1]);
    assert_eq!(control(&sim, &json!({ "hide_issue": { "number": hidden } })).await.status, 200);
    for (list, below) in [("issues", ""), ("issues", "/timeline"), ("pulls", ""), ("pulls", "/reviews")] {
        let shown = get(&sim, &format!("/repos/{NAME}/{list}/{hidden}{below}")).await;
        assert_eq!(shown.status, 404, "{list}{below}");
    }
    for list in ["issues", "pulls"] {
        let listed = numbers(&sim, &format!("/repos/{NAME}/{list}?state=all&per_page=100")).await;
        assert!(listed.contains(&pull) && !listed.contains(&hidden), "{list}");
    }

    for (change, status, words) in [
        (json!({ "delete_issue": { "number": pull } }), 409, "pull request"),
        (json!({ "review_pull": { "number": plain[2], "state": "approved" } }), 409, "no pull request"),
        (json!({ "comment_issue": { "number": plain[0], "text": "late" } }), 404, "no issue"),
    ] {
        let refused = control(&sim, &change).await;
        assert_eq!(refused.status, status, "{change}");
        assert!(refused.message().contains(words), "{}", refused.message());
    }
    // A head that moves without its time, as happens.
    let before = truth(&sim)[usize::try_from(pull).unwrap() - 1].clone();
    world.push_pull(NAME, pull).unwrap();
    let after = &truth(&sim)[usize::try_from(pull).unwrap() - 1];
    assert_eq!(after.updated_s, before.updated_s);
    assert_ne!(after.pull.as_ref().unwrap().sha, before.pull.as_ref().unwrap().sha);
}
