//! Ends attempts: turns the policy's verdict into the job's next state, and closes the sync when it was the last one.
//!
//! Never takes a step that [`JobState::may_become`] does not know. Begin with [`settle`].

use domain::event::Event;
use domain::id::{JobId, SourceId, SyncId};
use domain::job::{JobState, Lane};
use domain::policy::turn::Turn;
use domain::policy::{Verdict, WAIT_HERE_MAX};
use jiff::Timestamp;
use sqlx::AssertSqlSafe;

use super::{Lease, census, closing, enqueue, lane, turn};
use crate::db::{Arg, Conn, args};
use crate::dialect::{for_update, without_nul};
use crate::error::StoreError;
use crate::event::{self, About};

/// How an attempt ended.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// What the policy made of it. `WaitHere` and `StartOver` keep the lease and are refused here.
    pub verdict: Verdict,
    /// The fault that ended it: its word, and a sentence.
    pub fault: Option<(String, String)>,
    /// Requests that no commit has counted.
    pub requests: u64,
}

/// What a held job is like just before it is settled.
struct Held {
    again: bool,
    cancel_requested: bool,
    attempt: i64,
    records: i64,
    started_at: Option<Timestamp>,
}

/// What becomes of it.
struct Step {
    state: JobState,
    not_before: Timestamp,
    attempt: i64,
    /// The word for what it waits for, where it does.
    waits_for: &'static str,
}

pub(crate) async fn settle(
    conn: &mut Conn,
    (lease, settlement, now): &(Lease, Settlement, Timestamp),
) -> Result<(), StoreError> {
    lock(conn, lease).await?;
    end(conn, lease, settlement, *now).await
}

/// Locks what the end of an attempt changes beside its job: the sync.
pub(crate) async fn lock(conn: &mut Conn, lease: &Lease) -> Result<(), StoreError> {
    closing::lock(conn, lease.sync).await.map_err(|error| match error {
        // Without this row the job is gone too, as after its source was removed.
        StoreError::NotFound => StoreError::LeaseLost,
        other => other,
    })
}

/// Ends an attempt whose sync is locked.
pub(crate) async fn end(
    conn: &mut Conn,
    lease: &Lease,
    settlement: &Settlement,
    now: Timestamp,
) -> Result<(), StoreError> {
    let held = held(conn, lease, now).await?;
    let step = step(&settlement.verdict, &held, now)?;
    if !JobState::Running.may_become(step.state) {
        return Err(StoreError::Conflict(format!("a running job cannot become {}", step.state)));
    }
    let fault = settlement.fault.clone().map(|(code, detail)| (without_nul(code), without_nul(detail)));
    let fault = fault.as_ref().map(|(code, detail)| (code.as_str(), detail.as_str()));
    let turn = match settlement.verdict {
        Verdict::Yield => turn::after_page(conn, lease).await?,
        // Once more is one more turn.
        _ if step.state == JobState::Available && held.again => lease.turn.next(),
        _ => lease.turn,
    };
    // Only a job that came to its end has done what it was asked for once more.
    let keeps_again = settlement.verdict != Verdict::Complete;
    write(conn, lease, (&step, turn, keeps_again), fault, settlement.requests, now).await?;
    mark_partition(conn, lease, &settlement.verdict, step.state, fault, now).await?;
    if settlement.verdict == Verdict::StopSource {
        stop_source(conn, lease, fault, now).await?;
    }
    tell(conn, lease, &step, &held, fault, now).await?;
    if step.state == JobState::Available {
        enqueue::wake(conn).await?;
    }
    closing::close_if_done(conn, lease.sync, now).await
}

async fn held(conn: &mut Conn, lease: &Lease, now: Timestamp) -> Result<Held, StoreError> {
    let sql = format!(
        "select again, cancel_requested, attempt, records, started_at from jobs
         where id = $1 and generation = $2 and state = $3 and lease_until > $4 {}",
        for_update(conn),
    );
    let running = JobState::Running.as_str();
    let row = conn.row(AssertSqlSafe(sql), args![lease.job, lease.generation, running, now]).await?;
    let row = row.ok_or(StoreError::LeaseLost)?;
    Ok(Held {
        again: row.get("again")?,
        cancel_requested: row.get("cancel_requested")?,
        attempt: row.get("attempt")?,
        records: row.get("records")?,
        started_at: row.time("started_at")?,
    })
}

