//! Reads what a request asks for from its path.
//! Must never take a plain slash for an encoded one: a path with one more segment is another path.

use crate::report::Endpoint;
use crate::rest::decode;

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Version,
    User,
    Projects,
    Project(Address, Part),
    Unknown,
}

/// How a project is named.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Path(String),
    Id(u64),
}

/// What of a project is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Itself,
    Branches,
    Branch(String),
    Commits,
    Commit(String),
    Compare,
    MergeBase,
    MergeRequests,
    MergeRequest(u64),
    Notes(u64),
}

impl Route {
    /// Reads a path below the prefix.
    pub(crate) fn read(path: &str) -> Self {
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        match segments.as_slice() {
            ["version"] => Self::Version,
            ["user"] => Self::User,
            ["projects"] => Self::Projects,
            ["projects", id, rest @ ..] if !id.is_empty() => {
                Part::read(rest).map_or(Self::Unknown, |part| Self::Project(Address::read(id), part))
            }
            _ => Self::Unknown,
        }
    }

    /// Tells what the report counts it as.
    pub(crate) fn endpoint(&self) -> Endpoint {
        match self {
            Self::Projects => Endpoint::Repos,
            Self::Project(_, Part::Itself) => Endpoint::Repo,
            Self::Project(_, Part::Branches | Part::Branch(_)) => Endpoint::Branches,
            Self::Project(_, Part::Commits | Part::Commit(_)) => Endpoint::Commits,
            Self::Project(_, Part::Compare) => Endpoint::Compare,
            Self::Project(_, Part::MergeBase) => Endpoint::MergeBase,
            Self::Project(_, Part::MergeRequests | Part::MergeRequest(_)) => Endpoint::MergeRequests,
            Self::Project(_, Part::Notes(_)) => Endpoint::Notes,
            _ => Endpoint::Other,
        }
    }
}

impl Address {
    fn read(segment: &str) -> Self {
        segment.parse().map_or_else(|_| Self::Path(decode(segment)), Self::Id)
    }
}

impl Part {
    fn read(rest: &[&str]) -> Option<Self> {
        Some(match rest {
            [] => Self::Itself,
            ["repository", "branches"] => Self::Branches,
            ["repository", "branches", name] => Self::Branch(decode(name)),
            ["repository", "commits"] => Self::Commits,
            ["repository", "commits", name] => Self::Commit(decode(name)),
            ["repository", "compare"] => Self::Compare,
            ["repository", "merge_base"] => Self::MergeBase,
            ["merge_requests"] => Self::MergeRequests,
            ["merge_requests", iid] => Self::MergeRequest(iid.parse().ok()?),
            ["merge_requests", iid, "notes"] => Self::Notes(iid.parse().ok()?),
            _ => return None,
        })
    }
}

/// Cuts `/projects/{id}` off a path.
pub(super) fn below_project(path: &str) -> &str {
    path.match_indices('/').nth(2).map_or("", |(at, _)| &path[at..])
}

#[cfg(test)]
mod tests {
    use super::{Address, Part, Route, below_project};

    #[test]
    fn a_project_is_one_segment_and_so_is_a_branch() {
        let path = |path: &str| Address::Path(path.to_owned());
        for (asked, address, part) in [
            ("/projects/7", Address::Id(7), Part::Itself),
            ("/projects/o%2Fr", path("o/r"), Part::Itself),
            ("/projects/o%252Fr", path("o%2Fr"), Part::Itself),
            ("/projects/7/repository/branches/a%2Fb", Address::Id(7), Part::Branch("a/b".to_owned())),
            ("/projects/7/repository/merge_base", Address::Id(7), Part::MergeBase),
        ] {
            assert_eq!(Route::read(asked), Route::Project(address, part), "{asked}");
        }
        for asked in ["/projects/o/r", "/projects/7/repository/branches/a/b", "/projects//issues", "/groups"]
        {
            assert_eq!(Route::read(asked), Route::Unknown, "{asked}");
        }
        assert_eq!(below_project("/projects/o%2Fr/repository/branches/a%2Fb"), "/repository/branches/a%2Fb");
        assert_eq!(below_project("/projects/o%2Fr"), "");
    }
}
