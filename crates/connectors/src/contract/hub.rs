//! GitHub as a pure function: an address in, an answer out, over a [`World`].
//!
//! Written from the provider's description, not from the connector; it shares no code with it.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use bytes::Bytes;
use domain::connector::Connector;
use domain::page::{Headers, Item, Record, Response};
use domain::source::Settings;
use domain::table::Table;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::graph::{Change, DEFAULT_BRANCH, World, sha};
use super::host::{Host, Landed, LinkForm};
use super::reference::Provider;
use crate::github::GitHub;

const BASE: &str = "https://api.github.com";
const ID: i64 = 1_296_269;
const FULL_NAME: &str = "octo-org/octo-repo";

/// GitHub with one repository.
#[derive(Clone, Debug)]
pub(super) struct Hub {
    world: World,
    links: LinkForm,
    /// The most entries that a page has, whatever is asked for.
    page_max: usize,
    landed: Landed,
}

impl Provider for Hub {
    type Change = Change;

    fn answer(&mut self, url: &str) -> Response {
        self.respond(url)
    }

    fn apply(&mut self, change: &Change) {
        self.world.apply(change);
    }

    fn landed(&mut self, record: &Record) {
        self.landed.note(record);
    }

    /// Commits are never gone, and branches are counted as items.
    fn listed(&mut self, _table: &'static Table, _owner: Option<i64>, _seen: &BTreeSet<String>) {}

    fn assert_read(&self, _partition: &str, item: &Item) {
        self.landed.assert_reached(&self.world, &item.wanted);
    }
}

impl Host for Hub {
    fn new(world: World, links: LinkForm, page_max: usize) -> Self {
        Self { world, links, page_max, landed: Landed::default() }
    }

    fn source(named: bool) -> (&'static dyn Connector, Settings) {
        let options = if named { json!({ "repos": [FULL_NAME] }) } else { json!({}) };
        (&GitHub, Settings { base_url: BASE.to_owned(), options })
    }

    fn parts(&mut self) -> (&mut World, &Landed) {
        (&mut self.world, &self.landed)
    }

    fn reads_commits(url: &str) -> bool {
        url.contains("/commits") || url.contains("/compare/")
    }
}

impl Hub {
    fn respond(&self, url: &str) -> Response {
        let rest = url.strip_prefix(BASE).expect("an address of the source");
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let parameters: Vec<(&str, &str)> = query.split('&').filter_map(|it| it.split_once('=')).collect();
        let get = |name: &str| parameters.iter().find(|(it, _)| *it == name).map(|(_, value)| *value);
        let at = Page {
            number: get("page").or(get("after")).map_or(1, |it| it.trim_start_matches('w').parse().unwrap()),
            size: get("per_page").map_or(30, |it| it.parse().unwrap()).min(self.page_max),
            url,
        };
        let repository = format!("/repositories/{ID}");
        if path == "/user/repos" {
            return self.paged(&at, &[repository_body()], |it| json!(it));
        }
        if path == format!("/repos/{FULL_NAME}") {
            return answer(200, String::new(), &repository_body());
        }
        match path.strip_prefix(&repository) {
            Some("/branches") => {
                let branches = self.world.branches.iter();
                let entry = |(name, head): (&String, &usize)| json!({"name": name, "commit": {"sha": sha(*head)}, "protected": false});
                self.paged(&at, &branches.map(entry).collect::<Vec<_>>(), |it| json!(it))
            }
            Some("/commits") => self.list_commits(&at, get("sha").expect("a pinned list")),
            Some("/issues" | "/pulls") => answer(200, String::new(), &json!([])),
            Some(path) => {
                let range = path.strip_prefix("/compare/").expect("a comparison");
                let (from, to) = range.split_once("...").expect("two commits");
                self.compare(&at, from, to)
            }
            None => error(404, "Not Found"),
        }
    }

