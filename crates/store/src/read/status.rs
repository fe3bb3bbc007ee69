//! How every source and stream group stands, for the status view: a row of each, the jobs under way, and the partitions
//! that failed.
//!
//! Never scans partitions or ended jobs, however many there are: [`Store::status_plan`] shows how it reads. What changes
//! only when a sync begins or ends is kept in memory with the source's revision, and read anew when that moved on
//! (docs/decisions/0007-status.md).

mod kept;
pub(crate) mod partitions;
mod statements;

use std::collections::HashMap;
use std::sync::Arc;

use domain::connector::Group;
use domain::id::{SourceId, SyncId, TenantId};
use domain::job::{JobState, SyncState};
use domain::policy::status::Active;
use domain::trigger::Trigger;
use jiff::Timestamp;
use sqlx::AssertSqlSafe;

pub(crate) use self::kept::Kept;
use self::kept::{Rest, Resting};
use self::statements::Statement;
use crate::Store;
use crate::db::{Conn, Row};
use crate::error::StoreError;
use crate::queue::budget::{self, BudgetRow};
use crate::queue::enqueue::StoredFacts;
use crate::queue::schedule::StoredSchedule;

/// Which standings are asked for.
#[derive(Clone, Debug)]
pub struct StatusQuery {
    /// Only the sources of this tenant.
    pub scope: Option<TenantId>,
    /// Which of them.
    pub among: Among,
    /// The stream groups of the sources of each provider, by its word.
    pub groups: Vec<(&'static str, &'static Group)>,
}

/// Which sources are looked at.
#[derive(Clone, Debug)]
pub enum Among {
    /// All.
    All,
    /// One.
    One(SourceId),
    /// By name, those behind one, at most so many.
    Behind(Option<(String, SourceId)>, u32),
}

/// How sources stand.
#[derive(Clone, Debug)]
pub struct StatusRows {
    /// A row for each group of each source, in the order of the sources' names.
    pub rows: Vec<StoredStatus>,
    /// The last source that was looked at, and how many there were.
    pub last: Option<(String, SourceId)>,
    /// How many sources were looked at.
    pub sources: usize,
}

/// How a source's stream group stands, as far as it is stored.
#[derive(Clone, Debug)]
pub struct StoredStatus {
    /// The source.
    pub source: SourceId,
    /// What people call it.
    pub name: String,
    /// The word of its connector.
    pub provider: &'static str,
    /// The group of streams.
    pub group: &'static Group,
    /// Its owner.
    pub tenant: Option<TenantId>,
    /// What people call its owner.
    pub tenant_name: Option<String>,
    /// What the policy needs to know; of partitions only whether there are any.
    pub facts: StoredFacts,
    /// The sync that is under way.
    pub active: Option<Active>,
    /// How the last one ended.
    pub standing: Option<Standing>,
    /// When it is synced by itself; `None` until the scheduler has seen it.
    pub schedule: Option<StoredSchedule>,
    /// When the first job that waits for a limit goes on.
    pub blocked_until: Option<Timestamp>,
    /// Partitions whose last job failed.
    pub failed_partitions: u64,
    /// Of them, those that the provider no longer lets us read.
    pub invalid_partitions: u64,
    /// What the first of the failed ones is called, its fault's word, and a sentence.
    pub unresolved: Option<(String, String, String)>,
}

/// How the last sync of a group ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The sync.
    pub sync: SyncId,
    /// How it ended.
    pub state: SyncState,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Its jobs.
    pub jobs: u64,
    /// Of them and their items, those that failed.
    pub failed: u64,
    /// What the first of those could not read, its fault's word, and a sentence.
    pub error: Option<(String, String, String)>,
}

impl Store {
    /// Reads how sources stand.
    pub async fn status(&self, query: StatusQuery) -> Result<StatusRows, StoreError> {
        let kept = Arc::clone(&self.inner.kept);
        self.inner.db.read((query, kept), |conn, (query, kept)| Box::pin(look(conn, query, kept))).await
    }

