//! The fake Jira, as a client of Cloud and one of Data Center see it.
//! Must never look inside; the site's own truth is what answers are compared with.

mod agile;
mod credential;
mod issue;
mod limit;
mod search;
mod work;

use serde_json::Value;
use sim::{Options, Sim, SiteControl, SiteSize, WorldSource};

use crate::client::{Answer, send};

/// `sync@acme.example:token`, as a client of Cloud sends it, and a token as one of Data Center does.
pub(crate) const BASIC: &str = "Basic c3luY0BhY21lLmV4YW1wbGU6dG9rZW4=";
pub(crate) const BEARER: &str = "Bearer pat";

/// Asks Cloud.
pub(crate) async fn cloud(sim: &Sim, target: &str) -> Answer {
    send(sim, "GET", &format!("/jira/cloud{target}"), &[("authorization", BASIC)], "").await
}

/// Asks Data Center.
pub(crate) async fn dc(sim: &Sim, target: &str) -> Answer {
    send(sim, "GET", &format!("/jira/dc{target}"), &[("authorization", BEARER)], "").await
}

/// Asks Cloud with a body.
pub(crate) async fn post(sim: &Sim, target: &str, body: &str) -> Answer {
    send(sim, "POST", &format!("/jira/cloud{target}"), &[("authorization", BASIC)], body).await
}

/// Returns what is wrong, in Jira's words.
pub(crate) fn wrong(answer: &Answer) -> String {
    answer.json()["errorMessages"][0].as_str().unwrap_or_default().to_owned()
}

/// Encodes a value for a query.
pub(crate) fn encoded(text: &str) -> String {
    text.bytes()
        .map(|it| if it.is_ascii_alphanumeric() { char::from(it).to_string() } else { format!("%{it:02X}") })
        .collect()
}

/// Starts a site with so many projects and issues in each.
pub(crate) async fn site(projects: usize, issues: usize) -> Sim {
    site_with(projects, issues, |_| {}).await
}

/// Starts a site that is unusual in some way.
pub(crate) async fn site_with(projects: usize, issues: usize, change: impl FnOnce(&mut Options)) -> Sim {
    let world = WorldSource::Seeded { seed: 5, repos: 1, commits: 1 };
    let mut options = Options { world, ..Options::default() };
    options.jira.size = SiteSize { projects, issues };
    change(&mut options);
    sim::start(options).await.unwrap()
}

/// Makes one change.
pub(crate) fn change(sim: &Sim, control: &str) -> Option<u64> {
    let control: SiteControl = serde_json::from_str(control).unwrap();
    sim.world().site().apply(&control).unwrap()
}

/// Walks a search by tokens and returns the issues of each page.
pub(crate) async fn walk(sim: &Sim, target: &str) -> Vec<Vec<Value>> {
    let (mut pages, mut token) = (Vec::new(), String::new());
    loop {
        let answer = cloud(sim, &format!("{target}{token}")).await;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        let page = answer.json();
        pages.push(page["issues"].as_array().unwrap().clone());
        assert!(page.get("total").is_none(), "Cloud tells no total");
        let next = page["nextPageToken"].as_str();
        assert_eq!(page["isLast"].as_bool(), Some(next.is_none()));
        let Some(next) = next else { return pages };
        token = format!("&nextPageToken={next}");
    }
}

/// Returns the numbers of listed issues, in order.
pub(crate) fn ids(issues: &[Value]) -> Vec<u64> {
    issues.iter().map(|it| it["id"].as_str().unwrap().parse().unwrap()).collect()
}
