//! `/api/v1/tables` and `/api/v1/records/{table}`: the landed tables, and their rows in pages.
//!
//! It reads only declared columns of landed tables, and must never take a column's name from a request unchecked.

use axum::Json;
use axum::extract::RawQuery;
use domain::id::SourceId;
use domain::table::Kind;
use engine::RecordQuery;
use serde::Serialize;
use serde_json::{Map, Value};
use url::form_urlencoded;
use utoipa::{IntoParams, ToSchema};

use super::access::{Caller, Viewer};
use super::extract::Path;
use super::page;
use super::problem::Problem;

/// Filters that one request may name: more columns than that are in no index together.
const FILTERS_MAX: usize = 8;

/// The landed tables.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Tables {
    tables: Vec<Table>,
}

/// A landed table.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Table {
    name: &'static str,
    comment: &'static str,
    columns: Vec<Column>,
}

/// A column of a landed table.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Column {
    name: &'static str,
    kind: ColumnKind,
    comment: &'static str,
}

/// What a column holds.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ColumnKind {
    Text,
    Integer,
    Real,
    Bool,
    Timestamp,
    Json,
}

impl From<Kind> for ColumnKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Text => Self::Text,
            Kind::Integer => Self::Integer,
            Kind::Real => Self::Real,
            Kind::Bool => Self::Bool,
            Kind::Timestamp => Self::Timestamp,
            Kind::Json => Self::Json,
        }
    }
}

/// Lists the landed tables with their columns.
#[utoipa::path(get, path = "/api/v1/tables", tag = "records", responses((status = 200, body = Tables)))]
pub(super) async fn tables(caller: Caller<Viewer>) -> Json<Tables> {
    let tables = caller.service.record_tables().into_iter().map(|it| Table {
        name: it.name,
        comment: it.comment,
        columns: it
            .columns
            .iter()
            .map(|it| Column { name: it.name, kind: it.kind.into(), comment: it.comment })
            .collect(),
    });
    Json(Tables { tables: tables.collect() })
}

/// Rows of a landed table.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Records {
    /// Each with `source_id`, the table's columns, and when it was first seen, changed and deleted.
    #[schema(value_type = Vec<Object>)]
    records: Vec<Map<String, Value>>,
    /// What to ask for with `after`; null at the end.
    next: Option<String>,
}

/// Which rows.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(
    dead_code,
    reason = "it describes the query, which is read pair by pair because columns are any names"
)]
pub(super) struct Described {
    /// Only those of this source.
    source: Option<i64>,
    /// How many at most.
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: Option<u32>,
    /// `next` of the page before.
    after: Option<String>,
    /// Whether rows are listed too that the provider no longer has.
    deleted: Option<bool>,
    /// Every other name is a column, and its value what the column equals; at most eight.
    #[param(value_type = Option<Object>, style = Form, explode)]
    columns: Option<Value>,
}

/// Lists rows of a landed table, in the order of its key.
#[utoipa::path(
    get, path = "/api/v1/records/{table}", tag = "records", params(("table" = String, Path), Described),
    responses((status = 200, body = Records))
)]
pub(super) async fn list(
    caller: Caller<Viewer>,
    Path(table): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Json<Records>, Problem> {
    let mut asked = RecordQuery { table, limit: page::limit(), ..RecordQuery::default() };
    for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
        match &*name {
            "source" => asked.source = Some(SourceId(number(&name, &value)?)),
            "limit" => asked.limit = page::checked(number(&name, &value)?)?,
            "deleted" => asked.with_deleted = truth(&name, &value)?,
            "after" => asked.after = Some(value.into_owned()),
            _ if asked.filters.len() == FILTERS_MAX => {
                return Err(Problem::invalid("filter", format!("filter: at most {FILTERS_MAX} columns")));
            }
            _ => asked.filters.push((name.into_owned(), value.into_owned())),
        }
    }
    if let Some(source) = asked.source {
        caller.service.source_by_id(source).await?;
    }
    let page = caller.service.records(asked).await?;
    Ok(Json(Records { records: page.rows, next: page.next }))
}

fn number<N: std::str::FromStr>(name: &str, value: &str) -> Result<N, Problem> {
    value.parse().map_err(|_| Problem::invalid(name, format!("{name}: give a whole number")))
}

fn truth(name: &str, value: &str) -> Result<bool, Problem> {
    value.parse().map_err(|_| Problem::invalid(name, format!("{name}: give true or false")))
}
