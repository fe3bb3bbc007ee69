//! Censuses: who is counted, when again, what a census may mark, and which answers it waits for.
//!
//! Never asks a provider: what is listed and judged is told here.

use domain::census::{Absence, Census, CensusState, Counted, Judged};
use domain::id::{SourceId, TenantId};
use domain::job::Lane;
use domain::page::Page;
use domain::policy::Verdict;
use domain::table::BRANCHES;
use jiff::Timestamp;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use store::{CensusDue, CensusRow, Lease, Pass, SourceChange, Store};
use tokio::task::JoinSet;

use crate::bare;
use crate::database::Database;
use crate::world::*;

for_each_database!(
    nobody_is_counted_whose_syncs_are_refused,
    a_partition_is_counted_once_at_a_time,
    what_was_seen_again_is_not_said_to_be_marked,
    more_than_is_looked_up_waits_for_a_person,
    the_next_census_looks_up_others_first,
    one_that_failed_is_begun_anew_after_some_hours,
    a_question_stays_until_it_is_answered,
);

const WEEK_S: i64 = 7 * 24 * 3600;

/// A partition of so many branches, all of them read.
async fn with_branches(database: &Database, count: usize) -> (Store, SourceId) {
    let (store, source) = begin(database, vec![partition("branches", "1")]).await;
    start(&store, source, at(1)).await;
    let lease = claim_one(&store, at(2)).await;
    let all = names(count).iter().map(|it| branch(1, it, "x")).collect();
    let read = commit(page(all, caught_up(None)), Pass::Incremental, at(2));
    store.commit_page(&lease, read, at(2)).await.unwrap();
    complete(&store, &lease, at(3)).await;
    (store, source)
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|it| format!("b{it:04}")).collect()
}

fn due(source: SourceId, before: Option<Timestamp>) -> CensusDue {
    let census = Census { table: &BRANCHES, owner: "repository_id", key: "name", lookup: &[] };
    CensusDue { source, group: &GROUP, stream: "branches", census, before, max: 10 }
}

/// Has the one partition counted, and returns the job of it.
async fn counting(store: &Store, source: SourceId, now: Timestamp) -> Lease {
    assert_eq!(store.begin_censuses(due(source, None), now).await.unwrap(), 1);
    let lease = claim_one(store, now).await;
    assert_eq!(lease.lane, Lane::Census);
    lease
}

async fn last(store: &Store) -> CensusRow {
    store.censuses(None, None, None, 1).await.unwrap().remove(0)
}

/// Lists these names, and no others.
async fn list(store: &Store, lease: &Lease, present: &[String], now: Timestamp) {
    let counted = Counted { present: present.to_vec(), judged: Vec::new() };
    let all = Page { counted: Some(Box::new(counted)), ..Page::empty(caught_up(None)) };
    store.commit_page(lease, commit(all, Pass::Incremental, now), now).await.unwrap();
}

/// Looks up all that is absent, and returns what was asked for.
async fn look_up(store: &Store, lease: &Lease, now: Timestamp, is: impl Fn(&str) -> Absence) -> Vec<String> {
    let items = store.due_items(lease, 10_000).await.unwrap();
    let keys: Vec<String> = items.into_iter().map(|it| it.key).collect();
    let judge = |key: &String| Judged { key: key.clone(), absence: is(key), moved_to: None };
    let counted = Counted { present: Vec::new(), judged: keys.iter().map(judge).collect() };
    let found = Page { counted: Some(Box::new(counted)), ..Page::empty(caught_up(None)) };
    let read: Vec<(&str, &str)> = keys.iter().map(|it| (it.as_str(), "")).collect();
    store.commit_page(lease, commit_items(found, &read, now), now).await.unwrap();
    keys
}

/// Counts where only these names are listed and of the others each is what is said of it.
async fn count(
    store: &Store,
    source: SourceId,
    present: &[String],
    now: Timestamp,
    is: impl Fn(&str) -> Absence,
) -> CensusRow {
    let lease = counting(store, source, now).await;
    list(store, &lease, present, now).await;
    look_up(store, &lease, now, is).await;
    complete(store, &lease, now).await;
    last(store).await
}

