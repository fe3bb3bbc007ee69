//! `SyncService`, the one door: every face and every chore asks here, and nothing starts a sync beside it.

pub(crate) mod budget;
pub(crate) mod census;
mod check;
pub(crate) mod entry;
mod facts;
pub(crate) mod gauge;
mod heal;
mod ledger;
pub(crate) mod list;
mod options;
pub(crate) mod plan;
pub(crate) mod record;
pub(crate) mod schedule;
pub(crate) mod source;
pub(crate) mod status;
pub(crate) mod target;
mod tenant;
pub(crate) mod webhook;
pub(crate) mod why;

use std::sync::Arc;

use domain::connector::{Group, Spec};
use domain::fault::Fault;
use domain::id::{EventId, JobId, SourceId, SyncId, TenantId};
use domain::job::Lane;
use domain::policy::ledger::Class;
use domain::policy::{self, Action, Decision, Metadata, Reason};
use domain::trigger::Trigger;
use store::{Enqueue, Enqueued, EventRow, JobRow, Refuse, SourceRow, Store, SyncRow, Tick, Vault};

use crate::clock::Clock;
use crate::error::Error;
use crate::http::Http;
use crate::pool::Pool;
pub(crate) use source::connector;
use source::{group_of, provider_specs};

pub use options::{Maintenance, Options, SealingKey};

/// The engine's one door. Clones share everything.
#[derive(Clone)]
pub struct SyncService {
    pub(crate) store: Store,
    pub(crate) vault: Arc<Vault>,
    pub(crate) options: Arc<Options>,
    pub(crate) clock: Clock,
    pub(crate) pool: Arc<Pool>,
    /// Whose things are seen; `None` sees all.
    pub(crate) scope: Option<TenantId>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requested {
    /// A sync was made of it.
    Started {
        /// The sync.
        sync: SyncId,
        /// The jobs it began with.
        jobs: u64,
    },
    /// It was skipped or refused.
    Refused {
        /// What the policy answered.
        decision: Decision,
        /// The active sync, where that is the reason.
        active: Option<SyncId>,
    },
}

/// What a check found for one thing that the settings name.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What was asked for.
    pub partition: String,
    /// What came back.
    pub finding: Finding,
}

/// The result of one check.
#[derive(Clone, Debug)]
pub enum Finding {
    /// It can be read; so many records came with the first page, and these partitions were found.
    Readable {
        /// Records of the first page.
        records: usize,
        /// What was found, by name.
        found: Vec<String>,
    },
    /// It cannot.
    Refused {
        /// The fault's stable word.
        code: String,
        /// What is known of it.
        detail: String,
    },
}

impl SyncService {
    /// Opens the database and the key. Nothing runs until [`SyncService::work`].
    pub async fn open(options: Options) -> Result<Self, Error> {
        let specs: Vec<&'static Spec> = provider_specs().collect();
        let clock = options.clock.clone();
        #[cfg(debug_assertions)]
        let kill_at = options.kill_at;
        #[cfg(not(debug_assertions))]
        let kill_at = None;
        let store = Store::open(
            store::Options {
                url: options.database_url.clone(),
                // 16 MiB: the pages of an index over a million commits that one page's rows touch.
                cache_kib: 16 << 10,
                max_page_count: options.max_page_count,
                kill_at,
            },
            &specs,
        )
        .await?;
        let vault = match &options.key {
            SealingKey::Text(text) => Vault::from_key_text(text.expose())?,
            SealingKey::File(path) => Vault::from_key_file(path)?,
        };
        let offset = store.clock_offset_ms(clock.now()).await?;
        // Half a second is within what the network adds; below it our own clock is as good as the database's.
        if offset.abs() > 500 {
            clock.set_offset_ms(offset);
        }
        let http =
            Http::new(options.http, clock.clone()).map_err(|error| Error::Internal(error.to_string()))?;
        let pool = Arc::new(Pool::new(http, options.in_flight, options.thresholds));
        Ok(Self { store, vault: Arc::new(vault), clock, pool, options: Arc::new(options), scope: None })
    }

    /// Closes the database's connections.
    pub async fn close(&self) {
        self.store.close().await;
    }

    /// Returns the time by which the engine decides.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Returns a handle that sees only what belongs to a tenant; to it, everything else is not there.
    #[must_use]
    pub fn scoped(&self, tenant: TenantId) -> Self {
        Self { scope: Some(tenant), ..self.clone() }
    }

    /// Returns the tenant whose things this handle sees; `None` is the operator of the machine, who sees all.
    #[must_use]
    pub fn scope(&self) -> Option<TenantId> {
        self.scope
    }

    /// Says whether this handle sees what belongs to `owner`.
    fn sees(&self, owner: Option<TenantId>) -> bool {
        self.scope.is_none() || self.scope == owner
    }

    /// Asks for a sync of a source's stream group, and says what became of it.
    pub async fn request(&self, source: &str, group: &str, trigger: Trigger) -> Result<Requested, Error> {
        let row = self.source(source).await?;
        self.request_of(&row, group, trigger).await
    }

