//! The story: a source is added, synced, and synced again with little new.

use domain::job::SyncState;
use domain::page::{Next, Page, Sweep};
use domain::policy::Verdict;
use domain::trigger::Trigger;
use serde_json::json;
use store::{Commit, Enqueued, Pass, Store};

use crate::database::Database;
use crate::world::*;

for_each_database!(a_source_is_synced_and_synced_again);

async fn a_source_is_synced_and_synced_again(database: &Database) {
    let (store, source) = begin(database, vec![partition("projects", "all")]).await;
    let sync = start(&store, source, at(10)).await;
    assert_eq!((sync.state, sync.jobs.available, sync.jobs.total), (SyncState::Running, 1, 1));
    let again = store.enqueue(request(source, Trigger::Manual), at(11)).await.unwrap();
    assert_eq!(again, Enqueued::Active { sync: sync.id });

    list_projects(&store).await;
    list_branches(&store).await;
    read_commits(&store).await;

    let done = store.sync(sync.id).await.unwrap().unwrap();
    assert_eq!(done.state, SyncState::Completed, "{done:?}");
    assert_eq!(done.closed_at, Some(at(50)));
    assert_eq!((done.jobs.completed, done.pages, done.records, done.requests), (3, 5, 8, 5));
    assert_eq!(done.rows_written, 8);
    assert_eq!(
        store.landed_counts(source).await.unwrap(),
        [("branches", 2), ("commit_parents", 2), ("commits", 3), ("toy_projects", 1)]
            .map(|(table, rows)| (table.to_owned(), rows))
    );
    let reached = "select branch || ' ' || sha from commit_branches order by branch, sha";
    assert_eq!(database.lines(reached).await, ["main a1", "main a2", "side a1", "side b1"]);
    let names = events(database, &store).await;
    let count = |name: &str| names.iter().filter(|it| *it == name).count();
    assert_eq!((count("sync.request"), count("sync.job.started"), count("sync.job.completed")), (1, 3, 3));
    assert_eq!((count("sync.closed"), names.last().map(String::as_str)), (1, Some("sync.closed")));

    nothing_new(&store, source).await;
    let facts = store.facts(source, &GROUP, at(200)).await.unwrap();
    assert_eq!((facts.partitions, facts.active_sync, facts.last_success_at), (3, None, Some(at(105))));
    store.close().await;
}

async fn list_projects(store: &Store) {
    let lease = claim_one(store, at(20)).await;
    assert_eq!((lease.stream.as_str(), lease.partition.as_str(), lease.attempt), ("projects", "all", 1));
    let open = store.open_job(&lease).await.unwrap();
    assert_eq!((open.provider.as_str(), open.cursor, open.plain), ("toy", None, false));
    assert_eq!(open.args, json!({ "full_name": "toy/all" }));
    let sweep = Sweep { owner: None, items: None, partitions: Some("branches".to_owned()) };
    let found = Page {
        partitions: vec![partition("branches", "1"), partition("commits", "1")],
        ..page(vec![project(1, "one")], caught_up(Some(sweep)))
    };
    let validator = Some(("https://toy.example/projects".to_owned(), "\"p1\"".to_owned()));
    let commit = Commit { validator, ..commit(found, Pass::Plain { first: true }, at(21)) };
    store.commit_page(&lease, commit, at(21)).await.unwrap();
    complete(store, &lease, at(22)).await;
}

async fn list_branches(store: &Store) {
    let lease = claim_one(store, at(30)).await;
    assert_eq!((lease.stream.as_str(), lease.partition.as_str()), ("branches", "1"));
    let first = Page {
        wanted: vec![wanted("1", "main", "a2", None)],
        ..page(vec![branch(1, "main", "a2")], more(json!(2)))
    };
    store.commit_page(&lease, commit(first, Pass::Plain { first: true }, at(31)), at(31)).await.unwrap();
    let open = store.open_job(&lease).await.unwrap();
    assert_eq!((open.cursor, open.plain), (Some(cursor(json!(2))), true));
    let sweep = Sweep {
        owner: Some(1),
        items: Some(Box::new(("commits".to_owned(), "1".to_owned()))),
        partitions: None,
    };
    let last = Page {
        wanted: vec![wanted("1", "side", "b1", Some("main"))],
        ..page(vec![branch(1, "side", "b1")], caught_up(Some(sweep)))
    };
    let validator = Some(("https://toy.example/branches".to_owned(), "\"b1\"".to_owned()));
    let last = Commit { validator, ..commit(last, Pass::Plain { first: false }, at(32)) };
    let progress = store.commit_page(&lease, last, at(32)).await.unwrap();
    assert_eq!((progress.rows_written, progress.records), (1, 2));
    complete(store, &lease, at(33)).await;
}

async fn read_commits(store: &Store) {
    let lease = claim_one(store, at(40)).await;
    assert_eq!(lease.stream, "commits");
    let due = store.due_items(&lease, 10).await.unwrap();
    let read: Vec<_> =
        due.iter().map(|it| (it.key.as_str(), it.wanted.as_str(), it.base.as_deref())).collect();
    assert_eq!(read, [("main", "a2", None), ("side", "b1", None)]);
    let main = page(vec![commit_row(1, "a1"), commit_row(1, "a2"), parent(1, "a2", "a1")], caught_up(None));
    let main = Page { done: vec!["main".to_owned()], ..main };
    store.commit_page(&lease, commit_items(main, &[("main", "a2")], at(41)), at(41)).await.unwrap();
    let due = store.due_items(&lease, 10).await.unwrap();
    assert_eq!(due.len(), 1);
    assert_eq!((due[0].key.as_str(), due[0].base.as_deref()), ("side", Some("a2")));
    let side = page(vec![commit_row(1, "b1"), parent(1, "b1", "a1")], caught_up(None));
    let side = Page { done: vec!["side".to_owned()], ..side };
    store.commit_page(&lease, commit_items(side, &[("side", "b1")], at(42)), at(42)).await.unwrap();
    assert_eq!(store.due_items(&lease, 10).await.unwrap(), []);
    complete(store, &lease, at(50)).await;
}

/// The second sync: two listings answer that nothing changed, and no job reads items.
async fn nothing_new(store: &Store, source: domain::id::SourceId) {
    let sync = start(store, source, at(100)).await;
    assert_eq!(sync.jobs.total, 2, "the commits have nothing due");
    for (lease, url) in claim(store, at(101)).await.into_iter().zip(["projects", "branches"]) {
        let open = store.open_job(&lease).await.unwrap();
        let validator = &open.validators[&format!("https://toy.example/{url}")];
        let next: Next = validator.next.clone();
        store
            .commit_page(&lease, commit(Page::empty(next), Pass::Unchanged, at(102)), at(102))
            .await
            .unwrap();
        store.settle(&lease, settlement(Verdict::Complete), at(105)).await.unwrap();
    }
    let done = store.sync(sync.id).await.unwrap().unwrap();
    assert_eq!((done.state, done.rows_written, done.requests), (SyncState::Completed, 0, 2));
}
