//! How jobs end, and what their ends make of the sync.

use domain::job::{JobState, SyncState};
use domain::page::{Page, Partition};
use domain::policy::Verdict;
use domain::trigger::Trigger;
use serde_json::json;
use store::{Commit, Enqueued, Lease, Pass, Settlement, Store, StoreError, SyncRow};

use crate::database::Database;
use crate::world::*;

for_each_database!(
    the_ends_of_jobs_make_the_state_of_the_sync,
    a_sync_with_nothing_to_do_completes_at_once,
    a_blocked_job_closes_its_sync_as_partial_and_completes_it_later,
    the_next_sync_takes_over_a_blocked_job_that_is_due,
    a_sync_stays_open_while_a_job_that_it_took_over_is_due,
    the_next_sync_skips_a_job_that_is_still_blocked,
    a_job_that_is_to_pause_for_long_keeps_no_other_from_the_next_sync,
    a_refused_credential_stops_every_job_of_the_source,
    a_cancelled_sync_stops,
    a_job_that_was_told_to_stop_is_cancelled_however_its_attempt_ended,
    a_job_runs_again_when_more_was_found_meanwhile,
    the_last_page_ends_its_job_and_the_sync,
    a_page_that_leaves_items_due_ends_nothing,
    a_last_page_ends_a_job_as_its_end_would_have,
    a_failed_item_makes_the_sync_partial,
    an_invalid_partition_is_probed_once_a_day,
    a_fresh_partition_is_not_read_again_too_soon,
    verdicts_that_keep_the_lease_are_refused,
    two_jobs_that_end_at_the_same_time_close_the_sync_once,
);

fn two() -> Vec<Partition> {
    vec![partition("branches", "1"), partition("branches", "2")]
}

async fn read(store: &Store, sync: &SyncRow) -> SyncRow {
    store.sync(sync.id).await.unwrap().unwrap()
}

async fn the_ends_of_jobs_make_the_state_of_the_sync(database: &Database) {
    let (store, source) = begin(database, two()).await;
    let discard = || failed(Verdict::Discard { invalidates: false }, "malformed");
    let snooze = || failed(Verdict::Snooze { until: at(100_000) }, "rate_limited");
    let complete = || settlement(Verdict::Complete);
    let cancel = || settlement(Verdict::Cancel);
    let cases: [(Settlement, Settlement, SyncState); 6] = [
        (complete(), complete(), SyncState::Completed),
        (complete(), discard(), SyncState::Partial),
        (discard(), discard(), SyncState::Failed),
        (cancel(), cancel(), SyncState::Cancelled),
        (cancel(), complete(), SyncState::Cancelled),
        (complete(), snooze(), SyncState::Partial),
    ];
    for (nth, (first, second, expected)) in (0..).zip(cases) {
        let now = nth * 100;
        let sync = start(&store, source, at(now)).await;
        let leases = claim(&store, at(now)).await;
        assert_eq!(leases.len(), 2);
        store.settle(&leases[0], first, at(now + 1)).await.unwrap();
        assert_eq!(read(&store, &sync).await.state, SyncState::Running);
        store.settle(&leases[1], second, at(now + 2)).await.unwrap();
        let closed = read(&store, &sync).await;
        assert_eq!((closed.state, closed.closed_at), (expected, Some(at(now + 2))));
    }
}

async fn a_sync_with_nothing_to_do_completes_at_once(database: &Database) {
    let (store, source) = begin(database, vec![partition("commits", "1")]).await;
    let sync = start(&store, source, at(1)).await;
    assert_eq!((sync.state, sync.jobs.total, sync.closed_at), (SyncState::Completed, 0, Some(at(1))));
    assert_eq!(events(database, &store).await, ["sync.request", "sync.closed"]);
}

