//! The issues of sprints: which there are, and the cards of those that changed.
//!
//! A small sprint is listed whole with every sync, which also tells what left it. Of a larger one the changes are asked
//! for by time, and the whole once an hour. A card is never read because of time alone: its version is. Begin with
//! [`issues`], then [`cards`].

use bytes::Bytes;
use domain::connector::{PAGE_REQUESTS_MAX, SEND_MAX, Step};
use domain::fault::Fault;
use domain::page::{Cursor, Item, Next, Page, Partition, Read, Request, Response, Sweep, Wanted};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::account::{self, Account, Dialect, Known};
use super::limits::{self, CHANGELOG, ISSUE, SEARCH};
use super::listing::{Turn, Walk, number};
use super::tables::CARDS_STREAM;
use super::wire;
use super::{request_time, time};
use crate::kit::{self, malformed};

/// How many issues of a search are asked for: what Data Center gives at most as it comes. Cloud gives a hundred.
const PER_PAGE: usize = 1000;

/// A sprint of at most so many issues is always listed whole: Cloud gives as many in one answer, so that asking for its
/// changes would be no cheaper.
const SMALL: usize = 100;

/// How old the last whole listing of a larger sprint may be: cards that left it are seen no later.
const WHOLE_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// Where the last whole listing is as old as this, the sprint is read so seldom that the next time is no time to wait
/// for: the whole is listed at once. Sprints that are read with every sync come nowhere near.
const WHOLE_OVERDUE: SignedDuration = SignedDuration::from_hours(24);

/// How many changes Cloud gives in a page of a history.
const CHANGES_PER_PAGE: usize = 100;

/// Where the reading of a sprint's issues stands.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Mark {
    /// Between two passes.
    Rest(Rest),
    /// Within one.
    Pass(Pass),
}

/// What is known between two passes.
#[derive(Deserialize, Serialize)]
struct Rest {
    /// When the last pass began, by the provider's clock.
    since: Timestamp,
    /// When the last whole listing began.
    whole_at: Timestamp,
    /// How many issues it listed.
    count: usize,
    /// Whether the next pass lists the whole.
    whole_due: bool,
}

/// A pass under way.
#[derive(Deserialize, Serialize)]
struct Pass {
    /// When it began, by the provider's clock.
    began: Timestamp,
    /// The time that changes are asked for from, as the query says it; `None` lists the whole.
    bound: Option<String>,
    /// What was known of the last whole listing.
    before: Option<(Timestamp, usize)>,
    /// How many issues were listed so far.
    count: usize,
    place: Place,
}

/// Where a search goes on.
#[derive(Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Place {
    Token(String),
    Offset(Walk),
}

/// Reads the next page of a sprint's issues.
pub(super) fn issues(read: &Read<'_>, got: &[Response]) -> Result<Step, Fault> {
    let sprint = number(read.partition)?;
    let (account, learned, got) = match account::known(read, got)? {
        Known::Ask(requests) => return Ok(Step::Send(requests)),
        Known::Known { account, learned, rest } => (account, learned, rest),
    };
    let pass = Pass::of(read, &account)?;
    let Some(response) = got.first() else {
        return Ok(Step::Send(vec![search(read, &account, sprint, &pass)]));
    };
    if response.status == 400 {
        // With a place, it expired; without one, Jira no longer knows the sprint that the query names.
        return Err(if pass.is_begun() { Fault::CursorLost } else { Fault::Gone });
    }
    limits::check(response)?;
    let (place, start) = (pass.place.as_ref(), pass.start());
    let listed = wire::listed(&response.body, "issues", start)?;
    let mut page = Page::empty(Next::CaughtUp { cursor: None, sweep: None });
    page.learned = if learned { account.learned() } else { None };
    let mut ids = Vec::new();
    for raw in &listed.values {
        let found = wire::found(raw)?;
        ids.push(found.id.to_string());
        page.wanted.push(Wanted {
            stream: CARDS_STREAM,
            partition: read.partition.to_owned(),
            key: found.id.to_string(),
            version: found.version,
            base: None,
            args: json!({}),
        });
    }
    page.partitions.push(Partition {
        stream: CARDS_STREAM,
        key: read.partition.to_owned(),
        args: json!({ "title": read.args.get("title") }),
        start: Vec::new(),
        refresh: None,
        shown_at: None,
    });
    let on = match (account.dialect, place) {
        (Dialect::Cloud, _) => next_token(listed.next, listed.is_last, place)?,
        (Dialect::DataCenter, None) => next_offset(&Walk::default(), &ids, listed.is_last)?,
        (Dialect::DataCenter, Some(Place::Offset(walk))) => next_offset(walk, &ids, listed.is_last)?,
        (Dialect::DataCenter, Some(Place::Token(_))) => return Err(Fault::CursorLost),
    };
    let count = pass.count + ids.len();
    if on.is_none() && count == 0 && pass.bound.is_none() {
        // An empty list says that all is gone, so whoever gave it must know who asks.
        let Some(proof) = got.get(1) else { return Ok(Step::Send(vec![account::proof(read)])) };
        account::believe(proof)?;
    }
    page.next = pass.next(on, count, request_time(response), sprint, read.partition);
    Ok(Step::Page(page))
}

