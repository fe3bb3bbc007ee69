//! Budgets as people see them: what each source's account may still spend, and who spent the rest.
//!
//! It must never tell a tenant what another one spent.

use domain::connector::Spec;
use domain::id::SourceId;
use domain::policy::Thresholds;
use domain::policy::ledger::{Class, foreign};
use jiff::Timestamp;
use store::SourceBudgetRow;

use super::SyncService;
use super::source::connector;
use crate::error::Error;

/// The letters that tell accounts apart for people.
const LABEL_LEN: usize = 8;

/// A budget of a source's account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceBudget {
    /// The source.
    pub source: SourceId,
    /// What people call it.
    pub source_name: String,
    /// The provider's word.
    pub provider: String,
    /// A label of the account: sources with the same one share the budget.
    pub account: String,
    /// The budget's name in the account.
    pub bucket: String,
    /// How many requests a full budget has.
    pub limit: Option<u64>,
    /// How many are left; a budget whose window is over is full.
    pub remaining: Option<u64>,
    /// When it is full again; `None` when it is.
    pub resets_at: Option<Timestamp>,
    /// Until when the provider refuses.
    pub blocked_until: Option<Timestamp>,
    /// Requests that every class leaves.
    pub floor: Option<u64>,
    /// Requests that cron and backfill leave beside the floor.
    pub reserve: Option<u64>,
    /// Requests that we spent in this window; `None` where they are not counted, or not the tenant's alone.
    pub own: Option<u64>,
    /// Requests that others spent in it, as far as they can be told from ours.
    pub foreign: Option<u64>,
    /// Requests that nodes may spend from memory; `None` where they are not the tenant's alone.
    pub granted: Option<u64>,
}

impl SyncService {
    /// Lists what is known of the budgets of a source's account, or of those of all sources.
    pub async fn budgets(&self, source: Option<SourceId>) -> Result<Vec<SourceBudget>, Error> {
        let now = self.clock.now();
        let rows = self.store.source_budgets(self.scope, source, now).await?;
        let seen = rows.into_iter().filter_map(|row| {
            // A source of a provider that this version does not know has budgets that it cannot word.
            let spec = connector(&row.provider).ok()?.spec();
            Some(self.budget(row, spec, now))
        });
        Ok(seen.collect())
    }

    fn budget(&self, row: SourceBudgetRow, spec: &Spec, now: Timestamp) -> SourceBudget {
        let thresholds: Thresholds = self.options.thresholds;
        let count = row.budget.count();
        let resets_at = count.resets_at.filter(|at| *at > now);
        let limit = count.limit.or(spec.limits.budget.filter(|_| count.remaining.is_some()));
        let remaining = count.remaining.and(count.left(limit, now));
        let floor = limit.map(|it| thresholds.required(Class::Human, it));
        let kept = limit.map(|it| thresholds.required(Class::Cron, it));
        // To the operator all is one; a tenant is not told what is also another's.
        let is_told = !(row.is_shared && self.scope.is_some());
        let own = row.budget.own.and_then(|it| u64::try_from(it).ok()).filter(|_| is_told);
        let own = own.map(|it| if resets_at.is_some() { it } else { 0 });
        SourceBudget {
            source: row.source,
            source_name: row.source_name,
            provider: row.provider,
            account: row.account.chars().take(LABEL_LEN).collect(),
            bucket: row.budget.bucket,
            limit,
            remaining,
            resets_at,
            blocked_until: row.budget.blocked_until.filter(|at| *at > now),
            floor,
            reserve: kept.zip(floor).map(|(kept, floor)| kept.saturating_sub(floor)),
            own,
            foreign: own.and_then(|own| Some(foreign(limit?, remaining?, own))),
            granted: is_told.then_some(row.granted),
        }
    }
}
