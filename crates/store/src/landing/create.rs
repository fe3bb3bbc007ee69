//! Makes the landed tables of the specs, and widens them.
//!
//! Never drops, renames or retypes: a column of another type is an error that names it.

use std::collections::HashMap;

use domain::table::{BRANCHES, COMMIT_PARENTS, Kind, Table, Upkeep};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use sqlx::AssertSqlSafe;

use crate::db::{Conn, args};
use crate::dialect;
use crate::error::{OpenError, StoreError};

/// The columns that the store keeps beside those of a tracked table: name, types in SQLite and PostgreSQL, comment.
const UPKEEP: [(&str, &str, &str, &str); 6] = [
    (
        "raw",
        "text not null",
        "json not null",
        "The provider's own words. A body that is no UTF-8 text or holds NUL stands here as {\"$hex\": its bytes}.",
    ),
    ("landing_hash", "blob not null", "bytea not null", "16 bytes of the blake3 hash of the body's bytes."),
    (
        "observed_at",
        "text not null",
        "timestamptz not null",
        "When the request was sent that brought this version.",
    ),
    ("first_seen", "text not null", "timestamptz not null", "When it was seen first."),
    ("changed_at", "text not null", "timestamptz not null", "When it was last seen to have changed."),
    ("deleted_at", "text", "timestamptz", "When it was no longer listed; null while it exists."),
];

const SOURCE_COMMENT: &str = "The source that it was read from; sources has its name.";

/// Which branches reach a commit: computed from heads and parents, so that it is right after any push.
const BRANCH_VIEW: &str = "create view commit_branches as
with recursive reached (source_id, repository_id, branch, sha) as (
    select source_id, repository_id, name, head_sha from branches where deleted_at is null
    union
    select reached.source_id, reached.repository_id, reached.branch, parent.parent_sha
    from reached
    join commit_parents as parent
        on parent.source_id = reached.source_id
        and parent.repository_id = reached.repository_id
        and parent.sha = reached.sha
)
select source_id, repository_id, branch, sha from reached";

/// Makes and widens the landed tables, then the view over the shared ones. Returns which were not there before.
pub(crate) async fn create(
    conn: &mut Conn,
    tables: &[&'static Table],
) -> Result<Vec<&'static str>, OpenError> {
    let mut new = Vec::new();
    for table in tables {
        let rows =
            conn.rows(dialect::columns_of(conn), args![table.name]).await.map_err(OpenError::Broken)?;
        let mut found: HashMap<String, String> = HashMap::new();
        for row in rows {
            let column = row.get("name").and_then(|name| Ok((name, row.get("type")?)));
            let (name, kind) = column.map_err(OpenError::Broken)?;
            found.insert(name, kind);
        }
        if found.is_empty() {
            make(conn, table).await.map_err(OpenError::Broken)?;
            new.push(table.name);
        } else {
            widen(conn, table, &found).await?;
        }
    }
    if !conn.is_sqlite() {
        pack(conn, tables).await.map_err(OpenError::Broken)?;
    }
    let has = |name: &str| tables.iter().any(|it| it.name == name);
    if has(BRANCHES.name) && has(COMMIT_PARENTS.name) {
        make_view(conn).await.map_err(OpenError::Broken)?;
    }
    Ok(new)
}

/// Has PostgreSQL pack bodies with LZ4, where it was built with it: its own way took a third of the server's time for a
/// page. What was packed before stays as it is and can be read as ever.
async fn pack(conn: &mut Conn, tables: &[&Table]) -> Result<(), StoreError> {
    let can =
        "select 1 as can from pg_settings where name = 'default_toast_compression' and 'lz4' = any(enumvals)";
    if conn.row(can, args![]).await?.is_none() {
        return Ok(());
    }
    let slow =
        "select attname::text as name from pg_attribute where attrelid = $1::text::regclass and attnum > 0
        and not attisdropped and atttypid in ('json'::regtype, 'jsonb'::regtype) and attcompression <> 'l'";
    for table in tables {
        for row in conn.rows(slow, args![table.name]).await? {
            let column: String = row.get("name")?;
            let sql = format!("alter table {} alter column {column} set compression lz4", table.name);
            conn.script(AssertSqlSafe(sql)).await?;
        }
    }
    Ok(())
}

async fn make_view(conn: &mut Conn) -> Result<(), StoreError> {
    let there = conn.rows(dialect::columns_of(conn), args!["commit_branches"]).await?;
    if there.is_empty() {
        conn.script(BRANCH_VIEW).await?;
    }
    Ok(())
}

