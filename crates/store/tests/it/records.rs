//! Landed records, page by page: every kind reads the same from both databases.

use domain::id::{SourceId, TenantId};
use domain::page::Next;
use domain::table::Cell;
use serde_json::{Value, json};
use store::{Pass, RecordQuery, Store};

use crate::database::Database;
use crate::world::*;

for_each_database!(a_record_reads_as_it_landed, pages_follow_one_another, a_filter_is_a_value_of_a_column,);

fn query(limit: u32) -> RecordQuery {
    RecordQuery {
        scope: None,
        table: &PROJECTS,
        source: None,
        filters: Vec::new(),
        with_deleted: false,
        after: None,
        limit,
    }
}

async fn land(database: &Database, next: Next, titles: &[&str]) -> (Store, SourceId) {
    let (store, source) = begin(database, vec![partition("projects", "all")]).await;
    start(&store, source, at(1)).await;
    let lease = claim_one(&store, at(2)).await;
    let records = (1..).zip(titles).map(|(id, title)| project(id, title)).collect();
    store.commit_page(&lease, commit(page(records, next), Pass::Incremental, at(3)), at(3)).await.unwrap();
    (store, source)
}

async fn a_record_reads_as_it_landed(database: &Database) {
    let (store, source) = land(database, more(json!(1)), &["Ünicode \u{1f980}"]).await;
    let page = store.records(query(10)).await.unwrap();
    let expected = json!({
        "source_id": source, "project_id": 1, "title": "Ünicode \u{1f980}", "score": 0.5, "open": true,
        "made_at": "2027-01-15T08:00:01.000Z", "labels": ["a"], "first_seen": "2027-01-15T08:00:03.000Z",
        "changed_at": "2027-01-15T08:00:03.000Z", "deleted_at": null,
    });
    assert_eq!(page.rows.into_iter().map(Value::Object).collect::<Vec<_>>(), [expected]);
    assert_eq!(page.last, None);
}

async fn pages_follow_one_another(database: &Database) {
    let (store, source) = land(database, more(json!(1)), &["a", "b", "c", "d", "e"]).await;
    let mut titles = Vec::new();
    let mut after = None;
    loop {
        let page = store.records(RecordQuery { after, ..query(2) }).await.unwrap();
        titles.extend(page.rows.iter().map(|it| it["title"].as_str().unwrap().to_owned()));
        let Some((at, key)) = page.last else { break };
        assert_eq!(at, source);
        after = Some((at, vec![Cell::Integer(key[0].as_i64().unwrap())]));
    }
    assert_eq!(titles, ["a", "b", "c", "d", "e"]);
}

async fn a_filter_is_a_value_of_a_column(database: &Database) {
    let (store, source) = land(database, more(json!(1)), &["a", "b' or 1=1 --"]).await;
    let column = |name: &str| PROJECTS.columns.iter().find(|it| it.name == name).unwrap();
    let cases = [
        ("title", Cell::Text("a".to_owned()), 1),
        ("title", Cell::Text("b' or 1=1 --".to_owned()), 1),
        ("project_id", Cell::Integer(2), 1),
        ("score", Cell::Real(0.5), 2),
        ("open", Cell::Bool(false), 0),
        ("made_at", Cell::Timestamp(at(1)), 2),
        ("made_at", Cell::Timestamp(at(2)), 0),
    ];
    for (name, cell, expected) in cases {
        let filters = vec![(column(name), cell.clone())];
        let found = store.records(RecordQuery { filters, ..query(10) }).await.unwrap().rows.len();
        assert_eq!(found, expected, "{name} {cell:?}");
    }
    let of = |source, scope| RecordQuery { source, scope, ..query(10) };
    for (it, expected) in [
        (of(Some(source), None), 2),
        (of(Some(SourceId(99)), None), 0),
        (of(None, Some(TenantId(1))), 2),
        (of(None, Some(TenantId(2))), 0),
    ] {
        assert_eq!(store.records(it.clone()).await.unwrap().rows.len(), expected, "{it:?}");
    }
    database.execute("update toy_projects set deleted_at = changed_at where project_id = 1").await;
    assert_eq!(store.records(query(10)).await.unwrap().rows.len(), 1);
    let all = store.records(RecordQuery { with_deleted: true, ..query(10) }).await.unwrap();
    assert_eq!(all.rows[0]["deleted_at"], "2027-01-15T08:00:03.000Z");
}
