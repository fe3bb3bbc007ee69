//! The shapes of GitHub's answers, and the records that they become.
//!
//! Absent and odd values become null here; only what identifies a record may be missed. Nothing here sends or decides
//! what is read next. Spec-required is not decode-required: real answers leave out what the description promises.

use std::collections::HashSet;

use bytes::Bytes;
use domain::fault::Fault;
use domain::page::Record;
use domain::table::{BRANCHES, COMMIT_PARENTS, COMMITS, Cell};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::tables::GITHUB_REPOSITORIES;
use crate::kit;

/// A commit as lists and comparisons give it.
#[derive(Deserialize)]
struct Commit {
    sha: String,
    html_url: Option<String>,
    #[serde(rename = "commit")]
    detail: Option<Detail>,
    author: Option<Account>,
    parents: Option<Vec<Parent>>,
}

/// What git says of a commit.
#[derive(Deserialize)]
struct Detail {
    message: Option<String>,
    author: Option<Signature>,
    committer: Option<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    name: Option<String>,
    email: Option<String>,
    #[serde(default, deserialize_with = "instant")]
    date: Option<Timestamp>,
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
}

/// What is read of a branch beside its record.
pub(super) struct Branch {
    pub(super) name: String,
    pub(super) head_sha: String,
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

/// Returns the fault for an answer that does not have the promised shape.
pub(super) fn malformed(what: impl Into<String>) -> Fault {
    Fault::Malformed { what: what.into() }
}

/// Returns a body as text.
pub(super) fn text<'a>(body: &'a Bytes, what: &str) -> Result<&'a str, Fault> {
    kit::text(body).map_err(|_| malformed(format!("{what}: not UTF-8")))
}

/// The commits that a page lands: each once, although branches read together share some.
#[derive(Default)]
pub(super) struct Landing {
    pub(super) records: Vec<Record>,
    landed: HashSet<String>,
}

/// How many commits one answer listed, and the first of them.
pub(super) struct Listed {
    pub(super) count: u64,
    pub(super) first_sha: Option<String>,
}

/// Lands the commits of the JSON array `list`, a part of `body`.
pub(super) fn commits(
    repository_id: i64,
    list: &str,
    body: &Bytes,
    landing: &mut Landing,
) -> Result<Listed, Fault> {
    let mut listed = Listed { count: 0, first_sha: None };
    let mut nameless = false;
    kit::elements::<Commit>(list, |raw, commit| {
        let Some(commit) = commit.or_else(|| Commit::loosely(raw)).filter(|it| !it.sha.is_empty()) else {
            nameless = true;
            return;
        };
        listed.count += 1;
        listed.first_sha.get_or_insert_with(|| commit.sha.clone());
        if landing.landed.insert(commit.sha.clone()) {
            commit.land(repository_id, body.slice_ref(raw.as_bytes()), &mut landing.records);
        }
    })
    .map_err(|_| malformed("commits: no JSON array"))?;
    if nameless { Err(malformed("commits: one has no sha")) } else { Ok(listed) }
}

impl Commit {
    /// Reads what can be read of a commit with values of unexpected kinds.
    fn loosely(raw: &str) -> Option<Self> {
        let members = kit::members(raw)?;
        let read = |name: &str| members.get(name).map(|it| it.get());
        Some(Self {
            sha: value(read("sha"))?,
            html_url: value(read("html_url")),
            detail: read("commit").and_then(Detail::loosely),
            author: value(read("author")),
            parents: value(read("parents")).map(Parent::loosely),
        })
    }

    fn land(self, repository_id: i64, raw: Bytes, records: &mut Vec<Record>) {
        let parents = self.parents.unwrap_or_default();
        for (position, parent) in parents.into_iter().enumerate() {
            let Some(parent_sha) = parent.sha else { continue };
            let cells = vec![
                Cell::Integer(repository_id),
                Cell::Text(self.sha.clone()),
                Cell::Integer(i64::try_from(position).unwrap_or(i64::MAX)),
                Cell::Text(parent_sha),
            ];
            records.push(Record { table: &COMMIT_PARENTS, cells, raw: None });
        }
        let detail = self.detail.unwrap_or(Detail { message: None, author: None, committer: None });
        let none = || Signature { name: None, email: None, date: None };
        let (author, committer) = (detail.author.unwrap_or_else(none), detail.committer.unwrap_or_else(none));
        let keys = kit::jira_keys(detail.message.as_deref().unwrap_or_default());
        let key = keys.first().map(|it| Cell::Text((*it).to_owned()));
        // Keys are capitals, digits and hyphens: they need no escaping in JSON.
        let keys = key.is_some().then(|| Cell::Json(format!("[\"{}\"]", keys.join("\",\""))));
        let cells = vec![
            Cell::Integer(repository_id),
            Cell::Text(self.sha),
            detail.message.into(),
            author.name.into(),
            author.email.into(),
            self.author.and_then(|it| it.login).into(),
            author.date.into(),
            committer.name.into(),
            committer.email.into(),
            committer.date.into(),
            key.unwrap_or(Cell::Null),
            keys.unwrap_or(Cell::Null),
            self.html_url.into(),
        ];
        records.push(Record { table: &COMMITS, cells, raw: Some(raw) });
    }
}

