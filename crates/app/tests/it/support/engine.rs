//! The engine in this process, for stories that move its clock.
//!
//! It must never be set up otherwise than the program sets it up.

use std::collections::BTreeMap;

use ::engine::{
    Clock, HttpLimits, Maintenance, Options, RecordQuery, Schedule, SealingKey, Secret, SyncService,
};
use domain::policy::Thresholds;
use jiff::SignedDuration;
use serde_json::{Map, Value};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Database, KEY};

/// Opens the engine over a story's database.
pub(crate) async fn service(database: &Database, workers: usize) -> SyncService {
    service_with(database, workers, Thresholds::default()).await
}

/// Opens the engine with other numbers to decide by.
pub(crate) async fn service_with(database: &Database, workers: usize, thresholds: Thresholds) -> SyncService {
    let options = Options { thresholds, ..options(database, workers) };
    SyncService::open(options).await.unwrap()
}

/// Opens the engine with other intervals, at a time of its own.
pub(crate) async fn service_at(database: &Database, schedule: Schedule, clock: &Clock) -> SyncService {
    let moved = clock.now().duration_since(Clock::default().now());
    let options = Options { schedule, clock: clock.clone(), ..options(database, 4) };
    let service = SyncService::open(options).await.unwrap();
    // Opening takes the time from the database's server, which nobody moves.
    clock.set_offset_ms(i64::try_from(moved.as_millis()).unwrap());
    service
}

/// Opens the engine with leases that outlast a clock that is moved by hand.
pub(crate) async fn service_that_holds(database: &Database) -> SyncService {
    let options = Options { lease: SignedDuration::from_hours(24 * 30), ..options(database, 4) };
    SyncService::open(options).await.unwrap()
}

/// Sets an engine up as the program does.
pub(crate) fn engine_options(database: &Database, workers: usize) -> Options {
    options(database, workers)
}

fn options(database: &Database, workers: usize) -> Options {
    Options {
        database_url: database.url().to_owned(),
        max_page_count: None,
        key: SealingKey::Text(Secret::from(KEY.to_owned())),
        workers,
        in_flight: 32,
        lease: SignedDuration::from_secs(60),
        thresholds: Thresholds::default(),
        manual_cooldowns: BTreeMap::new(),
        http: HttpLimits::default(),
        schedule: Schedule::default(),
        maintenance: Maintenance::default(),
        clock: Clock::default(),
        #[cfg(debug_assertions)]
        kill_at: None,
    }
}

/// Workers of an engine, until they are told to stop.
pub(crate) struct Work {
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Work {
    /// Begins to work.
    pub(crate) fn begin(service: &SyncService) -> Self {
        let (service, stop) = (service.clone(), CancellationToken::new());
        let (mut tasks, told) = (JoinSet::new(), stop.clone());
        tasks.spawn(async move { service.work(None, told).await.unwrap() });
        Self { tasks, stop }
    }

    /// Stops, and waits until everything is given back.
    pub(crate) async fn end(mut self) {
        self.stop.cancel();
        self.tasks.join_next().await.unwrap().unwrap();
    }
}

/// Reads every record of a table that the handle's tenant sees, also those that the provider no longer lists.
pub(crate) async fn every_record(service: &SyncService, table: &str) -> Vec<Map<String, Value>> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let query = RecordQuery {
            table: table.to_owned(),
            after,
            with_deleted: true,
            limit: 1000,
            ..Default::default()
        };
        let page = service.records(query).await.unwrap();
        found.extend(page.rows);
        after = page.next;
        if after.is_none() {
            return found;
        }
    }
}

/// Returns the time by the engine's clock, in epoch milliseconds.
pub(crate) fn epoch_ms() -> i64 {
    Clock::default().now().as_millisecond()
}
