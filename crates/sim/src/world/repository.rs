//! One repository of a world: who it is, what state it is in, and its history.
//! Must never hold a lock while it answers: readers take what they need and go.

use std::path::Path;
use std::sync::{Arc, RwLock};

use serde::{Deserialize, Serialize};

use super::follow::Follower;
use super::graph::Graph;
use super::history::History;
use super::issue::Issue;
use super::merge_request::MergeRequest;
use super::sha::Sha;
use crate::error::Error;
use crate::lock::{read, write};

/// What a repository answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// All is well.
    #[default]
    Ok,
    /// It has no commit: no branches, and 409 (GitHub) or 404 (GitLab) on its commits.
    Empty,
    /// It was deleted, or the credential may not know of it: 404.
    Gone,
    /// It is blocked for legal reasons: 451 (GitHub) or 403 (GitLab).
    Legal,
    /// The credential lacks a permission: 403, with requests remaining.
    Denied,
}

/// How the commits list of a repository links its pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Links {
    /// By number, with the last page.
    #[default]
    Numbered,
    /// By number, without the last page.
    NoLast,
    /// By a sha that only the server understands.
    Opaque,
}

/// Who a repository is.
#[derive(Clone)]
pub(crate) struct Identity {
    /// The account it belongs to.
    pub(crate) owner: String,
    /// Its name in that account.
    pub(crate) name: String,
    /// What it answers with.
    pub(crate) state: State,
    /// How its commits list links.
    pub(crate) links: Links,
    /// Whether nobody may write to it any more.
    pub(crate) archived: bool,
    /// When somebody last pushed while the providers' clock stood where it was set, in seconds since the epoch.
    pub(crate) pushed_s: Option<i64>,
}

impl Identity {
    /// Starts a repository that is well.
    pub(crate) fn new(owner: &str, name: &str) -> Self {
        Self {
            owner: owner.to_owned(),
            name: name.to_owned(),
            state: State::Ok,
            links: Links::Numbered,
            archived: false,
            pushed_s: None,
        }
    }

    /// Returns `owner/name`.
    pub(crate) fn full_name(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }
}

/// One repository.
pub(crate) struct Repository {
    /// The number that stays through every rename.
    pub(crate) id: u64,
    /// Who it is.
    pub(crate) identity: RwLock<Identity>,
    /// Its merge requests, in the order of their numbers; a git repository has none.
    pub(crate) merge_requests: RwLock<Vec<MergeRequest>>,
    /// Its issues and pull requests at GitHub, in the order of their numbers; a git repository has none.
    pub(crate) issues: RwLock<Vec<Issue>>,
    history: RwLock<Arc<History>>,
    follower: Option<Follower>,
}

impl Repository {
    /// Wraps a seeded graph and what people made of it.
    pub(crate) fn seeded(
        id: u64,
        identity: Identity,
        graph: Graph,
        (merge_requests, issues): (Vec<MergeRequest>, Vec<Issue>),
    ) -> Self {
        let history = RwLock::new(Arc::new(History::new(graph)));
        let (identity, merge_requests) = (RwLock::new(identity), RwLock::new(merge_requests));
        Self { id, identity, merge_requests, issues: RwLock::new(issues), history, follower: None }
    }

    /// Opens a git repository and reads its branches.
    pub(crate) fn git(id: u64, path: &Path) -> Result<Self, Error> {
        let follower = Follower::open(path)?;
        let history = RwLock::new(Arc::new(History::new(Graph::git())));
        let identity = RwLock::new(Identity::new("local", follower.folder()));
        let (merge_requests, issues) = (RwLock::default(), RwLock::default());
        let repository = Self { id, identity, merge_requests, issues, history, follower: Some(follower) };
        repository.current()?;
        Ok(repository)
    }

    /// Returns the history as it is now; of a git repository after a look at its references.
    pub(crate) fn current(&self) -> Result<Arc<History>, Error> {
        match &self.follower {
            Some(follower) => follower.refresh(&self.history),
            None => Ok(Arc::clone(&read(&self.history))),
        }
    }

    /// Returns a copy of who it is.
    pub(crate) fn identity(&self) -> Identity {
        read(&self.identity).clone()
    }

    /// Changes who it is.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Identity)) {
        change(&mut write(&self.identity));
    }

    /// Finds the commit that a branch name or a sha stands for.
    pub(crate) fn resolve(&self, history: &History, name: &str) -> Option<u32> {
        let sha = name.parse::<Sha>().ok();
        {
            let graph = read(&history.graph);
            if let Some(head) = graph.branches.get(name) {
                return Some(*head);
            }
            let at = graph.find(sha?);
            if at.is_some() {
                return at;
            }
        }
        // Like the real one, a git repository still knows a commit that no branch reaches any more.
        self.follower.as_ref()?.fetch(history, sha?)
    }
}
