//! Reads beside writes: none needs the lock that a writer holds, and so none can hold it.

use std::time::Duration;

use domain::id::{EventId, TenantId};
use domain::table::COMMITS;
use domain::tenant::Role;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use store::{Among, Beat, JobQuery, MakeToken, PartitionPage, RecordQuery, SyncQuery};
use tokio::task::JoinSet;

use crate::bare;
use crate::database::Database;
use crate::world::*;

for_each_database!(every_read_is_answered_while_another_process_writes, sources_are_named_in_pages);

/// The tenant of the sources here.
const TENANT: TenantId = TenantId(1);

/// More writes than a process has connections that write: all of those are taken.
const WRITES_WAITING: usize = 20;

/// How long a read may take on a busy machine; one that waits for the lock is never answered.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// Another process in the midst of a write: it holds what every writer needs.
enum Held {
    Lite(rusqlite::Connection),
    Pg(PgConnection),
}

impl Held {
    async fn of(database: &Database) -> Self {
        if database.is_sqlite() {
            let conn = bare::sqlite(database.url()).unwrap();
            conn.execute_batch("begin immediate").unwrap();
            return Self::Lite(conn);
        }
        let tables = "select cast(tablename as text) from pg_tables where schemaname = 'public' order by 1";
        let tables = database.lines(tables).await.join(", ");
        let mut conn = PgConnection::connect(database.url()).await.unwrap();
        // Lets plain reads pass, and nothing that changes or locks a row.
        let sql = format!("begin; lock table {tables} in exclusive mode");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut conn).await.unwrap();
        Self::Pg(conn)
    }

    async fn let_go(self) {
        match self {
            Self::Lite(conn) => conn.execute_batch("rollback").unwrap(),
            Self::Pg(conn) => conn.close().await.unwrap(),
        }
    }
}

async fn every_read_is_answered_while_another_process_writes(database: &Database) {
    let (store, source) =
        begin(database, vec![partition("projects", "all"), partition("branches", "1")]).await;
    let sync = start(&store, source, at(1)).await.id;
    let lease = claim(&store, at(2)).await.remove(0);
    let make = MakeToken { tenant: TENANT, name: "look".to_owned(), role: Role::Viewer, expires_at: None };
    let token = store.create_token(make, at(2)).await.unwrap();
    // The first use in an hour is noted; that is a write.
    store.authenticate(token.text.expose(), at(3)).await.unwrap().unwrap();
    let held = Held::of(database).await;
    let mut write = JoinSet::new();
    for _ in 0..WRITES_WAITING {
        let beat = Beat { job: lease.job, generation: lease.generation, waits: false };
        let writer = store.clone();
        write.spawn(async move { writer.heartbeat(vec![beat], at(99), at(3)).await });
    }
    let reading = async {
        let principal = store.authenticate(token.text.expose(), at(4)).await.unwrap().unwrap();
        let scope = Some(principal.tenant);
        assert_eq!(store.status(look(scope, Among::All)).await.unwrap().rows.len(), 1);
        assert_eq!(store.sources(scope).await.unwrap().len(), 1);
        assert!(store.source_by_id(source).await.unwrap().is_some());
        let page = PartitionPage { failed_only: false, after: None, limit: 10 };
        assert_eq!(store.partitions(source, page).await.unwrap().len(), 2);
        assert!(store.sync(sync).await.unwrap().is_some());
        let syncs = SyncQuery { scope, limit: 10, ..SyncQuery::default() };
        assert_eq!(store.syncs_before(syncs).await.unwrap().len(), 1);
        let jobs = JobQuery { scope, sync: Some(sync), limit: 10, ..JobQuery::default() };
        assert_eq!(store.jobs_after(jobs).await.unwrap().len(), 2);
        let events = store.events_after(scope, EventId(0), 10).await.unwrap();
        assert!(!events.is_empty() || !database.is_sqlite(), "what is settled is shown");
        let records = RecordQuery {
            scope,
            table: &COMMITS,
            source: None,
            filters: Vec::new(),
            with_deleted: false,
            after: None,
            limit: 10,
        };
        assert!(store.records(records).await.unwrap().rows.is_empty());
        store.last_event(scope).await.unwrap();
        store.queue_depth().await.unwrap();
        store.schedules(scope, None, None, 10).await.unwrap();
        store.tenants().await.unwrap();
        store.facts(source, &GROUP, at(4)).await.unwrap();
    };
    tokio::time::timeout(ANSWER_MAX, reading).await.expect("a read waited for the writer");
    assert!(write.try_join_next().is_none(), "the lock was not held at all");
    held.let_go().await;
    while let Some(written) = write.join_next().await {
        written.unwrap().unwrap();
    }
}

async fn sources_are_named_in_pages(database: &Database) {
    let (store, first) = begin(database, Vec::new()).await;
    for name in ["b", "a", "z"] {
        store.add_source(new_source(name, Vec::new()), &vault(), at(0)).await.unwrap();
    }
    store.remove_source(first, false).await.unwrap();
    let names = async |scope, behind, limit| {
        let page = store.status(look(scope, Among::Behind(behind, limit))).await.unwrap();
        assert_eq!(page.sources, page.rows.len());
        (page.rows.into_iter().map(|it| it.name.to_string()).collect::<Vec<_>>(), page.last)
    };
    let (page, last) = names(None, None, 2).await;
    assert_eq!(page, ["a", "b"]);
    let (rest, last) = names(None, last, 2).await;
    assert_eq!(rest, ["z"]);
    assert_eq!(names(Some(TENANT), last, 2).await.0, [""; 0]);
    assert_eq!(names(Some(TenantId(999)), None, 2).await.0, [""; 0]);
}
