//! Jira, as its model has it: whatever people do at the site, every card of the active sprints stands as it is.

use domain::source::Settings;
use jiff::Timestamp;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::json;

use super::assert_serves_its_streams;
use super::reference::{Disturbance, Provider, Reference};
use super::site::{BASE, Change, LAG_MAX, Site};
use crate::jira::Jira;

fn begun(site: Site, options: serde_json::Value) -> Reference<Site> {
    Reference::new(&Jira, site, Settings { base_url: BASE.to_owned(), options })
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        2 => (0..3usize, 1..5usize).prop_map(|(sprint, count)| Change::Create { sprint, count }),
        6 => at().prop_map(|issue| Change::Edit { issue }),
        4 => (at(), 0..3usize, any::<bool>()).prop_map(|(issue, to, counts)| Change::Move { issue, to, counts }),
        1 => at().prop_map(|issue| Change::Delete { issue }),
        3 => (0..50i64).prop_map(|minutes| Change::Wait { minutes }),
    ]
}

fn disturbance() -> impl Strategy<Value = Disturbance<Change>> {
    prop_oneof![
        20 => Just(Disturbance::None),
        1 => Just(Disturbance::Crash),
        2 => change().prop_map(Disturbance::Change),
    ]
}

/// Sites of both kinds, at a time near a change of clocks, with clocks that differ and an index that lags.
fn site() -> impl Strategy<Value = Site> {
    let zones =
        ["Europe/Berlin", "Australia/Lord_Howe", "America/St_Johns", "Asia/Shanghai", "Pacific/Chatham"];
    let changes =
        ["2026-10-25T00:00:00Z", "2026-03-29T00:00:00Z", "2026-04-04T13:00:00Z", "2026-11-01T03:00:00Z"];
    (
        any::<bool>(),
        prop::sample::select(zones.to_vec()),
        prop::sample::select(changes.to_vec()),
        -90..90i64,
        any::<bool>(),
        -600_000..600_000i64,
        0..=LAG_MAX.as_secs(),
        1..12usize,
    )
        .prop_map(|(cloud, zone, near, minutes, later, skew_ms, lag, page_max)| {
            let near: Timestamp = near.parse().unwrap();
            let now = near + jiff::SignedDuration::from_mins(minutes);
            let mut site = Site::new(cloud, zone, now);
            (site.later, site.skew_ms, site.lag_ms, site.page_max) = (later, skew_ms, lag * 1000, page_max);
            site
        })
}

/// Waits until the index has caught up, and syncs; then until a whole listing is due again, and twice more, because it
/// is made in the sync after.
fn settle(reference: &mut Reference<Site>) {
    reference.provider.apply(&Change::Wait { minutes: 3 });
    reference.sync(Vec::new());
    reference.provider.assert_fresh();
    for _ in 0..3 {
        reference.provider.apply(&Change::Wait { minutes: 61 });
        reference.sync(Vec::new());
    }
    reference.provider.assert_complete();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens between and during syncs, and wherever they are cut off.
    #[test]
    fn no_change_is_ever_missed(
        site in site(),
        rounds in prop::collection::vec(
            (prop::collection::vec(change(), 0..8), prop::collection::vec(disturbance(), 0..60)), 1..4),
        large in any::<bool>(),
    ) {
        let mut reference = begun(site, json!({}));
        if large {
            // More than are listed whole with every sync.
            reference.provider.page_max *= 10;
            reference.provider.apply(&Change::Create { sprint: 0, count: 120 });
        }
        for (changes, disturbances) in &rounds {
            for change in changes {
                reference.provider.apply(change);
            }
            reference.sync(disturbances.clone());
        }
        settle(&mut reference);
    }

    /// A page that is fetched and committed a second time, from the same place, changes nothing in the end.
    #[test]
    fn a_replayed_page_is_harmless(site in site(), changes in prop::collection::vec(change(), 1..12)) {
        let mut site = site;
        for change in &changes {
            Provider::apply(&mut site, change);
        }
        let mut once = begun(site.clone(), json!({}));
        settle(&mut once);
        let mut twice = begun(site, json!({}));
        twice.replay_every_page = true;
        settle(&mut twice);
        prop_assert_eq!(once.landed(), twice.landed());
    }
}

