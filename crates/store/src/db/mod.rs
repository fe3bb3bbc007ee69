//! One connection, statement and row for two databases: the only place that knows which one is behind.
//!
//! Never decides anything about syncs. The same `$1` SQL text runs on both; what differs comes from
//! [`crate::dialect`]. Begin with [`Db::write`].

pub(crate) mod lite;
pub(crate) mod writer;

use std::pin::Pin;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::PgRow;
use sqlx::{Decode, PgConnection, PgPool, Postgres, Row as _, SqlSafeStr, Transaction, Type};
use tokio::sync::{Semaphore, watch};

use crate::error::{StoreError, corrupt};
use lite::{LiteRow, Readers};
use writer::{KillSwitch, Writer};

/// A boxed future, as a step is handed to where it runs.
pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One step: a plain function over its input, so that it can be moved to a thread, and run again when another step
/// undid it.
pub(crate) type Access<I, T> = for<'c> fn(&'c mut Conn, &'c I) -> BoxFuture<'c, Result<T, StoreError>>;

/// Tries of one transaction on PostgreSQL: two jobs that lock the same rows in another order meet rarely, and the
/// second try finds the first one gone.
const TRIES_MAX: u32 = 5;

/// Pages that one process commits to a server side by side. Each keeps a core of the server busy for some 20 ms: more at
/// once would not land sooner (measured with 1, 2 and 3 on two cores), and whatever else is asked would wait behind all of
/// them.
pub(crate) const PAGES_AT_ONCE: usize = 2;

/// How long a page lets those who look go first: some looks. What is asked all the time holds nothing up for longer.
const GIVES_WAY_FOR: Duration = Duration::from_millis(50);

/// How many reads are under way. A server's processes cannot be ranked as threads are: pages give way to looks instead.
pub(crate) struct Looks(watch::Sender<usize>);

impl Looks {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(0))
    }

    /// Counts a read until it is dropped, finished or given up.
    fn begin(&self) -> Look<'_> {
        self.0.send_modify(|under_way| *under_way += 1);
        Look(self)
    }

    /// Waits until none is under way, or for long enough.
    async fn go_first(&self) {
        let mut looks = self.0.subscribe();
        let none = looks.wait_for(|under_way| *under_way == 0);
        let _waited = tokio::time::timeout(GIVES_WAY_FOR, none).await;
    }
}

struct Look<'a>(&'a Looks);

impl Drop for Look<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|under_way| *under_way -= 1);
    }
}

/// The open database.
pub(crate) enum Db {
    /// A file: readers side by side, one writer.
    Lite { readers: Readers, writer: Writer },
    /// A server: connections that read are never kept busy by writes that wait for a lock.
    Pg { writers: PgPool, readers: PgPool, pages: Semaphore, looks: Looks, kill: KillSwitch },
}

impl Db {
    /// Says which of the two it is.
    pub(crate) fn is_sqlite(&self) -> bool {
        matches!(self, Self::Lite { .. })
    }

    /// Runs `write` in one transaction and answers after its commit. `bytes` is what it carries, roughly.
    pub(crate) async fn write<I, T>(
        &self,
        input: I,
        bytes: usize,
        write: Access<I, T>,
    ) -> Result<T, StoreError>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
    {
        match self {
            Self::Lite { writer, .. } => writer.write(input, bytes, write).await,
            Self::Pg { writers: pool, pages, looks, kill, .. } => {
                // Only pages carry much.
                let _turn = if bytes > 0 { pages.acquire().await.ok() } else { None };
                if bytes > 0 {
                    looks.go_first().await;
                }
                for _ in 1..TRIES_MAX {
                    match transact(pool, kill, &input, write).await {
                        Err(StoreError::Busy) => {}
                        done => return done,
                    }
                }
                transact(pool, kill, &input, write).await
            }
        }
    }

    /// Runs `read`, which changes nothing.
    pub(crate) async fn read<I, T>(&self, input: I, read: Access<I, T>) -> Result<T, StoreError>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
    {
        match self {
            Self::Lite { readers, .. } => readers.read(input, read).await,
            Self::Pg { readers, looks, .. } => {
                let _look = looks.begin();
                read(&mut Conn::PgRead(readers.acquire().await?), &input).await
            }
        }
    }

    /// Lets the database look after itself: PostgreSQL does so by its own processes, SQLite when it is told to.
    pub(crate) async fn tune(&self) -> Result<(), StoreError> {
        match self {
            Self::Lite { readers, .. } => readers.tune().await,
            Self::Pg { .. } => Ok(()),
        }
    }

