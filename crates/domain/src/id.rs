//! The identities that our own database gives out; a provider's ids never take these types.

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta] $name:ident),* $(,)?) => {$(
        #[$doc]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

id! {
    /// Identifies a tenant: who owns sources.
    TenantId,
    /// Identifies an API token; it is not the token itself.
    TokenId,
    /// Identifies a source; the first key column of every landed table.
    SourceId,
    /// Identifies a sync: one accepted request, its jobs together.
    SyncId,
    /// Identifies a job: one partition of one stream in one sync.
    JobId,
    /// Identifies an event; later events have larger ids.
    EventId,
}
