//! How a source stands: one row for each group, and never a scan of its partitions.

use domain::id::TenantId;
use domain::job::SyncState;
use domain::policy::Verdict;
use domain::policy::schedule::Own;
use domain::trigger::Trigger;
use store::{Among, Enqueued, PartitionPage, Plan, SecretChange, SourceChange, Store};

use crate::database::Database;
use crate::world::*;

for_each_database!(
    the_last_sync_is_told,
    a_partition_that_failed_is_told_until_it_is_read,
    a_blocked_job_is_told_by_its_time,
    the_status_never_scans_partitions,
    what_changed_is_told_by_whoever_looked_before,
);

async fn the_last_sync_is_told(database: &Database) {
    let roots = vec![partition("projects", "all"), partition("branches", "1")];
    let (store, source) = begin(database, roots).await;
    let fresh = status(&store).await;
    assert_eq!((fresh.standing, fresh.active, fresh.facts.partitions), (None, None, 1));
    let sync = start(&store, source, at(1)).await;
    let leases = claim(&store, at(2)).await;
    complete(&store, &leases[0], at(3)).await;
    let half = status(&store).await;
    let active = half.active.unwrap();
    assert_eq!((active.jobs, active.ended, active.running), (2, 1, 1));
    assert_eq!((half.facts.active_sync, half.standing), (Some(sync.id), None));
    let failure = failed(Verdict::Discard { invalidates: false }, "server_error");
    store.settle(&leases[1], failure, at(4)).await.unwrap();
    let ended = status(&store).await;
    let standing = ended.standing.unwrap();
    assert_eq!((standing.sync, standing.state, standing.ended_at), (sync.id, SyncState::Partial, at(4)));
    assert_eq!((standing.failed, standing.jobs, ended.active), (1, 2, None));
    let error = ("toy/1".to_owned(), "server_error".to_owned(), "it was server_error".to_owned());
    assert_eq!(standing.error, Some(error));
    assert_eq!(ended.facts.last_success_at, None, "a partial sync is no success");
    // One that completes clears the error.
    start(&store, source, at(10)).await;
    for lease in claim(&store, at(11)).await {
        complete(&store, &lease, at(12)).await;
    }
    let mended = status(&store).await;
    let standing = mended.standing.unwrap();
    assert_eq!((standing.state, standing.failed, &standing.error), (SyncState::Completed, 0, &None));
    assert_eq!((mended.facts.last_success_at, mended.failed_partitions), (Some(at(12)), 0));
    assert_eq!(store.facts(source, &GROUP, at(13)).await.unwrap().last_success_at, Some(at(12)));
}

async fn a_partition_that_failed_is_told_until_it_is_read(database: &Database) {
    let roots = vec![partition("projects", "all"), partition("branches", "1")];
    let (store, source) = begin(database, roots).await;
    start(&store, source, at(1)).await;
    let leases = claim(&store, at(2)).await;
    complete(&store, &leases[0], at(3)).await;
    let gone = failed(Verdict::Discard { invalidates: true }, "gone");
    store.settle(&leases[1], gone, at(4)).await.unwrap();
    // The next sync leaves it out and completes; what cannot be read is not forgotten.
    start(&store, source, at(100)).await;
    complete(&store, &claim_one(&store, at(101)).await, at(102)).await;
    let left_out = status(&store).await;
    assert_eq!(left_out.standing.unwrap().error, None);
    assert_eq!((left_out.failed_partitions, left_out.invalid_partitions), (1, 1));
    let (what, code, _) = &*left_out.unresolved.unwrap();
    assert_eq!((what.as_str(), code.as_str()), ("toy/1", "gone"));
    let page = PartitionPage { failed_only: true, after: None, limit: 10 };
    let rows = store.partitions(source, page).await.unwrap();
    let [row] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((row.key.as_str(), row.is_valid, row.invalid_at), ("1", false, Some(at(4))));
    assert_eq!(row.error.as_ref().map(|it| it.0.as_str()), Some("gone"));
    let after = Some(("branches".to_owned(), "1".to_owned()));
    let page = PartitionPage { failed_only: false, after, limit: 10 };
    let rows = store.partitions(source, page).await.unwrap();
    assert_eq!(
        rows.iter().map(|it| (it.stream.as_str(), it.last_synced_at)).collect::<Vec<_>>(),
        [("projects", Some(at(102)))]
    );
}

async fn a_blocked_job_is_told_by_its_time(database: &Database) {
    let (store, source) = begin(database, vec![partition("projects", "all")]).await;
    start(&store, source, at(1)).await;
    let lease = claim_one(&store, at(2)).await;
    let snooze = failed(Verdict::Snooze { until: at(500) }, "rate_limited");
    store.settle(&lease, snooze, at(3)).await.unwrap();
    let blocked = status(&store).await;
    assert_eq!((blocked.blocked_until, blocked.failed_partitions), (Some(at(500)), 0));
    let standing = blocked.standing.unwrap();
    assert_eq!((standing.state, standing.failed, &standing.error), (SyncState::Partial, 0, &None));
    let lease = claim_one(&store, at(501)).await;
    complete(&store, &lease, at(502)).await;
    let ended = status(&store).await;
    assert_eq!(ended.standing.unwrap().state, SyncState::Completed);
    assert_eq!((ended.blocked_until, ended.facts.last_success_at), (None, Some(at(502))));
}

