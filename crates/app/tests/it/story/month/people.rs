//! What people do in a month beside the simulator's everyday work: the rare things that go wrong first.
//!
//! It must never do what a person could not; all is decided by a seed.

use serde_json::{Value, json};
use sim::{Sim, SiteControl, SprintState, State};

/// Numbers that follow from a seed.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a number below `end`.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        // SplitMix64, whose numbers are as good as these need to be.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end.max(1)
    }

    /// Returns a number of a range.
    pub(super) fn between(&mut self, first: i64, last: i64) -> i64 {
        first + i64::try_from(self.below(u64::try_from(last - first + 1).unwrap())).unwrap()
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        let at = usize::try_from(self.below(all.len() as u64)).unwrap();
        all.get(at)
    }
}

/// Lets somebody do something at a site; what cannot be done is not done, as a page that says no.
pub(super) fn attempt(sim: &Sim, change: Value) -> Option<u64> {
    let control: SiteControl = serde_json::from_value(change).unwrap();
    sim.world().site().apply(&control).ok().flatten()
}

/// Lets somebody do one of the rare things with code or at the site.
pub(super) fn something_rare(sim: &Sim, random: &mut Random) {
    if random.below(3) == 0 { rare_code(sim, random) } else { rare_card(sim, random) }
}

fn rare_code(sim: &Sim, random: &mut Random) {
    let world = sim.world();
    let names = world.names();
    let Some(name) = random.one_of(&names) else { return };
    let truth = world.repository_truth(name).unwrap();
    let side: Vec<&String> = truth.branches.keys().filter(|it| **it != truth.default_branch).collect();
    let Some(branch) = random.one_of(&side).copied() else { return };
    let main = &truth.default_branch;
    let done = match random.below(7) {
        // Work that lay on a disk for a year.
        0 => world.push_old(name, branch, 2, 400).map(drop),
        1 => world.merge(name, branch, main).map(drop),
        2 => world.force_push(name, main).map(drop),
        3 => world.force_push(name, branch).map(drop),
        // The same name comes back for something else.
        4 => {
            world.delete_branch(name, branch).unwrap();
            world.create_branch(name, branch, main).and_then(|_| world.push(name, branch, 1)).map(drop)
        }
        5 => {
            let new = format!("release/{}", random.below(1000));
            world.create_branch(name, &new, branch).and_then(|_| world.merge(name, main, &new)).map(drop)
        }
        _ => world.delete_branch(name, branch),
    };
    // A name may be taken by now.
    drop(done);
}

fn rare_card(sim: &Sim, random: &mut Random) {
    let truth = sim.world().site().truth();
    let active: Vec<u64> =
        truth.sprints.iter().filter(|(_, it)| it.state == SprintState::Active).map(|(id, _)| *id).collect();
    let Some(sprint) = random.one_of(&active).copied() else { return };
    let inside: Vec<u64> = truth.sprints[&sprint].issues.iter().copied().collect();
    let all: Vec<u64> = truth.issues.keys().copied().collect();
    let (Some(issue), Some(any)) = (random.one_of(&inside), random.one_of(&all)) else { return };
    let (issue, any) = (issue.to_string(), any.to_string());
    let quiet = random.below(2) == 0;
    let project = ["PAY", "OPS"][usize::try_from(random.below(2)).unwrap()];
    let change = match random.below(10) {
        0 => json!({ "change_project": { "issue": issue, "project": project } }),
        1 => json!({ "move": { "issue": issue, "sprint": null, "quiet": quiet } }),
        2 | 3 => json!({ "move": { "issue": any, "sprint": sprint, "quiet": quiet } }),
        4 => json!({ "hide": { "issue": issue, "hidden": true } }),
        5 => json!({ "delete": { "issue": issue } }),
        6 => {
            let part =
                json!({ "project": "PAY", "kind": "subtask", "summary": "A part of it", "parent": issue });
            json!({ "create": part })
        }
        7 => json!({ "project_access": { "project": project, "access": "denied" } }),
        8 => {
            let mut future = truth.sprints.iter().filter(|(_, it)| it.state == SprintState::Future);
            let Some((id, _)) = future.next_back() else { return };
            json!({ "delete_sprint": { "sprint": id } })
        }
        _ => {
            let board = truth.sprints[&sprint].board;
            let next = attempt(sim, json!({ "create_sprint": { "board": board, "name": "A short one" } }));
            attempt(sim, json!({ "start_sprint": { "sprint": next } }));
            json!({ "close_sprint": { "sprint": sprint, "to": next } })
        }
    };
    attempt(sim, change);
}

/// Puts back what was out of sight.
pub(super) fn in_sight(sim: &Sim) {
    let truth = sim.world().site().truth();
    for project in truth.projects.keys() {
        attempt(sim, json!({ "project_access": { "project": project, "access": "ok" } }));
    }
    let truth = sim.world().site().truth();
    for (id, _) in truth.issues.iter().filter(|(_, it)| !it.visible) {
        attempt(sim, json!({ "hide": { "issue": id.to_string(), "hidden": false } }));
    }
    for name in sim.world().names() {
        sim.world().set_state(&name, State::Ok).unwrap();
    }
}

/// Changes two cards of the active sprint that has the most, and adds one.
pub(super) fn a_busy_minute(sim: &Sim, random: &mut Random) {
    let truth = sim.world().site().truth();
    let active = truth.sprints.iter().filter(|(_, it)| it.state == SprintState::Active);
    let (sprint, it) = active.max_by_key(|(_, it)| it.issues.len()).unwrap();
    let inside: Vec<u64> = it.issues.iter().copied().collect();
    for _ in 0..2 {
        let issue = random.one_of(&inside).unwrap().to_string();
        let summary = format!("Changed in the night, {}", random.below(1_000_000));
        attempt(sim, json!({ "edit": { "issue": issue, "summary": summary } }));
    }
    if random.below(4) == 0 {
        let new =
            json!({ "project": "PAY", "kind": "task", "summary": "Came in the night", "sprint": sprint });
        attempt(sim, json!({ "create": new }));
    }
}
