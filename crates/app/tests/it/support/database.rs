//! A fresh database for one story, on SQLite or PostgreSQL, that can be copied and is dropped afterwards.
//!
//! It must never keep a database longer than its story.

use std::fmt::Write as _;
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::sync::Mutex;

use super::bare;

/// Makes two tests of each function that takes a [`Database`]: one per database.
macro_rules! on_both {
    ($($(#[$meta:meta])* $name:ident),* $(,)?) => {
        mod sqlite {
            $($(#[$meta])* #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::support::Database::sqlite()).await;
            })*
        }
        mod postgres {
            $($(#[$meta])* #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(crate::support::Database::postgres().await).await;
            })*
        }
    };
}
pub(crate) use on_both;

/// A database of one story's own.
pub(crate) struct Database {
    url: String,
    /// The server's own address and the name of our database, where there is a server.
    server: Option<(String, String)>,
    /// What a story looks with; a connection costs PostgreSQL a process.
    held: Mutex<Option<PgConnection>>,
    folder: tempfile::TempDir,
}

impl Database {
    /// Returns an SQLite file that does not exist yet.
    pub(crate) fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("story.db").display());
        Self { url, server: None, held: Mutex::default(), folder }
    }

    /// Makes another empty database of the same kind.
    pub(crate) async fn another(&self) -> Self {
        if self.is_sqlite() { Self::sqlite() } else { Self::postgres().await }
    }

    /// Makes an empty database on the server that `TEST_DATABASE_URL` names.
    pub(crate) async fn postgres() -> Self {
        Self::on(bare::test_server(), "").await
    }

    async fn on(server: String, template: &str) -> Self {
        let (name, url) = bare::fresh_database(&server);
        let sql = format!("create database {name} {template}");
        // A template must have no connection, and the server may still be closing the last ones.
        let create = async || bare::execute(&server, &sql).await.ok();
        super::until("a fresh database", Duration::from_secs(30), create).await;
        let folder = tempfile::tempdir().unwrap();
        Self { url, server: Some((server, name)), held: Mutex::default(), folder }
    }

    /// Makes another database with the same content. Nobody may write to this one meanwhile.
    pub(crate) async fn copy(&self) -> Self {
        if let Some((server, name)) = &self.server {
            if let Some(conn) = self.held.lock().await.take() {
                conn.close().await.unwrap();
            }
            return Self::on(server.clone(), &format!("template {name}")).await;
        }
        let copy = Self::sqlite();
        let path = copy.url.trim_start_matches("sqlite://").to_owned();
        self.execute(&format!("vacuum into '{path}'")).await;
        copy
    }

    /// Keeps the content as it is now. Nobody may write meanwhile.
    pub(crate) async fn keep(&self) {
        if self.is_sqlite() {
            return self.execute(&format!("vacuum into '{}'", self.kept().display())).await;
        }
        self.execute("create schema kept").await;
        for table in self.tables().await {
            self.execute(&format!("create table kept.{table} as table public.{table}")).await;
        }
    }

    /// Puts back what was kept; a fresh database would take PostgreSQL ten times as long.
    pub(crate) async fn restore(&self) {
        if self.is_sqlite() {
            let path = self.url.trim_start_matches("sqlite://");
            // What a killed process left beside the file belongs to the content that goes.
            for beside in ["-wal", "-shm"] {
                std::fs::remove_file(format!("{path}{beside}")).ok();
            }
            std::fs::copy(self.kept(), path).unwrap();
            return;
        }
        let tables = self.tables().await;
        let mut sql = format!("begin; truncate {} restart identity; ", tables.join(", "));
        for table in tables {
            write!(sql, "insert into {table} overriding system value select * from kept.{table}; ").unwrap();
        }
        // Numbers go on behind those that are there.
        for table in ["syncs", "jobs", "events", "sources"] {
            let last = format!("(select coalesce(max(id), 0) + 1 from {table})");
            write!(sql, "select setval(pg_get_serial_sequence('{table}', 'id'), {last}, false); ").unwrap();
        }
        self.execute(&format!("{sql} commit")).await;
    }

    fn kept(&self) -> std::path::PathBuf {
        self.folder.path().join("kept.db")
    }

    /// Lists our tables, those first that others refer to.
    async fn tables(&self) -> Vec<String> {
        let sql = "select cast(tablename as text) from pg_tables where schemaname = 'public' order by 1";
        let mut tables = self.lines(sql).await;
        let first = ["tenants", "sources", "syncs"];
        tables.sort_by_key(|it| first.iter().position(|first| first == it).unwrap_or(first.len()));
        tables
    }

    /// Waits until a process that was killed is gone from the server too: what it sent last may still be carried out.
    pub(crate) async fn left_alone(&self) {
        if self.is_sqlite() {
            return;
        }
        let others = "select count(*) from pg_stat_activity where datname = current_database()
            and backend_type = 'client backend' and pid <> pg_backend_pid()";
        let alone = async || (self.number(others).await == 0).then_some(());
        super::until("the killed process is gone from the server", Duration::from_secs(30), alone).await;
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

    /// Runs statements as a person with psql or sqlite3 would.
    pub(crate) async fn execute(&self, sql: &str) {
        if self.is_sqlite() {
            return bare::execute(&self.url, sql).await.unwrap();
        }
        let mut held = self.held.lock().await;
        let conn = self.connected(&mut held).await;
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(conn).await.unwrap();
    }

    /// Reads the first column of a statement; it must be text.
    pub(crate) async fn lines(&self, sql: &str) -> Vec<String> {
        if self.is_sqlite() {
            return bare::lines_of_file(&self.url, sql);
        }
        let mut held = self.held.lock().await;
        bare::lines_of_server(self.connected(&mut held).await, sql).await
    }

    async fn connected<'a>(&self, held: &'a mut Option<PgConnection>) -> &'a mut PgConnection {
        if held.is_none() {
            *held = Some(PgConnection::connect(&self.url).await.unwrap());
        }
        held.as_mut().unwrap()
    }

    /// Reads one number.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let lines = self.lines(&format!("select cast(({sql}) as text)")).await;
        lines[0].parse().unwrap_or_else(|_| panic!("{sql}: {:?} is no number", lines[0]))
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some((server, name)) = self.server.take() {
            bare::drop_database(server, &name);
        }
    }
}