impl Parent {
    /// Reads each by itself, so that an odd one costs neither the others nor their positions.
    fn loosely(all: Vec<&RawValue>) -> Vec<Self> {
        all.into_iter().map(|it| value(Some(it.get())).unwrap_or(Self { sha: None })).collect()
    }
}

impl Detail {
    fn loosely(raw: &str) -> Option<Self> {
        let members = kit::members(raw)?;
        let read = |name: &str| members.get(name).map(|it| it.get());
        Some(Self {
            message: value(read("message")),
            author: read("author").and_then(Signature::loosely),
            committer: read("committer").and_then(Signature::loosely),
        })
    }
}

impl Signature {
    fn loosely(raw: &str) -> Option<Self> {
        let members = kit::members(raw)?;
        let read = |name: &str| members.get(name).map(|it| it.get());
        Some(Self {
            name: value(read("name")),
            email: value(read("email")),
            date: value::<String>(read("date")).and_then(|it| it.parse().ok()),
        })
    }
}

/// Reads a value where it has the expected kind.
fn value<'a, T: Deserialize<'a>>(raw: Option<&'a str>) -> Option<T> {
    serde_json::from_str(raw?).ok()
}

/// Reads an instant; text that is none becomes null, because people can put any date into a commit.
fn instant<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
    struct Instant;
    impl serde::de::Visitor<'_> for Instant {
        type Value = Option<Timestamp>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an instant")
        }

        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok(text.parse().ok())
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    }
    from.deserialize_any(Instant)
}

/// Reads a comparison's page.
pub(super) fn comparison(body: &Bytes) -> Result<Comparison<'_>, Fault> {
    serde_json::from_str(text(body, "comparison")?)
        .map_err(|_| malformed("comparison: not the expected JSON"))
}

/// Adds one repository to `records`.
pub(super) fn repository(raw: Bytes, records: &mut Vec<Record>) -> Result<Repository, Fault> {
    let members =
        kit::members(text(&raw, "repository")?).ok_or_else(|| malformed("repository: no JSON object"))?;
    let read = |name: &str| members.get(name).map(|it| it.get());
    let words = |name: &str| value::<String>(read(name));
    let flag = |name: &str| Cell::from(value::<bool>(read(name)));
    let instant = |name: &str| Cell::from(words(name).and_then(|it| it.parse::<Timestamp>().ok()));
    let id: i64 = value(read("id")).ok_or_else(|| malformed("repository: no id"))?;
    let owner = value::<Account>(read("owner")).and_then(|it| it.login);
    let (full_name, default_branch) = (words("full_name"), words("default_branch"));
    let cells = vec![
        Cell::Integer(id),
        full_name.clone().into(),
        owner.into(),
        words("name").into(),
        default_branch.clone().into(),
        flag("private"),
        flag("archived"),
        flag("fork"),
        words("description").into(),
        words("html_url").into(),
        instant("pushed_at"),
        instant("created_at"),
    ];
    let secret = members.get(CLONE_TOKEN).map(|it| it.get()).filter(|it| it.len() > "\"\"".len());
    let open = secret.filter(|it| *it != "null").and_then(|it| without(text(&raw, "repository").ok()?, it));
    drop(members);
    records.push(Record { table: &GITHUB_REPOSITORIES, cells, raw: Some(open.unwrap_or(raw)) });
    Ok(Repository { id, full_name, default_branch })
}

/// The member of a private repository that is a credential: it lets its holder clone for an hour.
const CLONE_TOKEN: &str = "temp_clone_token";

/// Returns `text` with its part `secret` replaced by null, so that a credential never lands.
fn without(text: &str, secret: &str) -> Option<Bytes> {
    let from = (secret.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    let (before, after) = (text.get(..from)?, text.get(from + secret.len()..)?);
    Some(Bytes::from([before, "null", after].concat()))
}

/// Adds one branch to `records`.
pub(super) fn branch(repository_id: i64, raw: Bytes, records: &mut Vec<Record>) -> Result<Branch, Fault> {
    #[derive(Deserialize)]
    struct Wire {
        name: String,
        commit: Parent,
        #[serde(default)]
        protected: Option<bool>,
    }
    let wire: Wire =
        serde_json::from_str(text(&raw, "branch")?).map_err(|_| malformed("branch: no name or head"))?;
    let head_sha = wire.commit.sha.filter(|it| !it.is_empty()).ok_or_else(|| malformed("branch: no head"))?;
    let cells = vec![
        Cell::Integer(repository_id),
        Cell::Text(wire.name.clone()),
        Cell::Text(head_sha.clone()),
        wire.protected.into(),
    ];
    records.push(Record { table: &BRANCHES, cells, raw: Some(raw) });
    Ok(Branch { name: wire.name, head_sha })
}

/// Cuts a body that is a JSON array into its elements, without copying.
pub(super) fn listed(body: &Bytes, what: &str) -> Result<Vec<Bytes>, Fault> {
    let mut parts = Vec::new();
    kit::elements::<&RawValue>(text(body, what)?, |raw, _| parts.push(body.slice_ref(raw.as_bytes())))
        .map_err(|_| malformed(format!("{what}: no JSON array")))?;
    Ok(parts)
}
