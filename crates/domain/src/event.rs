//! The facts that the engine records: appended, numbered, never changed.

use serde::Serialize;

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
            Self::SyncClosed { .. } => "sync.closed",
        }
    }
}
