//! The commits of a project, read by branch heads, so that nothing depends on dates.
//!
//! A head is done only when every commit that it reaches has landed: what `have` or `base` reaches has landed before,
//! and the range from there delivers the rest; without either, the whole list pinned to the head is walked. A head is
//! never done by less. Begin with [`step`].

use domain::connector::Step;
use domain::fault::Fault;
use domain::page::{Cursor, Item, Next, Page, Read, Response};
use serde::{Deserialize, Serialize};

use super::listing::{self, PER_PAGE};
use super::{limits, project_id, request, wire};
use crate::git::{self, Chain, Landing, Listed, Plan};
use crate::kit::{self, malformed};

/// Where the walk of one head stands: a range's or a whole list's, which go on alike.
#[derive(Deserialize, Serialize)]
struct Walk {
    /// The head that the walk began with.
    head: String,
    /// Where a range begins behind.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    /// The address to go on with.
    next: String,
    /// Whether that address only tells whether an empty page was the end.
    #[serde(default)]
    ends: bool,
}

/// Reads on in a project's commits: the items are branches, their versions the heads.
pub(super) fn step(read: &Read<'_>, got: &[Response]) -> Result<Step, Fault> {
    let id = project_id(read)?;
    let Some(item) = read.items.first() else {
        return Ok(Step::Page(Page::empty(caught_up())));
    };
    let url = format!("{}/projects/{id}/repository", read.source.base_url);
    if let Some(cursor) = &item.cursor {
        let walk = Walk::deserialize(&cursor.0).map_err(|_| Fault::CursorLost)?;
        if walk.head != item.wanted {
            return Err(Fault::CursorLost);
        }
        return go_on(&url, id, item, walk, got);
    }
    if from(item).is_some() { ranges(&url, id, read.items, got) } else { begin_list(&url, id, item, got) }
}

/// Returns the commit whose whole history has landed and which the range begins behind.
fn from(item: &Item) -> Option<&str> {
    item.have.as_deref().or(item.base.as_deref())
}

/// Returns the address of what a revision, or a range of them, reaches.
fn list_url(repository_url: &str, revisions: &str) -> String {
    format!("{repository_url}/commits?per_page={PER_PAGE}&ref_name={}", kit::escaped(revisions))
}

fn begin_list(repository_url: &str, id: i64, item: &Item, got: &[Response]) -> Result<Step, Fault> {
    let url = list_url(repository_url, &item.wanted);
    let Some(response) = got.first() else { return Ok(listing::send(url)) };
    limits::check(response)?;
    let mut landing = Landing::default();
    let listed = land(id, response, &mut landing)?;
    match listed.first_sha.as_deref() {
        // GitLab lists nothing for a commit that it does not know any more.
        None => Err(Fault::Gone),
        Some(first) if first == item.wanted => {
            let next = following((&url, true), response, &listed);
            let on = |next| Walk { head: item.wanted.clone(), from: None, next, ends: false };
            Ok(walked(item, landing, next.map(on)))
        }
        // An answer that ignored the revision would list another branch, and the head would seem read.
        Some(_) => Err(malformed("commits: the list does not begin with the commit asked for")),
    }
}

/// Goes on in a list or a range.
fn go_on(repository_url: &str, id: i64, item: &Item, walk: Walk, got: &[Response]) -> Result<Step, Fault> {
    let Some(response) = got.first() else { return Ok(listing::send(walk.next)) };
    let mut landing = Landing::default();
    if walk.ends {
        check_common(response)?;
        return Ok(walked(item, landing, None));
    }
    check_walk(response)?;
    if !is_nothing(response) {
        let listed = land(id, response, &mut landing)?;
        let next = following((&walk.next, false), response, &listed);
        return Ok(walked(item, landing, next.map(|next| Walk { next, ..walk })));
    }
    let Some(common) = got.get(1) else {
        let from = walk.from.as_deref().unwrap_or(&walk.head);
        return Ok(listing::send(common_url(repository_url, from, &walk.head)));
    };
    check_common(common)?;
    Ok(walked(item, landing, None))
}

/// Says whether an answer lists nothing. A full page is followed by one that may be empty; but GitLab lists nothing of a
/// commit either that it does not know any more. What both ends have in common tells: it is known or it is not.
fn is_nothing(response: &Response) -> bool {
    response.body.trim_ascii() == b"[]"
}

/// Returns the address of what two commits have in common.
fn common_url(repository_url: &str, one: &str, other: &str) -> String {
    let (one, other) = (kit::escaped(one), kit::escaped(other));
    format!("{repository_url}/merge_base?refs%5B%5D={one}&refs%5B%5D={other}")
}

