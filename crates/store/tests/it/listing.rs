//! Complete listings: what they no longer name is gone, and only a complete listing may say so.

use domain::id::SourceId;
use domain::page::{Page, Sweep};
use serde_json::json;
use store::{Commit, Lease, Pass, Store};

use crate::database::Database;
use crate::world::*;

for_each_database!(
    a_complete_listing_sweeps_what_it_no_longer_names,
    an_unchanged_page_never_sweeps,
    a_listing_that_names_items_keeps_their_rows,
    an_incremental_page_never_sweeps,
    a_listing_that_starts_again_forgets_what_it_saw,
    a_swept_partition_is_no_longer_read,
    a_partition_that_is_listed_again_is_read_again,
    validators_are_kept_with_what_follows,
    an_older_listing_does_not_delete_newer_rows,
);

fn sweep() -> Sweep {
    Sweep { owner: Some(1), items: Some(Box::new(("commits".to_owned(), "1".to_owned()))), partitions: None }
}

async fn listing(database: &Database) -> (Store, SourceId, Lease) {
    let (store, source) = begin(database, vec![partition("branches", "1"), partition("commits", "1")]).await;
    start(&store, source, at(1)).await;
    let lease = claim_one(&store, at(2)).await;
    (store, source, lease)
}

async fn list(store: &Store, lease: &Lease, names: &[&str], next: domain::page::Next, pass: Pass, now: i64) {
    let records = names.iter().map(|name| branch(1, name, "x")).collect();
    let wanted = names.iter().map(|name| wanted("1", name, "x", None)).collect();
    let page = Page { wanted, ..page(records, next) };
    store.commit_page(lease, commit(page, pass, at(now)), at(now)).await.unwrap();
}

async fn live(database: &Database) -> Vec<String> {
    database.lines("select name from branches where deleted_at is null order by name").await
}

async fn items(database: &Database) -> Vec<String> {
    database.lines("select key from items order by key").await
}

const FIRST: Pass = Pass::Plain { first: true };
const LATER: Pass = Pass::Plain { first: false };

async fn a_complete_listing_sweeps_what_it_no_longer_names(database: &Database) {
    let (store, source, lease) = listing(database).await;
    list(&store, &lease, &["a", "b"], more(json!(2)), FIRST, 3).await;
    list(&store, &lease, &["c"], caught_up(Some(sweep())), LATER, 4).await;
    assert_eq!(live(database).await, ["a", "b", "c"]);
    // A branch of another repository is another listing's business.
    let other = page(vec![branch(2, "a", "x")], more(json!(1)));
    store.commit_page(&lease, commit(other, Pass::Incremental, at(5)), at(5)).await.unwrap();
    list(&store, &lease, &["b"], more(json!(2)), FIRST, 6).await;
    assert_eq!(live(database).await, ["a", "a", "b", "c"], "only the end of a listing sweeps");
    list(&store, &lease, &["c"], caught_up(Some(sweep())), LATER, 7).await;
    assert_eq!(live(database).await, ["a", "b", "c"]);
    assert_eq!(
        database.lines("select cast(repository_id as text) from branches where deleted_at is not null").await,
        ["1"]
    );
    assert_eq!(items(database).await, ["b", "c"]);
    assert_eq!(database.dump("seen").await, [""; 0]);
    assert!(!store.open_job(&lease).await.unwrap().plain);
    list(&store, &lease, &["a"], more(json!(2)), FIRST, 8).await;
    assert_eq!(live(database).await, ["a", "a", "b", "c"], "a branch may come back");
    let _ = source;
}

/// A listing may leave the landing of a row to the reading of its item.
async fn a_listing_that_names_items_keeps_their_rows(database: &Database) {
    let (store, _, lease) = listing(database).await;
    list(&store, &lease, &["a", "b"], more(json!(1)), Pass::Incremental, 3).await;
    let wanted = vec![wanted("1", "b", "y", None)];
    let page = Page { wanted, ..Page::empty(caught_up(Some(sweep()))) };
    store.commit_page(&lease, commit(page, FIRST, at(4)), at(4)).await.unwrap();
    assert_eq!((live(database).await, items(database).await), (vec!["b".to_owned()], vec!["b".to_owned()]));
}

async fn an_unchanged_page_never_sweeps(database: &Database) {
    let (store, _, lease) = listing(database).await;
    list(&store, &lease, &["a", "b"], caught_up(Some(sweep())), FIRST, 3).await;
    let (rows, kept) = (database.dump("branches").await, database.dump("items").await);
    // Half a listing under way has seen less than there is.
    list(&store, &lease, &["a"], more(json!(2)), FIRST, 4).await;
    let unchanged = commit(Page::empty(caught_up(Some(sweep()))), Pass::Unchanged, at(5));
    store.commit_page(&lease, unchanged, at(5)).await.unwrap();
    assert_eq!((database.dump("branches").await, database.dump("items").await), (rows, kept));
}

async fn an_incremental_page_never_sweeps(database: &Database) {
    let (store, _, lease) = listing(database).await;
    list(&store, &lease, &["a", "b"], caught_up(Some(sweep())), FIRST, 3).await;
    list(&store, &lease, &["a"], caught_up(Some(sweep())), Pass::Incremental, 4).await;
    assert_eq!(live(database).await, ["a", "b"]);
}

