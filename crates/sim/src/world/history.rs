//! A history and what was already worked out about it.
//! Must never work the same thing out twice at once: who comes second waits.

use std::sync::{Arc, Mutex, OnceLock, RwLock};

use super::graph::Graph;
use super::walk::{self, Comparison};
use crate::lock::{hold, read};

/// A history with what was already worked out about it. Both stay true while commits are appended.
pub(crate) struct History {
    /// The commits and branches.
    pub(crate) graph: RwLock<Graph>,
    orders: Memo<u32, Arc<[u32]>>,
    comparisons: Memo<(u32, u32), Arc<Comparison>>,
}

impl History {
    /// Wraps a graph.
    pub(crate) fn new(graph: Graph) -> Self {
        Self { graph: RwLock::new(graph), orders: Memo::default(), comparisons: Memo::default() }
    }

    /// Lists what is reachable from a head, in git's order.
    pub(crate) fn order(&self, head: u32) -> Arc<[u32]> {
        self.orders.get(head, |order| order.len(), || walk::order(&read(&self.graph), head).into())
    }

    /// Compares two commits.
    pub(crate) fn compare(&self, base: u32, head: u32) -> Arc<Comparison> {
        let weigh = |found: &Arc<Comparison>| found.ahead.len();
        self.comparisons.get((base, head), weigh, || Arc::new(walk::compare(&read(&self.graph), base, head)))
    }
}

/// Remembers results; the oldest go first. Who asks for a result that is being worked out waits for it.
struct Memo<K, V>(Mutex<Vec<(K, Arc<OnceLock<V>>)>>);

impl<K, V> Default for Memo<K, V> {
    fn default() -> Self {
        Self(Mutex::new(Vec::new()))
    }
}

impl<K: PartialEq + Copy, V: Clone> Memo<K, V> {
    /// Indexes kept per repository: 64 MiB, which is twelve branches of a million commits.
    const WEIGHT_MAX: usize = (64 << 20) / size_of::<u32>();
    /// Results kept per repository, so that looking through them stays cheap.
    const RESULTS_MAX: usize = 1024;

    fn get(&self, key: K, weigh: impl Fn(&V) -> usize, make: impl FnOnce() -> V) -> V {
        let cell = {
            let mut kept = hold(&self.0);
            let found = kept.iter().rposition(|(known, _)| *known == key);
            let entry = found.map_or_else(|| (key, Arc::default()), |at| kept.remove(at));
            let cell = Arc::clone(&entry.1);
            kept.push(entry);
            let weight = |kept: &[(K, Arc<OnceLock<V>>)]| {
                kept.iter().filter_map(|(_, cell)| cell.get()).map(&weigh).sum::<usize>()
            };
            if found.is_none() {
                while kept.len() > 1 && (kept.len() > Self::RESULTS_MAX || weight(&kept) > Self::WEIGHT_MAX) {
                    kept.remove(0);
                }
            }
            cell
        };
        cell.get_or_init(make).clone()
    }
}
