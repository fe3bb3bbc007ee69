//! What happened to issues and pull requests: the timeline of each one that changed, whole, several side by side; and in a
//! lane of their own the timelines of the newest ones that were there before.
//!
//! A timeline has no order that a cursor could hold on to and no "since", so it is read whole when its issue's time moved.
//! An issue that is not there is only taken for gone while its repository answers. Begin with [`step`].

use domain::connector::{SEND_MAX, Step};
use domain::fault::Fault;
use domain::job::Lane;
use domain::page::{Cursor, Item, Next, Page, Read, Request, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::listing::{PER_PAGE, list_of_one};
use super::place::{elsewhere, has_issues};
use super::{limits, repository_id, request, wire};
use crate::git::{self, Chain, Plan};
use crate::kit;

/// How many numbers back from the newest are read of what was there before the repository was: a fifth of what a person's
/// token has an hour. What is older is read when it changes.
const BACK_MAX: i64 = 1000;

/// Where the walk of one timeline stands.
#[derive(Deserialize, Serialize)]
struct Walk {
    /// The version that it began with.
    version: String,
    /// The link to follow, as it was given.
    next: String,
}

/// Where the lane of older timelines stands.
#[derive(Default, Deserialize, Serialize)]
struct Back {
    /// The number below which is read; none before the newest is known.
    #[serde(default)]
    below: Option<i64>,
    /// The number above which is read.
    #[serde(default)]
    above: i64,
    /// The link to follow in the first timeline below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Where the timelines of a page are.
#[derive(Clone, Copy)]
struct Repository<'a> {
    id: i64,
    base_url: &'a str,
    has_issues: bool,
    /// Whether what is not there is noted; of a number that was only counted to, nothing is known.
    notes_absence: bool,
}

/// What follows of the answers so far.
enum Reading {
    /// These have to be asked.
    Ask(Vec<Request>),
    /// All was asked that a page may.
    Read(Box<Found>),
}

/// What was read of several timelines.
struct Found {
    page: Page,
    /// Where the first one goes on.
    first_goes_on: Option<String>,
}

/// Reads the timelines of items, whose keys are numbers, or of the newest older numbers.
pub(super) fn step(read: &Read<'_>, got: &[Response]) -> Result<Step, Fault> {
    let at = Repository {
        id: repository_id(read)?,
        base_url: &read.source.base_url,
        has_issues: has_issues(read),
        notes_absence: read.lane == Lane::Forward,
    };
    if read.lane != Lane::Forward {
        return older(at, read, got);
    }
    let Some(item) = read.items.first() else { return Ok(Step::Page(Page::empty(caught_up()))) };
    let found = if let Some(cursor) = &item.cursor {
        let walk = Walk::deserialize(&cursor.0).map_err(|_| Fault::CursorLost)?;
        if walk.version != item.wanted {
            return Err(Fault::CursorLost);
        }
        go_on(at, item, walk.next, got)?
    } else {
        several(at, read.items, got)?
    };
    let mut found = match found {
        Reading::Read(found) => found,
        Reading::Ask(requests) => return Ok(Step::Send(requests)),
    };
    if let Some(next) = found.first_goes_on {
        let walk = Walk { version: item.wanted.clone(), next };
        found.page.next = Next::More(Cursor(serde_json::to_value(walk).unwrap_or_default()));
    }
    Ok(Step::Page(found.page))
}

/// Reads on in the lane of what was there before: the newest first, by their numbers, which have no gaps but for what was
/// deleted or is no issue.
fn older(at: Repository<'_>, read: &Read<'_>, got: &[Response]) -> Result<Step, Fault> {
    let mark = match read.cursor {
        None => Back::default(),
        Some(cursor) => Back::deserialize(&cursor.0).map_err(|_| Fault::CursorLost)?,
    };
    let Some(below) = mark.below else { return newest(at, got) };
    let numbers: Vec<i64> = (mark.above + 1..below).rev().take(SEND_MAX).collect();
    let items: Vec<Item> = numbers.iter().map(|it| numbered(*it)).collect();
    let Some(first) = items.first() else { return Ok(Step::Page(Page::empty(caught_up()))) };
    let found = match mark.next {
        Some(next) => go_on(at, first, next, got)?,
        None => several(at, &items, got)?,
    };
    let Found { mut page, first_goes_on } = match found {
        Reading::Read(found) => *found,
        Reading::Ask(requests) => return Ok(Step::Send(requests)),
    };
    let read_through = items.iter().take_while(|it| page.done.contains(&it.key)).count();
    let below = below - i64::try_from(read_through).unwrap_or_default();
    page.done.clear();
    page.next = more(&Back { below: Some(below), above: mark.above, next: first_goes_on });
    Ok(Step::Page(page))
}

/// Finds the newest number that the repository has given.
fn newest(at: Repository<'_>, got: &[Response]) -> Result<Step, Fault> {
    let Some(response) = got.first() else {
        return Ok(Step::Send(vec![at.list("sort=created&direction=desc&")]));
    };
    limits::check(response)?;
    let listed: Vec<Value> = kit::listed(&response.body, "issues")?
        .iter()
        .filter_map(|it| serde_json::from_slice(it).ok())
        .collect();
    let number = listed.first().and_then(|it| it.get("number")?.as_i64());
    let next = number.map_or_else(caught_up, |number| {
        more(&Back { below: Some(number + 1), above: (number - BACK_MAX).max(0), next: None })
    });
    Ok(Step::Page(Page::empty(next)))
}

impl Repository<'_> {
    fn timeline(self, number: &str) -> String {
        let Self { id, base_url, .. } = self;
        format!("{base_url}/repositories/{id}/issues/{}/timeline?per_page={PER_PAGE}", kit::escaped(number))
    }

    /// Asks for one entry of the list that shows that the repository is there.
    fn list(self, order: &str) -> Request {
        let list = if self.has_issues { "issues" } else { "pulls" };
        list_of_one(self.base_url, self.id, list, order)
    }

    /// Returns where an answer comes from, if not from the issue that was asked for: it was transferred.
    fn moved_to(self, item: &Item, answer: &Response) -> Option<String> {
        let own = format!("/repositories/{}/issues/{}/timeline", self.id, kit::escaped(&item.key));
        elsewhere(answer, &own).map(|it| it.trim_end_matches("/timeline").to_owned())
    }

    fn land(
        self,
        item: &Item,
        answers: &[&Response],
        records: &mut Vec<domain::page::Record>,
    ) -> Result<(), Fault> {
        let number = item.key.parse().map_err(|_| kit::malformed("the item's key is no number"))?;
        let (mut keys, mut landed) = (wire::Keys::default(), Vec::new());
        for answer in answers {
            limits::check(answer)?;
            for raw in kit::listed(&answer.body, "timeline")? {
                wire::event((self.id, number), raw, &mut keys, &mut landed)?;
            }
        }
        records.append(&mut landed);
        Ok(())
    }

    /// Notes that an issue is not where it was, and is done with it.
    fn absent(
        self,
        item: &Item,
        how: &'static str,
        moved_to: Option<String>,
        at: &Response,
        page: &mut Page,
    ) {
        if let (true, Ok(number)) = (self.notes_absence, item.key.parse()) {
            wire::absence((self.id, number), how, moved_to, at.requested_at, &mut page.records);
        }
        page.done.push(item.key.clone());
    }
}

