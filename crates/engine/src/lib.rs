//! Does the syncing: the one place where connectors, the store and the network meet.
//!
//! It knows no SQL and serves no HTTP. Begin with [`SyncService`], the one door; then `worker` (which job next) and
//! `run` (one job, page by page).

mod account;
mod clock;
mod error;
mod fetch;
mod http;
mod maintenance;
mod pool;
mod room;
mod run;
mod scheduler;
mod service;
mod worker;

pub use clock::Clock;
pub use error::{Error, OpenError};
pub use http::{HttpLimits, check_base_url, install_tls};
pub use maintenance::ChoreRow;
pub use scheduler::SchedulerHealth;
pub use service::budget::SourceBudget;
pub use service::gauge::BudgetLeft;
pub use service::list::{JobQuery, SyncQuery};
pub use service::plan::{GroupPlan, Plans};
pub use service::record::{RecordPage, RecordQuery};
pub use service::schedule::{Schedule, ScheduleRow};
pub use service::source::{AddSource, SourceChanges, provider_specs};
pub use service::status::{GroupStatus, LastError, Progress, StatusPage};
pub use service::target::TargetsRequested;
pub use service::webhook::{DeliveryQuery, Receipt, Refusal};
pub use service::why::GroupWhy;
pub use service::{Checked, Finding, Maintenance, Options, Requested, SealingKey, SyncService};
pub use store::{
    AbsenceRow, Arrived, CameTrue, CensusRow, ChoreRun, DeliveryRow, EventRow, HintRow, JobCounts, JobError,
    JobRow, KeyError, KillAt, LastDecision, Missed, NewToken, OpenLane, PartitionPage, PartitionRow,
    PastForecast, Principal, Secret, SecretChange, SourceRow, SyncRow, Target, TenantRow, TokenRow,
};
