//! What the hosts of git repositories have in common: how their listings go on, how a commit lands, how several heads
//! are read side by side.
//!
//! It knows no host: addresses, and what an answer means, are the connectors'. Begin with [`Landing`] and [`follow`].

mod chain;
mod commit;
mod listing;

use bytes::Bytes;
use domain::fault::Fault;

use crate::kit::Object;

pub(crate) use self::chain::{Chain, Plan, follow};
pub(crate) use self::commit::{Commit, Landing, Listed, Signature, Worded, instant, loose};
pub(crate) use self::listing::{
    Branch, OVERLAP, here, is_young, named_or_all, of_branches, onward, page_behind, version, wanted, whole,
    with_care,
};

/// Says whether a refusal is not about one head but about every request.
pub(crate) fn concerns_all(fault: &Fault) -> bool {
    matches!(fault, Fault::RateLimited { .. } | Fault::Unauthorized)
}

/// Returns an answer with its member `name` replaced by null, so that a credential never lands; `None` where there is
/// nothing to replace.
pub(crate) fn without_secret(raw: &Bytes, object: &Object<'_>, name: &str) -> Option<Bytes> {
    let secret = object.raw(name)?.get();
    if secret == "\"\"" {
        return None;
    }
    let from = (secret.as_ptr() as usize).checked_sub(raw.as_ptr() as usize)?;
    let (before, after) = (raw.get(..from)?, raw.get(from + secret.len()..)?);
    Some(Bytes::from([before, b"null", after].concat()))
}
