//! The engine in this process, for stories that move its clock.
//!
//! It must never be set up otherwise than the program sets it up.

use std::collections::BTreeMap;

use ::engine::{Clock, HttpLimits, Options, SealingKey, Secret, SyncService};
use domain::policy::Thresholds;
use jiff::SignedDuration;

use super::{Database, KEY};

/// Opens the engine over a story's database.
pub(crate) async fn service(database: &Database, workers: usize) -> SyncService {
    service_with(database, workers, Thresholds::default()).await
}

/// Opens the engine with other numbers to decide by.
pub(crate) async fn service_with(database: &Database, workers: usize, thresholds: Thresholds) -> SyncService {
    let options = Options {
        database_url: database.url().to_owned(),
        max_page_count: None,
        key: SealingKey::Text(Secret::from(KEY.to_owned())),
        workers,
        in_flight: 32,
        lease: SignedDuration::from_secs(60),
        thresholds,
        manual_cooldowns: BTreeMap::new(),
        http: HttpLimits::default(),
        clock: Clock::default(),
        #[cfg(debug_assertions)]
        kill_at: None,
    };
    SyncService::open(options).await.unwrap()
}

/// Returns the time by the engine's clock, in epoch milliseconds.
pub(crate) fn epoch_ms() -> i64 {
    Clock::default().now().as_millisecond()
}
