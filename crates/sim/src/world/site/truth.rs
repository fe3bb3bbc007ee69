//! What a site really holds, so that a test can compare a database with it.
//! Must never be what a connector reads.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::issue::{IssueKind, Status};
use super::person::PEOPLE;
use super::{Access, BoardKind, Issue, RepeatedHour, Sprint, SprintState, State};

/// What a site really holds, by numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SiteTruth {
    /// The zone in the profile of whose credential asks.
    pub time_zone: String,
    /// Which moment a query's wall time is that clocks show twice.
    pub repeated_hour: RepeatedHour,
    /// The projects, by key.
    pub projects: BTreeMap<String, ProjectTruth>,
    /// The boards.
    pub boards: BTreeMap<u64, BoardTruth>,
    /// The sprints.
    pub sprints: BTreeMap<u64, SprintTruth>,
    /// The issues, those that the credential may not see among them.
    pub issues: BTreeMap<u64, IssueTruth>,
}

/// One project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProjectTruth {
    /// Its number.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Whether the credential may see it.
    pub access: Access,
}

/// One board.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BoardTruth {
    /// Its name.
    pub name: String,
    /// What kind it is.
    pub kind: BoardKind,
    /// The keys of the projects whose issues it shows.
    pub projects: Vec<String>,
    /// Whether the credential finds it in the list.
    pub visible: bool,
    /// What the credential may do there.
    pub access: Access,
    /// The sprints that it shows.
    pub sprints: BTreeSet<u64>,
}

/// One sprint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SprintTruth {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub goal: Option<String>,
    /// Where it stands.
    pub state: SprintState,
    /// The board it was made on.
    pub board: u64,
    /// When it began, in milliseconds since the epoch.
    pub start_ms: Option<i64>,
    /// When it was to end.
    pub end_ms: Option<i64>,
    /// When it was closed.
    pub complete_ms: Option<i64>,
    /// Every issue that is or was in it and that the credential may see.
    pub issues: BTreeSet<u64>,
}

/// One issue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IssueTruth {
    /// Its key now.
    pub key: String,
    /// What it is.
    pub kind: IssueKind,
    /// Its title.
    pub summary: String,
    /// Where the work stands.
    pub status: Status,
    /// The login name of who works on it.
    pub assignee: Option<String>,
    /// What it is a part of.
    pub parent: Option<u64>,
    /// Its parts.
    pub subtasks: Vec<u64>,
    /// The sprint it is in now.
    pub sprint: Option<u64>,
    /// Every sprint it was in.
    pub sprints: Vec<u64>,
    /// When it was made, in milliseconds since the epoch.
    pub created_ms: i64,
    /// When it was last changed.
    pub updated_ms: i64,
    /// The numbers of everything that happened to it, oldest first.
    pub changes: Vec<u64>,
    /// The numbers of its comments, oldest first.
    pub comments: Vec<u64>,
    /// Whether the credential may see it.
    pub visible: bool,
}

/// Tells the truth about a site.
pub(super) fn tell(state: &State) -> SiteTruth {
    let mut in_sprints: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
    for issue in state.issues.values().filter(|issue| state.shows(issue)) {
        for sprint in &issue.facts.sprints {
            in_sprints.entry(*sprint).or_default().insert(issue.id);
        }
    }
    let projects = state
        .projects
        .iter()
        .map(|it| (it.key.clone(), ProjectTruth { id: it.id, name: it.name.clone(), access: it.access }));
    let boards = state.boards.values().map(|it| {
        let keys = it.projects.iter().map(|at| state.projects[*at].key.clone()).collect();
        let truth = BoardTruth {
            name: it.name.clone(),
            kind: it.kind,
            projects: keys,
            visible: state.shows_board(it),
            access: it.access,
            sprints: state.sprints_of(it).map(|sprint| sprint.id).collect(),
        };
        (it.id, truth)
    });
    let mut sprint = |it: &Sprint| (it.id, sprint(it, in_sprints.remove(&it.id).unwrap_or_default()));
    SiteTruth {
        time_zone: state.zone.clone(),
        repeated_hour: state.repeated_hour,
        projects: projects.collect(),
        boards: boards.collect(),
        sprints: state.sprints.values().map(&mut sprint).collect(),
        issues: state.issues.values().map(|it| (it.id, issue(state, it))).collect(),
    }
}

fn sprint(it: &Sprint, issues: BTreeSet<u64>) -> SprintTruth {
    SprintTruth {
        name: it.name.clone(),
        goal: it.goal.clone(),
        state: it.state,
        board: it.board,
        start_ms: it.start_ms,
        end_ms: it.end_ms,
        complete_ms: it.complete_ms,
        issues,
    }
}

fn issue(state: &State, it: &Issue) -> IssueTruth {
    IssueTruth {
        key: state.key(&it.facts),
        kind: it.facts.kind,
        summary: it.summary.clone(),
        status: it.facts.status,
        assignee: it.facts.assignee.map(|who| PEOPLE[who].name.to_owned()),
        parent: it.facts.parent,
        subtasks: it.subtasks.clone(),
        sprint: state.open_sprint(&it.facts),
        sprints: it.facts.sprints.clone(),
        created_ms: it.facts.created_ms,
        updated_ms: it.facts.updated_ms,
        changes: it.changes.iter().map(|change| change.id).collect(),
        comments: it.comments.iter().map(|comment| comment.id).collect(),
        visible: state.shows(it),
    }
}
