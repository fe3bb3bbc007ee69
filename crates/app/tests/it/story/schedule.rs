//! Schedules: time is moved by hand, and ticks come when they should, once, whoever looks.
//!
//! No story here must wait for a tick: the clock is moved to it.

use std::time::Duration;

use domain::id::SourceId;
use domain::policy::schedule::Own;
use domain::policy::status::State;
use domain::trigger::Trigger;
use engine::{AddSource, Clock, GroupStatus, Requested, Schedule, Secret, SyncService};
use jiff::SignedDuration;
use serde_json::json;
use sim::Sim;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::{Database, TOKEN, on_both, seeded, service_at, until};

on_both!(
    ticks_come_on_time_and_missed_ones_are_one,
    what_another_group_finds_is_read_soon,
    what_an_older_version_listed_is_listed_for_what_is_new,
    two_processes_fire_a_tick_once,
    a_tick_that_meets_its_sync_is_skipped_and_shown,
    a_server_reads_what_is_due_and_stops,
    a_thousand_sources_are_all_scheduled,
    a_provider_that_hangs_delays_no_other,
);

const SYNCS: &str = "select count(*) from syncs";

/// Adds a source of which one group is scheduled: the other would have ticks of its own.
async fn add(service: &SyncService, name: &str, url: &str) {
    let source = add_whole(service, name, url).await;
    service.set_schedule(source, "timeline", Own::Off).await.unwrap();
}

/// Adds a source as it comes.
async fn add_whole(service: &SyncService, name: &str, url: &str) -> SourceId {
    let add = AddSource {
        provider: "github".to_owned(),
        name: name.to_owned(),
        base_url: Some(url.to_owned()),
        options: json!({ "repos": ["acme/repo-1"] }),
        token: Some(Secret::from(TOKEN.1.to_owned())),
    };
    service.add_source(add).await.unwrap()
}

async fn small() -> Sim {
    seeded(5, 1, 20, "", "").await
}

/// Works until nothing is under way.
async fn worked_off(service: &SyncService, database: &Database) {
    let stop = CancellationToken::new();
    let looking = async {
        let idle = async || {
            (database.number("select count(*) from syncs where state = 'running'").await == 0).then_some(())
        };
        until("every sync closes", Duration::from_mins(1), idle).await;
        stop.cancel();
    };
    let (worked, ()) = tokio::join!(service.work(None, stop.clone()), looking);
    worked.unwrap();
}

