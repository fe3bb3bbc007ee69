//! Issues with the fields that were asked for.
//! Must never show more fields than were asked for: a client has to learn to ask.

use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::jql::category;
use super::parameter::{Query, Span, body};
use super::{Desk, history};
use crate::world::site::{Comment, Issue, IssueKind, Status};

/// Every field, and whether it belongs to those that are navigable.
const FIELDS: [(&str, bool); 26] = [
    ("summary", true),
    ("description", true),
    ("issuetype", true),
    ("project", true),
    ("status", true),
    ("priority", true),
    ("assignee", true),
    ("reporter", true),
    ("creator", true),
    ("labels", true),
    ("created", true),
    ("updated", true),
    ("resolution", true),
    ("resolutiondate", true),
    ("duedate", true),
    ("parent", true),
    ("subtasks", true),
    ("issuelinks", true),
    ("components", true),
    ("fixVersions", true),
    ("customfield_10016", true),
    ("customfield_10019", true),
    ("customfield_10020", true),
    ("comment", false),
    ("worklog", false),
    ("attachment", false),
];
/// Fields that only the boards' API adds.
const AGILE_FIELDS: [&str; 4] = ["sprint", "closedSprints", "epic", "flagged"];
/// An issue shows this many of its comments.
const COMMENTS_SHOWN: usize = 20;
/// The endpoint for comments gives so many by itself and at most.
const COMMENTS_MAX: usize = 5_000;
/// Issues that are named one by one come a hundred at a time at most.
const BULK_MAX: usize = 100;

/// What is to be shown of issues.
#[derive(Debug, Clone, Default)]
pub(super) struct Selection {
    all: bool,
    navigable: bool,
    agile: bool,
    named: Vec<String>,
    without: Vec<String>,
    /// How many entries of the history are shown at most, if it is asked for.
    pub(super) history_max: Option<usize>,
}

impl Selection {
    /// Reads `fields` and `expand`.
    pub(super) fn new(fields: Option<Vec<String>>, default: &str, expand: &[String]) -> Self {
        let mut selection = Self::default();
        for field in fields.unwrap_or_else(|| vec![default.to_owned()]) {
            match field.as_str() {
                "*all" => selection.all = true,
                "*navigable" => selection.navigable = true,
                _ => match field.strip_prefix('-') {
                    Some(without) => selection.without.push(without.to_owned()),
                    None => selection.named.push(field),
                },
            }
        }
        if expand.iter().any(|it| it == "changelog") {
            selection.history_max = Some(history::SHOWN_IN_LISTS);
        }
        selection
    }

    /// Reads a query whose default are the navigable fields.
    pub(super) fn navigable(query: Query<'_>) -> Self {
        Self::new(query.list("fields"), "*navigable", &query.list("expand").unwrap_or_default())
    }

    /// Reads a query of the boards' API.
    pub(super) fn agile(query: Query<'_>) -> Self {
        Self { agile: true, ..Self::navigable(query) }
    }

    /// Tells whether nothing but numbers and keys is asked for.
    pub(super) fn is_small(&self) -> bool {
        !self.all
            && !self.navigable
            && self.history_max.is_none()
            && self.named.iter().all(|it| it == "id" || it == "key")
    }

    fn is_id_only(&self) -> bool {
        self.is_small() && !self.named.iter().any(|it| it == "key")
    }

    fn shows(&self, field: &str, navigable: bool) -> bool {
        let asked = self.all || self.navigable && navigable || self.named.iter().any(|it| it == field);
        asked && !self.without.iter().any(|it| it == field)
    }
}

