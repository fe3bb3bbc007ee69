//! What a worker does with the job it holds: opens it, commits its pages, starts anew, gives up an item.
//!
//! Every write here begins with the fence and touches only rows of the job's own partition, and of what it found: no
//! budget, no total, no source. Begin with [`page`].

pub(crate) mod census;
mod discover;
pub(crate) mod item;
mod listing;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use domain::connector::Group;
use domain::event::Event;
use domain::job::{JobState, Lane};
use domain::page::{Cursor, Next, Page};
use domain::policy::turn::Turn;
use domain::source::Settings;
use domain::trigger::Trigger;
use jiff::Timestamp;
use serde_json::Value;

use crate::db::{Conn, args, to_json};
use crate::error::{StoreError, corrupt};
use crate::event::{self, About};
use crate::landing::{self, Layouts, Prepared};
use crate::queue::settle::{self, Settlement};
use crate::queue::turn::{self, Others, Rivals};
use crate::queue::{self, Lease};

/// How often a job says in an event how far it is: often enough to watch, seldom enough to keep.
const PROGRESS_EVERY_MS: i64 = 1000;

/// What a worker needs to go on with a job.
#[derive(Clone, Debug)]
pub struct OpenJob {
    /// The source's base URL and options.
    pub settings: Settings,
    /// The word of the source's connector.
    pub provider: String,
    /// What the partition was found with.
    pub args: Value,
    /// What is known of the source's account; null when nothing is.
    pub learned: Value,
    /// What the job's sync was asked for by.
    pub trigger: Trigger,
    /// Where to read on; `None` is the start.
    pub cursor: Option<Cursor>,
    /// Whether the listing under way asks without validators.
    pub plain: bool,
    /// What makes requests conditional, by address; empty in a plain listing.
    pub validators: HashMap<String, Validator>,
    /// Whether a census has listed all ids, so that the absent ones are to be looked up.
    pub is_listed: bool,
}

/// What makes the next request for a page conditional.
#[derive(Clone, Debug, PartialEq)]
pub struct Validator {
    /// The provider's validator.
    pub etag: String,
    /// How the listing goes on after the page, when it has not changed.
    pub next: Next,
}

/// One page to commit, and how it was read.
#[derive(Clone, Debug)]
pub struct Commit {
    /// The page.
    pub page: Page,
    /// In what kind of pass it was read.
    pub pass: Pass,
    /// The items that were asked for, each with the version it was read at; the first owns the cursor.
    pub read: Vec<(String, String)>,
    /// The page's address and validator, where the provider sent one.
    pub validator: Option<(String, String)>,
    /// Requests that it took.
    pub requests: u64,
    /// When its first request was sent.
    pub observed_at: Timestamp,
    /// How long the job is held from now on.
    pub lease_until: Timestamp,
    /// The job's group, to know the streams that it found work for.
    pub group: &'static Group,
    /// All groups of its source, to know whose partitions it found.
    pub groups: &'static [Group],
    /// How the attempt ends with this page, unless items are still due to it. In one transaction, so that a process
    /// that dies after the last page of a listing does not leave it to be asked for again.
    pub ends: Option<Settlement>,
    /// To whom the job would give way, where no worker is free; `None` is nobody.
    pub rivals: Option<Rivals>,
}

/// In what kind of pass a page was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// It is not part of a listing.
    Incremental,
    /// Part of a listing without validators.
    Plain {
        /// Whether it is the listing's first page.
        first: bool,
    },
    /// The provider said that it has not changed.
    Unchanged,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Landed rows that this page inserted or changed.
    pub rows_written: u64,
    /// Records of the job so far.
    pub records: u64,
    /// Whether the attempt ended with this page, as [`Commit::ends`] says.
    pub ended: bool,
    /// Who else waits, of those that it would give way to.
    pub others: Others,
    /// How far the job has come, with the page that it would read next where somebody waits.
    pub turn: Turn,
}

