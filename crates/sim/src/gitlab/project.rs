//! Projects as JSON, about 3 KB each as the real ones, and the list of them.
//! Must never differ between two moments when nothing changed: clients compare.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::answer::error;
use super::commit::utc;
use super::link::{Entries, PER_PAGE, Paths};
use super::{API, Ask, WEB, refusal};
use crate::error::Error;
use crate::hash::Digest;
use crate::lock::read;
use crate::rest::{Answer, Page, Query};
use crate::world::{Account, Graph, History, Identity, Repository, State, World};

/// When every project was created: the day before seeded histories begin.
const CREATED_S: i64 = 1_672_444_800;
/// Who asks, whatever the credential.
const USER_ID: u64 = 4_100_001;
/// Where numbered pages of projects end.
const OFFSET_MAX: usize = 50_000;
const TOO_FAR: &str = "Offset pagination has a maximum allowed offset of 50000 for requests that return objects of \
                       type Project. Remaining records can be retrieved using keyset pagination.";
const NO_KEYSET: &str = "Keyset pagination is not yet available for this type of request";
/// The orders that can be asked for.
const ORDERS: [&str; 6] = ["id", "name", "path", "created_at", "updated_at", "last_activity_at"];

/// Makes an account's number from its name.
fn account_id(name: &str) -> u64 {
    Digest::new(14).bytes(name.to_lowercase().as_bytes()).short() % 30_000_000 + 1_000
}

/// Shows an account as others see it.
pub(super) fn account(account: &Account) -> Value {
    let Account { name, username } = account;
    let id = account_id(username);
    json!({
        "id": id, "username": username, "public_email": null, "name": name, "state": "active", "locked": false,
        "avatar_url": format!("{WEB}/uploads/-/system/user/avatar/{id}/avatar.png"),
        "web_url": format!("{WEB}/{username}"),
    })
}

/// Shows the account that a token belongs to.
pub(super) fn user(id: u64) -> Value {
    json!({
        "id": id, "username": format!("sim-user-{id}"), "name": "Simulated User", "state": "active", "locked": false,
        "avatar_url": null, "web_url": format!("{WEB}/sim-user"), "created_at": utc(CREATED_S * 1_000),
        "bio": "", "location": null, "public_email": null, "bot": false, "is_admin": false,
        "two_factor_enabled": true, "external": false, "private_profile": false, "can_create_group": false,
        "can_create_project": false, "commit_email": "sim-user@example.org", "email": "sim-user@example.org",
    })
}

/// Tells when anything happened last, in seconds.
fn last_activity_s(graph: &Graph) -> i64 {
    if graph.len() == 0 { CREATED_S } else { graph.latest_date() }
}

/// Shows a project.
pub(super) fn project(id: u64, identity: &Identity, graph: &Graph, authorised: bool) -> Value {
    let (path, owner) = (identity.full_name(), &identity.owner);
    let (api, web) = (format!("{API}/projects/{id}"), format!("{WEB}/{path}"));
    let empty = identity.state == State::Empty || graph.len() == 0;
    let branch = (!empty).then_some(&graph.default_branch);
    let active = utc(last_activity_s(graph) * 1_000);
    let mut shown: Map<String, Value> = Map::new();
    let mut add = |fields: Value| {
        if let Value::Object(fields) = fields {
            shown.extend(fields);
        }
    };
    add(json!({
        "id": id, "description": format!("Simulated history of {path}"), "name": identity.name,
        "name_with_namespace": format!("{owner} / {}", identity.name), "path": identity.name,
        "path_with_namespace": path, "created_at": utc(CREATED_S * 1_000), "default_branch": branch,
        "tag_list": [], "topics": [], "ssh_url_to_repo": format!("git@gitlab.com:{path}.git"),
        "http_url_to_repo": format!("{web}.git"), "web_url": web,
        "readme_url": branch.map(|branch| format!("{web}/-/blob/{branch}/README.md")), "forks_count": 0,
        "avatar_url": null, "star_count": 0, "last_activity_at": active, "visibility": "public",
        "namespace": {
            "id": account_id(owner), "name": owner, "path": owner, "kind": "group", "full_path": owner,
            "parent_id": null, "avatar_url": null, "web_url": format!("{WEB}/groups/{owner}"),
        },
    }));
    let below = |path: &str| format!("{api}/{path}");
    add(json!({
        "_links": {
            "self": api, "issues": below("issues"), "merge_requests": below("merge_requests"),
            "repo_branches": below("repository/branches"), "labels": below("labels"), "events": below("events"),
            "members": below("members"), "cluster_agents": below("cluster_agents"),
        },
        "packages_enabled": true, "empty_repo": empty, "archived": identity.archived,
        "resolve_outdated_diff_discussions": false, "issues_enabled": true, "merge_requests_enabled": true,
        "wiki_enabled": false, "jobs_enabled": true, "snippets_enabled": true, "container_registry_enabled": true,
        "service_desk_enabled": true, "can_create_merge_request_in": !identity.archived, "issues_access_level": "enabled",
        "repository_access_level": "enabled", "merge_requests_access_level": "enabled",
        "forking_access_level": "enabled", "wiki_access_level": "disabled", "builds_access_level": "enabled",
        "snippets_access_level": "enabled", "pages_access_level": "enabled", "analytics_access_level": "enabled",
        "releases_access_level": "enabled", "environments_access_level": "enabled", "emails_disabled": false,
        "emails_enabled": true, "shared_runners_enabled": true, "lfs_enabled": true, "creator_id": USER_ID,
    }));
    add(json!({
        "import_url": null, "import_type": null, "import_status": "none", "import_error": null,
        "open_issues_count": 0, "description_html": format!("<p>Simulated history of {path}</p>"),
        "updated_at": active, "ci_default_git_depth": 20, "ci_config_path": "", "public_jobs": true,
        "shared_with_groups": [], "only_allow_merge_if_pipeline_succeeds": false, "request_access_enabled": true,
        "only_allow_merge_if_all_discussions_are_resolved": false, "remove_source_branch_after_merge": true,
        "printing_merge_request_link_enabled": true, "merge_method": "merge", "squash_option": "default_off",
        "enforce_auth_checks_on_uploads": true, "suggestion_commit_message": null, "marked_for_deletion_at": null,
        "marked_for_deletion_on": null, "requirements_enabled": false, "autoclose_referenced_issues": true,
    }));
    if authorised {
        // Reporter: enough to read everything.
        let access = json!({ "access_level": 20, "notification_level": 3 });
        add(json!({ "permissions": { "project_access": null, "group_access": access } }));
    }
    shown.into()
}

