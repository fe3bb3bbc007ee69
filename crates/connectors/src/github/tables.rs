//! What the GitHub connector offers: its spec and its own tables.
//!
//! Tables only grow: a released column is never dropped, renamed or given another kind.

use domain::connector::{Auth, Group, Limits, SEND_MAX, Setting, Spec, Stream};
use domain::table::{BRANCHES, COMMIT_PARENTS, COMMITS, Kind, Table, Upkeep, column};
use jiff::SignedDuration;

/// The stream of repositories: those named in the settings, or all that the credential sees.
pub(super) const REPOSITORIES_STREAM: &str = "repositories";

/// The stream of a repository's branches.
pub(super) const BRANCHES_STREAM: &str = "branches";

/// The stream of a repository's commits, read by branch heads.
pub(super) const COMMITS_STREAM: &str = "commits";

/// The stream of a repository's issues, which pull requests are among, read by when they last changed.
pub(super) const ISSUES_STREAM: &str = "issues";

/// The stream of a repository's pull requests.
pub(super) const PULL_REQUESTS_STREAM: &str = "pull_requests";

/// The stream of what happened to issues and pull requests; its items are their numbers.
pub(super) const TIMELINE_EVENTS_STREAM: &str = "timeline_events";

/// The setting that names repositories.
pub(super) const REPOS_SETTING: &str = "repos";

/// What the connector offers and needs.
pub(super) static SPEC: Spec = Spec {
    provider: "github",
    title: "GitHub",
    default_base_url: Some("https://api.github.com"),
    token_env: "GITHUB_TOKEN",
    needs_token: false,
    open_requests: "60 an hour",
    refused_tokens: &[],
    auth: Auth::Bearer,
    headers: &[("accept", "application/vnd.github+json"), ("x-github-api-version", "2022-11-28")],
    settings: &[Setting {
        name: REPOS_SETTING,
        help: "The repositories to read, each as OWNER/NAME; none for all that the credential sees.",
    }],
    examples: &[
        ("--name acme --repo acme/api acme/web", ""),
        ("--name all", "all that the credential sees"),
        ("--name acme --update --all", "all again, instead of those named"),
        ("--name ours --base-url https://git.example.com/api/v3 --repo ours/app", ""),
    ],
    groups: &[COMMITS_GROUP, TIMELINE_GROUP],
    tables: &[
        &GITHUB_REPOSITORIES,
        &BRANCHES,
        &COMMITS,
        &COMMIT_PARENTS,
        &GITHUB_ISSUES,
        &GITHUB_PULL_REQUESTS,
        &GITHUB_TIMELINE_EVENTS,
        &GITHUB_REVIEWS,
        &GITHUB_ISSUE_ABSENCES,
    ],
    limits: Limits {
        // GitHub allows 100 at once, over all tools of the account; a third of it leaves room for the others.
        concurrent_max: 32,
        // GitHub's published points a minute; a GET costs one.
        per_minute: Some(900),
        // What every person's token has an hour.
        budget: Some(5000),
        budget_window: SignedDuration::from_hours(1),
        // "Making a conditional request does not count against your primary rate limit if a 304 is returned".
        unchanged_is_free: true,
    },
};

/// A quarter of an hour: people look at commits and issues often, and a sync without news is cheap.
const EVERY_MS: i64 = 15 * 60 * 1000;

const COMMITS_GROUP: Group = Group {
    name: "commits",
    every_ms: EVERY_MS,
    // People may ask for commits at any time: a sync without news costs no budget, as all its answers are 304.
    manual_cooldown_ms: 0,
    streams: &[
        Stream {
            name: REPOSITORIES_STREAM,
            item_batch: None,
            conditional: true,
            lists: Some(&GITHUB_REPOSITORIES),
        },
        Stream { name: BRANCHES_STREAM, item_batch: None, conditional: true, lists: Some(&BRANCHES) },
        Stream {
            name: COMMITS_STREAM,
            // As many as may be asked side by side: moved branches mostly take one request each.
            item_batch: Some(SEND_MAX),
            conditional: false,
            lists: None,
        },
    ],
};

