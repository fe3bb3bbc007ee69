//! Branches, commits, ranges and merge bases: git's own answers, whatever was pushed, merged or forced.

use std::collections::BTreeSet;

use jiff::Timestamp;
use sim::{Sim, State};

use super::{FIRST, all, encoded, get, texts, walk};
use crate::client::seeded;
use crate::git::Work;

/// Checks lists, ranges and merge bases of a real repository against git.
async fn agrees(sim: &Sim, work: &Work) {
    let project = "/projects/local%2Fmy-project/repository";
    let lines = |arguments: &[&str]| work.git(arguments).lines().map(str::to_owned).collect::<Vec<_>>();
    let heads = lines(&["for-each-ref", "--format=%(objectname)", "refs/heads"]);
    let names = lines(&["for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads"]);
    for (head, name) in heads.iter().zip(&names) {
        let logged = lines(&["log", "--format=%H", head]);
        for asked in [head, &encoded(name), &format!("refs/heads/{name}")] {
            let target = format!("{project}/commits?per_page=3&ref_name={asked}");
            assert_eq!(all(sim, &target, "id").await, logged, "{asked}");
        }
    }
    for have in &heads {
        for want in &heads {
            let target = format!("{project}/commits?per_page=2&ref_name={have}..{want}");
            assert_eq!(all(sim, &target, "id").await, lines(&["rev-list", &format!("{have}..{want}")]));
            let asked = format!("{project}/merge_base?refs%5B%5D={have}&refs[]={want}");
            let (base, unrelated) = (get(sim, &asked).await, !shares(work, have, want));
            if unrelated {
                assert_eq!((base.status, &*base.message()), (404, "404 Merge Base Not Found"));
            } else {
                assert_eq!(base.json()["id"], work.git(&["merge-base", have, want]).lines().next().unwrap());
            }
            let compared = get(sim, &format!("{project}/compare?from={have}&to={want}")).await.json();
            let listed = lines(&["rev-list", "--reverse", &format!("{have}..{want}")]);
            assert_eq!(texts(&compared["commits"], "id"), listed);
            assert_eq!(compared["compare_same_ref"], have == want);
        }
    }
    let everything = all(sim, &format!("{project}/commits?per_page=100&all=true"), "id").await;
    assert_eq!(everything, lines(&["rev-list", "--branches"]));
}

fn shares(work: &Work, one: &str, other: &str) -> bool {
    let reach =
        |head: &str| work.git(&["rev-list", head]).lines().map(str::to_owned).collect::<BTreeSet<_>>();
    !reach(one).is_disjoint(&reach(other))
}

#[tokio::test]
async fn real_history_is_shown_and_followed() {
    let work = Work::new();
    let first = work.commit("first");
    let sim = work.serve().await;
    work.commit("PAY-1: second\n\nbody \"quoted\"\tand ü");
    work.git(&["checkout", "-q", "-b", "feature/x", &first]);
    let side = work.commit("on the side");
    agrees(&sim, &work).await;
    work.git(&["checkout", "-q", "main"]);
    work.clock.set(work.clock.get() + 60);
    work.git(&["merge", "-q", "--no-ff", "-m", "merge", "feature/x"]);
    // Dated long before its own parent.
    work.clock.set(1_500_000_000);
    work.commit("dated back");
    work.git(&["checkout", "-q", "--orphan", "pages"]);
    work.commit("unrelated");
    agrees(&sim, &work).await;
    work.git(&["checkout", "-q", "main"]);
    work.git(&["branch", "-q", "-D", "feature/x"]);
    work.git(&["reset", "-q", "--hard", &first]);
    work.git(&["reflog", "expire", "--expire=now", "--all"]);
    agrees(&sim, &work).await;
    let target = format!("/projects/local%2Fmy-project/repository/commits?ref_name=main..{side}");
    let lost = all(&sim, &target, "id").await;
    assert_eq!(lost, [side], "a commit that no branch reaches is known by its sha");
}

#[tokio::test]
async fn every_pair_of_branches_has_the_range_that_their_sets_have() {
    let sim = seeded(500).await;
    let truth = sim.world().repository_truth("acme/repo-1").unwrap();
    let mut longest = 0;
    for (have, from) in &truth.branches {
        for (want, to) in &truth.branches {
            let range = format!("{}..{}", encoded(have), encoded(want));
            let target = format!("{FIRST}/repository/commits?per_page=20&ref_name={range}");
            let listed = all(&sim, &target, "id").await;
            longest = longest.max(listed.len());
            let truth: BTreeSet<_> = to.shas.difference(&from.shas).cloned().collect();
            assert_eq!(listed.len(), truth.len(), "{range}");
            assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), truth, "{range}");
        }
    }
    assert!(longest > 20, "the test needs a range of two pages");
}

