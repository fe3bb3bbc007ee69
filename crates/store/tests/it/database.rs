//! Makes a fresh database for one test, on SQLite or PostgreSQL, and drops it afterwards.
//!
//! Never skips: without `TEST_DATABASE_URL` a test of PostgreSQL fails. Tests of other crates include this file.

use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{AssertSqlSafe, Connection, Row};

/// Makes two tests of each function that takes a [`Database`]: one per database.
macro_rules! for_each_database {
    ($($(#[$meta:meta])* $name:ident),* $(,)?) => {
        mod sqlite {
            $($(#[$meta])* #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(&crate::database::Database::sqlite()).await;
            })*
        }
        mod postgres {
            $($(#[$meta])* #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(&crate::database::Database::postgres().await).await;
            })*
        }
    };
}

/// A database of one test's own.
pub(crate) struct Database {
    url: String,
    /// The server's own database and the name of ours, where there is a server.
    server: Option<(String, String)>,
    folder: tempfile::TempDir,
}

impl Database {
    /// Returns an SQLite file that does not exist yet.
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("test.db").display());
        Self { url, server: None, folder }
    }

    /// Makes an empty database on the server that `TEST_DATABASE_URL` names.
    pub(crate) async fn postgres() -> Self {
        let server = test_server();
        let name = fresh_name();
        let folder = tempfile::tempdir().unwrap();
        execute(&server, &format!("create database {name}")).await;
        let (base, _) = server.rsplit_once('/').expect("TEST_DATABASE_URL names a database");
        Self { url: format!("{base}/{name}"), server: Some((server, name)), folder }
    }

    /// Returns its address.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Says whether it is an SQLite file.
    pub(crate) fn is_sqlite(&self) -> bool {
        self.server.is_none()
    }

    /// Returns a folder that lives as long as it does.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Runs a statement past the store, as a person with psql or sqlite3 would.
    pub(crate) async fn execute(&self, sql: &str) {
        execute(&self.url, sql).await;
    }

    /// Reads the first column of a statement past the store; it must be text.
    pub(crate) async fn lines(&self, sql: &str) -> Vec<String> {
        if self.is_sqlite() {
            let conn = sqlite(&self.url);
            let mut statement = conn.prepare(sql).unwrap();
            let rows = statement.query_map([], |row| row.get::<_, Option<String>>(0)).unwrap();
            rows.map(|it| it.unwrap().unwrap_or_default()).collect()
        } else {
            let mut conn = sqlx::PgConnection::connect(&self.url).await.unwrap();
            let rows = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_all(&mut conn).await.unwrap();
            rows.iter().map(|row| row.get::<Option<String>, _>(0).unwrap_or_default()).collect()
        }
    }
}

impl Database {
    /// Reads every row of a table as text, to compare it with later.
    pub(crate) async fn dump(&self, table: &str) -> Vec<String> {
        if !self.is_sqlite() {
            return self.lines(&format!("select t::text from {table} as t order by 1")).await;
        }
        let columns = self.lines(&format!("select name from pragma_table_info('{table}')")).await;
        let quoted: Vec<String> = columns.iter().map(|it| format!("quote({it})")).collect();
        self.lines(&format!("select {} from {table} order by 1", quoted.join(" || ',' || "))).await
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let Some((server, name)) = self.server.take() else { return };
        // A thread of its own: a test that fails drops this inside its own runtime.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(execute(&server, &format!("drop database if exists {name} with (force)")));
        });
        let _failed = dropping.join();
    }
}

#[expect(clippy::disallowed_methods, reason = "tests are told here where their server is")]
fn test_server() -> String {
    std::env::var("TEST_DATABASE_URL").expect(
        "TEST_DATABASE_URL must name a PostgreSQL server that may make databases; run the tests with ./dev test, \
         which starts one",
    )
}

/// A name that no other test of this or another process uses.
fn fresh_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let nth = COUNT.fetch_add(1, Ordering::Relaxed);
    let began = std::time::UNIX_EPOCH.elapsed().unwrap().as_micros();
    format!("syncline_test_{}_{nth}_{began}", std::process::id())
}

fn sqlite(url: &str) -> rusqlite::Connection {
    let conn = rusqlite::Connection::open(url.trim_start_matches("sqlite://")).unwrap();
    conn.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
    conn
}

async fn execute(url: &str, sql: &str) {
    if url.starts_with("sqlite:") {
        sqlite(url).execute_batch(sql).unwrap();
    } else {
        let mut conn = sqlx::PgConnection::connect(url).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut conn).await.unwrap();
    }
}
