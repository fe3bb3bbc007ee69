//! JSON objects and arrays read piece by piece, so that an odd value costs no other.
//!
//! Nothing here quotes what it read: an answer may hold what must not be told.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;
use domain::fault::Fault;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{elements, members, text};

/// Returns the fault for an answer that does not have the promised shape.
pub(crate) fn malformed(what: impl Into<String>) -> Fault {
    Fault::Malformed { what: what.into() }
}

/// A JSON object whose members are read one by one; absent ones, nulls and those of another kind are `None`.
pub(crate) struct Object<'a>(HashMap<Cow<'a, str>, &'a RawValue>);

impl<'a> Object<'a> {
    /// Reads a body, or a part of one.
    pub(crate) fn of(body: &'a Bytes, what: &str) -> Result<Self, Fault> {
        Self::read(body_text(body, what)?).ok_or_else(|| malformed(format!("{what}: no JSON object")))
    }

    /// Reads a text; `None` for anything but an object.
    pub(crate) fn read(text: &'a str) -> Option<Self> {
        members(text).map(Self)
    }

    /// Returns a member as it stands.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.0.get(name).copied().filter(|it| it.get() != "null")
    }

    /// Reads a member.
    pub(crate) fn value<T: Deserialize<'a>>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.raw(name)?.get()).ok()
    }

    /// Reads a text.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.value(name)
    }

    /// Reads an instant as RFC 3339 writes it.
    pub(crate) fn instant(&self, name: &str) -> Option<Timestamp> {
        self.text(name)?.parse().ok()
    }

    /// Reads an object inside.
    pub(crate) fn object(&self, name: &str) -> Option<Object<'a>> {
        Self::read(self.raw(name)?.get())
    }

    /// Reads a text of an object inside.
    pub(crate) fn inside(&self, name: &str, member: &str) -> Option<String> {
        self.object(name)?.text(member)
    }
}

/// Returns a body as text.
pub(crate) fn body_text<'a>(body: &'a Bytes, what: &str) -> Result<&'a str, Fault> {
    text(body).map_err(|_| malformed(format!("{what}: not UTF-8")))
}

/// Cuts the JSON array `list`, a part of `body`, into its elements, without copying.
pub(crate) fn parts(list: &str, body: &Bytes, what: &str) -> Result<Vec<Bytes>, Fault> {
    let mut parts = Vec::new();
    elements::<&RawValue>(list, |raw, _| parts.push(body.slice_ref(raw.as_bytes())))
        .map_err(|_| malformed(format!("{what}: no JSON array")))?;
    Ok(parts)
}

/// Cuts a body that is a JSON array into its elements, without copying.
pub(crate) fn listed(body: &Bytes, what: &str) -> Result<Vec<Bytes>, Fault> {
    parts(body_text(body, what)?, body, what)
}
