//! The census of merge requests: all of a project's in the order in which they were made, and what became of those that are
//! not among them.
//!
//! It must never take a refusal for an absence: what GitLab does not show is gone only where it shows the project.

use domain::census::{Absence, Census, Counted, Judged};
use domain::connector::{SEND_MAX, Step};
use domain::fault::Fault;
use domain::page::{Cursor, Next, Page, Read, Request, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::listing;
use super::tables::GITLAB_MERGE_REQUESTS;
use super::timeline::{Listed, Order, Sheet};
use super::{limits, project_id, request};
use crate::kit;

/// How merge requests are counted. GitLab looks one up by its number within the project.
pub(super) const MERGE_REQUESTS: Census =
    Census { table: &GITLAB_MERGE_REQUESTS, owner: "project_id", key: "id", lookup: &["iid"] };

/// Where the listing stands.
#[derive(Default, Deserialize, Serialize)]
struct Place {
    /// The moment from which merge requests are asked for, by when they were made.
    since: Option<Timestamp>,
    /// The next page, where more than one page of them were made at one moment.
    next: Option<String>,
}

/// Lists the next page of a project's merge requests, or looks up those that were not listed.
pub(super) fn merge_requests(read: &Read<'_>, got: &[Response]) -> Result<Step, Fault> {
    if read.items.is_empty() { list(read, got) } else { look_up(read, got) }
}

/// Lists what there is, the oldest first: what is made meanwhile comes at the end. The answers hold all that is known of
/// each, so they land too: a change that was missed is mended by the way.
fn list(read: &Read<'_>, got: &[Response]) -> Result<Step, Fault> {
    let id = project_id(read)?;
    let place = match read.cursor {
        None => Place::default(),
        Some(cursor) => Place::deserialize(&cursor.0).map_err(|_| Fault::CursorLost)?,
    };
    let made = Order { by: "created_at&sort=asc", bound: "created_after", at: place.since };
    let at = Sheet::new(read, id, place.next, made);
    let Some(response) = got.first() else { return Ok(listing::send(at.url)) };
    let Listed { mut page, following, .. } = at.read(response)?;
    let present = page.records.iter().filter_map(|it| kit::integer(it, "id")).map(|it| it.to_string());
    let counted = Counted { present: present.collect(), judged: Vec::new() };
    let newest = page.records.iter().filter_map(|it| kit::timestamp(it, "created_at")).max().max(place.since);
    page.counted = Some(Box::new(counted));
    page.next = match following {
        // Not by the link: who leaves the list moves all behind it.
        Some(_) if newest > place.since => more(&Place { since: newest, next: None }),
        Some(next) => more(&Place { since: place.since, next: Some(next) }),
        None => Next::CaughtUp { cursor: None, sweep: None },
    };
    Ok(Step::Page(page))
}

fn more(place: &Place) -> Next {
    // A moment and text always make a JSON value; should that ever change, the listing begins anew.
    Next::More(Cursor(serde_json::to_value(place).unwrap_or_default()))
}

/// Looks absent ones up side by side, and asks for the project where one is not shown.
fn look_up(read: &Read<'_>, got: &[Response]) -> Result<Step, Fault> {
    let id = project_id(read)?;
    let project = format!("{}/projects/{id}", read.source.base_url);
    let items = read.items.get(..read.items.len().min(SEND_MAX)).unwrap_or_default();
    if got.len() < items.len() {
        let one = |it: &domain::page::Item| {
            let iid = it.args.get("iid").and_then(Value::as_str).unwrap_or_default();
            request(format!("{project}/merge_requests/{}", kit::escaped(iid)))
        };
        let requests: Vec<Request> = items.iter().map(one).collect();
        return Ok(Step::Send(requests));
    }
    let (answers, proof) = got.split_at(items.len());
    if answers.iter().any(|it| it.status == 404) && proof.is_empty() {
        return Ok(Step::Send(vec![request(project)]));
    }
    let sees_project = match proof.first().map(limits::check) {
        Some(Ok(())) => true,
        None | Some(Err(Fault::Denied | Fault::Gone)) => false,
        Some(Err(fault)) => return Err(fault),
    };
    let mut page = Page::empty(Next::CaughtUp { cursor: None, sweep: None });
    let mut counted = Counted::default();
    for (item, answer) in items.iter().zip(answers) {
        let absence = match (answer.status, limits::check(answer)) {
            (_, Ok(())) => Absence::Unobserved,
            (404, _) if sees_project => Absence::Deleted,
            (_, Err(Fault::Denied | Fault::Gone)) => Absence::AccessLost,
            (_, Err(fault)) => return Err(fault),
        };
        page.done.push(item.key.clone());
        counted.judged.push(Judged { key: item.key.clone(), absence, moved_to: None });
    }
    page.counted = Some(Box::new(counted));
    Ok(Step::Page(page))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use domain::job::Lane;
    use domain::page::{Headers, Item};
    use domain::source::Settings;
    use serde_json::json;

    use super::*;
    use crate::gitlab::tables::MERGE_REQUESTS_STREAM;

    fn answer(status: u16, body: &str) -> Response {
        Response {
            status,
            headers: Headers(Vec::new()),
            body: Bytes::copy_from_slice(body.as_bytes()),
            url: String::new(),
            requested_at: Timestamp::UNIX_EPOCH,
            received_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn item(key: &str, iid: &str) -> Item {
        let args = json!({ "iid": iid });
        Item { key: key.to_owned(), have: None, wanted: String::new(), base: None, args, cursor: None }
    }

    #[track_caller]
    fn judged(answers: &[Response]) -> Result<Vec<Absence>, Fault> {
        let settings = Settings { base_url: "https://lab.example/api/v4".to_owned(), options: json!({}) };
        let items = [item("301", "1"), item("302", "2")];
        let read = Read {
            source: &settings,
            learned: &Value::Null,
            stream: MERGE_REQUESTS_STREAM,
            partition: "7",
            args: &Value::Null,
            lane: Lane::Census,
            items: &items,
            cursor: None,
            careful: false,
        };
        let Step::Send(asked) = merge_requests(&read, &[]).unwrap() else { panic!("nothing is known yet") };
        let urls: Vec<&str> = asked.iter().map(|it| it.url.as_str()).collect();
        let of = "https://lab.example/api/v4/projects/7";
        assert_eq!(urls, [format!("{of}/merge_requests/1"), format!("{of}/merge_requests/2")]);
        if answers.len() > items.len() {
            // A refusal is believed only of who still shows the project.
            let got = answers.get(..items.len()).unwrap();
            let Step::Send(asked) = merge_requests(&read, got).unwrap() else {
                panic!("no proof is asked for")
            };
            assert_eq!(asked.first().unwrap().url, of);
        }
        let Step::Page(page) = merge_requests(&read, answers)? else { panic!("more is asked for") };
        assert_eq!(page.done, ["301", "302"]);
        Ok(page.counted.unwrap().judged.iter().map(|it| it.absence).collect())
    }

    #[test]
    fn what_is_not_shown_is_gone_only_where_its_project_is_shown() {
        use Absence::{AccessLost, Deleted, Unobserved};
        let (ok, gone, denied) = (|| answer(200, "{}"), || answer(404, "{}"), || answer(403, "{}"));
        assert_eq!(judged(&[ok(), ok()]), Ok(vec![Unobserved; 2]));
        assert_eq!(judged(&[gone(), ok(), ok()]), Ok(vec![Deleted, Unobserved]));
        assert_eq!(judged(&[gone(), denied(), ok()]), Ok(vec![Deleted, AccessLost]));
        assert_eq!(judged(&[gone(), gone(), gone()]), Ok(vec![AccessLost; 2]));
        assert_eq!(judged(&[gone(), ok(), denied()]), Ok(vec![AccessLost, Unobserved]));
        assert_eq!(judged(&[answer(401, "{}"), ok()]), Err(Fault::Unauthorized));
        assert!(judged(&[gone(), ok(), answer(502, "")]).is_err(), "a server that fails says nothing");
    }
}
