//! Branches, commits and comparisons of one repository.
//! Must never hold a history's lock longer than it takes to note what a page shows.

use std::sync::Arc;

use super::answer::{not_found, refusal};
use super::commit::{COMMIT_BYTES, put_commit, put_single};
use super::link::{PER_PAGE, Paths};
use super::person::{API, WEB};
use crate::hash::Digest;
use crate::lock::read;
use crate::rest::{Answer, Page, Query, encode, put, put_list, put_string};
use crate::world::{Graph, History, Identity, Links, Repository, Sha, State};

/// Commits in a comparison that does not say which page it wants: the latest ones.
const COMPARE_UNPAGED: usize = 250;

/// What the endpoints of one repository need.
pub(super) struct Place<'a> {
    /// The repository.
    pub(super) repository: &'a Repository,
    /// Who it is.
    pub(super) identity: Identity,
    /// Its history at the time of the request.
    pub(super) history: Arc<History>,
    /// Where links lead.
    pub(super) paths: Paths<'a>,
    /// What else was asked.
    pub(super) query: Query<'a>,
}

impl Place<'_> {
    /// Tells whether there is no commit.
    pub(super) fn is_empty(&self) -> bool {
        self.identity.state == State::Empty || read(&self.history.graph).len() == 0
    }

    fn digest(&self, kind: u64) -> Digest {
        Digest::new(kind).word(self.repository.id).bytes(self.identity.full_name().as_bytes())
    }

    /// Lists the branches by name.
    pub(super) fn branches(&self) -> Answer {
        let page = Page::read(&self.query, PER_PAGE);
        let mut listed: Vec<(String, Sha, bool)> = Vec::new();
        if !self.is_empty() {
            let graph = read(&self.history.graph);
            let wanted = self.query.get("protected").and_then(|flag| flag.parse::<bool>().ok());
            let all = graph.branches.iter().map(|(name, at)| (name, at, *name == graph.default_branch));
            let chosen = all.filter(|(.., protected)| wanted.is_none_or(|wanted| wanted == *protected));
            listed.extend(chosen.map(|(name, at, protected)| (name.clone(), graph.sha(*at), protected)));
        }
        let entries = listed.len();
        let listed = listed.drain(page.range(entries)).collect::<Vec<_>>();
        let content = listed.iter().fold(self.digest(5), |digest, (name, sha, protected)| {
            digest.bytes(name.as_bytes()).bytes(&sha.0).word(u64::from(*protected))
        });
        let full_name = self.identity.full_name();
        let body = move || {
            let mut out = Vec::with_capacity(listed.len() * 240 + 2);
            put_list(&mut out, &listed, |out, (name, sha, protected)| {
                put_branch(out, name, *sha, *protected, &full_name);
            });
            out
        };
        let link = self.paths.numbered(&self.query, page, entries, true);
        Answer::promise(content.finish(), Box::new(body)).linked(link)
    }

    /// Shows one branch.
    pub(super) fn branch(&self, name: &str) -> Answer {
        let graph = read(&self.history.graph);
        let Some(head) = graph.branches.get(name).copied().filter(|_| self.identity.state != State::Empty)
        else {
            return refusal(404, "Branch not found");
        };
        let protected = name == graph.default_branch;
        let content =
            self.digest(6).bytes(name.as_bytes()).bytes(&graph.sha(head).0).word(u64::from(protected));
        let (history, full_name, name) =
            (Arc::clone(&self.history), self.identity.full_name(), name.to_owned());
        let body = move || {
            let mut out = Vec::with_capacity(COMMIT_BYTES * 2);
            put(&mut out, &["{\"name\":"]);
            put_string(&mut out, &name);
            put(&mut out, &[",\"commit\":"]);
            put_single(&mut out, &read(&history.graph), head, &full_name);
            let encoded = encode(&name);
            let this = [API, "/repos/", &full_name, "/branches/", &encoded].concat();
            put(
                &mut out,
                &[
                    ",\"_links\":{\"self\":\"",
                    &this,
                    "\",\"html\":\"",
                    WEB,
                    "/",
                    &full_name,
                    "/tree/",
                    &encoded,
                ],
            );
            put(
                &mut out,
                &["\"},\"protected\":", if protected { "true" } else { "false" }, ",\"protection\":{"],
            );
            put(&mut out, &["\"enabled\":false},\"protection_url\":\"", &this, "/protection\"}"]);
            out
        };
        Answer::promise(content.finish(), Box::new(body))
    }

    /// Lists commits as `git log` does.
    pub(super) fn commits(&self) -> Answer {
        if self.is_empty() {
            return refusal(409, "Git Repository is empty.");
        }
        let asked = self.query.get("top").or_else(|| self.query.get("sha"));
        let asked = asked.unwrap_or_else(|| read(&self.history.graph).default_branch.clone());
        let Some(head) = self.repository.resolve(&self.history, &asked) else { return not_found() };
        let order = self.history.order(head);
        let order = match (self.query.time("since"), self.query.time("until")) {
            (Err(()), _) | (_, Err(())) => return refusal(422, "Invalid request.\n\nInvalid date."),
            (Ok(since), Ok(until)) => self.history.within(&order, since, until),
        };
        let mut page = Page::read(&self.query, PER_PAGE);
        let mut range = page.range(order.len());
        let shown = |at: u32| read(&self.history.graph).sha(at).to_string();
        if let Some(last) = self.query.get("last_sha") {
            let last = self.repository.resolve(&self.history, &last);
            let Some(at) = last.and_then(|last| order.iter().position(|at| *at == last)) else {
                return not_found();
            };
            page.number = 1;
            range = at + 1..(at + 1 + page.size).min(order.len());
        }
        let more = range.end < order.len() && !range.is_empty();
        let link = match self.identity.links {
            Links::Numbered => self.paths.numbered(&self.query, page, order.len(), true),
            Links::NoLast => self.paths.numbered(&self.query, page, order.len(), false),
            Links::Opaque => {
                more.then(|| self.paths.opaque(&self.query, &shown(head), &shown(order[range.end - 1])))
            }
        };
        let listed = order[range].to_vec();
        let content = self.content(7, &listed);
        let (history, full_name) = (Arc::clone(&self.history), self.identity.full_name());
        let body = move || {
            let mut out = Vec::with_capacity(listed.len() * COMMIT_BYTES + 2);
            put_commits(&mut out, &read(&history.graph), &listed, &full_name);
            out
        };
        Answer::promise(content.finish(), Box::new(body)).linked(link)
    }

    /// Shows one commit.
    pub(super) fn commit(&self, name: &str) -> Answer {
        if self.is_empty() {
            return refusal(409, "Git Repository is empty.");
        }
        let Some(at) = self.repository.resolve(&self.history, name) else {
            return refusal(422, &format!("No commit found for SHA: {name}"));
        };
        let (history, full_name) = (Arc::clone(&self.history), self.identity.full_name());
        let body = move || {
            let mut out = Vec::with_capacity(COMMIT_BYTES);
            put_single(&mut out, &read(&history.graph), at, &full_name);
            out
        };
        Answer::promise(self.content(8, &[at]).finish(), Box::new(body))
    }

    /// Compares two commits.
    pub(super) fn compare(&self, base: &str, head: &str) -> Answer {
        let find = |name| self.repository.resolve(&self.history, name);
        let (false, Some(from), Some(to)) = (self.is_empty(), find(base), find(head)) else {
            return not_found();
        };
        let found = self.history.compare(from, to);
        let Some(merge_base) = found.merge_base else {
            return refusal(404, &format!("No common ancestor between {base} and {head}."));
        };
        let (total, page) = (found.ahead.len(), Page::read(&self.query, PER_PAGE));
        let paged = self.query.get("page").is_some() || self.query.get("per_page").is_some();
        let range = if paged { page.range(total) } else { total.saturating_sub(COMPARE_UNPAGED)..total };
        let link = if paged { self.paths.numbered(&self.query, page, total, true) } else { None };
        let listed = found.ahead[range].to_vec();
        let behind = found.behind;
        let content = self.content(9, &[from, to, merge_base]).word(total as u64).word(behind as u64);
        let content = content.word((self.content(10, &listed).finish() >> 64) as u64);
        let (history, full_name) = (Arc::clone(&self.history), self.identity.full_name());
        let body = move || {
            let mut out = Vec::with_capacity((listed.len() + 3) * COMMIT_BYTES);
            let graph = read(&history.graph);
            put_compare_head(&mut out, &graph, &full_name, [from, to, merge_base], [total, behind]);
            put_commits(&mut out, &graph, &listed, &full_name);
            put(&mut out, &[",\"files\":[]}"]);
            out
        };
        Answer::promise(content.finish(), Box::new(body)).linked(link)
    }

    /// Sums up which commits a body shows.
    fn content(&self, kind: u64, listed: &[u32]) -> Digest {
        let graph = read(&self.history.graph);
        listed.iter().fold(self.digest(kind), |digest, at| digest.bytes(&graph.sha(*at).0))
    }
}

