//! What a crate's `Cargo.toml` says that it uses. It reads no more of TOML than our manifests are written in.

use std::collections::BTreeSet;

use super::tree;

/// One crate of ours.
pub(super) struct Manifest {
    pub(super) name: String,
    /// What it is built with.
    pub(super) dependencies: BTreeSet<String>,
    /// What its tests are built with besides.
    in_tests: BTreeSet<String>,
}

impl Manifest {
    pub(super) fn read_all() -> Vec<Self> {
        tree::crates()
            .iter()
            .map(|name| Self::parse(name, &tree::read(&format!("crates/{name}/Cargo.toml"))))
            .collect()
    }

    fn parse(name: &str, text: &str) -> Self {
        let mut manifest =
            Self { name: name.to_owned(), dependencies: BTreeSet::new(), in_tests: BTreeSet::new() };
        let mut section = "";
        for line in text.lines().map(str::trim) {
            if let Some(header) = line.strip_prefix('[') {
                section = header.trim_end_matches(']');
                // `[dependencies.name]` names one in the header itself.
                if let Some((kind, named)) = section.rsplit_once('.') {
                    manifest.add(kind, named);
                }
            } else if let Some((key, _)) = line.split_once('=').filter(|_| !line.starts_with('#')) {
                let named = key.trim().split('.').next().unwrap_or_default();
                manifest.add(section, named);
            }
        }
        manifest
    }

    fn add(&mut self, section: &str, named: &str) {
        // Also `[target.'cfg(…)'.dependencies]`.
        if section.ends_with("dev-dependencies") {
            self.in_tests.insert(named.to_owned());
        } else if section.ends_with("dependencies") {
            self.dependencies.insert(named.to_owned());
        }
    }

    /// Lists what it uses, and whether only its tests do.
    pub(super) fn uses(&self) -> impl Iterator<Item = (&str, bool)> {
        let built = self.dependencies.iter().map(|it| (it.as_str(), false));
        built.chain(self.in_tests.iter().map(|it| (it.as_str(), true)))
    }
}
