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
use crate::db::{Arg, Conn, Row, to_json};
use crate::dialect::each;
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

/// Adds an argument and returns its place.
fn push(args: &mut Vec<Arg>, arg: impl Into<Arg>) -> String {
    args.push(arg.into());
    format!("${}", args.len())
}

/// Adds the names of the group's streams and returns their places.
fn push_streams(args: &mut Vec<Arg>, group: &Group) -> String {
    group.streams.iter().map(|it| push(args, it.name)).collect::<Vec<_>>().join(", ")
}

/// The statements of one look, each with its arguments.
struct Statements {
    /// A row for each source.
    main: (String, Vec<Arg>),
    /// What is known of their budgets.
    budgets: (String, Vec<Arg>),
    /// The jobs of the syncs under way, counted; needed only where there is one.
    jobs: (String, Vec<Arg>),
    /// The partitions that failed; needed only where there is one.
    failed: (String, Vec<Arg>),
}

/// Whether a source has partitions of these streams.
///
/// A subquery with a limit is run for each source; `exists` may be turned into a scan of all partitions. One for each
/// stream, and the first that finds something ends it: most sources have partitions of the first.
fn probes(streams: &[String]) -> String {
    let probe = |stream: &String| {
        format!(
            "(select 1 from partitions as partition where partition.source_id = source.id and partition.active
                 and partition.stream = {stream} limit 1)"
        )
    };
    let each = streams.iter().map(probe).collect::<Vec<_>>().join(", ");
    format!("coalesce({each}, null) is not null")
}

fn statements(conn: &Conn, query: &StatusQuery) -> Result<Statements, StoreError> {
    let mut args = Vec::new();
    let provider = push(&mut args, query.provider);
    let mut of = vec![format!("source.removed_at is null and source.provider = {provider}")];
    if let Some(scope) = query.scope {
        of.push(format!("source.tenant_id = {}", push(&mut args, scope)));
    }
    if let Some(among) = &query.among {
        let ids: Vec<[i64; 1]> = among.iter().map(|it| [it.0]).collect();
        let place = push(&mut args, to_json(&ids)?);
        let ids = each(conn, &place);
        of.push(format!("source.id in (select cast(t.value ->> 0 as bigint) from {ids})"));
    }
    let of = of.join(" and ");
    let sources = format!("(select source.id from sources as source where {of})");
    let (budget_args, mut failed_args) = (args.clone(), args.clone());
    let group = push(&mut args, query.group.name);
    let job_args = args.clone();
    let streams: Vec<String> = query.group.streams.iter().map(|it| push(&mut args, it.name)).collect();
    let has_partitions = probes(&streams);
    let streams = streams.join(", ");
    let last_manual_at = if query.by_hand {
        format!(
            "(select max(created_at) from syncs as asked where asked.source_id = source.id
                and asked.stream_group = {group} and asked.trigger = 'manual')"
        )
    } else {
        "cast(null as bigint)".to_owned()
    };
    // Few sources have failures or wait: these are found by their own small indexes, once for all.
    let main = format!(
        "select source.id, source.name, source.tenant_id, tenant.name as tenant_name, source.enabled,
            tenant.id is not null and tenant.revoked_at is null as has_owner,
            {has_partitions} as has_partitions, broken.source_id is not null as has_failed,
            {last_manual_at} as last_manual_at, waiting.until as blocked_until,
            active.id as active_sync, active.trigger as active_trigger,
            standing.sync_id, standing.state, standing.ended_at, standing.last_success_at, standing.jobs,
            standing.failed, standing.error_what, standing.error_code, standing.error_detail,
            schedule.stream_group as scheduled, schedule.off, schedule.every_ms, schedule.interval_ms,
            schedule.next_at, schedule.last_tick_at, schedule.skipped, schedule.last_skipped_at
         from sources as source
         left join tenants as tenant on tenant.id = source.tenant_id
         left join standings as standing on standing.source_id = source.id and standing.stream_group = {group}
         left join schedules as schedule on schedule.source_id = source.id and schedule.stream_group = {group}
         left join syncs as active on active.source_id = source.id and active.stream_group = {group}
             and active.state = 'running' and active.whole
         left join (select distinct source_id from partitions where error_code is not null and active
                 and stream in ({streams}) and source_id in {sources}) as broken on broken.source_id = source.id
         left join (select source_id, min(not_before) as until from jobs where state = 'scheduled'
                 and stream_group = {group} and source_id in {sources} group by source_id) as waiting
             on waiting.source_id = source.id
         where {of} order by source.name, source.id",
    );
    let jobs = format!(
        "select sync_id, state, count(*) as jobs from jobs
         where sync_id in (select id from syncs as active where active.stream_group = {group}
             and active.state = 'running' and active.whole and active.source_id in {sources})
         group by sync_id, state",
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
    Ok(Statements {
        main: (main, args),
        budgets: (budgets, budget_args),
        jobs: (jobs, job_args),
        failed: (failed, failed_args),
    })
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
