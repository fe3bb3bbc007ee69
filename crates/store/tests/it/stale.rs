//! A worker that lost its lease writes nothing, whatever it tries.

use domain::page::Page;
use domain::policy::Verdict;
use serde_json::json;
use store::{Lease, Pass, Store, StoreError};

use crate::database::Database;
use crate::world::*;

for_each_database!(an_expired_lease_writes_nothing, a_lease_that_another_holds_writes_nothing);

const TABLES: [&str; 15] = [
    "sources",
    "partitions",
    "checkpoints",
    "validators",
    "seen",
    "items",
    "syncs",
    "jobs",
    "events",
    "budgets",
    "learned",
    "toy_projects",
    "branches",
    "commits",
    "commit_parents",
];

async fn everything(database: &Database) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for table in TABLES {
        all.push(database.dump(table).await);
    }
    all
}

/// Brings a job of items and a job of a listing to where there is something to lose.
async fn half_way(database: &Database) -> (Store, Lease) {
    let (store, source) = begin(database, vec![partition("branches", "1")]).await;
    start(&store, source, at(1)).await;
    let lease = claim_one(&store, at(2)).await;
    let found = Page {
        partitions: vec![partition("commits", "1")],
        wanted: vec![wanted("1", "main", "a", None)],
        ..page(vec![branch(1, "main", "a")], more(json!(2)))
    };
    let commit = store::Commit {
        validator: Some(("https://toy.example/1".to_owned(), "\"1\"".to_owned())),
        ..commit(found, Pass::Plain { first: true }, at(3))
    };
    store.commit_page(&lease, commit, at(3)).await.unwrap();
    (store, lease)
}

async fn an_expired_lease_writes_nothing(database: &Database) {
    let (store, lease) = half_way(database).await;
    writes_nothing(database, &store, &lease, 63).await;
}

async fn a_lease_that_another_holds_writes_nothing(database: &Database) {
    let (store, lease) = half_way(database).await;
    store.rescue(&["a".to_owned()], at(4)).await.unwrap();
    writes_nothing(database, &store, &lease, 5).await;
    claim(&store, at(5)).await;
    writes_nothing(database, &store, &lease, 6).await;
    assert!(matches!(store.open_job(&lease).await, Err(StoreError::LeaseLost)));
}

async fn writes_nothing(database: &Database, store: &Store, lease: &Lease, now: i64) {
    let now = at(now);
    let before = everything(database).await;
    let lost = |result: Result<(), StoreError>, what: &str| {
        assert!(matches!(result, Err(StoreError::LeaseLost)), "{what}: {result:?}");
    };
    let found = Page {
        partitions: vec![partition("commits", "2")],
        wanted: vec![wanted("1", "main", "b", None)],
        learned: Some(Box::new(serde_json::json!({ "zone": "UTC" }))),
        ..page(
            vec![branch(1, "main", "b")],
            caught_up(Some(domain::page::Sweep {
                owner: Some(1),
                items: Some(Box::new(("commits".to_owned(), "1".to_owned()))),
                partitions: Some("commits".to_owned()),
            })),
        )
    };
    for pass in
        [Pass::Incremental, Pass::Plain { first: true }, Pass::Plain { first: false }, Pass::Unchanged]
    {
        let result = store.commit_page(lease, commit(found.clone(), pass, now), now).await.map(drop);
        lost(result, "commit_page");
    }
    lost(store.restart_listing(lease, 1, now).await, "restart_listing");
    lost(store.start_over(lease, None, 1, now).await, "start_over");
    lost(store.start_over(lease, Some("main".to_owned()), 1, now).await, "start_over an item");
    let fault = ("gone".to_owned(), "it is gone".to_owned());
    lost(store.fail_item(lease, "main".to_owned(), fault, 1, now).await, "fail_item");
    for verdict in [
        Verdict::Complete,
        Verdict::Retry { at: now },
        Verdict::Snooze { until: now },
        Verdict::Release,
        Verdict::Discard { invalidates: true },
        Verdict::StopSource,
        Verdict::Cancel,
    ] {
        let mut settlement = failed(verdict, "denied");
        settlement.requests = 7;
        lost(store.settle(lease, settlement, now).await, "settle");
    }
    assert_eq!(everything(database).await, before);
}
