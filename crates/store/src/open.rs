//! Opens the database: connects, migrates, and makes the landed tables of the specs.
//!
//! Never changes a table that a later version made, and never prints the password of an address.

use std::str::FromStr;
use std::time::Duration;

use domain::connector::Spec;
use domain::table::Table;
use rusqlite::ErrorCode;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, Connection as _, PgPool};
use tokio::sync::Semaphore;

use crate::db::lite::{File, Readers, at_once};
use crate::db::writer::{KillAt, KillSwitch, Writer};
use crate::db::{Conn, Db, Looks, PAGES_AT_ONCE, args};
use crate::dialect;
use crate::error::{OpenError, StoreError, broken};
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
    (
        3,
        include_str!("../migrations/sqlite/0003_tenants.sql"),
        include_str!("../migrations/postgres/0003_tenants.sql"),
    ),
    (
        4,
        include_str!("../migrations/sqlite/0004_items_due.sql"),
        include_str!("../migrations/postgres/0004_items_due.sql"),
    ),
    (
        5,
        include_str!("../migrations/sqlite/0005_revision.sql"),
        include_str!("../migrations/postgres/0005_revision.sql"),
    ),
    (
        6,
        include_str!("../migrations/sqlite/0006_chores.sql"),
        include_str!("../migrations/postgres/0006_chores.sql"),
    ),
    (
        7,
        include_str!("../migrations/sqlite/0007_catch_up.sql"),
        include_str!("../migrations/postgres/0007_catch_up.sql"),
    ),
    (
        8,
        include_str!("../migrations/sqlite/0008_turns.sql"),
        include_str!("../migrations/postgres/0008_turns.sql"),
    ),
    (
        9,
        include_str!("../migrations/sqlite/0009_due.sql"),
        include_str!("../migrations/postgres/0009_due.sql"),
    ),
    (
        10,
        include_str!("../migrations/sqlite/0010_decisions.sql"),
        include_str!("../migrations/postgres/0010_decisions.sql"),
    ),
    (
        11,
        include_str!("../migrations/sqlite/0011_ledger.sql"),
        include_str!("../migrations/postgres/0011_ledger.sql"),
    ),
    (
        12,
        include_str!("../migrations/sqlite/0012_lanes.sql"),
        include_str!("../migrations/postgres/0012_lanes.sql"),
    ),
    (
        13,
        include_str!("../migrations/sqlite/0013_payers.sql"),
        include_str!("../migrations/postgres/0013_payers.sql"),
    ),
    (
        14,
        include_str!("../migrations/sqlite/0014_forecasts.sql"),
        include_str!("../migrations/postgres/0014_forecasts.sql"),
    ),
    (
        15,
        include_str!("../migrations/sqlite/0015_census.sql"),
        include_str!("../migrations/postgres/0015_census.sql"),
    ),
    (
        16,
        include_str!("../migrations/sqlite/0016_deliveries.sql"),
        include_str!("../migrations/postgres/0016_deliveries.sql"),
    ),
    (
        17,
        include_str!("../migrations/sqlite/0017_one_census.sql"),
        include_str!("../migrations/postgres/0017_one_census.sql"),
    ),
    (
        18,
        include_str!("../migrations/sqlite/0018_healing.sql"),
        include_str!("../migrations/postgres/0018_healing.sql"),
    ),
];

/// How long the server keeps the locks of a transaction in which nothing is said. Ours say something at once, so one
/// that is silent for ten seconds is of a process or machine that stands still, and others wait for its jobs.
const IDLE_IN_TRANSACTION_MS: &str = "10000";

/// Connections of one process to a server that write: its workers' commits and what people ask for.
const WRITERS_MAX: u32 = 12;

/// Connections of one process to a server that read. They are kept apart, because a write may wait long for another's
/// lock, and a look must not wait behind it.
const READERS_MAX: u32 = 8;

/// What reads are planned with. They return rows in the order of an index and stop early, which a bitmap cannot: it reads
/// all that fits first. Of a table that grew faster than its statistics the server would choose one, and a page of a
/// hundred records would read all hundred thousand.
const READERS_PLAN: [(&str, &str); 1] = [("enable_bitmapscan", "off")];

/// How long after its last use a connection is taken to be alive. A server that goes away in between fails the statement
/// instead, as it would while one runs; asking each time would cost every read another way to the server and back.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

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
        // Measured: more makes neither a hundred thousand nor a million commits land sooner.
        Self { url: url.into(), cache_kib: 8 * 1024, max_page_count: None, kill_at: None }
    }
}

