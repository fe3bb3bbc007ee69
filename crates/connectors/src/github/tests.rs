//! Fixtures of the GitHub connector and the pages they become, the table of faults, and its settings.

use bytes::Bytes;
use domain::connector::{Connector, Step};
use domain::fault::{Cause, Fault};
use domain::job::Lane;
use domain::page::{Cursor, Headers, Next, Page, Read, Request, Response};
use domain::source::Settings;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{GitHub, limits};
use crate::contract::fixture::assert_pages;

#[test]
fn repositories_become_pages() {
    assert_pages(&GitHub, "repositories");
}

#[test]
fn branches_become_pages() {
    assert_pages(&GitHub, "branches");
}

#[test]
fn commits_become_pages() {
    assert_pages(&GitHub, "commits");
}

#[test]
fn issues_become_pages() {
    assert_pages(&GitHub, "issues");
}

#[test]
fn pull_requests_become_pages() {
    assert_pages(&GitHub, "pull_requests");
}

#[test]
fn timelines_become_pages() {
    assert_pages(&GitHub, "timeline_events");
}

fn settings(options: Value) -> Settings {
    Settings { base_url: "https://api.github.com".to_owned(), options }
}

fn response(status: u16, headers: &[(&str, &str)], body: &str) -> Response {
    Response {
        status,
        headers: Headers(
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ),
        body: Bytes::copy_from_slice(body.as_bytes()),
        url: String::new(),
        requested_at: Timestamp::UNIX_EPOCH,
        received_at: Timestamp::from_second(1000).unwrap(),
    }
}

/// A status, headers, a body, and the fault that they are.
type Refused<'a> = (u16, &'a [(&'a str, &'a str)], &'a str, Fault);

