//! Listings: which keys one has delivered, what makes its pages conditional, and the sweep at its end.
//!
//! Never sweeps after a page that was not read: only a complete listing without validators says what is gone.

use std::collections::{BTreeSet, HashMap};

use domain::page::{Next, Record, Sweep};
use domain::table::{Cell, Table, Upkeep};
use sqlx::AssertSqlSafe;

use super::{Commit, Pass, Validator, place};
use crate::db::{Arg, Conn, args, to_json};
use crate::dialect::{each, without_nul};
use crate::error::{StoreError, corrupt};
use crate::landing::{self, Layouts};
use crate::queue::Lease;
use crate::source::partition;

/// Reads what makes the partition's requests conditional.
pub(super) async fn validators(
    conn: &mut Conn,
    lease: &Lease,
) -> Result<HashMap<String, Validator>, StoreError> {
    let sql =
        "select url, etag, next from validators where source_id = $1 and stream = $2 and partition = $3";
    let rows = conn.rows(sql, args![lease.source, &lease.stream, &lease.partition]).await?;
    rows.iter()
        .map(|row| {
            let url: String = row.get("url")?;
            let place = format!("{} {url}", place(lease));
            let next: Option<Next> = row.json("next", ("validators", &place))?;
            let next = next.ok_or_else(|| corrupt("validators", &place, "next"))?;
            Ok((url, Validator { etag: row.get("etag")?, next }))
        })
        .collect()
}

/// Begins a listing without validators.
pub(super) async fn begin(conn: &mut Conn, lease: &Lease) -> Result<(), StoreError> {
    forget(conn, lease).await?;
    let sql = "insert into checkpoints (source_id, stream, partition, lane, cursor, plain)
        values ($1, $2, $3, $4, null, true)
        on conflict (source_id, stream, partition, lane) do update set plain = true";
    conn.execute(sql, args![lease.source, &lease.stream, &lease.partition, lease.lane.as_str()]).await?;
    Ok(())
}

/// Drops what is known of the listing under way.
pub(super) async fn forget(conn: &mut Conn, lease: &Lease) -> Result<(), StoreError> {
    let of = args![lease.source, &lease.stream, &lease.partition];
    let sql = "delete from seen where source_id = $1 and stream = $2 and partition = $3";
    conn.execute(sql, of.clone()).await?;
    let sql = "delete from validators where source_id = $1 and stream = $2 and partition = $3";
    conn.execute(sql, of).await?;
    Ok(())
}

/// Notes what a page delivered, and its validator.
pub(super) async fn note(
    conn: &mut Conn,
    lease: &Lease,
    commit: &Commit,
    seen: &BTreeSet<[String; 1]>,
) -> Result<(), StoreError> {
    if !seen.is_empty() {
        let sql = format!(
            "insert into seen (source_id, stream, partition, key)
             select $1, $2, $3, t.value ->> 0 from {} where true on conflict do nothing",
            each(conn, "$4"),
        );
        let keys = to_json(seen)?;
        conn.execute(AssertSqlSafe(sql), args![lease.source, &lease.stream, &lease.partition, keys]).await?;
    }
    let Some((url, etag)) = &commit.validator else { return Ok(()) };
    if commit.pass == Pass::Incremental {
        // The next sync begins with this page: those that earlier ones began with are asked for no more.
        let sql =
            "delete from validators where source_id = $1 and stream = $2 and partition = $3 and url <> $4";
        conn.execute(sql, args![lease.source, &lease.stream, &lease.partition, url]).await?;
        read_plainly(conn, lease).await?;
    }
    let sql = "insert into validators (source_id, stream, partition, url, etag, next)
        values ($1, $2, $3, $4, $5, $6)
        on conflict (source_id, stream, partition, url) do update set etag = excluded.etag, next = excluded.next";
    let next = to_json(&commit.page.next)?;
    conn.execute(sql, args![lease.source, &lease.stream, &lease.partition, url, etag, next]).await?;
    Ok(())
}

/// The table that the job's stream lists completely.
fn listed(lease: &Lease, commit: &Commit) -> Option<&'static Table> {
    commit.group.streams.iter().find(|it| it.name == lease.stream)?.lists
}

/// The last key column of each record that a listing delivered, as text, and the keys of the items that it named;
/// nothing for any other page.
pub(super) fn keys(lease: &Lease, commit: &Commit, records: &[Record]) -> BTreeSet<[String; 1]> {
    let (Pass::Plain { .. }, Some(table)) = (commit.pass, listed(lease, commit)) else {
        return BTreeSet::new();
    };
    let records = records.iter().filter(|it| it.table.name == table.name);
    let named = commit.page.wanted.iter().map(|it| [without_nul(it.key.clone())]);
    records
        .filter_map(|it| match it.cells.get(table.key.len().checked_sub(1)?)? {
            Cell::Text(text) => Some([without_nul(text.clone())]),
            Cell::Integer(number) => Some([number.to_string()]),
            _ => None,
        })
        .chain(named)
        .collect()
}

