//! The words in which the status is asked for: four statements for each look.
//!
//! None of them scans partitions or ended jobs.

use domain::connector::Group;

use super::StatusQuery;
use crate::db::{Arg, Conn, to_json};
use crate::dialect::each;
use crate::error::StoreError;
use crate::queue::budget;

/// Adds an argument and returns its place.
pub(super) fn push(args: &mut Vec<Arg>, arg: impl Into<Arg>) -> String {
    args.push(arg.into());
    format!("${}", args.len())
}

/// Adds the names of the group's streams and returns their places.
fn push_streams(args: &mut Vec<Arg>, group: &Group) -> String {
    group.streams.iter().map(|it| push(args, it.name)).collect::<Vec<_>>().join(", ")
}

/// The statements of one look, each with its arguments.
pub(super) struct Statements {
    /// A row for each source.
    pub(super) main: (String, Vec<Arg>),
    /// What is known of their budgets.
    pub(super) budgets: (String, Vec<Arg>),
    /// The jobs of the syncs under way, counted; needed only where there is one.
    pub(super) jobs: (String, Vec<Arg>),
    /// The partitions that failed; needed only where there is one.
    pub(super) failed: (String, Vec<Arg>),
}

/// Whether a source has partitions of these streams.
///
/// A subquery with a limit is run for each source; `exists` may be turned into a scan of all partitions. One for each
/// stream, and the first that finds something ends it: most sources have partitions of the first.
fn probes(streams: &[String]) -> String {
    let probe = |stream: &String| {
        format!(
            "(select 1 from partitions as partition where partition.source_id = source.id and partition.active
                 and partition.stream = {stream} limit 1)"
        )
    };
    let each = streams.iter().map(probe).collect::<Vec<_>>().join(", ");
    format!("coalesce({each}, null) is not null")
}

/// Words the statements of a look.
pub(super) fn statements(conn: &Conn, query: &StatusQuery) -> Result<Statements, StoreError> {
    let mut args = Vec::new();
    let provider = push(&mut args, query.provider);
    let mut of = vec![format!("source.removed_at is null and source.provider = {provider}")];
    if let Some(scope) = query.scope {
        of.push(format!("source.tenant_id = {}", push(&mut args, scope)));
    }
    if let Some(among) = &query.among {
        let ids: Vec<[i64; 1]> = among.iter().map(|it| [it.0]).collect();
        let place = push(&mut args, to_json(&ids)?);
        let ids = each(conn, &place);
        of.push(format!("source.id in (select cast(t.value ->> 0 as bigint) from {ids})"));
    }
    let of = of.join(" and ");
    let sources = format!("(select source.id from sources as source where {of})");
    let (budget_args, mut failed_args) = (args.clone(), args.clone());
    let group = push(&mut args, query.group.name);
    let job_args = args.clone();
    let streams: Vec<String> = query.group.streams.iter().map(|it| push(&mut args, it.name)).collect();
    let has_partitions = probes(&streams);
    let streams = streams.join(", ");
    let main = main(query, &of, &sources, (&group, &has_partitions, &streams));
    let jobs = format!(
        "select sync_id, state, count(*) as jobs from jobs
         where sync_id in (select id from syncs as active where active.stream_group = {group}
             and active.state = 'running' and active.whole and active.source_id in {sources})
         group by sync_id, state",
    );
    let streams = push_streams(&mut failed_args, query.group);
    let failed = failed(&sources, &streams);
    let budgets = format!("{} where source_id in {sources} order by source_id, bucket", budget::SELECT);
    Ok(Statements {
        main: (main, args),
        budgets: (budgets, budget_args),
        jobs: (jobs, job_args),
        failed: (failed, failed_args),
    })
}

/// A row for each source. Few sources have failures or wait: these are found by their own small indexes, once for all.
fn main(
    query: &StatusQuery,
    of: &str,
    sources: &str,
    (group, has_partitions, streams): (&str, &str, &str),
) -> String {
    let last_manual_at = if query.by_hand {
        format!(
            "(select max(created_at) from syncs as asked where asked.source_id = source.id
                and asked.stream_group = {group} and asked.trigger = 'manual')"
        )
    } else {
        "cast(null as bigint)".to_owned()
    };
    format!(
        "select source.id, source.name, source.tenant_id, tenant.name as tenant_name, source.enabled,
            tenant.id is not null and tenant.revoked_at is null as has_owner,
            {has_partitions} as has_partitions, broken.source_id is not null as has_failed,
            {last_manual_at} as last_manual_at, waiting.until as blocked_until,
            active.id as active_sync, active.trigger as active_trigger,
            standing.sync_id, standing.state, standing.ended_at, standing.last_success_at, standing.jobs,
            standing.failed, standing.error_what, standing.error_code, standing.error_detail,
            schedule.stream_group as scheduled, schedule.off, schedule.every_ms, schedule.interval_ms,
            schedule.next_at, schedule.last_tick_at, schedule.skipped, schedule.last_skipped_at
         from sources as source
         left join tenants as tenant on tenant.id = source.tenant_id
         left join standings as standing on standing.source_id = source.id and standing.stream_group = {group}
         left join schedules as schedule on schedule.source_id = source.id and schedule.stream_group = {group}
         left join syncs as active on active.source_id = source.id and active.stream_group = {group}
             and active.state = 'running' and active.whole
         left join (select distinct source_id from partitions where error_code is not null and active
                 and stream in ({streams}) and source_id in {sources}) as broken on broken.source_id = source.id
         left join (select source_id, min(not_before) as until from jobs where state = 'scheduled'
                 and stream_group = {group} and source_id in {sources} group by source_id) as waiting
             on waiting.source_id = source.id
         where {of} order by source.name, source.id",
    )
}

fn failed(sources: &str, streams: &str) -> String {
    format!(
        "select found.source_id, found.failed, found.invalid, coalesce(first.title, first.key) as what,
             first.error_code, first.error_detail
         from (select source_id, stream, count(*) as failed, count(case when not is_valid then 1 end) as invalid,
                 min(key) as key
             from partitions where error_code is not null and active and stream in ({streams})
                 and source_id in {sources}
             group by source_id, stream) as found
         join partitions as first on first.source_id = found.source_id and first.stream = found.stream
             and first.key = found.key
         order by found.source_id, found.stream",
    )
}
