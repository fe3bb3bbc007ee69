//! Turns: who is claimed next, and who gives way after a page. Sources and tenants share alike, people come first, and
//! nobody waits for ever.

use domain::id::{SourceId, TenantId};
use domain::job::JobState;
use domain::page::Page;
use domain::policy::Verdict;
use domain::policy::ledger::Class;
use domain::trigger::Trigger;
use jiff::Timestamp;
use serde_json::json;
use store::{Enqueued, Lease, NewSource, Others, Pass, Progress, Rivals, Store};

use crate::database::Database;
use crate::world::*;

for_each_database!(
    a_small_source_is_claimed_before_the_rest_of_a_huge_one,
    many_sources_of_one_tenant_have_the_turns_of_one,
    a_job_gives_way_after_a_page_and_goes_on_where_it_was,
    a_job_gives_way_only_to_those_who_can_be_served,
    what_a_page_finds_stands_behind_what_its_source_has,
    a_person_comes_first_and_nobody_starves,
    a_job_that_runs_once_more_goes_behind_those_who_wait,
);

async fn add(store: &Store, tenant: i64, name: &str, partitions: usize) -> SourceId {
    let roots = (0..partitions).map(|it| partition("branches", &it.to_string())).collect();
    let new = NewSource { tenant: TenantId(tenant), ..new_source(name, roots) };
    store.add_source(new, &vault(), at(0)).await.unwrap()
}

async fn begin_sync(store: &Store, source: SourceId, trigger: Trigger) {
    let begun = store.enqueue(request(source, trigger), at(1)).await.unwrap();
    assert!(matches!(begun, Enqueued::Started { .. }), "{begun:?}");
}

/// Claims the one job that is next.
async fn next(store: &Store, now: Timestamp) -> Lease {
    store.claim(claim_of("a", 1), now).await.unwrap().remove(0)
}

/// Commits a page that leads on, and looks who else waits.
async fn page_of(store: &Store, lease: &Lease, nth: i64, rivals: Rivals) -> Progress {
    let page = Page::empty(more(json!(nth)));
    let commit = store::Commit { rivals: Some(rivals), ..commit(page, Pass::Incremental, at(nth)) };
    store.commit_page(lease, commit, at(nth)).await.unwrap()
}

/// Reads pages like a single worker, `count` of them, and returns whose they were. Every job is longer than that.
async fn read(store: &Store, count: i64) -> Vec<SourceId> {
    let mut order = Vec::new();
    let mut held: Option<Lease> = None;
    for nth in 0..count {
        let mut lease = match held.take() {
            Some(lease) => lease,
            None => next(store, at(10)).await,
        };
        order.push(lease.source);
        let page = Page::empty(more(json!(nth)));
        let page =
            store::Commit { rivals: Some(Rivals::default()), ..commit(page, Pass::Incremental, at(10)) };
        let progress = store.commit_page(&lease, page, at(10)).await.unwrap();
        lease.turn = progress.turn;
        match progress.others {
            Others::Ahead => store.settle(&lease, settlement(Verdict::Yield), at(10)).await.unwrap(),
            Others::Later | Others::None => held = Some(lease),
        }
    }
    if let Some(lease) = held {
        store.settle(&lease, settlement(Verdict::Release), at(10)).await.unwrap();
    }
    order
}

async fn a_small_source_is_claimed_before_the_rest_of_a_huge_one(database: &Database) {
    let store = open(database).await;
    let (huge, small) = (add(&store, 1, "huge", 50).await, add(&store, 1, "small", 1).await);
    begin_sync(&store, huge, Trigger::Cron).await;
    for _ in 0..20 {
        let lease = next(&store, at(2)).await;
        complete(&store, &lease, at(2)).await;
    }
    let running = [next(&store, at(2)).await, next(&store, at(2)).await];
    begin_sync(&store, small, Trigger::Cron).await;
    assert_eq!(running.map(|it| it.source), [huge, huge]);
    assert_eq!(next(&store, at(3)).await.source, small);
    assert_eq!(next(&store, at(3)).await.source, huge);
}

