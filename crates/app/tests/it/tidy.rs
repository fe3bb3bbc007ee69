//! The house rules, measured from the working tree. `CONTRIBUTING.md` gives each rule's reason under its number.
//!
//! A rule here must never need a judgement: what it forbids, it names with the file, and the line where it has one.

mod manifest;
mod modules;
mod tree;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use manifest::Manifest;
use tree::{Source, root};

/// Crates of ours that each crate may use, and those that it may use in tests besides. Nothing else points anywhere.
const ARROWS: &[(&str, &[&str], &[&str])] = &[
    ("domain", &[], &[]),
    ("connectors", &["domain"], &[]),
    ("store", &["domain"], &[]),
    ("engine", &["connectors", "domain", "store"], &["sim"]),
    ("sim", &[], &[]),
    ("app", &["domain", "engine", "sim"], &["connectors", "store"]),
];

/// Heavy dependencies, and the crates that are their homes; `*` stands for the rest of a name.
const HOMES: &[(&str, &[&str])] = &[
    ("sqlx", &["store"]),
    ("rusqlite", &["store"]),
    ("reqwest", &["engine"]),
    ("clap*", &["app"]),
    ("axum*", &["app", "sim"]),
    ("hyper*", &["app", "sim"]),
    ("tokio*", &["app", "engine", "sim", "store"]),
    ("async*", &[]),
    ("futures*", &["app", "engine", "sim", "store"]),
];

/// Crates of ours that tests may give a heavy dependency beside its homes: to ask a server of ours, or to look
/// into a database that another process wrote.
const HOMES_IN_TESTS: &[(&str, &[&str])] =
    &[("reqwest", &["app", "sim"]), ("rusqlite", &["app"]), ("sqlx", &["app"])];

/// More modules than this at the top of a crate are not seen at a glance; the crates that grew into knots had 26 and more.
const TOP_MODULES_MAX: usize = 12;

/// Longer files are read in parts, and nineteen of twenty files of well-kept projects are shorter.
const PRODUCTION_LINES_MAX: usize = 400;

/// Names that say nothing, so that anything may be put there.
const EMPTY_NAMES: &[&str] =
    &["common", "helper", "helpers", "manager", "misc", "shared", "types", "util", "utils"];

/// The files that a connector may have beside `mod`, `wire` and one for each stream group.
const CONNECTOR_FILES: &[&str] = &[
    "account",
    "census",
    "delivery",
    "detail",
    "limits",
    "listing",
    "place",
    "tables",
    "tests",
    "time",
    "wire/timeline",
];

/// Modules of `connectors` that are no connectors.
const NO_CONNECTORS: &[&str] = &["contract", "git", "kit", "lib"];

/// Words that have no meaning to a reader of the project: they tell of how a text came about.
const WORKSHOP_WORDS: &[&str] = &[
    "assistant",
    "chatgpt",
    "claude",
    "copilot",
    "gpt",
    "house.md",
    "llm",
    "mission.md",
    "my session",
    "subagent",
    "this session",
    "../shared",
];

/// Beginnings of paths that exist on one machine only.
const MACHINE_PATHS: &[&str] = &["/home/", "/root/", "/work/", "/Users/"];

/// Fails with the rule, where it is written, and everything that breaks it.
#[track_caller]
fn rule(number: u8, says: &str, broken: &[String]) {
    assert!(
        broken.is_empty(),
        "House rule {number} (CONTRIBUTING.md, \"House rules\"): {says}\n  {}\n",
        broken.join("\n  ")
    );
}

#[test]
fn rule_1_arrows_between_crates_are_the_ones_drawn() {
    let mut broken = Vec::new();
    let manifests = Manifest::read_all();
    let ours: BTreeSet<&str> = manifests.iter().map(|it| it.name.as_str()).collect();
    for manifest in &manifests {
        let Some((_, may, may_in_tests)) = ARROWS.iter().find(|(name, ..)| *name == manifest.name) else {
            broken.push(format!("{} has no line in ARROWS", manifest.name));
            continue;
        };
        for (used, in_tests) in manifest.uses().filter(|(used, _)| ours.contains(used)) {
            let drawn = may.contains(&used) || in_tests && may_in_tests.contains(&used);
            if !drawn {
                broken.push(format!("{} uses {used}", manifest.name));
            }
        }
        for drawn in may.iter().filter(|drawn| !manifest.dependencies.contains(**drawn)) {
            broken.push(format!("{} no longer uses {drawn}: take the arrow away", manifest.name));
        }
    }
    rule(1, "arrows between crates are exactly the ones drawn", &broken);
}

