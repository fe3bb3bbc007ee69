//! Schedules: when each stream group of a source is synced by itself, and who has a tick.
//!
//! Never decides when the next tick is, only keeps it. A tick belongs to the transaction that moves its due time on:
//! see [`take`].

use domain::id::{SourceId, TenantId};
use domain::policy::schedule::Own;
use jiff::{SignedDuration, Timestamp};
use sqlx::AssertSqlSafe;

use crate::Store;
use crate::db::{Arg, Conn, Row, args};
use crate::error::{StoreError, corrupt};

/// A tick: one due time of one schedule. Whoever moves it on has it; anybody else comes too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tick {
    /// When it was due, as it stands in the row: the fence.
    pub due_at: Timestamp,
    /// When the next one is due.
    pub next_at: Timestamp,
    /// The interval that the next one was reckoned with.
    pub interval: SignedDuration,
}

/// A schedule as it stands in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSchedule {
    /// The source.
    pub source: SourceId,
    /// What people call it.
    pub source_name: String,
    /// The word of its connector.
    pub provider: String,
    /// The group of streams.
    pub group: String,
    /// Whether source and tenant may be synced at all.
    pub enabled: bool,
    /// What the source says of it.
    pub own: Own,
    /// The interval that `next_at` was reckoned with.
    pub interval: SignedDuration,
    /// When the next tick is due, as long as it is not off.
    pub next_at: Timestamp,
    /// When the last tick was.
    pub last_tick_at: Option<Timestamp>,
    /// Ticks that met their running sync.
    pub skipped: u64,
    /// When the last one of those was.
    pub last_skipped_at: Option<Timestamp>,
}

/// What a schedule becomes.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The source.
    pub source: SourceId,
    /// The group of streams.
    pub group: String,
    /// What the source says of it; `None` leaves that.
    pub own: Option<Own>,
    /// The interval in force.
    pub interval: SignedDuration,
    /// When the next tick is due.
    pub next_at: Timestamp,
    /// The due time that this was reckoned from, so that a tick that came meanwhile is not undone; `None` for a schedule
    /// that was not there.
    pub was: Option<Timestamp>,
}

/// A place in the order of schedules, to read on from.
pub type After = (SourceId, String);

impl Store {
    /// Lists schedules in the order of their sources, of one tenant or source or of all, at most `limit`.
    pub async fn schedules(
        &self,
        scope: Option<TenantId>,
        source: Option<SourceId>,
        after: Option<After>,
        limit: u32,
    ) -> Result<Vec<StoredSchedule>, StoreError> {
        self.inner.db.read((scope, source, after, limit), |conn, input| Box::pin(list(conn, input))).await
    }

