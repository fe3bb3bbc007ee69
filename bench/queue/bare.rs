//! The bare loop: one statement claims a job, one completes it.
//!
//! It must never do less for durability or order than the store: the same settings, the same index, the same fence.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use rusqlite::Connection;
use sqlx::Row as _;
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::task::JoinSet;

/// What `syncline` sets for its writer.
const SETTINGS: &str = "
pragma journal_mode = wal;
pragma synchronous = full;
pragma foreign_keys = on;
pragma cache_size = -8192;
pragma busy_timeout = 30000;";

const CLAIM: &str = "
update jobs set state = 'running', attempt = attempt + 1, generation = generation + 1, lease_until = $1 + 60000,
    node = 'bench', worker = 'bench'
where id = (select id from jobs where state = 'available' and not_before <= $1 order by turn, priority, id limit 1";

const COMPLETE: &str = "
update jobs set state = 'completed', finished_at = $3, lease_until = null, node = null, worker = null
where id = $1 and generation = $2 and state = 'running' and lease_until > $3";

/// The database, with what the bare loop needs of it.
#[derive(Clone)]
pub(crate) enum Database {
    /// A file has one writer, whoever waits for it.
    Sqlite(Arc<Mutex<Connection>>),
    /// A server has a connection for each worker.
    Postgres(PgPool),
}

impl Database {
    /// Opens it for so many workers.
    pub(crate) async fn open(url: &str, workers: u64) -> Result<Self> {
        if let Some(path) = url.strip_prefix("sqlite://") {
            let connection = Connection::open(path).context("open the file")?;
            connection.execute_batch(SETTINGS).context("set it up")?;
            return Ok(Self::Sqlite(Arc::new(Mutex::new(connection))));
        }
        let connections = u32::try_from(workers)?;
        let pool = PgPoolOptions::new().min_connections(connections).max_connections(connections);
        Ok(Self::Postgres(pool.connect(url).await.context("connect")?))
    }

    /// Claims and completes so many jobs.
    pub(crate) async fn work(self, workers: u64, jobs: u64) -> Result<()> {
        let done = Arc::new(AtomicU64::new(0));
        let mut working = JoinSet::new();
        for _ in 0..workers {
            let (database, done) = (self.clone(), Arc::clone(&done));
            working.spawn(async move {
                while done.load(Ordering::Relaxed) < jobs {
                    if database.one().await? {
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                }
                anyhow::Ok(())
            });
        }
        while let Some(ended) = working.join_next().await {
            ended.context("a worker panicked")??;
        }
        Ok(())
    }

    /// Claims a job and completes it; false when there was none, or it was lost.
    async fn one(&self) -> Result<bool> {
        let now = crate::now().as_millisecond();
        match self {
            Self::Sqlite(connection) => {
                let connection = Arc::clone(connection);
                let one = move || on_file(&connection, now);
                tokio::task::spawn_blocking(one).await.context("a worker panicked")?
            }
            Self::Postgres(pool) => {
                let sql = format!("{CLAIM} for update skip locked) returning id, generation");
                let claim = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(now);
                let Some(row) = claim.fetch_optional(pool).await? else { return Ok(false) };
                let complete = sqlx::query(COMPLETE).bind(row.get::<i64, _>(0)).bind(row.get::<i64, _>(1));
                Ok(complete.bind(now).execute(pool).await?.rows_affected() == 1)
            }
        }
    }
}

fn on_file(connection: &Mutex<Connection>, now: i64) -> Result<bool> {
    let claimed = {
        let connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
        let mut claim =
            connection.prepare_cached(&numbered(&format!("{CLAIM}) returning id, generation")))?;
        let mut rows = claim.query([now])?;
        let claimed =
            rows.next()?.map(|row| Ok::<_, rusqlite::Error>((row.get(0)?, row.get(1)?))).transpose()?;
        // A statement that returns rows is done only when it has returned the last one.
        while rows.next()?.is_some() {}
        claimed
    };
    let Some((id, generation)) = claimed else { return Ok(false) };
    let (id, generation): (i64, i64) = (id, generation);
    // Others may write between the two, as they may beside a worker.
    let connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(connection.prepare_cached(&numbered(COMPLETE))?.execute([id, generation, now])? == 1)
}

/// To SQLite `$3` is a name, and its place that of its first mention; `?3` is the third argument.
fn numbered(sql: &str) -> String {
    sql.replace('$', "?")
}
