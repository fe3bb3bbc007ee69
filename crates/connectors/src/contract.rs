//! What holds for every connector: replaying from any cursor loses nothing, and a spec says what it serves.
//!
//! Runs over [`crate::ALL`]. A provider is played by a pure model of it, found by [`model`]; a connector without one
//! fails here.

mod graph;
mod hub;
mod reference;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use domain::connector::Connector;
use domain::fault::Fault;
use domain::job::Lane;
use domain::page::Read;
use domain::source::Settings;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::json;

use self::graph::{Change, World};
use self::hub::{Hub, LinkForm};
use self::reference::{Disturbance, Reference};

/// Returns the model of `provider` over a world.
fn model(provider: &str, world: World, links: LinkForm, page_max: usize) -> Hub {
    assert_eq!(provider, "github", "{provider} has no model to be tested against");
    Hub { world, links, page_max }
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

fn disturbance() -> impl Strategy<Value = Disturbance> {
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
        for connector in crate::ALL {
            let hub = model(connector.spec().provider, World::new(), links, page_max);
            let mut reference = Reference::new(*connector, hub, settings(*connector, named));
            for (changes, disturbances) in &rounds {
                for change in changes {
                    reference.hub.world.apply(change);
                }
                reference.sync(disturbances.clone());
            }
            reference.sync(Vec::new());
            reference.assert_complete();
        }
    }

    /// A page that is fetched and committed a second time, from the same place, changes nothing in the end.
    #[test]
    fn a_replayed_page_is_harmless(
        changes in prop::collection::vec(change(), 1..12), links in links(), page_max in 1..4usize,
    ) {
        for connector in crate::ALL {
            let mut world = World::new();
            for change in &changes {
                world.apply(change);
            }
            let hub = model(connector.spec().provider, world, links, page_max);
            let mut once = Reference::new(*connector, hub.clone(), settings(*connector, true));
            once.sync(Vec::new());
            let mut twice = Reference::new(*connector, hub, settings(*connector, true));
            twice.replay_every_page = true;
            twice.sync(Vec::new());
            prop_assert_eq!(once.landed(), twice.landed());
        }
    }
}

fn settings(connector: &dyn Connector, named: bool) -> Settings {
    let options = if named { json!({ "repos": [hub::FULL_NAME] }) } else { json!({}) };
    Settings {
        base_url: connector.spec().default_base_url.unwrap_or("https://provider.example").to_owned(),
        options,
    }
}

#[test]
fn a_second_sync_without_news_reads_no_commit() {
    for connector in crate::ALL {
        let mut world = World::new();
        world.apply(&Change::Orphan { count: 3 });
        let hub = model(connector.spec().provider, world, LinkForm::Numbered, 100);
        let mut reference = Reference::new(*connector, hub, settings(*connector, true));
        reference.sync(Vec::new());
        let landed = reference.landed();
        reference.requests.clear();
        reference.sync(Vec::new());
        assert_eq!(reference.landed(), landed);
        let item_requests: Vec<_> = reference
            .requests
            .iter()
            .filter(|it| it.contains("/commits") || it.contains("/compare/"))
            .collect();
        assert_eq!(item_requests, Vec::<&String>::new(), "nothing was due");
    }
}

/// More than a page may ask for, so that the comparison goes on by its cursor and is counted over several pages.
#[test]
fn a_long_comparison_is_followed_to_its_end_without_starting_over() {
    for connector in crate::ALL {
        let mut world = World::new();
        world.apply(&Change::Orphan { count: 2 });
        let hub = model(connector.spec().provider, world, LinkForm::Numbered, 1);
        let mut reference = Reference::new(*connector, hub, settings(*connector, true));
        reference.sync(Vec::new());
        reference.requests.clear();
        reference.hub.world.apply(&Change::Commit { branch: one(), count: 70, old: true });
        reference.sync(Vec::new());
        reference.assert_complete();
        let compared = reference.requests.iter().filter(|it| it.contains("/compare/")).count();
        assert_eq!(compared, 70, "each page of one commit is asked once");
        assert!(!reference.requests.iter().any(|it| it.contains("/commits")), "nothing is listed anew");
    }
}

