//! What can go wrong when a simulator starts or a world is changed, in sentences that name the fix.
//! Must never carry what a client sent as a credential.

use std::net::SocketAddr;
use std::path::PathBuf;

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody can listen there.
    #[error("cannot listen on {address}: {source}; choose another address, or port 0 for any free one")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The path holds no git repository that can be read.
    #[error("{} is not a git repository that can be served: {why}", path.display())]
    NotGit {
        /// The path that was given.
        path: PathBuf,
        /// What git said.
        why: String,
    },
    /// The `git` program failed on a repository that was readable before.
    #[error("git failed: {0}")]
    Git(String),
    /// The world has no such repository.
    #[error("the world has no repository {0}")]
    UnknownRepository(String),
    /// The repository has no such branch.
    #[error("{repository} has no branch {branch}")]
    UnknownBranch {
        /// The repository's full name.
        repository: String,
        /// The branch that was named.
        branch: String,
    },
    /// The name is not `owner/name`.
    #[error("{0:?} is not a repository's name: write owner/name")]
    BadName(String),
    /// Another repository has the name.
    #[error("the name {0} is taken by another repository")]
    NameTaken(String),
    /// The branch exists already.
    #[error("{repository} has a branch {branch} already")]
    BranchTaken {
        /// The repository's full name.
        repository: String,
        /// The branch that was named.
        branch: String,
    },
    /// The repository has no such merge request.
    #[error("{repository} has no merge request {iid}")]
    UnknownMergeRequest {
        /// The repository's full name.
        repository: String,
        /// Its number in the repository.
        iid: u64,
    },
    /// The merge request is in another state than the change needs.
    #[error("merge request {iid} of {repository} {why}")]
    WrongMergeRequest {
        /// The repository's full name.
        repository: String,
        /// Its number in the repository.
        iid: u64,
        /// What is in the way.
        why: &'static str,
    },
    /// The repository has no such issue or pull request, or no longer.
    #[error("{repository} has no issue {number}")]
    UnknownIssue {
        /// The repository's full name.
        repository: String,
        /// Its number in the repository.
        number: u64,
    },
    /// The issue is in another state than the change needs.
    #[error("issue {number} of {repository} {why}")]
    WrongIssue {
        /// The repository's full name.
        repository: String,
        /// Its number in the repository.
        number: u64,
        /// What is in the way.
        why: &'static str,
    },
    /// The fake Jira has no such thing.
    #[error("the Jira site has no {0}")]
    UnknownInSite(String),
    /// The sprint is in another state than the change needs.
    #[error("sprint {sprint} {why}")]
    WrongSprint {
        /// The sprint.
        sprint: u64,
        /// What is in the way.
        why: &'static str,
    },
    /// The board has no sprints.
    #[error("board {0} is a kanban board and has no sprints")]
    NoSprints(u64),
    /// Nothing can be delivered there.
    #[error("cannot deliver to {0}: give an address such as http://127.0.0.1:7878/api/webhooks/1")]
    BadHook(String),
    /// There is no such time zone.
    #[error("{0:?} is no time zone: write one of the IANA database, such as Europe/Berlin")]
    UnknownZone(String),
    /// A real repository is changed with git, not through the simulator.
    #[error("{0} is a real git repository: change it with git, the simulator follows")]
    NotSeeded(String),
}

/// A fault or limit setting that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot use {key}={value}: {allowed}")]
pub struct SpecError {
    /// The key as written.
    pub key: String,
    /// The value as written.
    pub value: String,
    /// What is allowed instead.
    pub allowed: String,
}

/// Splits `key=value,key=value`; an empty text has no pairs.
pub(crate) fn pairs(spec: &str) -> impl Iterator<Item = (&str, &str)> {
    spec.split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}
