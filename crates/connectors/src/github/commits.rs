//! The commits of a repository, read by branch heads, so that nothing depends on dates.
//!
//! A head is done only when every commit that it reaches has landed: what `have` or `base` reaches has landed before,
//! and the comparison from there delivers the rest, counted; without either, the whole list pinned to the head is
//! walked. A head is never done by less. Begin with [`step`].

use domain::connector::{SEND_MAX, Step};
use domain::fault::Fault;
use domain::page::{Cursor, Item, Next, Page, Read, Response};
use serde::{Deserialize, Serialize};

use super::listing::PER_PAGE;
use super::{limits, repository_id, request, wire};
use crate::git::{self, Chain, Landing, Listed, Plan};
use crate::kit::{self, malformed};

/// How many pages of a numbered list are asked side by side and make one page of ours.
///
/// Four are some 2 MB: enough that a commit's fixed cost vanishes and a lone repository does not wait for each answer
/// in turn, little enough that many repositories side by side stay within the bound on bodies in memory.
const WALK_PAGES: usize = 4;
const _: () = assert!(WALK_PAGES <= SEND_MAX, "a step may send no more");

/// Where the walk of one head stands.
#[derive(Deserialize, Serialize)]
struct Walk {
    /// The head that the walk began with.
    head: String,
    /// The link to follow, as it was given.
    next: String,
    #[serde(flatten)]
    way: Way,
}

/// What is being walked.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Way {
    /// The list of all that the head reaches.
    List {
        /// The number of the last page, where the answer gave one.
        last: Option<u64>,
    },
    /// A comparison.
    Compare {
        /// How many commits it has delivered so far.
        delivered: u64,
        /// How many it has.
        total: u64,
    },
}

/// Reads on in a repository's commits: the items are branches, their versions the heads.
pub(super) fn step(read: &Read<'_>, got: &[Response]) -> Result<Step, Fault> {
    let id = repository_id(read)?;
    let Some(item) = read.items.first() else {
        return Ok(Step::Page(Page::empty(caught_up())));
    };
    if let Some(cursor) = &item.cursor {
        let walk = Walk::deserialize(&cursor.0).map_err(|_| Fault::CursorLost)?;
        if walk.head != item.wanted {
            return Err(Fault::CursorLost);
        }
        return match walk.way {
            Way::List { last } => go_on_listing(id, item, &walk.next, last, got),
            Way::Compare { delivered, total } => {
                go_on_comparing(id, item, walk.next, Count { delivered, total }, got)
            }
        };
    }
    if from(item).is_some() {
        return compare(&format!("{}/repositories/{id}", read.source.base_url), id, read.items, got);
    }
    begin_listing(&read.source.base_url, id, item, got)
}

/// Returns the commit whose whole history has landed and which the head is compared with.
fn from(item: &Item) -> Option<&str> {
    item.have.as_deref().or(item.base.as_deref())
}

fn begin_listing(base_url: &str, id: i64, item: &Item, got: &[Response]) -> Result<Step, Fault> {
    let Some(response) = got.first() else {
        let sha = kit::escaped(&item.wanted);
        let url = format!("{base_url}/repositories/{id}/commits?sha={sha}&per_page={PER_PAGE}");
        return Ok(Step::Send(vec![request(url)]));
    };
    // 422 is "no commit found for this sha", 409 a repository that was emptied after its branches were listed.
    if response.status == 422 || limits::is_empty_repository(response) {
        return Err(Fault::Gone);
    }
    limits::check(response)?;
    let mut landing = Landing::default();
    let listed = land(id, response, &mut landing)?;
    // An answer that ignored the sha would list another branch, and the head would seem read.
    if listed.first_sha.as_deref() != Some(&item.wanted) {
        return Err(malformed("commits: the list does not begin with the commit asked for"));
    }
    let links = kit::links(&response.headers);
    let next = links.next.map(|next| (next.to_owned(), links.last.and_then(kit::page_number)));
    Ok(listed_page(item, landing, next))
}

fn go_on_listing(
    id: i64,
    item: &Item,
    next: &str,
    last: Option<u64>,
    got: &[Response],
) -> Result<Step, Fault> {
    let urls = side_by_side(next, last);
    if got.is_empty() {
        return Ok(Step::Send(urls.into_iter().map(request).collect()));
    }
    let mut landing = Landing::default();
    for response in got {
        check_walk(response)?;
        land(id, response, &mut landing)?;
    }
    let links = got.last().map(|it| kit::links(&it.headers)).unwrap_or_default();
    let given = links.next.map(|next| (next.to_owned(), links.last.and_then(kit::page_number)));
    // A page that gives no link although the list was said to go further is not believed: more is never less.
    let further = || {
        let number = urls.last().and_then(|it| kit::page_number(it))? + 1;
        let url = kit::with_page_number(next, number)?;
        (number <= last?).then_some((url, last))
    };
    let next = given.or_else(further);
    Ok(listed_page(item, landing, next))
}

/// Returns the addresses to ask next: several where the pages are numbered up to a last one, else the link as given.
fn side_by_side(next: &str, last: Option<u64>) -> Vec<String> {
    let (Some(number), Some(last)) = (kit::page_number(next), last) else {
        return vec![next.to_owned()];
    };
    let urls: Vec<String> =
        (number..=last).take(WALK_PAGES).filter_map(|it| kit::with_page_number(next, it)).collect();
    if urls.is_empty() { vec![next.to_owned()] } else { urls }
}

