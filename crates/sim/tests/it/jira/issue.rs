//! Issues, their fields, and what happened to them.

use serde_json::Value;

use super::{change, cloud, dc, post, site, wrong};

#[tokio::test]
async fn times_are_in_the_zone_of_who_asks_without_a_colon() {
    let sim = site(1, 30).await;
    let truth = sim.world().site().truth();
    let created = truth.issues[&10_000].created_ms;
    for (zone, offset) in [("Asia/Shanghai", "+0800"), ("Etc/UTC", "+0000"), ("America/St_Johns", "-0330")] {
        change(&sim, &format!("{{\"time_zone\":\"{zone}\"}}"));
        let shown = cloud(&sim, "/rest/api/3/issue/10000?fields=created,duedate").await.json();
        let text = shown["fields"]["created"].as_str().unwrap().to_owned();
        assert!(text.ends_with(offset), "{zone}: {text}");
        let hours = (text[11..13].parse::<i64>().unwrap(), created / 3_600_000 % 24);
        let minutes: i64 = offset[1..3].parse::<i64>().unwrap() * 60 + offset[3..].parse::<i64>().unwrap();
        let east = if offset.starts_with('-') { -minutes } else { minutes };
        assert_eq!(hours.0, (created / 60_000 + east).rem_euclid(1_440) / 60, "{zone}: {text}");
    }
}

#[tokio::test]
async fn cloud_shows_the_newest_of_a_long_history_and_its_endpoint_the_oldest_first() {
    let sim = site(1, 40).await;
    let truth = sim.world().site().truth();
    let (id, long) = truth.issues.iter().find(|(_, it)| it.changes.len() > 120).unwrap();
    let numbers = |list: &Value| -> Vec<u64> {
        list.as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().parse().unwrap()).collect()
    };
    let shown = cloud(&sim, &format!("/rest/api/3/issue/{id}?expand=changelog")).await.json();
    let (inside, total) = (numbers(&shown["changelog"]["histories"]), shown["changelog"]["total"].as_u64());
    assert_eq!((inside.len(), total), (100, Some(long.changes.len() as u64)));
    assert_eq!(inside, long.changes.iter().rev().take(100).copied().collect::<Vec<_>>());
    let (mut found, mut next) = (Vec::new(), format!("/rest/api/3/issue/{id}/changelog?maxResults=50"));
    loop {
        let page = cloud(&sim, &next).await.json();
        found.extend(numbers(&page["values"]));
        match page["nextPage"].as_str() {
            Some(link) => next = link.strip_prefix(&sim.jira_cloud_url()).unwrap().to_owned(),
            None => break,
        }
    }
    assert_eq!(found, long.changes);
    let whole = dc(&sim, &format!("/rest/api/2/issue/{id}?expand=changelog")).await.json();
    assert_eq!(
        numbers(&whole["changelog"]["histories"]),
        long.changes,
        "Data Center shows all, oldest first"
    );
    assert_eq!(dc(&sim, &format!("/rest/api/2/issue/{id}/changelog")).await.status, 404);
}

