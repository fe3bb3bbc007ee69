//! Changes to a site as a script asks for them: which kinds there are, and what carries each out.
//! Must never carry one out itself.

use serde::{Deserialize, Serialize};

use super::issue::{IssueKind, Status};
use super::{Access, ME, RepeatedHour, Site, State};
use crate::error::Error;

/// One change, as a shell script writes it. Issues are named by key or number.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SiteControl {
    /// Edits an issue.
    Edit(Edit),
    /// Writes a comment.
    Comment {
        /// The issue.
        issue: String,
        /// What is said.
        text: String,
    },
    /// Moves an issue to another sprint, or to the backlog.
    Move {
        /// The issue.
        issue: String,
        /// The sprint; none is the backlog.
        sprint: Option<u64>,
        /// Leaves `updated` as it is, as Jira sometimes does.
        #[serde(default)]
        quiet: bool,
    },
    /// Moves an issue to another project, which gives it another key.
    ChangeProject {
        /// The issue.
        issue: String,
        /// The project's key.
        project: String,
    },
    /// Makes an issue.
    Create {
        /// The project's key.
        project: String,
        /// What it is.
        kind: IssueKind,
        /// Its title.
        summary: String,
        /// What it is a part of.
        #[serde(default)]
        parent: Option<String>,
        /// The sprint it is in.
        #[serde(default)]
        sprint: Option<u64>,
    },
    /// Deletes an issue and its parts; nothing in Jira tells of it afterwards.
    Delete {
        /// The issue.
        issue: String,
    },
    /// Puts an issue out of sight of the credential, or back.
    Hide {
        /// The issue.
        issue: String,
        /// Whether it is out of sight.
        hidden: bool,
    },
    /// Makes a future sprint.
    CreateSprint {
        /// The board.
        board: u64,
        /// Its name.
        name: String,
    },
    /// Starts a future sprint.
    StartSprint {
        /// The sprint.
        sprint: u64,
    },
    /// Closes an active sprint; what is not done moves on.
    CloseSprint {
        /// The sprint.
        sprint: u64,
        /// Where to; none is the backlog.
        #[serde(default)]
        to: Option<u64>,
    },
    /// Deletes a sprint; its issues forget it.
    DeleteSprint {
        /// The sprint.
        sprint: u64,
    },
    /// Sets whether the credential may see a project.
    ProjectAccess {
        /// The project's key.
        project: String,
        /// Whether it may.
        access: Access,
    },
    /// Sets whether the credential may see a board.
    BoardAccess {
        /// The board.
        board: u64,
        /// Whether it may.
        access: Access,
    },
    /// Sets the zone in the profile of whose credential asks.
    TimeZone(String),
    /// Sets which of its two moments a wall time is that clocks show twice.
    RepeatedHour(RepeatedHour),
    /// Sets how long search lags behind, in milliseconds; 0 lets it catch up.
    LagMs(u32),
}

/// What is to change of an issue; what is absent stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Edit {
    /// The issue.
    pub issue: String,
    /// Its title.
    pub summary: Option<String>,
    /// Its text.
    pub description: Option<String>,
    /// Where the work stands.
    pub status: Option<Status>,
    /// The login name of who works on it; an empty one is nobody.
    pub assignee: Option<String>,
    /// Its labels.
    pub labels: Option<Vec<String>>,
    /// Its size.
    pub points: Option<u32>,
    /// What it is a part of; an empty one is nothing.
    pub parent: Option<String>,
}

impl Site {
    /// Makes one change, and returns the number of the issue or sprint that it made or changed.
    pub fn apply(&self, control: &SiteControl) -> Result<Option<u64>, Error> {
        self.apply_as(ME, control)
    }

    /// Makes one change in somebody's name.
    pub(crate) fn apply_as(&self, who: usize, control: &SiteControl) -> Result<Option<u64>, Error> {
        let now_ms = self.clock.now_ms();
        self.edit(|state| {
            state.actor = who;
            state.apply(control, now_ms)
        })
    }
}

impl State {
    fn apply(&mut self, control: &SiteControl, now: i64) -> Result<Option<u64>, Error> {
        match control {
            SiteControl::Edit(edit) => return self.edit_issue(edit, now).map(Some),
            SiteControl::Comment { issue, text } => return self.comment(issue, text, now).map(Some),
            SiteControl::Move { issue, sprint, quiet } => {
                let id = self.known(issue)?;
                let open = sprint.map(|it| self.open(it)).transpose()?;
                self.put_into(id, open, *quiet, now);
                return Ok(Some(id));
            }
            SiteControl::ChangeProject { issue, project } => {
                return self.change_project(issue, project, now).map(Some);
            }
            SiteControl::Create { project, kind, summary, parent, sprint } => {
                return self.create(project, *kind, summary, parent.as_deref(), *sprint, now).map(Some);
            }
            SiteControl::Delete { issue } => self.delete(issue)?,
            SiteControl::Hide { issue, hidden } => {
                let id = self.known(issue)?;
                self.touch(id, now, |issue| issue.hidden = *hidden);
            }
            SiteControl::CreateSprint { board, name } => {
                return self.create_sprint(*board, name, now).map(Some);
            }
            SiteControl::StartSprint { sprint } => self.start_sprint(*sprint, now)?,
            SiteControl::CloseSprint { sprint, to } => self.close_sprint(*sprint, *to, now)?,
            SiteControl::DeleteSprint { sprint } => self.delete_sprint(*sprint, now)?,
            SiteControl::ProjectAccess { project, access } => {
                let at = self.project(project)?;
                self.projects[at].access = *access;
            }
            SiteControl::BoardAccess { board, access } => {
                let unknown = || Error::UnknownInSite(format!("board {board}"));
                self.boards.get_mut(board).ok_or_else(unknown)?.access = *access;
            }
            SiteControl::TimeZone(zone) => {
                crate::clock::zone(zone).ok_or_else(|| Error::UnknownZone(zone.clone()))?;
                zone.clone_into(&mut self.zone);
            }
            SiteControl::RepeatedHour(which) => self.repeated_hour = *which,
            SiteControl::LagMs(lag_ms) => self.set_lag(i64::from(*lag_ms), now),
        }
        Ok(None)
    }
}
