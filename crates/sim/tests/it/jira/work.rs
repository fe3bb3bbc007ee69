//! What people do to the site, by control requests, and what a client then sees of it.

use super::{change, cloud, dc, encoded, ids, site, walk};
use crate::client::send;

#[tokio::test]
async fn a_script_can_change_the_site_and_read_the_truth() {
    let sim = site(2, 50).await;
    let truth = async || send(&sim, "GET", "/__sim/jira/truth", &[], "").await.json();
    let active = truth().await["sprints"]
        .as_object()
        .unwrap()
        .iter()
        .find(|(_, it)| it["state"] == "active")
        .map(|(id, _)| id.clone())
        .unwrap();
    for control in [
        r#"{"create_sprint":{"board":1,"name":"Next"}}"#.to_owned(),
        r#"{"create":{"project":"PAY","kind":"story","summary":"New"}}"#.to_owned(),
        r#"{"edit":{"issue":"PAY-51","status":"in_progress","assignee":"ada","labels":["x"],"points":3}}"#
            .to_owned(),
        r#"{"comment":{"issue":"PAY-51","text":"Looks good"}}"#.to_owned(),
        format!("{{\"move\":{{\"issue\":\"PAY-51\",\"sprint\":{active}}}}}"),
        format!("{{\"close_sprint\":{{\"sprint\":{active}}}}}"),
        r#"{"change_project":{"issue":"PAY-51","project":"OPS"}}"#.to_owned(),
        r#"{"hide":{"issue":"OPS-51","hidden":true}}"#.to_owned(),
        r#"{"delete":{"issue":"OPS-51"}}"#.to_owned(),
        format!("{{\"delete_sprint\":{{\"sprint\":{active}}}}}"),
        r#"{"project_access":{"project":"OPS","access":"denied"}}"#.to_owned(),
        r#"{"board_access":{"board":1,"access":"denied"}}"#.to_owned(),
        r#"{"time_zone":"Europe/Berlin"}"#.to_owned(),
        r#"{"repeated_hour":"later"}"#.to_owned(),
    ] {
        let before = truth().await;
        let answer = send(&sim, "POST", "/__sim/jira", &[], &control).await;
        assert_eq!((answer.status, answer.message()), (200, String::new()), "{control}");
        assert_ne!(truth().await, before, "{control}");
    }
    assert_eq!(sim.report().requests, 0, "the simulator's own endpoints are not counted");
}