/// Starts a sync of two partitions, completes one and blocks the other until 500.
async fn block_one(store: &Store, source: domain::id::SourceId) -> (SyncRow, Lease) {
    let sync = start(store, source, at(1)).await;
    let leases = claim(store, at(2)).await;
    store.settle(&leases[0], settlement(Verdict::Complete), at(3)).await.unwrap();
    let snooze = failed(Verdict::Snooze { until: at(500) }, "rate_limited");
    store.settle(&leases[1], snooze, at(4)).await.unwrap();
    let closed = read(store, &sync).await;
    assert_eq!((closed.state, closed.blocked_until), (SyncState::Partial, Some(at(500))));
    (closed, leases[1].clone())
}

async fn a_blocked_job_closes_its_sync_as_partial_and_completes_it_later(database: &Database) {
    let (store, source) = begin(database, two()).await;
    let (sync, blocked) = block_one(&store, source).await;
    assert_eq!(claim(&store, at(499)).await, []);
    let lease = claim_one(&store, at(500)).await;
    assert_eq!((lease.job, lease.attempt), (blocked.job, 1), "a snooze is not an attempt");
    complete(&store, &lease, at(501)).await;
    assert_eq!(read(&store, &sync).await.state, SyncState::Completed);
}

async fn the_next_sync_takes_over_a_blocked_job_that_is_due(database: &Database) {
    let (store, source) = begin(database, two()).await;
    let (_, blocked) = block_one(&store, source).await;
    let next = start(&store, source, at(600)).await;
    assert_eq!((next.state, next.jobs.total), (SyncState::Running, 2));
    let leases = claim(&store, at(601)).await;
    assert!(leases.iter().any(|it| it.job == blocked.job && it.sync == next.id), "{leases:?}");
    let (adopted, own): (Vec<_>, Vec<_>) = leases.into_iter().partition(|it| it.job == blocked.job);
    complete(&store, &own[0], at(602)).await;
    assert_eq!(read(&store, &next).await.state, SyncState::Running);
    complete(&store, &adopted[0], at(603)).await;
    assert_eq!(read(&store, &next).await.state, SyncState::Completed);
}

async fn a_sync_stays_open_while_a_job_that_it_took_over_is_due(database: &Database) {
    let (store, source) = begin(database, two()).await;
    let first = start(&store, source, at(1)).await;
    for lease in claim(&store, at(2)).await {
        let snooze = failed(Verdict::Snooze { until: at(500) }, "rate_limited");
        store.settle(&lease, snooze, at(3)).await.unwrap();
    }
    assert_eq!(read(&store, &first).await.state, SyncState::Partial);
    let next = start(&store, source, at(600)).await;
    assert_eq!((next.jobs.scheduled, next.jobs.total), (2, 2));
    let lease = store.claim(claim_of("a", 1), at(601)).await.unwrap().remove(0);
    complete(&store, &lease, at(602)).await;
    assert_eq!(read(&store, &next).await.state, SyncState::Running, "the other one is due");
    complete(&store, &claim_one(&store, at(603)).await, at(604)).await;
    assert_eq!(read(&store, &next).await.state, SyncState::Completed);
}

async fn the_next_sync_skips_a_job_that_is_still_blocked(database: &Database) {
    let (store, source) = begin(database, two()).await;
    block_one(&store, source).await;
    let next = start(&store, source, at(100)).await;
    assert_eq!(next.jobs.total, 1);
    complete(&store, &claim_one(&store, at(101)).await, at(102)).await;
    let closed = read(&store, &next).await;
    assert_eq!(closed.state, SyncState::Partial, "one partition was left to the job that is blocked");
    assert_eq!(store.facts(source, &GROUP, at(103)).await.unwrap().last_success_at, None);
}

