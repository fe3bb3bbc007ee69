//! Sources: added, changed, removed and brought back.

use domain::page::Page;
use domain::policy::Verdict;
use domain::trigger::Trigger;
use serde_json::{Value, json};
use store::{NewSource, Refuse, Secret, SecretChange, SourceChange, StoreError};

use crate::database::Database;
use crate::world::*;

for_each_database!(
    a_name_is_taken_once,
    roots_that_leave_the_settings_are_not_read_any_more,
    a_removed_source_keeps_its_rows_and_comes_back,
    a_removed_source_at_another_address_is_another_source,
    a_purged_source_leaves_nothing,
    a_source_that_syncs_is_not_removed,
    facts_say_what_the_policy_needs,
    what_was_learned_lasts_until_the_source_changes,
    a_refused_request_is_kept_as_an_event,
);

async fn a_name_is_taken_once(database: &Database) {
    let (store, source) = begin(database, vec![partition("projects", "all")]).await;
    let taken = store.add_source(new_source("work", vec![]), &vault(), at(1)).await;
    assert!(matches!(&taken, Err(StoreError::Conflict(why)) if why.contains("work")), "{taken:?}");
    let other = store.add_source(new_source("another", vec![]), &vault(), at(1)).await.unwrap();
    let names: Vec<_> = store.sources(None).await.unwrap().into_iter().map(|it| (it.name, it.id)).collect();
    assert_eq!(names, [("another".to_owned(), other), ("work".to_owned(), source)]);
    let row = source_named(&store, "work").await.unwrap();
    assert_eq!(
        (row.provider.as_str(), row.enabled, row.tenant_name.as_deref(), row.has_secret),
        ("toy", true, Some("default"), false)
    );
    assert_eq!((row.settings.options, row.created_at), (json!({ "repo": ["toy/1"] }), at(0)));
    assert_eq!(source_named(&store, "nobody").await, None);
    assert_eq!(store.source_by_id(domain::id::SourceId(99)).await.unwrap(), None);
}

async fn roots_that_leave_the_settings_are_not_read_any_more(database: &Database) {
    let (store, source) = begin(database, vec![partition("projects", "a"), partition("projects", "b")]).await;
    start(&store, source, at(1)).await;
    for lease in claim(&store, at(2)).await {
        let below =
            Page { partitions: vec![partition("branches", &lease.partition)], ..Page::empty(more(json!(1))) };
        store.commit_page(&lease, commit(below, store::Pass::Incremental, at(3)), at(3)).await.unwrap();
    }
    let row = store.source_by_id(source).await.unwrap().unwrap();
    let change = SourceChange {
        settings: row.settings,
        enabled: false,
        secret: SecretChange::Keep,
        roots: vec![partition("projects", "b"), partition("projects", "c")],
    };
    store.update_source(source, change, &vault(), at(4)).await.unwrap();
    let active = "select stream || ' ' || key from partitions where active order by stream, key";
    assert_eq!(database.lines(active).await, ["branches b", "projects b", "projects c"]);
    assert!(!source_named(&store, "work").await.unwrap().enabled);
}

