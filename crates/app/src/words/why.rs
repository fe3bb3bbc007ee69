//! One line for each stream group: what keeps it from being synced now, and when it will be.

use domain::policy::{Action, Reason};
use engine::{GroupStatus, GroupWhy, LastDecision, Missed};
use jiff::Timestamp;

use super::{About, decision};
use crate::output::{clock_time, count, plural};

/// Says what keeps a stream group from being synced now, and when it will be.
pub(crate) fn why(about: About<'_>, why: &GroupWhy, now: Timestamp) -> String {
    let mut parts = vec![obstacle(about, why, now)];
    let status = &why.status;
    if matches!(status.decision.reason, Reason::Disabled | Reason::NoOwner) {
        // Nothing else matters as long as this is so.
        return parts.remove(0);
    }
    if status.active_sync.is_none()
        && let Some(waits) = waiting(about, why, now)
    {
        parts.push(waits);
    }
    if status.invalid_partitions > 0 {
        let parts_invalid = plural(status.invalid_partitions, "part");
        let at = why.next_probe_at.map_or("daily".to_owned(), |at| {
            if at > now {
                format!("from {} on, by hand at once", clock_time(at, now))
            } else {
                "with the next sync".to_owned()
            }
        });
        parts.push(format!("{parts_invalid} cannot be read, tried again {at}"));
    }
    parts.extend(escalation(about, status));
    if let Some(missed) = why.missed.filter(|it| *it > 0) {
        parts.push(format!("about {} within seven days were not delivered", plural(missed, "change")));
    }
    parts.push(schedule(why, now));
    parts.join("; ")
}

/// Says what a person has to look at, where recoveries bring nothing.
pub(crate) fn escalation(about: About<'_>, status: &GroupStatus) -> Option<String> {
    status.escalates.then(|| {
        let (title, source) = (about.title(), about.source);
        format!(
            "recoveries in a row that brought nothing: {}, though {title} shows that something happened: webhooks may have stopped; see \
             at {title} whether they are delivered and the credential still sees everything, and here `syncline \
             webhook deliveries {source}`",
            count(status.recoveries_in_vain)
        )
    })
}

/// Says how much of what was read no delivery told of.
pub(crate) fn missed(it: &Missed) -> String {
    let changes = plural(it.found, "change");
    match it.missed {
        0 => format!("{}: {changes} read within seven days, and all were delivered", it.group),
        missed => format!(
            "{}: {changes} read within seven days, of which about {} were not delivered; the schedule found them",
            it.group,
            count(missed)
        ),
    }
}

/// What stands in a person's way now.
fn obstacle(about: About<'_>, why: &GroupWhy, now: Timestamp) -> String {
    let status = &why.status;
    match (status.decision.reason, status.active_sync) {
        (Reason::Ready, _) => "nothing stands in the way: it can be synced now".to_owned(),
        (Reason::AlreadySyncing, Some(sync)) => {
            let progress = status.active_job_progress.map_or_else(String::new, |it| {
                format!(", {} of {} jobs ended", count(it.current), count(it.total))
            });
            let waits = waiting(about, why, now).map_or_else(String::new, |it| format!(", {it}"));
            format!("sync {sync} is under way{progress}{waits}")
        }
        _ => decision(about, &status.decision, now),
    }
}

/// Jobs that wait for the provider's limit.
fn waiting(about: About<'_>, why: &GroupWhy, now: Timestamp) -> Option<String> {
    let until = why.blocked_until?;
    let jobs = plural(why.blocked_jobs, "job");
    let verb = if why.blocked_jobs == 1 { "waits" } else { "wait" };
    Some(if until > now {
        format!("{jobs} {verb} for {} until {}", about.title(), clock_time(until, now))
    } else {
        format!("{jobs} that waited for {} can go on now", about.title())
    })
}

/// When it is synced by itself.
fn schedule(why: &GroupWhy, now: Timestamp) -> String {
    let status = &why.status;
    if !why.scheduler_enabled {
        "never by itself, as sync_enabled is false".to_owned()
    } else if let Some(at) = status.next_sync_at {
        let at = if at > now { format!("at {}", clock_time(at, now)) } else { "now".to_owned() };
        let metadata = &why.by_schedule.metadata;
        match (why.by_schedule.reason, metadata.available_budget, metadata.required_budget) {
            // The schedule leaves a reserve that people may use.
            (Reason::RateLimited, Some(left), Some(required)) if status.can_sync_now => {
                let until = metadata.blocked_until.map_or("later".to_owned(), |at| clock_time(at, now));
                let (left, required) = (count(left), count(required));
                format!(
                    "by itself due {at}, but only {left} requests are left of {required} that it needs, until {until}"
                )
            }
            _ => format!("by itself due {at}"),
        }
    } else {
        "never by itself, as its schedule is off".to_owned()
    }
}

/// Says what was last answered to a request.
pub(crate) fn last(last: &LastDecision, now: Timestamp) -> String {
    let (who, at) = (last.trigger.as_str(), clock_time(last.at, now));
    let answer = match (last.action, last.sync) {
        (Action::Start, Some(sync)) => format!("sync {sync} was started"),
        (Action::Start, None) => "a sync was started".to_owned(),
        (Action::Skip, _) => format!("it was skipped ({})", last.reason.as_str()),
        (Action::Block, _) => format!("it was refused ({})", last.reason.as_str()),
    };
    format!("last asked for by {who} at {at}: {answer}")
}
