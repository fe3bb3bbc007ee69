//! Censuses as people ask for and answer them, and the pace at which they are begun.
//!
//! It must never decide what is gone: the provider says so, and a person where much is.

use domain::connector::Connector;
use domain::id::SourceId;
use domain::policy::Reason;
use domain::trigger::Trigger;
use jiff::{SignedDuration, Timestamp};
use store::{AbsenceRow, CensusDue, CensusRow, SourceRow, StoreError};

use super::SyncService;
use super::source::connector;
use crate::error::Error;

/// Partitions of a stream that a person's request counts at once; what is more comes with the next one.
const ASKED_MAX: u32 = 1000;

impl SyncService {
    /// Begins censuses of a source's streams that can be counted, or of one of them; returns how many partitions.
    pub async fn start_census(&self, source: SourceId, stream: Option<&str>) -> Result<u64, Error> {
        let row = self.source_by_id(source).await?;
        let connector = connector(&row.provider)?;
        // The same door as for a sync, whichever its group. A census waits for its budget by itself, and needs none at once.
        let spec = connector.spec();
        let Some(group) = spec.groups.first() else { return Ok(0) };
        let (decision, _) = self.decide_targets(source, (spec, group), Trigger::Manual, &[]).await?;
        let refused = match decision.reason {
            Reason::Disabled => "is switched off: let syncs begin again before it is counted",
            Reason::NoOwner => "belongs to nobody, or to a tenant that is revoked: it is counted no more",
            _ => "",
        };
        if !refused.is_empty() {
            return Err(Error::Conflict(format!("`{}` {refused}", row.name)));
        }
        let counted = counted(connector);
        if let Some(stream) = stream
            && !counted.contains(&stream)
        {
            let known = counted.join(", ");
            let why = format!("`{stream}` cannot be counted; of {} these can: {known}", row.provider);
            return Err(Error::Invalid { field: "stream", why });
        }
        self.begin_censuses(&row, stream, None, |_| ASKED_MAX).await
    }

    /// Begins the censuses that are due, at most so many of each source that all are counted once in `every`.
    pub(crate) async fn keep_counting(
        &self,
        every: SignedDuration,
        pace: SignedDuration,
    ) -> Result<u64, Error> {
        let before = self.clock.now().saturating_sub(every).unwrap_or(Timestamp::MIN);
        let mut begun = 0;
        for row in self.store.sources(None).await?.into_iter().filter(|it| it.enabled) {
            // Another version's sources are left to its processes.
            if connector(&row.provider).is_err() {
                continue;
            }
            let share = |partitions: u64| {
                let (pace, every) = (pace.as_millis().unsigned_abs(), every.as_millis().unsigned_abs());
                let share = (u128::from(partitions) * pace).div_ceil(every.max(1));
                u32::try_from(share.max(1)).unwrap_or(u32::MAX)
            };
            match self.begin_censuses(&row, None, Some(before), share).await {
                Ok(more) => begun += more,
                // It was removed since it was listed.
                Err(Error::Store(StoreError::NotFound)) => {}
                // What is damaged of one source keeps no other from being counted.
                Err(error @ Error::Store(StoreError::Corrupt { .. })) => {
                    tracing::warn!(source = row.id.0, %error, "the source is not counted");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(begun)
    }

    async fn begin_censuses(
        &self,
        row: &SourceRow,
        only: Option<&str>,
        before: Option<Timestamp>,
        share: impl Fn(u64) -> u32,
    ) -> Result<u64, Error> {
        let connector = connector(&row.provider)?;
        let mut begun = 0;
        for group in connector.spec().groups {
            for stream in group.streams.iter().filter(|it| only.is_none_or(|only| only == it.name)) {
                let Some(census) = connector.census(stream.name) else { continue };
                let partitions = self.store.partitions_read(row.id, stream.name).await?;
                if partitions == 0 {
                    continue;
                }
                let max = share(partitions);
                let due = CensusDue { source: row.id, group, stream: stream.name, census, before, max };
                begun += self.store.begin_censuses(due, self.clock.now()).await?;
            }
        }
        Ok(begun)
    }

    /// Lists censuses, the newest first, behind `before`.
    pub async fn censuses(
        &self,
        source: Option<SourceId>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<CensusRow>, Error> {
        if let Some(source) = source {
            self.source_by_id(source).await?;
        }
        Ok(self.store.censuses(self.scope, source, before, limit).await?)
    }

    /// Returns a census with what it found absent.
    pub async fn census(&self, id: i64) -> Result<(CensusRow, Vec<AbsenceRow>), Error> {
        let found = self.store.census(id).await?.filter(|it| self.sees(it.0.tenant));
        found.ok_or_else(|| Error::Unknown { what: "census", id: id.to_string() })
    }

    /// Marks what a census found to be gone, and returns how many rows.
    pub async fn approve_census(&self, id: i64) -> Result<u64, Error> {
        self.census(id).await?;
        self.store.approve_census(id, self.clock.now()).await.map_err(refused)
    }

    /// Brings back what a census marked, and returns how many rows.
    pub async fn undo_census(&self, id: i64) -> Result<u64, Error> {
        self.census(id).await?;
        self.store.undo_census(id, self.clock.now()).await.map_err(refused)
    }
}

/// Passes on what a census cannot do in its present state.
fn refused(error: StoreError) -> Error {
    match error {
        StoreError::Conflict(why) => Error::Conflict(why),
        other => other.into(),
    }
}

/// Names the streams of a connector that can be counted.
fn counted(connector: &dyn Connector) -> Vec<&'static str> {
    let streams = connector.spec().groups.iter().flat_map(|it| it.streams);
    streams.map(|it| it.name).filter(|it| connector.census(it).is_some()).collect()
}
