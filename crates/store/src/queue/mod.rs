//! The queue: claims with leases, heartbeats, rescues. Our own thin one; docs/decisions/0001-queue.md says why.
//!
//! Never decides what becomes of a job that ended; [`settle`] does, by the policy's verdict.

pub(crate) mod budget;
pub(crate) mod closing;
pub(crate) mod enqueue;
pub(crate) mod schedule;
pub(crate) mod settle;
pub(crate) mod wakeup;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use domain::event::Event;
use domain::id::{JobId, SourceId, SyncId};
use domain::job::{JobState, Lane};
use jiff::{SignedDuration, Timestamp};
use sqlx::AssertSqlSafe;

use crate::db::{Conn, Row, args, to_json};
use crate::dialect::{each, skip_locked};
use crate::error::{StoreError, corrupt};
use crate::event::{self, About};

/// Rescues without progress before a job is discarded: enough for a night of restarts, too few for a job that kills
/// its process each time to go on doing so for ever.
pub const RESCUES_MAX: i64 = 100;

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

/// Takes jobs that are due, the most urgent first. One whose row is damaged is set aside, so that it stops no other.
pub(crate) async fn claim(
    conn: &mut Conn,
    (claim, now, sizes): &(Claim, Timestamp, Arc<Sizes>),
) -> Result<Vec<Lease>, StoreError> {
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
             select id from jobs
             where state in ('available', 'scheduled', 'retryable') and not_before <= $1 {of} {except}
             order by priority, not_before, id limit $2 {}
         )
         update jobs set state = $3, attempt = attempt + 1, generation = generation + 1, lease_until = $4, node = $5,
             worker = $6, again = false, started_at = coalesce(started_at, $1)
         where id in (select id from taken)
         returning id, generation, source_id, sync_id, stream_group, stream, partition, lane, attempt, priority",
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
    rows.sort_by_key(|row| (row.get::<i64>("priority").ok(), row.get::<i64>("id").ok()));
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

fn lease(row: &Row, until: Timestamp) -> Result<Lease, StoreError> {
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

/// Holds jobs for longer.
pub(crate) async fn heartbeat(
    conn: &mut Conn,
    (held, until): &(Vec<(JobId, i64)>, Timestamp),
) -> Result<(), StoreError> {
    let sql = format!(
        "update jobs set lease_until = $2
         from (select cast(t.value ->> 0 as bigint) as id, cast(t.value ->> 1 as bigint) as generation from {})
             as held
         where jobs.id = held.id and jobs.generation = held.generation and jobs.state = 'running'
             and jobs.lease_until < $2",
        each(conn, "$1"),
    );
    conn.execute(AssertSqlSafe(sql), args![to_json(held)?, *until]).await?;
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

/// Frees jobs whose lease ran out or whose process is known to be dead, and returns how many.
pub(crate) async fn rescue(
    conn: &mut Conn,
    (dead_nodes, now): &(Vec<String>, Timestamp),
) -> Result<u64, StoreError> {
    let dead: Vec<[&String; 1]> = dead_nodes.iter().map(|it| [it]).collect();
    let dead = to_json(&dead)?;
    let lost = format!(
        "state = 'running' and (lease_until <= $1 or node in (select t.value ->> 0 from {}))",
        each(conn, "$2"),
    );
    let sql = format!(
        "select id, source_id, sync_id from jobs where {lost} and rescues >= $3 order by sync_id, id"
    );
    let mut count = 0;
    for row in conn.rows(AssertSqlSafe(sql), args![*now, &dead, RESCUES_MAX]).await? {
        let (job, sync) = (JobId(row.get("id")?), SyncId(row.get("sync_id")?));
        let crashed = ("crashed", "its worker died again and again without finishing a page");
        settle::give_up(conn, (SourceId(row.get("source_id")?), sync, job), crashed, *now).await?;
        count += 1;
    }
    let sql = format!(
        "update jobs set state = $3, rescues = rescues + 1, not_before = $1, lease_until = null, node = null,
             worker = null, attempt = case when attempt > 0 then attempt - 1 else 0 end
         where {lost}",
    );
    let freed = conn.execute(AssertSqlSafe(sql), args![*now, &dead, JobState::Available.as_str()]).await?;
    if freed > 0 {
        enqueue::wake(conn).await?;
    }
    Ok(count + freed)
}

/// Reads which processes hold jobs.
pub(crate) async fn nodes(conn: &mut Conn) -> Result<Vec<String>, StoreError> {
    let sql = "select distinct node from jobs where state = 'running' and node is not null order by node";
    conn.rows(sql, args![]).await?.iter().map(|row| row.get("node")).collect()
}

/// Reads when there is next something to claim or to rescue.
pub(crate) async fn next_due(
    conn: &mut Conn,
    sources: Option<&[SourceId]>,
) -> Result<Option<Timestamp>, StoreError> {
    let (of, ids) = among(conn, sources, "$1")?;
    let sql = format!(
        "select min(due) as due from (
             select min(not_before) as due from jobs where state in ('available', 'scheduled', 'retryable') {of}
             union all
             select min(lease_until) as due from jobs where state = 'running' {of}
         ) as times",
    );
    let args = if sources.is_some() { args![ids] } else { args![] };
    conn.one(AssertSqlSafe(sql), args).await?.time("due")
}
