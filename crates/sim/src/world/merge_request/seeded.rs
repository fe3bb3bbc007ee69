//! Derives the merge requests of a seeded repository from its branches and merge commits.
//! Must never ask anything but the graph: the same seed is the same list on every machine.

use super::{Account, MergeRequest, MergeRequestState, id};
use crate::hash::{mix, pick};
use crate::world::{Graph, Text, walk};

/// Merge commits that a list goes back to: some pages, and a large world stays small.
const MERGES_MAX: usize = 300;
const DAY_MS: u64 = 86_400_000;
const LABELS: [&str; 5] = ["backend", "frontend", "needs-review", "prio::1", "Größe M"];

/// Derives the list of the repository with this place in its world, oldest first.
pub(crate) fn generate(graph: &Graph, repository: u64) -> Vec<MergeRequest> {
    let mut found = Vec::new();
    let two = |at: &u32| graph.parents(*at).count() == 2;
    for at in (0..graph.len()).rev().filter(two).take(MERGES_MAX) {
        if let Some(side) = graph.parents(at).nth(1) {
            found.push(merged(graph, at, side));
        }
    }
    let main = graph.branches.get(&graph.default_branch).map(|main| walk::reach(graph, *main));
    for (name, head) in &graph.branches {
        if main.as_ref().is_some_and(|main| !main.has(*head)) {
            found.push(unmerged(graph, name, *head));
        }
    }
    found.sort_by(|one, other| (one.created_ms, &one.sha).cmp(&(other.created_ms, &other.sha)));
    for (iid, it) in (1..).zip(&mut found) {
        it.iid = iid;
        it.id = id(repository, iid);
    }
    found
}

/// Takes a span of time at random.
fn some_ms(random: u64, below: u64) -> i64 {
    i64::try_from(random % below).unwrap_or_default()
}

fn account(text: &Text<'_>) -> Account {
    Account::of(text.author.name, text.author.email)
}

/// Begins with what the head of a branch tells.
fn draft(graph: &Graph, source: String, head: u32, random: u64, created_ms: i64) -> MergeRequest {
    let text = graph.text(head);
    let (title, rest) = text.message.split_once('\n').unwrap_or((&text.message, ""));
    let title = if (random >> 12).is_multiple_of(7) { format!("Draft: {title}") } else { title.to_owned() };
    let label = LABELS[pick(random >> 20, LABELS.len())].to_owned();
    MergeRequest {
        id: 0,
        iid: 0,
        title,
        description: rest.trim().to_owned(),
        state: MergeRequestState::Opened,
        author: account(&text),
        labels: if (random >> 16).is_multiple_of(3) { vec![label] } else { Vec::new() },
        source_branch: source,
        target_branch: graph.default_branch.clone(),
        sha: graph.sha(head).to_string(),
        merge_sha: None,
        created_ms,
        updated_ms: created_ms,
        merged: None,
        closed: None,
        notes: u32::try_from(random >> 24 & 15).unwrap_or_default(),
        said: Vec::new(),
    }
}

fn merged(graph: &Graph, at: u32, side: u32) -> MergeRequest {
    let random = mix(graph.sha(at).word());
    let merged_ms = graph.date(at) * 1_000 + some_ms(random >> 32, 1_000);
    let created_ms = merged_ms - some_ms(random, 20 * DAY_MS) - 2_000;
    let text = graph.text(at);
    let source = format!("topic/{}", random >> 48);
    let mut it = draft(graph, source, side, random, created_ms);
    it.title = it.title.trim_start_matches("Draft: ").to_owned();
    // Its number comes later; until then the sha decides what the number would.
    it.id = graph.sha(at).word();
    it.merge(graph.sha(at).to_string(), merged_ms, account(&text));
    it
}

fn unmerged(graph: &Graph, name: &str, head: u32) -> MergeRequest {
    let random = mix(graph.sha(head).word());
    let created_ms = graph.date(head) * 1_000 + some_ms(random >> 8, DAY_MS);
    let mut it = draft(graph, name.to_owned(), head, random, created_ms);
    it.updated_ms = created_ms + some_ms(random >> 16, 5 * DAY_MS);
    if random.is_multiple_of(4) {
        it.state = MergeRequestState::Closed;
        it.closed = Some((it.updated_ms, it.author.clone()));
    }
    it
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::super::seeded;
    use super::{MergeRequestState, generate};

    #[test]
    fn a_list_has_all_states_and_most_merges_are_later_than_the_last_change() {
        let listed = generate(&seeded::generate(1, 1, 3_000), 2);
        let states: BTreeSet<_> = listed.iter().map(|it| it.state.word()).collect();
        assert_eq!(states, BTreeSet::from(["closed", "merged", "opened"]));
        assert_eq!(listed[0].id, 330_000_001);
        assert!(listed.iter().zip(&listed[1..]).all(|(one, next)| one.created_ms <= next.created_ms));
        let merged: Vec<_> = listed.iter().filter(|it| it.state == MergeRequestState::Merged).collect();
        let later = |it: &&&super::MergeRequest| {
            let late_ms = it.merged.as_ref().unwrap().0 - it.updated_ms;
            assert!((0..=1_000).contains(&late_ms), "{late_ms} ms");
            late_ms > 0
        };
        let late = merged.iter().filter(later).count();
        let tenths = late * 10 / merged.len();
        assert!(merged.len() > 50 && (7..10).contains(&tenths), "{late} of {}", merged.len());
    }
}
