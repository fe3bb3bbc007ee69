//! Repositories and accounts as JSON.
//! Must never differ between two moments when nothing changed: clients compare.

use serde_json::{Map, Value, json};

use super::commit::date;
use super::person::{API, WEB, account_id, node_id, put_account};
use crate::world::{Graph, Identity};

/// The URLs below a repository, with their templates.
const URLS: [(&str, &str); 36] = [
    ("forks_url", "/forks"),
    ("keys_url", "/keys{/key_id}"),
    ("collaborators_url", "/collaborators{/collaborator}"),
    ("teams_url", "/teams"),
    ("hooks_url", "/hooks"),
    ("issue_events_url", "/issues/events{/number}"),
    ("events_url", "/events"),
    ("assignees_url", "/assignees{/user}"),
    ("branches_url", "/branches{/branch}"),
    ("tags_url", "/tags"),
    ("blobs_url", "/git/blobs{/sha}"),
    ("git_tags_url", "/git/tags{/sha}"),
    ("git_refs_url", "/git/refs{/sha}"),
    ("trees_url", "/git/trees{/sha}"),
    ("statuses_url", "/statuses/{sha}"),
    ("languages_url", "/languages"),
    ("stargazers_url", "/stargazers"),
    ("contributors_url", "/contributors"),
    ("subscribers_url", "/subscribers"),
    ("subscription_url", "/subscription"),
    ("commits_url", "/commits{/sha}"),
    ("git_commits_url", "/git/commits{/sha}"),
    ("comments_url", "/comments{/number}"),
    ("issue_comment_url", "/issues/comments{/number}"),
    ("contents_url", "/contents/{+path}"),
    ("compare_url", "/compare/{base}...{head}"),
    ("merges_url", "/merges"),
    ("archive_url", "/{archive_format}{/ref}"),
    ("downloads_url", "/downloads"),
    ("issues_url", "/issues{/number}"),
    ("pulls_url", "/pulls{/number}"),
    ("milestones_url", "/milestones{/number}"),
    ("notifications_url", "/notifications{?since,all,participating}"),
    ("labels_url", "/labels{/name}"),
    ("releases_url", "/releases{/id}"),
    ("deployments_url", "/deployments"),
];
/// When every repository was created: the day before seeded histories begin.
const CREATED_S: i64 = 1_672_444_800;

/// Shows an account.
pub(super) fn account(login: &str, kind: &str) -> Value {
    let mut out = Vec::new();
    put_account(&mut out, login, kind);
    serde_json::from_slice(&out).unwrap_or_default()
}

/// Shows the account that a token belongs to.
pub(super) fn user(id: u64) -> Value {
    let mut user = account(&format!("sim-user-{id}"), "User");
    if let Value::Object(fields) = &mut user {
        let more =
            json!({ "id": id, "name": "Simulated User", "company": null, "email": null, "public_repos": 0 });
        fields.extend(more.as_object().cloned().unwrap_or_default());
    }
    user
}

/// Shows a repository.
pub(super) fn repository(id: u64, identity: &Identity, graph: &Graph) -> Value {
    let full_name = identity.full_name();
    let (api, web) = (format!("{API}/repos/{full_name}"), format!("{WEB}/{full_name}"));
    let latest = if graph.len() == 0 { CREATED_S } else { graph.latest_date() };
    let pushed = date(identity.pushed_s.unwrap_or(latest));
    let mut shown: Map<String, Value> = Map::new();
    let mut add = |fields: Value| {
        if let Value::Object(fields) = fields {
            shown.extend(fields);
        }
    };
    add(json!({
        "id": id, "node_id": node_id("R", id), "name": identity.name, "full_name": full_name, "private": true,
        "owner": account(&identity.owner, "Organization"), "html_url": web, "fork": false, "url": api,
        "description": format!("Simulated history of {full_name}"),
    }));
    add(URLS
        .iter()
        .map(|(key, path)| ((*key).to_owned(), json!(format!("{api}{path}"))))
        .collect::<Map<_, _>>()
        .into());
    add(json!({
        "created_at": date(CREATED_S), "updated_at": pushed, "pushed_at": pushed,
        "git_url": format!("git://github.com/{full_name}.git"), "ssh_url": format!("git@github.com:{full_name}.git"),
        "clone_url": format!("{web}.git"), "svn_url": web, "homepage": "", "size": graph.len(),
        "stargazers_count": 0, "watchers_count": 0, "language": "Rust", "has_issues": true, "has_projects": true,
        "has_wiki": false, "has_pages": false, "has_discussions": false, "forks_count": 0, "mirror_url": null,
        "archived": identity.archived, "disabled": false, "open_issues_count": 0, "license": null, "allow_forking": true,
        "is_template": false, "web_commit_signoff_required": false, "topics": [], "visibility": "private",
        "forks": 0, "open_issues": 0, "watchers": 0, "default_branch": graph.default_branch,
        "permissions": { "admin": false, "maintain": false, "push": false, "triage": false, "pull": true },
    }));
    shown.into()
}

/// Tells whether an account is meant, by name or number.
pub(super) fn is_account(asked: &str, owner: &str) -> bool {
    asked.eq_ignore_ascii_case(owner) || asked == account_id(owner).to_string()
}
