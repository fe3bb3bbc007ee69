//! Does the syncing: the one place where connectors, the store and the network meet.
//!
//! It knows no SQL and serves no HTTP. Begin with [`SyncService`], the one door; then `worker` (which job next) and
//! `run` (one job, page by page).

mod account;
mod budget;
mod check;
mod clock;
mod error;
mod fetch;
mod http;
mod node;
mod pool;
mod run;
mod service;
mod worker;

pub use clock::Clock;
pub use error::{Error, OpenError};
pub use http::{HttpLimits, check_base_url};
pub use service::{
    AddSource, Checked, Finding, Options, Requested, SealingKey, SourceChanges, SyncService, provider_specs,
};
pub use store::{
    JobCounts, JobError, JobRow, KeyError, KillAt, Secret, SecretChange, SourceRow, SourceStatus, SyncRow,
};
