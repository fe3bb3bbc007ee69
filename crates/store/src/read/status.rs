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
    pub name: Arc<str>,
    /// The word of its connector.
    pub provider: &'static str,
    /// The group of streams.
    pub group: &'static Group,
    /// Its owner.
    pub tenant: Option<TenantId>,
    /// What people call its owner.
    pub tenant_name: Option<Arc<str>>,
    /// What the policy needs to know; of partitions only whether there are any.
    pub facts: StoredFacts,
    /// The sync that is under way; where none of all of the group is, a recovery.
    pub active: Option<Active>,
    /// How the last one ended.
    pub standing: Option<Arc<Standing>>,
    /// When it is synced by itself; `None` until the scheduler has seen it.
    pub schedule: Option<Arc<StoredSchedule>>,
    /// When the first job that waits for a limit goes on.
    pub blocked_until: Option<Timestamp>,
    /// Partitions whose last job failed.
    pub failed_partitions: u64,
    /// Of them, those that the provider no longer lets us read.
    pub invalid_partitions: u64,
    /// What the first of the failed ones is called, its fault's word, and a sentence.
    pub unresolved: Option<Arc<(String, String, String)>>,
    /// Recoveries in a row that brought nothing.
    pub recoveries_in_vain: u64,
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

/// What a look found, but for what rests.
#[derive(Default)]
struct Found {
    /// The sources, each with its revision.
    seen: Vec<(SourceId, i64)>,
    active: Places<(SyncId, Active)>,
    recovering: Places<(SyncId, Active)>,
    waiting: Places<Timestamp>,
    /// By their account: many sources may have one.
    budgets: HashMap<String, Arc<[BudgetRow]>>,
}

/// What there is of a source's group: by the source, and then by the group's name. Of most sources there is nothing.
type Places<T> = HashMap<i64, HashMap<String, T>>;

async fn look(conn: &mut Conn, query: &StatusQuery, kept: &Kept) -> Result<StatusRows, StoreError> {
    let mut found = find(conn, query).await?;
    let seen = std::mem::take(&mut found.seen);
    let resting = resting(conn, query, kept, &seen).await?;
    let last = seen.iter().zip(&resting).rev().find_map(|((source, _), it)| Some((it.as_ref()?, *source)));
    let last = last.map(|(it, source)| (it.name.to_string(), source));
    let sources = seen.len();
    let mut rows = Vec::with_capacity(sources);
    for ((source, _), of_source) in seen.into_iter().zip(&resting) {
        // It was removed meanwhile.
        let Some(of_source) = of_source else { continue };
        for rest in &of_source.groups {
            rows.push(stored(source, of_source, rest, &mut found));
        }
    }
    Ok(StatusRows { rows, last, sources })
}

/// Reads everything but what rests, as it is at one moment.
async fn find(conn: &mut Conn, query: &StatusQuery) -> Result<Found, StoreError> {
    let Statement(sql, args) = statements::look(query);
    let mut found = Found::default();
    let mut budgets: HashMap<String, Vec<BudgetRow>> = HashMap::new();
    for row in conn.rows(AssertSqlSafe(sql), args).await? {
        match row.get::<String>("part")?.as_str() {
            statements::SOURCE => {
                found.seen = listed(&row.get::<Option<String>>("listed")?.unwrap_or_default())?;
            }
            statements::SYNC => sync(&row, &mut found.active)?,
            statements::RECOVERY => sync(&row, &mut found.recovering)?,
            statements::WAITING => {
                if let Some(until) = row.time("until")? {
                    let of_source = found.waiting.entry(row.get("source_id")?).or_default();
                    of_source.insert(row.get("stream_group")?, until);
                }
            }
            _ => budgets.entry(row.get("account")?).or_default().push(budget::read(&row)?),
        }
    }
    found.budgets = budgets
        .into_iter()
        .map(|(account, mut rows)| {
            // The order of a union is nobody's promise.
            rows.sort_unstable_by(|a, b| a.bucket.cmp(&b.bucket));
            (account, rows.into())
        })
        .collect();
    Ok(found)
}

/// Reads the sources from the text that they come in: a number and a revision of each in turn.
fn listed(text: &str) -> Result<Vec<(SourceId, i64)>, StoreError> {
    let mut words = text.split(' ').filter(|it| !it.is_empty()).map(str::parse);
    let mut seen = Vec::new();
    while let (Some(source), revision) = (words.next(), words.next()) {
        let (Ok(source), Some(Ok(revision))) = (source, revision) else {
            return Err(StoreError::Corrupt { what: "the numbers of sources".to_owned() });
        };
        seen.push((SourceId(source), revision));
    }
    Ok(seen)
}

