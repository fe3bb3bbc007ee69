//! Jira as a pure function: an address in, an answer out, over a board with sprints at which people work.
//!
//! Written from the provider's description, not from the connector; it shares no code with it. Time passes with every
//! request, and the index that Cloud searches lags behind.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use domain::page::{Headers, Item, Record, Response};
use domain::table::{Cell, Table};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use proptest::sample::Index;
use serde_json::{Value, json};

use super::reference::Provider;

pub(super) const BASE: &str = "https://jira.example";

/// The board that has sprints, and the two of them that are active.
const BOARD: i64 = 3;
pub(super) const ACTIVE: [i64; 2] = [31, 32];

/// A site with boards, of which one has sprints.
#[derive(Clone, Debug)]
pub(super) struct Site {
    pub(super) cloud: bool,
    zone_name: String,
    zone: TimeZone,
    /// Whether a wall time that exists twice, or not at all, is taken for the later of its two instants.
    pub(super) later: bool,
    /// How far our own clock is ahead of the site's.
    pub(super) skew_ms: i64,
    /// How far the index lags behind; less than the two minutes that are asked for again.
    pub(super) lag_ms: i64,
    /// The most entries that a page has, whatever is asked for.
    pub(super) page_max: usize,
    now_ms: i64,
    issues: BTreeMap<i64, Issue>,
    /// The cards that landed and are not gone: the time of change of each, by sprint and number.
    cards: BTreeMap<(i64, i64), i64>,
}

/// An issue, with all that it ever was.
#[derive(Clone, Debug)]
struct Issue {
    states: Vec<State>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct State {
    /// Since when it is so.
    since_ms: i64,
    updated_ms: i64,
    /// The sprint that it is in; none is the backlog.
    sprint: Option<i64>,
    exists: bool,
    changes: usize,
}

/// Something that happens at the site.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// Issues are made in a sprint.
    Create { sprint: usize, count: usize },
    /// An issue is edited.
    Edit { issue: Index },
    /// An issue is put into a sprint or taken out of all; some moves do not count as a change of the issue.
    Move { issue: Index, to: usize, counts: bool },
    /// An issue is deleted.
    Delete { issue: Index },
    /// Time passes.
    Wait { minutes: i64 },
}

impl Provider for Site {
    type Change = Change;

    fn answer(&mut self, url: &str) -> Response {
        let rest = url.strip_prefix(BASE).expect("an address of the source");
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let parameters: BTreeMap<String, String> = query
            .split('&')
            .filter_map(|it| it.split_once('='))
            .map(|(name, value)| (name.to_owned(), plain(value)))
            .collect();
        // An answer takes a while, and what happens meanwhile is seen by the next.
        self.now_ms += 137;
        let (status, body) = self.respond(path, &parameters);
        let at = |ms: i64| Timestamp::from_millisecond(ms).unwrap();
        let date = at(self.now_ms).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        Response {
            status,
            headers: Headers(vec![("date".to_owned(), date)]),
            body: Bytes::from(body.to_string()),
            url: String::new(),
            requested_at: at(self.now_ms - 100 + self.skew_ms),
            received_at: at(self.now_ms + self.skew_ms),
        }
    }

    fn apply(&mut self, change: &Change) {
        // Two things never happen at once.
        self.now_ms += 1;
        let now = self.now_ms;
        match *change {
            Change::Create { sprint, count } => {
                for _ in 0..count {
                    let state = State {
                        since_ms: now,
                        updated_ms: now,
                        sprint: place(sprint),
                        exists: true,
                        changes: 0,
                    };
                    self.issues.insert(
                        1000 + i64::try_from(self.issues.len()).unwrap(),
                        Issue { states: vec![state] },
                    );
                }
            }
            Change::Edit { issue } => {
                self.change(issue, |it| State { updated_ms: now, changes: it.changes + 1, ..it });
            }
            Change::Move { issue, to, counts } => self.change(issue, |it| {
                let (updated_ms, changes) =
                    if counts { (now, it.changes + 1) } else { (it.updated_ms, it.changes) };
                State { updated_ms, changes, sprint: place(to), ..it }
            }),
            Change::Delete { issue } => self.change(issue, |it| State { exists: false, ..it }),
            Change::Wait { minutes } => self.now_ms += minutes * 60_000,
        }
    }

