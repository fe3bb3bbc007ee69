//! The houses where people work: a simulator each, with its clock, its zone, and what was true there.
//!
//! It must never let a change pass that the ledger does not know of.

use jiff::Timestamp;
use serde_json::json;
use sim::{JiraOptions, Options, Sim, SiteSize, WorldSource};

use super::ledger::Ledger;
use super::people::{Random, attempt, something_rare};
use crate::support::{Kind, busiest, epoch_ms, started};

/// How long searches lag behind where they do; the connector reaches back two minutes.
pub(super) const LAG_MS: i64 = 100_000;

/// More cards than are listed whole with every sync.
const CARDS: usize = 110;

/// A season: when and where clocks are put forward and back.
pub(super) struct Season {
    pub(super) start: &'static str,
    /// Where the story of two days begins.
    pub(super) short: &'static str,
    /// When clocks change, and at which house.
    pub(super) changes: &'static [(&'static str, usize)],
    pub(super) zones: [&'static str; 2],
    /// When the account of the first house moves, and where to.
    pub(super) moves: (&'static str, &'static str),
}

const AUTUMN: Season = Season {
    start: "2026-10-02T10:00:00Z",
    short: "2026-10-23T05:00:00Z",
    changes: &[("2026-10-03T16:00:00Z", 1), ("2026-10-25T01:00:00Z", 0), ("2026-11-01T06:00:00Z", 0)],
    zones: ["Europe/Berlin", "Australia/Sydney"],
    moves: ("2026-10-28T00:00:00Z", "America/New_York"),
};

const SPRING: Season = Season {
    start: "2026-03-21T04:00:00Z",
    short: "2026-03-27T05:00:00Z",
    changes: &[("2026-03-29T01:00:00Z", 0), ("2026-04-04T15:00:00Z", 1), ("2026-04-05T03:00:00Z", 0)],
    // Lord Howe Island goes back by half an hour.
    zones: ["Europe/Berlin", "Australia/Lord_Howe"],
    moves: ("2026-04-01T00:00:00Z", "America/Santiago"),
};

/// A simulator, and what was true there.
pub(super) struct House {
    pub(super) sim: Sim,
    pub(super) kind: Kind,
    pub(super) ledger: Ledger,
    /// How far its clock is ahead of ours.
    pub(super) skew_ms: i64,
}

/// Says which season a seed's story is in.
pub(super) fn season(seed: u64) -> &'static Season {
    if seed.is_multiple_of(2) { &SPRING } else { &AUTUMN }
}

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

impl House {
    pub(super) async fn build(seed: u64, kind: Kind, zone: &str, start: Timestamp) -> Self {
        let world = WorldSource::Seeded { seed, repos: 2, commits: 150 };
        let jira = JiraOptions {
            size: SiteSize { projects: 2, issues: 60 },
            time_zone: zone.to_owned(),
            ..JiraOptions::default()
        };
        let limits = "jira_quota=1500,jira_burst=100,dc_bucket=100,dc_fill=100";
        let sim = started(Options { world, jira, ..Options::default() }, "", limits).await;
        sim.set_time(Some(start.as_millisecond() - 7_200_000));
        let (sprint, _) = busiest(&sim.world().site().truth());
        for nth in 0..CARDS {
            let summary = format!("Card {nth}");
            let card = json!({ "project": "PAY", "kind": "task", "summary": summary, "sprint": sprint });
            attempt(&sim, json!({ "create": card })).unwrap();
        }
        // What is harder for who asks: the clock of a repeated hour is read as the second one.
        attempt(&sim, json!({ "repeated_hour": "later" }));
        let mut house = Self { sim, kind, ledger: Ledger::default(), skew_ms: 0 };
        house.run_ahead(start.as_millisecond() - epoch_ms());
        house.note();
        house
    }

    /// Notes what is true now.
    pub(super) fn note(&mut self) {
        self.ledger.note(&self.sim, self.kind);
    }

    /// Lets its clock run with ours, which is so far ahead of the machine's.
    pub(super) fn run_ahead(&self, ahead_ms: i64) {
        self.sim.run_ahead(ahead_ms + self.skew_ms);
    }

    /// Lets somebody do something, and notes what is true then.
    pub(super) fn work(&mut self, random: &mut Random) {
        if random.below(8) == 0 {
            something_rare(&self.sim, random);
        } else {
            self.sim.world().work(1);
        }
        self.note();
    }

    pub(super) fn set_lag(&self, lag_ms: i64) {
        attempt(&self.sim, json!({ "lag_ms": lag_ms }));
    }
}
