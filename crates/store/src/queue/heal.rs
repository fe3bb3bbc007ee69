//! Self-healing: partitions whose signs speak for more than was read, the recoveries of them, and what those brought.
//!
//! Never decides whether something is wrong; the policy's [`heal`] does. Begin with [`Store::suspects`].

mod missed;
mod recover;

use domain::connector::Group;
use domain::id::{SourceId, SyncId};
use domain::policy::heal::{self, Found, Signs, TOLERANCE};
use jiff::{SignedDuration, Timestamp};
use sqlx::AssertSqlSafe;

pub use self::missed::Missed;
pub use self::recover::{EnqueueRecoveries, Recovering};
use super::enqueue::Streams;
use super::target::Target;
use crate::Store;
use crate::db::{Conn, Row, args, to_json};
use crate::dialect::{each, for_update};
use crate::error::{StoreError, corrupt};

/// What speaks for more than is there, as the index of suspects has it.
const SUSPECT: &str = "active and sign_at > news_at + 60000 and sign_at > quiet_at";
const _: () = assert!(TOLERANCE.as_millis() == 60_000, "the index has the tolerance in it");

/// Recoveries that ended and are concluded in one round, and groups that are looked at.
const AT_ONCE: u32 = 100;

/// How soon the signs of a partition are looked at again whose recovery could not be read: its own error is shown
/// meanwhile, and tried again by its schedule.
const UNREAD_AFTER: SignedDuration = SignedDuration::from_hours(1);

/// A partition whose signs speak for more than was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// Its source.
    pub source: SourceId,
    /// The source's connector.
    pub provider: String,
    /// Its stream and key.
    pub target: Target,
    /// What is known of it.
    pub signs: Signs,
}

/// What is to become of a suspect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Suspected {
    /// Its signs are looked at again at this time.
    Later(Timestamp),
    /// It is read with care from this time on.
    Heal {
        /// The group of its stream.
        group: &'static str,
        /// The time.
        at: Timestamp,
    },
}

/// What came of a recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concluded {
    /// The source.
    pub source: SourceId,
    /// The group of streams.
    pub group: String,
    /// What was found in each of its partitions.
    pub found: Vec<Found>,
    /// Recoveries in a row that brought nothing, with this one.
    pub in_vain: u64,
}

impl Store {
    /// Lists partitions whose signs speak for more than was read, and are to be looked at by now; the longest due first.
    pub async fn suspects(&self, now: Timestamp, limit: u32) -> Result<Vec<Suspect>, StoreError> {
        self.inner.db.read((now, limit), |conn, (now, limit)| Box::pin(suspects(conn, *now, *limit))).await
    }

    /// Keeps what is to become of suspects.
    pub async fn note_suspects(&self, noted: Vec<(Suspect, Suspected)>) -> Result<(), StoreError> {
        self.inner.db.write(noted, 0, |conn, noted| Box::pin(note(conn, noted))).await
    }

    /// Lists syncs of recoveries that have ended.
    pub async fn ended_recoveries(&self) -> Result<Vec<SyncId>, StoreError> {
        self.inner.db.read((), |conn, ()| Box::pin(ended(conn))).await
    }

    /// Concludes what a recovery's sync brought; `None` when another process did.
    pub async fn conclude_recovery(
        &self,
        sync: SyncId,
        now: Timestamp,
    ) -> Result<Option<Concluded>, StoreError> {
        self.inner.db.write((sync, now), 0, |conn, (sync, now)| Box::pin(conclude(conn, *sync, *now))).await
    }

    /// Lists stream groups whose last recoveries were in vain.
    pub async fn vain_recoveries(&self) -> Result<Vec<Recovering>, StoreError> {
        self.inner.db.read((), |conn, ()| Box::pin(vain(conn))).await
    }

    /// Forgets the recoveries in vain of a group if anything of it came since the first of them; says whether it did.
    pub async fn forgive_recoveries(
        &self,
        source: SourceId,
        group: &'static Group,
    ) -> Result<bool, StoreError> {
        let input = (source, group);
        self.inner.db.write(input, 0, |conn, (source, group)| Box::pin(forgive(conn, *source, group))).await
    }
}

