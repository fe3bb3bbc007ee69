//! Opens the database: connects, migrates, and makes the landed tables of the specs.
//!
//! Never changes a table that a later version made, and never prints the password of an address.

use std::str::FromStr;
use std::time::Duration;

use domain::connector::Spec;
use domain::table::Table;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, PgPool, SqliteConnection};

use crate::db::writer::{KillAt, KillSwitch, Writer};
use crate::db::{Conn, Db, args};
use crate::dialect;
use crate::error::{OpenError, StoreError};
use crate::landing::{self, Layouts};

/// The migrations, in order; both folders hold the same numbers and names.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (
        1,
        include_str!("../migrations/sqlite/0001_initial.sql"),
        include_str!("../migrations/postgres/0001_initial.sql"),
    ),
    (
        2,
        include_str!("../migrations/sqlite/0002_learned.sql"),
        include_str!("../migrations/postgres/0002_learned.sql"),
    ),
];

/// How long the server keeps the locks of a transaction in which nothing is said. Ours say something at once, so one
/// that is silent for ten seconds is of a process or machine that stands still, and others wait for its jobs.
const IDLE_IN_TRANSACTION_MS: &str = "10000";

/// How long a writer of another process may hold the file: many groups of ours.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// Readers of one process: people's questions and the claims' look-ahead; more would wait for two cores.
const READERS_MAX: u32 = 4;

/// Connections of one process to a server: its workers' commits, and a few readers.
const CONNECTIONS_MAX: u32 = 16;

/// The size of SQLite's pages, of a new file. A commit's raw body is some 4.5 KB: in SQLite's own 4 KiB each row spills
/// to a second page; measured, 16 KiB writes the same rows with a fifth less CPU.
const PAGE_BYTES: u32 = 16 * 1024;

/// What a reader caches: its questions are small.
const READER_CACHE_KIB: u32 = 1024;

/// The size that the write-ahead log shrinks back to after a burst.
const WAL_BYTES: u32 = 16 * 1024 * 1024;

/// How long the log grows before it is moved into the file. The inner pages of indexes are written by every commit:
/// the longer the log, the fewer times each is moved. As many pages as the log is let keep.
const WAL_PAGES: u32 = 4096;

/// Where the database is, and how it is used.
#[derive(Clone, Debug)]
pub struct Options {
    /// `sqlite://path` or `postgres://…`.
    pub url: String,
    /// The writer's page cache in SQLite.
    pub cache_kib: u32,
    /// Caps an SQLite file, for tests of a full disk.
    pub max_page_count: Option<u32>,
    /// Kills the process at a commit, for crash tests; ignored in a release build.
    pub kill_at: Option<KillAt>,
}

impl Options {
    /// Returns the options that everybody uses, for the database at `url`.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        // 16 MiB hold the inner pages of the indexes of a million commits.
        Self { url: url.into(), cache_kib: 16 * 1024, max_page_count: None, kill_at: None }
    }
}

