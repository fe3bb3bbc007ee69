//! Claims jobs and completes them as fast as it can, with so many workers: by the store, or by a bare loop.
//!
//! The bare loop is the limit: the least SQL that claims a job with a lease and completes it, each by one statement in a
//! transaction of its own, over the same tables, indexes and durability. It reads no place, writes no event, keeps no
//! state of syncs and partitions, and must never do more than that. Begin with [`main`].

mod bare;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use domain::connector::{Group, Stream};
use domain::id::TenantId;
use domain::page::Partition;
use domain::policy::{Action, Decision, Metadata, Reason, Verdict};
use domain::source::Settings;
use domain::trigger::Trigger;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Value, json};
use store::{Claim, Enqueue, NewSource, Options, Settlement, Store, StoreError, Vault};
use tokio::task::JoinSet;

/// Sources whose jobs are claimed: enough that no single sync is every worker's.
const SOURCES: u64 = 8;

/// How long a job is held, as `syncline` holds it.
const LEASE: SignedDuration = SignedDuration::from_secs(60);

static GROUP: Group = Group {
    name: "bench",
    every_ms: 900_000,
    manual_cooldown_ms: 0,
    streams: &[Stream { name: "bench", item_batch: None, conditional: false, lists: None }],
};

/// What one run did.
#[derive(Serialize)]
struct Report {
    jobs: u64,
    jobs_per_s: f64,
}

fn main() -> Result<()> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let [url, by, workers, jobs] = &given[..] else {
        bail!("queue <database> <store|bare> <workers> <jobs>: claims and completes so many jobs");
    };
    let (workers, jobs) = (workers.parse::<u64>().context("workers")?, jobs.parse::<u64>().context("jobs")?);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    let jobs_per_s = runtime.block_on(run(url, by, workers, jobs))?;
    println!("{}", serde_json::to_string(&Report { jobs, jobs_per_s })?);
    Ok(())
}

/// Returns the time.
#[expect(clippy::disallowed_methods, reason = "this program is its own edge: nobody moves its clock")]
fn now() -> Timestamp {
    Timestamp::now()
}

async fn run(url: &str, by: &str, workers: u64, jobs: u64) -> Result<f64> {
    let store = Store::open(Options::new(url), &[]).await?;
    fill(&store, jobs).await?;
    let began;
    match by {
        "store" => {
            began = Instant::now();
            by_store(&store, workers, jobs).await?;
        }
        "bare" => {
            store.close().await;
            let database = bare::Database::open(url, workers).await?;
            began = Instant::now();
            database.work(workers, jobs).await?;
        }
        other => bail!("{other} is neither store nor bare"),
    }
    let seconds = began.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "some ten thousand jobs")]
    Ok(jobs as f64 / seconds)
}

/// Adds sources with as many jobs together.
async fn fill(store: &Store, jobs: u64) -> Result<()> {
    let now = now();
    // No credential is sealed with it.
    let vault = Vault::from_key_text(&"00".repeat(32))?;
    for nth in 0..SOURCES {
        let keys = (nth..jobs).step_by(usize::try_from(SOURCES)?);
        let partition = |it: u64| Partition {
            stream: "bench",
            key: it.to_string(),
            args: Value::Null,
            start: Vec::new(),
            refresh: None,
            shown_at: None,
        };
        let new = NewSource {
            tenant: TenantId(1),
            name: format!("source {nth}"),
            provider: "bench".to_owned(),
            settings: Settings { base_url: format!("https://{nth}.example"), options: json!({}) },
            secret: None,
            roots: keys.map(partition).collect(),
        };
        let source = store.add_source(new, &vault, now).await?;
        let decision =
            Decision { action: Action::Start, reason: Reason::Ready, metadata: Metadata::default() };
        store
            .enqueue(
                Enqueue {
                    source,
                    group: &GROUP,
                    trigger: Trigger::Cron,
                    decision,
                    tick: None,
                    forecast: None,
                },
                now,
            )
            .await?;
    }
    Ok(())
}

/// Each worker claims one job, completes it, and claims the next, until all are done.
async fn by_store(store: &Store, workers: u64, jobs: u64) -> Result<()> {
    let done = Arc::new(AtomicU64::new(0));
    let mut working = JoinSet::new();
    for worker in 0..workers {
        let (store, done) = (store.clone(), Arc::clone(&done));
        working.spawn(async move {
            let claim = Claim {
                node: "bench".to_owned(),
                worker: worker.to_string(),
                sources: None,
                except: Vec::new(),
                max: 1,
                lease: LEASE,
            };
            while done.load(Ordering::Relaxed) < jobs {
                for lease in store.claim(claim.clone(), now()).await? {
                    let settlement = Settlement { verdict: Verdict::Complete, fault: None, requests: 0 };
                    store.settle(&lease, settlement, now()).await?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
            }
            Ok::<(), StoreError>(())
        });
    }
    while let Some(ended) = working.join_next().await {
        ended.context("a worker panicked")??;
    }
    Ok(())
}