#[test]
fn refusals_become_faults_in_githubs_order() {
    let limited = |second: Option<i64>, bucket| Fault::RateLimited {
        until: second.map(|it| Timestamp::from_second(it).unwrap()),
        bucket,
    };
    let server = |status, seconds: Option<u64>| Fault::Transient {
        after: seconds.map(std::time::Duration::from_secs),
        cause: Cause::Server(status),
    };
    let malformed = |status| Fault::Malformed { what: format!("unexpected status {status}") };
    let secondary = r#"{"message":"You have exceeded a Secondary Rate Limit."}"#;
    let left = ("x-ratelimit-remaining", "12");
    let spent = ("x-ratelimit-remaining", "0");
    let reset = ("x-ratelimit-reset", "5000");
    let table: &[Refused<'_>] = &[
        (401, &[], "", Fault::Unauthorized),
        (404, &[], "{}", Fault::Gone),
        (410, &[], "{}", Fault::Gone),
        (451, &[], "{}", Fault::Gone),
        (202, &[], "{}", server(202, None)),
        (500, &[], "<html>", server(500, None)),
        (503, &[("retry-after", "7")], "", server(503, Some(7))),
        (503, &[("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")], "", server(503, None)),
        (304, &[], "", malformed(304)),
        (400, &[], "{}", malformed(400)),
        (409, &[], "{}", malformed(409)),
        (422, &[], "{}", malformed(422)),
        // Permission: nothing speaks of a limit, or the budget is not spent.
        (403, &[], "<html>", Fault::Denied),
        (403, &[left, reset], r#"{"message":"Must have admin rights to Repository."}"#, Fault::Denied),
        (403, &[("retry-after", "soon"), left], "{}", Fault::Denied),
        // First: how long to wait. Beside a spent budget it is that budget's, unless the words say otherwise.
        (403, &[("retry-after", "9"), left], "{}", limited(Some(1009), "*")),
        (429, &[("retry-after", "9"), spent, reset], "{}", limited(Some(1009), "core")),
        (403, &[("retry-after", "9"), spent, reset], secondary, limited(Some(1009), "*")),
        // Second: the spent budget's reset.
        (403, &[spent, reset], "{}", limited(Some(5000), "core")),
        (429, &[spent, reset, ("x-ratelimit-resource", "search")], "{}", limited(Some(5000), "search")),
        (403, &[spent], "{}", limited(None, "core")),
        (403, &[spent, ("x-ratelimit-reset", "never")], "{}", limited(None, "core")),
        (403, &[spent, ("x-ratelimit-reset", "9999999999999")], "{}", limited(None, "core")),
        // Third: a minute.
        (403, &[left], secondary, limited(Some(1060), "*")),
        (
            403,
            &[],
            r#"{"documentation_url":"https://docs.github.com/x#secondary-rate-limits"}"#,
            limited(Some(1060), "*"),
        ),
        (429, &[left], "too fast", limited(Some(1060), "*")),
    ];
    for (status, headers, body, fault) in table {
        let response = response(*status, headers, body);
        assert_eq!(limits::check(&response).as_ref(), Err(fault), "{status} {headers:?} {body}");
        let request = Request { url: String::new(), bucket: "core" };
        let refused: Vec<_> =
            GitHub.meter(&request, &response).into_iter().filter(|it| it.refused.is_some()).collect();
        match fault {
            Fault::RateLimited { until, bucket } => {
                assert_eq!(refused.len(), 1, "{status} {headers:?}");
                assert_eq!((refused[0].bucket, refused[0].refused.unwrap().until), (*bucket, *until));
            }
            _ => assert_eq!(refused, [], "{status} {headers:?}"),
        }
    }
    assert_eq!(
        limits::check(&response(200, &[spent], "[]")),
        Ok(()),
        "the last of a budget is still an answer"
    );
}

#[test]
fn named_repositories_are_roots_and_wrong_names_are_told() {
    let keys = |options: Value| -> Vec<_> {
        let roots = GitHub.roots(&settings(options)).unwrap();
        roots.into_iter().map(|it| (it.key, it.refresh.map(|it| it.as_hours()))).collect()
    };
    assert_eq!(keys(json!({})), [("visible".to_owned(), None)]);
    assert_eq!(keys(json!({ "repos": null })), keys(json!({ "repos": [] })));
    let named = keys(json!({ "repos": ["octo-org/octo.repo", "Octo-Org/Octo.Repo", "a_b/-"] }));
    assert_eq!(named, [("octo-org/octo.repo".to_owned(), Some(24)), ("a_b/-".to_owned(), Some(24))]);

    let told = |repos: Value| GitHub.roots(&settings(json!({ "repos": repos }))).unwrap_err().to_string();
    assert_eq!(told(json!("a/b")), r#"repos: `"a/b"` is not a list of "OWNER/NAME""#);
    assert_eq!(told(json!([7])), r#"repos: `7` is not text; a repository is given as "OWNER/NAME""#);
    assert_eq!(
        told(json!(["octo-repo"])),
        r#"repos: `octo-repo` is not a repository; it is given as OWNER/NAME, in letters, digits, "-", "_" and ".""#
    );
    for wrong in [
        "",
        "/",
        "a/",
        "/b",
        "a/b/c",
        "a/..",
        "a/.",
        "a b/c",
        "a/b?c",
        "a/b#c",
        "a/é",
        "https://github.com/a/b",
    ] {
        assert!(told(json!([wrong])).contains("OWNER/NAME"), "{wrong}");
    }
}

/// A branch that is added behind a full last page leaves that page, and so its validator, as it was.
#[test]
fn a_full_last_page_is_followed_by_the_one_behind_it() {
    let list = |count: usize| {
        let entries: Vec<_> =
            (0..count).map(|it| json!({"name": it.to_string(), "commit": {"sha": "c0ffee"}})).collect();
        json!(entries).to_string()
    };
    let next = |cursor: Option<&str>, count: usize, link: &str| {
        let (settings, args) = (settings(json!({})), json!({}));
        let cursor = cursor.map(|it| Cursor(json!({ "next": it })));
        let read = Read {
            source: &settings,
            learned: &Value::Null,
            stream: "branches",
            partition: "7",
            args: &args,
            lane: Lane::Forward,
            items: &[],
            cursor: cursor.as_ref(),
            careful: false,
        };
        match GitHub.step(&read, &[response(200, &[("link", link)], &list(count))]).unwrap() {
            Step::Page(Page { next: Next::More(cursor), .. }) => cursor.0["next"].as_str().map(str::to_owned),
            Step::Page(_) => None,
            Step::Send(requests) => panic!("{requests:?}"),
        }
    };
    let first = "https://api.github.com/repositories/7/branches?per_page=100";
    let numbered = |it: u32| format!("{first}&page={it}");
    assert_eq!(next(None, 99, ""), None);
    assert_eq!(next(None, 100, ""), Some(numbered(2)));
    assert_eq!(next(Some(&numbered(2)), 100, ""), Some(numbered(3)));
    assert_eq!(next(Some(&numbered(3)), 0, ""), None, "and ends at the empty one");
    assert_eq!(
        next(Some("https://api.github.com/x?after=w"), 100, ""),
        None,
        "an unnumbered page has no page behind it"
    );
    let link = "<https://api.github.com/given>; rel=\"next\"";
    assert_eq!(next(None, 100, link).as_deref(), Some("https://api.github.com/given"), "a link comes first");
}

/// With care changes are asked for from a day before the cursor, but only where a reading begins.
#[test]
fn with_care_changes_are_read_from_a_day_before() {
    let asked = |stream: &str, cursor: Value, careful: bool| {
        let (settings, args, cursor) = (settings(json!({})), json!({}), Cursor(cursor));
        let read = Read {
            source: &settings,
            learned: &Value::Null,
            stream,
            partition: "7",
            args: &args,
            lane: Lane::Forward,
            items: &[],
            cursor: Some(&cursor),
            careful,
        };
        match GitHub.step(&read, &[]).unwrap() {
            Step::Send(requests) => requests[0].url.split_once("&since=").unwrap().1.to_owned(),
            Step::Page(page) => panic!("{page:?}"),
        }
    };
    let rests = json!({ "since": "2026-11-21T08:00:00Z" });
    assert_eq!(asked("issues", rests.clone(), false), "2026-11-21T08%3A00%3A00Z");
    assert_eq!(asked("issues", rests, true), "2026-11-20T08%3A00%3A00Z");
    let begun = json!({ "since": "2026-11-21T08:00:00Z", "began": "2026-11-20T08:00:00Z" });
    assert_eq!(asked("issues", begun, true), "2026-11-21T08%3A00%3A00Z", "a page of it was read");
}

/// A repository's branches are shown to have changed when somebody last pushed.
#[test]
fn a_push_is_shown_by_the_listing() {
    let repository = json!({ "id": 7, "full_name": "acme/api", "pushed_at": "2026-11-20T07:59:58Z" });
    let (settings, args) = (settings(json!({})), json!({}));
    let read = Read {
        source: &settings,
        learned: &Value::Null,
        stream: "repositories",
        partition: "acme/api",
        args: &args,
        lane: Lane::Forward,
        items: &[],
        cursor: None,
        careful: false,
    };
    let Step::Page(page) = GitHub.step(&read, &[response(200, &[], &repository.to_string())]).unwrap() else {
        panic!("there is an answer");
    };
    assert_eq!(page.partitions[0].shown_at, Some("2026-11-20T07:59:58Z".parse().unwrap()));
}