/// One project in a list.
struct Listed<'a> {
    repository: &'a Repository,
    identity: Identity,
    history: Arc<History>,
}

impl Listed<'_> {
    fn active_s(&self) -> i64 {
        last_activity_s(&read(&self.history.graph))
    }

    fn shown(&self, authorised: bool) -> Value {
        project(self.repository.id, &self.identity, &read(&self.history.graph), authorised)
    }
}

/// Lists projects; what is gone is not listed.
pub(super) fn list(world: &World, ask: &Ask<'_>) -> Result<Answer, Error> {
    let query = Query(ask.query);
    let own = ["membership", "owned", "starred"].iter().any(|flag| query.flag(flag) == Some(true));
    if own && !ask.authorised {
        return Ok(refusal(401, "401 Unauthorized"));
    }
    let order = query.get("order_by").unwrap_or_else(|| "created_at".to_owned());
    let ascending = match query.get("sort").as_deref() {
        Some("asc") => true,
        None | Some("desc") => false,
        Some(_) => return Ok(error(400, "sort does not have a valid value")),
    };
    if !ORDERS.contains(&order.as_str()) {
        return Ok(error(400, "order_by does not have a valid value"));
    }
    let keyset = query.get("pagination").as_deref() == Some("keyset");
    let page = Page::read(&query, PER_PAGE);
    if keyset && order != "id" {
        return Ok(error(405, NO_KEYSET));
    }
    if !keyset && page.number.saturating_mul(page.size) > OFFSET_MAX {
        return Ok(error(405, TOO_FAR));
    }
    let mut listed = chosen(world, &query)?;
    listed.sort_by_key(|it| it.repository.id);
    match order.as_str() {
        "name" | "path" => listed.sort_by(|one, other| one.identity.name.cmp(&other.identity.name)),
        "updated_at" | "last_activity_at" => listed.sort_by_cached_key(Listed::active_s),
        // All were created at the same moment.
        _ => {}
    }
    if !ascending {
        listed.reverse();
    }
    let (paths, entries) = (Paths { base: ask.base, path: ask.path, id: None }, listed.len());
    let range = if keyset { 0..page.size.min(entries) } else { page.range(entries) };
    let last = listed[range.clone()].last().map(|it| it.repository.id);
    let shown = Value::Array(listed[range].iter().map(|it| it.shown(ask.authorised)).collect());
    let answer = Answer::value(&shown);
    Ok(if keyset {
        let parameter = if ascending { "id_after" } else { "id_before" };
        paths.after(answer, &query, page.size, last.map(|id| (parameter, id)))
    } else {
        paths.numbered(answer, &query, page, Entries::Counted(entries))
    })
}

/// Chooses what a list is asked for.
fn chosen<'a>(world: &'a World, query: &Query<'_>) -> Result<Vec<Listed<'a>>, Error> {
    let (archived, search) = (query.flag("archived"), query.get("search").map(|text| text.to_lowercase()));
    let number = |key: &str| query.get(key).and_then(|text| text.parse::<u64>().ok());
    let (after, before) = (number("id_after"), number("id_before"));
    let mut listed = Vec::new();
    for repository in world.repositories() {
        let identity = repository.identity();
        let wanted = identity.state != State::Gone
            && archived.is_none_or(|archived| archived == identity.archived)
            && search.as_ref().is_none_or(|text| identity.name.to_lowercase().contains(text))
            && after.is_none_or(|after| repository.id > after)
            && before.is_none_or(|before| repository.id < before);
        if wanted {
            let history = repository.current()?;
            listed.push(Listed { repository, identity, history });
        }
    }
    Ok(listed)
}
