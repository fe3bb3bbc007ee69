//! What the policy is told, made of what the database knows.

use domain::connector::Spec;
use domain::policy::{self, Budget, Facts, Thresholds};
use jiff::Timestamp;
use store::{BudgetRow, StoredFacts};

/// Makes the policy's facts of what is stored, and of the numbers to decide by.
pub(super) fn facts(stored: &StoredFacts, spec: &Spec, thresholds: Thresholds, now: Timestamp) -> Facts {
    Facts {
        enabled: stored.enabled,
        has_owner: stored.has_owner,
        partitions: stored.partitions,
        last_manual_at: stored.last_manual_at,
        last_success_at: stored.last_success_at,
        budget: budget(&stored.budgets, spec, now),
        syncing: stored.active_sync.is_some(),
        thresholds,
    }
}

/// Picks the budget that says most about whether a sync may begin: one that refuses for longer than a job would wait
/// in place, else the lowest of those that count.
fn budget(rows: &[BudgetRow], spec: &Spec, now: Timestamp) -> Budget {
    let limit = |row: &BudgetRow| row.limit.and_then(|it| u64::try_from(it).ok()).or(spec.limits.budget);
    let refused = rows.iter().find_map(|row| {
        let until = row.blocked_until.filter(|it| it.duration_since(now) > policy::WAIT_HERE_MAX)?;
        Some(Budget::Counted { limit: limit(row)?, remaining: Some(0), resets_at: Some(until) })
    });
    let counted = rows.iter().filter_map(|row| {
        let remaining = u64::try_from(row.remaining?).ok()?;
        Some(Budget::Counted { limit: limit(row)?, remaining: Some(remaining), resets_at: row.resets_at })
    });
    let left = |budget: &Budget| match budget {
        Budget::Counted { remaining, resets_at, .. } if resets_at.is_none_or(|at| at > now) => *remaining,
        _ => None,
    };
    let lowest = counted.min_by_key(|it| left(it).unwrap_or(u64::MAX));
    let unknown = spec.limits.budget.map(|limit| Budget::Counted { limit, remaining: None, resets_at: None });
    refused.or(lowest).or(unknown).unwrap_or(Budget::Paced)
}
