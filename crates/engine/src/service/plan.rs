//! What is due, the requests it will take, how long that is at the present budget, and when it will be finished.
//!
//! Never decides what is synced, and never makes a number up: `forecast` of the policy reckons with what was measured.

use std::collections::HashMap;

use domain::connector::{Group, Spec};
use domain::id::{SourceId, SyncId};
use domain::policy::forecast::{self, Bill, Expected, Purse};
use domain::policy::ledger::Class;
use domain::policy::{Budget, Reason, Thresholds, believed};
use jiff::{SignedDuration, Timestamp};
use store::{Forecast, OpenLane, Outlook, PastForecast, StoreError, StoredFacts};

use super::source::connector;
use super::{SyncService, facts};
use crate::error::Error;
use crate::service::status::GroupStatus;

/// What is planned for a source's stream group.
#[derive(Clone, Debug)]
pub struct GroupPlan {
    /// The source.
    pub source: SourceId,
    /// What people call it.
    pub source_name: String,
    /// The word of its connector.
    pub provider: String,
    /// The group of streams.
    pub group: String,
    /// The sync that is under way.
    pub active_sync: Option<SyncId>,
    /// When it is due: now where one is under way; `None` where nothing is synced by itself.
    pub due_at: Option<Timestamp>,
    /// The interval in force.
    pub every: Option<SignedDuration>,
    /// What is expected of it, or of the rest of the one that is under way.
    pub expected: Expected,
    /// Requests that the one under way has spent.
    pub spent: u64,
    /// How long it works; `None` where nothing was measured yet.
    pub takes: Option<SignedDuration>,
    /// How long it waits for the budget beside that.
    pub waits: SignedDuration,
    /// When it ends, as far as that can be told.
    pub ends_at: Option<Timestamp>,
    /// What it may spend, as those leave it that are due before; `None` where requests are only paced.
    pub purse: Option<Purse>,
    /// Lanes beside it that have something left to read.
    pub lanes: Vec<OpenLane>,
    /// The last plan that was carried out, or is.
    pub last: Option<PastForecast>,
}

/// What is planned, the soonest first; what is not synced by itself comes last.
#[derive(Clone, Debug)]
pub struct Plans {
    /// The plans.
    pub plans: Vec<GroupPlan>,
    /// Groups that are due after all of these.
    pub more: usize,
}

impl SyncService {
    /// Plans for a source or for all, for the `limit` groups that are due first.
    pub async fn plan(&self, source: Option<SourceId>, limit: usize) -> Result<Plans, Error> {
        let now = self.clock.now();
        let mut due = self.status(source).await?;
        let due_at = |it: &GroupStatus| match it.active_sync {
            Some(_) => Some(now),
            None => it.next_sync_at.map(|at| at.max(now)),
        };
        due.sort_by_key(|it| (it.active_sync.is_none(), due_at(it).unwrap_or(Timestamp::MAX)));
        let more = due.len().saturating_sub(limit);
        due.truncate(limit);
        let budgets = self.store.source_budgets(self.scope, source, now).await?;
        let accounts: HashMap<SourceId, String> =
            budgets.into_iter().map(|it| (it.source, it.account)).collect();
        // Those that share an account find what the ones before them leave.
        let mut purses: HashMap<String, Option<Purse>> = HashMap::new();
        let mut plans = Vec::with_capacity(due.len());
        for status in due {
            let account = accounts.get(&status.source).cloned();
            let account = account.unwrap_or_else(|| format!("source {}", status.source));
            plans.push(self.plan_of(&status, due_at(&status), purses.entry(account), now).await?);
        }
        Ok(Plans { plans, more })
    }

