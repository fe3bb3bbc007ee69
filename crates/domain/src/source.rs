//! A source: one configured account at a provider. Its credential is not here; see `store::vault`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a connector may know of the source it reads: where, and what was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// The root of the provider's API, without a trailing slash.
    pub base_url: String,
    /// What the connector's [`crate::connector::Setting`]s were set to, by name.
    pub options: Value,
}
