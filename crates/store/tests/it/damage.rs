//! Damage: what a person is told when state, file or server is not as it should be.

use domain::job::{Lane, SyncState};
use domain::page::Page;
use domain::policy::Verdict;
use serde_json::json;
use store::{OpenError, Options, Pass, Store, StoreError};

use crate::database::Database;
use crate::world::*;

for_each_database!(
    a_damaged_cursor_is_named_and_left_alone,
    a_damaged_item_is_named,
    a_damaged_word_is_named,
    a_damaged_job_is_set_aside_and_the_others_go_on,
);

fn named<T: std::fmt::Debug>(result: &Result<T, StoreError>, words: &[&str]) {
    let Err(StoreError::Corrupt { what }) = result else { panic!("{result:?}") };
    for word in words {
        assert!(what.contains(word), "{what} does not name {word}");
    }
}

async fn a_damaged_cursor_is_named_and_left_alone(database: &Database) {
    let (store, source) = begin(database, vec![partition("branches", "7")]).await;
    start(&store, source, at(1)).await;
    let lease = claim_one(&store, at(2)).await;
    let page = Page::empty(more(json!(1)));
    let validator = Some(("https://toy.example/b".to_owned(), "\"1\"".to_owned()));
    let commit = store::Commit { validator, ..commit(page, Pass::Incremental, at(3)) };
    store.commit_page(&lease, commit, at(3)).await.unwrap();
    database.execute("update checkpoints set cursor = '{half'").await;
    named(&store.open_job(&lease).await, &["checkpoints", "branches/7", "cursor"]);
    assert_eq!(database.lines("select cursor from checkpoints").await, ["{half"]);
    database.execute("update checkpoints set cursor = '1'").await;
    database.execute("update validators set next = '{\"sideways\": 1}'").await;
    named(&store.open_job(&lease).await, &["validators", "branches/7", "toy.example/b", "next"]);
    database.execute("delete from validators").await;
    database.execute("update sources set options = ''").await;
    named(&store.open_job(&lease).await, &["sources", "options"]);
    named(&store.sources(None).await, &["sources", "options"]);
    // The job can still be settled: nothing is stuck.
    let stopped = failed(Verdict::Discard { invalidates: false }, "corrupt_state");
    store.settle(&lease, stopped, at(4)).await.unwrap();
}

async fn a_damaged_item_is_named(database: &Database) {
    let (store, source) = begin(database, vec![partition("branches", "1")]).await;
    start(&store, source, at(1)).await;
    let lease = claim_one(&store, at(2)).await;
    let found = Page {
        partitions: vec![partition("commits", "1")],
        wanted: vec![wanted("1", "main", "a", None)],
        ..Page::empty(more(json!(1)))
    };
    store.commit_page(&lease, commit(found, Pass::Incremental, at(3)), at(3)).await.unwrap();
    let reading = claim_one(&store, at(4)).await;
    database.execute("update items set cursor = 'not json'").await;
    named(&store.due_items(&reading, 5).await, &["items", "commits/1", "main", "cursor"]);
}

async fn a_damaged_word_is_named(database: &Database) {
    let (store, source) = begin(database, vec![partition("branches", "1")]).await;
    let sync = start(&store, source, at(1)).await;
    database.execute("update jobs set state = 'dancing'").await;
    named(&store.jobs(sync.id).await, &["jobs", "state"]);
    database.execute("update syncs set trigger = 'boredom'").await;
    named(&store.sync(sync.id).await, &["syncs", "trigger"]);
    database.execute("update syncs set trigger = 'cron', created_at = 9000000000000000000").await;
    named(&store.sync(sync.id).await, &["created_at"]);
}

