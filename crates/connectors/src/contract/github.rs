//! GitHub, as its model has it: whatever is pushed, moved or deleted, nothing reachable is ever lost.

use domain::source::Settings;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::json;

use super::assert_serves_its_streams;
use super::graph::{Change, World};
use super::hub::{self, Hub, LinkForm};
use super::reference::{Disturbance, Reference};
use crate::github::GitHub;

fn model(world: World, links: LinkForm, page_max: usize) -> Hub {
    Hub { world, links, page_max, commits: std::collections::HashSet::new() }
}

fn begun(hub: Hub, named: bool) -> Reference<Hub> {
    let options = if named { json!({ "repos": [hub::FULL_NAME] }) } else { json!({}) };
    Reference::new(&GitHub, hub, Settings { base_url: "https://api.github.com".to_owned(), options })
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        4 => (at(), 1..6usize, any::<bool>()).prop_map(|(branch, count, old)| Change::Commit { branch, count, old }),
        1 => (at(), 30..60usize).prop_map(|(branch, count)| Change::Commit { branch, count, old: false }),
        2 => (at(), at()).prop_map(|(into, from)| Change::Merge { into, from }),
        3 => (at(), 0..5usize).prop_map(|(at, count)| Change::Branch { at, count }),
        1 => (1..4usize).prop_map(|count| Change::Orphan { count }),
        2 => (at(), at(), 0..4usize).prop_map(|(branch, to, count)| Change::Force { branch, to, count }),
        1 => at().prop_map(|branch| Change::Delete { branch }),
        1 => Just(Change::Collect),
    ]
}

fn disturbance() -> impl Strategy<Value = Disturbance<Change>> {
    prop_oneof![
        20 => Just(Disturbance::None),
        2 => Just(Disturbance::Crash),
        2 => change().prop_map(Disturbance::Change),
    ]
}

fn links() -> impl Strategy<Value = LinkForm> {
    prop::sample::select(vec![LinkForm::Numbered, LinkForm::NoLast, LinkForm::Opaque])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is pushed between and during syncs, and wherever they are cut off, nothing reachable is missing, and
    /// no head is ever called read before its whole ancestry has landed.
    #[test]
    fn nothing_reachable_is_ever_lost(
        rounds in prop::collection::vec(
            (prop::collection::vec(change(), 0..8), prop::collection::vec(disturbance(), 0..60)), 1..5),
        links in links(),
        page_max in 1..5usize,
        named in any::<bool>(),
    ) {
        let hub = model(World::new(), links, page_max);
        let mut reference = begun(hub, named);
        for (changes, disturbances) in &rounds {
            for change in changes {
                reference.provider.world.apply(change);
            }
            reference.sync(disturbances.clone());
        }
        reference.sync(Vec::new());
        reference.provider.assert_complete(&reference.items);
    }

    /// A page that is fetched and committed a second time, from the same place, changes nothing in the end.
    #[test]
    fn a_replayed_page_is_harmless(
        changes in prop::collection::vec(change(), 1..12), links in links(), page_max in 1..4usize,
    ) {
        let mut world = World::new();
        for change in &changes {
            world.apply(change);
        }
        let hub = model(world, links, page_max);
        let mut once = begun(hub.clone(), true);
        once.sync(Vec::new());
        let mut twice = begun(hub, true);
        twice.replay_every_page = true;
        twice.sync(Vec::new());
        prop_assert_eq!(once.landed(), twice.landed());
    }
}

#[test]
fn a_second_sync_without_news_reads_no_commit() {
    let mut world = World::new();
    world.apply(&Change::Orphan { count: 3 });
    let hub = model(world, LinkForm::Numbered, 100);
    let mut reference = begun(hub, true);
    reference.sync(Vec::new());
    let landed = reference.landed();
    reference.requests.clear();
    reference.sync(Vec::new());
    assert_eq!(reference.landed(), landed);
    let item_requests: Vec<_> =
        reference.requests.iter().filter(|it| it.contains("/commits") || it.contains("/compare/")).collect();
    assert_eq!(item_requests, Vec::<&String>::new(), "nothing was due");
}

/// More than a page may ask for, so that the comparison goes on by its cursor and is counted over several pages.
#[test]
fn a_long_comparison_is_followed_to_its_end_without_starting_over() {
    let mut world = World::new();
    world.apply(&Change::Orphan { count: 2 });
    let hub = model(world, LinkForm::Numbered, 1);
    let mut reference = begun(hub, true);
    reference.sync(Vec::new());
    reference.requests.clear();
    reference.provider.world.apply(&Change::Commit { branch: one(), count: 70, old: true });
    reference.sync(Vec::new());
    reference.provider.assert_complete(&reference.items);
    let compared = reference.requests.iter().filter(|it| it.contains("/compare/")).count();
    assert_eq!(compared, 70, "each page of one commit is asked once");
    assert!(!reference.requests.iter().any(|it| it.contains("/commits")), "nothing is listed anew");
}

/// Chooses one, always the same; the world of the test above has only one branch.
fn one() -> prop::sample::Index {
    any::<prop::sample::Index>().new_tree(&mut TestRunner::deterministic()).expect("an index").current()
}

#[test]
fn every_stream_is_served() {
    let mut world = World::new();
    world.apply(&Change::Orphan { count: 2 });
    let mut reference = begun(model(world, LinkForm::Numbered, 100), false);
    reference.sync(Vec::new());
    assert_serves_its_streams(&GitHub, &reference);
}
