//! The listings: boards, and a board's sprints; and how any list is followed by offset.
//!
//! An offset counts places, and places move when something leaves the list meanwhile. So each page overlaps the one
//! before, and a page that shares nothing with it is read again from further back: see [`Walk`].

use domain::connector::Step;
use domain::fault::Fault;
use domain::page::{Cursor, Next, Page, Partition, Read, Response, Sweep};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::account::{self, PROBES};
use super::limits::{self, BOARDS};
use super::tables::{BOARDS_STREAM, ISSUES_STREAM, SPRINTS_STREAM};
use super::wire;
use super::{Settings, request_time};
use crate::kit::{self, malformed};

/// The most boards or sprints that Jira gives in a page.
const PER_PAGE: usize = 50;

/// How many entries of a page the next one shows again. More than leave a list between two requests as a rule; where
/// more do, the walk goes back.
const OVERLAP: usize = 5;

/// How long a closed sprint is read with every sync, so that what changed just before its end is not missed.
const CLOSED_FRESH: SignedDuration = SignedDuration::from_hours(24);

/// How long after its end a sprint is still found, so that one which ended while nobody looked is read.
const CLOSED_KNOWN: SignedDuration = SignedDuration::from_hours(8 * 24);

/// How often a sprint that ended long ago is read again: its cards still change now and then.
const CLOSED_REFRESH: SignedDuration = SignedDuration::from_hours(7 * 24);

/// Where a walk by offset stands.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Walk {
    /// The place to read from.
    pub(super) start: usize,
    /// The last entries that were read; the page to come must show one of them.
    tail: Vec<String>,
}

/// How a walk goes on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// From here.
    On(Walk),
    /// All was read.
    End,
}

impl Walk {
    /// Says how the walk goes on after a page with these entries.
    ///
    /// The order is one that never changes, so what stands after an entry that is known stands there without gaps. A
    /// page without such an entry may follow a gap, and is read again from further back.
    pub(super) fn after(&self, ids: &[String], is_last: bool) -> Result<Turn, Fault> {
        let known = |id: &String| self.tail.contains(id);
        if self.start > 0 && !self.tail.is_empty() && !ids.iter().any(known) {
            let start = self.start.saturating_sub(PER_PAGE);
            return Ok(Turn::On(Self { start, tail: self.tail.clone() }));
        }
        if is_last || ids.is_empty() {
            return Ok(Turn::End);
        }
        if self.start > 0 && ids.iter().all(known) {
            // A server that takes no notice of the place would be asked for ever.
            return Err(malformed("a list that does not go on"));
        }
        let again = OVERLAP.min(ids.len() / 2);
        let tail = ids[ids.len() - again..].to_vec();
        Ok(Turn::On(Self { start: self.start + ids.len() - again, tail }))
    }

    fn here(read: &Read<'_>) -> Result<Self, Fault> {
        match read.cursor {
            None => Ok(Self::default()),
            Some(cursor) => Self::deserialize(&cursor.0).map_err(|_| Fault::CursorLost),
        }
    }

    fn cursor(&self) -> Cursor {
        // Numbers and texts always make a JSON value; should that ever change, the walk begins anew and loses nothing.
        Cursor(serde_json::to_value(self).unwrap_or_default())
    }
}

/// Returns the partitions that the settings name.
pub(super) fn roots(settings: &Settings<'_>) -> Vec<Partition> {
    let root = |key: String, args: Value| Partition {
        stream: BOARDS_STREAM,
        key,
        args,
        start: Vec::new(),
        refresh: None,
        shown_at: None,
    };
    let projects = settings.projects.iter().map(|it| root(format!("project/{it}"), json!({ "title": it })));
    let boards = settings.boards.iter().map(|it| root(format!("board/{it}"), json!({})));
    let named: Vec<Partition> = projects.chain(boards).collect();
    if named.is_empty() { vec![root("all".to_owned(), json!({}))] } else { named }
}

