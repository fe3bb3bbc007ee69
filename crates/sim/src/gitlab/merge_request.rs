//! Merge requests as JSON, about 3 KB each as the real ones, and the lists of them.
//! Must never make a list say more than it does: who is new in it is found by `updated_at` alone.

use serde_json::{Map, Value, json};

use super::answer::{error, refusal};
use super::commit::utc;
use super::history::Place;
use super::link::{Entries, PER_PAGE};
use super::project::account;
use super::{API, WEB};
use crate::lock::read;
use crate::rest::{Answer, Page, Query};
use crate::world::{MergeRequest, MergeRequestState, Note, State};

/// What a list may be asked for.
const STATES: [&str; 5] = ["opened", "closed", "merged", "locked", "all"];
const SCOPES: [&str; 4] = ["all", "created_by_me", "assigned_to_me", "reviews_for_me"];
const ORDERS: [&str; 4] = ["created_at", "updated_at", "merged_at", "title"];
/// Parameters that are moments, and whether they are the earliest ones that are wanted.
const MOMENTS: [(&str, bool); 4] =
    [("updated_after", true), ("updated_before", false), ("created_after", true), ("created_before", false)];

/// Finds the first parameter that has a value which GitLab does not know.
fn invalid(query: &Query<'_>) -> Option<String> {
    let known: [(&str, &[&str]); 4] =
        [("state", &STATES), ("scope", &SCOPES), ("order_by", &ORDERS), ("sort", &["asc", "desc"])];
    let word = known
        .into_iter()
        .find(|(key, words)| query.get(key).is_some_and(|value| !words.contains(&value.as_str())));
    let moment = || MOMENTS.iter().find(|(key, _)| query.time(key).is_err());
    let number = || query.list("iids").iter().any(|iid| iid.parse::<u64>().is_err());
    word.map(|(key, _)| format!("{key} does not have a valid value"))
        .or_else(|| moment().map(|(key, _)| format!("{key} is invalid")))
        .or_else(|| number().then(|| "iids is invalid".to_owned()))
}

/// Tells whether a list is about this merge request.
fn is_wanted(it: &MergeRequest, query: &Query<'_>) -> bool {
    let word = |key: &str, value: &str| query.get(key).is_none_or(|wanted| wanted == value);
    let state = query.get("state").filter(|state| state != "all");
    let iids = query.list("iids");
    // Both ends are part of what is asked for.
    let inside = MOMENTS.iter().all(|(key, earliest)| {
        let at_ms = if key.starts_with("updated") { it.updated_ms } else { it.created_ms };
        let Ok(Some(wanted)) = query.time(key) else { return true };
        let wanted_ms = wanted.as_millisecond();
        if *earliest { at_ms >= wanted_ms } else { at_ms <= wanted_ms }
    });
    // Nothing is by, for or before whoever asks: the token belongs to a machine.
    let mine = query.get("scope").is_some_and(|scope| scope != "all");
    inside
        && !mine
        && state.is_none_or(|state| state == it.state.word())
        && word("source_branch", &it.source_branch)
        && word("target_branch", &it.target_branch)
        && (iids.is_empty() || iids.contains(&it.iid.to_string()))
}

