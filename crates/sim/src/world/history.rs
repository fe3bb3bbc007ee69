//! A history and what was already worked out about it.
//! Must never work the same thing out twice at once: who comes second waits.

use std::sync::{Arc, Mutex, OnceLock, RwLock};

use jiff::Timestamp;

use super::graph::Graph;
use super::walk::{self, Comparison, Marks};
use crate::hash::Digest;
use crate::lock::{hold, read};

/// A history with what was already worked out about it. Both stay true while commits are appended.
pub(crate) struct History {
    /// The commits and branches.
    pub(crate) graph: RwLock<Graph>,
    orders: Memo<u128, Arc<[u32]>>,
    reaches: Memo<u32, Arc<Marks>>,
    comparisons: Memo<(u32, u32), Arc<Comparison>>,
}

impl History {
    /// Wraps a graph.
    pub(crate) fn new(graph: Graph) -> Self {
        let graph = RwLock::new(graph);
        Self { graph, orders: Memo::default(), reaches: Memo::default(), comparisons: Memo::default() }
    }

    /// Lists what is reachable from a head, in git's order.
    pub(crate) fn order(&self, head: u32) -> Arc<[u32]> {
        self.order_of(&[head])
    }

    /// Lists what is reachable from any of the heads, in git's order.
    pub(crate) fn order_of(&self, heads: &[u32]) -> Arc<[u32]> {
        let key = heads.iter().fold(Digest::new(13), |digest, head| digest.word(u64::from(*head))).finish();
        self.orders.get(key, |order| order.len(), || walk::order(&read(&self.graph), heads).into())
    }

    /// Leaves out what was committed before `since` or after `until`.
    pub(crate) fn within(
        &self,
        order: &Arc<[u32]>,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Arc<[u32]> {
        if since.is_none() && until.is_none() {
            return Arc::clone(order);
        }
        // Commits have whole seconds: one in the second that `since` lies in is before it.
        let since = since.map(|it| it.as_second() + i64::from(it.subsec_nanosecond() > 0));
        let until = until.map(Timestamp::as_second);
        let graph = read(&self.graph);
        let inside = |at: &u32| {
            let date = graph.date(*at);
            since.is_none_or(|since| date >= since) && until.is_none_or(|until| date <= until)
        };
        order.iter().copied().filter(inside).collect()
    }

    /// Tells what is reachable from a head.
    pub(crate) fn reach(&self, head: u32) -> Arc<Marks> {
        self.reaches.get(head, |marks| marks.words(), || Arc::new(walk::reach(&read(&self.graph), head)))
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
