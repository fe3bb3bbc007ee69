//! Syncs and jobs in pages, and what the queue holds: for whoever looks through many of them.
//!
//! Never writes, and never reads more than a page.

use domain::id::{EventId, JobId, SourceId, SyncId, TenantId};
use domain::job::JobState;
use sqlx::AssertSqlSafe;

use super::{JobRow, SYNC, SYNC_BY, SyncRow, job_row, sync_row};
use crate::Store;
use crate::db::{Arg, Conn, args};
use crate::error::StoreError;

/// Which syncs, the newest first.
#[derive(Clone, Debug, Default)]
pub struct SyncQuery {
    /// Only those of this tenant's sources.
    pub scope: Option<TenantId>,
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
    /// Only those of this tenant's sources.
    pub scope: Option<TenantId>,
    /// Only those of this sync.
    pub sync: Option<SyncId>,
    /// Only those that this process holds.
    pub worker: Option<String>,
    /// Only later ones than this.
    pub after: Option<JobId>,
    /// How many at most.
    pub limit: u32,
}

impl Store {
    /// Reads a page of syncs, the newest first.
    pub async fn syncs_before(&self, query: SyncQuery) -> Result<Vec<SyncRow>, StoreError> {
        self.inner.db.read(query, |conn, query| Box::pin(syncs(conn, query))).await
    }

    /// Reads a page of jobs, the oldest first.
    pub async fn jobs_after(&self, query: JobQuery) -> Result<Vec<JobRow>, StoreError> {
        self.inner.db.read(query, |conn, query| Box::pin(jobs(conn, query))).await
    }

    /// Counts the jobs that wait or run, of all tenants, by state.
    pub async fn queue_depth(&self) -> Result<Vec<(JobState, u64)>, StoreError> {
        self.inner.db.read((), |conn, ()| Box::pin(depth(conn))).await
    }

    /// Finds the number of the newest event of a tenant, or of all; zero when there is none.
    pub async fn last_event(&self, scope: Option<TenantId>) -> Result<EventId, StoreError> {
        self.inner.db.read(scope, |conn, scope| Box::pin(last_event(conn, *scope))).await
    }
}

/// The conditions of a query, with their arguments.
struct Where {
    args: Vec<Arg>,
    of: Vec<String>,
}

impl Where {
    fn new(limit: u32) -> Self {
        Self { args: args![limit], of: vec!["true".to_owned()] }
    }

    /// Adds a condition that ends in an argument.
    fn and(&mut self, condition: &str, arg: Option<impl Into<Arg>>) {
        if let Some(arg) = arg {
            self.args.push(arg.into());
            self.of.push(format!("{condition} ${}", self.args.len()));
        }
    }

    fn scope(&mut self, column: &str, scope: Option<TenantId>) {
        if let Some(scope) = scope {
            self.args.push(scope.into());
            let place = self.args.len();
            self.of.push(format!("{column} in (select id from sources where tenant_id = ${place})"));
        }
    }

    fn text(&self) -> String {
        self.of.join(" and ")
    }
}

async fn syncs(conn: &mut Conn, query: &SyncQuery) -> Result<Vec<SyncRow>, StoreError> {
    let mut of = Where::new(query.limit);
    of.scope("source_id", query.scope);
    of.and("source_id =", query.source);
    of.and("id <", query.before);
    // The newest ids first, then the sums over their jobs only.
    let newest = format!("select id from syncs where {} order by id desc limit $1", of.text());
    let sql = format!("{SYNC} where sync.id in ({newest}) {SYNC_BY} order by sync.id desc");
    let mut syncs = Vec::new();
    for row in conn.rows(AssertSqlSafe(sql), of.args).await? {
        syncs.push(sync_row(conn, &row).await?);
    }
    Ok(syncs)
}

async fn jobs(conn: &mut Conn, query: &JobQuery) -> Result<Vec<JobRow>, StoreError> {
    let mut of = Where::new(query.limit);
    of.scope("job.source_id", query.scope);
    of.and("job.sync_id =", query.sync);
    of.and("job.node =", query.worker.as_deref());
    of.and("job.id >", query.after);
    let sql = format!(
        "select job.*, partition.title from jobs as job
         left join partitions as partition on partition.source_id = job.source_id
             and partition.stream = job.stream and partition.key = job.partition
         where {} order by job.id limit $1",
        of.text(),
    );
    conn.rows(AssertSqlSafe(sql), of.args).await?.iter().map(job_row).collect()
}

/// The states whose jobs an index holds: those that are not at their end.
const OPEN: [JobState; 4] =
    [JobState::Available, JobState::Scheduled, JobState::Retryable, JobState::Running];

async fn depth(conn: &mut Conn) -> Result<Vec<(JobState, u64)>, StoreError> {
    let mut depth = Vec::new();
    for state in OPEN {
        let sql = format!("select count(*) as jobs from jobs where state = '{state}'");
        depth.push((state, conn.one(AssertSqlSafe(sql), args![]).await?.count("jobs")?));
    }
    Ok(depth)
}

async fn last_event(conn: &mut Conn, scope: Option<TenantId>) -> Result<EventId, StoreError> {
    let (of, args) = match scope {
        Some(scope) => ("where tenant_id = $1", args![scope]),
        None => ("", args![]),
    };
    let sql = format!("select coalesce(max(id), 0) as last from events {of}");
    Ok(EventId(conn.one(AssertSqlSafe(sql), args).await?.get("last")?))
}
