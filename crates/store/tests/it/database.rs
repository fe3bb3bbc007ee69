//! Makes a fresh database for one test, on SQLite or PostgreSQL, and drops it afterwards.
//!
//! Never skips: without `TEST_DATABASE_URL` a test of PostgreSQL fails.

use sqlx::Connection as _;

use crate::bare;

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
        let server = bare::test_server();
        let (name, url) = bare::fresh_database(&server);
        let folder = tempfile::tempdir().unwrap();
        bare::execute(&server, &format!("create database {name}")).await.unwrap();
        Self { url, server: Some((server, name)), folder }
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
        bare::execute(&self.url, sql).await.unwrap();
    }

    /// Reads the first column of a statement past the store; it must be text.
    pub(crate) async fn lines(&self, sql: &str) -> Vec<String> {
        if self.is_sqlite() {
            return bare::lines_of_file(&self.url, sql);
        }
        let mut conn = sqlx::PgConnection::connect(&self.url).await.unwrap();
        bare::lines_of_server(&mut conn, sql).await
    }

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
        if let Some((server, name)) = self.server.take() {
            bare::drop_database(server, &name);
        }
    }
}
