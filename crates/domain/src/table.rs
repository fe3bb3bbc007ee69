//! How a connector declares the tables its records land in; the store creates and widens them.
//!
//! Specs only grow: a released column is never dropped, renamed or given another kind.

use jiff::Timestamp;

/// The kind of a landed column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Unicode text; NUL lands as U+FFFD, because PostgreSQL stores none.
    Text,
    /// A 64-bit integer, also for snowflakes.
    Integer,
    /// A double.
    Real,
    /// True or false.
    Bool,
    /// An instant: `timestamptz`, or UTC text of fixed width in SQLite.
    Timestamp,
    /// A JSON document.
    Json,
}

/// One column that a connector fills.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// Its name in the database.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// What it holds, for the person who reads the schema.
    pub comment: &'static str,
}

/// What the store keeps beside the declared columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upkeep {
    /// Records that change: the raw body, its hash, and when it was seen first, changed last and deleted.
    Tracked,
    /// Facts that follow from their key and never change: stored once, nothing beside them.
    Immutable,
}

/// A table that records land in. Its key starts with `source_id`, which the store adds.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    /// Its name in the database: `<provider>_<stream>`, or one of the shared tables below.
    pub name: &'static str,
    /// What one row is.
    pub comment: &'static str,
    /// The declared columns, in the order of [`crate::page::Record::cells`].
    pub columns: &'static [Column],
    /// The names of the key columns after `source_id`; a prefix of `columns`.
    pub key: &'static [&'static str],
    /// What is kept beside the columns.
    pub upkeep: Upkeep,
    /// Further indexes, each a list of column names after `source_id`.
    pub indexes: &'static [&'static [&'static str]],
}

/// One value of a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// No value.
    Null,
    /// For [`Kind::Text`].
    Text(String),
    /// For [`Kind::Integer`].
    Integer(i64),
    /// For [`Kind::Real`].
    Real(f64),
    /// For [`Kind::Bool`].
    Bool(bool),
    /// For [`Kind::Timestamp`].
    Timestamp(Timestamp),
    /// For [`Kind::Json`], as JSON text.
    Json(String),
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

