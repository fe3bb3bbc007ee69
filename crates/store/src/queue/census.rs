//! Censuses: begun at their time, concluded when all is known, and answered by people where the brake asks.
//!
//! Never marks a row unless its partition's listing came to its end and the row was looked up. Begin with [`begin`].

use domain::census::{Absence, CensusState, brakes};
use domain::connector::Group;
use domain::event::Event;
use domain::id::SourceId;
use domain::job::{JobState, Lane};
use jiff::{SignedDuration, Timestamp};
use sqlx::AssertSqlSafe;

use super::enqueue::{self, Streams};
use super::{Lease, lane};
use crate::Store;
use crate::db::{Conn, Row, args, to_json};
use crate::dialect::{each, for_update};
use crate::error::{StoreError, corrupt};
use crate::event::{self, About};
use crate::landing;

/// Censuses that are kept of a partition: the last one, and what may be undone of those before.
const KEPT: u32 = 5;

/// How long after one that failed a partition is counted again: a fault that lasts costs four listings a day.
const AGAIN_AFTER: SignedDuration = SignedDuration::from_hours(6);

/// Ids that an event names: enough to see what they have in common.
const TOLD_MAX: usize = 100;

/// Partitions to be counted.
#[derive(Clone, Debug)]
pub struct CensusDue {
    /// The source.
    pub source: SourceId,
    /// The group of the stream.
    pub group: &'static Group,
    /// The stream.
    pub stream: &'static str,
    /// How its rows are counted.
    pub census: domain::census::Census,
    /// Only partitions whose last census was begun before this, and only while none of the group is under way; `None` is
    /// a person's wish, for all and at once.
    pub before: Option<Timestamp>,
    /// How many of them at most, those first whose last census is the oldest.
    pub max: u32,
}

impl Store {
    /// Begins censuses of partitions that are due, and returns how many.
    pub async fn begin_censuses(&self, due: CensusDue, now: Timestamp) -> Result<u64, StoreError> {
        let begun = self.inner.db.write((due, now), 0, |conn, input| Box::pin(begin(conn, input))).await?;
        self.woke();
        Ok(begun)
    }

    /// Counts the partitions of a stream that were read and are read on, so that they may be counted.
    pub async fn partitions_read(&self, source: SourceId, stream: &str) -> Result<u64, StoreError> {
        let input = (source, stream.to_owned());
        self.inner.db.read(input, |conn, (source, stream)| Box::pin(read(conn, *source, stream))).await
    }

    /// Marks what a census found to be gone, as a person allowed; returns how many rows.
    pub async fn approve_census(&self, id: i64, now: Timestamp) -> Result<u64, StoreError> {
        self.inner.db.write((id, now), 0, |conn, input| Box::pin(approve(conn, input))).await
    }

    /// Brings back what a census marked; returns how many rows.
    pub async fn undo_census(&self, id: i64, now: Timestamp) -> Result<u64, StoreError> {
        self.inner.db.write((id, now), 0, |conn, input| Box::pin(undo(conn, input))).await
    }
}

async fn read(conn: &mut Conn, source: SourceId, stream: &str) -> Result<u64, StoreError> {
    let sql = "select count(*) as number from partitions where source_id = $1 and stream = $2 and active and is_valid
        and last_synced_at is not null";
    conn.one(sql, args![source, stream]).await?.count("number")
}

async fn begin(conn: &mut Conn, (due, now): &(CensusDue, Timestamp)) -> Result<u64, StoreError> {
    let (source, group) = (due.source, due.group.name);
    let names = Streams::of(due.group).names();
    let going =
        "select id from syncs where source_id = $1 and stream_group = $2 and lane = $3 and state = 'running'";
    let going = conn.row(going, args![source, group, Lane::Census.as_str()]).await?.is_some();
    if going && due.before.is_some() {
        return Ok(0);
    }
    // Nothing of a group is opened for whom the policy would refuse.
    let allowed = "select source.id from sources as source
        join tenants as tenant on tenant.id = source.tenant_id and tenant.revoked_at is null
        where source.id = $1 and source.enabled and source.removed_at is null";
    if conn.row(allowed, args![source]).await?.is_none() {
        return Ok(0);
    }
    let sql = "select partition.key from partitions as partition
        where partition.source_id = $1 and partition.stream = $2 and partition.active and partition.is_valid
            and partition.last_synced_at is not null
            and not exists (select 1 from censuses as last where last.source_id = $1 and last.stream = $2
                and last.partition = partition.key and (last.state = 'counting'
                    or last.began_at > $3 and (last.state <> 'failed' or last.ended_at > $5)))
        order by coalesce((select max(began_at) from censuses as last where last.source_id = $1
            and last.stream = $2 and last.partition = partition.key), 0), partition.key limit $4";
    let before = due.before.unwrap_or(Timestamp::MAX);
    let failed_before = now.saturating_sub(AGAIN_AFTER).unwrap_or(Timestamp::MIN);
    let rows = conn.rows(sql, args![source, due.stream, before, due.max, failed_before]).await?;
    let mut begun = 0;
    for row in &rows {
        begun += u64::from(begin_one(conn, due, &row.get::<String>("key")?, *now).await?);
    }
    if lane::open(conn, source, (group, &names), *now).await? {
        enqueue::wake(conn).await?;
    }
    Ok(begun)
}

