//! What one read step delivers: the unit of commit.

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::census::Counted;
use crate::job::Lane;
use crate::table::{Cell, Table};

/// Where to read on in a partition; opaque to all but the connector that made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cursor(pub Value);

/// The part of a stream that is read by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Its stream.
    pub stream: &'static str,
    /// Its key, unique in the source and stream; the provider's id where there is one.
    pub key: String,
    /// What the connector needs to read it.
    pub args: Value,
    /// The lanes that begin with it, each with its first cursor; empty means forward from the start.
    pub start: Vec<(Lane, Cursor)>,
    /// How old its last complete read may be before a whole sync reads it again; `None` reads it every time.
    pub refresh: Option<SignedDuration>,
    /// When something last happened in it that its stream has to show, as what found it says; `None` where it does not say.
    pub shown_at: Option<Timestamp>,
}

/// Something in a partition that is due while `have` differs from `wanted`: a branch head, a changed issue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its key, unique in its partition.
    pub key: String,
    /// The version last read completely.
    pub have: Option<String>,
    /// The version to read. While a walk is under way, the one that the walk began with.
    pub wanted: String,
    /// The `have` of the item named by [`Wanted::base`], when that one has been read.
    pub base: Option<String>,
    /// What the connector noted when it listed the item.
    pub args: Value,
    /// Where the walk of this item stands.
    pub cursor: Option<Cursor>,
}

/// A listing's finding: this item should be at this version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The stream that will read it.
    pub stream: &'static str,
    /// The partition of that stream.
    pub partition: String,
    /// The item's key.
    pub key: String,
    /// The version to reach.
    pub version: String,
    /// An item of the same partition that is read before this one and whose `have` a new one may start from.
    pub base: Option<String>,
    /// What the reading needs beside the version.
    pub args: Value,
}

/// One upstream object, ready to land.
#[derive(Clone, Debug)]
pub struct Record {
    /// The table it lands in.
    pub table: &'static Table,
    /// Its values, in the order of the table's columns.
    pub cells: Vec<Cell>,
    /// The provider's own words, byte for byte; `None` for immutable tables.
    pub raw: Option<Bytes>,
}

/// What one read step delivered, from one response or a few.
#[derive(Clone, Debug)]
pub struct Page {
    /// The records to land.
    pub records: Vec<Record>,
    /// Partitions found; each is kept, and gets a job in the same sync.
    pub partitions: Vec<Partition>,
    /// Items that should be at a version.
    pub wanted: Vec<Wanted>,
    /// Keys of the items, of those that were asked for, that are now read completely.
    pub done: Vec<String>,
    /// What a census found; `None` in every other lane.
    pub counted: Option<Box<Counted>>,
    /// What was learned of the account, in place of what was known; `None` leaves that as it is.
    pub learned: Option<Box<Value>>,
    /// Whether the next sync, which begins at the same place, may ask for this page only if it changed: it was the whole
    /// sync, and nothing could follow from reading the same answer again. Only in streams that are no listing, whose pages
    /// are all asked for in that way.
    pub settled: bool,
    /// How to go on.
    pub next: Next,
}

impl Page {
    /// Returns a page that delivers nothing and goes on with `next`.
    #[must_use]
    pub fn empty(next: Next) -> Self {
        Self {
            records: Vec::new(),
            partitions: Vec::new(),
            wanted: Vec::new(),
            done: Vec::new(),
            counted: None,
            learned: None,
            settled: false,
            next,
        }
    }
}

/// How a partition is read on after a page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    /// There is more, from here. In a stream of items the cursor belongs to the first item that was asked for.
    More(Cursor),
    /// All that there is was read; in a stream of items: all that was asked for and could be finished.
    CaughtUp {
        /// Where the next sync begins; `None` is the start.
        cursor: Option<Cursor>,
        /// Set when this ended a complete listing.
        sweep: Option<Sweep>,
    },
}

/// The end of a complete listing of the stream's [`crate::connector::Stream::lists`] table: rows of `owner` that it
/// did not deliver, as a record or as an item that is [`Page::wanted`], are gone. The table's last key column tells its
/// rows apart within an owner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    /// The value of the first key column, where the key has two columns.
    pub owner: Option<i64>,
    /// The stream and partition whose items follow the same listing, where there is one.
    pub items: Option<Box<(String, String)>>,
    /// The stream whose partitions, of those that this partition found, follow the same listing.
    pub partitions: Option<String>,
}

/// What a connector is given to read with.
#[derive(Clone, Copy, Debug)]
pub struct Read<'a> {
    /// The source's base URL and options.
    pub source: &'a crate::source::Settings,
    /// What earlier pages learned of the account: the provider's dialect, its time zone; null before the first.
    pub learned: &'a Value,
    /// The stream to read.
    pub stream: &'a str,
    /// The partition's key.
    pub partition: &'a str,
    /// What the partition was found with.
    pub args: &'a Value,
    /// The lane.
    pub lane: Lane,
    /// The items to read, at most the stream's batch; empty in a stream without items.
    pub items: &'a [Item],
    /// Where to read on; `None` is the start. In a stream of items it is the first item's.
    pub cursor: Option<&'a Cursor>,
    /// Whether it is read with care, because something is missing that the provider shows to be there: from
    /// [`CARE`] before a cursor that rests at a time. Within a reading that has begun it means nothing.
    pub careful: bool,
}

/// How far before its cursor a stream that is read by time is read with care: a provider that shows a change a day late
/// mends itself no sooner, and a partition in which nothing came for days has few changes in the day before.
pub const CARE: SignedDuration = SignedDuration::from_hours(24);

/// A request for one page of something. It is a GET: reading changes nothing at the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The whole address.
    pub url: String,
    /// The budget it is expected to spend from; see [`crate::connector::Meter::bucket`].
    pub bucket: &'static str,
}

/// A provider's answer, with the body already decoded and within its limit.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status; never 304, which the engine answers itself from what it stored.
    pub status: u16,
    /// The headers.
    pub headers: Headers,
    /// The body.
    pub body: Bytes,
    /// The address that answered, after redirects.
    pub url: String,
    /// When the request was sent: what the body says was true at some time after this.
    pub requested_at: Timestamp,
    /// When the headers arrived.
    pub received_at: Timestamp,
}

/// An answer's headers; names are in lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    /// Returns the first value of the header `name`, given in lower case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }
}
