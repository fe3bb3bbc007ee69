//! The hosts of git repositories, as their models have them: whatever is pushed, moved or deleted, nothing reachable is
//! ever lost.
//!
//! Every host lives through the same; a new one adds its model and one line.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::assert_serves_its_streams;
use super::graph::{Change, World};
use super::host::{Host, LinkForm};
use super::hub::Hub;
use super::lab::Lab;
use super::reference::{Disturbance, Reference};

fn assert_complete<H: Host>(reference: &mut Reference<H>) {
    let items = reference.items.clone();
    let (world, landed) = reference.provider.parts();
    landed.assert_complete(world, &items);
}

fn begun<H: Host>(host: H, named: bool) -> Reference<H> {
    let (connector, settings) = H::source(named);
    Reference::new(connector, host, settings)
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

/// Whatever is pushed between and during syncs, and wherever they are cut off, nothing reachable is missing, and no head
/// is ever called read before its whole ancestry has landed.
fn nothing_reachable_is_ever_lost<H: Host>(
    rounds: &[(Vec<Change>, Vec<Disturbance<Change>>)],
    (links, page_max, named): (LinkForm, usize, bool),
) {
    let mut reference = begun(H::new(World::new(), links, page_max), named);
    for (changes, disturbances) in rounds {
        for change in changes {
            reference.provider.apply(change);
        }
        reference.sync(disturbances.clone());
    }
    reference.sync(Vec::new());
    assert_complete(&mut reference);
}

fn grown(changes: &[Change]) -> World {
    let mut world = World::new();
    for change in changes {
        world.apply(change);
    }
    world
}

/// A page that is fetched and committed a second time, from the same place, changes nothing in the end.
fn a_replayed_page_is_harmless<H: Host>(changes: &[Change], links: LinkForm, page_max: usize) {
    let host = H::new(grown(changes), links, page_max);
    let mut once = begun(host.clone(), true);
    once.sync(Vec::new());
    let mut twice = begun(host, true);
    twice.replay_every_page = true;
    twice.sync(Vec::new());
    assert_eq!(once.landed(), twice.landed());
}

fn a_second_sync_without_news_reads_no_commit<H: Host>() {
    let world = grown(&[Change::Orphan { count: 3 }]);
    let mut reference = begun(H::new(world, LinkForm::Numbered, 100), true);
    reference.sync(Vec::new());
    let landed = reference.landed();
    reference.requests.clear();
    reference.sync(Vec::new());
    assert_eq!(reference.landed(), landed);
    let asked: Vec<_> = reference.requests.iter().filter(|it| H::reads_commits(it)).collect();
    assert_eq!(asked, Vec::<&String>::new(), "nothing was due");
}

/// More than a page may ask for, so that the walk goes on by its cursor over several pages.
fn a_long_range_is_followed_to_its_end_without_starting_over<H: Host>() {
    let world = grown(&[Change::Orphan { count: 2 }]);
    let mut reference = begun(H::new(world, LinkForm::Numbered, 1), true);
    reference.sync(Vec::new());
    reference.requests.clear();
    reference.provider.apply(&Change::Commit { branch: one(), count: 70, old: true });
    reference.sync(Vec::new());
    assert_complete(&mut reference);
    let mut asked: Vec<_> = reference.requests.iter().filter(|it| H::reads_commits(it)).collect();
    // Each page of one commit; some hosts say only with an empty page that nothing follows, which is made sure of.
    let requests = asked.len();
    assert!((70..=72).contains(&requests), "{requests} requests");
    asked.sort();
    asked.dedup();
    assert_eq!(asked.len(), requests, "something was asked for twice");
}

/// Chooses one, always the same; the world of the test above has only one branch.
fn one() -> prop::sample::Index {
    any::<prop::sample::Index>().new_tree(&mut TestRunner::deterministic()).expect("an index").current()
}

fn every_stream_is_served<H: Host>() {
    let world = grown(&[Change::Orphan { count: 2 }]);
    let mut reference = begun(H::new(world, LinkForm::Numbered, 100), false);
    reference.sync(Vec::new());
    assert_serves_its_streams(H::source(false).0, &reference);
}

/// Makes the tests of each host.
macro_rules! hosts {
    ($($name:ident: $host:ty),* $(,)?) => {$(
        mod $name {
            use super::*;

            proptest! {
                #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

                #[test]
                fn nothing_reachable_is_ever_lost(
                    rounds in prop::collection::vec(
                        (prop::collection::vec(change(), 0..8), prop::collection::vec(disturbance(), 0..60)), 1..5),
                    links in links(),
                    page_max in 1..5usize,
                    named in any::<bool>(),
                ) {
                    super::nothing_reachable_is_ever_lost::<$host>(&rounds, (links, page_max, named));
                }

                #[test]
                fn a_replayed_page_is_harmless(
                    changes in prop::collection::vec(change(), 1..12), links in links(), page_max in 1..4usize,
                ) {
                    super::a_replayed_page_is_harmless::<$host>(&changes, links, page_max);
                }
            }

            #[test]
            fn a_second_sync_without_news_reads_no_commit() {
                super::a_second_sync_without_news_reads_no_commit::<$host>();
            }

            #[test]
            fn a_long_range_is_followed_to_its_end_without_starting_over() {
                super::a_long_range_is_followed_to_its_end_without_starting_over::<$host>();
            }

            #[test]
            fn every_stream_is_served() {
                super::every_stream_is_served::<$host>();
            }
        }
    )*};
}
hosts!(github: Hub, gitlab: Lab);