const TIMELINE_GROUP: Group = Group {
    name: "timeline",
    every_ms: EVERY_MS,
    // An hour: each sync asks every repository twice, and what is new takes a request for each issue.
    manual_cooldown_ms: 60 * 60 * 1000,
    streams: &[
        Stream { name: ISSUES_STREAM, item_batch: None, conditional: false, lists: None },
        Stream { name: PULL_REQUESTS_STREAM, item_batch: None, conditional: false, lists: None },
        Stream {
            name: TIMELINE_EVENTS_STREAM,
            // As many as may be asked side by side: a timeline mostly takes one request.
            item_batch: Some(SEND_MAX),
            conditional: false,
            lists: None,
        },
    ],
};

/// Repositories as last listed.
pub(super) static GITHUB_REPOSITORIES: Table = Table {
    name: "github_repositories",
    comment: "A repository at GitHub, as last read.",
    columns: &[
        column("id", Kind::Integer, "GitHub's number of it; stays when it is renamed or moved."),
        column("full_name", Kind::Text, "Owner and name, as owner/name."),
        column("owner", Kind::Text, "The account that owns it."),
        column("name", Kind::Text, "Its name within the owner's."),
        column("default_branch", Kind::Text, "The branch that is shown first."),
        column("private", Kind::Bool, "Whether only chosen accounts see it."),
        column("archived", Kind::Bool, "Whether it was closed to changes."),
        column("fork", Kind::Bool, "Whether it was made as a copy of another."),
        column("description", Kind::Text, "What its owner says it is."),
        column("url", Kind::Text, "Its page at GitHub."),
        column("pushed_at", Kind::Timestamp, "When anything was last pushed to it."),
        column("created_at", Kind::Timestamp, "When it was created."),
    ],
    key: &["id"],
    upkeep: Upkeep::Tracked,
    indexes: &[&["full_name"]],
};

/// Issues as last read; those that are pull requests, too.
pub(super) static GITHUB_ISSUES: Table = Table {
    name: "github_issues",
    comment: "An issue of a repository, as last read; a pull request is one, too.",
    columns: &[
        column("repository_id", Kind::Integer, "GitHub's number of the repository."),
        column("number", Kind::Integer, "Its number in the repository; another one when it is transferred."),
        column("id", Kind::Integer, "GitHub's number of it; not the one that a pull request has."),
        column("title", Kind::Text, "What it is called."),
        column("state", Kind::Text, "Where it stands: open or closed."),
        column("state_reason", Kind::Text, "Why it is closed: completed, not_planned, duplicate."),
        column("is_pull_request", Kind::Bool, "Whether it is a pull request."),
        column("author", Kind::Text, "The account that opened it; null when that is gone."),
        column("assignees", Kind::Json, "The accounts that work on it, an array."),
        column("labels", Kind::Json, "The names of its labels, an array."),
        column("milestone", Kind::Text, "The milestone that it belongs to, by title."),
        column("comments", Kind::Integer, "How many comments it has."),
        column("locked", Kind::Bool, "Whether only members may comment."),
        column("created_at", Kind::Timestamp, "When it was opened."),
        column("updated_at", Kind::Timestamp, "When it last changed, to the second."),
        column("closed_at", Kind::Timestamp, "When it was closed; null while it is open."),
        column("jira_key", Kind::Text, "The first Jira key in its title."),
        column("url", Kind::Text, "Its page at GitHub."),
    ],
    key: &["repository_id", "number"],
    upkeep: Upkeep::Tracked,
    indexes: &[&["id"], &["updated_at"], &["jira_key"]],
};

/// Pull requests as last read.
pub(super) static GITHUB_PULL_REQUESTS: Table = Table {
    name: "github_pull_requests",
    comment: "A pull request of a repository, as last read; its issue is the one of the same number.",
    columns: &[
        column("repository_id", Kind::Integer, "GitHub's number of the repository."),
        column("number", Kind::Integer, "Its number in the repository."),
        column("id", Kind::Integer, "GitHub's number of it; not the one of its issue."),
        column("title", Kind::Text, "What it is called."),
        column("state", Kind::Text, "Where it stands: open or closed; a merged one is closed."),
        column("draft", Kind::Bool, "Whether it is not ready yet."),
        column("author", Kind::Text, "The account that opened it; null when that is gone."),
        column("head_branch", Kind::Text, "The branch that is to be merged."),
        column("head_sha", Kind::Text, "The newest commit that it brings."),
        column(
            "head_repository",
            Kind::Text,
            "The repository of that branch, as owner/name; null when it is deleted.",
        ),
        column("base_branch", Kind::Text, "The branch that it goes into."),
        column("requested_reviewers", Kind::Json, "The accounts that are asked to review it, an array."),
        column("labels", Kind::Json, "The names of its labels, an array."),
        column(
            "merge_commit_sha",
            Kind::Text,
            "The commit that merged it; before, one that GitHub merges on trial.",
        ),
        column("created_at", Kind::Timestamp, "When it was opened."),
        column("updated_at", Kind::Timestamp, "When it last changed, to the second."),
        column("merged_at", Kind::Timestamp, "When it was merged; null before."),
        column("closed_at", Kind::Timestamp, "When it was closed or merged; null before."),
        column("jira_key", Kind::Text, "The first Jira key in its title."),
        column("url", Kind::Text, "Its page at GitHub."),
    ],
    key: &["repository_id", "number"],
    upkeep: Upkeep::Tracked,
    indexes: &[&["id"], &["updated_at"], &["jira_key"]],
};