/// Opens the database and returns it with the layouts of its landed tables.
pub(crate) async fn open(
    options: &Options,
    specs: &[&'static Spec],
) -> Result<(Db, Layouts, Option<PgConnectOptions>), OpenError> {
    let tables = tables_of(specs);
    match options.url.split_once(':') {
        Some(("sqlite", _)) => Ok((open_sqlite(options, &tables).await?, Layouts::new(&tables), None)),
        Some(("postgres" | "postgresql", _)) => {
            let (db, connect) = open_postgres(options, &tables).await?;
            Ok((db, Layouts::new(&tables), Some(connect)))
        }
        _ => Err(OpenError::Url { why: "names no database that is known".to_owned() }),
    }
}

/// Returns each table once, in the order of the specs.
fn tables_of(specs: &[&'static Spec]) -> Vec<&'static Table> {
    let mut tables: Vec<&'static Table> = Vec::new();
    for table in specs.iter().flat_map(|spec| spec.tables) {
        if !tables.iter().any(|it| it.name == table.name) {
            tables.push(table);
        }
    }
    tables
}

async fn open_sqlite(options: &Options, tables: &[&'static Table]) -> Result<Db, OpenError> {
    let base = SqliteConnectOptions::from_str(&options.url)
        .map_err(|error| OpenError::Url { why: format!("is not one of SQLite ({error})") })?;
    if options.url.contains(":memory:") || options.url.contains("mode=memory") {
        // Readers and the writer each have a connection: in memory each would see a database of its own.
        return Err(OpenError::Url { why: "names no file".to_owned() });
    }
    let base = base
        .create_if_missing(true)
        .page_size(PAGE_BYTES)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("journal_size_limit", WAL_BYTES.to_string())
        .pragma("wal_autocheckpoint", WAL_PAGES.to_string())
        // A statement of ours is thousands of characters long, and says nothing that an event does not.
        .disable_statement_logging();
    let path = base.get_filename().display().to_string();
    // Savepoints keep what they may have to undo in memory: a page's worth is bounded, a temporary file is slow.
    let mut writing =
        base.clone().pragma("cache_size", format!("-{}", options.cache_kib)).pragma("temp_store", "memory");
    if let Some(pages) = options.max_page_count {
        writing = writing.pragma("max_page_count", pages.to_string());
    }
    let conn = writing.connect().await.map_err(|error| sqlite_error(&path, error.into()))?;
    let conn = prepare_sqlite(conn, tables).await.map_err(|error| match error {
        OpenError::Broken(inner) => sqlite_error(&path, inner),
        other => other,
    })?;
    let read = SqlitePoolOptions::new()
        .max_connections(READERS_MAX)
        // A file does not go away as a server does.
        .test_before_acquire(false)
        .connect_lazy_with(
            base.create_if_missing(false)
                .pragma("cache_size", format!("-{READER_CACHE_KIB}"))
                .pragma("query_only", "on"),
        );
    let writer = Writer::start(conn, writing, KillSwitch::new(options.kill_at));
    Ok(Db::Lite { read, writer })
}

async fn prepare_sqlite(conn: SqliteConnection, tables: &[&Table]) -> Result<SqliteConnection, OpenError> {
    let mut conn = Conn::Lite(conn);
    conn.execute("begin immediate", args![]).await.map_err(OpenError::Broken)?;
    prepare(&mut conn, tables).await?;
    conn.execute("commit", args![]).await.map_err(OpenError::Broken)?;
    match conn {
        Conn::Lite(conn) => Ok(conn),
        _ => Err(OpenError::Broken(StoreError::NotFound)),
    }
}

fn sqlite_error(path: &str, error: StoreError) -> OpenError {
    let path = path.to_owned();
    let inner = match &error {
        StoreError::Full => return OpenError::Full,
        StoreError::Broken(inner) => {
            inner.downcast_ref::<sqlx::Error>().and_then(|it| it.as_database_error())
        }
        _ => None,
    };
    let why = inner.map_or_else(String::new, |it| it.message().to_owned());
    let code = inner.and_then(|it| it.code().and_then(|code| code.parse::<i64>().ok()));
    // The low byte of an extended code is the code itself.
    match code.map(|it| it & 0xff) {
        // SQLITE_CORRUPT and SQLITE_NOTADB.
        Some(11 | 26) => OpenError::NotADatabase { path },
        // SQLITE_PERM, SQLITE_READONLY, SQLITE_IOERR and SQLITE_CANTOPEN.
        Some(3 | 8 | 10 | 14) => OpenError::Unwritable { path, why },
        _ => OpenError::Broken(error),
    }
}

async fn open_postgres(options: &Options, tables: &[&Table]) -> Result<(Db, PgConnectOptions), OpenError> {
    let connect = PgConnectOptions::from_str(&options.url)
        .map_err(|error| OpenError::Url { why: format!("is not one of PostgreSQL ({error})") })?
        .application_name("syncline")
        .options([("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_MS)]);
    // The first connection is made by hand: a pool would try for long and then say only that it took too long.
    let first = connect.connect().await.map_err(|error| postgres_error(&connect, error))?;
    drop(first);
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS_MAX).connect_lazy_with(connect.clone());
    prepare_postgres(&pool, tables).await?;
    Ok((Db::Pg { pool, kill: KillSwitch::new(options.kill_at) }, connect))
}

async fn prepare_postgres(pool: &PgPool, tables: &[&Table]) -> Result<(), OpenError> {
    let broken = |error: sqlx::Error| OpenError::Broken(error.into());
    let mut conn = Conn::Pg(pool.begin().await.map_err(broken)?);
    conn.execute(dialect::OPEN_LOCK, args![]).await.map_err(OpenError::Broken)?;
    prepare(&mut conn, tables).await?;
    if let Conn::Pg(transaction) = conn {
        transaction.commit().await.map_err(broken)?;
    }
    Ok(())
}

fn postgres_error(connect: &PgConnectOptions, error: sqlx::Error) -> OpenError {
    let server = format!("{}:{}", connect.get_host(), connect.get_port());
    let user = connect.get_username().to_owned();
    let code = error.as_database_error().and_then(|it| it.code().map(std::borrow::Cow::into_owned));
    match (&error, code.as_deref()) {
        (sqlx::Error::Io(_), _) => OpenError::Unreachable { server },
        // invalid_authorization_specification, invalid_password and insufficient_privilege.
        (_, Some("28000" | "28P01" | "42501")) => OpenError::Denied { server, user },
        // invalid_catalog_name.
        (_, Some("3D000")) => {
            let name = connect.get_database().unwrap_or(&user).to_owned();
            OpenError::NoDatabase { server, name }
        }
        _ => OpenError::Broken(error.into()),
    }
}

/// Migrates, then makes and widens the landed tables: one transaction, under a lock.
async fn prepare(conn: &mut Conn, tables: &[&Table]) -> Result<(), OpenError> {
    migrate(conn).await?;
    landing::create(conn, tables).await
}

async fn migrate(conn: &mut Conn) -> Result<(), OpenError> {
    let table = "create table if not exists migrations (number bigint primary key)";
    conn.execute(table, args![]).await.map_err(OpenError::Broken)?;
    let row = conn.one("select coalesce(max(number), 0) as number from migrations", args![]).await;
    let found = row.and_then(|row| row.get::<i64>("number")).map_err(OpenError::Broken)?;
    let known = MIGRATIONS.last().map_or(0, |it| it.0);
    if found > known {
        return Err(OpenError::TooNew { found, known });
    }
    for &(number, sqlite, postgres) in MIGRATIONS.iter().filter(|it| it.0 > found) {
        let sql = if conn.is_sqlite() { sqlite } else { postgres };
        let failed = |error: StoreError| match error {
            StoreError::Full => OpenError::Full,
            other => OpenError::Migration { number, why: other.to_string() },
        };
        conn.script(sql).await.map_err(failed)?;
        let done = "insert into migrations (number) values ($1)";
        conn.execute(done, args![number]).await.map_err(failed)?;
    }
    Ok(())
}
