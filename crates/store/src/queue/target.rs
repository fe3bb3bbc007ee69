//! Targeted requests: some partitions of a group, read forward beside whatever else is under way.
//!
//! Never makes a second job of a partition that has an active one: that job runs once more instead.

use domain::connector::Group;
use domain::id::{SourceId, SyncId};
use domain::job::Lane;
use domain::job::SyncState;
use domain::policy::Decision;
use domain::policy::ledger::Class;
use domain::trigger::Trigger;
use jiff::Timestamp;
use sqlx::AssertSqlSafe;

use super::enqueue::{self, Streams};
use super::turn;
use crate::Store;
use crate::db::{Conn, args, to_json};
use crate::dialect::each;
use crate::error::StoreError;

/// One partition that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Its stream.
    pub stream: String,
    /// Its key.
    pub partition: String,
}

/// A request for some partitions that the policy lets start.
#[derive(Clone, Debug)]
pub struct EnqueueTargets {
    /// The source.
    pub source: SourceId,
    /// The group of streams.
    pub group: &'static Group,
    /// Why it was asked for.
    pub trigger: Trigger,
    /// What the policy answered.
    pub decision: Decision,
    /// What is to be read.
    pub targets: Vec<Target>,
}

/// What became of a request for some partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Targeted {
    /// A sync was made of those that nobody read or waited to read; the others run once more where they are.
    Started {
        /// The sync.
        sync: SyncId,
        /// Its jobs so far.
        jobs: u64,
    },
    /// Each of them has an active job already, which runs once more.
    Again {
        /// The sync of the first such job.
        sync: SyncId,
    },
    /// None of them is read: nobody knows it, it is read no more, or the provider does not let us read it.
    Nothing,
}

impl Store {
    /// Reads when one of these partitions was last asked for by name and by hand.
    pub async fn last_manual_target(
        &self,
        source: SourceId,
        targets: Vec<Target>,
    ) -> Result<Option<Timestamp>, StoreError> {
        self.inner.db.read((source, targets), |conn, input| Box::pin(last_manual(conn, input))).await
    }

    /// Returns the first of the targets that is not among the partitions of its stream that are read; `None` where there
    /// is no such one, or of the stream nothing is known at all.
    pub async fn unknown_target(
        &self,
        source: SourceId,
        targets: &[Target],
    ) -> Result<Option<Target>, StoreError> {
        let rows: Vec<(&str, &str)> =
            targets.iter().map(|it| (it.stream.as_str(), it.partition.as_str())).collect();
        let input = (source, to_json(&rows)?);
        self.inner.db.read(input, |conn, (source, rows)| Box::pin(unknown(conn, *source, rows))).await
    }

    /// Makes a sync of some partitions, and has those that have an active job run once more.
    pub async fn enqueue_targets(
        &self,
        request: EnqueueTargets,
        now: Timestamp,
    ) -> Result<Targeted, StoreError> {
        let made =
            self.inner.db.write((request, now), 0, |conn, input| Box::pin(enqueue(conn, input))).await?;
        if matches!(made, Targeted::Started { .. }) {
            self.woke();
        }
        Ok(made)
    }
}

async fn unknown(conn: &mut Conn, source: SourceId, targets: &str) -> Result<Option<Target>, StoreError> {
    let sql = format!(
        "select t.value ->> 0 as stream, t.value ->> 1 as key from {}
         where exists (select 1 from partitions as other where other.source_id = $1
                 and other.stream = t.value ->> 0 and other.active)
             and not exists (select 1 from partitions as own where own.source_id = $1
                 and own.stream = t.value ->> 0 and own.key = t.value ->> 1 and own.active)
         limit 1",
        each(conn, "$2"),
    );
    let row = conn.row(AssertSqlSafe(sql), args![source, targets]).await?;
    row.map(|it| Ok(Target { stream: it.get("stream")?, partition: it.get("key")? })).transpose()
}

