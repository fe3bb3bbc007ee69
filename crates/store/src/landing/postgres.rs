//! Landing in PostgreSQL: one statement per table and page, its rows as one array per column.
//!
//! Never COPY and a staging table: for pages of hundreds of rows arrays are faster.

use std::sync::Arc;

use bytes::Bytes;
use domain::id::SourceId;
use domain::page::Record;
use domain::table::{Cell, Kind, Table, Upkeep};
use jiff::Timestamp;
use sqlx::{AssertSqlSafe, PgConnection};

use super::create::instant;
use super::{HASH_BYTES, Layout, hash, raw_text};
use crate::dialect::{json_without_nul, without_nul};
use crate::error::{StoreError, broken};

pub(super) fn statement(table: &Table) -> String {
    let tracked = table.upkeep == Upkeep::Tracked;
    let names: Vec<&str> = table.columns.iter().map(|it| it.name).collect();
    let mut arrays: Vec<String> = table
        .columns
        .iter()
        .enumerate()
        .map(|(at, it)| format!("${}::{}[]", at + 3, array(it.kind)))
        .collect();
    let mut taken: Vec<String> = table
        .columns
        .iter()
        .map(|it| format!("it.{}::{}", it.name, super::create::postgres_type(it.kind)))
        .collect();
    let mut fields = names.clone();
    let mut upkeep = "";
    if tracked {
        let at = names.len() + 3;
        arrays.extend([format!("${at}::text[]"), format!("${}::bytea[]", at + 1)]);
        fields.extend(["raw", "landing_hash"]);
        upkeep = ", raw, landing_hash, observed_at, first_seen, changed_at, deleted_at";
        let seen = "$2::timestamptz".to_owned();
        taken.extend(["it.raw::json".to_owned(), "it.landing_hash".to_owned()]);
        taken.extend([seen.clone(), seen.clone(), seen, "null".to_owned()]);
    }
    // Mentioned in both branches, so that the argument always has a type.
    let typed = if tracked { "" } else { " where $2::timestamptz is not null" };
    format!(
        "insert into {} (source_id, {}{upkeep}) select $1, {} from unnest({}) as it({}){typed}{}",
        table.name,
        names.join(", "),
        taken.join(", "),
        arrays.join(", "),
        fields.join(", "),
        super::create::on_conflict(table),
    )
}

/// The type of the array that carries a column: times and JSON go as text, which the server reads itself.
fn array(kind: Kind) -> &'static str {
    match kind {
        Kind::Text | Kind::Timestamp | Kind::Json => "text",
        Kind::Integer => "bigint",
        Kind::Real => "double precision",
        Kind::Bool => "boolean",
    }
}

/// A statement with its arguments.
#[derive(Debug)]
pub(crate) struct Filled {
    sql: Arc<str>,
    source: SourceId,
    observed_at: String,
    columns: Vec<Array>,
}

/// The values of one column, one per row.
#[derive(Debug)]
enum Array {
    Text(Vec<Option<String>>),
    Integer(Vec<Option<i64>>),
    Real(Vec<Option<f64>>),
    Bool(Vec<Option<bool>>),
    Body(Vec<Bytes>),
    Hash(Vec<[u8; HASH_BYTES]>),
}

impl Array {
    fn of(kind: Kind, rows: usize) -> Self {
        match kind {
            Kind::Text | Kind::Timestamp | Kind::Json => Self::Text(Vec::with_capacity(rows)),
            Kind::Integer => Self::Integer(Vec::with_capacity(rows)),
            Kind::Real => Self::Real(Vec::with_capacity(rows)),
            Kind::Bool => Self::Bool(Vec::with_capacity(rows)),
        }
    }

    /// Adds a cell, which is of the column's kind or null.
    fn push(&mut self, cell: Cell) {
        match self {
            Self::Text(all) => all.push(match cell {
                Cell::Text(text) => Some(without_nul(text)),
                Cell::Json(text) => Some(json_without_nul(text)),
                Cell::Timestamp(at) => Some(instant(at)),
                _ => None,
            }),
            Self::Integer(all) => all.push(if let Cell::Integer(it) = cell { Some(it) } else { None }),
            Self::Real(all) => all.push(if let Cell::Real(it) = cell { Some(it) } else { None }),
            Self::Bool(all) => all.push(if let Cell::Bool(it) = cell { Some(it) } else { None }),
            Self::Body(_) | Self::Hash(_) => {}
        }
    }
}

pub(super) fn fill(
    layout: &Layout,
    source: SourceId,
    records: Vec<Record>,
    observed_at: Timestamp,
) -> Filled {
    let rows = records.len();
    let mut columns: Vec<Array> = layout.table.columns.iter().map(|it| Array::of(it.kind, rows)).collect();
    let (mut bodies, mut hashes) = (Vec::new(), Vec::new());
    for record in records {
        for (column, cell) in columns.iter_mut().zip(record.cells) {
            column.push(cell);
        }
        if let Some(raw) = record.raw {
            hashes.push(hash(&raw));
            bodies.push(raw_text(raw));
        }
    }
    if layout.table.upkeep == Upkeep::Tracked {
        columns.extend([Array::Body(bodies), Array::Hash(hashes)]);
    }
    Filled { sql: Arc::clone(&layout.postgres), source, observed_at: instant(observed_at), columns }
}

pub(super) async fn land(conn: &mut PgConnection, filled: &Filled) -> Result<u64, StoreError> {
    let mut query = sqlx::query(AssertSqlSafe(Arc::clone(&filled.sql)))
        .bind(filled.source.0)
        .bind(filled.observed_at.as_str());
    for column in &filled.columns {
        query = match column {
            Array::Text(all) => query.bind(all),
            Array::Integer(all) => query.bind(all),
            Array::Real(all) => query.bind(all),
            Array::Bool(all) => query.bind(all),
            Array::Hash(all) => query.bind(all),
            Array::Body(all) => {
                let texts: Result<Vec<&str>, _> = all.iter().map(|it| std::str::from_utf8(it)).collect();
                query.bind(texts.map_err(broken)?)
            }
        };
    }
    Ok(query.execute(conn).await?.rows_affected())
}
