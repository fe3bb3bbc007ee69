//! Budgets as the database knows them: one row per source and bucket.
//!
//! Never lets an older word replace a newer one, and never forgets a refusal before its time.

use domain::id::SourceId;
use jiff::Timestamp;
use sqlx::AssertSqlSafe;

use crate::db::{Conn, Row, args, to_json};
use crate::dialect::each;
use crate::error::{StoreError, corrupt};

/// What is known of one budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetRow {
    /// Its name in the account.
    pub bucket: String,
    /// How many requests a full budget has.
    pub limit: Option<i64>,
    /// How many are left.
    pub remaining: Option<i64>,
    /// When it is full again.
    pub resets_at: Option<Timestamp>,
    /// When the provider will answer again after a refusal.
    pub blocked_until: Option<Timestamp>,
    /// When the provider said so; newer words win.
    pub observed_at: Timestamp,
}

pub(crate) async fn save(conn: &mut Conn, source: SourceId, budgets: &[BudgetRow]) -> Result<(), StoreError> {
    // The newest of each bucket: a statement may touch a row only once.
    let mut newest: std::collections::BTreeMap<&str, &BudgetRow> = std::collections::BTreeMap::new();
    for it in budgets {
        let held = newest.entry(&it.bucket).or_insert(it);
        if it.observed_at >= held.observed_at {
            *held = it;
        }
    }
    if newest.is_empty() {
        return Ok(());
    }
    let ms = |at: Option<Timestamp>| at.map(Timestamp::as_millisecond);
    let rows: Vec<_> = newest
        .values()
        .map(|it| {
            let observed_at = it.observed_at.as_millisecond();
            (&it.bucket, it.limit, it.remaining, ms(it.resets_at), ms(it.blocked_until), observed_at)
        })
        .collect();
    // A refusal holds for everybody, whichever process was told it and whenever it comes to say so.
    let longer = "excluded.blocked_until > coalesce(budgets.blocked_until, 0)";
    let newer = "excluded.observed_at >= budgets.observed_at";
    let set = |column: &str, when: &str| {
        format!("{column} = case when {when} then excluded.{column} else budgets.{column} end")
    };
    let columns =
        ["request_limit", "remaining", "resets_at", "observed_at"].map(|it| set(it, newer)).join(", ");
    let sql = format!(
        "insert into budgets (source_id, bucket, request_limit, remaining, resets_at, blocked_until, observed_at)
         select $1, t.value ->> 0, cast(t.value ->> 1 as bigint), cast(t.value ->> 2 as bigint),
             cast(t.value ->> 3 as bigint), cast(t.value ->> 4 as bigint), cast(t.value ->> 5 as bigint)
         from {} where true
         on conflict (source_id, bucket) do update
             set {columns}, {} where {newer} or {longer}",
        each(conn, "$2"),
        set("blocked_until", longer),
    );
    conn.execute(AssertSqlSafe(sql), args![source, to_json(&rows)?]).await?;
    Ok(())
}

/// Selects budgets; conditions follow.
pub(crate) const SELECT: &str =
    "select source_id, bucket, request_limit, remaining, resets_at, blocked_until, observed_at from budgets";

pub(crate) async fn all(conn: &mut Conn, source: SourceId) -> Result<Vec<BudgetRow>, StoreError> {
    let sql = format!("{SELECT} where source_id = $1 order by bucket");
    conn.rows(AssertSqlSafe(sql), args![source]).await?.iter().map(read).collect()
}

pub(crate) fn read(row: &Row) -> Result<BudgetRow, StoreError> {
    let bucket: String = row.get("bucket")?;
    Ok(BudgetRow {
        limit: row.get("request_limit")?,
        remaining: row.get("remaining")?,
        resets_at: row.time("resets_at")?,
        blocked_until: row.time("blocked_until")?,
        observed_at: row.time("observed_at")?.ok_or_else(|| corrupt("budgets", &bucket, "observed_at"))?,
        bucket,
    })
}
