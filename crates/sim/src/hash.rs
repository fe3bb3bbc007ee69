//! Small deterministic hashes: shas, choices and `ETag`s come out the same on every run and machine.
//! Must never be used where an adversary could profit from a collision.

/// The two multipliers of the splitmix64 finisher, and their inverses modulo 2^64.
const MULTIPLY: [u64; 2] = [0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb];
const DIVIDE: [u64; 2] = [0x96de_1b17_3f11_9089, 0x3196_42b2_d24d_8ec3];

/// Scrambles a number; every result has exactly one origin.
pub(crate) const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(MULTIPLY[0]);
    x = (x ^ (x >> 27)).wrapping_mul(MULTIPLY[1]);
    x ^ (x >> 31)
}

/// Finds the origin of a scrambled number.
pub(crate) const fn unmix(mut x: u64) -> u64 {
    x = (x ^ (x >> 31) ^ (x >> 62)).wrapping_mul(DIVIDE[1]);
    x = (x ^ (x >> 27) ^ (x >> 54)).wrapping_mul(DIVIDE[0]);
    x ^ (x >> 30) ^ (x >> 60)
}

/// Picks one of `count` choices.
pub(crate) fn pick(random: u64, count: usize) -> usize {
    usize::try_from(random % (count.max(1) as u64)).unwrap_or_default()
}

/// A running 128-bit digest.
#[derive(Clone, Copy)]
pub(crate) struct Digest(u64, u64);

impl Digest {
    /// Starts a digest; the tag keeps digests of different things apart.
    pub(crate) const fn new(tag: u64) -> Self {
        Self(mix(tag.wrapping_add(0x9e37_79b9_7f4a_7c15)), mix(tag ^ 0x2545_f491_4f6c_dd1d))
    }

    /// Adds a number.
    pub(crate) const fn word(mut self, word: u64) -> Self {
        self.0 = mix(self.0 ^ word);
        self.1 = mix(self.1.rotate_left(23).wrapping_add(word.wrapping_mul(MULTIPLY[0])));
        self
    }

    /// Adds bytes, and their length, so that neighbours cannot run into each other.
    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self = self.word(u64::from_le_bytes(word));
        }
        self.word(bytes.len() as u64)
    }

    /// Ends the digest.
    pub(crate) const fn finish(self) -> u128 {
        (mix(self.0 ^ self.1.rotate_left(32)) as u128) << 64 | mix(self.1.wrapping_add(self.0)) as u128
    }

    /// Ends the digest with 64 bits of it.
    pub(crate) const fn short(self) -> u64 {
        mix(self.0 ^ self.1.rotate_left(32))
    }
}

#[cfg(test)]
mod tests {
    use super::{mix, unmix};

    #[test]
    fn scrambling_can_be_undone() {
        for x in [0, 1, 41, u64::MAX, 0x0123_4567_89ab_cdef] {
            assert_eq!(unmix(mix(x)), x);
        }
    }
}
