//! Claims, leases and rescues: a job is held by one worker at a time, whatever happens to the worker.

use std::collections::BTreeSet;

use domain::job::{JobState, SyncState};
use domain::page::Page;
use domain::policy::Verdict;
use domain::trigger::Trigger;
use jiff::SignedDuration;
use serde_json::json;
use store::{Beat, Enqueued, Pass, RESCUES_MAX, Signals};
use tokio::task::JoinSet;

use crate::database::Database;
use crate::world::*;

for_each_database!(
    what_is_ready_is_claimed_also_after_the_clock_was_set_back,
    two_claimers_never_share_a_job,
    many_requests_start_one_sync,
    a_listing_and_a_request_make_one_active_job,
    an_expired_lease_is_rescued,
    a_dead_process_is_rescued_at_once,
    a_job_that_kills_its_worker_is_given_up,
    a_heartbeat_holds_a_job_for_longer,
    a_job_waits_for_its_time,
    claims_keep_to_the_sources_asked_for,
    listings_are_claimed_before_items,
    a_waiter_is_woken_by_a_request,
    a_job_that_starts_tells_how_many_partitions_its_sync_has,
);

fn many(count: usize) -> Vec<domain::page::Partition> {
    (0..count).map(|it| partition("branches", &it.to_string())).collect()
}

async fn two_claimers_never_share_a_job(database: &Database) {
    let (store, source) = begin(database, many(60)).await;
    let other = open(database).await;
    start(&store, source, at(1)).await;
    let mut claims = JoinSet::new();
    for worker in 0..8 {
        let store = if worker % 2 == 0 { store.clone() } else { other.clone() };
        claims.spawn(async move {
            let mut taken = Vec::new();
            loop {
                let leases = store.claim(claim_of(&worker.to_string(), 3), at(2)).await.unwrap();
                if leases.is_empty() {
                    return taken;
                }
                taken.extend(leases.into_iter().map(|it| (it.job, it.generation)));
            }
        });
    }
    let taken: Vec<_> = claims.join_all().await.into_iter().flatten().collect();
    // PostgreSQL may pass over a row that another claim has just let go of; nobody may have it twice.
    let jobs: BTreeSet<_> = taken.iter().map(|it| it.0).collect();
    assert_eq!(jobs.len(), taken.len(), "a job was claimed twice");
    let rest = claim(&store, at(3)).await.len();
    assert_eq!(jobs.len() + rest, 60);
}

async fn many_requests_start_one_sync(database: &Database) {
    let (store, source) = begin(database, many(3)).await;
    let other = open(database).await;
    let mut requests = JoinSet::new();
    for nth in 0..12 {
        let store = if nth % 2 == 0 { store.clone() } else { other.clone() };
        requests.spawn(async move { store.enqueue(request(source, Trigger::Manual), at(1)).await.unwrap() });
    }
    let answers = requests.join_all().await;
    let started = answers.iter().filter(|it| matches!(it, Enqueued::Started { .. })).count();
    assert_eq!(started, 1, "{answers:?}");
    let syncs = store.syncs(None, None, 10).await.unwrap();
    assert_eq!((syncs.len(), syncs[0].jobs.total), (1, 3));
}

async fn a_listing_and_a_request_make_one_active_job(database: &Database) {
    let (store, source) =
        begin(database, vec![partition("projects", "all"), partition("projects", "more")]).await;
    start(&store, source, at(1)).await;
    let mut commits = JoinSet::new();
    for lease in claim(&store, at(2)).await {
        let store = store.clone();
        let found = Page { partitions: many(20), ..Page::empty(more(json!(1))) };
        commits.spawn(async move {
            store.commit_page(&lease, commit(found, Pass::Incremental, at(3)), at(3)).await.unwrap();
        });
    }
    commits.join_all().await;
    assert_eq!(claim(&store, at(4)).await.len(), 20);
}