/// Begins a census, unless another process did so meanwhile.
async fn begin_one(conn: &mut Conn, due: &CensusDue, key: &str, now: Timestamp) -> Result<bool, StoreError> {
    let sql = "insert into censuses (source_id, stream_group, stream, partition, state, counts, owner_column,
            key_column, lookup_columns, began_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        on conflict do nothing";
    let it = &due.census;
    let mut args = args![due.source, due.group.name, due.stream, key, CensusState::Counting.as_str()];
    args.extend(args![it.table.name, it.owner, it.key, to_json(&it.lookup)?, now]);
    if conn.execute(sql, args).await? == 0 {
        return Ok(false);
    }
    drop_old(conn, due, key).await?;
    forget(conn, due.source, due.stream, key).await?;
    let sql = "insert into checkpoints (source_id, stream, partition, lane, cursor, plain)
        values ($1, $2, $3, $4, null, false)
        on conflict (source_id, stream, partition, lane) do update set cursor = null, ended_at = null";
    conn.execute(sql, args![due.source, due.stream, key, Lane::Census.as_str()]).await?;
    Ok(true)
}

/// Drops all censuses of a partition but the last ones, and but one that waits for an answer.
async fn drop_old(conn: &mut Conn, due: &CensusDue, key: &str) -> Result<(), StoreError> {
    let sql = "delete from census_absences where census_id in (select id from censuses
            where source_id = $1 and stream = $2 and partition = $3 and id not in (select id from censuses
                where source_id = $1 and stream = $2 and partition = $3 order by id desc limit $4)
            and state <> 'asks')
        and not restored";
    conn.execute(sql, args![due.source, due.stream, key, KEPT]).await?;
    // One of which something was brought back stays, so that it is not marked again.
    let sql = "delete from censuses where source_id = $1 and stream = $2 and partition = $3
        and id not in (select id from censuses where source_id = $1 and stream = $2 and partition = $3
            order by id desc limit $4)
        and state <> 'asks' and not exists (select 1 from census_absences where census_id = censuses.id)";
    conn.execute(sql, args![due.source, due.stream, key, KEPT]).await?;
    Ok(())
}

/// A census that has ended or ends.
struct Ended {
    id: i64,
    source: SourceId,
    stream: String,
    partition: String,
    state: CensusState,
    counts: String,
    owner: String,
    key: String,
    began_at: Timestamp,
    listed: u64,
    known: u64,
    absent: u64,
    applied_at: Option<Timestamp>,
}

const ENDED: &str =
    "select id, source_id, stream, partition, state, counts, owner_column, key_column, began_at,
    coalesce(listed, 0) as listed, coalesce(known, 0) as known, coalesce(absent, 0) as absent, applied_at from censuses";

fn ended(row: &Row) -> Result<Ended, StoreError> {
    let id: i64 = row.get("id")?;
    Ok(Ended {
        id,
        source: SourceId(row.get("source_id")?),
        stream: row.get("stream")?,
        partition: row.get("partition")?,
        state: row.word("state", CensusState::from_word, ("censuses", &id))?,
        counts: row.get("counts")?,
        owner: row.get("owner_column")?,
        key: row.get("key_column")?,
        began_at: row.time("began_at")?.ok_or_else(|| corrupt("censuses", id, "began_at"))?,
        listed: row.count("listed")?,
        known: row.count("known")?,
        absent: row.count("absent")?,
        applied_at: row.time("applied_at")?,
    })
}

