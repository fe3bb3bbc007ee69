//! Issues, pull requests, reviews and timelines as JSON, and the lists of them.
//! Must never give an event a member that its kind has not: clients that count on one have to be found out.

use serde_json::{Map, Value, json};

use super::answer::{moved, not_found, refusal};
use super::commit::date;
use super::history::Place;
use super::link::PER_PAGE;
use super::person::{API, WEB, node_id};
use super::repository::account;
use crate::lock::read;
use crate::rest::{Answer, Page, Query};
use crate::world::{Issue, IssueEvent, IssueGone};

/// What lists may be asked for.
const STATES: [&str; 3] = ["open", "closed", "all"];
const DIRECTIONS: [&str; 2] = ["asc", "desc"];
const ISSUE_ORDERS: [&str; 3] = ["created", "updated", "comments"];
const PULL_ORDERS: [&str; 4] = ["created", "updated", "popularity", "long-running"];

/// What of an issue is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    Itself,
    Timeline,
}

/// Finds the first parameter that has a value which GitHub does not know.
fn invalid(query: &Query<'_>, orders: &[&str]) -> Option<Answer> {
    let known: [(&str, &[&str]); 3] = [("state", &STATES), ("sort", orders), ("direction", &DIRECTIONS)];
    let word = known
        .into_iter()
        .find(|(key, words)| query.get(key).is_some_and(|value| !words.contains(&value.as_str())))
        .map(|it| it.0);
    let wrong = word.or_else(|| query.time("since").is_err().then_some("since"))?;
    Some(Answer::refusal_with(
        422,
        &json!({
            "message": "Validation Failed", "documentation_url": "https://docs.github.com/rest", "status": "422",
            "errors": [{ "resource": "Issue", "field": wrong, "code": "invalid" }],
        }),
    ))
}

/// Tells whether a list is about issues in this state.
fn is_in_state(it: &Issue, query: &Query<'_>) -> bool {
    match query.get("state").as_deref() {
        Some("all") => true,
        Some("closed") => !it.open,
        _ => it.open,
    }
}

/// Brings a list into the order that is asked for; those of one second come by their numbers.
fn order(found: &mut [&Issue], query: &Query<'_>, ascending: bool) {
    match query.get("sort").as_deref() {
        Some("updated") => found.sort_by_key(|it| (it.updated_s, it.number)),
        Some("comments" | "popularity") => found.sort_by_key(|it| (it.comments, it.number)),
        _ => found.sort_by_key(|it| (it.created_s, it.number)),
    }
    let direction = query.get("direction");
    if !direction.map_or(ascending, |it| it == "asc") {
        found.reverse();
    }
}

