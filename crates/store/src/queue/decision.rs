//! What was last answered to a request for each stream group.
//!
//! Never decides; it keeps the policy's answer in the transaction that acts on it.

use domain::id::{SourceId, SyncId};
use domain::policy::{Action, Decision, Reason};
use domain::trigger::Trigger;
use jiff::Timestamp;
use serde_json::Value;

use crate::db::{Conn, Row, args, to_json};
use crate::error::{StoreError, corrupt};

/// What was last answered to a request.
#[derive(Clone, Debug, PartialEq)]
pub struct LastDecision {
    /// When it was asked for.
    pub at: Timestamp,
    /// Who asked.
    pub trigger: Trigger,
    /// What was answered.
    pub action: Action,
    /// Why.
    pub reason: Reason,
    /// The numbers behind it, as [`Decision`] writes them.
    pub metadata: Value,
    /// The sync that was made; it may have been removed since.
    pub sync: Option<SyncId>,
}

/// Keeps what was answered. An answer that comes late does not replace a newer one.
pub(crate) async fn keep(
    conn: &mut Conn,
    (source, group): (SourceId, &str),
    trigger: Trigger,
    decision: Decision,
    sync: Option<SyncId>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "insert into decisions (source_id, stream_group, trigger, action, reason, metadata, sync_id, asked_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8)
        on conflict (source_id, stream_group) do update set trigger = excluded.trigger, action = excluded.action,
            reason = excluded.reason, metadata = excluded.metadata, sync_id = excluded.sync_id,
            asked_at = excluded.asked_at
        where excluded.asked_at >= decisions.asked_at or decisions.asked_at > excluded.asked_at + 60000";
    let metadata = to_json(&decision.metadata)?;
    let (action, reason) = (decision.action.as_str(), decision.reason.as_str());
    conn.execute(sql, args![source, group, trigger.as_str(), action, reason, metadata, sync, now]).await?;
    Ok(())
}

/// Reads a row of `decisions`.
pub(crate) fn read(row: &Row, source: SourceId) -> Result<LastDecision, StoreError> {
    let of = ("decisions", &source as &dyn std::fmt::Display);
    Ok(LastDecision {
        at: row.time("asked_at")?.ok_or_else(|| corrupt("decisions", source, "asked_at"))?,
        trigger: row.word("trigger", Trigger::from_word, of)?,
        action: row.word("action", Action::from_word, of)?,
        reason: row.word("reason", Reason::from_word, of)?,
        metadata: row.json("metadata", of)?.unwrap_or_default(),
        sync: row.get::<Option<i64>>("sync_id")?.map(SyncId),
    })
}
