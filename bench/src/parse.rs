//! Cuts answers into rows in one pass and without copies: a row remembers where in the body its values stand.
//!
//! It must find the same values as `syncline`'s connector, in the same columns.

use std::borrow::Cow;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer};

/// A page on its way to the writer.
pub(crate) struct Page {
    pub(crate) repository: i64,
    pub(crate) body: Bytes,
    pub(crate) observed_at: String,
    pub(crate) rows: Rows,
}

/// The rows of a page.
pub(crate) enum Rows {
    Branches(Vec<BranchRow>),
    Commits(Vec<CommitRow>),
}

impl Rows {
    /// Returns how many there are.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Branches(rows) => rows.len(),
            Self::Commits(rows) => rows.len(),
        }
    }
}

/// A text of a body: none, a part of it, or its own where the body has escapes.
pub(crate) enum Piece {
    None,
    At(usize, usize),
    Own(Box<str>),
}

/// Bytes of a blake3 hash that tell two bodies apart.
pub(crate) type Hash = [u8; 16];

/// A row of `branches`.
pub(crate) struct BranchRow {
    pub(crate) name: Piece,
    pub(crate) head: Piece,
    pub(crate) protected: Option<bool>,
    pub(crate) raw: Piece,
    pub(crate) hash: Hash,
}

/// A row of `commits`, with those of `commit_parents`.
pub(crate) struct CommitRow {
    pub(crate) sha: Piece,
    pub(crate) message: Piece,
    pub(crate) author_name: Piece,
    pub(crate) author_email: Piece,
    pub(crate) author_login: Piece,
    pub(crate) authored_at: Option<[u8; INSTANT_BYTES]>,
    pub(crate) committer_name: Piece,
    pub(crate) committer_email: Piece,
    pub(crate) committed_at: Option<[u8; INSTANT_BYTES]>,
    pub(crate) jira_key: Piece,
    pub(crate) jira_keys: Piece,
    pub(crate) url: Piece,
    pub(crate) raw: Piece,
    pub(crate) hash: Hash,
    pub(crate) parents: Vec<Piece>,
}

/// The length of `2026-11-21T07:32:00.000Z`.
pub(crate) const INSTANT_BYTES: usize = 24;

/// A branch and its head.
pub(crate) struct Branch {
    pub(crate) name: String,
    pub(crate) head: String,
}

impl Piece {
    /// Returns the text, given the body that it was cut from.
    pub(crate) fn get<'a>(&'a self, body: &'a str) -> Option<&'a str> {
        match self {
            Self::None => None,
            Self::At(from, to) => body.get(*from..*to),
            Self::Own(text) => Some(text),
        }
    }

    /// Remembers where in `body` the text stands. NUL, which only escapes can bring, becomes U+FFFD.
    fn of(body: &str, text: Option<Text<'_>>) -> Self {
        match text {
            None => Self::None,
            Some(Text(Cow::Borrowed(text))) => Self::at(body, text),
            Some(Text(Cow::Owned(text))) if text.contains('\0') => {
                Self::Own(text.replace('\0', "\u{fffd}").into())
            }
            Some(Text(Cow::Owned(text))) => Self::Own(text.into()),
        }
    }

    fn at(body: &str, part: &str) -> Self {
        let from = part.as_ptr().addr().wrapping_sub(body.as_ptr().addr());
        Self::At(from, from + part.len())
    }
}

/// A text that is borrowed where it has no escapes.
#[derive(Default)]
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Cow<'de, str>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }
        from.deserialize_str(Either).map(Text)
    }
}

#[derive(Deserialize)]
struct Commit<'a> {
    #[serde(borrow)]
    sha: Text<'a>,
    html_url: Option<Text<'a>>,
    #[serde(rename = "commit")]
    detail: Detail<'a>,
    author: Option<Account<'a>>,
    parents: Vec<Parent<'a>>,
}

#[derive(Deserialize)]
struct Detail<'a> {
    #[serde(borrow)]
    message: Option<Text<'a>>,
    author: Option<Signature<'a>>,
    committer: Option<Signature<'a>>,
}

#[derive(Default, Deserialize)]
struct Signature<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    email: Option<Text<'a>>,
    date: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Account<'a> {
    #[serde(borrow)]
    login: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct Parent<'a> {
    #[serde(borrow)]
    sha: Text<'a>,
}

#[derive(Deserialize)]
struct ListedBranch<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    commit: Parent<'a>,
    protected: Option<bool>,
}