    fn landed(&mut self, record: &Record) {
        if record.table.name != "jira_cards" {
            return;
        }
        let cell = |name: &str| {
            let at = record.table.columns.iter().position(|it| it.name == name).unwrap();
            record.cells[at].clone()
        };
        let (Cell::Integer(sprint), Cell::Integer(id)) = (cell("sprint_id"), cell("id")) else {
            panic!("{record:?}")
        };
        let Cell::Timestamp(updated) = cell("updated_at") else { panic!("{record:?}") };
        let Cell::Json(details) = cell("details_json") else { panic!("{record:?}") };
        let details: Value = serde_json::from_str(&details).unwrap();
        let changelog = &details["changelog"];
        let numbers: Vec<u64> = changelog["histories"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["id"].as_str().unwrap().parse().unwrap())
            .collect();
        let all: Vec<u64> = (0..changelog["total"].as_u64().unwrap()).collect();
        assert_eq!(numbers, all, "the whole history of {id}, oldest first");
        self.cards.insert((sprint, id), updated.as_millisecond());
    }

    fn listed(&mut self, table: &'static Table, owner: Option<i64>, seen: &BTreeSet<String>) {
        if table.name == "jira_cards" {
            let owner = owner.expect("a sprint");
            self.cards.retain(|(sprint, id), _| *sprint != owner || seen.contains(&id.to_string()));
        }
    }

    fn assert_read(&self, partition: &str, item: &Item) {
        let id: i64 = item.key.parse().unwrap();
        let wanted: Timestamp = item.wanted.parse().unwrap();
        let landed = self.cards.get(&(partition.parse().unwrap(), id));
        let updated = landed.unwrap_or_else(|| panic!("{id} is called read, and never landed"));
        assert!(
            *updated >= wanted.as_millisecond(),
            "{id} is called read at {wanted}, and landed an older one"
        );
    }
}

/// Returns the sprint that a number of a change means.
fn place(number: usize) -> Option<i64> {
    ACTIVE.get(number).copied()
}

impl Site {
    pub(super) fn new(cloud: bool, zone_name: &str, now: Timestamp) -> Self {
        Self {
            cloud,
            zone_name: zone_name.to_owned(),
            zone: jiff::tz::TimeZoneDatabase::bundled().get(zone_name).unwrap(),
            later: false,
            skew_ms: 0,
            lag_ms: 0,
            page_max: 100,
            now_ms: now.as_millisecond(),
            issues: BTreeMap::new(),
            cards: BTreeMap::new(),
        }
    }

    fn change(&mut self, which: Index, to: impl Fn(State) -> State) {
        let alive: Vec<i64> =
            self.issues.iter().filter(|(_, it)| it.now().exists).map(|(id, _)| *id).collect();
        if alive.is_empty() {
            return;
        }
        let now = self.now_ms;
        let issue = self.issues.get_mut(which.get(&alive)).unwrap();
        let state = State { since_ms: now, ..to(issue.now()) };
        issue.states.push(state);
    }

    /// Fails unless the active sprints' cards stand there as they are, and no other.
    pub(super) fn assert_complete(&self) {
        let expected: BTreeMap<(i64, i64), i64> = self
            .issues
            .iter()
            .filter(|(_, it)| it.now().exists)
            .filter_map(|(id, it)| Some(((it.now().sprint?, *id), it.now().updated_ms)))
            .collect();
        assert_eq!(self.cards, expected);
    }

    /// Fails unless every card that was there and was changed stands there as it is now, whatever else is not seen yet.
    pub(super) fn assert_fresh(&self) {
        for ((sprint, id), updated) in &self.cards {
            let now = self.issues[id].now();
            if now.exists && now.sprint == Some(*sprint) {
                assert_eq!(*updated, now.updated_ms, "{id} was changed, and that was not seen");
            }
        }
    }

