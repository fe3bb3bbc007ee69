//! Seeded worlds with server errors, cut and wrong answers, slow ones and secondary limits, at several concurrencies:
//! what stands in the database in the end is the truth, and no rule of the provider was broken.
//!
//! A run may end partial, as its attempts are bounded; it must never end wrong, and the next one goes on.

use tokio::task::JoinSet;

use crate::support::{Database, Host, Scene, assert_kept_rules, assert_truth, seeded};

/// What is answered badly: one request in five.
const FAULTS: &str = "5xx=0.06,cut=0.05,html=0.04,slow=0.02,secondary=0.03";

/// Starts until a sync completes; with one answer in five bad, three bad ones in a row are rare.
const STARTS_MAX: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_worker_ends_at_the_truth() {
    every_seed_at(1, [1, 2, 3], Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_workers_end_at_the_truth() {
    every_seed_at(4, [4, 5, 6], Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_workers_end_at_the_truth() {
    every_seed_at(16, [7, 8, 9], Kind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_workers_end_at_the_truth_on_postgres() {
    every_seed_at(16, [10, 11, 12], Kind::Postgres).await;
}

#[derive(Clone, Copy)]
enum Kind {
    Sqlite,
    Postgres,
}

/// Runs the seeds side by side: they mostly wait.
async fn every_seed_at(workers: usize, seeds: [u64; 3], kind: Kind) {
    let mut runs = JoinSet::new();
    for seed in seeds {
        runs.spawn(async move {
            for host in Host::all() {
                let database = match kind {
                    Kind::Sqlite => Database::sqlite(),
                    Kind::Postgres => Database::postgres().await,
                };
                ends_at_the_truth(host, workers, seed, database).await;
            }
        });
    }
    while let Some(run) = runs.join_next().await {
        run.unwrap();
    }
}

async fn ends_at_the_truth(host: Host, workers: usize, seed: u64, database: Database) {
    let sim = seeded(seed, 4, 160, &format!("seed={seed},{FAULTS}"), "").await;
    let names = sim.world().names();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let scene = Scene::at_host(host, database, &sim, &names).await.set("SYNCLINE_WORKERS", workers);
    let mut starts = 0;
    loop {
        starts += 1;
        let ended = scene.sync().await;
        match ended.code {
            Some(0) => break,
            // Bounded attempts were used up somewhere; the next start goes on there.
            Some(1 | 3) => assert!(starts < STARTS_MAX, "seed {seed}: {}", ended.told()),
            _ => panic!("seed {seed}: {}", ended.told()),
        }
    }
    assert_truth(&scene.database, &sim, &names).await;
    let report = sim.report();
    assert!(report.faults_served.len() > 1, "seed {seed}: too few faults were served: {report:?}");
    assert_kept_rules(&sim);
}
