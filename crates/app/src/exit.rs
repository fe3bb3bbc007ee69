//! How the program ends, as scripts see it. A number once given never changes its meaning.

use std::fmt::Write as _;
use std::process::ExitCode;

use engine::{KeyError, OpenError};

use crate::config::ConfigError;

/// An exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It was done.
    Done,
    /// It failed.
    Failed,
    /// The command line or the configuration is wrong.
    Usage,
    /// Some of it was done.
    Partial,
    /// It was refused in the present state.
    Refused,
    /// The database or the key cannot be used.
    Database,
    /// A signal stopped it.
    Interrupted,
}

/// Every code with its number and meaning; two is clap's, 130 the shell's word for Ctrl-C.
static MEANINGS: &[(Exit, u8, &str)] = &[
    (Exit::Done, 0, "done; a sync completed"),
    (
        Exit::Failed,
        1,
        "failed; a sync failed or was cancelled, or a check found something that cannot be read",
    ),
    (Exit::Usage, 2, "the command line or the configuration is wrong, or names what is not there"),
    (Exit::Partial, 3, "a sync is partial: some of its jobs failed, or wait for the provider's limit"),
    (
        Exit::Refused,
        4,
        "refused in the present state: a cooldown, a spent budget, a sync that runs, a name taken",
    ),
    (Exit::Database, 5, "the database or the key cannot be used"),
    (Exit::Interrupted, 130, "a signal stopped it; the sync goes on with the next start"),
];

impl Exit {
    /// Returns the worse of two, for commands that do several things.
    pub(crate) fn worse(self, other: Self) -> Self {
        let badness = |it: Self| match it {
            Self::Done => 0,
            Self::Refused => 1,
            Self::Partial => 2,
            Self::Failed => 3,
            Self::Usage => 4,
            Self::Database => 5,
            Self::Interrupted => 6,
        };
        if badness(other) > badness(self) { other } else { self }
    }

    /// Says what an error means: the exit code, and the stable word for scripts.
    pub(crate) fn of(error: &anyhow::Error) -> (Self, &'static str) {
        if let Some(failure) = error.downcast_ref::<Failure>() {
            return (failure.exit, failure.code);
        }
        if error.is::<ConfigError>() {
            return (Self::Usage, "configuration");
        }
        match error.downcast_ref::<engine::Error>() {
            Some(engine::Error::Unknown { .. }) => (Self::Usage, "unknown"),
            Some(engine::Error::Invalid { .. }) => (Self::Usage, "invalid"),
            Some(engine::Error::Conflict(_)) => (Self::Refused, "conflict"),
            // Trying again helps with neither: they are corrected where they were written.
            Some(engine::Error::Open(OpenError::Url { .. }) | engine::Error::Key(KeyError::Malformed)) => {
                (Self::Usage, "configuration")
            }
            Some(engine::Error::Open(_) | engine::Error::Store(_)) => (Self::Database, "database"),
            Some(engine::Error::Key(_)) => (Self::Database, "key"),
            Some(engine::Error::Internal(_)) | None => (Self::Failed, "internal"),
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        let number = MEANINGS.iter().find(|it| it.0 == exit).map_or(1, |it| it.1);
        Self::from(number)
    }
}

/// Writes the table as it stands in the help text.
pub(crate) fn help() -> String {
    let mut text = String::from("Exit codes:\n");
    for (_, number, meaning) in MEANINGS {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {number:>3}  {meaning}");
    }
    text
}

/// An end that a command itself decided on.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    code: &'static str,
    message: String,
}

impl Failure {
    /// Makes an error that ends the program with `exit`.
    pub(crate) fn with(exit: Exit, code: &'static str, message: impl Into<String>) -> anyhow::Error {
        Self { exit, code, message: message.into() }.into()
    }

    /// Makes an error for a command line that cannot be followed.
    pub(crate) fn usage(message: impl Into<String>) -> anyhow::Error {
        Self::with(Exit::Usage, "usage", message)
    }
}

impl std::error::Error for Failure {}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}
