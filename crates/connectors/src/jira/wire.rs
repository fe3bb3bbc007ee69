//! The shapes of Jira's answers, and the records that they become.
//!
//! Absent and odd values become null here; only what identifies a record may be missed. Nothing here sends or decides
//! what is read next.

use std::collections::HashMap;

use bytes::Bytes;
use domain::fault::Fault;
use domain::page::Record;
use domain::table::{Cell, JIRA_CARDS, SPRINTS};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use super::tables::JIRA_BOARDS;
use super::time;
use crate::kit::{self, Object, malformed};

/// Reads a moment as this site writes it.
fn moment(object: &Object<'_>, name: &str) -> Option<Timestamp> {
    time::instant(&object.text(name)?)
}

/// Reads a number, which the platform's API writes as text and the boards' API as a number.
fn number(object: &Object<'_>, name: &str) -> Option<i64> {
    object.value(name).or_else(|| object.text(name)?.parse().ok())
}

/// One page of a list by offset.
pub(super) struct Listed {
    /// Its elements, each as it stands in the body.
    pub(super) values: Vec<Bytes>,
    /// Whether nothing follows.
    pub(super) is_last: bool,
    /// What a search by token goes on with.
    pub(super) next: Option<String>,
}

/// Reads a page of a list whose elements stand under `name`: boards and sprints say whether it is the last, a search by
/// offset says how many there are, a search by token says how to go on.
pub(super) fn listed(body: &Bytes, name: &str, start: usize) -> Result<Listed, Fault> {
    let page = Object::of(body, name)?;
    let raw = page.raw(name).ok_or_else(|| malformed(format!("{name}: no list")))?;
    let values = kit::parts(raw.get(), body, name)?;
    let total: Option<usize> = page.value("total");
    let counted = total.is_some_and(|it| start + values.len() >= it);
    let is_last = page.value("isLast").unwrap_or(counted);
    Ok(Listed { is_last, next: page.text("nextPageToken"), values })
}

/// Whole boards, sprints and issues say who they are.
fn id(object: &Object<'_>, what: &str) -> Result<i64, Fault> {
    number(object, "id").ok_or_else(|| malformed(format!("{what}: no id")))
}

/// What is read of a board beside its record.
pub(super) struct Board {
    pub(super) id: i64,
    pub(super) name: Option<String>,
    pub(super) has_sprints: bool,
}

/// Adds one board to `records`.
pub(super) fn board(raw: Bytes, records: &mut Vec<Record>) -> Result<Board, Fault> {
    let object = Object::of(&raw, "board")?;
    let id = id(&object, "board")?;
    let (name, kind) = (object.text("name"), object.text("type"));
    // Boards of this kind have none and say so with an error; a kind that is not known is asked.
    let has_sprints = kind.as_deref() != Some("kanban");
    let location = object.object("location");
    let at = |member: &str| location.as_ref().and_then(|it| it.text(member));
    let cells = vec![
        Cell::Integer(id),
        name.clone().into(),
        kind.into(),
        at("projectKey").into(),
        at("projectName").into(),
        object.value::<bool>("isPrivate").into(),
    ];
    drop((location, object));
    records.push(Record { table: &JIRA_BOARDS, cells, raw: Some(raw) });
    Ok(Board { id, name, has_sprints })
}

/// What is read of a sprint beside its record.
pub(super) struct Sprint {
    pub(super) id: i64,
    pub(super) name: Option<String>,
    pub(super) is_active: bool,
    /// When it was closed, where it was.
    pub(super) closed_at: Option<Timestamp>,
}

/// Adds one sprint to `records`, as `board` shows it.
pub(super) fn sprint(board: i64, raw: Bytes, records: &mut Vec<Record>) -> Result<Sprint, Fault> {
    let object = Object::of(&raw, "sprint")?;
    let id = id(&object, "sprint")?;
    let (name, state) = (object.text("name"), object.text("state").map(|it| it.to_ascii_lowercase()));
    let closed_at = moment(&object, "completeDate").filter(|_| state.as_deref() == Some("closed"));
    let is_active = state.as_deref() == Some("active");
    let cells = vec![
        Cell::Integer(board),
        Cell::Integer(id),
        name.clone().into(),
        state.into(),
        object.text("goal").into(),
        moment(&object, "startDate").into(),
        moment(&object, "endDate").into(),
        moment(&object, "completeDate").into(),
        number(&object, "originBoardId").into(),
    ];
    drop(object);
    records.push(Record { table: &SPRINTS, cells, raw: Some(raw) });
    Ok(Sprint { id, name, is_active, closed_at })
}

/// An issue as a search lists it.
pub(super) struct Found {
    pub(super) id: i64,
    /// When it last changed, written the same in whatever zone it was shown.
    pub(super) version: String,
}

/// Reads an issue of a search.
pub(super) fn found(raw: &Bytes) -> Result<Found, Fault> {
    let object = Object::of(raw, "issue")?;
    let updated = object.inside("fields", "updated").ok_or_else(|| malformed("issue: no time of change"))?;
    let version = time::instant(&updated).map_or(updated, |it| it.to_string());
    Ok(Found { id: id(&object, "issue")?, version })
}

