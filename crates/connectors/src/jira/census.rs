//! The census of a sprint's issues: which Jira lists, and what became of cards that are not among them.
//!
//! It must never take a refusal for an absence: Jira says in the same words that an issue is gone and that it is not to be
//! seen, so its project is asked for too.

use domain::census::{Absence, Census, Counted, Judged};
use domain::connector::{SEND_MAX, Step};
use domain::fault::Fault;
use domain::page::{Item, Next, Page, Read, Request, Response};
use domain::table::JIRA_CARDS;
use jiff::SignedDuration;
use serde_json::Value;

use super::jira;
use super::limits::{self, ISSUE, OTHER};
use super::request_time;
use crate::kit::{self, Object};

/// How cards are counted.
pub(super) const ISSUES: Census =
    Census { table: &JIRA_CARDS, owner: "sprint_id", key: "id", lookup: &["project_key"] };

/// How far Jira's search may be behind what was changed: an issue that changed later is not known to have left the sprint.
const SEARCH_LAG: SignedDuration = SignedDuration::from_mins(5);

/// Lists the next page of a sprint's issues, or looks up those that were not listed.
pub(super) fn issues(read: &Read<'_>, got: &[Response]) -> Result<Step, Fault> {
    if !read.items.is_empty() {
        return look_up(read, got);
    }
    // The whole listing that each first sync reads, of which only the ids count here.
    let mut page = match jira::issues(read, got)? {
        Step::Send(requests) => return Ok(Step::Send(requests)),
        Step::Page(page) => page,
    };
    let present = std::mem::take(&mut page.wanted).into_iter().map(|it| it.key).collect();
    page.counted = Some(Box::new(Counted { present, judged: Vec::new() }));
    page.partitions.clear();
    if let Next::CaughtUp { .. } = page.next {
        page.next = Next::CaughtUp { cursor: None, sweep: None };
    }
    Ok(Step::Page(page))
}

/// Looks absent ones up side by side, and asks for the projects of those that are not shown.
fn look_up(read: &Read<'_>, got: &[Response]) -> Result<Step, Fault> {
    // Each may need its project too.
    let items = read.items.get(..read.items.len().min(SEND_MAX)).unwrap_or_default();
    let base = &read.source.base_url;
    if got.len() < items.len() {
        let url =
            |it: &Item| format!("{base}/rest/api/2/issue/{}?fields=project,updated", kit::escaped(&it.key));
        let requests: Vec<Request> = items.iter().map(|it| limits::request(url(it), ISSUE)).collect();
        return Ok(Step::Send(requests));
    }
    let (answers, proofs) = got.split_at(items.len());
    let projects = projects(items, answers);
    if proofs.len() < projects.len() {
        let url = |it: &&str| format!("{base}/rest/api/2/project/{}", kit::escaped(it));
        return Ok(Step::Send(projects.iter().map(|it| limits::request(url(it), OTHER)).collect()));
    }
    let mut page = Page::empty(Next::CaughtUp { cursor: None, sweep: None });
    let mut counted = Counted::default();
    for (item, answer) in items.iter().zip(answers) {
        let (absence, moved_to) = match limits::check(answer) {
            Ok(()) => found(item, answer)?,
            Err(Fault::Gone) => (gone(project(item), &projects, proofs)?, None),
            Err(Fault::Denied) => (Absence::AccessLost, None),
            Err(fault) => return Err(fault),
        };
        page.done.push(item.key.clone());
        counted.judged.push(Judged { key: item.key.clone(), absence, moved_to });
    }
    page.counted = Some(Box::new(counted));
    Ok(Step::Page(page))
}

fn project(item: &Item) -> &str {
    item.args.get("project_key").and_then(Value::as_str).unwrap_or_default()
}

/// The projects of those that are not shown, each once.
fn projects<'a>(items: &'a [Item], answers: &[Response]) -> Vec<&'a str> {
    let absent = items.iter().zip(answers).filter(|(_, answer)| answer.status == 404);
    let mut keys: Vec<&str> = absent.map(|(item, _)| project(item)).filter(|it| !it.is_empty()).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// What became of an issue that is not shown: it is gone only where its project is.
fn gone(project: &str, projects: &[&str], proofs: &[Response]) -> Result<Absence, Fault> {
    let proof = projects.iter().zip(proofs).find(|(key, _)| **key == project);
    match proof.map(|(_, answer)| limits::check(answer)) {
        Some(Ok(())) => Ok(Absence::Deleted),
        None | Some(Err(Fault::Denied | Fault::Gone)) => Ok(Absence::AccessLost),
        Some(Err(fault)) => Err(fault),
    }
}

/// What became of an issue that is there: it left the sprint, unless the search may not have seen it yet.
fn found(item: &Item, answer: &Response) -> Result<(Absence, Option<String>), Fault> {
    let issue = Object::of(&answer.body, "issue")?;
    let key = issue.text("key").unwrap_or_default();
    let in_project = key.rsplit_once('-').map_or("", |it| it.0);
    if in_project != project(item) {
        return Ok((Absence::Moved, Some(key)));
    }
    let updated = issue.inside("fields", "updated").and_then(|it| super::time::instant(&it));
    let settled = request_time(answer).saturating_sub(SEARCH_LAG).unwrap_or_default();
    let moved = updated.is_some_and(|it| it < settled);
    Ok(if moved { (Absence::Moved, Some(key)) } else { (Absence::Unobserved, None) })
}