fn step(verdict: &Verdict, held: &Held, now: Timestamp) -> Result<Step, StoreError> {
    let uncounted = (held.attempt - 1).max(0);
    let to = |state, not_before, attempt| match state {
        // It may have ended, or begun to wait, before it noticed. What it found then has no job: it is not complete.
        JobState::Completed | JobState::Available | JobState::Retryable | JobState::Scheduled
            if held.cancel_requested =>
        {
            Ok(Step { state: JobState::Cancelled, not_before: now, attempt: held.attempt, waits_for: "" })
        }
        state => Ok(Step { state, not_before, attempt, waits_for: "rate_limited" }),
    };
    match *verdict {
        Verdict::Complete if held.again => to(JobState::Available, now, 0),
        Verdict::Complete => to(JobState::Completed, now, held.attempt),
        // Its sync does not stay open for so long: it would keep the other partitions from their next one.
        Verdict::Retry { at } if at.duration_since(now) > WAIT_HERE_MAX => {
            to(JobState::Scheduled, at, uncounted).map(|it| Step { waits_for: "retry_after", ..it })
        }
        Verdict::Retry { at } => to(JobState::Retryable, at, held.attempt),
        Verdict::Snooze { until } => to(JobState::Scheduled, until, uncounted),
        Verdict::Release | Verdict::Yield => to(JobState::Available, now, uncounted),
        Verdict::Discard { .. } | Verdict::StopSource => to(JobState::Discarded, now, held.attempt),
        Verdict::Cancel => to(JobState::Cancelled, now, held.attempt),
        Verdict::WaitHere { .. } | Verdict::StartOver => {
            Err(StoreError::Conflict("this verdict keeps the lease: there is nothing to settle".to_owned()))
        }
    }
}

async fn write(
    conn: &mut Conn,
    lease: &Lease,
    (step, turn, keeps_again): (&Step, Turn, bool),
    fault: Option<(&str, &str)>,
    requests: u64,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "update jobs set state = $2, not_before = $3, attempt = $4, error_code = $5, error_detail = $6,
            requests = requests + $7, finished_at = $8, turn = $9, stride = $10, again = again and $11,
            lease_until = null, node = null, worker = null
        where id = $1";
    let finished_at = (!step.state.is_active()).then_some(now);
    let (code, detail) = fault.unzip();
    conn.execute(
        sql,
        args![
            lease.job,
            step.state.as_str(),
            step.not_before,
            step.attempt,
            code,
            detail,
            requests,
            finished_at,
            turn.at,
            turn.stride,
            keeps_again
        ],
    )
    .await?;
    Ok(())
}

async fn mark_partition(
    conn: &mut Conn,
    lease: &Lease,
    verdict: &Verdict,
    state: JobState,
    fault: Option<(&str, &str)>,
    now: Timestamp,
) -> Result<(), StoreError> {
    if lease.lane != Lane::Forward {
        // How a partition stands is told by its forward lane.
        // A census that failed is begun anew at its time, and not with the next sync: half a listing is no use to it.
        let counted = lease.lane == Lane::Census && census::settle(conn, lease, state, fault, now).await?;
        let over = state == JobState::Completed || counted;
        return if over { lane::ended(conn, lease, now).await } else { Ok(()) };
    }
    let of = args![lease.source, &lease.stream, &lease.partition];
    let with = |more: Vec<Arg>| of.iter().cloned().chain(more).collect::<Vec<Arg>>();
    if state == JobState::Completed {
        let sql =
            "update partitions set last_synced_at = $4, is_valid = true, invalid_at = null, error_code = null,
                error_detail = null, reads = reads + 1,
                first_requests = coalesce(first_requests, (select requests from jobs where id = $5)),
                last_requests = (select requests from jobs where id = $5),
                last_unchanged = (select unchanged from jobs where id = $5),
                last_pages = (select pages from jobs where id = $5),
                news_at = case when (select rows_written from jobs where id = $5) > 0 then $4
                    else coalesce(news_at, $4) end
            where source_id = $1 and stream = $2 and key = $3";
        conn.execute(sql, with(args![now, lease.job])).await?;
    } else if let (Verdict::Discard { invalidates }, Some((code, detail))) = (verdict, fault) {
        let sql = "update partitions set error_code = $4, error_detail = $5,
                invalid_at = case when $6 then $7 else invalid_at end, is_valid = is_valid and not $6
            where source_id = $1 and stream = $2 and key = $3";
        conn.execute(sql, with(args![code, detail, *invalidates, now])).await?;
    }
    Ok(())
}

