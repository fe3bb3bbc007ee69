//! A repository as a pure model: an ever-growing commit graph with branches that move over it.
//!
//! It knows no provider and no address.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};

use proptest::sample::Index;

/// The branch that the repository names as its default, whether or not it exists.
pub(super) const DEFAULT_BRANCH: &str = "main";

/// A repository: commits are numbered in the order in which they were made and never change.
#[derive(Clone, Debug)]
pub(super) struct World {
    commits: Vec<Commit>,
    /// Commits by their hash.
    numbers: HashMap<String, usize>,
    /// Heads by the branch's name.
    pub(super) branches: BTreeMap<String, usize>,
    /// Commits that the provider threw away, because no branch reached them.
    collected: HashSet<usize>,
    branches_made: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Commit {
    pub(super) parents: Vec<usize>,
    pub(super) date: i64,
}

/// Something that happens to the repository.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// Commits on a branch, perhaps with dates long before all others.
    Commit { branch: Index, count: usize, old: bool },
    /// One branch is merged into another.
    Merge { into: Index, from: Index },
    /// A branch is pushed that begins at any commit, with its own commits of old dates.
    Branch { at: Index, count: usize },
    /// A branch without a common ancestor; the first one of all is the default branch.
    Orphan { count: usize },
    /// A branch is moved to any commit, with commits on top: a force push or a rebase.
    Force { branch: Index, to: Index, count: usize },
    /// A branch is deleted.
    Delete { branch: Index },
    /// Commits that no branch reaches are thrown away.
    Collect,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            commits: Vec::new(),
            numbers: HashMap::new(),
            branches: BTreeMap::new(),
            collected: HashSet::new(),
            branches_made: 0,
        }
    }

    pub(super) fn commit(&self, number: usize) -> &Commit {
        &self.commits[number]
    }

    /// Finds a commit that the provider still has.
    pub(super) fn find(&self, sha: &str) -> Option<usize> {
        self.numbers.get(sha).copied().filter(|it| !self.collected.contains(it))
    }

    /// Returns all that a commit reaches, itself included.
    pub(super) fn ancestry(&self, head: usize) -> BTreeSet<usize> {
        let mut reached = BTreeSet::new();
        let mut open = vec![head];
        while let Some(commit) = open.pop() {
            if reached.insert(commit) {
                open.extend(&self.commits[commit].parents);
            }
        }
        reached
    }

    /// Returns all that a commit of this hash reaches, whether or not the provider still has it.
    pub(super) fn ancestry_of(&self, sha: &str) -> BTreeSet<usize> {
        self.ancestry(self.numbers[sha])
    }

    /// Returns what `head` reaches and `but` does not, the newest date first among those that are next, as git lists it.
    pub(super) fn listed(&self, head: usize, but: &BTreeSet<usize>) -> Vec<usize> {
        let mut open = BinaryHeap::from([(self.commits[head].date, head)]);
        let mut seen = HashSet::from([head]);
        let mut listed = Vec::new();
        while let Some((_, commit)) = open.pop() {
            if but.contains(&commit) {
                continue;
            }
            listed.push(commit);
            for &parent in &self.commits[commit].parents {
                if seen.insert(parent) {
                    open.push((self.commits[parent].date, parent));
                }
            }
        }
        listed
    }

    pub(super) fn apply(&mut self, change: &Change) {
        match *change {
            Change::Commit { branch, count, old } => {
                let Some(name) = self.branch(branch) else { return self.orphan(count) };
                let head = self.branches[&name];
                let head = self.grow(Some(head), count, old);
                self.branches.insert(name, head);
            }
            Change::Merge { into, from } => {
                let (Some(into), Some(from)) = (self.branch(into), self.branch(from)) else { return };
                let parents = vec![self.branches[&into], self.branches[&from]];
                if parents[0] != parents[1] {
                    let merge = self.push(parents, false);
                    self.branches.insert(into, merge);
                }
            }
            Change::Branch { at, count } => {
                let Some(at) = self.any_commit(at) else { return };
                let head = self.grow(Some(at), count, true);
                let name = self.new_name();
                self.branches.insert(name, head);
            }
            Change::Orphan { count } => self.orphan(count),
            Change::Force { branch, to, count } => {
                let (Some(name), Some(to)) = (self.branch(branch), self.any_commit(to)) else { return };
                let head = self.grow(Some(to), count, false);
                self.branches.insert(name, head);
            }
            Change::Delete { branch } => {
                if let Some(name) = self.branch(branch) {
                    self.branches.remove(&name);
                }
            }
            Change::Collect => {
                let kept: BTreeSet<_> = self.branches.values().flat_map(|it| self.ancestry(*it)).collect();
                self.collected = (0..self.commits.len()).filter(|it| !kept.contains(it)).collect();
            }
        }
    }

    fn orphan(&mut self, count: usize) {
        let head = self.grow(None, count.max(1), false);
        let name = self.new_name();
        self.branches.insert(name, head);
    }

    fn new_name(&mut self) -> String {
        self.branches_made += 1;
        if self.branches_made == 1 {
            DEFAULT_BRANCH.to_owned()
        } else {
            format!("branch/{:03}", self.branches_made)
        }
    }

    fn branch(&self, index: Index) -> Option<String> {
        (!self.branches.is_empty()).then(|| (*index.get(&self.branches.keys().collect::<Vec<_>>())).clone())
    }

    /// Chooses a commit that the provider still has.
    fn any_commit(&self, index: Index) -> Option<usize> {
        let kept: Vec<_> = (0..self.commits.len()).filter(|it| !self.collected.contains(it)).collect();
        (!kept.is_empty()).then(|| *index.get(&kept))
    }

    fn grow(&mut self, mut head: Option<usize>, count: usize, old: bool) -> usize {
        for _ in 0..count {
            head = Some(self.push(head.into_iter().collect(), old));
        }
        head.expect("a branch has a head")
    }

    fn push(&mut self, parents: Vec<usize>, old: bool) -> usize {
        let number = self.commits.len();
        let date = i64::try_from(number).unwrap() * 60;
        // Old dates begin long before every other, and are not in the order of the commits.
        let date = if old { -1_000_000 - date } else { date };
        self.commits.push(Commit { parents, date });
        self.numbers.insert(sha(number), number);
        number
    }
}

/// Returns the hash of a commit: 40 hex digits that differ early.
pub(super) fn sha(number: usize) -> String {
    // A large odd factor spreads the numbers over all digits and keeps them distinct.
    let spread = (number as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    format!("{spread:032x}{number:08x}")
}
