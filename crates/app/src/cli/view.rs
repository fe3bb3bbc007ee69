//! How a sync is shown: as JSON, whose fields scripts rely on, and as text. Times in JSON are epoch milliseconds.
//!
//! It never asks the engine for anything.

use std::time::Duration;

use domain::id::SyncId;
use domain::job::{Lane, SyncState};
use domain::policy::Decision;
use engine::{JobCounts, JobError, JobRow, SyncRow};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::output::{Output, Style, ago, clock_time, count, plural, span};
use crate::words::{self, About};

/// Names that are shown of many; the others are counted.
const PLACES_SHOWN: usize = 5;

/// The fault of a job that waits for the provider's limit; nothing is wrong with it.
pub(crate) const WAITING: &str = "rate_limited";

/// A sync as one JSON object.
pub(crate) fn sync_json(about: About<'_>, sync: &SyncRow, now: Timestamp) -> Value {
    let mut value = json!({
        "id": sync.id,
        "source": sync.source_name,
        "group": sync.group,
        "lane": sync.lane,
        "trigger": sync.trigger,
        "state": sync.state,
        "jobs": sync.jobs.total,
        "jobsByState": counts_json(&sync.jobs),
        "pages": sync.pages,
        "records": sync.records,
        "rowsWritten": sync.rows_written,
        "requests": sync.requests,
        "startedAt": sync.created_at.as_millisecond(),
        "closedAt": sync.closed_at.map(Timestamp::as_millisecond),
        "durationMs": millis(taken(sync, now)),
        "errors": sync.errors.iter().map(|it| error_json(about, it)).collect::<Vec<_>>(),
        "errorsTotal": sync.errors_total,
    });
    if let Some(at) = sync.blocked_until {
        value["blockedUntil"] = json!(at.as_millisecond());
    }
    value
}

/// Names what a sync reads: its group, and the lane where that is not the usual one.
pub(crate) fn what(sync: &SyncRow) -> String {
    match sync.lane {
        Some(Lane::Forward) | None => sync.group.clone(),
        Some(lane) => format!("{} {lane}", sync.group),
    }
}

/// A request that was refused, in the same shape; with the sync that stands in the way, where one does.
pub(crate) fn refused_json(
    about: About<'_>,
    group: &str,
    decision: &Decision,
    active: Option<Value>,
    now: Timestamp,
) -> Value {
    let mut value = active.unwrap_or_else(|| {
        json!({
            "id": Option::<SyncId>::None, "source": about.source, "group": group, "state": "refused", "jobs": 0,
            "records": 0, "rowsWritten": 0, "requests": 0, "errors": [],
        })
    });
    value["decision"] = json!(decision);
    value["message"] = json!(words::decision(about, decision, now));
    value
}

/// A job as a JSON object.
pub(crate) fn job_json(about: About<'_>, job: &JobRow) -> Value {
    let error = job.error.as_ref().map(|(code, detail)| fault_json(about, code, detail));
    json!({
        "id": job.id,
        "stream": job.stream,
        "partition": job.partition,
        "title": job.title,
        "lane": job.lane,
        "state": job.state,
        "attempt": job.attempt,
        "worker": job.node,
        "notBefore": job.not_before.as_millisecond(),
        "pages": job.pages,
        "records": job.records,
        "rowsWritten": job.rows_written,
        "requests": job.requests,
        "startedAt": job.started_at.map(Timestamp::as_millisecond),
        "finishedAt": job.finished_at.map(Timestamp::as_millisecond),
        "error": error,
    })
}

/// A fault's code with the sentence that people read.
pub(crate) fn fault_json(about: About<'_>, code: &str, detail: &str) -> Value {
    json!({ "code": code, "detail": detail, "message": words::fault(about, code, detail) })
}

fn error_json(about: About<'_>, error: &JobError) -> Value {
    let mut value = fault_json(about, &error.code, &error.detail);
    value["stream"] = json!(error.stream);
    value["partition"] = json!(error.partition);
    value["title"] = json!(error.title);
    value["item"] = json!(error.item);
    value["at"] = json!(error.at.map(Timestamp::as_millisecond));
    value
}

fn counts_json(jobs: &JobCounts) -> Value {
    json!({
        "available": jobs.available,
        "scheduled": jobs.scheduled,
        "retryable": jobs.retryable,
        "running": jobs.running,
        "completed": jobs.completed,
        "discarded": jobs.discarded,
        "cancelled": jobs.cancelled,
    })
}

