//! The ledger as people look at it: the budgets of each source's account, and what of them is granted.
//!
//! It must never tell a tenant what another one spent.

use domain::id::{SourceId, TenantId};
use jiff::Timestamp;
use sqlx::AssertSqlSafe;

use crate::Store;
use crate::db::{Conn, args};
use crate::error::StoreError;
use crate::queue::budget::{self, BudgetRow, COLUMNS};

/// A budget of a source's account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceBudgetRow {
    /// The source.
    pub source: SourceId,
    /// What people call it.
    pub source_name: String,
    /// The word of its connector.
    pub provider: String,
    /// The account, as the ledger names it.
    pub account: String,
    /// What is known of the budget.
    pub budget: BudgetRow,
    /// Requests that nodes may spend of it from memory.
    pub granted: u64,
    /// Whether sources of other tenants spend it too.
    pub is_shared: bool,
}

impl Store {
    /// Lists the budgets of a source's account, or of those of the tenant's or all sources, by the sources' names.
    pub async fn source_budgets(
        &self,
        scope: Option<TenantId>,
        source: Option<SourceId>,
        now: Timestamp,
    ) -> Result<Vec<SourceBudgetRow>, StoreError> {
        self.inner.db.read((scope, source, now), |conn, of| Box::pin(list(conn, of))).await
    }
}

async fn list(
    conn: &mut Conn,
    (scope, source, now): &(Option<TenantId>, Option<SourceId>, Timestamp),
) -> Result<Vec<SourceBudgetRow>, StoreError> {
    let mut args = args![*now];
    let mut of = String::new();
    for (column, id) in [("tenant_id", scope.map(|it| it.0)), ("id", source.map(|it| it.0))] {
        if let Some(id) = id {
            args.push(id.into());
            of = format!("{of} and source.{column} = ${}", args.len());
        }
    }
    // Counted once for all: to look for each source at all others of its account would take the square of them.
    let sql = format!(
        "with shared as materialized (
             select account from sources where account is not null group by account
             having min(tenant_id) <> max(tenant_id)
         )
         select source.id, source.name, source.provider, source.account, {COLUMNS},
             coalesce((select cast(sum(requests) as bigint) from grants where grants.account = budgets.account
                 and grants.bucket = budgets.bucket and grants.expires_at > $1), 0) as granted,
             source.account in (select account from shared) as is_shared
         from sources as source join budgets on budgets.account = source.account
         where source.removed_at is null {of} order by source.name, source.id, budgets.bucket"
    );
    let rows = conn.rows(AssertSqlSafe(sql), args).await?;
    rows.iter()
        .map(|row| {
            Ok(SourceBudgetRow {
                source: SourceId(row.get("id")?),
                source_name: row.get("name")?,
                provider: row.get("provider")?,
                account: row.get("account")?,
                budget: budget::read(row)?,
                granted: row.count("granted")?,
                is_shared: row.get("is_shared")?,
            })
        })
        .collect()
}