async fn a_job_that_is_to_pause_for_long_keeps_no_other_from_the_next_sync(database: &Database) {
    let (store, source) = begin(database, two()).await;
    let sync = start(&store, source, at(1)).await;
    let leases = claim(&store, at(2)).await;
    complete(&store, &leases[0], at(3)).await;
    let page = commit(Page::empty(more(json!({ "page": 2 }))), Pass::Incremental, at(3));
    store.commit_page(&leases[1], page, at(3)).await.unwrap();
    // A provider that is down for an hour says so with its server error.
    let pause = failed(Verdict::Retry { at: at(3604) }, "server_error");
    store.settle(&leases[1], pause, at(4)).await.unwrap();
    assert_eq!(read(&store, &sync).await.state, SyncState::Partial);
    let told = event_rows(database, &store).await;
    let blocked = told.iter().find(|it| it.name == "sync.job.blocked").unwrap();
    assert_eq!(blocked.fields["reason"], "retry_after");
    let next = start(&store, source, at(900)).await;
    complete(&store, &claim_one(&store, at(901)).await, at(902)).await;
    assert_eq!(read(&store, &next).await.state, SyncState::Partial, "it left one out");
    // It goes on where it stood, and however often it is put off, no attempt is counted.
    let lease = claim_one(&store, at(3604)).await;
    assert_eq!((lease.job, lease.attempt), (leases[1].job, 1));
    assert_eq!(store.open_job(&lease).await.unwrap().cursor, Some(cursor(json!({ "page": 2 }))));
    store.settle(&lease, failed(Verdict::Retry { at: at(8000) }, "server_error"), at(3605)).await.unwrap();
    let lease = claim_one(&store, at(8000)).await;
    assert_eq!(lease.attempt, 1);
    let page = commit(Page::empty(more(json!({ "page": 3 }))), Pass::Incremental, at(8001));
    store.commit_page(&lease, page, at(8001)).await.unwrap();
    store.settle(&lease, settlement(Verdict::Snooze { until: at(9000) }), at(8002)).await.unwrap();
    let told = event_rows(database, &store).await;
    let last = told.iter().rfind(|it| it.name == "sync.job.blocked").unwrap();
    assert_eq!(last.fields["reason"], "rate_limited");
}

async fn a_refused_credential_stops_every_job_of_the_source(database: &Database) {
    let (store, source) =
        begin(database, (0..5).map(|it| partition("branches", &it.to_string())).collect()).await;
    let sync = start(&store, source, at(1)).await;
    let lease = store.claim(claim_of("a", 1), at(2)).await.unwrap().remove(0);
    store.settle(&lease, failed(Verdict::StopSource, "unauthorized"), at(3)).await.unwrap();
    let closed = read(&store, &sync).await;
    assert_eq!((closed.state, closed.jobs.discarded, closed.errors_total), (SyncState::Failed, 5, 5));
    assert!(closed.errors.iter().all(|it| it.code == "unauthorized"), "{:?}", closed.errors);
    let status = status(&store).await;
    let standing = status.standing.unwrap();
    assert_eq!((standing.state, standing.failed, standing.jobs), (SyncState::Failed, 5, 5));
    assert_eq!(standing.error.as_ref().unwrap().1, "unauthorized");
    assert_eq!(status.invalid_partitions, 0);
}

async fn a_cancelled_sync_stops(database: &Database) {
    let (store, source) = begin(database, two()).await;
    let sync = start(&store, source, at(1)).await;
    let lease = store.claim(claim_of("a", 1), at(2)).await.unwrap().remove(0);
    assert!(store.cancel(sync.id, at(3)).await.unwrap());
    let half = read(&store, &sync).await;
    assert_eq!((half.state, half.jobs.cancelled, half.jobs.running), (SyncState::Running, 1, 1));
    assert_eq!(store.signals(&[(lease.job, lease.generation)]).await.unwrap().cancelled, [lease.job]);
    store.settle(&lease, settlement(Verdict::Cancel), at(4)).await.unwrap();
    assert_eq!(read(&store, &sync).await.state, SyncState::Cancelled);
    assert!(!store.cancel(sync.id, at(5)).await.unwrap(), "nothing is left to stop");
    let unknown = store.cancel(domain::id::SyncId(999), at(5)).await;
    assert!(matches!(unknown, Err(StoreError::NotFound)));
}

