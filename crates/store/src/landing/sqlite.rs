//! Landing in SQLite: statements of many rows, in few fixed sizes, so that each is prepared once.
//!
//! Never one statement per row: each costs two hand-offs to the database's thread.

use domain::id::SourceId;
use domain::page::Record;
use domain::table::{Cell, Table, Upkeep};
use jiff::Timestamp;
use sqlx::{Arguments as _, AssertSqlSafe, SqliteConnection};

use super::create::instant;
use super::{Layout, hash, raw_text, unencodable};
use crate::db::LiteArguments;
use crate::dialect::{json_without_nul, without_nul};
use crate::error::StoreError;

/// Rows per statement, largest first. Full pages of most providers have 100 records: they are one statement.
const SIZES: [usize; 4] = [100, 32, 8, 1];

#[derive(Debug)]
pub(super) struct Statements(Vec<(usize, String)>);

impl Statements {
    pub(super) fn new(table: &Table) -> Self {
        Self(SIZES.iter().map(|&rows| (rows, statement(table, rows))).collect())
    }
}

fn statement(table: &Table, rows: usize) -> String {
    let tracked = table.upkeep == Upkeep::Tracked;
    let names: Vec<&str> = table.columns.iter().map(|it| it.name).collect();
    let per_row = names.len() + if tracked { 2 } else { 0 };
    let upkeep =
        if tracked { ", raw, landing_hash, observed_at, first_seen, changed_at, deleted_at" } else { "" };
    let mut sql = format!("insert into {} (source_id, {}{upkeep}) values ", table.name, names.join(", "));
    // Rows have arguments without names, which the driver binds in order; a name costs a search through all of them.
    // What all rows share comes after them, and is named by its place: the source, and when the page was asked for.
    let (source, at) = (rows * per_row + 1, rows * per_row + 2);
    let values = vec!["?"; per_row].join(", ");
    let seen = if tracked { format!(", ${at}, ${at}, ${at}, null") } else { String::new() };
    let row = format!("(${source}, {values}{seen})");
    sql += &vec![row.as_str(); rows].join(", ");
    sql + &super::create::on_conflict(table)
}

pub(super) async fn land(
    conn: &mut SqliteConnection,
    layout: &Layout,
    source: SourceId,
    records: &[&Record],
    observed_at: Timestamp,
) -> Result<u64, StoreError> {
    let observed_at = instant(observed_at);
    let (mut rest, mut written) = (records, 0);
    for (rows, sql) in &layout.sqlite.0 {
        while let Some((now, later)) = rest.split_at_checked(*rows) {
            let arguments = arguments(source, &observed_at, now).map_err(unencodable)?;
            let query = sqlx::query_with(AssertSqlSafe(sql.clone()), arguments);
            written += query.execute(&mut *conn).await?.rows_affected();
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
    }
    Ok(written)
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn arguments(source: SourceId, observed_at: &str, records: &[&Record]) -> Result<LiteArguments, BoxError> {
    let mut arguments = LiteArguments::default();
    arguments.reserve(2 + records.iter().map(|it| it.cells.len() + 2).sum::<usize>(), 0);
    for record in records {
        for cell in &record.cells {
            match cell {
                Cell::Null => arguments.add(None::<i64>),
                Cell::Text(text) => arguments.add(without_nul(text).into_owned()),
                Cell::Json(text) => arguments.add(json_without_nul(text).into_owned()),
                Cell::Integer(number) => arguments.add(*number),
                Cell::Real(value) => arguments.add(*value),
                Cell::Bool(value) => arguments.add(*value),
                Cell::Timestamp(at) => arguments.add(instant(*at)),
            }?;
        }
        if let Some(raw) = &record.raw {
            arguments.add(raw_text(raw))?;
            arguments.add(hash(raw))?;
        }
    }
    arguments.add(source.0)?;
    arguments.add(observed_at)?;
    Ok(arguments)
}