macro_rules! cell_from {
    ($($from:ty => $variant:ident),*) => {$(
        impl From<$from> for Cell {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}
cell_from!(String => Text, &str => Text, i64 => Integer, f64 => Real, bool => Bool, Timestamp => Timestamp);

/// Declares a column.
#[must_use]
pub const fn column(name: &'static str, kind: Kind, comment: &'static str) -> Column {
    Column { name, kind, comment }
}

/// Branches of every provider: one row per branch, with its head.
pub static BRANCHES: Table = Table {
    name: "branches",
    comment: "A branch of a repository, as last listed.",
    columns: &[
        column("repository_id", Kind::Integer, "The provider's number of the repository."),
        column("name", Kind::Text, "The branch's name."),
        column("head_sha", Kind::Text, "The commit that the branch points at."),
        column("protected", Kind::Bool, "Whether the provider protects the branch."),
    ],
    key: &["repository_id", "name"],
    upkeep: Upkeep::Tracked,
    indexes: &[],
};

/// Commits of every provider, once per source and repository, whichever branches reach them.
pub static COMMITS: Table = Table {
    name: "commits",
    comment: "A commit of a repository; the view commit_branches says which branches reach it.",
    columns: &[
        column("repository_id", Kind::Integer, "The provider's number of the repository."),
        column("sha", Kind::Text, "The commit's hash, in lower-case hex."),
        column("message", Kind::Text, "The whole message."),
        column("author_name", Kind::Text, "Who wrote it, as git says."),
        column("author_email", Kind::Text, "The author's address, as git says."),
        column("author_login", Kind::Text, "The author's account at the provider, where it knows one."),
        column("authored_at", Kind::Timestamp, "When it was written, as git says."),
        column("committer_name", Kind::Text, "Who committed it, as git says."),
        column("committer_email", Kind::Text, "The committer's address, as git says."),
        column(
            "committed_at",
            Kind::Timestamp,
            "When it was committed, as git says; not when it was pushed.",
        ),
        column("jira_key", Kind::Text, "The first Jira key in the message's first line."),
        column(
            "jira_keys",
            Kind::Json,
            "All Jira keys in the message's first line, an array; null where none.",
        ),
        column("url", Kind::Text, "The commit's page at the provider."),
    ],
    key: &["repository_id", "sha"],
    upkeep: Upkeep::Tracked,
    indexes: &[&["committed_at"], &["jira_key"]],
};

/// The edges of the commit graph.
pub static COMMIT_PARENTS: Table = Table {
    name: "commit_parents",
    comment: "One parent of a commit; merges have several.",
    columns: &[
        column("repository_id", Kind::Integer, "The provider's number of the repository."),
        column("sha", Kind::Text, "The commit."),
        column("position", Kind::Integer, "Which parent: 0 is the first."),
        column("parent_sha", Kind::Text, "The parent."),
    ],
    key: &["repository_id", "sha", "position"],
    upkeep: Upkeep::Immutable,
    indexes: &[],
};

/// Sprints of Jira, as each board shows them.
pub static SPRINTS: Table = Table {
    name: "sprints",
    comment: "A sprint as a board shows it; one that two boards show stands here once for each.",
    columns: &[
        column("board_id", Kind::Integer, "Jira's number of the board."),
        column("id", Kind::Integer, "Jira's number of the sprint."),
        column("name", Kind::Text, "What it is called."),
        column("state", Kind::Text, "Where it stands: future, active or closed."),
        column("goal", Kind::Text, "What it is for, where somebody said so."),
        column("start_at", Kind::Timestamp, "When it was started; null before."),
        column("end_at", Kind::Timestamp, "When it is meant to end."),
        column("completed_at", Kind::Timestamp, "When it was closed; null before."),
        column("origin_board_id", Kind::Integer, "The board that it was made on."),
    ],
    key: &["board_id", "id"],
    upkeep: Upkeep::Tracked,
    indexes: &[&["id"]],
};

/// Cards of Jira: the issues of sprints.
pub static JIRA_CARDS: Table = Table {
    name: "jira_cards",
    comment: "An issue in a sprint. It is marked as deleted when it left the sprint or is gone.",
    columns: &[
        column("sprint_id", Kind::Integer, "Jira's number of the sprint."),
        column("id", Kind::Integer, "Jira's number of the issue; stays when it is moved to another project."),
        column("key", Kind::Text, "The issue's key, as PAY-7."),
        column("project_key", Kind::Text, "The key of its project."),
        column("summary", Kind::Text, "Its title."),
        column("issue_type", Kind::Text, "What kind of issue it is, as the site calls it."),
        column("status", Kind::Text, "Where it stands, as the site calls it."),
        column(
            "status_category",
            Kind::Text,
            "Where it stands, as Jira sorts it: new, indeterminate or done.",
        ),
        column("priority", Kind::Text, "How urgent it is, as the site calls it."),
        column("assignee", Kind::Text, "Who works on it, by name."),
        column("assignee_id", Kind::Text, "The account of who works on it; on Data Center the login name."),
        column("reporter", Kind::Text, "Who reported it, by name."),
        column("reporter_id", Kind::Text, "The account of who reported it; on Data Center the login name."),
        column("parent_key", Kind::Text, "The key of the issue that it belongs to."),
        column("labels", Kind::Json, "Its labels, an array."),
        column("due_date", Kind::Text, "The day on which it is due, as YYYY-MM-DD: a day has no zone."),
        column("created_at", Kind::Timestamp, "When it was made."),
        column("updated_at", Kind::Timestamp, "When it last changed."),
        column("resolved_at", Kind::Timestamp, "When it was resolved."),
        column("url", Kind::Text, "Its page at the site."),
        column(
            "details_json",
            Kind::Json,
            "parent, subtasks, and changelog: {total, skipped, histories}, every change, oldest first.",
        ),
    ],
    key: &["sprint_id", "id"],
    upkeep: Upkeep::Tracked,
    indexes: &[&["id"], &["key"]],
};
