//! The partitions of a source, page by page: when each was last read, and what is wrong with it.
//!
//! Never shows more than a page.

use domain::id::SourceId;
use jiff::Timestamp;
use sqlx::AssertSqlSafe;

use crate::Store;
use crate::db::{Conn, args};
use crate::error::StoreError;

/// Which partitions are asked for.
#[derive(Clone, Debug)]
pub struct PartitionPage {
    /// Only those that failed.
    pub failed_only: bool,
    /// Those after this stream and key.
    pub after: Option<(String, String)>,
    /// How many at most.
    pub limit: u32,
}

/// A partition as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionRow {
    /// Its stream.
    pub stream: String,
    /// Its key.
    pub key: String,
    /// What people call it.
    pub title: Option<String>,
    /// Whether it is still read.
    pub active: bool,
    /// When it was last read to its end.
    pub last_synced_at: Option<Timestamp>,
    /// Whether the provider lets us read it.
    pub is_valid: bool,
    /// When it was last found invalid.
    pub invalid_at: Option<Timestamp>,
    /// The word of the fault that ended its last job, and a sentence.
    pub error: Option<(String, String)>,
}

impl Store {
    /// Lists partitions of a source by stream and key.
    pub async fn partitions(
        &self,
        source: SourceId,
        page: PartitionPage,
    ) -> Result<Vec<PartitionRow>, StoreError> {
        self.inner.db.read((source, page), |conn, input| Box::pin(list(conn, input))).await
    }
}

async fn list(
    conn: &mut Conn,
    (source, page): &(SourceId, PartitionPage),
) -> Result<Vec<PartitionRow>, StoreError> {
    let mut args = args![*source, page.limit];
    let mut of = if page.failed_only { "and error_code is not null".to_owned() } else { String::new() };
    if let Some((stream, key)) = &page.after {
        args.extend(args![stream, key]);
        of += " and (stream, key) > ($3, $4)";
    }
    let sql = format!(
        "select stream, key, title, active, last_synced_at, is_valid, invalid_at, error_code, error_detail
         from partitions where source_id = $1 {of} order by stream, key limit $2",
    );
    let rows = conn.rows(AssertSqlSafe(sql), args).await?;
    rows.iter()
        .map(|row| {
            let code: Option<String> = row.get("error_code")?;
            let detail: Option<String> = row.get("error_detail")?;
            Ok(PartitionRow {
                stream: row.get("stream")?,
                key: row.get("key")?,
                title: row.get("title")?,
                active: row.get("active")?,
                last_synced_at: row.time("last_synced_at")?,
                is_valid: row.get("is_valid")?,
                invalid_at: row.time("invalid_at")?,
                error: code.map(|code| (code, detail.unwrap_or_default())),
            })
        })
        .collect()
}