/// Ends a listing without validators: marks what it no longer listed as gone.
pub(super) async fn end(
    conn: &mut Conn,
    layouts: &Layouts,
    lease: &Lease,
    commit: &Commit,
    sweep: Option<&Sweep>,
) -> Result<(), StoreError> {
    if let Some(sweep) = sweep {
        if let Some(table) = listed(lease, commit).filter(|it| it.upkeep == Upkeep::Tracked)
            && layouts.tables().any(|it| it.name == table.name)
        {
            rows(conn, lease, commit, table, sweep.owner).await?;
        }
        if let Some((stream, partition)) = sweep.items.as_deref() {
            items(conn, lease, stream, partition).await?;
        }
        if let Some(stream) = &sweep.partitions {
            partitions(conn, lease, stream).await?;
        }
    }
    let of = args![lease.source, &lease.stream, &lease.partition];
    conn.execute("delete from seen where source_id = $1 and stream = $2 and partition = $3", of).await?;
    read_plainly(conn, lease).await
}

/// Notes that what was to be read without validators has been read: the next time they are used again.
pub(super) async fn read_plainly(conn: &mut Conn, lease: &Lease) -> Result<(), StoreError> {
    let sql = "update checkpoints set plain = false
        where source_id = $1 and stream = $2 and partition = $3 and lane = $4 and plain";
    conn.execute(sql, args![lease.source, &lease.stream, &lease.partition, lease.lane.as_str()]).await?;
    Ok(())
}

/// Whether the listing of arguments `$1` to `$3` delivered `key`.
fn seen(key: &str) -> String {
    format!(
        "exists (select 1 from seen where seen.source_id = $1 and seen.stream = $2 and seen.partition = $3
             and seen.key = cast({key} as text))"
    )
}

fn unseen(key: &str) -> String {
    format!("not {}", seen(key))
}

async fn rows(
    conn: &mut Conn,
    lease: &Lease,
    commit: &Commit,
    table: &Table,
    owner: Option<i64>,
) -> Result<(), StoreError> {
    let Some(key) = table.key.last() else { return Ok(()) };
    let mut args = args![lease.source, &lease.stream, &lease.partition, landing::instant(commit.observed_at)];
    let mut of = String::new();
    if let (Some(owner), Some(first)) = (owner, table.key.first()) {
        of = format!("and {first} = $5");
        args.push(Arg::Int(Some(owner)));
    }
    let at = if conn.is_sqlite() { "$4" } else { "$4::timestamptz" };
    let sql = format!(
        "update {name} set deleted_at = {at}, observed_at = {at}
         where source_id = $1 {of} and deleted_at is null and observed_at <= {at} and {}",
        unseen(&format!("{}.{key}", table.name)),
        name = table.name,
    );
    conn.execute(AssertSqlSafe(sql), args).await?;
    Ok(())
}

async fn items(conn: &mut Conn, lease: &Lease, stream: &str, partition: &str) -> Result<(), StoreError> {
    let sql = format!(
        "delete from items where source_id = $1 and stream = $4 and partition = $5 and {}",
        unseen("items.key"),
    );
    conn.execute(AssertSqlSafe(sql), args![lease.source, &lease.stream, &lease.partition, stream, partition])
        .await?;
    Ok(())
}

/// Stops reading the partitions that are gone, and all that were found through them. Those that had been gone and are
/// listed again are read again, also where their connector would not begin to read them now.
async fn partitions(conn: &mut Conn, lease: &Lease, stream: &str) -> Result<(), StoreError> {
    let sql = format!(
        "update partitions set active = true, listed_by_stream = $2, listed_by_key = $3
         where source_id = $1 and stream = $4 and not active and {}",
        seen("partitions.key"),
    );
    conn.execute(AssertSqlSafe(sql), args![lease.source, &lease.stream, &lease.partition, stream]).await?;
    let sql = format!(
        "with recursive gone (stream, key) as (
             select stream, key from partitions
             where source_id = $1 and listed_by_stream = $2 and listed_by_key = $3 and stream = $4 and active
                 and {}
             union
             select partitions.stream, partitions.key from partitions join gone
                 on partitions.listed_by_stream = gone.stream and partitions.listed_by_key = gone.key
             where partitions.source_id = $1
         )
         update partitions set active = false
         where source_id = $1 and active and (stream, key) in (select stream, key from gone)",
        unseen("partitions.key"),
    );
    conn.execute(AssertSqlSafe(sql), args![lease.source, &lease.stream, &lease.partition, stream]).await?;
    partition::forget_stopped(conn, lease.source).await
}
