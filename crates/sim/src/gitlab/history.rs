//! Branches, commits and what lies between them, of one project.
//! Must never hold a history's lock longer than it takes to note what a page shows.

use std::sync::Arc;

use super::WEB;
use super::answer::{error, refusal};
use super::commit::{COMMIT_BYTES, put_commit, put_single};
use super::link::{Entries, PER_PAGE, Paths};
use crate::hash::Digest;
use crate::lock::read;
use crate::rest::{Answer, Page, Query, encode, put, put_list, put_string};
use crate::world::{Graph, History, Identity, Repository, Sha, State};

/// What the endpoints of one project need.
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
    /// Whether the request carries a credential.
    pub(super) authorised: bool,
}

/// A branch as a page shows it.
struct Branch {
    name: String,
    head: u32,
    sha: Sha,
    default: bool,
    merged: bool,
}

impl Place<'_> {
    fn is_empty(&self) -> bool {
        self.identity.state == State::Empty || read(&self.history.graph).len() == 0
    }

    fn digest(&self, kind: u64) -> Digest {
        Digest::new(kind).word(self.repository.id).bytes(self.identity.full_name().as_bytes())
    }

    /// Finds what a branch, a full reference or a sha stands for.
    fn find(&self, name: &str) -> Option<u32> {
        let plain =
            name.strip_prefix("refs/heads/").and_then(|plain| self.repository.resolve(&self.history, plain));
        plain.or_else(|| self.repository.resolve(&self.history, name))
    }

    /// Lists the branches by name.
    pub(super) fn branches(&self) -> Answer {
        let page = Page::read(&self.query, PER_PAGE);
        let search = self.query.get("search").map(|text| text.to_lowercase());
        let wanted = |name: &str| search.as_ref().is_none_or(|search| matches(name, search));
        let mut names: Vec<(String, u32)> = Vec::new();
        if !self.is_empty() {
            let graph = read(&self.history.graph);
            let chosen = graph.branches.iter().filter(|(name, _)| wanted(name));
            names.extend(chosen.map(|(name, head)| (name.clone(), *head)));
        }
        let entries = names.len();
        let listed = self.describe(names.drain(page.range(entries)));
        let content = listed.iter().fold(self.digest(15), Branch::add);
        let body = self.promise(move |out, graph, full_name, authorised| {
            put_list(out, &listed, |out, branch| branch.put(out, graph, full_name, authorised));
        });
        let answer = Answer::promise(content.word(u64::from(self.authorised)).finish(), body);
        self.paths.numbered(answer, &self.query, page, Entries::Counted(entries))
    }

    /// Shows one branch.
    pub(super) fn branch(&self, name: &str) -> Answer {
        let head = read(&self.history.graph).branches.get(name).copied();
        let Some(head) = head.filter(|_| !self.is_empty()) else {
            return refusal(404, "404 Branch Not Found");
        };
        let listed = self.describe([(name.to_owned(), head)]);
        let content = listed.iter().fold(self.digest(16), Branch::add);
        let body = self.promise(move |out, graph, full_name, authorised| {
            for branch in &listed {
                branch.put(out, graph, full_name, authorised);
            }
        });
        Answer::promise(content.word(u64::from(self.authorised)).finish(), body)
    }

    /// Works out what is shown of branches beside their names.
    fn describe(&self, names: impl IntoIterator<Item = (String, u32)>) -> Vec<Branch> {
        let graph = read(&self.history.graph);
        let reach = graph.branches.get(&graph.default_branch).map(|main| self.history.reach(*main));
        let describe = |(name, head): (String, u32)| {
            let default = name == graph.default_branch;
            let merged = !default && reach.as_ref().is_some_and(|reach| reach.has(head));
            Branch { sha: graph.sha(head), default, merged, name, head }
        };
        names.into_iter().map(describe).collect()
    }

    /// Lists commits as `git log` does. Nobody counts them: a full page always has another one.
    pub(super) fn commits(&self) -> Answer {
        if self.is_empty() {
            return refusal(404, "404 Repository Not Found");
        }
        let order = match self.order() {
            Ok(order) => order,
            Err(refused) => return *refused,
        };
        let page = Page::read(&self.query, PER_PAGE);
        let listed = match (self.query.time("since"), self.query.time("until")) {
            (Err(()), _) => return error(400, "since is invalid"),
            (_, Err(())) => return error(400, "until is invalid"),
            (Ok(since), Ok(until)) => {
                let order = self.history.within(&order, since, until);
                order[page.range(order.len())].to_vec()
            }
        };
        let more = listed.len() == page.size;
        let content = self.content(17, &listed).finish();
        let body = self.promise(move |out, graph, full_name, _| {
            out.reserve(listed.len() * COMMIT_BYTES);
            put_list(out, &listed, |out, at| put_commit(out, graph, *at, full_name));
        });
        self.paths.numbered(Answer::promise(content, body), &self.query, page, Entries::More(more))
    }

    /// Lists what a list of commits is about, newest first.
    fn order(&self) -> Result<Arc<[u32]>, Box<Answer>> {
        if self.query.flag("all") == Some(true) {
            let heads: Vec<u32> = read(&self.history.graph).branches.values().copied().collect();
            return Ok(self.history.order_of(&heads));
        }
        let asked = self.query.get("ref_name");
        let asked = asked.unwrap_or_else(|| read(&self.history.graph).default_branch.clone());
        let unknown = || Box::new(refusal(404, "404 Commit Not Found"));
        // No branch has two dots in its name.
        let Some((have, want)) = asked.split_once("..") else {
            return self.find(&asked).map(|head| self.history.order(head)).ok_or_else(unknown);
        };
        let side = |name: &str| {
            let name = if name.is_empty() { "HEAD" } else { name };
            let head = || read(&self.history.graph).default_branch.clone();
            self.find(&if name == "HEAD" { head() } else { name.to_owned() }).ok_or_else(|| name.to_owned())
        };
        match (side(have), side(want)) {
            (Ok(have), Ok(want)) => {
                let found = self.history.compare(have, want);
                Ok(found.ahead.iter().rev().copied().collect())
            }
            (Err(name), _) | (_, Err(name)) if is_swallowed(&name) => Ok(Arc::default()),
            _ => Err(unknown()),
        }
    }

    /// Shows one commit.
    pub(super) fn commit(&self, name: &str) -> Answer {
        if self.is_empty() {
            return refusal(404, "404 Repository Not Found");
        }
        let Some(at) = self.find(name) else { return refusal(404, "404 Commit Not Found") };
        let project = self.repository.id;
        let body =
            self.promise(move |out, graph, full_name, _| put_single(out, graph, at, full_name, project));
        Answer::promise(self.content(18, &[at]).finish(), body)
    }

    /// Shows what one commit has and another lacks, oldest first and on no pages.
    pub(super) fn compare(&self) -> Answer {
        let missing: Vec<_> =
            ["from", "to"].into_iter().filter(|key| self.query.get(key).is_none()).collect();
        let (Some(from), Some(to)) = (self.query.get("from"), self.query.get("to")) else {
            let said: Vec<_> = missing.iter().map(|key| format!("{key} is missing")).collect();
            return error(400, &said.join(", "));
        };
        let (false, Some(base), Some(head)) = (self.is_empty(), self.find(&from), self.find(&to)) else {
            return refusal(404, "404 Ref Not Found");
        };
        let listed = self.history.compare(base, head).ahead.clone();
        let url =
            format!("{WEB}/{}/-/compare/{}...{}", self.identity.full_name(), encode(&from), encode(&to));
        let content = self.content(19, &listed).bytes(url.as_bytes()).word(u64::from(base == head));
        let body = self.promise(move |out, graph, full_name, _| {
            put(out, &["{\"commit\":"]);
            match listed.last() {
                Some(last) => put_commit(out, graph, *last, full_name),
                None => put(out, &["null"]),
            }
            put(out, &[",\"commits\":"]);
            put_list(out, &listed, |out, at| put_commit(out, graph, *at, full_name));
            let same = if base == head { "true" } else { "false" };
            put(
                out,
                &[",\"diffs\":[],\"compare_timeout\":false,\"compare_same_ref\":", same, ",\"web_url\":"],
            );
            put_string(out, &url);
            put(out, &["}"]);
        });
        Answer::promise(content.finish(), body)
    }

    /// Shows the best common ancestor of two commits or more.
    pub(super) fn merge_base(&self) -> Answer {
        let refs = self.query.list("refs");
        if refs.len() < 2 {
            return refusal(400, "Provide at least 2 refs");
        }
        if self.is_empty() {
            return refusal(404, "404 Repository Not Found");
        }
        let unknown: Vec<&str> =
            refs.iter().filter(|name| self.find(name).is_none()).map(String::as_str).collect();
        if !unknown.is_empty() {
            let noun = if unknown.len() == 1 { "ref" } else { "refs" };
            return refusal(400, &format!("Could not find {noun}: {}", unknown.join(", ")));
        }
        let mut found = refs.iter().filter_map(|name| self.find(name));
        let first = found.next();
        let base = found.fold(first, |base, other| self.history.compare(base?, other).merge_base);
        let Some(base) = base else { return refusal(404, "404 Merge Base Not Found") };
        let body = self.promise(move |out, graph, full_name, _| put_commit(out, graph, base, full_name));
        Answer::promise(self.content(20, &[base]).finish(), body)
    }

    /// Sums up which commits a body shows.
    fn content(&self, kind: u64, listed: &[u32]) -> Digest {
        let graph = read(&self.history.graph);
        listed.iter().fold(self.digest(kind), |digest, at| digest.bytes(&graph.sha(*at).0))
    }

    /// Promises a body that reads the graph, the project's name, and whether somebody known asks.
    fn promise(
        &self,
        write: impl FnOnce(&mut Vec<u8>, &Graph, &str, bool) + Send + 'static,
    ) -> Box<dyn FnOnce() -> Vec<u8> + Send> {
        let (history, full_name) = (Arc::clone(&self.history), self.identity.full_name());
        let authorised = self.authorised;
        Box::new(move || {
            let mut out = Vec::new();
            write(&mut out, &read(&history.graph), &full_name, authorised);
            out
        })
    }
}

