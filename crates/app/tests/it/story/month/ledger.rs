//! What was true at a simulated site and in its repositories, and whether a tenant's records say the same.
//!
//! It must never learn the truth from a provider's answers, only from what the simulator tells of itself.

use std::collections::{BTreeMap, BTreeSet};

use engine::SyncService;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use sim::{BoardKind, IssueKind, RepositoryTruth, Sim, SiteTruth, SprintState, State};

use crate::support::{Kind, every_record};

/// A record as the API shows it.
pub(super) type Row = Map<String, Value>;

/// An issue at one moment of its life.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Card {
    updated_ms: i64,
    created_ms: i64,
    key: String,
    summary: String,
    kind: String,
    status: String,
    is_assigned: bool,
    parent: Option<String>,
    parts: Vec<u64>,
    changes: Vec<u64>,
}

/// What was true at any time, as far as records may still say it.
#[derive(Default)]
pub(super) struct Ledger {
    /// Every state that an issue was in. Jira counts some changes as no change of the issue (another key of its parent,
    /// a part that was deleted), so that a card may rightly show what was true before them.
    states: BTreeMap<u64, BTreeSet<Card>>,
    /// Sprints that were active while somebody looked: they are read, then once a week.
    known: BTreeSet<u64>,
    /// Commits that had landed, by repository: they stay.
    landed: BTreeMap<u64, BTreeSet<String>>,
}

/// How much of a site's cards is to be as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cards {
    /// Those of sprints that every sync reads.
    OfActiveSprints,
    /// Those of closed sprints, too: the week is over in which they are not read.
    OfEverySprint,
}

/// How long a closed sprint is read with every sync, and how exactly that is looked at.
const FRESH_MS: i64 = 24 * 3_600_000;
const EDGE_MS: i64 = 3 * 3_600_000;

impl Ledger {
    /// Notes what is true now; to be called after each change.
    pub(super) fn note(&mut self, sim: &Sim, kind: Kind) {
        let truth = sim.world().site().truth();
        for (id, it) in truth.issues.iter().filter(|(_, it)| it.visible) {
            let card = Card::of(&truth, kind, *id);
            debug_assert_eq!(card.updated_ms, it.updated_ms);
            self.states.entry(*id).or_default().insert(card);
        }
        let active = truth.sprints.iter().filter(|(_, it)| it.state == SprintState::Active);
        self.known.extend(active.map(|(id, _)| *id));
    }

    /// Fails unless the records of a Jira source are what the site holds.
    pub(super) async fn assert_site(
        &self,
        when: &str,
        (service, source): (&SyncService, &str),
        (sim, now_ms): (&Sim, i64),
        cards: Cards,
    ) {
        let truth = sim.world().site().truth();
        let when = format!("{when}, {source}");
        assert_boards(&when, service, source, &truth).await;
        let mut expected: BTreeSet<(u64, u64)> = BTreeSet::new();
        let mut unsure: BTreeSet<u64> = BTreeSet::new();
        for (sprint, it) in truth.sprints.iter().filter(|(sprint, _)| self.known.contains(*sprint)) {
            let age_ms = it.complete_ms.map_or(0, |at| now_ms - at);
            let is_read = it.state == SprintState::Active || age_ms < FRESH_MS - EDGE_MS;
            if is_read || cards == Cards::OfEverySprint {
                expected.extend(it.issues.iter().map(|issue| (*sprint, *issue)));
            } else {
                unsure.insert(*sprint);
            }
        }
        let mut found = BTreeSet::new();
        for row in live(service, source, "jira_cards").await {
            let (sprint, id) = (number(&row, "sprint_id"), number(&row, "id"));
            self.assert_was_so(&when, &row, id);
            if unsure.contains(&sprint) {
                continue;
            }
            found.insert((sprint, id));
            let updated_ms = truth.issues.get(&id).map(|it| it.updated_ms);
            let read_ms = Some(moment(&row, "updated_at"));
            assert_eq!(read_ms, updated_ms, "{when}: {id} in sprint {sprint} is not as it is now: {row:#?}");
        }
        let missing: Vec<_> = expected.difference(&found).collect();
        let odd: Vec<_> = found.difference(&expected).collect();
        assert!(missing.is_empty() && odd.is_empty(), "{when}: missing {missing:?}, not at the site {odd:?}");
        assert!(!expected.is_empty(), "{when}: the site has no cards to compare");
    }

