//! Merge requests of one repository: what they say, and how they come to an end.
//! Must never know which host shows them.

mod control;
mod seeded;

use serde::Serialize;

pub(super) use self::seeded::generate;
use crate::hash::mix;

/// The first number of all; high enough to look like a real one.
const FIRST_ID: u64 = 310_000_000;
/// Numbers that a repository may use up.
const IDS: u64 = 10_000_000;

/// Makes the number that a merge request has among those of all repositories; they are counted from 0.
fn id(repository: u64, iid: u64) -> u64 {
    FIRST_ID + repository * IDS + iid
}

/// How far a merge request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MergeRequestState {
    /// Somebody works on it.
    Opened,
    /// It was given up.
    Closed,
    /// Its branch is in the other one.
    Merged,
}

impl MergeRequestState {
    /// Returns its name.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Closed => "closed",
            Self::Merged => "merged",
        }
    }
}

/// Somebody who has an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Account {
    /// The name as written.
    pub name: String,
    /// The name of the account.
    pub username: String,
}

impl Account {
    /// Makes the account that a name and an address belong to.
    fn of(name: &str, email: &str) -> Self {
        let local = email.split('@').next().unwrap_or_default();
        let local = local.rsplit('+').next().unwrap_or_default();
        let legal = |c: &char| c.is_ascii_alphanumeric() || "-_.".contains(*c);
        let username: String = local.chars().filter(legal).collect();
        let username = if username.is_empty() { "ghost".to_owned() } else { username.to_ascii_lowercase() };
        Self { name: name.to_owned(), username }
    }
}

/// One merge request as it really is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MergeRequest {
    /// Its number among those of all repositories.
    pub id: u64,
    /// Its number in its repository.
    pub iid: u64,
    /// What it is called.
    pub title: String,
    /// What it says.
    pub description: String,
    /// How far it came.
    pub state: MergeRequestState,
    /// Who opened it.
    pub author: Account,
    /// Its labels.
    pub labels: Vec<String>,
    /// The branch that is to be merged.
    pub source_branch: String,
    /// The branch that it goes into.
    pub target_branch: String,
    /// The head of its branch, or what that was at the end.
    pub sha: String,
    /// The merge commit.
    pub merge_sha: Option<String>,
    /// When it was opened, in milliseconds since the epoch.
    pub created_ms: i64,
    /// When it was changed last, as GitLab notes it: mostly up to a second before the merge that it notes, too.
    pub updated_ms: i64,
    /// When it was merged, and by whom.
    pub merged: Option<(i64, Account)>,
    /// When it was closed without a merge, and by whom.
    pub closed: Option<(i64, Account)>,
    /// How many remarks the seed made up.
    pub notes: u32,
    /// What was said since.
    pub said: Vec<Note>,
}

/// Something that somebody said of a merge request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Its number among those of all merge requests.
    pub id: u64,
    /// What was said.
    pub body: String,
    /// Who said it.
    pub author: Account,
    /// When, in milliseconds since the epoch.
    pub at_ms: i64,
    /// When it was changed last.
    pub edited_ms: i64,
    /// Whether GitLab itself wrote it, of what somebody did.
    pub system: bool,
}

/// Notes that a merge request may have before their numbers run into the next one's.
const NOTES: u64 = 10_000;

impl MergeRequest {
    /// Tells of all that was said of it, oldest first.
    #[must_use]
    pub fn remarks(&self) -> Vec<Note> {
        let made_up = (0..u64::from(self.notes)).map(|nth| {
            // A minute apart, and the same whatever happens later.
            let at_ms = self.created_ms + 60_000 * i64::try_from(nth).unwrap_or_default();
            Note {
                id: self.id * NOTES + nth,
                body: format!("Remark {nth} of !{}", self.iid),
                author: self.author.clone(),
                at_ms,
                edited_ms: at_ms,
                system: mix(self.id ^ nth).is_multiple_of(3),
            }
        });
        made_up.chain(self.said.iter().cloned()).collect()
    }

    /// Notes a change.
    fn touch(&mut self, now_ms: i64) {
        self.updated_ms = self.updated_ms.max(now_ms);
    }

    /// Notes a merge. In eight of ten the last change is noted as up to a second before it, as recorded data shows.
    fn merge(&mut self, sha: String, at_ms: i64, by: Account) {
        let random = mix(self.id);
        let some_ms = 1 + i64::try_from((random >> 8) % 999).unwrap_or_default();
        let early_ms = if random % 10 < 8 { some_ms } else { 0 };
        self.touch(at_ms - early_ms);
        self.state = MergeRequestState::Merged;
        self.merge_sha = Some(sha);
        // An earlier change in the same second must not come after the merge.
        let at_ms = if early_ms > 0 { at_ms.max(self.updated_ms + 1) } else { at_ms.max(self.updated_ms) };
        self.merged = Some((at_ms, by));
    }
}