async fn fail(store: &Store, source: SourceId, now: Timestamp) {
    let lease = counting(store, source, now).await;
    let fault = failed(Verdict::Discard { invalidates: false }, "transient");
    store.settle(&lease, fault, now).await.unwrap();
    assert_eq!(last(store).await.state, CensusState::Failed);
}

async fn nobody_is_counted_whose_syncs_are_refused(database: &Database) {
    let (store, source) = with_branches(database, 3).await;
    let row = store.source_by_id(source).await.unwrap().unwrap();
    let change = |enabled| SourceChange {
        settings: row.settings.clone(),
        enabled,
        secret: store::SecretChange::Keep,
        roots: vec![partition("branches", "1")],
    };
    store.update_source(source, change(false), &vault(), at(4)).await.unwrap();
    assert_eq!(store.begin_censuses(due(source, None), at(5)).await.unwrap(), 0, "it is switched off");
    store.update_source(source, change(true), &vault(), at(6)).await.unwrap();
    store.revoke_tenant(TenantId(1), at(7)).await.unwrap();
    assert_eq!(store.begin_censuses(due(source, Some(at(8))), at(8)).await.unwrap(), 0, "it is nobody's");
    assert_eq!(store.begin_censuses(due(source, None), at(8)).await.unwrap(), 0);
    assert_eq!(claim(&store, at(9)).await, []);
}

async fn a_partition_is_counted_once_at_a_time(database: &Database) {
    let (store, source) = with_branches(database, 3).await;
    let lease = counting(&store, source, at(4)).await;
    assert_eq!(store.begin_censuses(due(source, None), at(5)).await.unwrap(), 0);
    list(&store, &lease, &names(3), at(6)).await;
    complete(&store, &lease, at(6)).await;
    assert_eq!(last(&store).await.state, CensusState::Clear);
    if database.is_sqlite() {
        return;
    }
    // Another process is about to begin one: its row is there, and not to be seen yet.
    let mut other = PgConnection::connect(database.url()).await.unwrap();
    let again = "begin; insert into censuses (source_id, stream_group, stream, partition, state, counts, owner_column,
            key_column, lookup_columns, began_at)
        select source_id, stream_group, stream, partition, 'counting', counts, owner_column, key_column,
            lookup_columns, began_at from censuses";
    sqlx::raw_sql(AssertSqlSafe(again.to_owned())).execute(&mut other).await.unwrap();
    let mut beginning = JoinSet::new();
    let ours = store.clone();
    beginning.spawn(async move { ours.begin_censuses(due(source, None), at(8)).await.unwrap() });
    let waits =
        "select 'it' from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()";
    let mut begun = None;
    while begun.is_none() && bare::lines_of_server(&mut other, waits).await.is_empty() {
        begun = beginning.try_join_next();
    }
    sqlx::raw_sql("commit").execute(&mut other).await.unwrap();
    let begun = match begun {
        Some(it) => it,
        None => beginning.join_next().await.unwrap(),
    };
    assert_eq!(begun.unwrap(), 0, "the other one counts");
    let counting = "select cast(count(*) as text) from censuses where state = 'counting'";
    assert_eq!(database.lines(counting).await, ["1"]);
}

async fn what_was_seen_again_is_not_said_to_be_marked(database: &Database) {
    let (store, source) = with_branches(database, 3).await;
    let lease = counting(&store, source, at(10)).await;
    list(&store, &lease, &names(1), at(11)).await;
    // Before it is concluded, somebody makes the branch again, and it is read.
    start(&store, source, at(12)).await;
    let forward = claim_one(&store, at(12)).await;
    let seen = commit(page(vec![branch(1, "b0001", "y")], caught_up(None)), Pass::Incremental, at(13));
    store.commit_page(&forward, seen, at(13)).await.unwrap();
    complete(&store, &forward, at(13)).await;
    look_up(&store, &lease, at(14), |_| Absence::Deleted).await;
    complete(&store, &lease, at(15)).await;
    let live = "select name from branches where deleted_at is null order by name";
    assert_eq!(database.lines(live).await, ["b0000", "b0001"]);
    let (row, absences) = store.census(last(&store).await.id).await.unwrap().unwrap();
    assert_eq!((row.state, row.marked), (CensusState::Applied, 1));
    let marked: Vec<_> = absences.iter().map(|it| (it.key.as_str(), it.marked)).collect();
    assert_eq!(marked, [("b0001", false), ("b0002", true)]);
    assert_eq!(store.undo_census(row.id, at(16)).await.unwrap(), 1);
    let (_, absences) = store.census(row.id).await.unwrap().unwrap();
    let restored: Vec<_> = absences.iter().map(|it| it.restored).collect();
    assert_eq!(restored, [false, true], "only what was marked is brought back");
}

