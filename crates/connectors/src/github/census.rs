//! The census of issues and of pull requests: all of a repository's, and what became of those that are not among them.
//!
//! It must never take a refusal for an absence: what GitHub does not show is gone only where it still shows the list that it
//! stood in.

use domain::census::{Absence, Census, Counted, Judged};
use domain::connector::{SEND_MAX, Step};
use domain::fault::Fault;
use domain::page::{Item, Next, Page, Read, Request, Response};

use super::listing::list_of_one;
use super::place::elsewhere;
use super::tables::{GITHUB_ISSUES, GITHUB_PULL_REQUESTS, ISSUES_STREAM};
use super::{limits, repository_id, request, timeline};
use crate::kit;

/// The column of the ids that are counted: an issue is asked for by its number in the repository.
const NUMBER: &str = "number";

/// How issues are counted, which pull requests are among.
pub(super) const ISSUES: Census =
    Census { table: &GITHUB_ISSUES, owner: "repository_id", key: NUMBER, lookup: &[] };

/// How pull requests are counted.
pub(super) const PULL_REQUESTS: Census =
    Census { table: &GITHUB_PULL_REQUESTS, owner: "repository_id", key: NUMBER, lookup: &[] };

/// Lists the next page of a repository's issues or pull requests, or looks up those that were not listed.
pub(super) fn step(read: &Read<'_>, got: &[Response]) -> Result<Step, Fault> {
    if !read.items.is_empty() {
        return look_up(read, got);
    }
    // The listings that a backfill reads, from their very beginning. The answers hold all that is known of each, so they
    // land too: a change that was missed is mended by the way.
    let is_of_issues = read.stream == ISSUES_STREAM;
    let listed =
        if is_of_issues { timeline::issues(read, got)? } else { timeline::pull_requests(read, got)? };
    let mut page = match listed {
        Step::Send(requests) => return Ok(Step::Send(requests)),
        Step::Page(page) => page,
    };
    let present = page.records.iter().filter_map(|it| kit::integer(it, NUMBER)).map(|it| it.to_string());
    page.counted = Some(Box::new(Counted { present: present.collect(), judged: Vec::new() }));
    if let Next::CaughtUp { .. } = page.next {
        page.next = caught_up();
    }
    Ok(Step::Page(page))
}

/// Looks absent ones up side by side, and asks for their list where one is not shown.
fn look_up(read: &Read<'_>, got: &[Response]) -> Result<Step, Fault> {
    let id = repository_id(read)?;
    let list = if read.stream == ISSUES_STREAM { "issues" } else { "pulls" };
    let own = |it: &Item| format!("/repositories/{id}/{list}/{}", kit::escaped(&it.key));
    let items = read.items.get(..read.items.len().min(SEND_MAX)).unwrap_or_default();
    if got.len() < items.len() {
        let one = |it: &Item| request(format!("{}{}", read.source.base_url, own(it)));
        let requests: Vec<Request> = items.iter().map(one).collect();
        return Ok(Step::Send(requests));
    }
    let (answers, proof) = got.split_at(items.len());
    if answers.iter().any(|it| limits::check(it) == Err(Fault::Gone)) && proof.is_empty() {
        return Ok(Step::Send(vec![list_of_one(&read.source.base_url, id, list, "")]));
    }
    // Where issues are switched off, each of them answers as if it were deleted, and so does their list.
    let sees_list = match proof.first().map(limits::check) {
        Some(Ok(())) => true,
        None | Some(Err(Fault::Denied | Fault::Gone)) => false,
        Some(Err(fault)) => return Err(fault),
    };
    let mut page = Page::empty(caught_up());
    let mut counted = Counted::default();
    for (item, answer) in items.iter().zip(answers) {
        let moved_to = elsewhere(answer, &own(item)).map(str::to_owned);
        let absence = match limits::check(answer) {
            // Also where what it went to is not shown.
            Ok(()) | Err(Fault::Denied | Fault::Gone) if moved_to.is_some() => Absence::Moved,
            Ok(()) => Absence::Unobserved,
            Err(Fault::Gone) if sees_list => Absence::Deleted,
            Err(Fault::Denied | Fault::Gone) => Absence::AccessLost,
            Err(fault) => return Err(fault),
        };
        page.done.push(item.key.clone());
        counted.judged.push(Judged { key: item.key.clone(), absence, moved_to });
    }
    page.counted = Some(Box::new(counted));
    Ok(Step::Page(page))
}

