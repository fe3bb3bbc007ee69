//! Fixtures of the GitLab connector and the pages they become, the table of faults, full pages, and its settings.

use bytes::Bytes;
use domain::connector::{Connector, Step};
use domain::fault::{Cause, Fault};
use domain::job::Lane;
use domain::page::{Cursor, Headers, Next, Page, Read, Request, Response};
use domain::source::Settings;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{GitLab, limits};
use crate::contract::fixture::assert_pages;

const BASE: &str = "https://gitlab.com/api/v4";

#[test]
fn projects_become_pages() {
    assert_pages(&GitLab, "projects");
}

#[test]
fn branches_become_pages() {
    assert_pages(&GitLab, "branches");
}

#[test]
fn commits_become_pages() {
    assert_pages(&GitLab, "commits");
}

#[test]
fn merge_requests_become_pages() {
    assert_pages(&GitLab, "merge_requests");
}

#[test]
fn notes_become_pages() {
    assert_pages(&GitLab, "notes");
}

fn response(status: u16, headers: &[(&str, &str)], body: &str) -> Response {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Response {
        status,
        headers: Headers(headers.collect()),
        body: Bytes::copy_from_slice(body.as_bytes()),
        url: String::new(),
        requested_at: Timestamp::UNIX_EPOCH,
        received_at: Timestamp::from_second(1000).unwrap(),
    }
}

/// A status, headers, a body, and the fault that they are.
type Refused<'a> = (u16, &'a [(&'a str, &'a str)], &'a str, Fault);

