//! Which module of a crate uses which, read from its paths, and the circles in that.
//!
//! A parent and its children may use one another; among siblings, at every depth, there must be an order. It reads
//! names, not types: what a macro builds, or a method call reaches, it must never claim to know.

use std::collections::{BTreeMap, BTreeSet};

use super::tree::Source;

/// A module's path from the crate's root; the root is empty.
type Module = Vec<String>;

/// Lists the modules at the top of a crate.
pub(super) fn top(sources: &[Source]) -> BTreeSet<String> {
    files(sources).keys().filter_map(|it| it.first().cloned()).filter(|it| it != "tests").collect()
}

/// Finds circles among sibling modules, each once, as one line a person can follow.
pub(super) fn circles(sources: &[Source]) -> Vec<String> {
    let files = files(sources);
    let names: BTreeMap<&Module, Vec<Vec<String>>> =
        files.iter().map(|(module, text)| (module, paths(module, text))).collect();
    let mut edges: BTreeMap<Module, BTreeSet<Module>> = BTreeMap::new();
    for (from, used) in &names {
        for path in used {
            let to = resolve(path, &names, 0);
            let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
            // Where one contains the other they are parent and child, which may know one another.
            if shared < from.len() && shared < to.len() {
                edges.entry(from[..=shared].to_vec()).or_default().insert(to[..=shared].to_vec());
            }
        }
    }
    let mut found = BTreeSet::new();
    for start in edges.keys() {
        if let Some(circle) = way_back(start, &edges) {
            // Each circle is found from each of its members; the smallest one tells it.
            if circle.iter().min() == Some(start) {
                let said: Vec<_> = circle.iter().chain([start]).map(|it| it.join("::")).collect();
                found.insert(said.join(" → "));
            }
        }
    }
    found.into_iter().collect()
}

/// Finds a shortest way from `start` back to itself.
fn way_back(start: &Module, edges: &BTreeMap<Module, BTreeSet<Module>>) -> Option<Vec<Module>> {
    let mut seen = BTreeSet::new();
    let mut ways = std::collections::VecDeque::from([vec![start.clone()]]);
    while let Some(way) = ways.pop_front() {
        for next in way.last().and_then(|it| edges.get(it)).into_iter().flatten() {
            if next == start {
                return Some(way);
            }
            if seen.insert(next.clone()) {
                ways.push_back([&way[..], std::slice::from_ref(next)].concat());
            }
        }
    }
    None
}

/// Maps each module of the crate to its text, tests left out.
fn files(sources: &[Source]) -> BTreeMap<Module, String> {
    let mut files = BTreeMap::new();
    for source in sources.iter().filter(|it| !it.is_test()) {
        let Some((_, path)) = source.path.split_once("/src/") else { continue };
        let mut module: Module = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        if matches!(module.last().map(String::as_str), Some("lib" | "main" | "mod")) {
            module.pop();
        }
        let code: Vec<&str> =
            source.production().lines().filter(|it| !it.trim_start().starts_with("//")).collect();
        files.insert(module, code.join("\n"));
    }
    files
}

/// Collects the paths inside the crate that a module's text names, from the root on.
fn paths(module: &Module, text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let here = |path: Vec<String>| -> Option<Vec<String>> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => Some([module.as_slice(), rest].concat()),
            "super" => {
                let ups = path.iter().take_while(|it| *it == "super").count();
                let above = module.len().checked_sub(ups)?;
                Some([&module[..above], &path[ups..]].concat())
            }
            _ => None,
        }
    };
    for beginning in ["crate::", "super::", "self::"] {
        for (at, _) in text.match_indices(beginning) {
            let inside = text[..at]
                .chars()
                .next_back()
                .is_some_and(|it| it.is_alphanumeric() || it == '_' || it == ':');
            if !inside {
                found.extend(leaves(&text[at..]).into_iter().filter_map(&here));
            }
        }
    }
    found
}

/// Spells out the tree of names that `text` begins with: `a::{b, c::D}` is `a::b` and `a::c::D`.
fn leaves(text: &str) -> Vec<Vec<String>> {
    let name: String = text.chars().take_while(|it| it.is_alphanumeric() || *it == '_').collect();
    let rest = &text[name.len()..];
    let Some(rest) = rest.strip_prefix("::") else {
        return if name.is_empty() { Vec::new() } else { vec![vec![name]] };
    };
    let mut below = match rest.strip_prefix('{') {
        Some(group) => parts(group).into_iter().flat_map(|it| leaves(it.trim())).collect(),
        None => leaves(rest),
    };
    if below.is_empty() {
        below.push(Vec::new());
    }
    for leaf in &mut below {
        leaf.insert(0, name.clone());
    }
    below
}