async fn a_job_that_was_told_to_stop_is_cancelled_however_its_attempt_ended(database: &Database) {
    let (store, source) = begin(database, vec![partition("projects", "all")]).await;
    let verdicts = [
        Verdict::Complete,
        Verdict::Release,
        Verdict::Retry { at: at(900) },
        Verdict::Snooze { until: at(900) },
        Verdict::Cancel,
    ];
    for (nth, verdict) in verdicts.into_iter().enumerate() {
        let now = at(10 * i64::try_from(nth).unwrap());
        let sync = start(&store, source, now).await;
        let lease = claim_one(&store, now).await;
        assert!(store.cancel(sync.id, now).await.unwrap());
        store.settle(&lease, settlement(verdict), now).await.unwrap();
        let closed = read(&store, &sync).await;
        assert_eq!((closed.state, closed.jobs.cancelled), (SyncState::Cancelled, 1), "{verdict:?}");
    }
}

async fn a_job_runs_again_when_more_was_found_meanwhile(database: &Database) {
    let (store, source) = begin(database, vec![partition("branches", "1")]).await;
    let sync = start(&store, source, at(1)).await;
    let listing = claim_one(&store, at(2)).await;
    let found = |version: &str| Page {
        partitions: vec![partition("commits", "1")],
        wanted: vec![wanted("1", "main", version, None)],
        ..Page::empty(more(json!(1)))
    };
    store.commit_page(&listing, commit(found("a"), Pass::Incremental, at(3)), at(3)).await.unwrap();
    let reading = claim_one(&store, at(4)).await;
    let done = Page { done: vec!["main".to_owned()], ..Page::empty(caught_up(None)) };
    store.commit_page(&reading, commit_items(done, &[("main", "a")], at(5)), at(5)).await.unwrap();
    store.commit_page(&listing, commit(found("b"), Pass::Incremental, at(6)), at(6)).await.unwrap();
    assert_eq!(claim(&store, at(6)).await, [], "never two active jobs of a partition");
    complete(&store, &reading, at(7)).await;
    let again = claim_one(&store, at(8)).await;
    assert_eq!((again.job, again.attempt), (reading.job, 1));
    assert_eq!(store.due_items(&again, 5).await.unwrap()[0].wanted, "b");
    let done = Page { done: vec!["main".to_owned()], ..Page::empty(caught_up(None)) };
    store.commit_page(&again, commit_items(done, &[("main", "b")], at(9)), at(9)).await.unwrap();
    complete(&store, &again, at(10)).await;
    complete(&store, &listing, at(11)).await;
    let closed = read(&store, &sync).await;
    assert_eq!((closed.state, closed.jobs.completed), (SyncState::Completed, 2));
}

/// A page that ends its job, unless something is still due.
fn last(page: Page, read: &[(&str, &str)], now: i64) -> Commit {
    Commit { ends: Some(settlement(Verdict::Complete)), ..commit_items(page, read, at(now)) }
}

fn found(keys: &[&str]) -> Page {
    Page {
        partitions: vec![partition("commits", "1")],
        wanted: keys.iter().map(|key| wanted("1", key, "a", None)).collect(),
        records: keys.iter().map(|key| branch(1, key, "a")).collect(),
        ..Page::empty(caught_up(None))
    }
}

fn done(key: &str) -> Page {
    Page { done: vec![key.to_owned()], ..Page::empty(caught_up(None)) }
}

async fn the_last_page_ends_its_job_and_the_sync(database: &Database) {
    let (store, source) = begin(database, vec![partition("branches", "1")]).await;
    let sync = start(&store, source, at(1)).await;
    let listing = claim_one(&store, at(2)).await;
    let ended = store.commit_page(&listing, last(found(&["main", "next"]), &[], 3), at(3)).await.unwrap();
    assert!(ended.ended);
    let half = read(&store, &sync).await;
    assert_eq!((half.state, half.jobs.completed, half.records), (SyncState::Running, 1, 2));
    let late = store.settle(&listing, settlement(Verdict::Complete), at(4)).await;
    assert!(matches!(late, Err(StoreError::LeaseLost)), "it has ended: {late:?}");
    let told = event_rows(database, &store).await;
    let told = told.iter().rfind(|it| it.name == "sync.job.completed").unwrap();
    assert_eq!(told.fields["eventsIngested"], 2, "this page's records count: {}", told.fields);

    let reading = claim_one(&store, at(5)).await;
    let first = store.commit_page(&reading, last(done("main"), &[("main", "a")], 6), at(6)).await.unwrap();
    assert!(!first.ended, "the other branch is due");
    let second = store.commit_page(&reading, last(done("next"), &[("next", "a")], 7), at(7)).await.unwrap();
    assert!(second.ended);
    let closed = read(&store, &sync).await;
    assert_eq!((closed.state, closed.jobs.completed), (SyncState::Completed, 2));
    assert_eq!((closed.closed_at, closed.requests), (Some(at(7)), 3));
}

