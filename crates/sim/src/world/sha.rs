//! The names of commits and trees.
//! Must never need a table for seeded commits: their names lead back to their numbers.

use std::fmt;
use std::str::FromStr;

use crate::hash::{mix, unmix};

/// A commit's (or tree's) name in git.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Sha(pub(crate) [u8; 20]);

impl Sha {
    /// Writes the 40 hex digits.
    pub(crate) fn hex(self) -> [u8; 40] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0; 40];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.0) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
        hex
    }

    /// Makes the sha of the commit at an index of a seeded repository. The first 8 bytes can be undone,
    /// so that a million commits need no table of shas.
    pub(super) fn seeded(salt: u64, index: u32) -> Self {
        let first = mix(salt.wrapping_add(u64::from(index)));
        Self::from_word(first, salt)
    }

    /// Finds the index that a seeded sha would have; whether it really has it is the graph's to check.
    pub(super) fn index(self, salt: u64) -> Option<u32> {
        u32::try_from(unmix(self.word()).wrapping_sub(salt)).ok()
    }

    /// Fills the bytes behind the first word.
    pub(crate) fn from_word(first: u64, salt: u64) -> Self {
        let second = mix(first ^ salt.rotate_left(17));
        let third = mix(second.wrapping_add(salt));
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&first.to_be_bytes());
        bytes[8..16].copy_from_slice(&second.to_be_bytes());
        bytes[16..].copy_from_slice(&third.to_be_bytes()[..4]);
        Self(bytes)
    }

    /// Reads the first word.
    pub(crate) fn word(self) -> u64 {
        let mut first = [0; 8];
        first.copy_from_slice(&self.0[..8]);
        u64::from_be_bytes(first)
    }
}

impl fmt::Display for Sha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for Sha {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.as_bytes();
        if digits.len() != 40 {
            return Err(());
        }
        let mut bytes = [0; 20];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok()).ok_or(());
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self(bytes))
    }
}
