//! Partitions: keeps those that follow from the settings and those that listings find.
//!
//! Never forgets one: those that are gone are no longer active.

use std::collections::BTreeMap;

use domain::id::SourceId;
use domain::page::Partition;
use jiff::Timestamp;
use sqlx::AssertSqlSafe;

use crate::db::{Conn, args, to_json};
use crate::dialect::{each, without_nul};
use crate::error::StoreError;

/// How a partition was found.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FoundBy<'a> {
    /// It follows from the settings.
    Settings,
    /// By this stream and partition.
    Listing(&'a str, &'a str),
}

/// Keeps partitions, touching only those that are new or changed, with the checkpoints that new ones start with.
pub(crate) async fn keep(
    conn: &mut Conn,
    source: SourceId,
    partitions: &[Partition],
    by: FoundBy<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    if partitions.is_empty() {
        return Ok(());
    }
    let mut rows = BTreeMap::new();
    for it in partitions {
        let title = ["title", "full_name"].iter().find_map(|name| it.args.get(name)?.as_str());
        let refresh_ms = it.refresh.map(|it| i64::try_from(it.as_millis()).unwrap_or(i64::MAX));
        let args = to_json(&it.args)?;
        // A clock that is ahead must not hide what happens until ours is as late.
        let shown_at = it.shown_at.map(|it| it.min(now).as_millisecond());
        rows.insert(
            (it.stream, &it.key),
            (it.stream, &it.key, args, title.map(|it| without_nul(it.to_owned())), refresh_ms, shown_at),
        );
    }
    let (by_stream, by_key) = match by {
        FoundBy::Settings => (None, None),
        FoundBy::Listing(stream, key) => (Some(stream), Some(key)),
    };
    let rows = to_json(&rows.values().collect::<Vec<_>>())?;
    // What is to be read with other words is read whole once: an unchanged page would not say them on.
    let sql = format!(
        "delete from validators where source_id = $1 and exists (
             select 1 from {} join partitions as known on known.source_id = $1 and known.stream = t.value ->> 0
                 and known.key = t.value ->> 1
             where known.args <> t.value ->> 2 and known.stream = validators.stream
                 and known.key = validators.partition)",
        each(conn, "$2"),
    );
    conn.execute(AssertSqlSafe(sql), args![source, &rows]).await?;
    let sql = format!(
        "insert into partitions
             (source_id, stream, key, args, title, refresh_ms, listed_by_stream, listed_by_key, active, is_valid,
              sign_at)
         select $1, t.value ->> 0, t.value ->> 1, t.value ->> 2, t.value ->> 3,
             cast(t.value ->> 4 as bigint), $3, $4, true, true, cast(t.value ->> 5 as bigint)
         from {} where true
         on conflict (source_id, stream, key) do update
             set args = excluded.args, title = excluded.title, refresh_ms = excluded.refresh_ms, active = true,
                 listed_by_stream = excluded.listed_by_stream, listed_by_key = excluded.listed_by_key,
                 sign_at = case when excluded.sign_at > coalesce(partitions.sign_at, 0) then excluded.sign_at
                     else partitions.sign_at end
             where not partitions.active or partitions.args <> excluded.args
                 or partitions.refresh_ms is distinct from excluded.refresh_ms
                 or partitions.listed_by_stream is distinct from excluded.listed_by_stream
                 or partitions.listed_by_key is distinct from excluded.listed_by_key
                 or excluded.sign_at > coalesce(partitions.sign_at, 0)",
        each(conn, "$2"),
    );
    conn.execute(AssertSqlSafe(sql), args![source, rows, by_stream, by_key]).await?;
    start(conn, source, partitions).await
}

/// Forgets how the listings of partitions stood that are read no more. Should one be read again, all of it is: a page
/// that is answered as unchanged would not bring back what was found through it.
pub(crate) async fn forget_stopped(conn: &mut Conn, source: SourceId) -> Result<(), StoreError> {
    let sql = "delete from validators where source_id = $1 and exists (
            select 1 from partitions where partitions.source_id = $1 and partitions.stream = validators.stream
                and partitions.key = validators.partition and not partitions.active)";
    conn.execute(sql, args![source]).await?;
    Ok(())
}

/// Keeps where the lanes of new partitions begin. One that was read already goes on where it is, in every lane.
async fn start(conn: &mut Conn, source: SourceId, partitions: &[Partition]) -> Result<(), StoreError> {
    let mut rows = Vec::new();
    for it in partitions {
        for (lane, cursor) in &it.start {
            rows.push((it.stream, &it.key, lane.as_str(), to_json(cursor)?));
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "insert into checkpoints (source_id, stream, partition, lane, cursor, plain)
         select $1, t.value ->> 0, t.value ->> 1, t.value ->> 2, t.value ->> 3, false from {}
         where not exists (select 1 from checkpoints as known where known.source_id = $1
             and known.stream = t.value ->> 0 and known.partition = t.value ->> 1)
         on conflict do nothing",
        each(conn, "$2"),
    );
    conn.execute(AssertSqlSafe(sql), args![source, to_json(&rows)?]).await?;
    Ok(())
}
