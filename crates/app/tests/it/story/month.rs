//! A month in which everything happens: people at work, faults, limits, restarts, kills, and clocks that are put forward
//! and back. In the end every record is what the simulator knows to be true.
//!
//! It must never wait for time to pass: the engines' clock and the providers' are moved together, by hand.

mod engines;
mod house;
mod ledger;
mod people;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use domain::policy::status::State;
use domain::trigger::Trigger;
use engine::{SyncService, provider_specs};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use sim::Faults;

use self::engines::Engines;
use self::house::{House, LAG_MS, Season, at, season};
use self::ledger::Cards;
use self::people::{Random, a_busy_minute, attempt, in_sight};
use crate::support::{Database, Kind, assert_kept_rules, every_record, on_both};

on_both!(
    two_days_end_at_the_truth,
    #[ignore = "long: thirty days of faults, restarts and changes of the clocks"]
    thirty_days_end_at_the_truth,
);

/// After this the whole of a large sprint was listed: by the sync after the hour is over.
const OVER_AN_HOUR: SignedDuration = SignedDuration::from_mins(65);

/// After this a partition that was refused is asked for again.
const OVER_A_DAY: SignedDuration = SignedDuration::from_hours(25);

/// After this a sprint that was closed is read again.
const OVER_A_WEEK: SignedDuration = SignedDuration::from_hours(7 * 24 + 1);

/// A round that takes longer hangs; most take a fraction of a second.
const ROUND_MAX: Duration = Duration::from_mins(1);

/// Rounds until every source is read without a fault; a spent quota takes an hour.
const ROUNDS_MAX: u32 = 20;

/// A tenant's sources: what each is called, and the house that it reads.
const SOURCES: [(&str, &str, usize); 5] = [
    ("red", "red-code", 0),
    ("red", "red-board", 0),
    ("blue", "blue-code", 1),
    ("blue", "blue-board", 1),
    // A token by itself, which has a quota.
    ("green", "green-board", 0),
];

/// What happens in the middle of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    None,
    /// The engines are stopped and started again.
    Restart,
    /// They end without a word.
    Kill,
    /// The machine sleeps for two hours.
    Doze,
    /// People go on working.
    Busy,
}

struct Month {
    random: Random,
    season: &'static Season,
    engines: Engines,
    houses: Vec<House>,
    start: Timestamp,
    end: Timestamp,
    /// Whether nothing was out of sight or refused since the last quiet day.
    is_calm: bool,
    pace: Pace,
    /// Says how to repeat it when it fails.
    _repeat: Repeat,
}

/// How often somebody looks, in minutes.
struct Pace {
    /// On most days.
    between: (i64, i64),
    /// One in so many rounds has faults.
    storms: u64,
    /// How far around a change of clocks every few minutes are looked at.
    watch: i64,
}

/// Prints the seed of a story that fails.
struct Repeat(u64);

impl Drop for Repeat {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to repeat it: SYNCLINE_TEST_SEED={}", self.0);
        }
    }
}

/// Returns the seed that was asked for, else another one for each database.
#[expect(clippy::disallowed_methods, reason = "a person repeats a story here")]
fn seed(database: &Database) -> u64 {
    let own = if database.is_sqlite() { 1 } else { 2 };
    std::env::var("SYNCLINE_TEST_SEED").map_or(own, |it| it.parse().expect("a whole number"))
}

const fn days(count: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * count)
}

async fn two_days_end_at_the_truth(database: Database) {
    let seed = seed(&database);
    let pace = Pace { between: (60, 180), storms: 1, watch: 40 };
    Month::begin(database, seed, (season(seed).short, 2), pace).await.lived().await;
}

async fn thirty_days_end_at_the_truth(database: Database) {
    let seed = seed(&database);
    let pace = Pace { between: (20, 220), storms: 3, watch: 120 };
    Month::begin(database, seed, (season(seed).start, 30), pace).await.lived().await;
}

async fn add_sources(engines: &Engines, houses: &[House]) {
    for (tenant, name, house) in SOURCES {
        let House { sim, kind, .. } = &houses[house];
        let (at, options) = match (name, tenant) {
            ("red-code", _) => (("github", sim.github_url()), json!({})),
            ("blue-code", _) => {
                (("github", sim.github_url()), json!({ "repos": ["acme/repo-1", "acme/repo-2"] }))
            }
            (_, "red") => (("jira", kind.url(sim)), json!({ "email": "me@acme.example" })),
            _ => (("jira", kind.url(sim)), json!({})),
        };
        engines.add(tenant, name, at, options).await;
    }
    engines.first().prepare_schedules().await.unwrap();
}

/// Moves the time of everybody. The providers come first: whoever waited for a moment finds that it has come.
fn move_on(engines: &mut Engines, houses: &[House], by: SignedDuration) {
    let by_ms = i64::try_from(by.as_millis()).unwrap();
    for house in houses {
        house.run_ahead(engines.ahead_ms + by_ms);
    }
    engines.move_on(by);
}

