//! Fixtures of the Jira connector and the pages they become, the table of limits, its times, walks and settings.

use bytes::Bytes;
use domain::connector::{Connector, Meter};
use domain::fault::{Cause, Fault};
use domain::page::{Headers, Request, Response};
use domain::source::Settings;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::listing::{Turn, Walk};
use super::{Jira, limits, request_time, time};
use crate::contract::fixture::assert_pages;

mod bounds;

#[test]
fn boards_become_pages() {
    assert_pages(&Jira, "boards");
}

#[test]
fn sprints_become_pages() {
    assert_pages(&Jira, "sprints");
}

#[test]
fn issues_become_pages() {
    assert_pages(&Jira, "issues");
}

#[test]
fn cards_become_pages() {
    assert_pages(&Jira, "cards");
}

/// Half past eight, and one second.
const NOW: &str = "2026-11-21T08:30:01Z";

fn response(status: u16, headers: &[(&str, &str)]) -> Response {
    Response {
        status,
        headers: Headers(
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ),
        body: Bytes::from_static(b"{}"),
        url: String::new(),
        requested_at: NOW.parse().unwrap(),
        received_at: NOW.parse().unwrap(),
    }
}

fn metered(response: &Response) -> Vec<Meter> {
    let request = Request { url: String::new(), bucket: limits::SEARCH };
    Jira.meter(&request, response)
}

/// Returns the bucket that an answer refuses by, and until when.
fn refused(headers: &[(&str, &str)]) -> (&'static str, Option<String>) {
    let meters = metered(&response(429, headers));
    let refusals: Vec<_> = meters.iter().filter_map(|it| Some((it.bucket, it.refused?))).collect();
    assert_eq!(refusals.len(), 1, "{headers:?}: {meters:?}");
    (refusals[0].0, refusals[0].1.until.map(|it| it.to_string()))
}

#[test]
fn the_limits_of_cloud_are_told_apart_by_their_reason() {
    let burst = ("ratelimit-reason", "jira-burst-based");
    let tenant = ("ratelimit-reason", "jira-quota-tenant-based");
    let global = ("ratelimit-reason", "jira-quota-global-based");
    let write = ("ratelimit-reason", "jira-per-issue-on-write");
    let wait = |seconds| ("retry-after", seconds);
    let reset = |at| ("x-ratelimit-reset", at);
    let at = |text: &str| Some(text.to_owned());
    for (headers, bucket, until) in [
        // A burst: this endpoint alone, for a moment.
        (vec![burst, wait("3")], "search", at("2026-11-21T08:30:04Z")),
        (vec![burst], "search", at("2026-11-21T08:30:06Z")),
        (vec![burst, reset("2026-11-21T08:31Z")], "search", at("2026-11-21T08:31:00Z")),
        // A quota: everything, until the next hour; a reset in the past or beyond the hour is not believed.
        (vec![tenant, wait("1200")], "*", at("2026-11-21T09:00:00Z")),
        (vec![tenant, reset("2026-11-21T08:00Z")], "*", at("2026-11-21T09:00:00Z")),
        (vec![tenant, reset("2026-11-21T08:45:30Z")], "*", at("2026-11-21T08:45:30Z")),
        (vec![global, reset("2026-11-21T23:00Z")], "*", at("2026-11-21T09:00:00Z")),
        (vec![global, wait("3600")], "*", at("2026-11-21T09:30:01Z")),
        (vec![global], "*", at("2026-11-21T09:00:00Z")),
        // Writes to one issue: no reading waits for them.
        (vec![write, wait("2")], "issue_writes", at("2026-11-21T08:30:03Z")),
        // Data Center: the account's bucket, until more comes in.
        (vec![wait("12")], "*", at("2026-11-21T08:30:13Z")),
        (vec![wait("0"), ("x-ratelimit-interval-seconds", "60")], "*", at("2026-11-21T08:31:01Z")),
        (vec![("ratelimit-reason", "jira-new-limit"), wait("9")], "*", at("2026-11-21T08:30:10Z")),
        (vec![], "*", None),
        // What is not in force makes nobody wait.
        (vec![("beta-retry-after", "3000"), ("x-beta-ratelimit-reset", "2026-11-21T09:00Z")], "*", None),
    ] {
        assert_eq!(refused(&headers), (bucket, until), "{headers:?}");
    }
}