/// Reads what a worker needs to go on.
pub(crate) async fn open(conn: &mut Conn, lease: &Lease) -> Result<OpenJob, StoreError> {
    let sql = "select source.base_url, source.options, source.provider, partition.args,
            learned.facts, checkpoint.cursor, coalesce(checkpoint.plain, false) as plain, sync.trigger
        from jobs as job
        join syncs as sync on sync.id = job.sync_id
        join sources as source on source.id = job.source_id and source.removed_at is null
        join partitions as partition on partition.source_id = job.source_id
            and partition.stream = job.stream and partition.key = job.partition
        left join learned on learned.source_id = job.source_id
        left join checkpoints as checkpoint on checkpoint.source_id = job.source_id
            and checkpoint.stream = job.stream and checkpoint.partition = job.partition
            and checkpoint.lane = job.lane
        where job.id = $1 and job.generation = $2 and job.state = 'running'";
    let row = conn.row(sql, args![lease.job, lease.generation]).await?.ok_or(StoreError::LeaseLost)?;
    let place = place(lease);
    let plain = row.get("plain")?;
    let validators = if plain { HashMap::new() } else { listing::validators(conn, lease).await? };
    let is_listed = lease.lane == Lane::Census && census::is_listed(conn, lease).await?;
    let options = row.json("options", ("sources", &lease.source))?;
    Ok(OpenJob {
        settings: Settings {
            base_url: row.get("base_url")?,
            options: options.ok_or_else(|| corrupt("sources", lease.source, "options"))?,
        },
        provider: row.get("provider")?,
        args: row.json("args", ("partitions", &place))?.unwrap_or_default(),
        learned: row.json("facts", ("learned", &place))?.unwrap_or_default(),
        trigger: row.word("trigger", Trigger::from_word, ("syncs", &lease.sync))?,
        cursor: row.json("cursor", ("checkpoints", &place))?,
        plain,
        validators,
        is_listed,
    })
}

/// Names the rows of a job's partition.
fn place(lease: &Lease) -> String {
    format!("source {} {}/{} ({})", lease.source, lease.stream, lease.partition, lease.lane)
}

/// A page with its records made into arguments, ready for its transaction.
#[derive(Debug)]
pub(crate) struct Ready {
    layouts: Arc<Layouts>,
    lease: Lease,
    commit: Commit,
    prepared: Prepared,
    /// How many records the page delivered.
    records: usize,
    /// The keys that it adds to the listing under way.
    seen: BTreeSet<[String; 1]>,
    /// What it carries, roughly.
    pub bytes: usize,
}

/// Does beforehand what needs no transaction.
pub(crate) fn ready(
    layouts: &Arc<Layouts>,
    lite: bool,
    lease: &Lease,
    mut commit: Commit,
) -> Result<Ready, StoreError> {
    // What has not changed is there already.
    let unchanged = commit.pass == Pass::Unchanged;
    let records = if unchanged { Vec::new() } else { std::mem::take(&mut commit.page.records) };
    Ok(Ready {
        records: records.len(),
        bytes: records.iter().filter_map(|it| it.raw.as_ref().map(Bytes::len)).sum(),
        seen: listing::keys(lease, &commit, &records),
        prepared: landing::prepare(layouts, lite, lease.source, records, commit.observed_at)?,
        layouts: Arc::clone(layouts),
        lease: lease.clone(),
        commit,
    })
}

