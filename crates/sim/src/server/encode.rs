//! Encoded bodies, each made once: a benchmark should measure its client, not this server.
//! Must never hold its lock while a body is made.

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::sync::Mutex;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::lock::hold;

/// Memory for encoded bodies: the compressed pages of 250,000 commits.
const KEPT_BYTES_MAX: usize = 256 << 20;
/// Smaller bodies gain nothing from compression.
const GZIP_BYTES_MIN: usize = 1 << 10;

/// What a body says, and whether it is compressed.
type Key = (u128, bool);

#[derive(Default)]
struct Kept {
    bodies: HashMap<Key, (Bytes, u64)>,
    by_use: BTreeMap<u64, Key>,
    uses: u64,
    bytes: usize,
}

/// Encoded bodies; those unused for longest go first.
#[derive(Default)]
pub(crate) struct Cache(Mutex<Kept>);

impl Cache {
    /// Returns the encoded body and whether it is compressed.
    pub(crate) fn body(
        &self,
        content: Option<u128>,
        gzip: bool,
        make: impl FnOnce() -> Vec<u8>,
    ) -> (Bytes, bool) {
        let Some(content) = content else { return (Bytes::from(make()), false) };
        if let Some(found) = self.find(content, gzip) {
            return found;
        }
        let plain = make();
        let gzip = gzip && plain.len() >= GZIP_BYTES_MIN;
        let body = Bytes::from(if gzip { compress(&plain) } else { plain });
        self.keep((content, gzip), &body);
        (body, gzip)
    }

    fn find(&self, content: u128, gzip: bool) -> Option<(Bytes, bool)> {
        let mut kept = hold(&self.0);
        let kept = &mut *kept;
        // A body that was too small to be compressed is there as it is.
        let wanted = [(content, gzip), (content, false)];
        let key = wanted.into_iter().find(|key| {
            kept.bodies.get(key).is_some_and(|(body, _)| key.1 == gzip || body.len() < GZIP_BYTES_MIN)
        })?;
        let (body, used) = kept.bodies.get_mut(&key)?;
        kept.by_use.remove(used);
        kept.uses += 1;
        *used = kept.uses;
        kept.by_use.insert(kept.uses, key);
        Some((body.clone(), key.1))
    }

    fn keep(&self, key: Key, body: &Bytes) {
        let mut kept = hold(&self.0);
        let kept = &mut *kept;
        kept.uses += 1;
        kept.bytes += body.len();
        if let Some((known, used)) = kept.bodies.insert(key, (body.clone(), kept.uses)) {
            kept.bytes -= known.len();
            kept.by_use.remove(&used);
        }
        kept.by_use.insert(kept.uses, key);
        while kept.bytes > KEPT_BYTES_MAX
            && let Some((_, oldest)) = kept.by_use.pop_first()
        {
            if let Some((body, _)) = kept.bodies.remove(&oldest) {
                kept.bytes -= body.len();
            }
        }
    }
}

/// Compresses at the fastest level, as a front server does.
fn compress(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    // Writing to memory cannot fail; an empty body would be noticed by every client.
    encoder.write_all(body).ok();
    encoder.finish().unwrap_or_default()
}
