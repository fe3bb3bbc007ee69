//! Landing in SQLite: statements of many rows, in few fixed sizes, so that each is prepared once.
//!
//! Never one statement per row: each costs two hand-offs to the database's thread.

use std::sync::Arc;

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

/// Rows per statement, largest first: four full pages of most providers, one, and parts of one. 400 rows of the widest
/// table take some 6,000 of the 32,766 arguments that SQLite allows.
const SIZES: [usize; 5] = [400, 100, 25, 5, 1];

/// A statement is taken when one in so many of its rows is no repetition.
const PADDING_MAX: usize = 4;

#[derive(Debug)]
pub(super) struct Statements(Vec<(usize, Arc<str>)>);

impl Statements {
    pub(super) fn new(table: &Table) -> Self {
        Self(SIZES.iter().map(|&rows| (rows, statement(table, rows).into())).collect())
    }
}

fn statement(table: &Table, rows: usize) -> String {
    let tracked = table.upkeep == Upkeep::Tracked;
    let names: Vec<&str> = table.columns.iter().map(|it| it.name).collect();
    let per_row = names.len() + if tracked { 2 } else { 0 };
    let upkeep =
        if tracked { ", raw, landing_hash, observed_at, first_seen, changed_at, deleted_at" } else { "" };
    // A statement that may undo itself half-way copies every page that it is about to change. One that fails is undone
    // with the whole commit, so the other way to fail is as good, where SQLite allows it: not with an update.
    let insert = if tracked { "insert" } else { "insert or fail" };
    let mut sql = format!("{insert} into {} (source_id, {}{upkeep}) values ", table.name, names.join(", "));
    // Rows have arguments without names, which the driver binds in order; a name costs a search through all of them.
    // What all rows share comes after them, and is named by its place: the source, and when the page was asked for.
    let (source, at) = (rows * per_row + 1, rows * per_row + 2);
    let values = vec!["?"; per_row].join(", ");
    let seen = if tracked { format!(", ${at}, ${at}, ${at}, null") } else { String::new() };
    let row = format!("(${source}, {values}{seen})");
    sql += &vec![row.as_str(); rows].join(", ");
    sql + &super::create::on_conflict(table)
}

/// A statement with its arguments.
#[derive(Debug)]
pub(crate) struct Filled {
    sql: Arc<str>,
    arguments: LiteArguments,
}

pub(super) fn fill(
    layout: &Layout,
    source: SourceId,
    records: Vec<Record>,
    observed_at: Timestamp,
) -> Result<Vec<Filled>, StoreError> {
    let observed_at = instant(observed_at);
    let mut rest = records.into_iter();
    let mut all = Vec::new();
    for (rows, sql) in &layout.sqlite.0 {
        // Saying a record again changes nothing, and costs less than one statement more.
        while rest.len() >= rows.div_ceil(PADDING_MAX) && rest.len() > 0 {
            let again = rest.as_slice().last().filter(|_| rest.len() < *rows).cloned();
            let now = rest.by_ref().chain(again.into_iter().cycle()).take(*rows);
            let arguments = arguments(source, &observed_at, now, *rows).map_err(unencodable)?;
            all.push(Filled { sql: Arc::clone(sql), arguments });
        }
    }
    Ok(all)
}

pub(super) async fn land(conn: &mut SqliteConnection, filled: &Filled) -> Result<u64, StoreError> {
    let query = sqlx::query_with(AssertSqlSafe(Arc::clone(&filled.sql)), filled.arguments.clone());
    Ok(query.execute(conn).await?.rows_affected())
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn arguments(
    source: SourceId,
    observed_at: &str,
    records: impl Iterator<Item = Record>,
    rows: usize,
) -> Result<LiteArguments, BoxError> {
    let mut arguments = LiteArguments::default();
    for record in records {
        if arguments.len() == 0 {
            arguments.reserve(2 + rows * (record.cells.len() + 2), 0);
        }
        for cell in record.cells {
            match cell {
                Cell::Null => arguments.add(None::<i64>),
                Cell::Text(text) => arguments.add(without_nul(text)),
                Cell::Json(text) => arguments.add(json_without_nul(text)),
                Cell::Integer(number) => arguments.add(number),
                Cell::Real(value) => arguments.add(value),
                Cell::Bool(value) => arguments.add(value),
                Cell::Timestamp(at) => arguments.add(instant(at)),
            }?;
        }
        if let Some(raw) = record.raw {
            arguments.add(raw_text(&raw))?;
            arguments.add(hash(&raw))?;
        }
    }
    arguments.add(source.0)?;
    arguments.add(observed_at)?;
    Ok(arguments)
}