/// Goes on with the token of the answer. A page may be short or empty and still not be the last: only a missing token
/// ends the walk.
fn next_token(next: Option<String>, is_last: bool, place: Option<&Place>) -> Result<Option<Place>, Fault> {
    let Some(token) = next.filter(|_| !is_last) else { return Ok(None) };
    let on = Place::Token(token);
    if place == Some(&on) {
        return Err(malformed("a search that does not go on"));
    }
    Ok(Some(on))
}

fn next_offset(walk: &Walk, ids: &[String], is_last: bool) -> Result<Option<Place>, Fault> {
    Ok(match walk.after(ids, is_last)? {
        Turn::On(walk) => Some(Place::Offset(walk)),
        Turn::End => None,
    })
}

/// A pass to go on with; without a place it is about to begin.
struct Going {
    began: Option<Timestamp>,
    bound: Option<String>,
    before: Option<(Timestamp, usize)>,
    count: usize,
    place: Option<Place>,
}

impl Pass {
    fn of(read: &Read<'_>, account: &Account) -> Result<Going, Fault> {
        let whole = Going { began: None, bound: None, before: None, count: 0, place: None };
        let Some(cursor) = read.cursor else { return Ok(whole) };
        Ok(match Mark::deserialize(&cursor.0).map_err(|_| Fault::CursorLost)? {
            Mark::Rest(rest) if rest.whole_due || rest.count <= SMALL => whole,
            Mark::Rest(rest) => {
                let from = rest.since.checked_sub(time::OVERLAP).unwrap_or(Timestamp::MIN);
                let bound = Some(time::bound(from, account.zone().as_ref()));
                Going { bound, before: Some((rest.whole_at, rest.count)), ..whole }
            }
            Mark::Pass(Self { began, bound, before, count, place }) => {
                let fits = matches!(
                    (account.dialect, &place),
                    (Dialect::Cloud, Place::Token(_)) | (Dialect::DataCenter, Place::Offset(_))
                );
                if !fits {
                    return Err(Fault::CursorLost);
                }
                Going { began: Some(began), bound, before, count, place: Some(place) }
            }
        })
    }
}

impl Going {
    fn is_begun(&self) -> bool {
        self.place.is_some()
    }

    fn start(&self) -> usize {
        match &self.place {
            Some(Place::Offset(walk)) => walk.start,
            _ => 0,
        }
    }

