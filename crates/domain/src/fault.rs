//! A provider's refusal, classified. Small on purpose: `policy::settle` matches on every variant.

use std::time::Duration;

use jiff::Timestamp;

/// A provider's refusal, or an answer that never came.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The provider told us to wait; `until` is absent where it named no time.
    #[error("rate limited (bucket {bucket})")]
    RateLimited {
        /// When the provider will answer again, by its own word.
        until: Option<Timestamp>,
        /// The budget that is spent; see [`crate::connector::Meter::bucket`].
        bucket: &'static str,
    },
    /// A passing fault: asking again may succeed.
    #[error("{cause}")]
    Transient {
        /// How long the provider asked us to wait, if it did.
        after: Option<Duration>,
        /// What went wrong.
        cause: Cause,
    },
    /// The credential is refused; nothing of this source can be read.
    #[error("the credential is refused")]
    Unauthorized,
    /// The credential is good but may not read this.
    #[error("no permission")]
    Denied,
    /// It does not exist, or is hidden from this credential.
    #[error("gone")]
    Gone,
    /// The place to read on from no longer exists; read it anew.
    #[error("the place to read on from is lost")]
    CursorLost,
    /// The answer does not have the promised shape.
    #[error("malformed answer: {what}")]
    Malformed {
        /// What is wrong with it, without quoting the answer.
        what: String,
    },
}

/// What made a fault a passing one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Cause {
    /// The provider answered with a server error of this status.
    #[error("the provider answered {0}")]
    Server(u16),
    /// No answer, or not all of it, within the time allowed.
    #[error("no complete answer in time")]
    Timeout,
    /// The host's name has no address.
    #[error("unknown host")]
    UnknownHost,
    /// The host's address is one that no source may reach.
    #[error("forbidden address")]
    ForbiddenAddress,
    /// No connection could be made.
    #[error("no connection")]
    Connect,
    /// The certificate or the handshake was refused.
    #[error("no secure connection")]
    Tls,
    /// The connection ended in the middle of the answer.
    #[error("the answer was cut off")]
    Cut,
    /// The answer is larger than we accept.
    #[error("the answer is too large")]
    TooLarge,
    /// The database did not say whether the request may be made.
    #[error("the budget ledger does not answer")]
    Ledger,
    /// More redirects than we follow, or one to where we may not go.
    #[error("a redirect that cannot be followed")]
    Redirect,
}

impl Fault {
    /// Returns the stable word stored with a failed job and shown in `--json`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::RateLimited { .. } => "rate_limited",
            Self::Transient { cause, .. } => match cause {
                Cause::Server(_) => "server_error",
                Cause::Timeout => "timeout",
                Cause::UnknownHost => "unknown_host",
                Cause::ForbiddenAddress => "forbidden_address",
                Cause::Connect => "no_connection",
                Cause::Tls => "no_secure_connection",
                Cause::Cut => "answer_cut",
                Cause::TooLarge => "answer_too_large",
                Cause::Ledger => "no_ledger",
                Cause::Redirect => "bad_redirect",
            },
            Self::Unauthorized => "unauthorized",
            Self::Denied => "denied",
            Self::Gone => "gone",
            Self::CursorLost => "cursor_lost",
            Self::Malformed { .. } => "malformed",
        }
    }
}
