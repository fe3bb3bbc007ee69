//! The words for changes to a world, as they are written in JSON.
//! Must never take a word that it does not know.

use serde::{Deserialize, Serialize};

use crate::world::State;

/// One change, as a shell script writes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Control {
    /// Gives the repository another name, `owner/name`.
    Rename(String),
    /// Sets what it answers with.
    State(State),
    /// Archives it, or brings it back; it stays readable.
    Archive(bool),
    /// Pushes commits.
    Push {
        /// The branch.
        branch: String,
        /// How many.
        #[serde(default = "one")]
        commits: usize,
        /// By how many days their dates are too old.
        #[serde(default)]
        days_old: u32,
    },
    /// Makes a branch.
    CreateBranch {
        /// Its name.
        name: String,
        /// The branch it starts at.
        from: String,
    },
    /// Merges a branch into another.
    Merge {
        /// What is merged.
        branch: String,
        /// Where it goes.
        into: String,
    },
    /// Replaces a branch's last commits with others.
    ForcePush {
        /// The branch.
        branch: String,
    },
    /// Deletes a branch; its commits stay known by their shas.
    DeleteBranch {
        /// The branch.
        branch: String,
    },
    /// Opens a merge request.
    OpenMergeRequest {
        /// What is to be merged.
        branch: String,
        /// Where it goes.
        into: String,
        /// What it is called.
        title: String,
    },
    /// Gives a merge request another title or other labels.
    EditMergeRequest {
        /// Its number in the repository.
        iid: u64,
        /// The new title.
        #[serde(default)]
        title: Option<String>,
        /// The new labels.
        #[serde(default)]
        labels: Option<Vec<String>>,
    },
    /// Closes a merge request without a merge.
    CloseMergeRequest {
        /// Its number in the repository.
        iid: u64,
    },
    /// Opens a closed merge request again.
    ReopenMergeRequest {
        /// Its number in the repository.
        iid: u64,
    },
    /// Deletes a merge request.
    DeleteMergeRequest {
        /// Its number in the repository.
        iid: u64,
    },
    /// Opens an issue.
    OpenIssue {
        /// What it is called.
        title: String,
    },
    /// Opens a pull request.
    OpenPull {
        /// What it is called.
        title: String,
    },
    /// Gives an issue another title or other labels.
    EditIssue {
        /// Its number in the repository.
        number: u64,
        /// The new title.
        #[serde(default)]
        title: Option<String>,
        /// The new labels.
        #[serde(default)]
        labels: Option<Vec<String>>,
    },
    /// Comments on an issue.
    CommentIssue {
        /// Its number in the repository.
        number: u64,
        /// What is said.
        text: String,
    },
    /// Closes an issue.
    CloseIssue {
        /// Its number in the repository.
        number: u64,
    },
    /// Merges a pull request.
    MergePull {
        /// Its number in the repository.
        number: u64,
    },
    /// Reviews a pull request.
    ReviewPull {
        /// Its number in the repository.
        number: u64,
        /// What it came to.
        state: String,
    },
    /// Gives a pull request another head without changing its time.
    PushPull {
        /// Its number in the repository.
        number: u64,
    },
    /// Lets something of any kind happen to an issue.
    HappenToIssue {
        /// Its number in the repository.
        number: u64,
        /// What.
        event: String,
    },
    /// Deletes an issue.
    DeleteIssue {
        /// Its number in the repository.
        number: u64,
    },
    /// Hides an issue or pull request.
    HideIssue {
        /// Its number in the repository.
        number: u64,
    },
    /// Moves an issue into another repository.
    TransferIssue {
        /// Its number in the repository.
        number: u64,
        /// The other repository, `owner/name`.
        to: String,
    },
}

const fn one() -> usize {
    1
}