/// Counts jobs of a sync that are in one state.
fn sync(row: &Row, active: &mut Places<(SyncId, Active)>) -> Result<(), StoreError> {
    let of_source = active.entry(row.get("source_id")?).or_default();
    let sync = SyncId(row.get("sync_id")?);
    let trigger = row.word("trigger", Trigger::from_word, ("syncs", &sync))?;
    let none = Active { trigger, jobs: 0, ended: 0, running: 0, blocked: 0 };
    let (_, counts) = of_source.entry(row.get("stream_group")?).or_insert((sync, none));
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

fn stored(source: SourceId, of_source: &Resting, rest: &Rest, found: &mut Found) -> StoredStatus {
    let budgets = of_source.account.as_ref().and_then(|it| found.budgets.get(it));
    let group = rest.group.name;
    let active = found.active.get_mut(&source.0).and_then(|it| it.remove(group));
    let recovering = found.recovering.get_mut(&source.0).and_then(|it| it.remove(group));
    StoredStatus {
        source,
        name: Arc::clone(&of_source.name),
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
        active: active.or(recovering).map(|it| it.1),
        standing: rest.standing.clone(),
        schedule: rest.schedule.clone(),
        blocked_until: found.waiting.get_mut(&source.0).and_then(|it| it.remove(group)),
        failed_partitions: rest.failures.failed,
        invalid_partitions: rest.failures.invalid,
        unresolved: rest.failures.first.clone(),
        recoveries_in_vain: rest.recoveries_in_vain,
    }
}

/// Returns what rests of each of the sources: what is kept, and what changed since from the database.
async fn resting(
    conn: &mut Conn,
    query: &StatusQuery,
    kept: &Kept,
    seen: &[(SourceId, i64)],
) -> Result<Vec<Option<Arc<Resting>>>, StoreError> {
    let mut found = kept.of(seen);
    let missing = seen.iter().zip(&found).filter(|(_, known)| known.is_none());
    let revisions: HashMap<i64, i64> = missing.map(|((id, revision), _)| (id.0, *revision)).collect();
    if revisions.is_empty() {
        return Ok(found);
    }
    let mut changed = named(conn, &revisions).await?;
    for &(provider, group) in &query.groups {
        let mut ids: Vec<[i64; 1]> =
            changed.iter().filter(|(_, it)| it.provider == provider).map(|(id, _)| [id.0]).collect();
        if ids.is_empty() {
            continue;
        }
        ids.sort_unstable();
        rest(conn, provider, &statements::Asked { group, ids: &ids }, &mut changed).await?;
    }
    let changed = changed.into_iter().map(|(id, it)| (id, Arc::new(it))).collect();
    kept.keep(&changed);
    for ((id, _), known) in seen.iter().zip(&mut found) {
        if known.is_none() {
            *known = changed.get(id).cloned();
        }
    }
    Ok(found)
}

/// Reads the sources as such.
async fn named(
    conn: &mut Conn,
    revisions: &HashMap<i64, i64>,
) -> Result<HashMap<SourceId, Resting>, StoreError> {
    let ids: Vec<[i64; 1]> = revisions.keys().map(|id| [*id]).collect();
    let Statement(sql, args) = statements::named(conn, &ids)?;
    let rows = conn.rows(AssertSqlSafe(sql), args).await?;
    let resting = |row: &Row| {
        let id: i64 = row.get("id")?;
        let resting = Resting {
            revision: revisions.get(&id).copied().unwrap_or_default(),
            name: row.get::<String>("name")?.into(),
            provider: row.get("provider")?,
            account: row.get("account")?,
            groups: Vec::new(),
        };
        Ok((SourceId(id), resting))
    };
    rows.iter().map(resting).collect()
}

/// Reads how one group of the sources rests.
async fn rest(
    conn: &mut Conn,
    provider: &'static str,
    asked: &statements::Asked<'_>,
    changed: &mut HashMap<SourceId, Resting>,
) -> Result<(), StoreError> {
    let Statement(sql, args) = statements::resting(conn, asked)?;
    let rows = conn.rows(AssertSqlSafe(sql), args).await?;
    let mut has_failed = false;
    for row in &rows {
        has_failed |= row.get::<bool>("has_failed")?;
    }
    // Most looks meet no failure; each statement is a way to the server and back.
    let mut failures = if has_failed {
        let Statement(sql, args) = statements::failed(conn, asked)?;
        kept::failures(&conn.rows(AssertSqlSafe(sql), args).await?)?
    } else {
        HashMap::new()
    };
    for row in &rows {
        let id: i64 = row.get("id")?;
        if let Some(of_source) = changed.get_mut(&SourceId(id)) {
            let about = (&*of_source.name, provider, asked.group);
            let rest = kept::rest(row, about, failures.remove(&id).unwrap_or_default())?;
            of_source.groups.push(rest);
        }
    }
    Ok(())
}

async fn plan(conn: &mut Conn, query: &StatusQuery) -> Result<Vec<String>, StoreError> {
    let (explain, column) =
        if conn.is_sqlite() { ("explain query plan", "detail") } else { ("explain", "QUERY PLAN") };
    let ids: Vec<[i64; 1]> = find(conn, query).await?.seen.iter().map(|it| [it.0.0]).collect();
    let mut all = vec![statements::look(query), statements::named(conn, &ids)?];
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
