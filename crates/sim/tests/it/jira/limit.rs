//! Jira's limits: three of Cloud, told apart by their headers, and the bucket of Data Center.

use std::time::Duration;

use sim::{Options, Sim};

use super::{BASIC, BEARER, site_with};
use crate::client::{Answer, send};

async fn limited(limits: &str, faults: &str) -> Sim {
    let (limits, faults) = (limits.parse().unwrap(), faults.parse().unwrap());
    site_with(1, 30, |options: &mut Options| (options.limits, options.faults) = (limits, faults)).await
}

async fn ask(sim: &Sim, login: &str, path: &str) -> Answer {
    send(sim, "GET", &format!("/jira{path}"), &[("authorization", login)], "").await
}

const SEARCH: &str = "/cloud/rest/api/3/search/jql?jql=project%3DPAY&fields=summary&maxResults=10";

#[tokio::test]
async fn the_quota_counts_objects_and_is_refused_until_the_full_hour() {
    let sim = limited("jira_quota=25", "").await;
    // Half a minute before a full hour.
    sim.set_time(Some(1_790_002_770_000));
    let first = ask(&sim, BEARER, SEARCH).await;
    let issues = u32::try_from(first.json()["issues"].as_array().unwrap().len()).unwrap();
    assert_eq!(first.header("x-ratelimit-remaining"), Some(&*(25 - 1 - issues).to_string()));
    assert_eq!(first.header("x-ratelimit-reset"), None, "only a limiting answer tells the reset");
    assert!(first.header("ratelimit-policy").unwrap().contains("\"tenant-app-quota\";q=25;w=3600"));
    assert!(!first.header("ratelimit").unwrap().contains("r="), "plenty is not told");
    let mut last = first;
    while last.status == 200 {
        last = ask(&sim, BEARER, SEARCH).await;
    }
    assert_eq!((last.status, last.header("ratelimit-reason")), (429, Some("jira-quota-tenant-based")));
    assert_eq!(last.header("x-ratelimit-reset"), Some("2026-09-21T15:00Z"), "without seconds");
    assert_eq!(last.header("retry-after"), Some("30"));
    assert_eq!(ask(&sim, BEARER, "/cloud/rest/api/3/myself").await.status, 429, "all endpoints are closed");
    assert_eq!(ask(&sim, BASIC, SEARCH).await.status, 200, "an API token is exempt");
    sim.set_time(Some(1_790_002_800_000));
    assert_eq!(ask(&sim, BEARER, SEARCH).await.status, 200);
    assert_eq!(sim.report().limits_met.jira_quota, 2);
    assert!(sim.report().jira_points > 25);
}

#[tokio::test]
async fn what_is_not_enforced_is_told_with_another_name() {
    let sim = limited("jira_quota=5", "").await;
    for _ in 0..3 {
        ask(&sim, BASIC, SEARCH).await;
    }
    let answer = ask(&sim, BASIC, SEARCH).await;
    assert_eq!((answer.status, answer.header("x-beta-ratelimit-remaining")), (200, Some("0")));
    assert!(
        answer.header("beta-ratelimit").unwrap().contains("r=0")
            && answer.header("beta-retry-after").is_some()
    );
    assert_eq!((answer.header("retry-after"), answer.header("ratelimit")), (None, None));
    assert_eq!(answer.header("ratelimit-policy"), Some("\"jira-burst-based\";q=100;w=1"));
}

#[tokio::test]
async fn a_burst_closes_one_endpoint_only() {
    let sim = limited("jira_burst=2", "").await;
    let mut last = ask(&sim, BASIC, SEARCH).await;
    while last.status == 200 {
        last = ask(&sim, BASIC, SEARCH).await;
    }
    assert_eq!((last.status, last.header("ratelimit-reason")), (429, Some("jira-burst-based")));
    assert_eq!((last.header("retry-after"), last.header("x-ratelimit-nearlimit")), (Some("1"), None));
    assert_eq!(last.header("x-ratelimit-reset").unwrap().len(), "2026-09-21T15:00:00Z".len());
    assert_eq!(ask(&sim, BASIC, "/cloud/rest/api/3/issue/PAY-1").await.status, 200);
    assert_eq!(sim.report().limits_met.jira_burst, 1);
}

#[tokio::test]
async fn writes_are_limited_for_each_issue() {
    let sim = limited("jira_writes=2", "").await;
    let write = async |issue: &str| {
        let body = r#"{"body":{"type":"doc","version":1,"content":[{"type":"paragraph","content":[{"type":"text","text":"Hello"}]}]}}"#;
        let path = format!("/jira/cloud/rest/api/3/issue/{issue}/comment");
        send(&sim, "POST", &path, &[("authorization", BASIC)], body).await
    };
    assert_eq!((write("PAY-1").await.status, write("PAY-1").await.status), (201, 201));
    let refused = write("10000").await;
    assert_eq!((refused.status, refused.header("ratelimit-reason")), (429, Some("jira-per-issue-on-write")));
    assert_eq!(write("PAY-2").await.status, 201);
    let shown = ask(&sim, BASIC, "/cloud/rest/api/2/issue/PAY-1/comment").await.json();
    assert_eq!(
        (&shown["total"], &shown["comments"].as_array().unwrap().last().unwrap()["body"]),
        (&shown["total"], &"Hello".into())
    );
    let wiki = send(
        &sim,
        "POST",
        "/jira/cloud/rest/api/3/issue/PAY-3/comment",
        &[("authorization", BASIC)],
        r#"{"body":"Hello"}"#,
    )
    .await;
    assert_eq!(wiki.status, 400, "version 3 wants a document");
}