/// Opens the database and returns it with the layouts of its landed tables.
pub(crate) async fn open(
    options: &Options,
    specs: &[&'static Spec],
) -> Result<(Db, Layouts, Option<PgConnectOptions>), OpenError> {
    let layouts = Layouts::new(&tables_of(specs));
    match options.url.split_once(':') {
        Some(("sqlite", _)) => Ok((open_sqlite(options, specs).await?, layouts, None)),
        Some(("postgres" | "postgresql", _)) => {
            let (db, connect) = open_postgres(options, specs).await?;
            Ok((db, layouts, Some(connect)))
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

async fn open_sqlite(options: &Options, specs: &[&'static Spec]) -> Result<Db, OpenError> {
    let file = File {
        cache_kib: options.cache_kib,
        max_page_count: options.max_page_count,
        ..file_of(&options.url).map_err(|why| OpenError::Url { why })?
    };
    let (opened, specs) = (file.clone(), specs.to_vec());
    let opening = tokio::task::spawn_blocking(move || {
        let conn = opened.connect().map_err(|error| sqlite_error(&opened, error.into()))?;
        prepare_sqlite(Conn::Lite(conn), &specs).map_err(|error| match error {
            OpenError::Broken(inner) => sqlite_error(&opened, inner),
            other => other,
        })
    });
    let conn = opening.await.map_err(|error| OpenError::Broken(broken(error)))??;
    let writer = Writer::start(conn, file.clone(), KillSwitch::new(options.kill_at))
        .map_err(|error| OpenError::Broken(broken(error)))?;
    Ok(Db::Lite { readers: Readers::new(file), writer })
}

/// Reads an address of SQLite: a path, and whether a missing file is made.
fn file_of(url: &str) -> Result<File, String> {
    let rest = url.strip_prefix("sqlite:").unwrap_or(url);
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    // Readers and the writer each have a connection: in memory each would see a database of its own.
    if path.is_empty() || path == ":memory:" || query == "mode=memory" {
        return Err("names no file".to_owned());
    }
    let create = match query {
        "" | "mode=rwc" => true,
        "mode=rw" => false,
        other => {
            return Err(format!("ends in `?{other}`, which is unknown; it may end in ?mode=rw or ?mode=rwc"));
        }
    };
    Ok(File { path: path.into(), create, cache_kib: 0, max_page_count: None })
}

fn prepare_sqlite(mut conn: Conn, specs: &[&'static Spec]) -> Result<rusqlite::Connection, OpenError> {
    let script = |conn: &mut Conn, sql: &'static str| at_once(conn.script(sql)).map_err(OpenError::Broken);
    script(&mut conn, "begin immediate")?;
    at_once(async { Ok(prepare(&mut conn, specs).await) }).map_err(OpenError::Broken)??;
    script(&mut conn, "commit")?;
    match conn {
        Conn::Lite(conn) => Ok(conn),
        _ => Err(OpenError::Broken(StoreError::NotFound)),
    }
}

fn sqlite_error(file: &File, error: StoreError) -> OpenError {
    let path = file.path.display().to_string();
    let inner = match &error {
        StoreError::Full => return OpenError::Full,
        StoreError::Broken(inner) => inner.downcast_ref::<rusqlite::Error>(),
        _ => None,
    };
    match inner.and_then(rusqlite::Error::sqlite_error_code) {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => OpenError::NotADatabase { path },
        Some(
            ErrorCode::PermissionDenied
            | ErrorCode::ReadOnly
            | ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen,
        ) => OpenError::Unwritable { path, why: inner.map(ToString::to_string).unwrap_or_default() },
        _ => OpenError::Broken(error),
    }
}

async fn open_postgres(
    options: &Options,
    specs: &[&'static Spec],
) -> Result<(Db, PgConnectOptions), OpenError> {
    let connect = PgConnectOptions::from_str(&options.url)
        .map_err(|error| OpenError::Url { why: format!("is not one of PostgreSQL ({error})") })?
        .application_name("syncline")
        .options([("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_MS)]);
    // The first connection is made by hand: a pool would try for long and then say only that it took too long.
    let first = connect.connect().await.map_err(|error| postgres_error(&connect, error))?;
    drop(first);
    let writers = pool(WRITERS_MAX, connect.clone());
    let readers = pool(READERS_MAX, connect.clone().options(READERS_PLAN));
    prepare_postgres(&writers, specs).await?;
    let pages = Semaphore::new(PAGES_AT_ONCE);
    let looks = Looks::new();
    Ok((Db::Pg { writers, readers, pages, looks, kill: KillSwitch::new(options.kill_at) }, connect))
}

fn pool(connections_max: u32, connect: PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(connections_max)
        .test_before_acquire(false)
        .before_acquire(|conn, used| {
            Box::pin(async move {
                if used.idle_for >= TRUSTED_FOR {
                    conn.ping().await?;
                }
                Ok(true)
            })
        })
        .connect_lazy_with(connect)
}

async fn prepare_postgres(pool: &PgPool, specs: &[&'static Spec]) -> Result<(), OpenError> {
    let broken = |error: sqlx::Error| OpenError::Broken(error.into());
    let mut conn = Conn::Pg(pool.begin().await.map_err(broken)?);
    conn.execute(dialect::OPEN_LOCK, args![]).await.map_err(OpenError::Broken)?;
    prepare(&mut conn, specs).await?;
    if let Conn::Pg(transaction) = conn {
        transaction.commit().await.map_err(broken)?;
    }
    Ok(())
}

fn postgres_error(connect: &PgConnectOptions, error: sqlx::Error) -> OpenError {
    let server = match connect.get_socket() {
        Some(folder) => format!("the socket in {}", folder.display()),
        None => format!("{}:{}", connect.get_host(), connect.get_port()),
    };
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
async fn prepare(conn: &mut Conn, specs: &[&'static Spec]) -> Result<(), OpenError> {
    migrate(conn).await?;
    let made = landing::create(conn, &tables_of(specs)).await?;
    let grown = specs.iter().filter(|it| it.tables.iter().any(|table| made.contains(&table.name)));
    for spec in grown {
        list_anew(conn, spec.provider).await.map_err(OpenError::Broken)?;
    }
    Ok(())
}

/// Has the listings of a provider's sources read whole once, where this version reads something of it that none before
/// did: a page that is answered as unchanged would not find the partitions of that.
async fn list_anew(conn: &mut Conn, provider: &str) -> Result<(), StoreError> {
    let sql = "delete from validators where source_id in (select id from sources where provider = $1)";
    conn.execute(sql, args![provider]).await?;
    Ok(())
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