    pub(super) fn cards(&self) -> usize {
        self.cards.len()
    }

    fn stamp(&self, ms: i64) -> String {
        let at = Timestamp::from_millisecond(ms).unwrap().to_zoned(self.zone.clone());
        at.strftime("%Y-%m-%dT%H:%M:%S.%3f%z").to_string()
    }

    fn respond(&self, path: &str, parameters: &BTreeMap<String, String>) -> (u16, Value) {
        let number = |name: &str, or: usize| parameters.get(name).map_or(or, |it| it.parse().unwrap());
        let span = (number("startAt", 0), number("maxResults", 50).min(self.page_max));
        let api = if self.cloud { "/rest/api/3/" } else { "/rest/api/2/" };
        match path {
            "/rest/api/2/serverInfo" => (
                200,
                json!({ "deploymentType": if self.cloud { "Cloud" } else { "Server" }, "baseUrl": BASE }),
            ),
            "/rest/api/2/myself" => (200, json!({ "timeZone": self.zone_name })),
            "/rest/agile/1.0/board" => (200, paged(span, &boards(), self.cloud)),
            _ if path == format!("/rest/agile/1.0/board/{BOARD}") => (200, boards().remove(2)),
            _ if path == format!("/rest/agile/1.0/board/{BOARD}/sprint") => {
                (200, paged(span, &sprints(), false))
            }
            "/rest/agile/1.0/board/5/sprint" => {
                (400, json!({ "errorMessages": ["The board does not support sprints"] }))
            }
            _ => match path.strip_prefix(api) {
                Some("search/jql") if self.cloud => self.search(parameters, span.1),
                Some("search") if !self.cloud => self.search(parameters, span.1),
                Some(rest) => self.issue(rest.strip_prefix("issue/").expect("an issue"), span),
                None => panic!("{path} is not asked for"),
            },
        }
    }

    fn search(&self, parameters: &BTreeMap<String, String>, max: usize) -> (u16, Value) {
        assert_eq!(parameters["fields"], "updated");
        let jql = parameters["jql"]
            .strip_suffix(" ORDER BY created ASC, key ASC")
            .expect("an order that does not move");
        let (of, bound) = jql
            .split_once(" AND updated >= ")
            .map_or((jql, None), |(of, it)| (of, Some(it.trim_matches('"'))));
        let sprint: i64 = of.strip_prefix("sprint = ").expect("a sprint").parse().unwrap();
        let bound = bound.map(|it| self.reading(it));
        let indexed_ms = if self.cloud { self.now_ms - self.lag_ms } else { self.now_ms };
        let found: Vec<(i64, State)> = self
            .issues
            .iter()
            .filter_map(|(id, it)| Some((*id, it.at(indexed_ms)?)))
            .filter(|(_, it)| it.exists && it.sprint == Some(sprint))
            .filter(|(_, it)| bound.is_none_or(|bound| it.updated_ms >= bound))
            .collect();
        let show = |(id, it): &(i64, State)| json!({ "id": id.to_string(), "key": format!("PAY-{id}"), "fields": { "updated": self.stamp(it.updated_ms) } });
        if self.cloud {
            // The token says after which issue to go on, and every third page is empty although more follow.
            let (after, page) = parameters.get("nextPageToken").map_or((0, 0), |it| {
                let (after, page) = it.split_once(' ').unwrap();
                (after.parse().unwrap(), page.parse::<usize>().unwrap())
            });
            let rest: Vec<_> = found.into_iter().filter(|it| it.0 > after).collect();
            let shown = if page % 3 == 1 { &rest[..0] } else { &rest[..max.min(rest.len())] };
            let last = shown.last().map_or(after, |it| it.0);
            let mut body = json!({ "issues": shown.iter().map(show).collect::<Vec<_>>(), "isLast": shown.len() == rest.len() });
            if shown.len() < rest.len() {
                body["nextPageToken"] = json!(format!("{last} {}", page + 1));
            }
            return (200, body);
        }
        let start: usize = parameters["startAt"].parse().unwrap();
        let (from, to) = (start.min(found.len()), (start + max).min(found.len()));
        let issues: Vec<_> = found[from..to].iter().map(show).collect();
        (200, json!({ "startAt": start, "maxResults": max, "total": found.len(), "issues": issues }))
    }