/// Chooses one, always the same; the world of the test above has only one branch.
fn one() -> prop::sample::Index {
    any::<prop::sample::Index>().new_tree(&mut TestRunner::deterministic()).expect("an index").current()
}

#[test]
fn every_stream_of_the_spec_is_served_and_no_other() {
    for connector in crate::ALL {
        let spec = connector.spec();
        let mut world = World::new();
        world.apply(&Change::Orphan { count: 2 });
        let hub = model(spec.provider, world, LinkForm::Numbered, 100);
        let mut reference = Reference::new(*connector, hub, settings(*connector, false));
        reference.sync(Vec::new());
        let served: BTreeSet<_> = reference.streams_read().collect();
        let named: BTreeSet<_> = spec.groups.iter().flat_map(|it| it.streams).map(|it| it.name).collect();
        assert_eq!(served, named, "{}", spec.provider);

        let settings = settings(*connector, false);
        let args = json!({});
        let read = Read {
            source: &settings,
            learned: &args,
            stream: "no such stream",
            partition: "1",
            args: &args,
            lane: Lane::Forward,
            items: &[],
            cursor: None,
        };
        assert!(matches!(connector.step(&read, &[]), Err(Fault::Malformed { .. })), "{}", spec.provider);
    }
}

#[test]
fn tables_are_named_after_their_provider_and_keyed_by_their_first_columns() {
    let shared = ["branches", "commits", "commit_parents"];
    for connector in crate::ALL {
        let spec = connector.spec();
        for table in spec.tables {
            let own = table.name.starts_with(&format!("{}_", spec.provider));
            assert!(own || shared.contains(&table.name), "{}", table.name);
            let first: Vec<_> = table.columns.iter().take(table.key.len()).map(|it| it.name).collect();
            assert_eq!(first, table.key, "{}", table.name);
            let names: BTreeSet<_> = table.columns.iter().map(|it| it.name).collect();
            assert_eq!(names.len(), table.columns.len(), "{}", table.name);
            assert!(table.columns.iter().all(|it| it.comment.ends_with('.')), "{}", table.name);
        }
        for stream in spec.groups.iter().flat_map(|it| it.streams) {
            let lists = stream.lists.is_none_or(|it| spec.tables.iter().any(|table| table.name == it.name));
            assert!(lists, "{} lists a table that the spec does not name", stream.name);
        }
    }
}

#[test]
fn providers_are_found_by_their_word_and_have_one_each() {
    let words: BTreeSet<_> = crate::ALL.iter().map(|it| it.spec().provider).collect();
    assert_eq!(words.len(), crate::ALL.len());
    for word in words {
        assert_eq!(crate::find(word).map(|it| it.spec().provider), Some(word));
    }
    assert!(crate::find("no such provider").is_none());
}

#[test]
fn every_stream_has_fixtures_and_every_connector_a_page_of_documentation() {
    for connector in crate::ALL {
        let spec = connector.spec();
        for stream in spec.groups.iter().flat_map(|it| it.streams) {
            let folder = fixtures().join(spec.provider).join(stream.name);
            assert!(
                files(&folder).iter().any(|it| it.extension().is_some_and(|it| it == "json")),
                "{folder:?}"
            );
        }
        let page =
            Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../docs/connectors/{}.md", spec.provider));
        assert!(page.is_file(), "{page:?} is missing");
    }
}

#[test]
fn fixtures_hold_no_secret() {
    // What GitHub, GitLab, Discord, Slack, AWS and PEM files begin their secrets with, and the header that carries one.
    let marks = [
        "ghp_",
        "gho_",
        "ghu_",
        "ghs_",
        "ghr_",
        "github_pat_",
        "glpat-",
        "xoxb-",
        "akia",
        "private key-----",
        "authorization",
        "bearer ",
        "set-cookie",
    ];
    let all = files(&fixtures());
    assert!(!all.is_empty());
    for file in all {
        let text = std::fs::read_to_string(&file).unwrap().to_ascii_lowercase();
        for mark in marks {
            assert!(!text.contains(mark), "{file:?} holds {mark:?}");
        }
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

/// Returns every file below a folder; none where there is no such folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|it| it.unwrap().path());
    paths.flat_map(|it| if it.is_dir() { files(&it) } else { vec![it] }).collect()
}
