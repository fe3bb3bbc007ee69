//! Syncs and jobs in pages, and where the events end: for faces that show many of them.
//!
//! Each sees only what is of its scope.

use domain::id::{EventId, JobId, SourceId, SyncId};
use store::{JobRow, SyncRow};

use super::SyncService;
use crate::error::Error;

/// Which syncs, the newest first.
#[derive(Clone, Debug, Default)]
pub struct SyncQuery {
    /// Only those of this source.
    pub source: Option<SourceId>,
    /// Only older ones than this.
    pub before: Option<SyncId>,
    /// How many at most.
    pub limit: u32,
}

/// Which jobs, the oldest first.
#[derive(Clone, Debug, Default)]
pub struct JobQuery {
    /// Only those of this sync.
    pub sync: Option<SyncId>,
    /// Only those that this process holds.
    pub worker: Option<String>,
    /// Only later ones than this.
    pub after: Option<JobId>,
    /// How many at most.
    pub limit: u32,
}

impl SyncService {
    /// Reads a page of syncs, the newest first.
    pub async fn syncs_before(&self, query: SyncQuery) -> Result<Vec<SyncRow>, Error> {
        let SyncQuery { source, before, limit } = query;
        Ok(self.store.syncs_before(store::SyncQuery { scope: self.scope, source, before, limit }).await?)
    }

    /// Reads a page of jobs, the oldest first.
    pub async fn jobs_after(&self, query: JobQuery) -> Result<Vec<JobRow>, Error> {
        let JobQuery { sync, worker, after, limit } = query;
        Ok(self.store.jobs_after(store::JobQuery { scope: self.scope, sync, worker, after, limit }).await?)
    }

    /// Finds the newest event; zero when nothing happened yet.
    pub async fn last_event(&self) -> Result<EventId, Error> {
        Ok(self.store.last_event(self.scope).await?)
    }
}
