//! What is made of hints: one request of all that wait for a stream group, in the transaction that marks them done.
//!
//! Never decides whether to make one; what the policy refuses is put off. Begin with [`Store::due_hints`].

use std::collections::BTreeSet;

use domain::connector::Group;
use domain::id::{SourceId, SyncId};
use domain::policy::Decision;
use domain::trigger::Trigger;
use jiff::Timestamp;
use sqlx::AssertSqlSafe;

use super::WAITING_MAX;
use crate::Store;
use crate::db::{Conn, args, to_json};
use crate::dialect::{each, for_update};
use crate::error::{StoreError, corrupt};
use crate::queue::enqueue::{self, Enqueue, Enqueued};
use crate::queue::forecast::Forecast;
use crate::queue::heal;
use crate::queue::target::{self, EnqueueTargets, Target, Targeted};

/// Groups whose hints are due that are looked at in one round.
const GROUPS_MAX: u32 = 100;

/// Hints of a stream group that are due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueHints {
    /// The source.
    pub source: SourceId,
    /// The source's connector.
    pub provider: String,
    /// The group of streams.
    pub group: String,
    /// Whether one of them is for all of the group.
    pub whole: bool,
    /// Whether the group was ever synced.
    pub ever_synced: bool,
    /// When a sync of all of the group was last made of hints.
    pub last_whole_at: Option<Timestamp>,
    /// How often they were put off.
    pub tries: u64,
}

/// Hints that the policy lets start.
#[derive(Clone, Debug)]
pub struct EnqueueHints {
    /// The source.
    pub source: SourceId,
    /// The group of streams.
    pub group: &'static Group,
    /// What the policy answered.
    pub decision: Decision,
    /// Whether to read all of the group, whatever they name.
    pub whole: bool,
    /// What is expected of a sync of all of the group.
    pub forecast: Option<Forecast>,
}

/// What became of hints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HintsEnqueued {
    /// They were made a sync, or a job runs once more for them.
    Done {
        /// The sync; `None` where none of them can be read any more.
        sync: Option<SyncId>,
        /// How many.
        hints: u64,
    },
    /// A sync of all of the group is under way.
    Active {
        /// That sync.
        sync: SyncId,
    },
    /// Another process had them.
    Nothing,
}

/// Until when hints are put off.
#[derive(Clone, Copy, Debug)]
pub struct PutOff {
    /// The time.
    pub until: Timestamp,
    /// The sync that has to end first.
    pub awaits: Option<SyncId>,
}

impl Store {
    /// Lists stream groups with hints that are due, the longest due first.
    pub async fn due_hints(&self, now: Timestamp) -> Result<Vec<DueHints>, StoreError> {
        self.inner.db.read(now, |conn, now| Box::pin(due(conn, *now))).await
    }

    /// Makes a request of all hints of a group that wait, and marks them done, in one transaction.
    pub async fn enqueue_hints(
        &self,
        request: EnqueueHints,
        now: Timestamp,
    ) -> Result<HintsEnqueued, StoreError> {
        let done = self
            .inner
            .db
            .write((request, now), 0, |conn, input| Box::pin(enqueue_hints(conn, input)))
            .await?;
        if matches!(done, HintsEnqueued::Done { .. }) {
            self.woke();
        }
        Ok(done)
    }

    /// Puts all hints of a group off that wait.
    pub async fn put_off_hints(
        &self,
        source: SourceId,
        group: &str,
        put_off: PutOff,
    ) -> Result<(), StoreError> {
        let input = (source, group.to_owned(), put_off);
        self.inner.db.write(input, 0, |conn, input| Box::pin(put_off_all(conn, input))).await
    }
}

