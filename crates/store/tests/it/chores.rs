//! Chores: one process has each run, and what keeps jobs moving never lets two hold one.

use domain::job::{JobState, SyncState};
use domain::page::Page;
use domain::policy::Verdict;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use store::{Beat, ChoreEnd, ChoreTurn, Pass, Store, StoreError, Woken};
use tokio::task::JoinSet;

use crate::database::Database;
use crate::world::*;

for_each_database!(
    each_run_of_a_chore_is_one_processes,
    a_run_tells_what_it_did_and_an_error_is_cleared,
    a_shorter_interval_holds_at_once,
    a_job_that_does_not_get_on_is_found,
    a_job_that_waits_is_not_stuck,
    what_an_interrupted_job_still_commits_is_not_written,
    a_wake_up_that_a_wrong_clock_set_is_pulled_in,
    a_dead_workers_job_that_was_stopped_is_cancelled,
);

const MINUTE: SignedDuration = SignedDuration::from_mins(1);

fn turn(node: &str, due_at: Timestamp, next_at: Timestamp) -> ChoreTurn {
    ChoreTurn { name: "sweep", due_at, next_at, node: node.to_owned() }
}

async fn each_run_of_a_chore_is_one_processes(database: &Database) {
    let store = open(database).await;
    let other = open(database).await;
    store.plan_chores(vec![("sweep", MINUTE)], at(0)).await.unwrap();
    other.plan_chores(vec![("sweep", MINUTE)], at(5)).await.unwrap();
    for round in 0..3 {
        let mut taking = JoinSet::new();
        let due_at = store.chores().await.unwrap()[0].next_at;
        for nth in 0..6 {
            let store = if nth % 2 == 0 { store.clone() } else { other.clone() };
            let now = due_at + SignedDuration::from_secs(1);
            let turn = turn(&nth.to_string(), due_at, now + MINUTE);
            taking.spawn(async move { store.take_chore(turn, now).await.unwrap() });
        }
        let had = taking.join_all().await.into_iter().filter(|it| *it).count();
        assert_eq!(had, 1, "round {round}");
    }
    assert_eq!(store.chores().await.unwrap()[0].runs, 3);
}

async fn a_run_tells_what_it_did_and_an_error_is_cleared(database: &Database) {
    let store = open(database).await;
    store.plan_chores(vec![("sweep", MINUTE)], at(0)).await.unwrap();
    assert_eq!(store.chores().await.unwrap()[0].last, None);
    let end = |node: &str, began, error: Option<&str>| ChoreEnd {
        name: "sweep",
        began_at: began,
        node: node.to_owned(),
        did: [("removed".to_owned(), 7)].into(),
        error: error.map(str::to_owned),
    };
    assert!(store.take_chore(turn("a", at(0), at(60)), at(1)).await.unwrap());
    store.end_chore(end("a", at(1), Some("no room")), at(3)).await.unwrap();
    let last = store.chores().await.unwrap()[0].last.clone().unwrap();
    assert_eq!((last.at, last.node.as_str(), last.took), (at(1), "a", Some(SignedDuration::from_secs(2))));
    assert_eq!((last.did["removed"], last.error.as_deref()), (7, Some("no room")));
    assert!(store.take_chore(turn("b", at(60), at(120)), at(61)).await.unwrap());
    // The first process comes late: its run is not the last one any more.
    store.end_chore(end("a", at(1), Some("late")), at(62)).await.unwrap();
    assert_eq!(store.chores().await.unwrap()[0].last.as_ref().unwrap().took, None);
    store.end_chore(end("b", at(61), None), at(62)).await.unwrap();
    assert_eq!(store.chores().await.unwrap()[0].last.as_ref().unwrap().error, None);
}

async fn a_shorter_interval_holds_at_once(database: &Database) {
    let store = open(database).await;
    store.plan_chores(vec![("sweep", MINUTE * 60)], at(0)).await.unwrap();
    assert!(store.take_chore(turn("a", at(0), at(3600)), at(0)).await.unwrap());
    store.plan_chores(vec![("sweep", MINUTE)], at(10)).await.unwrap();
    assert_eq!(store.chores().await.unwrap()[0].next_at, at(70));
    store.plan_chores(vec![("sweep", MINUTE)], at(20)).await.unwrap();
    assert_eq!(store.chores().await.unwrap()[0].next_at, at(70), "planning puts nothing off");
}

