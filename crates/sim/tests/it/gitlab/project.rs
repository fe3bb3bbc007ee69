//! Projects: how they are named, moved, archived, refused and listed, and which credentials are good.

use serde_json::{Value, json};
use sim::State;

use super::{FIRST, FIRST_ID, TOKEN, all, get, get_with};
use crate::client::{get as github, seeded, seeded_with, send};

#[tokio::test]
async fn a_project_is_found_by_number_and_by_its_encoded_path_only() {
    let sim = seeded(20).await;
    let shown = get(&sim, FIRST).await;
    assert!((2_400..4_000).contains(&shown.body.len()), "{} bytes", shown.body.len());
    let shown = shown.json();
    assert_eq!((&shown["id"], &shown["path_with_namespace"]), (&FIRST_ID.into(), &"acme/repo-1".into()));
    assert_eq!((&shown["default_branch"], &shown["empty_repo"]), (&"main".into(), &false.into()));
    assert_eq!(
        shown["_links"]["repo_branches"],
        format!("https://gitlab.com/api/v4{FIRST}/repository/branches")
    );
    assert_eq!((&shown["namespace"]["full_path"], shown.get("owner")), (&"acme".into(), None));
    for path in ["acme%2Frepo-1", "ACME%2frepo-1"] {
        assert_eq!(get(&sim, &format!("/projects/{path}")).await.json(), shown, "{path}");
    }
    let plain = get(&sim, "/projects/acme/repo-1").await;
    assert_eq!((plain.status, plain.json()), (404, json!({ "error": "404 Not Found" })));
    for path in ["acme%252Frepo-1", "acme%2Fnone", "417300099"] {
        let lost = get(&sim, &format!("/projects/{path}/repository/branches")).await;
        assert_eq!((lost.status, &*lost.message()), (404, "404 Project Not Found"), "{path}");
    }
    assert_eq!(
        github(&sim, "/repositories/417300001").await.json()["full_name"],
        "acme/repo-1",
        "as GitHub has it"
    );
}

#[tokio::test]
async fn an_old_path_leads_to_the_number_with_path_and_query() {
    let sim = seeded(20).await;
    sim.world().rename("acme/repo-1", "other/first").unwrap();
    let rest = "/repository/branches/feature%2Fx?search=a%2Bb";
    let moved = get(&sim, &format!("/projects/acme%2Frepo-1{rest}")).await;
    assert_eq!((moved.status, moved.header("content-type")), (301, Some("text/plain")));
    assert_eq!(moved.header("location"), Some(&*format!("{}{FIRST}{rest}", sim.gitlab_url())));
    assert!(moved.body.starts_with(b"This resource has been moved permanently to http://"));
    let location = get(&sim, "/projects/acme%2Frepo-1").await.header("location").unwrap().to_owned();
    assert_eq!(get(&sim, &location).await.json()["path_with_namespace"], "other/first");
    assert_eq!(get(&sim, "/projects/other%2Ffirst").await.status, 200);
}

#[tokio::test]
async fn states_answer_as_gitlab_does() {
    let sim = seeded(20).await;
    for (state, status, message) in [
        (State::Gone, 404, json!("404 Project Not Found")),
        (State::Denied, 403, json!("403 Forbidden")),
        (State::Legal, 403, json!({ "base": ["This project is not available for legal reasons"] })),
    ] {
        sim.world().set_state("acme/repo-1", state).unwrap();
        for target in ["", "/repository/branches", "/repository/commits"] {
            let refused = get(&sim, &format!("{FIRST}{target}")).await;
            assert_eq!(
                (refused.status, &refused.json()["message"]),
                (status, &message),
                "{state:?} {target}"
            );
            assert_eq!(refused.header("content-type"), Some("application/json"));
        }
        let listed = all(&sim, "/projects", "path").await;
        assert_eq!(listed.contains(&"repo-1".to_owned()), state != State::Gone, "{state:?}");
    }
    sim.world().set_state("acme/repo-1", State::Ok).unwrap();
    assert_eq!(get(&sim, FIRST).await.status, 200);
}

#[tokio::test]
async fn an_archived_project_is_readable_and_can_be_left_out() {
    let sim = seeded(20).await;
    let control = "/__sim/github/repos/acme/repo-1";
    assert_eq!(send(&sim, "POST", control, &[], "{\"archive\":true}").await.status, 200);
    assert_eq!(get(&sim, FIRST).await.json()["archived"], true);
    assert_eq!(github(&sim, "/repos/acme/repo-1").await.json()["archived"], true);
    assert!(sim.world().repository_truth("acme/repo-1").unwrap().archived);
    assert_eq!(get(&sim, &format!("{FIRST}/repository/commits")).await.status, 200);
    assert_eq!(all(&sim, "/projects?archived=true", "path").await, ["repo-1"]);
    assert_eq!(all(&sim, "/projects?archived=false", "path").await, ["repo-2"]);
    sim.world().archive("acme/repo-1", false).unwrap();
    assert_eq!(get(&sim, FIRST).await.json()["archived"], false);
}

