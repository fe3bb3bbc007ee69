//! Lanes: each reads on from a checkpoint of its own, in a sync of its own, and none keeps the next forward sync waiting.

use domain::job::{JobState, Lane, SyncState};
use domain::page::{Page, Partition};
use domain::policy::Verdict;
use jiff::Timestamp;
use serde_json::{Value, json};
use store::{Lease, Pass, Store};

use crate::database::Database;
use crate::world::*;

for_each_database!(
    every_lane_reads_on_by_itself,
    a_lane_that_ended_early_begins_again_where_it_was,
    a_blocked_lane_blocks_no_other,
    a_listing_begins_the_lanes_of_what_it_finds,
    a_partition_that_was_read_before_gets_no_lanes,
    a_job_that_an_earlier_sync_left_runs_once_more_when_asked_for,
    a_reread_begins_again_an_hour_after_its_end,
);

fn with_lanes(stream: &'static str, key: &str) -> Partition {
    let start = [Lane::Forward, Lane::Backfill, Lane::Census].map(|it| (it, cursor(json!(it.as_str()))));
    Partition { start: start.into(), ..partition(stream, key) }
}

fn lanes(leases: &[Lease]) -> Vec<Lane> {
    leases.iter().map(|it| it.lane).collect()
}

async fn place(store: &Store, lease: &Lease) -> Option<Value> {
    store.open_job(lease).await.unwrap().cursor.map(|it| it.0)
}

/// The syncs, the newest first: lane and state.
async fn syncs(store: &Store) -> Vec<(Lane, SyncState)> {
    let all = store.syncs(None, None, 10).await.unwrap();
    all.into_iter().map(|it| (it.lane.unwrap(), it.state)).collect()
}

async fn read_to(store: &Store, lease: &Lease, to: i64, now: Timestamp) {
    let page = commit(Page::empty(more(json!(to))), Pass::Incremental, now);
    store.commit_page(lease, page, now).await.unwrap();
}

async fn every_lane_reads_on_by_itself(database: &Database) {
    let (store, source) = begin(database, vec![with_lanes("branches", "1")]).await;
    start(&store, source, at(1)).await;
    let held = claim(&store, at(2)).await;
    assert_eq!(lanes(&held), [Lane::Forward, Lane::Backfill, Lane::Census], "what is new comes first");
    for (lease, to) in held.iter().zip(10..) {
        assert_eq!(place(&store, lease).await, Some(json!(lease.lane.as_str())));
        read_to(&store, lease, to, at(3)).await;
    }
    complete(&store, &held[0], at(4)).await;
    let facts = store.facts(source, &GROUP, at(4)).await.unwrap();
    assert_eq!(facts.active_sync, None, "only a forward sync stands in the way of one");
    assert_eq!(facts.last_success_at, Some(at(4)));
    let running = SyncState::Running;
    let three = [(Lane::Census, running), (Lane::Backfill, running), (Lane::Forward, SyncState::Completed)];
    assert_eq!(syncs(&store).await, three);
    // The next one begins beside them, and makes none of theirs anew.
    start(&store, source, at(5)).await;
    let forward = claim_one(&store, at(5)).await;
    assert_eq!((forward.lane, place(&store, &forward).await), (Lane::Forward, Some(json!(10))));
    // A process dies and another one goes on.
    assert_eq!(store.rescue(&["a".to_owned()], at(6)).await.unwrap(), 3);
    let held = claim(&store, at(7)).await;
    assert_eq!(lanes(&held), [Lane::Forward, Lane::Backfill, Lane::Census]);
    for (lease, to) in held.iter().zip(10..) {
        assert_eq!(place(&store, lease).await, Some(json!(to)), "{}", lease.lane);
        complete(&store, lease, at(8)).await;
    }
    assert!(syncs(&store).await.iter().all(|it| it.1 == SyncState::Completed));
    // What a lane has read it does not read again.
    start(&store, source, at(9)).await;
    assert_eq!(lanes(&claim(&store, at(9)).await), [Lane::Forward]);
}

async fn a_lane_that_ended_early_begins_again_where_it_was(database: &Database) {
    let (store, source) = begin(database, vec![with_lanes("branches", "1")]).await;
    start(&store, source, at(1)).await;
    let held = claim(&store, at(2)).await;
    read_to(&store, &held[1], 7, at(3)).await;
    assert!(store.cancel(held[1].sync, at(4)).await.unwrap());
    let signals = store.signals(&[(held[1].job, held[1].generation)]).await.unwrap();
    assert_eq!(signals.cancelled, [held[1].job]);
    store.settle(&held[1], settlement(Verdict::Cancel), at(5)).await.unwrap();
    let failed = failed(Verdict::Discard { invalidates: true }, "gone");
    store.settle(&held[2], failed, at(5)).await.unwrap();
    complete(&store, &held[0], at(6)).await;
    let ended = [(Lane::Census, SyncState::Failed), (Lane::Backfill, SyncState::Cancelled)];
    assert_eq!(syncs(&store).await[..2], ended);
    assert_eq!(claim(&store, at(7)).await, []);
    start(&store, source, at(8)).await;
    let held = claim(&store, at(9)).await;
    assert_eq!(lanes(&held), [Lane::Forward, Lane::Backfill, Lane::Census]);
    assert_eq!(place(&store, &held[1]).await, Some(json!(7)));
    assert_eq!(place(&store, &held[2]).await, Some(json!("census")));
}