#[tokio::test]
async fn a_commit_looks_like_the_real_one_and_its_dates_are_the_same_moments() {
    let sim = seeded(300).await;
    let page = get(&sim, &format!("{FIRST}/repository/commits?per_page=100")).await;
    let each = page.body.len() / 100;
    assert!((700..1_600).contains(&each), "{each} bytes per commit");
    let (told, listed) = (sim.world().commits("acme/repo-1").unwrap(), page.json());
    let (mut offsets, mut ended) = (BTreeSet::new(), 0);
    for shown in listed.as_array().unwrap() {
        let truth = &told[shown["id"].as_str().unwrap()];
        assert_eq!(shown["short_id"], shown["id"].as_str().unwrap()[..8]);
        assert_eq!(shown["parent_ids"], serde_json::json!(truth.parents));
        assert_eq!(shown["created_at"], shown["committed_date"], "not when it was pushed");
        for (field, truth) in [("authored_date", truth.authored_s), ("committed_date", truth.committed_s)] {
            let date = shown[field].as_str().unwrap();
            assert_eq!(date.parse::<Timestamp>().unwrap().as_second(), truth, "{date}");
            assert_eq!((&date[19..23], date.len()), (".000", 29), "{date}");
            offsets.insert(date[23..].to_owned());
        }
        let message = shown["message"].as_str().unwrap();
        assert_eq!(message.trim_end_matches('\n'), truth.message);
        ended += usize::from(message.ends_with('\n'));
        assert!(truth.message.starts_with(shown["title"].as_str().unwrap().trim_end_matches("...")));
        assert_eq!(
            (&shown["author_name"], &shown["author_email"]),
            (&truth.author.0.clone().into(), &truth.author.1.clone().into())
        );
        assert_eq!(shown["committer_email"], truth.committer.1);
    }
    assert!(offsets.len() > 4 && (1..100).contains(&ended), "{offsets:?}, {ended} with a newline");
    let signed =
        listed.as_array().unwrap().iter().filter(|it| it["extended_trailers"]["Signed-off-by"].is_array());
    assert!(signed.count() > 0);
    let id = listed[0]["id"].as_str().unwrap();
    let single = get(&sim, &format!("{FIRST}/repository/commits/{id}")).await.json();
    assert_eq!((&single["id"], &single["project_id"]), (&listed[0]["id"], &super::FIRST_ID.into()));
    assert_eq!(single["stats"]["total"], 2);
}

#[tokio::test]
async fn branches_tell_their_head_and_whether_they_are_merged() {
    let sim = seeded(400).await;
    let name = "feature/x/y+z %";
    let head = sim.world().create_branch("acme/repo-1", name, "main").unwrap();
    let truth = sim.world().repository_truth("acme/repo-1").unwrap();
    let pages = walk(&sim, &format!("{FIRST}/repository/branches?per_page=3")).await;
    let listed: Vec<_> = pages.iter().flat_map(|page| page.json().as_array().unwrap().clone()).collect();
    let main = &truth.branches["main"];
    assert_eq!(listed.len(), truth.branches.len());
    for (shown, (name, truth)) in listed.iter().zip(&truth.branches) {
        let merged = name != "main" && main.shas.contains(&truth.head);
        assert_eq!(
            (&shown["name"], &shown["commit"]["id"]),
            (&name.clone().into(), &truth.head.clone().into())
        );
        assert_eq!(
            (&shown["merged"], &shown["default"]),
            (&merged.into(), &(name == "main").into()),
            "{name}"
        );
    }
    let merged = listed.iter().filter(|it| it["merged"] == true).count();
    assert!((1..listed.len() - 1).contains(&merged), "{merged} of {} are merged", listed.len());
    let one = get(&sim, &format!("{FIRST}/repository/branches/{}", encoded(name))).await.json();
    assert_eq!((&one["name"], &one["commit"]["id"]), (&name.into(), &head.into()));
    assert_eq!(one["web_url"], "https://gitlab.com/acme/repo-1/-/tree/feature/x/y%2Bz%20%25");
    let plain = get(&sim, &format!("{FIRST}/repository/branches/feature/x")).await;
    assert_eq!((plain.status, &plain.json()["error"]), (404, &"404 Not Found".into()));
    for (search, wanted) in [("X/Y", vec![name]), ("%5Emai", vec!["main"]), ("ging$", vec!["staging"])] {
        let found = all(&sim, &format!("{FIRST}/repository/branches?search={search}"), "name").await;
        assert_eq!(found, wanted, "{search}");
    }
}

