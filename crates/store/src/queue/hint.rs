//! Deliveries and what they hint at: kept once each, until a request was made of them.
//!
//! Never loses a hint: it is done only in the transaction that makes a sync of it, or has a job run once more for it.
//! Begin with [`Store::deliver`], then [`Store::enqueue_hints`].

pub(crate) mod follow;

use domain::connector::delivery::{Hint, Received};
use domain::event::Event;
use domain::id::{SourceId, SyncId};
use jiff::{SignedDuration, Timestamp};
use sqlx::AssertSqlSafe;

use super::target::Target;
use crate::Store;
use crate::db::{Conn, Row, args, to_json};
use crate::dialect::{each, for_update, skip_locked, without_nul};
use crate::error::{StoreError, corrupt};
use crate::event::{self, About};

/// Hints of one source that wait at most: some hours of a busy organisation whose source cannot be synced. Beyond it the
/// provider is told to deliver later.
pub(super) const WAITING_MAX: u32 = 10_000;

/// Deliveries that one step of retention removes: some milliseconds of work.
const REMOVED_MAX: u32 = 500;

/// A delivery that was verified and read.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The source.
    pub source: SourceId,
    /// The provider's id of it.
    pub id: String,
    /// What it says.
    pub received: Received,
    /// How long its hints wait for others that come with it.
    pub debounce: SignedDuration,
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrived {
    /// Its hints wait to be made into a request.
    Waiting,
    /// It hints at nothing that is read.
    Ignored,
    /// It came before.
    Duplicate,
    /// Too many wait already; nothing of it was kept.
    Full,
}

/// A delivery as it was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRow {
    /// The source.
    pub source: SourceId,
    /// What people call the source.
    pub source_name: String,
    /// The provider's id of it.
    pub id: String,
    /// What the provider calls what happened.
    pub event: String,
    /// When it came.
    pub received_at: Timestamp,
    /// What it hints at that is read.
    pub hints: Vec<HintRow>,
}

/// A hint of a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HintRow {
    /// The group of streams.
    pub group: String,
    /// The stream; `None` for all of the group.
    pub stream: Option<String>,
    /// The partition; `None` for all of the group.
    pub partition: Option<String>,
    /// Whether a request was made of it.
    pub done: bool,
    /// The sync that was made of it, or that reads once more because of it.
    pub sync: Option<SyncId>,
    /// When it may be made into a request.
    pub due_at: Timestamp,
    /// How often that was put off.
    pub tries: u64,
}

/// Which deliveries.
#[derive(Clone, Debug)]
pub struct DeliveryQuery {
    /// Of this source.
    pub source: SourceId,
    /// Only those that hint at this stream and partition.
    pub of: Option<Target>,
    /// Only those that came at this time or later.
    pub since: Option<Timestamp>,
    /// Only those that came before the one that came at this time and has this id.
    pub before: Option<(Timestamp, String)>,
    /// How many at most.
    pub limit: u32,
}

impl Store {
    /// Keeps a delivery and what it hints at, unless it came before.
    pub async fn deliver(&self, arrival: Arrival, now: Timestamp) -> Result<Arrived, StoreError> {
        self.inner.db.write((arrival, now), 0, |conn, input| Box::pin(deliver(conn, input))).await
    }

    /// Says whether a delivery came before.
    pub async fn is_delivered(&self, source: SourceId, id: String) -> Result<bool, StoreError> {
        self.inner.db.read((source, id), |conn, (source, id)| Box::pin(is_known(conn, *source, id))).await
    }

    /// Lists deliveries, the newest first.
    pub async fn deliveries(&self, query: DeliveryQuery) -> Result<Vec<DeliveryRow>, StoreError> {
        self.inner.db.read(query, |conn, query| Box::pin(list(conn, query))).await
    }

    /// Removes deliveries that came before a time and of which nothing waits; to be called until it removes none.
    pub async fn remove_deliveries(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.inner.db.write(before, 0, |conn, before| Box::pin(remove(conn, *before))).await
    }
}

