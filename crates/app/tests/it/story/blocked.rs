//! One of ten repositories is blocked for hours: the nine others go on, and it resumes once, where it stood.
//!
//! Time is moved by hand. Nobody here may ask for the blocked one by its name.

use std::time::Duration;

use domain::policy::status::State;
use domain::trigger::Trigger;
use engine::{Requested, SyncService};
use jiff::{SignedDuration, Timestamp};
use sim::Endpoint;

use crate::support::{
    Database, SOURCE, Scene, Work, assert_kept_rules, assert_truth, epoch_ms, on_both, seeded,
    service_that_holds, until,
};

on_both!(
    one_of_ten_is_blocked_for_three_hours_and_loses_nothing,
    one_of_ten_is_put_off_by_its_provider_hour_after_hour,
);

const BLOCKED: &str = "acme/repo-3";

async fn start(service: &SyncService, trigger: Trigger) {
    match service.request(SOURCE, "commits", trigger).await.unwrap() {
        Requested::Started { .. } => {}
        refused @ Requested::Refused { .. } => panic!("a blocked repository stands in the way: {refused:?}"),
    }
}

/// Lets both engines work until no sync is under way and nothing is due.
async fn work_off(engines: &[SyncService; 2], database: &Database) {
    let works = engines.each_ref().map(Work::begin);
    let now = engines[0].clock().now().as_millisecond();
    let going = format!(
        "select count(*) from jobs where state in ('available', 'running', 'retryable')
             or state = 'scheduled' and not_before <= {now}"
    );
    let idle = async || (database.number(&going).await == 0).then_some(());
    until("nothing is due", Duration::from_mins(1), idle).await;
    for work in works {
        work.end().await;
    }
}

async fn one_of_ten_is_blocked_for_three_hours_and_loses_nothing(database: Database) {
    let sim = seeded(93, 10, 12, "", "").await;
    let names = sim.world().names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let others: Vec<&str> = names.iter().copied().filter(|it| *it != BLOCKED).collect();
    let scene = Scene::with_source(database, &sim, &names).await;
    scene.completes().await;
    let engines = [service_that_holds(&scene.database).await, service_that_holds(&scene.database).await];
    let later = |by: SignedDuration| engines.iter().for_each(|it| it.clock().advance(by));
    let push_to_all = || names.iter().for_each(|it| drop(sim.world().push(it, "main", 2).unwrap()));

    push_to_all();
    start(&engines[0], Trigger::Manual).await;
    // What a worker makes of a job whose provider says that it may go on in three hours.
    let id = sim.world().repository_truth(BLOCKED).unwrap().id;
    let until_ms = (engines[0].clock().now() + SignedDuration::from_hours(3)).as_millisecond();
    let block = format!(
        "update jobs set state = 'scheduled', not_before = {until_ms}, error_code = 'rate_limited', error_detail = ''
         where partition = '{id}' and state = 'available'"
    );
    scene.database.execute(&block).await;
    let waiting = "select count(*) from jobs where state = 'scheduled'";
    assert_eq!(scene.database.number(waiting).await, 1);
    work_off(&engines, &scene.database).await;
    assert_truth_of(&scene, &sim, &others, 14, 12).await;
    let held = "select count(*) from jobs where lease_until is not null";
    assert_eq!(scene.database.number(held).await, 0, "a worker is held");

    // Hour after hour the others are synced, and it is left alone.
    for hour in 1..3 {
        later(SignedDuration::from_mins(59));
        push_to_all();
        start(&engines[hour % 2], Trigger::Cron).await;
        work_off(&engines, &scene.database).await;
        assert_truth_of(&scene, &sim, &others, 14 + 2 * i64::try_from(hour).unwrap(), 12).await;
        assert_eq!(scene.database.number(waiting).await, 1);
        let status = engines[0].status(None).await.unwrap().remove(0);
        let until = status.blocked_until.map(Timestamp::as_millisecond);
        assert_eq!((status.state, until), (State::Blocked, Some(until_ms)), "{status:?}");
    }

    // Two engines wait for the moment; nobody asks.
    later(SignedDuration::from_mins(65));
    work_off(&engines, &scene.database).await;
    for it in &engines {
        it.close().await;
    }
    assert_truth(&scene.database, &sim, &names).await;
    let claimed = format!(
        "select generation from jobs where partition = '{id}' and error_code is null
        and created_at < {until_ms} and finished_at >= {until_ms}"
    );
    assert_eq!(scene.database.number(&claimed).await, 1, "it was resumed once");
    assert_kept_rules(&sim);
}

async fn one_of_ten_is_put_off_by_its_provider_hour_after_hour(database: Database) {
    // Three pages each: reading all of them again would show.
    let sim = seeded(94, 10, 250, "", "").await;
    let names = sim.world().names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let others: Vec<&str> = names.iter().copied().filter(|it| *it != BLOCKED).collect();
    let scene = Scene::with_source(database, &sim, &names).await;
    scene.completes().await;
    let engines = [service_that_holds(&scene.database).await, service_that_holds(&scene.database).await];
    // The provider's clock goes with ours.
    let later = |by: SignedDuration| {
        for it in &engines {
            it.clock().advance(by);
        }
        sim.run_ahead(engines[0].clock().now().as_millisecond() - epoch_ms());
    };
    let count = async |sql: &str| scene.database.number(sql).await;

    // Each hour it is asked for once and told to wait for another hour; it is not given up, however often.
    sim.set_faults(format!("paused={BLOCKED}").parse().unwrap());
    sim.reset_report();
    for (hour, trigger) in [(1, Trigger::Manual), (2, Trigger::Cron), (3, Trigger::Cron)] {
        for it in &names {
            sim.world().push(it, "main", 2).unwrap();
        }
        start(&engines[usize::from(hour > 1)], trigger).await;
        work_off(&engines, &scene.database).await;
        assert_truth_of(&scene, &sim, &others, 250 + 2 * hour, 250).await;
        assert_eq!(
            count("select count(*) from jobs where lease_until is not null").await,
            0,
            "a worker is held"
        );
        assert_eq!(
            i64::try_from(sim.report().limits_met.paused).unwrap(),
            hour,
            "it was asked for too often"
        );
        let status = engines[0].status(None).await.unwrap().remove(0);
        let left = status.blocked_until.map(|at| at.duration_since(engines[0].clock().now()).as_mins());
        assert_eq!((status.state, left), (State::Blocked, Some(59)), "{status:?}");
        later(SignedDuration::from_mins(61));
    }

    // Two engines find that its time has come; nobody asks.
    sim.set_faults("".parse().unwrap());
    work_off(&engines, &scene.database).await;
    for it in &engines {
        it.close().await;
    }
    assert_truth(&scene.database, &sim, &names).await;
    let id = sim.world().repository_truth(BLOCKED).unwrap().id;
    let claims = format!("select max(generation) from jobs where stream = 'branches' and partition = '{id}'");
    assert_eq!(count(&claims).await, 4, "put off three times, resumed once");
    assert_eq!(sim.report().by_endpoint.get(&Endpoint::Commits), None, "it was read from its beginning");
    assert_kept_rules(&sim);
}

/// Says how many commits there are of each of the others, and of the blocked one.
async fn assert_truth_of(scene: &Scene, sim: &sim::Sim, others: &[&str], each: i64, blocked: i64) {
    let count = async |name: &str| {
        let id = sim.world().repository_truth(name).unwrap().id;
        scene.database.number(&format!("select count(*) from commits where repository_id = {id}")).await
    };
    for name in others {
        assert_eq!(count(name).await, each, "{name}");
    }
    assert_eq!(count(BLOCKED).await, blocked);
}
