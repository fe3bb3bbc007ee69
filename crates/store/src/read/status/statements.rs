//! The words in which the status is asked for.
//!
//! None of them scans partitions or ended jobs.

use domain::connector::Group;

use super::{Among, StatusQuery};
use crate::db::{Arg, Conn, to_json};
use crate::dialect::each;
use crate::error::StoreError;

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

/// The parts of a look, each row of which says which one it is of.
pub(super) const SOURCE: &str = "source";
pub(super) const SYNC: &str = "sync";
pub(super) const RECOVERY: &str = "recovery";
pub(super) const WAITING: &str = "waiting";
pub(super) const BUDGET: &str = "budget";

/// The columns of a look, each with its type: every part fills those that it has.
const COLUMNS: [(&str, &str); 17] = [
    ("part", "text"),
    ("listed", "text"),
    ("source_id", "bigint"),
    ("account", "text"),
    ("stream_group", "text"),
    ("sync_id", "bigint"),
    ("trigger", "text"),
    ("state", "text"),
    ("jobs", "bigint"),
    ("until", "bigint"),
    ("bucket", "text"),
    ("request_limit", "bigint"),
    ("remaining", "bigint"),
    ("resets_at", "bigint"),
    ("own", "bigint"),
    ("blocked_until", "bigint"),
    ("observed_at", "bigint"),
];

/// Words a part: its columns, and where they come from.
fn part(name: &str, columns: &[(&str, &str)], from: &str) -> String {
    let value = |(column, kind): &(&str, &str)| {
        let given = columns.iter().find(|it| it.0 == *column).map(|it| it.1);
        match (*column, given) {
            ("part", _) => format!("'{name}' as part"),
            (_, Some(value)) => format!("{value} as {column}"),
            (_, None) => format!("cast(null as {kind}) as {column}"),
        }
    };
    format!("select {} {from}", COLUMNS.iter().map(value).collect::<Vec<_>>().join(", "))
}

/// Everything but what rests: the sources that are looked at, with their revisions, by name; the syncs under
/// way with their jobs counted by state; since when groups wait for a limit; and budgets. Each is found by its own small
/// index. One statement, so that all of it is of one moment, and a busy server is asked once.
pub(super) fn look(query: &StatusQuery) -> Statement {
    let mut args = Vec::new();
    let sources = sources(query, &mut args);
    let syncs = under_way(query, (SYNC, "active.whole"), &mut args);
    let recoveries = under_way(query, (RECOVERY, "active.trigger = 'recovery'"), &mut args);
    let waiting = part(
        WAITING,
        &[("source_id", "source_id"), ("stream_group", "stream_group"), ("until", "min(not_before)")],
        &format!(
            "from jobs where state = 'scheduled' and lane = 'forward' and {} group by source_id, stream_group",
            about(query, "source_id", &mut args),
        ),
    );
    let budgets = part(
        BUDGET,
        &[
            ("account", "account"),
            ("bucket", "bucket"),
            ("request_limit", "request_limit"),
            ("remaining", "remaining"),
            ("resets_at", "resets_at"),
            ("own", "own"),
            ("blocked_until", "blocked_until"),
            ("observed_at", "observed_at"),
        ],
        &format!(
            "from budgets where account in (select payer.account from sources as payer where {})",
            about(query, "payer.id", &mut args),
        ),
    );
    Statement([sources, syncs, recoveries, waiting, budgets].join("\nunion all\n"), args)
}

/// The syncs under way of a kind, with their jobs counted by state.
fn under_way(query: &StatusQuery, (name, which): (&str, &str), args: &mut Vec<Arg>) -> String {
    part(
        name,
        &[
            ("source_id", "active.source_id"),
            ("stream_group", "active.stream_group"),
            ("sync_id", "active.id"),
            ("trigger", "active.trigger"),
            ("state", "job.state"),
            ("jobs", "count(job.id)"),
        ],
        &format!(
            "from syncs as active left join jobs as job on job.sync_id = active.id
             where {which} and active.state = 'running' and {}
             group by active.source_id, active.stream_group, active.id, active.trigger, job.state",
            about(query, "active.source_id", args),
        ),
    )
}

fn sources(query: &StatusQuery, args: &mut Vec<Arg>) -> String {
    let mut of = vec!["removed_at is null".to_owned()];
    let mut most = String::new();
    if let Some(scope) = query.scope {
        of.push(format!("tenant_id = {}", push(args, scope)));
    }
    match &query.among {
        Among::All => {}
        Among::One(id) => of.push(format!("id = {}", push(args, *id))),
        Among::Behind(after, limit) => {
            if let Some((name, id)) = after {
                of.push(format!("(name, id) > ({}, {})", push(args, name), push(args, *id)));
            }
            most = format!("limit {}", push(args, *limit));
        }
    }
    let of = of.join(" and ");
    let by_name = format!(
        "from (select id, revision, name from sources where {of} order by name, id {most}) as listed"
    );
    // All in one text: a row for each of a thousand sources takes longer than all the rest.
    part(SOURCE, &[("listed", "string_agg(id || ' ' || revision, ' ' order by name, id)")], &by_name)
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

/// What is told of a source as such: its name, the word of its connector, and who pays for its requests.
pub(super) fn named(conn: &Conn, ids: &[[i64; 1]]) -> Result<Statement, StoreError> {
    let sql = format!(
        "select id, name, provider, account from sources
         where id in (select cast(t.value ->> 0 as bigint) from {})",
        each(conn, "$1"),
    );
    Ok(Statement(sql, vec![to_json(&ids)?.into()]))
}

/// A row for each source. Few sources have failures: these are found by their own small index, once for all.
pub(super) fn resting(conn: &Conn, asked: &Asked<'_>) -> Result<Statement, StoreError> {
    let mut args = vec![to_json(&asked.ids)?.into()];
    let ids = format!("(select cast(t.value ->> 0 as bigint) from {})", each(conn, "$1"));
    let group = push(&mut args, asked.group.name);
    let streams = push_streams(&mut args, asked.group);
    let (has_partitions, streams) = (probes(&streams), streams.join(", "));
    let sql = format!(
        "select source.id, source.tenant_id, tenant.name as tenant_name, source.enabled,
            tenant.id is not null and tenant.revoked_at is null as has_owner,
            {has_partitions} as has_partitions, broken.source_id is not null as has_failed,
            (select max(created_at) from syncs as asked where asked.source_id = source.id
                and asked.stream_group = {group} and asked.trigger = 'manual' and asked.whole) as last_manual_at,
            standing.sync_id, standing.state, standing.ended_at, standing.last_success_at, standing.jobs,
            standing.failed, standing.error_what, standing.error_code, standing.error_detail,
            schedule.stream_group as scheduled, schedule.off, schedule.every_ms, schedule.interval_ms,
            schedule.next_at, schedule.last_tick_at, schedule.skipped, schedule.last_skipped_at,
            coalesce(healing.in_vain, 0) as in_vain
         from sources as source
         left join tenants as tenant on tenant.id = source.tenant_id
         left join standings as standing on standing.source_id = source.id and standing.stream_group = {group}
         left join schedules as schedule on schedule.source_id = source.id and schedule.stream_group = {group}
         left join healing on healing.source_id = source.id and healing.stream_group = {group}
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
