//! The ledger: what is known of each account's budgets, and which of their requests are granted to which node.
//!
//! Never lets a request be granted twice, never lets an older word replace a newer one, and never forgets a refusal
//! before its time. Begin with [`account`].

use std::collections::{BTreeMap, BTreeSet};

use domain::id::SourceId;
use domain::policy::Thresholds;
use domain::policy::ledger::{self, Class, Count, GRANT_FOR, Window};
use jiff::Timestamp;
use sqlx::AssertSqlSafe;

use crate::db::{Conn, Row, args, to_json};
use crate::dialect::{each, for_update};
use crate::error::{StoreError, corrupt};

/// What is known of one budget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetRow {
    /// Its name in the account.
    pub bucket: String,
    /// How many requests a full budget has.
    pub limit: Option<i64>,
    /// How many are left.
    pub remaining: Option<i64>,
    /// When it is full again.
    pub resets_at: Option<Timestamp>,
    /// How many we spent of it in this window, or since it was last told; `None` where it is not counted in requests.
    pub own: Option<i64>,
    /// When the provider will answer again after a refusal.
    pub blocked_until: Option<Timestamp>,
    /// When the provider said so.
    pub observed_at: Timestamp,
}

impl BudgetRow {
    /// Returns its window.
    #[must_use]
    pub fn count(&self) -> Count {
        let number = |it: Option<i64>| it.and_then(|it| u64::try_from(it).ok());
        Count { limit: number(self.limit), remaining: number(self.remaining), resets_at: self.resets_at }
    }
}

/// What a node tells of an account, and what it wants of it.
#[derive(Clone, Debug)]
pub struct Accounting {
    /// The account.
    pub account: String,
    /// The node.
    pub node: String,
    /// What it learned since it last told, with the requests it spent since.
    pub told: Vec<BudgetRow>,
    /// What it keeps of its grants; whatever else it was granted is given back.
    pub kept: Vec<Kept>,
    /// What it wants to spend.
    pub wants: Option<Want>,
}

/// What a node keeps of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The budget.
    pub bucket: String,
    /// For whose requests.
    pub class: Class,
    /// How many it may still spend, and those that are under way.
    pub requests: u64,
    /// When it ends.
    pub until: Timestamp,
}

/// What a node wants to spend.
#[derive(Clone, Debug)]
pub struct Want {
    /// The budget.
    pub bucket: String,
    /// For whose requests.
    pub class: Class,
    /// How large the budget is where the provider never said.
    pub assumed: Option<u64>,
    /// The numbers to decide by.
    pub thresholds: Thresholds,
    /// How many nodes are at work, as far as the node knows.
    pub nodes: u64,
    /// Requests of the node that are under way: their cost is in no count yet.
    pub under_way: u64,
}

/// What the ledger answers.
#[derive(Clone, Debug)]
pub struct Accounted {
    /// What is known of the account's budgets now.
    pub budgets: Vec<BudgetRow>,
    /// What came of the want.
    pub granted: Option<Granted>,
}

/// What came of a want.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// How many requests may be spent; zero when none may.
    pub requests: u64,
    /// When what is granted ends; where nothing is, when to ask again: the reset, or as soon as others may have given
    /// back what they hold.
    pub until: Timestamp,
}

/// How long a node waits that finds everything granted to others: they give back within seconds what they do not need.
const ASK_AGAIN: jiff::SignedDuration = jiff::SignedDuration::from_secs(1);

/// Takes over what a node tells of an account, and grants what it wants, as far as that is left.
pub(crate) async fn account(
    conn: &mut Conn,
    (it, now): &(Accounting, Timestamp),
) -> Result<Accounted, StoreError> {
    let now = *now;
    let mut known = lock(conn, it).await?;
    let told: BTreeSet<&str> = it.told.iter().map(|told| told.bucket.as_str()).collect();
    for told in &it.told {
        if let Some(row) = known.get_mut(&told.bucket) {
            take_over(row, told, now);
        }
    }
    let rows: Vec<&BudgetRow> = known.values().filter(|row| told.contains(row.bucket.as_str())).collect();
    write(conn, &it.account, &rows).await?;
    let others = others(conn, it, now).await?;
    let granted = it.wants.as_ref().map(|want| decide(want, it, &known, &others, now));
    keep(conn, it, granted, now).await?;
    Ok(Accounted { budgets: known.into_values().collect(), granted })
}

