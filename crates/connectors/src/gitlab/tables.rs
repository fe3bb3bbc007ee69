//! What the GitLab connector offers: its spec and its own tables.
//!
//! Tables only grow: a released column is never dropped, renamed or given another kind.

use domain::connector::{Auth, Group, Limits, SEND_MAX, Setting, Spec, Stream};
use domain::table::{BRANCHES, COMMIT_PARENTS, COMMITS, Kind, Table, Upkeep, column};
use jiff::SignedDuration;

/// The stream of projects: those named in the settings, or all that the credential is a member of.
pub(super) const PROJECTS_STREAM: &str = "projects";

/// The stream of a project's branches.
pub(super) const BRANCHES_STREAM: &str = "branches";

/// The stream of a project's commits, read by branch heads.
pub(super) const COMMITS_STREAM: &str = "commits";

/// The stream of a project's merge requests, read by when they last changed.
pub(super) const MERGE_REQUESTS_STREAM: &str = "merge_requests";

/// The stream of what was said of merge requests; its items are their numbers in the project.
pub(super) const NOTES_STREAM: &str = "notes";

/// The setting that names projects.
pub(super) const PROJECTS_SETTING: &str = "projects";

/// A quarter of an hour: people look at commits and reviews often, and a sync without news is cheap.
const EVERY_MS: i64 = 15 * 60 * 1000;

