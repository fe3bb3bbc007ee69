//! Compares what landed from Jira with what the simulated site really holds.
//!
//! It must never read the site as the connector does: only what the site tells of itself counts.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;
use sim::{BoardKind, IssueKind, Sim, SiteControl, SiteTruth, SprintState};

use super::Database;

/// Which of the two kinds of Jira a story reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Cloud,
    DataCenter,
}

impl Kind {
    /// Returns where the simulator shows it.
    pub(crate) fn url(self, sim: &Sim) -> String {
        match self {
            Self::Cloud => sim.jira_cloud_url(),
            Self::DataCenter => sim.jira_dc_url(),
        }
    }
}

/// Lets somebody work at the site; returns the number of what was made or changed.
pub(crate) fn work(sim: &Sim, change: Value) -> u64 {
    let control: SiteControl = serde_json::from_value(change).unwrap();
    sim.world().site().apply(&control).unwrap().unwrap_or_default()
}

/// Returns the active sprint with the most issues, and one of them that is no part of another.
pub(crate) fn busiest(truth: &SiteTruth) -> (u64, u64) {
    let active = truth.sprints.iter().filter(|(_, it)| it.state == SprintState::Active);
    let (sprint, it) = active.max_by_key(|(_, it)| it.issues.len()).unwrap();
    let alone = |id: &&u64| truth.issues[id].subtasks.is_empty() && truth.issues[id].sprint == Some(*sprint);
    (*sprint, *it.issues.iter().find(alone).unwrap())
}

/// Fails unless boards, sprints and cards stand in the database as they are at the site.
///
/// The cards of active sprints, and of those that were closed a short while ago, by the site's clock.
pub(crate) async fn assert_site(database: &Database, source: &str, kind: Kind, sim: &Sim, now: Timestamp) {
    let truth = sim.world().site().truth();
    let of =
        format!("where source_id = (select id from sources where name = '{source}') and deleted_at is null");
    let boards = database.lines(&format!("select cast(id as text) from jira_boards {of} order by id")).await;
    let seen = truth.boards.iter().filter(|(_, it)| it.visible);
    assert_eq!(boards, seen.clone().map(|(id, _)| id.to_string()).collect::<Vec<_>>(), "boards");

    let sprints = "select cast(board_id as text) || ' ' || cast(id as text) || ' ' || state || ' ' || name from sprints";
    let sprints: BTreeSet<String> = database.lines(&format!("{sprints} {of}")).await.into_iter().collect();
    let scrum = seen.filter(|(_, it)| it.kind == BoardKind::Scrum);
    let expected: BTreeSet<String> = scrum
        .clone()
        .flat_map(|(board, it)| it.sprints.iter().map(move |sprint| (board, sprint)))
        .map(|(board, sprint)| {
            let it = &truth.sprints[sprint];
            format!(
                "{board} {sprint} {} {}",
                serde_json::to_value(it.state).unwrap().as_str().unwrap(),
                it.name
            )
        })
        .collect();
    assert_eq!(sprints, expected, "sprints");

    let read: BTreeSet<u64> = scrum
        .flat_map(|(_, it)| it.sprints.iter().copied())
        .filter(|sprint| {
            let it = &truth.sprints[sprint];
            let fresh = |at: i64| now.as_millisecond() - at < 24 * 3_600_000;
            it.state == SprintState::Active || it.complete_ms.is_some_and(fresh)
        })
        .collect();
    let cards: BTreeSet<Card> = cards(database, &of).await;
    let expected: BTreeSet<Card> = read
        .iter()
        .flat_map(|sprint| truth.sprints[sprint].issues.iter().map(|id| card(&truth, kind, *sprint, *id)))
        .collect();
    let missing: Vec<_> = expected.difference(&cards).collect();
    let odd: Vec<_> = cards.difference(&expected).collect();
    assert!(missing.is_empty() && odd.is_empty(), "missing: {missing:#?}\nnot at the site: {odd:#?}");
    assert!(!expected.is_empty(), "the site has no cards to compare");
}

/// What is compared of a card.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Card {
    sprint: u64,
    id: u64,
    key: String,
    summary: String,
    updated: Timestamp,
    parent: Option<String>,
    parts: Vec<String>,
    changes: Vec<u64>,
}

/// Returns an issue as the site has it.
fn card(truth: &SiteTruth, kind: Kind, sprint: u64, id: u64) -> Card {
    let it = &truth.issues[&id];
    let parent = it.parent.and_then(|id| truth.issues.get(&id)).filter(|it| it.visible);
    // On Data Center an epic is named by a field of the site's own.
    let parent = parent.filter(|_| kind == Kind::Cloud || it.kind == IssueKind::Subtask);
    let parts = it.subtasks.iter().filter(|id| truth.issues[id].visible);
    Card {
        sprint,
        id,
        key: it.key.clone(),
        summary: it.summary.clone(),
        updated: Timestamp::from_millisecond(it.updated_ms).unwrap(),
        parent: parent.map(|it| it.key.clone()),
        parts: parts.map(u64::to_string).collect(),
        changes: it.changes.clone(),
    }
}

async fn cards(database: &Database, of: &str) -> BTreeSet<Card> {
    let updated = if database.is_sqlite() {
        "updated_at"
    } else {
        r#"to_char(updated_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')"#
    };
    let object = if database.is_sqlite() { "json_array" } else { "json_build_array" };
    let sql = format!(
        "select cast({object}(sprint_id, id, key, summary, {updated}, parent_key, cast(details_json as text)) as text) from jira_cards {of}"
    );
    let rows = database.lines(&sql).await;
    rows.iter()
        .map(|row| {
            let row: Value = serde_json::from_str(row).unwrap();
            let text = |at: usize| row[at].as_str().unwrap_or_default();
            let details: Value = serde_json::from_str(text(6)).unwrap();
            let changelog = &details["changelog"];
            let histories = changelog["histories"].as_array().unwrap();
            assert_eq!(changelog["total"], histories.len(), "the whole history: {}", text(2));
            let changes: Vec<u64> =
                histories.iter().map(|it| it["id"].as_str().unwrap().parse().unwrap()).collect();
            let parts: Vec<String> = details["subtasks"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|it| it["id"].as_str().unwrap().to_owned())
                .collect();
            assert_eq!(details["parent"]["key"].as_str(), row[5].as_str(), "{}", text(2));
            Card {
                sprint: row[0].as_u64().unwrap(),
                id: row[1].as_u64().unwrap(),
                key: text(2).to_owned(),
                summary: text(3).to_owned(),
                updated: text(4).parse().unwrap(),
                parent: row[5].as_str().map(str::to_owned),
                parts,
                changes,
            }
        })
        .collect()
}
