//! How a source's stream group stands, in one word for people: pure.
//!
//! It must never make sentences; whatever shows it does.

use serde::{Deserialize, Serialize};

use crate::job::{SyncState, words};
use crate::trigger::Trigger;

/// Where a source's stream group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing is under way, and the last sync brought something or there was none.
    Idle,
    /// A sync is under way.
    Syncing,
    /// It waits for the provider's limit.
    Blocked,
    /// The last sync failed wholly.
    Error,
    /// A sync is under way that mends what an earlier one left out.
    Recovering,
    /// The last jobs of a sync are under way: none waits behind them.
    Finishing,
}

words!(State {
    Idle => "idle", Syncing => "syncing", Blocked => "blocked", Error => "error", Recovering => "recovering",
    Finishing => "finishing",
});

/// What is known of the sync that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Active {
    /// Why it was asked for.
    pub trigger: Trigger,
    /// Its jobs so far.
    pub jobs: u64,
    /// Of them, those that ended.
    pub ended: u64,
    /// Of them, those that a worker holds.
    pub running: u64,
    /// Of them, those that wait for the provider's limit.
    pub blocked: u64,
}

/// Says where a source's stream group stands.
///
/// `last` is how its last sync ended; `is_limited` says that the provider's limit stands in the way of a job or of a
/// sync that would begin now.
#[must_use]
pub fn state(active: Option<Active>, last: Option<SyncState>, is_limited: bool) -> State {
    match active {
        Some(it) if it.ended + it.blocked == it.jobs && it.blocked > 0 => State::Blocked,
        Some(it) if matches!(it.trigger, Trigger::Recovery | Trigger::Maintenance) => State::Recovering,
        Some(it) if it.ended > 0 && it.ended + it.running == it.jobs => State::Finishing,
        Some(_) => State::Syncing,
        None if is_limited => State::Blocked,
        None if last == Some(SyncState::Failed) => State::Error,
        None => State::Idle,
    }
}

#[cfg(test)]
mod tests {
    use super::{Active, State, state};
    use crate::job::SyncState;
    use crate::trigger::Trigger;

    #[test]
    fn a_state_for_every_standing() {
        let active = |trigger, [jobs, ended, running, blocked]: [u64; 4]| {
            Some(Active { trigger, jobs, ended, running, blocked })
        };
        let cron = |counts| active(Trigger::Cron, counts);
        let failed = Some(SyncState::Failed);
        let cases = [
            (None, None, false, State::Idle, "never synced"),
            (None, Some(SyncState::Completed), false, State::Idle, "completed"),
            (None, Some(SyncState::Partial), false, State::Idle, "partial is idle with its error"),
            (None, Some(SyncState::Cancelled), false, State::Idle, "cancelled"),
            (None, failed, false, State::Error, "failed"),
            (None, failed, true, State::Blocked, "a limit explains more than the failure"),
            (cron([0, 0, 0, 0]), None, false, State::Syncing, "no job yet"),
            (cron([4, 0, 4, 0]), None, false, State::Syncing, "all have begun, none has ended"),
            (cron([4, 1, 2, 0]), None, false, State::Syncing, "one waits for a worker"),
            (cron([4, 2, 2, 0]), failed, true, State::Finishing, "the last two"),
            (cron([4, 2, 1, 1]), None, true, State::Syncing, "one goes on while another is blocked"),
            (cron([4, 3, 0, 1]), None, true, State::Blocked, "the last one waits"),
            (active(Trigger::Recovery, [4, 2, 1, 0]), None, false, State::Recovering, "recovery"),
            (active(Trigger::Maintenance, [4, 0, 1, 0]), failed, false, State::Recovering, "catching up"),
            (active(Trigger::Recovery, [1, 0, 0, 1]), None, true, State::Blocked, "blocked recovery"),
        ];
        for (active, last, is_limited, expected, why) in cases {
            assert_eq!(state(active, last, is_limited), expected, "{why}");
        }
    }
}
