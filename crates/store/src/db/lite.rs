//! Connections to an SQLite file: how they are made, how a statement runs on one, and the few that read.
//!
//! Nothing here waits for another thread but [`Readers::read`]: a statement runs where it is called, so the writer has
//! a thread of its own and a read is moved to one that may block. Begin with [`File::connect`].

use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rusqlite::types::{ToSql, ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use super::{Access, Arg, Conn, Row};
use crate::error::{StoreError, broken};

/// How long a writer of another process may hold the file: many groups of ours.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// Readers of one process: people's questions and the claims' look-ahead; more would wait for two cores.
const READERS_MAX: u32 = 4;

/// The size of pages, of a new file. A commit's raw body is some 4.5 KB: in SQLite's own 4 KiB each row spills to a
/// second page; measured, 16 KiB writes the same rows with a fifth less CPU.
const PAGE_BYTES: u32 = 16 * 1024;

/// What a reader caches: its questions are small.
const READER_CACHE_KIB: u32 = 1024;

/// The size that the write-ahead log shrinks back to after a burst.
const WAL_BYTES: u32 = 16 * 1024 * 1024;

/// How long the log grows before it is moved into the file. The inner pages of indexes are written by every commit:
/// the longer the log, the fewer times each is moved.
const WAL_PAGES: u32 = 4096;

/// Statements that a connection keeps prepared: all that we have, so that each is prepared once.
const STATEMENTS_MAX: usize = 256;

/// Where the file is, and how its writer uses it.
#[derive(Clone, Debug)]
pub(crate) struct File {
    /// Its path.
    pub(crate) path: PathBuf,
    /// Whether it is made where there is none.
    pub(crate) create: bool,
    /// The writer's page cache.
    pub(crate) cache_kib: u32,
    /// The most pages that it may grow to.
    pub(crate) max_page_count: Option<u32>,
}

impl File {
    /// Connects the writer.
    pub(crate) fn connect(&self) -> rusqlite::Result<Connection> {
        let conn = self.open(self.create)?;
        // Only a new file takes it, and only before the log is begun.
        conn.pragma_update(None, "page_size", PAGE_BYTES)?;
        conn.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
        conn.pragma_update(None, "synchronous", "full")?;
        conn.pragma_update_and_check(None, "journal_size_limit", WAL_BYTES, |_| Ok(()))?;
        conn.pragma_update_and_check(None, "wal_autocheckpoint", WAL_PAGES, |_| Ok(()))?;
        conn.pragma_update(None, "cache_size", -i64::from(self.cache_kib))?;
        if let Some(pages) = self.max_page_count {
            conn.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))?;
        }
        Ok(conn)
    }

    fn connect_reader(&self) -> rusqlite::Result<Connection> {
        let conn = self.open(false)?;
        conn.pragma_update(None, "cache_size", -i64::from(READER_CACHE_KIB))?;
        conn.pragma_update(None, "query_only", true)?;
        Ok(conn)
    }

    fn open(&self, create: bool) -> rusqlite::Result<Connection> {
        let create = if create { OpenFlags::SQLITE_OPEN_CREATE } else { OpenFlags::empty() };
        // A connection is used by one thread at a time, which the types see to.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | create;
        let conn = Connection::open_with_flags(&self.path, flags)?;
        conn.busy_timeout(BUSY_TIMEOUT)?;
        conn.pragma_update(None, "foreign_keys", true)?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        Ok(conn)
    }
}

/// Runs a function that never waits, which none does on SQLite.
pub(crate) fn at_once<T>(future: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => Err(broken(std::io::Error::other("a step on SQLite waited for something else"))),
    }
}

/// The connections that read.
pub(crate) struct Readers {
    file: File,
    free: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    /// Returns none yet: each is made when it is needed.
    pub(crate) fn new(file: File) -> Self {
        Self { file, free: Arc::new(Semaphore::new(READERS_MAX as usize)), idle: Arc::default() }
    }

