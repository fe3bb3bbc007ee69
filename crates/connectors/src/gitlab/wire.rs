//! The shapes of GitLab's answers, and the records that they become.
//!
//! Absent and odd values become null here; only what identifies a record may be missed. Nothing here sends or decides
//! what is read next.

use bytes::Bytes;
use domain::fault::Fault;
use domain::page::Record;
use domain::table::{BRANCHES, Cell};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::tables::{GITLAB_MERGE_REQUESTS, GITLAB_NOTES, GITLAB_PROJECTS};
use crate::git::{self, Signature};
use crate::kit::{self, Object, malformed};

/// A commit as lists give it.
#[derive(Deserialize)]
pub(super) struct Commit {
    id: String,
    message: Option<String>,
    author_name: Option<String>,
    author_email: Option<String>,
    #[serde(default, deserialize_with = "git::instant")]
    authored_date: Option<Timestamp>,
    committer_name: Option<String>,
    committer_email: Option<String>,
    #[serde(default, deserialize_with = "git::instant")]
    committed_date: Option<Timestamp>,
    parent_ids: Option<Vec<Option<String>>>,
    web_url: Option<String>,
}

impl git::Worded for Commit {
    fn loosely(raw: &str) -> Option<Self> {
        let commit = Object::read(raw)?;
        let parents: Option<Vec<Value>> = commit.value("parent_ids");
        let text = |it: Value| it.as_str().map(str::to_owned);
        Some(Self {
            id: commit.text("id")?,
            message: commit.text("message"),
            author_name: commit.text("author_name"),
            author_email: commit.text("author_email"),
            authored_date: commit.instant("authored_date"),
            committer_name: commit.text("committer_name"),
            committer_email: commit.text("committer_email"),
            committed_date: commit.instant("committed_date"),
            parent_ids: parents.map(|all| all.into_iter().map(text).collect()),
            web_url: commit.text("web_url"),
        })
    }

    fn sha(&self) -> &str {
        &self.id
    }
}

impl From<Commit> for git::Commit {
    fn from(it: Commit) -> Self {
        Self {
            sha: it.id,
            // Git ends a message with a new line, which other hosts take away.
            message: it.message.map(|it| it.trim_end_matches('\n').to_owned()),
            author: Signature { name: it.author_name, email: it.author_email, date: it.authored_date },
            // A list names no account.
            author_login: None,
            committer: Signature {
                name: it.committer_name,
                email: it.committer_email,
                date: it.committed_date,
            },
            parents: it.parent_ids.unwrap_or_default(),
            url: it.web_url,
        }
    }
}

/// What is read of a project beside its record.
pub(super) struct Project {
    pub(super) id: i64,
    pub(super) path: Option<String>,
    pub(super) default_branch: Option<String>,
    /// Whether it can have merge requests: where they are switched off, asking for them is refused.
    pub(super) has_merge_requests: bool,
    /// Whether it can have branches and commits, likewise.
    pub(super) has_repository: bool,
}

/// The member of a project that is a credential: whoever has it registers runners, which then see what the project's
/// jobs see. Only those who keep the project are shown it.
const RUNNERS_TOKEN: &str = "runners_token";

/// Adds one project to `records`.
pub(super) fn project(raw: Bytes, records: &mut Vec<Record>) -> Result<Project, Fault> {
    let object = Object::of(&raw, "project")?;
    let id: i64 = object.value("id").ok_or_else(|| malformed("project: no id"))?;
    let (path, default_branch) = (object.text("path_with_namespace"), object.text("default_branch"));
    let cells = vec![
        Cell::Integer(id),
        path.clone().into(),
        object.text("name").into(),
        object.inside("namespace", "full_path").into(),
        default_branch.clone().into(),
        object.text("visibility").into(),
        flag(&object, "archived"),
        flag(&object, "empty_repo"),
        Cell::Bool(object.raw("forked_from_project").is_some()),
        object.text("description").into(),
        object.text("web_url").into(),
        object.instant("last_activity_at").into(),
        object.instant("created_at").into(),
    ];
    let has_repository = object.text("repository_access_level").is_none_or(|it| it != "disabled");
    let has_merge_requests = object.value("merge_requests_enabled").unwrap_or(true);
    let open = git::without_secret(&raw, &object, RUNNERS_TOKEN);
    drop(object);
    records.push(Record { table: &GITLAB_PROJECTS, cells, raw: Some(open.unwrap_or(raw)) });
    Ok(Project { id, path, default_branch, has_merge_requests, has_repository })
}

/// GitLab writes null where it means no.
fn flag(object: &Object<'_>, name: &str) -> Cell {
    Cell::Bool(object.value(name).unwrap_or(false))
}

