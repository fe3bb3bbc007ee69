//! What a census's job commits: the ids that are listed, at the listing's end the rows that are absent, and what became of
//! each.
//!
//! Never marks a row: `queue::census` does, when all is known.

use domain::census::Counted;
use domain::page::{Item, Next};
use jiff::Timestamp;
use serde_json::Value;
use sqlx::AssertSqlSafe;

use super::{Commit, fence, place};
use crate::db::{Conn, Row, args, to_json};
use crate::dialect::{each, without_nul};
use crate::error::{StoreError, corrupt};
use crate::landing;
use crate::queue::Lease;
use crate::queue::census::{forget, name};

/// Absent rows that one census looks up, a request or a little more for each: a tenth of what GitHub answers in an hour.
/// Of more the next census looks up others first.
const LOOKUPS_MAX: u32 = 500;

/// A census that a job is at work on.
struct Under {
    id: i64,
    began_at: Timestamp,
    counts: String,
    owner: String,
    key: String,
    lookup: Vec<String>,
}

/// The census under way of the partition of arguments `$1` to `$3`.
const UNDER_WAY: &str =
    "source_id = $1 and stream = $2 and partition = $3 and state = 'counting' order by id desc limit 1";

/// Says whether all ids are listed, so that what is left to do is to look absent ones up.
pub(crate) async fn is_listed(conn: &mut Conn, lease: &Lease) -> Result<bool, StoreError> {
    let sql = format!("select listed_at from censuses where {UNDER_WAY}");
    let row = conn.row(AssertSqlSafe(sql), of(lease)).await?;
    row.map_or(Ok(false), |row| Ok(row.time("listed_at")?.is_some()))
}

fn of(lease: &Lease) -> Vec<crate::db::Arg> {
    args![lease.source, &lease.stream, &lease.partition]
}

/// Keeps what a page found.
pub(super) async fn note(
    conn: &mut Conn,
    lease: &Lease,
    commit: &Commit,
    now: Timestamp,
) -> Result<(), StoreError> {
    if let Some(counted) = &commit.page.counted {
        keep(conn, lease, counted).await?;
    }
    if commit.read.is_empty() && matches!(commit.page.next, Next::CaughtUp { .. }) {
        listed(conn, lease, now).await?;
    }
    Ok(())
}

/// Keeps the ids that were listed, and what became of absent ones.
async fn keep(conn: &mut Conn, lease: &Lease, counted: &Counted) -> Result<(), StoreError> {
    if !counted.present.is_empty() {
        let keys: Vec<[String; 1]> = counted.present.iter().map(|it| [without_nul(it.clone())]).collect();
        let sql = format!(
            "insert into census_seen (source_id, stream, partition, key)
             select $1, $2, $3, t.value ->> 0 from {} where true on conflict do nothing",
            each(conn, "$4"),
        );
        let mut args = of(lease);
        args.push(to_json(&keys)?.into());
        conn.execute(AssertSqlSafe(sql), args).await?;
    }
    if !counted.judged.is_empty() {
        let judged: Vec<_> = counted
            .judged
            .iter()
            .map(|it| {
                (without_nul(it.key.clone()), it.absence.as_str(), it.moved_to.clone().map(without_nul))
            })
            .collect();
        judge(conn, lease, &to_json(&judged)?).await?;
    }
    Ok(())
}

async fn judge(conn: &mut Conn, lease: &Lease, judged: &str) -> Result<(), StoreError> {
    let sql = format!(
        "update census_absences set absence = judged.absence, moved_to = judged.moved_to
         from (select t.value ->> 0 as key, t.value ->> 1 as absence, t.value ->> 2 as moved_to from {}) as judged
         where census_absences.census_id = (select id from censuses where {UNDER_WAY})
             and census_absences.key = judged.key",
        each(conn, "$4"),
    );
    let mut args = of(lease);
    args.push(judged.into());
    conn.execute(AssertSqlSafe(sql), args).await?;
    Ok(())
}