/// Follows one long timeline by a page.
fn go_on(at: Repository<'_>, item: &Item, next: String, got: &[Response]) -> Result<Reading, Fault> {
    let Some(response) = got.first() else { return Ok(Reading::Ask(vec![request(next)])) };
    if is_gone(response) {
        return Err(Fault::CursorLost);
    }
    let mut page = Page::empty(caught_up());
    at.land(item, &[response], &mut page.records)?;
    let first_goes_on = kit::links(&response.headers).next.map(ToOwned::to_owned);
    if first_goes_on.is_none() {
        page.done.push(item.key.clone());
    }
    Ok(Reading::Read(Box::new(Found { page, first_goes_on })))
}

/// Reads the leading timelines side by side, and follows each as far as one page may.
fn several(at: Repository<'_>, items: &[Item], got: &[Response]) -> Result<Reading, Fault> {
    let leading = items.iter().take(SEND_MAX).take_while(|it| it.cursor.is_none()).count();
    let (firsts, rest) = got.split_at(got.len().min(leading));
    if firsts.iter().any(is_gone) {
        return some_gone(at, items, firsts, rest.first());
    }
    let first = |item: &Item| Some(Some(at.timeline(&item.key)));
    let next = |chain: &Chain<'_>, response: &Response| {
        let own = at.moved_to(chain.item, response).is_none();
        kit::links(&response.headers).next.filter(|_| own).map(ToOwned::to_owned)
    };
    let chains = match git::follow(items, got, first, next) {
        Plan::Ask(urls) => return Ok(Reading::Ask(urls.into_iter().map(request).collect())),
        Plan::Read(chains) => chains,
    };
    let mut found = Found { page: Page::empty(caught_up()), first_goes_on: None };
    for (position, chain) in chains.into_iter().enumerate() {
        found.take(at, position, chain.item, &chain.answers, chain.next)?;
    }
    Ok(Reading::Read(Box::new(found)))
}