/// Begins a sync of two partitions and holds both jobs for an hour.
async fn two_held(database: &Database) -> (Store, Vec<store::Lease>) {
    let (store, source) = begin(database, vec![partition("branches", "1"), partition("branches", "2")]).await;
    start(&store, source, at(1)).await;
    let claim = store::Claim { lease: SignedDuration::from_hours(1), ..claim_of("a", 2) };
    let leases = store.claim(claim, at(2)).await.unwrap();
    (store, leases)
}

async fn a_job_that_does_not_get_on_is_found(database: &Database) {
    let (store, leases) = two_held(database).await;
    assert_eq!(store.stalled(at(1), at(600)).await.unwrap(), []);
    let page = commit(Page::empty(more(json!(1))), Pass::Incremental, at(300));
    let page = store::Commit { lease_until: at(7200), ..page };
    store.commit_page(&leases[1], page, at(300)).await.unwrap();
    let found = store.stalled(at(2), at(602)).await.unwrap();
    assert_eq!(found.iter().map(|it| it.job).collect::<Vec<_>>(), [leases[0].job]);
    assert_eq!(store.stalled(at(300), at(900)).await.unwrap().len(), 2);
    // Whose lease ran out is rescued, not interrupted.
    assert_eq!(store.stalled(at(300), at(3602)).await.unwrap().len(), 1);
}

async fn a_job_that_waits_is_not_stuck(database: &Database) {
    let (store, leases) = two_held(database).await;
    let beat = |it: &store::Lease, waits| Beat { job: it.job, generation: it.generation, waits };
    let beats = vec![beat(&leases[0], true), beat(&leases[1], false)];
    store.heartbeat(beats, at(7000), at(500)).await.unwrap();
    let found = store.stalled(at(400), at(1000)).await.unwrap();
    assert_eq!(found.iter().map(|it| it.job).collect::<Vec<_>>(), [leases[1].job]);
}

async fn what_an_interrupted_job_still_commits_is_not_written(database: &Database) {
    let (store, leases) = two_held(database).await;
    let lease = &leases[0];
    let landed = |now| {
        let page = page(vec![branch(1, "main", "abc")], more(json!(1)));
        store::Commit { lease_until: at(9000), ..commit(page, Pass::Incremental, now) }
    };
    let found = store.stalled(at(2), at(700)).await.unwrap();
    let stuck = failed(Verdict::Retry { at: at(701) }, "stuck");
    store.settle(&found[0], stuck, at(700)).await.unwrap();
    let late = store.commit_page(lease, landed(at(701)), at(701)).await;
    assert!(matches!(late, Err(StoreError::LeaseLost)), "{late:?}");
    let signals = store.signals(&[(lease.job, lease.generation)]).await.unwrap();
    assert_eq!(signals.lost, [lease.job], "the task is told to stop");
    let again = claim_one(&store, at(702)).await;
    assert_eq!((again.job, again.generation), (lease.job, lease.generation + 1));
    let late = store.commit_page(lease, landed(at(703)), at(703)).await;
    assert!(matches!(late, Err(StoreError::LeaseLost)), "{late:?}");
    assert_eq!(database.lines("select name from branches").await, [""; 0]);
}

async fn a_wake_up_that_a_wrong_clock_set_is_pulled_in(database: &Database) {
    let (store, leases) = two_held(database).await;
    store.settle(&leases[0], settlement(Verdict::Snooze { until: at(3600) }), at(10)).await.unwrap();
    store.settle(&leases[1], settlement(Verdict::Snooze { until: at(900_000) }), at(10)).await.unwrap();
    let woken = store.wake_blocked(at(3910), at(10)).await.unwrap();
    assert_eq!(woken, Woken { due: 1, waiting: 1, pulled_in: 1 });
    assert_eq!(claim_one(&store, at(11)).await.job, leases[1].job);
    assert_eq!(
        store.wake_blocked(at(3912), at(12)).await.unwrap(),
        Woken { due: 0, waiting: 1, pulled_in: 0 }
    );
}

async fn a_dead_workers_job_that_was_stopped_is_cancelled(database: &Database) {
    let (store, source) = begin(database, vec![partition("branches", "1")]).await;
    let sync = start(&store, source, at(1)).await.id;
    claim_one(&store, at(2)).await;
    assert!(store.cancel(sync, at(3)).await.unwrap());
    assert_eq!(store.rescue(&["a".to_owned()], at(4)).await.unwrap(), 1);
    let row = store.sync(sync).await.unwrap().unwrap();
    assert_eq!((row.state, row.jobs.cancelled), (SyncState::Cancelled, 1));
    assert_eq!(store.jobs(sync).await.unwrap()[0].state, JobState::Cancelled);
    assert_eq!(claim(&store, at(5)).await, []);
}
