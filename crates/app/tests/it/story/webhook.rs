//! Deliveries: however many come, in whatever order, twice, forged, or never, what is read in the end is the truth, and it
//! takes few syncs.
//!
//! Senders and server are apart, as they are in life: all is judged by answers and by what stands in the database.

use std::time::Duration;

use domain::id::SourceId;
use domain::page::Headers;
use domain::policy::Reason;
use domain::trigger::Trigger;
use engine::{
    AddSource, Arrived, Clock, Schedule, Secret, SourceChanges, SyncService, Target, TargetsRequested,
};
use jiff::SignedDuration;
use rustix::process::Signal;
use serde_json::Value;
use sim::{Delivery, Hook, Mishaps, Outbox, Sim};

use crate::support::{
    Database, Host, Kind, SOURCE, Scene, Sender, Server, TOKEN, Work, assert_kept_rules, assert_site,
    assert_truth, epoch_ms, on_both, seeded, service_at, until, work,
};

on_both!(
    a_thousand_deliveries_with_kills_take_few_syncs_and_none_is_lost,
    what_is_lost_or_late_is_found_by_polling,
    the_first_delivery_of_a_source_begins_to_read_it,
    what_the_policy_refuses_is_followed_later,
    what_is_damaged_of_one_source_keeps_no_other_waiting,
);

/// No story here takes longer, on a machine that is busy with other tests too.
const SOON: Duration = Duration::from_mins(2);

const REPOS: [&str; 3] = ["acme/repo-1", "acme/repo-2", "acme/repo-3"];

/// Makes the secret of the story's source.
async fn secret(scene: &Scene) -> String {
    let made = scene.run(&["webhook", "secret", SOURCE, "--json"]).await;
    made.expect_code(0);
    made.json()["secret"].as_str().unwrap().to_owned()
}

/// Waits until nothing waits and nothing runs.
async fn settled(scene: &Scene) {
    let sql = "select (select count(*) from hints where state = 'waiting')
        + (select count(*) from jobs where state not in ('completed', 'discarded', 'cancelled'))";
    let still = async || (scene.database.number(sql).await == 0).then_some(());
    until("all hints are followed and all jobs ended", SOON, still).await;
}

/// Pushes so often, in turn to each repository, and returns a delivery of each push.
fn pushes(sim: &Sim, outbox: &mut Outbox, hook: Hook, secret: &str, count: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    for nth in 0..count {
        sim.world().push(REPOS[nth % REPOS.len()], "main", 1).unwrap();
        deliveries.extend(outbox.collect(sim.world(), hook, secret).unwrap());
    }
    assert_eq!(deliveries.len(), count);
    deliveries
}

/// A server that only follows deliveries.
async fn listening(scene: &Scene) -> Server {
    Server::start_with(scene, &[("SYNCLINE_LOG", "info"), ("SYNC_ENABLED", "false")]).await
}

async fn a_thousand_deliveries_with_kills_take_few_syncs_and_none_is_lost(database: Database) {
    let sim = seeded(71, REPOS.len(), 30, "", "").await;
    let scene = Scene::with_source(database, &sim, &REPOS).await;
    scene.completes().await;
    let secret = secret(&scene).await;
    let mut outbox = Outbox::new(sim.world()).unwrap();
    let sent = pushes(&sim, &mut outbox, Hook::GitHub, &secret, 1_000);
    let (mut waiting, late) = Mishaps { seed: 7, twice: 20, forged: 15, ..Mishaps::default() }.befall(sent);
    assert!(late.is_empty());
    let forged = waiting.iter().filter(|it| !it.genuine).count();
    assert!(waiting.len() > 1_250 && forged > 100, "{} of {}", forged, waiting.len());
    let (mut refused, mut rounds) = (0, 0);
    while !waiting.is_empty() {
        let mut server = listening(&scene).await;
        let sender = Sender::new(&server.url, 1);
        let rest = if rounds < 2 { waiting.split_off(waiting.len() / 3) } else { Vec::new() };
        let (mut again, mut answers) = (Vec::new(), 0);
        let enough = waiting.len() / 2;
        sender
            .send_all(std::mem::take(&mut waiting), |delivery, status| {
                answers += 1;
                if rounds < 2 && answers == enough {
                    server.signal(Signal::KILL);
                }
                match (status, delivery.genuine) {
                    (Some(200 | 202), true) => {}
                    (Some(401), false) => refused += 1,
                    // The server was killed, or had all it could do: a provider delivers again.
                    (None | Some(429 | 503), _) => again.push(delivery),
                    (status, genuine) => panic!("genuine: {genuine}, answered {status:?}"),
                }
            })
            .await;
        assert!(rounds >= 2 || !again.is_empty(), "nothing was under way when it was killed");
        waiting = [again, rest].concat();
        if rounds < 2 {
            assert_eq!(server.ended_within(SOON).await, None);
        } else {
            settled(&scene).await;
            server.stop().await;
        }
        rounds += 1;
        assert!(rounds < 10, "{} are never answered", waiting.len());
    }
    assert_eq!(refused, forged, "every forged one is refused");
    let number = async |sql: &str| scene.database.number(sql).await;
    assert_eq!(number("select count(*) from deliveries").await, 1_000, "each is kept once");
    assert_eq!(number("select count(*) from hints where state <> 'done' or sync_id is null").await, 0);
    assert_eq!(number("select count(*) from deliveries where id like 'forged%'").await, 0);
    let syncs = number("select count(*) from syncs where trigger = 'webhook'").await;
    assert!((1..=40).contains(&syncs), "{syncs} syncs for a thousand deliveries");
    assert_truth(&scene.database, &sim, &REPOS).await;
    assert_kept_rules(&sim);
}