    /// Returns how the database would read the status: its own words, a line for each step.
    pub async fn status_plan(&self, query: StatusQuery) -> Result<Vec<String>, StoreError> {
        self.inner.db.read(query, |conn, input| Box::pin(plan(conn, input))).await
    }
}

/// A source that is looked at.
struct Seen {
    place: i64,
    source: SourceId,
    name: String,
    provider: String,
    revision: i64,
    account: Option<String>,
}

/// What a look found, but for what rests.
#[derive(Default)]
struct Found {
    seen: Vec<Seen>,
    active: HashMap<(i64, String), (SyncId, Active)>,
    waiting: HashMap<(i64, String), Timestamp>,
    /// By their account: many sources may have one.
    budgets: HashMap<String, Vec<BudgetRow>>,
}

async fn look(conn: &mut Conn, query: &StatusQuery, kept: &Kept) -> Result<StatusRows, StoreError> {
    let mut found = find(conn, query).await?;
    let seen = std::mem::take(&mut found.seen);
    let resting = resting(conn, query, kept, &seen).await?;
    let last = seen.last().map(|it| (it.name.clone(), it.source));
    let sources = seen.len();
    let mut rows = Vec::with_capacity(sources);
    for it in seen {
        let Some(of_source) = resting.get(&it.source) else { continue };
        for rest in &of_source.groups {
            rows.push(stored(&it, rest, &mut found));
        }
    }
    Ok(StatusRows { rows, last, sources })
}

/// Reads everything but what rests, as it is at one moment.
async fn find(conn: &mut Conn, query: &StatusQuery) -> Result<Found, StoreError> {
    let Statement(sql, args) = statements::look(query);
    let mut found = Found::default();
    for row in conn.rows(AssertSqlSafe(sql), args).await? {
        match row.get::<String>("part")?.as_str() {
            statements::SOURCE => found.seen.push(Seen {
                place: row.get("place")?,
                source: SourceId(row.get("source_id")?),
                name: row.get("name")?,
                provider: row.get("provider")?,
                revision: row.get("revision")?,
                account: row.get("account")?,
            }),
            statements::SYNC => sync(&row, &mut found.active)?,
            statements::WAITING => {
                let place = (row.get("source_id")?, row.get("stream_group")?);
                found.waiting.extend(row.time("until")?.map(|until| (place, until)));
            }
            _ => found.budgets.entry(row.get("account")?).or_default().push(budget::read(&row)?),
        }
    }
    // The order of a union is nobody's promise.
    found.seen.sort_unstable_by_key(|it| it.place);
    for of_account in found.budgets.values_mut() {
        of_account.sort_unstable_by(|a, b| a.bucket.cmp(&b.bucket));
    }
    Ok(found)
}

/// Counts jobs of a sync that are in one state.
fn sync(row: &Row, active: &mut HashMap<(i64, String), (SyncId, Active)>) -> Result<(), StoreError> {
    let place = (row.get("source_id")?, row.get("stream_group")?);
    let sync = SyncId(row.get("sync_id")?);
    let trigger = row.word("trigger", Trigger::from_word, ("syncs", &sync))?;
    let none = Active { trigger, jobs: 0, ended: 0, running: 0, blocked: 0 };
    let (_, counts) = active.entry(place).or_insert((sync, none));
    let jobs = row.count("jobs")?;
    // A sync without jobs has a row without a state.
    if jobs == 0 {
        return Ok(());
    }
    counts.jobs += jobs;
    match row.word("state", JobState::from_word, ("jobs of sync", &sync))? {
        JobState::Running => counts.running += jobs,
        JobState::Scheduled => counts.blocked += jobs,
        state if !state.is_active() => counts.ended += jobs,
        _ => {}
    }
    Ok(())
}

