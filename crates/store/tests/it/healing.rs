//! Self-healing: what speaks for more than was read is read once with care, and never twice for one sign.

use domain::connector::delivery::{Hint, Received};
use domain::id::{SourceId, SyncId};
use domain::page::Partition;
use domain::policy::heal::Found;
use domain::policy::{Action, Decision, Metadata, Reason, Verdict};
use domain::trigger::Trigger;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use store::{Arrival, EnqueueHints, EnqueueRecoveries, HintsEnqueued, Lease, Pass, Store, Suspected};

use crate::database::Database;
use crate::world::*;

for_each_database!(
    a_delivery_that_brings_nothing_is_read_once_with_care_and_then_quiet,
    what_is_found_with_care_heals,
    what_a_listing_shows_is_a_sign_and_the_same_again_is_none,
    what_is_being_read_is_left_alone,
    what_could_not_be_read_says_nothing,
    the_third_in_vain_is_counted_and_news_begin_anew,
    a_removed_source_leaves_nothing,
);

/// A day in seconds.
const DAY: i64 = 24 * 60 * 60;

fn ready() -> Decision {
    Decision { action: Action::Start, reason: Reason::Ready, metadata: Metadata::default() }
}

/// A source with two partitions that were read at 3.
async fn synced(database: &Database) -> (Store, SourceId) {
    let (store, source) = begin(database, vec![partition("branches", "1"), partition("branches", "2")]).await;
    start(&store, source, at(1)).await;
    for lease in claim(&store, at(2)).await {
        complete(&store, &lease, at(3)).await;
    }
    (store, source)
}

/// Delivers news of a partition, and makes the sync of it.
async fn told(store: &Store, source: SourceId, partition: &str, seconds: i64) -> Lease {
    let hints = vec![Hint { group: "code", parts: vec![("branches", partition.to_owned())] }];
    let received = Received { event: "push".to_owned(), hints };
    let id = format!("{partition} at {seconds}");
    store
        .deliver(Arrival { source, id, received, debounce: SignedDuration::ZERO }, at(seconds))
        .await
        .unwrap();
    let of = EnqueueHints { source, group: &GROUP, decision: ready(), whole: false, forecast: None };
    let made = store.enqueue_hints(of, at(seconds + 1)).await.unwrap();
    assert!(matches!(made, HintsEnqueued::Done { sync: Some(_), hints: 1 }), "{made:?}");
    claim_one(store, at(seconds + 1)).await
}

/// Delivers news of a partition of which nothing is found.
async fn told_in_vain(store: &Store, source: SourceId, partition: &str, seconds: i64) {
    let lease = told(store, source, partition, seconds).await;
    complete(store, &lease, at(seconds + 2)).await;
}

/// What is suspected, by its key.
async fn suspects(store: &Store, now: Timestamp) -> Vec<String> {
    store.suspects(now, 10).await.unwrap().into_iter().map(|it| it.target.partition).collect()
}

/// Has all suspects read with care at a time.
async fn suspect(store: &Store, seconds: i64) {
    let heal = Suspected::Heal { group: "code", at: at(seconds) };
    let noted = store.suspects(at(seconds), 10).await.unwrap().into_iter().map(|it| (it, heal.clone()));
    store.note_suspects(noted.collect()).await.unwrap();
}

async fn recover(store: &Store, source: SourceId, seconds: i64) -> Option<(SyncId, u64)> {
    let request = EnqueueRecoveries { source, group: &GROUP, decision: ready() };
    store.enqueue_recoveries(request, at(seconds)).await.unwrap()
}