async fn is_known(conn: &mut Conn, source: SourceId, id: &str) -> Result<bool, StoreError> {
    let sql = "select id from deliveries where source_id = $1 and id = $2";
    Ok(conn.row(sql, args![source, id]).await?.is_some())
}

async fn deliver(conn: &mut Conn, (arrival, now): &(Arrival, Timestamp)) -> Result<Arrived, StoreError> {
    let (source, now) = (arrival.source, *now);
    let (id, event) = (without_nul(arrival.id.clone()), without_nul(arrival.received.event.clone()));
    // Locked, so that its removal leaves no hint behind.
    let there = format!("select id from sources where id = $1 and removed_at is null {}", for_update(conn));
    conn.one(AssertSqlSafe(there), args![source]).await?;
    let sql = "insert into deliveries (source_id, id, event, received_at) values ($1, $2, $3, $4)
        on conflict do nothing";
    if conn.execute(sql, args![source, &id, &event, now]).await? == 0 {
        return Ok(Arrived::Duplicate);
    }
    let mut kept = 0;
    for hint in &arrival.received.hints {
        let Some(part) = resolve(conn, source, hint).await? else { continue };
        if kept == 0 && is_full(conn, source).await? {
            // What was written of it goes, so that it is new when it is sent again.
            conn.execute("delete from deliveries where source_id = $1 and id = $2", args![source, &id])
                .await?;
            return Ok(Arrived::Full);
        }
        let due_at = now.saturating_add(arrival.debounce).unwrap_or(now);
        // Where the group is put off, this one is too: it would only be refused again.
        let sql = "insert into hints (source_id, delivery_id, stream_group, stream, partition, received_at, state, due_at,
                tries)
            select $1, $2, $3, $4, $5, $6, 'waiting', coalesce((select max(due_at) from hints
                where source_id = $1 and stream_group = $3 and state = 'waiting' and tries > 0), $7), 0";
        let (stream, partition) = part.unzip();
        conn.execute(sql, args![source, &id, hint.group, stream, partition, now, due_at]).await?;
        kept += 1;
    }
    let event = Event::Delivery { installation_id: source, delivery_id: id, event, hints: kept };
    event::record(conn, now, &event, About { source, sync: None, job: None }).await?;
    Ok(if kept > 0 { Arrived::Waiting } else { Arrived::Ignored })
}

async fn is_full(conn: &mut Conn, source: SourceId) -> Result<bool, StoreError> {
    let sql =
        "select count(*) as waiting from (select id from hints where source_id = $1 and state = 'waiting'
        limit $2) as first";
    Ok(conn.one(sql, args![source, WAITING_MAX]).await?.count("waiting")? >= u64::from(WAITING_MAX))
}

/// What a hint comes to: a partition, all of the group, or nothing that is read.
async fn resolve(
    conn: &mut Conn,
    source: SourceId,
    hint: &Hint,
) -> Result<Option<Option<(String, String)>>, StoreError> {
    for (stream, partition) in &hint.parts {
        let sql = "select key from partitions where source_id = $1 and stream = $2 and active and key = $3";
        if conn.row(sql, args![source, *stream, partition]).await?.is_some() {
            return Ok(Some(Some(((*stream).to_owned(), partition.clone()))));
        }
    }
    // Before the first sync nothing is known: then any hint begins it.
    let synced = "select id from syncs where source_id = $1 and stream_group = $2 and whole limit 1";
    let is_for_all = hint.parts.is_empty() || conn.row(synced, args![source, hint.group]).await?.is_none();
    Ok(is_for_all.then_some(None))
}

