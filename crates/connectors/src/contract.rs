//! What holds for every connector: replaying from any cursor loses nothing, and a spec says what it serves.
//!
//! What can be said of all runs over [`crate::ALL`]. What a connector reads is tested against a pure model of its
//! provider, in a module named after it; a connector without one fails here.

pub(crate) mod fixture;
mod git;
mod graph;
mod host;
mod hub;
mod jira;
mod lab;
mod reference;
mod site;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use domain::connector::Connector;
use domain::fault::Fault;
use domain::job::Lane;
use domain::page::{Headers, Read, Response};
use domain::source::Settings;
use jiff::Timestamp;
use serde_json::{Value, json};

use self::reference::{Provider, Reference};

/// The providers that have a model here.
const MODELLED: &[&str] = &["github", "gitlab", "jira"];

#[test]
fn every_connector_has_a_model() {
    for connector in crate::ALL {
        let provider = connector.spec().provider;
        assert!(MODELLED.contains(&provider), "{provider} has no model to be tested against");
    }
}

/// Fails unless a sync that found something of everything read every stream of the spec, and no other is served.
fn assert_serves_its_streams<P: Provider>(connector: &dyn Connector, synced: &Reference<P>) {
    let spec = connector.spec();
    let served: BTreeSet<_> = synced.streams_read().collect();
    let named: BTreeSet<_> = spec.groups.iter().flat_map(|it| it.streams).map(|it| it.name).collect();
    assert_eq!(served, named, "{}", spec.provider);

    let settings = Settings { base_url: "https://provider.example".to_owned(), options: json!({}) };
    let read = Read {
        source: &settings,
        learned: &Value::Null,
        stream: "no such stream",
        partition: "1",
        args: &Value::Null,
        lane: Lane::Forward,
        items: &[],
        cursor: None,
        careful: false,
    };
    assert!(matches!(connector.step(&read, &[]), Err(Fault::Malformed { .. })), "{}", spec.provider);
}

/// An answer to who the credential belongs to.
fn told(status: u16, body: &str) -> Response {
    Response {
        status,
        headers: Headers(Vec::new()),
        body: Bytes::copy_from_slice(body.as_bytes()),
        url: String::new(),
        requested_at: Timestamp::UNIX_EPOCH,
        received_at: Timestamp::UNIX_EPOCH,
    }
}

#[test]
fn the_owner_of_a_credential_is_whoever_the_provider_names() {
    let settings = Settings { base_url: "https://provider.example/api".to_owned(), options: json!({}) };
    for connector in crate::ALL {
        let provider = connector.spec().provider;
        let request = connector.identify(&settings).unwrap();
        assert!(request.url.starts_with("https://provider.example/api/"), "{provider}: {}", request.url);
        let person = json!({ "id": 7, "accountId": "7", "key": "7", "login": "ada", "name": "ada" });
        for (status, body, owner) in [
            (200, person.to_string(), Ok(Some("7".to_owned()))),
            (200, "{}".to_owned(), Ok(None)),
            // A credential of nobody, such as one of a bot that a repository has.
            (403, "{}".to_owned(), Ok(None)),
            (404, "{}".to_owned(), Ok(None)),
            (401, "{}".to_owned(), Err(Fault::Unauthorized)),
            (200, "<html>".to_owned(), Err(Fault::Malformed { what: "the owner: no JSON".to_owned() })),
        ] {
            assert_eq!(connector.owner(&told(status, &body)), owner, "{provider}: {status} {body}");
        }
    }
}

#[test]
fn tables_are_named_after_their_provider_and_keyed_by_their_first_columns() {
    let shared = ["branches", "commits", "commit_parents", "sprints"];
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
