//! How a sync gets on, shown while it does: moving bars for a person, a line every few seconds for a log.
//!
//! It only shows what it is given; it never asks anybody.

use std::time::{Duration, Instant};

use domain::id::SyncId;
use domain::job::{JobState, SyncState};
use engine::{JobRow, SyncRow};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use jiff::Timestamp;

use crate::output::{Output, clock_time, plural};
use crate::words::About;

/// How often a log gets a line: often enough to see that it goes on, rarely enough to be read.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Running jobs that are shown beside the bar; more would scroll a small terminal.
const JOBS_SHOWN: usize = 5;

/// How often a bar moves without news: ten pictures a second look alive.
const TICK: Duration = Duration::from_millis(100);

/// Shows syncs while they run. What it drew is gone when it is dropped.
pub(crate) struct Progress {
    out: Output,
    kind: Kind,
}

enum Kind {
    /// A script wants its result and nothing else.
    Silent,
    /// Somebody will read a log.
    Lines { last: Instant },
    /// A person watches.
    Bars(Vec<Bars>),
}

/// What is drawn for one sync.
struct Bars {
    sync: SyncId,
    head: ProgressBar,
    jobs: Vec<ProgressBar>,
}

impl Progress {
    /// Begins to show; nothing is drawn before the first [`Progress::show`].
    pub(crate) fn new(out: &Output) -> Self {
        let kind = if out.is_json() {
            Kind::Silent
        } else if out.is_watched() {
            Kind::Bars(Vec::new())
        } else {
            Kind::Lines { last: Instant::now() }
        };
        Self { out: out.clone(), kind }
    }

    /// Says whether jobs are worth looking up for [`Progress::show`].
    pub(crate) fn wants_jobs(&self) -> bool {
        matches!(self.kind, Kind::Bars(_))
    }

    /// Shows where a sync stands.
    pub(crate) fn show(&mut self, about: About<'_>, sync: &SyncRow, jobs: &[JobRow], now: Timestamp) {
        match &mut self.kind {
            Kind::Silent => {}
            Kind::Lines { .. } if sync.state != SyncState::Running => {}
            Kind::Lines { last } => {
                if last.elapsed() >= LINE_EVERY {
                    *last = Instant::now();
                    self.out.note(line(about, sync, now));
                }
            }
            Kind::Bars(all) => {
                let known = all.iter().position(|it| it.sync == sync.id);
                let index = known.unwrap_or_else(|| {
                    all.push(Bars::new(self.out.bars(), sync));
                    all.len() - 1
                });
                if let Some(bars) = all.get_mut(index) {
                    bars.show(self.out.bars(), about, sync, jobs, now);
                }
            }
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Kind::Bars(all) = &self.kind {
            for bars in all {
                bars.jobs.iter().for_each(ProgressBar::finish_and_clear);
                bars.head.finish_and_clear();
            }
        }
    }
}

impl Bars {
    fn new(multi: &MultiProgress, sync: &SyncRow) -> Self {
        let head = multi.add(ProgressBar::new(1));
        head.set_style(style("{spinner:.cyan} {prefix:.bold} {bar:24.cyan/dim} {pos}/{len} jobs  {msg}"));
        head.set_prefix(format!("{} · {}", sync.source_name, sync.group));
        head.enable_steady_tick(TICK);
        Self { sync: sync.id, head, jobs: Vec::new() }
    }

    fn show(
        &mut self,
        multi: &MultiProgress,
        about: About<'_>,
        sync: &SyncRow,
        jobs: &[JobRow],
        now: Timestamp,
    ) {
        let (done, total) = jobs_done(sync);
        self.head.set_length(total.max(1));
        self.head.set_position(done);
        self.head.set_message(format!("{}{}", amounts(sync), waiting(about, sync, now)));
        let mut running = jobs.iter().filter(|it| it.state == JobState::Running);
        for index in 0..JOBS_SHOWN {
            match running.next() {
                Some(job) => {
                    if self.jobs.len() == index {
                        let bar = multi.add(ProgressBar::new_spinner());
                        bar.set_style(style("  {spinner:.dim} {msg}"));
                        bar.enable_steady_tick(TICK);
                        self.jobs.push(bar);
                    }
                    if let Some(bar) = self.jobs.get(index) {
                        bar.set_message(job_line(job));
                    }
                }
                None if self.jobs.len() > index => {
                    if let Some(bar) = self.jobs.pop() {
                        bar.finish_and_clear();
                        multi.remove(&bar);
                    }
                }
                None => break,
            }
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants of this file; a wrong one only looks plain.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("━━─")
}

fn line(about: About<'_>, sync: &SyncRow, now: Timestamp) -> String {
    let (done, total) = jobs_done(sync);
    let (source, group) = (&sync.source_name, &sync.group);
    format!("{source} · {group}: {done}/{total} jobs, {}{}", amounts(sync), waiting(about, sync, now))
}

fn amounts(sync: &SyncRow) -> String {
    format!("{}, {}", plural(sync.records, "record"), plural(sync.requests, "request"))
}

/// Says what a sync waits for, when it does nothing else.
fn waiting(about: About<'_>, sync: &SyncRow, now: Timestamp) -> String {
    let until = sync.blocked_until.filter(|it| *it > now);
    until.map_or_else(String::new, |at| {
        format!(", waiting for {} until {}", about.title(), clock_time(at, now))
    })
}

fn job_line(job: &JobRow) -> String {
    let title = job.title.as_deref().unwrap_or(&job.partition);
    let place = if title.is_empty() { job.stream.clone() } else { format!("{title} {}", job.stream) };
    if job.records > 0 { format!("{place}: {}", plural(job.records, "record")) } else { place }
}

fn jobs_done(sync: &SyncRow) -> (u64, u64) {
    let jobs = &sync.jobs;
    let done = jobs.completed + jobs.discarded + jobs.cancelled;
    (done, jobs.total)
}