async fn list(conn: &mut Conn, query: &DeliveryQuery) -> Result<Vec<DeliveryRow>, StoreError> {
    let since = query.since.unwrap_or(Timestamp::UNIX_EPOCH);
    let (at, id) = query.before.clone().unwrap_or((Timestamp::MAX, String::new()));
    let mut args = args![query.source, since, at, id, query.limit];
    let of = query.of.as_ref().map_or("", |of| {
        args.extend(args![&of.stream, &of.partition]);
        "and exists (select 1 from hints as of where of.source_id = delivery.source_id
             and of.delivery_id = delivery.id and of.stream = $6 and of.partition = $7)"
    });
    let sql = format!(
        "select delivery.id, delivery.event, delivery.received_at, source.name as source_name
         from deliveries as delivery join sources as source on source.id = delivery.source_id
         where delivery.source_id = $1 and delivery.received_at >= $2
             and (delivery.received_at < $3 or delivery.received_at = $3 and delivery.id < $4) {of}
         order by delivery.received_at desc, delivery.id desc limit $5"
    );
    let rows = conn.rows(AssertSqlSafe(sql), args).await?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        let id: String = row.get("id")?;
        let sql = "select stream_group, stream, partition, state, sync_id, due_at, tries from hints
            where source_id = $1 and delivery_id = $2 order by id";
        let hints = conn.rows(sql, args![query.source, &id]).await?;
        found.push(DeliveryRow {
            source: query.source,
            source_name: row.get("source_name")?,
            event: row.get("event")?,
            received_at: row.time("received_at")?.ok_or_else(|| corrupt("deliveries", &id, "received_at"))?,
            hints: hints.iter().map(|it| hint(it, &id)).collect::<Result<_, _>>()?,
            id,
        });
    }
    Ok(found)
}

fn hint(row: &Row, id: &str) -> Result<HintRow, StoreError> {
    Ok(HintRow {
        group: row.get("stream_group")?,
        stream: row.get("stream")?,
        partition: row.get("partition")?,
        done: row.get::<String>("state")? == "done",
        sync: row.get::<Option<i64>>("sync_id")?.map(SyncId),
        due_at: row.time("due_at")?.ok_or_else(|| corrupt("hints", id, "due_at"))?,
        tries: row.count("tries")?,
    })
}

async fn remove(conn: &mut Conn, before: Timestamp) -> Result<u64, StoreError> {
    let sql = format!(
        "select source_id, id from deliveries where received_at < $1 and not exists (select 1 from hints
             where hints.source_id = deliveries.source_id and hints.delivery_id = deliveries.id
                 and hints.state = 'waiting') order by received_at limit $2 {}",
        skip_locked(conn),
    );
    let rows = conn.rows(AssertSqlSafe(sql), args![before, REMOVED_MAX]).await?;
    let old: Vec<(i64, String)> = rows
        .iter()
        .map(|row| Ok((row.get("source_id")?, row.get("id")?)))
        .collect::<Result<_, StoreError>>()?;
    let old = to_json(&old)?;
    for (table, key) in [("hints", "delivery_id"), ("deliveries", "id")] {
        conn.execute(AssertSqlSafe(removal(conn, table, key)), args![&old]).await?;
    }
    Ok(rows.len() as u64)
}

/// Removes the rows of deliveries. Asked for row by row: a condition on each row of the table would look through all of
/// the list for each of them.
fn removal(conn: &Conn, table: &str, key: &str) -> String {
    format!(
        "delete from {table} where (source_id, {key}) in (select cast(t.value ->> 0 as bigint), t.value ->> 1 from {})",
        each(conn, "$1"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;

    /// A hundred thousand deliveries were looked through for each of five hundred, in one transaction of the only writer.
    #[tokio::test]
    async fn old_deliveries_are_found_by_their_keys() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("syncline.db").display());
        let store = Store::open(Options::new(&url), &[]).await.unwrap();
        for (table, key) in [("hints", "delivery_id"), ("deliveries", "id")] {
            let plan: Vec<String> = store
                .inner
                .db
                .read((table, key), |conn, (table, key)| {
                    Box::pin(async move {
                        let sql = format!("explain query plan {}", removal(conn, table, key));
                        let rows = conn.rows(AssertSqlSafe(sql), args!["[]"]).await?;
                        rows.iter().map(|row| row.get("detail")).collect()
                    })
                })
                .await
                .unwrap();
            assert!(plan[0].starts_with(&format!("SEARCH {table}")), "{plan:#?}");
        }
        store.close().await;
    }
}