#[test]
fn refusals_become_faults() {
    let limited = |second: i64| Fault::RateLimited {
        until: Some(Timestamp::from_second(second).unwrap()),
        bucket: "api",
    };
    let server = |status, seconds: Option<u64>| Fault::Transient {
        after: seconds.map(std::time::Duration::from_secs),
        cause: Cause::Server(status),
    };
    let malformed = |what: &str| Fault::Malformed { what: what.to_owned() };
    let reset = ("ratelimit-reset", "5000");
    let table: &[Refused<'_>] = &[
        (401, &[], "", Fault::Unauthorized),
        (403, &[], r#"{"message":"403 Forbidden"}"#, Fault::Denied),
        (404, &[], r#"{"message":"404 Project Not Found"}"#, Fault::Gone),
        (500, &[], "<html>", server(500, None)),
        (502, &[], "", server(502, None)),
        (503, &[("retry-after", "7")], "", server(503, Some(7))),
        // How long to wait comes first, then when the limit begins anew, then a minute.
        (429, &[("retry-after", "9"), reset], "Retry later\n", limited(1009)),
        (429, &[reset], "Retry later\n", limited(5000)),
        (429, &[("ratelimit-reset", "never")], "{}", limited(1060)),
        (429, &[], "", limited(1060)),
        // A sentence, what is wrong with each field, and OAuth's way; never more than is fit to read.
        (400, &[], r#"{"message":"400 Bad request"}"#, malformed("unexpected status 400: 400 Bad request")),
        (
            422,
            &[],
            r#"{"message":{"sort":["is odd","is long"],"page":["is no number"]}}"#,
            malformed("unexpected status 422: page: is no number; sort: is odd, is long"),
        ),
        (
            405,
            &[],
            r#"{"error":"Offset pagination has a maximum allowed offset"}"#,
            malformed("unexpected status 405: Offset pagination has a maximum allowed offset"),
        ),
        (409, &[], "no JSON", malformed("unexpected status 409")),
        (304, &[], "", malformed("unexpected status 304")),
    ];
    for (status, headers, body, fault) in table {
        let response = response(*status, headers, body);
        assert_eq!(limits::check(&response).as_ref(), Err(fault), "{status} {headers:?} {body}");
        let request = Request { url: String::new(), bucket: "api" };
        let refused = GitLab.meter(&request, &response).into_iter().find_map(|it| it.refused);
        match fault {
            Fault::RateLimited { until, .. } => assert_eq!(refused.unwrap().until, *until),
            _ => assert_eq!(refused, None, "{status} {headers:?}"),
        }
    }
    let long = format!(r#"{{"message":"{}"}}"#, "x".repeat(500));
    let Err(Fault::Malformed { what }) = limits::check(&response(418, &[], &long)) else {
        panic!("no fault")
    };
    assert!(what.len() < 300, "{}", what.len());
}

#[test]
fn a_budget_is_read_where_it_is_told() {
    let request = Request { url: String::new(), bucket: "api" };
    assert_eq!(GitLab.meter(&request, &response(200, &[], "[]")), [], "absence says nothing");
    let told = [("ratelimit-limit", "2000"), ("ratelimit-remaining", "12"), ("ratelimit-reset", "5000")];
    let meter = GitLab.meter(&request, &response(200, &told, "[]")).remove(0);
    assert_eq!(
        (meter.bucket, meter.limit, meter.remaining, meter.refused),
        ("api", Some(2000), Some(12), None)
    );
    assert_eq!(meter.resets_at, Some(Timestamp::from_second(5000).unwrap()));
}

/// Reads one page of a stream and returns its cursor, and whether there is more.
fn next(
    stream: &str,
    cursor: Option<Value>,
    headers: &[(&str, &str)],
    entries: &[Value],
) -> (Option<Value>, bool) {
    next_of(stream, "7", cursor, headers, entries)
}

fn next_of(
    stream: &str,
    partition: &str,
    cursor: Option<Value>,
    headers: &[(&str, &str)],
    entries: &[Value],
) -> (Option<Value>, bool) {
    let (settings, args) = (settings(BASE, json!({})), json!({}));
    let cursor = cursor.map(Cursor);
    let read = Read {
        source: &settings,
        learned: &Value::Null,
        stream,
        partition,
        args: &args,
        lane: Lane::Forward,
        items: &[],
        cursor: cursor.as_ref(),
        careful: false,
    };
    match GitLab.step(&read, &[response(200, headers, &json!(entries).to_string())]).unwrap() {
        Step::Page(Page { next: Next::More(cursor), .. }) => (Some(cursor.0), true),
        Step::Page(Page { next: Next::CaughtUp { cursor, .. }, .. }) => (cursor.map(|it| it.0), false),
        Step::Send(requests) => panic!("{requests:?}"),
    }
}

fn settings(base_url: &str, options: Value) -> Settings {
    Settings { base_url: base_url.to_owned(), options }
}

/// A branch that is added behind a full last page leaves that page, and so its validator, as it was.
#[test]
fn a_full_last_page_of_branches_is_followed_by_the_one_behind_it() {
    let branches = |count: usize| -> Vec<Value> {
        (0..count).map(|it| json!({"name": it.to_string(), "commit": {"id": "c0ffee"}})).collect()
    };
    let first = format!("{BASE}/projects/7/repository/branches?per_page=100");
    let page = |number: u32| json!({ "next": format!("{first}&page={number}") });
    assert_eq!(next("branches", None, &[], &branches(99)), (None, false));
    assert_eq!(next("branches", None, &[("x-next-page", "")], &branches(100)), (Some(page(2)), true));
    assert_eq!(next("branches", Some(page(2)), &[], &branches(100)), (Some(page(3)), true));
    assert_eq!(next("branches", Some(page(3)), &[], &branches(0)), (None, false));
    assert_eq!(next("branches", Some(page(3)), &[("x-next-page", "4")], &branches(7)), (Some(page(4)), true));
    let link = [("link", "<https://gitlab.com/given>; rel=\"next\""), ("x-next-page", "9")];
    let given = json!({ "next": "https://gitlab.com/given" });
    assert_eq!(next("branches", None, &link, &branches(7)), (Some(given), true), "a link comes first");
}

/// Whatever changes goes to the end of the list, so that everything behind it moves up by one: no page is counted on.
#[test]
fn merge_requests_go_on_from_the_moment_that_a_page_ended_with() {
    let changed = |count: i64, moment: &dyn Fn(i64) -> i64| -> Vec<Value> {
        let at = |it| Timestamp::from_second(1_000_000 + moment(it)).unwrap().to_string();
        (0..count).map(|it| json!({"id": it, "iid": it, "project_id": 7, "updated_at": at(it)})).collect()
    };
    let moment = |second: i64| json!(Timestamp::from_second(1_000_000 + second).unwrap().to_string());
    let since = |second: i64| json!({ "since": moment(second) });
    let under_way = |second: i64, began: i64| json!({ "since": moment(second), "began": moment(began) });
    let link = [("link", "<https://gitlab.com/page-2>; rel=\"next\"")];
    let stream = "merge_requests";
    let (cursor, goes_on) = next(stream, None, &link, &changed(100, &|it| it));
    let first = under_way(99, -1_000_000);
    assert_eq!((cursor, goes_on), (Some(first.clone()), true), "not by the link");
    let (cursor, goes_on) = next(stream, Some(first.clone()), &link, &changed(100, &|_| 99));
    let page = json!({ "since": moment(99), "began": first["began"], "next": "https://gitlab.com/page-2" });
    assert_eq!((cursor, goes_on), (Some(page.clone()), true), "all of one moment: by the link");
    let (cursor, goes_on) = next(stream, Some(page), &[], &changed(3, &|it| 99 + it));
    assert_eq!((cursor, goes_on), (Some(since(101 - 60)), false), "a minute before the newest");
    assert_eq!(next(stream, Some(since(41)), &[], &changed(1, &|_| 101)), (Some(since(41)), false));
    assert_eq!(next(stream, Some(since(41)), &[], &[]), (Some(since(41)), false), "nothing is no step back");
    assert_eq!(next(stream, None, &[], &[]), (None, false));
    // In mid-walk too: the last page brings nothing newer, and the minute is kept.
    let (cursor, _) = next(stream, Some(since(41)), &link, &changed(100, &|it| 100 + it));
    assert_eq!(cursor, Some(under_way(199, 41)));
    assert_eq!(next(stream, cursor, &[], &changed(1, &|_| 199)), (Some(since(199 - 60)), false));
    assert_eq!(next(stream, Some(since(99)), &[], &changed(1, &|_| 99)), (Some(since(99)), false));
}

/// Nothing is missed at the seam, and nothing behind it: what changes while the older ones are read is read forward.
#[test]
fn merge_requests_of_a_new_project_are_read_from_its_finding_on_in_both_directions() {
    let (settings, args) = (settings(BASE, json!({})), json!({}));
    let step = |stream: &str, lane, cursor: Option<&Cursor>, got: &[Response]| {
        let (learned, items) = (&Value::Null, &[][..]);
        let read = Read {
            source: &settings,
            learned,
            stream,
            partition: "7",
            args: &args,
            lane,
            items,
            cursor,
            careful: false,
        };
        GitLab.step(&read, got).unwrap()
    };
    let found = |date: Option<&str>| {
        let headers: Vec<_> = date.map(|it| ("date", it)).into_iter().collect();
        let mut answer = response(200, &headers, "[]");
        answer.requested_at = "2026-11-21T08:00:30Z".parse().unwrap();
        let Step::Page(page) = step("branches", Lane::Forward, None, &[answer]) else { panic!() };
        let [commits, requests, notes] = &page.partitions[..] else { panic!("{:?}", page.partitions) };
        assert!(commits.start.is_empty() && notes.start.is_empty());
        requests.start.clone()
    };
    let lanes = found(Some("Sat, 21 Nov 2026 08:00:00 GMT"));
    let asked = |(lane, cursor): &(Lane, Cursor)| match step("merge_requests", *lane, Some(cursor), &[]) {
        Step::Send(requests) => (*lane, requests[0].url.split_once("updated_at&").unwrap().1.to_owned()),
        Step::Page(page) => panic!("{page:?}"),
    };
    let forward = (Lane::Forward, "sort=asc&updated_after=2026-11-21T07%3A59%3A00Z".to_owned());
    let back = (Lane::Backfill, "sort=desc&updated_before=2026-11-21T08%3A00%3A00Z".to_owned());
    assert_eq!(lanes.iter().map(asked).collect::<Vec<_>>(), [forward.clone(), back]);
    // A clock that is ahead of ours hides nothing; without one all is read forward.
    let ahead = found(Some("Sat, 21 Nov 2026 09:00:00 GMT"));
    assert_eq!(asked(&ahead[0]).1, "sort=asc&updated_after=2026-11-21T07%3A59%3A30Z");
    assert_eq!((found(None), found(Some("yesterday"))), (vec![], vec![]));

    let changed = |seconds: &[i64]| -> String {
        let at = |it: &i64| Timestamp::from_second(*it).unwrap().to_string();
        let all =
            seconds.iter().map(|it| json!({"id": it, "iid": it, "project_id": 7, "updated_at": at(it)}));
        let all: Vec<_> = all.collect();
        json!(all).to_string()
    };
    let link = [("link", "<https://gitlab.com/page-2>; rel=\"next\"")];
    let next = |cursor: &Cursor, headers: &[(&str, &str)], body: &str| {
        let answers = [response(200, headers, body)];
        match step("merge_requests", Lane::Backfill, Some(cursor), &answers) {
            Step::Page(page) => (page.records.len(), page.next),
            Step::Send(requests) => panic!("{requests:?}"),
        }
    };
    let until =
        |second: i64| json!({ "since": null, "until": Timestamp::from_second(second).unwrap().to_string() });
    let (_, on) = next(&lanes[1].1, &link, &changed(&[900, 800, 700]));
    assert_eq!(on, Next::More(Cursor(until(700))), "not by the link");
    let (_, on) = next(&Cursor(until(700)), &link, &changed(&[700, 700]));
    let mut second = until(700);
    second["next"] = json!("https://gitlab.com/page-2");
    assert_eq!(on, Next::More(Cursor(second.clone())), "all of one moment: by the link");
    let (records, end) = next(&Cursor(second), &[], &changed(&[700, 5]));
    assert_eq!((records, end), (2, Next::CaughtUp { cursor: Some(Cursor(until(5))), sweep: None }));
}

/// Nothing says that a page by number is the last but an empty one behind it.
#[test]
fn a_full_page_of_projects_without_a_link_goes_on_behind_its_last() {
    let projects = |count: i64| -> Vec<Value> { (1..=count).map(|it| json!({ "id": it })).collect() };
    let (cursor, goes_on) = next_of("projects", "member", None, &[], &projects(100));
    let url = cursor.unwrap()["next"].as_str().unwrap().to_owned();
    assert!(goes_on && url.ends_with("&per_page=100&id_after=100"), "{url}");
    assert_eq!(next_of("projects", "member", Some(json!({ "next": url })), &[], &[]), (None, false));
    assert_eq!(next_of("projects", "member", None, &[], &projects(99)), (None, false));
}

#[test]
fn named_projects_are_roots_and_wrong_paths_are_told() {
    let keys = |options: Value| -> Vec<_> {
        let roots = GitLab.roots(&settings(BASE, options)).unwrap();
        roots.into_iter().map(|it| (it.key, it.refresh.map(|it| it.as_hours()))).collect()
    };
    assert_eq!(keys(json!({})), [("member".to_owned(), None)]);
    assert_eq!(keys(json!({ "projects": null })), keys(json!({ "projects": [] })));
    let named = keys(json!({ "projects": ["acme/api", "Acme/API", "acme/web/shop.v2", "größe/_x"] }));
    let expected = ["acme/api", "acme/web/shop.v2", "größe/_x"].map(|it| (it.to_owned(), Some(24)));
    assert_eq!(named, expected);

    let told = |projects: Value| {
        GitLab.roots(&settings(BASE, json!({ "projects": projects }))).unwrap_err().to_string()
    };
    assert_eq!(told(json!("a/b")), r#"projects: `"a/b"` is not a list of "GROUP/PROJECT""#);
    assert_eq!(told(json!([7])), r#"projects: `7` is not text; a project is given as "GROUP/PROJECT""#);
    for wrong in [
        "",
        "/",
        "api",
        "a/",
        "/b",
        "a//b",
        "a/..",
        "a/.b",
        "a/-b",
        "a b/c",
        "a/b?c",
        "a%2Fb",
        "https://x/a/b",
    ] {
        assert!(told(json!([wrong])).contains("GROUP/SUBGROUP/PROJECT"), "{wrong}");
    }
}

#[test]
fn an_address_that_is_no_root_of_the_api_is_told() {
    let told = |it: &str| GitLab.roots(&settings(it, json!({}))).unwrap_err().to_string();
    let says = told("https://git.example.com");
    assert_eq!(
        says,
        "base-url: `https://git.example.com` does not end in /api/v4, as the root of GitLab's API does: https://HOST/api/v4"
    );
    assert!(GitLab.roots(&settings("https://git.example.com/gitlab/api/v4", json!({}))).is_ok());
}

#[test]
fn tokens_of_jobs_are_refused_with_what_to_give_instead() {
    let refused = |it: &str| GitLab.spec().refuses_token(it);
    for (token, word) in [("glcbt-64_x", "CI job token"), ("gldt-x", "deploy token")] {
        let says = refused(token).unwrap();
        assert!(says.contains(word) && says.contains("read_api"), "{says}");
    }
    assert_eq!(refused("glpat-x"), None);
    assert_eq!(refused("a token of before there were prefixes"), None);
}

/// With care changes are asked for from a day before the cursor, but only where a reading begins.
#[test]
fn with_care_changes_are_read_from_a_day_before() {
    let asked = |cursor: Value, careful: bool| {
        let (settings, args, cursor) = (settings(BASE, json!({})), json!({}), Cursor(cursor));
        let read = Read {
            source: &settings,
            learned: &Value::Null,
            stream: "merge_requests",
            partition: "7",
            args: &args,
            lane: Lane::Forward,
            items: &[],
            cursor: Some(&cursor),
            careful,
        };
        match GitLab.step(&read, &[]).unwrap() {
            Step::Send(requests) => requests[0].url.split_once("&updated_after=").unwrap().1.to_owned(),
            Step::Page(page) => panic!("{page:?}"),
        }
    };
    let rests = json!({ "since": "2026-11-21T08:00:00Z" });
    assert_eq!(asked(rests.clone(), false), "2026-11-21T08%3A00%3A00Z");
    assert_eq!(asked(rests, true), "2026-11-20T08%3A00%3A00Z");
    let begun = json!({ "since": "2026-11-21T08:00:00Z", "began": "2026-11-20T08:00:00Z" });
    assert_eq!(asked(begun, true), "2026-11-21T08%3A00%3A00Z", "a page of it was read");
}