#[test]
fn rule_1_heavy_dependencies_have_their_homes() {
    let mut broken = Vec::new();
    for manifest in &Manifest::read_all() {
        for (used, in_tests) in manifest.uses() {
            let matches = |pattern: &str| match pattern.strip_suffix('*') {
                Some(beginning) => used.starts_with(beginning),
                None => used == pattern,
            };
            let at_home = |homes: &[(&str, &[&str])]| {
                homes.iter().all(|(it, homes)| !matches(it) || homes.contains(&manifest.name.as_str()))
            };
            let excepted = HOMES_IN_TESTS
                .iter()
                .any(|(it, homes)| in_tests && matches(it) && homes.contains(&manifest.name.as_str()));
            if !at_home(HOMES) && !excepted {
                broken.push(format!("{} uses {used}", manifest.name));
            }
        }
    }
    rule(1, "a heavy dependency has one home, and domain and connectors have no async runtime", &broken);
}

#[test]
fn rule_2_modules_form_no_circle() {
    let mut broken = Vec::new();
    for name in tree::crates() {
        for circle in modules::circles(&tree::sources_in(&format!("crates/{name}/src"))) {
            broken.push(format!("{name}: {circle}"));
        }
    }
    rule(2, "modules inside a crate form no circle", &broken);
}

#[test]
fn rule_2_a_crate_is_seen_at_a_glance() {
    let mut broken = Vec::new();
    for name in tree::crates() {
        let top = modules::top(&tree::sources_in(&format!("crates/{name}/src")));
        if top.len() > TOP_MODULES_MAX {
            broken.push(format!("{name} has {} modules at its top", top.len()));
        }
    }
    rule(2, &format!("no crate has more than {TOP_MODULES_MAX} modules at its top"), &broken);
}

#[test]
fn rule_3_files_are_short() {
    let long = |it: &Source| it.production().lines().count() > PRODUCTION_LINES_MAX;
    let broken: Vec<_> = tree::sources()
        .iter()
        .filter(|it| long(it))
        .map(|it| format!("{}: {} lines", it.path, it.production().lines().count()))
        .collect();
    rule(3, &format!("no file has more than {PRODUCTION_LINES_MAX} lines beside its tests"), &broken);
}

#[test]
fn rule_4_every_file_says_what_it_is_for() {
    let broken: Vec<_> = tree::sources()
        .iter()
        .filter(|it| !it.text.starts_with("//! "))
        .map(|it| format!("{} does not open with //!", it.path))
        .collect();
    rule(4, "every file opens with what it is for", &broken);
}

#[test]
fn rule_4_no_name_says_nothing() {
    let broken: Vec<_> = tree::sources()
        .iter()
        .filter(|it| it.path.split(['/', '.']).any(|part| EMPTY_NAMES.contains(&part)))
        .map(|it| it.path.clone())
        .collect();
    rule(4, &format!("no file or folder is called {}", EMPTY_NAMES.join(", ")), &broken);
}

#[test]
fn rule_5_connectors_are_alike() {
    let mut broken = Vec::new();
    let sources = tree::sources_in("crates/connectors/src");
    let all = sources.iter().find(|it| it.path.ends_with("/lib.rs")).and_then(|it| {
        let (_, list) = it.text.split_once("static ALL")?;
        list.split_once("];").map(|(list, _)| list.to_owned())
    });
    let all = all.expect("connectors/src/lib.rs has a static ALL");
    for name in modules::top(&sources) {
        if NO_CONNECTORS.contains(&name.as_str()) {
            continue;
        }
        if !all.contains(&format!("&{name}::")) {
            broken.push(format!("{name} is not in ALL"));
        }
        if tree::files(&format!("crates/connectors/fixtures/{name}")).is_empty() {
            broken.push(format!("{name} has no fixtures"));
        }
        if !root().join(format!("docs/connectors/{name}.md")).is_file() {
            broken.push(format!("{name} has no page docs/connectors/{name}.md"));
        }
        let folder = format!("crates/connectors/src/{name}/");
        let inside: Vec<_> = sources.iter().filter(|it| it.path.starts_with(&folder)).collect();
        let groups: BTreeSet<String> = inside.iter().flat_map(|it| groups(it.production())).collect();
        let mut wanted: BTreeSet<&str> = groups.iter().map(String::as_str).collect();
        wanted.extend(["mod", "wire"]);
        let found: BTreeSet<&str> = inside
            .iter()
            .filter_map(|it| it.path[folder.len()..].strip_suffix(".rs"))
            .filter(|it| !it.starts_with("tests/"))
            .collect();
        for missing in wanted.difference(&found) {
            broken.push(format!("{name} has no {missing}.rs"));
        }
        for odd in found.difference(&wanted).filter(|it| !CONNECTOR_FILES.contains(it)) {
            broken.push(format!("{name} has {odd}.rs, which no other connector has"));
        }
    }
    rule(5, "connectors are registered, have fixtures and a page, and have the same shape", &broken);
}