async fn only(service: &SyncService) -> GroupStatus {
    let mut all = service.status(None).await.unwrap();
    all.retain(|it| it.group == "commits");
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

async fn ticks_come_on_time_and_missed_ones_are_one(database: Database) {
    let sim = small().await;
    let clock = Clock::default();
    let service = service_at(&database, Schedule::default(), &clock).await;
    // A person switches one group off before the scheduler has seen the source: the others are scheduled all the same.
    add(&service, "acme", &sim.github_url()).await;
    assert_eq!(service.fire_due().await.unwrap(), 1, "a new source is due at once");
    assert_eq!(service.fire_due().await.unwrap(), 0);
    worked_off(&service, &database).await;
    let shown = only(&service).await;
    let next = shown.next_sync_at.unwrap();
    let wait = next.duration_since(service.clock().now());
    assert!(wait > SignedDuration::from_mins(7) && wait < SignedDuration::from_mins(23), "{wait:#}");
    assert_eq!((shown.state, shown.every), (State::Idle, Some(SignedDuration::from_mins(15))));
    // Not a second before what was shown, and then at once.
    clock.advance(wait - SignedDuration::from_secs(20));
    assert_eq!(service.fire_due().await.unwrap(), 0);
    // The clock is moved by whole milliseconds.
    clock.advance(SignedDuration::from_secs(21));
    assert_eq!(service.fire_due().await.unwrap(), 1);
    worked_off(&service, &database).await;
    let second = only(&service).await.next_sync_at.unwrap();
    assert_eq!(second.duration_since(next), SignedDuration::from_mins(15), "they do not drift");
    // A stop of ten hours: one tick, and then in step again.
    service.close().await;
    clock.advance(SignedDuration::from_hours(10));
    let service = service_at(&database, Schedule::default(), &clock).await;
    service.prepare_schedules().await.unwrap();
    assert!(only(&service).await.next_sync_at.unwrap() <= service.clock().now(), "it is due");
    assert_eq!(service.fire_due().await.unwrap(), 1);
    worked_off(&service, &database).await;
    assert_eq!(service.fire_due().await.unwrap(), 0);
    assert_eq!(database.number(SYNCS).await, 3);
    let next = only(&service).await.next_sync_at.unwrap();
    assert_eq!(next.duration_since(second).as_secs() % 900, 0, "{next} {second}");
    // Another interval is in force after the next start, and shown before it.
    service.close().await;
    let hourly = Schedule {
        intervals: [("commits".to_owned(), SignedDuration::from_hours(1))].into(),
        ..Schedule::default()
    };
    let service = service_at(&database, hourly, &clock).await;
    let shown = only(&service).await.next_sync_at;
    service.prepare_schedules().await.unwrap();
    assert_eq!(only(&service).await.next_sync_at, shown);
    assert!(shown.unwrap().duration_since(service.clock().now()) > SignedDuration::from_mins(29));
    let source = service.source("acme").await.unwrap().id;
    let off = service.set_schedule(source, "commits", Own::Off).await.unwrap();
    assert_eq!((off.every, off.next_at), (None, None));
    clock.advance(SignedDuration::from_hours(24));
    assert_eq!(service.fire_due().await.unwrap(), 0);
    service.close().await;
}

/// Returns in how long a group is synced next.
async fn next_in(service: &SyncService, group: &str) -> SignedDuration {
    let shown = service.schedules(None).await.unwrap();
    let next = shown.iter().find(|it| it.group == group).unwrap().next_at.unwrap();
    next.duration_since(service.clock().now())
}

/// Fails unless issues land within a minute from now.
async fn assert_issues_come_soon(service: &SyncService, database: &Database) {
    let wait = next_in(service, "timeline").await;
    assert!(wait <= SignedDuration::from_secs(30), "{wait:#}");
    service.clock().advance(SignedDuration::from_secs(31));
    assert_eq!(service.fire_due().await.unwrap(), 1);
    worked_off(service, database).await;
    assert!(database.number("select count(*) from github_issues").await > 0);
    let wait = next_in(service, "timeline").await;
    assert!(wait > SignedDuration::from_mins(7), "it goes on in its interval: {wait:#}");
}

async fn what_another_group_finds_is_read_soon(database: Database) {
    let sim = small().await;
    let clock = Clock::default();
    let service = service_at(&database, Schedule::default(), &clock).await;
    add_whole(&service, "acme", &sim.github_url()).await;
    service.prepare_schedules().await.unwrap();
    assert_eq!(service.fire_due().await.unwrap(), 2, "both groups are due at once");
    assert_eq!(database.number(SYNCS).await, 1, "of one nothing is known that could be read");
    let wait = next_in(&service, "timeline").await;
    assert!(wait > SignedDuration::from_mins(7), "{wait:#}");
    worked_off(&service, &database).await;
    assert_issues_come_soon(&service, &database).await;
    // What is known already hastens nothing, though it is listed anew.
    sim.world().push("acme/repo-1", "main", 1).unwrap();
    let before = next_in(&service, "timeline").await;
    service.request("acme", "commits", Trigger::Manual).await.unwrap();
    worked_off(&service, &database).await;
    assert!(next_in(&service, "timeline").await > before - SignedDuration::from_mins(1));
    service.close().await;
}

async fn what_an_older_version_listed_is_listed_for_what_is_new(database: Database) {
    let sim = small().await;
    let clock = Clock::default();
    let service = service_at(&database, Schedule::default(), &clock).await;
    add_whole(&service, "acme", &sim.github_url()).await;
    service.request("acme", "commits", Trigger::Manual).await.unwrap();
    worked_off(&service, &database).await;
    service.close().await;
    // As a version leaves it that knows nothing of issues.
    for table in ["github_issues", "github_pull_requests", "github_timeline_events"] {
        database.execute(&format!("drop table {table}")).await;
    }
    for table in ["partitions", "checkpoints"] {
        let of = "('issues', 'pull_requests', 'timeline_events')";
        database.execute(&format!("delete from {table} where stream in {of}")).await;
    }
    database.execute("delete from schedules where stream_group = 'timeline'").await;
    let service = service_at(&database, Schedule::default(), &clock).await;
    service.prepare_schedules().await.unwrap();
    service.fire_due().await.unwrap();
    worked_off(&service, &database).await;
    assert_eq!(database.number("select count(*) from github_issues").await, 0);
    // Nothing was pushed since, and its repositories are asked for what they have all the same.
    service.request("acme", "commits", Trigger::Manual).await.unwrap();
    worked_off(&service, &database).await;
    assert_issues_come_soon(&service, &database).await;
    // From then on they are asked only whether they changed.
    sim.reset_report();
    service.close().await;
    let service = service_at(&database, Schedule::default(), &clock).await;
    service.request("acme", "commits", Trigger::Manual).await.unwrap();
    worked_off(&service, &database).await;
    let report = sim.report();
    assert_eq!((report.requests, report.not_modified), (1, 1), "{report:?}");
    service.close().await;
}

async fn two_processes_fire_a_tick_once(database: Database) {
    let sim = small().await;
    let clock = Clock::default();
    let first = service_at(&database, Schedule::default(), &clock).await;
    for nth in 0..20 {
        add(&first, &format!("source-{nth}"), &sim.github_url()).await;
    }
    first.prepare_schedules().await.unwrap();
    let second = service_at(&database, Schedule::default(), &clock).await;
    for round in 1..4 {
        let (one, other) = tokio::join!(first.fire_due(), second.fire_due());
        assert_eq!(one.unwrap() + other.unwrap(), 20, "round {round}");
        assert_eq!(database.number(SYNCS).await, 20 * round);
        worked_off(&first, &database).await;
        clock.advance(SignedDuration::from_mins(23));
    }
    let skipped = database.number("select sum(skipped) from schedules").await;
    assert_eq!(skipped, 0);
    first.close().await;
    second.close().await;
}

async fn a_tick_that_meets_its_sync_is_skipped_and_shown(database: Database) {
    let sim = small().await;
    let clock = Clock::default();
    let service = service_at(&database, Schedule::default(), &clock).await;
    add(&service, "acme", &sim.github_url()).await;
    let asked = service.request("acme", "commits", Trigger::Manual).await.unwrap();
    assert!(matches!(asked, Requested::Started { .. }), "{asked:?}");
    service.prepare_schedules().await.unwrap();
    assert_eq!(service.fire_due().await.unwrap(), 1);
    let shown = only(&service).await;
    assert_eq!((shown.skipped_ticks, shown.state, shown.can_sync_now), (1, State::Syncing, false));
    let schedule = service.schedules(None).await.unwrap().remove(0);
    assert_eq!((schedule.skipped, schedule.last_skipped_at), (1, schedule.last_tick_at));
    clock.advance(SignedDuration::from_mins(23));
    assert_eq!(service.fire_due().await.unwrap(), 1);
    assert_eq!(only(&service).await.skipped_ticks, 2);
    worked_off(&service, &database).await;
    // The next one finds nothing under way.
    clock.advance(SignedDuration::from_mins(23));
    assert_eq!(service.fire_due().await.unwrap(), 1);
    let shown = only(&service).await;
    assert_eq!((shown.skipped_ticks, database.number(SYNCS).await), (2, 2));
    worked_off(&service, &database).await;
    service.close().await;
}

async fn a_server_reads_what_is_due_and_stops(database: Database) {
    let sim = small().await;
    let clock = Clock::default();
    let mut servers = JoinSet::new();
    let stop = CancellationToken::new();
    let asks = service_at(&database, Schedule::default(), &clock).await;
    add(&asks, "acme", &sim.github_url()).await;
    for _ in 0..2 {
        let service = service_at(&database, Schedule::default(), &clock).await;
        let stop = stop.clone();
        servers.spawn(async move {
            service.run(stop).await.unwrap();
            let health = service.scheduler_health();
            assert!(health.enabled && health.last_round_at.is_some(), "{health:?}");
            service.close().await;
        });
    }
    let completed = async |count: i64| {
        let sql = "select count(*) from syncs where state = 'completed'";
        let reached = async || (database.number(sql).await == count).then_some(());
        until("the tick's sync", Duration::from_mins(1), reached).await;
    };
    completed(1).await;
    let shown = only(&asks).await;
    assert_eq!((shown.state, shown.last_sync_error.is_some()), (State::Idle, false));
    clock.advance(SignedDuration::from_mins(23));
    completed(2).await;
    // Something new is found by itself.
    add_whole(&asks, "more", &sim.github_url()).await;
    completed(3).await;
    // What is not to be scheduled only answers people.
    stop.cancel();
    while let Some(ended) = servers.join_next().await {
        ended.unwrap();
    }
    clock.advance(SignedDuration::from_hours(9));
    let quiet = service_at(&database, Schedule { enabled: false, ..Schedule::default() }, &clock).await;
    assert!(quiet.status(None).await.unwrap().iter().all(|it| it.next_sync_at.is_none()));
    assert!(matches!(
        quiet.request("acme", "commits", Trigger::Manual).await.unwrap(),
        Requested::Started { .. }
    ));
    let stop = CancellationToken::new();
    let looking = async {
        completed(4).await;
        stop.cancel();
    };
    let (ran, ()) = tokio::join!(quiet.run(stop.clone()), looking);
    ran.unwrap();
    assert_eq!(database.number(SYNCS).await, 4);
    assert_eq!(quiet.scheduler_health().last_round_at, None);
    quiet.close().await;
    asks.close().await;
}

async fn a_thousand_sources_are_all_scheduled(database: Database) {
    let clock = Clock::default();
    let service = service_at(&database, Schedule::default(), &clock).await;
    let n = if database.is_sqlite() {
        "with recursive n (n) as (select 1 union all select n + 1 from n where n < 1020)"
    } else {
        "with n as (select generate_series(1, 1020) as n)"
    };
    database
        .execute(&format!(
            "insert into tenants (id, name) {n} select 100 + n, 'tenant-' || cast(n as text) from n where n <= 12;
             insert into sources (id, tenant_id, name, provider, base_url, options, enabled, created_at, updated_at)
             {n} select 100 + n, 101 + n % 12, 'source-' || cast(n as text), 'github', 'http://127.0.0.1:1', '{{}}',
                 true, 0, 0 from n;
             insert into partitions (source_id, stream, key, args, active, is_valid)
             {n} select 100 + n, 'repositories', 'all', '{{}}', true, true from n",
        ))
        .await;
    service.prepare_schedules().await.unwrap();
    // One for each of its groups.
    assert_eq!(service.fire_due().await.unwrap(), 2 * 1020);
    let sources = "select count(distinct source_id) from syncs";
    assert_eq!(database.number(sources).await, 1020);
    let tenants = "select count(distinct tenant_id) from syncs join sources on sources.id = source_id";
    assert_eq!(database.number(tenants).await, 12);
    let mut of_one = service.scoped(domain::id::TenantId(101)).status(None).await.unwrap();
    of_one.retain(|it| it.group == "commits");
    assert_eq!(of_one.len(), 85);
    assert!(of_one.iter().all(|it| it.state == State::Syncing && it.next_sync_at.is_some()));
    service.close().await;
}

async fn a_provider_that_hangs_delays_no_other(database: Database) {
    let sim = small().await;
    // It takes connections and never answers.
    let hanging = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", hanging.local_addr().unwrap());
    let clock = Clock::default();
    let service = service_at(&database, Schedule::default(), &clock).await;
    let repos: Vec<String> = (0..40).map(|nth| format!("acme/repo-{nth}")).collect();
    let dead = AddSource {
        provider: "github".to_owned(),
        name: "hangs".to_owned(),
        base_url: Some(address),
        options: json!({ "repos": repos }),
        token: None,
    };
    service.add_source(dead).await.unwrap();
    service.request("hangs", "commits", Trigger::Manual).await.unwrap();
    let stop = CancellationToken::new();
    let mut working = JoinSet::new();
    let worker = service.clone();
    let told = stop.clone();
    working.spawn(async move { worker.work(None, told).await });
    let running = "select count(*) from jobs where state = 'running'";
    let all_busy = async || (database.number(running).await >= 4).then_some(());
    until("every worker waits for the one that hangs", Duration::from_mins(1), all_busy).await;
    add(&service, "acme", &sim.github_url()).await;
    service.request("acme", "commits", Trigger::Manual).await.unwrap();
    let began = std::time::Instant::now();
    let read = "select count(*) from syncs where state = 'completed'";
    let completed = async || (database.number(read).await == 1).then_some(());
    until("the other one is read", Duration::from_secs(25), completed).await;
    // A call may take thirty seconds, and is tried three times.
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    stop.cancel();
    working.join_next().await.unwrap().unwrap().unwrap();
    service.close().await;
}