    async fn plan_of(
        &self,
        status: &GroupStatus,
        due_at: Option<Timestamp>,
        purse: std::collections::hash_map::Entry<'_, String, Option<Purse>>,
        now: Timestamp,
    ) -> Result<GroupPlan, Error> {
        let spec: &'static Spec = connector(status.provider)?.spec();
        let group = super::source::group_of(spec, status.group)?;
        let outlook = self.outlook(status.source, group, due_at.unwrap_or(now)).await?;
        let stored = self.store.facts(status.source, group, now).await?;
        let thresholds = self.options.thresholds(group);
        // What nobody would begin but a person may spend more.
        let class = if due_at.is_some() { Class::Cron } else { Class::Human };
        let purse = purse.or_insert_with(|| purse_of(&stored, spec, thresholds, class, now));
        let expected = match status.active_sync {
            Some(sync) => rest(&outlook, sync),
            None => forecast::expect(&outlook.demands, spec.limits.unchanged_is_free),
        };
        let before = *purse;
        // What is only asked for by people takes nothing away from what is due.
        let mut own = *purse;
        let spent = if due_at.is_some() { purse } else { &mut own };
        let from = due_at.unwrap_or(now);
        let (takes, bill) = bill(&expected, &outlook, spent, from);
        // Nobody can ask for what would be refused until a person says otherwise.
        let refused = matches!(status.decision.reason, Reason::Disabled | Reason::NoOwner);
        let known = takes.is_some() || bill.is_some_and(|it| it.waits > SignedDuration::ZERO);
        Ok(GroupPlan {
            source: status.source,
            source_name: status.name.to_string(),
            provider: status.provider.to_owned(),
            group: status.group.to_owned(),
            active_sync: status.active_sync,
            due_at,
            every: status.every,
            spent: if status.active_sync.is_some() { outlook.active.0 } else { 0 },
            takes,
            waits: bill.map_or(SignedDuration::ZERO, |it| it.waits),
            ends_at: bill.filter(|_| known && !(refused && due_at.is_none())).map(|it| it.ends_at),
            purse: before,
            expected,
            lanes: outlook.lanes,
            last: outlook.past.into_iter().next(),
        })
    }

    /// Reads what a forecast is reckoned from. Where that is damaged nothing is known, and the sync goes on without.
    async fn outlook(
        &self,
        source: SourceId,
        group: &'static Group,
        now: Timestamp,
    ) -> Result<Outlook, Error> {
        match self.store.outlook(source, group, now).await {
            Err(error @ StoreError::Corrupt { .. }) => {
                tracing::warn!(source = source.0, group = group.name, %error, "nothing can be forecast");
                Ok(Outlook::default())
            }
            read => Ok(read?),
        }
    }

    /// Says what is expected of a sync that is asked for now.
    pub(crate) async fn forecast(
        &self,
        source: SourceId,
        (spec, group): (&'static Spec, &'static Group),
        (stored, class): (&StoredFacts, Class),
        now: Timestamp,
    ) -> Result<Forecast, Error> {
        let outlook = self.outlook(source, group, now).await?;
        let expected = forecast::expect(&outlook.demands, spec.limits.unchanged_is_free);
        let mut purse = purse_of(stored, spec, self.options.thresholds(group), class, now);
        let (takes, bill) = bill(&expected, &outlook, &mut purse, now);
        let waits = bill.map_or(SignedDuration::ZERO, |it| it.waits);
        Ok(Forecast {
            requests: expected.requests,
            charged: expected.charged,
            at_least: expected.at_least,
            unread: expected.unread,
            takes: takes.map(|it| it.saturating_add(waits)),
        })
    }
}

/// How long the work takes, and what comes of its spending; `None` where no budget is ever enough.
fn bill(
    expected: &Expected,
    outlook: &Outlook,
    purse: &mut Option<Purse>,
    from: Timestamp,
) -> (Option<SignedDuration>, Option<Bill>) {
    let takes = forecast::takes(expected.requests, &outlook.paces);
    let work = takes.unwrap_or_default();
    let ends_at = from.saturating_add(work).unwrap_or(Timestamp::MAX);
    let paced = Some(Bill { ends_at, waits: SignedDuration::ZERO });
    (takes, purse.as_mut().map_or(paced, |it| it.spend(expected.charged, work, from)))
}

/// What the sync under way still takes: what was expected of it without what it has spent, and no less than a request
/// for each job that has not ended.
fn rest(outlook: &Outlook, sync: SyncId) -> Expected {
    let (spent, going) = outlook.active;
    let planned = outlook.past.first().filter(|it| it.sync == sync);
    let left = planned.map_or(0, |it| it.requests).saturating_sub(spent).max(going);
    let charged = planned.map_or(left, |it| it.charged.saturating_sub(spent).max(going)).min(left);
    let at_least = planned.is_none_or(|it| it.at_least || it.requests <= spent);
    Expected { requests: left, charged, at_least, ..Expected::default() }
}

/// What may be spent of the budget that matters most; `None` where the provider counts nothing.
fn purse_of(
    stored: &StoredFacts,
    spec: &Spec,
    thresholds: Thresholds,
    class: Class,
    now: Timestamp,
) -> Option<Purse> {
    let facts = facts::facts(stored, spec, thresholds, now);
    let Budget::Counted { limit, remaining, resets_at } = facts.budget else { return None };
    let resets_at = believed(resets_at, now).filter(|at| *at > now);
    let left = remaining.filter(|_| resets_at.is_some()).unwrap_or(limit);
    let required = thresholds.required(class, limit);
    Some(Purse { limit, left, required, resets_at, window: spec.limits.budget_window })
}
