//! Items: read in the right order, at the version that the walk began with, and never forgotten.

use domain::page::Page;
use serde_json::json;
use store::{Lease, Store};

use crate::database::Database;
use crate::world::*;

for_each_database!(
    bases_are_read_first,
    a_version_that_moves_during_a_walk_stays_due,
    an_item_that_starts_over_reads_all_of_it,
    several_items_may_end_in_one_page,
    an_item_that_is_found_again_is_not_touched,
);

/// Lists these branches and returns the lease of the job that reads them.
async fn listed(database: &Database, found: Vec<domain::page::Wanted>) -> (Store, Lease, Lease) {
    let (store, source) = begin(database, vec![partition("branches", "1")]).await;
    start(&store, source, at(1)).await;
    let listing = claim_one(&store, at(2)).await;
    want(&store, &listing, found, 3).await;
    let reading = claim_one(&store, at(4)).await;
    (store, listing, reading)
}

async fn want(store: &Store, listing: &Lease, wanted: Vec<domain::page::Wanted>, now: i64) {
    let partitions = vec![partition("commits", "1")];
    let found = Page { partitions, wanted, ..Page::empty(more(json!(1))) };
    let commit = commit(found, store::Pass::Incremental, at(now));
    store.commit_page(listing, commit, at(now)).await.unwrap();
}

async fn read(
    store: &Store,
    lease: &Lease,
    items: &[(&str, &str)],
    done: &[&str],
    next: domain::page::Next,
    now: i64,
) {
    let done = done.iter().map(|it| (*it).to_owned()).collect();
    let page = Page { done, ..Page::empty(next) };
    store.commit_page(lease, commit_items(page, items, at(now)), at(now)).await.unwrap();
}

async fn due(store: &Store, lease: &Lease) -> Vec<(String, String, Option<String>, Option<String>)> {
    let items = store.due_items(lease, 100).await.unwrap();
    items.into_iter().map(|it| (it.key, it.wanted, it.have, it.base)).collect()
}

fn item(
    key: &str,
    wanted: &str,
    have: Option<&str>,
    base: Option<&str>,
) -> (String, String, Option<String>, Option<String>) {
    (key.to_owned(), wanted.to_owned(), have.map(str::to_owned), base.map(str::to_owned))
}

async fn bases_are_read_first(database: &Database) {
    let found = vec![
        wanted("1", "a-side", "s1", Some("main")),
        wanted("1", "main", "m1", None),
        wanted("1", "b-side", "s2", Some("main")),
    ];
    let (store, _, lease) = listed(database, found).await;
    let expected =
        [item("main", "m1", None, None), item("a-side", "s1", None, None), item("b-side", "s2", None, None)];
    assert_eq!(due(&store, &lease).await, expected);
    read(&store, &lease, &[("main", "m1")], &["main"], caught_up(None), 5).await;
    let expected = [item("a-side", "s1", None, Some("m1")), item("b-side", "s2", None, Some("m1"))];
    assert_eq!(due(&store, &lease).await, expected);
    assert_eq!(store.due_items(&lease, 1).await.unwrap().len(), 1);
}

async fn a_version_that_moves_during_a_walk_stays_due(database: &Database) {
    let (store, listing, lease) = listed(database, vec![wanted("1", "main", "m1", None)]).await;
    read(&store, &lease, &[("main", "m1")], &[], more(json!({ "page": 2 })), 5).await;
    want(&store, &listing, vec![wanted("1", "main", "m2", None)], 6).await;
    let items = store.due_items(&lease, 10).await.unwrap();
    assert_eq!((items[0].wanted.as_str(), &items[0].cursor), ("m1", &Some(cursor(json!({ "page": 2 })))));
    read(&store, &lease, &[("main", "m1")], &["main"], caught_up(None), 7).await;
    assert_eq!(due(&store, &lease).await, [item("main", "m2", Some("m1"), None)]);
    assert_eq!(store.due_items(&lease, 10).await.unwrap()[0].cursor, None);
    read(&store, &lease, &[("main", "m2")], &["main"], caught_up(None), 8).await;
    assert_eq!(due(&store, &lease).await, []);
}

async fn an_item_that_starts_over_reads_all_of_it(database: &Database) {
    let found = vec![wanted("1", "main", "m1", None), wanted("1", "side", "s1", Some("main"))];
    let (store, listing, lease) = listed(database, found).await;
    read(&store, &lease, &[("main", "m1")], &["main"], caught_up(None), 5).await;
    assert_eq!(due(&store, &lease).await, [item("side", "s1", None, Some("m1"))]);
    read(&store, &lease, &[("side", "s1")], &[], more(json!(2)), 6).await;
    store.start_over(&lease, Some("side".to_owned()), 1, at(7)).await.unwrap();
    let items = store.due_items(&lease, 10).await.unwrap();
    assert_eq!((&items[0].cursor, &items[0].base, &items[0].have), (&None, &None, &None));
    read(&store, &lease, &[("side", "s1")], &["side"], caught_up(None), 8).await;
    want(&store, &listing, vec![wanted("1", "side", "s2", Some("main"))], 9).await;
    assert_eq!(due(&store, &lease).await, [item("side", "s2", Some("s1"), None)]);
}

async fn several_items_may_end_in_one_page(database: &Database) {
    let found = ["a", "b", "c"].map(|key| wanted("1", key, "1", None)).to_vec();
    let (store, _, lease) = listed(database, found).await;
    let asked = [("a", "1"), ("b", "1"), ("c", "1")];
    read(&store, &lease, &asked, &["a", "c"], caught_up(None), 5).await;
    assert_eq!(due(&store, &lease).await, [item("b", "1", None, None)]);
}

async fn an_item_that_is_found_again_is_not_touched(database: &Database) {
    let found = vec![wanted("1", "main", "m1", None), wanted("1", "side", "s1", Some("main"))];
    let (store, listing, lease) = listed(database, found.clone()).await;
    read(&store, &lease, &[("main", "m1")], &["main"], caught_up(None), 5).await;
    let fault = ("gone".to_owned(), "it is gone".to_owned());
    store.fail_item(&lease, "side".to_owned(), fault, 0, at(6)).await.unwrap();
    let before = database.dump("items").await;
    // A provider may list one twice, when a page moved while it was read.
    let twice = [found.clone(), found].concat();
    want(&store, &listing, twice, 7).await;
    assert_eq!(database.dump("items").await, before);
}