async fn more_than_is_looked_up_waits_for_a_person(database: &Database) {
    let (store, source) = with_branches(database, 600).await;
    let is = |key: &str| if key < "b0003" { Absence::Deleted } else { Absence::Unobserved };
    let asks = count(&store, source, &names(600)[599..], at(10), is).await;
    assert_eq!((asks.state, asks.absent, asks.marked), (CensusState::Asks, Some(599), 0), "{asks:?}");
    // Three that are gone are few where all that is absent was looked up.
    let few = count(&store, source, &names(600)[400..], at(20), is).await;
    assert_eq!((few.state, few.absent, few.marked), (CensusState::Applied, Some(400), 3), "{few:?}");
}

async fn the_next_census_looks_up_others_first(database: &Database) {
    let (store, source) = with_branches(database, 1100).await;
    let all = names(1100);
    let asked_for = async |now| {
        let lease = counting(&store, source, at(now)).await;
        list(&store, &lease, &[], at(now)).await;
        let keys = look_up(&store, &lease, at(now), |_| Absence::Unobserved).await;
        complete(&store, &lease, at(now)).await;
        keys
    };
    assert!(asked_for(10).await == all[..500]);
    assert!(asked_for(20).await == all[500..1000], "others come first");
    let third = asked_for(30).await;
    assert!(third == [&all[..400], &all[1000..]].concat(), "then those that were the longest ago");
}

async fn one_that_failed_is_begun_anew_after_some_hours(database: &Database) {
    let (store, source) = with_branches(database, 3).await;
    fail(&store, source, at(10)).await;
    let begun = async |now: i64| {
        let due = due(source, Some(at(now - WEEK_S)));
        store.begin_censuses(due, at(now)).await.unwrap()
    };
    assert_eq!(begun(9 + 6 * 3600).await, 0, "what stood in the way may still do");
    assert_eq!(begun(10 + 6 * 3600).await, 1);
    let lease = claim_one(&store, at(12 + 6 * 3600)).await;
    list(&store, &lease, &names(3), at(12 + 6 * 3600)).await;
    complete(&store, &lease, at(12 + 6 * 3600)).await;
    assert_eq!(begun(13 + 12 * 3600).await, 0, "now it was counted");
    assert_eq!(begun(12 + 6 * 3600 + WEEK_S).await, 1);
}

async fn a_question_stays_until_it_is_answered(database: &Database) {
    let (store, source) = with_branches(database, 10).await;
    let asks = count(&store, source, &names(3), at(10), |_| Absence::Deleted).await;
    assert_eq!(asks.state, CensusState::Asks);
    for nth in 1..8 {
        fail(&store, source, at(10 + nth)).await;
    }
    let kept = store.censuses(None, None, None, 100).await.unwrap();
    assert_eq!(kept.len(), 6, "the last five, and the question");
    assert_eq!(store.approve_census(asks.id, at(30)).await.unwrap(), 7);
    let live = "select name from branches where deleted_at is null order by name";
    assert_eq!(database.lines(live).await, names(3));
    // An answer keeps nothing from being dropped in its turn, once all that it marked is old.
    for nth in 1..8 {
        fail(&store, source, at(30 + nth)).await;
    }
    assert_eq!(store.censuses(None, None, None, 100).await.unwrap().len(), 5);
    assert!(database.lines("select key from census_absences").await.is_empty());
}