fn asked(houses: &[House]) -> u64 {
    houses.iter().map(|it| it.sim.report().requests).sum()
}

/// Lets the engines work until nothing can be done before time moves on, or until so many requests were made. Waits of
/// some seconds are made short.
async fn flow(engines: &mut Engines, houses: &[House], enough: u64) {
    let began = Instant::now();
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    loop {
        looks.tick().await;
        if asked(houses) >= enough || engines.are_idle().await {
            return;
        }
        assert!(began.elapsed() < ROUND_MAX, "a round at {} does not end", engines.now());
        if began.elapsed() > Duration::from_millis(250) {
            move_on(engines, houses, SignedDuration::from_millis(200));
        }
    }
}

/// Fires what is due, and works it off.
async fn undisturbed(engines: &mut Engines, houses: &[House]) {
    engines.tick().await;
    let working = engines.work();
    flow(engines, houses, u64::MAX).await;
    working.stop().await;
}

/// Goes on hour by hour until every source's last sync brought everything.
async fn complete(engines: &mut Engines, houses: &[House]) {
    for _ in 0..ROUNDS_MAX {
        if engines.are_done().await {
            return;
        }
        move_on(engines, houses, OVER_AN_HOUR);
        undisturbed(engines, houses).await;
    }
    let errors = "select name || ' ' || stream || ' ' || partition || ' ' || coalesce(error_code, '') || ' '
        || coalesce(error_detail, '') || ' ' || jobs.state from jobs join sources on sources.id = source_id
        where sync_id in (select max(id) from syncs group by source_id) and jobs.state <> 'completed'";
    panic!("at {} not all is read: {:#?}", engines.now(), engines.database.lines(errors).await);
}

impl Month {
    async fn begin(database: Database, seed: u64, (start, long): (&str, i64), pace: Pace) -> Self {
        let (season, start) = (season(seed), at(start));
        let houses = vec![
            House::build(seed, Kind::Cloud, season.zones[0], start).await,
            House::build(seed + 1, Kind::DataCenter, season.zones[1], start).await,
        ];
        let engines = Engines::open(database, start).await;
        add_sources(&engines, &houses).await;
        let (random, end) = (Random::new(seed), start + days(long));
        Self { random, season, engines, houses, start, end, is_calm: true, pace, _repeat: Repeat(seed) }
    }

    async fn lived(mut self) {
        let changes = self.season.changes.iter().map(|(it, house)| (at(it), *house));
        let mut changes: Vec<_> = changes.filter(|(it, _)| (self.start..self.end).contains(it)).collect();
        let mut week = self.start + days(7);
        while self.engines.now() < self.end {
            let now = self.engines.now();
            // A quiet day comes before it, and one everyday round may have been long, with a machine that slept.
            let rounds = self.pace.watch + self.pace.between.1 + 180;
            let lead = OVER_A_DAY + OVER_AN_HOUR * 4 + SignedDuration::from_mins(rounds);
            if let Some((change, house)) = changes.first().copied().filter(|(it, _)| *it - lead <= now) {
                changes.remove(0);
                self.watch(change, house).await;
            } else if now >= week {
                week += days(7);
                self.quiet(OVER_A_DAY).await;
                self.check("after a week", Cards::OfActiveSprints).await;
            } else {
                self.everyday().await;
            }
        }
        assert!(changes.is_empty(), "a change of clocks was not seen");
        self.finish().await;
    }

    /// A few hours as they come: weather, work, and trouble.
    async fn everyday(&mut self) {
        self.is_calm = false;
        self.staff().await;
        let (moved_at, zone) = self.season.moves;
        if self.engines.now() >= at(moved_at) {
            attempt(&self.houses[0].sim, json!({ "time_zone": zone }));
        }
        for house in &mut self.houses {
            let faults = format!(
                "seed={},5xx=0.02,cut=0.02,html=0.02,slow=0.002,secondary=0.01,reset=0.005",
                self.random.below(1 << 32)
            );
            let is_stormy = self.random.below(self.pace.storms) == 0;
            house.sim.set_faults(if is_stormy { faults.parse().unwrap() } else { Faults::default() });
            if self.random.below(6) == 0 {
                house.skew_ms = self.random.between(-90_000, 90_000);
            }
            house.set_lag(if self.random.below(3) == 0 { LAG_MS } else { 0 });
        }
        let minutes = self.random.between(self.pace.between.0, self.pace.between.1);
        for _ in 0..4 {
            move_on(&mut self.engines, &self.houses, SignedDuration::from_mins(minutes) / 4);
            for house in &mut self.houses {
                for _ in 0..self.random.below(2) {
                    house.work(&mut self.random);
                }
            }
        }
        // Whoever looks comes a little later than whoever works.
        let later = SignedDuration::from_secs(self.random.between(1, 90));
        move_on(&mut self.engines, &self.houses, later);
        self.engines.tick().await;
        let trouble = match self.random.below(20) {
            0 | 1 => Trouble::Restart,
            2 => Trouble::Kill,
            3 => Trouble::Doze,
            4..7 => Trouble::Busy,
            _ => Trouble::None,
        };
        self.round(trouble).await;
    }

