//! The shapes of GitHub's answers, and the records that they become.
//!
//! Absent and odd values become null here; only what identifies a record may be missed. Nothing here sends or decides
//! what is read next. Spec-required is not decode-required: real answers leave out what the description promises.

mod timeline;

use bytes::Bytes;
use domain::fault::Fault;
use domain::page::Record;
use domain::table::{BRANCHES, Cell};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

pub(super) use self::timeline::{Changed, Keys, absence, event, issue, pull_request};
use super::tables::GITHUB_REPOSITORIES;
use crate::git::{self, Signature, loose};
use crate::kit::{self, Object, malformed};

/// A commit as lists and comparisons give it.
#[derive(Deserialize)]
pub(super) struct Commit {
    sha: String,
    html_url: Option<String>,
    #[serde(rename = "commit")]
    detail: Option<Detail>,
    author: Option<Account>,
    parents: Option<Vec<Parent>>,
}

/// What git says of a commit.
#[derive(Default, Deserialize)]
struct Detail {
    message: Option<String>,
    author: Option<Signature>,
    committer: Option<Signature>,
}

/// An account at GitHub; a commit's may be null or an empty object.
#[derive(Deserialize)]
struct Account {
    login: Option<String>,
}

#[derive(Deserialize)]
struct Parent {
    sha: Option<String>,
}

/// A comparison of two commits.
#[derive(Deserialize)]
pub(super) struct Comparison<'a> {
    /// How many commits the whole comparison has, over all its pages.
    pub(super) total_commits: u64,
    /// This page's commits.
    #[serde(borrow)]
    pub(super) commits: &'a RawValue,
}

/// What is read of a repository beside its record.
pub(super) struct Repository {
    pub(super) id: i64,
    pub(super) full_name: Option<String>,
    pub(super) default_branch: Option<String>,
    /// When somebody last pushed to it.
    pub(super) pushed_at: Option<Timestamp>,
    /// Whether it can have issues: where they are switched off, asking for them is refused.
    pub(super) has_issues: bool,
}

/// What an error's body says, as far as it says anything.
#[derive(Default, Deserialize)]
pub(super) struct Refusal {
    /// The sentence for people.
    #[serde(default)]
    pub(super) message: String,
    /// Where it is explained.
    #[serde(default)]
    pub(super) documentation_url: String,
}

impl git::Worded for Commit {
    fn loosely(raw: &str) -> Option<Self> {
        let members = kit::members(raw)?;
        let read = |name: &str| members.get(name).map(|it| it.get());
        Some(Self {
            sha: loose(read("sha"))?,
            html_url: loose(read("html_url")),
            detail: read("commit").and_then(Detail::loosely),
            author: loose(read("author")),
            parents: loose(read("parents")).map(Parent::loosely),
        })
    }

    fn sha(&self) -> &str {
        &self.sha
    }
}

impl From<Commit> for git::Commit {
    fn from(it: Commit) -> Self {
        let detail = it.detail.unwrap_or_default();
        Self {
            sha: it.sha,
            message: detail.message,
            author: detail.author.unwrap_or_default(),
            author_login: it.author.and_then(|it| it.login),
            committer: detail.committer.unwrap_or_default(),
            parents: it.parents.unwrap_or_default().into_iter().map(|it| it.sha).collect(),
            url: it.html_url,
        }
    }
}

impl Parent {
    /// Reads each by itself, so that an odd one costs neither the others nor their positions.
    fn loosely(all: Vec<&RawValue>) -> Vec<Self> {
        all.into_iter().map(|it| loose(Some(it.get())).unwrap_or(Self { sha: None })).collect()
    }
}

impl Detail {
    fn loosely(raw: &str) -> Option<Self> {
        let detail = Object::read(raw)?;
        let who = |name: &str| {
            let it = detail.object(name)?;
            Some(Signature { name: it.text("name"), email: it.text("email"), date: it.instant("date") })
        };
        Some(Self { message: detail.text("message"), author: who("author"), committer: who("committer") })
    }
}

/// Reads a comparison's page.
pub(super) fn comparison(body: &Bytes) -> Result<Comparison<'_>, Fault> {
    serde_json::from_str(kit::body_text(body, "comparison")?)
        .map_err(|_| malformed("comparison: not the expected JSON"))
}

/// Adds one repository to `records`.
pub(super) fn repository(raw: Bytes, records: &mut Vec<Record>) -> Result<Repository, Fault> {
    let object = Object::of(&raw, "repository")?;
    let flag = |name: &str| Cell::from(object.value::<bool>(name));
    let id: i64 = object.value("id").ok_or_else(|| malformed("repository: no id"))?;
    let (full_name, default_branch) = (object.text("full_name"), object.text("default_branch"));
    let pushed_at = object.instant("pushed_at");
    let cells = vec![
        Cell::Integer(id),
        full_name.clone().into(),
        object.inside("owner", "login").into(),
        object.text("name").into(),
        default_branch.clone().into(),
        flag("private"),
        flag("archived"),
        flag("fork"),
        object.text("description").into(),
        object.text("html_url").into(),
        pushed_at.into(),
        object.instant("created_at").into(),
    ];
    let has_issues = object.value("has_issues").unwrap_or(true);
    let open = git::without_secret(&raw, &object, CLONE_TOKEN);
    drop(object);
    records.push(Record { table: &GITHUB_REPOSITORIES, cells, raw: Some(open.unwrap_or(raw)) });
    Ok(Repository { id, full_name, default_branch, pushed_at, has_issues })
}

/// The member of a private repository that is a credential: it lets its holder clone for an hour.
const CLONE_TOKEN: &str = "temp_clone_token";

/// Adds one branch to `records`.
pub(super) fn branch(
    repository_id: i64,
    raw: Bytes,
    records: &mut Vec<Record>,
) -> Result<git::Branch, Fault> {
    #[derive(Deserialize)]
    struct Wire {
        name: String,
        commit: Parent,
        #[serde(default)]
        protected: Option<bool>,
    }
    let wire: Wire = serde_json::from_str(kit::body_text(&raw, "branch")?)
        .map_err(|_| malformed("branch: no name or head"))?;
    let head_sha = wire.commit.sha.filter(|it| !it.is_empty()).ok_or_else(|| malformed("branch: no head"))?;
    let cells = vec![
        Cell::Integer(repository_id),
        Cell::Text(wire.name.clone()),
        Cell::Text(head_sha.clone()),
        wire.protected.into(),
    ];
    records.push(Record { table: &BRANCHES, cells, raw: Some(raw) });
    Ok(git::Branch { name: wire.name, head_sha })
}