async fn a_delivery_that_brings_nothing_is_read_once_with_care_and_then_quiet(database: &Database) {
    let (store, source) = synced(database).await;
    told_in_vain(&store, source, "1", 5 * DAY).await;
    let all = store.suspects(at(5 * DAY + 2), 10).await.unwrap();
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!((all[0].provider.as_str(), all[0].target.partition.as_str()), ("toy", "1"));
    let signs = all[0].signs;
    assert_eq!((signs.sign_at, signs.news_at), (at(5 * DAY), at(3)));
    assert_eq!((signs.read_at, signs.quiet_at), (Some(at(5 * DAY + 2)), None));
    // One that is put off is looked at again at its time.
    let later = Suspected::Later(at(5 * DAY + 60));
    store.note_suspects(vec![(all[0].clone(), later)]).await.unwrap();
    assert_eq!(suspects(&store, at(5 * DAY + 59)).await, [""; 0]);
    let due = 5 * DAY + 360;
    suspect(&store, due).await;
    assert_eq!(suspects(&store, at(due + 1)).await, [""; 0], "its recovery is on its way");
    assert_eq!(store.due_recoveries(at(due - 1)).await.unwrap(), []);
    assert_eq!(recover(&store, source, due - 1).await, None);
    assert_eq!(store.due_recoveries(at(due)).await.unwrap().len(), 1);
    let (sync, partitions) = recover(&store, source, due).await.unwrap();
    assert_eq!(partitions, 1);
    assert_eq!(store.sync(sync).await.unwrap().unwrap().trigger, Trigger::Recovery);
    let active = status(&store).await.active.unwrap();
    assert_eq!((active.trigger, active.jobs), (Trigger::Recovery, 1));
    let lease = claim_one(&store, at(due + 1)).await;
    assert!(store.open_job(&lease).await.unwrap().plain, "it is read with care");
    assert_eq!(store.ended_recoveries().await.unwrap(), []);
    complete(&store, &lease, at(due + 2)).await;
    assert_eq!(status(&store).await.active, None);
    assert_eq!(store.ended_recoveries().await.unwrap(), [sync]);
    let concluded = store.conclude_recovery(sync, at(due + 3)).await.unwrap().unwrap();
    assert_eq!((concluded.found.as_slice(), concluded.in_vain), ([Found::Nothing].as_slice(), 1));
    assert_eq!(store.conclude_recovery(sync, at(due + 3)).await.unwrap(), None, "another process did");
    assert_eq!(status(&store).await.recoveries_in_vain, 1);
    assert_eq!(suspects(&store, at(500 * DAY)).await, [""; 0], "it is quiet");
    assert_eq!(store.due_recoveries(at(500 * DAY)).await.unwrap(), []);
    // Another sign ends the quiet.
    told_in_vain(&store, source, "1", 10 * DAY).await;
    assert_eq!(suspects(&store, at(10 * DAY + 2)).await, ["1"]);
}

async fn what_is_found_with_care_heals(database: &Database) {
    let (store, source) = synced(database).await;
    let lease = told(&store, source, "1", 4 * DAY).await;
    let (cursor, first) = (json!({ "since": 7 }), Pass::Plain { first: true });
    let rests =
        |cursor| domain::page::Next::CaughtUp { cursor: Some(domain::page::Cursor(cursor)), sweep: None };
    let mut kept = commit(page(Vec::new(), rests(cursor.clone())), first, at(4 * DAY + 1));
    kept.validator = Some(("https://toy.example/1".to_owned(), "\"a\"".to_owned()));
    store.commit_page(&lease, kept, at(4 * DAY + 1)).await.unwrap();
    complete(&store, &lease, at(4 * DAY + 2)).await;
    suspect(&store, 5 * DAY).await;
    let (sync, _) = recover(&store, source, 5 * DAY).await.unwrap();
    let lease = claim_one(&store, at(5 * DAY)).await;
    let open = store.open_job(&lease).await.unwrap();
    assert!(open.plain && open.validators.is_empty(), "{open:?}");
    assert_eq!(open.cursor, None, "a listing begins anew: half of one must not say what is gone");
    // A reading that goes on goes on with care, and its end ends that.
    let on = commit(page(vec![branch(1, "late", "h")], more(cursor.clone())), Pass::Incremental, at(5 * DAY));
    store.commit_page(&lease, on, at(5 * DAY)).await.unwrap();
    assert!(store.open_job(&lease).await.unwrap().plain);
    let end = commit(page(Vec::new(), rests(cursor)), Pass::Incremental, at(5 * DAY));
    store.commit_page(&lease, end, at(5 * DAY)).await.unwrap();
    assert!(!store.open_job(&lease).await.unwrap().plain);
    complete(&store, &lease, at(5 * DAY + 1)).await;
    let concluded = store.conclude_recovery(sync, at(5 * DAY + 2)).await.unwrap().unwrap();
    assert_eq!((concluded.found.as_slice(), concluded.in_vain), ([Found::News].as_slice(), 0));
    assert_eq!(suspects(&store, at(500 * DAY)).await, [""; 0]);
    assert_eq!(database.lines("select cast(healed as text) from healing").await, ["1"]);
}

