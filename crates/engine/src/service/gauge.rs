//! What can be looked up of the whole server at any time: for health and metrics.
//!
//! It is of all tenants together, so it must never name one.

use domain::job::JobState;

use super::SyncService;
use crate::error::Error;

/// Requests that a provider still answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetLeft {
    /// The provider's word.
    pub provider: &'static str,
    /// The budget's name.
    pub bucket: String,
    /// The lowest count of all accounts that this process asked.
    pub remaining: u64,
}

impl SyncService {
    /// Counts the jobs that wait or run, by state.
    pub async fn queue_depth(&self) -> Result<Vec<(JobState, u64)>, Error> {
        Ok(self.store.queue_depth().await?)
    }

    /// Lists what this process knows to be left of every provider's budgets.
    #[must_use]
    pub fn budgets_left(&self) -> Vec<BudgetLeft> {
        let mut left: Vec<BudgetLeft> = Vec::new();
        for gate in self.pool.known_gates() {
            for (bucket, remaining) in gate.budgets.left() {
                match left.iter_mut().find(|it| it.provider == gate.provider && it.bucket == bucket) {
                    Some(known) => known.remaining = known.remaining.min(remaining),
                    None => left.push(BudgetLeft { provider: gate.provider, bucket, remaining }),
                }
            }
        }
        left
    }
}
