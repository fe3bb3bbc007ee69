//! GitHub's REST API over a world: which answer belongs to which request.
//! Must never know of limits, faults or sockets; those are the server's.

mod answer;
mod commit;
mod history;
mod issue;
mod link;
mod person;
mod repository;
mod route;

use std::sync::Arc;

use serde_json::{Value, json};

pub(crate) use self::answer::refusal;
use self::answer::{moved, not_found};
use self::history::Place;
use self::link::{PER_PAGE, Paths};
use self::person::account_id;
pub(crate) use self::route::Route;
use self::route::{Address, Listing, Part, below_repository};
use crate::error::Error;
use crate::lock::read;
use crate::rest::{Answer, Page, Query};
use crate::world::{Repository, State, World};

/// How much of the primary limit is left.
#[derive(Clone, Copy)]
pub(crate) struct Allowance {
    /// Requests per window.
    pub(crate) limit: u32,
    /// Requests made in this window.
    pub(crate) used: u32,
    /// When the window ends, in seconds since the epoch.
    pub(crate) reset_s: u64,
}

impl Allowance {
    /// Returns how many requests are left.
    pub(crate) fn remaining(self) -> u32 {
        self.limit.saturating_sub(self.used)
    }
}

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
    /// The number of the person whose credential it is; none for an installation's.
    pub(crate) person: Option<u64>,
    /// Which API version answers.
    pub(crate) version: &'a str,
    /// What is left of the limit.
    pub(crate) allowance: Allowance,
}

/// The versions of the API that can be selected; the first one is the default.
pub(crate) const VERSIONS: [&str; 2] = ["2022-11-28", "2026-03-10"];

/// Answers a request.
pub(crate) fn answer(world: &World, route: &Route, ask: &Ask<'_>) -> Result<Answer, Error> {
    Ok(match route {
        Route::RateLimit => rate_limit(ask),
        Route::User | Route::Repos(Listing::User | Listing::Installation) if !ask.authorised => {
            refusal(401, "Requires authentication")
        }
        Route::User => match ask.person {
            Some(id) => Answer::value(&repository::user(id)),
            None => refusal(403, "Resource not accessible by integration"),
        },
        Route::Repos(listing) => repositories(world, listing, ask)?,
        Route::Repo(address, part) => match find(world, address) {
            Some(found) => one_repository(&found, address, part, ask)?,
            None => not_found(),
        },
        Route::Unknown => not_found(),
    })
}

/// Finds the repository that a request is about.
pub(crate) fn repository_of(route: &Route, world: &World) -> Option<Arc<Repository>> {
    match route {
        Route::Repo(address, _) => find(world, address),
        _ => None,
    }
}

fn find(world: &World, address: &Address) -> Option<Arc<Repository>> {
    match address {
        Address::Name(name) => world.find(name),
        Address::Id(id) => world.find_id(*id),
    }
}

fn rate_limit(ask: &Ask<'_>) -> Answer {
    let Allowance { limit, used, reset_s } = ask.allowance;
    let core =
        json!({ "limit": limit, "used": used, "remaining": ask.allowance.remaining(), "reset": reset_s });
    // Search has a budget of its own, 30 a minute, which nothing here spends.
    let search = json!({ "limit": 30, "used": 0, "remaining": 30, "reset": reset_s });
    let mut shown = json!({ "resources": { "core": core, "search": search } });
    if ask.version == VERSIONS[0]
        && let Value::Object(fields) = &mut shown
    {
        fields.insert("rate".to_owned(), core);
    }
    Answer { content: None, ..Answer::value(&shown) }
}

/// Refuses what a repository's state forbids.
fn forbids(state: State) -> Option<Answer> {
    match state {
        State::Ok | State::Empty => None,
        State::Gone => Some(not_found()),
        State::Denied => Some(refusal(403, "Resource not accessible by personal access token")),
        State::Legal => Some(Answer::refusal_with(
            451,
            &json!({
                "message": "Repository access blocked",
                "block": { "reason": "dmca", "created_at": "2024-01-01T00:00:00Z", "html_url": "https://github.com/github/dmca" },
            }),
        )),
    }
}

fn one_repository(
    found: &Repository,
    address: &Address,
    part: &Part,
    ask: &Ask<'_>,
) -> Result<Answer, Error> {
    let identity = found.identity();
    if let Some(refusal) = forbids(identity.state) {
        return Ok(refusal);
    }
    let numeric = format!("/repositories/{}{}", found.id, below_repository(ask.path));
    if let Address::Name(name) = address
        && !identity.full_name().eq_ignore_ascii_case(name)
    {
        let mark = if ask.query.is_empty() { "" } else { "?" };
        return Ok(moved(format!("{}{numeric}{mark}{}", ask.base, ask.query)));
    }
    let paths = Paths { base: ask.base, asked: ask.path, numeric: &numeric };
    let place =
        Place { repository: found, identity, history: found.current()?, paths, query: Query(ask.query) };
    Ok(match part {
        Part::Itself => {
            Answer::value(&repository::repository(found.id, &place.identity, &read(&place.history.graph)))
        }
        Part::Branches => place.branches(),
        Part::Branch(name) => place.branch(name),
        Part::Commits => place.commits(),
        Part::Commit(name) => place.commit(name),
        Part::Compare(base, head) => place.compare(base, head),
        Part::Issues => place.issues(),
        Part::Issue(number, of) => place.of_issue(*number, *of),
        Part::Pulls => place.pulls(),
        Part::Pull(number) => place.of_pull(*number, false),
        Part::Reviews(number) => place.of_pull(*number, true),
        Part::Unknown => not_found(),
    })
}

/// Lists repositories by full name; what is gone is not listed.
fn repositories(world: &World, listing: &Listing, ask: &Ask<'_>) -> Result<Answer, Error> {
    let mut listed: Vec<_> = world.repositories().iter().map(|found| (found.identity(), found)).collect();
    listed.retain(|(identity, _)| identity.state != State::Gone);
    if let Listing::Owner(owner, _) = listing {
        listed.retain(|(identity, _)| repository::is_account(owner, &identity.owner));
        if listed.is_empty() {
            return Ok(not_found());
        }
    }
    listed.sort_by_key(|(identity, _)| identity.full_name());
    let numeric = match (listing, listed.first()) {
        (Listing::Owner(_, kind), Some((identity, _))) => {
            format!("/{kind}/{}/repos", account_id(&identity.owner))
        }
        _ => ask.path.to_owned(),
    };
    let (query, entries) = (Query(ask.query), listed.len());
    let page = Page::read(&query, PER_PAGE);
    let mut shown = Vec::new();
    for (identity, found) in &listed[page.range(entries)] {
        shown.push(repository::repository(found.id, identity, &read(&found.current()?.graph)));
    }
    let body = if *listing == Listing::Installation {
        json!({ "total_count": entries, "repository_selection": "selected", "repositories": shown })
    } else {
        Value::Array(shown)
    };
    let paths = Paths { base: ask.base, asked: ask.path, numeric: &numeric };
    Ok(Answer::value(&body).linked(paths.numbered(&query, page, entries, true)))
}
