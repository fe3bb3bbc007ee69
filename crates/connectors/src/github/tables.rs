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
    groups: &[Group {
        name: "commits",
        // A quarter of an hour: people look at commits often, and a sync without news costs no budget.
        every_ms: 15 * 60 * 1000,
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
    }],
    tables: &[&GITHUB_REPOSITORIES, &BRANCHES, &COMMITS, &COMMIT_PARENTS],
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
