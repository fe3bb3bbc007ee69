//! What the tests of several crates stand on: a server, a fresh name, and statements past the store.
//!
//! Never skips: without `TEST_DATABASE_URL` a test of PostgreSQL fails and says what to do. Other crates include this
//! file.

use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};

/// How long a person's statement waits for a writer; what holds the file for longer hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// Returns the address of a server that may make databases.
#[expect(clippy::disallowed_methods, reason = "tests are told here where their server is")]
pub(crate) fn test_server() -> String {
    std::env::var("TEST_DATABASE_URL").expect(
        "TEST_DATABASE_URL must name a PostgreSQL server that may make databases; run the tests with ./dev test, \
         which starts one",
    )
}

/// Returns the name of a database that no other test of this or another process uses, and the address it will have.
pub(crate) fn fresh_database(server: &str) -> (String, String) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let nth = COUNT.fetch_add(1, Ordering::Relaxed);
    let began = std::time::UNIX_EPOCH.elapsed().unwrap().as_micros();
    let name = format!("syncline_test_{}_{nth}_{began}", std::process::id());
    let (base, _) = server.rsplit_once('/').expect("TEST_DATABASE_URL names a database");
    let url = format!("{base}/{name}");
    (name, url)
}

/// Runs statements, as a person with psql or sqlite3 would.
pub(crate) async fn execute(url: &str, sql: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
    if url.starts_with("sqlite:") {
        return Ok(sqlite(url)?.execute_batch(sql)?);
    }
    let mut conn = PgConnection::connect(url).await?;
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut conn).await?;
    Ok(conn.close().await?)
}

/// Reads the first column of a statement from a file; it must be text.
pub(crate) fn lines_of_file(url: &str, sql: &str) -> Vec<String> {
    let conn = sqlite(url).unwrap();
    let mut statement = conn.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get::<_, Option<String>>(0)).unwrap();
    rows.map(|it| it.unwrap().unwrap_or_default()).collect()
}

/// Reads the first column of a statement from a server; it must be text.
pub(crate) async fn lines_of_server(conn: &mut PgConnection, sql: &str) -> Vec<String> {
    let rows = sqlx::query(AssertSqlSafe(sql.to_owned())).fetch_all(conn).await.unwrap();
    rows.iter().map(|row| row.get::<Option<String>, _>(0).unwrap_or_default()).collect()
}

/// Drops a database of a test that is over.
pub(crate) fn drop_database(server: String, name: &str) {
    let sql = format!("drop database if exists {name} with (force)");
    // A thread of its own: a test that fails drops its database inside its own runtime.
    let dropping = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(execute(&server, &sql)).ok();
    });
    let _failed = dropping.join();
}

/// Opens a file.
pub(crate) fn sqlite(url: &str) -> rusqlite::Result<rusqlite::Connection> {
    let conn = rusqlite::Connection::open(url.trim_start_matches("sqlite://"))?;
    conn.busy_timeout(PATIENCE)?;
    Ok(conn)
}
