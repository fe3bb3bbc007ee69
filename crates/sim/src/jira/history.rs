//! What happened to issues: cut and newest first inside an issue of Cloud, whole and oldest first elsewhere.
//! Must never show one order where Jira shows the other.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Desk;
use super::answer::Answer;
use super::parameter::{Span, body};
use super::token::Token;
use crate::world::site::{Change, Issue, PEOPLE, What};

/// Cloud shows this many entries inside an issue, and fewer where there are many issues.
pub(super) const SHOWN_IN_ISSUE: usize = 100;
pub(super) const SHOWN_IN_LISTS: usize = 40;
/// The endpoint gives so many by itself and at most.
const PAGE_MAX: usize = 100;
/// Histories of so many issues can be asked for at once, and so many entries.
const BULK_ISSUES_MAX: usize = 1_000;
const BULK_ENTRIES: usize = 1_000;
const BULK_ENTRIES_MAX: usize = 10_000;
const BULK_FIELDS_MAX: usize = 10;

impl Desk<'_> {
    /// Shows a history inside its issue.
    pub(super) fn embedded_history(&self, issue: &Issue, most: usize) -> Value {
        let total = issue.changes.len();
        let entries: Vec<Value> = if self.is_cloud() {
            issue.changes.iter().rev().take(most).map(|it| self.entry(it)).collect()
        } else {
            issue.changes.iter().map(|it| self.entry(it)).collect()
        };
        json!({ "startAt": 0, "maxResults": entries.len(), "total": total, "histories": entries })
    }

    /// Lists an issue's history, oldest first.
    pub(super) fn changelog(&self, named: &str) -> Result<Answer, Answer> {
        let issue = self.visible(named)?;
        let (span, total) = (Span::read(self.query(), PAGE_MAX, PAGE_MAX)?, issue.changes.len());
        let entries: Vec<Value> = span.of(&issue.changes).iter().map(|it| self.entry(it)).collect();
        let (objects, path) = (entries.len(), self.ask.path);
        let at = |start: usize| format!("{}{path}?maxResults={}&startAt={start}", self.ask.base, span.max);
        let mut shown = json!({
            "self": at(span.start),
            "maxResults": span.max,
            "startAt": span.start,
            "total": total,
            "isLast": span.is_last(total),
            "values": entries,
        });
        if !span.is_last(total) {
            shown["nextPage"] = json!(at(span.start + span.max));
        }
        Ok(Answer::objects(&shown, objects))
    }

    fn entry(&self, change: &Change) -> Value {
        json!({
            "id": change.id.to_string(),
            "author": self.show_person(change.author),
            "created": self.zone.stamp(change.at_ms),
            "items": [self.item(&change.what)],
        })
    }

    /// Shows what was changed: numbers of things, and how people read them.
    fn item(&self, what: &What) -> Value {
        let id = |at: &Option<usize>| at.map(|it| self.person_id(it));
        let name = |at: &Option<usize>| at.map(|it| PEOPLE[it].display.to_owned());
        let key = |id: &Option<u64>| {
            id.and_then(|it| self.state.issues.get(&it)).map(|it| self.state.key(&it.facts))
        };
        let text = |text: &str| Some(text.to_owned());
        let number = |points: &Option<u32>| points.map(|it| it.to_string());
        let (field, kind, field_id, from, to) = match what {
            What::Status(a, b) => {
                let both = |it: &crate::world::site::Status| (Some(it.id().to_string()), text(it.name()));
                ("status", "jira", "status", both(a), both(b))
            }
            What::Assignee(a, b) => ("assignee", "jira", "assignee", (id(a), name(a)), (id(b), name(b))),
            What::Sprint(a, b) => ("Sprint", "custom", "customfield_10020", self.sprints(a), self.sprints(b)),
            What::Summary(a, b) => ("summary", "jira", "summary", (None, text(a)), (None, text(b))),
            What::Description(a, b) => {
                ("description", "jira", "description", (None, a.clone()), (None, b.clone()))
            }
            What::Points(a, b) => {
                ("Story Points", "custom", "customfield_10016", (None, number(a)), (None, number(b)))
            }
            What::Labels(a, b) => {
                ("labels", "jira", "labels", (None, text(&a.join(" "))), (None, text(&b.join(" "))))
            }
            What::Parent(a, b) => {
                let both = |it: &Option<u64>| (it.map(|it| it.to_string()), key(it));
                ("IssueParentAssociation", "jira", "parent", both(a), both(b))
            }
            What::Rank(up) => {
                let words = if *up { "Ranked higher" } else { "Ranked lower" };
                ("Rank", "custom", "customfield_10019", (text(""), text("")), (text(""), text(words)))
            }
        };
        let mut shown = json!({
            "field": field,
            "fieldtype": kind,
            "from": from.0,
            "fromString": from.1,
            "to": to.0,
            "toString": to.1,
        });
        if self.is_cloud() {
            shown["fieldId"] = json!(field_id);
        }
        shown
    }

    fn person_id(&self, at: usize) -> String {
        if self.is_cloud() { PEOPLE[at].account_id() } else { format!("JIRAUSER{}", 10_100 + at) }
    }

    /// Shows a list of sprints as the history does: numbers and names with commas between them.
    fn sprints(&self, held: &[u64]) -> (Option<String>, Option<String>) {
        let numbers: Vec<String> = held.iter().map(u64::to_string).collect();
        let names: Vec<&str> =
            held.iter().filter_map(|id| self.state.sprints.get(id)).map(|it| it.name.as_str()).collect();
        (Some(numbers.join(", ")), Some(names.join(", ")))
    }

    /// Lists the histories of many issues; the moments are numbers here, and nowhere else.
    pub(super) fn changelog_bulk(&self) -> Result<Answer, Answer> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        struct Body {
            issue_ids_or_keys: Vec<String>,
            #[serde(default)]
            field_ids: Vec<String>,
            max_results: Option<usize>,
            next_page_token: Option<String>,
        }
        let asked: Body = body(self.ask.body)?;
        if asked.issue_ids_or_keys.is_empty() || asked.issue_ids_or_keys.len() > BULK_ISSUES_MAX {
            return Err(Answer::refusal(400, "The number of issues must be between 1 and 1000."));
        }
        if asked.field_ids.len() > BULK_FIELDS_MAX {
            return Err(Answer::refusal(400, "The number of fields must not be more than 10."));
        }
        let most = asked.max_results.unwrap_or(BULK_ENTRIES);
        if !(1..=BULK_ENTRIES_MAX).contains(&most) {
            return Err(Answer::refusal(400, "The value of maxResults must be between 1 and 10000."));
        }
        let binding = asked.issue_ids_or_keys.join(",") + "|" + &asked.field_ids.join(",");
        let after = asked.next_page_token.map(|it| Token::read(&it, &binding, self.now_ms)).transpose()?;
        let mut entries: Vec<(u64, &Change)> = Vec::new();
        for named in &asked.issue_ids_or_keys {
            let issue = self.visible(named)?;
            let wanted = |it: &&Change| {
                asked.field_ids.is_empty() || asked.field_ids.iter().any(|id| id == field_id(&it.what))
            };
            entries.extend(issue.changes.iter().filter(wanted).map(|it| (issue.id, it)));
        }
        entries.sort_by_key(|(issue, change)| (*issue, change.id));
        let last = after.map_or(0, |it| it.key.first().copied().unwrap_or_default());
        let rest: Vec<_> = entries.into_iter().skip(usize::try_from(last).unwrap_or_default()).collect();
        let shown = &rest[..most.min(rest.len())];
        let mut logs: Vec<Value> = Vec::new();
        for run in shown.chunk_by(|a, b| a.0 == b.0) {
            let histories: Vec<Value> = run
                .iter()
                .map(|(_, change)| {
                    let mut entry = self.entry(change);
                    entry["created"] = json!(change.at_ms);
                    entry
                })
                .collect();
            logs.push(json!({ "issueId": run[0].0.to_string(), "changeHistories": histories }));
        }
        let mut value = json!({ "issueChangeLogs": logs });
        if shown.len() < rest.len() {
            let next = last + i64::try_from(shown.len()).unwrap_or_default();
            value["nextPageToken"] = json!(Token::new(vec![next], 0, self.now_ms).write(&binding));
        }
        Ok(Answer::objects(&value, shown.len()))
    }
}

fn field_id(what: &What) -> &'static str {
    match what {
        What::Status(..) => "status",
        What::Assignee(..) => "assignee",
        What::Sprint(..) => "customfield_10020",
        What::Summary(..) => "summary",
        What::Description(..) => "description",
        What::Points(..) => "customfield_10016",
        What::Labels(..) => "labels",
        What::Parent(..) => "parent",
        What::Rank(_) => "customfield_10019",
    }
}
