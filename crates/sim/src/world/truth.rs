//! What a world really holds, so that a test can compare a database with it.
//! Must never be what a connector reads.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::graph::Graph;
use super::history::History;
use super::repository::{Identity, Repository, State};
use super::text::Person;
use super::walk;
use crate::error::Error;
use crate::lock::read;

/// What a world really holds, by the repositories' current full names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Truth {
    /// The repositories.
    pub repositories: BTreeMap<String, RepositoryTruth>,
}

/// What one repository really holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RepositoryTruth {
    /// The number that stays through every rename.
    pub id: u64,
    /// What it answers with; the rest is true whatever the state.
    pub state: State,
    /// Whether it is archived.
    pub archived: bool,
    /// The branch that is shown first.
    pub default_branch: String,
    /// Every commit that a branch reaches.
    pub shas: BTreeSet<String>,
    /// The branches.
    pub branches: BTreeMap<String, BranchTruth>,
}

/// What one branch really holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BranchTruth {
    /// The commit it points to.
    pub head: String,
    /// Every commit that it reaches.
    pub shas: BTreeSet<String>,
}

/// What one commit really says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CommitTruth {
    /// Its parents, the first one first.
    pub parents: Vec<String>,
    /// The whole message.
    pub message: String,
    /// Who wrote it, and at which address.
    pub author: (String, String),
    /// When it was written, in seconds since the epoch.
    pub authored_s: i64,
    /// Who committed it, and at which address.
    pub committer: (String, String),
    /// When it was committed, in seconds since the epoch.
    pub committed_s: i64,
}

/// Tells the truth about every commit that a repository ever had.
pub(super) fn commits(repository: &Repository) -> Result<BTreeMap<String, CommitTruth>, Error> {
    let history = repository.current()?;
    let graph = read(&history.graph);
    Ok((0..graph.len()).map(|at| (graph.sha(at).to_string(), commit(&graph, at))).collect())
}

fn commit(graph: &Graph, at: u32) -> CommitTruth {
    let text = graph.text(at);
    let who = |it: &Person<'_>| (it.name.to_owned(), it.email.to_owned());
    CommitTruth {
        parents: graph.parents(at).map(|parent| graph.sha(parent).to_string()).collect(),
        message: text.message.clone().into_owned(),
        author: who(&text.author),
        authored_s: text.author.date,
        committer: who(&text.committer),
        committed_s: text.committer.date,
    }
}

/// Tells the truth about one repository.
pub(super) fn tell(repository: &Repository) -> Result<(Identity, RepositoryTruth), Error> {
    let history = repository.current()?;
    let identity = repository.identity();
    let truth = with(repository.id, &identity, &history);
    Ok((identity, truth))
}

fn with(id: u64, identity: &Identity, history: &History) -> RepositoryTruth {
    let graph = read(&history.graph);
    let branch = |(name, head): (&String, &u32)| {
        let truth = BranchTruth { head: graph.sha(*head).to_string(), shas: shas(&graph, [*head]) };
        (name.clone(), truth)
    };
    RepositoryTruth {
        id,
        state: identity.state,
        archived: identity.archived,
        default_branch: graph.default_branch.clone(),
        shas: shas(&graph, graph.branches.values().copied()),
        branches: graph.branches.iter().map(branch).collect(),
    }
}

fn shas(graph: &Graph, heads: impl IntoIterator<Item = u32>) -> BTreeSet<String> {
    walk::reachable(graph, heads).into_iter().map(|at| graph.sha(at).to_string()).collect()
}
