//! Engines over one database, at a time that is moved by hand: opened, stopped, and ended in the middle of their work.
//!
//! It must never give an engine another time than the others have.

use domain::id::SourceId;
use engine::{AddSource, Clock, Schedule, Secret, SyncService};
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::{Database, TOKEN, epoch_ms, service_at};

/// Engines that share a database, as processes would.
pub(super) struct Engines {
    pub(super) database: Database,
    services: Vec<SyncService>,
    /// How far their time is ahead of the machine's.
    pub(super) ahead_ms: i64,
}

/// Engines at work.
pub(super) struct Working {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Engines {
    pub(super) async fn open(database: Database, at: Timestamp) -> Self {
        let ahead_ms = at.as_millisecond() - epoch_ms();
        let mut engines = Self { database, services: Vec::new(), ahead_ms };
        engines.one_more().await;
        engines
    }

    pub(super) async fn one_more(&mut self) {
        let clock = Clock::default();
        clock.set_offset_ms(self.ahead_ms);
        let service = service_at(&self.database, Schedule::default(), &clock).await;
        service.prepare_schedules().await.unwrap();
        self.services.push(service);
    }

    pub(super) async fn one_less(&mut self) {
        self.services.pop().unwrap().close().await;
    }

    pub(super) fn count(&self) -> usize {
        self.services.len()
    }

    /// Returns the one that people ask.
    pub(super) fn first(&self) -> &SyncService {
        &self.services[0]
    }

    pub(super) fn now(&self) -> Timestamp {
        self.first().clock().now()
    }

    pub(super) fn move_on(&mut self, by: SignedDuration) {
        self.ahead_ms += i64::try_from(by.as_millis()).unwrap();
        for service in &self.services {
            service.clock().set_offset_ms(self.ahead_ms);
        }
    }

    /// Lets all of them look for ticks at once, and fails when one was fired twice.
    pub(super) async fn tick(&self) {
        let before = self.now().as_millisecond();
        let fired: u64 = join_all(self.services.iter().map(SyncService::fire_due))
            .await
            .into_iter()
            .map(Result::unwrap)
            .sum();
        let sql = format!("select count(*) from schedules where last_tick_at >= {before}");
        assert_eq!(
            self.database.number(&sql).await,
            i64::try_from(fired).unwrap(),
            "ticks fired and schedules moved on"
        );
    }

    pub(super) fn work(&self) -> Working {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        for service in &self.services {
            let (service, stop) = (service.clone(), stop.clone());
            tasks.spawn(async move { service.work(None, stop).await.unwrap() });
        }
        Working { tasks, stop }
    }

    /// Stops them as a service manager does, and starts as many again.
    pub(super) async fn restart(&mut self, working: Working) {
        working.stop().await;
        let count = self.count();
        for service in self.services.drain(..) {
            service.close().await;
        }
        self.open_again(count).await;
    }

    /// Ends them without a word, wherever they are, and starts as many again; what they held is left to its lease.
    pub(super) async fn kill(&mut self, mut working: Working) {
        working.tasks.shutdown().await;
        let count = self.count();
        self.services.clear();
        self.open_again(count).await;
    }

    async fn open_again(&mut self, count: usize) {
        for _ in 0..count {
            self.one_more().await;
        }
    }

    /// Says whether nothing can be done before time moves on.
    pub(super) async fn are_idle(&self) -> bool {
        let now = self.now().as_millisecond();
        let sql = format!(
            "select count(*) from jobs where state = 'running'
                or state in ('available', 'scheduled', 'retryable') and not_before <= {now}"
        );
        self.database.number(&sql).await == 0
    }

    /// Says whether each source's last sync brought everything.
    pub(super) async fn are_done(&self) -> bool {
        let sql =
            "select count(*) from sources where not exists (select 1 from syncs where state = 'completed'
            and id = (select max(id) from syncs as last where last.source_id = sources.id))";
        self.database.number(sql).await == 0
    }

    /// Adds a source to a tenant, which is made where it is not there.
    pub(super) async fn add(
        &self,
        tenant: &str,
        name: &str,
        (provider, url): (&str, String),
        options: Value,
    ) -> SourceId {
        let service = self.first();
        if service.tenant(tenant).await.is_err() {
            service.create_tenant(tenant).await.unwrap();
        }
        let add = AddSource {
            provider: provider.to_owned(),
            name: name.to_owned(),
            base_url: Some(url),
            options,
            token: Some(Secret::from(format!("{}-{name}", TOKEN.1))),
        };
        self.of(tenant).await.add_source(add).await.unwrap()
    }

    /// Returns what a tenant sees.
    pub(super) async fn of(&self, tenant: &str) -> SyncService {
        let tenant = self.first().tenant(tenant).await.unwrap();
        self.first().scoped(tenant.id)
    }

    pub(super) async fn close(self) -> Database {
        for service in self.services {
            service.close().await;
        }
        self.database
    }
}

impl Working {
    /// Lets them give back what they hold, and go.
    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}
