//! Answers of the single endpoints: shapes, errors, redirects and conditions.

use std::time::Duration;

use sim::{Options, State, WorldSource};

use crate::client::{AGENT, TOKEN, get, get_with, seeded, seeded_with, send, shas};

#[tokio::test]
async fn a_page_of_commits_looks_like_the_real_one() {
    let sim = seeded(1_000).await;
    let page = get(&sim, "/repos/acme/repo-1/commits?per_page=100").await;
    let each = page.body.len() / 100;
    assert!((3_500..5_500).contains(&each), "{each} bytes per commit");
    let list = page.json();
    let commits = list.as_array().unwrap();
    let with =
        |test: &dyn Fn(&serde_json::Value) -> bool| commits.iter().filter(|commit| test(commit)).count();
    assert!((4..25).contains(&with(&|commit| commit["author"].is_null())), "one in nine has no account");
    assert!(with(&|commit| commit["commit"]["verification"]["verified"] == true) > 20);
    assert!(with(&|commit| commit["author"]["login"].is_string()) > 60);
    assert!(with(&|commit| commit["commit"]["author"]["date"] != commit["commit"]["committer"]["date"]) > 10);
    let first_lines: Vec<_> =
        commits.iter().map(|c| c["commit"]["message"].as_str().unwrap().lines().next().unwrap()).collect();
    assert!(
        first_lines.iter().any(|line| line.starts_with("PAY-"))
            && first_lines.iter().any(|line| !line.contains('-'))
    );
}

#[tokio::test]
async fn one_repository_is_the_same_by_name_by_number_and_in_every_list() {
    let sim = seeded(20).await;
    let by_name = get(&sim, "/repos/ACME/Repo-1").await.json();
    assert_eq!(by_name["default_branch"], "main");
    assert_eq!(get(&sim, "/repositories/417300001").await.json(), by_name);
    for list in ["/user/repos", "/orgs/acme/repos", "/users/acme/repos"] {
        assert_eq!(get(&sim, list).await.json()[0], by_name, "{list}");
    }
    let wrapped = get(&sim, "/installation/repositories").await.json();
    assert_eq!((&wrapped["total_count"], &wrapped["repositories"][0]), (&2.into(), &by_name));
    let first = get(&sim, "/orgs/acme/repos?per_page=1").await;
    let next = &first.links()["next"];
    assert!(next.contains("/organizations/"), "{next}");
    assert_eq!(get(&sim, next).await.json()[0]["name"], "repo-2");
    assert_eq!(get(&sim, "/user").await.json()["type"], "User");
}

#[tokio::test]
async fn a_branch_with_a_slash_is_found_encoded() {
    let sim = seeded(20).await;
    let head = sim.world().create_branch("acme/repo-1", "feature/x/y+z %", "main").unwrap();
    let branch = get(&sim, "/repos/acme/repo-1/branches/feature%2Fx%2Fy%2Bz%20%25").await.json();
    assert_eq!(
        (branch["name"].as_str(), branch["commit"]["sha"].as_str()),
        (Some("feature/x/y+z %"), Some(&*head))
    );
    let list = get(&sim, "/repositories/417300001/commits?sha=feature%2Fx%2Fy%2Bz+%25").await.json();
    assert_eq!(shas(&list)[0], head);
}

#[tokio::test]
async fn every_refusal_has_its_status_and_says_why() {
    let faults = "gone=acme/repo-2";
    let sim = seeded_with(20, faults, "").await;
    let unknown = "0123456789012345678901234567890123456789";
    for (target, status, message) in [
        ("/repos/acme/none".to_owned(), 404, "Not Found"),
        ("/repos/acme/repo-2/branches".to_owned(), 404, "Not Found"),
        ("/repos/acme/repo-1/hooks".to_owned(), 404, "Not Found"),
        ("/orgs/nobody/repos".to_owned(), 404, "Not Found"),
        ("/repos/acme/repo-1/branches/none".to_owned(), 404, "Branch not found"),
        ("/repos/acme/repo-1/commits?sha=none".to_owned(), 404, "Not Found"),
        (format!("/repos/acme/repo-1/commits?sha={unknown}"), 404, "Not Found"),
        (format!("/repos/acme/repo-1/commits/{unknown}"), 422, "No commit found for SHA"),
        (format!("/repos/acme/repo-1/compare/{unknown}...main"), 404, "Not Found"),
        ("/repos/acme/repo-1/compare/main...none".to_owned(), 404, "Not Found"),
    ] {
        let answer = get(&sim, &target).await;
        assert_eq!(answer.status, status, "{target}");
        assert!(answer.message().starts_with(message), "{target}: {}", answer.message());
        assert_eq!(answer.json()["status"], status.to_string());
    }
    let listed = get(&sim, "/user/repos").await.json();
    assert_eq!(listed.as_array().unwrap().len(), 1, "what is gone is not listed");
}

