//! Signatures of deliveries: HMAC-SHA256 over the raw body, compared in constant time.
//!
//! Nothing here reads what is signed. Each check makes exactly one HMAC over the body, whatever the headers say, so that
//! the time it takes tells nothing of the secret or of whether there is one.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::connector::delivery::{Delivery, Received, Rejected};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::Deserialize;
use serde::de::IgnoredAny;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

#[cfg(test)]
mod tests;

/// The size of an HMAC-SHA256.
const TAG_BYTES: usize = 32;

/// What a secret in the form of Standard Webhooks begins with; the key is what follows, in base64.
const ENCODED: &str = "whsec_";

/// Returns the HMAC of parts that stand one after the other.
fn tag(key: &[u8], parts: &[&[u8]]) -> [u8; TAG_BYTES] {
    // A key of any length is allowed, so that this cannot fail; were it to, nothing would ever be accepted.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return [0; TAG_BYTES] };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// Checks a signature such as `sha256=<hex>` over the body.
pub(crate) fn check_hex(secret: &str, delivery: &Delivery<'_>, header: &str) -> Result<(), Rejected> {
    let expected = tag(secret.as_bytes(), &[delivery.body]);
    let given =
        delivery.headers.get(header).and_then(|it| it.trim().strip_prefix("sha256=")).and_then(from_hex);
    accept(given.is_some_and(|it| bool::from(it.ct_eq(&expected))))
}

/// Checks signatures as Standard Webhooks has them: `v1,<base64>`, several with spaces between, over id, time and body.
pub(crate) fn check_standard(
    secret: &str,
    delivery: &Delivery<'_>,
    (id, time, signatures): (&str, &str, &str),
) -> Result<(), Rejected> {
    let decoded = secret.strip_prefix(ENCODED).and_then(|it| STANDARD.decode(it).ok());
    let key = decoded.as_deref().unwrap_or(secret.as_bytes());
    let expected = tag(key, &[id.as_bytes(), b".", time.as_bytes(), b".", delivery.body]);
    let mut is_right = false;
    // A header is bounded in size, and so is the number of signatures in it.
    for given in signatures.split_ascii_whitespace().filter_map(|it| it.strip_prefix("v1,")) {
        let given = STANDARD.decode(given).unwrap_or_default();
        is_right |= bool::from(given.as_slice().ct_eq(expected.as_slice()));
    }
    accept(is_right)
}

/// Checks a secret that is sent as it is; of it and the body.
pub(crate) fn check_plain(secret: &str, delivery: &Delivery<'_>, header: &str) -> Result<(), Rejected> {
    // Hashes are compared: they are equally long, whatever was sent. The body's is for the time that it takes alone.
    let expected = tag(b"", &[secret.as_bytes()]);
    let given = tag(b"", &[delivery.headers.get(header).unwrap_or_default().as_bytes()]);
    let _ = std::hint::black_box(tag(secret.as_bytes(), &[delivery.body]));
    accept(!secret.is_empty() && bool::from(given.ct_eq(&expected)))
}

/// Makes an id of a delivery that came without one: the same body is the same delivery.
pub(crate) fn id_of(body: &[u8]) -> String {
    let hash = Sha256::digest(body);
    hash.iter().take(16).fold(String::from("body-"), |id, byte| {
        let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or_default();
        id + digit(byte >> 4).encode_utf8(&mut [0; 4]) + digit(byte & 0xf).encode_utf8(&mut [0; 4])
    })
}

/// Reads the little that is needed of a delivery; `None` where it has another form, which is no reason to refuse it.
pub(crate) fn payload<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<Option<T>, Rejected> {
    if let Ok(payload) = serde_json::from_slice(json) {
        return Ok(Some(payload));
    }
    serde_json::from_slice::<IgnoredAny>(json).map(|_| None).map_err(|_| Rejected::Malformed)
}

/// A delivery that hints at nothing.
pub(crate) fn nothing(event: &str) -> Received {
    Received { event: event.to_owned(), hints: Vec::new() }
}

fn accept(is_right: bool) -> Result<(), Rejected> {
    if is_right { Ok(()) } else { Err(Rejected::Signature) }
}

fn from_hex(text: &str) -> Option<[u8; TAG_BYTES]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * TAG_BYTES {
        return None;
    }
    let mut tag = [0; TAG_BYTES];
    for (byte, pair) in tag.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(*pair.get(at)?).to_digit(16).and_then(|it| u8::try_from(it).ok());
        *byte = digit(0)? << 4 | digit(1)?;
    }
    Some(tag)
}