/// Splits the inside of a brace at its own commas, up to where the brace closes.
fn parts(group: &str) -> Vec<&str> {
    let (mut depth, mut start, mut found) = (0_u32, 0, Vec::new());
    for (at, it) in group.char_indices() {
        match it {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                found.push(&group[start..at]);
                start = at + 1;
                if it == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    found
}

/// Finds the module that `path` leads into, through what other modules pass on by `use`.
fn resolve(path: &[String], names: &BTreeMap<&Module, Vec<Vec<String>>>, depth: u32) -> Module {
    let module = (0..=path.len()).rev().map(|it| &path[..it]).find(|it| names.contains_key(&it.to_vec()));
    let module = module.unwrap_or_default().to_vec();
    // Names that modules pass to one another in a ring would be followed for ever.
    if let Some(name) = path.get(module.len()).filter(|_| depth < 4) {
        let used = names.get(&module).map_or(&[][..], Vec::as_slice);
        let passed_on = used.iter().find(|it| it.last() == Some(name) && it.as_slice() != path);
        if let Some(origin) = passed_on {
            return resolve(origin, names, depth + 1);
        }
    }
    module
}

#[cfg(test)]
mod tests {
    use super::{Source, circles, top};

    fn check(files: &[(&str, &str)], expect: &[&str]) {
        let sources: Vec<_> = files
            .iter()
            .map(|(path, text)| Source { path: format!("crates/x/src/{path}"), text: (*text).to_owned() })
            .collect();
        assert_eq!(circles(&sources), expect);
    }

    #[test]
    fn an_order_is_no_circle() {
        check(&[("lib.rs", "mod a; mod b;"), ("a.rs", "use crate::b::B;"), ("b.rs", "use std::fmt;")], &[]);
    }

    #[test]
    fn two_that_use_one_another_are_a_circle() {
        check(&[("lib.rs", ""), ("a.rs", "use crate::b::B;"), ("b.rs", "use super::a;")], &["a → b → a"]);
        check(
            &[
                ("lib.rs", ""),
                ("a.rs", "fn f() { crate::b::g() }"),
                ("b/mod.rs", ""),
                ("b/c.rs", "use crate::{d, a::A};"),
                ("d.rs", ""),
            ],
            &["a → b → a"],
        );
    }

    #[test]
    fn a_circle_may_be_long_and_lie_deep() {
        check(
            &[
                ("lib.rs", ""),
                ("m/mod.rs", ""),
                ("m/a.rs", "use super::b::{self, B};"),
                ("m/b.rs", "use crate::m::{c::C, d};"),
                ("m/c.rs", "use super::a;"),
                ("m/d.rs", ""),
            ],
            &["m::a → m::b → m::c → m::a"],
        );
    }

    #[test]
    fn names_are_followed_through_the_module_that_passes_them_on() {
        check(
            &[("lib.rs", "pub use self::b::B;"), ("a.rs", "use crate::B;"), ("b.rs", "use crate::a::A;")],
            &["a → b → a"],
        );
    }

    #[test]
    fn parents_and_children_may_know_one_another() {
        check(
            &[("lib.rs", ""), ("m/mod.rs", "mod a; use self::a::A; struct M;"), ("m/a.rs", "use super::M;")],
            &[],
        );
    }

    #[test]
    fn comments_and_tests_are_not_read() {
        let tests = "#[cfg(test)]\nmod tests {\n    use crate::a::A;\n}\n";
        check(&[("lib.rs", ""), ("a.rs", "use crate::b;"), ("b.rs", tests), ("c.rs", "")], &[]);
        check(
            &[("lib.rs", ""), ("a.rs", "use crate::b;"), ("b.rs", "/// See [`crate::a::A`].\nfn f() {}")],
            &[],
        );
    }

    #[test]
    fn the_top_is_counted_by_names() {
        let source = |path: &str| Source { path: format!("crates/x/src/{path}"), text: "x".to_owned() };
        let sources = [source("lib.rs"), source("a.rs"), source("b/mod.rs"), source("b/c.rs")];
        assert_eq!(top(&sources).len(), 2);
    }
}
