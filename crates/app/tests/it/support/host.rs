//! The hosts of git repositories: every connector that syncs commits. Stories that are told of all of them name none.
//!
//! It must never list them: a new one is found by its spec and by what the simulator serves.

use domain::connector::Spec;
use engine::provider_specs;
use sim::Sim;

/// A host of git repositories, by the spec of its connector.
#[derive(Clone, Copy)]
pub(crate) struct Host(&'static Spec);

impl Host {
    /// Returns every host.
    pub(crate) fn all() -> Vec<Self> {
        let hosts = provider_specs().filter(|it| it.groups.iter().any(|it| it.name == "commits"));
        let hosts: Vec<_> = hosts.map(Self).collect();
        assert!(hosts.len() > 1, "a story of all hosts is told of each");
        hosts
    }

    /// Returns the host that stories of one are told of.
    pub(crate) fn first() -> Self {
        Self::all()[0]
    }

    /// Returns the host of a provider.
    pub(crate) fn of(provider: &str) -> Self {
        Self::all().into_iter().find(|it| it.0.provider == provider).unwrap()
    }

    /// Returns its word in commands.
    pub(crate) fn provider(self) -> &'static str {
        self.0.provider
    }

    /// Returns where a simulator shows it.
    pub(crate) fn url(self, sim: &Sim) -> String {
        let mut served = sim.providers().into_iter();
        served.find(|it| it.0 == self.0.provider).unwrap_or_else(|| panic!("no fake {}", self.0.title)).1
    }

    /// Returns the flag that names what to read.
    pub(crate) fn flag(self) -> String {
        format!("--{}", self.0.settings[0].name.trim_end_matches('s'))
    }
}

/// Returns every table that records land in.
pub(crate) fn landed_tables() -> Vec<&'static str> {
    let mut tables: Vec<_> = provider_specs().flat_map(|it| it.tables).map(|it| it.name).collect();
    tables.sort_unstable();
    tables.dedup();
    tables
}
