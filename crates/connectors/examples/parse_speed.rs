//! Measures how fast commit lists become records: 1,000 pages of 100 commits of about 5 KB each.
//!
//! It reads its own made-up answers and asks nothing of a network. Run it with `--release`.

use std::time::Instant;

use bytes::Bytes;
use domain::connector::Step;
use domain::job::Lane;
use domain::page::{Headers, Item, Read, Response};
use domain::source::Settings;
use jiff::Timestamp;
use serde_json::{Value, json};

/// Pages to read; with [`COMMITS`] in each this is the size of a large repository.
const PAGES: u32 = 1000;
const COMMITS: u32 = 100;

fn main() {
    let head = format!("{:040x}", 0);
    let body = Bytes::from(json!((0..COMMITS).map(commit).collect::<Vec<_>>()).to_string());
    let response = Response {
        status: 200,
        headers: Headers::default(),
        body: body.clone(),
        url: String::new(),
        requested_at: Timestamp::UNIX_EPOCH,
        received_at: Timestamp::UNIX_EPOCH,
    };
    let settings = Settings { base_url: "https://api.github.com".to_owned(), options: json!({}) };
    let args = json!({});
    let item =
        Item { key: "main".to_owned(), have: None, wanted: head, base: None, args: json!({}), cursor: None };
    let read = Read {
        source: &settings,
        learned: &serde_json::Value::Null,
        stream: "commits",
        partition: "1",
        args: &args,
        lane: Lane::Forward,
        items: std::slice::from_ref(&item),
        cursor: None,
        careful: false,
    };
    let Some(connector) = connectors::find("github") else { return };
    let begun = Instant::now();
    let mut records = 0;
    for _ in 0..PAGES {
        if let Ok(Step::Page(page)) = connector.step(&read, std::slice::from_ref(&response)) {
            records += page.records.len();
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let commits = PAGES * COMMITS;
    let Ok(body_bytes) = u32::try_from(body.len()) else { return };
    let megabytes = f64::from(body_bytes) * f64::from(PAGES) / 1e6;
    println!(
        "{commits} commits of {} bytes, {records} records: {seconds:.3} s, {:.0} MB/s, {:.1} µs a commit",
        body_bytes / COMMITS,
        megabytes / seconds,
        seconds * 1e6 / f64::from(commits)
    );
}

/// Returns a commit in the shape and size of GitHub's: two accounts of many addresses, and a signature.
fn commit(number: u32) -> Value {
    let sha = format!("{number:040x}");
    let api = "https://api.github.com/repos/octo-org/octo-repo";
    let signature =
        json!({"name": "The Octocat", "email": "octocat@github.com", "date": "2026-03-14T15:09:26Z"});
    let payload = format!(
        "tree {sha}\nparent {sha}\nauthor The Octocat <octocat@github.com> 1710428966 +0000\n\nWords\n"
    );
    json!({
        "sha": sha,
        "node_id": format!("C_kwDOABCDEF{sha}"),
        "commit": {
            "author": signature,
            "committer": signature,
            "message": format!("SYNC-{number}: change what there is to change\n\nBecause it was not right before, and now it is.\n\nCo-authored-by: Mona <mona@example.com>"),
            "tree": {"sha": sha, "url": format!("{api}/git/trees/{sha}")},
            "url": format!("{api}/git/commits/{sha}"),
            "comment_count": 0,
            "verification": {
                "verified": true,
                "reason": "valid",
                "signature": format!("-----BEGIN PGP SIGNATURE-----\n\n{}\n-----END PGP SIGNATURE-----\n", "wsFcBAABCAAQBQJl8sdGCRC1aQ7uu5UhlAAA\n".repeat(18)),
                "payload": payload,
                "verified_at": "2026-03-14T15:09:27Z",
            },
        },
        "url": format!("{api}/commits/{sha}"),
        "html_url": format!("https://github.com/octo-org/octo-repo/commit/{sha}"),
        "comments_url": format!("{api}/commits/{sha}/comments"),
        "author": account("octocat"),
        "committer": account("web-flow"),
        "parents": [{"sha": sha, "url": format!("{api}/commits/{sha}"), "html_url": format!("https://github.com/octo-org/octo-repo/commit/{sha}")}],
    })
}

fn account(login: &str) -> Value {
    let url = format!("https://api.github.com/users/{login}");
    json!({
        "login": login,
        "id": 583_231,
        "node_id": "MDQ6VXNlcjU4MzIzMQ==",
        "avatar_url": "https://avatars.githubusercontent.com/u/583231?v=4",
        "gravatar_id": "",
        "url": url,
        "html_url": format!("https://github.com/{login}"),
        "followers_url": format!("{url}/followers"),
        "following_url": format!("{url}/following{{/other_user}}"),
        "gists_url": format!("{url}/gists{{/gist_id}}"),
        "starred_url": format!("{url}/starred{{/owner}}{{/repo}}"),
        "subscriptions_url": format!("{url}/subscriptions"),
        "organizations_url": format!("{url}/orgs"),
        "repos_url": format!("{url}/repos"),
        "events_url": format!("{url}/events{{/privacy}}"),
        "received_events_url": format!("{url}/received_events"),
        "type": "User",
        "user_view_type": "public",
        "site_admin": false,
    })
}
