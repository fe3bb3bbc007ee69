//! The writer task: what waits is committed together, and one bad write undoes only itself.

use domain::page::{Cursor, Page, Partition};
use domain::table::Cell;
use serde_json::json;
use sqlx::Connection;
use store::{Options, Pass, Store, StoreError};
use tokio::task::JoinSet;

use crate::database::Database;
use crate::world::*;

for_each_database!(
    a_bad_write_undoes_only_itself,
    a_caller_that_went_away_harms_nobody,
    a_closed_store_says_so,
);

fn many(count: usize) -> Vec<Partition> {
    (0..count).map(|it| partition("projects", &it.to_string())).collect()
}

async fn a_bad_write_undoes_only_itself(database: &Database) {
    let (store, source) = begin(database, many(40)).await;
    start(&store, source, at(1)).await;
    let mut commits = JoinSet::new();
    for (nth, lease) in (0_i64..).zip(claim(&store, at(2)).await) {
        let store = store.clone();
        commits.spawn(async move {
            let mut record = project(nth, "fine");
            if nth % 3 == 0 {
                // The database itself refuses it, after the job's row was changed.
                record.cells[0] = Cell::Null;
            }
            let page = page(vec![project(1000 + nth, "before it"), record], more(json!(nth)));
            (nth, store.commit_page(&lease, commit(page, Pass::Incremental, at(3)), at(3)).await)
        });
    }
    for (nth, result) in commits.join_all().await {
        assert_eq!(result.is_err(), nth % 3 == 0, "{nth}: {result:?}");
    }
    // 14 of the 40 were bad; the others landed both of their rows, and moved on.
    assert_eq!(database.lines("select cast(count(*) as text) from toy_projects").await, ["52"]);
    assert_eq!(database.lines("select cast(sum(pages) as text) from jobs").await, ["26"]);
    assert_eq!(database.lines("select cast(count(*) as text) from checkpoints").await, ["26"]);
}

async fn a_caller_that_went_away_harms_nobody(database: &Database) {
    let (store, source) = begin(database, many(2)).await;
    start(&store, source, at(1)).await;
    let leases = claim(&store, at(2)).await;
    for nth in 0..50 {
        let page = page(vec![project(nth, "x")], more(json!(nth)));
        let going = store.commit_page(&leases[0], commit(page, Pass::Incremental, at(3)), at(3));
        // Polled once, so that it has begun, and then dropped.
        let mut going = Box::pin(going);
        std::future::poll_fn(|context| {
            let _pending = going.as_mut().poll(context);
            std::task::Poll::Ready(())
        })
        .await;
        drop(going);
    }
    let last = page(vec![project(100, "x")], more(json!("last")));
    store.commit_page(&leases[1], commit(last, Pass::Incremental, at(4)), at(4)).await.unwrap();
    let open = store.open_job(&leases[1]).await.unwrap();
    assert_eq!(open.cursor, Some(Cursor(json!("last"))));
    // Whatever became of the others: rows and pages tell the same story.
    let same = "select case when (select count(*) from toy_projects) = (select sum(pages) from jobs)
        then 'same' else 'torn' end";
    store.close().await;
    assert_eq!(database.lines(same).await, ["same"]);
}

