//! What people do to a site while it is being read: edits, moves, comments, sprints that begin and end.
//! Must never change anything without its entry in the history, except where Jira itself forgets one.

use super::control::Edit;
use super::issue::{Change, Comment, Facts, Issue, IssueKind, Stale, Status, What};
use super::person::PEOPLE;
use super::{BoardKind, Sprint, SprintState, State};
use crate::error::Error;

/// A sprint that is started without an end lasts two weeks, Jira's own suggestion.
const SPRINT_MS: i64 = 14 * 86_400_000;

impl State {
    pub(super) fn known(&self, named: &str) -> Result<u64, Error> {
        self.issue(named).map(|it| it.id).ok_or_else(|| Error::UnknownInSite(format!("issue {named}")))
    }

    pub(super) fn project(&self, key: &str) -> Result<usize, Error> {
        let found = self.projects.iter().position(|it| it.key.eq_ignore_ascii_case(key));
        found.ok_or_else(|| Error::UnknownInSite(format!("project {key}")))
    }

    fn sprint(&mut self, id: u64) -> Result<&mut Sprint, Error> {
        self.sprints.get_mut(&id).ok_or_else(|| Error::UnknownInSite(format!("sprint {id}")))
    }

    /// Names a sprint that work can be put into.
    pub(super) fn open(&mut self, id: u64) -> Result<u64, Error> {
        if self.sprint(id)?.state == SprintState::Closed {
            return Err(Error::WrongSprint { sprint: id, why: "is closed" });
        }
        Ok(id)
    }

    /// Changes an issue, and leaves search behind for as long as it lags.
    pub(super) fn touch(&mut self, id: u64, now: i64, change: impl FnOnce(&mut Issue)) {
        let lag = self.lag_ms;
        let Some(issue) = self.issues.get_mut(&id) else { return };
        if lag > 0 {
            let believed = issue.indexed(now).cloned();
            issue.stale = Some(Stale { facts: believed, until_ms: now.saturating_add(lag) });
        }
        change(issue);
    }

    /// Changes an issue with an entry in its history.
    fn record(&mut self, id: u64, now: i64, quiet: bool, what: What) {
        let (entry, author) = (self.entry(), self.actor);
        self.touch(id, now, |issue| {
            // Never the same moment twice: what changed again has another `updated`.
            let at_ms = now.max(issue.facts.updated_ms + 1);
            if !quiet {
                issue.facts.updated_ms = at_ms;
            }
            match &what {
                What::Status(_, to) => {
                    issue.facts.status = *to;
                    issue.facts.resolved_ms = (*to == Status::Done).then_some(at_ms);
                }
                What::Assignee(_, to) => issue.facts.assignee = *to,
                What::Sprint(_, to) => issue.facts.sprints.clone_from(to),
                What::Summary(_, to) => issue.summary.clone_from(to),
                What::Description(_, to) => issue.description.clone_from(to),
                What::Points(_, to) => issue.points = *to,
                What::Labels(_, to) => issue.facts.labels.clone_from(to),
                What::Parent(_, to) => issue.facts.parent = *to,
                What::Rank(_) => {}
            }
            issue.changes.push(Change { id: entry, author, at_ms, what });
        });
    }

    pub(super) fn edit_issue(&mut self, edit: &Edit, now: i64) -> Result<u64, Error> {
        let id = self.known(&edit.issue)?;
        let assignee = edit.assignee.as_deref().map(person).transpose()?;
        let parent = match edit.parent.as_deref() {
            Some("") => Some(None),
            Some(named) => Some(Some(self.known(named)?)),
            None => None,
        };
        let issue = &self.issues[&id];
        let facts = &issue.facts;
        let mut changes = Vec::new();
        changes.extend(edit.summary.clone().map(|to| What::Summary(issue.summary.clone(), to)));
        let text = edit.description.clone();
        changes.extend(text.map(|to| What::Description(issue.description.clone(), Some(to))));
        changes.extend(edit.status.map(|to| What::Status(facts.status, to)));
        changes.extend(assignee.map(|to| What::Assignee(facts.assignee, to)));
        changes.extend(edit.labels.clone().map(|to| What::Labels(facts.labels.clone(), to)));
        changes.extend(edit.points.map(|to| What::Points(issue.points, Some(to))));
        let before = facts.parent;
        changes.extend(parent.map(|to| What::Parent(before, to)));
        for what in changes {
            self.record(id, now, false, what);
        }
        if let Some(parent) = parent {
            self.adopt(id, before, parent);
        }
        Ok(id)
    }