    /// The same for a source that is known by its id.
    pub async fn request_source(
        &self,
        source: SourceId,
        group: &str,
        trigger: Trigger,
    ) -> Result<Requested, Error> {
        let row = self.source_by_id(source).await?;
        self.request_of(&row, group, trigger).await
    }

    async fn request_of(&self, row: &SourceRow, group: &str, trigger: Trigger) -> Result<Requested, Error> {
        let spec = connector(&row.provider)?.spec();
        let asked = self.ask(row.id, (spec, group_of(spec, group)?), trigger, None).await?;
        asked.ok_or_else(|| Error::Internal("a request without a tick lost its tick".to_owned()))
    }

    /// Decides about a request and makes it a sync, or not: the one code path of people and schedules. `None` says that
    /// another process had the tick.
    pub(crate) async fn ask(
        &self,
        source: SourceId,
        (spec, group): (&'static Spec, &'static Group),
        trigger: Trigger,
        tick: Option<Tick>,
    ) -> Result<Option<Requested>, Error> {
        let now = self.clock.now();
        let stored = self.store.facts(source, group, now).await?;
        let active = stored.active_sync;
        let decision =
            policy::evaluate(&facts::facts(&stored, spec, self.options.thresholds(group), now), trigger, now);
        if decision.action != Action::Start {
            // Whatever stood in the way first: a tick that meets its running sync is counted.
            let tick = tick.map(|it| (it, active.is_some()));
            if !self.store.refuse(Refuse { source, group, trigger, decision, tick }, now).await? {
                return Ok(None);
            }
            let active = active.filter(|_| decision.reason == Reason::AlreadySyncing);
            return Ok(Some(Requested::Refused { decision, active }));
        }
        let class = Class::of(trigger, Lane::Forward);
        let forecast = Some(self.forecast(source, (spec, group), (&stored, class), now).await?);
        let request = Enqueue { source, group, trigger, decision, tick, forecast };
        match self.store.enqueue(request, now).await? {
            Enqueued::Started { sync, jobs } => Ok(Some(Requested::Started { sync, jobs })),
            Enqueued::TickTaken => Ok(None),
            // Another request came first, between the look and the enqueueing.
            Enqueued::Active { sync } => {
                let action = if trigger == Trigger::Manual { Action::Block } else { Action::Skip };
                let decision =
                    Decision { action, reason: Reason::AlreadySyncing, metadata: Metadata::default() };
                self.store.refuse(Refuse { source, group, trigger, decision, tick: None }, now).await?;
                Ok(Some(Requested::Refused { decision, active: Some(sync) }))
            }
        }
    }

    /// Returns a sync.
    pub async fn sync(&self, sync: SyncId) -> Result<SyncRow, Error> {
        let row = self.store.sync(sync).await?.filter(|it| self.sees(it.tenant));
        row.ok_or_else(|| Error::Unknown { what: "sync", id: sync.to_string() })
    }

    /// Finds the sync that a job belongs to.
    pub async fn sync_of_job(&self, job: JobId) -> Result<Option<SyncId>, Error> {
        let Some(sync) = self.store.sync_of_job(job).await? else { return Ok(None) };
        let row = self.store.sync(sync).await?;
        Ok(row.filter(|it| self.sees(it.tenant)).map(|it| it.id))
    }

    /// Lists the latest syncs, of one source or of all.
    pub async fn syncs(&self, source: Option<SourceId>, limit: u32) -> Result<Vec<SyncRow>, Error> {
        if let Some(source) = source {
            self.source_by_id(source).await?;
        }
        Ok(self.store.syncs(self.scope, source, limit).await?)
    }

    /// Lists a sync's jobs.
    pub async fn jobs(&self, sync: SyncId) -> Result<Vec<JobRow>, Error> {
        if self.scope.is_some() {
            self.sync(sync).await?;
        }
        Ok(self.store.jobs(sync).await?)
    }

    /// Stops a sync; false when it had already ended. Running jobs stop within two seconds, at their last page.
    pub async fn cancel(&self, sync: SyncId) -> Result<bool, Error> {
        self.sync(sync).await?;
        let stopped = self.store.cancel(sync, self.clock.now()).await?;
        // Other processes see it at their next look; what runs here need not wait for ours.
        let held = self.pool.generations();
        if !held.is_empty() {
            self.pool.obey(&self.store.signals(&held).await?);
        }
        Ok(stopped)
    }

    /// Lists what happened after an event, the oldest first.
    pub async fn events_after(&self, after: EventId, limit: u32) -> Result<Vec<EventRow>, Error> {
        Ok(self.store.events_after(self.scope, after, limit).await?)
    }

    /// Asks the database for a sign of life.
    pub async fn ping(&self) -> Result<(), Error> {
        self.store.next_tick().await?;
        Ok(())
    }
}

/// Turns a fault into what a check reports.
pub(crate) fn refused(fault: &Fault) -> Finding {
    Finding::Refused { code: fault.code().to_owned(), detail: fault.to_string() }
}
