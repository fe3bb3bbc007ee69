//! The ideal client: reads every commit that a GitHub shows and puts it into SQLite, with nothing else in the way.
//!
//! It is the limit that `syncline` is compared with, so it must never do less for a row than `syncline` does: the
//! same columns, body, hash, indexes and durability. It has no queue, no state, no retries, and cannot go on after a
//! failure. Begin with [`main`].

mod args;
mod client;
mod parse;
mod read;
mod write;

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use serde::Serialize;

use args::Args;

/// Pages that wait for the writer. Some 450 KB each: 16 keep it busy and hold 8 MB.
const WAITING_PAGES_MAX: usize = 16;

/// What one run did.
#[derive(Serialize)]
struct Report {
    commits: u64,
    requests: u64,
    wall_ms: u128,
}

fn main() -> Result<()> {
    let begun = Instant::now();
    let Some(args) = Args::read(std::env::args().skip(1))? else {
        println!("{}", args::USAGE);
        return Ok(());
    };
    let (pages, waiting) = tokio::sync::mpsc::channel(WAITING_PAGES_MAX);
    let args = Arc::new(args);
    let wanted = Arc::clone(&args);
    let writer = std::thread::Builder::new()
        .name("writer".to_owned())
        .spawn(move || write::run(&wanted, waiting))
        .context("start the writer")?;
    let outcome = runtime(args.threads)?.block_on(read::everything(&args, pages));
    // The writer ends when nobody can send to it any more. Its failure is the cause when both failed.
    let commits = writer.join().map_err(|_| anyhow!("the writer panicked"))??;
    let report = Report { commits, requests: outcome?, wall_ms: begun.elapsed().as_millis() };
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

/// One thread of its own is the cheapest; more share the reading.
fn runtime(threads: usize) -> Result<tokio::runtime::Runtime> {
    let mut builder = match threads {
        0 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    if threads > 0 {
        builder.worker_threads(threads);
    }
    builder.enable_all().build().context("start the runtime")
}