async fn due(conn: &mut Conn, now: Timestamp) -> Result<Vec<DueHints>, StoreError> {
    let first = conn.one("select min(due_at) as first from hints where state = 'waiting'", args![]).await?;
    if first.time("first")?.is_none_or(|at| at > now) {
        return Ok(Vec::new());
    }
    let sql = "select hint.source_id, hint.stream_group, source.provider,
            count(*) - count(hint.stream) as whole, max(hint.tries) as tries,
            (select count(*) from (select id from syncs where syncs.source_id = hint.source_id
                and syncs.stream_group = hint.stream_group and syncs.whole limit 1) as one) as synced,
            (select max(created_at) from syncs where syncs.source_id = hint.source_id
                and syncs.stream_group = hint.stream_group and syncs.trigger = 'webhook' and syncs.whole) as last_whole_at
        from hints as hint join sources as source on source.id = hint.source_id and source.removed_at is null
        where hint.state = 'waiting'
        group by hint.source_id, hint.stream_group, source.provider
        having min(hint.due_at) <= $1 and not exists (select 1 from hints as held
            join syncs as running on running.id = held.awaits_sync and running.state = 'running'
            where held.source_id = hint.source_id and held.stream_group = hint.stream_group
                and held.state = 'waiting')
        order by min(hint.due_at) limit $2";
    let rows = conn.rows(sql, args![now, GROUPS_MAX]).await?;
    rows.iter()
        .map(|row| {
            Ok(DueHints {
                source: SourceId(row.get("source_id")?),
                provider: row.get("provider")?,
                group: row.get("stream_group")?,
                whole: row.count("whole")? > 0,
                ever_synced: row.count("synced")? > 0,
                last_whole_at: row.time("last_whole_at")?,
                tries: row.count("tries")?,
            })
        })
        .collect()
}

async fn enqueue_hints(
    conn: &mut Conn,
    (request, now): &(EnqueueHints, Timestamp),
) -> Result<HintsEnqueued, StoreError> {
    let (source, group, decision) = (request.source, request.group, request.decision);
    // Locked, so that of several processes one makes a request of them; those that come meanwhile are the next one's.
    let sql = format!(
        "select id, stream, partition, received_at from hints
         where source_id = $1 and stream_group = $2 and state = 'waiting' order by id limit $3 {}",
        for_update(conn),
    );
    let rows = conn.rows(AssertSqlSafe(sql), args![source, group.name, WAITING_MAX]).await?;
    let Some(last) = rows.last() else { return Ok(HintsEnqueued::Nothing) };
    let (mut targets, mut signs) = (BTreeSet::new(), Vec::new());
    let mut whole = request.whole;
    for row in &rows {
        match row.get::<Option<String>>("stream")?.zip(row.get::<Option<String>>("partition")?) {
            Some((stream, partition)) => {
                let target = Target { stream, partition };
                signs.extend(row.time("received_at")?.map(|at| (target.clone(), at)));
                targets.insert(target);
            }
            None => whole = true,
        }
    }
    let trigger = Trigger::Webhook;
    let sync = if whole {
        let request = Enqueue { source, group, trigger, decision, tick: None, forecast: request.forecast };
        match enqueue::enqueue(conn, &(request, *now)).await? {
            Enqueued::Started { sync, .. } => Some(sync),
            Enqueued::Active { sync } => return Ok(HintsEnqueued::Active { sync }),
            Enqueued::TickTaken => return Err(corrupt("hints", last.get::<i64>("id")?, "tick")),
        }
    } else {
        let targets = targets.into_iter().collect();
        let request = EnqueueTargets { source, group, trigger, decision, targets };
        match target::enqueue(conn, &(request, *now)).await? {
            Targeted::Started { sync, .. } | Targeted::Again { sync } => Some(sync),
            Targeted::Nothing => None,
        }
    };
    let ids = rows.iter().map(|row| Ok([row.get::<i64>("id")?])).collect::<Result<Vec<_>, StoreError>>()?;
    let sql = format!(
        "update hints set state = 'done', sync_id = $2, awaits_sync = null
         where id in (select cast(t.value ->> 0 as bigint) from {})",
        each(conn, "$1"),
    );
    let hints = conn.execute(AssertSqlSafe(sql), args![to_json(&ids)?, sync]).await?;
    heal::hinted(conn, source, &signs).await?;
    Ok(HintsEnqueued::Done { sync, hints })
}

async fn put_off_all(
    conn: &mut Conn,
    (source, group, put_off): &(SourceId, String, PutOff),
) -> Result<(), StoreError> {
    let sql = "update hints set due_at = $3, awaits_sync = $4, tries = tries + 1
        where source_id = $1 and stream_group = $2 and state = 'waiting'";
    conn.execute(sql, args![*source, group, put_off.until, put_off.awaits]).await?;
    Ok(())
}