/// Ends the listing: what was there when it began, and was not listed, is absent.
async fn listed(conn: &mut Conn, lease: &Lease, now: Timestamp) -> Result<(), StoreError> {
    // A lane that a connector began by itself counts nothing.
    let Some(it) = under_way(conn, lease).await? else { return Ok(()) };
    let (table, owner, key) = (name(&it.counts)?, name(&it.owner)?, name(&it.key)?);
    let began = if conn.is_sqlite() { "$4" } else { "$4::timestamptz" };
    // What landed after it was begun may have been made behind the page that would have named it.
    let there = format!(
        "from {table} as there where there.source_id = $1 and there.{owner} = cast($3 as bigint)
             and there.deleted_at is null and there.first_seen < {began}"
    );
    let unseen = format!(
        "not exists (select 1 from census_seen as seen where seen.source_id = $1 and seen.stream = $2
             and seen.partition = $3 and seen.key = cast(there.{key} as text))"
    );
    let mut fields = Vec::new();
    for column in &it.lookup {
        let column = name(column)?;
        fields.push(format!("'{column}', cast(there.{column} as text)"));
    }
    let object = if conn.is_sqlite() { "json_object" } else { "json_build_object" };
    let fields = fields.join(", ");
    let mut args = of(lease);
    args.push(landing::instant(it.began_at).into());
    let of_census = |more: Vec<crate::db::Arg>| args.iter().cloned().chain(more).collect::<Vec<_>>();
    let sql = format!(
        "insert into census_absences (census_id, source_id, key, args, marked, restored)
         select $5, $1, cast(there.{key} as text), cast({object}({fields}) as text), false,
             exists (select 1 from census_absences as earlier join censuses as other
                 on other.id = earlier.census_id and other.stream = $2 and other.partition = $3
                 where earlier.source_id = $1 and earlier.key = cast(there.{key} as text) and earlier.restored)
         {there} and {unseen}
         order by coalesce((select max(other.id) from censuses as other join census_absences as earlier
             on earlier.census_id = other.id and earlier.key = cast(there.{key} as text)
             where other.source_id = $1 and other.stream = $2 and other.partition = $3), 0), there.{key}
         limit $6 on conflict do nothing"
    );
    conn.execute(AssertSqlSafe(sql), of_census(args![it.id, LOOKUPS_MAX])).await?;
    let sql = format!(
        "update censuses set listed_at = $5, listed = (select count(*) from census_seen
                 where source_id = $1 and stream = $2 and partition = $3),
             known = (select count(*) {there}), absent = (select count(*) {there} and {unseen})
         where id = $6"
    );
    conn.execute(AssertSqlSafe(sql), of_census(args![now, it.id])).await?;
    forget(conn, lease.source, &lease.stream, &lease.partition).await
}

async fn under_way(conn: &mut Conn, lease: &Lease) -> Result<Option<Under>, StoreError> {
    let sql = format!("select * from censuses where {UNDER_WAY}");
    let row = conn.row(AssertSqlSafe(sql), of(lease)).await?;
    let Some(row) = row else { return Ok(None) };
    let id: i64 = row.get("id")?;
    Ok(Some(Under {
        id,
        began_at: row.time("began_at")?.ok_or_else(|| corrupt("censuses", id, "began_at"))?,
        counts: row.get("counts")?,
        owner: row.get("owner_column")?,
        key: row.get("key_column")?,
        lookup: row.json("lookup_columns", ("censuses", &id))?.unwrap_or_default(),
    }))
}

/// Reads absent ones to look up.
pub(super) async fn due(conn: &mut Conn, lease: &Lease, max: u32) -> Result<Vec<Item>, StoreError> {
    let sql = format!(
        "select key, args from census_absences
         where census_id = (select id from censuses where {UNDER_WAY}) and absence is null order by key limit $4"
    );
    let mut args = of(lease);
    args.push(max.into());
    let rows = conn.rows(AssertSqlSafe(sql), args).await?;
    rows.iter().map(|row| item(row, lease)).collect()
}

fn item(row: &Row, lease: &Lease) -> Result<Item, StoreError> {
    Ok(Item {
        key: row.get("key")?,
        have: None,
        wanted: String::new(),
        base: None,
        args: row.json("args", ("census_absences", &place(lease)))?.unwrap_or(Value::Null),
        cursor: None,
    })
}

/// Gives up to look one up: nothing is known of it.
pub(super) async fn give_up(
    conn: &mut Conn,
    (lease, key, requests, now): (&Lease, &str, u64, Timestamp),
) -> Result<(), StoreError> {
    fence(conn, lease, requests, now).await?;
    judge(conn, lease, &to_json(&[(key, "unobserved", Option::<String>::None)])?).await
}
