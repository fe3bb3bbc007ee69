//! Writes and reads events: facts of ours, appended and numbered.
//!
//! Never changes one, and never shows one while an earlier one may still appear.

use domain::event::Event;
use domain::id::{EventId, JobId, SourceId, SyncId, TenantId};
use jiff::Timestamp;
use serde_json::Value;
use sqlx::AssertSqlSafe;

use crate::db::{Conn, args, to_json};
use crate::dialect;
use crate::error::{StoreError, corrupt};

/// What an event concerns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About {
    pub source: SourceId,
    pub sync: Option<SyncId>,
    pub job: Option<JobId>,
}

/// One stored event.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRow {
    /// Its number; later events have larger ones.
    pub id: EventId,
    /// Who owned the source then.
    pub tenant: Option<TenantId>,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub name: String,
    /// The source that it concerns.
    pub source: Option<SourceId>,
    /// The sync that it concerns.
    pub sync: Option<SyncId>,
    /// The job that it concerns.
    pub job: Option<JobId>,
    /// Its content: a JSON object.
    pub fields: Value,
}

pub(crate) async fn record(
    conn: &mut Conn,
    now: Timestamp,
    event: &Event,
    about: About,
) -> Result<(), StoreError> {
    let sql = "insert into events (at, name, tenant_id, source_id, sync_id, job_id, fields)
        values ($1, $2, (select tenant_id from sources where id = $3), $3, $4, $5, $6)";
    let fields = to_json(event)?;
    conn.execute(sql, args![now, event.name(), about.source, about.sync, about.job, fields]).await?;
    Ok(())
}

pub(crate) async fn after(
    conn: &mut Conn,
    (scope, after, limit): &(Option<TenantId>, EventId, u32),
) -> Result<Vec<EventRow>, StoreError> {
    let of = if scope.is_some() { "and tenant_id = $3" } else { "" };
    let sql = format!(
        "select id, at, name, tenant_id, source_id, sync_id, job_id, fields from events
         where id > $1 {of} {} order by id limit $2",
        dialect::settled_events(conn),
    );
    let mut args = args![*after, *limit];
    args.extend(scope.map(Into::into));
    let rows = conn.rows(AssertSqlSafe(sql), args).await?;
    rows.iter()
        .map(|row| {
            let id: i64 = row.get("id")?;
            Ok(EventRow {
                id: EventId(id),
                tenant: row.get::<Option<i64>>("tenant_id")?.map(TenantId),
                at: row.time("at")?.ok_or_else(|| corrupt("events", id, "at"))?,
                name: row.get("name")?,
                source: row.get::<Option<i64>>("source_id")?.map(SourceId),
                sync: row.get::<Option<i64>>("sync_id")?.map(SyncId),
                job: row.get::<Option<i64>>("job_id")?.map(JobId),
                fields: row.json("fields", ("events", &id))?.unwrap_or_default(),
            })
        })
        .collect()
}
