//! Censuses as people look at them: what each counted, and what became of the rows that were absent.
//!
//! Never writes.

use domain::census::{Absence, CensusState};
use domain::id::{SourceId, TenantId};
use jiff::Timestamp;
use sqlx::AssertSqlSafe;

use crate::Store;
use crate::db::{Conn, Row, args};
use crate::error::{StoreError, corrupt};

/// Absences that are shown of a census; it looks up no more.
const SHOWN_MAX: u32 = 500;

/// A census of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CensusRow {
    /// Its number.
    pub id: i64,
    /// The source.
    pub source: SourceId,
    /// What people call it.
    pub source_name: String,
    /// The word of its connector.
    pub provider: String,
    /// The source's owner.
    pub tenant: Option<TenantId>,
    /// The stream.
    pub stream: String,
    /// The partition.
    pub partition: String,
    /// What people call the partition.
    pub title: Option<String>,
    /// Where it stands.
    pub state: CensusState,
    /// When it was begun.
    pub began_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// When a person answered last.
    pub decided_at: Option<Timestamp>,
    /// Ids that the provider listed; `None` until all are.
    pub listed: Option<u64>,
    /// Rows that were there.
    pub known: Option<u64>,
    /// Of them, those that were not listed.
    pub absent: Option<u64>,
    /// Those of them that were looked up, in the order of [`Absence::ALL`].
    pub absences: [u64; Absence::ALL.len()],
    /// Rows that are marked by it.
    pub marked: u64,
    /// The fault's word and a sentence.
    pub error: Option<(String, String)>,
}

/// A row that a census found absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbsenceRow {
    /// Its id.
    pub key: String,
    /// What became of it; `None` until it was looked up.
    pub absence: Option<Absence>,
    /// Where it went, where the provider said so.
    pub moved_to: Option<String>,
    /// Whether its row is marked by this census.
    pub marked: bool,
    /// Whether a person had it brought back.
    pub restored: bool,
}

impl Store {
    /// Lists censuses of a source, or of the tenant's or all sources, the newest first, behind `before`.
    pub async fn censuses(
        &self,
        scope: Option<TenantId>,
        source: Option<SourceId>,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<CensusRow>, StoreError> {
        let input = (scope, source, before, limit);
        self.inner.db.read(input, |conn, of| Box::pin(list(conn, of))).await
    }

    /// Reads a census and what it found absent.
    pub async fn census(&self, id: i64) -> Result<Option<(CensusRow, Vec<AbsenceRow>)>, StoreError> {
        self.inner.db.read(id, |conn, id| Box::pin(one(conn, *id))).await
    }
}

fn select() -> String {
    let count = |it: &Absence| {
        format!(
            "(select count(*) from census_absences where census_id = census.id and absence = '{it}') as {it}"
        )
    };
    let counts = Absence::ALL.iter().map(count).collect::<Vec<_>>().join(", ");
    format!(
        "select census.*, source.name as source_name, source.provider, source.tenant_id, partition.title, {counts},
             (select count(*) from census_absences where census_id = census.id and marked) as marked_now
         from censuses as census join sources as source on source.id = census.source_id
             and source.removed_at is null
         left join partitions as partition on partition.source_id = census.source_id
             and partition.stream = census.stream and partition.key = census.partition"
    )
}

async fn list(
    conn: &mut Conn,
    (scope, source, before, limit): &(Option<TenantId>, Option<SourceId>, Option<i64>, u32),
) -> Result<Vec<CensusRow>, StoreError> {
    let mut args = args![*limit, before.unwrap_or(i64::MAX)];
    let mut of = String::new();
    for (column, id) in [("tenant_id", scope.map(|it| it.0)), ("id", source.map(|it| it.0))] {
        if let Some(id) = id {
            args.push(id.into());
            of = format!("{of} and source.{column} = ${}", args.len());
        }
    }
    let sql = format!("{} where census.id < $2 {of} order by census.id desc limit $1", select());
    conn.rows(AssertSqlSafe(sql), args).await?.iter().map(row).collect()
}

async fn one(conn: &mut Conn, id: i64) -> Result<Option<(CensusRow, Vec<AbsenceRow>)>, StoreError> {
    let sql = format!("{} where census.id = $1", select());
    let Some(found) = conn.row(AssertSqlSafe(sql), args![id]).await? else { return Ok(None) };
    let sql = "select key, absence, moved_to, marked, restored from census_absences where census_id = $1
        order by absence, key limit $2";
    let absences = conn.rows(sql, args![id, SHOWN_MAX]).await?;
    let absence = |it: &Row| {
        let word = it.get::<Option<String>>("absence")?;
        let known =
            |word: String| Absence::from_word(&word).ok_or_else(|| corrupt("census_absences", id, "absence"));
        Ok(AbsenceRow {
            key: it.get("key")?,
            absence: word.map(known).transpose()?,
            moved_to: it.get("moved_to")?,
            marked: it.get("marked")?,
            restored: it.get("restored")?,
        })
    };
    let absences = absences.iter().map(absence).collect::<Result<_, StoreError>>()?;
    Ok(Some((row(&found)?, absences)))
}

fn row(row: &Row) -> Result<CensusRow, StoreError> {
    let id: i64 = row.get("id")?;
    let number =
        |column| Ok::<_, StoreError>(row.get::<Option<i64>>(column)?.and_then(|it| u64::try_from(it).ok()));
    let mut absences = [0; Absence::ALL.len()];
    for (count, it) in absences.iter_mut().zip(Absence::ALL) {
        *count = row.count(it.as_str())?;
    }
    let code: Option<String> = row.get("error_code")?;
    let detail: Option<String> = row.get("error_detail")?;
    Ok(CensusRow {
        id,
        source: SourceId(row.get("source_id")?),
        source_name: row.get("source_name")?,
        provider: row.get("provider")?,
        tenant: row.get::<Option<i64>>("tenant_id")?.map(TenantId),
        stream: row.get("stream")?,
        partition: row.get("partition")?,
        title: row.get("title")?,
        state: row.word("state", CensusState::from_word, ("censuses", &id))?,
        began_at: row.time("began_at")?.ok_or_else(|| corrupt("censuses", id, "began_at"))?,
        ended_at: row.time("ended_at")?,
        decided_at: row.time("decided_at")?,
        listed: number("listed")?,
        known: number("known")?,
        absent: number("absent")?,
        absences,
        marked: row.count("marked_now")?,
        error: code.map(|code| (code, detail.unwrap_or_default())),
    })
}