/// Prints a sync for people: how it ended, what it brought, what went wrong and how to mend it.
pub(crate) fn print_sync(
    out: &Output,
    about: About<'_>,
    sync: &SyncRow,
    now: Timestamp,
) -> std::io::Result<()> {
    let paint = out.paint();
    let (mark, style) = mark(sync.state);
    let name = format!("{} · {}", sync.source_name, what(sync));
    let took = span(taken(sync, now));
    let state = paint.of(style, format!("{mark} {}", sync.state));
    let name = paint.of(Style::Strong, name);
    out.line(format!("{state}  {name}  in {took}  {}", paint.of(Style::Quiet, format!("sync {}", sync.id))))?;
    out.line(format!(
        "  {}, {} new or changed; {}, {}, {}",
        plural(sync.records, "record"),
        plural(sync.rows_written, "landed row"),
        plural(sync.requests, "request"),
        plural(sync.pages, "page"),
        plural(sync.jobs.total, "job"),
    ))?;
    if let Some(at) = sync.blocked_until.filter(|it| *it > now) {
        let text =
            format!("{} jobs wait for {} until {}", sync.jobs.scheduled, about.title(), clock_time(at, now));
        out.line(format!("  {}", paint.of(Style::Careful, text)))?;
    }
    print_errors(out, about, sync)
}

/// Prints in a line what a sync of another lane read.
pub(crate) fn print_beside(out: &Output, sync: &SyncRow) -> std::io::Result<()> {
    let (records, rows) = (plural(sync.records, "record"), plural(sync.rows_written, "landed row"));
    let state = sync.state;
    let text =
        format!("beside it {}: {records}, {rows} new or changed; {state}, sync {}", what(sync), sync.id);
    out.line(format!("  {}", out.paint().of(Style::Quiet, text)))
}

/// Prints what went wrong, each sentence once with the places that share it.
fn print_errors(out: &Output, about: About<'_>, sync: &SyncRow) -> std::io::Result<()> {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    // What only waits was told already: it goes on by itself.
    for error in sync.errors.iter().filter(|it| it.at.is_some() || it.code != WAITING) {
        let sentence = words::fault(about, &error.code, &error.detail);
        match groups.iter_mut().find(|it| it.0 == sentence) {
            Some((_, places)) => places.push(place(error)),
            None => groups.push((sentence, vec![place(error)])),
        }
    }
    for (sentence, places) in groups {
        let places = out.paint().of(Style::Bad, format!("{}:", some(&places)));
        out.line(format!("  {places} {sentence}"))?;
    }
    let told = i64::try_from(sync.errors.len()).unwrap_or(i64::MAX);
    if sync.errors_total > told {
        let more = u64::try_from(sync.errors_total - told).unwrap_or_default();
        out.line(format!("  … and {} more", plural(more, "error")))?;
    }
    Ok(())
}

/// Names the first of many, and counts the others.
pub(crate) fn some<T: AsRef<str>>(names: &[T]) -> String {
    let shown: Vec<&str> = names.iter().take(PLACES_SHOWN).map(AsRef::as_ref).collect();
    let more = names.len() - shown.len();
    if more == 0 { shown.join(", ") } else { format!("{} and {} more", shown.join(", "), count(more as u64)) }
}

fn place(error: &JobError) -> String {
    let partition = error.title.as_deref().unwrap_or(&error.partition);
    let mut place = format!("{partition} {}", error.stream).trim_start().to_owned();
    if let Some(item) = &error.item {
        place = format!("{place} {item}");
    }
    place
}

/// How a job's or sync's state is marked.
pub(crate) fn mark(state: SyncState) -> (&'static str, Style) {
    match state {
        SyncState::Completed => ("✓", Style::Good),
        SyncState::Running => ("…", Style::Name),
        SyncState::Partial => ("!", Style::Careful),
        SyncState::Failed => ("✗", Style::Bad),
        SyncState::Cancelled => ("✗", Style::Careful),
    }
}

/// Says how the program ends after it followed a sync.
pub(crate) fn exit_of(sync: &SyncRow) -> Exit {
    let ours = |it: &JobError| OURS.contains(&it.code.as_str());
    match sync.state {
        SyncState::Completed => Exit::Done,
        SyncState::Partial => Exit::Partial,
        SyncState::Failed if sync.errors.iter().any(ours) => Exit::Database,
        SyncState::Failed | SyncState::Cancelled => Exit::Failed,
        // It was left before it closed, which only a signal does.
        SyncState::Running => Exit::Interrupted,
    }
}

/// Faults of the key or the database that a job runs into; no provider has a part in them.
const OURS: [&str; 3] = ["wrong_key", "tampered", "corrupt_state"];

/// When something was, for a table.
pub(crate) fn moment(at: Option<Timestamp>, now: Timestamp) -> String {
    at.map_or_else(|| "never".to_owned(), |at| ago(at, now))
}

/// What a source names, in a few words.
pub(crate) fn options_text(options: &Value) -> String {
    let text = |value: &Value| match value {
        Value::Array(items) => some(&items.iter().filter_map(Value::as_str).collect::<Vec<_>>()),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let given: Vec<String> =
        options.as_object().into_iter().flatten().map(|(_, value)| text(value)).collect();
    let given = given.into_iter().filter(|it| !it.is_empty()).collect::<Vec<_>>().join("; ");
    if given.is_empty() { "all that the credential sees".to_owned() } else { given }
}

fn taken(sync: &SyncRow, now: Timestamp) -> Duration {
    let end = sync.closed_at.unwrap_or(now);
    Duration::try_from(end.duration_since(sync.created_at)).unwrap_or_default()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