async fn a_damaged_job_is_set_aside_and_the_others_go_on(database: &Database) {
    let roots = vec![partition("branches", "1"), partition("branches", "2"), partition("branches", "3")];
    let (store, source) = begin(database, roots).await;
    let sync = start(&store, source, at(1)).await;
    let second = "update jobs set lane = 'sideways' where partition = '2'";
    database.execute(second).await;
    let leases = claim(&store, at(2)).await;
    let claimed: Vec<&str> = leases.iter().map(|it| it.partition.as_str()).collect();
    assert_eq!(claimed, ["1", "3"]);
    for lease in &leases {
        complete(&store, lease, at(3)).await;
    }
    let closed = store.sync(sync.id).await.unwrap().unwrap();
    assert_eq!((closed.state, closed.jobs.discarded, closed.errors_total), (SyncState::Partial, 1, 1));
    let error = &closed.errors[0];
    assert_eq!((error.partition.as_str(), error.code.as_str()), ("2", "corrupt_state"));
    assert!(error.detail.contains("jobs") && error.detail.contains("lane"), "{}", error.detail);
    let jobs = store.jobs(sync.id).await.unwrap();
    let lanes: Vec<_> = jobs.iter().map(|it| it.lane).collect();
    assert_eq!(lanes, [Some(Lane::Forward), None, Some(Lane::Forward)], "what is damaged stays to be seen");
    // The next sync makes a whole one of it.
    let next = start(&store, source, at(100)).await;
    for lease in claim(&store, at(101)).await {
        complete(&store, &lease, at(102)).await;
    }
    assert_eq!(store.sync(next.id).await.unwrap().unwrap().state, SyncState::Completed);
    // Alone in its sync, it fails it: nothing waits for ever.
    let last = start(&store, source, at(200)).await;
    database.execute("update jobs set lane = 'sideways' where state = 'available'").await;
    assert_eq!(claim(&store, at(201)).await, []);
    assert_eq!(store.sync(last.id).await.unwrap().unwrap().state, SyncState::Failed);
}

async fn refused(url: &str) -> String {
    match Store::open(Options::new(url), &[&SPEC]).await {
        Ok(_) => panic!("{url} was opened"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named() {
    let database = Database::sqlite();
    let path = database.folder().join("test.db");
    std::fs::write(&path, "this is a letter to my aunt, and not a database at all ".repeat(200)).unwrap();
    let sentence = refused(database.url()).await;
    assert!(sentence.contains("test.db is not an SQLite database"), "{sentence}");
    assert!(std::fs::read_to_string(&path).unwrap().starts_with("this is a letter"));
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_named() {
    let database = Database::sqlite();
    let url = format!("sqlite://{}/no/such/folder/test.db", database.folder().display());
    let sentence = refused(&url).await;
    assert!(sentence.contains("no/such/folder/test.db cannot be written"), "{sentence}");
    assert!(sentence.contains("choose another place"), "{sentence}");
}

#[tokio::test]
async fn an_address_that_makes_no_sense_is_explained() {
    for url in ["mysql://root@localhost/x", "syncline.db", "", "sqlite::memory:"] {
        let sentence = refused(url).await;
        assert!(sentence.contains("write sqlite://path/to/file.db or postgres://"), "{sentence}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_named_without_the_password() {
    // A port that was free a moment ago: nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("postgres://someone:hunter2@127.0.0.1:{port}/syncline");
    let error = Store::open(Options::new(url), &[&SPEC]).await.unwrap_err();
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error}");
    let told = format!("{error} {error:?}");
    assert!(told.contains(&format!("127.0.0.1:{port}")) && !told.contains("hunter2"), "{told}");
}

#[tokio::test]
async fn a_missing_database_or_user_is_named() {
    let database = Database::postgres().await;
    let (base, name) = database.url().rsplit_once('/').unwrap();
    let sentence = refused(&format!("{base}/{name}_not_there")).await;
    assert!(sentence.contains(&format!("createdb {name}_not_there")), "{sentence}");
    database.execute("create role syncline_test_nobody nologin").await;
    let server = base.rsplit_once('@').map_or(base, |it| it.1).trim_start_matches("postgres://");
    let error = Store::open(
        Options::new(format!("postgres://syncline_test_nobody:hunter2@{server}/{name}")),
        &[&SPEC],
    )
    .await;
    database.execute("drop role syncline_test_nobody").await;
    let error = error.unwrap_err();
    assert!(matches!(error, OpenError::Denied { .. }), "{error}");
    let told = format!("{error} {error:?}");
    assert!(told.contains("syncline_test_nobody") && !told.contains("hunter2"), "{told}");
}
