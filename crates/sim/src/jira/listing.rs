//! Lists by offset, as most of Jira pages them, and the issues of boards and sprints.
//! Must never promise a total where Jira gives none.

use serde_json::{Value, json};

use super::answer::Answer;
use super::fields::Selection;
use super::jql::Jql;
use super::parameter::Span;
use super::route::{Listed, Style};
use super::{CardPaths, Desk};
use crate::world::site::{Facts, Issue, IssueKind, SprintState, Status};

/// Cards come fifty a page unless more are asked for, and a hundred at most; instances may allow more.
const CARDS: usize = 50;
const CARDS_MAX: usize = 100;
/// What the old paths say since they were removed.
const GONE: &str =
    "The requested API has been removed. Please migrate to the corresponding /rest/software/1.0 API.";

/// Tells whether an issue belongs to a list.
type Held<'a> = Box<dyn Fn(u64, &Facts) -> bool + 'a>;

/// Answers with one page of a list.
pub(super) fn page(span: Span, total: usize, told: bool, values: Vec<Value>) -> Answer {
    let objects = values.len();
    let mut shown = json!({ "maxResults": span.max, "startAt": span.start });
    if told {
        shown["total"] = json!(total);
    }
    shown["isLast"] = json!(span.is_last(total));
    shown["values"] = Value::Array(values);
    Answer::objects(&shown, objects)
}

impl Desk<'_> {
    /// Lists the issues of a board or a sprint.
    pub(super) fn listed(&self, listed: Listed, style: Style) -> Result<Answer, Answer> {
        if self.is_cloud() {
            match (style, self.ask.cards) {
                (Style::Agile, CardPaths::Software) => return Err(Answer::refusal(410, GONE)),
                (Style::Software, CardPaths::Agile) => return Err(Answer::no_path()),
                _ => {}
            }
        }
        let held = self.holder(listed)?;
        let jql = match self.query().get("jql") {
            Some(text) => self.asker().read(&text).map_err(|it| Answer::refusal(400, &it))?,
            None => Jql::default(),
        };
        if style == Style::Software {
            return self.tokens(&jql, &|id, facts| held(id, facts), self.token_request()?);
        }
        let span = Span::read(self.query(), CARDS, CARDS_MAX)?;
        let mut found: Vec<&Issue> = self
            .state
            .issues
            .values()
            .filter(|it| self.shows(it) && held(it.id, &it.facts) && jql.matches(it.id, &it.facts))
            .collect();
        // Boards show their cards by rank, which is the order they were made in.
        found.sort_by_key(|it| if jql.is_ordered() { jql.sort_key(it.id, &it.facts) } else { Vec::new() });
        let selection = Selection::agile(self.query());
        let shown: Vec<Value> = span.of(&found).iter().map(|it| self.show_issue(it, &selection)).collect();
        let objects = shown.len();
        let value = json!({
            "expand": "schema,names",
            "startAt": span.start,
            "maxResults": span.max,
            "total": found.len(),
            "issues": shown,
        });
        Ok(Answer::objects(&value, objects))
    }

    /// Makes the condition of a list, if whoever asks may see what it belongs to.
    fn holder(&self, listed: Listed) -> Result<Held<'_>, Answer> {
        Ok(match listed {
            Listed::Sprint(id) => {
                let sprint = self.sprint(id)?.id;
                Box::new(move |_, facts| facts.sprints.contains(&sprint))
            }
            Listed::Board(id) => {
                let projects = &self.board(id)?.projects;
                Box::new(move |_, facts| projects.contains(&facts.project) && facts.kind != IssueKind::Epic)
            }
            Listed::Backlog(id) => {
                let board = self.board(id)?;
                Box::new(move |_, facts| {
                    let open = self.state.open_sprint(facts).and_then(|it| self.state.sprints.get(&it));
                    board.projects.contains(&facts.project)
                        && facts.kind != IssueKind::Epic
                        && facts.status != Status::Done
                        && open.is_none_or(|it| it.state == SprintState::Future)
                })
            }
        })
    }
}