    /// Reads a wall time as a server does.
    fn reading(&self, bound: &str) -> i64 {
        let wall = DateTime::strptime("%Y/%m/%d %H:%M", bound).unwrap();
        let at = |offset: jiff::tz::Offset| offset.to_timestamp(wall).unwrap().as_millisecond();
        match self.zone.to_ambiguous_timestamp(wall).offset() {
            AmbiguousOffset::Unambiguous { offset } => at(offset),
            AmbiguousOffset::Gap { before, after } | AmbiguousOffset::Fold { before, after } => {
                let (a, b) = (at(before), at(after));
                if self.later { a.max(b) } else { a.min(b) }
            }
        }
    }

    fn issue(&self, rest: &str, span: (usize, usize)) -> (u16, Value) {
        let (id, of_history) = rest.strip_suffix("/changelog").map_or((rest, false), |it| (it, true));
        let id: i64 = id.parse().unwrap();
        let Some(state) = self.issues.get(&id).map(Issue::now).filter(|it| it.exists) else {
            return (
                404,
                json!({ "errorMessages": ["Issue does not exist or you do not have permission to see it."] }),
            );
        };
        let all: Vec<Value> = (0..state.changes)
            .map(|it| json!({ "id": it.to_string(), "created": self.stamp(0), "items": [] }))
            .collect();
        if of_history {
            return (200, paged(span, &all, true));
        }
        // Cloud shows the newest two, newest first; Data Center shows all, oldest first.
        let shown: Vec<_> =
            if self.cloud { all.iter().rev().take(2).collect() } else { all.iter().collect() };
        let changelog =
            json!({ "startAt": 0, "maxResults": shown.len(), "total": all.len(), "histories": shown });
        let fields = json!({ "summary": "A card", "updated": self.stamp(state.updated_ms) });
        (
            200,
            json!({ "id": id.to_string(), "key": format!("PAY-{id}"), "fields": fields, "changelog": changelog }),
        )
    }
}

impl Issue {
    fn now(&self) -> State {
        *self.states.last().unwrap()
    }

    fn at(&self, ms: i64) -> Option<State> {
        self.states.iter().rev().find(|it| it.since_ms <= ms).copied()
    }
}

fn boards() -> Vec<Value> {
    let kind = |id: i64| match id {
        BOARD => "scrum",
        5 => "simple",
        _ => "kanban",
    };
    (1..8).map(|id| json!({ "id": id, "name": format!("Board {id}"), "type": kind(id) })).collect()
}

fn sprints() -> Vec<Value> {
    let closed = |id: i64| json!({ "id": id, "name": "Old", "state": "closed", "completeDate": "2020-01-01T00:00:00.000Z" });
    let active = ACTIVE.map(|id| json!({ "id": id, "name": "Now", "state": "active" }));
    (20..29)
        .map(closed)
        .chain(active)
        .chain([json!({ "id": 40, "name": "Next", "state": "future" })])
        .collect()
}

fn paged((start, max): (usize, usize), all: &[Value], told: bool) -> Value {
    let (from, to) = (start.min(all.len()), (start + max).min(all.len()));
    let mut body =
        json!({ "startAt": start, "maxResults": max, "isLast": to == all.len(), "values": &all[from..to] });
    if told {
        body["total"] = json!(all.len());
    }
    body
}

/// Undoes what addresses escape.
fn plain(value: &str) -> String {
    percent_encoding::percent_decode_str(value).decode_utf8().unwrap().into_owned()
}

/// Longer than the index ever lags.
pub(super) const LAG_MAX: SignedDuration = SignedDuration::from_secs(110);