/// Chooses an issue, always the same.
fn one() -> Index {
    any::<Index>().new_tree(&mut TestRunner::deterministic()).expect("an index").current()
}

fn now() -> Timestamp {
    "2026-11-21T08:00:00Z".parse().unwrap()
}

fn read(reference: &Reference<Site>) -> Vec<&String> {
    reference.requests.iter().filter(|it| it.contains("/issue/")).collect()
}

#[test]
fn only_what_changed_is_read_again() {
    for (cloud, count) in [(true, 20), (false, 20), (true, 150), (false, 150)] {
        let mut reference = begun(Site::new(cloud, "UTC", now()), json!({}));
        reference.provider.apply(&Change::Create { sprint: 0, count });
        reference.sync(Vec::new());
        assert_eq!((reference.provider.cards(), read(&reference).len()), (count, count));
        reference.requests.clear();
        reference.provider.apply(&Change::Wait { minutes: 30 });
        reference.sync(Vec::new());
        assert_eq!(read(&reference), Vec::<&String>::new(), "nothing was due");

        reference.provider.apply(&Change::Edit { issue: one() });
        reference.sync(Vec::new());
        assert_eq!(read(&reference).len(), 1);
        reference.provider.assert_complete();
    }
}

#[test]
fn a_large_sprint_is_asked_for_its_changes_and_listed_once_an_hour() {
    let mut reference = begun(Site::new(true, "UTC", now()), json!({}));
    reference.provider.apply(&Change::Create { sprint: 0, count: 150 });
    reference.provider.apply(&Change::Wait { minutes: 30 });
    let bounded = |reference: &Reference<Site>| {
        let searches = reference.requests.iter().filter(|it| it.contains("/search"));
        searches.filter(|it| it.contains("updated%20%3E%3D")).count()
    };
    let mut counted = Vec::new();
    for _ in 0..6 {
        reference.requests.clear();
        reference.sync(Vec::new());
        counted.push(bounded(&reference));
        reference.provider.apply(&Change::Wait { minutes: 30 });
    }
    // The whole, two changes, of which the second is an hour after it; then the whole again.
    assert_eq!(counted, [0, 1, 1, 0, 1, 1]);
}

/// As a sprint that was closed: it is read once a week.
#[test]
fn a_large_sprint_that_was_not_read_for_a_week_is_listed_whole_at_once() {
    for cloud in [true, false] {
        let mut reference = begun(Site::new(cloud, "UTC", now()), json!({}));
        reference.provider.apply(&Change::Create { sprint: 0, count: 150 });
        reference.sync(Vec::new());
        // The whole is not due yet when it is last looked at.
        reference.provider.apply(&Change::Wait { minutes: 30 });
        reference.sync(Vec::new());
        let cards = reference.provider.cards();
        reference.provider.apply(&Change::Move { issue: one(), to: 2, counts: false });
        reference.provider.apply(&Change::Wait { minutes: 7 * 24 * 60 });
        reference.provider.apply(&Change::Edit { issue: one() });
        reference.sync(Vec::new());
        assert!(reference.provider.cards() < cards, "a card left");
        reference.provider.assert_complete();
        // And then goes on by its changes.
        reference.requests.clear();
        reference.sync(Vec::new());
        assert!(
            reference.requests.iter().any(|it| it.contains("updated%20%3E%3D")),
            "{:?}",
            reference.requests
        );
    }
}

#[test]
fn a_card_that_leaves_a_sprint_is_seen() {
    for cloud in [true, false] {
        let mut reference = begun(Site::new(cloud, "UTC", now()), json!({ "boards": [3] }));
        reference.provider.apply(&Change::Create { sprint: 0, count: 5 });
        reference.sync(Vec::new());
        for (to, left) in [(1, 5), (2, 4)] {
            reference.provider.apply(&Change::Move { issue: one(), to, counts: false });
            reference.sync(Vec::new());
            assert_eq!(reference.provider.cards(), left);
            reference.provider.assert_complete();
        }
    }
}

#[test]
fn every_stream_is_served() {
    let mut site = Site::new(true, "UTC", now());
    Provider::apply(&mut site, &Change::Create { sprint: 0, count: 1 });
    let mut reference = begun(site, json!({}));
    reference.sync(Vec::new());
    assert_serves_its_streams(&Jira, &reference);
}
