//! What can go wrong with the store, as far as a caller acts on it.
//!
//! Never quotes a secret, and never the password of a database's address.

use std::error::Error;
use std::fmt::Display;
use std::sync::Arc;

use rusqlite::ErrorCode;

use crate::vault::SecretError;

/// Why a step of the store was not taken. Nothing of the step is written then.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The job belongs to another claim by now, or to none.
    #[error("the job's lease is lost")]
    LeaseLost,
    /// There is no such row.
    #[error("there is no such row")]
    NotFound,
    /// It contradicts what is stored; the text says how.
    #[error("{0}")]
    Conflict(String),
    /// Others hold what the step needs; it may be tried again.
    #[error("the database is busy; try again")]
    Busy,
    /// A credential cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A stored value makes no sense. It is left as it is, for a person to look at.
    #[error("the stored state is damaged: {what}; restore it from a backup, or correct this value by hand")]
    Corrupt {
        /// Table, row and column.
        what: String,
    },
    /// There is no room left for the database.
    #[error("there is no room left for the database; make room on its disk: it goes on where it stopped")]
    Full,
    /// The database failed in a way that no caller can act on.
    #[error("the database failed: {0}")]
    Broken(Arc<dyn Error + Send + Sync>),
}

/// Names a damaged value.
pub(crate) fn corrupt(table: &str, row: impl Display, column: &str) -> StoreError {
    StoreError::Corrupt { what: format!("table {table}, row {row}, column {column}") }
}

/// Wraps an inner error that no caller can act on.
pub(crate) fn broken(error: impl Error + Send + Sync + 'static) -> StoreError {
    StoreError::Broken(Arc::new(error))
}

impl StoreError {
    /// Says that the store was closed.
    pub(crate) fn closed() -> Self {
        broken(sqlx::Error::PoolClosed)
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            _ => broken(error),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::PoolTimedOut => Self::Busy,
            sqlx::Error::ColumnDecode { index, .. } => Self::Corrupt { what: format!("column {index}") },
            sqlx::Error::Database(inner) => match inner.code().as_deref() {
                // disk_full.
                Some("53100") => Self::Full,
                // serialization_failure, deadlock_detected and lock_not_available.
                Some("40001" | "40P01" | "55P03") => Self::Busy,
                _ => broken(error),
            },
            _ => broken(error),
        }
    }
}

/// Why the database could not be opened. Each sentence names what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The address makes no sense.
    #[error("the database address {why}; write sqlite://path/to/file.db or postgres://user@host:5432/name")]
    Url {
        /// What is wrong with it.
        why: String,
    },
    /// No server answers.
    #[error(
        "no PostgreSQL server answers at {server}; start it, or correct the host and port in the database address"
    )]
    Unreachable {
        /// Host and port.
        server: String,
    },
    /// The server refuses the user.
    #[error(
        "the PostgreSQL server at {server} refuses user {user}; correct the user or password in the database address"
    )]
    Denied {
        /// Host and port.
        server: String,
        /// Who asked.
        user: String,
    },
    /// The server has no such database.
    #[error("the PostgreSQL server at {server} has no database {name}; make it with: createdb {name}")]
    NoDatabase {
        /// Host and port.
        server: String,
        /// The database's name.
        name: String,
    },
    /// The tables were made by a later version.
    #[error(
        "the database has migration {found}, this version knows {known}; run the newer version of syncline"
    )]
    TooNew {
        /// The newest migration in the database.
        found: i64,
        /// The newest that this version knows.
        known: i64,
    },
    /// A migration failed; nothing of it is kept.
    #[error("migration {number} failed and was undone: {why}")]
    Migration {
        /// Its number.
        number: i64,
        /// What the database said.
        why: String,
    },
    /// A landed table differs from its spec in a way that cannot be widened.
    #[error(
        "table {table}, column {column} is {found} but this version writes {wanted}; landed columns never change: \
         rename the table to keep its rows, and sync again"
    )]
    Retyped {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// The type in the database.
        found: String,
        /// The type of the spec.
        wanted: String,
    },
    /// The folder or file cannot be written.
    #[error("{path} cannot be written ({why}); choose another place, or allow this user to write there")]
    Unwritable {
        /// The file.
        path: String,
        /// What the system said.
        why: String,
    },
    /// The file is something else, or damaged.
    #[error(
        "{path} is not an SQLite database, or is damaged; choose another file, or restore it from a backup"
    )]
    NotADatabase {
        /// The file.
        path: String,
    },
    /// There is no room left.
    #[error("there is no room left for the database; make room on its disk")]
    Full,
    /// The database failed in another way.
    #[error("the database could not be opened: {0}")]
    Broken(StoreError),
}