impl Place<'_> {
    /// Lists issues, which pull requests are among.
    pub(super) fn issues(&self) -> Answer {
        if let Some(refused) = invalid(&self.query, &ISSUE_ORDERS) {
            return refused;
        }
        let since_s = self.query.time("since").ok().flatten().map(jiff::Timestamp::as_second);
        let listed = read(&self.repository.issues);
        let wanted = |it: &&Issue| {
            it.is_here()
                && is_in_state(it, &self.query)
                && since_s.is_none_or(|since_s| it.updated_s >= since_s)
        };
        let mut found: Vec<&Issue> = listed.iter().filter(wanted).collect();
        order(&mut found, &self.query, false);
        self.paged(&found, |it| self.issue(it))
    }

    /// Lists pull requests. Nobody can ask for those that changed since a moment.
    pub(super) fn pulls(&self) -> Answer {
        if let Some(refused) = invalid(&self.query, &PULL_ORDERS) {
            return refused;
        }
        let listed = read(&self.repository.issues);
        let wanted = |it: &&Issue| it.pull.is_some() && it.is_here() && is_in_state(it, &self.query);
        let mut found: Vec<&Issue> = listed.iter().filter(wanted).collect();
        let ascending = self.query.get("sort").is_some_and(|it| it != "created");
        order(&mut found, &self.query, ascending);
        self.paged(&found, |it| self.pull(it))
    }

    /// Shows one issue or its timeline, or says where it went.
    pub(super) fn of_issue(&self, number: u64, of: Of) -> Answer {
        let listed = read(&self.repository.issues);
        let Some(it) = listed.iter().find(|it| it.number == number) else { return not_found() };
        match (it.gone, of) {
            (Some(IssueGone::Deleted), _) => refusal(410, "This issue was deleted"),
            (Some(IssueGone::Hidden), _) => not_found(),
            (Some(IssueGone::Transferred { repository, number }), of) => {
                let below = if of == Of::Timeline { "/timeline" } else { "" };
                let mark = if self.query.0.is_empty() { "" } else { "?" };
                let base = self.paths.base;
                moved(format!(
                    "{base}/repositories/{repository}/issues/{number}{below}{mark}{}",
                    self.query.0
                ))
            }
            (None, Of::Itself) => Answer::value(&self.issue(it)),
            (None, Of::Timeline) => {
                let events: Vec<&IssueEvent> = it.events.iter().collect();
                self.paged(&events, |event| self.event(it, event))
            }
        }
    }

    /// Shows one pull request, or its reviews.
    pub(super) fn of_pull(&self, number: u64, reviews: bool) -> Answer {
        let listed = read(&self.repository.issues);
        let found = listed.iter().find(|it| it.number == number && it.pull.is_some() && it.is_here());
        match found {
            None => not_found(),
            Some(it) if reviews => {
                let given: Vec<&IssueEvent> = it.events.iter().filter(|it| it.event == "reviewed").collect();
                self.paged(&given, |event| self.review(it, event))
            }
            Some(it) => Answer::value(&self.pull(it)),
        }
    }

    fn paged<T>(&self, found: &[&T], show: impl Fn(&T) -> Value) -> Answer {
        let page = Page::read(&self.query, PER_PAGE);
        let shown = found[page.range(found.len())].iter().map(|it| show(it)).collect();
        let link = self.paths.numbered(&self.query, page, found.len(), true);
        Answer::value(&Value::Array(shown)).linked(link)
    }

    fn issue(&self, it: &Issue) -> Value {
        let (name, number) = (self.identity.full_name(), it.number);
        let (api, kind) = (format!("{API}/repos/{name}"), if it.pull.is_some() { "pull" } else { "issues" });
        let mut shown = self.common(it, &format!("{WEB}/{name}/{kind}/{number}"));
        let mut add = |fields: Value| {
            if let Value::Object(fields) = fields {
                shown.extend(fields);
            }
        };
        add(json!({
            "id": it.id, "node_id": node_id("I", it.id), "url": format!("{api}/issues/{number}"), "repository_url": api,
            "labels_url": format!("{api}/issues/{number}/labels{{/name}}"),
            "comments_url": format!("{api}/issues/{number}/comments"),
            "events_url": format!("{api}/issues/{number}/events"),
            "timeline_url": format!("{api}/issues/{number}/timeline"), "comments": it.comments,
            "state_reason": if it.open { Value::Null } else { json!("completed") },
            "reactions": { "url": format!("{api}/issues/{number}/reactions"), "total_count": 0 },
            "performed_via_github_app": null, "active_lock_reason": null,
        }));
        if let Some(pull) = &it.pull {
            add(json!({
                "draft": false,
                "pull_request": {
                    "url": format!("{api}/pulls/{number}"), "html_url": format!("{WEB}/{name}/pull/{number}"),
                    "merged_at": pull.merged_s.map(date),
                },
            }));
        }
        shown.into()
    }

    fn pull(&self, it: &Issue) -> Value {
        let Some(pull) = &it.pull else { return Value::Null };
        let (name, number) = (self.identity.full_name(), it.number);
        let api = format!("{API}/repos/{name}");
        let mut shown = self.common(it, &format!("{WEB}/{name}/pull/{number}"));
        let repository = json!({ "id": self.repository.id, "full_name": name, "private": true });
        let side = |branch: &str, sha: &str, repository: Value| {
            let label = format!("{}:{branch}", self.identity.owner);
            json!({ "label": label, "ref": branch, "sha": sha, "repo": repository })
        };
        let head = if pull.forkless { Value::Null } else { repository.clone() };
        let fields = json!({
            "id": pull.id, "node_id": node_id("PR", pull.id), "url": format!("{api}/pulls/{number}"),
            "issue_url": format!("{api}/issues/{number}"), "draft": false, "merged_at": pull.merged_s.map(date),
            "merge_commit_sha": pull.sha, "requested_reviewers": [], "requested_teams": [],
            "head": side(&pull.branch, &pull.sha, head), "base": side("main", &"0".repeat(40), repository),
            "auto_merge": null,
        });
        shown.extend(fields.as_object().cloned().unwrap_or_default());
        shown.into()
    }

    /// Shows what an issue and its pull request have in common.
    fn common(&self, it: &Issue, web: &str) -> Map<String, Value> {
        let name = self.identity.full_name();
        let label = |label: &String| {
            let id = label.bytes().fold(7, |all: u64, byte| all * 31 % 1_000_003 + u64::from(byte));
            json!({
                "id": id, "name": label, "color": "d4c5f9", "default": false, "description": null,
                "url": format!("{API}/repos/{name}/labels/{id}"),
            })
        };
        let shown = json!({
            "number": it.number, "title": it.title, "state": if it.open { "open" } else { "closed" }, "html_url": web,
            "user": account(&it.author, "User"), "labels": it.labels.iter().map(label).collect::<Vec<_>>(),
            "assignee": null, "assignees": [], "milestone": null, "locked": false, "created_at": date(it.created_s),
            "updated_at": date(it.updated_s), "closed_at": it.closed_s.map(date), "author_association": "MEMBER",
            "body": format!("Seen at {}.", date(it.created_s)),
        });
        shown.as_object().cloned().unwrap_or_default()
    }

    fn review(&self, it: &Issue, event: &IssueEvent) -> Value {
        let page = format!("{WEB}/{}/pull/{}", self.identity.full_name(), it.number);
        let state = event.more["state"].as_str().unwrap_or_default().to_ascii_uppercase();
        json!({
            "id": event.id, "node_id": node_id("PRR", event.id), "user": account(&event.actor, "User"),
            "body": event.more["body"], "state": state, "submitted_at": date(event.at_s),
            "commit_id": event.more["commit_id"], "author_association": "MEMBER",
            "html_url": format!("{page}#pullrequestreview-{}", event.id),
        })
    }

    /// Shows an event as its kind is: some have no number, no time or no actor, or have them elsewhere.
    fn event(&self, it: &Issue, event: &IssueEvent) -> Value {
        let name = self.identity.full_name();
        let (at, actor) = (date(event.at_s), || account(&event.actor, "User"));
        let web = format!("{WEB}/{name}/issues/{}", it.number);
        let mut shown = match event.event.as_str() {
            "committed" => {
                let who = json!({ "name": event.actor, "email": "ada@acme.example", "date": at });
                json!({
                    "sha": event.more["sha"], "node_id": node_id("C", event.id), "author": who, "committer": who,
                    "message": "Mend it", "parents": [],
                })
            }
            "reviewed" => {
                let mut review = self.review(it, event);
                review["state"] = event.more["state"].clone();
                review
            }
            "line-commented" => json!({
                "node_id": node_id("PRRT", event.id),
                "comments": [{
                    "id": event.id, "user": actor(), "body": event.more["body"], "created_at": at, "updated_at": at,
                    "commit_id": event.more["commit_id"],
                }],
            }),
            "cross-referenced" => {
                let number = event.more["number"].as_u64().unwrap_or_default();
                let source = json!({
                    "id": event.id, "number": number, "title": "Elsewhere",
                    "html_url": format!("{WEB}/{name}/issues/{number}"),
                });
                json!({
                    "actor": actor(), "created_at": at, "updated_at": at,
                    "source": { "type": "issue", "issue": source },
                })
            }
            "commented" => json!({
                "id": event.id, "node_id": node_id("IC", event.id), "user": actor(), "actor": actor(),
                "created_at": at, "updated_at": at, "body": event.more["body"],
                "html_url": format!("{web}#issuecomment-{}", event.id),
            }),
            _ => {
                let mut shown = json!({
                    "id": event.id, "node_id": node_id("E", event.id), "actor": actor(), "commit_id": null,
                    "url": format!("{API}/repos/{name}/issues/events/{}", event.id), "created_at": at,
                    "performed_via_github_app": null,
                });
                for (key, value) in event.more.as_object().into_iter().flatten() {
                    // Who is named inside an event is shown as an account.
                    let person = if key == "assignee" { value.as_str() } else { None };
                    shown[key] = person.map_or_else(|| value.clone(), |it| account(it, "User"));
                }
                shown
            }
        };
        shown["event"] = json!(event.event);
        shown
    }
}