#[test]
fn budgets_are_read_where_they_are_counted_and_enforced() {
    let one = |headers: &[(&str, &str)]| {
        let meters = metered(&response(200, headers));
        meters
            .into_iter()
            .map(|it| (it.bucket, it.limit, it.remaining, it.resets_at.map(|it| it.to_string())))
            .collect::<Vec<_>>()
    };
    let policy =
        ("ratelimit-policy", r#""jira-burst-based";q=100;w=1, "jira-quota-tenant-based";q=65000;w=3600"#);
    let until = |text: &str| Some(text.to_owned());
    assert_eq!(
        one(&[policy, ("ratelimit", r#""jira-burst-based";r=3;t=1,"jira-quota-tenant-based";r=1200;t=900"#)]),
        [("*", Some(65000), Some(1200), until("2026-11-21T08:45:01Z"))]
    );
    // The hour is the longest window.
    assert_eq!(
        one(&[policy, ("ratelimit", r#""jira-quota-tenant-based";t=9000;r=0"#)]),
        [("*", Some(65000), Some(0), until("2026-11-21T09:00:00Z"))]
    );
    // No remainder means plenty; a name without a policy and a header of the future say nothing.
    assert_eq!(one(&[policy, ("ratelimit", r#""jira-quota-tenant-based";t=900"#)]), []);
    assert_eq!(one(&[("ratelimit", r#""jira-quota-tenant-based";r=1;t=900"#)]), []);
    assert_eq!(one(&[("beta-ratelimit", r#""jira-quota-tenant-based";r=1;t=900"#)]), []);
    assert_eq!(one(&[("x-ratelimit-limit", "350"), ("x-ratelimit-remaining", "12")]), [], "a burst of Cloud");
    let bucket = [
        ("x-ratelimit-limit", "500"),
        ("x-ratelimit-remaining", "431"),
        ("x-ratelimit-interval-seconds", "60"),
        ("retry-after", "0"),
    ];
    assert_eq!(one(&bucket), [("*", Some(500), Some(431), until("2026-11-21T08:31:01Z"))]);
}

#[test]
fn refusals_become_faults() {
    let server = |status, seconds: Option<u64>| Fault::Transient {
        after: seconds.map(std::time::Duration::from_secs),
        cause: Cause::Server(status),
    };
    let malformed = |what: &str| Fault::Malformed { what: what.to_owned() };
    for (status, headers, fault) in [
        (401, vec![], Fault::Unauthorized),
        (403, vec![], Fault::Denied),
        (403, vec![("x-authentication-denied-reason", "CAPTCHA_CHALLENGE")], Fault::Unauthorized),
        (200, vec![("x-seraph-loginreason", "AUTHENTICATED_FAILED")], Fault::Unauthorized),
        (200, vec![("x-ausername", "anonymous")], Fault::Unauthorized),
        (404, vec![], Fault::Gone),
        (410, vec![], malformed("this part of the API was removed")),
        (400, vec![], malformed("unexpected status 400")),
        (500, vec![], server(500, None)),
        (503, vec![("retry-after", "7")], server(503, Some(7))),
    ] {
        assert_eq!(limits::check(&response(status, &headers)), Err(fault), "{status} {headers:?}");
    }
    let good =
        response(200, &[("x-seraph-loginreason", "OK"), ("retry-after", "0"), ("x-ausername", "sync")]);
    assert_eq!(limits::check(&good), Ok(()));
}

#[test]
fn the_clock_that_is_behind_counts() {
    let dated = |date: &str| request_time(&response(200, &[("date", date)])).to_string();
    assert_eq!(dated("Sat, 21 Nov 2026 08:29:00 GMT"), "2026-11-21T08:29:00Z");
    assert_eq!(dated("Sat, 21 Nov 2026 09:29:00 GMT"), NOW);
    assert_eq!(dated("yesterday"), NOW);
}

#[test]
fn times_are_read_with_the_offset_that_they_carry() {
    let read = |text: &str| time::instant(text).map(|it| it.to_string());
    let at = |text: &str| Some(text.to_owned());
    assert_eq!(read("2020-06-12T08:13:13.360+0800"), at("2020-06-12T00:13:13.36Z"));
    assert_eq!(read("2020-06-12T08:13:13.360-0330"), at("2020-06-12T11:43:13.36Z"));
    assert_eq!(read("2020-06-12T08:13:13.360+10:00"), at("2020-06-11T22:13:13.36Z"));
    assert_eq!(read("2020-06-12T08:13:13.000Z"), at("2020-06-12T08:13:13Z"));
    assert_eq!(read("2020-06-12"), None);
    let hour = |text: &str| time::next_hour(text.parse().unwrap()).to_string();
    assert_eq!(hour(NOW), "2026-11-21T09:00:00Z");
    assert_eq!(hour("2026-12-31T23:00:00Z"), "2027-01-01T00:00:00Z");
    assert_eq!(time::next_hour(Timestamp::MAX), Timestamp::MAX);
}

fn ids(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|it| it.to_string()).collect()
}

/// Whatever leaves the list between two pages, everything that stays in it is shown.
#[test]
fn a_walk_by_offset_loses_nothing_when_entries_leave() {
    for leaving in 0..120_usize {
        let mut list = ids(0..200);
        let mut shown = std::collections::BTreeSet::new();
        let mut walk = Walk::default();
        for step in 0.. {
            assert!(step < 50, "the walk ends");
            let to = (walk.start + 50).min(list.len());
            let page = list.get(walk.start.min(to)..to).unwrap_or_default().to_vec();
            shown.extend(page.iter().cloned());
            let turn = walk.after(&page, to == list.len()).unwrap();
            if step == 1 {
                // Two pages in, the first entries of the list leave it.
                list.drain(..leaving);
            }
            match turn {
                Turn::On(next) => walk = next,
                Turn::End => break,
            }
        }
        let missing: Vec<_> = list.iter().filter(|it| !shown.contains(*it)).collect();
        assert!(missing.is_empty(), "{leaving} left, and {missing:?} were never shown");
    }
}

fn keys(base_url: &str, options: Value) -> Result<Vec<String>, String> {
    let settings = Settings { base_url: base_url.to_owned(), options };
    let roots = Jira.roots(&settings).map_err(|it| it.to_string())?;
    Ok(roots.into_iter().map(|it| it.key).collect())
}

#[test]
fn settings_name_projects_and_boards_and_wrong_ones_are_told() {
    let named = |options| keys("https://jira.acme.example", options);
    assert_eq!(named(json!({})).unwrap(), ["all"]);
    assert_eq!(named(json!({ "projects": null, "boards": [] })).unwrap(), ["all"]);
    let both = json!({ "projects": ["PAY", "A_1", "PAY"], "boards": ["7", 8, "7"] });
    assert_eq!(named(both).unwrap(), ["project/PAY", "project/A_1", "board/7", "board/8"]);
    for wrong in ["pay", "P", "", "1A", "PAY-1", "PAY/..", "PÄY"] {
        let told = named(json!({ "projects": [wrong] })).unwrap_err();
        assert!(told.starts_with(&format!("projects: `{wrong}` is not a project's key")), "{told}");
    }
    for wrong in ["x", "-1", "9223372036854775808", ""] {
        let told = named(json!({ "boards": [wrong] })).unwrap_err();
        assert!(told.starts_with(&format!("boards: `{wrong}` is not a board's number")), "{told}");
    }
    assert_eq!(named(json!({ "projects": "PAY" })).unwrap_err(), "projects: `PAY` is not a list");
    for wrong in ["me", "@x", "me@", "a:b@x", "a b@x", "a\n@x"] {
        assert!(named(json!({ "email": wrong })).unwrap_err().contains("ME@EXAMPLE.COM"), "{wrong}");
    }
}

#[test]
fn cloud_wants_the_address_beside_the_token() {
    let cloud = "https://acme.atlassian.net";
    let told = keys(cloud, json!({})).unwrap_err();
    assert!(
        told.starts_with("email: `https://acme.atlassian.net` is Jira Cloud") && told.contains("--email"),
        "{told}"
    );
    assert_eq!(keys(cloud, json!({ "email": "me@acme.example" })).unwrap(), ["all"]);
    assert_eq!(keys("https://atlassian.net.example/jira", json!({})).unwrap(), ["all"]);
}
