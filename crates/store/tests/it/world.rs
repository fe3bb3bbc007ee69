//! A small provider of the tests' own: the specs, pages and steps that stories are told with.
//!
//! Never asserts; stories do.

use bytes::Bytes;
use domain::connector::{Auth, Group, Limits, Spec, Stream};
use domain::id::{SourceId, TenantId};
use domain::page::{Cursor, Next, Page, Partition, Record, Sweep, Wanted};
use domain::policy::{Action, Decision, Metadata, Reason, Verdict};
use domain::source::Settings;
use domain::table::{BRANCHES, COMMIT_PARENTS, COMMITS, Cell, Column, Kind, Table, Upkeep};
use domain::trigger::Trigger;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use store::{
    Among, Claim, Commit, Enqueue, Enqueued, EventRow, Lease, NewSource, Options, Pass, Settlement,
    SourceRow, StatusQuery, Store, StoredStatus, SyncRow, Vault,
};

use crate::database::Database;

pub(crate) static PROJECTS: Table = Table {
    name: "toy_projects",
    comment: "A project, as the toy provider shows it.",
    columns: &[
        Column { name: "project_id", kind: Kind::Integer, comment: "The provider's number." },
        Column { name: "title", kind: Kind::Text, comment: "What it's called." },
        Column { name: "score", kind: Kind::Real, comment: "How good it is." },
        Column { name: "open", kind: Kind::Bool, comment: "Whether it is open." },
        Column { name: "made_at", kind: Kind::Timestamp, comment: "When it was made." },
        Column { name: "labels", kind: Kind::Json, comment: "Its labels." },
    ],
    key: &["project_id"],
    upkeep: Upkeep::Tracked,
    indexes: &[&["made_at"]],
};

pub(crate) static GROUP: Group = Group {
    name: "code",
    every_ms: 900_000,
    manual_cooldown_ms: 0,
    streams: &[
        Stream { name: "projects", item_batch: None, conditional: true, lists: Some(&PROJECTS) },
        Stream { name: "branches", item_batch: None, conditional: true, lists: Some(&BRANCHES) },
        Stream { name: "commits", item_batch: Some(1), conditional: false, lists: None },
    ],
};

pub(crate) static SPEC: Spec = Spec {
    provider: "toy",
    title: "Toy",
    default_base_url: Some("https://toy.example"),
    token_env: "TOY_TOKEN",
    needs_token: false,
    open_requests: "",
    refused_tokens: &[],
    auth: Auth::Bearer,
    headers: &[],
    settings: &[],
    examples: &[],
    groups: &[],
    tables: &[&PROJECTS, &BRANCHES, &COMMITS, &COMMIT_PARENTS],
    limits: Limits {
        concurrent_max: 8,
        per_minute: None,
        budget: None,
        budget_window: SignedDuration::from_hours(1),
        unchanged_is_free: false,
    },
};

/// Seconds after the beginning of the tests' time.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

pub(crate) fn vault() -> Vault {
    Vault::from_key_text(&"ab".repeat(32)).unwrap()
}

pub(crate) async fn open(database: &Database) -> Store {
    Store::open(Options::new(database.url()), &[&SPEC]).await.unwrap()
}

pub(crate) fn partition(stream: &'static str, key: &str) -> Partition {
    let args = json!({ "full_name": format!("toy/{key}") });
    Partition { stream, key: key.to_owned(), args, start: Vec::new(), refresh: None, shown_at: None }
}

pub(crate) fn new_source(name: &str, roots: Vec<Partition>) -> NewSource {
    NewSource {
        tenant: TenantId(1),
        name: name.to_owned(),
        provider: "toy".to_owned(),
        settings: Settings {
            base_url: "https://toy.example".to_owned(),
            options: json!({ "repo": ["toy/1"] }),
        },
        secret: None,
        roots,
    }
}

/// Opens the database and adds a source with these root partitions.
pub(crate) async fn begin(database: &Database, roots: Vec<Partition>) -> (Store, SourceId) {
    let store = open(database).await;
    let source = store.add_source(new_source("work", roots), &vault(), at(0)).await.unwrap();
    (store, source)
}

pub(crate) fn request(source: SourceId, trigger: Trigger) -> Enqueue {
    let decision = Decision { action: Action::Start, reason: Reason::Ready, metadata: Metadata::default() };
    Enqueue { source, group: &GROUP, trigger, decision, tick: None, forecast: None }
}

/// Finds the one source of a name.
pub(crate) async fn source_named(store: &Store, name: &str) -> Option<SourceRow> {
    let mut found = store.sources_named(None, name).await.unwrap();
    assert!(found.len() <= 1, "{found:?}");
    found.pop()
}

/// Asks how sources stand.
pub(crate) fn look(scope: Option<TenantId>, among: Among) -> StatusQuery {
    StatusQuery { scope, among, groups: vec![("toy", &GROUP)] }
}

