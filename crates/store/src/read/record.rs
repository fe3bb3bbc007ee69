//! Landed records, page by page, from the table that a spec declares.
//!
//! Never runs a name or a condition of a caller's own: a column is named by its declaration, a value is an argument.

use domain::id::{SourceId, TenantId};
use domain::table::{Cell, Column, Kind, Table, Upkeep};
use serde_json::{Map, Value};
use sqlx::AssertSqlSafe;

use crate::Store;
use crate::db::{Arg, Conn, Row, args};
use crate::error::{StoreError, corrupt};
use crate::landing::instant;

/// Which records are asked for.
#[derive(Clone, Debug)]
pub struct RecordQuery {
    /// Only those of this tenant's sources.
    pub scope: Option<TenantId>,
    /// The table.
    pub table: &'static Table,
    /// Only those of this source.
    pub source: Option<SourceId>,
    /// Only those whose columns have these values.
    pub filters: Vec<(&'static Column, Cell)>,
    /// Those that the provider no longer lists, too.
    pub with_deleted: bool,
    /// Those after this source and key.
    pub after: Option<(SourceId, Vec<Cell>)>,
    /// How many at most.
    pub limit: u32,
}

/// A page of records.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordPage {
    /// The records, each a JSON object of its columns.
    pub rows: Vec<Map<String, Value>>,
    /// The source and key of the last one, where there may be more.
    pub last: Option<(SourceId, Vec<Value>)>,
}

impl Store {
    /// Reads a page of landed records in the order of their keys.
    pub async fn records(&self, query: RecordQuery) -> Result<RecordPage, StoreError> {
        self.inner.db.read(query, |conn, input| Box::pin(page(conn, input))).await
    }
}

/// What stands beside the declared columns of a tracked table, as far as people ask for it.
const UPKEEP: [&str; 3] = ["first_seen", "changed_at", "deleted_at"];

async fn page(conn: &mut Conn, query: &RecordQuery) -> Result<RecordPage, StoreError> {
    let table = query.table;
    let tracked = table.upkeep == Upkeep::Tracked;
    let lite = conn.is_sqlite();
    let mut shown = vec!["source_id".to_owned()];
    shown.extend(table.columns.iter().map(|it| select(it.name, it.kind, lite)));
    if tracked {
        shown.extend(UPKEEP.map(|it| select(it, Kind::Timestamp, lite)));
    }
    let mut args = args![query.limit];
    let mut of = vec!["true".to_owned()];
    if let Some(source) = query.source {
        of.push(format!("source_id = {}", push(&mut args, source.into())));
    } else if let Some(scope) = query.scope {
        let tenant = push(&mut args, scope.into());
        of.push(format!("source_id in (select id from sources where tenant_id = {tenant})"));
    }
    if tracked && !query.with_deleted {
        of.push("deleted_at is null".to_owned());
    }
    for (column, cell) in &query.filters {
        of.push(format!("{} = {}", column.name, value(&mut args, cell, lite)));
    }
    if let Some((source, key)) = &query.after {
        let mut places = vec![push(&mut args, (*source).into())];
        places.extend(key.iter().map(|cell| value(&mut args, cell, lite)));
        of.push(format!("(source_id, {}) > ({})", table.key.join(", "), places.join(", ")));
    }
    let sql = format!(
        "select {} from {} where {} order by source_id, {} limit $1",
        shown.join(", "),
        table.name,
        of.join(" and "),
        table.key.join(", "),
    );
    let found = conn.rows(AssertSqlSafe(sql), args).await?;
    let rows = found.iter().map(|row| record(row, table, tracked)).collect::<Result<Vec<_>, _>>()?;
    let last = match (found.last(), rows.last()) {
        (Some(row), Some(record)) if rows.len() >= query.limit as usize => {
            let key = table.key.iter().map(|name| record.get(*name).cloned().unwrap_or_default());
            Some((SourceId(row.get("source_id")?), key.collect()))
        }
        _ => None,
    };
    Ok(RecordPage { rows, last })
}

/// Names a column, so that both databases deliver the same of it.
fn select(name: &str, kind: Kind, lite: bool) -> String {
    match kind {
        Kind::Timestamp if !lite => {
            format!("to_char({name} at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"') as {name}")
        }
        Kind::Json if !lite => format!("cast({name} as text) as {name}"),
        _ => name.to_owned(),
    }
}

fn push(args: &mut Vec<Arg>, arg: Arg) -> String {
    args.push(arg);
    format!("${}", args.len())
}

/// Adds a value as an argument, and returns how a column is compared with it.
fn value(args: &mut Vec<Arg>, cell: &Cell, lite: bool) -> String {
    match cell {
        Cell::Null => push(args, Arg::Text(None)),
        Cell::Text(text) | Cell::Json(text) => push(args, text.into()),
        Cell::Integer(number) => push(args, (*number).into()),
        Cell::Real(number) => {
            let place = push(args, number.to_string().into());
            format!("cast({place} as double precision)")
        }
        Cell::Bool(truth) => push(args, (*truth).into()),
        Cell::Timestamp(at) => {
            let place = push(args, instant(*at).into());
            if lite { place } else { format!("cast({place} as timestamptz)") }
        }
    }
}

fn record(row: &Row, table: &'static Table, tracked: bool) -> Result<Map<String, Value>, StoreError> {
    let mut record = Map::new();
    record.insert("source_id".to_owned(), row.get::<i64>("source_id")?.into());
    for column in table.columns {
        let name = column.name;
        let value = match column.kind {
            Kind::Text | Kind::Timestamp => row.get::<Option<String>>(name)?.into(),
            Kind::Integer => row.get::<Option<i64>>(name)?.into(),
            Kind::Real => row.get::<Option<f64>>(name)?.into(),
            Kind::Bool => row.get::<Option<bool>>(name)?.into(),
            Kind::Json => match row.get::<Option<String>>(name)? {
                Some(text) => serde_json::from_str(&text).map_err(|_| corrupt(table.name, "?", name))?,
                None => Value::Null,
            },
        };
        record.insert(name.to_owned(), value);
    }
    if tracked {
        for name in UPKEEP {
            record.insert(name.to_owned(), row.get::<Option<String>>(name)?.into());
        }
    }
    Ok(record)
}
