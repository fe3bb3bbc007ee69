//! Makes a repository from a seed: branches that share history, merges, an octopus now and then, and branches
//! that are pushed late with old dates.
//! Must never ask anything but its arguments: the same seed is the same world on every machine.

use super::graph::Graph;
use crate::hash::{Digest, mix, pick};

/// Midnight of 2023-01-01: an ordinary start, the same on every day the simulator runs.
const START_S: i64 = 1_672_531_200;
/// A history spans two years, whatever its length.
const SPAN_S: i64 = 2 * 365 * 86_400;
/// Side lines open at once; with more the listings would show branches and little else.
const LINES_MAX: usize = 9;
/// Side lines that a history of more than a few commits ends with at least.
const LINES_AT_END: usize = 4;
/// How branches are called; the odd characters are legal in git and have to be encoded in a URL.
const NAMES: [&str; 9] = [
    "feature/PAY-{}-refunds",
    "fix/{}",
    "feature/search/v{}",
    "user/zoë/spike-{}",
    "hotfix/50%-off-{}",
    "chore+deps-{}",
    "topic/#{}",
    "wip-{}",
    "release/{}.x",
];

/// A side line that is being worked on.
struct Line {
    name: String,
    tip: u32,
    /// By how much its dates are older than the days it is pushed on.
    late_s: i64,
    merged: bool,
}

/// A history being written.
struct Draft {
    graph: Graph,
    main: u32,
    lines: Vec<Line>,
    opened: usize,
}

/// Makes the repository with this number from the seed.
pub(crate) fn generate(seed: u64, repository: usize, commits: usize) -> Graph {
    let salt = Digest::new(1).word(seed).word(repository as u64).word(commits as u64).short();
    let mut draft = Draft { graph: Graph::seeded(salt), main: 0, lines: Vec::new(), opened: 0 };
    let step = SPAN_S / i64::try_from(commits.max(1)).unwrap_or(i64::MAX);
    for number in 0..commits {
        let random = mix(salt ^ mix(number as u64));
        let offset = i64::try_from(number).unwrap_or_default() * step;
        let jitter = i64::try_from(random >> 40).unwrap_or_default() % step.max(1);
        // Towards its end a history merges no more, so that it always has some open branches to show.
        let closing = number >= commits - commits / 10;
        draft.advance(random, START_S + offset + jitter, closing);
    }
    draft.finish()
}

impl Draft {
    /// Adds one commit.
    fn advance(&mut self, random: u64, date: i64, closing: bool) {
        if self.graph.len() == 0 {
            self.main = self.graph.append(&[], date);
            return;
        }
        let open: Vec<usize> = (0..self.lines.len()).filter(|line| !self.lines[*line].merged).collect();
        match random % 100 {
            _ if closing && self.lines.len() < LINES_AT_END => self.open(random, date),
            91.. if closing => self.main = self.graph.append(&[self.main], date),
            48..86 if !self.lines.is_empty() => self.work(pick(random >> 16, self.lines.len()), date),
            86..91 if self.lines.len() < LINES_MAX => self.open(random, date),
            91..99 if !open.is_empty() => {
                self.merge(&open[pick(random >> 16, open.len())..][..1], random, date);
            }
            99 if open.len() > 1 => self.merge(&open[..2], random, date),
            _ => self.main = self.graph.append(&[self.main], date),
        }
    }

    fn work(&mut self, line: usize, date: i64) {
        let line = &mut self.lines[line];
        line.tip = self.graph.append(&[line.tip], date - line.late_s);
        line.merged = false;
    }

    fn open(&mut self, random: u64, date: i64) {
        self.opened += 1;
        let name = NAMES[pick(random >> 8, NAMES.len())].replace("{}", &self.opened.to_string());
        // Every fourth line starts from another line, so that they share commits that the main branch lacks.
        let from = if self.opened.is_multiple_of(4) {
            self.lines.last().map_or(self.main, |line| line.tip)
        } else {
            self.main
        };
        // Every third line is pushed 40 to 400 days after its dates.
        let days = if self.opened.is_multiple_of(3) {
            40 + i64::try_from(pick(random >> 24, 361)).unwrap_or_default()
        } else {
            0
        };
        let late_s = days * 86_400;
        let tip = self.graph.append(&[from], date - late_s);
        self.lines.push(Line { name, tip, late_s, merged: false });
    }

    fn merge(&mut self, lines: &[usize], random: u64, date: i64) {
        let mut parents = vec![self.main];
        parents.extend(lines.iter().map(|line| self.lines[*line].tip));
        self.main = self.graph.append(&parents, date);
        // Most branches are deleted after their merge, some live on.
        let delete = random >> 32 & 3 != 0;
        for line in lines.iter().rev() {
            if delete {
                self.lines.remove(*line);
            } else {
                self.lines[*line].merged = true;
            }
        }
    }

    fn finish(self) -> Graph {
        let mut graph = self.graph;
        if graph.len() == 0 {
            return graph;
        }
        // Two more names on history that is there already: an old release and a copy of the head.
        let first_parents = std::iter::successors(Some(self.main), |at| graph.parents(*at).next());
        let old = first_parents.take(40).last().unwrap_or(self.main);
        graph.branches.extend(self.lines.into_iter().map(|line| (line.name, line.tip)));
        graph.branches.insert("main".to_owned(), self.main);
        graph.branches.insert("release/1.0".to_owned(), old);
        graph.branches.insert("staging".to_owned(), self.main);
        graph
    }
}

#[cfg(test)]
mod tests {
    use super::super::walk;
    use super::generate;

    #[test]
    fn every_commit_can_be_reached_from_a_branch() {
        for commits in [0, 1, 2, 7, 200, 3000] {
            let graph = generate(1, 1, commits);
            assert_eq!(graph.len() as usize, commits);
            assert_eq!(walk::reachable(&graph, graph.branches.values().copied()).len(), commits);
        }
    }

    #[test]
    fn a_world_has_merges_octopuses_and_old_dates() {
        let graph = generate(1, 1, 3000);
        let with =
            |parents: usize| (0..graph.len()).filter(|at| graph.parents(*at).count() == parents).count();
        let late =
            (0..graph.len()).filter(|at| graph.parents(*at).any(|p| graph.date(p) > graph.date(*at))).count();
        assert!(
            with(2) > 50 && with(3) > 2 && late > 5,
            "{} merges, {} octopuses, {late} late",
            with(2),
            with(3)
        );
    }
}
