//! Schedules: a tick is one process's, and a page of them is not all of them.

use domain::id::{SourceId, TenantId};
use domain::policy::schedule::{Own, next_tick};
use domain::trigger::Trigger;
use jiff::{SignedDuration, Timestamp};
use store::{Enqueue, Enqueued, NewSource, Plan, Refuse, SecretChange, SourceChange, Store, Tick};
use tokio::task::JoinSet;

use crate::database::Database;
use crate::world::*;

for_each_database!(
    a_tick_is_had_once,
    a_tick_that_meets_its_sync_is_counted,
    what_is_off_is_not_due,
    a_change_does_not_undo_a_tick,
    every_page_is_scheduled,
    only_a_tick_that_no_clock_could_set_is_pulled_in,
);

const QUARTER: SignedDuration = SignedDuration::from_mins(15);

fn plan(source: SourceId, next_at: Timestamp) -> Plan {
    Plan { source, group: "code".to_owned(), own: None, interval: QUARTER, next_at, was: None }
}

fn tick(due: i64, next: i64) -> Tick {
    Tick { due_at: at(due), next_at: at(next), interval: QUARTER }
}

fn ticked(source: SourceId, tick: Tick) -> Enqueue {
    Enqueue { tick: Some(tick), ..request(source, Trigger::Cron) }
}

async fn due(store: &Store, now: i64) -> Vec<SourceId> {
    store.due_schedules(None, 100, at(now)).await.unwrap().into_iter().map(|it| it.source).collect()
}

async fn a_tick_is_had_once(database: &Database) {
    let (store, source) = begin(database, vec![partition("projects", "all")]).await;
    store.plan(vec![plan(source, at(10))]).await.unwrap();
    assert_eq!(due(&store, 9).await, []);
    assert_eq!(due(&store, 10).await, [source]);
    assert_eq!(store.next_tick().await.unwrap(), Some(at(10)));
    let mut processes = JoinSet::new();
    for _ in 0..6 {
        let store = open(database).await;
        processes.spawn(async move { store.enqueue(ticked(source, tick(10, 900)), at(11)).await.unwrap() });
    }
    let ended = processes.join_all().await;
    let started = ended.iter().filter(|it| matches!(it, Enqueued::Started { .. })).count();
    let taken = ended.iter().filter(|it| matches!(it, Enqueued::TickTaken)).count();
    assert_eq!((started, taken), (1, 5), "{ended:?}");
    let row = &store.schedules(None, None, None, 10).await.unwrap()[0];
    assert_eq!((row.next_at, row.last_tick_at, row.skipped), (at(900), Some(at(11)), 0));
    assert_eq!(store.syncs(None, None, 10).await.unwrap().len(), 1);
    assert_eq!(due(&store, 899).await, []);
}

async fn a_tick_that_meets_its_sync_is_counted(database: &Database) {
    let (store, source) = begin(database, vec![partition("projects", "all")]).await;
    store.plan(vec![plan(source, at(10))]).await.unwrap();
    start(&store, source, at(1)).await;
    // The look came before the sync began: the index decides, and the tick is used up.
    let met = store.enqueue(ticked(source, tick(10, 900)), at(11)).await.unwrap();
    assert!(matches!(met, Enqueued::Active { .. }), "{met:?}");
    let row = &store.schedules(None, Some(source), None, 10).await.unwrap()[0];
    assert_eq!((row.next_at, row.skipped, row.last_skipped_at), (at(900), 1, Some(at(11))));
    // The look saw it.
    let decision = request(source, Trigger::Cron).decision;
    let refused = |due, next| Refuse {
        source,
        group: &GROUP,
        trigger: Trigger::Cron,
        decision,
        tick: Some((tick(due, next), true)),
    };
    assert!(store.refuse(refused(900, 1800), at(901)).await.unwrap());
    assert!(!store.refuse(refused(900, 1800), at(902)).await.unwrap(), "it is another process's");
    let row = &store.schedules(None, Some(source), None, 10).await.unwrap()[0];
    assert_eq!((row.next_at, row.skipped, row.last_skipped_at), (at(1800), 2, Some(at(901))));
}

