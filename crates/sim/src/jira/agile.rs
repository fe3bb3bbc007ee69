//! Boards and their sprints.
//! Must never give a sprint to a board that cannot have one.

use serde_json::{Value, json};

use super::Desk;
use super::answer::Answer;
use super::listing::page;
use super::parameter::Span;
use super::show::state_word;
use crate::world::site::{Access, Board, BoardKind, Sprint, Status};

/// Boards and sprints come fifty a page, and no more.
const PAGE_MAX: usize = 50;

impl<'a> Desk<'a> {
    /// Lists the boards, by the filters of the query.
    pub(super) fn boards(&self) -> Result<Answer, Answer> {
        let query = self.query();
        let span = Span::read(query, PAGE_MAX, PAGE_MAX)?;
        let (kinds, name, project) = (query.list("type"), query.get("name"), query.get("projectKeyOrId"));
        let at = match &project {
            Some(named) => {
                let known =
                    |it: &crate::world::site::Project| it.key == *named || it.id.to_string() == *named;
                let found = self.state.projects.iter().position(known);
                Some(found.ok_or_else(|| {
                    Answer::refusal(400, &format!("No project could be found with key or id '{named}'."))
                })?)
            }
            None => None,
        };
        let wanted = |it: &&Board| {
            let kind = match it.kind {
                BoardKind::Scrum => "scrum",
                BoardKind::Kanban => "kanban",
            };
            kinds.as_ref().is_none_or(|kinds| kinds.iter().any(|known| known == kind))
                && name.as_ref().is_none_or(|part| it.name.to_lowercase().contains(&part.to_lowercase()))
                && at.is_none_or(|at| it.projects.contains(&at))
        };
        let boards = self.state.boards.values().filter(|it| self.known() && self.state.shows_board(it));
        let found: Vec<&Board> = boards.filter(wanted).collect();
        let values: Vec<Value> = span.of(&found).iter().map(|it| self.show_board(it)).collect();
        Ok(page(span, found.len(), true, values))
    }

    /// Finds a board that whoever asks may see.
    pub(super) fn board(&self, id: u64) -> Result<&'a Board, Answer> {
        let found = self.state.boards.get(&id).filter(|it| self.known() && self.state.shows_board(it));
        let absent = "Board does not exist or you do not have permission to see it.";
        let board = found.ok_or_else(|| Answer::refusal(404, absent))?;
        if board.access == Access::Forbidden {
            return Err(Answer::refusal(403, "You do not have permission to view this board."));
        }
        Ok(board)
    }

    /// Returns the query behind a board.
    pub(super) fn board_jql(&self, board: &Board) -> String {
        let keys: Vec<&str> = board.projects.iter().map(|at| self.state.projects[*at].key.as_str()).collect();
        format!("project in ({}) ORDER BY Rank ASC", keys.join(", "))
    }

    /// Shows how a board is set up.
    pub(super) fn board_configuration(&self, id: u64) -> Result<Answer, Answer> {
        let board = self.board(id)?;
        let mut shown = self.show_board(board);
        shown["filter"] = json!({ "id": id.to_string(), "self": self.link(&format!("filter/{id}")) });
        let column = |name: &str, statuses: &[Status]| {
            let statuses: Vec<Value> = statuses
                .iter()
                .map(|it| json!({ "id": it.id().to_string(), "self": self.link(&format!("status/{}", it.id())) }))
                .collect();
            json!({ "name": name, "statuses": statuses })
        };
        let columns = [
            column("To Do", &[Status::ToDo]),
            column("In Progress", &[Status::InProgress, Status::InReview]),
            column("Done", &[Status::Done]),
        ];
        shown["columnConfig"] = json!({ "columns": columns, "constraintType": "none" });
        shown["ranking"] = json!({ "rankCustomFieldId": 10_019 });
        Ok(Answer::value(&shown))
    }

    /// Lists a board's sprints; how many there are is not told.
    pub(super) fn board_sprints(&self, id: u64) -> Result<Answer, Answer> {
        let board = self.board(id)?;
        if board.kind == BoardKind::Kanban {
            return Err(Answer::refusal(400, "The board does not support sprints"));
        }
        let query = self.query();
        let span = Span::read(query, PAGE_MAX, PAGE_MAX)?;
        let states = query.list("state").unwrap_or_default();
        if let Some(wrong) = states.iter().find(|it| !["future", "active", "closed"].contains(&it.as_str())) {
            let why = format!("Invalid sprint state '{wrong}'. Use 'future', 'active' or 'closed'.");
            return Err(Answer::refusal(400, &why));
        }
        let wanted =
            |it: &&Sprint| states.is_empty() || states.iter().any(|known| known == state_word(it.state));
        let found: Vec<&Sprint> = self.state.sprints_of(board).filter(wanted).collect();
        let values: Vec<Value> = span.of(&found).iter().map(|it| self.show_sprint(it)).collect();
        Ok(page(span, found.len(), false, values))
    }

    /// Finds a sprint on a board that whoever asks may see.
    pub(super) fn sprint(&self, id: u64) -> Result<&'a Sprint, Answer> {
        let absent =
            || Answer::refusal(404, "Sprint does not exist or you do not have permission to see it.");
        let sprint = self.state.sprints.get(&id).ok_or_else(absent)?;
        match self.board(sprint.board) {
            Err(refusal) if refusal.status == 404 => Err(absent()),
            Err(refusal) => Err(refusal),
            Ok(_) => Ok(sprint),
        }
    }
}
