//! Walks over a graph: the order in which git shows commits, and what lies between two of them.
//! Must never trust dates for what is reachable: they may lie, indexes do not.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::graph::Graph;

/// One bit per commit.
pub(crate) struct Marks(Vec<u64>);

impl Marks {
    /// Tells whether the mark is set; what was appended later has none.
    pub(crate) fn has(&self, at: u32) -> bool {
        self.0.get(at as usize / 64).is_some_and(|word| word & (1 << (at % 64)) != 0)
    }

    /// Weighs the marks, counted in indexes of commits.
    pub(super) fn words(&self) -> usize {
        self.0.len() * 2
    }

    fn new(graph: &Graph) -> Self {
        Self(vec![0; graph.len() as usize / 64 + 1])
    }

    /// Sets the mark and tells whether it was unset.
    fn set(&mut self, at: u32) -> bool {
        let (word, bit) = (&mut self.0[at as usize / 64], 1 << (at % 64));
        let unset = *word & bit == 0;
        *word |= bit;
        unset
    }
}

/// Lists what is reachable from the heads as `git log` does: latest committer date first, among those whose
/// child was shown.
pub(crate) fn order(graph: &Graph, heads: &[u32]) -> Vec<u32> {
    by_date(graph, heads, |_| true)
}

/// Walks from the heads by date, through the commits that are wanted.
fn by_date(graph: &Graph, heads: &[u32], wanted: impl Fn(u32) -> bool) -> Vec<u32> {
    let mut marks = Marks::new(graph);
    let mut queue = BinaryHeap::new();
    // Of two with the same date git shows the one first that it met first.
    let mut met = 0_u32;
    let mut order = Vec::new();
    for head in heads.iter().copied().filter(|head| marks.set(*head)) {
        queue.push((graph.date(head), Reverse(met), head));
        met += 1;
    }
    while let Some((_, _, at)) = queue.pop() {
        order.push(at);
        for parent in graph.parents(at) {
            if wanted(parent) && marks.set(parent) {
                queue.push((graph.date(parent), Reverse(met), parent));
                met += 1;
            }
        }
    }
    order
}

/// Lists everything that is reachable from any of the heads, in no useful order.
pub(crate) fn reachable(graph: &Graph, heads: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let mut marks = Marks::new(graph);
    let mut found: Vec<u32> = heads.into_iter().filter(|head| marks.set(*head)).collect();
    let mut next = 0;
    while let Some(at) = found.get(next).copied() {
        next += 1;
        found.extend(graph.parents(at).filter(|parent| marks.set(*parent)));
    }
    found
}

/// Marks everything that is reachable from a head.
pub(crate) fn reach(graph: &Graph, head: u32) -> Marks {
    let mut marks = Marks::new(graph);
    let mut left = vec![head];
    while let Some(at) = left.pop() {
        if marks.set(at) {
            left.extend(graph.parents(at));
        }
    }
    marks
}

/// What lies between a base and a head.
pub(crate) struct Comparison {
    /// Reachable from the head and not from the base, oldest first.
    pub(crate) ahead: Vec<u32>,
    /// How many are reachable from the base and not from the head.
    pub(crate) behind: usize,
    /// The best common ancestor, `None` when the two share nothing.
    pub(crate) merge_base: Option<u32>,
}

const BASE: u8 = 1;
const HEAD: u8 = 2;
const COMMON: u8 = BASE | HEAD;
/// Below a common ancestor: of no interest any more.
const STALE: u8 = 4;

/// Adds a colour to a commit, queues it when it is met for the first time, and tells by how much the number of
/// queued commits that are not stale changes.
fn paint(flags: &mut HashMap<u32, u8>, queue: &mut BinaryHeap<u32>, at: u32, colour: u8) -> isize {
    let entry = flags.entry(at).or_default();
    let before = *entry;
    *entry |= colour;
    let stale_now = *entry & STALE != 0;
    if before == 0 {
        queue.push(at);
        return isize::from(!stale_now);
    }
    -isize::from(before & STALE == 0 && stale_now)
}

/// Compares two commits. Children have greater indexes than their parents, so a commit's flags are final when
/// it leaves the queue.
pub(crate) fn compare(graph: &Graph, base: u32, head: u32) -> Comparison {
    let mut flags: HashMap<u32, u8> = HashMap::new();
    let mut queue = BinaryHeap::new();
    let mut live = 0_usize;
    for (at, colour) in [(base, BASE), (head, HEAD)] {
        live = live.saturating_add_signed(paint(&mut flags, &mut queue, at, colour));
    }
    let (mut ahead, mut behind, mut merge_base) = (0_usize, 0, None::<u32>);
    while live > 0
        && let Some(at) = queue.pop()
    {
        let mut colour = flags[&at];
        live -= usize::from(colour & STALE == 0);
        match colour & COMMON {
            COMMON => {
                let later = merge_base.is_none_or(|best| graph.date(best) < graph.date(at));
                if colour & STALE == 0 && later {
                    merge_base = Some(at);
                }
                colour |= STALE;
            }
            BASE => behind += 1,
            _ => ahead += 1,
        }
        for parent in graph.parents(at) {
            live = live.saturating_add_signed(paint(&mut flags, &mut queue, parent, colour));
        }
    }
    let mut ahead_order =
        if ahead == 0 { Vec::new() } else { by_date(graph, &[head], |at| flags.get(&at) == Some(&HEAD)) };
    ahead_order.reverse();
    Comparison { ahead: ahead_order, behind, merge_base }
}
