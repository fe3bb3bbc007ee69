//! One issue of a fake Jira: what search looks at, what only reading shows, and everything that happened to it.
//! Must never forget a change: the history is what tests compare with.

use serde::{Deserialize, Serialize};

/// What an issue is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IssueKind {
    /// Holds stories and tasks.
    Epic,
    /// A wish.
    Story,
    /// Something to do.
    Task,
    /// A defect.
    Bug,
    /// A part of a story; it is in its parent's sprint.
    Subtask,
}

/// Where the work on an issue stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nobody began.
    ToDo,
    /// Somebody works on it.
    InProgress,
    /// Somebody looks at it.
    InReview,
    /// It is finished.
    Done,
}

impl IssueKind {
    /// Every kind, in the order of their numbers.
    pub(crate) const ALL: [Self; 5] = [Self::Epic, Self::Story, Self::Task, Self::Bug, Self::Subtask];

    /// Returns the name that people see.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Epic => "Epic",
            Self::Story => "Story",
            Self::Task => "Task",
            Self::Bug => "Bug",
            Self::Subtask => "Sub-task",
        }
    }
}

impl Status {
    /// Every status, in the order of the work.
    pub(crate) const ALL: [Self; 4] = [Self::ToDo, Self::InProgress, Self::InReview, Self::Done];

    /// Returns the name that people see.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ToDo => "To Do",
            Self::InProgress => "In Progress",
            Self::InReview => "In Review",
            Self::Done => "Done",
        }
    }

    /// Returns its number.
    pub(crate) fn id(self) -> u64 {
        // The numbers that a new Jira gives its first statuses.
        [10_000, 3, 10_001, 10_002][self as usize]
    }
}

/// What search looks at.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// The project, by its place in the world.
    pub(crate) project: usize,
    /// The number in the key.
    pub(crate) number: u64,
    pub(crate) kind: IssueKind,
    pub(crate) status: Status,
    pub(crate) assignee: Option<usize>,
    pub(crate) reporter: usize,
    pub(crate) parent: Option<u64>,
    /// Every sprint it was in, in that order; at most the last one is not closed.
    pub(crate) sprints: Vec<u64>,
    pub(crate) labels: Vec<String>,
    pub(crate) created_ms: i64,
    pub(crate) updated_ms: i64,
    pub(crate) resolved_ms: Option<i64>,
}

/// One issue.
#[derive(Debug)]
pub(crate) struct Issue {
    /// The number that stays through every move.
    pub(crate) id: u64,
    pub(crate) facts: Facts,
    pub(crate) summary: String,
    pub(crate) description: Option<String>,
    pub(crate) points: Option<u32>,
    /// The day it is due, as year, month and day: no zone belongs to it.
    pub(crate) due: Option<String>,
    pub(crate) subtasks: Vec<u64>,
    pub(crate) comments: Vec<Comment>,
    /// Oldest first.
    pub(crate) changes: Vec<Change>,
    /// Whether the credential may see it at all.
    pub(crate) hidden: bool,
    /// What search still believes, when it lags behind.
    pub(crate) stale: Option<Stale>,
}

/// What search still believes of an issue.
#[derive(Debug)]
pub(crate) struct Stale {
    /// The old facts; none for an issue that is too new to be found.
    pub(crate) facts: Option<Facts>,
    /// When search catches up.
    pub(crate) until_ms: i64,
}

/// One comment.
#[derive(Debug)]
pub(crate) struct Comment {
    pub(crate) id: u64,
    pub(crate) author: usize,
    pub(crate) at_ms: i64,
    pub(crate) text: String,
}

/// One entry of the history.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) id: u64,
    pub(crate) author: usize,
    pub(crate) at_ms: i64,
    pub(crate) what: What,
}

/// What was changed, from and to.
#[derive(Debug)]
pub(crate) enum What {
    Status(Status, Status),
    Assignee(Option<usize>, Option<usize>),
    Sprint(Vec<u64>, Vec<u64>),
    Summary(String, String),
    Description(Option<String>, Option<String>),
    Points(Option<u32>, Option<u32>),
    Labels(Vec<String>, Vec<String>),
    Parent(Option<u64>, Option<u64>),
    Rank(bool),
}

impl Issue {
    /// Makes an issue that nothing happened to.
    pub(crate) fn new(id: u64, facts: Facts, summary: String) -> Self {
        Self {
            id,
            facts,
            summary,
            description: None,
            points: None,
            due: None,
            subtasks: Vec::new(),
            comments: Vec::new(),
            changes: Vec::new(),
            hidden: false,
            stale: None,
        }
    }

    /// Returns what search sees at a moment; none when it does not find the issue yet.
    pub(crate) fn indexed(&self, now_ms: i64) -> Option<&Facts> {
        match &self.stale {
            Some(stale) if now_ms < stale.until_ms => stale.facts.as_ref(),
            _ => Some(&self.facts),
        }
    }
}
