//! `SyncService`, the one door: every face and every chore asks here, and nothing starts a sync beside it.

mod facts;
mod options;

use std::sync::Arc;

use domain::connector::{Connector, Spec};
use domain::fault::Fault;
use domain::id::{JobId, SourceId, SyncId};
use domain::policy::{self, Action, Decision, Metadata, Reason};
use domain::source::Settings;
use domain::trigger::Trigger;
use serde_json::Value;
use store::{
    BudgetRow, Enqueue, Enqueued, JobRow, NewSource, Secret, SecretChange, SourceChange, SourceRow,
    SourceStatus, Store, StoreError, SyncRow, Vault,
};

use crate::account::Gate;
use crate::clock::Clock;
use crate::error::Error;
use crate::http::{Http, check_base_url, is_same_keeper};
use crate::pool::Pool;

pub use options::{Options, SealingKey};

/// The engine's one door. Clones share everything.
#[derive(Clone)]
pub struct SyncService {
    pub(crate) store: Store,
    pub(crate) vault: Arc<Vault>,
    pub(crate) options: Arc<Options>,
    pub(crate) clock: Clock,
    pub(crate) pool: Arc<Pool>,
}

/// A source to be added.
#[derive(Clone, Debug)]
pub struct AddSource {
    /// The provider's word; see [`provider_specs`].
    pub provider: String,
    /// The source's name, unique among the tenant's.
    pub name: String,
    /// The API's root; `None` is the provider's own.
    pub base_url: Option<String>,
    /// The connector's settings, by name.
    pub options: Value,
    /// The credential.
    pub token: Option<Secret>,
}

/// What is to be changed of a source; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct SourceChanges {
    /// The API's root.
    pub base_url: Option<String>,
    /// The connector's settings, all of them.
    pub options: Option<Value>,
    /// What to do with the credential.
    pub token: SecretChange,
    /// Whether the source is switched on.
    pub enabled: Option<bool>,
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

