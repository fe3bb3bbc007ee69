//! Issues, pull requests and what happened to them, as records.
//!
//! Kinds of events that GitHub did not have when this was written land like any other: what is not known of them stays
//! null, and all of them is in `raw`.

use std::collections::BTreeMap;

use bytes::Bytes;
use domain::fault::Fault;
use domain::page::Record;
use domain::table::Cell;
use jiff::Timestamp;
use serde_json::Value;

use super::super::tables::{
    GITHUB_ISSUE_ABSENCES, GITHUB_ISSUES, GITHUB_PULL_REQUESTS, GITHUB_REVIEWS, GITHUB_TIMELINE_EVENTS,
};
use crate::kit::{self, Object, malformed};

/// What is read of an issue or pull request beside its record.
pub(in crate::github) struct Changed {
    pub(in crate::github) number: i64,
    pub(in crate::github) at: Timestamp,
}

/// Adds one issue to `records`; a pull request is one, too.
pub(in crate::github) fn issue(
    repository_id: i64,
    raw: Bytes,
    records: &mut Vec<Record>,
) -> Result<Changed, Fault> {
    let object = Object::of(&raw, "issue")?;
    let changed = changed(&object, "issue")?;
    let id: i64 = object.value("id").ok_or_else(|| malformed("issue: no id"))?;
    let title = object.text("title");
    let cells = vec![
        Cell::Integer(repository_id),
        Cell::Integer(changed.number),
        Cell::Integer(id),
        title.clone().into(),
        object.text("state").into(),
        object.text("state_reason").into(),
        Cell::Bool(object.raw("pull_request").is_some()),
        object.inside("user", "login").into(),
        names(&object, "assignees", "login"),
        names(&object, "labels", "name"),
        object.inside("milestone", "title").into(),
        object.value::<i64>("comments").into(),
        object.value::<bool>("locked").into(),
        object.instant("created_at").into(),
        Cell::Timestamp(changed.at),
        object.instant("closed_at").into(),
        jira_key(title.as_deref()),
        object.text("html_url").into(),
    ];
    drop(object);
    records.push(Record { table: &GITHUB_ISSUES, cells, raw: Some(raw) });
    Ok(changed)
}

/// Adds one pull request to `records`.
pub(in crate::github) fn pull_request(
    repository_id: i64,
    raw: Bytes,
    records: &mut Vec<Record>,
) -> Result<Changed, Fault> {
    let object = Object::of(&raw, "pull request")?;
    let changed = changed(&object, "pull request")?;
    let id: i64 = object.value("id").ok_or_else(|| malformed("pull request: no id"))?;
    let title = object.text("title");
    let (head, base) = (object.object("head"), object.object("base"));
    let of = |side: &Option<Object<'_>>, member: &str| side.as_ref().and_then(|it| it.text(member));
    let cells = vec![
        Cell::Integer(repository_id),
        Cell::Integer(changed.number),
        Cell::Integer(id),
        title.clone().into(),
        object.text("state").into(),
        object.value::<bool>("draft").into(),
        object.inside("user", "login").into(),
        of(&head, "ref").into(),
        of(&head, "sha").into(),
        // Null where the fork was deleted.
        head.as_ref().and_then(|it| it.inside("repo", "full_name")).into(),
        of(&base, "ref").into(),
        names(&object, "requested_reviewers", "login"),
        names(&object, "labels", "name"),
        object.text("merge_commit_sha").into(),
        object.instant("created_at").into(),
        Cell::Timestamp(changed.at),
        object.instant("merged_at").into(),
        object.instant("closed_at").into(),
        jira_key(title.as_deref()),
        object.text("html_url").into(),
    ];
    drop((object, head, base));
    records.push(Record { table: &GITHUB_PULL_REQUESTS, cells, raw: Some(raw) });
    Ok(changed)
}

/// Reads what tells versions of an issue or pull request apart.
fn changed(object: &Object<'_>, what: &str) -> Result<Changed, Fault> {
    let number = object.value("number").ok_or_else(|| malformed(format!("{what}: no number")))?;
    let at = object.instant("updated_at").ok_or_else(|| malformed(format!("{what}: no time of change")))?;
    Ok(Changed { number, at })
}

/// Reads one member of each element of a list, as an array; what is no object with it is left out.
fn names(object: &Object<'_>, list: &str, member: &str) -> Cell {
    let Some(all) = object.value::<Vec<Value>>(list) else { return Cell::Null };
    let names: Vec<&Value> = all.iter().filter_map(|it| it.get(member)).collect();
    Cell::Json(serde_json::to_string(&names).unwrap_or_default())
}

fn jira_key(title: Option<&str>) -> Cell {
    kit::jira_keys(title.unwrap_or_default()).first().copied().into()
}