    /// Runs `read` on one of them, on a thread that may block.
    pub(crate) async fn read<I, T>(&self, input: I, read: Access<I, T>) -> Result<T, StoreError>
    where
        I: Send + Sync + 'static,
        T: Send + 'static,
    {
        let free = Arc::clone(&self.free).acquire_owned().await.map_err(|_| StoreError::closed())?;
        let (file, idle) = (self.file.clone(), Arc::clone(&self.idle));
        let reading = tokio::task::spawn_blocking(move || {
            let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut conn = Conn::Lite(kept.map_or_else(|| file.connect_reader(), Ok)?);
            let answer = at_once(read(&mut conn, &input));
            if let Conn::Lite(conn) = conn {
                idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
            }
            // Not before, also when nobody waits for the answer any more.
            drop(free);
            answer
        });
        reading.await.map_err(broken)?
    }

    /// Refreshes what the planner knows of the tables, and moves what it can of the log into the file, over a connection
    /// of its own: neither may be done within the writer's transactions.
    pub(crate) async fn tune(&self) -> Result<(), StoreError> {
        let file = self.file.clone();
        let tuning = tokio::task::spawn_blocking(move || -> rusqlite::Result<()> {
            let conn = file.open(false)?;
            // All tables, as this connection has asked for none; SQLite bounds by itself how much it reads of each.
            conn.execute_batch("pragma optimize = 0x10002")?;
            // Passive: it waits for nobody, and nobody waits for it.
            conn.query_row("pragma wal_checkpoint(passive)", [], |_| Ok(()))
        });
        Ok(tuning.await.map_err(broken)??)
    }

    /// Waits for those under way and closes all.
    pub(crate) async fn close(&self) {
        // Fails when it was closed before.
        let _all = self.free.acquire_many(READERS_MAX).await;
        self.free.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Runs a statement and returns how many rows it touched.
pub(super) fn execute(conn: &Connection, sql: &str, args: &[Arg]) -> rusqlite::Result<u64> {
    let mut statement = conn.prepare_cached(sql)?;
    bind(&mut statement, args)?;
    Ok(statement.raw_execute()? as u64)
}

/// Runs a statement and returns its first rows.
pub(super) fn rows(conn: &Connection, sql: &str, args: &[Arg], max: usize) -> rusqlite::Result<Vec<Row>> {
    let mut statement = conn.prepare_cached(sql)?;
    bind(&mut statement, args)?;
    let columns: Arc<[String]> = statement.column_names().map(str::to_owned).collect();
    let mut found = statement.raw_query();
    let mut rows = Vec::new();
    while rows.len() < max
        && let Some(row) = found.next()?
    {
        let values = (0..columns.len()).map(|at| row.get(at)).collect::<Result<_, _>>()?;
        rows.push(Row::Lite(LiteRow { columns: Arc::clone(&columns), values }));
    }
    Ok(rows)
}

/// To SQLite `$3` is a name like any other, and its place that of its first mention; to us it is the third argument.
fn bind(statement: &mut rusqlite::Statement<'_>, args: &[Arg]) -> rusqlite::Result<()> {
    for place in 1..=statement.parameter_count() {
        let number = statement.parameter_name(place).and_then(|it| it.get(1..)?.parse::<usize>().ok());
        let arg = number.and_then(|it| args.get(it.checked_sub(1)?));
        let arg = arg.ok_or(rusqlite::Error::InvalidParameterCount(args.len(), place))?;
        statement.raw_bind_parameter(place, arg)?;
    }
    Ok(())
}

impl ToSql for Arg {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let value = match self {
            Self::Int(value) => value.map_or(ValueRef::Null, ValueRef::Integer),
            Self::Bool(value) => value.map_or(ValueRef::Null, |it| ValueRef::Integer(it.into())),
            Self::Text(value) => value.as_ref().map_or(ValueRef::Null, |it| ValueRef::Text(it.as_bytes())),
            Self::Bytes(value) => value.as_ref().map_or(ValueRef::Null, |it| ValueRef::Blob(it)),
        };
        Ok(ToSqlOutput::Borrowed(value))
    }
}

/// One row of an answer.
pub(crate) struct LiteRow {
    columns: Arc<[String]>,
    values: Vec<Value>,
}

impl LiteRow {
    /// Reads a column.
    pub(super) fn get<T: rusqlite::types::FromSql>(&self, column: &str) -> Result<T, StoreError> {
        let value = self.columns.iter().position(|it| it == column).and_then(|at| self.values.get(at));
        let value = value.ok_or_else(|| broken(rusqlite::Error::InvalidColumnName(column.to_owned())))?;
        T::column_result(value.into()).map_err(|_| StoreError::Corrupt { what: format!("column {column}") })
    }
}