/// What the connector offers and needs.
pub(super) static SPEC: Spec = Spec {
    provider: "gitlab",
    title: "GitLab",
    default_base_url: Some("https://gitlab.com/api/v4"),
    token_env: "GITLAB_TOKEN",
    needs_token: false,
    open_requests: "500 a minute",
    refused_tokens: &[
        (
            "glcbt-",
            "is a CI job token, which ends with its job and may not read what is read here; give a personal, project or \
             group access token with the scope read_api",
        ),
        (
            "gldt-",
            "is a deploy token, which may not read the API; give a personal, project or group access token with the \
             scope read_api",
        ),
    ],
    auth: Auth::Bearer,
    headers: &[("accept", "application/json")],
    settings: &[Setting {
        name: PROJECTS_SETTING,
        help: "The projects to read, each by its path GROUP/PROJECT; none for all that the credential is a member of.",
    }],
    examples: &[
        ("--name acme --project acme/api acme/web/shop", ""),
        ("--name all", "all that the credential is a member of"),
        ("--name acme --update --all", "all again, instead of those named"),
        ("--name own --base-url https://git.example.com/api/v4 --project own/app", ""),
    ],
    groups: &[
        Group {
            name: "commits",
            every_ms: EVERY_MS,
            // People may ask for commits at any time: a sync without news takes one small answer for each project.
            manual_cooldown_ms: 0,
            streams: &[
                Stream {
                    name: PROJECTS_STREAM,
                    item_batch: None,
                    conditional: true,
                    lists: Some(&GITLAB_PROJECTS),
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
        },
        Group {
            name: "timeline",
            every_ms: EVERY_MS,
            // An hour: each sync asks every project, and none of it is answered 304.
            manual_cooldown_ms: 60 * 60 * 1000,
            streams: &[
                Stream { name: MERGE_REQUESTS_STREAM, item_batch: None, conditional: false, lists: None },
                Stream {
                    name: NOTES_STREAM,
                    // As many as may be asked side by side: what was said mostly takes one request.
                    item_batch: Some(SEND_MAX),
                    conditional: false,
                    lists: None,
                },
            ],
        },
    ],
    tables: &[&GITLAB_PROJECTS, &BRANCHES, &COMMITS, &COMMIT_PARENTS, &GITLAB_MERGE_REQUESTS, &GITLAB_NOTES],
    limits: Limits {
        // GitLab gives no number, and its git servers queue beyond a few; half of what GitHub is asked.
        concurrent_max: 16,
        // gitlab.com answers 2,000 a minute to an account; a tenth is left to the person it belongs to.
        per_minute: Some(1800),
        budget: Some(2000),
        budget_window: SignedDuration::from_mins(1),
        unchanged_is_free: false,
    },
};

/// Projects as last listed.
pub(super) static GITLAB_PROJECTS: Table = Table {
    name: "gitlab_projects",
    comment: "A project at GitLab, as last read.",
    columns: &[
        column("id", Kind::Integer, "GitLab's number of it; stays when it is renamed or moved."),
        column("path_with_namespace", Kind::Text, "Its path with its groups, as group/project."),
        column("name", Kind::Text, "What it is called."),
        column("namespace", Kind::Text, "The path of the group or person that it belongs to."),
        column(
            "default_branch",
            Kind::Text,
            "The branch that is shown first; null where there is no commit.",
        ),
        column("visibility", Kind::Text, "Who sees it: private, internal or public."),
        column("archived", Kind::Bool, "Whether it was closed to changes."),
        column("empty_repo", Kind::Bool, "Whether it has no commit."),
        column("fork", Kind::Bool, "Whether it was made as a copy of another."),
        column("description", Kind::Text, "What its owner says it is."),
        column("url", Kind::Text, "Its page at GitLab."),
        column("last_activity_at", Kind::Timestamp, "When something last happened in it, told by the hour."),
        column("created_at", Kind::Timestamp, "When it was created."),
    ],
    key: &["id"],
    upkeep: Upkeep::Tracked,
    indexes: &[&["path_with_namespace"]],
};

/// Merge requests as last read.
pub(super) static GITLAB_MERGE_REQUESTS: Table = Table {
    name: "gitlab_merge_requests",
    comment: "A merge request of a project at GitLab, as last read.",
    columns: &[
        column("id", Kind::Integer, "GitLab's number of it over all projects."),
        column("project_id", Kind::Integer, "GitLab's number of the project that it goes into."),
        column("iid", Kind::Integer, "Its number within the project, as in its address."),
        column("title", Kind::Text, "What it is called."),
        column("state", Kind::Text, "Where it stands: opened, closed, locked or merged."),
        column("draft", Kind::Bool, "Whether it is not ready yet."),
        column("author", Kind::Text, "The account that opened it."),
        column("source_branch", Kind::Text, "The branch that it brings."),
        column("target_branch", Kind::Text, "The branch that it goes into."),
        column("head_sha", Kind::Text, "The newest commit that it brings."),
        column(
            "merge_commit_sha",
            Kind::Text,
            "The commit that merged it; null before, and where none was made.",
        ),
        column(
            "squash_commit_sha",
            Kind::Text,
            "The commit that its commits were made into, where they were.",
        ),
        column("labels", Kind::Json, "Its labels, an array."),
        column("created_at", Kind::Timestamp, "When it was opened."),
        column("updated_at", Kind::Timestamp, "When it last changed."),
        column("merged_at", Kind::Timestamp, "When it was merged; null before. It may lie after updated_at."),
        column("merged_by", Kind::Text, "The account that merged it."),
        column("closed_at", Kind::Timestamp, "When it was closed without being merged; null otherwise."),
        column("jira_key", Kind::Text, "The first Jira key in its title."),
        column("url", Kind::Text, "Its page at GitLab."),
    ],
    key: &["id"],
    upkeep: Upkeep::Tracked,
    indexes: &[&["project_id", "iid"], &["updated_at"], &["jira_key"]],
};

/// Notes of merge requests as last read.
pub(super) static GITLAB_NOTES: Table = Table {
    name: "gitlab_notes",
    comment: "Something that was said of a merge request, or that GitLab noted of it, as last read.",
    columns: &[
        column("project_id", Kind::Integer, "GitLab's number of the project."),
        column("id", Kind::Integer, "GitLab's number of the note."),
        column("merge_request_iid", Kind::Integer, "The merge request's number in the project, as in !7."),
        column("body", Kind::Text, "What was written."),
        column("author", Kind::Text, "The account that wrote it."),
        column("system", Kind::Bool, "Whether GitLab wrote it, of what somebody did."),
        column("type", Kind::Text, "DiscussionNote or DiffNote where it is part of a thread."),
        column("resolved", Kind::Bool, "Whether its thread was resolved; null where nothing can be."),
        column("created_at", Kind::Timestamp, "When it was written."),
        column("updated_at", Kind::Timestamp, "When it last changed."),
    ],
    key: &["project_id", "id"],
    upkeep: Upkeep::Tracked,
    indexes: &[&["project_id", "merge_request_iid"], &["created_at"]],
};