async fn many_sources_of_one_tenant_have_the_turns_of_one(database: &Database) {
    let store = open(database).await;
    let other = store.create_tenant("other".to_owned(), at(0)).await.unwrap().id;
    let mut many = Vec::new();
    for nth in 0..40 {
        many.push(add(&store, 1, &format!("source {nth}"), 1).await);
    }
    let few = add(&store, other.0, "few", 1).await;
    for source in &many {
        begin_sync(&store, *source, Trigger::Cron).await;
    }
    assert_eq!(read(&store, 10).await.len(), 10);
    begin_sync(&store, few, Trigger::Cron).await;
    let order = read(&store, 60).await;
    let first = order.iter().position(|it| *it == few);
    assert!(first.is_some_and(|it| it <= 1), "{first:?}");
    let of_few = order.iter().filter(|it| **it == few).count();
    assert!(
        (25..=35).contains(&of_few),
        "one tenant has {of_few} of 60 pages, the other's 40 sources the rest"
    );
    let read_of_many = many.iter().filter(|it| order.contains(it)).count();
    assert!(read_of_many >= 24, "and those take turns: {read_of_many} had one");
}

async fn a_job_gives_way_after_a_page_and_goes_on_where_it_was(database: &Database) {
    let store = open(database).await;
    let (huge, small) = (add(&store, 1, "huge", 1).await, add(&store, 1, "small", 1).await);
    begin_sync(&store, huge, Trigger::Cron).await;
    let lease = next(&store, at(2)).await;
    let alone = page_of(&store, &lease, 3, Rivals::default()).await;
    assert_eq!((alone.others, alone.turn), (Others::None, lease.turn), "nobody waits");
    begin_sync(&store, small, Trigger::Cron).await;
    let overtaken = page_of(&store, &lease, 4, Rivals::default()).await;
    assert_eq!(overtaken.others, Others::Ahead);
    store.settle(&lease, settlement(Verdict::Yield), at(5)).await.unwrap();
    let jobs = store.jobs(lease.sync).await.unwrap();
    assert_eq!((jobs[0].state, jobs[0].attempt, jobs[0].pages), (JobState::Available, 0, 2));
    let first = next(&store, at(6)).await;
    assert_eq!(first.source, small);
    complete(&store, &first, at(7)).await;
    let again = next(&store, at(8)).await;
    assert_eq!((again.job, again.attempt, again.generation), (lease.job, 1, lease.generation + 1));
    assert!(again.turn.at > lease.turn.at, "{again:?}");
    assert_eq!(store.open_job(&again).await.unwrap().cursor, Some(cursor(json!(4))));
    // Whoever held it before writes no more.
    let late = store.settle(&lease, settlement(Verdict::Yield), at(9)).await;
    assert!(matches!(late, Err(store::StoreError::LeaseLost)), "{late:?}");
}

async fn a_job_gives_way_only_to_those_who_can_be_served(database: &Database) {
    let store = open(database).await;
    let (huge, small) = (add(&store, 1, "huge", 9).await, add(&store, 1, "small", 1).await);
    begin_sync(&store, huge, Trigger::Cron).await;
    let lease = next(&store, at(2)).await;
    let own = page_of(&store, &lease, 3, Rivals::default()).await;
    assert_eq!(own.others, Others::None, "its own source's other jobs are no reason");
    begin_sync(&store, small, Trigger::Cron).await;
    let elsewhere = Rivals { sources: Some([huge].into()), except: Vec::new() };
    assert_eq!(page_of(&store, &lease, 4, elsewhere).await.others, Others::None, "not claimed here");
    let silent = Rivals { sources: None, except: vec![small] };
    assert_eq!(page_of(&store, &lease, 5, silent).await.others, Others::None, "its provider is silent");
    let blocked = next(&store, at(6)).await;
    assert_eq!(blocked.source, small);
    store.settle(&blocked, settlement(Verdict::Snooze { until: at(50) }), at(7)).await.unwrap();
    assert_eq!(page_of(&store, &lease, 8, Rivals::default()).await.others, Others::None, "not due");
    assert_eq!(page_of(&store, &lease, 50, Rivals::default()).await.others, Others::Ahead);
}