    /// Fails unless every card of the active sprints is as it was when a search could show it last.
    ///
    /// Cards that left are not looked for: of a large sprint they are seen within the hour.
    pub(super) async fn assert_fresh(
        &self,
        when: &str,
        (service, source): (&SyncService, &str),
        (sim, shown_ms): (&Sim, i64),
    ) {
        let truth = sim.world().site().truth();
        let mut rows = BTreeMap::new();
        for row in live(service, source, "jira_cards").await {
            let (sprint, id) = (number(&row, "sprint_id"), number(&row, "id"));
            self.assert_was_so(when, &row, id);
            rows.insert((sprint, id), moment(&row, "updated_at"));
        }
        for (sprint, it) in truth.sprints.iter().filter(|(_, it)| it.state == SprintState::Active) {
            for id in &it.issues {
                let updated_ms = truth.issues[id].updated_ms;
                if updated_ms > shown_ms {
                    continue;
                }
                let read_ms = rows.get(&(*sprint, *id)).copied();
                let text = |ms: Option<i64>| ms.and_then(|it| Timestamp::from_millisecond(it).ok());
                assert_eq!(
                    text(read_ms),
                    text(Some(updated_ms)),
                    "{when}, {source}: {} in sprint {sprint} was changed and not read",
                    truth.issues[id].key
                );
            }
        }
    }

    fn assert_was_so(&self, when: &str, row: &Row, id: u64) {
        let card = Card::read(row);
        let states = self.states.get(&id);
        let known = states.is_some_and(|it| it.contains(&card));
        assert!(
            known,
            "{when}: issue {id} was never so: {card:#?}\nbut {:#?}",
            states.and_then(BTreeSet::last)
        );
    }

    /// Fails unless the records of a GitHub source are what the repositories hold; names are compared where asked.
    pub(super) async fn assert_code(
        &mut self,
        when: &str,
        (service, source): (&SyncService, &str),
        sim: &Sim,
        names: bool,
    ) {
        let when = format!("{when}, {source}");
        let truth = sim.world().truth().unwrap().repositories;
        let mut tables = BTreeMap::new();
        for table in ["github_repositories", "branches", "commits", "commit_parents"] {
            tables.insert(table, live(service, source, table).await);
        }
        let repositories = &tables["github_repositories"];
        let found: BTreeSet<u64> = repositories.iter().map(|row| number(row, "id")).collect();
        assert_eq!(found, truth.values().map(|it| it.id).collect(), "{when}: repositories");
        for (name, it) in &truth {
            assert_eq!(it.state, State::Ok, "{when}: {name} cannot be read now");
            let of = |table: &str| {
                tables[table].iter().filter(|row| number(row, "repository_id") == it.id).collect::<Vec<_>>()
            };
            if names {
                let row = repositories.iter().find(|row| number(row, "id") == it.id).unwrap();
                let shown = (text(row, "full_name"), text(row, "default_branch"));
                assert_eq!(shown, (Some(name.as_str()), Some(it.default_branch.as_str())), "{when}");
            }
            let landed = self.landed.entry(it.id).or_default();
            landed.extend(it.shas.iter().cloned());
            let commits = sim.world().commits(name).unwrap();
            let when = format!("{when}, {name}");
            assert_branches(&when, &of("branches"), it);
            assert_commits(&when, &of("commits"), landed, &commits);
            assert_reached(&when, &of("commit_parents"), &of("commits"), it, &commits);
        }
    }
}