/// Finds the names of the stream groups that a spec declares.
fn groups(text: &str) -> Vec<String> {
    text.split("Group {")
        .skip(1)
        .filter_map(|it| {
            it.trim_start().strip_prefix("name: \"")?.split_once('"').map(|(name, _)| name.to_owned())
        })
        .collect()
}

#[test]
fn rule_6_what_the_documents_name_exists() {
    let words = tree::code_words();
    let mut broken = Vec::new();
    for document in ["ARCHITECTURE.md", "docs/glossary.md"] {
        for (line, quoted) in quotes(&tree::read(document)) {
            let missing = if quoted.contains('/') {
                (!root().join(quoted.trim_start_matches("./")).exists()).then(|| quoted.clone())
            } else {
                quoted
                    .split(|it: char| !it.is_alphanumeric() && it != '_')
                    .find(|it| {
                        !it.is_empty()
                            && !it.starts_with(|it: char| it.is_ascii_digit())
                            && !words.contains(*it)
                    })
                    .map(str::to_owned)
            };
            if let Some(missing) = missing {
                broken.push(format!("{document}:{line}: `{quoted}`: there is no {missing}"));
            }
        }
    }
    rule(6, "every symbol and path that ARCHITECTURE.md and the glossary quote exists", &broken);
}

/// Finds what stands between backticks, outside blocks of code, with its line. Commands are not symbols.
fn quotes(text: &str) -> Vec<(usize, String)> {
    let mut in_block = false;
    let mut found = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            let quoted = line.split('`').skip(1).step_by(2).filter(|it| !it.contains(' '));
            found.extend(quoted.map(|it| (at + 1, it.to_owned())));
        }
    }
    found
}

#[test]
fn rule_7_both_databases_have_the_same_migrations() {
    let names = |database: &str| -> BTreeSet<String> {
        let folder = format!("crates/store/migrations/{database}");
        tree::files(&folder).iter().map(|it| it[folder.len() + 1..].to_owned()).collect()
    };
    let (sqlite, postgres) = (names("sqlite"), names("postgres"));
    let mut broken: Vec<_> =
        sqlite.symmetric_difference(&postgres).map(|it| format!("only one database has {it}")).collect();
    for (at, name) in sqlite.iter().enumerate() {
        if !name.starts_with(&format!("{:04}_", at + 1)) || tree::extension(name) != "sql" {
            broken.push(format!("{name} should be number {:04}", at + 1));
        }
    }
    if sqlite.is_empty() {
        broken.push("there are no migrations".to_owned());
    }
    rule(7, "both migration folders hold the same numbers and names, without gaps", &broken);
}

#[test]
fn rule_8_every_exception_has_a_reason() {
    let mut broken = Vec::new();
    for source in tree::sources() {
        // Written apart, so that this line is no exception itself.
        for attribute in [concat!("#[", "expect("), concat!("#![", "expect(")] {
            for (at, _) in source.text.match_indices(attribute) {
                let whole = source.text[at..].split_once(']').map_or("", |(whole, _)| whole);
                if !whole.contains("reason = \"") {
                    broken.push(format!("{}:{}", source.path, source.line(at)));
                }
            }
        }
        for attribute in [concat!("#[", "allow("), concat!("#![", "allow(")] {
            for (at, _) in source.text.match_indices(attribute) {
                broken.push(format!("{}:{} allows; write expect", source.path, source.line(at)));
            }
        }
    }
    rule(8, "every #[expect] has a reason, and nothing is allowed", &broken);
}

#[test]
fn rule_9_prose_is_about_the_project() {
    let mut broken = Vec::new();
    for (path, line, said) in tree::prose() {
        let lower = said.to_lowercase();
        for word in WORKSHOP_WORDS.iter().filter(|it| tree::has_word(&lower, it)) {
            broken.push(format!("{path}:{line} says {word}"));
        }
        for beginning in MACHINE_PATHS.iter().filter(|it| said.contains(**it)) {
            broken.push(format!("{path}:{line} names a path under {beginning}"));
        }
    }
    rule(9, "prose names no path of one machine and nothing of how a text came about", &broken);
}

#[test]
fn the_rules_have_something_to_measure() {
    // A rule that finds no file is always kept; these floors are far below what there is.
    assert!(tree::sources().len() > 40, "{} sources", tree::sources().len());
    assert!(tree::prose().len() > 1_000, "{} lines of prose", tree::prose().len());
    let by_crate: BTreeMap<String, usize> = tree::crates()
        .into_iter()
        .map(|it| (it.clone(), tree::sources_in(&format!("crates/{it}")).len()))
        .collect();
    assert!(by_crate.values().all(|it| *it > 0), "{by_crate:?}");
    assert_eq!(by_crate.len(), ARROWS.len(), "{by_crate:?}");
    assert!(fs::metadata(root().join("Cargo.toml")).is_ok());
}