async fn a_closed_store_says_so(database: &Database) {
    let (store, source) = begin(database, many(1)).await;
    store.close().await;
    let refused = store.enqueue(request(source, domain::trigger::Trigger::Cron), at(1)).await;
    assert!(matches!(refused, Err(StoreError::Broken(_))), "{refused:?}");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_is_tried_again() {
    let database = Database::postgres().await;
    let (store, source) = begin(&database, many(1)).await;
    start(&store, source, at(1)).await;
    let lease = claim_one(&store, at(2)).await;
    let land = |title: &str, now: i64| {
        let page = page(vec![project(1, title), project(2, title)], more(json!(1)));
        let (store, lease) = (store.clone(), lease.clone());
        async move { store.commit_page(&lease, commit(page, Pass::Incremental, at(now)), at(now)).await }
    };
    land("before", 3).await.unwrap();
    // Somebody else holds the second row and then wants the first. The server ends one of the two; where it was not
    // ours, the story begins again.
    for round in 0.. {
        let mut other = sqlx::PgConnection::connect(database.url()).await.unwrap();
        sqlx::raw_sql("begin; update toy_projects set score = 1 where project_id = 2")
            .execute(&mut other)
            .await
            .unwrap();
        let mut ours = JoinSet::new();
        ours.spawn(land(&format!("after {round}"), 4 + round));
        let waiting = "select cast(count(*) as text) from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock'";
        while database.lines(waiting).await != ["1"] {}
        let first = sqlx::raw_sql("update toy_projects set score = 1 where project_id = 1; commit");
        let theirs = first.execute(&mut other).await;
        drop(other);
        ours.join_all().await.remove(0).unwrap();
        if theirs.is_ok() {
            break;
        }
    }
    let titles = database.lines("select distinct left(title, 5) from toy_projects").await;
    assert_eq!(titles, ["after"]);
    let twice = "select cast(deadlocks > 0 as text) from pg_stat_database where datname = current_database()";
    while database.lines(twice).await != ["true"] {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_loses_nothing() {
    let database = Database::sqlite();
    let small = Options { max_page_count: Some(160), ..Options::new(database.url()) };
    let store = Store::open(small, &[&SPEC]).await.unwrap();
    let source = store.add_source(new_source("work", many(8)), &vault(), at(0)).await.unwrap();
    start(&store, source, at(1)).await;
    let leases = claim(&store, at(2)).await;
    let commit_of = |nth: i64| {
        let records = (0..20).map(|it| project(nth * 100 + it, &"long ".repeat(200))).collect();
        commit(page(records, more(json!(nth))), Pass::Incremental, at(3))
    };
    let mut full = 0;
    for round in 0..20_i64 {
        let mut commits = JoinSet::new();
        for (nth, lease) in (0_i64..).zip(leases.clone()) {
            let (store, commit) = (store.clone(), commit_of(round * 8 + nth));
            commits.spawn(async move { store.commit_page(&lease, commit, at(3)).await });
        }
        for result in commits.join_all().await {
            match result {
                Ok(_) => {}
                Err(StoreError::Full) => full += 1,
                Err(other) => panic!("{other}"),
            }
        }
    }
    assert!(full > 0, "the file has a limit");
    let whole = "select case when (select count(*) from toy_projects) = (select sum(records) from jobs)
        and (select sum(pages) * 20 from jobs) = (select sum(records) from jobs) then 'whole' else 'torn' end";
    assert_eq!(database.lines(whole).await, ["whole"]);
    let before: i64 = database.lines("select cast(sum(pages) as text) from jobs").await[0].parse().unwrap();
    store.close().await;
    // With room again it goes on where it stopped, under the same lease.
    let store = open(&database).await;
    store.commit_page(&leases[0], commit_of(1000), at(4)).await.unwrap();
    let after: i64 = database.lines("select cast(sum(pages) as text) from jobs").await[0].parse().unwrap();
    assert_eq!(after, before + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_store_goes_on_when_there_is_room_again() {
    let database = Database::sqlite();
    let small = Options { max_page_count: Some(120), ..Options::new(database.url()) };
    let store = Store::open(small, &[&SPEC]).await.unwrap();
    let source = store.add_source(new_source("work", many(1)), &vault(), at(0)).await.unwrap();
    start(&store, source, at(1)).await;
    let lease = claim_one(&store, at(2)).await;
    let big = |count: i64| {
        let records = (0..count).map(|it| project(it, &"long ".repeat(200))).collect();
        commit(page(records, Page::empty(more(json!(1))).next), Pass::Incremental, at(3))
    };
    let refused = store.commit_page(&lease, big(2000), at(3)).await;
    assert!(matches!(refused, Err(StoreError::Full)), "{refused:?}");
    // A smaller page fits: the connection is as good as before.
    let progress = store.commit_page(&lease, big(2), at(4)).await.unwrap();
    assert_eq!((progress.rows_written, progress.records), (2, 2));
}
