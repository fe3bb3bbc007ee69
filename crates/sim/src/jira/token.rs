//! Where a walk by tokens is, as a text that only the server understands.
//! Must never be good for another walk than its own, or for ever.

use std::fmt::Write as _;

use super::answer::Answer;
use crate::hash::Digest;

/// Tokens are good for seven days.
const TOKEN_MS: i64 = 7 * 86_400_000;
const BAD_TOKEN: &str = "The provided nextPageToken is invalid or has expired.";

/// Where a walk by tokens is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Token {
    /// The place of the last issue that was looked at.
    pub(super) key: Vec<i64>,
    /// How many pages were given.
    pub(super) page: u64,
    issued_ms: i64,
}

impl Token {
    /// Makes a token.
    pub(super) fn new(key: Vec<i64>, page: u64, issued_ms: i64) -> Self {
        Self { key, page, issued_ms }
    }

    /// Writes a token, bound to what it continues.
    pub(super) fn write(&self, binding: &str) -> String {
        let key: Vec<String> = self.key.iter().map(i64::to_string).collect();
        let plain = format!("{};{};{}", self.issued_ms, self.page, key.join(","));
        let mut text = String::with_capacity(plain.len() * 2 + 16);
        for byte in plain.bytes() {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        let _ = write!(text, "{:016x}", seal(&plain, binding));
        text
    }

    /// Reads a token, or refuses one that is old, broken or of another walk.
    pub(super) fn read(text: &str, binding: &str, now_ms: i64) -> Result<Self, Answer> {
        let found = Self::parse(text, binding).filter(|it| now_ms - it.issued_ms <= TOKEN_MS);
        found.ok_or_else(|| Answer::refusal(400, BAD_TOKEN))
    }

    fn parse(text: &str, binding: &str) -> Option<Self> {
        let (plain, sealed) = text.split_at_checked(text.len().checked_sub(16)?)?;
        let bytes: Option<Vec<u8>> = (0..plain.len() / 2)
            .map(|at| u8::from_str_radix(plain.get(at * 2..at * 2 + 2)?, 16).ok())
            .collect();
        let plain = String::from_utf8(bytes?).ok()?;
        if u64::from_str_radix(sealed, 16).ok()? != seal(&plain, binding) {
            return None;
        }
        let mut parts = plain.splitn(3, ';');
        let (issued_ms, page) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let key = parts.next()?.split(',').map(|it| it.parse().ok()).collect::<Option<_>>()?;
        Some(Self { key, page, issued_ms })
    }
}

fn seal(plain: &str, binding: &str) -> u64 {
    Digest::new(33).bytes(plain.as_bytes()).bytes(binding.as_bytes()).short()
}
