//! What is removed when it is old, and what stays however old it is.

use domain::id::{EventId, SourceId, SyncId};
use domain::job::SyncState;
use domain::page::Page;
use domain::policy::Verdict;
use domain::trigger::Trigger;
use jiff::Timestamp;
use serde_json::json;
use store::{Expiry, Pass, Removed, Store};

use crate::database::Database;
use crate::world::*;

for_each_database!(
    what_completed_goes_before_what_failed,
    a_sync_that_goes_on_is_never_touched,
    the_last_sync_of_a_group_and_the_last_by_hand_stay,
    a_job_that_left_items_unread_is_kept_as_failed,
    steps_are_small_and_leave_nothing,
);

const DAY: i64 = 24 * 3600;

/// Seven days for what completed, thirty for what failed.
fn expiry(now: Timestamp) -> Expiry {
    let days = |days: i64| Timestamp::from_second(now.as_second() - days * DAY).unwrap();
    Expiry { completed_before: days(7), failed_before: days(30) }
}

/// Removes all that has expired, as the chore does.
async fn clean(store: &Store, now: Timestamp) -> Removed {
    let (expiry, mut all) = (expiry(now), Removed::default());
    let syncs = store.expired_syncs(SyncId(0), expiry, 1000).await.unwrap();
    loop {
        let step = store.remove_expired(syncs.clone(), expiry).await.unwrap();
        all.jobs += step.jobs;
        all.syncs += step.syncs;
        if step.jobs == 0 {
            return all;
        }
    }
}

/// Runs a sync of two partitions: one completes, the other ends as `verdict` says.
async fn run(store: &Store, source: SourceId, verdict: Verdict, now: Timestamp) -> SyncId {
    let sync = start(store, source, now).await.id;
    let leases = claim(store, now).await;
    complete(store, &leases[0], now).await;
    store.settle(&leases[1], failed(verdict, "malformed"), now).await.unwrap();
    sync
}

async fn left(store: &Store, sync: SyncId) -> Option<(SyncState, u64)> {
    store.sync(sync).await.unwrap().map(|it| (it.state, it.jobs.total))
}

async fn two(database: &Database) -> (Store, SourceId) {
    begin(database, vec![partition("branches", "1"), partition("branches", "2")]).await
}

const DISCARD: Verdict = Verdict::Discard { invalidates: false };

async fn what_completed_goes_before_what_failed(database: &Database) {
    let (store, source) = two(database).await;
    let good = run(&store, source, Verdict::Complete, at(0)).await;
    let partial = run(&store, source, DISCARD, at(10)).await;
    let last = run(&store, source, Verdict::Complete, at(20)).await;
    let standing = status(&store).await.standing;
    assert_eq!(clean(&store, at(7 * DAY - 1)).await, Removed::default());
    assert_eq!(clean(&store, at(7 * DAY)).await, Removed { jobs: 2, syncs: 1 });
    assert_eq!(clean(&store, at(8 * DAY)).await, Removed { jobs: 1, syncs: 0 });
    assert_eq!(left(&store, good).await, None);
    assert_eq!(left(&store, partial).await, Some((SyncState::Partial, 1)));
    assert_eq!(store.sync(partial).await.unwrap().unwrap().errors[0].code, "malformed");
    let (removed, more) = store.remove_events(EventId(0), expiry(at(8 * DAY))).await.unwrap();
    assert!(removed > 0 && more.is_none(), "{removed} {more:?}");
    assert_eq!(database.lines("select name from events").await, [""; 0]);
    assert_eq!(clean(&store, at(31 * DAY)).await, Removed { jobs: 1, syncs: 1 });
    assert_eq!(left(&store, last).await, Some((SyncState::Completed, 2)));
    assert_eq!(status(&store).await.standing, standing, "how it stands has not changed");
}

async fn a_sync_that_goes_on_is_never_touched(database: &Database) {
    let (store, source) = two(database).await;
    let blocked = run(&store, source, Verdict::Snooze { until: at(300 * DAY) }, at(0)).await;
    // A later one has closed since, so that the blocked one is not the last.
    start(&store, source, at(5)).await;
    complete(&store, &claim_one(&store, at(6)).await, at(7)).await;
    let running = start(&store, source, at(10)).await.id;
    let lease = claim_one(&store, at(11)).await;
    let page = commit(Page::empty(more(json!(1))), Pass::Incremental, at(12));
    store.commit_page(&lease, page, at(12)).await.unwrap();
    let of_both = format!("select name from events where sync_id in ({blocked}, {running}) order by id");
    let before = (database.dump("jobs").await, database.dump("syncs").await, database.lines(&of_both).await);
    assert_eq!(clean(&store, at(200 * DAY)).await, Removed::default());
    // Nor when it is named: it may have begun to go on since it was listed.
    let named = store.remove_expired(vec![blocked, running], expiry(at(200 * DAY))).await.unwrap();
    assert_eq!(named, Removed::default());
    // Those of the one between: it was asked for, a job began and completed, and it closed.
    assert_eq!(store.remove_events(EventId(0), expiry(at(200 * DAY))).await.unwrap(), (4, None));
    let after = (database.dump("jobs").await, database.dump("syncs").await, database.lines(&of_both).await);
    assert_eq!(after, before);
}

