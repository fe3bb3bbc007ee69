//! What the rules read: the files of the working tree, as text. It must never ask git: a tarball has the same rules.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders that are not ours to tidy.
const SKIPPED: &[&str] = &[".git", "node_modules", "target"];

/// One Rust file.
pub(super) struct Source {
    /// Its path from the root of the checkout, with forward slashes.
    pub(super) path: String,
    /// All of it.
    pub(super) text: String,
}

impl Source {
    /// Says whether the whole file is for tests.
    pub(super) fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.ends_with("/tests.rs")
    }

    /// Returns what is built for users: nothing of a file of tests, and all before the tests of another.
    pub(super) fn production(&self) -> &str {
        if self.is_test() {
            return "";
        }
        self.text.find("#[cfg(test)]\nmod tests {").map_or(&self.text, |at| &self.text[..at])
    }

    /// Returns the line, from 1, that holds the byte `at`.
    pub(super) fn line(&self, at: usize) -> usize {
        self.text[..at].matches('\n').count() + 1
    }
}

pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub(super) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|why| panic!("{path}: {why}"))
}

/// Lists every file below `folder`, as paths from the root, in order; none where there is no such folder.
pub(super) fn files(folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(root().join(folder)) else { return found };
    for entry in entries {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        if entry.file_type().unwrap().is_file() {
            found.push(path);
        } else if !SKIPPED.contains(&name.as_str()) {
            found.extend(files(&path));
        }
    }
    found.sort();
    found
}

/// Returns what follows the last dot of a file's name.
pub(super) fn extension(path: &str) -> &str {
    Path::new(path).extension().and_then(|it| it.to_str()).unwrap_or_default()
}

/// Lists our crates by the names of their folders.
pub(super) fn crates() -> Vec<String> {
    files("crates")
        .iter()
        .filter_map(|it| it.strip_prefix("crates/")?.strip_suffix("/Cargo.toml").map(str::to_owned))
        .collect()
}

pub(super) fn sources_in(folder: &str) -> Vec<Source> {
    files(folder)
        .into_iter()
        .filter(|path| extension(path) == "rs")
        .map(|path| Source { text: read(&path), path })
        .collect()
}

/// Reads every Rust file of ours.
pub(super) fn sources() -> Vec<Source> {
    ["crates", "bench"].into_iter().flat_map(sources_in).collect()
}

/// Collects every word of the code, comments left out, so that a name that lives on in a comment is not found.
pub(super) fn code_words() -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for path in &files("") {
        let comment = match extension(path) {
            "rs" => "// ",
            "sql" => "--",
            "toml" => "#",
            _ if path == "dev" => "# ",
            _ => continue,
        };
        let mut add = |text: &str| {
            let parts = text.split(|it: char| !it.is_alphanumeric() && it != '_');
            words.extend(parts.filter(|it| !it.is_empty()).map(str::to_owned));
        };
        for line in read(path).lines() {
            let code = line.split(comment).next().unwrap_or_default();
            if !code.trim_start().starts_with("//") {
                add(code);
            }
        }
        // A module is a word of the code as well, and so is a crate.
        add(path);
    }
    words
}

/// Lists the lines that are written for people: documents whole, and the comments of everything else.
pub(super) fn prose() -> Vec<(String, usize, String)> {
    let mut found = Vec::new();
    for path in files("") {
        let mark = match extension(&path) {
            "md" => "",
            "rs" => "//",
            "sql" => "--",
            "toml" => "#",
            _ if path == "dev" || path.starts_with(".ci/") => "#",
            _ => continue,
        };
        for (at, line) in read(&path).lines().enumerate() {
            if let Some(said) = line.find(mark).map(|start| &line[start..]) {
                found.push((path.clone(), at + 1, said.to_owned()));
            }
        }
    }
    found
}

/// Says whether `text` holds `word` with no letter before or after it.
pub(super) fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let letter = |it: Option<char>| it.is_some_and(char::is_alphanumeric);
        !letter(text[..at].chars().next_back()) && !letter(text[at + word.len()..].chars().next())
    })
}
