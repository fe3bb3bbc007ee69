//! GitHub users as JSON, about 1 KB each as the real ones.
//! Must never name this server in a body: bodies look the same wherever the simulator listens.

use crate::hash::Digest;
use crate::rest::put;

/// Where the real API is; bodies name it, links and redirects name this server.
pub(super) const API: &str = "https://api.github.com";
/// Where people look.
pub(super) const WEB: &str = "https://github.com";

/// The URLs below an account, with their templates.
const URLS: [(&str, &str); 9] = [
    ("followers_url", "/followers"),
    ("following_url", "/following{/other_user}"),
    ("gists_url", "/gists{/gist_id}"),
    ("starred_url", "/starred{/owner}{/repo}"),
    ("subscriptions_url", "/subscriptions"),
    ("organizations_url", "/orgs"),
    ("repos_url", "/repos"),
    ("events_url", "/events{/privacy}"),
    ("received_events_url", "/received_events"),
];

/// Makes a login from an address.
pub(super) fn login(email: &str) -> String {
    let local = email.split('@').next().unwrap_or_default();
    let local = local.rsplit('+').next().unwrap_or_default();
    let login: String = local.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let login = login.trim_matches('-');
    if login.is_empty() || login == "noreply" { "web-flow".to_owned() } else { login.to_ascii_lowercase() }
}

/// Makes an account's number from its login.
pub(super) fn account_id(login: &str) -> u64 {
    Digest::new(4).bytes(login.to_ascii_lowercase().as_bytes()).short() % 90_000_000 + 1_000
}

/// Makes a node id, which is opaque and as long as the real ones.
pub(super) fn node_id(kind: &str, of: u64) -> String {
    format!("{kind}_kgDO{:012X}", of & 0xffff_ffff_ffff)
}

/// Appends an account.
pub(super) fn put_account(out: &mut Vec<u8>, login: &str, kind: &str) {
    let id = account_id(login);
    let number = id.to_string();
    put(out, &["{\"login\":\"", login, "\",\"id\":", &number, ",\"node_id\":\"", &node_id("U", id)]);
    put(
        out,
        &[
            "\",\"avatar_url\":\"https://avatars.githubusercontent.com/u/",
            &number,
            "?v=4\",\"gravatar_id\":\"\"",
        ],
    );
    put(out, &[",\"url\":\"", API, "/users/", login, "\",\"html_url\":\"", WEB, "/", login, "\""]);
    for (key, path) in URLS {
        put(out, &[",\"", key, "\":\"", API, "/users/", login, path, "\""]);
    }
    put(out, &[",\"type\":\"", kind, "\",\"user_view_type\":\"public\",\"site_admin\":false}"]);
}