    /// In the middle third there are two engines, where the database bears two.
    async fn staff(&mut self) {
        let third = self.end.duration_since(self.start) / 3;
        let middle = self.start + third..self.end - third;
        let two = !self.engines.database.is_sqlite() && middle.contains(&self.engines.now());
        match (two, self.engines.count()) {
            (true, 1) => self.engines.one_more().await,
            (false, 2) => self.engines.one_less().await,
            _ => {}
        }
    }

    async fn round(&mut self, trouble: Trouble) {
        let mut working = self.engines.work();
        if trouble != Trouble::None {
            // Somewhere within the requests that a sync without much news makes.
            let enough = asked(&self.houses) + self.random.below(60);
            flow(&mut self.engines, &self.houses, enough).await;
        }
        match trouble {
            Trouble::None => {}
            Trouble::Restart => {
                self.engines.restart(working).await;
                working = self.engines.work();
            }
            Trouble::Kill => {
                self.engines.kill(working).await;
                // What they held is theirs for a minute.
                move_on(&mut self.engines, &self.houses, SignedDuration::from_secs(61));
                working = self.engines.work();
            }
            Trouble::Doze => move_on(&mut self.engines, &self.houses, SignedDuration::from_hours(2)),
            Trouble::Busy => {
                for _ in 0..5 {
                    let enough = asked(&self.houses) + 5;
                    flow(&mut self.engines, &self.houses, enough).await;
                    self.houses.iter_mut().for_each(|it| it.work(&mut self.random));
                }
            }
        }
        flow(&mut self.engines, &self.houses, u64::MAX).await;
        working.stop().await;
    }

    /// Ends faults and lags, brings back what was out of sight, and reads all of it when `later` has come.
    async fn quiet(&mut self, later: SignedDuration) {
        for house in &mut self.houses {
            house.sim.set_faults(Faults::default());
            house.set_lag(0);
            in_sight(&house.sim);
            house.note();
        }
        undisturbed(&mut self.engines, &self.houses).await;
        move_on(&mut self.engines, &self.houses, later);
        for _ in 0..3 {
            undisturbed(&mut self.engines, &self.houses).await;
            move_on(&mut self.engines, &self.houses, OVER_AN_HOUR);
        }
        undisturbed(&mut self.engines, &self.houses).await;
        complete(&mut self.engines, &self.houses).await;
        self.is_calm = true;
    }

    /// Looks every few minutes while the clocks change, and fails when a change is not seen by the next look.
    async fn watch(&mut self, change: Timestamp, at: usize) {
        let around = SignedDuration::from_mins(self.pace.watch);
        if !self.is_calm {
            self.quiet(OVER_A_DAY).await;
        }
        self.houses.iter().for_each(|it| it.sim.set_faults(Faults::default()));
        self.houses[at].set_lag(LAG_MS);
        // The whole is listed shortly before, so that changes are asked for by time from then on.
        while self.engines.now() < change - around {
            let rest = change - around - OVER_AN_HOUR / 2 - self.engines.now();
            let rest = SignedDuration::try_from(rest).unwrap().max(OVER_AN_HOUR / 2);
            move_on(&mut self.engines, &self.houses, rest.min(OVER_AN_HOUR * 6));
            undisturbed(&mut self.engines, &self.houses).await;
        }
        let mut looks = 0;
        while self.engines.now() < change + around {
            let minutes = self.random.between(5, 13);
            let later_ms = self.random.between(1_000, LAG_MS);
            move_on(&mut self.engines, &self.houses, SignedDuration::from_mins(minutes));
            a_busy_minute(&self.houses[at].sim, &mut self.random);
            self.houses[at].note();
            move_on(&mut self.engines, &self.houses, SignedDuration::from_millis(later_ms));
            let shown_ms = self.engines.now().as_millisecond() + self.houses[at].skew_ms - LAG_MS - 1_000;
            let boards = SOURCES.iter().filter(|it| it.2 == at && it.1.ends_with("board") && it.0 != "green");
            for (tenant, name, _) in boards.clone() {
                let service = self.engines.of(tenant).await;
                service.request(name, "jira", Trigger::Manual).await.unwrap();
            }
            undisturbed(&mut self.engines, &self.houses).await;
            looks += 1;
            let when = format!("at {}, clocks change at {change}", self.engines.now());
            for (tenant, name, _) in boards {
                let (service, house) = (self.engines.of(tenant).await, &self.houses[at]);
                house.ledger.assert_fresh(&when, (&service, name), (&house.sim, shown_ms)).await;
            }
        }
        assert!(looks > 4, "only {looks} looks");
        self.houses[at].set_lag(0);
    }