async fn what_a_page_finds_stands_behind_what_its_source_has(database: &Database) {
    let (store, source) =
        begin(database, vec![partition("projects", "all"), partition("projects", "more")]).await;
    start(&store, source, at(1)).await;
    let small = add(&store, 1, "small", 1).await;
    let lease = next(&store, at(2)).await;
    let partitions = (0..9).map(|it| partition("branches", &it.to_string())).collect();
    let found = Page { partitions, ..Page::empty(more(json!(1))) };
    store.commit_page(&lease, commit(found, Pass::Incremental, at(3)), at(3)).await.unwrap();
    begin_sync(&store, small, Trigger::Cron).await;
    let order: Vec<_> = claim(&store, at(4)).await.into_iter().map(|it| (it.source, it.partition)).collect();
    assert_eq!(order.len(), 11);
    assert_eq!(order[0].0, small);
    let keys: Vec<_> = order[1..].iter().map(|it| it.1.as_str()).collect();
    assert_eq!(keys, ["more", "0", "1", "2", "3", "4", "5", "6", "7", "8"]);
}

async fn a_person_comes_first_and_nobody_starves(database: &Database) {
    let store = open(database).await;
    let mut scheduled = Vec::new();
    for nth in 0..5 {
        let source = add(&store, 1, &format!("cron {nth}"), 1).await;
        begin_sync(&store, source, Trigger::Cron).await;
        scheduled.push(source);
    }
    let (hint, person) = (add(&store, 1, "hint", 1).await, add(&store, 1, "person", 3).await);
    begin_sync(&store, hint, Trigger::Webhook).await;
    begin_sync(&store, person, Trigger::Manual).await;
    let order: Vec<_> = claim(&store, at(2)).await.into_iter().map(|it| (it.source, it.turn.class)).collect();
    assert_eq!(order[..4], [person, person, person, hint].map(|it| (it, store_class(it, hint, person))));
    assert_eq!(order[4..].iter().map(|it| it.0).collect::<Vec<_>>(), scheduled);
    store.rescue(&["a".to_owned()], at(3)).await.unwrap();
    // The person's pages never end. The hint's come after 256 of them, and then one for two of theirs; the schedules'
    // after 512 of them.
    let order = read(&store, 256 + 256 + 128 + 60).await;
    let of = |sources: &[SourceId]| order.iter().filter(|it| sources.contains(it)).count();
    assert!(
        of(&[person]) >= 500 && of(&[hint]) >= 120 && of(&scheduled) >= 5,
        "{} {} {}",
        of(&[person]),
        of(&[hint]),
        of(&scheduled)
    );
}

fn store_class(source: SourceId, hint: SourceId, person: SourceId) -> Class {
    match source {
        it if it == person => Class::Human,
        it if it == hint => Class::Webhook,
        _ => Class::Cron,
    }
}

async fn a_job_that_runs_once_more_goes_behind_those_who_wait(database: &Database) {
    let store = open(database).await;
    let (busy, small) = (add(&store, 1, "busy", 1).await, add(&store, 1, "small", 1).await);
    begin_sync(&store, busy, Trigger::Cron).await;
    let lease = next(&store, at(2)).await;
    begin_sync(&store, small, Trigger::Cron).await;
    database.execute("update jobs set again = true where state = 'running'").await;
    complete(&store, &lease, at(3)).await;
    let order: Vec<_> = claim(&store, at(4)).await.into_iter().map(|it| it.source).collect();
    assert_eq!(order, [small, busy]);
}
