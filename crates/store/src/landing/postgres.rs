//! Landing in PostgreSQL: one statement per table and page, its rows as one array per column.
//!
//! Never COPY and a staging table: for pages of hundreds of rows arrays are faster.

use domain::id::SourceId;
use domain::page::Record;
use domain::table::{Cell, Kind, Table, Upkeep};
use jiff::Timestamp;
use sqlx::{AssertSqlSafe, PgConnection};

use super::create::instant;
use super::{Layout, hash, raw_text};
use crate::dialect::{json_without_nul, without_nul};
use crate::error::StoreError;

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

pub(super) async fn land(
    conn: &mut PgConnection,
    layout: &Layout,
    source: SourceId,
    records: &[&Record],
    observed_at: Timestamp,
) -> Result<u64, StoreError> {
    let mut query =
        sqlx::query(AssertSqlSafe(layout.postgres.clone())).bind(source.0).bind(instant(observed_at));
    for (at, column) in layout.table.columns.iter().enumerate() {
        let cells = records.iter().map(|it| it.cells.get(at).unwrap_or(&Cell::Null));
        query = match column.kind {
            Kind::Integer => query.bind(cells.map(integer).collect::<Vec<_>>()),
            Kind::Real => query.bind(cells.map(real).collect::<Vec<_>>()),
            Kind::Bool => query.bind(cells.map(boolean).collect::<Vec<_>>()),
            Kind::Text | Kind::Timestamp | Kind::Json => query.bind(cells.map(text).collect::<Vec<_>>()),
        };
    }
    if layout.table.upkeep == Upkeep::Tracked {
        let raws = || records.iter().filter_map(|it| it.raw.as_deref());
        query = query.bind(raws().map(raw_text).collect::<Vec<_>>());
        query = query.bind(raws().map(hash).collect::<Vec<_>>());
    }
    Ok(query.execute(conn).await?.rows_affected())
}

fn integer(cell: &Cell) -> Option<i64> {
    if let Cell::Integer(number) = cell { Some(*number) } else { None }
}

fn real(cell: &Cell) -> Option<f64> {
    if let Cell::Real(value) = cell { Some(*value) } else { None }
}

fn boolean(cell: &Cell) -> Option<bool> {
    if let Cell::Bool(value) = cell { Some(*value) } else { None }
}

fn text(cell: &Cell) -> Option<String> {
    match cell {
        Cell::Text(text) => Some(without_nul(text).into_owned()),
        Cell::Json(text) => Some(json_without_nul(text).into_owned()),
        Cell::Timestamp(at) => Some(instant(*at)),
        _ => None,
    }
}