    /// Fails unless what each tenant sees is the truth of its houses.
    async fn check(&mut self, when: &str, cards: Cards) {
        let when = format!("{when}, at {}", self.engines.now());
        for (tenant, name, at) in SOURCES {
            let service = self.engines.of(tenant).await;
            let House { sim, ledger, skew_ms, .. } = &mut self.houses[at];
            if name.ends_with("code") {
                // Named repositories are asked for once a day, and so is what they are called.
                let names = tenant == "red" || cards == Cards::OfEverySprint;
                ledger.assert_code(&when, (&service, name), sim, names).await;
            } else {
                let now_ms = self.engines.now().as_millisecond() + *skew_ms;
                ledger.assert_site(&when, (&service, name), (sim, now_ms), cards).await;
            }
        }
    }

    async fn finish(mut self) {
        self.quiet(OVER_A_WEEK).await;
        self.check("in the end", Cards::OfEverySprint).await;
        self.assert_nothing_left().await;
        for house in &self.houses {
            assert_kept_rules(&house.sim);
            let report = house.sim.report();
            assert!(report.faults_served.len() > 3, "too few faults: {:?}", report.faults_served);
        }
        let mut fresh = Engines::open(Database::sqlite(), self.engines.now()).await;
        add_sources(&fresh, &self.houses).await;
        undisturbed(&mut fresh, &self.houses).await;
        complete(&mut fresh, &self.houses).await;
        assert_same(self.engines.first(), fresh.first()).await;
        fresh.close().await;
        self.engines.close().await;
    }

    async fn assert_nothing_left(&self) {
        let database = &self.engines.database;
        for (what, sql) in [
            (
                "active jobs",
                "select count(*) from jobs where state in ('available', 'scheduled', 'retryable', 'running')",
            ),
            ("leases", "select count(*) from jobs where node is not null or lease_until is not null"),
            ("running syncs", "select count(*) from syncs where state = 'running'"),
            ("listings under way", "select count(*) from seen"),
            (
                "due items",
                "select count(*) from items join partitions on partitions.source_id = items.source_id
                     and partitions.stream = items.stream and partitions.key = items.partition
                     where partitions.active and (have is null or have <> wanted)",
            ),
        ] {
            assert_eq!(database.number(sql).await, 0, "{what} are left");
        }
        let status = self.engines.first().status(None).await.unwrap();
        // One for each group of a source: those of GitHub have two.
        let shown: std::collections::BTreeSet<_> = status.iter().map(|it| it.source).collect();
        assert_eq!(shown.len(), SOURCES.len());
        for it in status {
            let shown = (it.state, it.last_sync_error.is_some(), it.failed_partitions);
            assert_eq!(shown, (State::Idle, false, 0), "{it:#?}");
            assert!(it.can_sync_now && it.next_sync_at.is_some(), "{it:#?}");
        }
    }
}

/// Fails unless every record that a first sync brings stands in the other database with the same values.
async fn assert_same(lived: &SyncService, fresh: &SyncService) {
    let sources = fresh.sources().await.unwrap();
    let read = provider_specs().filter(|spec| sources.iter().any(|it| it.provider == spec.provider));
    let tables: BTreeMap<_, _> = read.flat_map(|it| it.tables).map(|it| (it.name, it)).collect();
    for table in tables.values() {
        let known = shown(lived, table.name).await;
        let new = shown(fresh, table.name).await;
        let missing: Vec<&String> = new.difference(&known).take(3).collect();
        assert!(missing.is_empty(), "{}: {missing:#?} are not so after a month", table.name);
        // Where issues are is known after the first round, which is all that the other database has.
        let later = table.name.starts_with("github_") && table.name != "github_repositories";
        assert!(later || !new.is_empty(), "{}: nothing to compare", table.name);
    }
}

/// Reads the live records of a table as text, without what tells of the reading.
async fn shown(service: &SyncService, table: &str) -> BTreeSet<String> {
    let mut rows = every_record(service, table).await;
    rows.retain(|it| it.get("deleted_at").is_none_or(Value::is_null));
    rows.into_iter()
        .map(|mut row| {
            row.retain(|name, _| {
                let reading = ["first_seen", "changed_at"].contains(&name.as_str());
                // What a card says of other issues is as old as the card; see the ledger.
                let others = table == "jira_cards" && ["parent_key", "details_json"].contains(&name.as_str());
                !reading && !others
            });
            Value::Object(row).to_string()
        })
        .collect()
}
