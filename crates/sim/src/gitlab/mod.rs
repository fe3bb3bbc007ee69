//! GitLab's REST API over a world: which answer belongs to which request.
//! Must never know of limits, faults or sockets; those are the server's.

mod answer;
mod commit;
mod history;
mod link;
mod merge_request;
mod project;
mod route;

use serde_json::json;

pub(crate) use self::answer::{JSON, TEXT, refusal};
use self::answer::{error, moved};
use self::history::Place;
use self::link::Paths;
pub(crate) use self::route::Route;
use self::route::{Address, Part, below_project};
use crate::error::Error;
use crate::lock::read;
use crate::rest::{self, Answer, Query};
use crate::world::{Identity, State, World};

/// Where it is.
pub(crate) const PREFIX: &str = "/gitlab/api/v4";
/// Where the real API is; bodies name it, links and redirects name this server.
const API: &str = "https://gitlab.com/api/v4";
/// Where people look.
const WEB: &str = "https://gitlab.com";

/// A request as far as the endpoints need it.
pub(crate) struct Ask<'a> {
    /// The path below the prefix, as written.
    pub(crate) path: &'a str,
    /// The query, as written.
    pub(crate) query: &'a str,
    /// The prefix of URLs that lead back here.
    pub(crate) base: &'a str,
    /// Whether the request carries a credential.
    pub(crate) authorised: bool,
    /// The number of whoever the credential belongs to.
    pub(crate) person: u64,
}

/// Answers a request.
pub(crate) fn answer(world: &World, route: &Route, ask: &Ask<'_>) -> Result<Answer, Error> {
    let mut answer = match route {
        Route::Version | Route::User if !ask.authorised => refusal(401, "401 Unauthorized"),
        // The version whose documentation this was written by.
        Route::Version => Answer::value(&json!({ "version": "18.6.0-ee", "revision": "5d1f0a3b2c4" })),
        Route::User => Answer::value(&project::user(ask.person)),
        Route::Projects => project::list(world, ask)?,
        Route::Project(address, part) => one_project(world, address, part, ask)?,
        Route::Unknown => error(404, "404 Not Found"),
    };
    if answer.media == rest::JSON {
        answer.media = JSON;
    }
    Ok(answer)
}

/// Refuses what a project's state forbids.
fn forbids(identity: &Identity) -> Option<Answer> {
    match identity.state {
        State::Ok | State::Empty => None,
        State::Gone => Some(refusal(404, "404 Project Not Found")),
        State::Denied => Some(refusal(403, "403 Forbidden")),
        State::Legal => Some(Answer::refusal_with(
            403,
            &json!({ "message": { "base": ["This project is not available for legal reasons"] } }),
        )),
    }
}

fn one_project(world: &World, address: &Address, part: &Part, ask: &Ask<'_>) -> Result<Answer, Error> {
    let found = match address {
        Address::Path(path) => world.find(path),
        Address::Id(id) => world.find_id(*id),
    };
    let Some(found) = found else { return Ok(refusal(404, "404 Project Not Found")) };
    let identity = found.identity();
    if let Some(refusal) = forbids(&identity) {
        return Ok(refusal);
    }
    if let Address::Path(path) = address
        && !identity.full_name().eq_ignore_ascii_case(path)
    {
        let mark = if ask.query.is_empty() { "" } else { "?" };
        let rest = below_project(ask.path);
        return Ok(moved(format!("{}/projects/{}{rest}{mark}{}", ask.base, found.id, ask.query)));
    }
    let id = match address {
        Address::Path(path) => path.clone(),
        Address::Id(id) => id.to_string(),
    };
    let paths = Paths { base: ask.base, path: ask.path, id: Some(&id) };
    let place = Place {
        repository: &found,
        identity,
        history: found.current()?,
        paths,
        query: Query(ask.query),
        authorised: ask.authorised,
    };
    Ok(match part {
        Part::Itself => {
            let graph = read(&place.history.graph);
            Answer::value(&project::project(found.id, &place.identity, &graph, ask.authorised))
        }
        Part::Branches => place.branches(),
        Part::Branch(name) => place.branch(name),
        Part::Commits => place.commits(),
        Part::Commit(name) => place.commit(name),
        Part::Compare => place.compare(),
        Part::MergeBase => place.merge_base(),
        Part::MergeRequests => place.merge_requests(),
        Part::MergeRequest(iid) => place.merge_request(*iid),
        Part::Notes(iid) => place.notes(*iid),
    })
}