    /// Says how the partition goes on after a page.
    fn next(self, on: Option<Place>, count: usize, now: Timestamp, sprint: i64, partition: &str) -> Next {
        let began = self.began.unwrap_or(now);
        let cursor = |mark: Mark| Cursor(serde_json::to_value(mark).unwrap_or_default());
        if let Some(place) = on {
            let pass = Pass { began, bound: self.bound, before: self.before, count, place };
            return Next::More(cursor(Mark::Pass(pass)));
        }
        let is_whole = self.bound.is_none();
        let (whole_at, count) = self.before.filter(|_| !is_whole).unwrap_or((began, count));
        let whole_age = now.duration_since(whole_at);
        let rest = Rest { since: began, whole_at, count, whole_due: whole_age >= WHOLE_EVERY };
        if !is_whole && whole_age >= WHOLE_OVERDUE {
            return Next::More(cursor(Mark::Rest(rest)));
        }
        let items = Some(Box::new((CARDS_STREAM.to_owned(), partition.to_owned())));
        let sweep = is_whole.then_some(Sweep { owner: Some(sprint), items, partitions: None });
        Next::CaughtUp { cursor: Some(cursor(Mark::Rest(rest))), sweep }
    }
}

/// Makes the request of a pass. Issues come in the order of their making, which never changes.
fn search(read: &Read<'_>, account: &Account, sprint: i64, pass: &Going) -> Request {
    let changed = pass.bound.as_ref().map_or(String::new(), |it| format!(" AND updated >= \"{it}\""));
    let query = kit::escaped(&format!("sprint = {sprint}{changed} ORDER BY created ASC, key ASC"));
    let api = format!("{}/{}", read.source.base_url, account.dialect.api());
    let asked = format!("jql={query}&fields=updated&maxResults={PER_PAGE}");
    let url = match (account.dialect, &pass.place) {
        (Dialect::Cloud, Some(Place::Token(token))) => {
            format!("{api}/search/jql?{asked}&nextPageToken={}", kit::escaped(token))
        }
        (Dialect::Cloud, _) => format!("{api}/search/jql?{asked}"),
        (Dialect::DataCenter, _) => format!("{api}/search?{asked}&startAt={}", pass.start()),
    };
    limits::request(url, SEARCH)
}

/// Reads the issues that changed, several side by side, each with all of its history.
pub(super) fn cards(read: &Read<'_>, got: &[Response]) -> Result<Step, Fault> {
    let sprint = number(read.partition)?;
    let (account, learned, got) = match account::known(read, got)? {
        Known::Ask(requests) => return Ok(Step::Send(requests)),
        Known::Known { account, learned, rest } => (account, learned, rest),
    };
    let items: Vec<&Item> = read.items.iter().take(SEND_MAX).collect();
    let api = format!("{}/{}/issue", read.source.base_url, account.dialect.api());
    let mut page = Page::empty(Next::CaughtUp { cursor: None, sweep: None });
    page.learned = if learned { account.learned() } else { None };
    if items.is_empty() {
        return Ok(Step::Page(page));
    }
    if got.len() < items.len() {
        // The fields that lists show, and of the others those that a card lands.
        let asked = "fields=*navigable,parent,subtasks&expand=changelog";
        let url = |it: &&Item| format!("{api}/{}?{asked}", kit::escaped(&it.key));
        return Ok(Step::Send(items.iter().map(|it| limits::request(url(it), ISSUE)).collect()));
    }
    let (issues, more) = got.split_at(items.len());
    let plans = plan(&items, issues, account.dialect)?;
    let changes = match histories(&plans, more, PAGE_REQUESTS_MAX - account::PROBES - items.len())? {
        Histories::Ask(asks) => {
            let url = |it: &Ask| {
                let key = kit::escaped(&plans[it.plan].item.key);
                format!("{api}/{key}/changelog?startAt={}&maxResults={CHANGES_PER_PAGE}", it.start)
            };
            let requests = asks.iter().map(|it| limits::request(url(it), CHANGELOG));
            return Ok(Step::Send(requests.collect()));
        }
        Histories::Done(read) => read,
    };
    let site = account.site.as_deref().unwrap_or(&read.source.base_url);
    for (position, (plan, older)) in plans.iter().zip(changes).enumerate() {
        let card = older.and_then(|older| {
            let (id, issue) = (number(&plan.item.key)?, &plan.issue.body);
            wire::Card { sprint, id, issue, site, older: &older }.record()
        });
        match card {
            Ok(record) => {
                page.records.push(record);
                page.done.push(plan.item.key.clone());
            }
            Err(fault) if position == 0 || concerns_all(&fault) => return Err(fault),
            // The others stay due, and each becomes the first in its turn: nothing is given up here.
            Err(_) => {}
        }
    }
    Ok(Step::Page(page))
}

