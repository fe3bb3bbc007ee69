//! Chores: when each is due, who has a run of it, and what the last one did.
//!
//! Never runs one. A run belongs to whoever moved the due time on that it read, as with ticks: see [`Store::take_chore`].

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::Store;
use crate::db::{Conn, Row, args, to_json};
use crate::error::{StoreError, corrupt};

/// A chore as it stands in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredChore {
    /// Its word.
    pub name: String,
    /// How often it is run.
    pub every: SignedDuration,
    /// When it is due.
    pub next_at: Timestamp,
    /// How often it was begun.
    pub runs: u64,
    /// The last run.
    pub last: Option<ChoreRun>,
}

/// One run of a chore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChoreRun {
    /// When it was begun.
    pub at: Timestamp,
    /// The process that began it.
    pub node: String,
    /// How long it took; `None` while it runs, or when its process died.
    pub took: Option<SignedDuration>,
    /// What it did, in numbers.
    pub did: BTreeMap<String, u64>,
    /// Why it failed.
    pub error: Option<String>,
}

/// A run of a chore that is about to begin.
#[derive(Clone, Debug)]
pub struct ChoreTurn {
    /// The chore.
    pub name: &'static str,
    /// When it was due, as it stands in the row: the fence.
    pub due_at: Timestamp,
    /// When it is due next.
    pub next_at: Timestamp,
    /// The process that runs it.
    pub node: String,
}

/// How a run of a chore ended.
#[derive(Clone, Debug)]
pub struct ChoreEnd {
    /// The chore.
    pub name: &'static str,
    /// When the run was begun: a later one is not touched.
    pub began_at: Timestamp,
    /// The process that ran it.
    pub node: String,
    /// What it did, in numbers.
    pub did: BTreeMap<String, u64>,
    /// Why it failed.
    pub error: Option<String>,
}

impl Store {
    /// Lists the chores by name.
    pub async fn chores(&self) -> Result<Vec<StoredChore>, StoreError> {
        self.inner.db.read((), |conn, input| Box::pin(list(conn, input))).await
    }

    /// Makes the rows of chores that have none, due at once, and keeps to their present intervals.
    pub async fn plan_chores(
        &self,
        chores: Vec<(&'static str, SignedDuration)>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.inner.db.write((chores, now), 0, |conn, input| Box::pin(plan(conn, input))).await
    }

    /// Takes a run of a chore; false when another process had it.
    pub async fn take_chore(&self, turn: ChoreTurn, now: Timestamp) -> Result<bool, StoreError> {
        self.inner.db.write((turn, now), 0, |conn, input| Box::pin(take(conn, input))).await
    }

    /// Keeps what a run did.
    pub async fn end_chore(&self, end: ChoreEnd, now: Timestamp) -> Result<(), StoreError> {
        self.inner.db.write((end, now), 0, |conn, input| Box::pin(close(conn, input))).await
    }
}

async fn list(conn: &mut Conn, (): &()) -> Result<Vec<StoredChore>, StoreError> {
    let sql = "select name, interval_ms, next_at, runs, started_at, node, took_ms, did, error from chores order by name";
    conn.rows(sql, args![]).await?.iter().map(chore).collect()
}

fn chore(row: &Row) -> Result<StoredChore, StoreError> {
    let name: String = row.get("name")?;
    let last = match row.time("started_at")? {
        None => None,
        Some(at) => Some(ChoreRun {
            at,
            node: row.get::<Option<String>>("node")?.unwrap_or_default(),
            took: row.get::<Option<i64>>("took_ms")?.map(SignedDuration::from_millis),
            did: row.json("did", ("chores", &name))?.unwrap_or_default(),
            error: row.get("error")?,
        }),
    };
    Ok(StoredChore {
        every: SignedDuration::from_millis(row.get("interval_ms")?),
        next_at: row.time("next_at")?.ok_or_else(|| corrupt("chores", &name, "next_at"))?,
        runs: row.count("runs")?,
        last,
        name,
    })
}

async fn plan(
    conn: &mut Conn,
    (chores, now): &(Vec<(&'static str, SignedDuration)>, Timestamp),
) -> Result<(), StoreError> {
    for (name, every) in chores {
        // A shorter interval holds at once; a clock that was set back must not put a chore off.
        let sql = "insert into chores (name, interval_ms, next_at, runs) values ($1, $2, $3, 0)
            on conflict (name) do update set interval_ms = excluded.interval_ms,
                next_at = case when chores.next_at > $3 + $2 then $3 + $2 else chores.next_at end
            where chores.interval_ms <> excluded.interval_ms or chores.next_at > $3 + $2";
        conn.execute(sql, args![*name, ms(*every), *now]).await?;
    }
    Ok(())
}

async fn take(conn: &mut Conn, (turn, now): &(ChoreTurn, Timestamp)) -> Result<bool, StoreError> {
    // What the run before did stays to be seen until this one has something to tell.
    let sql = "update chores set next_at = $3, runs = runs + 1, started_at = $4, node = $5, took_ms = null
        where name = $1 and next_at = $2";
    let args = args![turn.name, turn.due_at, turn.next_at, *now, &turn.node];
    Ok(conn.execute(sql, args).await? > 0)
}

async fn close(conn: &mut Conn, (end, now): &(ChoreEnd, Timestamp)) -> Result<(), StoreError> {
    let sql = "update chores set took_ms = $4, did = $5, error = $6
        where name = $1 and started_at = $2 and node = $3";
    let took_ms = now.as_millisecond().saturating_sub(end.began_at.as_millisecond()).max(0);
    let did = to_json(&end.did)?;
    conn.execute(sql, args![end.name, end.began_at, &end.node, took_ms, did, end.error.as_deref()]).await?;
    Ok(())
}

fn ms(duration: SignedDuration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
