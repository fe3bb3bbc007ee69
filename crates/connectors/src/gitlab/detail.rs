//! What was said of merge requests: all notes of each one that changed, several merge requests side by side.
//!
//! Notes are numbered pages in the order of their writing; whoever deletes one moves the others, so they are read whole.

use domain::connector::{SEND_MAX, Step};
use domain::fault::Fault;
use domain::page::{Cursor, Item, Next, Page, Read, Record, Response};
use serde::{Deserialize, Serialize};

use super::listing::{self, PER_PAGE};
use super::{limits, project_id, request, wire};
use crate::git::{self, Chain, Plan};
use crate::kit;

/// Where the walk of one merge request's notes stands.
#[derive(Deserialize, Serialize)]
struct Walk {
    /// The version that it began with.
    version: String,
    /// The page to read.
    next: String,
}

/// Reads the notes of the merge requests that are due; the items' keys are their numbers in the project.
pub(super) fn step(read: &Read<'_>, got: &[Response]) -> Result<Step, Fault> {
    let id = project_id(read)?;
    let merge_requests = format!("{}/projects/{id}/merge_requests", read.source.base_url);
    let Some(item) = read.items.first() else { return Ok(Step::Page(Page::empty(caught_up()))) };
    if let Some(cursor) = &item.cursor {
        return go_on(id, item, cursor, got);
    }
    let leading = read.items.iter().take(SEND_MAX).take_while(|it| it.cursor.is_none()).count();
    let (firsts, rest) = got.split_at(got.len().min(leading));
    if firsts.iter().any(is_gone) {
        return some_gone(id, read.items, firsts, rest.first(), &merge_requests);
    }
    let first = |item: &Item| {
        let iid = kit::escaped(&item.key);
        Some(Some(format!("{merge_requests}/{iid}/notes?per_page={PER_PAGE}&order_by=created_at&sort=asc")))
    };
    let next = |chain: &Chain<'_>, response: &Response| listing::given(chain.next.as_deref()?, response);
    let chains = match git::follow(read.items, got, first, next) {
        Plan::Ask(urls) => return Ok(Step::Send(urls.into_iter().map(request).collect())),
        Plan::Read(chains) => chains,
    };
    let mut page = Page::empty(caught_up());
    for (position, chain) in chains.into_iter().enumerate() {
        take(id, &mut page, position, chain.item, &chain.answers, chain.next)?;
    }
    Ok(Step::Page(page))
}

/// Reads on where there are more notes than a page may ask for.
fn go_on(id: i64, item: &Item, cursor: &Cursor, got: &[Response]) -> Result<Step, Fault> {
    let walk = Walk::deserialize(&cursor.0).map_err(|_| Fault::CursorLost)?;
    if walk.version != item.wanted {
        return Err(Fault::CursorLost);
    }
    let Some(response) = got.first() else { return Ok(listing::send(walk.next)) };
    if is_gone(response) {
        return Err(Fault::CursorLost);
    }
    let mut page = Page::empty(caught_up());
    take(id, &mut page, 0, item, &[response], listing::given(&walk.next, response))?;
    Ok(Step::Page(page))
}

/// Reads the notes of the others where some merge requests are not there: they were deleted, if the project still lists
/// any, and there is nothing to read of them.
fn some_gone(
    id: i64,
    items: &[Item],
    firsts: &[Response],
    witness: Option<&Response>,
    merge_requests: &str,
) -> Result<Step, Fault> {
    let Some(witness) = witness else {
        return Ok(listing::send(format!("{merge_requests}?per_page=1&scope=all&state=all")));
    };
    limits::check(witness)?;
    let mut page = Page::empty(caught_up());
    for (position, (item, answer)) in items.iter().zip(firsts).enumerate() {
        if is_gone(answer) {
            page.done.push(item.key.clone());
        } else {
            take(id, &mut page, position, item, &[answer], listing::given(&answer.url, answer))?;
        }
    }
    Ok(Step::Page(page))
}

/// Takes what was read of one merge request. The others stay due where the first does not, and each becomes the first in
/// its turn.
fn take(
    id: i64,
    page: &mut Page,
    position: usize,
    item: &Item,
    answers: &[&Response],
    next: Option<String>,
) -> Result<(), Fault> {
    match (land(id, item, answers), next) {
        (Ok(records), None) => {
            page.records.extend(records);
            page.done.push(item.key.clone());
        }
        (Ok(records), Some(next)) if position == 0 => {
            page.records.extend(records);
            let walk = Walk { version: item.wanted.clone(), next };
            // Text always makes a JSON value; should that ever change, the walk begins anew and loses nothing.
            page.next = Next::More(Cursor(serde_json::to_value(walk).unwrap_or_default()));
        }
        (Err(fault), _) if position == 0 || git::concerns_all(&fault) => return Err(fault),
        (Ok(_) | Err(_), _) => {}
    }
    Ok(())
}

fn land(id: i64, item: &Item, answers: &[&Response]) -> Result<Vec<Record>, Fault> {
    let iid = item.key.parse().map_err(|_| kit::malformed("the item's key is no number"))?;
    let mut records = Vec::new();
    for answer in answers {
        limits::check(answer)?;
        for raw in kit::listed(&answer.body, "notes")? {
            wire::note((id, iid), raw, &mut records)?;
        }
    }
    Ok(records)
}

fn is_gone(response: &Response) -> bool {
    response.status == 404
}

fn caught_up() -> Next {
    Next::CaughtUp { cursor: None, sweep: None }
}
