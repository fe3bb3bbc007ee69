//! Why a source is not synced: what people are told agrees with what they get when they ask.
//!
//! No expectation here is reckoned a second way: what a request answers is the truth.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use domain::policy::{Action, Reason, Thresholds};
use domain::trigger::Trigger;
use engine::{Options, Requested, SourceChanges, SyncService};
use jiff::SignedDuration;
use serde_json::Value;
use sim::State;

use crate::support::{Database, SOURCE, Scene, Server, Work, engine_options, on_both, seeded, until};

on_both!(what_can_be_synced_now_is_what_a_request_answers, one_line_says_what_keeps_it_and_until_when);

/// Steps of the walk: enough that every reason comes up several times.
const STEPS: u64 = 60;

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn index(&mut self, sides: u64) -> usize {
        usize::try_from(self.of(sides)).unwrap()
    }

    fn of(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 29)) % sides
    }
}

/// Two engines over one database at one time: to one of them no budget is ever enough.
async fn two_engines(database: &Database) -> [SyncService; 2] {
    let hour = SignedDuration::from_hours(1);
    let options = Options {
        manual_cooldowns: BTreeMap::from([("commits".to_owned(), hour)]),
        lease: SignedDuration::from_hours(24 * 300),
        ..engine_options(database, 2)
    };
    let thresholds = Thresholds { floor: 1_000_000, floor_percent: 100, ..Thresholds::default() };
    let wary = Options { thresholds, ..options.clone() };
    [SyncService::open(options).await.unwrap(), SyncService::open(wary).await.unwrap()]
}

/// Asks how things stand, then asks for a sync, and fails when the two do not agree.
async fn compare(service: &SyncService, step: &str) -> Reason {
    let source = service.source(SOURCE).await.unwrap().id;
    let told = service.status(Some(source)).await.unwrap().remove(0);
    let why = service.why(source, Some("commits")).await.unwrap().remove(0);
    let (decision, sync) = match service.request_source(source, "commits", Trigger::Manual).await.unwrap() {
        Requested::Started { sync, .. } => (None, Some(sync)),
        Requested::Refused { decision, active } => {
            assert_eq!(
                active,
                told.active_sync.filter(|_| decision.reason == Reason::AlreadySyncing),
                "{step}"
            );
            (Some(decision), None)
        }
    };
    assert_eq!(told.can_sync_now, decision.is_none(), "{step}: told {told:?}, answered {decision:?}");
    let (action, reason) = decision.map_or((Action::Start, Reason::Ready), |it| (it.action, it.reason));
    for said in [told.decision, why.status.decision] {
        assert_eq!((said.action, said.reason), (action, reason), "{step}");
        let metadata = decision.map(|it| it.metadata).unwrap_or_default();
        assert_eq!(said.metadata.required_budget, metadata.required_budget, "{step}");
        assert_eq!(said.metadata.available_budget, metadata.available_budget, "{step}");
        assert_eq!(said.metadata.blocked_until, metadata.blocked_until, "{step}");
        let rest = said.metadata.cooldown_ms.unwrap_or(0) - metadata.cooldown_ms.unwrap_or(0);
        assert!((0..60_000).contains(&rest), "{step}: {said:?}, {decision:?}");
    }
    let last = service.why(source, Some("commits")).await.unwrap().remove(0).last.unwrap();
    assert_eq!((last.trigger, last.action, last.reason, last.sync), (Trigger::Manual, action, reason, sync));
    reason
}

async fn what_can_be_synced_now_is_what_a_request_answers(database: Database) {
    // One whose walk meets every reason.
    let seed = 7;
    // Its window is longer than the walk, so that a budget is short whenever it was counted a while ago.
    let sim = seeded(91, 1, 5, "", "window=8640000").await;
    let scene = Scene::with_source(database, &sim, &["acme/repo-1"]).await;
    let engines = two_engines(&scene.database).await;
    let mut dice = Dice(seed);
    let mut met = BTreeSet::new();
    for nth in 0..STEPS {
        let engine = &engines[dice.index(2)];
        let move_ = dice.of(9);
        let step = format!("seed {seed}, step {nth}, move {move_}");
        let sql = async |sql: &str| scene.database.execute(sql).await;
        match move_ {
            0 => {
                let minutes = [1, 20, 61, 60 * 49][dice.index(4)];
                for it in &engines {
                    it.clock().advance(SignedDuration::from_mins(minutes));
                }
            }
            1 | 2 => work_off(&engines[0], &scene).await,
            3 => {
                for sync in engine.syncs(None, 1).await.unwrap() {
                    engine.cancel(sync.id).await.unwrap();
                }
            }
            4 => {
                let changes = SourceChanges { enabled: Some(dice.of(2) > 0), ..SourceChanges::default() };
                engine.update_source(SOURCE, changes).await.unwrap();
            }
            // A source of nobody, and one with nothing to read, as damage or a change of settings leaves them.
            5 => sql("update sources set tenant_id = case when tenant_id is null then 1 end").await,
            6 => sql("update partitions set active = not active").await,
            // Another tool on the same credential has spent the budget.
            7 => {
                let now = engine.clock().now();
                let resets_at = (now + SignedDuration::from_mins(30)).as_millisecond();
                let observed_at = now.as_millisecond();
                sql("update sources set account = 'known' where account is null").await;
                let spent = format!(
                    "insert into budgets (account, bucket, request_limit, remaining, resets_at, observed_at)
                     select account, 'core', 5000, 1, {resets_at}, {observed_at} from sources where true
                     on conflict (account, bucket) do update set request_limit = excluded.request_limit,
                         remaining = excluded.remaining, resets_at = excluded.resets_at,
                         observed_at = excluded.observed_at"
                );
                sql(&spent).await;
            }
            // All is well.
            _ => {
                sql("update partitions set active = true").await;
                sql("update sources set tenant_id = 1, enabled = true").await;
            }
        }
        // What was only forgotten in another process's memory would show here.
        for engine in [&engines[dice.index(2)], &engines[dice.index(2)]] {
            met.insert(compare(engine, &step).await.as_str());
        }
    }
    let all: BTreeSet<&str> = Reason::ALL.iter().map(|it| it.as_str()).collect();
    assert_eq!(met, all, "seed {seed}: not every reason came up");
    for engine in &engines {
        engine.close().await;
    }
}

