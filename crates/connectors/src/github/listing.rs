//! The listings: repositories, and a repository's branches.
//!
//! Each page is one conditional request.

use domain::connector::Step;
use domain::fault::Fault;
use domain::page::{Next, Page, Partition, Read, Request, Response, Sweep};
use serde_json::{Value, json};

use super::tables::{BRANCHES_STREAM, COMMITS_STREAM, REPOSITORIES_STREAM};
use super::{limits, place, repository_id, request, wire};
use crate::{git, kit};

/// The partition of all repositories that the credential sees; no repository's name lacks a slash.
pub(super) const VISIBLE: &str = "visible";

/// The most that GitHub gives in a page.
pub(super) const PER_PAGE: usize = 100;

/// Returns the partitions of the named repositories, or the one of all visible ones.
pub(super) fn roots(names: &[&str]) -> Vec<Partition> {
    git::named_or_all(REPOSITORIES_STREAM, names, VISIBLE)
}

/// Reads the repository that the settings name, or the next page of all that the credential sees.
pub(super) fn repositories(read: &Read<'_>, got: &[Response]) -> Result<Step, Fault> {
    if read.partition != VISIBLE {
        let Some(response) = got.first() else {
            return Ok(send(format!("{}/repos/{}", read.source.base_url, read.partition)));
        };
        limits::check(response)?;
        let mut page = Page::empty(Next::CaughtUp { cursor: None, sweep: None });
        let repository = wire::repository(response.body.clone(), &mut page.records)?;
        page.partitions.push(branches_of(&repository));
        return Ok(Step::Page(page));
    }
    let url = git::here(read, || format!("{}/user/repos?per_page={PER_PAGE}", read.source.base_url))?;
    let Some(response) = got.first() else { return Ok(send(url)) };
    limits::check(response)?;
    let listed = kit::listed(&response.body, "repositories")?;
    let sweep = Sweep { owner: None, items: None, partitions: Some(BRANCHES_STREAM.to_owned()) };
    let mut page = Page::empty(onward(read, &url, response, listed.len(), sweep));
    for raw in listed {
        let repository = wire::repository(raw, &mut page.records)?;
        page.partitions.push(branches_of(&repository));
    }
    Ok(Step::Page(page))
}

fn branches_of(repository: &wire::Repository) -> Partition {
    let args = json!({
        "id": repository.id,
        "full_name": repository.full_name,
        "default_branch": repository.default_branch,
        "issues": repository.has_issues,
    });
    // A push shows in the branches.
    let of = git::whole(BRANCHES_STREAM, &repository.id.to_string(), args);
    Partition { shown_at: repository.pushed_at, ..of }
}

/// Reads the next page of a repository's branches; its last page finds the partitions of its commits, issues
/// and pull requests.
pub(super) fn branches(read: &Read<'_>, got: &[Response]) -> Result<Step, Fault> {
    let id = repository_id(read)?;
    let url = git::here(read, || {
        format!("{}/repositories/{id}/branches?per_page={PER_PAGE}", read.source.base_url)
    })?;
    let Some(response) = got.first() else { return Ok(send(url)) };
    let listed = if limits::is_empty_repository(response) {
        Vec::new()
    } else {
        limits::check(response)?;
        kit::listed(&response.body, "branches")?
    };
    let sweep = git::of_branches(read, id, COMMITS_STREAM);
    let mut page = Page::empty(onward(read, &url, response, listed.len(), sweep));
    for raw in listed {
        let branch = wire::branch(id, raw, &mut page.records)?;
        page.wanted.push(git::wanted(read, COMMITS_STREAM, branch));
    }
    if matches!(page.next, Next::CaughtUp { .. }) {
        let args = json!({ "id": id, "full_name": read.args.get("full_name") });
        page.partitions.push(git::whole(COMMITS_STREAM, read.partition, args));
        let has_issues = read.args.get("issues") != Some(&Value::Bool(false));
        page.partitions.extend(place::partitions(read, response, has_issues));
    }
    Ok(Step::Page(page))
}

fn onward(read: &Read<'_>, url: &str, response: &Response, listed: usize, sweep: Sweep) -> Next {
    let given = kit::links(&response.headers).next.map(ToOwned::to_owned);
    git::onward((url, read.cursor.is_none()), given, listed >= PER_PAGE, sweep)
}

pub(super) fn send(url: String) -> Step {
    Step::Send(vec![request(url)])
}

/// Asks for one entry of a repository's list, `issues` or `pulls`: its answer shows that the list is there.
pub(super) fn list_of_one(base_url: &str, id: i64, list: &str, order: &str) -> Request {
    request(format!("{base_url}/repositories/{id}/{list}?state=all&{order}per_page=1"))
}