/// Locks the account's budgets, in one order for everybody; those that are spoken of for the first time are made.
async fn lock(conn: &mut Conn, it: &Accounting) -> Result<BTreeMap<String, BudgetRow>, StoreError> {
    let mut named: BTreeSet<&str> = it.told.iter().map(|told| told.bucket.as_str()).collect();
    named.extend(it.wants.iter().map(|want| want.bucket.as_str()));
    let select = format!("{SELECT} where account = $1 order by bucket {}", for_update(conn));
    loop {
        let rows = conn.rows(AssertSqlSafe(select.clone()), args![&it.account]).await?;
        let known: BTreeMap<String, BudgetRow> = rows
            .iter()
            .map(read)
            .map(|row| row.map(|row| (row.bucket.clone(), row)))
            .collect::<Result<_, _>>()?;
        let missing: Vec<[&str; 1]> =
            named.iter().filter(|name| !known.contains_key(**name)).map(|name| [*name]).collect();
        if missing.is_empty() {
            return Ok(known);
        }
        let sql = format!(
            "insert into budgets (account, bucket, observed_at) select $1, t.value ->> 0, 0 from {} where true
             on conflict do nothing",
            each(conn, "$2"),
        );
        conn.execute(AssertSqlSafe(sql), args![&it.account, to_json(&missing)?]).await?;
    }
}

/// Merges what a node tells into what is known. A refusal holds for everybody, whichever node was told it.
fn take_over(row: &mut BudgetRow, told: &BudgetRow, now: Timestamp) {
    let mut count = row.count();
    let window = count.note(&told.count(), now);
    let number = |it: Option<u64>| it.and_then(|it| i64::try_from(it).ok());
    (row.limit, row.remaining, row.resets_at) =
        (number(count.limit), number(count.remaining), count.resets_at);
    row.own = match window {
        Window::Older => row.own,
        Window::Same => {
            row.own.map_or(told.own, |own| Some(own.saturating_add(told.own.unwrap_or_default())))
        }
        Window::Newer => told.own,
    };
    let believed = |it| domain::policy::believed(it, now);
    row.blocked_until = believed(row.blocked_until).max(believed(told.blocked_until));
    row.observed_at = row.observed_at.max(told.observed_at);
}

async fn write(conn: &mut Conn, account: &str, rows: &[&BudgetRow]) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let ms = |at: Option<Timestamp>| at.map(Timestamp::as_millisecond);
    let rows: Vec<_> = rows
        .iter()
        .map(|it| {
            let observed_at = it.observed_at.as_millisecond();
            (&it.bucket, it.limit, it.remaining, ms(it.resets_at), it.own, ms(it.blocked_until), observed_at)
        })
        .collect();
    let number = |at: usize| format!("cast(t.value ->> {at} as bigint)");
    let sql = format!(
        "update budgets set request_limit = {}, remaining = {}, resets_at = {}, own = {}, blocked_until = {},
             observed_at = {}
         from {} where account = $1 and bucket = t.value ->> 0",
        number(1),
        number(2),
        number(3),
        number(4),
        number(5),
        number(6),
        each(conn, "$2"),
    );
    conn.execute(AssertSqlSafe(sql), args![account, to_json(&rows)?]).await?;
    Ok(())
}

/// What other nodes hold of an account.
#[derive(Default)]
struct Others {
    nodes: BTreeSet<String>,
    granted: BTreeMap<String, u64>,
}

async fn others(conn: &mut Conn, it: &Accounting, now: Timestamp) -> Result<Others, StoreError> {
    if it.wants.is_none() {
        return Ok(Others::default());
    }
    let sql =
        "select bucket, node, requests from grants where account = $1 and node <> $2 and expires_at > $3";
    let mut others = Others::default();
    for row in conn.rows(sql, args![&it.account, &it.node, now]).await? {
        *others.granted.entry(row.get("bucket")?).or_default() += row.count("requests")?;
        others.nodes.insert(row.get("node")?);
    }
    Ok(others)
}