/// Works until no sync is under way.
async fn work_off(service: &SyncService, scene: &Scene) {
    let work = Work::begin(service);
    let going = "select count(*) from syncs where state = 'running'";
    let idle = async || (scene.database.number(going).await == 0).then_some(());
    until("every sync closes", Duration::from_secs(40), idle).await;
    work.end().await;
}

async fn one_line_says_what_keeps_it_and_until_when(database: Database) {
    let sim = seeded(92, 2, 10, "denied=acme/repo-2", "").await;
    let scene = Scene::with_source(database, &sim, &["acme/repo-1", "acme/repo-2"]).await;
    let told = async |scene: &Scene| -> Value {
        let ended = scene.run(&["why", SOURCE, "--group", "commits", "--json"]).await;
        ended.expect_code(0);
        ended.json()["groups"][0].clone()
    };
    let says = |it: &Value, words: &str| assert!(it["why"].as_str().unwrap().contains(words), "{it:#}");
    let new = told(&scene).await;
    says(&new, "nothing stands in the way: it can be synced now; by itself due now");
    assert_eq!((&new["canSyncNow"], &new["lastDecision"]), (&true.into(), &Value::Null), "{new:#}");

    let sync = scene.sync().await.json();
    let denied = told(&scene).await;
    says(&denied, "1 part cannot be read, tried again from ");
    assert!(denied["nextProbeAt"].as_i64().unwrap() > sync["closedAt"].as_i64().unwrap(), "{denied:#}");
    let last = &denied["lastDecision"];
    assert_eq!((&last["trigger"], &last["action"]), (&"manual".into(), &"start".into()), "{denied:#}");
    assert_eq!((&last["reason"], &last["sync"]), (&"ready".into(), &sync["id"]), "{denied:#}");

    // A limit in another century, which ends within the hour.
    sim.world().set_state("acme/repo-2", State::Ok).unwrap();
    let entered = scene.run(&["sync", "start", "--source", SOURCE, "--group", "commits", "--json"]).await;
    let sync = &entered.json()["id"];
    says(&told(&scene).await, &format!("sync {sync} is under way, 0 of "));
    let later = "update jobs set state = 'scheduled', not_before = 4102444800000 where state = 'available'";
    scene.database.execute(later).await;
    let blocked = told(&scene).await;
    says(&blocked, "jobs wait for GitHub until 2100-01-01 ");
    assert_eq!((&blocked["blockedJobs"], &blocked["canSyncNow"]), (&2.into(), &false.into()), "{blocked:#}");
    scene.run(&["sync", "cancel", &sync.to_string()]).await.expect_code(0);

    let off = scene.run(&["why", SOURCE]).await;
    off.expect_code(0).expect_words("last asked for by manual at ");
    let scene = scene.set("SYNC_ENABLED", "false");
    let unscheduled = told(&scene).await;
    says(&unscheduled, "it can be synced now; ");
    says(&unscheduled, "; never by itself, as sync_enabled is false");
    let server = Server::start(&scene).await;
    let path = format!("/api/v1/sources/{}/why", scene.database.number("select min(id) from sources").await);
    let over_http = server.admin().get(&format!("{path}?group=commits")).await.expect(200);
    assert_eq!(over_http["groups"][0], told(&scene).await);
    server.admin().get(&format!("{path}?group=dreams")).await.expect_problem(404, "unknown");
    server.stop().await;
    let scene = scene.unset("SYNC_ENABLED");
    scene.run(&["source", "schedule", SOURCE, "--group", "commits", "--off"]).await.expect_code(0);
    says(&told(&scene).await, "never by itself, as its schedule is off");
    scene.run(&["source", "disable", SOURCE]).await.expect_code(0);
    let disabled = told(&scene).await;
    says(&disabled, "`acme` is switched off: let syncs begin again with `syncline source enable acme`");
    assert!(!disabled["why"].as_str().unwrap().contains(';'), "{disabled:#}");
}
