//! The queue: claims with leases, heartbeats, rescues. Our own thin one; docs/decisions/0001-queue.md says why.
//!
//! Never decides what becomes of a job that ended; [`settle`] does, by the policy's verdict.

pub(crate) mod budget;
pub(crate) mod census;
pub(crate) mod chore;
pub(crate) mod closing;
pub(crate) mod decision;
pub(crate) mod enqueue;
pub(crate) mod forecast;
pub(crate) mod heal;
pub(crate) mod hint;
pub(crate) mod lane;
pub(crate) mod rescue;
pub(crate) mod retention;
pub(crate) mod schedule;
pub(crate) mod settle;
pub(crate) mod target;
pub(crate) mod turn;
pub(crate) mod wakeup;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use domain::event::Event;
use domain::id::{JobId, SourceId, SyncId};
use domain::job::{JobState, Lane};
use domain::policy::ledger::Class;
use domain::policy::turn::Turn;
use jiff::{SignedDuration, Timestamp};
use sqlx::AssertSqlSafe;

use crate::db::{Conn, Row, args, to_json};
use crate::dialect::{each, skip_locked};
use crate::error::{StoreError, corrupt};
use crate::event::{self, About};

/// The timed right to run a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The job.
    pub job: JobId,
    /// The fence: a later claim has a higher one.
    pub generation: i64,
    /// When it runs out.
    pub until: Timestamp,
    /// The job's source.
    pub source: SourceId,
    /// The job's sync.
    pub sync: SyncId,
    /// The group of its stream.
    pub group: String,
    /// Its stream.
    pub stream: String,
    /// Its partition.
    pub partition: String,
    /// Its lane.
    pub lane: Lane,
    /// Which attempt this is since the last progress, from 1.
    pub attempt: u32,
    /// Its place in the queue: the one that it was claimed at, or how far it has come since.
    pub turn: Turn,
}

/// Who wants work.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The process.
    pub node: String,
    /// The worker in it.
    pub worker: String,
    /// Only of these sources; `None` takes any.
    pub sources: Option<Vec<SourceId>>,
    /// But not of these.
    pub except: Vec<SourceId>,
    /// How many jobs at most.
    pub max: u32,
    /// How long they are held.
    pub lease: SignedDuration,
}

/// What has happened to jobs that a process holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    /// They belong to another claim, or to none.
    pub lost: Vec<JobId>,
    /// A person asked them to stop.
    pub cancelled: Vec<JobId>,
}

/// Partitions of a sync up to which they are counted for each job that starts: that takes some microseconds.
const COUNTED_MAX: i64 = 100;

/// How long a larger count is told again, in milliseconds: counting ten thousand takes ten, and each of them has jobs.
const COUNTED_MS: i64 = 1000;

/// Syncs whose counts are kept at once; more than run at once in most places.
const SIZES_MAX: usize = 256;

/// How many partitions large syncs have, as last counted.
#[derive(Debug, Default)]
pub(crate) struct Sizes(Mutex<HashMap<SyncId, (i64, Timestamp)>>);

impl Sizes {
    fn known(&self, sync: SyncId, now: Timestamp) -> Option<i64> {
        let sizes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (partitions, at) = *sizes.get(&sync)?;
        let age_ms = now.as_millisecond() - at.as_millisecond();
        (0..COUNTED_MS).contains(&age_ms).then_some(partitions)
    }

    fn keep(&self, sync: SyncId, partitions: i64, now: Timestamp) {
        if partitions <= COUNTED_MAX {
            return;
        }
        let mut sizes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sizes.len() >= SIZES_MAX {
            sizes.clear();
        }
        sizes.insert(sync, (partitions, now));
    }
}

fn among(conn: &Conn, sources: Option<&[SourceId]>, argument: &str) -> Result<(String, String), StoreError> {
    let Some(sources) = sources else { return Ok((String::new(), "[]".to_owned())) };
    let ids: Vec<[i64; 1]> = sources.iter().map(|it| [it.0]).collect();
    // The plus keeps both databases from looking through all jobs that the sources ever had, instead of those that wait.
    let sql =
        format!("and +source_id in (select cast(t.value ->> 0 as bigint) from {})", each(conn, argument));
    Ok((sql, to_json(&ids)?))
}

