//! What is told of a source but for what a sync under way does, kept in memory until the source's revision moves on.
//!
//! Never answers with what another revision told: the database counts them, in the transaction that changes something.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use domain::connector::Group;
use domain::id::{SourceId, SyncId, TenantId};
use domain::job::SyncState;
use jiff::Timestamp;

use super::Standing;
use crate::db::Row;
use crate::error::{StoreError, corrupt};
use crate::queue::schedule::{self, StoredSchedule};

/// Sources that are kept at once: about a kilobyte each. With more, those that are looked at take turns.
const KEPT_MAX: usize = 10_000;

/// What is told of a source and its groups. What is handed on with every look is shared, not copied.
#[derive(Debug)]
pub(super) struct Resting {
    pub(super) revision: i64,
    pub(super) name: Arc<str>,
    pub(super) provider: String,
    pub(super) account: Option<String>,
    pub(super) groups: Vec<Rest>,
}

/// What is told of one group.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) provider: &'static str,
    pub(super) group: &'static Group,
    pub(super) tenant: Option<TenantId>,
    pub(super) tenant_name: Option<Arc<str>>,
    pub(super) enabled: bool,
    pub(super) has_owner: bool,
    pub(super) has_partitions: bool,
    pub(super) last_manual_at: Option<Timestamp>,
    pub(super) last_success_at: Option<Timestamp>,
    pub(super) standing: Option<Arc<Standing>>,
    pub(super) schedule: Option<Arc<StoredSchedule>>,
    pub(super) failures: Failures,
    pub(super) recoveries_in_vain: u64,
}

/// Partitions of a source whose last job failed.
#[derive(Debug, Default)]
pub(super) struct Failures {
    pub(super) failed: u64,
    pub(super) invalid: u64,
    pub(super) first: Option<Arc<(String, String, String)>>,
}

/// What this process knows of how sources stand.
#[derive(Debug, Default)]
pub(crate) struct Kept(Mutex<HashMap<SourceId, Arc<Resting>>>);

impl Kept {
    /// Returns, for each of these sources, what is known of it if its revision is still this one.
    pub(super) fn of(&self, sources: &[(SourceId, i64)]) -> Vec<Option<Arc<Resting>>> {
        let kept = self.lock();
        let known = |(id, revision): &(SourceId, i64)| kept.get(id).filter(|it| it.revision == *revision);
        sources.iter().map(|it| known(it).cloned()).collect()
    }

    /// Keeps what was read; a look that was slower than another may bring back an older revision, which is read again.
    pub(super) fn keep(&self, read: &HashMap<SourceId, Arc<Resting>>) {
        let mut kept = self.lock();
        if kept.len() + read.len() > KEPT_MAX {
            kept.clear();
        }
        kept.extend(read.iter().take(KEPT_MAX).map(|(id, it)| (*id, Arc::clone(it))));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<SourceId, Arc<Resting>>> {
        // Whole entries are put in, so the map is good even after a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads what rests of one group.
pub(super) fn rest(
    row: &Row,
    (name, provider, group): (&str, &'static str, &'static Group),
    failures: Failures,
) -> Result<Rest, StoreError> {
    let id: i64 = row.get("id")?;
    Ok(Rest {
        provider,
        group,
        tenant: row.get::<Option<i64>>("tenant_id")?.map(TenantId),
        tenant_name: row.get::<Option<String>>("tenant_name")?.map(Into::into),
        enabled: row.get("enabled")?,
        has_owner: row.get("has_owner")?,
        has_partitions: row.get("has_partitions")?,
        last_manual_at: row.time("last_manual_at")?,
        last_success_at: row.time("last_success_at")?,
        standing: standing(row, id)?.map(Arc::new),
        schedule: ticks(row, (name, provider))?.map(Arc::new),
        failures,
        recoveries_in_vain: row.count("in_vain")?,
    })
}

pub(super) fn failures(rows: &[Row]) -> Result<HashMap<i64, Failures>, StoreError> {
    let mut all: HashMap<i64, Failures> = HashMap::new();
    for row in rows {
        let of_source = all.entry(row.get("source_id")?).or_default();
        of_source.failed += row.count("failed")?;
        of_source.invalid += row.count("invalid")?;
        if of_source.first.is_none() {
            of_source.first = error(row, "what")?.map(Arc::new);
        }
    }
    Ok(all)
}

fn ticks(row: &Row, (name, provider): (&str, &str)) -> Result<Option<StoredSchedule>, StoreError> {
    let Some(group) = row.get::<Option<String>>("scheduled")? else { return Ok(None) };
    let enabled = row.get::<bool>("enabled")? && row.get::<bool>("has_owner")?;
    let source = SourceId(row.get("id")?);
    schedule::stored(row, source, (name.to_owned(), provider.to_owned()), group, enabled).map(Some)
}

fn standing(row: &Row, source: i64) -> Result<Option<Standing>, StoreError> {
    let Some(sync) = row.get::<Option<i64>>("sync_id")? else { return Ok(None) };
    Ok(Some(Standing {
        sync: SyncId(sync),
        state: row.word("state", SyncState::from_word, ("standings", &source))?,
        ended_at: row.time("ended_at")?.ok_or_else(|| corrupt("standings", source, "ended_at"))?,
        jobs: row.count("jobs")?,
        failed: row.count("failed")?,
        error: error(row, "error_what")?,
    }))
}

/// Reads an error: what could not be read, the fault's word, and a sentence.
fn error(row: &Row, what: &str) -> Result<Option<(String, String, String)>, StoreError> {
    let code: Option<String> = row.get("error_code")?;
    let what: Option<String> = row.get(what)?;
    let detail: Option<String> = row.get("error_detail")?;
    Ok(code.map(|code| (what.unwrap_or_default(), code, detail.unwrap_or_default())))
}
