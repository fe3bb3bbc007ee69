//! GitLab as a pure function: an address in, an answer out, over a [`World`].
//!
//! Written from the provider's description, not from the connector; it shares no code with it.

use std::collections::BTreeSet;

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
use crate::gitlab::GitLab;

const BASE: &str = "https://gitlab.com/api/v4";
const ID: i64 = 278_964;
const PATH: &str = "tanuki/zoo/keeper";

/// GitLab with one project.
#[derive(Clone, Debug)]
pub(super) struct Lab {
    world: World,
    links: LinkForm,
    /// The most entries that a page has, whatever is asked for.
    page_max: usize,
    landed: Landed,
}

impl Host for Lab {
    fn new(world: World, links: LinkForm, page_max: usize) -> Self {
        Self { world, links, page_max, landed: Landed::default() }
    }

    fn source(named: bool) -> (&'static dyn Connector, Settings) {
        let options = if named { json!({ "projects": [PATH] }) } else { json!({}) };
        (&GitLab, Settings { base_url: BASE.to_owned(), options })
    }

    fn parts(&mut self) -> (&mut World, &Landed) {
        (&mut self.world, &self.landed)
    }

    fn reads_commits(url: &str) -> bool {
        url.contains("/repository/commits") || url.contains("/merge_base")
    }
}

impl Provider for Lab {
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

impl Lab {
    fn respond(&self, url: &str) -> Response {
        let rest = url.strip_prefix(BASE).expect("an address of the source");
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let get = |name: &str| {
            let mut all = query.split('&').filter_map(|it| it.split_once('='));
            all.find(|(it, _)| *it == name).map(|(_, value)| value)
        };
        let at = Page {
            number: get("page").map_or(1, |it| it.parse().unwrap()),
            size: get("per_page").map_or(20, |it| it.parse().unwrap()).min(self.page_max),
            url,
        };
        if path == "/projects" {
            assert_eq!((get("membership"), get("pagination")), (Some("true"), Some("keyset")));
            return Self::by_number(get("id_after"), url);
        }
        if path == format!("/projects/{}", PATH.replace('/', "%2F")) {
            return answer(200, Vec::new(), &project());
        }
        match path.strip_prefix(&format!("/projects/{ID}")) {
            Some("/repository/branches") => {
                let entry = |(name, head): (&String, &usize)| json!({"name": name, "commit": {"id": sha(*head)}, "protected": null});
                let all: Vec<_> = self.world.branches.iter().map(entry).collect();
                self.paged(&at, &all, false)
            }
            Some("/repository/commits") => self.commits(&at, get("ref_name").expect("a pinned list")),
            Some("/repository/merge_base") => {
                let refs: Vec<_> = query.split('&').filter_map(|it| it.strip_prefix("refs%5B%5D=")).collect();
                self.merge_base(refs[0], refs[1])
            }
            Some("/merge_requests") => answer(200, Vec::new(), &json!([])),
            _ => error(404, "404 Not Found"),
        }
    }

    /// Lists projects by number: nothing says that a page is the last but that the one after it is empty.
    fn by_number(id_after: Option<&str>, url: &str) -> Response {
        if id_after.is_some() {
            return answer(200, Vec::new(), &json!([]));
        }
        let next = ("link", format!("<{url}&id_after={ID}>; rel=\"next\""));
        answer(200, vec![next], &json!([project()]))
    }