    /// Finishes what is under way and closes every connection.
    pub(crate) async fn close(&self) {
        match self {
            Self::Lite { readers, writer } => {
                // The last one to close moves the log into the file, which a reader may not.
                readers.close().await;
                writer.close().await;
            }
            Self::Pg { writers, readers, .. } => {
                readers.close().await;
                writers.close().await;
            }
        }
    }
}

async fn transact<I, T>(
    pool: &PgPool,
    kill: &KillSwitch,
    input: &I,
    write: Access<I, T>,
) -> Result<T, StoreError> {
    // Dropping the transaction, as an early return or a caller that went away does, rolls it back.
    let mut conn = Conn::Pg(pool.begin().await?);
    let answer = write(&mut conn, input).await?;
    let Conn::Pg(transaction) = conn else { return Ok(answer) };
    kill.before_commit();
    transaction.commit().await?;
    kill.after_commit();
    Ok(answer)
}

/// One connection.
pub(crate) enum Conn {
    /// The writer's or a reader's.
    Lite(rusqlite::Connection),
    /// A transaction.
    Pg(Transaction<'static, Postgres>),
    /// A reader's.
    PgRead(PoolConnection<Postgres>),
}

/// A connection by its native type.
pub(crate) enum Native<'a> {
    Lite(&'a mut rusqlite::Connection),
    Pg(&'a mut PgConnection),
}

/// Binds the arguments of a statement on PostgreSQL.
macro_rules! bound {
    ($sql:expr, $args:expr) => {{
        let mut query = sqlx::query($sql);
        for arg in $args {
            query = match arg {
                Arg::Int(value) => query.bind(value),
                Arg::Text(value) => query.bind(value),
                Arg::Bool(value) => query.bind(value),
                Arg::Bytes(value) => query.bind(value),
            };
        }
        query
    }};
}

impl Conn {
    /// Says which database is behind.
    pub(crate) fn is_sqlite(&self) -> bool {
        matches!(self, Self::Lite(_))
    }

    /// Returns the native connection.
    pub(crate) fn native(&mut self) -> Native<'_> {
        match self {
            Self::Lite(conn) => Native::Lite(conn),
            Self::Pg(conn) => Native::Pg(conn),
            Self::PgRead(conn) => Native::Pg(conn),
        }
    }

    /// Runs a statement and returns how many rows it touched.
    pub(crate) async fn execute(&mut self, sql: impl SqlSafeStr, args: Vec<Arg>) -> Result<u64, StoreError> {
        Ok(match self.native() {
            Native::Lite(conn) => lite::execute(conn, sql.into_sql_str().as_str(), &args)?,
            Native::Pg(conn) => bound!(sql, args).execute(conn).await?.rows_affected(),
        })
    }

    /// Runs a statement and returns its rows.
    pub(crate) async fn rows(
        &mut self,
        sql: impl SqlSafeStr,
        args: Vec<Arg>,
    ) -> Result<Vec<Row>, StoreError> {
        Ok(match self.native() {
            Native::Lite(conn) => lite::rows(conn, sql.into_sql_str().as_str(), &args, usize::MAX)?,
            Native::Pg(conn) => bound!(sql, args).fetch_all(conn).await?.into_iter().map(Row::Pg).collect(),
        })
    }

    /// Runs a statement and returns its first row.
    pub(crate) async fn row(
        &mut self,
        sql: impl SqlSafeStr,
        args: Vec<Arg>,
    ) -> Result<Option<Row>, StoreError> {
        Ok(match self.native() {
            Native::Lite(conn) => lite::rows(conn, sql.into_sql_str().as_str(), &args, 1)?.pop(),
            Native::Pg(conn) => bound!(sql, args).fetch_optional(conn).await?.map(Row::Pg),
        })
    }

    /// Runs a statement that always answers with one row.
    pub(crate) async fn one(&mut self, sql: impl SqlSafeStr, args: Vec<Arg>) -> Result<Row, StoreError> {
        self.row(sql, args).await?.ok_or(StoreError::NotFound)
    }

    /// Runs statements without arguments, as a migration does.
    pub(crate) async fn script(&mut self, sql: impl SqlSafeStr) -> Result<(), StoreError> {
        match self.native() {
            Native::Lite(conn) => conn.execute_batch(sql.into_sql_str().as_str())?,
            Native::Pg(conn) => {
                sqlx::raw_sql(sql).execute(conn).await?;
            }
        }
        Ok(())
    }
}

/// One argument of a statement.
#[derive(Clone, Debug)]
pub(crate) enum Arg {
    Int(Option<i64>),
    Text(Option<String>),
    Bool(Option<bool>),
    Bytes(Option<Vec<u8>>),
}

macro_rules! arg_from {
    ($($from:ty, $it:ident => $arg:expr);* $(;)?) => {$(
        impl From<$from> for Arg {
            fn from($it: $from) -> Self { $arg }
        }
    )*};
}
arg_from! {
    i64, it => Self::Int(Some(it));
    Option<i64>, it => Self::Int(it);
    u32, it => Self::Int(Some(i64::from(it)));
    u64, it => Self::Int(Some(i64::try_from(it).unwrap_or(i64::MAX)));
    usize, it => Self::Int(Some(i64::try_from(it).unwrap_or(i64::MAX)));
    bool, it => Self::Bool(Some(it));
    &str, it => Self::Text(Some(it.to_owned()));
    &String, it => Self::Text(Some(it.clone()));
    String, it => Self::Text(Some(it));
    Option<String>, it => Self::Text(it);
    Option<&str>, it => Self::Text(it.map(str::to_owned));
    Option<Vec<u8>>, it => Self::Bytes(it);
    jiff::Timestamp, it => Self::Int(Some(it.as_millisecond()));
    Option<jiff::Timestamp>, it => Self::Int(it.map(jiff::Timestamp::as_millisecond));
    domain::id::TenantId, it => Self::Int(Some(it.0));
    domain::id::TokenId, it => Self::Int(Some(it.0));
    Option<domain::id::TenantId>, it => Self::Int(it.map(|it| it.0));
    domain::id::SourceId, it => Self::Int(Some(it.0));
    domain::id::SyncId, it => Self::Int(Some(it.0));
    domain::id::JobId, it => Self::Int(Some(it.0));
    domain::id::EventId, it => Self::Int(Some(it.0));
    Option<domain::id::SourceId>, it => Self::Int(it.map(|it| it.0));
    Option<domain::id::SyncId>, it => Self::Int(it.map(|it| it.0));
    Option<domain::id::JobId>, it => Self::Int(it.map(|it| it.0));
}

/// Collects the arguments of a statement.
macro_rules! args {
    ($($arg:expr),* $(,)?) => { vec![$(crate::db::Arg::from($arg)),*] };
}
pub(crate) use args;

/// One row of an answer.
pub(crate) enum Row {
    Lite(LiteRow),
    Pg(PgRow),
}

impl Row {
    /// Reads a column.
    pub(crate) fn get<T>(&self, column: &str) -> Result<T, StoreError>
    where
        T: rusqlite::types::FromSql + for<'r> Decode<'r, Postgres> + Type<Postgres>,
    {
        Ok(match self {
            Self::Lite(row) => row.get(column)?,
            Self::Pg(row) => row.try_get(column)?,
        })
    }