#[tokio::test]
async fn states_answer_as_github_does() {
    let sim = seeded(20).await;
    let ask = async |state, target: &str| {
        sim.world().set_state("acme/repo-1", state).unwrap();
        get(&sim, &format!("/repos/acme/repo-1{target}")).await
    };
    let empty = ask(State::Empty, "/commits").await;
    assert_eq!((empty.status, &*empty.message()), (409, "Git Repository is empty."));
    let branches = ask(State::Empty, "/branches").await;
    assert_eq!((branches.status, branches.body.as_slice()), (200, &b"[]"[..]));
    let legal = ask(State::Legal, "/commits").await;
    assert_eq!((legal.status, &*legal.message()), (451, "Repository access blocked"));
    let denied = ask(State::Denied, "/commits").await;
    assert_eq!(
        (denied.status, &*denied.message()),
        (403, "Resource not accessible by personal access token")
    );
    assert_ne!(denied.header("x-ratelimit-remaining"), Some("0"));
    assert_eq!(ask(State::Gone, "").await.status, 404);
    assert_eq!(ask(State::Ok, "/commits").await.status, 200);
}

#[tokio::test]
async fn a_renamed_repository_redirects_with_path_and_query() {
    let sim = seeded_with(20, "renamed=acme/repo-2>acme/second", "").await;
    sim.world().rename("acme/repo-1", "other/first").unwrap();
    let moved = get(&sim, "/repos/acme/repo-1/commits?sha=main&page=1").await;
    assert_eq!((moved.status, &*moved.message()), (301, "Moved Permanently"));
    let location = moved.header("location").unwrap();
    assert_eq!(location, format!("{}/repositories/417300001/commits?sha=main&page=1", sim.github_url()));
    assert_eq!(get(&sim, location).await.status, 200);
    assert_eq!(get(&sim, "/repos/other/first").await.json()["full_name"], "other/first");
    assert_eq!(get(&sim, "/repos/acme/repo-2").await.status, 301);
    assert!(sim.world().rename("other/first", "acme/second").is_err());
    sim.world().rename("other/first", "acme/repo-1").unwrap();
    assert_eq!(get(&sim, "/repos/acme/repo-1").await.status, 200, "a name can come back");
}

#[tokio::test]
async fn credentials_and_agent_are_checked() {
    let sim = seeded(20).await;
    let target = "/github/repos/acme/repo-1";
    let no_agent = send(&sim, "GET", target, &[TOKEN], "").await;
    assert_eq!((no_agent.status, no_agent.header("content-type")), (403, Some("text/html; charset=utf-8")));
    for token in ["Bearer bad", "token bad-token"] {
        let refused = send(&sim, "GET", target, &[AGENT, ("authorization", token)], "").await;
        assert_eq!((refused.status, &*refused.message()), (401, "Bad credentials"));
    }
    assert_eq!(send(&sim, "GET", target, &[AGENT, ("authorization", "token fine")], "").await.status, 200);
    assert_eq!(send(&sim, "GET", target, &[AGENT], "").await.status, 200);
    let anonymous = send(&sim, "GET", "/github/user", &[AGENT], "").await;
    assert_eq!((anonymous.status, &*anonymous.message()), (401, "Requires authentication"));
    let old = get_with(&sim, "/user", &[("x-github-api-version", "2001-01-01")]).await;
    assert_eq!(old.status, 400);
    let new = get_with(&sim, "/rate_limit", &[("x-github-api-version", "2026-03-10")]).await;
    assert_eq!(new.header("x-github-api-version-selected"), Some("2026-03-10"));
    assert!(new.json()["rate"].is_null());
    assert_eq!(get(&sim, "/rate_limit").await.json()["rate"]["limit"], 5_000);
}