async fn a_blocked_lane_blocks_no_other(database: &Database) {
    let (store, source) =
        begin(database, vec![with_lanes("branches", "1"), with_lanes("branches", "2")]).await;
    start(&store, source, at(1)).await;
    for lease in claim(&store, at(2)).await {
        let verdict = match (lease.lane, lease.partition.as_str()) {
            (Lane::Backfill, "1") => Verdict::Snooze { until: at(500) },
            _ => Verdict::Complete,
        };
        store.settle(&lease, settlement(verdict), at(3)).await.unwrap();
    }
    let states = [SyncState::Completed, SyncState::Partial, SyncState::Completed];
    assert_eq!(syncs(&store).await.into_iter().map(|it| it.1).collect::<Vec<_>>(), states);
    start(&store, source, at(4)).await;
    let forward = claim(&store, at(5)).await;
    assert_eq!(lanes(&forward), [Lane::Forward, Lane::Forward]);
    for lease in forward {
        complete(&store, &lease, at(6)).await;
    }
    assert_eq!(
        syncs(&store).await[0],
        (Lane::Forward, SyncState::Completed),
        "it is whole without the other lane"
    );
    let resumed = claim_one(&store, at(500)).await;
    complete(&store, &resumed, at(501)).await;
    assert!(syncs(&store).await.iter().all(|it| it.1 == SyncState::Completed));
}

async fn a_listing_begins_the_lanes_of_what_it_finds(database: &Database) {
    let (store, source) = begin(database, vec![partition("projects", "all")]).await;
    start(&store, source, at(1)).await;
    let listing = claim_one(&store, at(2)).await;
    for (nth, keys) in [["1", "2"], ["2", "3"]].into_iter().enumerate() {
        let partitions = keys.map(|it| with_lanes("branches", it)).into();
        let found = Page { partitions, ..Page::empty(more(json!(nth))) };
        store.commit_page(&listing, commit(found, Pass::Incremental, at(3)), at(3)).await.unwrap();
    }
    let held = claim(&store, at(4)).await;
    assert_eq!(held.len(), 9, "three partitions in three lanes");
    let of = |lane| held.iter().filter(move |it| it.lane == lane);
    assert!(of(Lane::Forward).all(|it| it.sync == listing.sync));
    for lane in [Lane::Backfill, Lane::Census] {
        let first = of(lane).next().unwrap().sync;
        assert!(of(lane).count() == 3 && of(lane).all(|it| it.sync == first && it.sync != listing.sync));
        let jobs = store.jobs(first).await.unwrap();
        assert!(jobs.iter().all(|it| it.lane == Some(lane) && it.state == JobState::Running), "{jobs:?}");
    }
}

async fn a_partition_that_was_read_before_gets_no_lanes(database: &Database) {
    let (store, source) =
        begin(database, vec![partition("projects", "all"), partition("branches", "1")]).await;
    start(&store, source, at(1)).await;
    let held = claim(&store, at(2)).await;
    read_to(&store, &held[1], 7, at(3)).await;
    complete(&store, &held[1], at(3)).await;
    let found = Page { partitions: vec![with_lanes("branches", "1")], ..Page::empty(caught_up(None)) };
    store.commit_page(&held[0], commit(found, Pass::Incremental, at(4)), at(4)).await.unwrap();
    complete(&store, &held[0], at(5)).await;
    start(&store, source, at(6)).await;
    let held = claim(&store, at(7)).await;
    assert_eq!(lanes(&held), [Lane::Forward, Lane::Forward]);
    assert_eq!(place(&store, &held[1]).await, Some(json!(7)));
}

async fn a_job_that_an_earlier_sync_left_runs_once_more_when_asked_for(database: &Database) {
    let (store, source) = begin(database, vec![partition("branches", "1"), partition("branches", "2")]).await;
    start(&store, source, at(1)).await;
    let held = claim(&store, at(2)).await;
    store.settle(&held[0], settlement(Verdict::Snooze { until: at(100) }), at(3)).await.unwrap();
    complete(&store, &held[1], at(3)).await;
    let resumed = claim_one(&store, at(100)).await;
    // The request comes while it runs; what it read by now may be older than that.
    start(&store, source, at(101)).await;
    let other = claim_one(&store, at(102)).await;
    assert_eq!((resumed.partition.as_str(), other.partition.as_str()), ("1", "2"));
    complete(&store, &resumed, at(103)).await;
    let again = claim_one(&store, at(104)).await;
    assert_eq!(again.job, resumed.job);
    complete(&store, &again, at(105)).await;
    assert_eq!(claim(&store, at(106)).await, [], "once more, and not for ever");
}

async fn a_reread_begins_again_an_hour_after_its_end(database: &Database) {
    let start_of = [Lane::Forward, Lane::Reread].map(|it| (it, cursor(json!(it.as_str()))));
    let partition = Partition { start: start_of.into(), ..partition("branches", "1") };
    let (store, source) = begin(database, vec![partition]).await;
    let lanes_at = async |seconds: i64| {
        start(&store, source, at(seconds)).await;
        let held = claim(&store, at(seconds)).await;
        for lease in &held {
            read_to(&store, lease, seconds, at(seconds)).await;
            complete(&store, lease, at(seconds)).await;
        }
        lanes(&held)
    };
    let (forward, both) = (vec![Lane::Forward], vec![Lane::Forward, Lane::Reread]);
    assert_eq!(lanes_at(10).await, both);
    assert_eq!(lanes_at(20).await, forward);
    assert_eq!(lanes_at(3609).await, forward, "not an hour yet");
    assert_eq!(lanes_at(3610).await, both);
    assert_eq!(lanes_at(7000).await, forward);
    assert_eq!(lanes_at(7210).await, both);
    // A clock that was set back does not keep it from being read.
    assert_eq!(lanes_at(5000).await, both);
}