/// Whether a job goes on in the midst of a listing: what was asked for meanwhile may have changed what it has read.
pub(crate) const HALF_READ: &str =
    "exists (select 1 from checkpoints as place where place.source_id = jobs.source_id
    and place.stream = jobs.stream and place.partition = jobs.partition and place.lane = jobs.lane
    and place.cursor is not null)";

/// What is ready, the first to be claimed first. Jobs that wait for a time are not looked through, however many wait for a
/// limit: [`ready`] brings in those whose time has come.
pub(crate) const IN_TURN: &str = "order by turn, priority, id";

/// Jobs that become ready at a time: a reset may free ten thousand, and whoever claims next brings in the rest.
const READY_MAX: i64 = 1000;

/// Makes jobs ready whose time has come, before any is claimed: then all of them stand in one order.
pub(crate) async fn ready(conn: &mut Conn, now: Timestamp) -> Result<(), StoreError> {
    let sql = format!(
        "update jobs set state = $2 where id in (select id from jobs
             where state in ('scheduled', 'retryable') and not_before <= $1 order by not_before limit $3 {})",
        skip_locked(conn),
    );
    conn.execute(AssertSqlSafe(sql), args![now, JobState::Available.as_str(), READY_MAX]).await?;
    Ok(())
}

/// Takes jobs that are due, in the order of their turns. One whose row is damaged is set aside, so that it stops no other.
pub(crate) async fn claim(
    conn: &mut Conn,
    (claim, now, sizes): &(Claim, Timestamp, Arc<Sizes>),
) -> Result<Vec<Lease>, StoreError> {
    ready(conn, *now).await?;
    let until = now.saturating_add(claim.lease).unwrap_or(Timestamp::MAX);
    let (of, sources) = among(conn, claim.sources.as_deref(), "$7")?;
    let place = if claim.sources.is_some() { "$8" } else { "$7" };
    let except = match claim.except.len() {
        0 => String::new(),
        _ => {
            format!("and source_id not in (select cast(t.value ->> 0 as bigint) from {})", each(conn, place))
        }
    };
    let sql = format!(
        "with taken as materialized (
             select id from jobs where state = 'available' {of} {except} {IN_TURN} limit $2 {}
         )
         update jobs set state = $3, attempt = attempt + 1, generation = generation + 1, lease_until = $4, node = $5,
             worker = $6, again = again and {HALF_READ}, reached = turn, started_at = coalesce(started_at, $1), moved_at = $1
         where id in (select id from taken)
         returning id, generation, source_id, sync_id, stream_group, stream, partition, lane, attempt, priority,
             class, turn, stride",
        skip_locked(conn),
    );
    let mut args = args![*now, claim.max, JobState::Running.as_str(), until, &claim.node, &claim.worker];
    if claim.sources.is_some() {
        args.push(sources.into());
    }
    if !claim.except.is_empty() {
        let ids: Vec<[i64; 1]> = claim.except.iter().map(|it| [it.0]).collect();
        args.push(to_json(&ids)?.into());
    }
    let mut rows = conn.rows(AssertSqlSafe(sql), args).await?;
    let place = |row: &Row| (["turn", "priority", "id"]).map(|it| row.get::<i64>(it).ok());
    rows.sort_by_key(place);
    let mut leases = Vec::with_capacity(rows.len());
    for row in rows {
        let lease = match lease(&row, until) {
            Ok(lease) => lease,
            Err(StoreError::Corrupt { what }) => {
                set_aside(conn, &row, &what, *now).await?;
                continue;
            }
            Err(error) => return Err(error),
        };
        if lease.generation == 1 {
            started(conn, &lease, sizes, *now).await?;
        }
        leases.push(lease);
    }
    Ok(leases)
}

/// Discards a job that nobody can run, and says why. What is damaged in it stays as it is.
async fn set_aside(conn: &mut Conn, row: &Row, what: &str, now: Timestamp) -> Result<(), StoreError> {
    let (source, sync, job) =
        (SourceId(row.get("source_id")?), SyncId(row.get("sync_id")?), JobId(row.get("id")?));
    settle::give_up(conn, (source, sync, job), ("corrupt_state", what), now).await
}

