//! What all jobs of an account share in this process: its budgets, its pace, and how many requests are under way.
//!
//! It must never keep a grant that the ledger did not give.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use domain::connector::Spec;
use domain::policy::ledger::Class;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use jiff::Timestamp;
use store::{Accounting, Store, StoreError};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::budget::Budgets;

/// What all jobs of an account share in this process.
#[derive(Debug)]
pub(crate) struct Gate {
    /// The provider's word.
    pub(crate) provider: &'static str,
    /// The account, as the ledger names it.
    pub(crate) account: String,
    pub(crate) budgets: Budgets,
    /// Requests that may be under way.
    under_way: Room,
    /// Requests that pages may have under way before they have room for the answers.
    turns: Room,
    /// What the account's nodes together, and what this one at most, may have under way.
    concurrent_max: usize,
    in_flight_max: usize,
    per_minute: Option<u32>,
    pace: Mutex<Option<Arc<DefaultDirectRateLimiter>>>,
    /// Woken when the account is shared with more or fewer nodes.
    resized: Notify,
    /// Held by the one task that asks the ledger; the others take what it brings.
    asking: tokio::sync::Mutex<()>,
}

impl Gate {
    /// Makes the gate of an account. The pace belongs to the provider's own service; other hosts of the same software
    /// set limits of their own and state them.
    pub(crate) fn new(
        spec: &Spec,
        base_url: &str,
        account: String,
        in_flight_max: usize,
        budgets: Budgets,
    ) -> Self {
        let gate = Self {
            provider: spec.provider,
            account,
            budgets,
            under_way: Room::default(),
            turns: Room::default(),
            concurrent_max: spec.limits.concurrent_max,
            in_flight_max,
            per_minute: spec.limits.per_minute.filter(|_| spec.default_base_url == Some(base_url)),
            pace: Mutex::default(),
            resized: Notify::new(),
            asking: tokio::sync::Mutex::default(),
        };
        gate.share_with(1);
        gate
    }

    /// Takes this node's part of what the account bears, of so many nodes.
    pub(crate) fn share_with(&self, nodes: u64) {
        let nodes = usize::try_from(nodes.max(1)).unwrap_or(usize::MAX);
        self.budgets.share_with(nodes as u64);
        let under_way = (self.concurrent_max / nodes).min(self.in_flight_max).max(1);
        // A page that has room must always find a way for its next request, or the room would never be free again.
        let changed = self.under_way.resize(under_way) | self.turns.resize(under_way * 3 / 4);
        if !changed {
            return;
        }
        self.resized.notify_waiters();
        let per_minute = self.per_minute.map(|it| it / u32::try_from(nodes).unwrap_or(u32::MAX));
        let pace = per_minute.map(|it| {
            let quota = NonZeroU32::new(it.max(1)).unwrap_or(NonZeroU32::MIN);
            let pace = RateLimiter::direct(Quota::per_minute(quota));
            if nodes > 1 {
                // What may be asked at once was another pace's to give: the new one begins with nothing.
                drop(pace.check_n(quota));
            }
            Arc::new(pace)
        });
        *self.pace.lock().unwrap_or_else(PoisonError::into_inner) = pace;
    }

    /// Waits until one more request may be under way, and until the pace allows it.
    pub(crate) async fn enter(&self) -> Option<OwnedSemaphorePermit> {
        let permit = self.under_way.free.clone().acquire_owned().await.ok()?;
        let pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(pace) = pace {
            pace.until_ready().await;
        }
        Some(permit)
    }

    /// Waits for leave to ask for so many answers without room for them; `None` where there is no such leave.
    pub(crate) async fn turn(&self, answers: usize) -> Option<OwnedSemaphorePermit> {
        let turns = u32::try_from(answers).ok()?;
        loop {
            let resized = self.resized.notified();
            if answers > self.turns.size.load(Ordering::Relaxed) {
                return None;
            }
            tokio::select! {
                turn = self.turns.free.clone().acquire_many_owned(turns) => return turn.ok(),
                // There may be fewer than are waited for.
                () = resized => {}
            }
        }
    }

