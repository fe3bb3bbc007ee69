//! How every source and stream group stands, for the status view: a row of each, the jobs under way, and the partitions
//! that failed.
//!
//! Never scans partitions or ended jobs, however many there are: [`Store::status_plan`] shows how it reads.

pub(crate) mod partitions;

use std::collections::HashMap;

use domain::connector::Group;
use domain::id::{SourceId, SyncId, TenantId};
use domain::job::{JobState, SyncState};
use domain::policy::status::Active;
use domain::trigger::Trigger;
use jiff::Timestamp;
use sqlx::AssertSqlSafe;

use crate::Store;
use crate::db::{Arg, Conn, Row};
use crate::error::{StoreError, corrupt};
use crate::queue::budget::{self, BudgetRow};
use crate::queue::enqueue::StoredFacts;

/// Which standings are asked for: those of one group of one provider's sources.
#[derive(Clone, Debug)]
pub struct StatusQuery {
    /// Only the sources of this tenant.
    pub scope: Option<TenantId>,
    /// Only this source.
    pub source: Option<SourceId>,
    /// The word of the connector.
    pub provider: &'static str,
    /// The group of streams.
    pub group: &'static Group,
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
    /// What the policy needs to know; of partitions only whether there are any.
    pub facts: StoredFacts,
    /// The sync that is under way.
    pub active: Option<Active>,
    /// How the last one ended.
    pub standing: Option<Standing>,
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
    /// Reads how sources stand, by name.
    pub async fn status(&self, query: StatusQuery) -> Result<Vec<StoredStatus>, StoreError> {
        self.inner.db.read(query, |conn, input| Box::pin(status(conn, input))).await
    }

    /// Returns how the database would read the status: its own words, a line for each step.
    pub async fn status_plan(&self, query: StatusQuery) -> Result<Vec<String>, StoreError> {
        self.inner.db.read(query, |conn, input| Box::pin(plan(conn, input))).await
    }
}

/// Adds an argument and returns its place.
fn push(args: &mut Vec<Arg>, arg: impl Into<Arg>) -> String {
    args.push(arg.into());
    format!("${}", args.len())
}

/// Adds the names of the group's streams and returns their places.
fn push_streams(args: &mut Vec<Arg>, group: &Group) -> String {
    group.streams.iter().map(|it| push(args, it.name)).collect::<Vec<_>>().join(", ")
}

/// The statements of one look, each with its arguments, in the order of [`status`].
fn statements(query: &StatusQuery) -> [(String, Vec<Arg>); 5] {
    let mut args = Vec::new();
    let provider = push(&mut args, query.provider);
    let mut of = vec![format!("source.removed_at is null and source.provider = {provider}")];
    if let Some(scope) = query.scope {
        of.push(format!("source.tenant_id = {}", push(&mut args, scope)));
    }
    if let Some(source) = query.source {
        of.push(format!("source.id = {}", push(&mut args, source)));
    }
    let of = of.join(" and ");
    let sources = format!("(select source.id from sources as source where {of})");
    let (budget_args, mut failed_args) = (args.clone(), args.clone());
    let group = push(&mut args, query.group.name);
    let mut main_args = args.clone();
    let streams = push_streams(&mut main_args, query.group);
    // A subquery with a limit is run for each source; `exists` may be turned into a scan of all partitions.
    let main = format!(
        "select source.id, source.name, source.tenant_id, tenant.name as tenant_name, source.enabled,
            tenant.id is not null and tenant.revoked_at is null as has_owner,
            (select 1 from partitions as partition where partition.source_id = source.id
                and partition.stream in ({streams}) and partition.active limit 1) is not null as has_partitions,
            (select max(created_at) from syncs as asked where asked.source_id = source.id
                and asked.stream_group = {group} and asked.trigger = 'manual') as last_manual_at,
            active.id as active_sync, active.trigger as active_trigger,
            standing.sync_id, standing.state, standing.ended_at, standing.last_success_at, standing.jobs,
            standing.failed, standing.error_what, standing.error_code, standing.error_detail
         from sources as source
         left join tenants as tenant on tenant.id = source.tenant_id
         left join standings as standing on standing.source_id = source.id and standing.stream_group = {group}
         left join syncs as active on active.source_id = source.id and active.stream_group = {group}
             and active.state = 'running' and active.whole
         where {of} order by source.name, source.id",
    );
    let jobs = format!(
        "select sync_id, state, count(*) as jobs from jobs
         where sync_id in (select id from syncs as active where active.stream_group = {group}
             and active.state = 'running' and active.whole and active.source_id in {sources})
         group by sync_id, state",
    );
    let blocked = format!(
        "select source_id, min(not_before) as blocked_until from jobs
         where state = 'scheduled' and stream_group = {group} and source_id in {sources} group by source_id",
    );
    let streams = push_streams(&mut failed_args, query.group);
    let failed = format!(
        "select found.source_id, found.failed, found.invalid, coalesce(first.title, first.key) as what,
             first.error_code, first.error_detail
         from (select source_id, stream, count(*) as failed, count(case when not is_valid then 1 end) as invalid,
                 min(key) as key
             from partitions where error_code is not null and active and stream in ({streams})
                 and source_id in {sources}
             group by source_id, stream) as found
         join partitions as first on first.source_id = found.source_id and first.stream = found.stream
             and first.key = found.key
         order by found.source_id, found.stream",
    );
    let budgets = format!("{} where source_id in {sources} order by source_id, bucket", budget::SELECT);
    [(main, main_args), (jobs, args.clone()), (blocked, args), (failed, failed_args), (budgets, budget_args)]
}

/// Partitions of a source whose last job failed.
#[derive(Default)]
struct Failures {
    failed: u64,
    invalid: u64,
    first: Option<(String, String, String)>,
}

async fn status(conn: &mut Conn, query: &StatusQuery) -> Result<Vec<StoredStatus>, StoreError> {
    let [main, jobs, blocked, failed, budgets] = statements(query);
    let rows = conn.rows(AssertSqlSafe(main.0), main.1).await?;
    let jobs = counts(&conn.rows(AssertSqlSafe(jobs.0), jobs.1).await?)?;
    let mut waits = HashMap::new();
    for row in conn.rows(AssertSqlSafe(blocked.0), blocked.1).await? {
        waits.insert(row.get::<i64>("source_id")?, row.time("blocked_until")?);
    }
    let mut failures: HashMap<i64, Failures> = HashMap::new();
    for row in conn.rows(AssertSqlSafe(failed.0), failed.1).await? {
        let of_source = failures.entry(row.get("source_id")?).or_default();
        of_source.failed += row.count("failed")?;
        of_source.invalid += row.count("invalid")?;
        if of_source.first.is_none() {
            of_source.first = error(&row, "what")?;
        }
    }
    let mut known: HashMap<i64, Vec<BudgetRow>> = HashMap::new();
    for row in conn.rows(AssertSqlSafe(budgets.0), budgets.1).await? {
        known.entry(row.get("source_id")?).or_default().push(budget::read(&row)?);
    }
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
                blocked_until: waits.get(&id).copied().flatten(),
                failed_partitions: failures.failed,
                invalid_partitions: failures.invalid,
                unresolved: failures.first,
            })
        })
        .collect()
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
    for (sql, args) in statements(query) {
        for row in conn.rows(AssertSqlSafe(format!("{explain} {sql}")), args).await? {
            lines.push(row.get(column)?);
        }
    }
    Ok(lines)
}
