//! What a database holds, as sorted text, so that two of them can be compared.
//!
//! It must never leave a column out but by name, with the reason beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::{Database, landed_tables};

/// Columns that hold a moment of the reading, which differs between any two runs, and a hash of what is compared.
const MOMENTS: [&str; 4] = ["observed_at", "first_seen", "changed_at", "landing_hash"];

/// Differences that are shown for each table: enough to see what they have in common.
const SHOWN: usize = 6;

/// Rows by table, each as text.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rows(pub(crate) BTreeMap<String, Vec<String>>);

impl Rows {
    /// Fails with the differences unless both are the same.
    pub(crate) fn assert_same(&self, other: &Self, when: &str) {
        if self == other {
            return;
        }
        let mut said = String::new();
        for (table, rows) in &self.0 {
            let none = Vec::new();
            let others = other.0.get(table).unwrap_or(&none);
            if rows == others {
                continue;
            }
            writeln!(said, "{table}: {} rows expected, {} found", rows.len(), others.len()).unwrap();
            let (left, right): (BTreeSet<_>, BTreeSet<_>) = (rows.iter().collect(), others.iter().collect());
            let short = |row: &str| row.chars().take(600).collect::<String>();
            for row in left.difference(&right).take(SHOWN) {
                writeln!(said, "  expected {}", short(row)).unwrap();
            }
            for row in right.difference(&left).take(SHOWN) {
                writeln!(said, "  found    {}", short(row)).unwrap();
            }
        }
        panic!("{when}:\n{said}");
    }
}

/// Reads all that must be the same however a sync came to its end: landed rows, places, work and its outcome.
pub(crate) async fn snapshot(database: &Database) -> Rows {
    let mut rows = BTreeMap::new();
    for table in landed_tables() {
        rows.insert(table.to_owned(), dump(database, table, &MOMENTS, "").await);
    }
    for (table, except) in [
        ("checkpoints", &[][..]),
        ("validators", &[]),
        ("learned", &["learned_at"]),
        ("seen", &[]),
        // The number of a job that was made anew is another one.
        ("items", &["failed_job"]),
        // What reading took depends on how often it was ended, too.
        (
            "partitions",
            &[
                "last_synced_at",
                "news_at",
                "heal_at",
                "invalid_at",
                "reads",
                "first_requests",
                "last_requests",
                "last_unchanged",
                "last_pages",
            ],
        ),
        ("syncs", &["id", "created_at", "closed_at"]),
    ] {
        rows.insert(table.to_owned(), dump(database, table, except, "").await);
    }
    // Not its requests and pages: a job that lost its process between its last page and its end asks once more
    // whether anything changed.
    let jobs = "select stream || ' ' || partition || ' ' || lane || ' ' || state || ' records '
        || cast(records as text) || ' rows ' || cast(rows_written as text) || ' '
        || coalesce(error_code, 'no error') || ' ' || coalesce(node, 'free') from jobs order by 1";
    rows.insert("jobs".to_owned(), database.lines(jobs).await);
    // Progress is told by the clock, and each start asks for a sync: both depend on how often a run was ended.
    let events = "select name || ' ' || cast(count(*) as text) from events
        where name not in ('sync.job.progress', 'sync.request') group by name order by name";
    rows.insert("events".to_owned(), database.lines(events).await);
    Rows(rows)
}

/// Reads every landed row with every column. On PostgreSQL the transaction that wrote it stands there too.
pub(crate) async fn landed_rows(database: &Database) -> Rows {
    let mut rows = BTreeMap::new();
    let written = if database.is_sqlite() { "" } else { "cast(xmin as text)" };
    for table in landed_tables() {
        rows.insert(table.to_owned(), dump(database, table, &["landing_hash"], written).await);
    }
    Rows(rows)
}

/// Reads every row of every table of a PostgreSQL database, each with the transaction that wrote it. Not the ledger's:
/// what a process asked the provider is spent, whatever becomes of its job.
pub(crate) async fn every_row(database: &Database) -> Rows {
    let tables = "select cast(tablename as text) from pg_tables
        where schemaname = 'public' and tablename not in ('budgets', 'grants') order by 1";
    let mut rows = BTreeMap::new();
    for table in database.lines(tables).await {
        let all =
            format!("select cast(xmin as text) || ' ' || cast(it as text) from {table} as it order by 1");
        rows.insert(table, database.lines(&all).await);
    }
    Rows(rows)
}

async fn dump(database: &Database, table: &str, except: &[&str], and: &str) -> Vec<String> {
    let columns = if database.is_sqlite() {
        format!("select name from pragma_table_info('{table}') order by cid")
    } else {
        format!(
            "select cast(column_name as text) from information_schema.columns
             where table_schema = 'public' and table_name = '{table}' order by ordinal_position"
        )
    };
    let columns = database.lines(&columns).await;
    assert!(!columns.is_empty(), "there is no table {table}");
    let mut shown: Vec<String> = columns
        .iter()
        .filter(|it| !except.contains(&it.as_str()))
        .map(|it| match it.as_str() {
            // That it is gone counts, not when that was seen.
            "deleted_at" if except.contains(&"observed_at") => {
                "case when deleted_at is null then 'there' else 'deleted' end".to_owned()
            }
            // A lane's end is a moment of the reading, too.
            "ended_at" => "case when ended_at is null then 'open' else 'ended' end".to_owned(),
            name => format!("coalesce(cast({name} as text), 'null')"),
        })
        .collect();
    if !and.is_empty() {
        shown.push(and.to_owned());
    }
    database.lines(&format!("select {} from {table} order by 1", shown.join(" || ' | ' || "))).await
}
