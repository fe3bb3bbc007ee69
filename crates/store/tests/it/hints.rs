//! Deliveries: each is kept once, its hints become one request, and none is lost, whatever stands in the way.

use domain::connector::delivery::{Hint, Received};
use domain::id::{SourceId, SyncId};
use domain::job::SyncState;
use domain::policy::{Action, Decision, Metadata, Reason, Verdict};
use domain::trigger::Trigger;
use jiff::{SignedDuration, Timestamp};
use store::{
    Arrival, Arrived, DeliveryQuery, EnqueueHints, EnqueueTargets, HintsEnqueued, PutOff, Store, StoreError,
    Target, Targeted,
};

use crate::database::Database;
use crate::world::*;

for_each_database!(
    a_delivery_is_kept_once,
    hints_become_one_request_and_are_done_with_it,
    of_two_processes_one_makes_the_request,
    hints_that_are_put_off_are_not_lost,
    hints_wait_for_the_sync_that_runs,
    a_first_delivery_is_for_all_and_a_foreign_one_for_nothing,
    old_deliveries_are_removed_unless_they_wait,
    a_target_that_is_being_read_is_read_once_more,
    a_targeted_sync_stands_in_nobodys_way,
    a_webhooks_secret_opens_for_its_source_alone,
);

const DEBOUNCE: SignedDuration = SignedDuration::from_secs(2);