async fn make(conn: &mut Conn, table: &Table) -> Result<(), StoreError> {
    let lite = conn.is_sqlite();
    let mut columns = vec![("source_id", "bigint not null".to_owned(), SOURCE_COMMENT)];
    for column in table.columns {
        let kind = if lite { sqlite_type(column.kind) } else { postgres_type(column.kind) };
        let null = if table.key.contains(&column.name) { " not null" } else { "" };
        columns.push((column.name, format!("{kind}{null}"), column.comment));
    }
    if table.upkeep == Upkeep::Tracked {
        let kept = UPKEEP.iter();
        columns.extend(kept.map(|it| (it.0, if lite { it.1 } else { it.2 }.to_owned(), it.3)));
    }
    conn.script(AssertSqlSafe(table_sql(table, &columns, lite))).await?;
    for (at, index) in table.indexes.iter().enumerate() {
        let (name, on) = (table.name, index.join(", "));
        let sql = format!("create index {name}_{} on {name} (source_id, {on})", at + 1);
        conn.script(AssertSqlSafe(sql)).await?;
    }
    if !lite {
        let quote = |text: &str| text.replace('\'', "''");
        let of_table = format!("comment on table {} is '{}'", table.name, quote(table.comment));
        let of_columns = columns.iter().map(|(name, _, comment)| {
            format!("comment on column {}.{name} is '{}'", table.name, quote(comment))
        });
        let sql = std::iter::once(of_table).chain(of_columns).collect::<Vec<_>>().join(";");
        conn.script(AssertSqlSafe(sql)).await?;
    }
    Ok(())
}

/// SQLite has no comments of its own: it keeps the text of the statement, and with it these.
fn table_sql(table: &Table, columns: &[(&str, String, &str)], lite: bool) -> String {
    let mut lines = vec![format!("create table {} (", table.name)];
    if lite {
        lines.push(format!("    -- {}", table.comment));
    }
    for (name, kind, comment) in columns {
        if lite {
            lines.push(format!("    -- {comment}"));
        }
        lines.push(format!("    {name} {kind},"));
    }
    lines.push(format!("    primary key (source_id, {})", table.key.join(", ")));
    // Such a row is little more than its key: it needs no second tree.
    let bare = lite && table.upkeep == Upkeep::Immutable;
    lines.push(if bare { ") without rowid" } else { ")" }.to_owned());
    lines.join("\n")
}

async fn widen(conn: &mut Conn, table: &Table, found: &HashMap<String, String>) -> Result<(), OpenError> {
    let lite = conn.is_sqlite();
    for column in table.columns {
        let wanted = if lite { sqlite_type(column.kind) } else { postgres_type(column.kind) };
        match found.get(column.name).map(|it| short(it)) {
            Some(kind) if kind == wanted => {}
            Some(kind) => {
                return Err(OpenError::Retyped {
                    table: table.name.to_owned(),
                    column: column.name.to_owned(),
                    found: kind.to_owned(),
                    wanted: wanted.to_owned(),
                });
            }
            None => add(conn, table, column.name, wanted, column.comment).await.map_err(OpenError::Broken)?,
        }
    }
    Ok(())
}

async fn add(
    conn: &mut Conn,
    table: &Table,
    column: &str,
    kind: &str,
    comment: &str,
) -> Result<(), StoreError> {
    let sql = format!("alter table {} add column {column} {kind}", table.name);
    conn.script(AssertSqlSafe(sql)).await?;
    if !conn.is_sqlite() {
        let comment = comment.replace('\'', "''");
        let sql = format!("comment on column {}.{column} is '{comment}'", table.name);
        conn.script(AssertSqlSafe(sql)).await?;
    }
    Ok(())
}

/// PostgreSQL's catalogue writes some types at length.
fn short(kind: &str) -> &str {
    if kind == "timestamp with time zone" { "timestamptz" } else { kind }
}

pub(super) fn sqlite_type(kind: Kind) -> &'static str {
    match kind {
        // Times are UTC text of fixed width, which sorts and compares as they do.
        Kind::Text | Kind::Timestamp | Kind::Json => "text",
        Kind::Integer => "bigint",
        Kind::Real => "real",
        Kind::Bool => "boolean",
    }
}

pub(super) fn postgres_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "text",
        Kind::Integer => "bigint",
        Kind::Real => "double precision",
        Kind::Bool => "boolean",
        Kind::Timestamp => "timestamptz",
        Kind::Json => "jsonb",
    }
}

/// What happens to a row that is there already: it changes only if its body did, or if it was taken for deleted, and
/// never back to an older observation.
pub(super) fn on_conflict(table: &Table) -> String {
    if table.upkeep == Upkeep::Immutable {
        return " on conflict do nothing".to_owned();
    }
    let sets: Vec<String> = table
        .columns
        .iter()
        .map(|it| it.name)
        .filter(|name| !table.key.contains(name))
        .chain(["raw", "landing_hash", "observed_at", "changed_at", "deleted_at"])
        .map(|name| format!("{name} = excluded.{name}"))
        .collect();
    let name = table.name;
    format!(
        " on conflict (source_id, {}) do update set {} \
         where ({name}.landing_hash <> excluded.landing_hash or {name}.deleted_at is not null) \
         and excluded.observed_at >= {name}.observed_at",
        table.key.join(", "),
        sets.join(", "),
    )
}

/// Writes an instant as UTC text of fixed width. Times before the year 1 become its first instant: PostgreSQL writes
/// them in another way, and no provider has them.
pub(crate) fn instant(at: Timestamp) -> String {
    let at = at.to_zoned(TimeZone::UTC).datetime();
    if at.year() < 1 {
        return "0001-01-01T00:00:00.000Z".to_owned();
    }
    let ms = at.subsec_nanosecond() / 1_000_000;
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{ms:03}Z",
        at.year(),
        at.month(),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}