#[tokio::test]
async fn every_good_answer_of_data_center_tells_its_bucket_and_says_retry_after_0() {
    let sim = limited("dc_bucket=3,dc_fill=1,dc_interval=60", "").await;
    let path = "/dc/rest/api/2/myself";
    let first = ask(&sim, BEARER, path).await;
    let told = |answer: &Answer| {
        ["limit", "remaining", "interval-seconds", "fillrate"]
            .map(|name| answer.header(&format!("x-ratelimit-{name}")).map(str::to_owned).unwrap_or_default())
            .join(" ")
    };
    assert_eq!((told(&first), first.header("retry-after")), ("3 2 60 1".to_owned(), Some("0")));
    ask(&sim, BEARER, path).await;
    ask(&sim, BEARER, path).await;
    let refused = ask(&sim, BEARER, path).await;
    assert_eq!((refused.status, told(&refused)), (429, "3 0 60 1".to_owned()));
    let after: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((50..=60).contains(&after), "{after}");
    assert_eq!(refused.header("ratelimit-reason"), None);
    assert_eq!(ask(&sim, BEARER, "/dc/rest/api/2/serverInfo").await.status, 200, "it is exempt");
    assert_eq!(ask(&sim, "Bearer another", path).await.status, 200, "every user has a bucket");
}

#[tokio::test]
async fn who_goes_on_before_it_is_allowed_is_reported_and_who_turns_elsewhere_is_not() {
    let sim = limited("jira_burst=2", "secondary=1").await;
    assert_eq!(ask(&sim, BASIC, SEARCH).await.status, 429);
    let begun = std::time::Instant::now();
    // Real time has to pass: the client of this test asks again and again until the grace is over.
    while sim.report().violations.is_empty() && begun.elapsed() < Duration::from_secs(10) {
        ask(&sim, BASIC, SEARCH).await;
    }
    let report = sim.report();
    assert!(
        report.violations[0].at_ms >= 1_000 && report.violations[0].detail.contains("burst limit"),
        "{report:?}"
    );
    assert!(report.violations[0].detail.starts_with("GET /jira/cloud/rest/api/3/search/jql with token #"));
    let before = report.violations.len();
    ask(&sim, BASIC, "/cloud/rest/api/3/project").await;
    assert_eq!(sim.report().violations.len(), before, "another endpoint is free");
}

#[tokio::test]
async fn faults_hit_jira_too() {
    for (faults, statuses) in
        [("5xx=1", &[500, 502, 503][..]), ("html=1", &[200]), ("reset=1", &[429]), ("secondary=1", &[429])]
    {
        let sim = limited("", faults).await;
        for path in [SEARCH, "/dc/rest/api/2/myself"] {
            let answer = ask(&sim, BEARER, path).await;
            assert!(statuses.contains(&answer.status), "{faults} {path}: {}", answer.status);
            assert!(faults != "html=1" || answer.header("content-type") == Some("text/html;charset=UTF-8"));
        }
        assert_eq!(sim.report().faults_served.values().sum::<u64>(), 2, "{faults}");
    }
    let sim = limited("", "reset=1").await;
    let mut met = std::collections::BTreeSet::new();
    for _ in 0..40 {
        met.insert(ask(&sim, BEARER, SEARCH).await.header("x-ratelimit-reset").map(str::to_owned));
    }
    assert_eq!(met.len(), 3, "far, past and missing: {met:?}");
    let sim = limited("", "only=github,5xx=1").await;
    assert_eq!(ask(&sim, BASIC, SEARCH).await.status, 200, "the other provider is hit");
    let sim = limited("", "cut=1").await;
    assert!(ask(&sim, BASIC, SEARCH).await.is_cut());
}

#[tokio::test]
async fn one_provider_can_hang_while_the_other_answers() {
    let sim = limited("", "only=jira,hang=1").await;
    let others = async {
        // Real time passes until the hanging request has come in; the other provider answers all the while.
        while !sim.report().faults_served.contains_key("hang") {
            let answer = send(&sim, "GET", "/github/repos/acme/repo-1", &[("user-agent", "test")], "").await;
            assert_eq!(answer.status, 200);
        }
    };
    tokio::select! {
        answer = ask(&sim, BASIC, SEARCH) => panic!("an answer came: {}", answer.status),
        () = others => {}
    }
}
