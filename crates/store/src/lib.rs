//! The store: sources, queue, cursors, landed records and events, in SQLite or PostgreSQL.
//!
//! Every method of [`Store`] is one transaction, named after what happened. Never calls a provider, and never knows
//! one by name. Begin with [`Store::open`], then [`Store::commit_page`].

mod commit;
mod db;
mod dialect;
mod error;
mod event;
mod landing;
mod open;
mod queue;
mod read;
mod source;
mod tenant;
mod vault;

use std::sync::Arc;

use domain::connector::{Group, Spec};
use domain::id::{EventId, JobId, SourceId, SyncId, TenantId};
use domain::page::Item;
use jiff::Timestamp;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::watch;

pub use commit::{Commit, OpenJob, Pass, Progress, Validator};
pub use db::writer::KillAt;
pub use error::{OpenError, StoreError};
pub use event::EventRow;
pub use open::Options;
pub use queue::budget::{Accounted, Accounting, BudgetRow, Granted, Kept, Want};
pub use queue::census::CensusDue;
pub use queue::chore::{ChoreEnd, ChoreRun, ChoreTurn, StoredChore};
pub use queue::decision::LastDecision;
pub use queue::enqueue::{Enqueue, Enqueued, Refuse, StoredFacts};
pub use queue::heal::{Concluded, EnqueueRecoveries, Missed, Recovering, Suspect, Suspected};
pub use queue::hint::follow::{DueHints, EnqueueHints, HintsEnqueued, PutOff};
pub use queue::hint::{Arrival, Arrived, DeliveryQuery, DeliveryRow, HintRow};
pub use queue::rescue::{RESCUES_MAX, Woken};
pub use queue::retention::{Expiry, Removed, Sizes};
pub use queue::schedule::{After, Plan, StoredSchedule, Tick};
pub use queue::settle::Settlement;
pub use queue::target::{EnqueueTargets, Target, Targeted};
pub use queue::turn::{Others, Rivals};
pub use queue::wakeup::Wakeups;
pub use queue::{Beat, Claim, Lease, Signals, forecast::Forecast};
pub use read::budget::SourceBudgetRow;
pub use read::census::{AbsenceRow, CensusRow};
pub use read::forecast::{CameTrue, OpenLane, Outlook, PastForecast};
pub use read::list::{JobQuery, SyncQuery};
pub use read::record::{RecordPage, RecordQuery};
pub use read::status::{
    Among, Standing, StatusQuery, StatusRows, StoredStatus,
    partitions::{PartitionPage, PartitionRow},
};
pub use read::why::StoredWhy;
pub use read::{JobCounts, JobError, JobRow, SyncRow};
pub use source::webhook::StoredWebhook;
pub use source::{Credential, NewSource, SecretChange, SourceChange, SourceRow};
pub use tenant::{MakeToken, NewToken, Principal, TenantRow, TokenRow};
pub use vault::{KeyError, Secret, SecretError, Vault, account_of_owner};

use db::{Db, args};
use landing::Layouts;

/// The open database. A clone is another handle to the same one.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    db: Db,
    layouts: Arc<Layouts>,
    enqueued: watch::Sender<()>,
    sizes: Arc<queue::Sizes>,
    kept: Arc<read::status::Kept>,
    listen: Option<PgConnectOptions>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("is_sqlite", &self.is_sqlite()).finish_non_exhaustive()
    }
}

/// Runs a function of one connection as a write.
macro_rules! write {
    ($store:expr, $input:expr, $function:path) => {
        write!($store, $input, 0, $function)
    };
    ($store:expr, $input:expr, $bytes:expr, $function:path) => {
        $store.inner.db.write($input, $bytes, |conn, input| Box::pin($function(conn, input))).await
    };
}

/// Runs a function of one connection as a read.
macro_rules! read {
    ($store:expr, $input:expr, |$conn:ident, $it:pat_param| $call:expr) => {
        $store.inner.db.read($input, |$conn, $it| Box::pin($call)).await
    };
}

