//! Two tenants in one database: to each, what is the other's is not there, whichever way it asks.

use domain::id::{EventId, JobId};
use domain::policy::schedule::Own;
use domain::tenant::Role;
use domain::trigger::Trigger;
use engine::{AddSource, Clock, Error, PartitionPage, RecordQuery, Requested, Schedule, Secret, SyncService};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::{Database, TOKEN, on_both, seeded, service_at, until};

on_both!(a_tenant_never_sees_what_is_anothers);

fn source(url: &str, repo: &str) -> AddSource {
    AddSource {
        provider: "github".to_owned(),
        name: "work".to_owned(),
        base_url: Some(url.to_owned()),
        options: json!({ "repos": [repo] }),
        token: Some(Secret::from(TOKEN.1.to_owned())),
    }
}

fn unknown<T: std::fmt::Debug>(answer: &Result<T, Error>) {
    assert!(matches!(answer, Err(Error::Unknown { .. })), "{answer:?}");
}

fn commits(limit: u32) -> RecordQuery {
    RecordQuery { table: "commits".to_owned(), limit, ..RecordQuery::default() }
}

/// Reads all records, a page at a time, and returns their hashes.
async fn all_commits(service: &SyncService) -> Vec<String> {
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = service.records(RecordQuery { after, ..commits(7) }).await.unwrap();
        found.extend(page.rows.iter().map(|it| it["sha"].as_str().unwrap().to_owned()));
        after = page.next;
        if after.is_none() {
            return found;
        }
    }
}

async fn a_tenant_never_sees_what_is_anothers(database: Database) {
    let sim = seeded(11, 2, 20, "", "").await;
    let operator = service_at(&database, Schedule::default(), &Clock::default()).await;
    let red = operator.scoped(operator.create_tenant("red").await.unwrap().id);
    let blue = operator.scoped(operator.create_tenant("blue").await.unwrap().id);
    let reds = red.add_source(source(&sim.github_url(), "acme/repo-1")).await.unwrap();
    let blues = blue.add_source(source(&sim.github_url(), "acme/repo-2")).await.unwrap();
    let mut syncs = Vec::new();
    for (tenant, id) in [(&red, reds), (&blue, blues)] {
        assert_eq!(tenant.source("work").await.unwrap().id, id, "a name is looked for among one's own");
        match tenant.request("work", "commits", Trigger::Manual).await.unwrap() {
            Requested::Started { sync, .. } => syncs.push(sync),
            refused @ Requested::Refused { .. } => panic!("{refused:?}"),
        }
    }
    let stop = CancellationToken::new();
    let looking = async {
        let done = "select count(*) from syncs where state = 'completed'";
        let both = async || (database.number(done).await == 2).then_some(());
        until("both are read", std::time::Duration::from_mins(1), both).await;
        stop.cancel();
    };
    let (worked, ()) = tokio::join!(operator.work(None, stop.clone()), looking);
    worked.unwrap();
    operator.prepare_schedules().await.unwrap();

    let (mine, theirs) = (syncs[0], syncs[1]);
    let job: JobId = operator.jobs(theirs).await.unwrap()[0].id;
    unknown(&red.source_by_id(blues).await);
    unknown(&red.request_source(blues, "commits", Trigger::Manual).await);
    unknown(&red.sync(theirs).await);
    unknown(&red.jobs(theirs).await);
    unknown(&red.cancel(theirs).await);
    assert_eq!(red.sync_of_job(job).await.unwrap(), None);
    unknown(&red.syncs(Some(blues), 10).await);
    unknown(&red.status(Some(blues)).await);
    unknown(&red.schedules(Some(blues)).await);
    unknown(&red.set_schedule(blues, "commits", Own::Off).await);
    unknown(&red.landed_counts(blues).await);
    unknown(&red.partitions(blues, PartitionPage { failed_only: false, after: None, limit: 10 }).await);
    unknown(&red.records(RecordQuery { source: Some(blues), ..commits(10) }).await);
    unknown(&red.tenant("blue").await);
    let blue_id = blue.scope().unwrap();
    unknown(&red.tokens(Some(blue_id)).await);
    unknown(&red.create_token(blue_id, "sneaky", Role::Admin, None).await);
    let token = blue.create_token(blue_id, "ci", Role::Viewer, None).await.unwrap();
    unknown(&red.revoke_token(token.id).await);
    let refused = red.create_tenant("green").await;
    assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
    assert!(red.authenticate(token.text.expose()).await.unwrap().is_none());
    assert_eq!(operator.authenticate(token.text.expose()).await.unwrap().unwrap().tenant, blue_id);

    assert_eq!(red.sources().await.unwrap().iter().map(|it| it.id).collect::<Vec<_>>(), [reds]);
    assert_eq!(red.syncs(None, 10).await.unwrap().iter().map(|it| it.id).collect::<Vec<_>>(), [mine]);
    assert!(red.status(None).await.unwrap().iter().all(|it| it.source == reds));
    assert!(red.schedules(None).await.unwrap().iter().all(|it| it.source == reds));
    let shown = (red.status(None).await.unwrap().len(), red.schedules(None).await.unwrap().len());
    assert_eq!(shown, (2, 2), "one for each group of the one source");
    let events = async || {
        let events = red.events_after(EventId(0), 1000).await.unwrap();
        (!events.is_empty()).then_some(events)
    };
    let events = until("events can be read", std::time::Duration::from_mins(1), events).await;
    assert!(events.iter().all(|it| it.source == Some(reds)), "{events:?}");
    let (red_rows, blue_rows, all) =
        (all_commits(&red).await, all_commits(&blue).await, all_commits(&operator).await);
    let truth = sim.world().truth().unwrap();
    assert_eq!(red_rows.len(), truth.repositories["acme/repo-1"].shas.len());
    assert_eq!(blue_rows.len(), truth.repositories["acme/repo-2"].shas.len());
    assert_eq!(all, [red_rows, blue_rows].concat());
    operator.close().await;
}