fn caught_up() -> Next {
    Next::CaughtUp { cursor: None, sweep: None }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use domain::job::Lane;
    use domain::page::Headers;
    use domain::source::Settings;
    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::*;
    use crate::github::tables::PULL_REQUESTS_STREAM;

    const OF: &str = "https://api.github.com/repositories/7";

    fn answer(status: u16, headers: &[(&str, &str)], url: &str) -> Response {
        Response {
            status,
            headers: Headers(headers.iter().map(|it| (it.0.to_owned(), it.1.to_owned())).collect()),
            body: Bytes::from_static(b"{}"),
            url: url.to_owned(),
            requested_at: Timestamp::UNIX_EPOCH,
            received_at: Timestamp::UNIX_EPOCH,
        }
    }

    /// Has two looked up, 41 and 42, and answers so.
    #[track_caller]
    fn judged(stream: &str, list: &str, answers: &[Response]) -> Result<Vec<Judged>, Fault> {
        let settings = Settings { base_url: "https://api.github.com".to_owned(), options: json!({}) };
        let item = |key: &str| Item {
            key: key.to_owned(),
            have: None,
            wanted: String::new(),
            base: None,
            args: json!({}),
            cursor: None,
        };
        let items = [item("41"), item("42")];
        let read = Read {
            source: &settings,
            learned: &Value::Null,
            stream,
            partition: "7",
            args: &Value::Null,
            lane: Lane::Census,
            items: &items,
            cursor: None,
            careful: false,
        };
        let asked = |got: &[Response]| match step(&read, got).unwrap() {
            Step::Send(asked) => asked.into_iter().map(|it| it.url).collect::<Vec<_>>(),
            Step::Page(_) => panic!("nothing is asked for"),
        };
        assert_eq!(asked(&[]), [format!("{OF}/{list}/41"), format!("{OF}/{list}/42")]);
        if let Some(got) = answers.get(..items.len()).filter(|it| it.len() < answers.len()) {
            // A refusal is believed only of who still shows the list.
            assert_eq!(asked(got), [format!("{OF}/{list}?state=all&per_page=1")]);
        }
        let Step::Page(page) = step(&read, answers)? else { panic!("more is asked for") };
        assert_eq!(page.done, ["41", "42"]);
        assert_eq!(page.next, caught_up());
        Ok(page.counted.unwrap().judged)
    }

    #[test]
    fn what_is_not_shown_is_gone_only_where_its_list_is_shown() {
        use Absence::{AccessLost, Deleted, Moved, Unobserved};
        let here = |status, number: u8| answer(status, &[], &format!("{OF}/issues/{number}"));
        let list = |status| answer(status, &[], &format!("{OF}/issues"));
        let limited = |number: u8| answer(403, &[("retry-after", "60")], &format!("{OF}/issues/{number}"));
        let there = |status| answer(status, &[], "https://api.github.com/repositories/9/issues/3");
        let of = |answers: &[Response]| -> Result<Vec<Absence>, Fault> {
            Ok(judged(ISSUES_STREAM, "issues", answers)?.iter().map(|it| it.absence).collect())
        };
        assert_eq!(of(&[here(200, 41), here(200, 42)]), Ok(vec![Unobserved; 2]));
        assert_eq!(of(&[here(410, 41), here(200, 42), list(200)]), Ok(vec![Deleted, Unobserved]));
        assert_eq!(of(&[here(404, 41), here(403, 42), list(200)]), Ok(vec![Deleted, AccessLost]));
        assert_eq!(of(&[here(410, 41), here(410, 42), list(410)]), Ok(vec![AccessLost; 2]), "switched off");
        assert_eq!(of(&[here(404, 41), here(404, 42), list(404)]), Ok(vec![AccessLost; 2]));
        assert_eq!(of(&[here(404, 41), here(404, 42), list(403)]), Ok(vec![AccessLost; 2]));
        assert_eq!(of(&[here(451, 41), here(200, 42), list(451)]), Ok(vec![AccessLost, Unobserved]));
        assert_eq!(of(&[there(200), here(200, 42)]), Ok(vec![Moved, Unobserved]));
        assert_eq!(of(&[there(404), here(200, 42), list(200)]), Ok(vec![Moved, Unobserved]));
        let told = judged(ISSUES_STREAM, "issues", &[there(200), here(200, 42)]).unwrap();
        assert_eq!(told[0].moved_to.as_deref(), Some("https://api.github.com/repositories/9/issues/3"));
        assert_eq!(told[1].moved_to, None);
        assert_eq!(of(&[here(401, 41), here(200, 42)]), Err(Fault::Unauthorized));
        assert!(of(&[limited(41), here(200, 42)]).is_err(), "a limit is no lack of permission");
        assert!(of(&[here(404, 41), here(200, 42), list(502)]).is_err(), "a server that fails says nothing");
        assert!(of(&[here(502, 41), here(200, 42)]).is_err());
    }

    #[test]
    fn pull_requests_are_looked_up_in_their_own_list() {
        let here = |status, what: &str| answer(status, &[], &format!("{OF}/{what}"));
        let answers = [here(404, "pulls/41"), here(200, "pulls/42"), here(200, "pulls")];
        let told = judged(PULL_REQUESTS_STREAM, "pulls", &answers).unwrap();
        let told: Vec<_> = told.iter().map(|it| (it.absence, &it.moved_to)).collect();
        assert_eq!(told, [(Absence::Deleted, &None), (Absence::Unobserved, &None)]);
    }
}