impl Store {
    /// Opens the database at the options' address; migrates it, and makes and widens the tables of the specs.
    pub async fn open(options: Options, specs: &[&'static Spec]) -> Result<Self, OpenError> {
        let (db, layouts, listen) = open::open(&options, specs).await?;
        let (enqueued, sizes, kept) = (watch::Sender::new(()), Arc::default(), Arc::default());
        let inner = Inner { db, layouts: Arc::new(layouts), enqueued, sizes, kept, listen };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Finishes the writes that wait and closes every connection. Later calls fail.
    pub async fn close(&self) {
        self.inner.db.close().await;
    }

    /// Says whether the database is an SQLite file.
    #[must_use]
    pub fn is_sqlite(&self) -> bool {
        self.inner.db.is_sqlite()
    }

    /// Returns how far the database's clock is ahead of `now`; SQLite has none of its own.
    pub async fn clock_offset_ms(&self, now: Timestamp) -> Result<i64, StoreError> {
        if self.is_sqlite() {
            return Ok(0);
        }
        let row = read!(self, (), |conn, ()| conn.one(dialect::SERVER_CLOCK, args![]))?;
        Ok(row.get::<i64>("ms")?.saturating_sub(now.as_millisecond()))
    }

    fn woke(&self) {
        self.inner.enqueued.send_replace(());
    }

    /// Adds a source with its root partitions. A removed one of the same name, provider and address comes back with its
    /// id, and so with its rows.
    pub async fn add_source(
        &self,
        new: NewSource,
        vault: &Vault,
        now: Timestamp,
    ) -> Result<SourceId, StoreError> {
        write!(self, (new, vault.clone(), now), source::add)
    }

    /// Changes a source.
    pub async fn update_source(
        &self,
        id: SourceId,
        change: SourceChange,
        vault: &Vault,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        write!(self, ((id, change), vault.clone(), now), source::update)
    }

    /// Finds the sources of a name: of a tenant one at most, of all tenants one of each.
    pub async fn sources_named(
        &self,
        scope: Option<TenantId>,
        name: &str,
    ) -> Result<Vec<SourceRow>, StoreError> {
        read!(self, (scope, name.to_owned()), |conn, named| source::by_name(conn, named))
    }

    /// Finds a source by its id.
    pub async fn source_by_id(&self, id: SourceId) -> Result<Option<SourceRow>, StoreError> {
        read!(self, id, |conn, id| source::by_id(conn, *id))
    }

    /// Lists the sources of a tenant, or of all, by name.
    pub async fn sources(&self, scope: Option<TenantId>) -> Result<Vec<SourceRow>, StoreError> {
        read!(self, scope, |conn, scope| source::all(conn, *scope))
    }

    /// Opens a source's credential, and says whose it is where that is known.
    pub async fn credential(&self, id: SourceId, vault: &Vault) -> Result<Credential, StoreError> {
        read!(self, (id, vault.clone()), |conn, (id, vault)| source::credential(conn, *id, vault))
    }

    /// Keeps whose credential a source has, unless the source was changed after `changed_at`; `was` is what it was
    /// taken for meanwhile.
    pub async fn name_account(
        &self,
        id: SourceId,
        account: String,
        was: String,
        changed_at: Timestamp,
    ) -> Result<(), StoreError> {
        write!(self, (id, account, was, changed_at), source::name_account)
    }

    /// Removes a source: its credential, state and jobs; with `purge` also its landed rows. Refuses while it syncs.
    pub async fn remove_source(&self, id: SourceId, purge: bool) -> Result<(), StoreError> {
        write!(self, (Arc::clone(&self.inner.layouts), id, purge), source::remove)
    }

    /// Counts the rows that a source has landed and that still exist, per table.
    pub async fn landed_counts(&self, id: SourceId) -> Result<Vec<(String, i64)>, StoreError> {
        let input = (Arc::clone(&self.inner.layouts), id);
        read!(self, input, |conn, (layouts, id)| source::landed_counts(conn, layouts, *id))
    }

    /// Reads what the policy needs to know.
    pub async fn facts(
        &self,
        id: SourceId,
        group: &'static Group,
        now: Timestamp,
    ) -> Result<StoredFacts, StoreError> {
        let input = (id, group, now);
        read!(self, input, |conn, (id, group, now)| queue::enqueue::facts(conn, *id, group, *now))
    }

    /// Makes a sync with its jobs, unless one is running already.
    pub async fn enqueue(&self, request: Enqueue, now: Timestamp) -> Result<Enqueued, StoreError> {
        let enqueued = write!(self, (request, now), queue::enqueue::enqueue)?;
        self.woke();
        Ok(enqueued)
    }

    /// Keeps that a request was not let through, and why; false when it was of a tick that another process had.
    pub async fn refuse(&self, refused: Refuse, now: Timestamp) -> Result<bool, StoreError> {
        write!(self, (refused, now), queue::enqueue::refuse)
    }

    /// Takes jobs that are due.
    pub async fn claim(&self, claim: Claim, now: Timestamp) -> Result<Vec<Lease>, StoreError> {
        write!(self, (claim, now, Arc::clone(&self.inner.sizes)), queue::claim)
    }

    /// Holds jobs until a later time.
    pub async fn heartbeat(
        &self,
        held: Vec<Beat>,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        write!(self, (held, until, now), queue::heartbeat)
    }

    /// Reads what has happened to jobs that the caller believes to hold.
    pub async fn signals(&self, held: &[(JobId, i64)]) -> Result<Signals, StoreError> {
        read!(self, held.to_vec(), |conn, held| queue::signals(conn, held))
    }

    /// Reads what a worker needs to go on with a job.
    pub async fn open_job(&self, lease: &Lease) -> Result<OpenJob, StoreError> {
        read!(self, lease.clone(), |conn, lease| commit::open(conn, lease))
    }

    /// Reads the items of the job's partition to go on with, at most `max`.
    pub async fn due_items(&self, lease: &Lease, max: u32) -> Result<Vec<Item>, StoreError> {
        let input = (lease.clone(), max);
        read!(self, input, |conn, (lease, max)| commit::item::due(conn, lease, *max))
    }

    /// Commits a page: rows, cursor, items, partitions, jobs, progress and event, or nothing if the lease is gone. The
    /// last page ends the attempt too.
    pub async fn commit_page(
        &self,
        lease: &Lease,
        commit: Commit,
        now: Timestamp,
    ) -> Result<Progress, StoreError> {
        let found = !commit.page.partitions.is_empty() || !commit.page.wanted.is_empty();
        let ready = commit::ready(&self.inner.layouts, self.is_sqlite(), lease, commit)?;
        let bytes = ready.bytes;
        let progress = write!(self, (ready, now), bytes, commit::page)?;
        if found || progress.ended {
            self.woke();
        }
        Ok(progress)
    }

    /// Forgets the place in a listing and begins it again without validators.
    pub async fn restart_listing(
        &self,
        lease: &Lease,
        requests: u64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        write!(self, (lease.clone(), requests, now), commit::restart_listing)
    }

    /// Forgets the place in an item, or in the partition, because the provider no longer knows it.
    pub async fn start_over(
        &self,
        lease: &Lease,
        item: Option<String>,
        requests: u64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        write!(self, (lease.clone(), item, requests, now), commit::start_over)
    }

    /// Gives an item up for this job, with the fault's word and a sentence.
    pub async fn fail_item(
        &self,
        lease: &Lease,
        item: String,
        fault: (String, String),
        requests: u64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        write!(self, (lease.clone(), item, fault, requests, now), commit::item::fail)
    }

    /// Ends an attempt.
    pub async fn settle(
        &self,
        lease: &Lease,
        settlement: Settlement,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        write!(self, (lease.clone(), settlement, now), queue::settle::settle)?;
        self.woke();
        Ok(())
    }

    /// Frees jobs whose lease ran out, or whose process is one of `dead_nodes`.
    pub async fn rescue(&self, dead_nodes: &[String], now: Timestamp) -> Result<u64, StoreError> {
        let freed = write!(self, (dead_nodes.to_vec(), now), queue::rescue::rescue)?;
        if freed > 0 {
            self.woke();
        }
        Ok(freed)
    }

    /// Lists the processes that hold jobs or grants.
    pub async fn nodes(&self, now: Timestamp) -> Result<Vec<String>, StoreError> {
        read!(self, now, |conn, now| queue::rescue::nodes(conn, *now))
    }

    /// Reads when there is next something to claim or to rescue.
    pub async fn next_due(&self, sources: Option<&[SourceId]>) -> Result<Option<Timestamp>, StoreError> {
        let input = sources.map(<[_]>::to_vec);
        read!(self, input, |conn, sources| queue::next_due(conn, sources.as_deref()))
    }

    /// Returns a place to wait for work.
    #[must_use]
    pub fn wakeups(&self) -> Wakeups {
        Wakeups::new(self.inner.enqueued.subscribe(), self.inner.listen.clone())
    }

    /// Takes over what a node tells of an account's budgets, and grants it what it wants as far as that is left.
    pub async fn account(&self, it: Accounting, now: Timestamp) -> Result<Accounted, StoreError> {
        write!(self, (it, now), queue::budget::account)
    }

    /// Reads what is known of an account's budgets.
    pub async fn budgets(&self, account: &str) -> Result<Vec<BudgetRow>, StoreError> {
        read!(self, account.to_owned(), |conn, account| queue::budget::all(conn, account))
    }

    /// Reads a sync with the sums over its jobs.
    pub async fn sync(&self, id: SyncId) -> Result<Option<SyncRow>, StoreError> {
        read!(self, id, |conn, id| read::sync(conn, *id))
    }

    /// Reads the newest syncs, of a source, or of the tenant's or all sources.
    pub async fn syncs(
        &self,
        scope: Option<TenantId>,
        source: Option<SourceId>,
        limit: u32,
    ) -> Result<Vec<SyncRow>, StoreError> {
        read!(self, (scope, source, limit), |conn, of| read::syncs(conn, of))
    }

    /// Finds the sync that a job belongs to.
    pub async fn sync_of_job(&self, job: JobId) -> Result<Option<SyncId>, StoreError> {
        read!(self, job, |conn, job| read::sync_of_job(conn, *job))
    }

    /// Lists the jobs of a sync.
    pub async fn jobs(&self, sync: SyncId) -> Result<Vec<JobRow>, StoreError> {
        read!(self, sync, |conn, sync| read::jobs(conn, *sync))
    }

    /// Stops a sync; returns whether there was anything to stop.
    pub async fn cancel(&self, sync: SyncId, now: Timestamp) -> Result<bool, StoreError> {
        write!(self, (sync, now), queue::settle::cancel)
    }

    /// Reads the events after one, of a tenant or of all, the oldest first.
    pub async fn events_after(
        &self,
        scope: Option<TenantId>,
        after: EventId,
        limit: u32,
    ) -> Result<Vec<EventRow>, StoreError> {
        read!(self, (scope, after, limit), |conn, of| event::after(conn, of))
    }
}