    /// Takes a grant of a budget for a class, unless another task has brought one meanwhile.
    pub(crate) async fn ask(
        &self,
        store: &Store,
        node: &str,
        (bucket, class): (&'static str, Class),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let _asking = self.asking.lock().await;
        let Some(want) = self.budgets.want(bucket, class, now) else { return Ok(()) };
        let (told, kept) = self.budgets.tell(false, now);
        let wants = Some(want.clone());
        let accounting =
            Accounting { account: self.account.clone(), node: node.to_owned(), told, kept, wants };
        if let Some(granted) = self.account(store, accounting, now).await? {
            self.budgets.take(&want, granted);
        }
        Ok(())
    }

    /// Tells the ledger what was spent and learned, and gives back what is not needed when `give_back` says so.
    pub(crate) async fn tell(
        &self,
        store: &Store,
        node: &str,
        give_back: bool,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let _asking = self.asking.lock().await;
        let (told, kept) = self.budgets.tell(give_back, now);
        let accounting =
            Accounting { account: self.account.clone(), node: node.to_owned(), told, kept, wants: None };
        self.account(store, accounting, now).await.map(drop)
    }

    async fn account(
        &self,
        store: &Store,
        accounting: Accounting,
        now: Timestamp,
    ) -> Result<Option<store::Granted>, StoreError> {
        let told = accounting.told.clone();
        match store.account(accounting, now).await {
            Ok(accounted) => {
                self.budgets.load(&accounted.budgets, now);
                Ok(accounted.granted)
            }
            Err(error) => {
                self.budgets.untell(&told);
                Err(error)
            }
        }
    }
}

/// So many of something at once, of a number that may change.
#[derive(Debug)]
struct Room {
    free: Arc<Semaphore>,
    /// How many there should be.
    size: AtomicUsize,
    /// How many there are, with those that are in use and too many.
    made: Mutex<usize>,
}

impl Default for Room {
    fn default() -> Self {
        Self { free: Arc::new(Semaphore::new(0)), size: AtomicUsize::new(0), made: Mutex::default() }
    }
}

impl Room {
    /// Changes how many there are, as far as those too many are free; says whether there should be another number.
    fn resize(&self, size: usize) -> bool {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if size > *made {
            self.free.add_permits(size - *made);
            *made = size;
        } else {
            *made -= self.free.forget_permits(*made - size);
        }
        self.size.swap(size, Ordering::Relaxed) != size
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use domain::policy::Thresholds;
    use futures::FutureExt as _;
    use tokio::sync::OwnedSemaphorePermit;

    use super::{Budgets, Gate};

    fn gate(base_url: &str) -> Gate {
        let spec = connectors::find("github").unwrap().spec();
        let budgets = Budgets::new(spec, Thresholds::default(), Arc::default());
        Gate::new(spec, base_url, "an account".to_owned(), 32, budgets)
    }

    fn all(gate: &Gate) -> Vec<OwnedSemaphorePermit> {
        std::iter::from_fn(|| gate.enter().now_or_never().flatten()).collect()
    }

    #[test]
    fn what_an_account_bears_at_once_is_divided_by_the_nodes() {
        let gate = gate("https://github.example/api");
        let held = all(&gate);
        assert_eq!(held.len(), 32);
        gate.share_with(4);
        drop(held);
        // Those that were under way and too many go with the next look at the nodes.
        gate.share_with(4);
        assert_eq!(all(&gate).len(), 8);
        gate.share_with(100);
        assert_eq!(all(&gate).len(), 1, "one node more must not stop the others");
        gate.share_with(1);
        assert_eq!(all(&gate).len(), 32);
    }

    #[test]
    fn who_waits_for_more_turns_than_are_left_is_told_that_there_are_none() {
        let gate = gate("https://github.example/api");
        let held = gate.turn(24).now_or_never().flatten().unwrap();
        let mut waiting = std::pin::pin!(gate.turn(8));
        assert!(waiting.as_mut().now_or_never().is_none());
        gate.share_with(4);
        assert!(waiting.now_or_never().unwrap().is_none());
        drop(held);
        assert!(gate.turn(6).now_or_never().flatten().is_some());
    }

    #[test]
    fn a_pace_that_is_shared_begins_with_nothing() {
        let gate = gate("https://api.github.com");
        assert_eq!(all(&gate).len(), 32);
        gate.share_with(2);
        gate.share_with(2);
        assert_eq!(all(&gate).len(), 0, "what may be asked at once was another pace's to give");
    }
}