async fn the_last_sync_of_a_group_and_the_last_by_hand_stay(database: &Database) {
    let (store, source) = begin(database, vec![partition("commits", "1")]).await;
    let ask = async |trigger, now| store.enqueue(request(source, trigger), now).await.unwrap();
    for (trigger, now) in
        [(Trigger::Manual, 0), (Trigger::Manual, 10), (Trigger::Cron, 20), (Trigger::Cron, 30)]
    {
        ask(trigger, at(now)).await;
    }
    let facts = async || {
        let facts = store.facts(source, &GROUP, at(90 * DAY)).await.unwrap();
        (facts.last_manual_at, facts.last_success_at)
    };
    let before = facts().await;
    assert_eq!(clean(&store, at(90 * DAY)).await, Removed { jobs: 0, syncs: 2 });
    assert_eq!(facts().await, before);
    let kept = "select trigger || ' ' || cast(created_at as text) from syncs order by id";
    let ms = |at: Timestamp| at.as_millisecond();
    assert_eq!(
        database.lines(kept).await,
        [format!("manual {}", ms(at(10))), format!("cron {}", ms(at(30)))]
    );
}

async fn a_job_that_left_items_unread_is_kept_as_failed(database: &Database) {
    let (store, source) = begin(database, vec![partition("branches", "1"), partition("commits", "1")]).await;
    let sync = start(&store, source, at(1)).await.id;
    let lease = claim_one(&store, at(2)).await;
    let found = Page { wanted: vec![wanted("1", "main", "abc", None)], ..Page::empty(caught_up(None)) };
    store.commit_page(&lease, commit(found, Pass::Incremental, at(3)), at(3)).await.unwrap();
    complete(&store, &lease, at(4)).await;
    let lease = claim_one(&store, at(5)).await;
    let fault = ("gone".to_owned(), "it is gone".to_owned());
    store.fail_item(&lease, "main".to_owned(), fault, 1, at(6)).await.unwrap();
    complete(&store, &lease, at(7)).await;
    // A later one, so that it is not the last.
    start(&store, source, at(8)).await;
    for lease in claim(&store, at(9)).await {
        complete(&store, &lease, at(10)).await;
    }
    clean(&store, at(8 * DAY)).await;
    let row = store.sync(sync).await.unwrap().unwrap();
    assert_eq!((row.state, row.jobs.total, row.errors.len()), (SyncState::Partial, 1, 1), "{row:?}");
}

async fn steps_are_small_and_leave_nothing(database: &Database) {
    let roots = (0..700).map(|it| partition("branches", &it.to_string())).collect();
    let (store, source) = begin(database, roots).await;
    for now in [0, 100] {
        start(&store, source, at(now)).await;
        let claimed = store.claim(claim_of("a", 1000), at(now)).await.unwrap();
        assert_eq!(claimed.len(), 700);
        database.execute("update jobs set state = 'completed', finished_at = 1000").await;
        // The last end closes the sync, as any.
        database.execute("update jobs set state = 'running' where id = (select max(id) from jobs)").await;
        let last = claimed.into_iter().max_by_key(|it| it.job).unwrap();
        complete(&store, &last, at(now + 1)).await;
    }
    let syncs = store.expired_syncs(SyncId(0), expiry(at(90 * DAY)), 10).await.unwrap();
    assert_eq!(syncs.len(), 1, "the last one stays");
    let first = store.remove_expired(syncs.clone(), expiry(at(90 * DAY))).await.unwrap();
    assert!((1..700).contains(&first.jobs) && first.syncs == 0, "{first:?}");
    let rest = clean(&store, at(90 * DAY)).await;
    assert_eq!((first.jobs + rest.jobs, rest.syncs), (700, 1));
    let (mut after, mut removed, mut steps) = (Some(EventId(0)), 0, 0);
    while let Some(from) = after {
        let (count, more) = store.remove_events(from, expiry(at(90 * DAY))).await.unwrap();
        (after, removed, steps) = (more, removed + count, steps + 1);
    }
    assert!(steps > 1, "{removed} events in one step");
    assert_eq!(store.tune().await.unwrap().events, 0);
}