/// Ends the census of a job that ended: with a conclusion where it caught up, else as failed, which says nothing. Returns
/// whether there was one that ended.
pub(super) async fn settle(
    conn: &mut Conn,
    lease: &Lease,
    state: JobState,
    fault: Option<(&str, &str)>,
    now: Timestamp,
) -> Result<bool, StoreError> {
    if state.is_active() {
        return Ok(false);
    }
    let sql = format!(
        "{ENDED} where source_id = $1 and stream = $2 and partition = $3 and state = 'counting'
         order by id desc limit 1"
    );
    let row = conn.row(AssertSqlSafe(sql), args![lease.source, &lease.stream, &lease.partition]).await?;
    let Some(row) = row else { return Ok(false) };
    let it = ended(&row)?;
    if state == JobState::Completed && is_listed(conn, it.id).await? {
        conclude(conn, it, now).await?;
        return Ok(true);
    }
    let (code, detail) = fault.unwrap_or(("cancelled", "it was stopped"));
    let sql = "update censuses set error_code = $2, error_detail = $3 where id = $1";
    conn.execute(sql, args![it.id, code, detail]).await?;
    forget(conn, it.source, &it.stream, &it.partition).await?;
    close(conn, &it, CensusState::Failed, now).await?;
    Ok(true)
}

async fn is_listed(conn: &mut Conn, id: i64) -> Result<bool, StoreError> {
    let row = conn.one("select listed_at from censuses where id = $1", args![id]).await?;
    Ok(row.time("listed_at")?.is_some())
}

async fn conclude(conn: &mut Conn, mut it: Ended, now: Timestamp) -> Result<(), StoreError> {
    let sql = "select count(*) as looked_up,
            count(case when absence in ('deleted', 'moved') and not restored then 1 end) as gone
        from census_absences where census_id = $1";
    let row = conn.one(sql, args![it.id]).await?;
    let (gone, looked_up) = (row.count("gone")?, row.count("looked_up")?);
    // More is absent than was looked up: of the others the worst is believed, else much would go little by little.
    let believed = gone + it.absent.saturating_sub(looked_up);
    // An empty listing may be what somebody is shown who may see nothing.
    let state = if gone == 0 {
        CensusState::Clear
    } else if it.listed == 0 || brakes(it.known, believed) {
        CensusState::Asks
    } else {
        mark(conn, &mut it, false, now).await?;
        CensusState::Applied
    };
    close(conn, &it, state, now).await
}

/// Marks rows that are gone, and keeps which; those that a person had brought back only where one is asked.
async fn mark(conn: &mut Conn, it: &mut Ended, asked: bool, now: Timestamp) -> Result<u64, StoreError> {
    let (table, owner, key) = (name(&it.counts)?, name(&it.owner)?, name(&it.key)?);
    let among = format!(
        "census_id = $1 and absence in ('deleted', 'moved') and not marked {}",
        if asked { "" } else { "and not restored" }
    );
    let (at, began) = if conn.is_sqlite() { ("$4", "$5") } else { ("$4::timestamptz", "$5::timestamptz") };
    // What was seen since is there again.
    let sql = format!(
        "update {table} set deleted_at = {at}, observed_at = {began}
         where source_id = $2 and {owner} = cast($3 as bigint) and deleted_at is null and observed_at <= {began}
             and cast({key} as text) in (select census_absences.key from census_absences where {among})
         returning cast({key} as text) as key"
    );
    let args = args![it.id, it.source, &it.partition, landing::instant(now), landing::instant(it.began_at)];
    let mut keys = Vec::new();
    for row in conn.rows(AssertSqlSafe(sql), args).await? {
        keys.push([row.get::<String>("key")?]);
    }
    let rows = keys.len() as u64;
    let sql = format!(
        "update census_absences set marked = true, restored = false
         where census_id = $1 and key in (select t.value ->> 0 from {})",
        each(conn, "$2"),
    );
    conn.execute(AssertSqlSafe(sql), args![it.id, to_json(&keys)?]).await?;
    let sql = "update censuses set applied_at = $2, marked = $3 where id = $1";
    conn.execute(sql, args![it.id, now, rows]).await?;
    it.applied_at = Some(now);
    Ok(rows)
}

