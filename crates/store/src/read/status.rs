//! How every source and stream group stands, for the status view: a row of each, the jobs under way, and the partitions
//! that failed.
//!
//! Never scans partitions or ended jobs, however many there are: [`Store::status_plan`] shows how it reads.

pub(crate) mod partitions;
mod statements;

use std::collections::HashMap;

use domain::connector::Group;
use domain::id::{SourceId, SyncId, TenantId};
use domain::job::{JobState, SyncState};
use domain::policy::status::Active;
use domain::trigger::Trigger;
use jiff::Timestamp;
use sqlx::AssertSqlSafe;

use self::statements::{Statements, push, statements};
use crate::Store;
use crate::db::{Arg, Conn, Row};
use crate::error::{StoreError, corrupt};
use crate::queue::budget::{self, BudgetRow};
use crate::queue::enqueue::StoredFacts;
use crate::queue::schedule::{self, StoredSchedule};

/// Which standings are asked for: those of one group of one provider's sources.
#[derive(Clone, Debug)]
pub struct StatusQuery {
    /// Only the sources of this tenant.
    pub scope: Option<TenantId>,
    /// Only these sources.
    pub among: Option<Vec<SourceId>>,
    /// The word of the connector.
    pub provider: &'static str,
    /// The group of streams.
    pub group: &'static Group,
    /// Whether it matters when a sync was last asked for by hand.
    pub by_hand: bool,
}

/// How a source's stream group stands, as far as it is stored.
#[derive(Clone, Debug)]
pub struct StoredStatus {
    /// The source.
    pub source: SourceId,
    /// What people call it.
    pub name: String,
    /// Its owner.
    pub tenant: Option<TenantId>,
    /// What people call its owner.
    pub tenant_name: Option<String>,
    /// What the policy needs to know; of partitions only whether there are any, and of the last sync by hand nothing
    /// where it does not matter.
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
    /// Reads how sources stand, by name, for each of the queries.
    pub async fn status(&self, queries: Vec<StatusQuery>) -> Result<Vec<Vec<StoredStatus>>, StoreError> {
        self.inner.db.read(queries, |conn, queries| Box::pin(all(conn, queries))).await
    }

    /// Lists the providers that sources are at.
    pub async fn providers(&self, scope: Option<TenantId>) -> Result<Vec<String>, StoreError> {
        self.inner.db.read(scope, |conn, scope| Box::pin(providers(conn, *scope))).await
    }

    /// Lists sources by name, a page at a time, with what comes after one; beside each the provider that it is at.
    pub async fn sources_after(
        &self,
        scope: Option<TenantId>,
        after: Option<(String, SourceId)>,
        limit: u32,
    ) -> Result<Vec<(String, SourceId, String)>, StoreError> {
        self.inner.db.read((scope, after, limit), |conn, input| Box::pin(names(conn, input))).await
    }

    /// Returns how the database would read the status: its own words, a line for each step.
    pub async fn status_plan(&self, query: StatusQuery) -> Result<Vec<String>, StoreError> {
        self.inner.db.read(query, |conn, input| Box::pin(plan(conn, input))).await
    }
}

async fn all(conn: &mut Conn, queries: &[StatusQuery]) -> Result<Vec<Vec<StoredStatus>>, StoreError> {
    let mut found = Vec::with_capacity(queries.len());
    for query in queries {
        found.push(status(conn, query).await?);
    }
    Ok(found)
}

async fn providers(conn: &mut Conn, scope: Option<TenantId>) -> Result<Vec<String>, StoreError> {
    let mut args = Vec::new();
    let of = scope.map(|it| format!("and tenant_id = {}", push(&mut args, it))).unwrap_or_default();
    let sql = format!("select distinct provider from sources where removed_at is null {of}");
    conn.rows(AssertSqlSafe(sql), args).await?.iter().map(|row| row.get("provider")).collect()
}

async fn names(
    conn: &mut Conn,
    (scope, after, limit): &(Option<TenantId>, Option<(String, SourceId)>, u32),
) -> Result<Vec<(String, SourceId, String)>, StoreError> {
    let mut args = vec![Arg::from(*limit)];
    let mut of = String::new();
    if let Some(scope) = scope {
        of = format!("and tenant_id = {}", push(&mut args, *scope));
    }
    if let Some((name, id)) = after {
        let name = push(&mut args, name);
        let id = push(&mut args, *id);
        of = format!("{of} and (name, id) > ({name}, {id})");
    }
    let sql = format!(
        "select name, id, provider from sources where removed_at is null {of} order by name, id limit $1"
    );
    let rows = conn.rows(AssertSqlSafe(sql), args).await?;
    rows.iter().map(|row| Ok((row.get("name")?, SourceId(row.get("id")?), row.get("provider")?))).collect()
}

/// Partitions of a source whose last job failed.
#[derive(Default)]
struct Failures {
    failed: u64,
    invalid: u64,
    first: Option<(String, String, String)>,
}

