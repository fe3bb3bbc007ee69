//! What a place in the queue depends on, read from the rows: how far the queue is, and what its source and tenant have in it.
//!
//! Never reckons a place itself; the policy does. Begin with [`line()`].

use std::sync::Arc;

use domain::id::SourceId;
use domain::policy::ledger::Class;
use domain::policy::turn::{Line, Turn};
use jiff::Timestamp;
use sqlx::AssertSqlSafe;

use super::{IN_TURN, Lease, ready};
use crate::db::{Conn, Row, args};
use crate::error::StoreError;

/// Jobs at the head of the queue among which another source's is looked for: more than a source has there whose jobs
/// stand apart, and few enough for every page.
const HEAD_MAX: u32 = 64;

/// Whom a job gives way to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rivals {
    /// Only to jobs of these sources; `None` is any.
    pub sources: Option<Arc<[SourceId]>>,
    /// But not of these.
    pub except: Vec<SourceId>,
}

impl Rivals {
    fn admits(&self, source: SourceId) -> bool {
        self.sources.as_ref().is_none_or(|it| it.contains(&source)) && !self.except.contains(&source)
    }
}

/// Who else waits, beside a job that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// Nobody was looked for, or nobody waits.
    None,
    /// Another source's job waits, and all that wait come after this one's next page.
    Later,
    /// Another source's job waits, and somebody comes first.
    Ahead,
}

/// Reads how far the queue is for jobs of one class of a source; with `sync` also what its tenant has under way.
pub(super) async fn line(conn: &mut Conn, source: SourceId, class: Class) -> Result<Line, StoreError> {
    let head = format!("select class, turn from jobs where state = 'available' {IN_TURN} limit 1");
    let head = conn.row(AssertSqlSafe(head), args![]).await?;
    let waits = head.as_ref().map(of_row).transpose()?;
    let sql = "select
            (select max(reached - class * $3) from jobs where state = 'running') as served,
            (select max(turn) from jobs where source_id = $1 and class = $2
                and state in ('available', 'scheduled', 'retryable', 'running')) as last";
    let behind = Class::Webhook.behind();
    let row = conn.one(sql, args![source, class.rank(), behind]).await?;
    Ok(Line {
        served: row.get("served")?,
        waits,
        last: row.get::<Option<i64>>("last")?.map(|it| it - class.behind()),
        ..Line::default()
    })
}

/// Adds what the source's tenant has under way beside it.
pub(super) async fn with_tenant(
    conn: &mut Conn,
    line: Line,
    source: SourceId,
    class: Class,
) -> Result<Line, StoreError> {
    let sql = "select max(sync.turn) as first,
            count(distinct case when sync.source_id <> $1 then sync.source_id end) as others
        from syncs as sync join sources as source on source.id = sync.source_id
        where sync.state = 'running' and sync.class = $2
            and source.tenant_id = (select tenant_id from sources where id = $1)";
    let row = conn.one(sql, args![source, class.rank()]).await?;
    Ok(Line { first: row.get("first")?, others: row.get("others")?, ..line })
}

/// Returns the place of the first job of a sync.
pub(super) async fn begins(conn: &mut Conn, source: SourceId, class: Class) -> Result<Turn, StoreError> {
    let line = line(conn, source, class).await?;
    Ok(with_tenant(conn, line, source, class).await?.begins(class))
}

/// Looks who waits beside a job that runs, and returns how far that one is when it goes on. Where another source waits, its
/// own source's jobs come in their order too: else the queue would move on while they do not.
pub(crate) async fn others(
    conn: &mut Conn,
    lease: &Lease,
    rivals: &Rivals,
    now: Timestamp,
) -> Result<(Others, Turn), StoreError> {
    // While no worker is free nobody claims, and so nobody else brings these in.
    ready(conn, now).await?;
    let sql = format!(
        "select source_id, class, turn from jobs where state = 'available' {IN_TURN} limit {HEAD_MAX}"
    );
    let head = conn.rows(AssertSqlSafe(sql), args![]).await?;
    let (mut first, mut is_alone) = (None, true);
    for row in &head {
        let source = SourceId(row.get("source_id")?);
        if source == lease.source || rivals.admits(source) {
            first = first.or(Some(of_row(row)?.1));
            is_alone &= source == lease.source;
        }
    }
    let Some(first) = first.filter(|_| !is_alone) else { return Ok((Others::None, lease.turn)) };
    let sql = "select max(reached - class * $1) as served from jobs where state = 'running'";
    let served = conn.one(sql, args![Class::Webhook.behind()]).await?.get("served")?;
    let next = Line { served, ..Line::default() }.goes_on(lease.turn);
    Ok(if first <= next.at { (Others::Ahead, lease.turn) } else { (Others::Later, next) })
}

fn of_row(row: &Row) -> Result<(Class, i64), StoreError> {
    Ok((Class::from_rank(row.get("class")?), row.get("turn")?))
}

/// Returns the place of a job that gives way after a page.
pub(super) async fn after_page(conn: &mut Conn, lease: &Lease) -> Result<Turn, StoreError> {
    let class = lease.turn.class;
    let line = line(conn, lease.source, class).await?;
    let line = with_tenant(conn, line, lease.source, class).await?;
    Ok(line.follows(Turn { stride: line.stride(class), ..lease.turn }))
}
