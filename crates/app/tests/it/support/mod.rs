//! What the stories stand on: a database of their own, the program as a process, git, the truth, and deadlines.
//!
//! It must never wait by sleeping for a while, only until something is so; and never end a process it did not start.

/// Shared with the tests of the store.
#[path = "../../../../store/tests/it/bare.rs"]
mod bare;
mod client;
mod database;
mod deliver;
mod engine;
mod git;
mod host;
mod program;
mod rows;
mod schema;
mod serve;
mod site;
mod truth;
mod wait;

pub(crate) use client::{Answer, Client};
pub(crate) use database::{Database, on_both};
pub(crate) use deliver::Sender;
pub(crate) use engine::{
    Work, engine_options, epoch_ms, every_record, service, service_at, service_that_holds, service_with,
};
pub(crate) use git::{Git, run_at as git_at};
pub(crate) use host::{Host, landed_tables};
pub(crate) use program::{KEY, Running, SOURCE, Scene, TOKEN};
pub(crate) use rows::{Rows, every_row, landed_rows, snapshot};
pub(crate) use serve::{Server, make_token};
pub(crate) use site::{Kind, assert_site, busiest, work};
pub(crate) use truth::assert_truth;
pub(crate) use wait::until;

use sim::{Options, Sim, WorldSource};

/// Starts a simulator over a seeded world, with faults and limits as `syncline sim` takes them.
pub(crate) async fn seeded(seed: u64, repos: usize, commits: usize, faults: &str, limits: &str) -> Sim {
    let options = Options { world: WorldSource::Seeded { seed, repos, commits }, ..Options::default() };
    started(options, faults, limits).await
}

/// Starts a simulator with faults and limits.
pub(crate) async fn started(options: Options, faults: &str, limits: &str) -> Sim {
    let (faults, limits) = (faults.parse().unwrap(), limits.parse().unwrap());
    sim::start(Options { faults, limits, ..options }).await.unwrap()
}

/// Fails when a client broke a rule of the provider.
pub(crate) fn assert_kept_rules(sim: &Sim) {
    let report = sim.report();
    assert!(report.violations.is_empty(), "{:#?}", report.violations);
    assert!(report.in_flight_max <= 100, "{} requests at once", report.in_flight_max);
}