impl Card {
    fn of(truth: &SiteTruth, kind: Kind, id: u64) -> Self {
        let it = &truth.issues[&id];
        let parent = it.parent.and_then(|id| truth.issues.get(&id)).filter(|it| it.visible);
        // On Data Center an epic is named by a field of the site's own.
        let parent = parent.filter(|_| kind == Kind::Cloud || it.kind == IssueKind::Subtask);
        Self {
            updated_ms: it.updated_ms,
            created_ms: it.created_ms,
            key: it.key.clone(),
            summary: it.summary.clone(),
            kind: letters(json!(it.kind).as_str().unwrap()),
            status: letters(json!(it.status).as_str().unwrap()),
            is_assigned: it.assignee.is_some(),
            parent: parent.map(|it| it.key.clone()),
            parts: it.subtasks.iter().copied().filter(|id| truth.issues[id].visible).collect(),
            changes: it.changes.clone(),
        }
    }

    fn read(row: &Row) -> Self {
        let details = &row["details_json"];
        let id = |it: &Value| it["id"].as_str().unwrap().parse().unwrap();
        let histories = details["changelog"]["histories"].as_array().unwrap();
        assert_eq!(details["changelog"]["total"], histories.len(), "the whole history: {row:#?}");
        assert_eq!(details["parent"]["key"], row["parent_key"], "{row:#?}");
        Self {
            updated_ms: moment(row, "updated_at"),
            created_ms: moment(row, "created_at"),
            key: text(row, "key").unwrap().to_owned(),
            summary: text(row, "summary").unwrap().to_owned(),
            kind: letters(text(row, "issue_type").unwrap()),
            status: letters(text(row, "status").unwrap()),
            is_assigned: text(row, "assignee").is_some(),
            parent: text(row, "parent_key").map(str::to_owned),
            parts: details["subtasks"].as_array().into_iter().flatten().map(id).collect(),
            changes: histories.iter().map(id).collect(),
        }
    }
}

async fn assert_boards(when: &str, service: &SyncService, source: &str, truth: &SiteTruth) {
    let seen = truth.boards.iter().filter(|(_, it)| it.visible);
    let mut expected = BTreeSet::new();
    let mut sprints = BTreeSet::new();
    for (board, it) in seen {
        let kind = if it.kind == BoardKind::Scrum { "scrum" } else { "kanban" };
        expected.insert(json!([board, it.name, kind]).to_string());
        for (id, it) in it.sprints.iter().map(|id| (id, &truth.sprints[id])) {
            let dates = [it.start_ms, it.end_ms, it.complete_ms].map(|it| it.map(millis));
            sprints.insert(json!([board, id, it.name, it.state, it.goal, dates, it.board]).to_string());
        }
    }
    let read = |rows: Vec<Row>, show: &dyn Fn(&Row) -> Value| -> BTreeSet<String> {
        rows.iter().map(|row| show(row).to_string()).collect()
    };
    let boards = live(service, source, "jira_boards").await;
    assert_eq!(read(boards, &|it| json!([it["id"], it["name"], it["kind"]])), expected, "{when}: boards");
    let show = |it: &Row| {
        let dates = [&it["start_at"], &it["end_at"], &it["completed_at"]];
        json!([it["board_id"], it["id"], it["name"], it["state"], it["goal"], dates, it["origin_board_id"]])
    };
    assert_eq!(read(live(service, source, "sprints").await, &show), sprints, "{when}: sprints");
}

fn assert_branches(when: &str, rows: &[&Row], truth: &RepositoryTruth) {
    let found: BTreeMap<&str, &str> =
        rows.iter().map(|row| (text(row, "name").unwrap(), text(row, "head_sha").unwrap())).collect();
    let expected = truth.branches.iter().map(|(name, it)| (name.as_str(), it.head.as_str())).collect();
    assert_eq!(found, expected, "{when}: branches");
}