async fn a_page_that_leaves_items_due_ends_nothing(database: &Database) {
    let (store, source) = begin(database, vec![partition("branches", "1")]).await;
    let sync = start(&store, source, at(1)).await;
    let listing = claim_one(&store, at(2)).await;
    store.commit_page(&listing, last(found(&["main"]), &[], 3), at(3)).await.unwrap();
    let reading = claim_one(&store, at(4)).await;
    let walked = Page::empty(more(json!({ "page": 2 })));
    let ended = store.commit_page(&reading, last(walked, &[("main", "a")], 5), at(5)).await.unwrap();
    assert!(!ended.ended);
    // A branch that cannot be read is not due to this job any more.
    let fault = ("gone".to_owned(), "no such commit".to_owned());
    store.fail_item(&reading, "main".to_owned(), fault, 1, at(6)).await.unwrap();
    let ended = store.commit_page(&reading, last(Page::empty(caught_up(None)), &[], 7), at(7)).await.unwrap();
    assert!(ended.ended);
    assert_eq!(read(&store, &sync).await.state, SyncState::Partial);
}

async fn a_last_page_ends_a_job_as_its_end_would_have(database: &Database) {
    let (store, source) = begin(database, two()).await;
    let sync = start(&store, source, at(1)).await;
    let leases = claim(&store, at(2)).await;
    // More was found for the first one, and a person stops the second one.
    database.execute(&format!("update jobs set again = true where id = {}", leases[0].job)).await;
    store.commit_page(&leases[0], last(Page::empty(caught_up(None)), &[], 3), at(3)).await.unwrap();
    let again = claim_one(&store, at(4)).await;
    assert_eq!((again.job, again.attempt), (leases[0].job, 1));
    store.cancel(sync.id, at(5)).await.unwrap();
    for lease in [&again, &leases[1]] {
        let page = store.commit_page(lease, last(Page::empty(caught_up(None)), &[], 6), at(6)).await.unwrap();
        assert!(page.ended);
    }
    let closed = read(&store, &sync).await;
    assert_eq!((closed.state, closed.jobs.cancelled), (SyncState::Cancelled, 2));
    // Whoever lost the job ends nothing.
    let stale = store.commit_page(&leases[0], last(Page::empty(caught_up(None)), &[], 7), at(7)).await;
    assert!(matches!(stale, Err(StoreError::LeaseLost)), "{stale:?}");
}

async fn a_failed_item_makes_the_sync_partial(database: &Database) {
    let (store, source) = begin(database, vec![partition("branches", "1")]).await;
    let sync = start(&store, source, at(1)).await;
    let listing = claim_one(&store, at(2)).await;
    let found = Page {
        partitions: vec![partition("commits", "1")],
        wanted: vec![wanted("1", "main", "a", None)],
        ..Page::empty(caught_up(None))
    };
    store.commit_page(&listing, commit(found, Pass::Incremental, at(3)), at(3)).await.unwrap();
    complete(&store, &listing, at(4)).await;
    let lease = claim_one(&store, at(5)).await;
    let fault = ("gone".to_owned(), "no such commit".to_owned());
    store.fail_item(&lease, "main".to_owned(), fault, 2, at(6)).await.unwrap();
    assert_eq!(store.due_items(&lease, 5).await.unwrap(), [], "not due again for this job");
    complete(&store, &lease, at(7)).await;
    let closed = read(&store, &sync).await;
    assert_eq!((closed.state, closed.jobs.completed, closed.errors_total), (SyncState::Partial, 2, 1));
    let error = &closed.errors[0];
    assert_eq!((error.item.as_deref(), error.title.as_deref()), (Some("main"), Some("toy/1")));
    assert_eq!(
        (error.code.as_str(), error.detail.as_str(), error.at),
        ("gone", "no such commit", Some(at(7)))
    );
    // The next sync tries it again.
    start(&store, source, at(100)).await;
    let leases = claim(&store, at(101)).await;
    let lease = leases.iter().find(|it| it.stream == "commits").unwrap();
    assert_eq!(store.due_items(lease, 5).await.unwrap().len(), 1);
}