/// How much of an issue's history stands inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct History {
    pub(super) total: usize,
    pub(super) shown: usize,
}

/// Reads how much of its history an issue shows.
pub(super) fn history(issue: &Bytes) -> Result<History, Fault> {
    let object = Object::of(issue, "issue")?;
    let Some(changelog) = object.object("changelog") else { return Ok(History { total: 0, shown: 0 }) };
    let shown = changelog.value::<Vec<&RawValue>>("histories").map_or(0, |it| it.len());
    Ok(History { total: changelog.value("total").unwrap_or(shown), shown })
}

/// An issue's detail beside its columns: what it belongs to, its parts, and all that happened to it, oldest first.
#[derive(Serialize)]
struct Details<'a> {
    parent: Option<&'a RawValue>,
    subtasks: Option<&'a RawValue>,
    changelog: Changelog<'a>,
}

#[derive(Serialize)]
struct Changelog<'a> {
    /// How many changes Jira counts.
    total: usize,
    /// How many of them are not here: zero but for histories longer than a page of ours may read.
    skipped: usize,
    histories: Vec<&'a RawValue>,
}

/// Reads the changes of a history's page, oldest first.
pub(super) fn changes(page: &Bytes) -> Result<Vec<Bytes>, Fault> {
    Ok(listed(page, "values", 0)?.values)
}

/// A card to land: an issue of a sprint, with the part of its history that does not stand inside it.
pub(super) struct Card<'a> {
    pub(super) sprint: i64,
    /// The number that was asked for.
    pub(super) id: i64,
    pub(super) issue: &'a Bytes,
    /// Where people see the site.
    pub(super) site: &'a str,
    pub(super) older: &'a [Bytes],
}

impl Card<'_> {
    /// Makes its record.
    pub(super) fn record(&self) -> Result<Record, Fault> {
        let object = Object::of(self.issue, "issue")?;
        if id(&object, "issue")? != self.id {
            return Err(malformed("issue: another one than was asked for"));
        }
        let fields = object.object("fields").ok_or_else(|| malformed("issue: no fields"))?;
        let key = object.text("key");
        let who = |name: &str| {
            let it = fields.object(name)?;
            it.text("accountId").or_else(|| it.text("name"))
        };
        let status = fields.object("status");
        let category =
            status.as_ref().and_then(|it| it.object("statusCategory")).and_then(|it| it.text("key"));
        let labels = fields.raw("labels").map_or(Cell::Null, |it| Cell::Json(it.get().to_owned()));
        let url = key.as_ref().map(|it| format!("{}/browse/{it}", self.site.trim_end_matches('/')));
        let cells = vec![
            Cell::Integer(self.sprint),
            Cell::Integer(self.id),
            key.into(),
            fields.inside("project", "key").into(),
            fields.text("summary").into(),
            fields.inside("issuetype", "name").into(),
            status.and_then(|it| it.text("name")).into(),
            category.into(),
            fields.inside("priority", "name").into(),
            fields.inside("assignee", "displayName").into(),
            who("assignee").into(),
            fields.inside("reporter", "displayName").into(),
            who("reporter").into(),
            fields.inside("parent", "key").into(),
            labels,
            fields.text("duedate").into(),
            moment(&fields, "created").into(),
            moment(&fields, "updated").into(),
            moment(&fields, "resolutiondate").into(),
            url.into(),
            Cell::Json(self.details(&object, &fields)?),
        ];
        Ok(Record { table: &JIRA_CARDS, cells, raw: Some(self.issue.clone()) })
    }

    fn details(&self, object: &Object<'_>, fields: &Object<'_>) -> Result<String, Fault> {
        let changelog = object.object("changelog");
        let shown: Vec<&RawValue> =
            changelog.as_ref().and_then(|it| it.value("histories")).unwrap_or_default();
        let mut seen = HashMap::new();
        let older = self.older.iter().filter_map(|it| serde_json::from_slice(it).ok());
        for raw in older.chain(shown.iter().copied()) {
            let change = Object::read(raw.get()).ok_or_else(|| malformed("changelog: no JSON object"))?;
            let (at, number) = (moment(&change, "created"), number(&change, "id"));
            seen.insert((number, number.is_none().then_some(raw.get())), (at, number, raw));
        }
        let mut changes: Vec<_> = seen.into_values().collect();
        changes.sort_by_key(|(at, number, _)| (*at, *number));
        let total = changelog.as_ref().and_then(|it| it.value("total")).unwrap_or(changes.len());
        let details = Details {
            parent: fields.raw("parent"),
            subtasks: fields.raw("subtasks"),
            changelog: Changelog {
                total,
                skipped: total.saturating_sub(changes.len()),
                histories: changes.into_iter().map(|it| it.2).collect(),
            },
        };
        serde_json::to_string(&details).map_err(|_| malformed("issue: its detail cannot be written"))
    }
}
