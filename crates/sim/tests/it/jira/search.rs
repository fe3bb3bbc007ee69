//! Searches of both kinds, and everything that a client of them has to know.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{change, cloud, dc, encoded, ids, post, site, walk, wrong};

const MINUTE_MS: i64 = 60_000;
const NOTHING: [u64; 0] = [];

/// Searches Cloud once.
async fn search(sim: &sim::Sim, jql: &str) -> crate::client::Answer {
    cloud(sim, &format!("/rest/api/3/search/jql?maxResults=5000&jql={}", encoded(jql))).await
}

/// Walks a search on Cloud and returns all numbers, in order.
async fn found(sim: &sim::Sim, jql: &str) -> Vec<u64> {
    let pages = walk(sim, &format!("/rest/api/3/search/jql?maxResults=5000&jql={}", encoded(jql))).await;
    pages.iter().flat_map(|it| ids(it)).collect()
}

#[tokio::test]
async fn a_walk_finds_everything_once_though_pages_are_short_and_empty() {
    let sim = site(2, 400).await;
    let path = format!(
        "/rest/api/3/search/jql?maxResults=10&fields=summary&jql={}",
        encoded("project = PAY ORDER BY updated ASC")
    );
    let pages = walk(&sim, &path).await;
    let all: Vec<u64> = pages.iter().flat_map(|it| ids(it)).collect();
    assert_eq!(all.len(), 400);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 400);
    let lengths: BTreeSet<usize> = pages[..pages.len() - 1].iter().map(Vec::len).collect();
    assert_eq!(lengths, BTreeSet::from([0, 5, 10]), "some pages before the last are short, some are empty");
    let truth = sim.world().site().truth();
    assert!(all.is_sorted_by_key(|id| truth.issues[id].updated_ms));
}

#[tokio::test]
async fn only_numbers_are_shown_unless_fields_are_asked_for() {
    let sim = site(1, 200).await;
    let bare = search(&sim, "project = PAY").await.json();
    assert_eq!(bare["issues"][0].as_object().unwrap().keys().collect::<Vec<_>>(), ["id"]);
    let page = cloud(&sim, "/rest/api/3/search/jql?maxResults=5000&fields=summary,status&jql=project%3DPAY")
        .await
        .json();
    let issues = page["issues"].as_array().unwrap();
    assert!(issues.len() <= 100 && page["isLast"] == false, "fewer come with fields, silently");
    assert_eq!(issues[0]["fields"].as_object().unwrap().keys().collect::<Vec<_>>(), ["status", "summary"]);
}

#[tokio::test]
async fn what_cloud_refuses_it_refuses_with_its_own_words() {
    let sim = site(1, 20).await;
    for (jql, words) in [
        ("order by key desc", "Unbounded JQL queries are not allowed here."),
        ("", "Unbounded JQL"),
        ("project = NONE", "The value 'NONE' does not exist for the field 'project'."),
        ("sprint = 999", "Sprint with id '999' does not exist"),
        ("colour = red", "Field 'colour' does not exist"),
        ("key = PAY-999", "An issue with key 'PAY-999' does not exist for field 'key'."),
        ("updated >= \"2026-01-01T10:00\"", "Date value '2026-01-01T10:00' for field 'updated' is invalid."),
        ("updated >= \"2026-01-01 10:00:30\"", "is invalid. Valid formats include"),
        (
            "project = PAY updated > -5m",
            "Expecting either 'OR' or 'AND' but got 'updated'. (line 1, character 15)",
        ),
        ("project =", "before the end of the query"),
        ("project ~ PAY", "The valid operators are"),
        ("(project = PAY", "Expecting ')'"),
        ("project = \"PAY", "has not been completed"),
        ("project = PAY order by colour", "Not able to sort using field 'colour'"),
        ("project = PAY order by key,id,created,updated,status,project,rank,key", "limited to 7"),
    ] {
        let answer = search(&sim, jql).await;
        assert_eq!(answer.status, 400, "{jql}");
        assert!(wrong(&answer).contains(words), "{jql}: {}", wrong(&answer));
    }
    for body in [
        r#"{"jql":"project=PAY","startAt":0}"#,
        r#"{"jql":"project=PAY","expand":["changelog"]}"#,
        "not json",
    ] {
        let answer = post(&sim, "/rest/api/3/search/jql", body).await;
        assert!(answer.status == 400 && wrong(&answer).contains("Invalid request payload"), "{body}");
    }
    let old = cloud(&sim, "/rest/api/3/search?jql=project%3DPAY").await;
    assert!(old.status == 410 && wrong(&old).contains("CHANGE-2046"));
    let large = cloud(&sim, "/rest/api/3/search/jql?jql=project%3DPAY&maxResults=5001").await;
    assert_eq!(large.status, 400);
}

