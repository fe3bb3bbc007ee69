//! Removes what nobody needs any more: ended jobs, closed syncs, old events.
//!
//! Never touches a sync that runs or has an active job, nor the last one of a group; and never holds others up: each
//! step is a small transaction. What lands, checkpoints and standings are not for this to remove.

use domain::id::{EventId, SyncId};
use jiff::Timestamp;
use sqlx::AssertSqlSafe;

use crate::Store;
use crate::db::{Conn, args, to_json};
use crate::dialect::{each, for_update};
use crate::error::StoreError;

/// Until when what has ended is kept no longer.
#[derive(Clone, Copy, Debug)]
pub struct Expiry {
    /// What completed before this, and events of before.
    pub completed_before: Timestamp,
    /// What failed, was stopped, or left something unread, before this.
    pub failed_before: Timestamp,
}

/// What a step removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Ended jobs.
    pub jobs: u64,
    /// Closed syncs.
    pub syncs: u64,
}

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Syncs.
    pub syncs: u64,
    /// Jobs.
    pub jobs: u64,
    /// Events.
    pub events: u64,
}

/// Jobs that one step removes at most: some milliseconds of work.
const JOBS_MAX: u32 = 500;

/// Events that one step looks at; they are smaller.
const EVENTS_MAX: u32 = 1000;

impl Store {
    /// Lists closed syncs behind one of which something may be removed, at most `limit`.
    pub async fn expired_syncs(
        &self,
        after: SyncId,
        expiry: Expiry,
        limit: u32,
    ) -> Result<Vec<SyncId>, StoreError> {
        self.inner.db.read((after, expiry, limit), |conn, input| Box::pin(expired(conn, input))).await
    }

    /// Removes what has expired of these syncs; to be called until it removes no job.
    pub async fn remove_expired(&self, syncs: Vec<SyncId>, expiry: Expiry) -> Result<Removed, StoreError> {
        self.inner.db.write((syncs, expiry), 0, |conn, input| Box::pin(remove(conn, input))).await
    }

    /// Removes expired events behind one; returns how many, and the last one looked at while there may be more.
    pub async fn remove_events(
        &self,
        after: EventId,
        expiry: Expiry,
    ) -> Result<(u64, Option<EventId>), StoreError> {
        self.inner.db.write((after, expiry), 0, |conn, input| Box::pin(remove_events(conn, input))).await
    }

    /// Lets the database look after itself where it does not do so anyway, and counts what there is.
    pub async fn tune(&self) -> Result<Sizes, StoreError> {
        self.inner.db.tune().await?;
        self.inner.db.read((), |conn, input| Box::pin(sizes(conn, input))).await
    }
}

/// Says of `syncs` that one may be touched: it is closed, nothing of it goes on, and its group has a later one.
const MAY_BE_TOUCHED: &str = "syncs.state <> 'running'
    and not exists (select 1 from jobs as going where going.sync_id = syncs.id
        and going.state in ('available', 'scheduled', 'retryable', 'running'))
    and not exists (select 1 from standings as last where last.source_id = syncs.source_id
        and last.stream_group = syncs.stream_group and last.sync_id = syncs.id)";

async fn expired(
    conn: &mut Conn,
    (after, expiry, limit): &(SyncId, Expiry, u32),
) -> Result<Vec<SyncId>, StoreError> {
    let sql = format!(
        "select id from syncs where id > $1 and closed_at <= $2 and {MAY_BE_TOUCHED} order by id limit $3"
    );
    let latest = expiry.completed_before.max(expiry.failed_before);
    let rows = conn.rows(AssertSqlSafe(sql), args![*after, latest, *limit]).await?;
    rows.iter().map(|row| row.get("id").map(SyncId)).collect()
}

async fn remove(conn: &mut Conn, (syncs, expiry): &(Vec<SyncId>, Expiry)) -> Result<Removed, StoreError> {
    let ids = |syncs: &[SyncId]| to_json(&syncs.iter().map(|it| [it.0]).collect::<Vec<_>>());
    let among = format!("(select cast(t.value ->> 0 as bigint) from {})", each(conn, "$1"));
    // Locked, so that nothing of them begins to go on meanwhile.
    let sql = format!(
        "select id from syncs where id in {among} and {MAY_BE_TOUCHED} order by id {}",
        for_update(conn)
    );
    let rows = conn.rows(AssertSqlSafe(sql), args![ids(syncs)?]).await?;
    let syncs: Vec<SyncId> = rows.iter().map(|row| row.get("id").map(SyncId)).collect::<Result<_, _>>()?;
    let ids = ids(&syncs)?;
    // A job that left items unread failed in part.
    let sql = format!(
        "delete from jobs where id in (select job.id from jobs as job where job.sync_id in {among}
             and job.state in ('completed', 'discarded', 'cancelled')
             and coalesce(job.finished_at, job.created_at) <= case when job.state = 'completed'
                 and not exists (select 1 from items where items.failed_job = job.id) then $2 else $3 end
             order by job.id limit $4)"
    );
    let (completed, failed) = (expiry.completed_before, expiry.failed_before);
    let jobs = conn.execute(AssertSqlSafe(sql), args![&ids, completed, failed, JOBS_MAX]).await?;
    // The latest that was asked for by hand says how long the cooldown lasts.
    let sql = format!(
        "delete from syncs where id in {among}
             and closed_at <= case when state = 'completed' then $2 else $3 end
             and not exists (select 1 from jobs where jobs.sync_id = syncs.id)
             and (trigger <> 'manual' or exists (select 1 from syncs as later where later.source_id = syncs.source_id
                 and later.stream_group = syncs.stream_group and later.trigger = 'manual' and later.id > syncs.id))"
    );
    let syncs = conn.execute(AssertSqlSafe(sql), args![&ids, completed, failed]).await?;
    Ok(Removed { jobs, syncs })
}

async fn remove_events(
    conn: &mut Conn,
    (after, expiry): &(EventId, Expiry),
) -> Result<(u64, Option<EventId>), StoreError> {
    // They were numbered as they happened, so the old ones stand first.
    let sql = "select max(id) as last, count(*) as looked_at, max(at) as latest
        from (select id, at from events where id > $1 order by id limit $2) as first";
    let row = conn.one(sql, args![*after, EVENTS_MAX]).await?;
    let Some(last) = row.get::<Option<i64>>("last")? else { return Ok((0, None)) };
    let sql = "delete from events where id > $1 and id <= $2 and at <= $3
        and not exists (select 1 from syncs where syncs.id = events.sync_id and syncs.state = 'running')
        and not exists (select 1 from jobs where jobs.sync_id = events.sync_id
            and jobs.state in ('available', 'scheduled', 'retryable', 'running'))";
    let removed = conn.execute(sql, args![*after, last, expiry.completed_before]).await?;
    let whole = row.count("looked_at")? >= u64::from(EVENTS_MAX);
    let more = whole && row.time("latest")?.is_some_and(|at| at <= expiry.completed_before);
    Ok((removed, more.then_some(EventId(last))))
}

async fn sizes(conn: &mut Conn, (): &()) -> Result<Sizes, StoreError> {
    let sql = "select (select count(*) from syncs) as syncs, (select count(*) from jobs) as jobs,
        (select count(*) from events) as events";
    let row = conn.one(sql, args![]).await?;
    Ok(Sizes { syncs: row.count("syncs")?, jobs: row.count("jobs")?, events: row.count("events")? })
}
