//! Lands records in the tables that specs declare: in bulk, in one way per database.
//!
//! Never reads a record row by row, and never writes a row that has not changed. Begin with [`prepare`].

mod create;
mod postgres;
mod sqlite;

use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use domain::id::SourceId;
use domain::page::Record;
use domain::table::{Cell, Kind, Table, Upkeep};
use jiff::Timestamp;

use crate::db::{Conn, Native};
use crate::error::StoreError;
use crate::vault::hex;
pub(crate) use create::{create, instant};

/// Bytes of a blake3 hash that tell two raw bodies apart: 128 bits, so that no two ever meet by chance.
const HASH_BYTES: usize = 16;

/// The statements of every landed table, made once.
#[derive(Debug)]
pub(crate) struct Layouts(HashMap<&'static str, Layout>);

/// The statements of one landed table.
#[derive(Debug)]
pub(crate) struct Layout {
    table: &'static Table,
    sqlite: Arc<str>,
    postgres: Arc<str>,
}

impl Layouts {
    pub(crate) fn new(tables: &[&'static Table]) -> Self {
        Self(
            tables
                .iter()
                .map(|table| {
                    let layout = Layout {
                        table,
                        sqlite: sqlite::statement(table).into(),
                        postgres: postgres::statement(table).into(),
                    };
                    (table.name, layout)
                })
                .collect(),
        )
    }

    /// Returns the tables.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &'static Table> {
        self.0.values().map(|it| it.table)
    }
}

/// A page's records as the arguments of their statements. Making them costs about as much as running them saves, and
/// unlike running them it can be done for many pages side by side: it is not the writer's work.
#[derive(Debug)]
pub(crate) enum Prepared {
    Lite(Vec<sqlite::Filled>),
    Pg(Vec<postgres::Filled>),
}

/// Makes the arguments that land records. Takes them: what a provider sent is freed before the page waits its turn.
pub(crate) fn prepare(
    layouts: &Layouts,
    lite: bool,
    source: SourceId,
    records: Vec<Record>,
    observed_at: Timestamp,
) -> Result<Prepared, StoreError> {
    let mut prepared = if lite { Prepared::Lite(Vec::new()) } else { Prepared::Pg(Vec::new()) };
    for (table, records) in by_table(records) {
        let layout = layouts
            .0
            .get(table)
            .ok_or_else(|| StoreError::Conflict(format!("no spec declares the table {table}")))?;
        check(layout.table, &records)?;
        match &mut prepared {
            Prepared::Lite(filled) => filled.push(sqlite::fill(layout, source, records, observed_at)),
            Prepared::Pg(filled) => filled.push(postgres::fill(layout, source, records, observed_at)),
        }
    }
    Ok(prepared)
}

/// Lands records and returns how many rows were really written.
pub(crate) async fn land(conn: &mut Conn, prepared: &Prepared) -> Result<u64, StoreError> {
    let mut written = 0;
    match (conn.native(), prepared) {
        (Native::Lite(conn), Prepared::Lite(all)) => {
            for filled in all {
                written += sqlite::land(conn, filled)?;
            }
        }
        (Native::Pg(conn), Prepared::Pg(all)) => {
            for filled in all {
                written += postgres::land(conn, filled).await?;
            }
        }
        _ => return Err(StoreError::Conflict("a page was prepared for another database".to_owned())),
    }
    Ok(written)
}

/// Groups records by table, each key once: of two records of a key the last one wins.
fn by_table(records: Vec<Record>) -> Vec<(&'static str, Vec<Record>)> {
    let mut tables: Vec<(&'static str, Vec<Record>)> = Vec::new();
    for record in records {
        let name = record.table.name;
        match tables.iter_mut().find(|it| it.0 == name) {
            Some((_, group)) => group.push(record),
            None => tables.push((name, vec![record])),
        }
    }
    for (_, group) in &mut tables {
        let mut keys = HashSet::with_capacity(group.len());
        let last: Vec<bool> = group.iter().rev().map(|record| keys.insert(Key::of(record))).collect();
        if last.iter().all(|it| *it) {
            continue;
        }
        let mut last = last.into_iter().rev();
        group.retain(|_| last.next().unwrap_or_default());
    }
    tables
}

/// A record's key, to find it twice.
struct Key<'a>(&'a [Cell]);

impl<'a> Key<'a> {
    fn of(record: &'a Record) -> Self {
        Self(record.cells.get(..record.table.key.len()).unwrap_or(&record.cells))
    }
}

impl Hash for Key<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for cell in self.0 {
            match cell {
                Cell::Text(text) | Cell::Json(text) => text.hash(state),
                Cell::Integer(number) => number.hash(state),
                Cell::Timestamp(at) => at.hash(state),
                Cell::Bool(value) => value.hash(state),
                Cell::Real(value) => value.to_bits().hash(state),
                Cell::Null => {}
            }
        }
    }
}

impl PartialEq for Key<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Key<'_> {}

/// Refuses records that do not have the shape of their table: a mistake in a connector.
fn check(table: &Table, records: &[Record]) -> Result<(), StoreError> {
    let tracked = table.upkeep == Upkeep::Tracked;
    for record in records {
        let fits = record.cells.len() == table.columns.len()
            && record.raw.is_some() == tracked
            && record.cells.iter().zip(table.columns).all(|(cell, column)| is_of(cell, column.kind));
        if !fits {
            let what = format!("a record does not have the columns of the table {}", table.name);
            return Err(StoreError::Conflict(what));
        }
    }
    Ok(())
}

fn is_of(cell: &Cell, kind: Kind) -> bool {
    match cell {
        Cell::Null => true,
        Cell::Text(_) => kind == Kind::Text,
        Cell::Integer(_) => kind == Kind::Integer,
        Cell::Real(_) => kind == Kind::Real,
        Cell::Bool(_) => kind == Kind::Bool,
        Cell::Timestamp(_) => kind == Kind::Timestamp,
        Cell::Json(_) => kind == Kind::Json,
    }
}

fn hash(raw: &[u8]) -> [u8; HASH_BYTES] {
    let mut hash = [0; HASH_BYTES];
    hash.iter_mut().zip(blake3::hash(raw).as_bytes()).for_each(|(to, from)| *to = *from);
    hash
}

/// Returns a raw body as it is stored: as it is, or, where it is no text that both databases keep, as a JSON object
/// that holds its bytes in hex.
fn raw_text(raw: Bytes) -> Bytes {
    match std::str::from_utf8(&raw) {
        Ok(text) if !text.contains('\0') => raw,
        _ => format!("{{\"$hex\":\"{}\"}}", hex(&raw)).into(),
    }
}
