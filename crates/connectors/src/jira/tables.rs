//! What the Jira connector offers: its spec and its own table.
//!
//! Tables only grow: a released column is never dropped, renamed or given another kind.

use domain::connector::{Auth, Group, Limits, SEND_MAX, Setting, Spec, Stream};
use domain::table::{JIRA_CARDS, Kind, SPRINTS, Table, Upkeep, column};
use jiff::SignedDuration;

/// The stream of boards: those in the settings, those of projects, or all that the credential sees.
pub(super) const BOARDS_STREAM: &str = "boards";

/// The stream of a board's sprints.
pub(super) const SPRINTS_STREAM: &str = "sprints";

/// The stream that lists which issues a sprint has, and when each last changed.
pub(super) const ISSUES_STREAM: &str = "issues";

/// The stream of a sprint's cards, read one by one when they changed.
pub(super) const CARDS_STREAM: &str = "cards";

/// The setting that makes the credential go along as Jira Cloud wants it.
pub(super) const EMAIL_SETTING: &str = "email";

/// The setting that names projects.
pub(super) const PROJECTS_SETTING: &str = "projects";

/// The setting that names boards.
pub(super) const BOARDS_SETTING: &str = "boards";

/// What the connector offers and needs.
pub(super) static SPEC: Spec = Spec {
    provider: "jira",
    title: "Jira",
    default_base_url: None,
    token_env: "JIRA_TOKEN",
    needs_token: true,
    open_requests: "",
    refused_tokens: &[],
    auth: Auth::BasicAs(EMAIL_SETTING),
    headers: &[("accept", "application/json")],
    settings: &[
        Setting {
            name: EMAIL_SETTING,
            help: "Jira Cloud: the address of the account that the API token belongs to. Data Center: leave it out.",
        },
        Setting {
            name: PROJECTS_SETTING,
            help: "The projects whose boards to read, each by its key; none for all that the credential sees.",
        },
        Setting {
            name: BOARDS_SETTING,
            help: "The boards to read, each by its number, beside those of projects.",
        },
    ],
    examples: &[
        ("--name acme --base-url https://acme.atlassian.net --email me@acme.example", ""),
        ("--name ours --base-url https://jira.example.com --project PAY OPS", ""),
        ("--name acme --update --board 7 12", "only these boards"),
    ],
    groups: &[Group {
        name: "jira",
        // Half an hour: sprints last weeks, and a day's work on a board is some dozens of changes.
        every_ms: 30 * 60 * 1000,
        // People may ask at any time: without news a sync costs a request a board and a sprint.
        manual_cooldown_ms: 0,
        streams: &[
            Stream { name: BOARDS_STREAM, item_batch: None, conditional: false, lists: Some(&JIRA_BOARDS) },
            Stream { name: SPRINTS_STREAM, item_batch: None, conditional: false, lists: Some(&SPRINTS) },
            Stream { name: ISSUES_STREAM, item_batch: None, conditional: false, lists: Some(&JIRA_CARDS) },
            // As many as may be asked side by side: an issue mostly takes one request.
            Stream { name: CARDS_STREAM, item_batch: Some(SEND_MAX), conditional: false, lists: None },
        ],
    }],
    tables: &[&JIRA_BOARDS, &SPRINTS, &JIRA_CARDS],
    limits: Limits {
        // Cloud bears a hundred a second; a Data Center is one server that people work with meanwhile.
        concurrent_max: 8,
        // Each site states its own limits.
        per_minute: None,
        budget: None,
        // Cloud counts points by the hour.
        budget_window: SignedDuration::from_hours(1),
        unchanged_is_free: false,
    },
};

/// Boards as last listed.
pub(super) static JIRA_BOARDS: Table = Table {
    name: "jira_boards",
    comment: "A board at Jira, as last read.",
    columns: &[
        column("id", Kind::Integer, "Jira's number of it."),
        column("name", Kind::Text, "What it is called."),
        column("kind", Kind::Text, "What kind of board it is: scrum, kanban or simple."),
        column("project_key", Kind::Text, "The project that it belongs to."),
        column("project_name", Kind::Text, "What that project is called."),
        column("private", Kind::Bool, "Whether only chosen people see it."),
    ],
    key: &["id"],
    upkeep: Upkeep::Tracked,
    indexes: &[],
};