    /// Reads a column of epoch milliseconds.
    pub(crate) fn time(&self, column: &str) -> Result<Option<jiff::Timestamp>, StoreError> {
        let Some(ms) = self.get::<Option<i64>>(column)? else { return Ok(None) };
        jiff::Timestamp::from_millisecond(ms)
            .map(Some)
            .map_err(|_| StoreError::Corrupt { what: format!("column {column}: {ms} is not a time") })
    }

    /// Reads a count, which is never negative.
    pub(crate) fn count(&self, column: &str) -> Result<u64, StoreError> {
        u64::try_from(self.get::<i64>(column)?)
            .map_err(|_| StoreError::Corrupt { what: format!("column {column} is negative") })
    }

    /// Reads a closed word; a word that no version wrote is damage.
    pub(crate) fn word<T>(
        &self,
        column: &str,
        from_word: fn(&str) -> Option<T>,
        (table, row): (&str, &dyn std::fmt::Display),
    ) -> Result<T, StoreError> {
        from_word(&self.get::<String>(column)?).ok_or_else(|| corrupt(table, row, column))
    }

    /// Reads a JSON column; text that is no JSON is damage.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(
        &self,
        column: &str,
        (table, row): (&str, &dyn std::fmt::Display),
    ) -> Result<Option<T>, StoreError> {
        let Some(text) = self.get::<Option<String>>(column)? else { return Ok(None) };
        serde_json::from_str(&text).map(Some).map_err(|_| corrupt(table, row, column))
    }
}

/// Makes the text of a JSON column.
pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(crate::error::broken)
}