#[tokio::test]
async fn a_token_belongs_to_its_query_and_grows_old() {
    let sim = site(1, 100).await;
    sim.set_time(Some(1_790_000_000_000));
    let path = "/rest/api/3/search/jql?maxResults=5&jql=project%3DPAY";
    let token = cloud(&sim, path).await.json()["nextPageToken"].as_str().unwrap().to_owned();
    let other = format!("/rest/api/3/search/jql?jql=project%3DPAY%20&nextPageToken={token}");
    assert_eq!(cloud(&sim, &other).await.status, 400, "of another query");
    let next = format!("{path}&nextPageToken={token}");
    let day_ms = 86_400_000;
    for (days, status) in [(7, 200), (8, 400)] {
        sim.set_time(Some(1_790_000_000_000 + days * day_ms));
        assert_eq!(cloud(&sim, &next).await.status, status, "after {days} days");
    }
    assert_eq!(cloud(&sim, &format!("{path}&nextPageToken=abc")).await.status, 400);
}

#[tokio::test]
async fn minutes_are_those_of_the_accounts_zone() {
    let sim = site(1, 50).await;
    let at_ms = 1_790_000_030_500;
    sim.set_time(Some(at_ms));
    let id = change(&sim, r#"{"edit":{"issue":"PAY-7","summary":"Seen at the border"}}"#).unwrap();
    for (zone, wall) in [
        ("Asia/Shanghai", "2026-09-21 22:13"),
        ("Etc/UTC", "2026-09-21 14:13"),
        ("America/St_Johns", "2026/09/21 11:43"),
    ] {
        change(&sim, &format!("{{\"time_zone\":\"{zone}\"}}"));
        let (minute, next) =
            (wall.to_owned(), format!("{}{}", &wall[..15], wall[15..].parse::<u32>().unwrap() + 1));
        assert_eq!(found(&sim, &format!("updated >= \"{minute}\"")).await, [id], "{zone}");
        assert_eq!(found(&sim, &format!("project = PAY AND updated >= '{next}'")).await, NOTHING, "{zone}");
    }
    assert_eq!(found(&sim, "updated >= -1m").await, [id]);
    assert_eq!(found(&sim, &format!("updated >= {at_ms}")).await, [id], "a number needs no zone");
    sim.set_time(Some(at_ms + 2 * MINUTE_MS));
    assert_eq!(found(&sim, "updated >= -1m").await, NOTHING);
}

#[tokio::test]
async fn conditions_mean_what_they_mean_in_jira() {
    let sim = site(2, 100).await;
    let truth = sim.world().site().truth();
    let of = |wanted: &dyn Fn(&sim::IssueTruth) -> bool| -> Vec<u64> {
        truth.issues.iter().filter(|(_, it)| wanted(it)).map(|(id, _)| *id).collect()
    };
    let open: BTreeSet<u64> = truth
        .sprints
        .iter()
        .filter(|(_, it)| it.state == sim::SprintState::Active)
        .map(|(id, _)| *id)
        .collect();
    let sprint = *open.first().unwrap();
    let checks: [(String, Vec<u64>); 9] = [
        ("project in (PAY, OPS) ORDER BY id".to_owned(), of(&|_| true)),
        (format!("sprint = {sprint} ORDER BY created"), of(&|it| it.sprints.contains(&sprint))),
        (
            "sprint in openSprints() AND statusCategory != Done ORDER BY key".to_owned(),
            of(&|it| it.sprints.iter().any(|id| open.contains(id)) && it.status != sim::Status::Done),
        ),
        (
            format!("sprint != {sprint} ORDER BY key ASC"),
            of(&|it| !it.sprints.is_empty() && !it.sprints.contains(&sprint)),
        ),
        (
            "sprint is EMPTY AND project = ops ORDER BY key".to_owned(),
            of(&|it| it.sprints.is_empty() && it.key.starts_with("OPS")),
        ),
        (
            "NOT (project = PAY) AND key > OPS-90 ORDER BY key".to_owned(),
            of(&|it| {
                it.key.starts_with("OPS-9") && it.key.len() == 6 && it.key != "OPS-90" || it.key == "OPS-100"
            }),
        ),
        (
            "issuetype = Epic OR key in (PAY-2, 10004) ORDER BY id".to_owned(),
            of(&|it| it.kind == sim::IssueKind::Epic || ["PAY-2", "PAY-5"].contains(&it.key.as_str())),
        ),
        (
            "assignee = ada && status IN (\"In Progress\", Done) ORDER BY id".to_owned(),
            of(&|it| {
                it.assignee.as_deref() == Some("ada")
                    && [sim::Status::InProgress, sim::Status::Done].contains(&it.status)
            }),
        ),
        (
            "created < '2023-03-01' AND project = PAY ORDER BY id".to_owned(),
            of(&|it| it.created_ms < 1_677_600_000_000 && it.key.starts_with("PAY")),
        ),
    ];
    for (jql, expected) in checks {
        assert!(!expected.is_empty(), "{jql} would find nothing");
        assert_eq!(found(&sim, &jql).await, expected, "{jql}");
        let path = format!("/rest/api/2/search?maxResults=1000&jql={}", encoded(&jql));
        assert_eq!(
            ids(dc(&sim, &path).await.json()["issues"].as_array().unwrap()),
            expected,
            "{jql} on Data Center"
        );
    }
}

#[tokio::test]
async fn data_center_pages_by_offset_over_an_order_that_moves() {
    let sim = site(1, 60).await;
    let path = |start: usize| {
        format!("/rest/api/2/search?jql=order+by+updated+asc&fields=summary&maxResults=20&startAt={start}")
    };
    let first = dc(&sim, &path(0)).await.json();
    assert_eq!(
        (&first["total"], &first["startAt"], &first["maxResults"]),
        (&60.into(), &0.into(), &20.into())
    );
    let shown = ids(first["issues"].as_array().unwrap());
    change(&sim, &format!("{{\"edit\":{{\"issue\":\"{}\",\"summary\":\"moved to the end\"}}}}", shown[3]));
    let mut all: Vec<u64> = shown.clone();
    for start in [20, 40] {
        all.extend(ids(dc(&sim, &path(start)).await.json()["issues"].as_array().unwrap()));
    }
    let distinct: BTreeSet<_> = all.iter().collect();
    assert_eq!((all.len(), distinct.len()), (60, 59), "one is read twice, and another one is never read");
    let all = dc(&sim, "/rest/api/2/search?maxResults=5000").await.json();
    assert_eq!((&all["maxResults"], all["issues"][0].get("fields").is_some()), (&Value::from(1000), true));
}

#[tokio::test]
async fn cloud_search_lags_unless_it_is_told_to_look() {
    let sim = site(1, 30).await;
    sim.set_time(Some(1_790_000_000_000));
    change(&sim, r#"{"lag_ms":5000}"#);
    let made = change(&sim, r#"{"create":{"project":"PAY","kind":"bug","summary":"Just written"}}"#).unwrap();
    let moved = change(&sim, r#"{"edit":{"issue":"PAY-4","summary":"Just edited"}}"#).unwrap();
    let jql = "updated >= -5m ORDER BY key DESC";
    assert_eq!(found(&sim, jql).await, NOTHING);
    let both = format!("/rest/api/3/search/jql?reconcileIssues={made},{moved}&jql={}", encoded(jql));
    assert_eq!(walk(&sim, &both).await.iter().flat_map(|it| ids(it)).collect::<Vec<_>>(), [made, moved]);
    assert_eq!(cloud(&sim, &format!("/rest/api/3/issue/{made}")).await.status, 200, "reading does not lag");
    let path = format!("/rest/api/2/search?jql={}", encoded(jql));
    assert_eq!(dc(&sim, &path).await.json()["total"], 2, "Data Center does not lag");
    let count = post(&sim, "/rest/api/3/search/approximate-count", "{\"jql\":\"project = PAY\"}").await;
    assert_eq!(count.json()["count"], 30, "the count lags, too");
    sim.set_time(Some(1_790_000_005_000));
    assert_eq!(found(&sim, jql).await, [made, moved]);
}