/// Commits a page: rows, cursor, items, partitions, progress and event, or nothing if the lease is gone. The last page
/// also ends the attempt.
pub(crate) async fn page(conn: &mut Conn, (ready, now): &(Ready, Timestamp)) -> Result<Progress, StoreError> {
    let (lease, commit, now) = (&ready.lease, &ready.commit, *now);
    if commit.ends.is_some() {
        // Before the job, as every end of a job locks them, so that no two wait for each other.
        settle::lock(conn, lease).await?;
    }
    let (records, event_due) = begin(conn, ready, now).await?;
    if let Pass::Plain { first: true } = commit.pass {
        listing::begin(conn, lease).await?;
    }
    let rows_written = landing::land(conn, &ready.prepared).await?;
    if lease.lane == Lane::Census {
        census::note(conn, lease, commit, now).await?;
    } else {
        item::done(conn, lease, commit).await?;
    }
    go_on(conn, lease, commit).await?;
    item::want(conn, lease, &commit.page.wanted).await?;
    learn(conn, lease, commit, now).await?;
    discover::found(conn, lease, commit, now).await?;
    if commit.pass != Pass::Unchanged {
        listing::note(conn, lease, commit, &ready.seen).await?;
        if let (Pass::Plain { .. }, Next::CaughtUp { sweep, .. }) = (commit.pass, &commit.page.next) {
            listing::end(conn, &ready.layouts, lease, commit, sweep.as_ref()).await?;
        }
    }
    if rows_written > 0 {
        let sql = "update jobs set rows_written = rows_written + $2 where id = $1";
        conn.execute(sql, args![lease.job, rows_written]).await?;
    }
    if event_due {
        let current = i64::try_from(records).unwrap_or(i64::MAX);
        let event = Event::JobProgress { job_id: lease.job, current, total: None };
        event::record(conn, now, &event, about(lease)).await?;
    }
    let ended = match &commit.ends {
        Some(settlement) if !is_due(conn, lease, commit).await? => {
            settle::end(conn, lease, settlement, now).await?;
            true
        }
        _ => false,
    };
    let (others, turn) = match &commit.rivals {
        Some(rivals) if !ended => turn::others(conn, lease, rivals, now).await?,
        _ => (Others::None, lease.turn),
    };
    Ok(Progress { rows_written, records, ended, others, turn })
}

/// Says whether something is still due to the job.
async fn is_due(conn: &mut Conn, lease: &Lease, commit: &Commit) -> Result<bool, StoreError> {
    if lease.lane == Lane::Census {
        let more = matches!(commit.page.next, Next::More(_));
        return Ok(more || !census::due(conn, lease, 1).await?.is_empty());
    }
    let stream = commit.group.streams.iter().find(|it| it.name == lease.stream);
    if lease.lane == Lane::Forward && stream.is_some_and(|it| it.item_batch.is_some()) {
        return item::any_due(conn, lease).await;
    }
    Ok(matches!(commit.page.next, Next::More(_)))
}

fn about(lease: &Lease) -> About {
    About { source: lease.source, sync: Some(lease.sync), job: Some(lease.job) }
}

/// The fence of a page: counts it, renews the lease, and says whether a progress event is due.
async fn begin(conn: &mut Conn, ready: &Ready, now: Timestamp) -> Result<(u64, bool), StoreError> {
    let (lease, commit) = (&ready.lease, &ready.commit);
    let sql =
        "update jobs set pages = pages + 1, records = records + $5, requests = requests + $6, attempt = 0,
            rescues = 0, lease_until = $7, moved_at = $3, reached = $9,
            unchanged = unchanged + $10,
            last_progress_at = case when last_progress_at > $8 then last_progress_at else $3 end
        where id = $1 and generation = $2 and state = $4 and lease_until > $3
        returning records, last_progress_at";
    let row = conn
        .row(
            sql,
            args![
                lease.job,
                lease.generation,
                now,
                JobState::Running.as_str(),
                ready.records,
                commit.requests,
                commit.lease_until,
                now.as_millisecond().saturating_sub(PROGRESS_EVERY_MS),
                lease.turn.at,
                // A page that has not changed was one request.
                i64::from(commit.pass == Pass::Unchanged),
            ],
        )
        .await?
        .ok_or(StoreError::LeaseLost)?;
    Ok((
        row.count("records")?,
        row.time("last_progress_at")?.is_some_and(|at| at.as_millisecond() == now.as_millisecond()),
    ))
}