    /// Moves a sub-task from the list of one parent to another's.
    fn adopt(&mut self, id: u64, before: Option<u64>, after: Option<u64>) {
        if self.issues[&id].facts.kind != IssueKind::Subtask {
            return;
        }
        if let Some(before) = before.and_then(|it| self.issues.get_mut(&it)) {
            before.subtasks.retain(|it| *it != id);
        }
        if let Some(after) = after.and_then(|it| self.issues.get_mut(&it)) {
            after.subtasks.push(id);
        }
    }

    pub(super) fn comment(&mut self, issue: &str, text: &str, now: i64) -> Result<u64, Error> {
        let id = self.known(issue)?;
        let (entry, author) = (self.entry(), self.actor);
        self.touch(id, now, |issue| {
            let at_ms = now.max(issue.facts.updated_ms + 1);
            issue.facts.updated_ms = at_ms;
            issue.comments.push(Comment { id: entry, author, at_ms, text: text.to_owned() });
        });
        Ok(id)
    }

    /// Puts an issue and its parts into a sprint that is not closed, or into the backlog.
    pub(super) fn put_into(&mut self, id: u64, sprint: Option<u64>, quiet: bool, now: i64) {
        let before = self.issues[&id].facts.sprints.clone();
        let mut after = before.clone();
        after.retain(|it| self.sprints.get(it).is_some_and(|it| it.state == SprintState::Closed));
        after.extend(sprint);
        if after != before {
            self.record(id, now, quiet, What::Sprint(before, after.clone()));
        }
        for part in self.issues[&id].subtasks.clone() {
            self.touch(part, now, |it| it.facts.sprints.clone_from(&after));
        }
    }

    pub(super) fn change_project(&mut self, issue: &str, project: &str, now: i64) -> Result<u64, Error> {
        let (id, to) = (self.known(issue)?, self.project(project)?);
        self.projects[to].last_number += 1;
        let number = self.projects[to].last_number;
        self.touch(id, now, |issue| {
            issue.facts.updated_ms = now.max(issue.facts.updated_ms + 1);
            (issue.facts.project, issue.facts.number) = (to, number);
        });
        let key = self.key(&self.issues[&id].facts);
        self.keys.insert(key, id);
        Ok(id)
    }

    pub(super) fn create(
        &mut self,
        project: &str,
        kind: IssueKind,
        summary: &str,
        parent: Option<&str>,
        sprint: Option<u64>,
        now: i64,
    ) -> Result<u64, Error> {
        let project = self.project(project)?;
        let parent = parent.map(|it| self.known(it)).transpose()?;
        let sprints: Vec<u64> = sprint.map(|it| self.open(it)).transpose()?.into_iter().collect();
        let id = self.next_issue();
        self.projects[project].last_number += 1;
        let facts = Facts {
            project,
            number: self.projects[project].last_number,
            kind,
            status: Status::ToDo,
            assignee: None,
            reporter: self.actor,
            parent,
            sprints,
            labels: Vec::new(),
            created_ms: now,
            updated_ms: now,
            resolved_ms: None,
        };
        self.keys.insert(self.key(&facts), id);
        let mut issue = Issue::new(id, facts, summary.to_owned());
        if self.lag_ms > 0 {
            issue.stale = Some(Stale { facts: None, until_ms: now.saturating_add(self.lag_ms) });
        }
        self.issues.insert(id, issue);
        self.adopt(id, None, parent);
        Ok(id)
    }

