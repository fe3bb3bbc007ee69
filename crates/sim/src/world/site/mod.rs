//! The truth behind the fake Jira: projects, boards, sprints, issues, and what people do to them.
//! Must never know about HTTP, nor which kind of Jira shows it.

mod control;
mod issue;
mod person;
mod seeded;
mod truth;
mod work;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, RwLock, RwLockReadGuard};

use serde::{Deserialize, Serialize};

pub use self::control::{Edit, SiteControl};
pub(crate) use self::issue::{Change, Comment, Facts, Issue, What};
pub use self::issue::{IssueKind, Status};
pub(crate) use self::person::{ME, PEOPLE, Person, somebody};
pub use self::truth::{BoardTruth, IssueTruth, ProjectTruth, SiteTruth, SprintTruth};

use crate::clock::Clock;
use crate::lock::{read, write};

/// How large a made-up site is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SiteSize {
    /// How many projects.
    pub projects: usize,
    /// How many issues in each.
    pub issues: usize,
}

impl Default for SiteSize {
    fn default() -> Self {
        // One project of each shape that a reader has to know, and a sprint's worth of cards in each.
        Self { projects: 3, issues: 100 }
    }
}

/// What kind of board it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BoardKind {
    /// Works in sprints, though it may have none yet.
    Scrum,
    /// Has no sprints.
    Kanban,
}

/// Where a sprint stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SprintState {
    /// Not begun; it has no dates.
    Future,
    /// Being worked on.
    Active,
    /// Over.
    Closed,
}

/// Whether a credential may see something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// It may.
    #[default]
    Ok,
    /// It may not: as if it were not there.
    Denied,
    /// A board is listed, and refused to who looks at it. A project is as if it were not there.
    Forbidden,
}

/// Which moment a query's wall time is that clocks show twice; Jira says nothing of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RepeatedHour {
    /// The first one.
    #[default]
    Earlier,
    /// The second one.
    Later,
}

/// One project.
#[derive(Debug)]
pub(crate) struct Project {
    pub(crate) id: u64,
    pub(crate) key: String,
    pub(crate) name: String,
    pub(crate) access: Access,
    /// The number of its latest issue.
    pub(crate) last_number: u64,
}

/// One board.
#[derive(Debug)]
pub(crate) struct Board {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) kind: BoardKind,
    /// Whose issues it shows, by their places; the first one is where it belongs.
    pub(crate) projects: Vec<usize>,
    pub(crate) access: Access,
}

/// One sprint.
#[derive(Debug)]
pub(crate) struct Sprint {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) goal: Option<String>,
    pub(crate) state: SprintState,
    /// Where it was made; other boards may show it, too.
    pub(crate) board: u64,
    pub(crate) project: usize,
    pub(crate) created_ms: i64,
    pub(crate) start_ms: Option<i64>,
    pub(crate) end_ms: Option<i64>,
    pub(crate) complete_ms: Option<i64>,
}

/// Everything that a site holds.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) projects: Vec<Project>,
    pub(crate) boards: BTreeMap<u64, Board>,
    pub(crate) sprints: BTreeMap<u64, Sprint>,
    pub(crate) issues: BTreeMap<u64, Issue>,
    /// Every key that leads to an issue, old ones among them.
    pub(crate) keys: HashMap<String, u64>,
    /// The zone in the profile of whose credential asks.
    pub(crate) zone: String,
    /// How queries are understood that name a wall time which there is twice.
    pub(crate) repeated_hour: RepeatedHour,
    /// How long search lags behind.
    pub(crate) lag_ms: i64,
    /// Who is at work.
    pub(crate) actor: usize,
    /// The latest numbers that were given to an issue, to a sprint, and to a change or a comment.
    pub(crate) last_issue: u64,
    pub(crate) last_sprint: u64,
    pub(crate) last_entry: u64,
}

impl State {
    /// Returns an issue's key.
    pub(crate) fn key(&self, facts: &Facts) -> String {
        format!("{}-{}", self.projects[facts.project].key, facts.number)
    }

    /// Finds an issue by its number or a key that it has or had.
    pub(crate) fn issue(&self, named: &str) -> Option<&Issue> {
        let id = self.issue_id(named)?;
        self.issues.get(&id)
    }

    /// Finds an issue's number by that number or a key.
    pub(crate) fn issue_id(&self, named: &str) -> Option<u64> {
        self.keys.get(&named.to_uppercase()).copied().or_else(|| named.parse().ok())
    }

    /// Tells whether the credential may see an issue.
    pub(crate) fn shows(&self, issue: &Issue) -> bool {
        !issue.hidden && self.projects[issue.facts.project].access == Access::Ok
    }

    /// Tells whether the credential may see a board: it needs one of the board's projects.
    pub(crate) fn shows_board(&self, board: &Board) -> bool {
        board.access != Access::Denied
            && board.projects.iter().any(|project| self.projects[*project].access == Access::Ok)
    }

    /// Lists the sprints that a board shows: those of its projects, whichever board they were made on.
    pub(crate) fn sprints_of<'a>(&'a self, board: &'a Board) -> impl Iterator<Item = &'a Sprint> {
        let scrum = board.kind == BoardKind::Scrum;
        self.sprints.values().filter(move |sprint| scrum && belongs(sprint, board))
    }

    /// Returns the sprint that an issue is in now, if it is in one.
    pub(crate) fn open_sprint(&self, facts: &Facts) -> Option<u64> {
        let open = |id: &u64| self.sprints.get(id).is_some_and(|it| it.state != SprintState::Closed);
        facts.sprints.last().copied().filter(open)
    }

    /// Gives the number of the next issue; one that was deleted is never given again.
    pub(crate) fn next_issue(&mut self) -> u64 {
        self.last_issue += 1;
        self.last_issue
    }

    /// Gives the number of the next sprint.
    pub(crate) fn next_sprint(&mut self) -> u64 {
        self.last_sprint += 1;
        self.last_sprint
    }

    /// Gives the next number for a change or a comment.
    pub(crate) fn entry(&mut self) -> u64 {
        self.last_entry += 1;
        self.last_entry
    }
}

/// Tells whether a board shows a sprint: its own, and those of every project when it is over several.
fn belongs(sprint: &Sprint, board: &Board) -> bool {
    sprint.board == board.id || board.projects.len() > 1 && board.projects.contains(&sprint.project)
}

/// The fake Jira's world, and the means to change it.
pub struct Site {
    state: RwLock<State>,
    pub(crate) clock: Arc<Clock>,
}

impl Site {
    /// Makes a site from a seed.
    pub(crate) fn build(seed: u64, size: SiteSize, zone: String, clock: Arc<Clock>) -> Self {
        let state = State { zone, ..seeded::generate(seed, size) };
        Self { state: RwLock::new(state), clock }
    }

    /// Looks at everything.
    pub(crate) fn state(&self) -> RwLockReadGuard<'_, State> {
        read(&self.state)
    }

    /// Tells what the site really holds.
    pub fn truth(&self) -> SiteTruth {
        truth::tell(&self.state())
    }

    /// Changes everything at once.
    pub(crate) fn edit<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut write(&self.state))
    }
}