pub(crate) fn lease(row: &Row, until: Timestamp) -> Result<Lease, StoreError> {
    let id: i64 = row.get("id")?;
    Ok(Lease {
        job: JobId(id),
        generation: row.get("generation")?,
        until,
        source: SourceId(row.get("source_id")?),
        sync: SyncId(row.get("sync_id")?),
        group: row.get("stream_group")?,
        stream: row.get("stream")?,
        partition: row.get("partition")?,
        lane: row.word("lane", Lane::from_word, ("jobs", &id))?,
        attempt: u32::try_from(row.get::<i64>("attempt")?).map_err(|_| corrupt("jobs", id, "attempt"))?,
        turn: Turn {
            class: Class::from_rank(row.get("class")?),
            at: row.get("turn")?,
            stride: row.get("stride")?,
        },
    })
}

async fn started(conn: &mut Conn, lease: &Lease, sizes: &Sizes, now: Timestamp) -> Result<(), StoreError> {
    let repo_count = if let Some(partitions) = sizes.known(lease.sync, now) {
        partitions
    } else {
        let sql = "select count(distinct partition) as partitions from jobs where sync_id = $1";
        let partitions = conn.one(sql, args![lease.sync]).await?.get("partitions")?;
        sizes.keep(lease.sync, partitions, now);
        partitions
    };
    let event = Event::JobStarted { job_id: lease.job, installation_id: lease.source, repo_count };
    let about = About { source: lease.source, sync: Some(lease.sync), job: Some(lease.job) };
    event::record(conn, now, &event, about).await
}

/// A job that a process holds, as its heartbeat tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// The job.
    pub job: JobId,
    /// Its fence.
    pub generation: i64,
    /// Whether it waits: for a limit, its turn, or room. It does not get on, and is not to blame.
    pub waits: bool,
}

/// Holds jobs for longer.
pub(crate) async fn heartbeat(
    conn: &mut Conn,
    (held, until, now): &(Vec<Beat>, Timestamp, Timestamp),
) -> Result<(), StoreError> {
    let held: Vec<_> = held.iter().map(|it| (it.job, it.generation, u8::from(it.waits))).collect();
    let sql = format!(
        "update jobs set lease_until = $2, moved_at = case when held.waits > 0 then $3 else moved_at end
         from (select cast(t.value ->> 0 as bigint) as id, cast(t.value ->> 1 as bigint) as generation,
                 cast(t.value ->> 2 as bigint) as waits from {}) as held
         where jobs.id = held.id and jobs.generation = held.generation and jobs.state = 'running'
             and jobs.lease_until < $2",
        each(conn, "$1"),
    );
    conn.execute(AssertSqlSafe(sql), args![to_json(&held)?, *until, *now]).await?;
    Ok(())
}

/// Reads what has happened to jobs that a process believes to hold.
pub(crate) async fn signals(conn: &mut Conn, held: &[(JobId, i64)]) -> Result<Signals, StoreError> {
    let sql = format!(
        "select held.id, jobs.id is null as lost, coalesce(jobs.cancel_requested, false) as cancelled
         from (select cast(t.value ->> 0 as bigint) as id, cast(t.value ->> 1 as bigint) as generation from {})
             as held
         left join jobs on jobs.id = held.id and jobs.generation = held.generation and jobs.state = 'running'
         order by held.id",
        each(conn, "$1"),
    );
    let mut signals = Signals::default();
    for row in conn.rows(AssertSqlSafe(sql), args![to_json(&held)?]).await? {
        let job = JobId(row.get("id")?);
        if row.get("lost")? {
            signals.lost.push(job);
        } else if row.get("cancelled")? {
            signals.cancelled.push(job);
        }
    }
    Ok(signals)
}

/// Reads when there is next something to claim or to rescue.
pub(crate) async fn next_due(
    conn: &mut Conn,
    sources: Option<&[SourceId]>,
) -> Result<Option<Timestamp>, StoreError> {
    let (of, ids) = among(conn, sources, "$1")?;
    let sql = format!(
        "select min(due) as due from (
             select min(not_before) as due from jobs where state in ('scheduled', 'retryable') {of}
             union all
             select min(due) as due
             from (select not_before as due from jobs where state = 'available' {of} limit 1) as ready
             union all
             select min(lease_until) as due from jobs where state = 'running' {of}
         ) as times",
    );
    let args = if sources.is_some() { args![ids] } else { args![] };
    conn.one(AssertSqlSafe(sql), args).await?.time("due")
}