impl Desk<'_> {
    /// Shows an issue.
    pub(super) fn show_issue(&self, issue: &Issue, selection: &Selection) -> Value {
        if selection.is_id_only() {
            return json!({ "id": issue.id.to_string() });
        }
        let mut shown = json!({
            "expand": "operations,versionedRepresentations,editmeta,changelog,renderedFields",
            "id": issue.id.to_string(),
            "self": self.link(&format!("issue/{}", issue.id)),
            "key": self.state.key(&issue.facts),
        });
        if let Some(most) = selection.history_max {
            shown["changelog"] = self.embedded_history(issue, most);
        }
        if selection.is_small() {
            return shown;
        }
        let mut fields = Map::new();
        for (name, navigable) in FIELDS {
            if selection.shows(name, navigable) {
                // A field that an issue has no value for is null, but a parent that is not there is absent.
                let value = self.field(issue, name);
                if name != "parent" || !value.is_null() {
                    fields.insert(name.to_owned(), value);
                }
            }
        }
        for name in AGILE_FIELDS.iter().filter(|it| selection.agile && selection.shows(it, true)) {
            fields.insert((*name).to_owned(), self.agile_field(issue, name));
        }
        shown["fields"] = Value::Object(fields);
        shown
    }

    fn field(&self, issue: &Issue, name: &str) -> Value {
        let facts = &issue.facts;
        let person = |at: Option<usize>| at.map_or(Value::Null, |it| self.show_person(it));
        match name {
            "summary" => json!(issue.summary),
            "description" => issue.description.as_deref().map_or(Value::Null, |it| self.text(it)),
            "issuetype" => self.kind(facts.kind),
            "project" => self.show_project(&self.state.projects[facts.project]),
            "status" => self.status(facts.status),
            "priority" => json!({ "self": self.link("priority/3"), "name": "Medium", "id": "3" }),
            "assignee" => person(facts.assignee),
            "reporter" | "creator" => person(Some(facts.reporter)),
            "labels" => json!(facts.labels),
            "created" => json!(self.zone.stamp(facts.created_ms)),
            "updated" => json!(self.zone.stamp(facts.updated_ms)),
            "resolution" => facts.resolved_ms.map_or(Value::Null, |_| {
                json!({ "self": self.link("resolution/10000"), "id": "10000", "name": "Done", "description": "" })
            }),
            "resolutiondate" => json!(facts.resolved_ms.map(|it| self.zone.stamp(it))),
            "duedate" => json!(issue.due),
            "parent" => self.parent(issue),
            "subtasks" => {
                let parts = issue.subtasks.iter().filter_map(|id| self.state.issues.get(id));
                Value::Array(parts.filter(|it| self.state.shows(it)).map(|it| self.reference(it)).collect())
            }
            "customfield_10016" => json!(issue.points.map(f64::from)),
            "customfield_10019" => json!(format!("0|i{:05x}:", issue.id)),
            "customfield_10020" => {
                let held = facts.sprints.iter().filter_map(|id| self.state.sprints.get(id));
                let held: Vec<Value> = held.map(|it| self.show_sprint_value(it)).collect();
                if held.is_empty() { Value::Null } else { Value::Array(held) }
            }
            "comment" => self.embedded_comments(issue),
            "worklog" => json!({ "startAt": 0, "maxResults": 20, "total": 0, "worklogs": [] }),
            _ => json!([]),
        }
    }

    fn agile_field(&self, issue: &Issue, name: &str) -> Value {
        let open = self.state.open_sprint(&issue.facts);
        let held = || issue.facts.sprints.iter().filter_map(|id| self.state.sprints.get(id));
        match name {
            "sprint" => held().find(|it| Some(it.id) == open).map_or(Value::Null, |it| self.show_sprint(it)),
            "closedSprints" => {
                Value::Array(held().filter(|it| Some(it.id) != open).map(|it| self.show_sprint(it)).collect())
            }
            "epic" => {
                let parent = issue.facts.parent.and_then(|id| self.state.issues.get(&id));
                parent.filter(|it| it.facts.kind == IssueKind::Epic).map_or(Value::Null, |it| {
                    json!({ "id": it.id, "key": self.state.key(&it.facts), "name": it.summary, "summary": it.summary, "done": it.facts.status == Status::Done })
                })
            }
            _ => json!(false),
        }
    }

    fn kind(&self, kind: IssueKind) -> Value {
        let id = 10_001 + kind as usize;
        let mut shown = json!({
            "self": self.link(&format!("issuetype/{id}")),
            "id": id.to_string(),
            "description": "",
            "iconUrl": format!("{}/images/icons/issuetypes/{id}.svg", self.site()),
            "name": kind.name(),
            "subtask": kind == IssueKind::Subtask,
        });
        if self.is_cloud() {
            let level = match kind {
                IssueKind::Epic => 1,
                IssueKind::Subtask => -1,
                _ => 0,
            };
            shown["hierarchyLevel"] = json!(level);
        }
        shown
    }

    fn status(&self, status: Status) -> Value {
        let id = category(status);
        let (key, color, name) = match id {
            2 => ("new", "blue-gray", "To Do"),
            4 => ("indeterminate", "yellow", "In Progress"),
            _ => ("done", "green", "Done"),
        };
        json!({
            "self": self.link(&format!("status/{}", status.id())),
            "description": "",
            "iconUrl": format!("{}/images/icons/statuses/generic.png", self.site()),
            "name": status.name(),
            "id": status.id().to_string(),
            "statusCategory": {
                "self": self.link(&format!("statuscategory/{id}")), "id": id, "key": key, "colorName": color, "name": name,
            },
        })
    }

    /// Shows what an issue is a part of; on Data Center only sub-tasks have a parent.
    fn parent(&self, issue: &Issue) -> Value {
        let parent = issue.facts.parent.and_then(|id| self.state.issues.get(&id));
        let known = self.is_cloud() || issue.facts.kind == IssueKind::Subtask;
        parent.filter(|it| known && self.state.shows(it)).map_or(Value::Null, |it| self.reference(it))
    }

    /// Shows an issue as another one names it.
    fn reference(&self, issue: &Issue) -> Value {
        json!({
            "id": issue.id.to_string(),
            "key": self.state.key(&issue.facts),
            "self": self.link(&format!("issue/{}", issue.id)),
            "fields": {
                "summary": issue.summary,
                "status": self.status(issue.facts.status),
                "priority": { "self": self.link("priority/3"), "name": "Medium", "id": "3" },
                "issuetype": self.kind(issue.facts.kind),
            },
        })
    }

    /// Writes a text: a document in version 3, wiki text before.
    fn text(&self, text: &str) -> Value {
        if self.version != "3" {
            return json!(text);
        }
        let paragraphs: Vec<Value> = text
            .split('\n')
            .filter(|it| !it.is_empty())
            .map(|it| json!({ "type": "paragraph", "content": [{ "type": "text", "text": it }] }))
            .collect();
        json!({ "type": "doc", "version": 1, "content": paragraphs })
    }

    fn comment(&self, issue: &Issue, comment: &Comment) -> Value {
        json!({
            "self": self.link(&format!("issue/{}/comment/{}", issue.id, comment.id)),
            "id": comment.id.to_string(),
            "author": self.show_person(comment.author),
            "body": self.text(&comment.text),
            "updateAuthor": self.show_person(comment.author),
            "created": self.zone.stamp(comment.at_ms),
            "updated": self.zone.stamp(comment.at_ms),
        })
    }

    fn embedded_comments(&self, issue: &Issue) -> Value {
        let shown: Vec<Value> =
            issue.comments.iter().take(COMMENTS_SHOWN).map(|it| self.comment(issue, it)).collect();
        json!({
            "self": self.link(&format!("issue/{}/comment", issue.id)),
            "comments": shown,
            "maxResults": COMMENTS_SHOWN,
            "total": issue.comments.len(),
            "startAt": 0,
        })
    }

    /// Lists an issue's comments.
    pub(super) fn comments(&self, named: &str) -> Result<Answer, Answer> {
        let issue = self.visible(named)?;
        let span = Span::read(self.query(), COMMENTS_MAX, COMMENTS_MAX)?;
        let shown: Vec<Value> = span.of(&issue.comments).iter().map(|it| self.comment(issue, it)).collect();
        let objects = shown.len();
        let value = json!({
            "startAt": span.start, "maxResults": span.max, "total": issue.comments.len(), "comments": shown,
        });
        Ok(Answer::objects(&value, objects))
    }

    /// Shows the comment that was just written.
    pub(super) fn latest_comment(&self, named: &str) -> Result<Answer, Answer> {
        let issue = self.visible(named)?;
        let written = issue.comments.last().ok_or_else(Answer::no_issue)?;
        Ok(Answer { status: 201, objects: 0, ..Answer::value(&self.comment(issue, written)) })
    }

    /// Shows one issue with all its fields; a key that it had before leads to it without a redirect.
    pub(super) fn issue(&self, named: &str) -> Result<Answer, Answer> {
        let (issue, query) = (self.visible(named)?, self.query());
        let expand = query.list("expand").unwrap_or_default();
        let mut selection = Selection::new(query.list("fields"), "*all", &expand);
        if selection.history_max.is_some() {
            selection.history_max = Some(history::SHOWN_IN_ISSUE);
        }
        Ok(Answer::value(&self.show_issue(issue, &selection)))
    }

    /// Shows issues that are named one by one, in the order of their numbers, and which could not be shown.
    pub(super) fn issue_bulk(&self) -> Result<Answer, Answer> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        struct Body {
            issue_ids_or_keys: Vec<String>,
            fields: Option<Vec<String>>,
            #[serde(default)]
            expand: Vec<String>,
            #[serde(default, rename = "fieldsByKeys")]
            _by_keys: bool,
            #[serde(default, rename = "properties")]
            _properties: Vec<String>,
        }
        let asked: Body = body(self.ask.body)?;
        if asked.issue_ids_or_keys.is_empty() || asked.issue_ids_or_keys.len() > BULK_MAX {
            return Err(Answer::refusal(400, "The number of issues must be between 1 and 100."));
        }
        let selection = Selection::new(asked.fields, "*navigable", &asked.expand);
        let (mut found, mut errors) = (std::collections::BTreeMap::new(), Vec::new());
        for named in &asked.issue_ids_or_keys {
            match self.visible(named) {
                Ok(issue) => {
                    found.insert(issue.id, self.show_issue(issue, &selection));
                }
                Err(_) => errors.push(json!({ "id": named, "errorMessage": "Issue does not exist or you do not have permission to see it." })),
            }
        }
        let issues: Vec<Value> = found.into_values().collect();
        let objects = issues.len();
        Ok(Answer::objects(
            &json!({ "expand": "schema,names", "issues": issues, "issueErrors": errors }),
            objects,
        ))
    }
}