async fn an_expired_lease_is_rescued(database: &Database) {
    let (store, source) = begin(database, many(1)).await;
    start(&store, source, at(1)).await;
    let lease = claim_one(&store, at(2)).await;
    assert_eq!(store.next_due(None).await.unwrap(), Some(at(62)));
    assert_eq!(store.rescue(&[], at(61)).await.unwrap(), 0);
    assert_eq!(store.rescue(&[], at(62)).await.unwrap(), 1);
    let again = claim_one(&store, at(63)).await;
    assert_eq!((again.job, again.generation), (lease.job, lease.generation + 1));
    assert_eq!(again.attempt, 1, "a process that died is not the job's fault");
    let signals = store.signals(&[(lease.job, lease.generation)]).await.unwrap();
    assert_eq!(signals, Signals { lost: vec![lease.job], cancelled: vec![] });
    let signals = store.signals(&[(again.job, again.generation)]).await.unwrap();
    assert_eq!(signals, Signals::default());
}

async fn a_dead_process_is_rescued_at_once(database: &Database) {
    let (store, source) = begin(database, many(2)).await;
    start(&store, source, at(1)).await;
    store.claim(claim_of("dead", 1), at(2)).await.unwrap();
    store.claim(claim_of("alive", 1), at(2)).await.unwrap();
    assert_eq!(store.nodes(at(5)).await.unwrap(), ["alive", "dead"]);
    assert_eq!(store.rescue(&["dead".to_owned()], at(3)).await.unwrap(), 1);
    assert_eq!(store.nodes(at(5)).await.unwrap(), ["alive"]);
}

async fn a_job_that_kills_its_worker_is_given_up(database: &Database) {
    let (store, source) = begin(database, many(1)).await;
    let sync = start(&store, source, at(1)).await;
    for nth in 1..=RESCUES_MAX {
        claim_one(&store, at(100 * nth)).await;
        assert_eq!(store.rescue(&[], at(100 * nth + 60)).await.unwrap(), 1);
    }
    claim_one(&store, at(100_000)).await;
    assert_eq!(store.rescue(&[], at(100_060)).await.unwrap(), 1);
    let sync = store.sync(sync.id).await.unwrap().unwrap();
    assert_eq!((sync.state, sync.jobs.discarded), (SyncState::Failed, 1));
    assert_eq!(sync.errors[0].code, "crashed");
}

async fn a_heartbeat_holds_a_job_for_longer(database: &Database) {
    let (store, source) = begin(database, many(2)).await;
    start(&store, source, at(1)).await;
    let leases = claim(&store, at(2)).await;
    let beat = |lease: &store::Lease, generation| Beat { job: lease.job, generation, waits: false };
    let held = leases.iter().map(|it| beat(it, it.generation)).collect();
    store.heartbeat(held, at(200), at(50)).await.unwrap();
    assert_eq!(store.rescue(&[], at(100)).await.unwrap(), 0);
    // An older claim's heartbeat changes nothing.
    let older = beat(&leases[0], leases[0].generation - 1);
    store.heartbeat(vec![older], at(900), at(100)).await.unwrap();
    assert_eq!(store.rescue(&[], at(200)).await.unwrap(), 2);
}

async fn a_job_waits_for_its_time(database: &Database) {
    let (store, source) = begin(database, many(1)).await;
    start(&store, source, at(1)).await;
    let lease = claim_one(&store, at(2)).await;
    let retry = failed(Verdict::Retry { at: at(10) }, "timeout");
    store.settle(&lease, retry, at(3)).await.unwrap();
    assert_eq!(claim(&store, at(9)).await, []);
    assert_eq!(store.next_due(None).await.unwrap(), Some(at(10)));
    let lease = claim_one(&store, at(10)).await;
    assert_eq!(lease.attempt, 2);
    let page = commit(Page::empty(more(json!(1))), Pass::Incremental, at(11));
    store.commit_page(&lease, page, at(11)).await.unwrap();
    store.settle(&lease, settlement(Verdict::Release), at(12)).await.unwrap();
    assert_eq!(claim_one(&store, at(12)).await.attempt, 1, "progress forgives earlier attempts");
}

