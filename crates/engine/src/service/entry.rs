//! The way in to a source's account: whose credential it is, and the gate that all who spend its budgets go through.
//!
//! It must never take two accounts for one. Begin with [`SyncService::enter`].

use std::sync::Arc;
use std::sync::atomic::Ordering;

use domain::connector::{Connector, Spec};
use domain::id::SourceId;
use domain::job::Lane;
use domain::page::Request;
use domain::policy::ledger::Class;
use domain::policy::{self, Outcome, Verdict};
use domain::source::Settings;
use serde_json::Value;
use store::{Credential, StoreError, account_of_owner};

use super::SyncService;
use crate::account::gate::Gate;
use crate::account::{Account, Payer};
use crate::fetch::{Fetcher, Missed, SILENCE, Why};
use crate::pool::Reins;
use crate::run::words;

/// Who wants to spend from which source's account.
pub(crate) struct Entrant<'a> {
    pub(crate) source: SourceId,
    pub(crate) connector: &'static dyn Connector,
    pub(crate) settings: &'a Settings,
    pub(crate) class: Class,
    /// Which attempt of the job it is; no wait that the policy would not bear is borne here.
    pub(crate) attempt: u32,
    pub(crate) reins: &'a Reins,
}

/// The way into an account.
pub(crate) struct Entry {
    pub(crate) account: Account,
    pub(crate) gate: Arc<Gate>,
    /// Requests that it took to find out whose the credential is.
    pub(crate) requests: u64,
}

/// Why there is no way in: how the job has to end instead.
pub(crate) struct NoEntry {
    pub(crate) verdict: Verdict,
    pub(crate) fault: Option<(String, String)>,
    pub(crate) requests: u64,
}

impl SyncService {
    /// Opens the way into a source's account; where nobody knows yet whose its credential is, the provider is asked
    /// first.
    pub(crate) async fn enter(&self, who: &Entrant<'_>) -> Result<Result<Entry, NoEntry>, StoreError> {
        let credential = self.store.credential(who.source, &self.vault).await?;
        let asks = who.connector.identify(who.settings).filter(|_| credential.secret.is_some());
        let Some(request) = asks.filter(|_| credential.account.is_none()) else {
            let account = match &credential.account {
                Some(account) => account.clone(),
                None => self.name(who, &credential, None).await?,
            };
            let gate = self.gate(who, &account).await?;
            return Ok(self.entry(who, credential, gate, 0));
        };
        // One job asks, and the others of the source wait for what it finds out.
        let identifying = self.pool.identifying(who.source);
        let Some(_identifying) = until_silent(who.reins, identifying.lock()).await else {
            return Ok(Err(ended(&Why::Stopped, who.attempt, 0, self.clock.now())));
        };
        self.identify(who, &request).await
    }

    async fn identify(
        &self,
        who: &Entrant<'_>,
        request: &Request,
    ) -> Result<Result<Entry, NoEntry>, StoreError> {
        // Another job may have found it out meanwhile.
        let credential = self.store.credential(who.source, &self.vault).await?;
        if let Some(account) = &credential.account {
            let gate = self.gate(who, account).await?;
            return Ok(self.entry(who, credential, gate, 0));
        }
        let unnamed = self.unnamed(who, &credential);
        let gate = self.gate(who, &unnamed).await?;
        let entry = match self.entry(who, credential.clone(), gate, 0) {
            Ok(entry) => entry,
            Err(refused) => return Ok(Err(refused)),
        };
        let (owner, requests) = match self.ask_owner(who, &entry.account, request).await {
            Ok(found) => found,
            // A provider that cannot tell must not keep the source from being read.
            Err(Missed { why: Why::Fault { verdict: Verdict::Discard { .. }, .. }, requests }) => {
                return Ok(Ok(Entry { requests, ..entry }));
            }
            Err(Missed { why, requests }) => {
                self.tell(&entry.gate, true).await?;
                return Ok(Err(ended(&why, who.attempt, requests, self.clock.now())));
            }
        };
        let account = self.name(who, &credential, owner).await?;
        let gate = self.gate(who, &account).await?;
        if account != unnamed {
            gate.budgets.absorb(&entry.gate.budgets, self.clock.now());
            self.pool.forget_gate(&unnamed);
        }
        Ok(self.entry(who, credential, gate, requests))
    }

