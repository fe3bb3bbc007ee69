//! How the engine is set up.
//!
//! It never reads a file or the environment; whoever opens the engine did.

use std::collections::BTreeMap;
use std::path::PathBuf;

use domain::connector::Group;
use domain::policy::Thresholds;
use domain::policy::heal::Healing;
use jiff::SignedDuration;
use store::Secret;

use super::schedule::Schedule;
use crate::clock::Clock;
use crate::http::HttpLimits;

/// How the engine is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// `sqlite://PATH` or `postgres://…`.
    pub database_url: String,
    /// SQLite's largest number of pages; `None` is SQLite's own limit.
    pub max_page_count: Option<u32>,
    /// Where the key comes from that credentials are sealed with.
    pub key: SealingKey,
    /// Jobs that run side by side in this process.
    pub workers: usize,
    /// Requests of one source under way at once; the connector's own limit holds too.
    pub in_flight: usize,
    /// How long a worker may be silent before its job is given to another.
    pub lease: SignedDuration,
    /// The numbers that the policy decides by; the cooldown of a manual sync is its group's own.
    pub thresholds: Thresholds,
    /// Cooldowns of manual syncs that differ from what the connector says, by the name of the stream group.
    pub manual_cooldowns: BTreeMap<String, SignedDuration>,
    /// The limits of outbound requests.
    pub http: HttpLimits,
    /// Whether and when sources are synced by themselves.
    pub schedule: Schedule,
    /// The numbers that chores go by.
    pub maintenance: Maintenance,
    /// The time.
    pub clock: Clock,
    /// At which write transaction this process kills itself, for crash tests; debug builds only.
    #[cfg(debug_assertions)]
    pub kill_at: Option<store::KillAt>,
}

impl Options {
    /// Returns the numbers to decide by for a group of streams.
    pub(super) fn thresholds(&self, group: &Group) -> Thresholds {
        let own = || SignedDuration::from_millis(group.manual_cooldown_ms);
        let manual_cooldown = self.manual_cooldowns.get(group.name).copied().unwrap_or_else(own);
        Thresholds { manual_cooldown, ..self.thresholds }
    }

    /// A lease is renewed four times in its life, so that two lost renewals do not lose it.
    pub(crate) fn heartbeat(lease: SignedDuration) -> std::time::Duration {
        std::time::Duration::try_from(lease / 4).unwrap_or(std::time::Duration::from_secs(1))
    }
}

/// The numbers that chores go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maintenance {
    /// How long a job may go without a page, as long as it waits for nothing, before it is interrupted.
    pub stuck_after: SignedDuration,
    /// How long a scheduled group may be without success before a sync is asked for beside its schedule.
    pub catch_up_after: SignedDuration,
    /// How long completed jobs are kept, and events.
    pub keep_completed: SignedDuration,
    /// How long jobs are kept that failed or were stopped, and syncs that did not complete.
    pub keep_failed: SignedDuration,
    /// How often the ids of each partition are listed and compared with its rows.
    pub census_every: SignedDuration,
    /// When a partition is read once more with care, and when a person is warned.
    pub healing: Healing,
}

impl Default for Maintenance {
    fn default() -> Self {
        Self {
            stuck_after: SignedDuration::from_mins(10),
            catch_up_after: SignedDuration::from_hours(24),
            keep_completed: SignedDuration::from_hours(7 * 24),
            keep_failed: SignedDuration::from_hours(30 * 24),
            census_every: SignedDuration::from_hours(7 * 24),
            healing: Healing::default(),
        }
    }
}

/// Where the sealing key comes from.
#[derive(Clone, Debug)]
pub enum SealingKey {
    /// The key itself: 64 hex digits, or base64 of 32 bytes.
    Text(Secret),
    /// A file that holds it; made on first start, readable by its owner only.
    File(PathBuf),
}
