//! What this node tells the ledger of its accounts, and learns from it.
//!
//! It must never keep a request waiting: the ledger is told beside the work.

use std::time::Duration;

use store::StoreError;

use super::SyncService;
use crate::account::gate::Gate;

/// How often another process's refusals are looked for: half of the second that a provider forgives, as telling
/// takes next to nothing.
const REFUSALS_EVERY: Duration = Duration::from_millis(500);

impl SyncService {
    /// Writes refusals down at once, and learns of those that other processes were told: a limit is the account's,
    /// and it outlives the process that met it. Gives back what nobody spends.
    pub(crate) async fn share_refusals(&self) {
        loop {
            tokio::select! {
                () = self.pool.refused.notified() => {}
                () = tokio::time::sleep(REFUSALS_EVERY) => {}
            }
            for gate in self.pool.gates_in_use(self.clock.now()) {
                if let Err(error) = self.share(&gate).await {
                    tracing::warn!(%error, "cannot share what a provider refused");
                }
            }
        }
    }

    async fn share(&self, gate: &Gate) -> Result<(), StoreError> {
        let now = self.clock.now();
        match gate.budgets.is_due(now) {
            Some(give_back) => self.tell(gate, give_back).await?,
            None => gate.budgets.load(&self.store.budgets(&gate.account).await?, now),
        }
        Ok(())
    }

    /// Tells the ledger everything, and gives back what was granted.
    pub(crate) async fn give_back(&self) {
        for gate in self.pool.known_gates() {
            if gate.budgets.owes(self.clock.now())
                && let Err(error) = self.tell(&gate, true).await
            {
                tracing::warn!(%error, "cannot give back what was granted; it ends by itself");
            }
        }
    }

    /// Tells the ledger what was spent and learned, and gives back what was granted when `give_back` says so.
    pub(crate) async fn tell(&self, gate: &Gate, give_back: bool) -> Result<(), StoreError> {
        gate.tell(&self.store, &self.pool.node, give_back, self.clock.now()).await
    }
}