fn assert_commits(
    when: &str,
    rows: &[&Row],
    landed: &BTreeSet<String>,
    truth: &BTreeMap<String, sim::CommitTruth>,
) {
    let found: BTreeSet<&str> = rows.iter().map(|row| text(row, "sha").unwrap()).collect();
    assert_eq!(found.len(), rows.len(), "{when}: a commit stands there twice");
    let missing: Vec<_> = landed.iter().filter(|it| !found.contains(it.as_str())).collect();
    assert!(missing.is_empty(), "{when}: {} commits are missing, such as {}", missing.len(), missing[0]);
    for row in rows {
        let sha = text(row, "sha").unwrap();
        let it = truth.get(sha).unwrap_or_else(|| panic!("{when}: there never was a commit {sha}"));
        let seconds = |name: &str| moment(row, name) / 1000;
        let who = |name: &str, email: &str| (text(row, name), text(row, email));
        let is = |it: &(String, String)| (Some(it.0.clone()), Some(it.1.clone()));
        let own = |it: (Option<&str>, Option<&str>)| (it.0.map(str::to_owned), it.1.map(str::to_owned));
        assert_eq!(text(row, "message"), Some(it.message.as_str()), "{when}: {sha}");
        assert_eq!(own(who("author_name", "author_email")), is(&it.author), "{when}: {sha}");
        assert_eq!(own(who("committer_name", "committer_email")), is(&it.committer), "{when}: {sha}");
        let times = (seconds("authored_at"), seconds("committed_at"));
        assert_eq!(times, (it.authored_s, it.committed_s), "{when}: {sha}");
    }
}

/// Looks at the edges of the graph, and at what each branch reaches by them.
fn assert_reached(
    when: &str,
    edges: &[&Row],
    commits: &[&Row],
    truth: &RepositoryTruth,
    every: &BTreeMap<String, sim::CommitTruth>,
) {
    let mut parents: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    // They come in the order of their key: by commit, then by place.
    for row in edges {
        parents.entry(text(row, "sha").unwrap()).or_default().push(text(row, "parent_sha").unwrap());
    }
    for row in commits {
        let sha = text(row, "sha").unwrap();
        let found = parents.get(sha).cloned().unwrap_or_default();
        assert_eq!(found, every[sha].parents, "{when}: the parents of {sha}");
    }
    for (name, branch) in &truth.branches {
        let mut reached = BTreeSet::new();
        let mut open = vec![branch.head.as_str()];
        while let Some(sha) = open.pop() {
            if reached.insert(sha) {
                open.extend(parents.get(sha).into_iter().flatten());
            }
        }
        assert!(
            reached.iter().copied().eq(branch.shas.iter().map(String::as_str)),
            "{when}: what {name} reaches"
        );
    }
}

/// Reads the records of a source that are not marked as gone; every one that the tenant sees is its own.
async fn live(service: &SyncService, source: &str, table: &str) -> Vec<Row> {
    let sources = service.sources().await.unwrap();
    let id = sources.iter().find(|it| it.name == source).unwrap().id;
    let mut rows = every_record(service, table).await;
    for row in &rows {
        assert!(sources.iter().any(|it| row["source_id"] == it.id.0), "another tenant's record: {row:#?}");
    }
    rows.retain(|row| row["source_id"] == id.0 && row.get("deleted_at").is_none_or(Value::is_null));
    rows
}

fn number(row: &Row, name: &str) -> u64 {
    row[name].as_u64().unwrap_or_else(|| panic!("{name} of {row:#?}"))
}

fn text<'a>(row: &'a Row, name: &str) -> Option<&'a str> {
    row[name].as_str()
}

fn moment(row: &Row, name: &str) -> i64 {
    let at = text(row, name).unwrap_or_else(|| panic!("{name} of {row:#?}"));
    at.parse::<Timestamp>().unwrap().as_millisecond()
}

/// Writes a moment as records show it.
fn millis(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).unwrap().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}

/// Returns the letters of a word, so that the site's `To Do` is the simulator's `to_do`.
fn letters(word: &str) -> String {
    word.chars().filter(char::is_ascii_alphabetic).map(|it| it.to_ascii_lowercase()).collect()
}