#[tokio::test]
async fn histories_of_many_issues_come_with_numbers_for_moments() {
    let sim = site(1, 40).await;
    let body = |token: &str| {
        format!("{{\"issueIdsOrKeys\":[\"10001\",\"PAY-3\",\"PAY-5\"],\"maxResults\":2{token}}}")
    };
    let (mut found, mut token) = (Vec::new(), String::new());
    loop {
        let page = post(&sim, "/rest/api/3/changelog/bulkfetch", &body(&token)).await.json();
        for log in page["issueChangeLogs"].as_array().unwrap() {
            for entry in log["changeHistories"].as_array().unwrap() {
                assert!(entry["created"].is_i64(), "{entry}");
                found.push(entry["id"].as_str().unwrap().parse::<u64>().unwrap());
            }
        }
        match page["nextPageToken"].as_str() {
            Some(next) => token = format!(",\"nextPageToken\":\"{next}\""),
            None => break,
        }
    }
    let truth = sim.world().site().truth();
    let expected: Vec<u64> =
        [10_001, 10_002, 10_004].iter().flat_map(|id| truth.issues[id].changes.clone()).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn fields_differ_as_the_two_kinds_do() {
    let sim = site(1, 60).await;
    let truth = sim.world().site().truth();
    let (id, part) = truth
        .issues
        .iter()
        .find(|(_, it)| it.kind == sim::IssueKind::Subtask && it.sprint.is_some())
        .unwrap();
    let on_cloud = cloud(&sim, &format!("/rest/api/3/issue/{id}")).await.json();
    let on_dc = dc(&sim, &format!("/rest/api/2/issue/{}", part.key)).await.json();
    let parent = part.parent.unwrap().to_string();
    assert_eq!(on_cloud["fields"]["parent"]["id"], parent.as_str());
    assert_eq!(on_dc["fields"]["parent"]["id"], parent.as_str());
    assert_eq!(on_cloud["fields"]["customfield_10020"][0]["id"], part.sprint.unwrap());
    let printed = on_dc["fields"]["customfield_10020"][0].as_str().unwrap();
    assert!(printed.contains(&format!("[id={},", part.sprint.unwrap())), "{printed}");
    let story = cloud(&sim, &format!("/rest/api/3/issue/{parent}")).await.json();
    let parts: Vec<&str> = story["fields"]["subtasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["key"].as_str().unwrap())
        .collect();
    assert!(parts.contains(&part.key.as_str()));
    let text = |id: u64, path: String| (truth.issues[&id].kind, path);
    let (_, path) = text(10_001, "/rest/api/3/issue/10001?fields=description".to_owned());
    let described = cloud(&sim, &path).await.json()["fields"]["description"].clone();
    assert!(described.is_null() || described["type"] == "doc", "{described}");
}

#[tokio::test]
async fn an_issue_shows_some_of_its_comments_and_the_endpoint_all() {
    let sim = site(1, 10).await;
    for number in 0..25 {
        change(&sim, &format!("{{\"comment\":{{\"issue\":\"PAY-2\",\"text\":\"number {number}\"}}}}"));
    }
    let truth = sim.world().site().truth().issues[&10_001].comments.clone();
    let shown =
        cloud(&sim, "/rest/api/3/issue/PAY-2?fields=comment").await.json()["fields"]["comment"].clone();
    assert_eq!((shown["comments"].as_array().unwrap().len(), &shown["total"]), (20, &truth.len().into()));
    let page = cloud(&sim, "/rest/api/2/issue/PAY-2/comment?startAt=20").await.json();
    let last = page["comments"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        (&last["id"], &last["body"]),
        (&truth.last().unwrap().to_string().into(), &"number 24".into())
    );
}

#[tokio::test]
async fn named_issues_come_in_order_with_those_that_could_not_be_shown() {
    let sim = site(1, 20).await;
    change(&sim, r#"{"hide":{"issue":"PAY-3","hidden":true}}"#);
    let asked = r#"{"issueIdsOrKeys":["PAY-5","10001","PAY-3","PAY-999"],"fields":["summary"]}"#;
    let answer = post(&sim, "/rest/api/3/issue/bulkfetch", asked).await.json();
    let keys: Vec<&str> =
        answer["issues"].as_array().unwrap().iter().map(|it| it["key"].as_str().unwrap()).collect();
    assert_eq!((keys, answer["issueErrors"].as_array().unwrap().len()), (vec!["PAY-2", "PAY-5"], 2));
    let hidden = cloud(&sim, "/rest/api/3/issue/PAY-3").await;
    assert_eq!((hidden.status, wrong(&hidden).contains("permission")), (404, true));
    let crowd = format!("{{\"issueIdsOrKeys\":[{}]}}", vec!["\"1\""; 101].join(","));
    assert_eq!(post(&sim, "/rest/api/3/issue/bulkfetch", &crowd).await.status, 400);
}