fn arrival(source: SourceId, id: &str, parts: &[(&'static str, &str)]) -> Arrival {
    let parts = parts.iter().map(|(stream, key)| (*stream, (*key).to_owned())).collect();
    let hints = vec![Hint { group: "code", parts }];
    Arrival {
        source,
        id: id.to_owned(),
        received: Received { event: "push".to_owned(), hints },
        debounce: DEBOUNCE,
    }
}

fn ready() -> Decision {
    Decision { action: Action::Start, reason: Reason::Ready, metadata: Metadata::default() }
}

fn request_of(source: SourceId) -> EnqueueHints {
    EnqueueHints { source, group: &GROUP, decision: ready(), whole: false, forecast: None }
}

fn targets(source: SourceId, trigger: Trigger, partitions: &[&str]) -> EnqueueTargets {
    let target = |it: &&str| Target { stream: "branches".to_owned(), partition: (*it).to_owned() };
    let targets = partitions.iter().map(target).collect();
    EnqueueTargets { source, group: &GROUP, trigger, decision: ready(), targets }
}

/// A source with two partitions that was synced once.
async fn synced(database: &Database) -> (Store, SourceId) {
    let (store, source) = begin(database, vec![partition("branches", "1"), partition("branches", "2")]).await;
    start(&store, source, at(1)).await;
    for lease in claim(&store, at(2)).await {
        complete(&store, &lease, at(3)).await;
    }
    (store, source)
}

async fn deliver(store: &Store, source: SourceId, id: &str, partition: &str, now: Timestamp) -> Arrived {
    store.deliver(arrival(source, id, &[("branches", partition)]), now).await.unwrap()
}

async fn done(store: &Store, source: SourceId, now: Timestamp) -> (SyncId, u64) {
    match store.enqueue_hints(request_of(source), now).await.unwrap() {
        HintsEnqueued::Done { sync, hints } => (sync.unwrap(), hints),
        other => panic!("{other:?}"),
    }
}

async fn a_delivery_is_kept_once(database: &Database) {
    let (store, source) = synced(database).await;
    assert_eq!(deliver(&store, source, "a", "1", at(10)).await, Arrived::Waiting);
    assert_eq!(deliver(&store, source, "a", "2", at(11)).await, Arrived::Duplicate);
    assert!(store.is_delivered(source, "a".to_owned()).await.unwrap());
    assert!(!store.is_delivered(source, "b".to_owned()).await.unwrap());
    let nothing = Received { event: "ping".to_owned(), hints: Vec::new() };
    let ping = Arrival { source, id: "b\0".to_owned(), received: nothing, debounce: DEBOUNCE };
    assert_eq!(store.deliver(ping, at(12)).await.unwrap(), Arrived::Ignored);
    // Another source may be sent the same one.
    let other = store.add_source(new_source("other", Vec::new()), &vault(), at(0)).await.unwrap();
    assert_eq!(deliver(&store, other, "a", "1", at(13)).await, Arrived::Waiting);
    let query = DeliveryQuery { source, of: None, since: None, before: None, limit: 10 };
    let all = store.deliveries(query.clone()).await.unwrap();
    assert_eq!(all.iter().map(|it| it.event.as_str()).collect::<Vec<_>>(), ["ping", "push"]);
    assert_eq!(all[1].hints[0].due_at, at(12));
    let before = Some((all[0].received_at, all[0].id.clone()));
    let page = DeliveryQuery { before, limit: 1, ..query.clone() };
    assert_eq!(store.deliveries(page).await.unwrap()[0].id, "a");
    let of = Some(Target { stream: "branches".to_owned(), partition: "1".to_owned() });
    let since = |since| DeliveryQuery { of: of.clone(), since: Some(since), ..query.clone() };
    assert_eq!(store.deliveries(since(at(10))).await.unwrap().len(), 1);
    assert_eq!(store.deliveries(since(at(11))).await.unwrap().len(), 0);
    let events = events(database, &store).await;
    assert_eq!(events.iter().filter(|it| *it == "webhook.delivery").count(), 3);
    store.remove_source(source, true).await.unwrap();
    let gone = store.deliver(arrival(source, "c", &[]), at(14)).await;
    assert!(matches!(gone, Err(StoreError::NotFound)), "{gone:?}");
}

async fn hints_become_one_request_and_are_done_with_it(database: &Database) {
    let (store, source) = synced(database).await;
    for (id, partition, second) in [("a", "1", 10), ("b", "1", 10), ("c", "2", 11), ("d", "1", 11)] {
        deliver(&store, source, id, partition, at(second)).await;
    }
    assert_eq!(store.due_hints(at(11)).await.unwrap(), []);
    let due = store.due_hints(at(12)).await.unwrap();
    assert_eq!(due.len(), 1, "the first ones are due, and the others go with them: {due:?}");
    assert!(due[0].ever_synced && !due[0].whole);
    let (sync, hints) = done(&store, source, at(12)).await;
    assert_eq!(hints, 4);
    let row = store.sync(sync).await.unwrap().unwrap();
    assert_eq!((row.trigger, row.jobs.total), (Trigger::Webhook, 2));
    assert_eq!(store.enqueue_hints(request_of(source), at(13)).await.unwrap(), HintsEnqueued::Nothing);
    assert_eq!(store.due_hints(at(60)).await.unwrap(), []);
    // While those jobs wait or run, what comes is theirs to read once more: no other sync is made.
    let held = claim(&store, at(13)).await;
    deliver(&store, source, "e", "1", at(14)).await;
    assert_eq!(done(&store, source, at(16)).await, (sync, 1));
    for lease in &held {
        complete(&store, lease, at(17)).await;
    }
    let again = claim(&store, at(18)).await;
    assert_eq!(again.iter().map(|it| it.partition.as_str()).collect::<Vec<_>>(), ["1"]);
    complete(&store, &again[0], at(19)).await;
    assert_eq!(store.sync(sync).await.unwrap().unwrap().state, SyncState::Completed);
}

async fn of_two_processes_one_makes_the_request(database: &Database) {
    let (store, source) = synced(database).await;
    let other = open(database).await;
    for round in 0..5 {
        deliver(&store, source, &round.to_string(), "1", at(10)).await;
        let (one, two) = tokio::join!(
            store.enqueue_hints(request_of(source), at(20)),
            other.enqueue_hints(request_of(source), at(20)),
        );
        let both = [one.unwrap(), two.unwrap()];
        let made = both.iter().filter(|it| matches!(it, HintsEnqueued::Done { .. })).count();
        assert_eq!((made, both.contains(&HintsEnqueued::Nothing)), (1, true), "{both:?}");
    }
}

async fn hints_that_are_put_off_are_not_lost(database: &Database) {
    let (store, source) = synced(database).await;
    deliver(&store, source, "a", "1", at(10)).await;
    store.put_off_hints(source, "code", PutOff { until: at(100), awaits: None }).await.unwrap();
    // What comes meanwhile is put off as well: it would only be refused again.
    deliver(&store, source, "b", "2", at(20)).await;
    assert_eq!(store.due_hints(at(99)).await.unwrap(), []);
    assert_eq!(store.due_hints(at(100)).await.unwrap().len(), 1);
    assert_eq!(done(&store, source, at(100)).await.1, 2);
    deliver(&store, source, "c", "2", at(101)).await;
    assert_eq!(store.due_hints(at(103)).await.unwrap().len(), 1, "a new one is not put off");
}

async fn hints_wait_for_the_sync_that_runs(database: &Database) {
    let (store, source) = synced(database).await;
    let sync = start(&store, source, at(9)).await;
    deliver(&store, source, "a", "1", at(10)).await;
    let whole = EnqueueHints { whole: true, ..request_of(source) };
    let active = store.enqueue_hints(whole.clone(), at(12)).await.unwrap();
    assert_eq!(active, HintsEnqueued::Active { sync: sync.id });
    store.put_off_hints(source, "code", PutOff { until: at(13), awaits: Some(sync.id) }).await.unwrap();
    deliver(&store, source, "b", "2", at(14)).await;
    assert_eq!(store.due_hints(at(60)).await.unwrap(), [], "neither is looked at while it runs");
    for lease in claim(&store, at(60)).await {
        complete(&store, &lease, at(61)).await;
    }
    assert_eq!(store.due_hints(at(61)).await.unwrap().len(), 1);
    let HintsEnqueued::Done { sync: Some(next), hints: 2 } =
        store.enqueue_hints(whole, at(61)).await.unwrap()
    else {
        panic!("one follow-up of both")
    };
    assert_ne!(next, sync.id);
    let late = store.due_hints(at(62)).await.unwrap();
    assert_eq!(late, []);
}

async fn a_first_delivery_is_for_all_and_a_foreign_one_for_nothing(database: &Database) {
    let (store, source) = begin(database, vec![partition("branches", "1")]).await;
    assert_eq!(deliver(&store, source, "a", "77", at(10)).await, Arrived::Waiting);
    let due = store.due_hints(at(12)).await.unwrap();
    assert!(due[0].whole && !due[0].ever_synced, "{due:?}");
    let (sync, _) = done(&store, source, at(12)).await;
    assert_eq!(
        store.facts(source, &GROUP, at(12)).await.unwrap().active_sync,
        Some(sync),
        "all of it is read"
    );
    assert_eq!(deliver(&store, source, "b", "77", at(13)).await, Arrived::Ignored);
    // The first that is known of several counts.
    let either = arrival(source, "c", &[("branches", "77"), ("branches", "1")]);
    assert_eq!(store.deliver(either, at(14)).await.unwrap(), Arrived::Waiting);
    let query = DeliveryQuery { source, of: None, since: None, before: None, limit: 1 };
    assert_eq!(store.deliveries(query).await.unwrap()[0].hints[0].partition.as_deref(), Some("1"));
}

async fn old_deliveries_are_removed_unless_they_wait(database: &Database) {
    let (store, source) = synced(database).await;
    deliver(&store, source, "a", "1", at(10)).await;
    done(&store, source, at(12)).await;
    deliver(&store, source, "b", "2", at(20)).await;
    deliver(&store, source, "c", "1", at(1000)).await;
    assert_eq!(store.remove_deliveries(at(500)).await.unwrap(), 1);
    assert_eq!(store.remove_deliveries(at(500)).await.unwrap(), 0);
    let query = DeliveryQuery { source, of: None, since: None, before: None, limit: 10 };
    let left: Vec<String> = store.deliveries(query).await.unwrap().into_iter().map(|it| it.id).collect();
    assert_eq!(left, ["c", "b"]);
    assert_eq!(done(&store, source, at(1002)).await.1, 2);
}

async fn a_target_that_is_being_read_is_read_once_more(database: &Database) {
    let (store, source) = synced(database).await;
    let whole = start(&store, source, at(10)).await;
    let held = claim(&store, at(11)).await;
    let asked = store.enqueue_targets(targets(source, Trigger::Manual, &["1"]), at(12)).await.unwrap();
    assert_eq!(asked, Targeted::Again { sync: whole.id }, "the answer names the sync that reads it");
    for lease in &held {
        complete(&store, lease, at(13)).await;
    }
    let again = claim(&store, at(14)).await;
    assert_eq!(again.iter().map(|it| it.partition.as_str()).collect::<Vec<_>>(), ["1"]);
    complete(&store, &again[0], at(15)).await;
    assert_eq!(claim(&store, at(16)).await, [], "once more is once");
    let unknown = store.enqueue_targets(targets(source, Trigger::Manual, &["77"]), at(17)).await.unwrap();
    assert_eq!(unknown, Targeted::Nothing);
    assert_eq!(
        store.syncs(None, None, 10).await.unwrap().len(),
        2,
        "nothing is left of what came to nothing"
    );
}

async fn a_targeted_sync_stands_in_nobodys_way(database: &Database) {
    let (store, source) = synced(database).await;
    let asked = store.enqueue_targets(targets(source, Trigger::Manual, &["1"]), at(10)).await.unwrap();
    let Targeted::Started { sync, jobs: 1 } = asked else { panic!("{asked:?}") };
    let facts = store.facts(source, &GROUP, at(11)).await.unwrap();
    assert_eq!((facts.active_sync, facts.last_manual_at), (None, None), "it is no sync of the whole group");
    let targeted = claim_one(&store, at(11)).await;
    let whole = start(&store, source, at(12)).await;
    let other = claim_one(&store, at(13)).await;
    assert_eq!((other.sync, other.partition.as_str()), (whole.id, "2"), "the other is being read");
    complete(&store, &other, at(14)).await;
    let state = async |sync| store.sync(sync).await.unwrap().unwrap().state;
    assert_eq!((state(whole.id).await, state(sync).await), (SyncState::Completed, SyncState::Running));
    complete(&store, &targeted, at(15)).await;
    // It had begun before the whole sync was asked for, and so reads once more.
    let again = claim_one(&store, at(16)).await;
    assert_eq!((again.sync, again.partition.as_str()), (sync, "1"));
    store.settle(&again, failed(Verdict::Discard { invalidates: false }, "malformed"), at(17)).await.unwrap();
    assert_eq!((state(whole.id).await, state(sync).await), (SyncState::Completed, SyncState::Failed));
    let standing = status(&store).await;
    assert_eq!(
        standing.facts.last_success_at,
        Some(at(14)),
        "what is told of the group is told of whole syncs"
    );
}

async fn a_webhooks_secret_opens_for_its_source_alone(database: &Database) {
    let (store, source) = synced(database).await;
    let vault = vault();
    assert!(store.webhook(Some(source), &vault).await.unwrap().is_none());
    assert!(store.webhook(None, &vault).await.unwrap().is_none());
    let first = store.make_webhook(source, &vault, at(10)).await.unwrap();
    let second = store.make_webhook(source, &vault, at(11)).await.unwrap();
    assert_ne!(first, second);
    let known = store.webhook(Some(source), &vault).await.unwrap().unwrap();
    assert_eq!((known.provider.as_str(), &known.secret), ("toy", &second));
    assert_eq!(store.webhook_since(source).await.unwrap(), Some(at(11)));
    // Neither in the database, nor under another source or as a credential.
    let dump = database.dump("webhooks").await;
    assert!(!format!("{dump:?}").contains(second.expose()), "{dump:?}");
    let other = store.add_source(new_source("other", Vec::new()), &vault, at(0)).await.unwrap();
    database
        .execute(&format!(
            "insert into webhooks (source_id, secret, secret_key_id, created_at)
             select {other}, secret, secret_key_id, created_at from webhooks where source_id = {source}"
        ))
        .await;
    let moved = store.webhook(Some(other), &vault).await;
    assert!(matches!(moved, Err(StoreError::Secret(_))), "{moved:?}");
}
