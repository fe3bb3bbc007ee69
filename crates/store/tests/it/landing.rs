//! What lands, and when a row is written again.

use bytes::Bytes;
use domain::page::{Page, Record};
use domain::table::Cell;
use jiff::Timestamp;
use serde_json::json;
use store::{Commit, Lease, Pass, Progress, Store, StoreError};

use crate::database::Database;
use crate::world::*;

for_each_database!(
    every_kind_reads_back,
    a_row_that_has_not_changed_is_not_written,
    an_older_observation_never_wins,
    the_last_of_two_records_of_a_key_wins,
    any_number_of_records_lands,
    text_that_no_database_stores_is_kept_as_well_as_it_can_be,
    a_branch_view_is_right_after_a_force_push,
    a_record_of_another_shape_is_refused,
);

async fn listing(database: &Database) -> (Store, Lease) {
    let (store, source) = begin(database, vec![partition("projects", "all")]).await;
    start(&store, source, at(1)).await;
    let lease = claim_one(&store, at(2)).await;
    (store, lease)
}

async fn land(store: &Store, lease: &Lease, records: Vec<Record>, observed_at: Timestamp) -> Progress {
    let page = page(records, more(json!(1)));
    let commit = Commit { observed_at, ..commit(page, Pass::Incremental, at(3)) };
    store.commit_page(lease, commit, at(3)).await.unwrap()
}

async fn every_kind_reads_back(database: &Database) {
    let (store, lease) = listing(database).await;
    let big = i64::MAX - 1;
    let mut full = project(big, "t\u{e9}xt 'quoted' \u{1f600}");
    full.cells[2] = Cell::Real(1.5);
    full.cells[4] = Cell::Timestamp("2026-02-03T04:05:06.789Z".parse().unwrap());
    full.cells[5] = Cell::Json("{\"a\": [1]}".to_owned());
    let mut empty = project(i64::MIN + 1, "");
    empty.cells[1..].fill(Cell::Null);
    land(&store, &lease, vec![full, empty], at(3)).await;
    let made_at = if database.is_sqlite() {
        "made_at"
    } else {
        "to_char(made_at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"')"
    };
    let line = format!(
        "select cast(project_id as text) || '|' || title || '|' || cast(score as text) || '|'
             || case when open then 'yes' else 'no' end || '|' || {made_at} || '|' || cast(labels as text)
         from toy_projects where title is not null"
    );
    let expected =
        format!("{big}|t\u{e9}xt 'quoted' \u{1f600}|1.5|yes|2026-02-03T04:05:06.789Z|{{\"a\": [1]}}");
    assert_eq!(database.lines(&line).await, [expected]);
    let nulls = "select cast(project_id as text) from toy_projects where title is null and score is null
        and open is null and made_at is null and labels is null and deleted_at is null";
    assert_eq!(database.lines(nulls).await, [(i64::MIN + 1).to_string()]);
    let raw = "select cast(raw as text) from toy_projects where title is not null";
    assert_eq!(
        database.lines(raw).await,
        [json!({ "id": big, "title": "t\u{e9}xt 'quoted' \u{1f600}" }).to_string()]
    );
}

async fn a_row_that_has_not_changed_is_not_written(database: &Database) {
    let (store, lease) = listing(database).await;
    let both = || vec![project(1, "one"), project(2, "two")];
    assert_eq!(land(&store, &lease, both(), at(3)).await.rows_written, 2);
    let before = database.dump("toy_projects").await;
    let again = land(&store, &lease, both(), at(9)).await;
    assert_eq!((again.rows_written, again.records), (0, 4));
    assert_eq!(database.dump("toy_projects").await, before);
    let changed = vec![project(1, "one"), project(2, "zwei")];
    assert_eq!(land(&store, &lease, changed, at(10)).await.rows_written, 1);
    let times = "select case when changed_at > first_seen then 'changed' else 'as first seen' end
        from toy_projects order by project_id";
    assert_eq!(database.lines(times).await, ["as first seen", "changed"]);
    let parents = || vec![parent(1, "b", "a"), parent(1, "c", "b")];
    assert_eq!(land(&store, &lease, parents(), at(11)).await.rows_written, 2);
    assert_eq!(land(&store, &lease, parents(), at(12)).await.rows_written, 0);
}