    fn commits(&self, at: &Page<'_>, revisions: &str) -> Response {
        if self.world.branches.is_empty() {
            return error(404, "404 Repository Not Found");
        }
        // Both are seen where a commit is not known: that it is not there, and that nothing is.
        let unknown = |of: &str| {
            if of.ends_with(['0', '2', '4', '6']) {
                error(404, "404 Commit Not Found")
            } else {
                answer(200, Vec::new(), &json!([]))
            }
        };
        let (from, to) = match revisions.split_once("..") {
            Some((from, to)) => (Some(from), to),
            None => (None, revisions),
        };
        let Some(head) = self.world.find(to) else { return unknown(to) };
        let but = match from.map(|it| (it, self.world.find(it))) {
            Some((from, None)) => return unknown(from),
            Some((_, Some(from))) => self.world.ancestry(from),
            None => BTreeSet::new(),
        };
        let bodies: Vec<_> = self.world.listed(head, &but).iter().map(|it| self.body(*it)).collect();
        self.paged(at, &bodies, true)
    }

    fn merge_base(&self, one: &str, other: &str) -> Response {
        let (Some(one), Some(other)) = (self.world.find(one), self.world.find(other)) else {
            return error(400, "Could not find ref: unknown");
        };
        let reached = self.world.ancestry(one);
        // The newest of those that both reach is one that no other of them is reached from.
        let common = self.world.ancestry(other).into_iter().filter(|it| reached.contains(it)).max();
        common.map_or_else(
            || error(404, "404 Merge Base Not Found"),
            |it| answer(200, Vec::new(), &self.body(it)),
        )
    }

    fn body(&self, number: usize) -> Value {
        let commit = self.world.commit(number);
        let at = Timestamp::from_second(1_700_000_000 + commit.date).unwrap().to_string();
        let parents: Vec<_> = commit.parents.iter().map(|it| sha(*it)).collect();
        json!({
            "id": sha(number),
            "message": format!("Commit {number}"),
            "author_name": "Tanuki", "author_email": "tanuki@example.com", "authored_date": at,
            "committer_name": "Tanuki", "committer_email": "tanuki@example.com", "committed_date": at,
            "parent_ids": parents,
        })
    }

    /// Cuts one page out of `entries`. Of commits nobody counts how many there are: a full page is followed by one,
    /// and that one may be empty.
    fn paged(&self, at: &Page<'_>, entries: &[Value], uncounted: bool) -> Response {
        let from = ((at.number - 1) * at.size).min(entries.len());
        let to = (from + at.size).min(entries.len());
        let goes_on = if uncounted { to - from == at.size } else { to < entries.len() };
        let next = at.number + 1;
        let header = ("x-next-page", if goes_on { next.to_string() } else { String::new() });
        let link = ("link", format!("<{}>; rel=\"next\"", at.link(next)));
        let headers = match self.links {
            LinkForm::Numbered if goes_on => vec![header, link],
            LinkForm::NoLast if goes_on => vec![link],
            LinkForm::Numbered | LinkForm::NoLast => vec![("x-next-page", String::new())],
            // A proxy took the links away.
            LinkForm::Opaque => vec![header],
        };
        answer(200, headers, &json!(entries[from..to]))
    }
}

struct Page<'a> {
    number: usize,
    size: usize,
    url: &'a str,
}

impl Page<'_> {
    fn link(&self, number: usize) -> String {
        let (path, query) = self.url.split_once('?').unwrap_or((self.url, ""));
        let kept: Vec<_> = query.split('&').filter(|it| !it.starts_with("page=")).collect();
        format!("{path}?{}&page={number}", kept.join("&"))
    }
}

fn project() -> Value {
    json!({
        "id": ID,
        "name": "Keeper",
        "path_with_namespace": PATH,
        "namespace": {"full_path": "tanuki/zoo"},
        "default_branch": DEFAULT_BRANCH,
        "visibility": "private",
    })
}

fn error(status: u16, message: &str) -> Response {
    answer(status, Vec::new(), &json!({ "message": message }))
}

fn answer(status: u16, headers: Vec<(&str, String)>, body: &Value) -> Response {
    Response {
        status,
        headers: Headers(headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        body: Bytes::from(body.to_string()),
        url: String::new(),
        requested_at: Timestamp::UNIX_EPOCH,
        received_at: Timestamp::UNIX_EPOCH,
    }
}