/// Reads how the one source stands.
pub(crate) async fn status(store: &Store) -> StoredStatus {
    let mut all = store.status(look(None, Among::All)).await.unwrap().rows;
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

/// Begins a sync.
pub(crate) async fn start(store: &Store, source: SourceId, now: Timestamp) -> SyncRow {
    match store.enqueue(request(source, Trigger::Cron), now).await.unwrap() {
        Enqueued::Started { sync, .. } => store.sync(sync).await.unwrap().unwrap(),
        Enqueued::Active { sync } => panic!("sync {sync} is running already"),
        Enqueued::TickTaken => panic!("there was no tick"),
    }
}

pub(crate) fn claim_of(node: &str, max: u32) -> Claim {
    Claim {
        node: node.to_owned(),
        worker: "1".to_owned(),
        sources: None,
        except: Vec::new(),
        max,
        lease: SignedDuration::from_secs(60),
    }
}

pub(crate) async fn claim(store: &Store, now: Timestamp) -> Vec<Lease> {
    store.claim(claim_of("a", 100), now).await.unwrap()
}

/// Claims the one job that is due.
pub(crate) async fn claim_one(store: &Store, now: Timestamp) -> Lease {
    let mut leases = claim(store, now).await;
    assert_eq!(leases.len(), 1, "{leases:?}");
    leases.remove(0)
}

pub(crate) fn project(id: i64, title: &str) -> Record {
    let raw = json!({ "id": id, "title": title }).to_string();
    let cells = vec![
        id.into(),
        title.into(),
        Cell::Real(0.5),
        true.into(),
        at(1).into(),
        Cell::Json("[\"a\"]".into()),
    ];
    Record { table: &PROJECTS, cells, raw: Some(Bytes::from(raw)) }
}

pub(crate) fn branch(repository: i64, name: &str, head: &str) -> Record {
    let raw = json!({ "name": name, "head": head }).to_string();
    let cells = vec![repository.into(), name.into(), head.into(), false.into()];
    Record { table: &BRANCHES, cells, raw: Some(Bytes::from(raw)) }
}

pub(crate) fn commit_row(repository: i64, sha: &str) -> Record {
    let mut cells = vec![Cell::from(repository), sha.into(), format!("message of {sha}").into()];
    cells.resize(COMMITS.columns.len(), Cell::Null);
    Record { table: &COMMITS, cells, raw: Some(Bytes::from(json!({ "sha": sha }).to_string())) }
}

pub(crate) fn parent(repository: i64, sha: &str, parent: &str) -> Record {
    let cells = vec![repository.into(), sha.into(), 0.into(), parent.into()];
    Record { table: &COMMIT_PARENTS, cells, raw: None }
}

pub(crate) fn wanted(repository: &str, key: &str, version: &str, base: Option<&str>) -> Wanted {
    Wanted {
        stream: "commits",
        partition: repository.to_owned(),
        key: key.to_owned(),
        version: version.to_owned(),
        base: base.map(str::to_owned),
        args: Value::Null,
    }
}

pub(crate) fn cursor(value: Value) -> Cursor {
    Cursor(value)
}

pub(crate) fn more(value: Value) -> Next {
    Next::More(Cursor(value))
}

pub(crate) fn caught_up(sweep: Option<Sweep>) -> Next {
    Next::CaughtUp { cursor: None, sweep }
}

pub(crate) fn page(records: Vec<Record>, next: Next) -> Page {
    Page { records, ..Page::empty(next) }
}

/// A commit of a page that took one request, sent at `now`.
pub(crate) fn commit(page: Page, pass: Pass, now: Timestamp) -> Commit {
    Commit {
        page,
        pass,
        read: Vec::new(),
        validator: None,
        requests: 1,
        observed_at: now,
        lease_until: now + SignedDuration::from_secs(60),
        group: &GROUP,
        groups: &[],
        ends: None,
        rivals: None,
    }
}

/// A commit of a page of items.
pub(crate) fn commit_items(page: Page, read: &[(&str, &str)], now: Timestamp) -> Commit {
    let read = read.iter().map(|(key, version)| ((*key).to_owned(), (*version).to_owned())).collect();
    Commit { read, ..commit(page, Pass::Incremental, now) }
}

pub(crate) fn settlement(verdict: Verdict) -> Settlement {
    Settlement { verdict, fault: None, requests: 0 }
}

pub(crate) fn failed(verdict: Verdict, code: &str) -> Settlement {
    let fault = Some((code.to_owned(), format!("it was {code}")));
    Settlement { fault, ..settlement(verdict) }
}

pub(crate) async fn complete(store: &Store, lease: &Lease, now: Timestamp) {
    store.settle(lease, settlement(Verdict::Complete), now).await.unwrap();
}

/// The events so far. PostgreSQL shows one only when no older transaction of the server can still add another, so
/// this asks until it does.
pub(crate) async fn event_rows(database: &Database, store: &Store) -> Vec<EventRow> {
    let count = database.dump("events").await.len();
    loop {
        let rows = store.events_after(None, domain::id::EventId(0), 1000).await.unwrap();
        if rows.len() == count {
            return rows;
        }
    }
}

/// The names of the events so far.
pub(crate) async fn events(database: &Database, store: &Store) -> Vec<String> {
    event_rows(database, store).await.into_iter().map(|it| it.name).collect()
}