async fn what_is_lost_or_late_is_found_by_polling(database: Database) {
    let sim = seeded(72, REPOS.len(), 30, "", "").await;
    let host = Host::of("gitlab");
    let scene = Scene::at_host(host, database, &sim, &REPOS).await.set("SYNC_INTERVAL_COMMITS", "2s");
    scene.completes().await;
    let secret = secret(&scene).await;
    let server = Server::start(&scene).await;
    let sender = Sender::new(&server.url, 1);
    let mut outbox = Outbox::new(sim.world()).unwrap();
    let mut late = Vec::new();
    for seed in 0..4 {
        let hook = Hook::GitLabSigned(epoch_ms() / 1_000);
        let sent = pushes(&sim, &mut outbox, hook, &secret, 9);
        let mishaps = Mishaps { seed, lost: 40, late: 40, twice: 10, forged: 10 };
        let (soon, later) = mishaps.befall(sent);
        // What was late in the last round comes now, after what happened since.
        let now = [soon, std::mem::replace(&mut late, later)].concat();
        sender
            .send_all(now, |it, status| {
                let expected: &[u16] = if it.genuine { &[200, 202] } else { &[401] };
                assert!(status.is_some_and(|it| expected.contains(&it)), "{status:?}");
            })
            .await;
    }
    // Nothing is delivered any more: what was lost is found by the schedule alone.
    let heads = async || {
        let truth = sim.world().truth().unwrap();
        let mut all = 0;
        for name in REPOS {
            let head = &truth.repositories[name].branches["main"].head;
            all += scene.database.number(&format!("select count(*) from commits where sha = '{head}'")).await;
        }
        (all == 3).then_some(())
    };
    until("every head is read", SOON, heads).await;
    server.stop().await;
    scene.completes().await;
    assert_truth(&scene.database, &sim, &REPOS).await;
    let delivered = scene.database.number("select count(*) from deliveries").await;
    assert!((1..36).contains(&delivered), "{delivered}");
    assert_kept_rules(&sim);
}