async fn a_listing_that_starts_again_forgets_what_it_saw(database: &Database) {
    let (store, _, lease) = listing(database).await;
    list(&store, &lease, &["a", "b"], more(json!(2)), FIRST, 3).await;
    store.restart_listing(&lease, 1, at(4)).await.unwrap();
    let open = store.open_job(&lease).await.unwrap();
    assert_eq!((open.cursor, open.plain, open.validators.len()), (None, true, 0));
    list(&store, &lease, &["b"], caught_up(Some(sweep())), FIRST, 5).await;
    assert_eq!(live(database).await, ["b"]);
}

async fn a_swept_partition_is_no_longer_read(database: &Database) {
    let (store, source) = begin(database, vec![partition("projects", "all")]).await;
    start(&store, source, at(1)).await;
    let projects = claim_one(&store, at(2)).await;
    let gone = Some(Sweep { owner: None, items: None, partitions: Some("branches".to_owned()) });
    let both = Page {
        partitions: vec![partition("branches", "1"), partition("branches", "2")],
        ..page(vec![project(1, "one"), project(2, "two")], caught_up(gone.clone()))
    };
    store.commit_page(&projects, commit(both, FIRST, at(3)), at(3)).await.unwrap();
    for lease in claim(&store, at(4)).await {
        let below =
            Page { partitions: vec![partition("commits", &lease.partition)], ..Page::empty(caught_up(None)) };
        store.commit_page(&lease, commit(below, Pass::Incremental, at(5)), at(5)).await.unwrap();
        complete(&store, &lease, at(5)).await;
    }
    let one = page(vec![project(1, "one")], caught_up(gone));
    store.commit_page(&projects, commit(one, FIRST, at(6)), at(6)).await.unwrap();
    let active = "select stream || ' ' || key from partitions where active order by stream, key";
    assert_eq!(database.lines(active).await, ["branches 1", "commits 1", "projects all"]);
    let back = Page {
        partitions: vec![partition("branches", "2")],
        ..page(vec![project(2, "two")], more(json!(1)))
    };
    store.commit_page(&projects, commit(back, Pass::Incremental, at(7)), at(7)).await.unwrap();
    assert_eq!(database.lines(active).await, ["branches 1", "branches 2", "commits 1", "projects all"]);
}

/// A listing names what it does not find anew: a sprint that ended long ago is not begun, and yet read on.
async fn a_partition_that_is_listed_again_is_read_again(database: &Database) {
    let (store, source) = begin(database, vec![partition("projects", "all")]).await;
    start(&store, source, at(1)).await;
    let projects = claim_one(&store, at(2)).await;
    let gone = Some(Sweep { owner: None, items: None, partitions: Some("branches".to_owned()) });
    let found = Page {
        partitions: vec![partition("branches", "1")],
        ..page(vec![project(1, "one"), project(2, "two")], caught_up(gone.clone()))
    };
    store.commit_page(&projects, commit(found, FIRST, at(3)), at(3)).await.unwrap();
    let active = "select key from partitions where stream = 'branches' and active order by key";
    let out_of_sight = page(vec![project(2, "two")], caught_up(gone.clone()));
    store.commit_page(&projects, commit(out_of_sight, FIRST, at(4)), at(4)).await.unwrap();
    assert_eq!(database.lines(active).await, [""; 0]);
    let back = page(vec![project(1, "one"), project(2, "two")], caught_up(gone));
    store.commit_page(&projects, commit(back, FIRST, at(5)), at(5)).await.unwrap();
    // The second project never had one.
    assert_eq!(database.lines(active).await, ["1"]);
}

async fn validators_are_kept_with_what_follows(database: &Database) {
    let (store, _, lease) = listing(database).await;
    let validator = Some(("https://toy.example/b?page=1".to_owned(), "\"1\"".to_owned()));
    let first = Commit { validator, ..commit(Page::empty(more(json!(2))), FIRST, at(3)) };
    store.commit_page(&lease, first, at(3)).await.unwrap();
    assert_eq!(store.open_job(&lease).await.unwrap().validators.len(), 0, "not while the listing is plain");
    let validator = Some(("https://toy.example/b?page=2".to_owned(), "\"2\"".to_owned()));
    let last = Commit { validator, ..commit(Page::empty(caught_up(Some(sweep()))), LATER, at(4)) };
    store.commit_page(&lease, last, at(4)).await.unwrap();
    let validators = store.open_job(&lease).await.unwrap().validators;
    assert_eq!(validators.len(), 2);
    let first = &validators["https://toy.example/b?page=1"];
    assert_eq!((first.etag.as_str(), &first.next), ("\"1\"", &more(json!(2))));
    assert_eq!(validators["https://toy.example/b?page=2"].next, caught_up(Some(sweep())));
    store.start_over(&lease, None, 0, at(5)).await.unwrap();
    assert_eq!(store.open_job(&lease).await.unwrap().validators.len(), 0);
}

async fn an_older_listing_does_not_delete_newer_rows(database: &Database) {
    let (store, _, lease) = listing(database).await;
    let newer = Commit {
        observed_at: at(50),
        ..commit(page(vec![branch(1, "new", "x")], more(json!(1))), Pass::Incremental, at(3))
    };
    store.commit_page(&lease, newer, at(3)).await.unwrap();
    list(&store, &lease, &["a"], caught_up(Some(sweep())), FIRST, 4).await;
    assert_eq!(live(database).await, ["a", "new"]);
}
