//! What the fake providers show: repositories with real or seeded history, and a Jira site.
//! Must never know about HTTP.

mod activity;
mod control;
mod delivery;
mod follow;
mod git;
mod graph;
mod history;
mod issue;
mod merge_request;
mod prose;
mod repository;
mod seeded;
mod sha;
pub(crate) mod site;
mod text;
mod truth;
mod walk;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use self::activity::Rhythm;
pub use self::control::Control;
pub use self::delivery::{Delivery, Hook, Mishaps, Outbox, signed};
pub(crate) use self::graph::Graph;
pub(crate) use self::history::History;
pub use self::issue::{Issue, IssueEvent, IssueGone, Pull};
pub use self::merge_request::{Account, MergeRequest, MergeRequestState, Note};
pub use self::repository::State;
pub(crate) use self::repository::{Identity, Links, Repository};
pub(crate) use self::sha::Sha;
use self::site::Site;
pub(crate) use self::text::{Person, Text};
pub use self::truth::{BranchTruth, CommitTruth, RepositoryTruth, Truth};
use crate::error::Error;
use crate::lock::read;

/// Where a world's history comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorldSource {
    /// A real git repository at this path, followed live. It is shown as `local/<folder>`.
    Git(PathBuf),
    /// Made from a seed: `acme/repo-1`, `acme/repo-2`, ….
    Seeded {
        /// The seed.
        seed: u64,
        /// How many repositories.
        repos: usize,
        /// How many commits in each.
        commits: usize,
    },
}

/// So many commits have an issue, up to so many issues, where nobody says how many there are.
const ISSUE_COMMITS: usize = 10;
const ISSUES_MAX: usize = 40;

/// The first repository's number; high enough to look like a real one.
const FIRST_ID: u64 = 417_300_001;

/// The repositories and the Jira site that the fake providers show, and the means to change them.
pub struct World {
    repositories: Vec<Arc<Repository>>,
    /// Every name that leads to a repository, in lower case; old names stay.
    names: RwLock<HashMap<String, Arc<Repository>>>,
    site: Site,
    work: Rhythm,
}

impl World {
    /// Builds the world. Blocks: it may read a whole git history.
    pub(crate) fn build(
        source: &WorldSource,
        issues: Option<usize>,
        site: Site,
        seed: u64,
    ) -> Result<Self, Error> {
        let repositories = match source {
            WorldSource::Git(path) => vec![Repository::git(FIRST_ID, Path::new(path))?],
            WorldSource::Seeded { seed, repos, commits } => {
                let make = |(number, id): (usize, u64)| {
                    let identity = Identity::new("acme", &format!("repo-{number}"));
                    let graph = seeded::generate(*seed, number, *commits);
                    let merge_requests = merge_request::generate(&graph, id - FIRST_ID);
                    let count = issues.unwrap_or((*commits / ISSUE_COMMITS).min(ISSUES_MAX));
                    let issues = issue::generate(*seed, id - FIRST_ID, count);
                    Repository::seeded(id, identity, graph, (merge_requests, issues))
                };
                (1..=*repos).zip(FIRST_ID..).map(make).collect()
            }
        };
        let repositories: Vec<_> = repositories.into_iter().map(Arc::new).collect();
        let name = |repository: &Arc<Repository>| repository.identity().full_name().to_lowercase();
        let names =
            repositories.iter().map(|repository| (name(repository), Arc::clone(repository))).collect();
        Ok(Self { repositories, names: RwLock::new(names), site, work: Rhythm::new(seed) })
    }

    /// Returns the Jira site.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// Lists the repositories' current full names.
    pub fn names(&self) -> Vec<String> {
        self.repositories.iter().map(|repository| repository.identity().full_name()).collect()
    }

    /// Tells what the world really holds. Blocks for as long as git takes, when it follows a git repository.
    pub fn truth(&self) -> Result<Truth, Error> {
        let mut repositories = BTreeMap::new();
        for repository in &self.repositories {
            let (identity, truth) = truth::tell(repository)?;
            repositories.insert(identity.full_name(), truth);
        }
        Ok(Truth { repositories })
    }

    /// Tells what one repository really holds.
    pub fn repository_truth(&self, name: &str) -> Result<RepositoryTruth, Error> {
        truth::tell(&*self.repository(name)?).map(|(_, truth)| truth)
    }

    /// Tells of every commit that a repository ever had, by its sha, also of those that no branch reaches any more.
    pub fn commits(&self, name: &str) -> Result<BTreeMap<String, CommitTruth>, Error> {
        truth::commits(&*self.repository(name)?)
    }

    /// Lists the repositories.
    pub(crate) fn repositories(&self) -> &[Arc<Repository>] {
        &self.repositories
    }

    /// Finds a repository by a name it has or had.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<Repository>> {
        read(&self.names).get(&name.to_lowercase()).cloned()
    }

    /// Finds a repository by its number.
    pub(crate) fn find_id(&self, id: u64) -> Option<Arc<Repository>> {
        self.repositories.iter().find(|repository| repository.id == id).cloned()
    }

    fn repository(&self, name: &str) -> Result<Arc<Repository>, Error> {
        self.find(name).ok_or_else(|| Error::UnknownRepository(name.to_owned()))
    }
}

/// Splits `owner/name`.
fn split_name(full: &str) -> Result<(&str, &str), Error> {
    let parts = full
        .split_once('/')
        .filter(|(owner, name)| !owner.is_empty() && !name.is_empty() && !name.contains('/'));
    parts.ok_or_else(|| Error::BadName(full.to_owned()))
}