async fn the_first_delivery_of_a_source_begins_to_read_it(database: Database) {
    let sim = seeded(73, REPOS.len(), 30, "", "").await;
    let scene = Scene::with_source(database, &sim, &REPOS).await;
    let secret = secret(&scene).await;
    let server = listening(&scene).await;
    let mut outbox = Outbox::new(sim.world()).unwrap();
    let sent = pushes(&sim, &mut outbox, Hook::GitHub, &secret, 1);
    assert_eq!(Sender::new(&server.url, 1).send(&sent[0]).await, Some(202));
    settled(&scene).await;
    server.stop().await;
    let sync = "select count(*) from syncs where trigger = 'webhook' and whole and state = 'completed'";
    assert_eq!(scene.database.number(sync).await, 1);
    assert_truth(&scene.database, &sim, &REPOS).await;
    let told = scene.run(&["webhook", "deliveries", SOURCE, "--json"]).await;
    told.expect_code(0);
    let delivery = &told.json()["deliveries"][0];
    assert_eq!(
        (&delivery["event"], &delivery["hints"][0]["sync"]),
        (&"push".into(), &1.into()),
        "{delivery:#}"
    );
    scene.run(&["webhook", "deliveries", SOURCE]).await.expect_code(0).expect_words("sync 1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_jira_delivers_is_read() {
    let sim = seeded(74, 1, 5, "", "").await;
    let scene = Scene::with_jira(Database::sqlite(), Kind::Cloud, &sim, &[]).await;
    scene.completes().await;
    let secret = secret(&scene).await;
    let server = listening(&scene).await;
    let mut outbox = Outbox::new(sim.world()).unwrap();
    let issue = sim.world().site().truth().issues.keys().next().unwrap().to_string();
    work(&sim, serde_json::json!({ "edit": { "issue": issue, "summary": "Delivered" } }));
    let sent = outbox.collect(sim.world(), Hook::Jira(epoch_ms()), &secret).unwrap();
    assert_eq!(sent.len(), 1);
    let sender = Sender::new(&server.url, 1);
    assert_eq!(sender.send(&sent[0]).await, Some(202));
    assert_eq!(sender.send(&sent[0]).await, Some(200), "it came before");
    settled(&scene).await;
    let shown: Value = server.admin().get("/api/v1/sources/1/deliveries").await.expect(200);
    assert_eq!(shown["deliveries"][0]["event"], "jira:issue_updated", "{shown:#}");
    server.stop().await;
    let now = jiff::Timestamp::from_millisecond(epoch_ms()).unwrap();
    assert_site(&scene.database, SOURCE, Kind::Cloud, &sim, now).await;
}

/// Hands a delivery to an engine in this process, and fails unless its hints wait then.
async fn receive(service: &SyncService, source: SourceId, it: &Delivery) {
    let headers = Headers(it.headers.clone());
    let delivery = domain::connector::delivery::Delivery { headers: &headers, body: &it.body };
    let receipt = service.receive(Some(source), delivery).await.unwrap().unwrap();
    assert_eq!(receipt.arrived, Arrived::Waiting);
}

/// Returns how often hints were asked for and not let through, by the reason.
async fn refused(database: &Database, reason: &str) -> i64 {
    let sql = format!(
        "select count(*) from events where name = 'sync.request' and fields like '%webhook%' and fields like '%{reason}%'"
    );
    database.number(&sql).await
}

/// Works until no sync is under way.
async fn syncs_ended(database: &Database, service: &SyncService) {
    let work = Work::begin(service);
    let open = "select count(*) from syncs where state = 'running'";
    let none = async || (database.number(open).await == 0).then_some(());
    until("all syncs ended", SOON, none).await;
    work.end().await;
}

async fn what_is_damaged_of_one_source_keeps_no_other_waiting(database: Database) {
    let sims = [seeded(76, 1, 5, "", "").await, seeded(77, 1, 5, "", "").await];
    let clock = Clock::default();
    let service = service_at(&database, Schedule::default(), &clock).await;
    let mut sources = Vec::new();
    for (name, sim) in ["damaged", "sound"].into_iter().zip(&sims) {
        let add = AddSource {
            provider: "github".to_owned(),
            name: name.to_owned(),
            base_url: Some(sim.github_url()),
            options: serde_json::json!({ "repos": [REPOS[0]] }),
            token: Some(Secret::from(TOKEN.1.to_owned())),
        };
        let source = service.add_source(add).await.unwrap();
        service.request_source(source, "commits", Trigger::Manual).await.unwrap();
        sources.push((source, service.make_webhook_secret(source).await.unwrap().expose().to_owned()));
    }
    syncs_ended(&database, &service).await;
    service.prepare_schedules().await.unwrap();
    for ((source, secret), sim) in sources.iter().zip(&sims) {
        let mut outbox = Outbox::new(sim.world()).unwrap();
        sim.world().push(REPOS[0], "main", 1).unwrap();
        for delivery in outbox.collect(sim.world(), Hook::GitHub, secret).unwrap() {
            receive(&service, *source, &delivery).await;
        }
    }
    let (damaged, sound) = (sources[0].0.0, sources[1].0.0);
    let account = format!("(select account from sources where id = {damaged})");
    // A time that no calendar has, in the budget that the policy asks for.
    database.execute(&format!("update budgets set resets_at = {} where account = {account}", i64::MAX)).await;
    clock.advance(SignedDuration::from_secs(3));
    assert_eq!(service.follow_hints().await.unwrap(), 1, "those of the sound one");
    clock.advance(SignedDuration::from_mins(40));
    assert!(service.fire_due().await.unwrap() > 0);
    let asked = |source: i64| {
        format!("select count(*) from syncs where source_id = {source} and trigger in ('webhook', 'cron')")
    };
    assert!(database.number(&asked(sound)).await > 1, "its hints and its ticks");
    assert_eq!(database.number(&asked(damaged)).await, 0);
    let waiting = format!("select count(*) from hints where source_id = {damaged} and state = 'waiting'");
    assert_eq!(database.number(&waiting).await, 1, "a hint is never lost");
    // What was expected of an earlier sync keeps nobody from the next one, and the plan of the others is told.
    let (mended, bogus) = ("update budgets set resets_at = null", "update forecasts set state = 'bogus'");
    database.execute(&format!("{mended} where account = {account}")).await;
    database.execute(&format!("{bogus} where source_id = {damaged}")).await;
    clock.advance(SignedDuration::from_hours(1));
    assert_eq!(service.follow_hints().await.unwrap(), 1);
    assert_eq!(service.plan(None, 100).await.unwrap().plans.len(), 4);
    syncs_ended(&database, &service).await;
    for sim in &sims {
        let head = &sim.world().truth().unwrap().repositories[REPOS[0]].branches["main"].head;
        let read = format!("select count(*) from commits where sha = '{head}'");
        assert_eq!(database.number(&read).await, 1, "what was pushed is read of both");
    }
    service.close().await;
}

async fn what_the_policy_refuses_is_followed_later(database: Database) {
    let sim = seeded(75, REPOS.len(), 20, "", "").await;
    let clock = Clock::default();
    let service = service_at(&database, Schedule::default(), &clock).await;
    let add = AddSource {
        provider: "github".to_owned(),
        name: SOURCE.to_owned(),
        base_url: Some(sim.github_url()),
        options: serde_json::json!({ "repos": REPOS }),
        token: Some(Secret::from(TOKEN.1.to_owned())),
    };
    let source = service.add_source(add).await.unwrap();
    let secret = service.make_webhook_secret(source).await.unwrap().expose().to_owned();
    let ended = async || syncs_ended(&database, &service).await;
    service.request_source(source, "commits", Trigger::Manual).await.unwrap();
    let mut outbox = Outbox::new(sim.world()).unwrap();
    let mut sent = pushes(&sim, &mut outbox, Hook::GitHub, &secret, 4);
    // While all of it is read, hints wait, and the policy is asked once.
    receive(&service, source, &sent.remove(0)).await;
    clock.advance(SignedDuration::from_secs(3));
    for _ in 0..3 {
        assert_eq!(service.follow_hints().await.unwrap(), 0);
        clock.advance(SignedDuration::from_secs(3));
    }
    assert_eq!(refused(&database, "already_syncing").await, 1);
    receive(&service, source, &sent.remove(0)).await;
    ended().await;
    assert_eq!(service.follow_hints().await.unwrap(), 2, "both are followed once");
    ended().await;
    // Where the source is switched off, they wait until it is not.
    let off = SourceChanges { enabled: Some(false), ..SourceChanges::default() };
    service.update_source(SOURCE, off).await.unwrap();
    receive(&service, source, &sent.remove(0)).await;
    clock.advance(SignedDuration::from_secs(3));
    assert_eq!(service.follow_hints().await.unwrap(), 0);
    let on = SourceChanges { enabled: Some(true), ..SourceChanges::default() };
    service.update_source(SOURCE, on).await.unwrap();
    clock.advance(SignedDuration::from_secs(3));
    assert_eq!(service.follow_hints().await.unwrap(), 0, "not asked again so soon");
    clock.advance(SignedDuration::from_mins(5));
    assert_eq!(service.follow_hints().await.unwrap(), 1);
    ended().await;
    // Below the floor they wait for the reset.
    let low = clock.now() + SignedDuration::from_mins(30);
    let sql = format!(
        "update budgets set remaining = 1, resets_at = {0}, observed_at = {1}",
        low.as_millisecond(),
        clock.now().as_millisecond()
    );
    database.execute(&sql).await;
    receive(&service, source, &sent.remove(0)).await;
    clock.advance(SignedDuration::from_secs(3));
    assert_eq!(service.follow_hints().await.unwrap(), 0);
    assert_eq!(refused(&database, "rate_limited").await, 1);
    clock.advance(SignedDuration::from_mins(29));
    assert_eq!(service.follow_hints().await.unwrap(), 0);
    clock.advance(SignedDuration::from_mins(2));
    assert_eq!(service.follow_hints().await.unwrap(), 1);
    ended().await;
    assert_truth(&database, &sim, &REPOS).await;
    service.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hook_at_the_simulator_is_followed() {
    let sim = seeded(76, REPOS.len(), 20, "", "").await;
    let scene = Scene::with_source(Database::sqlite(), &sim, &REPOS).await;
    scene.completes().await;
    let secret = secret(&scene).await;
    let server = listening(&scene).await;
    let hooks = format!("http://{}/__sim/hooks", sim.address());
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let hook = |url: String| {
        let mishaps = serde_json::json!({ "seed": 3, "twice": 50, "forged": 50 });
        let hook =
            serde_json::json!({ "provider": "github", "url": url, "secret": secret, "mishaps": mishaps });
        http.post(&hooks).body(hook.to_string()).send()
    };
    let refused = hook("https://sync.example.com".to_owned()).await.unwrap();
    assert_eq!(refused.status(), 400);
    let registered = hook(format!("{}/api/webhooks/1", server.url)).await.unwrap();
    assert_eq!(registered.status(), 200);
    for name in REPOS {
        sim.world().push(name, "main", 2).unwrap();
    }
    let delivered =
        async || (scene.database.number("select count(*) from deliveries").await == 3).then_some(());
    until("each push is delivered", SOON, delivered).await;
    settled(&scene).await;
    server.stop().await;
    assert_truth(&scene.database, &sim, &REPOS).await;
    let told: Value =
        serde_json::from_str(&http.get(&hooks).send().await.unwrap().text().await.unwrap()).unwrap();
    assert!(told["hooks"][0]["accepted"].as_u64() >= Some(3), "{told:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_repository_may_be_read_by_itself() {
    let sim = seeded(77, REPOS.len(), 20, "", "").await;
    let scene = Scene::with_source(Database::sqlite(), &sim, &REPOS).await;
    scene.completes().await;
    for name in REPOS {
        sim.world().push(name, "main", 1).unwrap();
    }
    let truth = sim.world().truth().unwrap();
    let id = truth.repositories[REPOS[1]].id.to_string();
    let of = ["--source", SOURCE, "--group", "commits", "--stream", "branches", "--partition"];
    let one = scene.run(&[&["sync", "start", "--wait", "--json"], &of[..], &[id.as_str()]].concat()).await;
    one.expect_code(0);
    assert_eq!(
        (&one.json()["state"], &one.json()["jobs"]),
        (&"completed".into(), &2.into()),
        "{}",
        one.told()
    );
    for (nth, name) in REPOS.into_iter().enumerate() {
        let head = &truth.repositories[name].branches["main"].head;
        let read = scene.database.number(&format!("select count(*) from commits where sha = '{head}'")).await;
        assert_eq!(read, i64::from(nth == 1), "{name}");
    }
    let unknown = scene.run(&[&["sync", "start", "--json"], &of[..], &["7"]].concat()).await;
    unknown.expect_code(2).expect_words("nothing that is read of `branches` has the key `7`");
    // Beside one that there is, it is not dropped in silence.
    let both = scene.run(&[&["sync", "start", "--json"], &of[..], &[id.as_str(), "7"]].concat()).await;
    both.expect_code(2).expect_words("nothing that is read of `branches` has the key `7`");
    scene.run(&["sync", "start", "--source", SOURCE, "--partition", "7"]).await.expect_code(2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cooldown_holds_for_one_repository_too() {
    let sim = seeded(78, 2, 5, "", "").await;
    let (database, clock) = (Database::sqlite(), Clock::default());
    let service = service_at(&database, Schedule::default(), &clock).await;
    let add = AddSource {
        provider: "github".to_owned(),
        name: SOURCE.to_owned(),
        base_url: Some(sim.github_url()),
        options: serde_json::json!({ "repos": REPOS[..2] }),
        token: Some(Secret::from(TOKEN.1.to_owned())),
    };
    let source = service.add_source(add).await.unwrap();
    for group in ["commits", "timeline"] {
        service.request_source(source, group, Trigger::Cron).await.unwrap();
        syncs_ended(&database, &service).await;
    }
    let truth = sim.world().truth().unwrap();
    // The timeline's cooldown is an hour.
    let asked = async |name: &str| {
        let partition = truth.repositories[name].id.to_string();
        let target = Target { stream: "issues".to_owned(), partition };
        service.request_targets(source, "timeline", vec![target], Trigger::Manual).await.unwrap()
    };
    let is_begun = |it: &TargetsRequested| matches!(it, TargetsRequested::Started { .. });
    assert!(is_begun(&asked(REPOS[0]).await));
    syncs_ended(&database, &service).await;
    let TargetsRequested::Refused { decision, .. } = asked(REPOS[0]).await else {
        panic!("past the cooldown")
    };
    assert_eq!(decision.reason, Reason::CooldownActive);
    assert!(decision.metadata.cooldown_ms.is_some_and(|rest| (3_500_000..=3_600_000).contains(&rest)));
    assert!(is_begun(&asked(REPOS[1]).await), "another one was not asked for");
    syncs_ended(&database, &service).await;
    clock.advance(SignedDuration::from_hours(1));
    assert!(is_begun(&asked(REPOS[0]).await));
    service.close().await;
}