#[tokio::test]
async fn an_unchanged_page_answers_304_without_body_link_or_cost() {
    let sim = seeded(300).await;
    let target = "/repos/acme/repo-1/commits?per_page=100";
    let first = get(&sim, target).await;
    let tag = first.header("etag").unwrap().to_owned();
    assert!(tag.starts_with("W/\"") && first.header("link").is_some());
    assert_eq!(first.header("x-ratelimit-used"), Some("1"));
    let condition = [("if-none-match", &*tag)];
    let again = get_with(&sim, target, &condition).await;
    assert_eq!((again.status, again.body.len(), again.header("link")), (304, 0, None));
    assert_eq!((again.header("x-ratelimit-used"), again.header("etag")), (Some("1"), Some(&*tag)));
    let packed = get_with(&sim, target, &[condition[0], ("accept-encoding", "gzip")]).await;
    assert_eq!(packed.status, 304, "the tag is weak: it is the same for both encodings");
    let other = send(
        &sim,
        "GET",
        &format!("/github{target}"),
        &[AGENT, ("authorization", "Bearer two"), condition[0]],
        "",
    )
    .await;
    assert_eq!(other.status, 200, "tags are per credential");
    assert_eq!(get_with(&sim, target, &[condition[0], ("accept", "application/json")]).await.status, 200);
    sim.world().push("acme/repo-1", "main", 1).unwrap();
    assert_eq!(get_with(&sim, target, &condition).await.status, 200);
    assert_eq!(sim.report().not_modified, 2);
}

#[tokio::test]
async fn a_tag_covers_the_body_and_not_the_links() {
    let sim = seeded(200).await;
    let count = sim.world().repository_truth("acme/repo-1").unwrap().branches.len();
    let target = format!("/repos/acme/repo-1/branches?per_page={count}");
    let full = get(&sim, &target).await;
    assert_eq!(full.header("link"), None);
    sim.world().create_branch("acme/repo-1", "zzz", "main").unwrap();
    let tag = full.header("etag").unwrap();
    let again = get_with(&sim, &target, &[("if-none-match", tag)]).await;
    assert_eq!(again.status, 304, "the new branch is on page 2, which a 304 of page 1 says nothing about");
    assert!(get(&sim, &target).await.header("link").is_some());
}

#[tokio::test]
async fn a_304_without_a_credential_is_paid_for() {
    let sim = seeded(30).await;
    let target = "/github/repos/acme/repo-1";
    let first = send(&sim, "GET", target, &[AGENT], "").await;
    let tag = first.header("etag").unwrap().to_owned();
    let again = send(&sim, "GET", target, &[AGENT, ("if-none-match", &tag)], "").await;
    assert_eq!((again.status, again.header("x-ratelimit-used")), (304, Some("2")));
}

#[tokio::test]
async fn gzip_is_spoken_when_asked_for_and_says_the_same() {
    let sim = seeded(300).await;
    let target = "/repos/acme/repo-1/commits?per_page=100";
    let plain = get(&sim, target).await;
    for _ in ["cold", "warm"] {
        let packed = get_with(&sim, target, &[("accept-encoding", "deflate, gzip")]).await;
        assert_eq!(packed.header("content-encoding"), Some("gzip"));
        assert!(packed.body.len() * 3 < plain.body.len(), "{} of {}", packed.body.len(), plain.body.len());
        assert_eq!(packed.json(), plain.json());
    }
    let small =
        get_with(&sim, "/repos/acme/repo-1/branches?per_page=1", &[("accept-encoding", "gzip")]).await;
    assert_eq!(small.header("content-encoding"), None);
}

#[tokio::test]
async fn the_same_seed_is_the_same_world_and_its_bodies_do_not_name_the_port() {
    let (one, two) = (seeded(300).await, seeded(300).await);
    assert_eq!(one.world().truth().unwrap(), two.world().truth().unwrap());
    let target = "/repos/acme/repo-1/commits?per_page=100";
    let (first, second) = (get(&one, target).await, get(&two, target).await);
    assert_eq!((first.header("etag"), &first.body), (second.header("etag"), &second.body));
    let world = WorldSource::Seeded { seed: 6, repos: 1, commits: 300 };
    let other = sim::start(Options { world, ..Options::default() }).await.unwrap();
    assert!(other.world().truth().unwrap() != one.world().truth().unwrap());
}

#[tokio::test]
async fn latency_is_at_least_what_was_asked_for() {
    let latency = Duration::from_millis(30);
    let sim = sim::start(Options { latency, ..Options::default() }).await.unwrap();
    let begun = std::time::Instant::now();
    get(&sim, "/repos/acme/repo-1").await;
    assert!(begun.elapsed() >= latency);
    sim.stop().await;
}
