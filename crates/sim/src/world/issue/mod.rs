//! Issues and pull requests of one repository as GitHub has them: what they say, what happened to them, and where they went.
//! Must never know how they are shown.

mod control;
mod seeded;

use serde::Serialize;
use serde_json::Value;

pub(super) use self::seeded::generate;

/// The first number of all issues, pull requests and events; high enough to look like real ones.
const FIRST_ID: u64 = 2_100_000_000;
/// Numbers that a repository may use up.
const IDS: u64 = 100_000_000;

/// One issue or pull request as it really is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Issue {
    /// Its number among those of all repositories.
    pub id: u64,
    /// Its number in its repository.
    pub number: u64,
    /// What it is called.
    pub title: String,
    /// Whether it is open.
    pub open: bool,
    /// The account that opened it.
    pub author: String,
    /// Its labels.
    pub labels: Vec<String>,
    /// How many comments it has.
    pub comments: usize,
    /// When it was opened, in seconds since the epoch: GitHub knows no less.
    pub created_s: i64,
    /// When it changed last.
    pub updated_s: i64,
    /// When it was closed.
    pub closed_s: Option<i64>,
    /// What it is beside, where it is a pull request.
    pub pull: Option<Pull>,
    /// What happened to it, oldest first.
    pub events: Vec<IssueEvent>,
    /// Where it went, if it is not here any more.
    pub gone: Option<IssueGone>,
}

/// What a pull request has beside an issue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pull {
    /// Its number among the pull requests of all repositories.
    pub id: u64,
    /// The branch that is to be merged.
    pub branch: String,
    /// The head of that branch.
    pub sha: String,
    /// Whether the fork that the branch was in is deleted.
    pub forkless: bool,
    /// When it was merged, in seconds since the epoch.
    pub merged_s: Option<i64>,
}

/// Where an issue went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IssueGone {
    /// Somebody deleted it.
    Deleted,
    /// GitHub shows it to nobody, as all that a suspended account wrote.
    Hidden,
    /// It is in another repository now.
    Transferred {
        /// That repository's number.
        repository: u64,
        /// Its number there.
        number: u64,
    },
}

/// Something that happened to an issue.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct IssueEvent {
    /// What, by GitHub's word.
    pub event: String,
    /// Its number among those of all repositories.
    pub id: u64,
    /// When, in seconds since the epoch.
    pub at_s: i64,
    /// Who did it.
    pub actor: String,
    /// What else is said of it.
    pub more: Value,
}

impl Issue {
    /// Notes a change.
    fn touch(&mut self, now_s: i64) {
        self.updated_s = self.updated_s.max(now_s);
    }

    /// Notes something that happened; the number follows from the issue's own.
    fn happened(&mut self, event: &str, at_s: i64, actor: &str, more: Value) {
        // A thousand events of an issue have numbers of their own before they run into the next one's.
        let id = self.id * 1_000 + self.events.len() as u64;
        self.events.push(IssueEvent { event: event.to_owned(), id, at_s, actor: actor.to_owned(), more });
    }

    /// Tells whether it is where it was opened.
    pub(crate) fn is_here(&self) -> bool {
        self.gone.is_none()
    }
}

/// Makes the number of the issue with this number in the repository with this place in its world.
fn id(repository: u64, number: u64) -> u64 {
    FIRST_ID + repository * IDS + number * 2
}