/// Reads the next page of boards, or the one that the settings name; a listing begins with who asks whom.
pub(super) fn boards(read: &Read<'_>, got: &[Response]) -> Result<Step, Fault> {
    let base = &read.source.base_url;
    let walk = Walk::here(read)?;
    let named = read.partition.strip_prefix("board/");
    let project = read.partition.strip_prefix("project/");
    let url = if let Some(board) = named {
        format!("{base}/rest/agile/1.0/board/{}", kit::escaped(board))
    } else {
        let of = project.map_or(String::new(), |it| format!("&projectKeyOrId={}", kit::escaped(it)));
        format!("{base}/rest/agile/1.0/board?startAt={}&maxResults={PER_PAGE}{of}", walk.start)
    };
    let begins = read.cursor.is_none();
    if got.is_empty() {
        let mut requests = if begins { account::probes(read) } else { Vec::new() };
        requests.push(limits::request(url, BOARDS));
        return Ok(Step::Send(requests));
    }
    let mut page = Page::empty(Next::CaughtUp { cursor: None, sweep: None });
    let mut rest = got;
    if begins {
        let (account, others) = account::probed(got)?;
        page.learned = account.learned();
        rest = others;
    }
    let Some(response) = rest.first() else { return Err(malformed("an answer is missing")) };
    if response.status == 400 && project.is_some() {
        return Err(Fault::Gone);
    }
    limits::check(response)?;
    if named.is_some() {
        let board = wire::board(response.body.clone(), &mut page.records)?;
        page.partitions.extend(sprints_of(&board));
        return Ok(Step::Page(page));
    }
    let listed = wire::listed(&response.body, "values", walk.start)?;
    let mut ids = Vec::new();
    for raw in listed.values {
        let board = wire::board(raw, &mut page.records)?;
        page.partitions.extend(sprints_of(&board));
        ids.push(board.id.to_string());
    }
    page.next = match walk.after(&ids, listed.is_last)? {
        Turn::On(walk) => Next::More(walk.cursor()),
        // A project's boards are not all boards: those that it lost answer for themselves.
        Turn::End if project.is_some() => Next::CaughtUp { cursor: None, sweep: None },
        Turn::End => {
            let sweep = Sweep { owner: None, items: None, partitions: Some(SPRINTS_STREAM.to_owned()) };
            Next::CaughtUp { cursor: None, sweep: Some(sweep) }
        }
    };
    Ok(Step::Page(page))
}

const _: () = assert!(PROBES < domain::connector::SEND_MAX, "a board is asked for beside them");

fn sprints_of(board: &wire::Board) -> Option<Partition> {
    board.has_sprints.then(|| Partition {
        stream: SPRINTS_STREAM,
        key: board.id.to_string(),
        args: json!({ "title": board.name }),
        start: Vec::new(),
        refresh: None,
        shown_at: None,
    })
}

/// Reads the next page of a board's sprints.
pub(super) fn sprints(read: &Read<'_>, got: &[Response]) -> Result<Step, Fault> {
    let board: i64 = number(read.partition)?;
    let walk = Walk::here(read)?;
    let Some(response) = got.first() else {
        let (base, start) = (&read.source.base_url, walk.start);
        let url = format!("{base}/rest/agile/1.0/board/{board}/sprint?startAt={start}&maxResults={PER_PAGE}");
        return Ok(Step::Send(vec![limits::request(url, BOARDS)]));
    };
    let mut page = Page::empty(Next::CaughtUp { cursor: None, sweep: None });
    if response.status == 400 {
        // "The board does not support sprints": nothing is to be read, and nothing is known to be gone.
        return Ok(Step::Page(page));
    }
    limits::check(response)?;
    let listed = wire::listed(&response.body, "values", walk.start)?;
    let now = request_time(response);
    let mut ids = Vec::new();
    for raw in listed.values {
        let sprint = wire::sprint(board, raw, &mut page.records)?;
        page.partitions.extend(issues_of(&sprint, now));
        ids.push(sprint.id.to_string());
    }
    if ids.is_empty() && walk.start == 0 {
        // An empty list says that all is gone, so whoever gave it must know who asks.
        let Some(proof) = got.get(1) else { return Ok(Step::Send(vec![account::proof(read)])) };
        account::believe(proof)?;
    }
    page.next = match walk.after(&ids, listed.is_last)? {
        Turn::On(walk) => Next::More(walk.cursor()),
        Turn::End => {
            let sweep = Sweep { owner: Some(board), items: None, partitions: Some(ISSUES_STREAM.to_owned()) };
            Next::CaughtUp { cursor: None, sweep: Some(sweep) }
        }
    };
    Ok(Step::Page(page))
}

/// Finds what is read of a sprint: all of an active one, and of one that was closed a short while ago.
fn issues_of(sprint: &wire::Sprint, now: Timestamp) -> Option<Partition> {
    let closed_for = sprint.closed_at.map(|it| now.duration_since(it));
    let refresh = match closed_for {
        _ if sprint.is_active => None,
        Some(closed_for) if closed_for <= CLOSED_FRESH => None,
        Some(closed_for) if closed_for <= CLOSED_KNOWN => Some(CLOSED_REFRESH),
        _ => return None,
    };
    Some(Partition {
        stream: ISSUES_STREAM,
        key: sprint.id.to_string(),
        args: json!({ "title": sprint.name }),
        start: Vec::new(),
        refresh,
        shown_at: None,
    })
}

/// Reads a partition's key, which is Jira's number of what the partition belongs to.
pub(super) fn number(key: &str) -> Result<i64, Fault> {
    key.parse().map_err(|_| malformed("the partition's key is no number"))
}