async fn what_is_off_is_not_due(database: &Database) {
    let (store, source) = begin(database, vec![partition("projects", "all")]).await;
    store.plan(vec![plan(source, at(10))]).await.unwrap();
    let set = |own| Plan { own: Some(own), was: Some(at(10)), ..plan(source, at(10)) };
    store.plan(vec![set(Own::Off)]).await.unwrap();
    assert_eq!((due(&store, 20).await, store.next_tick().await.unwrap()), (vec![], None));
    let taken = store.enqueue(ticked(source, tick(10, 900)), at(11)).await.unwrap();
    assert_eq!(taken, Enqueued::TickTaken, "it was switched off since it was listed");
    store.plan(vec![set(Own::Every(QUARTER))]).await.unwrap();
    assert_eq!(due(&store, 20).await, [source]);
    assert_eq!(store.schedules(None, None, None, 10).await.unwrap()[0].own, Own::Every(QUARTER));
    let row = store.source_by_id(source).await.unwrap().unwrap();
    let switched = |enabled| SourceChange {
        settings: row.settings.clone(),
        enabled,
        secret: SecretChange::Keep,
        roots: vec![partition("projects", "all")],
    };
    store.update_source(source, switched(false), &vault(), at(12)).await.unwrap();
    assert_eq!(due(&store, 20).await, []);
    store.update_source(source, switched(true), &vault(), at(13)).await.unwrap();
    assert_eq!(due(&store, 20).await, [source]);
    store.revoke_tenant(TenantId(1), at(14)).await.unwrap();
    assert_eq!((due(&store, 20).await, store.next_tick().await.unwrap()), (vec![], None));
    assert!(!store.schedules(None, None, None, 10).await.unwrap()[0].enabled);
}

async fn a_change_does_not_undo_a_tick(database: &Database) {
    let (store, source) = begin(database, vec![partition("projects", "all")]).await;
    assert_eq!(store.plan(vec![plan(source, at(10))]).await.unwrap(), 1);
    assert_eq!(store.plan(vec![plan(source, at(99))]).await.unwrap(), 0, "it is there already");
    store.enqueue(ticked(source, tick(10, 900)), at(11)).await.unwrap();
    let late = Plan { own: Some(Own::Off), was: Some(at(10)), ..plan(source, at(50)) };
    assert_eq!(store.plan(vec![late]).await.unwrap(), 0, "it ticked since it was read");
    let row = &store.schedules(None, None, None, 10).await.unwrap()[0];
    assert_eq!((row.next_at, row.own), (at(900), Own::Default));
    let removed = SourceId(99);
    assert_eq!(store.plan(vec![plan(removed, at(10))]).await.unwrap(), 0, "of a source that is gone");
}

async fn every_page_is_scheduled(database: &Database) {
    let store = open(database).await;
    let mut sources = Vec::new();
    for tenant in 0..3 {
        let tenant = store.create_tenant(format!("tenant-{tenant}"), at(0)).await.unwrap().id;
        for nth in 0..4 {
            let new = NewSource { tenant, ..new_source(&format!("source-{nth}"), vec![]) };
            sources.push(store.add_source(new, &vault(), at(0)).await.unwrap());
        }
    }
    let mut unscheduled = Vec::new();
    loop {
        let after = unscheduled.last().copied().unwrap_or(SourceId(0));
        let page = store.unscheduled(after, 5).await.unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.iter().all(|it| it.1 == "toy"));
        unscheduled.extend(page.into_iter().map(|it| it.0));
    }
    assert_eq!(unscheduled, sources);
    let plans = sources.iter().map(|it| plan(*it, at(10))).collect();
    assert_eq!(store.plan(plans).await.unwrap(), 12);
    assert_eq!(store.unscheduled(SourceId(0), 5).await.unwrap(), []);
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = store.due_schedules(after, 5, at(10)).await.unwrap();
        after = page.last().map(|it| (it.source, it.group.clone()));
        if page.is_empty() {
            break;
        }
        found.extend(page.into_iter().map(|it| it.source));
    }
    assert_eq!(found, sources);
}

async fn only_a_tick_that_no_clock_could_set_is_pulled_in(database: &Database) {
    let (store, source) = begin(database, vec![partition("projects", "all")]).await;
    // The farthest that a first tick can be: just too near to the grid's next line, so it is the one after.
    let place = u64::try_from((at(10) + QUARTER / 2).as_millisecond() - 1).unwrap();
    let next_at = next_tick(QUARTER, place, Some(at(10)), at(10));
    assert!(next_at > at(10) + QUARTER, "{next_at}");
    store.plan(vec![plan(source, next_at)]).await.unwrap();
    assert_eq!(store.wake_blocked(at(3600), at(10)).await.unwrap().pulled_in, 0);
    assert_eq!(store.next_tick().await.unwrap(), Some(next_at));
    // Two hours more: the clock that set it was wrong.
    let hours = SignedDuration::from_hours(2);
    assert_eq!(store.wake_blocked(at(3600), at(10) - hours).await.unwrap().pulled_in, 1);
    assert_eq!(store.next_tick().await.unwrap(), Some(at(10) - hours));
}
