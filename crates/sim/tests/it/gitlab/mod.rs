//! GitLab over real HTTP on loopback, compared with git itself or with the world's truth.
//! Must never look inside.

mod fault;
mod history;
mod limit;
mod merge_request;
mod paging;
mod project;

use serde_json::Value;
use sim::Sim;

use crate::client::{Answer, send};

/// What every ordinary request carries.
const TOKEN: (&str, &str) = ("private-token", "glpat-good");
/// The first project of a seeded world, by its number.
const FIRST: &str = "/projects/417300001";
const FIRST_ID: u64 = 417_300_001;

/// Asks as an ordinary client does; targets below the base or as links give them.
async fn get(sim: &Sim, target: &str) -> Answer {
    get_with(sim, target, &[TOKEN]).await
}

/// Asks with just these headers.
async fn get_with(sim: &Sim, target: &str, headers: &[(&str, &str)]) -> Answer {
    let target =
        if target.starts_with("http") { target.to_owned() } else { format!("/gitlab/api/v4{target}") };
    send(sim, "GET", &target, headers, "").await
}

/// Follows the next links and returns the pages, the empty one at the end, too.
async fn walk(sim: &Sim, target: &str) -> Vec<Answer> {
    let mut pages = vec![get(sim, target).await];
    while let Some(next) = pages.last().unwrap().links().get("next") {
        pages.push(get(sim, next).await);
    }
    assert!(pages.iter().all(|page| page.status == 200), "{:?}", pages.last().unwrap().message());
    pages
}

/// Walks a list and returns one field of every entry.
async fn all(sim: &Sim, target: &str, field: &str) -> Vec<String> {
    let pages = walk(sim, target).await;
    pages.iter().flat_map(|page| texts(&page.json(), field)).collect()
}

fn texts(list: &Value, field: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|it| it[field].as_str().unwrap().to_owned()).collect()
}

/// Encodes a name as one path segment or value.
fn encoded(name: &str) -> String {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    name.bytes()
        .map(|byte| if legal(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