/// Says what may be spent of a budget: what is left of it, without what others were granted and what is under way.
fn decide(
    want: &Want,
    it: &Accounting,
    known: &BTreeMap<String, BudgetRow>,
    others: &Others,
    now: Timestamp,
) -> Granted {
    let ends_at = now.saturating_add(GRANT_FOR).unwrap_or(now);
    let count = known.get(&want.bucket).map(BudgetRow::count).unwrap_or_default();
    let Some(left) = count.left(want.assumed, now) else {
        return Granted { requests: ledger::GRANT_MAX, until: ends_at };
    };
    let limit = count.limit.or(want.assumed).unwrap_or(left);
    let required = want.thresholds.required(want.class, limit);
    let nodes = want.nodes.max(others.nodes.len() as u64 + 1);
    let held = others.granted.get(&want.bucket).copied().unwrap_or_default();
    // What the node itself keeps for other classes is spent too; what it keeps for this one is given back with this.
    let kept = it.kept.iter().filter(|kept| kept.bucket == want.bucket && kept.class != want.class);
    let kept: u64 = kept.map(|kept| kept.requests).sum();
    let free = left.saturating_sub(held).saturating_sub(kept).saturating_sub(want.under_way);
    // A full budget of which everything seems granted is still one that may be asked: nothing else would tell.
    let requests = if left < required { 0 } else { ledger::grant(free, required, nodes) };
    let again = now.saturating_add(ASK_AGAIN).unwrap_or(now);
    let until = match count.resets_at.filter(|at| *at > now) {
        _ if requests > 0 => ends_at,
        Some(resets_at) if left < required => resets_at,
        Some(resets_at) => resets_at.min(again),
        None => again,
    };
    Granted { requests, until }
}

/// Writes down what the node holds from now on, and forgets what has ended.
async fn keep(
    conn: &mut Conn,
    it: &Accounting,
    granted: Option<Granted>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sql = "delete from grants where account = $1 and (node = $2 or expires_at <= $3)";
    conn.execute(sql, args![&it.account, &it.node, now]).await?;
    let new = it.wants.as_ref().zip(granted).filter(|(_, granted)| granted.requests > 0);
    let mut held: BTreeMap<(&str, &str), (u64, Timestamp)> = BTreeMap::new();
    for kept in it.kept.iter().filter(|kept| kept.requests > 0) {
        held.insert((&kept.bucket, kept.class.as_str()), (kept.requests, kept.until));
    }
    if let Some((want, granted)) = new {
        let requests = granted.requests.saturating_add(want.under_way);
        held.insert((&want.bucket, want.class.as_str()), (requests, granted.until));
    }
    if held.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = held
        .iter()
        .map(|((bucket, class), (requests, until))| (bucket, class, requests, until.as_millisecond()))
        .collect();
    let sql = format!(
        "insert into grants (account, bucket, node, class, requests, expires_at)
         select $1, t.value ->> 0, $2, t.value ->> 1, cast(t.value ->> 2 as bigint), cast(t.value ->> 3 as bigint)
         from {}",
        each(conn, "$3"),
    );
    conn.execute(AssertSqlSafe(sql), args![&it.account, &it.node, to_json(&rows)?]).await?;
    Ok(())
}

/// Gives back what dead nodes were granted.
pub(crate) async fn give_back(conn: &mut Conn, dead: &str) -> Result<(), StoreError> {
    let sql = format!("delete from grants where node in (select t.value ->> 0 from {})", each(conn, "$1"));
    conn.execute(AssertSqlSafe(sql), args![dead]).await?;
    Ok(())
}

pub(crate) const COLUMNS: &str =
    "budgets.bucket, budgets.request_limit, budgets.remaining, budgets.resets_at, budgets.own,
    budgets.blocked_until, budgets.observed_at";

const SELECT: &str =
    "select bucket, request_limit, remaining, resets_at, own, blocked_until, observed_at from budgets";

/// Words a select of the budgets of sources, each with its source; conditions follow.
pub(crate) fn of_sources() -> String {
    format!(
        "select source.id as source_id, {COLUMNS} from sources as source
         join budgets on budgets.account = source.account"
    )
}

/// Reads what is known of an account.
pub(crate) async fn all(conn: &mut Conn, account: &str) -> Result<Vec<BudgetRow>, StoreError> {
    let sql = format!("{SELECT} where account = $1 order by bucket");
    conn.rows(AssertSqlSafe(sql), args![account]).await?.iter().map(read).collect()
}

/// Reads what is known of a source's account.
pub(crate) async fn of_source(conn: &mut Conn, source: SourceId) -> Result<Vec<BudgetRow>, StoreError> {
    let sql = format!("{} where source.id = $1 order by budgets.bucket", of_sources());
    conn.rows(AssertSqlSafe(sql), args![source]).await?.iter().map(read).collect()
}

pub(crate) fn read(row: &Row) -> Result<BudgetRow, StoreError> {
    let bucket: String = row.get("bucket")?;
    Ok(BudgetRow {
        limit: row.get("request_limit")?,
        remaining: row.get("remaining")?,
        resets_at: row.time("resets_at")?,
        own: row.get("own")?,
        blocked_until: row.time("blocked_until")?,
        observed_at: row.time("observed_at")?.ok_or_else(|| corrupt("budgets", &bucket, "observed_at"))?,
        bucket,
    })
}