/// Reads the timelines beside which some were not there, when the repository is: only then are these gone.
fn some_gone(
    at: Repository<'_>,
    items: &[Item],
    firsts: &[Response],
    witness: Option<&Response>,
) -> Result<Reading, Fault> {
    let Some(witness) = witness else { return Ok(Reading::Ask(vec![at.list("")])) };
    limits::check(witness)?;
    let mut found = Found { page: Page::empty(caught_up()), first_goes_on: None };
    for (position, (item, answer)) in items.iter().zip(firsts).enumerate() {
        if is_gone(answer) {
            let how = if answer.status == 410 { "deleted" } else { "hidden" };
            at.absent(item, how, None, answer, &mut found.page);
            continue;
        }
        let next = kit::links(&answer.headers).next.map(ToOwned::to_owned);
        found.take(at, position, item, &[answer], next)?;
    }
    Ok(Reading::Read(Box::new(found)))
}

impl Found {
    /// Takes what was read of one timeline. The others stay due where the first one does not, and each becomes the first
    /// in its turn: nothing is given up here.
    fn take(
        &mut self,
        at: Repository<'_>,
        position: usize,
        item: &Item,
        answers: &[&Response],
        next: Option<String>,
    ) -> Result<(), Fault> {
        if let Some((answer, to)) = answers.first().and_then(|it| Some((it, at.moved_to(item, it)?))) {
            at.absent(item, "transferred", Some(to), answer, &mut self.page);
            return Ok(());
        }
        match (at.land(item, answers, &mut self.page.records), next) {
            (Ok(()), None) => self.page.done.push(item.key.clone()),
            (Ok(()), Some(next)) if position == 0 => self.first_goes_on = Some(next),
            (Err(fault), _) if position == 0 || git::concerns_all(&fault) => return Err(fault),
            (Ok(()) | Err(_), _) => {}
        }
        Ok(())
    }
}

fn is_gone(response: &Response) -> bool {
    matches!(response.status, 404 | 410)
}

/// Makes an item of a number that was counted to.
fn numbered(number: i64) -> Item {
    Item {
        key: number.to_string(),
        have: None,
        wanted: String::new(),
        base: None,
        args: json!({}),
        cursor: None,
    }
}

fn more(mark: &Back) -> Next {
    // Numbers and text always make a JSON value; should that ever change, the lane begins anew and loses nothing.
    Next::More(Cursor(serde_json::to_value(mark).unwrap_or_default()))
}

fn caught_up() -> Next {
    Next::CaughtUp { cursor: None, sweep: None }
}