fn stored(seen: &Seen, rest: &Rest, found: &mut Found) -> StoredStatus {
    let budgets = seen.account.as_ref().and_then(|it| found.budgets.get(it));
    let place = (seen.source.0, rest.group.name.to_owned());
    let active = found.active.remove(&place);
    StoredStatus {
        source: seen.source,
        name: seen.name.clone(),
        provider: rest.provider,
        group: rest.group,
        tenant: rest.tenant,
        tenant_name: rest.tenant_name.clone(),
        facts: StoredFacts {
            enabled: rest.enabled,
            has_owner: rest.has_owner,
            partitions: u64::from(rest.has_partitions),
            last_manual_at: rest.last_manual_at,
            last_success_at: rest.last_success_at,
            active_sync: active.map(|it| it.0),
            budgets: budgets.cloned().unwrap_or_default(),
        },
        active: active.map(|it| it.1),
        standing: rest.standing.clone(),
        schedule: rest.schedule.clone(),
        blocked_until: found.waiting.remove(&place),
        failed_partitions: rest.failures.failed,
        invalid_partitions: rest.failures.invalid,
        unresolved: rest.failures.first.clone(),
    }
}

/// Returns what rests of the sources: what is kept, and what changed since from the database.
async fn resting(
    conn: &mut Conn,
    query: &StatusQuery,
    kept: &Kept,
    seen: &[Seen],
) -> Result<HashMap<SourceId, Arc<Resting>>, StoreError> {
    let mut found = kept.of(seen.iter().map(|it| (it.source, it.revision)));
    let mut changed: HashMap<SourceId, Resting> = HashMap::new();
    for &(provider, group) in &query.groups {
        let of_it = seen.iter().filter(|it| it.provider == provider && !found.contains_key(&it.source));
        let revisions: HashMap<i64, i64> = of_it.map(|it| (it.source.0, it.revision)).collect();
        if revisions.is_empty() {
            continue;
        }
        let mut ids: Vec<[i64; 1]> = revisions.keys().map(|id| [*id]).collect();
        ids.sort_unstable();
        let asked = statements::Asked { group, ids: &ids };
        let Statement(sql, args) = statements::resting(conn, &asked)?;
        let rows = conn.rows(AssertSqlSafe(sql), args).await?;
        let mut has_failed = false;
        for row in &rows {
            has_failed |= row.get::<bool>("has_failed")?;
        }
        // Most looks meet no failure; each statement is a way to the server and back.
        let mut failures = if has_failed {
            let Statement(sql, args) = statements::failed(conn, &asked)?;
            kept::failures(&conn.rows(AssertSqlSafe(sql), args).await?)?
        } else {
            HashMap::new()
        };
        for row in &rows {
            let id: i64 = row.get("id")?;
            let rest = kept::rest(row, (provider, group), failures.remove(&id).unwrap_or_default())?;
            let revision = revisions.get(&id).copied().unwrap_or_default();
            let of_source = changed.entry(SourceId(id)).or_insert(Resting { revision, groups: Vec::new() });
            of_source.groups.push(rest);
        }
    }
    let changed: HashMap<SourceId, Arc<Resting>> =
        changed.into_iter().map(|(id, it)| (id, Arc::new(it))).collect();
    kept.keep(&changed);
    found.extend(changed);
    Ok(found)
}

async fn plan(conn: &mut Conn, query: &StatusQuery) -> Result<Vec<String>, StoreError> {
    let (explain, column) =
        if conn.is_sqlite() { ("explain query plan", "detail") } else { ("explain", "QUERY PLAN") };
    let ids: Vec<[i64; 1]> = find(conn, query).await?.seen.iter().map(|it| [it.source.0]).collect();
    let mut all = vec![statements::look(query)];
    for &(_, group) in &query.groups {
        let asked = statements::Asked { group, ids: &ids };
        all.extend([statements::resting(conn, &asked)?, statements::failed(conn, &asked)?]);
    }
    let mut lines = Vec::new();
    for Statement(sql, args) in all {
        for row in conn.rows(AssertSqlSafe(format!("{explain} {sql}")), args).await? {
            lines.push(row.get(column)?);
        }
    }
    Ok(lines)
}
