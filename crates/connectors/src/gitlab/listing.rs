//! The listings: projects, and a project's branches.
//!
//! Each page is one conditional request.

use domain::connector::Step;
use domain::fault::Fault;
use domain::page::{Next, Page, Partition, Read, Response, Sweep};
use serde_json::{Value, json};

use super::tables::{BRANCHES_STREAM, COMMITS_STREAM, MERGE_REQUESTS_STREAM, NOTES_STREAM, PROJECTS_STREAM};
use super::{limits, project_id, request, wire};
use crate::{git, kit};

/// The partition of all projects that the credential is a member of; no project's path lacks a slash.
pub(super) const MEMBER: &str = "member";

/// The most that GitLab gives in a page.
pub(super) const PER_PAGE: usize = 100;

/// Returns the partitions of the named projects, or the one of all that the credential is a member of.
pub(super) fn roots(paths: &[&str]) -> Vec<Partition> {
    git::named_or_all(PROJECTS_STREAM, paths, MEMBER)
}

/// Reads the project that the settings name, or the next page of all that the credential is a member of.
pub(super) fn projects(read: &Read<'_>, got: &[Response]) -> Result<Step, Fault> {
    let base_url = &read.source.base_url;
    if read.partition != MEMBER {
        let Some(response) = got.first() else {
            return Ok(send(format!("{base_url}/projects/{}", kit::escaped(read.partition))));
        };
        limits::check(response)?;
        let mut page = Page::empty(Next::CaughtUp { cursor: None, sweep: None });
        let project = wire::project(response.body.clone(), &mut page.records)?;
        page.partitions.extend(branches_of(&project));
        return Ok(Step::Page(page));
    }
    // By number, so that a page is the same whatever comes and goes behind it.
    let first = || {
        format!(
            "{base_url}/projects?membership=true&order_by=id&sort=asc&pagination=keyset&per_page={PER_PAGE}"
        )
    };
    let url = git::here(read, first)?;
    let Some(response) = got.first() else { return Ok(send(url)) };
    limits::check(response)?;
    let listed = kit::listed(&response.body, "projects")?;
    let sweep = Sweep { owner: None, items: None, partitions: Some(BRANCHES_STREAM.to_owned()) };
    let is_full = listed.len() >= PER_PAGE;
    let mut page = Page::empty(Next::CaughtUp { cursor: None, sweep: None });
    let mut last = None;
    for raw in listed {
        let project = wire::project(raw, &mut page.records)?;
        page.partitions.extend(branches_of(&project));
        last = last.max(Some(project.id));
    }
    // A full page is never the last, though a proxy took its link away.
    let behind = last.filter(|_| is_full).map(|id| format!("{}&id_after={id}", first()));
    page.next = git::onward((&url, false), given(&url, response).or(behind), false, sweep);
    Ok(Step::Page(page))
}

/// Returns the partition of a project's branches; none where its repository is switched off.
fn branches_of(project: &wire::Project) -> Option<Partition> {
    let args = json!({ "id": project.id, "full_name": project.path, "default_branch": project.default_branch,
        "merge_requests": project.has_merge_requests });
    project.has_repository.then(|| git::whole(BRANCHES_STREAM, &project.id.to_string(), args))
}

/// Reads the next page of a project's branches; its last page finds the partitions of its commits and merge requests.
pub(super) fn branches(read: &Read<'_>, got: &[Response]) -> Result<Step, Fault> {
    let id = project_id(read)?;
    let first = || format!("{}/projects/{id}/repository/branches?per_page={PER_PAGE}", read.source.base_url);
    let url = git::here(read, first)?;
    let Some(response) = got.first() else { return Ok(send(url)) };
    limits::check(response)?;
    let listed = kit::listed(&response.body, "branches")?;
    let sweep = git::of_branches(read, id, COMMITS_STREAM);
    let is_full = listed.len() >= PER_PAGE;
    let next = git::onward((&url, read.cursor.is_none()), given(&url, response), is_full, sweep);
    let mut page = Page::empty(next);
    for raw in listed {
        let branch = wire::branch(id, raw, &mut page.records)?;
        page.wanted.push(git::wanted(read, COMMITS_STREAM, branch));
    }
    if matches!(page.next, Next::CaughtUp { .. }) {
        let args = json!({ "id": id, "full_name": read.args.get("full_name") });
        let has_merge_requests = read.args.get("merge_requests") != Some(&Value::Bool(false));
        let of_merge_requests =
            [MERGE_REQUESTS_STREAM, NOTES_STREAM].into_iter().filter(|_| has_merge_requests);
        for stream in [COMMITS_STREAM].into_iter().chain(of_merge_requests) {
            let start = if stream == MERGE_REQUESTS_STREAM { super::lanes(response) } else { Vec::new() };
            page.partitions.push(Partition { start, ..git::whole(stream, read.partition, args.clone()) });
        }
    }
    Ok(Step::Page(page))
}

/// Returns the address of the following page as the answer gives it: a link, or where proxies took that away, a number.
pub(super) fn given(url: &str, response: &Response) -> Option<String> {
    let link = kit::links(&response.headers).next.map(ToOwned::to_owned);
    let numbered = || {
        let number = kit::count(&response.headers, "x-next-page")?;
        kit::with_page_number(url, number).or_else(|| Some(format!("{url}&page={number}")))
    };
    link.or_else(numbered)
}

pub(super) fn send(url: String) -> Step {
    Step::Send(vec![request(url)])
}