#[tokio::test]
async fn commits_are_filtered_by_their_committer_date() {
    let sim = seeded(400).await;
    let everything = all(&sim, &format!("{FIRST}/repository/commits?per_page=100"), "id").await;
    let told = sim.world().commits("acme/repo-1").unwrap();
    let (since, until) = ("2023-06-01T02:00:00%2B02:00", "2024-03-01");
    let inside = |id: &&String| (1_685_577_600..=1_709_251_200).contains(&told[*id].committed_s);
    let wanted: Vec<_> = everything.iter().filter(inside).cloned().collect();
    let target = format!("{FIRST}/repository/commits?per_page=100&since={since}&until={until}");
    assert_eq!(all(&sim, &target, "id").await, wanted);
    assert!(wanted.len() > 50 && wanted.len() < everything.len());
    assert_eq!(get(&sim, &format!("{FIRST}/repository/commits?since=yesterday")).await.status, 400);
}

#[tokio::test]
async fn what_is_unknown_is_refused_or_in_a_range_swallowed() {
    let sim = seeded(30).await;
    let project = format!("{FIRST}/repository");
    let [even, odd] = ["2", "3"].map(|end| format!("012345678901234567890123456789012345678{end}"));
    for (target, status, message) in [
        ("commits?ref_name=none".to_owned(), 404, "404 Commit Not Found"),
        (format!("commits?ref_name={even}"), 404, "404 Commit Not Found"),
        (format!("commits?ref_name={odd}..main"), 404, "404 Commit Not Found"),
        (format!("commits?ref_name=main..{odd}"), 404, "404 Commit Not Found"),
        (format!("commits/{even}"), 404, "404 Commit Not Found"),
        ("branches/none".to_owned(), 404, "404 Branch Not Found"),
        ("compare?from=main&to=none".to_owned(), 404, "404 Ref Not Found"),
        ("merge_base?refs[]=main".to_owned(), 400, "Provide at least 2 refs"),
        (format!("merge_base?refs[]=main&refs[]={even}"), 400, "Could not find ref: 0123"),
    ] {
        let answer = get(&sim, &format!("{project}/{target}")).await;
        assert_eq!(answer.status, status, "{target}");
        assert!(answer.message().starts_with(message), "{target}: {}", answer.message());
    }
    for range in [format!("{even}..main"), format!("main..{even}")] {
        let swallowed = get(&sim, &format!("{project}/commits?ref_name={range}")).await;
        assert_eq!((swallowed.status, swallowed.body.as_slice()), (200, &b"[]"[..]), "{range}");
    }
    let missing = get(&sim, &format!("{project}/compare?to=main")).await;
    assert_eq!((missing.status, &missing.json()["error"]), (400, &"from is missing".into()));
}

#[tokio::test]
async fn an_old_head_still_begins_a_range_after_a_force_push() {
    let sim = seeded(100).await;
    let old = sim.world().repository_truth("acme/repo-1").unwrap().branches["main"].head.clone();
    let new = sim.world().force_push("acme/repo-1", "main").unwrap();
    let target = format!("{FIRST}/repository/commits?ref_name={old}..main");
    let listed = all(&sim, &target, "id").await;
    assert_eq!((listed.len(), &listed[0]), (3, &new));
    let small = seeded(2).await;
    let old = small.world().repository_truth("acme/repo-1").unwrap().branches["main"].head.clone();
    small.world().force_push("acme/repo-1", "main").unwrap();
    let base = get(&small, &format!("{FIRST}/repository/merge_base?refs[]={old}&refs[]=main")).await;
    assert_eq!((base.status, &*base.message()), (404, "404 Merge Base Not Found"));
}

#[tokio::test]
async fn an_empty_repository_has_no_branches_and_no_commits_to_find() {
    let work = Work::new();
    let sim = work.serve().await;
    let project = "/projects/local%2Fmy-project";
    for state in [State::Ok, State::Empty] {
        sim.world().set_state("local/my-project", state).unwrap();
        let shown = get(&sim, project).await.json();
        assert_eq!(
            (&shown["empty_repo"], &shown["default_branch"]),
            (&true.into(), &serde_json::Value::Null)
        );
        let branches = get(&sim, &format!("{project}/repository/branches")).await;
        assert_eq!((branches.status, branches.body.as_slice()), (200, &b"[]"[..]));
        assert_eq!(branches.header("x-total"), Some("0"));
        for target in ["commits", "commits/main", "merge_base?refs[]=a&refs[]=b"] {
            let refused = get(&sim, &format!("{project}/repository/{target}")).await;
            assert_eq!((refused.status, &*refused.message()), (404, "404 Repository Not Found"), "{target}");
        }
        if state == State::Ok {
            work.commit("first");
            assert_eq!(get(&sim, project).await.json()["default_branch"], "main");
        }
    }
}