impl Place<'_> {
    /// Lists the merge requests of the project.
    pub(super) fn merge_requests(&self) -> Answer {
        if let Some(why) = invalid(&self.query) {
            return error(400, &why);
        }
        let listed = read(&self.repository.merge_requests);
        let mut found: Vec<&MergeRequest> = listed.iter().filter(|it| is_wanted(it, &self.query)).collect();
        if self.identity.state == State::Empty {
            found.clear();
        }
        match self.query.get("order_by").as_deref() {
            Some("updated_at") => found.sort_by_key(|it| (it.updated_ms, it.id)),
            Some("merged_at") => found.sort_by_key(|it| (it.merged.as_ref().map(|it| it.0), it.id)),
            Some("title") => found.sort_by(|one, other| (&one.title, one.id).cmp(&(&other.title, other.id))),
            _ => found.sort_by_key(|it| (it.created_ms, it.id)),
        }
        if self.query.get("sort").as_deref() != Some("asc") {
            found.reverse();
        }
        let page = Page::read(&self.query, PER_PAGE);
        let shown = found[page.range(found.len())].iter().map(|it| self.show(it)).collect();
        let answer = Answer::value(&Value::Array(shown));
        self.paths.numbered(answer, &self.query, page, Entries::Counted(found.len()))
    }

    /// Shows one merge request, by its number in the project.
    pub(super) fn merge_request(&self, iid: u64) -> Answer {
        let listed = read(&self.repository.merge_requests);
        match listed.iter().find(|it| it.iid == iid) {
            Some(it) => Answer::value(&self.show(it)),
            None => refusal(404, "404 Not found"),
        }
    }

    /// Lists what was said of a merge request, the latest first unless asked otherwise.
    pub(super) fn notes(&self, iid: u64) -> Answer {
        let known: [(&str, &[&str]); 2] =
            [("order_by", &["created_at", "updated_at"]), ("sort", &["asc", "desc"])];
        for (key, words) in known {
            if self.query.get(key).is_some_and(|value| !words.contains(&value.as_str())) {
                return error(400, &format!("{key} does not have a valid value"));
            }
        }
        let listed = read(&self.repository.merge_requests);
        let Some(it) = listed.iter().find(|it| it.iid == iid) else { return refusal(404, "404 Not found") };
        let mut said = it.remarks();
        if self.query.get("sort").as_deref() != Some("asc") {
            said.reverse();
        }
        let page = Page::read(&self.query, PER_PAGE);
        let shown = said[page.range(said.len())].iter().map(|note| self.note(it, note)).collect();
        let answer = Answer::value(&Value::Array(shown));
        self.paths.numbered(answer, &self.query, page, Entries::Counted(said.len()))
    }

    fn note(&self, it: &MergeRequest, note: &Note) -> Value {
        let at = utc(note.at_ms);
        json!({
            "id": note.id, "type": null, "body": note.body, "author": account(&note.author), "created_at": at,
            "updated_at": utc(note.edited_ms), "system": note.system, "noteable_id": it.id, "noteable_type": "MergeRequest",
            "project_id": self.repository.id, "resolvable": false, "confidential": false, "internal": false,
            "imported": false, "imported_from": "none", "noteable_iid": it.iid, "commands_changes": {},
        })
    }

    fn show(&self, it: &MergeRequest) -> Value {
        let (path, project, iid) = (self.identity.full_name(), self.repository.id, it.iid);
        let own = format!("{API}/projects/{project}/merge_requests/{iid}");
        let open = it.state == MergeRequestState::Opened;
        let draft = it.title.starts_with("Draft: ");
        // Lists do not look again: of every third nobody knows whether it could be merged.
        let (status, detailed) = match (open, draft, it.id.is_multiple_of(3)) {
            (true, true, _) => ("can_be_merged", "draft_status"),
            (true, false, true) => ("unchecked", "unchecked"),
            (true, false, false) => ("can_be_merged", "mergeable"),
            (false, ..) => ("can_be_merged", "not_open"),
        };
        let merged_by = it.merged.as_ref().map(|(_, by)| account(by));
        let mut shown: Map<String, Value> = Map::new();
        let mut add = |fields: Value| {
            if let Value::Object(fields) = fields {
                shown.extend(fields);
            }
        };
        add(json!({
            "id": it.id, "iid": iid, "project_id": project, "title": it.title, "description": it.description,
            "state": it.state.word(), "created_at": utc(it.created_ms), "updated_at": utc(it.updated_ms),
            "merged_by": merged_by, "merge_user": merged_by, "merge_after": null,
            "merged_at": it.merged.as_ref().map(|(at_ms, _)| utc(*at_ms)),
            "closed_by": it.closed.as_ref().map(|(_, by)| account(by)),
            "closed_at": it.closed.as_ref().map(|(at_ms, _)| utc(*at_ms)),
            "target_branch": it.target_branch, "source_branch": it.source_branch,
            "user_notes_count": it.remarks().iter().filter(|it| !it.system).count(),
            "upvotes": 0, "downvotes": 0, "author": account(&it.author), "assignees": [account(&it.author)],
            "assignee": account(&it.author), "reviewers": [], "source_project_id": project,
            "target_project_id": project, "labels": it.labels, "draft": draft, "imported": false,
            "imported_from": "none", "work_in_progress": draft, "milestone": null,
        }));
        add(json!({
            "merge_when_pipeline_succeeds": false, "merge_status": status, "detailed_merge_status": detailed,
            "sha": it.sha, "merge_commit_sha": it.merge_sha, "squash_commit_sha": null,
            "discussion_locked": null, "should_remove_source_branch": null, "force_remove_source_branch": true,
            "prepared_at": utc(it.created_ms), "allow_collaboration": false, "reference": format!("!{iid}"),
            "references": { "short": format!("!{iid}"), "relative": format!("!{iid}"), "full": format!("{path}!{iid}") },
            "web_url": format!("{WEB}/{path}/-/merge_requests/{iid}"),
            "time_stats": {
                "time_estimate": 0, "total_time_spent": 0, "human_time_estimate": null, "human_total_time_spent": null,
            },
            "squash": false, "squash_on_merge": false, "task_completion_status": { "count": 0, "completed_count": 0 },
            "has_conflicts": false, "blocking_discussions_resolved": true, "approvals_before_merge": null,
            "_links": { "self": own, "notes": format!("{own}/notes"), "commits": format!("{own}/commits") },
        }));
        shown.into()
    }
}
