//! Keeps the partitions that a page found, and makes the jobs that follow from them in the same sync.
//!
//! Never makes a second active job of a partition: the unique index decides.

use std::collections::{BTreeMap, BTreeSet};

use domain::job::Lane;
use domain::page::Partition;
use jiff::Timestamp;
use sqlx::AssertSqlSafe;

use super::Commit;
use crate::db::{Conn, args, to_json};
use crate::dialect::each;
use crate::error::StoreError;
use crate::queue::enqueue::{self, Streams};
use crate::queue::{Lease, lane, schedule};
use crate::source::partition::{self, FoundBy};

/// Keeps what a page found and makes its jobs.
pub(super) async fn found(
    conn: &mut Conn,
    lease: &Lease,
    commit: &Commit,
    now: Timestamp,
) -> Result<(), StoreError> {
    let page = &commit.page;
    let mut touched: BTreeSet<(&str, &str)> =
        page.partitions.iter().map(|it| (it.stream, it.key.as_str())).collect();
    touched.extend(page.wanted.iter().map(|it| (it.stream, it.partition.as_str())));
    if touched.is_empty() {
        return Ok(());
    }
    let grown = grown(conn, lease, commit).await?;
    let by = FoundBy::Listing(&lease.stream, &lease.partition);
    partition::keep(conn, lease.source, &page.partitions, by, now).await?;
    for group in grown {
        schedule::hasten(conn, lease.source, group, now).await?;
    }
    if lease.lane != Lane::Forward {
        // The next forward sync reads what another lane found.
        return Ok(());
    }
    let streams = Streams::of(commit.group);
    let mut opened = false;
    if page.partitions.iter().any(|it| it.start.iter().any(|it| it.0 != Lane::Forward)) {
        opened = lane::open(conn, lease.source, (commit.group.name, &streams.names()), now).await?;
    }
    let by_stream = touched.iter().fold(BTreeMap::<&str, Vec<&str>>::new(), |mut all, (stream, key)| {
        all.entry(stream).or_default().push(key);
        all
    });
    let mut made = 0;
    for (stream, keys) in by_stream {
        let Some(place) = streams.0.iter().find(|it| it.0 == stream) else { continue };
        let keys = to_json(&keys.iter().map(|key| [key]).collect::<Vec<_>>())?;
        made += enqueue::jobs_of(conn, lease, place, &keys, now).await?;
        run_again(conn, lease, place, &keys).await?;
    }
    if made > 0 || opened {
        enqueue::wake(conn).await?;
    }
    Ok(())
}

/// Names the groups, other than the job's own, of which a page found a partition that was not known.
async fn grown(conn: &mut Conn, lease: &Lease, commit: &Commit) -> Result<Vec<&'static str>, StoreError> {
    let mut grown = Vec::new();
    for group in commit.groups.iter().filter(|it| it.name != commit.group.name) {
        let is_of_group = |it: &&Partition| group.streams.iter().any(|stream| stream.name == it.stream);
        let found: Vec<(&str, &String)> =
            commit.page.partitions.iter().filter(is_of_group).map(|it| (it.stream, &it.key)).collect();
        if found.is_empty() {
            continue;
        }
        let sql = format!(
            "select t.value ->> 1 as key from {} where not exists (select 1 from partitions as known
                 where known.source_id = $1 and known.stream = t.value ->> 0 and known.key = t.value ->> 1)
             limit 1",
            each(conn, "$2"),
        );
        if conn.row(AssertSqlSafe(sql), args![lease.source, to_json(&found)?]).await?.is_some() {
            grown.push(group.name);
        }
    }
    Ok(grown)
}

/// Tells jobs that are under way that there is more to read than they may have seen: in a stream of items whenever
/// something is due, otherwise when the job belongs to another sync. A claim resets it, because it sees everything.
async fn run_again(
    conn: &mut Conn,
    lease: &Lease,
    (stream, _, by_items): &(&str, usize, bool),
    keys: &str,
) -> Result<(), StoreError> {
    let which = if *by_items {
        "and exists (select 1 from items where items.source_id = $1 and items.stream = $2
             and items.partition = jobs.partition and items.have is distinct from items.wanted
             and items.failed_job is distinct from jobs.id)"
    } else {
        "and sync_id <> $4 and not exists (select 1 from jobs as own where own.source_id = $1 and own.sync_id = $4
             and own.stream = $2 and own.partition = jobs.partition)"
    };
    let sql = format!(
        "update jobs set again = true
         where source_id = $1 and stream = $2 and partition in (select t.value ->> 0 from {}) and lane = 'forward'
             and state in ('available', 'scheduled', 'retryable', 'running') and not again and id <> $5
             and $4 > 0 {which}",
        each(conn, "$3"),
    );
    let args = args![lease.source, *stream, keys, lease.sync, lease.job];
    conn.execute(AssertSqlSafe(sql), args).await?;
    Ok(())
}
