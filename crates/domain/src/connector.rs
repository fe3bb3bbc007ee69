//! The contract between a connector and the engine.
//!
//! A connector describes requests and reads responses. It never sends, waits, stores or looks at a clock.

pub mod delivery;

use jiff::{SignedDuration, Timestamp};

use crate::census::Census;
use crate::fault::Fault;
use crate::page::{Page, Partition, Read, Request, Response};
use crate::source::Settings;
use crate::table::Table;
use delivery::{Delivery, Received, Rejected, Verified};

/// Our code for one provider, as pure functions.
pub trait Connector: Send + Sync {
    /// Returns what the connector offers and needs.
    fn spec(&self) -> &'static Spec;

    /// Returns the partitions that follow from the settings alone, or what is wrong with the settings.
    fn roots(&self, source: &Settings) -> Result<Vec<Partition>, SettingsError>;

    /// Reads on: called with `got` empty, then with all answers so far, until it delivers a page.
    fn step(&self, read: &Read<'_>, got: &[Response]) -> Result<Step, Fault>;

    /// Returns how the rows of a stream are counted against the provider; `None` where its ids cannot be listed.
    fn census(&self, _stream: &str) -> Option<Census> {
        None
    }

    /// Reads what an answer says of budgets; called for every answer, also 304 and errors.
    fn meter(&self, request: &Request, response: &Response) -> Vec<Meter>;

    /// Returns the request that tells whom the credential belongs to; asked once for each credential, because all
    /// credentials of one owner share their budgets. `None` where nobody tells.
    fn identify(&self, source: &Settings) -> Option<Request>;

    /// Reads from that answer who it is: a word that is the owner's own at this address and never changes; `None`
    /// where the credential has no owner that can be asked for.
    fn owner(&self, response: &Response) -> Result<Option<String>, Fault>;

    /// Says whether a delivery is signed with the source's secret, and which one it is. It takes the same time whatever
    /// was sent, and reads nothing of the body.
    fn verify(&self, secret: &str, delivery: &Delivery<'_>, now: Timestamp) -> Result<Verified, Rejected>;

    /// Returns the streams whose rows are delivered one by one, so that what is read of them can be compared with what was
    /// delivered.
    fn delivers(&self) -> &'static [&'static str] {
        &[]
    }

    /// Reads what a delivery hints at whose signature is right. One that is not known hints at nothing.
    fn receive(
        &self,
        verified: &Verified,
        delivery: &Delivery<'_>,
        now: Timestamp,
    ) -> Result<Received, Rejected>;
}

/// What a connector wants next.
#[derive(Clone, Debug)]
pub enum Step {
    /// Requests to send side by side: at most [`SEND_MAX`] at once and [`PAGE_REQUESTS_MAX`] in a page.
    Send(Vec<Request>),
    /// A page to commit.
    Page(Page),
}

/// Requests that one step may send side by side. Eight keep a connection busy without crowding others out.
pub const SEND_MAX: usize = 8;

/// Requests that one page may take; with bodies of some 500 KB this keeps a page within 16 MB.
pub const PAGE_REQUESTS_MAX: usize = 32;

/// What is wrong with a source's settings, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: `{value}` {why}")]
pub struct SettingsError {
    /// The setting's name.
    pub setting: &'static str,
    /// The value that was given.
    pub value: String,
    /// What is wrong, and what is allowed.
    pub why: String,
}

/// What an answer says of one budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meter {
    /// The budget's name within the credential's account; [`WHOLE_ACCOUNT`] stands for all of them.
    pub bucket: &'static str,
    /// How many requests a full budget has.
    pub limit: Option<u64>,
    /// How many are left.
    pub remaining: Option<u64>,
    /// When it is full again.
    pub resets_at: Option<Timestamp>,
    /// Set when the answer refuses because of this budget.
    pub refused: Option<Refusal>,
}

/// The bucket of limits that hold for every request of an account, such as GitHub's secondary limits.
pub const WHOLE_ACCOUNT: &str = "*";

/// A refusal because of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// When the provider will answer again; `None` where it named no time.
    pub until: Option<Timestamp>,
}