async fn what_was_learned_lasts_until_the_source_changes(database: &Database) {
    let (store, source) = begin(database, vec![partition("projects", "a")]).await;
    start(&store, source, at(1)).await;
    let lease = claim_one(&store, at(2)).await;
    let learned = async || store.open_job(&lease).await.unwrap().learned;
    assert_eq!(learned().await, json!(null));
    let page =
        |learned: Option<Value>| Page { learned: learned.map(Box::new), ..Page::empty(more(json!(1))) };
    let commit =
        |page, now| store.commit_page(&lease, commit(page, store::Pass::Incremental, at(now)), at(now));
    commit(page(Some(json!({ "zone": "UTC" }))), 3).await.unwrap();
    commit(page(None), 4).await.unwrap();
    assert_eq!(learned().await, json!({ "zone": "UTC" }));
    commit(page(Some(json!({ "zone": "UTC" }))), 5).await.unwrap();
    let since = "select cast(learned_at as text) from learned";
    assert_eq!(
        database.lines(since).await,
        [at(3).as_millisecond().to_string()],
        "the same is not written again"
    );
    let late = at(1000);
    commit(page(Some(json!({ "zone": "Asia/Tokyo" }))), 1000).await.unwrap_err();
    assert_eq!(
        database.lines("select facts from learned").await,
        [r#"{"zone":"UTC"}"#],
        "a lost lease, {late}"
    );

    let row = store.source_by_id(source).await.unwrap().unwrap();
    let change = SourceChange {
        settings: row.settings,
        enabled: true,
        secret: SecretChange::Keep,
        roots: vec![partition("projects", "a")],
    };
    store.update_source(source, change, &vault(), at(6)).await.unwrap();
    assert_eq!(learned().await, json!(null));
}

async fn land_one(store: &store::Store, source: domain::id::SourceId, now: i64) {
    start(store, source, at(now)).await;
    let lease = claim_one(store, at(now)).await;
    let learned = Some(Box::new(json!({ "zone": "UTC" })));
    let page = Page { learned, ..page(vec![project(now, "x")], caught_up(None)) };
    store
        .commit_page(&lease, commit(page, store::Pass::Plain { first: true }, at(now)), at(now))
        .await
        .unwrap();
    complete(store, &lease, at(now)).await;
}

async fn a_removed_source_keeps_its_rows_and_comes_back(database: &Database) {
    let store = open(database).await;
    let new = || NewSource {
        secret: Some(Secret::from("ghp_secret".to_owned())),
        ..new_source("work", vec![partition("projects", "all")])
    };
    let source = store.add_source(new(), &vault(), at(0)).await.unwrap();
    land_one(&store, source, 1).await;
    store.remove_source(source, false).await.unwrap();
    assert_eq!(source_named(&store, "work").await, None);
    assert_eq!(store.source_by_id(source).await.unwrap(), None);
    assert_eq!(store.landed_counts(source).await.unwrap().last().unwrap().1, 1);
    let left = "select cast(count(*) as text) from sources where secret is not null or removed_at is null";
    assert_eq!(database.lines(left).await, ["0"]);
    for table in ["partitions", "checkpoints", "syncs", "jobs", "events", "items", "validators", "learned"] {
        assert_eq!(database.dump(table).await, [""; 0], "{table}");
    }
    let twice = store.remove_source(source, false).await;
    assert!(matches!(twice, Err(StoreError::NotFound)), "{twice:?}");
    assert_eq!(store.add_source(new(), &vault(), at(2)).await.unwrap(), source);
    land_one(&store, source, 3).await;
    assert_eq!(store.landed_counts(source).await.unwrap().last().unwrap().1, 2);
}

async fn a_removed_source_at_another_address_is_another_source(database: &Database) {
    let (store, source) = begin(database, vec![partition("projects", "all")]).await;
    land_one(&store, source, 1).await;
    store.remove_source(source, false).await.unwrap();
    let mut elsewhere = new_source("work", vec![partition("projects", "all")]);
    "https://toy.other".clone_into(&mut elsewhere.settings.base_url);
    let other = store.add_source(elsewhere, &vault(), at(9)).await.unwrap();
    assert_ne!(other, source);
    let landed = |counts: Vec<(String, i64)>| counts.iter().map(|it| it.1).sum::<i64>();
    assert_eq!(landed(store.landed_counts(other).await.unwrap()), 0, "the rows are the other service's");
    assert_eq!(landed(store.landed_counts(source).await.unwrap()), 1);
    let names = database.lines("select name from sources order by id").await;
    assert_eq!(names, [format!("work (removed {source})"), "work".to_owned()]);
    // Another provider of that name is another source too; and the name can be given up more than once.
    store.remove_source(other, false).await.unwrap();
    let third = NewSource { provider: "toy2".to_owned(), ..new_source("work", vec![]) };
    let third = store.add_source(third, &vault(), at(10)).await.unwrap();
    assert!(third != source && third != other);
    let found: Vec<_> = store.sources(None).await.unwrap().into_iter().map(|it| it.id).collect();
    assert_eq!(found, [third]);
}

async fn a_purged_source_leaves_nothing(database: &Database) {
    let (store, source) = begin(database, vec![partition("projects", "all")]).await;
    land_one(&store, source, 1).await;
    store.remove_source(source, true).await.unwrap();
    for table in ["sources", "partitions", "syncs", "jobs", "toy_projects"] {
        assert_eq!(database.dump(table).await, [""; 0], "{table}");
    }
    let fresh = store.add_source(new_source("work", vec![]), &vault(), at(2)).await.unwrap();
    assert_ne!(fresh, source, "an id is never used again");
}

async fn a_source_that_syncs_is_not_removed(database: &Database) {
    let (store, source) = begin(database, vec![partition("projects", "all")]).await;
    start(&store, source, at(1)).await;
    let refused = store.remove_source(source, true).await;
    assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
    let lease = claim_one(&store, at(2)).await;
    assert!(matches!(store.remove_source(source, true).await, Err(StoreError::Conflict(_))));
    let snooze = failed(Verdict::Snooze { until: at(500) }, "rate_limited");
    store.settle(&lease, snooze, at(3)).await.unwrap();
    store.remove_source(source, true).await.unwrap();
}

async fn facts_say_what_the_policy_needs(database: &Database) {
    let (store, source) = begin(database, vec![partition("projects", "a"), partition("other", "b")]).await;
    let facts = store.facts(source, &GROUP, at(0)).await.unwrap();
    assert_eq!((facts.enabled, facts.has_owner, facts.partitions), (true, true, 1));
    assert_eq!((facts.last_manual_at, facts.last_success_at, facts.active_sync), (None, None, None));
    store.enqueue(request(source, Trigger::Manual), at(5)).await.unwrap();
    let facts = store.facts(source, &GROUP, at(6)).await.unwrap();
    assert_eq!((facts.last_manual_at, facts.active_sync.is_some()), (Some(at(5)), true));
    complete(&store, &claim_one(&store, at(7)).await, at(8)).await;
    let facts = store.facts(source, &GROUP, at(9)).await.unwrap();
    assert_eq!((facts.last_success_at, facts.active_sync), (Some(at(8)), None));
    database.execute("update sources set tenant_id = null").await;
    assert!(!store.facts(source, &GROUP, at(9)).await.unwrap().has_owner);
    let unknown = store.facts(domain::id::SourceId(99), &GROUP, at(9)).await;
    assert!(matches!(unknown, Err(StoreError::NotFound)));
    let offset = store.clock_offset_ms(at(0)).await.unwrap();
    assert_eq!(offset == 0, database.is_sqlite(), "a server has a clock of its own");
}

async fn a_refused_request_is_kept_as_an_event(database: &Database) {
    let (store, source) = begin(database, vec![]).await;
    let decision = domain::policy::Decision {
        action: domain::policy::Action::Block,
        reason: domain::policy::Reason::NothingToSync,
        metadata: domain::policy::Metadata::default(),
    };
    let refused = Refuse { source, group: &GROUP, trigger: Trigger::Cron, decision, tick: None };
    store.refuse(refused, at(5)).await.unwrap();
    let events = event_rows(database, &store).await;
    assert_eq!((events.len(), events[0].name.as_str(), events[0].at), (1, "sync.request", at(5)));
    let fields = &events[0].fields;
    assert_eq!((&fields["installationId"], &fields["trigger"]), (&json!(source.0), &json!("cron")));
    assert_eq!(
        (&fields["result"]["action"], &fields["result"]["reason"]),
        (&json!("block"), &json!("nothing_to_sync"))
    );
    assert_eq!(events[0].source, Some(source));
    assert_eq!(store.events_after(None, events[0].id, 10).await.unwrap(), []);
}