/// Cuts `list`, an array within `body`, into commits.
pub(crate) fn commits(body: &str, list: &str) -> Result<Vec<CommitRow>> {
    let mut rows = Vec::with_capacity(100);
    elements(list, |raw, commit: Commit<'_>| rows.push(commit.row(body, raw)))?;
    Ok(rows)
}

/// Cuts a body into branches.
pub(crate) fn branches(body: &[u8]) -> Result<(Vec<BranchRow>, Vec<Branch>)> {
    let body = std::str::from_utf8(body).context("branches: not UTF-8")?;
    let (mut rows, mut branches) = (Vec::new(), Vec::new());
    elements(body, |raw, it: ListedBranch<'_>| {
        branches.push(Branch { name: it.name.0.clone().into(), head: it.commit.sha.0.clone().into() });
        rows.push(BranchRow {
            name: Piece::of(body, Some(it.name)),
            head: Piece::of(body, Some(it.commit.sha)),
            protected: it.protected,
            raw: Piece::at(body, raw),
            hash: hash(raw),
        });
    })?;
    Ok((rows, branches))
}

/// Reads the elements of an array in one pass, each with the text it was read from.
fn elements<'a, T: Deserialize<'a>>(list: &'a str, mut each: impl FnMut(&'a str, T)) -> Result<()> {
    let Some(mut rest) = list.trim_ascii_start().strip_prefix('[') else { bail!("no JSON array") };
    loop {
        rest = rest.trim_ascii_start();
        if rest.starts_with(']') {
            return Ok(());
        }
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_ascii_start();
        let mut values = serde_json::Deserializer::from_str(rest).into_iter();
        let value = values.next().context("an array without an end")??;
        let (raw, after) = rest.split_at_checked(values.byte_offset()).context("an array without an end")?;
        each(raw, value);
        rest = after;
    }
}

impl Commit<'_> {
    fn row(self, body: &str, raw: &str) -> CommitRow {
        let message = self.detail.message;
        let (jira_key, jira_keys) = match message.as_ref().map(|it| jira_keys(&it.0)).unwrap_or_default() {
            keys if keys.is_empty() => (Piece::None, Piece::None),
            keys => {
                let all = format!("[\"{}\"]", keys.join("\",\""));
                (Piece::Own(keys.first().copied().unwrap_or_default().into()), Piece::Own(all.into()))
            }
        };
        let (author, committer) =
            (self.detail.author.unwrap_or_default(), self.detail.committer.unwrap_or_default());
        CommitRow {
            sha: Piece::of(body, Some(self.sha)),
            message: Piece::of(body, message),
            author_name: Piece::of(body, author.name),
            author_email: Piece::of(body, author.email),
            author_login: Piece::of(body, self.author.and_then(|it| it.login)),
            authored_at: author.date.and_then(|it| instant(&it.0)),
            committer_name: Piece::of(body, committer.name),
            committer_email: Piece::of(body, committer.email),
            committed_at: committer.date.and_then(|it| instant(&it.0)),
            jira_key,
            jira_keys,
            url: Piece::of(body, self.html_url),
            raw: Piece::at(body, raw),
            hash: hash(raw),
            parents: self.parents.into_iter().map(|it| Piece::of(body, Some(it.sha))).collect(),
        }
    }
}

fn hash(raw: &str) -> Hash {
    let mut hash = Hash::default();
    for (to, from) in hash.iter_mut().zip(blake3::hash(raw.as_bytes()).as_bytes()) {
        *to = *from;
    }
    hash
}

/// Writes an instant as landed tables do. GitHub's own form lacks only the milliseconds.
fn instant(text: &str) -> Option<[u8; INSTANT_BYTES]> {
    let at: jiff::Timestamp = text.parse().ok()?;
    let written = format!("{at:.3}");
    written.into_bytes().try_into().ok()
}

/// Finds the Jira keys of the first line: a capital, more capitals or digits, a hyphen and digits, standing alone.
fn jira_keys(message: &str) -> Vec<&str> {
    let line = message.lines().next().unwrap_or_default();
    let mut keys = Vec::new();
    for (hyphen, _) in line.match_indices('-') {
        let (before, after) =
            (line.get(..hyphen).unwrap_or_default(), line.get(hyphen + 1..).unwrap_or_default());
        let capital = |it: &u8| it.is_ascii_uppercase() || it.is_ascii_digit();
        let project = before.as_bytes().iter().rev().take_while(|it| capital(it)).count();
        let number = after.bytes().take_while(u8::is_ascii_digit).count();
        let word = |it: char| it.is_alphanumeric() || it == '_';
        let (front, behind) = (before.get(..hyphen - project), after.get(number..));
        let alone =
            !front.is_some_and(|it| it.ends_with(word)) && !behind.is_some_and(|it| it.starts_with(word));
        let key = line.get(hyphen - project..=hyphen + number).unwrap_or_default();
        let begins = key.starts_with(|it: char| it.is_ascii_uppercase());
        if project > 1 && number > 0 && begins && alone && !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}