    async fn ask_owner(
        &self,
        who: &Entrant<'_>,
        account: &Account,
        request: &Request,
    ) -> Result<(Option<String>, u64), Missed> {
        let fetcher = Fetcher {
            connector: who.connector,
            account,
            clock: &self.clock,
            bodies: &self.pool.bodies,
            stop: &who.reins.stop,
            silent: &who.reins.silent,
            waiting: &who.reins.waiting,
            settings: who.settings,
            learned: Value::Null,
            stream: "",
            partition: "",
            args: &Value::Null,
            lane: Lane::Forward,
            conditional: false,
            listing: false,
            attempt: who.attempt,
        };
        fetcher.identify(request).await
    }

    /// Keeps whose the credential is, and returns how the account is named.
    async fn name(
        &self,
        who: &Entrant<'_>,
        credential: &Credential,
        owner: Option<String>,
    ) -> Result<String, StoreError> {
        let unnamed = self.unnamed(who, credential);
        let spec = who.connector.spec();
        let account = owner.map_or_else(
            || unnamed.clone(),
            |owner| account_of_owner(spec.provider, &who.settings.base_url, &owner),
        );
        self.store.name_account(who.source, account.clone(), unnamed, credential.changed_at).await?;
        Ok(account)
    }

    /// Names the account of a credential whose owner is not known.
    fn unnamed(&self, who: &Entrant<'_>, credential: &Credential) -> String {
        let provider = who.connector.spec().provider;
        self.vault.account_of_credential(provider, &who.settings.base_url, credential.secret.as_ref())
    }

    /// Returns the gate of an account.
    async fn gate(&self, who: &Entrant<'_>, account: &str) -> Result<Arc<Gate>, StoreError> {
        if let Some(gate) = self.pool.known_gate(account) {
            return Ok(gate);
        }
        let rows = self.store.budgets(account).await?;
        let spec: &Spec = who.connector.spec();
        Ok(self.pool.make_gate(spec, &who.settings.base_url, account, &rows, self.clock.now()))
    }

    fn entry(
        &self,
        who: &Entrant<'_>,
        credential: Credential,
        gate: Arc<Gate>,
        requests: u64,
    ) -> Result<Entry, NoEntry> {
        let payer = Payer { store: self.store.clone(), node: self.pool.node.clone(), class: who.class };
        let (http, paying) = (self.pool.http.clone(), (gate.clone(), payer));
        let account =
            Account::new(who.connector, who.settings, credential.secret, paying, http, self.clock.clone());
        match account {
            Ok(account) => Ok(Entry { account, gate, requests }),
            Err(fault) => Err(NoEntry {
                verdict: Verdict::Discard { invalidates: false },
                fault: Some(words(&fault)),
                requests,
            }),
        }
    }
}

/// Waits for what another job does; `None` when this one was told to stop. After a while it takes no worker's place.
async fn until_silent<T>(reins: &Reins, work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return Some(done),
        () = reins.stop.cancelled() => return None,
        () = tokio::time::sleep(SILENCE) => {}
    }
    reins.silent.store(true, Ordering::Relaxed);
    let done = tokio::select! {
        biased;
        done = &mut work => Some(done),
        () = reins.stop.cancelled() => None,
    };
    reins.silent.store(false, Ordering::Relaxed);
    done
}

fn ended(why: &Why, attempt: u32, requests: u64, now: jiff::Timestamp) -> NoEntry {
    match why {
        Why::Fault { fault, verdict } => NoEntry { verdict: *verdict, fault: Some(words(fault)), requests },
        Why::Stopped | Why::Changed => {
            NoEntry { verdict: policy::settle(&Outcome::Interrupted, attempt, now), fault: None, requests }
        }
    }
}