async fn the_status_never_scans_partitions(database: &Database) {
    let (store, source) = begin(database, vec![partition("projects", "all")]).await;
    let series = if database.is_sqlite() {
        "with recursive n (n) as (select 1 union all select n + 1 from n where n < 20000)"
    } else {
        "with n as (select generate_series(1, 20000) as n)"
    };
    // Two hundred sources of a hundred partitions; one in a thousand failed.
    database
        .execute(&format!(
            "insert into sources (id, tenant_id, name, provider, base_url, options, enabled, created_at, updated_at)
             {series} select 1000 + n, 1, 'other-' || cast(n as text), 'toy', '', '{{}}', true, 0, 0 from n
             where n <= 200;
             insert into partitions (source_id, stream, key, args, active, is_valid, error_code)
             {series} select 1001 + n % 200, 'branches', cast(n as text), '{{}}', true, true,
                 case when n % 1000 = 0 then 'gone' end from n;
             insert into standings (source_id, stream_group, sync_id, state, ended_at, jobs, failed)
             select id, 'code', 1, 'completed', 1, 1, 0 from sources where id > 1000;
             analyze",
        ))
        .await;
    for only in [None, Some(source)] {
        let query = look(None, only.map_or(Among::All, Among::One));
        let plan = store.status_plan(query.clone()).await.unwrap();
        // By its key, or through the index of those that failed.
        let reads = |step: &&String| step.contains("partition") && step.to_uppercase().contains("SCAN ");
        let whole =
            |step: &&String| reads(step) && !step.contains("Index") && !step.contains("partitions_failed");
        let of_heap = |step: &&String| whole(step) && !step.contains("Bitmap Heap");
        assert_eq!(plan.iter().filter(of_heap).collect::<Vec<_>>(), [""; 0], "{plan:#?}");
        assert!(plan.iter().any(|step| step.contains("partition")), "{plan:#?}");
        let expected = if only.is_some() { 1 } else { 201 };
        assert_eq!(store.status(query).await.unwrap().rows.len(), expected);
    }
    let all = store.status(look(None, Among::All)).await.unwrap().rows;
    let failed: u64 = all.iter().map(|it| it.failed_partitions).sum();
    assert_eq!(failed, 20);
}

/// Looks with a store that has looked before, and with one that has not: both tell the same.
async fn looked(database: &Database, before: &Store, told: &mut Vec<String>, what: &str) {
    let query = || look(None, Among::All);
    let kept = format!("{:#?}", before.status(query()).await.unwrap().rows);
    let new = open(database).await;
    assert_eq!(kept, format!("{:#?}", new.status(query()).await.unwrap().rows), "after {what}");
    assert!(!told.contains(&kept), "{what} changed nothing that is told");
    told.push(kept);
    new.close().await;
}

async fn what_changed_is_told_by_whoever_looked_before(database: &Database) {
    let roots = vec![partition("projects", "all"), partition("branches", "1")];
    let (store, source) = begin(database, roots.clone()).await;
    let mut told = Vec::new();
    looked(database, &store, &mut told, "nothing").await;
    let other = open(database).await;
    let asked = store::Enqueue { trigger: Trigger::Manual, ..request(source, Trigger::Cron) };
    let Enqueued::Started { .. } = other.enqueue(asked, at(1)).await.unwrap() else { panic!("it runs") };
    looked(database, &store, &mut told, "a person asked").await;
    let leases = claim(&other, at(2)).await;
    looked(database, &store, &mut told, "its jobs were claimed").await;
    complete(&other, &leases[0], at(3)).await;
    looked(database, &store, &mut told, "a job was done").await;
    let gone = failed(Verdict::Discard { invalidates: true }, "gone");
    other.settle(&leases[1], gone, at(4)).await.unwrap();
    looked(database, &store, &mut told, "a job failed and the sync was closed").await;
    let interval = jiff::SignedDuration::from_mins(15);
    let plan = |own, next_at, was| Plan { source, group: "code".to_owned(), own, interval, next_at, was };
    other.plan(vec![plan(None, at(10), None)]).await.unwrap();
    looked(database, &store, &mut told, "it was scheduled").await;
    other.plan(vec![plan(Some(Own::Off), at(20), Some(at(10)))]).await.unwrap();
    looked(database, &store, &mut told, "its schedule was switched off").await;
    let change = |enabled, roots| SourceChange {
        settings: new_source("work", Vec::new()).settings,
        roots,
        enabled,
        secret: SecretChange::Keep,
    };
    other
        .update_source(source, change(true, vec![partition("projects", "all")]), &vault(), at(30))
        .await
        .unwrap();
    looked(database, &store, &mut told, "what failed is read no more").await;
    other.update_source(source, change(true, Vec::new()), &vault(), at(31)).await.unwrap();
    looked(database, &store, &mut told, "nothing is left to read").await;
    other.update_source(source, change(false, Vec::new()), &vault(), at(32)).await.unwrap();
    looked(database, &store, &mut told, "it was switched off").await;
    other.revoke_tenant(TenantId(1), at(33)).await.unwrap();
    looked(database, &store, &mut told, "its tenant was revoked").await;
    other.add_source(new_source("second", Vec::new()), &vault(), at(34)).await.err();
    database.execute("update tenants set revoked_at = null").await;
    other.add_source(new_source("second", roots), &vault(), at(34)).await.unwrap();
    looked(database, &store, &mut told, "another was added").await;
    other.remove_source(source, false).await.unwrap();
    looked(database, &store, &mut told, "one was removed").await;
}