    fn list_commits(&self, at: &Page<'_>, of: &str) -> Response {
        if self.world.branches.is_empty() {
            return error(409, "Git Repository is empty.");
        }
        let Some(head) = self.world.find(of) else {
            // Both are seen, depending on how the sha is unknown.
            return if of.ends_with('0') {
                error(404, "Not Found")
            } else {
                error(422, "No commit found for SHA")
            };
        };
        let listed = self.world.listed(head, &BTreeSet::new());
        self.paged(at, &self.bodies(&listed), |it| json!(it))
    }

    fn compare(&self, at: &Page<'_>, from: &str, to: &str) -> Response {
        let (Some(from), Some(to)) = (self.world.find(from), self.world.find(to)) else {
            return error(404, "Not Found");
        };
        let but = self.world.ancestry(from);
        if self.world.ancestry(to).is_disjoint(&but) {
            return error(404, "No common ancestor");
        }
        let mut listed = self.world.listed(to, &but);
        listed.reverse();
        let total = listed.len();
        let bodies = self.bodies(&listed);
        self.paged(
            at,
            &bodies,
            |it| json!({"status": "ahead", "total_commits": total, "commits": it, "files": []}),
        )
    }

    fn bodies(&self, commits: &[usize]) -> Vec<Value> {
        commits.iter().map(|it| self.body(*it)).collect()
    }

    fn body(&self, number: usize) -> Value {
        let commit = self.world.commit(number);
        let signature = json!({"name": "Mona", "email": "mona@example.com", "date": date(commit.date)});
        let parents: Vec<_> = commit.parents.iter().map(|it| json!({"sha": sha(*it)})).collect();
        json!({
            "sha": sha(number),
            "commit": {"author": signature, "committer": signature, "message": format!("Commit {number}")},
            // An account is unknown as often as not, and then null or an empty object.
            "author": if number.is_multiple_of(2) { json!({}) } else { Value::Null },
            "parents": parents,
        })
    }

    /// Cuts one page out of `entries`, with the links that lead on.
    fn paged(&self, at: &Page<'_>, entries: &[Value], wrap: impl Fn(&[Value]) -> Value) -> Response {
        let last = entries.len().div_ceil(at.size).max(1);
        let from = ((at.number - 1) * at.size).min(entries.len());
        let to = (from + at.size).min(entries.len());
        let mut link = String::new();
        if at.number < last {
            link = format!("<{}>; rel=\"next\"", at.link(self.links, at.number + 1));
            if matches!(self.links, LinkForm::Numbered) {
                write!(link, ", <{}>; rel=\"last\"", at.link(self.links, last)).unwrap();
            }
        }
        answer(200, link, &wrap(&entries[from..to]))
    }
}

struct Page<'a> {
    number: usize,
    size: usize,
    url: &'a str,
}

impl Page<'_> {
    fn link(&self, form: LinkForm, number: usize) -> String {
        let (path, query) = self.url.split_once('?').unwrap_or((self.url, ""));
        let kept: Vec<_> =
            query.split('&').filter(|it| !it.starts_with("page=") && !it.starts_with("after=")).collect();
        let place = match form {
            LinkForm::Numbered | LinkForm::NoLast => format!("page={number}"),
            LinkForm::Opaque => format!("after=w{number}"),
        };
        format!("{path}?{}&{place}", kept.join("&"))
    }
}

fn repository_body() -> Value {
    json!({
        "id": ID,
        "full_name": FULL_NAME,
        "name": "octo-repo",
        "owner": {"login": "octo-org"},
        "default_branch": DEFAULT_BRANCH,
        "private": false,
    })
}

fn date(seconds: i64) -> String {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap().to_string()
}

fn error(status: u16, message: &str) -> Response {
    answer(
        status,
        String::new(),
        &json!({"message": message, "documentation_url": "https://docs.github.com/rest"}),
    )
}

fn answer(status: u16, link: String, body: &Value) -> Response {
    let mut headers = Headers::default();
    if !link.is_empty() {
        headers.0.push(("link".to_owned(), link));
    }
    Response {
        status,
        headers,
        body: Bytes::from(body.to_string()),
        url: String::new(),
        requested_at: Timestamp::UNIX_EPOCH,
        received_at: Timestamp::UNIX_EPOCH,
    }
}
