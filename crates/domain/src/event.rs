//! The facts that the engine records: appended, numbered, never changed.

use serde::Serialize;

use crate::census::CensusState;
use crate::id::{JobId, SourceId, SyncId};
use crate::policy::Decision;
use crate::trigger::Trigger;

/// An event's content. The names and fields are those that consumers of the original system know.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum Event {
    /// Somebody asked for a sync.
    SyncRequest {
        /// The source that was asked about.
        installation_id: SourceId,
        /// Why.
        trigger: Trigger,
        /// What the policy answered.
        result: Decision,
    },
    /// A worker began a job.
    JobStarted {
        /// The job.
        job_id: JobId,
        /// Its source.
        installation_id: SourceId,
        /// The partitions of its sync so far.
        repo_count: i64,
    },
    /// A job committed pages; at most one such event per job and second.
    JobProgress {
        /// The job.
        job_id: JobId,
        /// Records delivered so far.
        current: i64,
        /// Records expected, where the provider says.
        total: Option<i64>,
    },
    /// A job waits for a budget.
    JobBlocked {
        /// The job.
        job_id: JobId,
        /// When it will go on, in epoch milliseconds.
        blocked_until: i64,
        /// The word for what it waits for.
        reason: &'static str,
    },
    /// A job caught up.
    JobCompleted {
        /// The job.
        job_id: JobId,
        /// Records that it delivered.
        events_ingested: i64,
        /// From its first claim to its end.
        duration_ms: i64,
    },
    /// A job failed for good.
    JobFailed {
        /// The job.
        job_id: JobId,
        /// The fault's stable word.
        error: String,
    },
    /// A census ended.
    CensusClosed {
        /// The census.
        census_id: i64,
        /// The source.
        installation_id: SourceId,
        /// The stream.
        stream: String,
        /// The partition.
        partition: String,
        /// How it ended.
        state: CensusState,
        /// Ids that the provider listed.
        listed: u64,
        /// Rows that were there.
        known: u64,
        /// Absent ones that the provider says do not exist.
        deleted: u64,
        /// Absent ones that are elsewhere.
        moved: u64,
        /// Absent ones that may no longer be seen.
        access_lost: u64,
        /// Absent ones of which nothing is known.
        unobserved: u64,
        /// The ids of those that are deleted or moved, the first hundred.
        gone: Vec<String>,
    },
    /// A person answered what a census asked, or took back what it did.
    CensusDecided {
        /// The census.
        census_id: i64,
        /// The source.
        installation_id: SourceId,
        /// What it is now: approved or undone.
        state: CensusState,
        /// Rows that were marked, or brought back.
        records: u64,
    },
    /// A provider's delivery was accepted.
    Delivery {
        /// The source that it is for.
        installation_id: SourceId,
        /// The provider's id of it.
        delivery_id: String,
        /// What the provider calls what happened.
        event: String,
        /// Whether it hints at anything that is read; what does not is ignored.
        hints: usize,
    },
    /// The last job of a sync ended, or only blocked ones remain.
    SyncClosed {
        /// The sync.
        sync_id: SyncId,
        /// How it ended.
        state: String,
    },
}

impl Event {
    /// Returns the event's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::SyncRequest { .. } => "sync.request",
            Self::JobStarted { .. } => "sync.job.started",
            Self::JobProgress { .. } => "sync.job.progress",
            Self::JobBlocked { .. } => "sync.job.blocked",
            Self::JobCompleted { .. } => "sync.job.completed",
            Self::JobFailed { .. } => "sync.job.failed",
            Self::CensusClosed { .. } => "census.closed",
            Self::CensusDecided { .. } => "census.decided",
            Self::Delivery { .. } => "webhook.delivery",
            Self::SyncClosed { .. } => "sync.closed",
        }
    }
}