/// The fence of every other step: adds the requests that it took.
pub(crate) async fn fence(
    conn: &mut Conn,
    lease: &Lease,
    requests: u64,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "update jobs set requests = requests + $4
        where id = $1 and generation = $2 and state = 'running' and lease_until > $3";
    match conn.execute(sql, args![lease.job, lease.generation, now, requests]).await? {
        0 => Err(StoreError::LeaseLost),
        _ => Ok(()),
    }
}

/// Keeps where the partition, or the first item that was asked for, is read on.
async fn go_on(conn: &mut Conn, lease: &Lease, commit: &Commit) -> Result<(), StoreError> {
    match (&commit.page.next, commit.read.first()) {
        (Next::More(cursor), Some((key, version))) => item::walk(conn, lease, key, version, cursor).await,
        (Next::More(cursor), None) => checkpoint(conn, lease, Some(cursor), false).await,
        // A stream of items has its cursors in them.
        (Next::CaughtUp { cursor: None, .. }, Some(_)) => Ok(()),
        // What was read with care is read as ever from now on; a listing says so itself.
        (Next::CaughtUp { cursor, .. }, _) => {
            checkpoint(conn, lease, cursor.as_ref(), commit.pass == Pass::Incremental).await
        }
    }
}

async fn checkpoint(
    conn: &mut Conn,
    lease: &Lease,
    cursor: Option<&Cursor>,
    ends_care: bool,
) -> Result<(), StoreError> {
    let sql = "insert into checkpoints (source_id, stream, partition, lane, cursor, plain)
        values ($1, $2, $3, $4, $5, false)
        on conflict (source_id, stream, partition, lane) do update
            set cursor = excluded.cursor, plain = checkpoints.plain and not $6";
    let cursor = cursor.map(to_json).transpose()?;
    let mut args = args![lease.source, &lease.stream, &lease.partition, lease.lane.as_str()];
    args.extend(args![cursor, ends_care]);
    conn.execute(sql, args).await?;
    Ok(())
}

/// Keeps what a page learned of the account. It is the one row that jobs of a source share, so it is touched only when
/// something new is known: once in a source's life, and when the provider's or the account's settings change.
async fn learn(conn: &mut Conn, lease: &Lease, commit: &Commit, now: Timestamp) -> Result<(), StoreError> {
    let Some(learned) = &commit.page.learned else { return Ok(()) };
    let sql = "insert into learned (source_id, facts, learned_at) values ($1, $2, $3)
        on conflict (source_id) do update set facts = excluded.facts, learned_at = excluded.learned_at
        where learned.facts <> excluded.facts";
    conn.execute(sql, args![lease.source, to_json(learned)?, now]).await?;
    Ok(())
}

/// Forgets the place in a listing and asks for all of it again, without validators.
pub(crate) async fn restart_listing(
    conn: &mut Conn,
    (lease, requests, now): &(Lease, u64, Timestamp),
) -> Result<(), StoreError> {
    fence(conn, lease, *requests, *now).await?;
    checkpoint(conn, lease, None, false).await?;
    listing::begin(conn, lease).await
}

/// Forgets the place in an item, or in the partition, because the provider no longer knows it.
pub(crate) async fn start_over(
    conn: &mut Conn,
    (lease, item, requests, now): &(Lease, Option<String>, u64, Timestamp),
) -> Result<(), StoreError> {
    fence(conn, lease, *requests, *now).await?;
    if lease.lane == Lane::Census {
        // Ids that were listed so far may have left meanwhile.
        queue::census::forget(conn, lease.source, &lease.stream, &lease.partition).await?;
        return checkpoint(conn, lease, None, false).await;
    }
    if let Some(key) = item {
        return item::start_over(conn, lease, key).await;
    }
    let sql = "delete from checkpoints where source_id = $1 and stream = $2 and partition = $3 and lane = $4";
    conn.execute(sql, args![lease.source, &lease.stream, &lease.partition, lease.lane.as_str()]).await?;
    listing::forget(conn, lease).await
}
