//! Who the server says it is, and who it says asks.

use sim::Login;

use super::{cloud, dc, site, site_with};
use crate::client::send;

#[tokio::test]
async fn the_two_kinds_of_jira_tell_what_they_are_to_everybody() {
    let sim = site(1, 10).await;
    for (path, kind) in
        [("/jira/cloud/rest/api/2/serverInfo", "Cloud"), ("/jira/dc/rest/api/2/serverInfo", "Server")]
    {
        let answer = send(&sim, "GET", path, &[], "").await;
        assert_eq!((answer.status, answer.json()["deploymentType"].as_str()), (200, Some(kind)));
        assert_eq!(answer.header("content-type"), Some("application/json;charset=UTF-8"));
    }
    assert_eq!(dc(&sim, "/rest/api/3/serverInfo").await.status, 404, "version 3 is Cloud's");
}

#[tokio::test]
async fn myself_has_the_zone_and_the_names_of_its_kind() {
    let sim = site(1, 10).await;
    let (on_cloud, on_dc) =
        (cloud(&sim, "/rest/api/3/myself").await.json(), dc(&sim, "/rest/api/2/myself").await.json());
    assert_eq!(
        (&on_cloud["timeZone"], &on_dc["timeZone"]),
        (&"Asia/Shanghai".into(), &"Asia/Shanghai".into())
    );
    assert!(on_cloud["accountId"].as_str().unwrap().starts_with("712020:") && on_cloud.get("name").is_none());
    assert!(on_dc["name"] == "sync.bot" && on_dc.get("accountId").is_none());
}

#[tokio::test]
async fn cloud_goes_on_without_a_wrong_login_and_data_center_refuses_it() {
    let login = |options: &mut sim::Options| {
        options.jira.logins = vec![Login::basic("sync@acme.example", "token"), Login::bearer("pat")];
    };
    let sim = site_with(1, 10, login).await;
    assert_eq!(cloud(&sim, "/rest/api/3/myself").await.status, 200);
    assert_eq!(dc(&sim, "/rest/api/2/myself").await.status, 200);
    let wrong = ("authorization", "Basic c3luY0BhY21lLmV4YW1wbGU6b2xk");
    let boards = send(&sim, "GET", "/jira/cloud/rest/agile/1.0/board", &[wrong], "").await;
    assert_eq!((boards.status, boards.header("x-seraph-loginreason")), (200, Some("AUTHENTICATED_FAILED")));
    assert_eq!(boards.json()["values"].as_array().map(Vec::len), Some(0));
    assert_eq!(send(&sim, "GET", "/jira/cloud/rest/api/3/myself", &[wrong], "").await.status, 401);
    for (path, header) in [
        ("/jira/dc/rest/agile/1.0/board", wrong),
        ("/jira/dc/rest/agile/1.0/board", ("authorization", "Bearer old")),
        ("/jira/cloud/rest/agile/1.0/board", ("authorization", "Bearer old")),
    ] {
        assert_eq!(send(&sim, "GET", path, &[header], "").await.status, 401, "{path}");
    }
}

#[tokio::test]
async fn without_configured_logins_all_are_good_but_those_that_begin_with_bad() {
    let sim = site(1, 10).await;
    let myself = async |login| {
        send(&sim, "GET", "/jira/dc/rest/api/2/myself", &[("authorization", login)], "").await.status
    };
    assert_eq!((myself("Bearer any").await, myself("Bearer badly").await), (200, 401));
    // `sync:captcha`
    let login = [("authorization", "Basic c3luYzpjYXB0Y2hh")];
    let puzzled = send(&sim, "GET", "/jira/dc/rest/api/2/myself", &login, "").await;
    let reason = puzzled.header("x-authentication-denied-reason").unwrap();
    assert!(puzzled.status == 403 && reason.starts_with("CAPTCHA_CHALLENGE"), "{reason}");
}