/// Ends a census, takes the place of earlier ones that wait for an answer, and tells of it.
async fn close(conn: &mut Conn, it: &Ended, state: CensusState, now: Timestamp) -> Result<(), StoreError> {
    let sql = "update censuses set state = $2, ended_at = $3 where id = $1";
    conn.execute(sql, args![it.id, state.as_str(), now]).await?;
    if state != CensusState::Failed {
        let sql = "update censuses set state = 'superseded'
            where source_id = $1 and stream = $2 and partition = $3 and state = 'asks' and id < $4";
        conn.execute(sql, args![it.source, &it.stream, &it.partition, it.id]).await?;
    }
    let sql = "select key, absence from census_absences where census_id = $1 order by key";
    let (mut counts, mut keys) = ([0_u64; Absence::ALL.len()], Vec::new());
    for row in conn.rows(sql, args![it.id]).await? {
        let Some(word) = row.get::<Option<String>>("absence")? else { continue };
        let absence =
            Absence::from_word(&word).ok_or_else(|| corrupt("census_absences", it.id, "absence"))?;
        counts[absence as usize] += 1;
        if absence.is_gone() && keys.len() < TOLD_MAX {
            keys.push(row.get::<String>("key")?);
        }
    }
    let [deleted, moved, access_lost, unobserved] = counts;
    let event = Event::CensusClosed {
        census_id: it.id,
        installation_id: it.source,
        stream: it.stream.clone(),
        partition: it.partition.clone(),
        state,
        listed: it.listed,
        known: it.known,
        deleted,
        moved,
        access_lost,
        unobserved,
        gone: keys,
    };
    event::record(conn, now, &event, About { source: it.source, sync: None, job: None }).await
}

async fn decided(conn: &mut Conn, id: i64) -> Result<Ended, StoreError> {
    let sql = format!("{ENDED} where id = $1 {}", for_update(conn));
    ended(&conn.one(AssertSqlSafe(sql), args![id]).await?)
}

async fn decide(
    conn: &mut Conn,
    it: &Ended,
    state: CensusState,
    records: u64,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "update censuses set state = $2, decided_at = $3 where id = $1";
    conn.execute(sql, args![it.id, state.as_str(), now]).await?;
    let event = Event::CensusDecided { census_id: it.id, installation_id: it.source, state, records };
    event::record(conn, now, &event, About { source: it.source, sync: None, job: None }).await
}

async fn approve(conn: &mut Conn, (id, now): &(i64, Timestamp)) -> Result<u64, StoreError> {
    let mut it = decided(conn, *id).await?;
    if !matches!(it.state, CensusState::Asks | CensusState::Undone | CensusState::Clear) {
        let why = format!("census {id} is {}: there is nothing to approve", it.state);
        return Err(StoreError::Conflict(why));
    }
    let rows = mark(conn, &mut it, true, *now).await?;
    decide(conn, &it, CensusState::Approved, rows, *now).await?;
    Ok(rows)
}

async fn undo(conn: &mut Conn, (id, now): &(i64, Timestamp)) -> Result<u64, StoreError> {
    let it = decided(conn, *id).await?;
    let (CensusState::Applied | CensusState::Approved, Some(applied_at)) = (it.state, it.applied_at) else {
        let why = format!("census {id} is {}: it marked nothing that could be brought back", it.state);
        return Err(StoreError::Conflict(why));
    };
    let (table, owner, key) = (name(&it.counts)?, name(&it.owner)?, name(&it.key)?);
    let at = if conn.is_sqlite() { "$4" } else { "$4::timestamptz" };
    // What was marked by something else since stays so.
    let sql = format!(
        "update {table} set deleted_at = null
         where source_id = $2 and {owner} = cast($3 as bigint) and deleted_at = {at}
             and cast({key} as text) in (select census_absences.key from census_absences
                 where census_id = $1 and marked)"
    );
    let args = args![it.id, it.source, &it.partition, landing::instant(applied_at)];
    let rows = conn.execute(AssertSqlSafe(sql), args).await?;
    let sql = "update census_absences set marked = false, restored = true where census_id = $1 and marked";
    conn.execute(sql, args![it.id]).await?;
    decide(conn, &it, CensusState::Undone, rows, *now).await?;
    Ok(rows)
}

/// Forgets what was listed so far.
pub(crate) async fn forget(
    conn: &mut Conn,
    source: SourceId,
    stream: &str,
    partition: &str,
) -> Result<(), StoreError> {
    let sql = "delete from census_seen where source_id = $1 and stream = $2 and partition = $3";
    conn.execute(sql, args![source, stream, partition]).await?;
    Ok(())
}

/// Passes a name that goes into a statement; ours are words, and anything else is damage.
pub(crate) fn name(name: &str) -> Result<&str, StoreError> {
    let is_word = |it: char| it.is_ascii_lowercase() || it.is_ascii_digit() || it == '_';
    if !name.is_empty() && name.chars().all(is_word) {
        Ok(name)
    } else {
        Err(corrupt("censuses", name, "a column's name"))
    }
}