/// Notes that deliveries named partitions: their latest is a sign of each.
pub(super) async fn hinted(
    conn: &mut Conn,
    source: SourceId,
    hints: &[(Target, Timestamp)],
) -> Result<(), StoreError> {
    let rows: Vec<(&str, &str, i64)> = hints
        .iter()
        .map(|(it, at)| (it.stream.as_str(), it.partition.as_str(), at.as_millisecond()))
        .collect();
    let sql = format!(
        "update partitions set sign_at = hint.at
         from (select t.value ->> 0 as stream, t.value ->> 1 as partition, max(cast(t.value ->> 2 as bigint)) as at
             from {} group by 1, 2) as hint
         where partitions.source_id = $1 and partitions.stream = hint.stream and partitions.key = hint.partition
             and (partitions.sign_at is null or partitions.sign_at < hint.at)",
        each(conn, "$2"),
    );
    conn.execute(AssertSqlSafe(sql), args![source, to_json(&rows)?]).await?;
    Ok(())
}

async fn suspects(conn: &mut Conn, now: Timestamp, limit: u32) -> Result<Vec<Suspect>, StoreError> {
    let sql = format!(
        "select suspect.source_id, source.provider, suspect.stream, suspect.key, suspect.sign_at, suspect.news_at,
             suspect.quiet_at, suspect.last_synced_at
         from (select source_id, stream, key, sign_at, news_at, quiet_at, last_synced_at, heal_at
             from partitions where {SUSPECT} and heal_at <= $1 order by heal_at limit $2) as suspect
         join sources as source on source.id = suspect.source_id
         order by suspect.heal_at, suspect.source_id, suspect.stream, suspect.key",
    );
    let rows = conn.rows(AssertSqlSafe(sql), args![now, limit]).await?;
    let suspect = |row: &Row| {
        let target = Target { stream: row.get("stream")?, partition: row.get("key")? };
        let at = |column: &'static str| {
            row.time(column)?.ok_or_else(|| corrupt("partitions", &target.partition, column))
        };
        let signs = Signs {
            sign_at: at("sign_at")?,
            news_at: at("news_at")?,
            read_at: row.time("last_synced_at")?,
            quiet_at: row.time("quiet_at")?.filter(|at| *at > Timestamp::UNIX_EPOCH),
        };
        Ok(Suspect { source: SourceId(row.get("source_id")?), provider: row.get("provider")?, target, signs })
    };
    rows.iter().map(suspect).collect()
}

async fn note(conn: &mut Conn, noted: &[(Suspect, Suspected)]) -> Result<(), StoreError> {
    let (mut later, mut heal) = (Vec::new(), Vec::new());
    for (suspect, what) in noted {
        let Suspect { source, target: Target { stream, partition }, signs, .. } = suspect;
        let (source, sign) = (source.0, signs.sign_at.as_millisecond());
        let at = match what {
            Suspected::Later(at) => at,
            Suspected::Heal { group, at } => {
                heal.push((source, stream, partition, *group, sign, at.as_millisecond()));
                // Whatever comes of it sets another time; should it be lost, its signs are looked at again.
                &at.saturating_add(UNREAD_AFTER).unwrap_or(*at)
            }
        };
        later.push((source, stream, partition, at.as_millisecond()));
    }
    let sql = format!(
        "update partitions set heal_at = noted.at
         from (select cast(t.value ->> 0 as bigint) as source_id, t.value ->> 1 as stream, t.value ->> 2 as key,
             cast(t.value ->> 3 as bigint) as at from {}) as noted
         where partitions.source_id = noted.source_id and partitions.stream = noted.stream
             and partitions.key = noted.key",
        each(conn, "$1"),
    );
    conn.execute(AssertSqlSafe(sql), args![to_json(&later)?]).await?;
    // One that is under way is not begun anew.
    let sql = format!(
        "insert into recoveries (source_id, stream, partition, stream_group, sign_at, due_at)
         select cast(t.value ->> 0 as bigint), t.value ->> 1, t.value ->> 2, t.value ->> 3,
             cast(t.value ->> 4 as bigint), cast(t.value ->> 5 as bigint)
         from {} where true on conflict do nothing",
        each(conn, "$1"),
    );
    conn.execute(AssertSqlSafe(sql), args![to_json(&heal)?]).await?;
    Ok(())
}