/// What happened to issues and pull requests.
pub(super) static GITHUB_TIMELINE_EVENTS: Table = Table {
    name: "github_timeline_events",
    comment: "Something that happened to an issue or pull request; raw has all of it, whatever kind it is.",
    columns: &[
        column("repository_id", Kind::Integer, "GitHub's number of the repository."),
        column("number", Kind::Integer, "The number of the issue or pull request in the repository."),
        column(
            "key",
            Kind::Text,
            "What tells it apart: its node at GitHub, else made of its kind, its time and what it names.",
        ),
        column("event", Kind::Text, "What kind of event it is, by GitHub's word, as commented or labeled."),
        column("id", Kind::Integer, "GitHub's number of it, where its kind has one."),
        column("actor", Kind::Text, "The account that did it; null when that is gone, and for commits."),
        column("happened_at", Kind::Timestamp, "When it happened; of a commit, when it was committed."),
        column("commit_sha", Kind::Text, "The commit that it is about."),
        column("label", Kind::Text, "The label that was put on or taken off."),
        column("assignee", Kind::Text, "The account that was to work on it from then on, or no more."),
        column("requested_reviewer", Kind::Text, "The account that was asked to review, or no more."),
        column("milestone", Kind::Text, "The milestone that it was put into or taken out of, by title."),
        column("renamed_from", Kind::Text, "The title before."),
        column("renamed_to", Kind::Text, "The title after."),
        column("state", Kind::Text, "What a review came to."),
        column("source_url", Kind::Text, "The page of the issue or pull request that names this one."),
        column("body", Kind::Text, "What was written."),
        column("url", Kind::Text, "Its page at GitHub."),
    ],
    key: &["repository_id", "number", "key"],
    upkeep: Upkeep::Tracked,
    indexes: &[&["happened_at"], &["event", "happened_at"]],
};

/// Reviews of pull requests.
pub(super) static GITHUB_REVIEWS: Table = Table {
    name: "github_reviews",
    comment: "A review of a pull request, as its timeline last showed it.",
    columns: &[
        column("repository_id", Kind::Integer, "GitHub's number of the repository."),
        column("id", Kind::Integer, "GitHub's number of the review."),
        column("number", Kind::Integer, "The number of the pull request in the repository."),
        column("author", Kind::Text, "The account that reviewed; null when that is gone."),
        column(
            "state",
            Kind::Text,
            "What it came to: approved, changes_requested, commented, dismissed or pending.",
        ),
        column("commit_sha", Kind::Text, "The commit that was looked at."),
        column("body", Kind::Text, "What was written."),
        column("submitted_at", Kind::Timestamp, "When it was given; null before."),
        column("url", Kind::Text, "Its page at GitHub."),
    ],
    key: &["repository_id", "id"],
    upkeep: Upkeep::Tracked,
    indexes: &[&["repository_id", "number"], &["submitted_at"]],
};

/// Issues that were asked for and are not where they were.
pub(super) static GITHUB_ISSUE_ABSENCES: Table = Table {
    name: "github_issue_absences",
    comment: "An issue that was asked for and was not where it was, while its repository was.",
    columns: &[
        column("repository_id", Kind::Integer, "GitHub's number of the repository."),
        column("number", Kind::Integer, "The number that the issue had in the repository."),
        column(
            "how",
            Kind::Text,
            "What GitHub said: transferred, deleted, or hidden, which may be either or a permission.",
        ),
        column("moved_to", Kind::Text, "Its address in the API from then on, where it was transferred."),
        column("noticed_at", Kind::Timestamp, "When that was first seen."),
    ],
    key: &["repository_id", "number", "how"],
    upkeep: Upkeep::Immutable,
    indexes: &[],
};
