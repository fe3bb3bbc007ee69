//! Why a sync was asked for. The policy treats triggers differently; nothing else may.

use serde::{Deserialize, Serialize};

/// Says why a sync was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// A person asked.
    Manual,
    /// The schedule came round.
    Cron,
    /// A provider's delivery hinted at a change.
    Webhook,
    /// A chore found that the source fell behind, or a lane beside the forward one has something to read.
    Maintenance,
    /// A sync brought nothing although the provider shows newer activity.
    Recovery,
}

impl Trigger {
    /// Every trigger, for tables and help texts.
    pub const ALL: [Self; 5] = [Self::Manual, Self::Cron, Self::Webhook, Self::Maintenance, Self::Recovery];

    /// Returns the word stored in the database and shown to people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Cron => "cron",
            Self::Webhook => "webhook",
            Self::Maintenance => "maintenance",
            Self::Recovery => "recovery",
        }
    }

    /// Reads a stored word back; `None` for a word that no version wrote.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == word)
    }
}
