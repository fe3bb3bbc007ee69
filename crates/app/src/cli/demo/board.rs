//! How the background part is shown: a table that is redrawn in place for a person, a line for each thing that landed
//! where somebody reads a log, nothing to a script.
//!
//! It only shows what it is given; it never asks anybody.

use std::collections::VecDeque;
use std::time::Duration;

use domain::job::SyncState;
use engine::{GroupStatus, SourceRow, SyncRow};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;

use super::super::{status, view};
use crate::output::{Field, Output, Style, ago, count, plural, span};
use crate::words::{self, About};

/// The latest news below the table; more would scroll a small terminal.
const NEWS_MAX: usize = 6;

/// What one source did since the background part began.
pub(super) struct Kept {
    pub(super) tenant: String,
    pub(super) source: SourceRow,
    pub(super) group: &'static str,
    pub(super) syncs: u64,
    pub(super) rows: u64,
    pub(super) requests: u64,
    /// How it stands; looked up only where somebody sees it.
    pub(super) status: Option<GroupStatus>,
}

impl Kept {
    fn about(&self) -> About<'_> {
        About { source: &self.source.name, provider: &self.source.provider }
    }
}

/// Where the background part is shown.
pub(super) struct Board {
    out: Output,
    lasting: Option<Duration>,
    /// Where the table is drawn; none where lines are printed, or nothing.
    table: Option<ProgressBar>,
    news: VecDeque<String>,
}

impl Board {
    /// Begins to show; nothing is drawn before the first [`Board::show`].
    pub(super) fn new(out: &Output, lasting: Option<Duration>) -> std::io::Result<Self> {
        // With standard error elsewhere nothing could be redrawn in place.
        let table = (out.is_terminal() && out.is_watched()).then(|| {
            let bar = out.bars().add(ProgressBar::new_spinner());
            // A constant; a wrong one only looks plain.
            bar.set_style(
                ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            bar
        });
        if table.is_none() {
            out.line("")?;
        }
        Ok(Self { out: out.clone(), lasting, table, news: VecDeque::new() })
    }

    /// Says whether [`Kept::status`] is worth looking up.
    pub(super) fn wants_status(&self) -> bool {
        self.table.is_some()
    }

    /// Tells how a sync ended, where it brought something or did not complete.
    pub(super) fn tell(
        &mut self,
        kept: &Kept,
        sync: &SyncRow,
        after: Duration,
        now: Timestamp,
    ) -> std::io::Result<()> {
        if sync.state == SyncState::Completed && sync.rows_written == 0 {
            return Ok(());
        }
        let (mark, style) = view::mark(sync.state);
        let paint = self.out.paint();
        let rows = plural(sync.rows_written, "row");
        let mut line = format!(
            "  {}  {} {}  {rows} landed, {}",
            paint.of(Style::Quiet, format!("{:>6}", span(after))),
            paint.of(style, mark),
            paint.of(Style::Strong, format!("{} · {}", kept.tenant, kept.source.name)),
            plural(sync.requests, "request"),
        );
        if let Some(at) = sync.blocked_until.filter(|it| *it > now) {
            line = format!("{line}; goes on {}, when {} allows it", until(at, now), kept.about().title());
        } else if let Some(error) = sync.errors.first() {
            line = format!("{line}; {}", words::fault(kept.about(), &error.code, &error.detail));
        }
        if self.table.is_none() {
            return self.out.line(line);
        }
        if self.news.len() == NEWS_MAX {
            self.news.pop_front();
        }
        self.news.push_back(line);
        Ok(())
    }

    /// Shows where everything stands.
    pub(super) fn show(&self, all: &[&Kept], after: Duration, now: Timestamp) {
        let Some(bar) = &self.table else { return };
        let header = ["tenant", "source", "group", "state", "last", ">rows", "next"];
        let table = self.out.table(&header, all.iter().map(|it| fields(it, now)));
        // The terminal's own ^C costs the last line, and clearing then leaves the first one: an empty one is not missed.
        let mut text = String::from("\n");
        for line in table.lines().map(|it| it.trim_end().to_owned()).chain([String::new()]) {
            text.extend(["  ", &line, "\n"]);
        }
        for line in &self.news {
            text.extend([line, "\n"]);
        }
        let ends = match self.lasting {
            None => "Ctrl-C ends it".to_owned(),
            Some(lasting) => format!("ends by itself after {}", span(lasting)),
        };
        let sum = |of: fn(&Kept) -> u64| all.iter().map(|it| of(it)).sum::<u64>();
        let sums = format!(
            "{}: {}, {}, {} landed; {ends}",
            span(after),
            plural(sum(|it| it.syncs), "sync"),
            plural(sum(|it| it.requests), "request"),
            plural(sum(|it| it.rows), "row"),
        );
        text.extend(["\n  ", &self.out.paint().of(Style::Quiet, sums)]);
        bar.set_message(text);
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        if let Some(bar) = &self.table {
            bar.finish_and_clear();
        }
    }
}

fn fields(kept: &Kept, now: Timestamp) -> Vec<Field> {
    let (state, style) = kept.status.as_ref().map_or(("–", Style::Quiet), status::state);
    let last = kept.status.as_ref().and_then(|it| it.last_synced_at);
    let next = kept.status.as_ref().and_then(|it| it.next_sync_at);
    let rows = if kept.rows == 0 {
        Field::from("")
    } else {
        Field::styled(Style::Good, format!("+{}", count(kept.rows)))
    };
    vec![
        kept.tenant.as_str().into(),
        Field::styled(Style::Strong, &kept.source.name),
        kept.group.into(),
        Field::styled(style, state),
        last.map_or_else(|| "never".to_owned(), |at| ago(at, now)).into(),
        rows,
        next.map_or_else(|| "–".to_owned(), |at| until(at, now)).into(),
    ]
}

/// Says when something will be, in whole seconds.
fn until(at: Timestamp, now: Timestamp) -> String {
    match at.duration_since(now).as_secs() {
        ..1 => "now".to_owned(),
        seconds => format!("in {seconds} s"),
    }
}
