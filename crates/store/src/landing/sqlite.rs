//! Landing in SQLite: one prepared statement per table, run once per row with arguments that are only lent to it.
//!
//! Never a statement of many rows: one that may fail half-way keeps a copy of every page that it is about to change.

use std::sync::Arc;

use bytes::Bytes;
use domain::id::SourceId;
use domain::page::Record;
use domain::table::{Cell, Table, Upkeep};
use jiff::Timestamp;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Statement};

use super::create::instant;
use super::{HASH_BYTES, Layout, hash, raw_text};
use crate::dialect::{json_without_nul, without_nul};
use crate::error::StoreError;

/// The first argument of a row's own; before it come the source, and when the page was asked for.
const FIRST: usize = 3;

pub(super) fn statement(table: &Table) -> String {
    let tracked = table.upkeep == Upkeep::Tracked;
    let names: Vec<&str> = table.columns.iter().map(|it| it.name).collect();
    let own = names.len() + if tracked { 2 } else { 0 };
    let values: Vec<String> = (FIRST..FIRST + own).map(|it| format!("?{it}")).collect();
    let upkeep = ", raw, landing_hash, observed_at, first_seen, changed_at, deleted_at";
    let (upkeep, seen) = if tracked { (upkeep, ", ?2, ?2, ?2, null") } else { ("", "") };
    format!(
        "insert into {} (source_id, {}{upkeep}) values (?1, {}{seen}){}",
        table.name,
        names.join(", "),
        values.join(", "),
        super::create::on_conflict(table),
    )
}

/// A statement with the rows that it lands.
#[derive(Debug)]
pub(crate) struct Filled {
    sql: Arc<str>,
    source: SourceId,
    observed_at: String,
    rows: Vec<Row>,
}

/// A row as SQLite takes it: times are texts.
#[derive(Debug)]
struct Row {
    cells: Vec<Cell>,
    raw: Option<(Bytes, [u8; HASH_BYTES])>,
}

pub(super) fn fill(
    layout: &Layout,
    source: SourceId,
    records: Vec<Record>,
    observed_at: Timestamp,
) -> Filled {
    let row = |record: Record| Row {
        cells: record.cells.into_iter().map(plain).collect(),
        raw: record.raw.map(|raw| {
            let hash = hash(&raw);
            (raw_text(raw), hash)
        }),
    };
    Filled {
        sql: Arc::clone(&layout.sqlite),
        source,
        observed_at: instant(observed_at),
        rows: records.into_iter().map(row).collect(),
    }
}

fn plain(cell: Cell) -> Cell {
    match cell {
        Cell::Text(text) => Cell::Text(without_nul(text)),
        Cell::Json(text) => Cell::Text(json_without_nul(text)),
        Cell::Timestamp(at) => Cell::Text(instant(at)),
        other => other,
    }
}

pub(super) fn land(conn: &Connection, filled: &Filled) -> Result<u64, StoreError> {
    let mut statement = conn.prepare_cached(&filled.sql)?;
    statement.raw_bind_parameter(1, filled.source.0)?;
    // A table without upkeep does not ask when its rows were seen.
    if statement.parameter_count() >= 2 {
        statement.raw_bind_parameter(2, &filled.observed_at)?;
    }
    let mut written = 0;
    for row in &filled.rows {
        bind(&mut statement, row)?;
        written += statement.raw_execute()? as u64;
    }
    Ok(written)
}

fn bind(statement: &mut Statement<'_>, row: &Row) -> rusqlite::Result<()> {
    let mut places = FIRST..;
    let mut lend = |value: ValueRef<'_>| match places.next() {
        Some(place) => statement.raw_bind_parameter(place, ToSqlOutput::Borrowed(value)),
        None => Ok(()),
    };
    for cell in &row.cells {
        lend(match cell {
            Cell::Text(text) | Cell::Json(text) => ValueRef::Text(text.as_bytes()),
            Cell::Integer(number) => ValueRef::Integer(*number),
            Cell::Real(value) => ValueRef::Real(*value),
            Cell::Bool(value) => ValueRef::Integer((*value).into()),
            Cell::Null | Cell::Timestamp(_) => ValueRef::Null,
        })?;
    }
    if let Some((raw, hash)) = &row.raw {
        lend(ValueRef::Text(raw))?;
        lend(ValueRef::Blob(hash))?;
    }
    Ok(())
}