fn put_commits(out: &mut Vec<u8>, graph: &Graph, listed: &[u32], full_name: &str) {
    put_list(out, listed, |out, at| put_commit(out, graph, *at, full_name));
}

fn put_branch(out: &mut Vec<u8>, name: &str, sha: Sha, protected: bool, full_name: &str) {
    let sha = sha.to_string();
    put(out, &["{\"name\":"]);
    put_string(out, name);
    put(
        out,
        &[",\"commit\":{\"sha\":\"", &sha, "\",\"url\":\"", API, "/repos/", full_name, "/commits/", &sha],
    );
    put(out, &["\"},\"protected\":", if protected { "true" } else { "false" }, "}"]);
}

/// Appends a comparison up to its commits.
fn put_compare_head(
    out: &mut Vec<u8>,
    graph: &Graph,
    full_name: &str,
    [from, to, merge_base]: [u32; 3],
    [ahead, behind]: [usize; 2],
) {
    let status = match (ahead, behind) {
        (0, 0) => "identical",
        (_, 0) => "ahead",
        (0, _) => "behind",
        _ => "diverged",
    };
    let pair = format!("{}...{}", graph.sha(from), graph.sha(to));
    put(out, &["{\"url\":\"", API, "/repos/", full_name, "/compare/", &pair, "\""]);
    for (key, end) in [("html_url", ""), ("diff_url", ".diff"), ("patch_url", ".patch")] {
        put(out, &[",\"", key, "\":\"", WEB, "/", full_name, "/compare/", &pair, end, "\""]);
    }
    put(out, &[",\"permalink_url\":\"", WEB, "/", full_name, "/compare/", &pair, "\",\"base_commit\":"]);
    put_commit(out, graph, from, full_name);
    put(out, &[",\"merge_base_commit\":"]);
    put_commit(out, graph, merge_base, full_name);
    let [ahead, behind] = [ahead, behind].map(|count| count.to_string());
    put(out, &[",\"status\":\"", status, "\",\"ahead_by\":", &ahead, ",\"behind_by\":", &behind]);
    put(out, &[",\"total_commits\":", &ahead, ",\"commits\":"]);
}
