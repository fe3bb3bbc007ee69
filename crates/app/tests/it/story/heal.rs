//! Self-healing: a provider that hides what happened is asked once without validators, and one that has nothing is left
//! alone.
//!
//! Time is moved by hand, ours and the provider's alike.

use std::time::Duration;

use domain::id::SourceId;
use domain::page::Headers;
use domain::policy::status::State;
use domain::trigger::Trigger;
use engine::{Clock, Requested, Schedule, SyncService};
use jiff::SignedDuration;
use serde_json::Value;
use sim::{Delivery, Hook, Outbox, Sim};

use crate::support::{
    Database, SOURCE, Scene, Server, Work, assert_kept_rules, assert_truth, on_both, seeded, service_at,
    until,
};

on_both!(
    what_a_stale_cache_hides_is_read_once_without_validators,
    a_quiet_repository_is_read_once_for_each_sign_and_the_third_in_vain_warns,
    what_is_lost_late_or_hidden_is_found_and_what_was_lost_is_estimated,
);

/// No story here takes longer, on a machine that is busy with other tests too.
const SOON: Duration = Duration::from_mins(2);

const REPOS: [&str; 2] = ["acme/repo-1", "acme/repo-2"];

/// A source that was read once, its provider, and the clock of both.
struct Life {
    sim: Sim,
    scene: Scene,
    clock: Clock,
    service: SyncService,
    source: SourceId,
}

impl Life {
    async fn begin(database: Database, seed: u64) -> Self {
        let sim = seeded(seed, REPOS.len(), 20, "", "").await;
        let scene = Scene::with_source(database, &sim, &REPOS).await;
        let clock = Clock::default();
        let service = service_at(&scene.database, Schedule::default(), &clock).await;
        let source = service.source(SOURCE).await.unwrap().id;
        let life = Self { sim, scene, clock, service, source };
        life.pass(SignedDuration::ZERO);
        life.sync().await;
        life
    }

    /// Lets time pass, here and at the provider.
    fn pass(&self, time: SignedDuration) {
        self.clock.advance(time);
        self.sim.set_time(Some(self.clock.now().as_millisecond()));
    }

    fn days(&self, days: i64) {
        self.pass(SignedDuration::from_hours(24 * days));
    }

    /// Works until nothing is under way.
    async fn work(&self) {
        let work = Work::begin(&self.service);
        let open = "select count(*) from jobs where state not in ('completed', 'discarded', 'cancelled')";
        let none = async || (self.scene.database.number(open).await == 0).then_some(());
        until("all jobs ended", SOON, none).await;
        work.end().await;
    }

    /// Reads all, as the schedule would.
    async fn sync(&self) {
        let asked = self.service.request_source(self.source, "commits", Trigger::Cron).await.unwrap();
        assert!(matches!(asked, Requested::Started { .. }), "{asked:?}");
        self.work().await;
    }

    /// Runs the chore, and returns what it counted.
    async fn heal(&self, what: &str) -> u64 {
        let last = self.service.run_chore("heal").await.unwrap().last.unwrap();
        assert_eq!(last.error, None);
        last.did[what]
    }

    /// Delivers something.
    async fn deliver(&self, it: &Delivery) {
        let headers = Headers(it.headers.clone());
        let delivery = domain::connector::delivery::Delivery { headers: &headers, body: &it.body };
        self.service.receive(Some(self.source), delivery).await.unwrap().unwrap();
        self.pass(SignedDuration::from_secs(3));
        self.service.follow_hints().await.unwrap();
        self.work().await;
    }

    async fn state(&self) -> State {
        let groups = self.service.status(Some(self.source)).await.unwrap();
        groups.iter().find(|it| it.group == "commits").unwrap().state
    }

    async fn count(&self, what: &str) -> i64 {
        self.scene.database.number(&format!("select count(*) from {what}")).await
    }

    /// Counts how often GitHub's cache was asked that is behind.
    fn lies(&self) -> u64 {
        self.sim.report().faults_served.get("stale").copied().unwrap_or_default()
    }

    async fn end(self) {
        assert_truth(&self.scene.database, &self.sim, &REPOS).await;
        assert_kept_rules(&self.sim);
        self.service.close().await;
    }
}

async fn what_a_stale_cache_hides_is_read_once_without_validators(database: Database) {
    let life = Life::begin(database, 81).await;
    life.days(2);
    life.sim.set_faults("stale=acme/repo-1".parse().unwrap());
    let head = life.sim.world().push(REPOS[0], "main", 3).unwrap();
    let landed = format!("commits where sha = '{head}'");
    life.pass(SignedDuration::from_hours(23));
    life.sync().await;
    assert_eq!((life.count(&landed).await, life.lies()), (0, 1), "GitHub says that nothing has changed");
    assert_eq!(life.heal("suspected").await, 0, "what came last is not three days old");
    life.pass(SignedDuration::from_mins(61));
    assert_eq!(life.heal("suspected").await, 1);
    life.pass(SignedDuration::from_mins(4));
    assert_eq!(life.heal("started").await, 0, "five minutes are not over");
    life.pass(SignedDuration::from_mins(1));
    assert_eq!(life.heal("started").await, 1);
    assert_eq!(life.state().await, State::Recovering);
    assert_eq!(life.count("syncs where trigger = 'recovery' and not whole").await, 1);
    life.work().await;
    assert_eq!((life.count(&landed).await, life.lies()), (1, 1), "it was asked without validators");
    assert_eq!(life.state().await, State::Idle);
    assert_eq!(life.heal("healed").await, 1);
    // It goes on lying of what is known by now, and nobody asks again for it.
    for _ in 0..5 {
        life.days(1);
        life.sync().await;
        assert_eq!(life.heal("suspected").await, 0);
    }
    assert_eq!(life.count("syncs where trigger = 'recovery'").await, 1);
    assert!(life.lies() > 1);
    life.end().await;
}