async fn ended(conn: &mut Conn) -> Result<Vec<SyncId>, StoreError> {
    // One of which a job is blocked is waited for; one that retention removed has ended.
    let sql = "select distinct sync_id from recoveries where sync_id is not null
            and not exists (select 1 from syncs where id = sync_id and state = 'running')
            and not exists (select 1 from jobs where jobs.sync_id = recoveries.sync_id
                and jobs.state in ('available', 'scheduled', 'retryable', 'running'))
        order by sync_id limit $1";
    let rows = conn.rows(sql, args![AT_ONCE]).await?;
    rows.iter().map(|row| row.get("sync_id").map(SyncId)).collect()
}

async fn conclude(conn: &mut Conn, sync: SyncId, now: Timestamp) -> Result<Option<Concluded>, StoreError> {
    let sql = format!(
        "select source_id, stream_group, stream, partition, sign_at, asked_at from recoveries where sync_id = $1 {}",
        for_update(conn),
    );
    let rows = conn.rows(AssertSqlSafe(sql), args![sync]).await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let source = SourceId(first.get("source_id")?);
    let group: String = first.get("stream_group")?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        let (stream, partition): (String, String) = (row.get("stream")?, row.get("partition")?);
        let asked_at = row.time("asked_at")?.ok_or_else(|| corrupt("recoveries", sync, "asked_at"))?;
        let read = "select news_at, last_synced_at from partitions where source_id = $1 and stream = $2 and key = $3";
        let known = conn.row(read, args![source, &stream, &partition]).await?;
        // It was removed meanwhile.
        let Some(known) = known else { continue };
        let what = heal::found(asked_at, known.time("news_at")?, known.time("last_synced_at")?);
        found.push(what);
        let sign_at = if what == Found::Nothing { row.time("sign_at")? } else { None };
        let heal_at = match what {
            Found::Unknown => now.saturating_add(UNREAD_AFTER).unwrap_or(now),
            Found::News | Found::Nothing => now,
        };
        let sql = "update partitions set heal_at = $4, quiet_at = coalesce($5, quiet_at)
            where source_id = $1 and stream = $2 and key = $3";
        conn.execute(sql, args![source, &stream, &partition, heal_at, sign_at]).await?;
    }
    conn.execute("delete from recoveries where sync_id = $1", args![sync]).await?;
    let in_vain = count(conn, source, &group, &found, now).await?;
    Ok(Some(Concluded { source, group, found, in_vain }))
}

/// Keeps what came of a recovery of a group, and returns how many in a row brought nothing.
async fn count(
    conn: &mut Conn,
    source: SourceId,
    group: &str,
    found: &[Found],
    now: Timestamp,
) -> Result<u64, StoreError> {
    let sql = format!(
        "select in_vain, since, healed from healing where source_id = $1 and stream_group = $2 {}",
        for_update(conn),
    );
    let known = conn.row(AssertSqlSafe(sql), args![source, group]).await?;
    let (before, since, healed) = match &known {
        Some(row) => (row.count("in_vain")?, row.time("since")?, row.count("healed")?),
        None => (0, None, 0),
    };
    let in_vain = heal::in_vain(before, found);
    let since = (in_vain > 0).then(|| since.unwrap_or(now));
    let healed = healed + u64::from(found.contains(&Found::News));
    let sql =
        "insert into healing (source_id, stream_group, in_vain, since, healed) values ($1, $2, $3, $4, $5)
        on conflict (source_id, stream_group) do update
            set in_vain = excluded.in_vain, since = excluded.since, healed = excluded.healed";
    conn.execute(sql, args![source, group, in_vain, since, healed]).await?;
    Ok(in_vain)
}

async fn vain(conn: &mut Conn) -> Result<Vec<Recovering>, StoreError> {
    let sql = "select healing.source_id, source.provider, healing.stream_group
        from healing join sources as source on source.id = healing.source_id
        where healing.in_vain > 0 order by healing.source_id, healing.stream_group limit $1";
    let rows = conn.rows(sql, args![AT_ONCE]).await?;
    rows.iter().map(recover::recovering).collect()
}

async fn forgive(conn: &mut Conn, source: SourceId, group: &Group) -> Result<bool, StoreError> {
    let sql = format!(
        "update healing set in_vain = 0, since = null
         where source_id = $1 and stream_group = $2 and in_vain > 0 and exists (select 1 from partitions
             where partitions.source_id = $1 and partitions.stream in (select t.value ->> 0 from {})
                 and partitions.news_at >= healing.since)",
        each(conn, "$3"),
    );
    let streams = to_json(&Streams::of(group).names())?;
    Ok(conn.execute(AssertSqlSafe(sql), args![source, group.name, streams]).await? > 0)
}
