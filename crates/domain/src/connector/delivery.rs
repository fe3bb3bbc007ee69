//! What a provider delivers by itself: a webhook's request, who it is from, and what it hints at.
//!
//! A delivery is never the truth: it only says where reading may be worthwhile, and nothing of it lands.

use crate::page::Headers;

/// A request that a provider sent us.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// Its headers.
    pub headers: &'a Headers,
    /// Its body, byte for byte: what is signed.
    pub body: &'a [u8],
}

/// A delivery whose signature is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The provider's id of it: the same when it is sent again.
    pub id: String,
    /// What the provider calls what happened; `None` where only the body says so.
    pub event: Option<String>,
}

/// A delivery that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// What the provider calls what happened.
    pub event: String,
    /// What it hints at; nothing where it says nothing of what is read.
    pub hints: Vec<Hint>,
}

/// What a delivery says may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The group of streams.
    pub group: &'static str,
    /// What to read of it, the first that is known; none of it means all of the group.
    pub parts: Vec<(&'static str, String)>,
}

/// Why a delivery is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// Its signature is missing, wrong, or of another secret.
    Signature,
    /// It is signed, but for a time that is too far away.
    Stale,
    /// It is signed, and yet no delivery of this provider.
    Malformed,
}

/// The longest id and event that are kept; providers' ids are UUIDs, and their events a few words.
const WORD_BYTES_MAX: usize = 128;

/// Returns a header's value if it may be kept as an id or an event: short, and nothing that a terminal would obey.
#[must_use]
pub fn word<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    word_of(headers.get(name)?)
}

/// Returns a text under the same condition.
#[must_use]
pub fn word_of(text: &str) -> Option<&str> {
    let text = text.trim();
    let fits = (1..=WORD_BYTES_MAX).contains(&text.len())
        && text.bytes().all(|it| it.is_ascii_graphic() || it == b' ');
    fits.then_some(text)
}
