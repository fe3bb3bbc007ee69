//! Makes up the issues and pull requests of a seeded repository.
//! Must never depend on anything but its arguments: the same seed is the same list on every machine.

use serde_json::{Value, json};

use super::{Issue, Pull, id};
use crate::hash::{mix, pick};

/// The first is opened at midnight of 2023-01-01, the others ten minutes apart.
const FIRST_S: i64 = 1_672_531_200;
const STEP_S: i64 = 600;
/// One in so many is a pull request.
const PULLS: u64 = 4;
/// What happens later happens within so many seconds: most change last in another order than they were opened.
const LIFE_S: u64 = 5 * 86_400;
const AUTHORS: [&str; 5] = ["ada", "zoe-ostergard", "jose", "mia-keller", "dependabot"];
const LABELS: [&str; 4] = ["bug", "good first issue", "größe M", "needs: triage"];
const TITLES: [&str; 5] = [
    "Refunds are counted twice",
    "Say why a payment was refused",
    "The export ends at 2³¹ rows",
    "Télécharger en PDF",
    "Filter is lost when going \"back\"",
];

/// Makes up the list of the repository with this place in its world, oldest first.
pub(crate) fn generate(seed: u64, repository: u64, count: usize) -> Vec<Issue> {
    (1..)
        .take(count)
        .map(|number| one(mix(seed ^ mix(repository << 32 | number)), repository, number))
        .collect()
}

fn one(random: u64, repository: u64, number: u64) -> Issue {
    let id = id(repository, number);
    let created_s = FIRST_S + i64::try_from(number).unwrap_or_default() * STEP_S;
    let author = AUTHORS[pick(random, AUTHORS.len())];
    let key =
        if (random >> 3).is_multiple_of(2) { format!("PAY-{}: ", random >> 8 & 0xff) } else { String::new() };
    let pull = (random >> 4).is_multiple_of(PULLS).then(|| Pull {
        id: id + 1,
        branch: format!("topic/{}", random >> 48),
        sha: format!("{:016x}{:016x}{:08x}", mix(random), mix(!random), random & 0xffff_ffff),
        forkless: (random >> 16).is_multiple_of(4),
        merged_s: None,
    });
    let mut it = Issue {
        id,
        number,
        title: format!("{key}{}", TITLES[pick(random >> 20, TITLES.len())]),
        open: true,
        author: author.to_owned(),
        labels: Vec::new(),
        comments: 0,
        created_s,
        updated_s: created_s,
        closed_s: None,
        pull,
        events: Vec::new(),
        gone: None,
    };
    live(&mut it, random >> 24);
    it
}

/// Lets things happen to one.
fn live(it: &mut Issue, random: u64) {
    let mut at_s = it.created_s;
    for nth in 0..random & 3 {
        at_s += i64::try_from(mix(random ^ nth) % (LIFE_S / 4)).unwrap_or_default();
        let actor = AUTHORS[pick(random >> (4 + nth), AUTHORS.len())];
        let (event, more) = happens(it, random >> (8 + nth * 3) & 7, at_s);
        it.happened(event, at_s, actor, more);
        it.touch(at_s);
    }
    if random >> 20 & 1 == 0 {
        at_s += 1;
        it.open = false;
        it.closed_s = Some(at_s);
        if let Some(pull) = it.pull.as_mut().filter(|_| random >> 21 & 1 == 0) {
            pull.merged_s = Some(at_s);
            let sha = pull.sha.clone();
            it.happened("merged", at_s, "ada", json!({ "commit_id": sha }));
        }
        it.happened("closed", at_s, "ada", json!({ "state_reason": null }));
        it.touch(at_s);
    }
}

/// Chooses something that happens to one.
fn happens(it: &mut Issue, random: u64, at_s: i64) -> (&'static str, Value) {
    let sha = it.pull.as_ref().map(|it| it.sha.clone());
    match (random, sha) {
        (0, Some(sha)) => ("committed", json!({ "sha": sha })),
        (1, Some(sha)) => ("reviewed", json!({ "state": "approved", "body": "Fine. 👍", "commit_id": sha })),
        (2, Some(sha)) => ("line-commented", json!({ "commit_id": sha, "body": "Why not here?" })),
        (0..=2, _) => {
            it.comments += 1;
            ("commented", json!({ "body": format!("I can see it, too, since {at_s}.") }))
        }
        (3, _) => ("cross-referenced", json!({ "number": it.number + 1 })),
        (4, _) => {
            let from = it.title.clone();
            it.title.push_str(" again");
            ("renamed", json!({ "rename": { "from": from, "to": it.title } }))
        }
        (5, _) => ("assigned", json!({ "assignee": "ada" })),
        (_, _) => {
            let label = LABELS[pick(random + it.number, LABELS.len())];
            if !it.labels.iter().any(|known| known == label) {
                it.labels.push(label.to_owned());
            }
            ("labeled", json!({ "label": { "name": label, "color": "d4c5f9" } }))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::generate;

    #[test]
    fn a_list_has_both_kinds_and_many_events_and_changes_out_of_order() {
        let listed = generate(7, 1, 400);
        assert_eq!(listed, generate(7, 1, 400));
        let pulls = listed.iter().filter(|it| it.pull.is_some()).count();
        assert!((50..200).contains(&pulls), "{pulls}");
        let kinds: BTreeSet<&str> =
            listed.iter().flat_map(|it| &it.events).map(|it| it.event.as_str()).collect();
        assert!(kinds.len() >= 9, "{kinds:?}");
        assert!(listed.windows(2).any(|it| it[0].updated_s > it[1].updated_s));
        assert!(listed.iter().any(|it| it.open) && listed.iter().any(|it| !it.open));
    }
}
