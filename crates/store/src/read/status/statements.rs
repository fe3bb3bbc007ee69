//! The words in which the status is asked for.
//!
//! None of them scans partitions or ended jobs.

use domain::connector::Group;

use super::{Among, StatusQuery};
use crate::db::{Arg, Conn, to_json};
use crate::dialect::each;
use crate::error::StoreError;
use crate::queue::budget;

/// A statement with its arguments.
pub(super) struct Statement(pub(super) String, pub(super) Vec<Arg>);

/// Sources of which a group is asked for.
pub(super) struct Asked<'a> {
    pub(super) group: &'static Group,
    pub(super) ids: &'a [[i64; 1]],
}

/// Adds an argument and returns its place.
fn push(args: &mut Vec<Arg>, arg: impl Into<Arg>) -> String {
    args.push(arg.into());
    format!("${}", args.len())
}

/// Adds the names of the group's streams and returns their places.
fn push_streams(args: &mut Vec<Arg>, group: &Group) -> Vec<String> {
    group.streams.iter().map(|it| push(args, it.name)).collect()
}

/// The sources that are looked at, by name.
pub(super) fn sources(query: &StatusQuery) -> Statement {
    let mut args = Vec::new();
    let mut of = vec!["removed_at is null".to_owned()];
    let mut most = String::new();
    if let Some(scope) = query.scope {
        of.push(format!("tenant_id = {}", push(&mut args, scope)));
    }
    match &query.among {
        Among::All => {}
        Among::One(id) => of.push(format!("id = {}", push(&mut args, *id))),
        Among::Behind(after, limit) => {
            if let Some((name, id)) = after {
                of.push(format!("(name, id) > ({}, {})", push(&mut args, name), push(&mut args, *id)));
            }
            most = format!("limit {}", push(&mut args, *limit));
        }
    }
    let of = of.join(" and ");
    let sql = format!("select id, name, provider, revision from sources where {of} order by name, id {most}");
    Statement(sql, args)
}

/// Says of which sources something is asked: at least those that are looked at. What is found of others does no harm.
fn about(query: &StatusQuery, column: &str, args: &mut Vec<Arg>) -> String {
    match (&query.among, query.scope) {
        (Among::One(id), _) => format!("{column} = {}", push(args, *id)),
        (_, Some(scope)) => {
            format!("{column} in (select id from sources where tenant_id = {})", push(args, scope))
        }
        (_, None) => "true".to_owned(),
    }
}

/// The syncs under way with their jobs counted by state, and since when groups wait for a limit: each by its own small
/// index.
pub(super) fn live(query: &StatusQuery) -> Statement {
    let mut args = Vec::new();
    let of_sync = about(query, "active.source_id", &mut args);
    let of_job = about(query, "source_id", &mut args);
    Statement(
        format!(
            "select active.source_id, active.stream_group, active.id as sync_id, active.trigger, job.state,
                 count(job.id) as jobs, cast(null as bigint) as until
             from syncs as active left join jobs as job on job.sync_id = active.id
             where active.whole and active.state = 'running' and {of_sync}
             group by active.source_id, active.stream_group, active.id, active.trigger, job.state
             union all
             select source_id, stream_group, null, null, null, count(*), min(not_before)
             from jobs where state = 'scheduled' and {of_job} group by source_id, stream_group",
        ),
        args,
    )
}

/// What is known of budgets.
pub(super) fn budgets(query: &StatusQuery) -> Statement {
    let mut args = Vec::new();
    let of = about(query, "source_id", &mut args);
    Statement(format!("{} where {of} order by source_id, bucket", budget::SELECT), args)
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

/// A row for each source. Few sources have failures: these are found by their own small index, once for all.
pub(super) fn resting(conn: &Conn, asked: &Asked<'_>) -> Result<Statement, StoreError> {
    let mut args = vec![to_json(&asked.ids)?.into()];
    let ids = format!("(select cast(t.value ->> 0 as bigint) from {})", each(conn, "$1"));
    let group = push(&mut args, asked.group.name);
    let streams = push_streams(&mut args, asked.group);
    let (has_partitions, streams) = (probes(&streams), streams.join(", "));
    let sql = format!(
        "select source.id, source.name, source.tenant_id, tenant.name as tenant_name, source.enabled,
            tenant.id is not null and tenant.revoked_at is null as has_owner,
            {has_partitions} as has_partitions, broken.source_id is not null as has_failed,
            (select max(created_at) from syncs as asked where asked.source_id = source.id
                and asked.stream_group = {group} and asked.trigger = 'manual') as last_manual_at,
            standing.sync_id, standing.state, standing.ended_at, standing.last_success_at, standing.jobs,
            standing.failed, standing.error_what, standing.error_code, standing.error_detail,
            schedule.stream_group as scheduled, schedule.off, schedule.every_ms, schedule.interval_ms,
            schedule.next_at, schedule.last_tick_at, schedule.skipped, schedule.last_skipped_at
         from sources as source
         left join tenants as tenant on tenant.id = source.tenant_id
         left join standings as standing on standing.source_id = source.id and standing.stream_group = {group}
         left join schedules as schedule on schedule.source_id = source.id and schedule.stream_group = {group}
         left join (select distinct source_id from partitions where error_code is not null and active
                 and stream in ({streams}) and source_id in {ids}) as broken on broken.source_id = source.id
         where source.id in {ids}",
    );
    Ok(Statement(sql, args))
}

/// The partitions that failed, counted, with the first of them.
pub(super) fn failed(conn: &Conn, asked: &Asked<'_>) -> Result<Statement, StoreError> {
    let mut args = vec![to_json(&asked.ids)?.into()];
    let ids = format!("(select cast(t.value ->> 0 as bigint) from {})", each(conn, "$1"));
    let streams = push_streams(&mut args, asked.group).join(", ");
    let sql = format!(
        "select found.source_id, found.failed, found.invalid, coalesce(first.title, first.key) as what,
             first.error_code, first.error_detail
         from (select source_id, stream, count(*) as failed, count(case when not is_valid then 1 end) as invalid,
                 min(key) as key
             from partitions where error_code is not null and active and stream in ({streams})
                 and source_id in {ids}
             group by source_id, stream) as found
         join partitions as first on first.source_id = found.source_id and first.stream = found.stream
             and first.key = found.key
         order by found.source_id, found.stream",
    );
    Ok(Statement(sql, args))
}