/// Returns what every connector offers, for help texts and checks.
pub fn provider_specs() -> impl Iterator<Item = &'static Spec> {
    connectors::ALL.iter().map(|it| it.spec())
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
        Ok(Self { store, vault: Arc::new(vault), clock, pool, options: Arc::new(options) })
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

    /// Adds a source. Nothing is asked of the provider.
    pub async fn add_source(&self, add: AddSource) -> Result<SourceId, Error> {
        let connector = connector(&add.provider)?;
        let settings = settings(connector.spec(), add.base_url.as_deref(), add.options)?;
        let roots = connector.roots(&settings)?;
        let new = NewSource {
            name: name(&add.name)?,
            provider: connector.spec().provider.to_owned(),
            settings,
            secret: add.token,
            roots,
        };
        match self.store.add_source(new, &self.vault, self.clock.now()).await {
            Err(StoreError::Conflict(_)) => Err(Error::Conflict(format!(
                "there is already a source `{}`; change it with --update",
                add.name
            ))),
            other => Ok(other?),
        }
    }

    /// Changes a source. What the settings no longer name is not read any more; its rows stay.
    pub async fn update_source(&self, name: &str, changes: SourceChanges) -> Result<(), Error> {
        let row = self.source(name).await?;
        let connector = connector(&row.provider)?;
        let base_url = changes.base_url.unwrap_or_else(|| row.settings.base_url.clone());
        let options = changes.options.unwrap_or(row.settings.options);
        let settings = settings(connector.spec(), Some(&base_url), options)?;
        let roots = connector.roots(&settings)?;
        let kept = row.has_secret && matches!(changes.token, SecretChange::Keep);
        if kept && !is_same_keeper(&row.settings.base_url, &base_url) {
            let why = "the credential was given for another server; name the one for this server with --token-env VARIABLE"
                .to_owned();
            return Err(Error::Invalid { field: "token-env", why });
        }
        let change = SourceChange {
            settings,
            roots,
            enabled: changes.enabled.unwrap_or(row.enabled),
            secret: changes.token,
        };
        Ok(self.store.update_source(row.id, change, &self.vault, self.clock.now()).await?)
    }

    /// Finds a source by its name.
    pub async fn source(&self, name: &str) -> Result<SourceRow, Error> {
        let unknown = || Error::Unknown { what: "source", id: name.to_owned() };
        self.store.source(name).await?.ok_or_else(unknown)
    }

    /// Lists the sources.
    pub async fn sources(&self) -> Result<Vec<SourceRow>, Error> {
        Ok(self.store.sources().await?)
    }

    /// Counts the landed rows of a source, by table.
    pub async fn landed_counts(&self, source: SourceId) -> Result<Vec<(String, i64)>, Error> {
        Ok(self.store.landed_counts(source).await?)
    }

    /// Removes a source with its credential and state; with `purge` its landed rows too.
    pub async fn remove_source(&self, name: &str, purge: bool) -> Result<(), Error> {
        let row = self.source(name).await?;
        match self.store.remove_source(row.id, purge).await {
            Err(StoreError::Conflict(_)) => Err(Error::Conflict(format!(
                "a sync of `{name}` is running; `syncline sync status` tells its number, and `syncline sync cancel` stops it"
            ))),
            other => Ok(other?),
        }
    }

    /// Asks for a sync of a source's stream group, and says what became of it.
    pub async fn request(&self, source: &str, group: &str, trigger: Trigger) -> Result<Requested, Error> {
        let row = self.source(source).await?;
        let spec = connector(&row.provider)?.spec();
        let group = spec
            .groups
            .iter()
            .find(|it| it.name == group)
            .ok_or_else(|| Error::Unknown { what: "stream group", id: group.to_owned() })?;
        let now = self.clock.now();
        let stored = self.store.facts(row.id, group, now).await?;
        let active = stored.active_sync;
        let decision =
            policy::evaluate(&facts::facts(&stored, spec, self.options.thresholds(group), now), trigger, now);
        if decision.action != Action::Start {
            self.store.refuse(row.id, trigger, decision, now).await?;
            let active = active.filter(|_| decision.reason == Reason::AlreadySyncing);
            return Ok(Requested::Refused { decision, active });
        }
        match self.store.enqueue(Enqueue { source: row.id, group, trigger, decision }, now).await? {
            Enqueued::Started { sync, jobs } => Ok(Requested::Started { sync, jobs }),
            // Another request came first, between the look and the enqueueing.
            Enqueued::Active { sync } => {
                let action = if trigger == Trigger::Manual { Action::Block } else { Action::Skip };
                let decision =
                    Decision { action, reason: Reason::AlreadySyncing, metadata: Metadata::default() };
                self.store.refuse(row.id, trigger, decision, now).await?;
                Ok(Requested::Refused { decision, active: Some(sync) })
            }
        }
    }

    /// Returns a sync.
    pub async fn sync(&self, sync: SyncId) -> Result<SyncRow, Error> {
        self.store.sync(sync).await?.ok_or_else(|| Error::Unknown { what: "sync", id: sync.to_string() })
    }

    /// Finds the sync that a job belongs to.
    pub async fn sync_of_job(&self, job: JobId) -> Result<Option<SyncId>, Error> {
        Ok(self.store.sync_of_job(job).await?)
    }

    /// Lists the latest syncs, of one source or of all.
    pub async fn syncs(&self, source: Option<SourceId>, limit: u32) -> Result<Vec<SyncRow>, Error> {
        Ok(self.store.syncs(source, limit).await?)
    }

    /// Lists a sync's jobs.
    pub async fn jobs(&self, sync: SyncId) -> Result<Vec<JobRow>, Error> {
        Ok(self.store.jobs(sync).await?)
    }

    /// Stops a sync; false when it had already ended. Running jobs stop within two seconds, at their last page.
    pub async fn cancel(&self, sync: SyncId) -> Result<bool, Error> {
        self.sync(sync).await?;
        Ok(self.store.cancel(sync, self.clock.now()).await?)
    }

    /// Returns where every source and stream group stands.
    pub async fn status(&self) -> Result<Vec<SourceStatus>, Error> {
        Ok(self.store.source_status().await?)
    }

    /// Returns the gate that all jobs of a source go through, with what the database knows of its budgets.
    pub(crate) async fn gate(
        &self,
        source: SourceId,
        spec: &Spec,
        base_url: &str,
    ) -> Result<Arc<Gate>, StoreError> {
        if let Some(gate) = self.pool.known_gate(source) {
            return Ok(gate);
        }
        let rows = self.store.budgets(source).await?;
        Ok(self.pool.make_gate(source, spec, base_url, rows))
    }

    /// Returns what this process knows of a source's budgets.
    pub(crate) fn gate_budgets(&self, source: SourceId) -> Vec<BudgetRow> {
        self.pool.known_gate(source).map(|gate| gate.budgets.rows()).unwrap_or_default()
    }

    /// Says what the policy would answer to a manual request now.
    pub async fn decide(&self, source: &SourceRow, group: &str) -> Result<Option<Decision>, Error> {
        let spec = connector(&source.provider)?.spec();
        let Some(group) = spec.groups.iter().find(|it| it.name == group) else { return Ok(None) };
        let now = self.clock.now();
        let stored = self.store.facts(source.id, group, now).await?;
        Ok(Some(policy::evaluate(
            &facts::facts(&stored, spec, self.options.thresholds(group), now),
            Trigger::Manual,
            now,
        )))
    }
}

pub(crate) fn connector(provider: &str) -> Result<&'static dyn Connector, Error> {
    connectors::find(provider).ok_or_else(|| Error::Unknown { what: "provider", id: provider.to_owned() })
}

fn settings(spec: &Spec, base_url: Option<&str>, options: Value) -> Result<Settings, Error> {
    let Some(text) = base_url.or(spec.default_base_url) else {
        let why = format!(
            "is missing: {} has no address that all share; name yours, as --base-url https://…",
            spec.title
        );
        return Err(Error::Invalid { field: "base-url", why });
    };
    let base_url = check_base_url(text)
        .map_err(|why| Error::Invalid { field: "base-url", why: format!("`{text}` {why}") })?;
    Ok(Settings { base_url, options })
}

/// Names are typed and shown in tables: short, and without what a shell or a terminal would take for its own.
fn name(text: &str) -> Result<String, Error> {
    let fits = (1..=64).contains(&text.len())
        && text.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_.".contains(&it))
        && !text.starts_with('-');
    if fits {
        Ok(text.to_owned())
    } else {
        let why = format!("`{text}` is not a name: use 1 to 64 of a-z A-Z 0-9 - _ . (not starting with -)");
        Err(Error::Invalid { field: "name", why })
    }
}

/// Turns a fault into what a check reports.
pub(crate) fn refused(fault: &Fault) -> Finding {
    Finding::Refused { code: fault.code().to_owned(), detail: fault.to_string() }
}
