//! What keeps parts of a stream group from being read, beside what the policy looks at.
//!
//! Never decides anything, and never looks at an ended job.

use domain::connector::Group;
use domain::id::SourceId;
use jiff::Timestamp;
use sqlx::AssertSqlSafe;

use crate::Store;
use crate::db::{Conn, args, to_json};
use crate::dialect::each;
use crate::error::StoreError;
use crate::queue::decision::{self, LastDecision};
use crate::queue::enqueue::{PROBE_EVERY_MS, Streams};

/// What keeps parts of a group from being read, beside what the policy looks at.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredWhy {
    /// What was last answered.
    pub last: Option<LastDecision>,
    /// Jobs that wait for a limit.
    pub blocked_jobs: u64,
    /// When the first of them goes on.
    pub blocked_until: Option<Timestamp>,
    /// Partitions that the provider does not let us read.
    pub invalid: u64,
    /// When the first of them may be tried again.
    pub next_probe_at: Option<Timestamp>,
}

impl Store {
    /// Reads why a group is not read now, beside what the policy looks at.
    pub async fn why(&self, source: SourceId, group: &'static Group) -> Result<StoredWhy, StoreError> {
        self.inner.db.read((source, group), |conn, input| Box::pin(why(conn, input))).await
    }
}

async fn why(conn: &mut Conn, (source, group): &(SourceId, &'static Group)) -> Result<StoredWhy, StoreError> {
    let sql = "select trigger, action, reason, metadata, sync_id, asked_at from decisions
        where source_id = $1 and stream_group = $2";
    let last = conn
        .row(sql, args![*source, group.name])
        .await?
        .map(|row| decision::read(&row, *source))
        .transpose()?;
    let sql = "select count(*) as jobs, min(not_before) as until from jobs
        where state = 'scheduled' and lane = 'forward' and source_id = $1 and stream_group = $2";
    let blocked = conn.one(sql, args![*source, group.name]).await?;
    let sql = format!(
        "select count(*) as partitions, min(invalid_at) + $3 as probe_at from partitions
         where source_id = $1 and error_code is not null and not is_valid and active
             and stream in (select t.value ->> 0 from {})",
        each(conn, "$2"),
    );
    let streams = to_json(&Streams::of(group).0)?;
    let invalid = conn.one(AssertSqlSafe(sql), args![*source, streams, PROBE_EVERY_MS]).await?;
    Ok(StoredWhy {
        last,
        blocked_jobs: blocked.count("jobs")?,
        blocked_until: blocked.time("until")?,
        invalid: invalid.count("partitions")?,
        next_probe_at: invalid.time("probe_at")?,
    })
}