/// What has to be read for one card beside the issue itself.
struct Plan<'a> {
    item: &'a Item,
    issue: &'a Response,
    /// The places of the changes that do not stand inside the issue, of those that are read.
    missing: std::ops::Range<usize>,
}

/// Plans the rest of each history as far as a page of ours may ask. What does not fit stays due; only the first item's
/// may be cut, so that none can stand in the way for ever.
fn plan<'a>(items: &[&'a Item], issues: &'a [Response], dialect: Dialect) -> Result<Vec<Plan<'a>>, Fault> {
    let mut room = PAGE_REQUESTS_MAX - account::PROBES - items.len();
    let mut plans = Vec::new();
    for (position, (item, issue)) in items.iter().zip(issues).enumerate() {
        let history = match limits::check(issue).and_then(|()| wire::history(&issue.body)) {
            Ok(history) => history,
            Err(fault) if position == 0 || concerns_all(&fault) => return Err(fault),
            Err(_) => continue,
        };
        // Data Center shows the whole history with the issue.
        let missing = match dialect {
            Dialect::Cloud => history.total.saturating_sub(history.shown),
            Dialect::DataCenter => 0,
        };
        let pages = missing.div_ceil(CHANGES_PER_PAGE);
        if pages > room && position > 0 {
            continue;
        }
        let from = missing.saturating_sub(room * CHANGES_PER_PAGE);
        room -= pages.min(room);
        plans.push(Plan { item, issue, missing: from..missing });
    }
    Ok(plans)
}

/// One page of a history to ask for.
#[derive(Clone, Copy)]
struct Ask {
    /// Whose.
    plan: usize,
    start: usize,
    end: usize,
}

/// How far the histories are read.
enum Histories {
    /// These have to be asked next.
    Ask(Vec<Ask>),
    /// The changes of each plan, or why they could not be read.
    Done(Vec<Result<Vec<Bytes>, Fault>>),
}

/// Follows the histories through the answers so far, at most `room` of them. A page that is shorter than it was asked
/// to be is followed by another.
fn histories(plans: &[Plan<'_>], answers: &[Response], room: usize) -> Result<Histories, Fault> {
    let mut asks: Vec<Ask> = Vec::new();
    for (plan, it) in plans.iter().enumerate() {
        let starts = it.missing.clone().step_by(CHANGES_PER_PAGE);
        let end = |start: usize| (start + CHANGES_PER_PAGE).min(it.missing.end);
        asks.extend(starts.map(|start| Ask { plan, start, end: end(start) }));
    }
    let mut read: Vec<Result<Vec<Bytes>, Fault>> = plans.iter().map(|_| Ok(Vec::new())).collect();
    let mut at = 0;
    while let Some(ask) = asks.get(at).copied() {
        let Some(answer) = answers.get(at) else {
            return Ok(Histories::Ask(asks.iter().skip(at).take(SEND_MAX).copied().collect()));
        };
        at += 1;
        let changes = match limits::check(answer).and_then(|()| wire::changes(&answer.body)) {
            Err(fault) if concerns_all(&fault) => return Err(fault),
            other => other,
        };
        let next = ask.start + changes.as_ref().map_or(0, Vec::len);
        match (&mut read[ask.plan], changes) {
            (Ok(read), Ok(changes)) => read.extend(changes),
            (read @ Ok(_), Err(fault)) => *read = Err(fault),
            (Err(_), _) => {}
        }
        if next > ask.start && next < ask.end {
            // The first item is landed with what could be read; the others are tried again when there is more room.
            if asks.len() < room {
                asks.push(Ask { start: next, ..ask });
            } else if ask.plan > 0 {
                read[ask.plan] = Err(malformed("a history that a page has no room for"));
            }
        }
    }
    Ok(Histories::Done(read))
}

/// Says whether a refusal is not about one issue but about every request.
fn concerns_all(fault: &Fault) -> bool {
    matches!(fault, Fault::RateLimited { .. } | Fault::Unauthorized)
}