fn listed_page(item: &Item, landing: Landing, next: Option<(String, Option<u64>)>) -> Step {
    let mut page = Page::empty(caught_up());
    page.records = landing.records;
    match next {
        Some((next, last)) => page.next = more(item, next, Way::List { last }),
        None => page.done.push(item.key.clone()),
    }
    Step::Page(page)
}

fn go_on_comparing(
    id: i64,
    item: &Item,
    next: String,
    mut count: Count,
    got: &[Response],
) -> Result<Step, Fault> {
    let Some(response) = got.first() else {
        return Ok(Step::Send(vec![request(next)]));
    };
    let mut landing = Landing::default();
    count.take(id, response, &mut landing)?;
    let mut page = Page::empty(caught_up());
    page.records = landing.records;
    match kit::links(&response.headers).next {
        Some(next) => page.next = more(item, next.to_owned(), count.into()),
        None if count.is_complete() => page.done.push(item.key.clone()),
        None => return Err(Fault::CursorLost),
    }
    Ok(Step::Page(page))
}

/// How much of a comparison was delivered.
#[derive(Clone, Copy)]
struct Count {
    delivered: u64,
    total: u64,
}

impl Count {
    /// Lands one answer of a comparison and counts what it delivered.
    fn take(&mut self, id: i64, response: &Response, landing: &mut Landing) -> Result<(), Fault> {
        check_walk(response)?;
        let comparison = wire::comparison(&response.body)?;
        let listed = landing.list::<wire::Commit>(id, comparison.commits.get(), &response.body)?;
        self.delivered += listed.count;
        self.total = comparison.total_commits;
        Ok(())
    }

    /// Says whether all was delivered; an answer that was cut short must not pass for a whole one.
    fn is_complete(self) -> bool {
        self.delivered == self.total
    }
}

impl From<Count> for Way {
    fn from(Count { delivered, total }: Count) -> Self {
        Self::Compare { delivered, total }
    }
}

/// Passes a good answer to a walk that has a place. Where its commits are gone, the place is lost: the head is then
/// walked anew, or another one is wanted by now.
fn check_walk(response: &Response) -> Result<(), Fault> {
    if response.status == 422 || limits::is_empty_repository(response) {
        return Err(Fault::CursorLost);
    }
    match limits::check(response) {
        Err(Fault::Gone) => Err(Fault::CursorLost),
        other => other,
    }
}

/// Lands an answer that is a list.
fn land(id: i64, response: &Response, landing: &mut Landing) -> Result<Listed, Fault> {
    landing.list::<wire::Commit>(id, kit::body_text(&response.body, "commits")?, &response.body)
}

/// Compares the leading items side by side, and follows each as far as one page may.
fn compare(repository_url: &str, id: i64, items: &[Item], got: &[Response]) -> Result<Step, Fault> {
    let first = |item: &Item| {
        let (from, to) = (from(item)?, &item.wanted);
        let url = || {
            let (from, to) = (kit::escaped(from), kit::escaped(to));
            format!("{repository_url}/compare/{from}...{to}?per_page={PER_PAGE}")
        };
        // A new branch at its base's head has nothing of its own.
        Some((from != to).then(url))
    };
    let next = |_: &Chain<'_>, response: &Response| kit::links(&response.headers).next.map(ToOwned::to_owned);
    match git::follow(items, got, first, next) {
        Plan::Ask(urls) => Ok(Step::Send(urls.into_iter().map(request).collect())),
        Plan::Read(chains) => compared_page(id, &chains),
    }
}

/// Makes the page of the comparisons: what is whole is done, and the first item goes on if it is not.
fn compared_page(id: i64, chains: &[Chain<'_>]) -> Result<Step, Fault> {
    let mut landing = Landing::default();
    let mut page = Page::empty(caught_up());
    for (position, chain) in chains.iter().enumerate() {
        match (read_chain(id, chain, &mut landing), &chain.next) {
            (Ok(count), None) if count.is_complete() => page.done.push(chain.item.key.clone()),
            (Ok(count), Some(next)) if position == 0 => {
                page.next = more(chain.item, next.clone(), count.into());
            }
            (Ok(_), None) if position == 0 => return Err(Fault::CursorLost),
            (Err(fault), _) if position == 0 || git::concerns_all(&fault) => return Err(fault),
            // The others stay due, and each becomes the first in its turn: nothing is given up here.
            (Ok(_) | Err(_), _) => {}
        }
    }
    page.records = landing.records;
    Ok(Step::Page(page))
}

fn read_chain(id: i64, chain: &Chain<'_>, landing: &mut Landing) -> Result<Count, Fault> {
    let mut count = Count { delivered: 0, total: 0 };
    for response in &chain.answers {
        count.take(id, response, landing)?;
    }
    Ok(count)
}

fn more(item: &Item, next: String, way: Way) -> Next {
    let walk = Walk { head: item.wanted.clone(), next, way };
    // Text and numbers always make a JSON value; should that ever change, the walk begins anew and loses nothing.
    Next::More(Cursor(serde_json::to_value(walk).unwrap_or_default()))
}

fn caught_up() -> Next {
    Next::CaughtUp { cursor: None, sweep: None }
}
