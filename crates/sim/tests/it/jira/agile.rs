//! Boards, sprints and their cards.

use std::collections::BTreeSet;

use serde_json::Value;
use sim::{CardPaths, Sim};

use super::{cloud, dc, ids, site, site_with, walk, wrong};

/// Reads a list by offset to its end, by what it says of the end.
async fn values(sim: &Sim, path: &str, size: usize) -> Vec<Value> {
    let mut all = Vec::new();
    loop {
        let mark = if path.contains('?') { '&' } else { '?' };
        let page = cloud(sim, &format!("{path}{mark}startAt={}&maxResults={size}", all.len())).await.json();
        all.extend(page["values"].as_array().unwrap().clone());
        if page["isLast"] == true {
            return all;
        }
    }
}

fn numbers(list: &[Value]) -> BTreeSet<u64> {
    list.iter().map(|it| it["id"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn boards_and_sprints_are_those_of_the_truth() {
    let sim = site(3, 100).await;
    let truth = sim.world().site().truth();
    let boards = values(&sim, "/rest/agile/1.0/board", 2).await;
    assert_eq!(numbers(&boards), truth.boards.keys().copied().collect());
    for (id, board) in &truth.boards {
        let path = format!("/rest/agile/1.0/board/{id}/sprint");
        if board.kind == sim::BoardKind::Kanban {
            let answer = cloud(&sim, &path).await;
            assert_eq!((answer.status, wrong(&answer).as_str()), (400, "The board does not support sprints"));
        } else {
            assert_eq!(numbers(&values(&sim, &path, 3).await), board.sprints, "{}", board.name);
        }
    }
    let shared = truth.boards.values().find(|it| it.projects.len() == 2).unwrap();
    assert!(shared.sprints.len() > 4, "a board may show sprints that were made on others");
    assert!(truth.boards.values().any(|it| it.sprints.is_empty() && it.kind == sim::BoardKind::Scrum));
}

#[tokio::test]
async fn a_sprint_list_tells_no_total_and_future_sprints_have_no_dates() {
    let sim = site(1, 100).await;
    let page = cloud(&sim, "/rest/agile/1.0/board/1/sprint?state=active,future").await.json();
    assert!(page.get("total").is_none() && page["isLast"] == true);
    let [active, future] = page["values"].as_array().unwrap().as_slice() else { panic!("{page}") };
    assert_eq!((active["state"].as_str(), future["state"].as_str()), (Some("active"), Some("future")));
    assert!(active["startDate"].as_str().unwrap().contains(".000Z"), "{active}");
    assert!(future.get("startDate").is_none() && active.get("completeDate").is_none());
    let id = active["id"].as_u64().unwrap();
    let there = dc(&sim, &format!("/rest/agile/1.0/sprint/{id}")).await.json();
    assert!(there["startDate"].as_str().unwrap().ends_with("+08:00"), "Data Center writes the zone: {there}");
    let refused = cloud(&sim, "/rest/agile/1.0/board/1/sprint?state=open").await;
    assert!(refused.status == 400 && wrong(&refused).contains("'open'"));
}

#[tokio::test]
async fn more_sprints_than_a_page_holds_are_paged_whatever_is_asked_for() {
    let sim = site(1, 720).await;
    let page = cloud(&sim, "/rest/agile/1.0/board/1/sprint?maxResults=1000").await.json();
    assert_eq!((page["values"].as_array().unwrap().len(), &page["isLast"]), (50, &Value::Bool(false)));
    assert_eq!(values(&sim, "/rest/agile/1.0/board/1/sprint", 50).await.len(), 60);
}

#[tokio::test]
async fn the_cards_of_a_sprint_are_those_of_the_truth_on_both() {
    let sim = site(2, 200).await;
    let truth = sim.world().site().truth();
    for (id, sprint) in truth.sprints.iter().filter(|(_, it)| it.state == sim::SprintState::Active) {
        assert!(!sprint.issues.is_empty());
        let path = format!("/rest/software/1.0/sprint/{id}/issue?maxResults=7&fields=summary");
        let pages = walk(&sim, &path).await;
        assert_eq!(pages.iter().flat_map(|it| ids(it)).collect::<BTreeSet<_>>(), sprint.issues);
        let (mut found, mut total) = (BTreeSet::new(), 1);
        while found.len() < total {
            let path = format!("/rest/agile/1.0/sprint/{id}/issue?maxResults=7&startAt={}", found.len());
            let page = dc(&sim, &path).await.json();
            total = usize::try_from(page["total"].as_u64().unwrap()).unwrap();
            found.extend(ids(page["issues"].as_array().unwrap()));
        }
        assert_eq!(found, sprint.issues);
    }
}

#[tokio::test]
async fn cloud_has_one_of_the_two_paths_for_cards_and_data_center_the_old_one() {
    let paths = ["/rest/agile/1.0/sprint/1/issue", "/rest/software/1.0/sprint/1/issue"];
    for (cards, statuses) in [(CardPaths::Software, [410, 200]), (CardPaths::Agile, [200, 404])] {
        let sim = site_with(1, 50, |options| options.jira.cards = cards).await;
        let mut found = [0; 2];
        for (status, path) in found.iter_mut().zip(paths) {
            *status = cloud(&sim, path).await.status;
        }
        assert_eq!(found, statuses, "{cards:?}");
        assert_eq!(dc(&sim, paths[0]).await.status, 200);
        assert_eq!(dc(&sim, paths[1]).await.status, 404);
    }
}

#[tokio::test]
async fn boards_are_filtered_and_the_backlog_has_what_no_active_sprint_has() {
    let sim = site(3, 100).await;
    let kanban = values(&sim, "/rest/agile/1.0/board?type=kanban", 50).await;
    assert!(kanban.len() == 2 && kanban.iter().all(|it| it["type"] == "kanban"));
    let named = values(&sim, "/rest/agile/1.0/board?projectKeyOrId=PAY", 50).await;
    assert_eq!(named.len(), 2, "its own board and the one over two projects");
    let backlog = dc(&sim, "/rest/agile/1.0/board/1/backlog?maxResults=100").await.json();
    let truth = sim.world().site().truth();
    let listed = ids(backlog["issues"].as_array().unwrap());
    assert!(!listed.is_empty());
    for id in listed {
        let sprint = truth.issues[&id].sprint.map(|it| truth.sprints[&it].state);
        assert!(sprint.is_none_or(|it| it == sim::SprintState::Future), "{id}");
    }
    let configuration = cloud(&sim, "/rest/agile/1.0/board/1/configuration").await.json();
    let filter = configuration["filter"]["id"].as_str().unwrap();
    let filter = cloud(&sim, &format!("/rest/api/3/filter/{filter}")).await.json();
    assert_eq!(filter["jql"], "project in (PAY) ORDER BY Rank ASC");
}