async fn an_older_observation_never_wins(database: &Database) {
    let (store, lease) = listing(database).await;
    let title = "select title from toy_projects where deleted_at is null";
    land(&store, &lease, vec![project(1, "new")], at(20)).await;
    assert_eq!(land(&store, &lease, vec![project(1, "old")], at(10)).await.rows_written, 0);
    assert_eq!(database.lines(title).await, ["new"]);
    land(&store, &lease, vec![project(1, "same time")], at(20)).await;
    assert_eq!(database.lines(title).await, ["same time"]);
    // Deleted by a listing of 30: an answer from before does not bring it back, one from after does.
    let gone = domain::page::Sweep { owner: None, items: None, partitions: None };
    let end = commit(Page::empty(caught_up(Some(gone))), Pass::Plain { first: true }, at(30));
    store.commit_page(&lease, end, at(30)).await.unwrap();
    assert_eq!(database.lines(title).await, [""; 0]);
    assert_eq!(land(&store, &lease, vec![project(1, "same time")], at(25)).await.rows_written, 0);
    assert_eq!(database.lines(title).await, [""; 0]);
    assert_eq!(land(&store, &lease, vec![project(1, "same time")], at(35)).await.rows_written, 1);
    assert_eq!(database.lines(title).await, ["same time"]);
}

async fn the_last_of_two_records_of_a_key_wins(database: &Database) {
    let (store, lease) = listing(database).await;
    let records = vec![
        project(1, "first"),
        project(2, "two"),
        project(1, "last"),
        parent(1, "b", "a"),
        parent(1, "b", "a"),
    ];
    let progress = land(&store, &lease, records, at(3)).await;
    assert_eq!((progress.rows_written, progress.records), (3, 5));
    assert_eq!(database.lines("select title from toy_projects order by project_id").await, ["last", "two"]);
}

async fn any_number_of_records_lands(database: &Database) {
    let (store, lease) = listing(database).await;
    let mut total = 0;
    for count in [1, 7, 8, 31, 33, 99, 100, 101, 250, 333] {
        let records = (total..total + count).map(|id| project(id, &id.to_string())).collect();
        let progress = land(&store, &lease, records, at(3)).await;
        assert_eq!(progress.rows_written, u64::try_from(count).unwrap());
        total += count;
    }
    let right = "select cast(count(*) as text) from toy_projects where cast(project_id as text) = title";
    assert_eq!(database.lines(right).await, [total.to_string()]);
    assert_eq!(land(&store, &lease, vec![], at(3)).await.rows_written, 0);
}

async fn text_that_no_database_stores_is_kept_as_well_as_it_can_be(database: &Database) {
    let (store, lease) = listing(database).await;
    let mut nul = project(1, "a\0b");
    nul.raw = Some(Bytes::from_static(b"{\"title\": \"a\\u0000b\"}"));
    nul.cells[5] = Cell::Json("[\"a\\u0000b\", \"a\\\\u0000b\"]".to_owned());
    let mut bytes = project(2, "bytes");
    bytes.raw = Some(Bytes::from_static(b"\xff\0{"));
    land(&store, &lease, vec![nul, bytes], at(3)).await;
    assert_eq!(
        database.lines("select title from toy_projects order by project_id").await,
        ["a\u{fffd}b", "bytes"]
    );
    assert_eq!(
        database.lines("select cast(raw as text) from toy_projects order by project_id").await,
        ["{\"title\": \"a\\u0000b\"}", "{\"$hex\":\"ff007b\"}"]
    );
    let labels = "select labels ->> 0 || ' ' || (labels ->> 1) from toy_projects where project_id = 1";
    assert_eq!(database.lines(labels).await, ["a\u{fffd}b a\\u0000b"]);
}

async fn a_branch_view_is_right_after_a_force_push(database: &Database) {
    let (store, lease) = listing(database).await;
    let reached = "select branch || ' ' || sha from commit_branches order by branch, sha";
    let records = vec![
        branch(1, "main", "c"),
        branch(1, "side", "d"),
        parent(1, "c", "b"),
        parent(1, "b", "a"),
        parent(1, "d", "b"),
    ];
    land(&store, &lease, records, at(3)).await;
    assert_eq!(database.lines(reached).await, ["main a", "main b", "main c", "side a", "side b", "side d"]);
    land(&store, &lease, vec![branch(1, "main", "e"), parent(1, "e", "a")], at(4)).await;
    assert_eq!(database.lines(reached).await, ["main a", "main e", "side a", "side b", "side d"]);
}

async fn a_record_of_another_shape_is_refused(database: &Database) {
    let (store, lease) = listing(database).await;
    let mut wrong = project(2, "two");
    wrong.cells[1] = Cell::Integer(7);
    let page = page(vec![project(1, "one"), wrong], more(json!(1)));
    let refused = store.commit_page(&lease, commit(page, Pass::Incremental, at(3)), at(3)).await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
    assert_eq!(database.dump("toy_projects").await, [""; 0]);
    assert_eq!(database.lines("select cast(pages as text) from jobs").await, ["0"]);
}