#[tokio::test]
async fn lists_are_chosen_and_ordered() {
    let sim = seeded(20).await;
    sim.world().push("acme/repo-1", "main", 1).unwrap();
    for (query, names) in [
        ("?order_by=last_activity_at", ["repo-1", "repo-2"].as_slice()),
        ("?order_by=name&sort=asc", &["repo-1", "repo-2"]),
        ("?search=REPO-2", &["repo-2"]),
        ("?id_after=417300001", &["repo-2"]),
    ] {
        assert_eq!(all(&sim, &format!("/projects{query}"), "path").await, names, "{query}");
    }
    for query in ["?order_by=colour", "?sort=up"] {
        let refused = get(&sim, &format!("/projects{query}")).await;
        assert_eq!(refused.status, 400, "{query}");
        assert!(refused.json()["error"].as_str().unwrap().ends_with("does not have a valid value"));
    }
}

#[tokio::test]
async fn credentials_come_in_two_headers_and_job_tokens_are_none() {
    let sim = seeded(20).await;
    let refused = json!({ "message": "401 Unauthorized" });
    for (header, status) in [
        (("private-token", "fine"), 200),
        (("authorization", "Bearer fine"), 200),
        (("private-token", "bad-one"), 401),
        (("authorization", "Bearer bad"), 401),
        (("job-token", "fine"), 401),
        (("private-token", "glcbt-64_x"), 401),
        (("authorization", "Bearer glcbt-64_x"), 401),
    ] {
        for target in [FIRST, "/projects?membership=true"] {
            let answer = get_with(&sim, target, &[header]).await;
            assert_eq!(answer.status, status, "{header:?} {target}");
            assert!(status == 200 || answer.json() == refused);
        }
    }
    let anonymous = get_with(&sim, FIRST, &[]).await;
    assert_eq!((anonymous.status, anonymous.json().get("permissions")), (200, None));
    assert!(get(&sim, FIRST).await.json()["permissions"]["group_access"]["access_level"].is_u64());
    for target in ["/projects?membership=true", "/user", "/version"] {
        assert_eq!(get_with(&sim, target, &[]).await.json(), refused, "{target}");
        assert_eq!(get(&sim, target).await.status, 200, "{target}");
    }
    let posted = send(&sim, "POST", &format!("/gitlab/api/v4{FIRST}"), &[TOKEN], "{}").await;
    assert_eq!(posted.status, 405);
}

#[tokio::test]
async fn an_unchanged_page_answers_304_without_body_or_link_but_not_for_nothing() {
    let sim = seeded_with(300, "", "gitlab=4").await;
    sim.set_time(Some(1_790_000_010_000));
    let target = format!("{FIRST}/repository/branches?per_page=100");
    let first = get(&sim, &target).await;
    let tag = first.header("etag").unwrap().to_owned();
    assert!(tag.starts_with("W/\"") && first.header("link").is_some());
    let again = get_with(&sim, &target, &[TOKEN, ("if-none-match", &tag)]).await;
    assert_eq!((again.status, again.body.len(), again.header("link")), (304, 0, None));
    sim.world().push("acme/repo-1", "staging", 1).unwrap();
    let changed = get_with(&sim, &target, &[TOKEN, ("if-none-match", &tag)]).await;
    assert_eq!(changed.status, 200);
    let told = get(&sim, &target).await;
    assert_eq!(told.header("ratelimit-observed"), Some("4"), "the 304 was counted");
    assert_eq!((get(&sim, &target).await.status, sim.report().not_modified), (429, 1));
}

#[tokio::test]
async fn a_tag_covers_the_body_and_not_the_links() {
    let sim = seeded(200).await;
    let count = sim.world().repository_truth("acme/repo-1").unwrap().branches.len();
    let target = format!("{FIRST}/repository/branches?per_page={count}");
    let full = get(&sim, &target).await;
    assert_eq!(full.header("x-next-page"), Some(""));
    sim.world().create_branch("acme/repo-1", "zzz", "main").unwrap();
    let again = get_with(&sim, &target, &[TOKEN, ("if-none-match", full.header("etag").unwrap())]).await;
    assert_eq!(again.status, 304);
    assert_eq!(get(&sim, &target).await.header("x-next-page"), Some("2"));
}

#[tokio::test]
async fn gzip_is_spoken_when_asked_for_and_bodies_do_not_name_the_port() {
    let (sim, other) = (seeded(300).await, seeded(300).await);
    let target = format!("{FIRST}/repository/commits?per_page=100");
    let plain = get(&sim, &target).await;
    for _ in ["cold", "warm"] {
        let packed = get_with(&sim, &target, &[TOKEN, ("accept-encoding", "gzip")]).await;
        assert_eq!(packed.header("content-encoding"), Some("gzip"));
        assert!(packed.body.len() * 3 < plain.body.len());
        assert_eq!(packed.json(), plain.json());
    }
    let elsewhere = get(&other, &target).await;
    assert_eq!((elsewhere.header("etag"), &elsewhere.body), (plain.header("etag"), &plain.body));
    assert_ne!(plain.json(), Value::Array(Vec::new()));
}
