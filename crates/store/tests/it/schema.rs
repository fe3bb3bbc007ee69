//! The schema: every column explained, specs that only widen, and two processes that open at once.

use domain::connector::Spec;
use domain::table::{Column, Kind, Table};
use store::{OpenError, Options, Store};
use tokio::task::JoinSet;

use crate::database::Database;
use crate::world::*;

for_each_database!(
    every_column_has_a_comment,
    a_wider_spec_adds_columns,
    a_column_of_another_type_is_refused,
    many_processes_may_open_at_once,
    a_later_version_is_left_alone,
);

async fn every_column_has_a_comment(database: &Database) {
    open(database).await;
    if !database.is_sqlite() {
        let bare = "select r.relname || '.' || a.attname from pg_class as r join pg_attribute as a on a.attrelid = r.oid
            where r.relnamespace = 'public'::regnamespace and r.relkind = 'r' and r.relname <> 'migrations'
                and a.attnum > 0 and not a.attisdropped and col_description(r.oid, a.attnum) is null";
        assert_eq!(database.lines(bare).await, [""; 0]);
        let tables =
            "select relname::text from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'
            and relname <> 'migrations' and obj_description(oid, 'pg_class') is null";
        assert_eq!(database.lines(tables).await, [""; 0]);
        return;
    }
    let tables = database
        .lines("select sql from sqlite_schema where type = 'table' and name not like 'sqlite%' and name <> 'migrations'")
        .await;
    assert!(tables.len() > 12, "{tables:?}");
    for sql in tables {
        let lines: Vec<&str> = sql.lines().map(str::trim).collect();
        let columns = lines.iter().enumerate().skip(1).filter(|(_, line)| {
            line.starts_with(|it: char| it.is_ascii_lowercase()) && !line.starts_with("primary key")
        });
        for (at, line) in columns {
            assert!(lines[at - 1].starts_with("-- "), "no comment above `{line}` in {sql}");
        }
    }
}

static WIDER: Table = Table {
    columns: &[
        PROJECTS.columns[0],
        PROJECTS.columns[1],
        PROJECTS.columns[2],
        PROJECTS.columns[3],
        PROJECTS.columns[4],
        PROJECTS.columns[5],
        Column { name: "stars", kind: Kind::Integer, comment: "How many people's stars it has." },
    ],
    ..PROJECTS
};

static RETYPED: Table = Table {
    columns: &[PROJECTS.columns[0], Column { name: "title", kind: Kind::Integer, comment: "A number now." }],
    indexes: &[],
    ..PROJECTS
};

static WIDER_SPEC: Spec = Spec { tables: &[&WIDER], ..SPEC };
static RETYPED_SPEC: Spec = Spec { tables: &[&RETYPED], ..SPEC };

async fn a_wider_spec_adds_columns(database: &Database) {
    let (store, source) = begin(database, vec![partition("projects", "all")]).await;
    start(&store, source, at(1)).await;
    let lease = claim_one(&store, at(2)).await;
    let old = page(vec![project(1, "old")], more(serde_json::json!(1)));
    store.commit_page(&lease, commit(old, store::Pass::Incremental, at(3)), at(3)).await.unwrap();
    store.close().await;
    let store = Store::open(Options::new(database.url()), &[&WIDER_SPEC]).await.unwrap();
    let mut wide = project(2, "new");
    wide.table = &WIDER;
    wide.cells.push(7.into());
    let wide = page(vec![wide], more(serde_json::json!(2)));
    store.commit_page(&lease, commit(wide, store::Pass::Incremental, at(4)), at(4)).await.unwrap();
    let stars =
        "select title || ' ' || coalesce(cast(stars as text), 'null') from toy_projects order by project_id";
    assert_eq!(database.lines(stars).await, ["old null", "new 7"]);
    // The version before, which does not know the column, still works.
    let before = open(database).await;
    let old = page(vec![project(3, "older")], more(serde_json::json!(3)));
    before.commit_page(&lease, commit(old, store::Pass::Incremental, at(5)), at(5)).await.unwrap();
    assert_eq!(database.lines(stars).await, ["old null", "new 7", "older null"]);
}

async fn a_column_of_another_type_is_refused(database: &Database) {
    open(database).await.close().await;
    let error = Store::open(Options::new(database.url()), &[&RETYPED_SPEC]).await.unwrap_err();
    let OpenError::Retyped { table, column, found, wanted } = &error else { panic!("{error}") };
    assert_eq!((table.as_str(), column.as_str()), ("toy_projects", "title"));
    assert_eq!((found.as_str(), wanted.as_str()), ("text", "bigint"));
    assert!(error.to_string().contains("rename the table"), "{error}");
}

async fn many_processes_may_open_at_once(database: &Database) {
    let mut opens = JoinSet::new();
    for _ in 0..6 {
        let options = Options::new(database.url());
        opens.spawn(async move { Store::open(options, &[&SPEC, &SPEC]).await.map(drop) });
    }
    for opened in opens.join_all().await {
        opened.unwrap();
    }
    let once = "select cast(count(*) as text) from migrations where number = 1";
    assert_eq!(database.lines(once).await, ["1"]);
    assert_eq!(database.lines("select name from tenants").await, ["default"]);
}

async fn a_later_version_is_left_alone(database: &Database) {
    open(database).await.close().await;
    database.execute("insert into migrations (number) values (9000)").await;
    let error = Store::open(Options::new(database.url()), &[&SPEC]).await.unwrap_err();
    assert!(matches!(error, OpenError::TooNew { found: 9000, known: 1..9000 }), "{error}");
}
