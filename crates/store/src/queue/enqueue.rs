//! Requests: what the policy needs to know, and the sync and jobs that follow from its answer.
//!
//! Never decides whether to sync; that two requests do not both start one is the unique index's work.

use std::sync::Arc;

use domain::connector::Group;
use domain::event::Event;
use domain::id::{SourceId, SyncId};
use domain::job::{JobState, Lane, SyncState};
use domain::policy::Decision;
use domain::policy::ledger::Class;
use domain::policy::turn::Turn;
use domain::trigger::Trigger;
use jiff::Timestamp;
use sqlx::AssertSqlSafe;

use super::budget::{self, BudgetRow};
use super::forecast::{self, Forecast};
use super::schedule::{self, Tick};
use super::{HALF_READ, Lease, closing, decision, lane, turn};
use crate::db::{Conn, args, to_json};
use crate::dialect::{each, notify};
use crate::error::StoreError;
use crate::event::{self, About};

/// How long an invalid partition is left alone: it is probed once a day.
pub(crate) const PROBE_EVERY_MS: i64 = 24 * 60 * 60 * 1000;

/// What the store knows of a source and stream group, for the policy.
#[derive(Clone, Debug)]
pub struct StoredFacts {
    /// Whether the source is switched on.
    pub enabled: bool,
    /// Whether it belongs to a tenant that is not revoked.
    pub has_owner: bool,
    /// Active partitions of the group's streams.
    pub partitions: u64,
    /// When a manual sync was last accepted.
    pub last_manual_at: Option<Timestamp>,
    /// When a whole sync last completed.
    pub last_success_at: Option<Timestamp>,
    /// The whole-group forward sync that is running.
    pub active_sync: Option<SyncId>,
    /// What is known of the budgets of the source's account.
    pub budgets: Arc<[BudgetRow]>,
}

/// A request that the policy lets start.
#[derive(Clone, Debug)]
pub struct Enqueue {
    /// The source.
    pub source: SourceId,
    /// The group of streams.
    pub group: &'static Group,
    /// Why it was asked for.
    pub trigger: Trigger,
    /// What the policy answered.
    pub decision: Decision,
    /// The tick that asks, where one does.
    pub tick: Option<Tick>,
    /// What is expected of it.
    pub forecast: Option<Forecast>,
}