async fn claims_keep_to_the_sources_asked_for(database: &Database) {
    let (store, source) = begin(database, many(1)).await;
    let other = store.add_source(new_source("other", many(2)), &vault(), at(0)).await.unwrap();
    start(&store, source, at(1)).await;
    start(&store, other, at(5)).await;
    assert_eq!(store.next_due(Some(&[other])).await.unwrap(), Some(at(5)));
    let only = store::Claim { sources: Some(vec![other]), ..claim_of("a", 10) };
    let leases = store.claim(only, at(6)).await.unwrap();
    assert_eq!(leases.iter().map(|it| it.source).collect::<Vec<_>>(), [other, other]);
    let none = store::Claim { sources: Some(vec![]), ..claim_of("a", 10) };
    assert_eq!(store.claim(none, at(6)).await.unwrap(), []);
    let neither = store::Claim { sources: Some(vec![source]), except: vec![source], ..claim_of("a", 10) };
    assert_eq!(store.claim(neither, at(6)).await.unwrap(), []);
    let others = store::Claim { except: vec![other, other], ..claim_of("a", 10) };
    let leases = store.claim(others, at(6)).await.unwrap();
    assert_eq!(leases.iter().map(|it| it.source).collect::<Vec<_>>(), [source]);
}

async fn listings_are_claimed_before_items(database: &Database) {
    let roots = vec![partition("branches", "1"), partition("commits", "1"), partition("projects", "all")];
    let (store, source) = begin(database, roots).await;
    start(&store, source, at(1)).await;
    let order: Vec<_> = claim(&store, at(2)).await.into_iter().map(|it| it.stream).collect();
    assert_eq!(order, ["projects", "branches"], "and nothing is due in the commits");
}

async fn a_waiter_is_woken_by_a_request(database: &Database) {
    let (store, source) = begin(database, many(1)).await;
    // Another process, where the database can tell it; the same one otherwise.
    let other = if database.is_sqlite() { store.clone() } else { open(database).await };
    let mut wakeups = other.wakeups();
    if !database.is_sqlite() {
        // The first one only says that it listens now.
        wakeups.wait().await;
    }
    start(&store, source, at(1)).await;
    let waited = tokio::time::timeout(std::time::Duration::from_secs(20), wakeups.wait()).await;
    waited.expect("a request wakes whoever waits");
    let jobs = other.jobs(store.syncs(None, None, 1).await.unwrap()[0].id).await.unwrap();
    assert_eq!(jobs[0].state, JobState::Available);
    assert_eq!(SignedDuration::ZERO, jobs[0].not_before.duration_since(at(1)));
}

async fn a_job_that_starts_tells_how_many_partitions_its_sync_has(database: &Database) {
    // More than are counted for each job: such a count may be a second old.
    let (store, source) = begin(database, many(150)).await;
    start(&store, source, at(1)).await;
    // Past the store: on PostgreSQL it shows no event as long as another test writes.
    let told = async |now| {
        store.claim(claim_of("me", 1), now).await.unwrap();
        let last = "select cast(fields as text) from events where name = 'sync.job.started' order by id desc limit 1";
        let fields: serde_json::Value = serde_json::from_str(&database.lines(last).await[0]).unwrap();
        fields["repoCount"].as_u64().unwrap()
    };
    assert_eq!((told(at(2)).await, told(at(2)).await), (150, 150));
    // A listing finds one more.
    database
        .execute(
            "insert into jobs (sync_id, source_id, stream_group, stream, partition, lane, state, priority, not_before,
                 attempt, rescues, generation, again, cancel_requested, pages, records, rows_written, requests,
                 created_at)
             select sync_id, source_id, stream_group, stream, 'found', lane, state, priority, not_before, attempt,
                 rescues, generation, again, cancel_requested, pages, records, rows_written, requests, created_at
             from jobs where state = 'available' limit 1",
        )
        .await;
    assert_eq!(told(at(4)).await, 151);
}

async fn what_is_ready_is_claimed_also_after_the_clock_was_set_back(database: &Database) {
    let (store, source) = begin(database, vec![partition("projects", "all")]).await;
    start(&store, source, at(10_000)).await;
    assert_eq!(claim(&store, at(10)).await.len(), 1);
}