async fn status(conn: &mut Conn, query: &StatusQuery) -> Result<Vec<StoredStatus>, StoreError> {
    let Statements { main, budgets, jobs, failed } = statements(conn, query)?;
    let rows = conn.rows(AssertSqlSafe(main.0), main.1).await?;
    // As for a provider of which there is no source.
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let mut known: HashMap<i64, Vec<BudgetRow>> = HashMap::new();
    for row in conn.rows(AssertSqlSafe(budgets.0), budgets.1).await? {
        known.entry(row.get("source_id")?).or_default().push(budget::read(&row)?);
    }
    // Most looks meet no sync under way and no failure; each statement is a way to the server and back.
    let (mut is_active, mut has_failed) = (false, false);
    for row in &rows {
        is_active |= row.get::<Option<i64>>("active_sync")?.is_some();
        has_failed |= row.get::<bool>("has_failed")?;
    }
    let jobs =
        if is_active { counts(&conn.rows(AssertSqlSafe(jobs.0), jobs.1).await?)? } else { HashMap::new() };
    let mut failures = if has_failed {
        failures(&conn.rows(AssertSqlSafe(failed.0), failed.1).await?)?
    } else {
        HashMap::new()
    };
    rows.iter()
        .map(|row| {
            let id: i64 = row.get("id")?;
            let failures = failures.remove(&id).unwrap_or_default();
            Ok(StoredStatus {
                source: SourceId(id),
                name: row.get("name")?,
                tenant: row.get::<Option<i64>>("tenant_id")?.map(TenantId),
                tenant_name: row.get("tenant_name")?,
                facts: facts(row, known.remove(&id).unwrap_or_default())?,
                active: active(row, &jobs)?,
                standing: standing(row, id)?,
                schedule: ticks(row, query.provider)?,
                blocked_until: row.time("blocked_until")?,
                failed_partitions: failures.failed,
                invalid_partitions: failures.invalid,
                unresolved: failures.first,
            })
        })
        .collect()
}

fn failures(rows: &[Row]) -> Result<HashMap<i64, Failures>, StoreError> {
    let mut all: HashMap<i64, Failures> = HashMap::new();
    for row in rows {
        let of_source = all.entry(row.get("source_id")?).or_default();
        of_source.failed += row.count("failed")?;
        of_source.invalid += row.count("invalid")?;
        if of_source.first.is_none() {
            of_source.first = error(row, "what")?;
        }
    }
    Ok(all)
}

fn facts(row: &Row, budgets: Vec<BudgetRow>) -> Result<StoredFacts, StoreError> {
    Ok(StoredFacts {
        enabled: row.get("enabled")?,
        has_owner: row.get("has_owner")?,
        partitions: u64::from(row.get::<bool>("has_partitions")?),
        last_manual_at: row.time("last_manual_at")?,
        last_success_at: row.time("last_success_at")?,
        active_sync: row.get::<Option<i64>>("active_sync")?.map(SyncId),
        budgets,
    })
}

fn ticks(row: &Row, provider: &str) -> Result<Option<StoredSchedule>, StoreError> {
    let Some(group) = row.get::<Option<String>>("scheduled")? else { return Ok(None) };
    let enabled = row.get::<bool>("enabled")? && row.get::<bool>("has_owner")?;
    schedule::stored(row, SourceId(row.get("id")?), provider.to_owned(), group, enabled).map(Some)
}

/// Counts the jobs of each sync that is under way; its trigger is the row's to tell.
fn counts(rows: &[Row]) -> Result<HashMap<i64, Active>, StoreError> {
    let mut all: HashMap<i64, Active> = HashMap::new();
    for row in rows {
        let sync: i64 = row.get("sync_id")?;
        let none = Active { trigger: Trigger::Manual, jobs: 0, ended: 0, running: 0, blocked: 0 };
        let counts = all.entry(sync).or_insert(none);
        let jobs = row.count("jobs")?;
        counts.jobs += jobs;
        let state = row.word("state", JobState::from_word, ("jobs of sync", &sync))?;
        match state {
            JobState::Running => counts.running += jobs,
            JobState::Scheduled => counts.blocked += jobs,
            state if !state.is_active() => counts.ended += jobs,
            _ => {}
        }
    }
    Ok(all)
}

fn active(row: &Row, jobs: &HashMap<i64, Active>) -> Result<Option<Active>, StoreError> {
    let Some(sync) = row.get::<Option<i64>>("active_sync")? else { return Ok(None) };
    let trigger = row.word("active_trigger", Trigger::from_word, ("syncs", &sync))?;
    let none = Active { trigger, jobs: 0, ended: 0, running: 0, blocked: 0 };
    Ok(Some(jobs.get(&sync).map_or(none, |it| Active { trigger, ..*it })))
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

async fn plan(conn: &mut Conn, query: &StatusQuery) -> Result<Vec<String>, StoreError> {
    let (explain, column) =
        if conn.is_sqlite() { ("explain query plan", "detail") } else { ("explain", "QUERY PLAN") };
    let mut lines = Vec::new();
    let Statements { main, budgets, jobs, failed } = statements(conn, query)?;
    for (sql, args) in [main, budgets, jobs, failed] {
        for row in conn.rows(AssertSqlSafe(format!("{explain} {sql}")), args).await? {
            lines.push(row.get(column)?);
        }
    }
    Ok(lines)
}