#[tokio::test]
async fn a_wrong_change_says_what_is_allowed() {
    let sim = site(3, 20).await;
    for (control, status, words) in [
        ("{\"explode\":1}", 400, "close_sprint"),
        (r#"{"edit":{"issue":"PAY-999"}}"#, 404, "no issue PAY-999"),
        (r#"{"move":{"issue":"PAY-1","sprint":999}}"#, 404, "no sprint 999"),
        (r#"{"move":{"issue":"PAY-1","sprint":1}}"#, 409, "is closed"),
        (r#"{"start_sprint":{"sprint":1}}"#, 409, "was started before"),
        (r#"{"close_sprint":{"sprint":1}}"#, 409, "is not active"),
        (r#"{"create_sprint":{"board":3,"name":"x"}}"#, 409, "kanban"),
        (r#"{"edit":{"issue":"PAY-1","assignee":"nobody"}}"#, 404, "no person nobody"),
        (r#"{"time_zone":"Berlin"}"#, 400, "Europe/Berlin"),
    ] {
        let answer = send(&sim, "POST", "/__sim/jira", &[], control).await;
        assert_eq!(answer.status, status, "{control}");
        assert!(answer.message().contains(words), "{control}: {}", answer.message());
    }
    let clock = send(&sim, "POST", "/__sim/clock", &[], "{\"at_ms\":1000}").await;
    assert_eq!((clock.status, clock.json()["now_ms"].as_i64()), (200, Some(1_000)));
    let answer = cloud(&sim, "/rest/api/3/serverInfo").await;
    assert_eq!(answer.header("date"), Some("Thu, 01 Jan 1970 00:00:01 GMT"));
}

#[tokio::test]
async fn a_card_that_leaves_a_sprint_takes_its_parts_along_and_leaves_a_trace() {
    let sim = site(1, 100).await;
    let truth = sim.world().site().truth();
    let (id, card) =
        truth.issues.iter().find(|(_, it)| !it.subtasks.is_empty() && it.sprint.is_some()).unwrap();
    let from = card.sprint.unwrap();
    let to = *truth.sprints.keys().next_back().unwrap();
    change(&sim, &format!("{{\"move\":{{\"issue\":\"{id}\",\"sprint\":{to}}}}}"));
    let left = walk(&sim, &format!("/rest/software/1.0/sprint/{from}/issue?maxResults=100")).await;
    let left: Vec<u64> = left.iter().flat_map(|it| ids(it)).collect();
    assert!(!left.contains(id) && !card.subtasks.iter().any(|part| left.contains(part)));
    let shown = cloud(&sim, &format!("/rest/api/3/issue/{id}?expand=changelog")).await.json();
    let item = &shown["changelog"]["histories"][0]["items"][0];
    assert_eq!(
        (item["field"].as_str(), item["to"].as_str().unwrap().ends_with(&to.to_string())),
        (Some("Sprint"), true)
    );
    let loud = sim.world().site().truth().issues[id].updated_ms;
    assert!(loud > card.updated_ms);
    change(&sim, &format!("{{\"move\":{{\"issue\":\"{id}\",\"sprint\":null,\"quiet\":true}}}}"));
    let quiet = &sim.world().site().truth().issues[id];
    assert_eq!((quiet.sprint, quiet.updated_ms), (None, loud));
    assert!(quiet.changes.len() > card.changes.len() + 1, "its history tells of it, its `updated` does not");
}

#[tokio::test]
async fn a_closed_sprint_hands_what_is_not_done_to_the_next() {
    let sim = site(1, 100).await;
    let before = sim.world().site().truth();
    let (id, sprint) = before.sprints.iter().find(|(_, it)| it.state == sim::SprintState::Active).unwrap();
    let next = change(&sim, r#"{"create_sprint":{"board":1,"name":"Next"}}"#).unwrap();
    change(&sim, &format!("{{\"close_sprint\":{{\"sprint\":{id},\"to\":{next}}}}}"));
    change(&sim, &format!("{{\"start_sprint\":{{\"sprint\":{next}}}}}"));
    let after = sim.world().site().truth();
    assert_eq!(after.sprints[id].state, sim::SprintState::Closed);
    assert_eq!(after.sprints[&next].state, sim::SprintState::Active);
    let open = sprint.issues.iter().filter(|it| before.issues[it].status != sim::Status::Done);
    let open: Vec<u64> =
        open.filter(|it| before.issues[it].kind != sim::IssueKind::Subtask).copied().collect();
    assert!(!open.is_empty() && open.iter().all(|it| after.sprints[&next].issues.contains(it)));
    assert_eq!(after.sprints[id].issues, sprint.issues, "a closed sprint keeps what was in it");
}

#[tokio::test]
async fn a_moved_issue_answers_to_both_keys_and_a_deleted_one_to_none() {
    let sim = site(2, 30).await;
    change(&sim, r#"{"change_project":{"issue":"PAY-2","project":"OPS"}}"#);
    for named in ["PAY-2", "OPS-31", "10001"] {
        let shown = cloud(&sim, &format!("/rest/api/3/issue/{named}?fields=project")).await.json();
        assert_eq!((&shown["id"], &shown["key"]), (&"10001".into(), &"OPS-31".into()), "{named}");
    }
    change(&sim, r#"{"delete":{"issue":"OPS-31"}}"#);
    for named in ["PAY-2", "OPS-31", "10001"] {
        assert_eq!(dc(&sim, &format!("/rest/api/2/issue/{named}")).await.status, 404, "{named}");
    }
    let jql = encoded("project in (PAY, OPS)");
    let all = dc(&sim, &format!("/rest/api/2/search?jql={jql}&maxResults=1000")).await.json();
    assert!(!ids(all["issues"].as_array().unwrap()).contains(&10_001));
}

#[tokio::test]
async fn what_the_credential_may_not_see_is_not_there() {
    let sim = site(2, 30).await;
    change(&sim, r#"{"project_access":{"project":"OPS","access":"denied"}}"#);
    let search = cloud(&sim, &format!("/rest/api/3/search/jql?jql={}", encoded("project = OPS"))).await;
    assert_eq!(search.status, 400, "as if there were no such project");
    assert_eq!(cloud(&sim, "/rest/api/3/issue/OPS-1").await.status, 404);
    let boards = cloud(&sim, "/rest/agile/1.0/board").await.json();
    let names: Vec<&str> =
        boards["values"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["PAY board", "Release train"]);
    assert_eq!(cloud(&sim, "/rest/agile/1.0/board/2/sprint").await.status, 404);
    change(&sim, r#"{"board_access":{"board":1,"access":"forbidden"}}"#);
    let refused = cloud(&sim, "/rest/agile/1.0/board/1/sprint").await;
    assert_eq!(refused.status, 403, "it is listed, and refused to who looks at it");
    assert_eq!(cloud(&sim, "/rest/agile/1.0/sprint/1").await.status, 403);
    let boards = cloud(&sim, "/rest/agile/1.0/board").await.json();
    assert_eq!(boards["values"].as_array().unwrap().len(), 2);
}
