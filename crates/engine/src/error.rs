//! What the engine answers when it cannot: one sentence that names what is wrong and, where there is one, the fix.

use domain::connector::SettingsError;
use store::StoreError;

pub use store::OpenError;

/// Why the engine could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such thing.
    #[error("there is no {what} `{id}`")]
    Unknown {
        /// What was looked for.
        what: &'static str,
        /// Its name.
        id: String,
    },
    /// A given value cannot be used.
    #[error("{field}: {why}")]
    Invalid {
        /// Which value.
        field: &'static str,
        /// What is wrong, and what is allowed.
        why: String,
    },
    /// What is asked for cannot be done in the present state.
    #[error("{0}")]
    Conflict(String),
    /// The database could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The key that credentials are sealed with cannot be used.
    #[error(transparent)]
    Key(#[from] store::KeyError),
    /// The database refused.
    #[error(transparent)]
    Store(StoreError),
    /// Something that should not happen.
    #[error("{0}")]
    Internal(String),
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<SettingsError> for Error {
    fn from(error: SettingsError) -> Self {
        Self::Invalid { field: error.setting, why: format!("`{}` {}", error.value, error.why) }
    }
}
