//! Landed records for whoever asks: names and values as text are checked against the table's declaration here.
//!
//! Nothing that is not declared reaches the database.

use domain::id::SourceId;
use domain::table::{Cell, Column, Kind, Table};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::SyncService;
use super::source::provider_specs;
use crate::error::Error;

/// Records in a page at most: of the widest tables some megabytes.
const PAGE_MAX: u32 = 1000;

/// The longest place to read on from that is looked at; ours are far below.
const AFTER_BYTES_MAX: usize = 4096;

/// Which records are asked for.
#[derive(Clone, Debug, Default)]
pub struct RecordQuery {
    /// The table; see [`SyncService::record_tables`].
    pub table: String,
    /// Only those of this source.
    pub source: Option<SourceId>,
    /// Columns and the values that they must have.
    pub filters: Vec<(String, String)>,
    /// Those that the provider no longer lists, too.
    pub with_deleted: bool,
    /// The `next` of the page before.
    pub after: Option<String>,
    /// How many at most, from 1 to 1000.
    pub limit: u32,
}

/// A page of records.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordPage {
    /// The records, each a JSON object of its columns.
    pub rows: Vec<Map<String, Value>>,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<String>,
}

impl SyncService {
    /// Returns the tables that records land in, by name.
    #[must_use]
    pub fn record_tables(&self) -> Vec<&'static Table> {
        let mut tables: Vec<&'static Table> = provider_specs().flat_map(|it| it.tables).copied().collect();
        tables.sort_by_key(|it| it.name);
        tables.dedup_by_key(|it| it.name);
        tables
    }

    /// Reads a page of landed records in the order of their keys.
    pub async fn records(&self, query: RecordQuery) -> Result<RecordPage, Error> {
        let table = self.record_tables().into_iter().find(|it| it.name == query.table);
        let table = table.ok_or_else(|| Error::Unknown { what: "table", id: query.table.clone() })?;
        if let Some(source) = query.source {
            self.source_by_id(source).await?;
        }
        let filters = query.filters.iter().map(|(name, value)| filter(table, name, value));
        let page = store::RecordQuery {
            scope: self.scope,
            table,
            source: query.source,
            filters: filters.collect::<Result<_, _>>()?,
            with_deleted: query.with_deleted,
            after: query.after.as_deref().map(|it| place(table, it)).transpose()?,
            limit: query.limit.clamp(1, PAGE_MAX),
        };
        let page = self.store.records(page).await?;
        let next = page.last.map(|(source, mut key)| {
            key.insert(0, source.0.into());
            Value::Array(key).to_string()
        });
        Ok(RecordPage { rows: page.rows, next })
    }
}

fn filter(table: &'static Table, name: &str, value: &str) -> Result<(&'static Column, Cell), Error> {
    let column = table.columns.iter().find(|it| it.name == name && it.kind != Kind::Json);
    let Some(column) = column else {
        let known: Vec<&str> =
            table.columns.iter().filter(|it| it.kind != Kind::Json).map(|it| it.name).collect();
        let why =
            format!("`{name}` is no column to filter {} by; allowed are {}", table.name, known.join(", "));
        return Err(Error::Invalid { field: "filter", why });
    };
    let allowed = match column.kind {
        Kind::Text | Kind::Json => "text",
        Kind::Integer => "a whole number",
        Kind::Real => "a number",
        Kind::Bool => "true or false",
        Kind::Timestamp => "a time such as 2026-11-21T12:00:00Z",
    };
    let cell = cell(column.kind, value).ok_or_else(|| Error::Invalid {
        field: "filter",
        why: format!("`{value}` is not allowed for {name}; allowed is {allowed}"),
    })?;
    Ok((column, cell))
}

/// Reads a value of a column from text.
fn cell(kind: Kind, text: &str) -> Option<Cell> {
    Some(match kind {
        // Nothing that landed holds NUL, and PostgreSQL takes none.
        Kind::Text | Kind::Json => Cell::Text(Some(text).filter(|it| !it.contains('\0'))?.to_owned()),
        Kind::Integer => Cell::Integer(text.parse().ok()?),
        Kind::Real => Cell::Real(text.parse().ok().filter(|it: &f64| it.is_finite())?),
        Kind::Bool => Cell::Bool(text.parse().ok()?),
        Kind::Timestamp => Cell::Timestamp(text.parse::<Timestamp>().ok()?),
    })
}

/// Reads a place to read on from, as an earlier page gave it.
fn place(table: &Table, text: &str) -> Result<(SourceId, Vec<Cell>), Error> {
    let read = || {
        let values: Vec<Value> = serde_json::from_str(text).ok().filter(|_| text.len() <= AFTER_BYTES_MAX)?;
        let (source, key) = values.split_first()?;
        let cells = key.iter().zip(table.key).map(|(value, name)| {
            let kind = table.columns.iter().find(|it| it.name == *name)?.kind;
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            cell(kind, &text)
        });
        let cells = cells.collect::<Option<Vec<Cell>>>()?;
        (key.len() == table.key.len()).then_some((SourceId(source.as_i64()?), cells))
    };
    read().ok_or_else(|| Error::Invalid {
        field: "after",
        why: "it is not the `next` of a page of this table; begin without it".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use domain::id::SourceId;
    use domain::table::{COMMITS, Cell};

    use super::{filter, place};
    use crate::error::Error;

    fn why<T: std::fmt::Debug>(refused: Result<T, Error>) -> String {
        let error = refused.unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
        error.to_string()
    }

    #[test]
    fn a_filter_names_a_declared_column_and_fits_it() {
        let (column, cell) = filter(&COMMITS, "sha", "abc' or 1=1").unwrap();
        assert_eq!((column.name, cell), ("sha", Cell::Text("abc' or 1=1".to_owned())));
        let (_, cell) = filter(&COMMITS, "repository_id", "-7").unwrap();
        assert_eq!(cell, Cell::Integer(-7));
        let (_, cell) = filter(&COMMITS, "committed_at", "2026-11-21T12:00:00+01:00").unwrap();
        assert_eq!(cell, Cell::Timestamp("2026-11-21T11:00:00Z".parse().unwrap()));
        for (name, value, expected) in [
            ("raw", "x", "`raw` is no column to filter commits by; allowed are repository_id, sha"),
            ("sha = sha or sha", "x", "is no column"),
            ("jira_keys", "[]", "is no column"),
            ("repository_id", "7.5", "allowed is a whole number"),
            ("committed_at", "yesterday", "allowed is a time such as"),
            ("sha", "a\0b", "allowed is text"),
        ] {
            let said = why(filter(&COMMITS, name, value));
            assert!(said.contains(expected), "{name}={value}: {said}");
        }
    }

    #[test]
    fn a_place_to_read_on_from_is_one_of_the_tables_own() {
        let (source, key) = place(&COMMITS, "[3,9,\"abc\"]").unwrap();
        assert_eq!((source, key), (SourceId(3), vec![Cell::Integer(9), Cell::Text("abc".to_owned())]));
        let long = format!("[3,9,\"{}\"]", "a".repeat(5000));
        for text in
            ["", "{}", "[]", "[3]", "[3,9]", "[3,9,\"a\",1]", "[\"3\",9,\"a\"]", "[3,\"x\",\"a\"]", &long]
        {
            let said = why(place(&COMMITS, text));
            assert!(said.contains("begin without it"), "{text}: {said}");
        }
    }
}