async fn an_invalid_partition_is_probed_once_a_day(database: &Database) {
    let (store, source) = begin(database, two()).await;
    let sync = start(&store, source, at(0)).await;
    let leases = claim(&store, at(1)).await;
    complete(&store, &leases[0], at(2)).await;
    let gone = failed(Verdict::Discard { invalidates: true }, "gone");
    store.settle(&leases[1], gone, at(3)).await.unwrap();
    assert_eq!(read(&store, &sync).await.state, SyncState::Partial);
    assert_eq!(status(&store).await.invalid_partitions, 1);
    let day = 24 * 60 * 60;
    assert_eq!(jobs_of_next(&store, source, Trigger::Cron, 100).await, 1);
    assert_eq!(jobs_of_next(&store, source, Trigger::Cron, day + 2).await, 1);
    assert_eq!(jobs_of_next(&store, source, Trigger::Manual, day + 2).await, 2, "a person may always ask");
    // That one completed, so it is valid again.
    assert_eq!(status(&store).await.invalid_partitions, 0);
}

async fn jobs_of_next(store: &Store, source: domain::id::SourceId, trigger: Trigger, now: i64) -> u64 {
    let Enqueued::Started { jobs, .. } = store.enqueue(request(source, trigger), at(now)).await.unwrap()
    else {
        panic!("another sync is running");
    };
    for lease in claim(store, at(now)).await {
        complete(store, &lease, at(now)).await;
    }
    jobs
}

async fn a_fresh_partition_is_not_read_again_too_soon(database: &Database) {
    let hourly =
        Partition { refresh: Some(jiff::SignedDuration::from_hours(1)), ..partition("projects", "all") };
    let (store, source) = begin(database, vec![hourly, partition("branches", "1")]).await;
    assert_eq!(jobs_of_next(&store, source, Trigger::Cron, 0).await, 2);
    assert_eq!(jobs_of_next(&store, source, Trigger::Cron, 3599).await, 1);
    assert_eq!(jobs_of_next(&store, source, Trigger::Cron, 3600).await, 2);
}

async fn verdicts_that_keep_the_lease_are_refused(database: &Database) {
    let (store, source) = begin(database, two()).await;
    let sync = start(&store, source, at(1)).await;
    let lease = claim(&store, at(2)).await.remove(0);
    for verdict in [Verdict::StartOver, Verdict::WaitHere { until: at(9) }] {
        let refused = store.settle(&lease, settlement(verdict), at(3)).await;
        assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
    }
    let jobs = store.jobs(sync.id).await.unwrap();
    assert!(jobs.iter().all(|it| it.state == JobState::Running));
}

async fn two_jobs_that_end_at_the_same_time_close_the_sync_once(database: &Database) {
    let (store, source) =
        begin(database, (0..8).map(|it| partition("branches", &it.to_string())).collect()).await;
    for round in 0..5 {
        let sync = start(&store, source, at(round * 10)).await;
        let mut ends = tokio::task::JoinSet::new();
        for lease in claim(&store, at(round * 10)).await {
            let store = store.clone();
            ends.spawn(async move { complete(&store, &lease, at(round * 10 + 1)).await });
        }
        ends.join_all().await;
        assert_eq!(read(&store, &sync).await.state, SyncState::Completed);
    }
    let closed = events(database, &store).await.iter().filter(|it| *it == "sync.closed").count();
    assert_eq!(closed, 5);
}