async fn what_a_listing_shows_is_a_sign_and_the_same_again_is_none(database: &Database) {
    let (store, source) = begin(database, vec![partition("projects", "all")]).await;
    let list = async |shown: i64, now: i64| {
        start(&store, source, at(now)).await;
        let mut leases = claim(&store, at(now)).await;
        let lease = leases.remove(0);
        assert_eq!(lease.stream, "projects");
        let found = Partition { shown_at: Some(at(shown)), ..partition("branches", "1") };
        let mut listed = page(Vec::new(), caught_up(None));
        listed.partitions = vec![found];
        store.commit_page(&lease, commit(listed, Pass::Incremental, at(now)), at(now)).await.unwrap();
        complete(&store, &lease, at(now + 1)).await;
        leases.extend(claim(&store, at(now + 2)).await);
        complete(&store, &leases.remove(0), at(now + 3)).await;
    };
    list(-30 * DAY, 0).await;
    assert_eq!(suspects(&store, at(DAY)).await, [""; 0], "it was read after it happened");
    list(2 * DAY, 3 * DAY).await;
    assert_eq!(suspects(&store, at(3 * DAY + 5)).await, ["1"]);
    suspect(&store, 3 * DAY + 5).await;
    let (sync, _) = recover(&store, source, 3 * DAY + 5).await.unwrap();
    let lease = claim_one(&store, at(3 * DAY + 6)).await;
    complete(&store, &lease, at(3 * DAY + 7)).await;
    store.conclude_recovery(sync, at(3 * DAY + 8)).await.unwrap().unwrap();
    for (shown, now) in [(2, 4), (1, 5)] {
        list(shown * DAY, now * DAY).await;
        assert_eq!(suspects(&store, at(now * DAY + 5)).await, [""; 0], "nothing else happened");
    }
    // A clock that is ahead hides nothing: it is as late as ours at most.
    list(900 * DAY, 6 * DAY).await;
    let all = store.suspects(at(6 * DAY + 5), 10).await.unwrap();
    assert_eq!(all.iter().map(|it| it.signs.sign_at).collect::<Vec<_>>(), [at(6 * DAY)]);
}

async fn what_is_being_read_is_left_alone(database: &Database) {
    let (store, source) = synced(database).await;
    told_in_vain(&store, source, "1", 4 * DAY).await;
    told_in_vain(&store, source, "2", 4 * DAY + 10).await;
    suspect(&store, 4 * DAY + 400).await;
    let lease = told(&store, source, "1", 4 * DAY + 500).await;
    let (_, partitions) = recover(&store, source, 4 * DAY + 502).await.unwrap();
    assert_eq!(partitions, 1, "only the one that nobody reads");
    assert!(!store.open_job(&lease).await.unwrap().plain);
    complete(&store, &lease, at(4 * DAY + 503)).await;
    assert_eq!(recover(&store, source, 4 * DAY + 504).await, None, "not again so soon");
    let (_, partitions) = recover(&store, source, 4 * DAY + 502 + 300).await.unwrap();
    assert_eq!(partitions, 1);
    // What somebody brought meanwhile needs no recovery.
    for lease in claim(&store, at(4 * DAY + 803)).await {
        complete(&store, &lease, at(4 * DAY + 804)).await;
    }
    for sync in store.ended_recoveries().await.unwrap() {
        store.conclude_recovery(sync, at(4 * DAY + 805)).await.unwrap().unwrap();
    }
    told_in_vain(&store, source, "1", 9 * DAY).await;
    suspect(&store, 9 * DAY + 300).await;
    let lease = told(&store, source, "1", 9 * DAY + 400).await;
    let news =
        commit(page(vec![branch(1, "main", "h")], caught_up(None)), Pass::Incremental, at(9 * DAY + 401));
    store.commit_page(&lease, news, at(9 * DAY + 401)).await.unwrap();
    complete(&store, &lease, at(9 * DAY + 402)).await;
    assert_eq!(recover(&store, source, 9 * DAY + 900).await, None);
    assert_eq!(database.lines("select partition from recoveries").await, [""; 0]);
}