impl Branch {
    fn add(digest: Digest, branch: &Self) -> Digest {
        let flags = u64::from(branch.default) << 1 | u64::from(branch.merged);
        digest.bytes(branch.name.as_bytes()).bytes(&branch.sha.0).word(flags)
    }

    fn put(&self, out: &mut Vec<u8>, graph: &Graph, full_name: &str, authorised: bool) {
        let word = |flag: bool| if flag { "true" } else { "false" };
        put(out, &["{\"name\":"]);
        put_string(out, &self.name);
        put(out, &[",\"commit\":"]);
        put_commit(out, graph, self.head, full_name);
        put(out, &[",\"merged\":", word(self.merged), ",\"protected\":", word(self.default)]);
        put(out, &[",\"developers_can_push\":false,\"developers_can_merge\":false,\"can_push\":"]);
        put(
            out,
            &[word(authorised && !self.default), ",\"default\":", word(self.default), ",\"web_url\":\""],
        );
        // The page of a branch has its slashes as they are.
        let path = encode(&self.name).replace("%2F", "/");
        put(out, &[WEB, "/", full_name, "/-/tree/", &path, "\"}"]);
    }
}

/// Tells whether a branch is searched for: by a part of its name, its beginning (`^`) or its end (`$`).
fn matches(name: &str, search: &str) -> bool {
    let name = name.to_lowercase();
    match (search.strip_prefix('^'), search.strip_suffix('$')) {
        (Some(beginning), _) => name.starts_with(beginning),
        (None, Some(end)) => name.ends_with(end),
        _ => name.contains(search),
    }
}

/// Tells whether a range with this unknown commit is taken for an empty one. Real servers do either, by their
/// version; here it is every sha that ends with an even digit.
fn is_swallowed(name: &str) -> bool {
    name.chars().last().and_then(|last| last.to_digit(16)).is_some_and(|digit| digit % 2 == 0)
}