/// Adds one branch to `records`.
pub(super) fn branch(project_id: i64, raw: Bytes, records: &mut Vec<Record>) -> Result<git::Branch, Fault> {
    let object = Object::of(&raw, "branch")?;
    let name = object.text("name").ok_or_else(|| malformed("branch: no name"))?;
    let head_sha = object.inside("commit", "id").filter(|it| !it.is_empty());
    let head_sha = head_sha.ok_or_else(|| malformed("branch: no head"))?;
    let cells = vec![
        Cell::Integer(project_id),
        Cell::Text(name.clone()),
        Cell::Text(head_sha.clone()),
        flag(&object, "protected"),
    ];
    drop(object);
    records.push(Record { table: &BRANCHES, cells, raw: Some(raw) });
    Ok(git::Branch { name, head_sha })
}

/// Reads the commit that two others have in common.
pub(super) fn merge_base(body: &Bytes) -> Result<String, Fault> {
    Object::of(body, "merge base")?.text("id").ok_or_else(|| malformed("merge base: no id"))
}

/// What is read of a merge request beside its record.
pub(super) struct Changed {
    pub(super) iid: i64,
    pub(super) at: Timestamp,
    pub(super) is_open: bool,
}

/// Adds one merge request to `records`.
pub(super) fn merge_request(raw: Bytes, records: &mut Vec<Record>) -> Result<Changed, Fault> {
    let object = Object::of(&raw, "merge request")?;
    let number =
        |name: &str| object.value::<i64>(name).ok_or_else(|| malformed(format!("merge request: no {name}")));
    let (id, project_id, iid) = (number("id")?, number("project_id")?, number("iid")?);
    let updated_at =
        object.instant("updated_at").ok_or_else(|| malformed("merge request: no time of change"))?;
    let (title, state) = (object.text("title"), object.text("state"));
    let changed = Changed { iid, at: updated_at, is_open: state.as_deref() == Some("opened") };
    let jira_key = kit::jira_keys(title.as_deref().unwrap_or_default()).first().map(|it| (*it).to_owned());
    // The older name is the one that old servers know.
    let merged_by =
        object.inside("merge_user", "username").or_else(|| object.inside("merged_by", "username"));
    let labels = object.raw("labels").map_or(Cell::Null, |it| Cell::Json(it.get().to_owned()));
    let cells = vec![
        Cell::Integer(id),
        Cell::Integer(project_id),
        Cell::Integer(iid),
        title.into(),
        state.into(),
        flag(&object, "draft"),
        object.inside("author", "username").into(),
        object.text("source_branch").into(),
        object.text("target_branch").into(),
        object.text("sha").into(),
        object.text("merge_commit_sha").into(),
        object.text("squash_commit_sha").into(),
        labels,
        object.instant("created_at").into(),
        Cell::Timestamp(updated_at),
        object.instant("merged_at").into(),
        merged_by.into(),
        object.instant("closed_at").into(),
        jira_key.into(),
        object.text("web_url").into(),
    ];
    drop(object);
    records.push(Record { table: &GITLAB_MERGE_REQUESTS, cells, raw: Some(raw) });
    Ok(changed)
}

/// Adds one note of a merge request to `records`.
pub(super) fn note(
    (project_id, iid): (i64, i64),
    raw: Bytes,
    records: &mut Vec<Record>,
) -> Result<(), Fault> {
    let object = Object::of(&raw, "note")?;
    let id: i64 = object.value("id").ok_or_else(|| malformed("note: no id"))?;
    let cells = vec![
        Cell::Integer(project_id),
        Cell::Integer(id),
        Cell::Integer(iid),
        object.text("body").into(),
        object.inside("author", "username").into(),
        flag(&object, "system"),
        object.text("type").into(),
        object.value::<bool>("resolved").into(),
        object.instant("created_at").into(),
        object.instant("updated_at").into(),
    ];
    drop(object);
    records.push(Record { table: &GITLAB_NOTES, cells, raw: Some(raw) });
    Ok(())
}

/// How much is quoted of what GitLab says of an error.
const SAID_MAX: usize = 200;

/// Returns what an error's body says: a sentence, or what is wrong with each field. HTML and plain text say nothing.
pub(super) fn said(body: &Bytes) -> String {
    let Ok(Value::Object(object)) = serde_json::from_slice::<Value>(body) else { return String::new() };
    let words = ["message", "error_description", "error"].iter().find_map(|it| object.get(*it));
    words.map(sentence).unwrap_or_default().chars().take(SAID_MAX).collect()
}

fn sentence(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(all) => all.iter().map(sentence).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            fields.iter().map(|(name, it)| format!("{name}: {}", sentence(it))).collect::<Vec<_>>().join("; ")
        }
        other => other.to_string(),
    }
}
