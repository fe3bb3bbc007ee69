//! Reads what a request asks for from its path and query.
//! Must never look at a world.

use super::issue::Of;
use crate::report::Endpoint;
use crate::rest::decode;

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route {
    User,
    RateLimit,
    Repos(Listing),
    Repo(Address, Part),
    Unknown,
}

/// Which list of repositories.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Listing {
    /// All that the credential sees.
    User,
    /// All that the installation sees, in a wrapper.
    Installation,
    /// Those of one account, by its name or number; and the word for such accounts in numeric paths.
    Owner(String, &'static str),
}

/// How a repository is named.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Name(String),
    Id(u64),
}

/// What of a repository is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Itself,
    Branches,
    Branch(String),
    Commits,
    Commit(String),
    Compare(String, String),
    Issues,
    Issue(u64, Of),
    Pulls,
    Pull(u64),
    Reviews(u64),
    Unknown,
}

impl Route {
    /// Reads a path below `/github`.
    pub(crate) fn read(path: &str) -> Self {
        let mut segments = path.trim_start_matches('/').splitn(4, '/');
        let mut segment = || segments.next().filter(|segment| !segment.is_empty());
        match (segment(), segment(), segment(), segment()) {
            (Some("user"), None, ..) => Self::User,
            (Some("rate_limit"), None, ..) => Self::RateLimit,
            (Some("user"), Some("repos"), None, _) => Self::Repos(Listing::User),
            (Some("installation"), Some("repositories"), None, _) => Self::Repos(Listing::Installation),
            (Some("orgs" | "organizations"), Some(owner), Some("repos"), None) => {
                Self::Repos(Listing::Owner(decode(owner), "organizations"))
            }
            (Some("users" | "user"), Some(owner), Some("repos"), None) => {
                Self::Repos(Listing::Owner(decode(owner), "user"))
            }
            (Some("repos"), Some(owner), Some(name), rest) => Self::Repo(
                Address::Name(format!("{}/{}", decode(owner), decode(name))),
                Part::read(rest.unwrap_or("")),
            ),
            (Some("repositories"), Some(id), ..) => id.parse().map_or(Self::Unknown, |id| {
                Self::Repo(Address::Id(id), Part::read(below_repository(path).trim_start_matches('/')))
            }),
            _ => Self::Unknown,
        }
    }

    /// Tells what the report counts it as.
    pub(crate) fn endpoint(&self) -> Endpoint {
        match self {
            Self::Repos(_) => Endpoint::Repos,
            Self::Repo(_, Part::Itself) => Endpoint::Repo,
            Self::Repo(_, Part::Branches | Part::Branch(_)) => Endpoint::Branches,
            Self::Repo(_, Part::Commits | Part::Commit(_)) => Endpoint::Commits,
            Self::Repo(_, Part::Compare(..)) => Endpoint::Compare,
            Self::Repo(_, Part::Issues | Part::Issue(_, Of::Itself)) => Endpoint::RepoIssues,
            Self::Repo(_, Part::Issue(_, Of::Timeline)) => Endpoint::Timeline,
            Self::Repo(_, Part::Pulls | Part::Pull(_)) => Endpoint::Pulls,
            Self::Repo(_, Part::Reviews(_)) => Endpoint::Reviews,
            _ => Endpoint::Other,
        }
    }
}

impl Part {
    fn read(rest: &str) -> Self {
        let (word, rest) = rest.split_once('/').unwrap_or((rest, ""));
        match (word, rest) {
            ("", "") => Self::Itself,
            ("branches", "") => Self::Branches,
            ("branches", name) => Self::Branch(decode(name)),
            ("commits", "") => Self::Commits,
            ("commits", name) => Self::Commit(decode(name)),
            ("compare", both) => both
                .split_once("...")
                .map_or(Self::Unknown, |(base, head)| Self::Compare(decode(base), decode(head))),
            ("issues", "") => Self::Issues,
            ("pulls", "") => Self::Pulls,
            ("issues" | "pulls", below) => Self::numbered(word, below).unwrap_or(Self::Unknown),
            _ => Self::Unknown,
        }
    }

    /// Reads what stands below a list: a number, and what of that is asked for.
    fn numbered(list: &str, below: &str) -> Option<Self> {
        let (number, rest) = below.split_once('/').unwrap_or((below, ""));
        let number = number.parse().ok()?;
        Some(match (list, rest) {
            ("issues", "") => Self::Issue(number, Of::Itself),
            ("issues", "timeline") => Self::Issue(number, Of::Timeline),
            ("pulls", "") => Self::Pull(number),
            ("pulls", "reviews") => Self::Reviews(number),
            _ => return None,
        })
    }
}

/// Cuts `/repos/{owner}/{name}` or `/repositories/{id}` off a path.
pub(crate) fn below_repository(path: &str) -> &str {
    let cut = if path.starts_with("/repos/") { 3 } else { 2 };
    path.match_indices('/').nth(cut).map_or("", |(at, _)| &path[at..])
}

#[cfg(test)]
mod tests {
    use super::{Address, Listing, Of, Part, Route, below_repository};

    #[test]
    fn names_with_slashes_are_read_encoded_and_plain() {
        let name = || Address::Name("o/r".to_owned());
        let compare = Part::Compare("feature/x".to_owned(), "50%-off".to_owned());
        for (path, part) in [
            ("/repos/o/r", Part::Itself),
            ("/repos/o/r/branches/feature%2Fx%2Fy", Part::Branch("feature/x/y".to_owned())),
            ("/repos/o/r/branches/feature/x", Part::Branch("feature/x".to_owned())),
            ("/repos/o/r/compare/feature%2Fx...50%25-off", compare),
            ("/repos/o/r/commits", Part::Commits),
            ("/repos/o/r/pulls", Part::Pulls),
            ("/repos/o/r/pulls/7/reviews", Part::Reviews(7)),
            ("/repos/o/r/issues/7", Part::Issue(7, Of::Itself)),
            ("/repos/o/r/issues/7/timeline", Part::Issue(7, Of::Timeline)),
            ("/repos/o/r/issues/seven", Part::Unknown),
            ("/repos/o/r/issues/7/labels", Part::Unknown),
            ("/repos/o/r/hooks", Part::Unknown),
        ] {
            assert_eq!(Route::read(path), Route::Repo(name(), part), "{path}");
        }
        assert_eq!(Route::read("/repositories/7/commits"), Route::Repo(Address::Id(7), Part::Commits));
        assert_eq!(
            Route::read("/orgs/acme/repos"),
            Route::Repos(Listing::Owner("acme".to_owned(), "organizations"))
        );
    }

    #[test]
    fn what_follows_the_repository_is_kept_as_written() {
        assert_eq!(below_repository("/repos/o/r/branches/a%2Fb"), "/branches/a%2Fb");
        assert_eq!(below_repository("/repositories/7/commits"), "/commits");
        assert_eq!(below_repository("/repos/o/r"), "");
    }
}
