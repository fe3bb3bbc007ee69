//! Jobs and syncs: their states, and which step may follow which.

use serde::{Deserialize, Serialize};

macro_rules! words {
    ($name:ident { $($variant:ident => $word:literal),* $(,)? }) => {
        impl $name {
            /// Every value, in the order of a life.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Returns the word stored in the database and shown to people.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            /// Reads a stored word back; `None` for a word that no version wrote.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|it| it.as_str() == word)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

pub(crate) use words;

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Ready to be claimed.
    Available,
    /// Snoozed: waits for a budget, without using up an attempt.
    Scheduled,
    /// Waits for its next attempt after a passing fault.
    Retryable,
    /// A worker holds its lease.
    Running,
    /// It caught up.
    Completed,
    /// It failed for good and is kept for people to see.
    Discarded,
    /// A person stopped it.
    Cancelled,
}

words!(JobState {
    Available => "available", Scheduled => "scheduled", Retryable => "retryable", Running => "running",
    Completed => "completed", Discarded => "discarded", Cancelled => "cancelled",
});

impl JobState {
    /// Says whether a job in this state still counts as work to do.
    #[must_use]
    pub fn is_active(self) -> bool {
        matches!(self, Self::Available | Self::Scheduled | Self::Retryable | Self::Running)
    }

    /// Says whether the step to `next` exists; `docs/job-states.md` draws the same steps.
    #[must_use]
    pub fn may_become(self, next: Self) -> bool {
        match self {
            Self::Available => matches!(next, Self::Running | Self::Cancelled | Self::Discarded),
            Self::Scheduled | Self::Retryable => {
                matches!(next, Self::Available | Self::Cancelled | Self::Discarded)
            }
            Self::Running => next != Self::Running,
            Self::Completed | Self::Discarded | Self::Cancelled => false,
        }
    }
}

/// Where a sync stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncState {
    /// It has jobs that can go on.
    Running,
    /// Every job caught up.
    Completed,
    /// Some jobs failed or are still blocked; the others caught up.
    Partial,
    /// No job caught up.
    Failed,
    /// A person stopped it.
    Cancelled,
}

words!(SyncState {
    Running => "running", Completed => "completed", Partial => "partial", Failed => "failed",
    Cancelled => "cancelled",
});

/// A reading direction of a partition; each lane has its own checkpoint and its own job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Reads on towards now.
    Forward,
    /// Reads older records on purpose.
    Backfill,
    /// Reads known records again.
    Reread,
    /// Lists ids to find what is gone.
    Census,
}

words!(Lane { Forward => "forward", Backfill => "backfill", Reread => "reread", Census => "census" });

#[cfg(test)]
mod tests {
    use super::JobState;

    #[test]
    fn an_ended_job_never_moves_again() {
        for &state in JobState::ALL {
            for &next in JobState::ALL {
                if !state.is_active() {
                    assert!(!state.may_become(next), "{state} -> {next}");
                }
            }
        }
    }

    #[test]
    fn only_what_is_ready_is_claimed() {
        for &state in JobState::ALL {
            let is_ready = state == JobState::Available;
            assert_eq!(state.may_become(JobState::Running), is_ready, "{state}");
        }
    }

    #[test]
    fn words_read_back() {
        for &state in JobState::ALL {
            assert_eq!(JobState::from_word(state.as_str()), Some(state));
        }
        assert_eq!(JobState::from_word("paused"), None);
    }
}