/// Discards every job of the source that waits: each would fail with the same fault.
async fn stop_source(
    conn: &mut Conn,
    lease: &Lease,
    fault: Option<(&str, &str)>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "update jobs set state = $2, error_code = $3, error_detail = $4, finished_at = $5
        where source_id = $1 and state in ('available', 'scheduled', 'retryable') returning id, sync_id";
    let (code, detail) = fault.unzip();
    let discarded = JobState::Discarded.as_str();
    let rows = conn.rows(sql, args![lease.source, discarded, code, detail, now]).await?;
    let mut syncs = std::collections::BTreeSet::new();
    for row in rows {
        let (job, sync) = (JobId(row.get("id")?), SyncId(row.get("sync_id")?));
        failed(conn, About { source: lease.source, sync: Some(sync), job: Some(job) }, job, code, now)
            .await?;
        syncs.insert(sync);
    }
    syncs.remove(&lease.sync);
    for sync in syncs {
        closing::lock(conn, sync).await?;
        closing::close_if_done(conn, sync, now).await?;
    }
    Ok(())
}

async fn failed(
    conn: &mut Conn,
    about: About,
    job_id: JobId,
    code: Option<&str>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let event = Event::JobFailed { job_id, error: code.unwrap_or("unknown").to_owned() };
    event::record(conn, now, &event, about).await
}

async fn tell(
    conn: &mut Conn,
    lease: &Lease,
    step: &Step,
    held: &Held,
    fault: Option<(&str, &str)>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let job_id = lease.job;
    let about = About { source: lease.source, sync: Some(lease.sync), job: Some(job_id) };
    let event = match step.state {
        JobState::Scheduled => Event::JobBlocked {
            job_id,
            blocked_until: step.not_before.as_millisecond(),
            reason: step.waits_for,
        },
        JobState::Completed => Event::JobCompleted {
            job_id,
            events_ingested: held.records,
            duration_ms: held
                .started_at
                .map_or(0, |at| now.as_millisecond().saturating_sub(at.as_millisecond())),
        },
        JobState::Discarded => return failed(conn, about, job_id, fault.map(|it| it.0), now).await,
        JobState::Available | JobState::Retryable | JobState::Running | JobState::Cancelled => return Ok(()),
    };
    event::record(conn, now, &event, about).await
}

/// Stops a sync: what waits is cancelled, what runs is asked to stop. Returns whether there was anything to stop.
pub(crate) async fn cancel(conn: &mut Conn, (sync, now): &(SyncId, Timestamp)) -> Result<bool, StoreError> {
    closing::lock(conn, *sync).await?;
    // One statement: a job that is rescued between two would be neither.
    let sql = "update jobs set cancel_requested = state = 'running',
            finished_at = case when state = 'running' then finished_at else $3 end,
            state = case when state = 'running' then state else $2 end
        where sync_id = $1 and state in ('available', 'scheduled', 'retryable', 'running')";
    let stopped = conn.execute(sql, args![*sync, JobState::Cancelled.as_str(), *now]).await?;
    closing::close_if_done(conn, *sync, *now).await?;
    Ok(stopped > 0)
}

/// Stops a job that nobody runs any more, as a person asked, and closes its sync when it was the last one.
pub(crate) async fn stop(
    conn: &mut Conn,
    sync: SyncId,
    job: JobId,
    now: Timestamp,
) -> Result<(), StoreError> {
    closing::lock(conn, sync).await?;
    let sql = "update jobs set state = $2, finished_at = $3, lease_until = null, node = null, worker = null
        where id = $1";
    conn.execute(sql, args![job, JobState::Cancelled.as_str(), now]).await?;
    closing::close_if_done(conn, sync, now).await
}

/// Discards a job that nobody runs, with the fault's word and what is known of it, and closes its sync when it was the
/// last one.
pub(crate) async fn give_up(
    conn: &mut Conn,
    (source, sync, job): (SourceId, SyncId, JobId),
    (code, detail): (&str, &str),
    now: Timestamp,
) -> Result<(), StoreError> {
    closing::lock(conn, sync).await?;
    let sql = "update jobs set state = $2, error_code = $3, error_detail = $4, finished_at = $5, lease_until = null,
            node = null, worker = null
        where id = $1";
    conn.execute(sql, args![job, JobState::Discarded.as_str(), code, detail, now]).await?;
    failed(conn, About { source, sync: Some(sync), job: Some(job) }, job, Some(code), now).await?;
    closing::close_if_done(conn, sync, now).await
}