/// Returns the address of the page after `url`. A full page without one is not believed: more is never less.
fn following((url, is_first): (&str, bool), response: &Response, listed: &Listed) -> Option<String> {
    let is_full = usize::try_from(listed.count).is_ok_and(|it| it >= PER_PAGE);
    listing::given(url, response).or_else(|| is_full.then(|| git::page_behind(url, is_first)).flatten())
}

fn walked(item: &Item, landing: Landing, walk: Option<Walk>) -> Step {
    let mut page = Page::empty(caught_up());
    page.records = landing.records;
    match walk {
        Some(walk) => page.next = more(&walk),
        None => page.done.push(item.key.clone()),
    }
    Step::Page(page)
}

/// Passes a good answer to a walk that has a place. Where its commits are gone, the place is lost: the head is then
/// walked anew, or another one is wanted by now.
fn check_walk(response: &Response) -> Result<(), Fault> {
    match limits::check(response) {
        Err(Fault::Gone) => Err(Fault::CursorLost),
        other => other,
    }
}

/// Passes what two commits have in common. GitLab says 400 of a commit that it does not know, and 404 of two that have
/// nothing in common.
fn check_common(response: &Response) -> Result<(), Fault> {
    if response.status == 400 { Err(Fault::CursorLost) } else { check_walk(response) }
}

fn land(id: i64, response: &Response, landing: &mut Landing) -> Result<Listed, Fault> {
    landing.list::<wire::Commit>(id, kit::body_text(&response.body, "commits")?, &response.body)
}

/// Reads the leading items' ranges side by side, and follows each as far as one page may.
fn ranges(repository_url: &str, id: i64, items: &[Item], got: &[Response]) -> Result<Step, Fault> {
    let first = |item: &Item| {
        let from = from(item)?;
        // A new branch at its base's head has nothing of its own.
        Some((from != item.wanted).then(|| list_url(repository_url, &format!("{from}..{}", item.wanted))))
    };
    let next = |chain: &Chain<'_>, response: &Response| {
        if is_nothing(response) {
            return Some(common_url(repository_url, from(chain.item)?, &chain.item.wanted));
        }
        listing::given(chain.next.as_deref().unwrap_or_default(), response)
    };
    match git::follow(items, got, first, next) {
        Plan::Ask(urls) => Ok(Step::Send(urls.into_iter().map(request).collect())),
        Plan::Read(chains) => ranges_page(id, &chains),
    }
}

/// Makes the page of the ranges: what is whole is done, and the first item goes on if it is not.
fn ranges_page(id: i64, chains: &[Chain<'_>]) -> Result<Step, Fault> {
    let mut landing = Landing::default();
    let mut page = Page::empty(caught_up());
    for (position, chain) in chains.iter().enumerate() {
        match (read_chain(id, chain, &mut landing), &chain.next) {
            (Ok(()), None) => page.done.push(chain.item.key.clone()),
            (Ok(()), Some(next)) if position == 0 => {
                let (head, from) = (chain.item.wanted.clone(), from(chain.item).map(str::to_owned));
                let ends = chain.answers.last().is_some_and(|it| is_nothing(it));
                page.next = more(&Walk { head, from, next: next.clone(), ends });
            }
            (Err(fault), _) if position == 0 || git::concerns_all(&fault) => return Err(fault),
            // The others stay due, and each becomes the first in its turn: nothing is given up here.
            (Ok(()) | Err(_), _) => {}
        }
    }
    page.records = landing.records;
    Ok(Step::Page(page))
}

fn read_chain(id: i64, chain: &Chain<'_>, landing: &mut Landing) -> Result<(), Fault> {
    let mut full = false;
    for (position, response) in chain.answers.iter().enumerate() {
        // An empty page is followed by what both ends have in common: they are known, and nothing was left out.
        if chain.answers.get(position.wrapping_sub(1)).is_some_and(|it| is_nothing(it)) {
            check_common(response)?;
            // Of an empty range: the head was set back to what has landed. Anything else is not known to have.
            let is_landed = position > 1 || wire::merge_base(&response.body)? == chain.item.wanted;
            return if is_landed { Ok(()) } else { Err(Fault::CursorLost) };
        }
        check_walk(response)?;
        let listed = land(id, response, landing)?;
        // A range begins with its head, as everything in it is reached from there.
        if position == 0 && listed.first_sha.as_ref().is_some_and(|it| *it != chain.item.wanted) {
            return Err(Fault::CursorLost);
        }
        full = usize::try_from(listed.count).is_ok_and(|it| it >= PER_PAGE);
    }
    // A full page without a following one is not believed.
    if full && chain.next.is_none() { Err(Fault::CursorLost) } else { Ok(()) }
}

fn more(walk: &Walk) -> Next {
    // Text always makes a JSON value; should that ever change, the walk begins anew and loses nothing.
    Next::More(Cursor(serde_json::to_value(walk).unwrap_or_default()))
}

fn caught_up() -> Next {
    Next::CaughtUp { cursor: None, sweep: None }
}
