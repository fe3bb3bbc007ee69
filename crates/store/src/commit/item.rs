//! Items: what is due in a partition, how far it is read, and what went wrong with it.
//!
//! Never makes a job; [`super::discover`] does.

use domain::job::Lane;
use domain::page::{Cursor, Item, Wanted};
use jiff::Timestamp;
use sqlx::AssertSqlSafe;

use super::{Commit, census, fence, place};
use crate::db::{Conn, args, to_json};
use crate::dialect::{each, without_nul};
use crate::error::StoreError;
use crate::queue::Lease;

/// Reads the items to go on with: those that others may start from come first.
pub(crate) async fn due(conn: &mut Conn, lease: &Lease, max: u32) -> Result<Vec<Item>, StoreError> {
    if lease.lane == Lane::Census {
        return census::due(conn, lease, max).await;
    }
    let sql = "select item.key, item.have, item.args, item.cursor,
            case when item.cursor is null then item.wanted else coalesce(item.reading, item.wanted) end as wanted,
            case when item.no_base then null else base.have end as base
        from items as item
        left join items as base on base.source_id = item.source_id and base.stream = item.stream
            and base.partition = item.partition and base.key = item.base
        where item.source_id = $1 and item.stream = $2 and item.partition = $3
            and item.have is distinct from item.wanted and item.failed_job is distinct from $4
        order by item.base is not null, item.key
        limit $5";
    let rows = conn.rows(sql, args![lease.source, &lease.stream, &lease.partition, lease.job, max]).await?;
    rows.iter()
        .map(|row| {
            let key: String = row.get("key")?;
            let place = format!("{} {key}", place(lease));
            Ok(Item {
                have: row.get("have")?,
                wanted: row.get("wanted")?,
                base: row.get("base")?,
                args: row.json("args", ("items", &place))?.unwrap_or_default(),
                cursor: row.json("cursor", ("items", &place))?,
                key,
            })
        })
        .collect()
}

/// Says whether there is an item to go on with.
pub(super) async fn any_due(conn: &mut Conn, lease: &Lease) -> Result<bool, StoreError> {
    // In the order of the index of what is due, so that nothing else is looked through.
    let sql = "select key from items where source_id = $1 and stream = $2 and partition = $3
            and have is distinct from wanted and failed_job is distinct from $4
        order by base is not null, key limit 1";
    let args = args![lease.source, &lease.stream, &lease.partition, lease.job];
    Ok(conn.row(sql, args).await?.is_some())
}

/// Keeps where the walk of an item stands, and the version that it reads.
pub(super) async fn walk(
    conn: &mut Conn,
    lease: &Lease,
    key: &str,
    version: &str,
    cursor: &Cursor,
) -> Result<(), StoreError> {
    let sql = "update items set cursor = $5, reading = $6
        where source_id = $1 and stream = $2 and partition = $3 and key = $4";
    let cursor = to_json(cursor)?;
    conn.execute(sql, args![lease.source, &lease.stream, &lease.partition, key, cursor, version]).await?;
    Ok(())
}

/// Marks items as read: what we have is now the version that was read, which need not be the one wanted by now.
pub(super) async fn done(conn: &mut Conn, lease: &Lease, commit: &Commit) -> Result<(), StoreError> {
    let done: Vec<&(String, String)> =
        commit.read.iter().filter(|it| commit.page.done.contains(&it.0)).collect();
    if done.is_empty() {
        return Ok(());
    }
    let rows = each(conn, "$4");
    // By their keys first: joined alone, all items of the partition may be looked through for each page.
    let sql = format!(
        "update items set have = done.version, cursor = null, reading = null, attempts = 0, error_code = null,
             error_detail = null, failed_job = null
         from (select t.value ->> 0 as key, t.value ->> 1 as version from {rows}) as done
         where items.source_id = $1 and items.stream = $2 and items.partition = $3
             and items.key in (select t.value ->> 0 from {rows}) and items.key = done.key",
    );
    let rows = to_json(&done)?;
    conn.execute(AssertSqlSafe(sql), args![lease.source, &lease.stream, &lease.partition, rows]).await?;
    Ok(())
}

/// Keeps what a listing found that items should be at; touches only those that are new or moved.
pub(super) async fn want(conn: &mut Conn, lease: &Lease, wanted: &[Wanted]) -> Result<(), StoreError> {
    if wanted.is_empty() {
        return Ok(());
    }
    let mut rows = std::collections::BTreeMap::new();
    for it in wanted {
        // PostgreSQL refuses to touch a row twice in one statement: of two findings the last one wins.
        let key = (it.stream, &it.partition, &it.key);
        let args = to_json(&it.args)?;
        let base = it.base.clone().map(without_nul);
        rows.insert(
            key,
            (
                it.stream,
                &it.partition,
                without_nul(it.key.clone()),
                without_nul(it.version.clone()),
                base,
                args,
            ),
        );
    }
    let sql = format!(
        "insert into items (source_id, stream, partition, key, wanted, base, args, no_base, attempts)
         select $1, t.value ->> 0, t.value ->> 1, t.value ->> 2, t.value ->> 3, t.value ->> 4, t.value ->> 5,
             false, 0
         from {} where true
         on conflict (source_id, stream, partition, key) do update
             set wanted = excluded.wanted, base = excluded.base, args = excluded.args
             where items.wanted <> excluded.wanted or items.args <> excluded.args
                 or items.base is distinct from excluded.base",
        each(conn, "$2"),
    );
    let rows = to_json(&rows.values().collect::<Vec<_>>())?;
    conn.execute(AssertSqlSafe(sql), args![lease.source, rows]).await?;
    Ok(())
}

/// Forgets what was read of an item, and that it may start from another.
pub(super) async fn start_over(conn: &mut Conn, lease: &Lease, key: &str) -> Result<(), StoreError> {
    let sql = "update items set cursor = null, reading = null, have = null, no_base = true
        where source_id = $1 and stream = $2 and partition = $3 and key = $4";
    conn.execute(sql, args![lease.source, &lease.stream, &lease.partition, key]).await?;
    Ok(())
}

/// Gives an item up for this job; the next one tries it again from where it stands.
pub(crate) async fn fail(
    conn: &mut Conn,
    (lease, key, (code, detail), requests, now): &(Lease, String, (String, String), u64, Timestamp),
) -> Result<(), StoreError> {
    if lease.lane == Lane::Census {
        return census::give_up(conn, (lease, key, *requests, *now)).await;
    }
    fence(conn, lease, *requests, *now).await?;
    let sql = "update items set attempts = attempts + 1, error_code = $5, error_detail = $6, failed_job = $7
        where source_id = $1 and stream = $2 and partition = $3 and key = $4";
    conn.execute(
        sql,
        args![
            lease.source,
            &lease.stream,
            &lease.partition,
            key,
            without_nul(code.clone()),
            without_nul(detail.clone()),
            lease.job
        ],
    )
    .await?;
    Ok(())
}
