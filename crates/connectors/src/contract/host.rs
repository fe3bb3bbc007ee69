//! A host of git repositories, as the contract wants its model to be.
//!
//! It must never know which one.

use std::collections::{BTreeMap, HashSet};

use domain::connector::Connector;
use domain::page::Record;
use domain::source::Settings;
use domain::table::Cell;

use super::graph::{Change, World, sha};
use super::reference::{Provider, State};

/// A host with one repository.
pub(super) trait Host: Provider<Change = Change> + Clone {
    /// Shows a world by pages of at most so many entries.
    fn new(world: World, links: LinkForm, page_max: usize) -> Self;

    /// Returns what reads it, and how: the repository by its name, or all that there is.
    fn source(named: bool) -> (&'static dyn Connector, Settings);

    /// Returns the world, and what landed of it.
    fn parts(&mut self) -> (&mut World, &Landed);

    /// Says whether a request reads commits.
    fn reads_commits(url: &str) -> bool;
}

/// What the links to further pages look like.
#[derive(Clone, Copy, Debug)]
pub(super) enum LinkForm {
    /// A number, and the last page's where the host tells it.
    Numbered,
    /// A number without the last page's.
    NoLast,
    /// A word that only the host understands, or a header beside the links.
    Opaque,
}

/// The hashes of the commits that landed.
#[derive(Clone, Debug, Default)]
pub(super) struct Landed(HashSet<String>);

impl Landed {
    /// Takes note of a record.
    pub(super) fn note(&mut self, record: &Record) {
        if let ("commits", Some(Cell::Text(sha))) = (record.table.name, record.cells.get(1)) {
            self.0.insert(sha.clone());
        }
    }

    /// Fails unless all that a head reaches has landed.
    pub(super) fn assert_reached(&self, world: &World, head: &str) {
        for commit in world.ancestry_of(head) {
            assert!(
                self.0.contains(&sha(commit)),
                "{head} is called read, but its ancestor {commit} is missing"
            );
        }
    }

    /// Fails unless every branch is at its head with all that it reaches.
    pub(super) fn assert_complete(
        &self,
        world: &World,
        items: &BTreeMap<(&'static str, String, String), State>,
    ) {
        for (name, head) in &world.branches {
            let item = items.iter().find(|((_, _, key), _)| key == name);
            let have = item.and_then(|(_, state)| state.have.clone());
            assert_eq!(have, Some(sha(*head)), "the branch {name}");
            self.assert_reached(world, &sha(*head));
        }
        let listed = items.keys().filter(|(stream, _, _)| *stream == "commits").count();
        assert_eq!(listed, world.branches.len(), "deleted branches are no longer wanted");
    }
}