/// Adds one event of the timeline of an issue to `records`, and a review, where it is one.
pub(in crate::github) fn event(
    (repository_id, number): (i64, i64),
    raw: Bytes,
    keys: &mut Keys,
    records: &mut Vec<Record>,
) -> Result<(), Fault> {
    let object = Object::of(&raw, "event")?;
    let kind = object.text("event").unwrap_or_else(|| "unknown".to_owned());
    let id = object.value::<i64>("id");
    let actor = object.inside("actor", "login").or_else(|| object.inside("user", "login"));
    let sha = object.text("commit_id").or_else(|| object.text("sha"));
    let rename = object.object("rename");
    let renamed = |member: &str| rename.as_ref().and_then(|it| it.text(member));
    let source = object.object("source").and_then(|it| it.object("issue"));
    let at = happened_at(&object);
    let label = object.inside("label", "name");
    let cells = vec![
        Cell::Integer(repository_id),
        Cell::Integer(number),
        Cell::Text(keys.of(&object, &kind, at, source.as_ref())),
        Cell::Text(kind.clone()),
        id.into(),
        actor.clone().into(),
        at.into(),
        sha.clone().into(),
        label.into(),
        object.inside("assignee", "login").into(),
        object.inside("requested_reviewer", "login").into(),
        object.inside("milestone", "title").into(),
        renamed("from").into(),
        renamed("to").into(),
        object.text("state").into(),
        source.as_ref().and_then(|it| it.text("html_url")).into(),
        object.text("body").into(),
        object.text("html_url").into(),
    ];
    let review = review(&object, &kind, (repository_id, number), actor, sha);
    drop((object, rename, source));
    if let Some(cells) = review {
        records.push(Record { table: &GITHUB_REVIEWS, cells, raw: Some(raw.clone()) });
    }
    records.push(Record { table: &GITHUB_TIMELINE_EVENTS, cells, raw: Some(raw) });
    Ok(())
}

/// Returns the values of a review, where the event is one that has a number.
fn review(
    object: &Object<'_>,
    kind: &str,
    (repository_id, number): (i64, i64),
    author: Option<String>,
    sha: Option<String>,
) -> Option<Vec<Cell>> {
    if kind != "reviewed" {
        return None;
    }
    Some(vec![
        Cell::Integer(repository_id),
        Cell::Integer(object.value("id")?),
        Cell::Integer(number),
        author.into(),
        object.text("state").map(|it| it.to_ascii_lowercase()).into(),
        sha.into(),
        object.text("body").into(),
        object.instant("submitted_at").into(),
        object.text("html_url").into(),
    ])
}

/// Reads when an event happened: kinds differ in where they say so, and some do not.
fn happened_at(object: &Object<'_>) -> Option<Timestamp> {
    let inside = |name: &str| object.object(name)?.instant("date");
    let listed = || {
        let first: Value = object.value::<Vec<Value>>("comments")?.into_iter().next()?;
        first.get("created_at")?.as_str()?.parse().ok()
    };
    object
        .instant("created_at")
        .or_else(|| object.instant("submitted_at"))
        .or_else(|| inside("committer"))
        .or_else(listed)
}

/// Gives the events of one timeline keys of their own, for no member is in all kinds.
#[derive(Default)]
pub(in crate::github) struct Keys(BTreeMap<String, usize>);

impl Keys {
    /// Makes an event's key: its node, else what tells events of its kind apart.
    fn of(
        &mut self,
        object: &Object<'_>,
        kind: &str,
        at: Option<Timestamp>,
        source: Option<&Object<'_>>,
    ) -> String {
        if let Some(node) = object.text("node_id").filter(|it| !it.is_empty()) {
            return node;
        }
        let of_source = || source?.value::<i64>("id").map(|it| it.to_string());
        let of_itself = || object.value::<i64>("id").map(|it| it.to_string());
        let of_commit = || object.text("sha").or_else(|| object.text("commit_id"));
        let tells = of_itself().or_else(of_source).or_else(of_commit).unwrap_or_default();
        let key = format!("{kind}/{tells}/{}", at.map(|it| it.to_string()).unwrap_or_default());
        // Of those that are the same in all of it, the first is the first again when all are read again.
        let nth = self.0.entry(key.clone()).and_modify(|it| *it += 1).or_insert(0);
        if *nth == 0 { key } else { format!("{key}/{nth}") }
    }
}

/// Adds to `records` that an issue is not where it was.
pub(in crate::github) fn absence(
    (repository_id, number): (i64, i64),
    how: &'static str,
    moved_to: Option<String>,
    at: Timestamp,
    records: &mut Vec<Record>,
) {
    let cells = vec![
        Cell::Integer(repository_id),
        Cell::Integer(number),
        Cell::from(how),
        moved_to.into(),
        Cell::Timestamp(at),
    ];
    records.push(Record { table: &GITHUB_ISSUE_ABSENCES, cells, raw: None });
}