async fn a_quiet_repository_is_read_once_for_each_sign_and_the_third_in_vain_warns(database: Database) {
    let life = Life::begin(database, 82).await;
    let secret = life.service.make_webhook_secret(life.source).await.unwrap().expose().to_owned();
    let mut outbox = Outbox::new(life.sim.world()).unwrap();
    let mut late = Vec::new();
    for _ in 0..4 {
        life.sim.world().push(REPOS[1], "main", 1).unwrap();
        late.extend(outbox.collect(life.sim.world(), Hook::GitHub, &secret).unwrap());
    }
    life.sync().await;
    let daily = async || {
        let before = life.sim.report().requests;
        life.days(1);
        life.sync().await;
        assert_eq!(life.heal("suspected").await, 0);
        life.sim.report().requests - before
    };
    daily().await;
    let usual = daily().await;
    for nth in 1..=3 {
        life.days(5);
        // What it tells of has been here for days.
        life.deliver(&late.pop().unwrap()).await;
        assert_eq!(life.heal("suspected").await, 1);
        life.pass(SignedDuration::from_mins(6));
        assert_eq!(life.heal("started").await, 1);
        life.work().await;
        assert_eq!(life.heal("quiet").await, 1);
        for _ in 0..3 {
            assert_eq!(daily().await, usual, "what is quiet costs nothing");
        }
        assert_eq!(life.count("syncs where trigger = 'recovery'").await, nth);
        let told = life.scene.run(&["status", "--json"]).await.json();
        let of = |told: &Value| told["sources"].as_array().unwrap()[0].clone();
        assert_eq!(of(&told)["recoveryAttempts"], nth, "{told:#}");
        assert_eq!(of(&told)["escalation"].is_string(), nth == 3, "{told:#}");
    }
    for words in [&["status"][..], &["why", SOURCE]] {
        life.scene.run(words).await.expect_code(0).expect_words("webhooks may have stopped");
    }
    let server = Server::start_with(&life.scene, &[("SYNC_ENABLED", "false")]).await;
    let shown = server.admin().get("/api/v1/status").await.expect(200);
    assert_eq!(shown["sources"][0]["recoveryAttempts"], 3, "{shown:#}");
    assert!(shown["sources"][0]["escalation"].is_string(), "{shown:#}");
    let health = server.admin().get("/api/health?deep=1").await.expect(200);
    assert_eq!(health["status"], "degraded", "{health:#}");
    server.stop().await;
    // Something comes, and all is well.
    life.sim.world().push(REPOS[0], "main", 1).unwrap();
    life.sync().await;
    life.heal("suspected").await;
    let told = life.scene.run(&["status", "--json"]).await.json();
    assert_eq!(
        (&told["sources"][0]["recoveryAttempts"], &told["sources"][0]["escalation"]),
        (&0.into(), &Value::Null)
    );
    life.end().await;
}

async fn what_is_lost_late_or_hidden_is_found_and_what_was_lost_is_estimated(database: Database) {
    let life = Life::begin(database, 83).await;
    let secret = life.service.make_webhook_secret(life.source).await.unwrap().expose().to_owned();
    let mut outbox = Outbox::new(life.sim.world()).unwrap();
    let mut push = |name: &str| {
        life.sim.world().push(name, "main", 1).unwrap();
        outbox.collect(life.sim.world(), Hook::GitHub, &secret).unwrap().remove(0)
    };
    let (mut pushed, mut lost) = (0_u64, 0_u64);
    for round in 0..10 {
        let mut late = Vec::new();
        for (nth, name) in REPOS.into_iter().enumerate() {
            let delivery = push(name);
            pushed += 1;
            match (round + nth) % 4 {
                0 => lost += 1,
                1 => late.push(delivery),
                _ => life.deliver(&delivery).await,
            }
        }
        life.pass(SignedDuration::from_mins(10));
        life.sync().await;
        life.pass(SignedDuration::from_mins(20));
        for it in &late {
            life.deliver(it).await;
        }
        life.pass(SignedDuration::from_hours(2));
    }
    // One is lost, and GitHub hides what it was of.
    life.sim.set_faults("stale=acme/repo-1".parse().unwrap());
    drop(push(REPOS[0]));
    (pushed, lost) = (pushed + 1, lost + 1);
    life.days(4);
    life.sync().await;
    assert_eq!(life.heal("suspected").await, 1);
    life.pass(SignedDuration::from_mins(6));
    assert_eq!(life.heal("started").await, 1);
    life.work().await;
    assert_eq!(life.heal("healed").await, 1);
    assert_truth(&life.scene.database, &life.sim, &REPOS).await;
    life.pass(SignedDuration::from_hours(2));
    life.heal("suspected").await;
    let told = life.scene.run(&["webhook", "deliveries", SOURCE, "--json"]).await.json();
    let of = |what: &str| told["missed"][0][what].as_u64().unwrap();
    assert_eq!(told["missed"][0]["group"], "commits", "{told:#}");
    assert_eq!(of("found"), pushed, "each push moved a branch");
    assert!(of("missed").abs_diff(lost) <= 1, "{} of {pushed} estimated, {lost} were lost", of("missed"));
    life.scene
        .run(&["webhook", "deliveries", SOURCE])
        .await
        .expect_code(0)
        .expect_words("were not delivered");
    life.scene.run(&["why", SOURCE]).await.expect_code(0).expect_words("were not delivered");
    life.heal("suspected").await;
    let again = life.scene.run(&["webhook", "deliveries", SOURCE, "--json"]).await.json();
    assert_eq!(again["missed"], told["missed"], "nothing is counted twice");
    life.end().await;
}