async fn what_could_not_be_read_says_nothing(database: &Database) {
    let (store, source) = synced(database).await;
    told_in_vain(&store, source, "1", 4 * DAY).await;
    suspect(&store, 5 * DAY).await;
    let (sync, _) = recover(&store, source, 5 * DAY).await.unwrap();
    let lease = claim_one(&store, at(5 * DAY)).await;
    // While it waits for a limit, it has not ended.
    let snooze = settlement(Verdict::Snooze { until: at(5 * DAY + 600) });
    store.settle(&lease, snooze, at(5 * DAY + 1)).await.unwrap();
    assert_eq!(store.ended_recoveries().await.unwrap(), []);
    let lease = claim_one(&store, at(5 * DAY + 600)).await;
    let gone = failed(Verdict::Discard { invalidates: false }, "malformed");
    store.settle(&lease, gone, at(5 * DAY + 601)).await.unwrap();
    let concluded = store.conclude_recovery(sync, at(5 * DAY + 602)).await.unwrap().unwrap();
    assert_eq!((concluded.found.as_slice(), concluded.in_vain), ([Found::Unknown].as_slice(), 0));
    assert_eq!(suspects(&store, at(5 * DAY + 602 + 3599)).await, [""; 0]);
    assert_eq!(suspects(&store, at(5 * DAY + 602 + 3600)).await, ["1"], "it is looked at again");
}

async fn the_third_in_vain_is_counted_and_news_begin_anew(database: &Database) {
    let (store, source) = synced(database).await;
    for nth in 1..=3 {
        told_in_vain(&store, source, "1", nth * 5 * DAY).await;
        let due = nth * 5 * DAY + 300;
        suspect(&store, due).await;
        let (sync, _) = recover(&store, source, due).await.unwrap();
        let lease = claim_one(&store, at(due)).await;
        complete(&store, &lease, at(due + 1)).await;
        store.conclude_recovery(sync, at(due + 2)).await.unwrap().unwrap();
        let count = u64::try_from(nth).unwrap();
        assert_eq!(status(&store).await.recoveries_in_vain, count);
        assert_eq!(store.vain_recoveries().await.unwrap().len(), 1);
        assert!(!store.forgive_recoveries(source, &GROUP).await.unwrap(), "nothing came since");
    }
    start(&store, source, at(16 * DAY)).await;
    for lease in claim(&store, at(16 * DAY)).await {
        if lease.partition == "2" {
            let news = page(vec![branch(2, "main", "h")], caught_up(None));
            let news = commit(news, Pass::Incremental, at(16 * DAY));
            store.commit_page(&lease, news, at(16 * DAY)).await.unwrap();
        }
        complete(&store, &lease, at(16 * DAY + 1)).await;
    }
    assert!(store.forgive_recoveries(source, &GROUP).await.unwrap(), "something else of the group came");
    assert_eq!(status(&store).await.recoveries_in_vain, 0);
    assert_eq!(store.vain_recoveries().await.unwrap(), []);
}

async fn a_removed_source_leaves_nothing(database: &Database) {
    let (store, source) = synced(database).await;
    told_in_vain(&store, source, "1", 4 * DAY).await;
    suspect(&store, 5 * DAY).await;
    store.remove_source(source, true).await.unwrap();
    assert_eq!(suspects(&store, at(500 * DAY)).await, [""; 0]);
    assert_eq!(store.due_recoveries(at(500 * DAY)).await.unwrap(), []);
}
