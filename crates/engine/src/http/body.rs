//! The memory that an answer's body arrives in.
//!
//! A large body has a mapping of its own. From the heap it would leave a gap there that the next body, never of the same
//! size, does not fit: measured, a sixth of the memory of a long sync. A few mappings are kept for the next bodies, the
//! others go back to the system as soon as their last record is committed.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use memmap2::MmapMut;

/// Smaller bodies come from the heap, as a mapping is made of whole pages and costs a call to the system.
const MAPPED_FROM_BYTES: usize = 64 * 1024;

/// Mappings are a multiple of this long, so that one fits the next body too: 100 commits are some 450 KB.
const MAPPED_STEP_BYTES: usize = 512 * 1024;

/// Mappings kept for the next bodies: as many as one commit of the writer sets free.
const KEPT_MAX: usize = 8;

/// Mappings that no body is in.
#[derive(Clone, Debug, Default)]
pub(super) struct Spare(Arc<Mutex<Vec<MmapMut>>>);

impl Spare {
    fn take(&self, bytes: usize) -> Option<MmapMut> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = kept.iter().position(|it| it.len() >= bytes)?;
        Some(kept.swap_remove(fits))
    }

    fn keep(&self, mapping: MmapMut) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A longer one is rare, and would stand about.
        if kept.len() < KEPT_MAX && mapping.len() == MAPPED_STEP_BYTES {
            kept.push(mapping);
        }
    }
}

/// A body that is arriving.
pub(super) struct Body {
    room: Room,
    filled: usize,
    spare: Spare,
}

enum Room {
    Heap(Vec<u8>),
    Mapped(MmapMut),
}

impl Body {
    /// Makes room for `expected` bytes.
    pub(super) fn new(expected: usize, spare: &Spare) -> Self {
        Self { room: Room::new(expected, spare), filled: 0, spare: spare.clone() }
    }

    /// Returns how many bytes have arrived.
    pub(super) fn len(&self) -> usize {
        self.filled
    }

    /// Adds what has arrived.
    pub(super) fn extend(&mut self, chunk: &[u8]) {
        let filled = self.filled + chunk.len();
        if filled > self.room.bytes().len() {
            // Twice as much each time, so that what was there is copied a few times at most.
            let mut larger = Room::new(filled.max(2 * self.filled), &self.spare);
            copy(larger.bytes_mut(), self.filled_part());
            std::mem::replace(&mut self.room, larger).end(&self.spare);
        }
        if let Some(free) = self.room.bytes_mut().get_mut(self.filled..filled) {
            copy(free, chunk);
        }
        self.filled = filled;
    }

    /// Returns the whole, to be shared without copies.
    pub(super) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }

    fn filled_part(&self) -> &[u8] {
        self.room.bytes().get(..self.filled).unwrap_or_default()
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        std::mem::replace(&mut self.room, Room::Heap(Vec::new())).end(&self.spare);
    }
}

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        self.filled_part()
    }
}

impl Room {
    fn new(bytes: usize, spare: &Spare) -> Self {
        if bytes < MAPPED_FROM_BYTES {
            return Self::Heap(vec![0; bytes]);
        }
        let map = || MmapMut::map_anon(bytes.next_multiple_of(MAPPED_STEP_BYTES)).ok();
        // A system that refuses the mapping may still have room on the heap.
        spare.take(bytes).or_else(map).map_or_else(|| Self::Heap(vec![0; bytes]), Self::Mapped)
    }

    fn end(self, spare: &Spare) {
        if let Self::Mapped(mapping) = self {
            spare.keep(mapping);
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Mapped(bytes) => bytes,
        }
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Mapped(bytes) => bytes,
        }
    }
}

/// Copies `from` to the beginning of `to`, which is no shorter.
fn copy(to: &mut [u8], from: &[u8]) {
    if let Some(to) = to.get_mut(..from.len()) {
        to.copy_from_slice(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_of_every_size_arrive_whole() {
        let spare = Spare::default();
        for (expected, chunk, chunks) in [
            (0, 1, 3),
            (0, 50_000, 9),
            (100_000, 30_000, 2),
            (100_000, 30_000, 40),
            (512 << 10, 512 << 10, 1),
        ] {
            let mut body = Body::new(expected, &spare);
            let mut sent = Vec::new();
            for nth in 0..chunks {
                let part: Vec<u8> = (0..=u8::MAX).cycle().skip(nth).take(chunk).collect();
                body.extend(&part);
                sent.extend_from_slice(&part);
            }
            assert_eq!(body.len(), sent.len());
            assert_eq!(body.freeze(), sent, "{expected} expected, {chunks} of {chunk}");
        }
    }

    #[test]
    fn a_kept_mapping_shows_nothing_of_the_last_body() {
        let spare = Spare::default();
        let mut first = Body::new(200_000, &spare);
        first.extend(&vec![1; 200_000]);
        drop(first.freeze());
        let mut second = Body::new(100_000, &spare);
        assert_eq!(spare.0.lock().unwrap().len(), 0, "the mapping is used again");
        second.extend(&[2; 10]);
        assert_eq!(second.freeze(), vec![2; 10]);
    }

    #[test]
    fn only_so_many_are_kept() {
        let spare = Spare::default();
        let bodies: Vec<Body> = (0..2 * KEPT_MAX).map(|_| Body::new(100_000, &spare)).collect();
        drop(bodies);
        drop(Body::new(4 * MAPPED_STEP_BYTES, &spare));
        assert_eq!(spare.0.lock().unwrap().len(), KEPT_MAX);
    }
}
