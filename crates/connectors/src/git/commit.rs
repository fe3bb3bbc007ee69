//! How a commit lands, whichever host it came from, so that one query answers for all of them.
//!
//! Absent and odd values become null here; only what identifies a commit may be missed.

use std::collections::HashSet;

use bytes::Bytes;
use domain::fault::Fault;
use domain::page::Record;
use domain::table::{COMMIT_PARENTS, COMMITS, Cell};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

use crate::kit::{self, malformed};

/// A commit as git knows it, with what the host adds.
pub(crate) struct Commit {
    pub(crate) sha: String,
    pub(crate) message: Option<String>,
    pub(crate) author: Signature,
    /// The author's account at the host.
    pub(crate) author_login: Option<String>,
    pub(crate) committer: Signature,
    /// Its parents by position; `None` for one that could not be read.
    pub(crate) parents: Vec<Option<String>>,
    /// Its page at the host.
    pub(crate) url: Option<String>,
}

/// Who did something, and when, as git says.
#[derive(Default, Deserialize)]
pub(crate) struct Signature {
    pub(crate) name: Option<String>,
    pub(crate) email: Option<String>,
    #[serde(default, deserialize_with = "instant")]
    pub(crate) date: Option<Timestamp>,
}

/// A commit as a host words it.
pub(crate) trait Worded: for<'de> Deserialize<'de> + Into<Commit> {
    /// Reads what can be read of one with values of unexpected kinds; `None` where it does not say which it is.
    fn loosely(raw: &str) -> Option<Self>;

    /// Returns its hash.
    fn sha(&self) -> &str;
}

/// The commits that a page lands: each once, although branches read together share some.
#[derive(Default)]
pub(crate) struct Landing {
    pub(crate) records: Vec<Record>,
    landed: HashSet<String>,
}

/// How many commits one answer listed, and the first of them.
pub(crate) struct Listed {
    pub(crate) count: u64,
    pub(crate) first_sha: Option<String>,
}

impl Landing {
    /// Lands the commits of the JSON array `list`, a part of `body`.
    pub(crate) fn list<T: Worded>(
        &mut self,
        repository_id: i64,
        list: &str,
        body: &Bytes,
    ) -> Result<Listed, Fault> {
        let mut listed = Listed { count: 0, first_sha: None };
        let mut nameless = false;
        kit::elements::<T>(list, |raw, commit| {
            let Some(commit) = commit.or_else(|| T::loosely(raw)).filter(|it| !it.sha().is_empty()) else {
                nameless = true;
                return;
            };
            listed.count += 1;
            listed.first_sha.get_or_insert_with(|| commit.sha().to_owned());
            if self.landed.insert(commit.sha().to_owned()) {
                commit.into().land(repository_id, body.slice_ref(raw.as_bytes()), &mut self.records);
            }
        })
        .map_err(|_| malformed("commits: no JSON array"))?;
        if nameless { Err(malformed("commits: one has no sha")) } else { Ok(listed) }
    }
}

impl Commit {
    fn land(self, repository_id: i64, raw: Bytes, records: &mut Vec<Record>) {
        for (position, parent) in self.parents.into_iter().enumerate() {
            let Some(parent_sha) = parent else { continue };
            let cells = vec![
                Cell::Integer(repository_id),
                Cell::Text(self.sha.clone()),
                Cell::Integer(i64::try_from(position).unwrap_or(i64::MAX)),
                Cell::Text(parent_sha),
            ];
            records.push(Record { table: &COMMIT_PARENTS, cells, raw: None });
        }
        let (author, committer) = (self.author, self.committer);
        let keys = kit::jira_keys(self.message.as_deref().unwrap_or_default());
        let key = keys.first().map(|it| Cell::Text((*it).to_owned()));
        // Keys are capitals, digits and hyphens: they need no escaping in JSON.
        let keys = key.is_some().then(|| Cell::Json(format!("[\"{}\"]", keys.join("\",\""))));
        let cells = vec![
            Cell::Integer(repository_id),
            Cell::Text(self.sha),
            self.message.into(),
            author.name.into(),
            author.email.into(),
            self.author_login.into(),
            author.date.into(),
            committer.name.into(),
            committer.email.into(),
            committer.date.into(),
            key.unwrap_or(Cell::Null),
            keys.unwrap_or(Cell::Null),
            self.url.into(),
        ];
        records.push(Record { table: &COMMITS, cells, raw: Some(raw) });
    }
}

/// Reads a value where it has the expected kind.
pub(crate) fn loose<'a, T: Deserialize<'a>>(raw: Option<&'a str>) -> Option<T> {
    serde_json::from_str(raw?).ok()
}

/// Reads an instant; text that is none becomes null, because people can put any date into a commit.
pub(crate) fn instant<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
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