/// What a connector offers and needs.
#[derive(Debug)]
pub struct Spec {
    /// The provider's word in commands and in the database.
    pub provider: &'static str,
    /// The provider's name for people.
    pub title: &'static str,
    /// The API's root when none is configured; `None` where every customer has an address of their own.
    pub default_base_url: Option<&'static str>,
    /// The environment variable that a credential is taken from when none is named.
    pub token_env: &'static str,
    /// Whether nothing can be read without a credential.
    pub needs_token: bool,
    /// How many requests the provider answers without a credential, for people; empty where it answers none.
    pub open_requests: &'static str,
    /// What credentials begin with that the provider gives out for something else, each with what is to be said of it.
    pub refused_tokens: &'static [(&'static str, &'static str)],
    /// How the credential goes into a request.
    pub auth: Auth,
    /// Headers that every request carries.
    pub headers: &'static [(&'static str, &'static str)],
    /// What can be configured for a source.
    pub settings: &'static [Setting],
    /// Examples of what a new source is called and what it reads, as typed, each with what it means.
    pub examples: &'static [(&'static str, &'static str)],
    /// Its stream groups.
    pub groups: &'static [Group],
    /// Every table that its records land in.
    pub tables: &'static [&'static Table],
    /// What the provider is known to bear.
    pub limits: Limits,
}

impl Spec {
    /// Says why a credential cannot be used here, where its beginning tells.
    #[must_use]
    pub fn refuses_token(&self, token: &str) -> Option<String> {
        let refused = self.refused_tokens.iter().find(|(beginning, _)| token.starts_with(beginning));
        refused.map(|(beginning, why)| format!("`{beginning}…` {why}"))
    }

    /// Finds a stream and its group.
    #[must_use]
    pub fn stream(&self, name: &str) -> Option<(&'static Group, &'static Stream)> {
        self.groups.iter().find_map(|group| {
            group.streams.iter().find(|stream| stream.name == name).map(|stream| (group, stream))
        })
    }
}

/// How a credential goes into a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// `Authorization: Bearer <token>`.
    Bearer,
    /// `Authorization: Basic`, with the value of this setting as the user and the credential as the password; where
    /// the setting is not set, [`Auth::Bearer`].
    BasicAs(&'static str),
}

/// One thing that can be configured for a source.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name in [`Settings::options`].
    pub name: &'static str,
    /// What it is, for people.
    pub help: &'static str,
}

/// Streams that are scheduled, guarded and shown together.
#[derive(Debug)]
pub struct Group {
    /// Its name.
    pub name: &'static str,
    /// How often it is synced where a source has no schedule of its own.
    pub every_ms: i64,
    /// How long after a manual sync another one is refused; zero never refuses.
    pub manual_cooldown_ms: i64,
    /// Its streams, in the order in which their jobs are best begun.
    pub streams: &'static [Stream],
}

/// One kind of record in a source.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// Its name.
    pub name: &'static str,
    /// How many items one page may read; `None` for a stream that is not read by items.
    pub item_batch: Option<usize>,
    /// Whether its pages are asked for only if they changed. Such a page takes one request.
    pub conditional: bool,
    /// The table whose rows the stream lists completely, so that rows it no longer lists are gone.
    pub lists: Option<&'static Table>,
}

impl Stream {
    /// Says whether its pages, read from the start to the end, are one listing.
    #[must_use]
    pub fn is_listing(&self) -> bool {
        self.conditional || self.lists.is_some()
    }
}

/// What a provider is known to bear, beside what its answers say.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Requests of one account that all our processes together have under way at most.
    pub concurrent_max: usize,
    /// Requests a minute that the provider's own service bears; not applied to other hosts of the same software.
    pub per_minute: Option<u32>,
    /// The size of an unknown budget: what a new account is assumed to have.
    pub budget: Option<u64>,
    /// How long a budget's window is. One of a minute or less is not in the ledger.
    pub budget_window: SignedDuration,
    /// Whether an answer that nothing has changed costs nothing of a budget.
    pub unchanged_is_free: bool,
}