    pub(super) fn delete(&mut self, issue: &str) -> Result<(), Error> {
        let id = self.known(issue)?;
        let parts = self.issues[&id].subtasks.clone();
        self.adopt(id, self.issues[&id].facts.parent, None);
        for gone in parts.into_iter().chain([id]) {
            self.issues.remove(&gone);
        }
        for left in self.issues.values_mut().filter(|it| it.facts.parent == Some(id)) {
            left.facts.parent = None;
        }
        let issues = &self.issues;
        self.keys.retain(|_, it| issues.contains_key(it));
        Ok(())
    }

    pub(super) fn create_sprint(&mut self, board: u64, name: &str, now: i64) -> Result<u64, Error> {
        let unknown = || Error::UnknownInSite(format!("board {board}"));
        let shown = self.boards.get(&board).ok_or_else(unknown)?;
        if shown.kind == BoardKind::Kanban {
            return Err(Error::NoSprints(board));
        }
        let project = shown.projects.first().copied().unwrap_or_default();
        let id = self.next_sprint();
        let sprint = Sprint {
            id,
            name: name.to_owned(),
            goal: None,
            state: SprintState::Future,
            board,
            project,
            created_ms: now,
            start_ms: None,
            end_ms: None,
            complete_ms: None,
        };
        self.sprints.insert(id, sprint);
        Ok(id)
    }

    pub(super) fn start_sprint(&mut self, id: u64, now: i64) -> Result<(), Error> {
        let sprint = self.sprint(id)?;
        if sprint.state != SprintState::Future {
            return Err(Error::WrongSprint { sprint: id, why: "was started before" });
        }
        sprint.state = SprintState::Active;
        (sprint.start_ms, sprint.end_ms) = (Some(now), Some(now + SPRINT_MS));
        Ok(())
    }

    pub(super) fn close_sprint(&mut self, id: u64, to: Option<u64>, now: i64) -> Result<(), Error> {
        let to = to.map(|it| self.open(it)).transpose()?;
        let sprint = self.sprint(id)?;
        if sprint.state != SprintState::Active {
            return Err(Error::WrongSprint { sprint: id, why: "is not active" });
        }
        if to == Some(id) {
            return Err(Error::WrongSprint { sprint: id, why: "cannot be moved into itself" });
        }
        sprint.state = SprintState::Closed;
        sprint.complete_ms = Some(now);
        let unfinished = |it: &&Issue| {
            let facts = &it.facts;
            facts.sprints.last() == Some(&id)
                && facts.status != Status::Done
                && facts.kind != IssueKind::Subtask
        };
        let moving: Vec<u64> = self.issues.values().filter(unfinished).map(|it| it.id).collect();
        for issue in moving {
            self.put_into(issue, to, false, now);
        }
        Ok(())
    }

    pub(super) fn delete_sprint(&mut self, id: u64, now: i64) -> Result<(), Error> {
        self.sprint(id)?;
        self.sprints.remove(&id);
        let held: Vec<u64> =
            self.issues.values().filter(|it| it.facts.sprints.contains(&id)).map(|it| it.id).collect();
        for issue in held {
            // The history keeps the number of a sprint that nobody can look up any more.
            self.touch(issue, now, |it| it.facts.sprints.retain(|sprint| *sprint != id));
        }
        Ok(())
    }

    pub(super) fn set_lag(&mut self, lag_ms: i64, now: i64) {
        self.lag_ms = lag_ms;
        for stale in self.issues.values_mut().filter_map(|it| it.stale.as_mut()) {
            stale.until_ms = stale.until_ms.min(now.saturating_add(lag_ms));
        }
    }
}

/// Finds a person by login name; an empty one is nobody.
fn person(name: &str) -> Result<Option<usize>, Error> {
    if name.is_empty() {
        return Ok(None);
    }
    let found = PEOPLE.iter().position(|it| it.name == name);
    found.map(Some).ok_or_else(|| Error::UnknownInSite(format!("person {name}")))
}