    /// Lists schedules that are due, in the order of their sources, at most `limit`.
    pub async fn due_schedules(
        &self,
        after: Option<After>,
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<StoredSchedule>, StoreError> {
        self.inner.db.read((after, limit, now), |conn, input| Box::pin(due(conn, input))).await
    }

    /// Lists sources, with their providers, that have no schedule yet, at most `limit`.
    pub async fn unscheduled(
        &self,
        after: SourceId,
        limit: u32,
    ) -> Result<Vec<(SourceId, String)>, StoreError> {
        self.inner.db.read((after, limit), |conn, input| Box::pin(unscheduled(conn, input))).await
    }

    /// Lists groups that are scheduled, not being synced, and without success since `since`, with when they last had one
    /// or were added; but none that was asked for since `asked`, nor one that a chore synced since `since`.
    pub async fn neglected(
        &self,
        after: Option<After>,
        limit: u32,
        (since, asked): (Timestamp, Timestamp),
    ) -> Result<Vec<(StoredSchedule, Timestamp)>, StoreError> {
        let input = (after, limit, since, asked);
        self.inner.db.read(input, |conn, input| Box::pin(neglected(conn, input))).await
    }

    /// Notes that a neglected group is asked for; false when another process has just done so.
    pub async fn note_catch_up(
        &self,
        source: SourceId,
        group: &str,
        asked: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let input = (source, group.to_owned(), asked, now);
        self.inner.db.write(input, 0, |conn, input| Box::pin(note_catch_up(conn, input))).await
    }

    /// Reads when the next tick of all is due.
    pub async fn next_tick(&self) -> Result<Option<Timestamp>, StoreError> {
        self.inner.db.read((), |conn, input| Box::pin(next(conn, input))).await
    }

    /// Makes or changes schedules; one that moved on since it was read is left alone. Returns how many it was.
    pub async fn plan(&self, plans: Vec<Plan>) -> Result<u64, StoreError> {
        self.inner.db.write(plans, 0, |conn, input| Box::pin(plan(conn, input))).await
    }
}

/// Takes a tick, or says that another process had it.
pub(crate) async fn take(
    conn: &mut Conn,
    source: SourceId,
    group: &str,
    tick: &Tick,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let sql = "update schedules set next_at = $4, interval_ms = $5, last_tick_at = $6
        where source_id = $1 and stream_group = $2 and next_at = $3 and not off";
    let args = args![source, group, tick.due_at, tick.next_at, ms(tick.interval), now];
    Ok(conn.execute(sql, args).await? > 0)
}

/// Counts a tick that met its running sync.
pub(crate) async fn skip(
    conn: &mut Conn,
    source: SourceId,
    group: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "update schedules set skipped = skipped + 1, last_skipped_at = $3
        where source_id = $1 and stream_group = $2";
    conn.execute(sql, args![source, group, now]).await?;
    Ok(())
}

/// How soon what another group found is read: most of what a listing finds is known by then, and is read by one sync.
const FOUND_WITHIN: SignedDuration = SignedDuration::from_secs(30);

/// Brings a group's next tick forward, because another group found a partition of it.
pub(crate) async fn hasten(
    conn: &mut Conn,
    source: SourceId,
    group: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "update schedules set next_at = $3
        where source_id = $1 and stream_group = $2 and next_at > $3 and not off";
    let soon = now.saturating_add(FOUND_WITHIN).unwrap_or(now);
    conn.execute(sql, args![source, group, soon]).await?;
    Ok(())
}

const COLUMNS: &str =
    "select schedule.source_id, source.name, source.provider, schedule.stream_group, schedule.every_ms, schedule.off,
        schedule.interval_ms, schedule.next_at, schedule.last_tick_at, schedule.skipped, schedule.last_skipped_at,
        source.enabled and tenant.id is not null as enabled
    from schedules as schedule join sources as source on source.id = schedule.source_id
    left join tenants as tenant on tenant.id = source.tenant_id and tenant.revoked_at is null
    where source.removed_at is null";

const IN_ORDER: &str = "order by schedule.source_id, schedule.stream_group";

/// Adds the arguments of a place to read on from, and returns the condition.
fn from(after: Option<&After>, args: &mut Vec<Arg>) -> String {
    let Some((source, group)) = after else { return String::new() };
    args.extend(args![*source, group]);
    format!("and (schedule.source_id, schedule.stream_group) > (${}, ${})", args.len() - 1, args.len())
}

async fn list(
    conn: &mut Conn,
    (scope, source, after, limit): &(Option<TenantId>, Option<SourceId>, Option<After>, u32),
) -> Result<Vec<StoredSchedule>, StoreError> {
    let mut args = args![*limit];
    let mut of = Vec::new();
    if let Some(scope) = scope {
        args.push((*scope).into());
        of.push(format!("and source.tenant_id = ${}", args.len()));
    }
    if let Some(source) = source {
        args.push((*source).into());
        of.push(format!("and source.id = ${}", args.len()));
    }
    let from = from(after.as_ref(), &mut args);
    let sql = format!("{COLUMNS} {} {from} {IN_ORDER} limit $1", of.join(" "));
    conn.rows(AssertSqlSafe(sql), args).await?.iter().map(schedule).collect()
}

async fn due(
    conn: &mut Conn,
    (after, limit, now): &(Option<After>, u32, Timestamp),
) -> Result<Vec<StoredSchedule>, StoreError> {
    let mut args = args![*now, *limit];
    let from = from(after.as_ref(), &mut args);
    let sql = format!(
        "{COLUMNS} and source.enabled and tenant.id is not null and not schedule.off and schedule.next_at <= $1
         {from} {IN_ORDER} limit $2",
    );
    conn.rows(AssertSqlSafe(sql), args).await?.iter().map(schedule).collect()
}

async fn neglected(
    conn: &mut Conn,
    (after, limit, since, asked): &(Option<After>, u32, Timestamp, Timestamp),
) -> Result<Vec<(StoredSchedule, Timestamp)>, StoreError> {
    let mut args = args![*limit, *since, *asked];
    let from = from(after.as_ref(), &mut args);
    let columns = COLUMNS.replacen(
        "select ",
        "select coalesce(standing.last_success_at, source.created_at) as since, ",
        1,
    );
    let columns = columns.replacen(
        "where ",
        "left join standings as standing on standing.source_id = schedule.source_id
            and standing.stream_group = schedule.stream_group
         where ",
        1,
    );
    let sql = format!(
        "{columns} and source.enabled and tenant.id is not null and not schedule.off
             and coalesce(standing.last_success_at, source.created_at) <= $2
             and (schedule.catch_up_at is null or schedule.catch_up_at <= $3)
             and not exists (select 1 from syncs where syncs.source_id = schedule.source_id
                 and syncs.stream_group = schedule.stream_group
                 and (syncs.state = 'running' and syncs.whole
                     or syncs.trigger = 'maintenance' and syncs.whole and syncs.created_at > $2))
         {from} {IN_ORDER} limit $1",
    );
    let rows = conn.rows(AssertSqlSafe(sql), args).await?;
    rows.iter()
        .map(|row| {
            let found = schedule(row)?;
            let since = row.time("since")?.ok_or_else(|| corrupt("sources", found.source, "created_at"))?;
            Ok((found, since))
        })
        .collect()
}

async fn note_catch_up(
    conn: &mut Conn,
    (source, group, asked, now): &(SourceId, String, Timestamp, Timestamp),
) -> Result<bool, StoreError> {
    let sql = "update schedules set catch_up_at = $4
        where source_id = $1 and stream_group = $2 and not off and (catch_up_at is null or catch_up_at <= $3)";
    Ok(conn.execute(sql, args![*source, group, *asked, *now]).await? > 0)
}

async fn next(conn: &mut Conn, (): &()) -> Result<Option<Timestamp>, StoreError> {
    let sql = "select min(schedule.next_at) as next_at from schedules as schedule
        join sources as source on source.id = schedule.source_id and source.enabled and source.removed_at is null
        join tenants as tenant on tenant.id = source.tenant_id and tenant.revoked_at is null
        where not schedule.off";
    conn.one(sql, args![]).await?.time("next_at")
}

async fn unscheduled(
    conn: &mut Conn,
    (after, limit): &(SourceId, u32),
) -> Result<Vec<(SourceId, String)>, StoreError> {
    let sql = "select id, provider from sources as source where id > $1 and removed_at is null
            and not exists (select 1 from schedules where source_id = source.id)
        order by id limit $2";
    let rows = conn.rows(sql, args![*after, *limit]).await?;
    rows.iter().map(|row| Ok((SourceId(row.get("id")?), row.get("provider")?))).collect()
}

fn schedule(row: &Row) -> Result<StoredSchedule, StoreError> {
    let source = SourceId(row.get("source_id")?);
    let named = (row.get("name")?, row.get("provider")?);
    stored(row, source, named, row.get("stream_group")?, row.get("enabled")?)
}

/// Reads a schedule from a row, beside what is known of its source.
pub(crate) fn stored(
    row: &Row,
    source: SourceId,
    (source_name, provider): (String, String),
    group: String,
    enabled: bool,
) -> Result<StoredSchedule, StoreError> {
    let own = match (row.get::<bool>("off")?, row.get::<Option<i64>>("every_ms")?) {
        (true, _) => Own::Off,
        (false, Some(every_ms)) => Own::Every(SignedDuration::from_millis(every_ms)),
        (false, None) => Own::Default,
    };
    Ok(StoredSchedule {
        source,
        source_name,
        provider,
        group,
        enabled,
        own,
        interval: SignedDuration::from_millis(row.get("interval_ms")?),
        next_at: row.time("next_at")?.ok_or_else(|| corrupt("schedules", source, "next_at"))?,
        last_tick_at: row.time("last_tick_at")?,
        skipped: row.count("skipped")?,
        last_skipped_at: row.time("last_skipped_at")?,
    })
}

async fn plan(conn: &mut Conn, plans: &Vec<Plan>) -> Result<u64, StoreError> {
    let mut changed = 0;
    for it in plans {
        let (off, every_ms) = match it.own {
            Some(Own::Off) => (true, None),
            Some(Own::Every(every)) => (false, Some(ms(every))),
            Some(Own::Default) | None => (false, None),
        };
        // Not there yet, and not of a source that is being removed.
        let sql =
            "insert into schedules (source_id, stream_group, every_ms, off, interval_ms, next_at, skipped)
            select id, $2, $3, $4, $5, $6, 0 from sources where id = $1 and removed_at is null
            on conflict do nothing";
        let interval = ms(it.interval);
        if it.was.is_none() {
            changed +=
                conn.execute(sql, args![it.source, &it.group, every_ms, off, interval, it.next_at]).await?;
            continue;
        }
        let sql = "update schedules set interval_ms = $4, next_at = $5,
                every_ms = case when $6 then $7 else every_ms end, off = case when $6 then $8 else off end
            where source_id = $1 and stream_group = $2 and next_at = $3";
        let (says, was) = (it.own.is_some(), it.was);
        let args = args![it.source, &it.group, was, interval, it.next_at, says, every_ms, off];
        changed += conn.execute(sql, args).await?;
    }
    Ok(changed)
}

fn ms(duration: SignedDuration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