/// A request that the policy does not let start.
#[derive(Clone, Debug)]
pub struct Refuse {
    /// The source.
    pub source: SourceId,
    /// The group of streams.
    pub group: &'static Group,
    /// Why it was asked for.
    pub trigger: Trigger,
    /// What the policy answered.
    pub decision: Decision,
    /// The tick that asks, where one does, and whether it met its running sync.
    pub tick: Option<(Tick, bool)>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enqueued {
    /// A sync was made.
    Started {
        /// The sync.
        sync: SyncId,
        /// Its jobs so far.
        jobs: u64,
    },
    /// Another request was quicker; nothing was made.
    Active {
        /// The sync that is running.
        sync: SyncId,
    },
    /// Another process had the tick; nothing was made.
    TickTaken,
}

/// A group's streams: each with its name, its place in the order of claims, and whether it is read by items.
pub(crate) struct Streams(pub Vec<(&'static str, usize, bool)>);

impl Streams {
    pub(crate) fn of(group: &Group) -> Self {
        let streams = group.streams.iter().enumerate();
        Self(streams.map(|(at, it)| (it.name, at, it.item_batch.is_some())).collect())
    }

    pub(crate) fn names(&self) -> Vec<[&'static str; 1]> {
        self.0.iter().map(|it| [it.0]).collect()
    }
}

pub(crate) async fn facts(
    conn: &mut Conn,
    source: SourceId,
    group: &Group,
    now: Timestamp,
) -> Result<StoredFacts, StoreError> {
    let sql = format!(
        "select enabled, exists (select 1 from tenants where id = tenant_id and revoked_at is null) as has_owner,
            (select count(*) from partitions where source_id = $1 and active
                and stream in (select t.value ->> 0 from {})) as partitions,
            (select max(created_at) from syncs where source_id = $1 and stream_group = $3
                and trigger = 'manual' and whole) as last_manual_at,
            (select last_success_at from standings where source_id = $1 and stream_group = $3) as last_success_at,
            (select id from syncs where source_id = $1 and stream_group = $3
                and state = 'running' and whole) as active_sync
        from sources where id = $1 and removed_at is null",
        each(conn, "$2"),
    );
    let streams = to_json(&Streams::of(group).0)?;
    let row = conn.one(AssertSqlSafe(sql), args![source, streams, group.name]).await?;
    Ok(StoredFacts {
        enabled: row.get("enabled")?,
        has_owner: row.get("has_owner")?,
        partitions: row.count("partitions")?,
        // A clock that was set back must not make a cooldown longer than it is.
        last_manual_at: row.time("last_manual_at")?.map(|at| at.min(now)),
        last_success_at: row.time("last_success_at")?.map(|at| at.min(now)),
        active_sync: row.get::<Option<i64>>("active_sync")?.map(SyncId),
        budgets: budget::of_source(conn, source).await?.into(),
    })
}

/// Makes a sync with one job per partition that is to be read.
pub(crate) async fn enqueue(
    conn: &mut Conn,
    (request, now): &(Enqueue, Timestamp),
) -> Result<Enqueued, StoreError> {
    let now = *now;
    if let Some(tick) = &request.tick
        && !schedule::take(conn, request.source, request.group.name, tick, now).await?
    {
        return Ok(Enqueued::TickTaken);
    }
    let class = Class::of(request.trigger, Lane::Forward);
    let mut turn = turn::begins(conn, request.source, class).await?;
    let sql = "insert into syncs (source_id, stream_group, trigger, whole, state, created_at, class, turn)
        select id, $2, $3, true, $4, $5, $6, $7 from sources where id = $1 and removed_at is null
        on conflict do nothing returning id";
    let running = SyncState::Running.as_str();
    let mut args = args![request.source, request.group.name, request.trigger.as_str(), running, now];
    args.extend(args![class.rank(), turn.at - class.behind()]);
    let Some(row) = conn.row(sql, args).await? else {
        if request.tick.is_some() {
            schedule::skip(conn, request.source, request.group.name, now).await?;
        }
        return active(conn, request).await;
    };
    let sync = SyncId(row.get("id")?);
    record_request(
        conn,
        (request.source, request.group.name),
        request.trigger,
        request.decision,
        Some(sync),
        now,
    )
    .await?;
    if let Some(expected) = request.forecast {
        forecast::keep(conn, (request.source, request.group.name), sync, expected, now).await?;
    }
    let streams = Streams::of(request.group);
    for place in &streams.0 {
        let made = insert_jobs(conn, sync, place, None, turn, now).await?;
        turn.at = turn.at.saturating_add(turn.stride.saturating_mul(i64::try_from(made).unwrap_or(i64::MAX)));
        adopt(conn, request.source, sync, place.0, now).await?;
        run_again(conn, request.source, sync, place.0).await?;
    }
    lane::reread(conn, request.source, &streams.names(), now).await?;
    let opened = lane::open(conn, request.source, (request.group.name, &streams.names()), now).await?;
    let row = conn.one("select count(*) as jobs from jobs where sync_id = $1", args![sync]).await?;
    let jobs = row.count("jobs")?;
    if jobs == 0 {
        closing::close_if_done(conn, sync, now).await?;
    }
    if jobs > 0 || opened {
        wake(conn).await?;
    }
    Ok(Enqueued::Started { sync, jobs })
}

async fn active(conn: &mut Conn, request: &Enqueue) -> Result<Enqueued, StoreError> {
    let there = "select id from sources where id = $1 and removed_at is null";
    conn.one(there, args![request.source]).await?;
    let sql =
        "select id from syncs where source_id = $1 and stream_group = $2 and state = 'running' and whole";
    // Where it closed in between, the whole transaction is tried again.
    let row = conn.row(sql, args![request.source, request.group.name]).await?.ok_or(StoreError::Busy)?;
    Ok(Enqueued::Active { sync: SyncId(row.get("id")?) })
}

/// Keeps that a request was not let through, and why; false when it was of a tick that another process had.
pub(crate) async fn refuse(
    conn: &mut Conn,
    (refused, now): &(Refuse, Timestamp),
) -> Result<bool, StoreError> {
    if let Some((tick, met_running)) = &refused.tick {
        let group = refused.group.name;
        if !schedule::take(conn, refused.source, group, tick, *now).await? {
            return Ok(false);
        }
        if *met_running {
            schedule::skip(conn, refused.source, group, *now).await?;
        }
    }
    record_request(conn, (refused.source, refused.group.name), refused.trigger, refused.decision, None, *now)
        .await?;
    Ok(true)
}

/// Makes the jobs of the partitions `keys` of a stream that a page of `lease` found, and returns how many.
pub(crate) async fn jobs_of(
    conn: &mut Conn,
    lease: &Lease,
    place: &(&'static str, usize, bool),
    keys: &str,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let line = turn::line(conn, lease.source, lease.turn.class).await?;
    insert_jobs(conn, lease.sync, place, Some(keys), line.follows(lease.turn), now).await
}

/// Makes a job for each partition that is to be read and has no active one, the first of them at `turn`.
///
/// Also in a sync that closed as partial: a job of it that was blocked and went on finds work like any other. Never in
/// one that a person stopped: its last pages may still find some.
pub(super) async fn insert_jobs(
    conn: &mut Conn,
    sync: SyncId,
    (stream, priority, by_items): &(&'static str, usize, bool),
    keys: Option<&str>,
    turn: Turn,
    now: Timestamp,
) -> Result<u64, StoreError> {
    let among = keys.map_or(String::new(), |_| {
        format!("and partition.key in (select t.value ->> 0 from {})", each(conn, "$10"))
    });
    // A stream of items is read when one is due; any other once in a sync, unless it was read a short while ago.
    let due = if *by_items {
        "and exists (select 1 from items as item where item.source_id = partition.source_id
             and item.stream = partition.stream and item.partition = partition.key
             and item.have is distinct from item.wanted)"
    } else {
        "and (partition.refresh_ms is null or partition.last_synced_at is null
             or partition.last_synced_at <= $5 - partition.refresh_ms)
         and not exists (select 1 from jobs as own where own.source_id = sync.source_id and own.sync_id = sync.id
             and own.stream = partition.stream and own.partition = partition.key)"
    };
    let sql = format!(
        "insert into jobs (sync_id, source_id, stream_group, stream, partition, lane, state, priority, not_before,
             attempt, rescues, generation, again, cancel_requested, pages, records, rows_written, requests,
             created_at, class, turn, stride)
         select sync.id, sync.source_id, sync.stream_group, partition.stream, partition.key, 'forward', $3, $4, $5,
             0, 0, 0, false, false, 0, 0, 0, 0, $5, $7, $8 + $9 * (row_number() over (order by partition.key) - 1), $9
         from syncs as sync join partitions as partition on partition.source_id = sync.source_id
         where sync.id = $1 and sync.state in ('running', 'partial') and partition.stream = $2 and partition.active
             and not exists (select 1 from jobs as stopped where stopped.sync_id = sync.id
                 and stopped.cancel_requested)
             and (partition.is_valid or partition.invalid_at <= $5 - $6 or sync.trigger = 'manual') {due} {among}
         order by partition.key
         on conflict do nothing",
    );
    let available = JobState::Available.as_str();
    let mut args = args![sync, *stream, available, *priority, now, PROBE_EVERY_MS];
    args.extend(args![turn.class.rank(), turn.at, turn.stride]);
    args.extend(keys.map(Into::into));
    conn.execute(AssertSqlSafe(sql), args).await
}

/// Takes over jobs that a closed sync left blocked and that are due by now.
async fn adopt(
    conn: &mut Conn,
    source: SourceId,
    sync: SyncId,
    stream: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    // What one of them has read already may have changed since, so it runs once more.
    let sql = format!(
        "update jobs set sync_id = $1, again = again or {HALF_READ}
         where source_id = $2 and stream = $3 and lane = 'forward' and not_before <= $4
             and state in ('available', 'scheduled', 'retryable')
             and sync_id in (select id from syncs where source_id = $2 and state <> 'running')",
    );
    conn.execute(AssertSqlSafe(sql), args![sync, source, stream, now]).await?;
    Ok(())
}

/// Has jobs that an earlier sync left behind and that run at this moment run once more: they may have read past what this
/// one was asked for.
async fn run_again(conn: &mut Conn, source: SourceId, sync: SyncId, stream: &str) -> Result<(), StoreError> {
    let sql = "update jobs set again = true
        where source_id = $1 and stream = $2 and lane = 'forward' and state = 'running' and sync_id <> $3";
    conn.execute(sql, args![source, stream, sync]).await?;
    Ok(())
}

/// Keeps what was asked and answered.
pub(crate) async fn record_request(
    conn: &mut Conn,
    (source, group): (SourceId, &str),
    trigger: Trigger,
    decision: Decision,
    sync: Option<SyncId>,
    now: Timestamp,
) -> Result<(), StoreError> {
    decision::keep(conn, (source, group), trigger, decision, sync, now).await?;
    let event = Event::SyncRequest { installation_id: source, trigger, result: decision };
    event::record(conn, now, &event, About { source, sync, job: None }).await
}

/// Wakes workers of other processes at commit.
pub(crate) async fn wake(conn: &mut Conn) -> Result<(), StoreError> {
    if let Some(sql) = notify(conn) {
        conn.execute(sql, args![]).await?;
    }
    Ok(())
}