pub(crate) async fn enqueue(
    conn: &mut Conn,
    (request, now): &(EnqueueTargets, Timestamp),
) -> Result<Targeted, StoreError> {
    let (source, group) = (request.source, request.group);
    conn.one("select id from sources where id = $1 and removed_at is null", args![source]).await?;
    let again = run_again(conn, source, &request.targets).await?;
    let class = Class::of(request.trigger, Lane::Forward);
    let mut turn = turn::begins(conn, source, class).await?;
    let sql = "insert into syncs (source_id, stream_group, trigger, whole, state, created_at, class, turn)
        values ($1, $2, $3, false, $4, $5, $6, $7) returning id";
    let running = SyncState::Running.as_str();
    let mut args = args![source, group.name, request.trigger.as_str(), running, *now];
    args.extend(args![class.rank(), turn.at - class.behind()]);
    let sync = SyncId(conn.one(sql, args).await?.get("id")?);
    let mut jobs = 0;
    for place in &Streams::of(group).0 {
        let keys: Vec<[&str; 1]> = request
            .targets
            .iter()
            .filter(|it| it.stream == place.0)
            .map(|it| [it.partition.as_str()])
            .collect();
        if keys.is_empty() {
            continue;
        }
        let made = enqueue::insert_jobs(conn, sync, place, Some(&to_json(&keys)?), turn, *now).await?;
        turn.at = turn.at.saturating_add(turn.stride.saturating_mul(i64::try_from(made).unwrap_or(i64::MAX)));
        jobs += made;
    }
    let about = (source, group.name);
    if jobs > 0 {
        enqueue::record_request(conn, about, request.trigger, request.decision, Some(sync), *now).await?;
        enqueue::wake(conn).await?;
        return Ok(Targeted::Started { sync, jobs });
    }
    conn.execute("delete from syncs where id = $1", args![sync]).await?;
    let Some(sync) = again else { return Ok(Targeted::Nothing) };
    enqueue::record_request(conn, about, request.trigger, request.decision, Some(sync), *now).await?;
    Ok(Targeted::Again { sync })
}

async fn last_manual(
    conn: &mut Conn,
    (source, targets): &(SourceId, Vec<Target>),
) -> Result<Option<Timestamp>, StoreError> {
    let sql = format!(
        "select max(sync.created_at) as at
         from (select t.value ->> 0 as stream, t.value ->> 1 as partition from {}) as target
         join jobs as job on job.source_id = $1 and job.stream = target.stream and job.partition = target.partition
         join syncs as sync on sync.id = job.sync_id and sync.trigger = 'manual' and not sync.whole",
        each(conn, "$2"),
    );
    conn.one(AssertSqlSafe(sql), args![*source, to_json(&rows_of(targets))?]).await?.time("at")
}

/// Targets as rows of a stream and a partition.
fn rows_of(targets: &[Target]) -> Vec<(&str, &str)> {
    targets.iter().map(|it| (it.stream.as_str(), it.partition.as_str())).collect()
}

/// Has the active jobs of the targets run once more; one that has not begun reads everything anyway, which its claim sees.
async fn run_again(
    conn: &mut Conn,
    source: SourceId,
    targets: &[Target],
) -> Result<Option<SyncId>, StoreError> {
    let sql = format!(
        "update jobs set again = true
         from (select t.value ->> 0 as stream, t.value ->> 1 as partition from {}) as target
         where jobs.source_id = $1 and jobs.stream = target.stream and jobs.partition = target.partition
             and jobs.lane = 'forward' and jobs.state in ('available', 'scheduled', 'retryable', 'running')
             and not jobs.cancel_requested
         returning jobs.sync_id as sync_id",
        each(conn, "$2"),
    );
    let rows = conn.rows(AssertSqlSafe(sql), args![source, to_json(&rows_of(targets))?]).await?;
    let syncs = rows.iter().map(|row| row.get("sync_id").map(SyncId)).collect::<Result<Vec<_>, _>>()?;
    Ok(syncs.into_iter().min())
}
