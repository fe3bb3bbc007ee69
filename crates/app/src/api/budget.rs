//! `/api/v1/budgets`: what the account of each source may still ask its provider.
//!
//! It must never tell a tenant what another one spent; the engine leaves that out.

use axum::Json;
use domain::id::SourceId;
use engine::SourceBudget;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::access::{Caller, Viewer};
use super::extract::Query;
use super::problem::Problem;

/// A budget of a source's account.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Budget {
    /// The source's number.
    source: i64,
    /// The source's name.
    source_name: String,
    provider: String,
    /// A label of the account: sources with the same one share the budget.
    #[schema(example = "1f6c2a90")]
    account: String,
    /// The budget's name in the account; `*` stands for all requests.
    #[schema(example = "core")]
    bucket: String,
    /// Requests of a full budget; null where the provider does not tell.
    limit: Option<u64>,
    /// Requests that are left, by the newest count.
    remaining: Option<u64>,
    /// When it is full again; null when it is.
    resets_at: Option<i64>,
    /// Until when the provider refuses.
    blocked_until: Option<i64>,
    /// Requests that every sync leaves to people and other tools.
    floor: Option<u64>,
    /// Requests that scheduled syncs leave to hints, beside the floor.
    reserve: Option<u64>,
    /// Requests that Syncline spent in this window; null where they are not the tenant's alone, or not counted.
    own: Option<u64>,
    /// Requests that others spent in this window; null where they cannot be told from Syncline's.
    foreign: Option<u64>,
    /// Requests that nodes may spend without asking; null where they are not the tenant's alone.
    granted: Option<u64>,
}

impl From<SourceBudget> for Budget {
    fn from(it: SourceBudget) -> Self {
        Self {
            source: it.source.0,
            source_name: it.source_name,
            provider: it.provider,
            account: it.account,
            bucket: it.bucket,
            limit: it.limit,
            remaining: it.remaining,
            resets_at: it.resets_at.map(Timestamp::as_millisecond),
            blocked_until: it.blocked_until.map(Timestamp::as_millisecond),
            floor: it.floor,
            reserve: it.reserve,
            own: it.own,
            foreign: it.foreign,
            granted: it.granted,
        }
    }
}

/// The budgets of the tenant's sources.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Budgets {
    budgets: Vec<Budget>,
}

/// Which budgets.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct BudgetQuery {
    /// Only those of this source's account.
    source: Option<i64>,
}

/// Lists what is known of the budgets.
#[utoipa::path(
    get, path = "/api/v1/budgets", tag = "budgets", params(BudgetQuery),
    responses((status = 200, body = Budgets))
)]
pub(super) async fn list(
    caller: Caller<Viewer>,
    Query(query): Query<BudgetQuery>,
) -> Result<Json<Budgets>, Problem> {
    let source = match query.source {
        Some(id) => Some(caller.service.source_by_id(SourceId(id)).await?.id),
        None => None,
    };
    let rows = caller.service.budgets(source).await?;
    Ok(Json(Budgets { budgets: rows.into_iter().map(Into::into).collect() }))
}
