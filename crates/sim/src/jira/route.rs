//! Reads what a request to the fake Jira asks for, from its method, path and query.
//! Must never look at a site.

use http::Method;
use percent_encoding::percent_decode_str;

use super::Deployment;
use crate::report::Endpoint;

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    ServerInfo,
    Myself,
    Fields,
    Projects,
    ProjectSearch,
    Project(String),
    Filter(u64),
    /// The search that pages by offsets.
    Search,
    /// The search that pages by tokens.
    SearchJql,
    ApproximateCount,
    Issue(String),
    IssueBulk,
    Changelog(String),
    ChangelogBulk,
    Comments(String),
    AddComment(String),
    Boards,
    Board(u64),
    BoardConfiguration(u64),
    BoardSprints(u64),
    Sprint(u64),
    /// Lists of issues below a board or a sprint.
    Listed(Listed, Style),
    Unknown,
}

/// Which list of issues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listed {
    Board(u64),
    Backlog(u64),
    Sprint(u64),
}

/// How a list of issues is paged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// `/rest/agile/1.0`: by offsets.
    Agile,
    /// `/rest/software/1.0`: by tokens.
    Software,
}

impl Route {
    /// Reads a path below the deployment's prefix.
    pub(crate) fn read(deployment: Deployment, method: &Method, path: &str) -> Self {
        let parts: Vec<String> = path
            .split('/')
            .filter(|part| !part.is_empty())
            .map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned())
            .collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let cloud = deployment == Deployment::Cloud;
        match parts.as_slice() {
            ["rest", "api", version, rest @ ..]
                if matches!(*version, "2" | "latest") || cloud && *version == "3" =>
            {
                Self::platform(cloud, method, rest)
            }
            ["rest", "agile", "1.0" | "latest", rest @ ..] if method == Method::GET => {
                Self::agile(rest, Style::Agile)
            }
            ["rest", "software", "1.0", rest @ ..] if cloud && method == Method::GET => {
                match Self::agile(rest, Style::Software) {
                    listed @ Self::Listed(..) => listed,
                    _ => Self::Unknown,
                }
            }
            _ => Self::Unknown,
        }
    }

    fn platform(cloud: bool, method: &Method, rest: &[&str]) -> Self {
        let (get, post) = (method == Method::GET, method == Method::POST);
        match rest {
            ["search"] if get || post => Self::Search,
            ["search", "jql"] if cloud && (get || post) => Self::SearchJql,
            ["search", "approximate-count"] if cloud && post => Self::ApproximateCount,
            ["issue", "bulkfetch"] if cloud && post => Self::IssueBulk,
            ["changelog", "bulkfetch"] if cloud && post => Self::ChangelogBulk,
            ["issue", named, "comment"] if post => Self::AddComment((*named).to_owned()),
            _ if !get => Self::Unknown,
            ["serverInfo"] => Self::ServerInfo,
            ["myself"] => Self::Myself,
            ["field"] => Self::Fields,
            ["project"] => Self::Projects,
            ["project", "search"] if cloud => Self::ProjectSearch,
            ["project", key] => Self::Project((*key).to_owned()),
            ["filter", id] => id.parse().map_or(Self::Unknown, Self::Filter),
            ["issue", named] => Self::Issue((*named).to_owned()),
            // Data Center shows the whole history with the issue, and has no endpoint for it.
            ["issue", named, "changelog"] if cloud => Self::Changelog((*named).to_owned()),
            ["issue", named, "comment"] => Self::Comments((*named).to_owned()),
            _ => Self::Unknown,
        }
    }

    fn agile(rest: &[&str], style: Style) -> Self {
        let id = |text: &str| text.parse::<u64>().ok();
        let found = match rest {
            ["board"] => Some(Self::Boards),
            ["board", board] => id(board).map(Self::Board),
            ["board", board, "configuration"] => id(board).map(Self::BoardConfiguration),
            ["board", board, "sprint"] => id(board).map(Self::BoardSprints),
            ["board", board, "issue"] => id(board).map(|it| Self::Listed(Listed::Board(it), style)),
            ["board", board, "backlog"] => id(board).map(|it| Self::Listed(Listed::Backlog(it), style)),
            ["sprint", sprint] => id(sprint).map(Self::Sprint),
            ["sprint", sprint, "issue"] => id(sprint).map(|it| Self::Listed(Listed::Sprint(it), style)),
            _ => None,
        };
        found.unwrap_or(Self::Unknown)
    }

    /// Tells what the report counts it as.
    pub(crate) fn endpoint(&self) -> Endpoint {
        match self {
            Self::ServerInfo => Endpoint::ServerInfo,
            Self::Myself => Endpoint::Myself,
            Self::Boards | Self::Board(_) | Self::BoardConfiguration(_) => Endpoint::Boards,
            Self::BoardSprints(_) | Self::Sprint(_) => Endpoint::Sprints,
            Self::Listed(..) => Endpoint::Cards,
            Self::Search | Self::SearchJql | Self::ApproximateCount => Endpoint::Search,
            Self::Issue(_) | Self::IssueBulk => Endpoint::Issues,
            Self::Changelog(_) | Self::ChangelogBulk => Endpoint::Changelog,
            Self::Projects | Self::ProjectSearch | Self::Project(_) => Endpoint::Projects,
            Self::Fields | Self::Filter(_) | Self::Comments(_) | Self::AddComment(_) | Self::Unknown => {
                Endpoint::Other
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::{Listed, Route, Style};
    use crate::jira::Deployment::{self, Cloud, DataCenter};

    #[test]
    fn the_two_kinds_of_jira_know_different_paths() {
        let read = |deployment: Deployment, path: &str| Route::read(deployment, &Method::GET, path);
        for (path, cloud, data_center) in [
            ("/rest/api/3/myself", Route::Myself, Route::Unknown),
            ("/rest/api/2/myself", Route::Myself, Route::Myself),
            ("/rest/api/3/search/jql", Route::SearchJql, Route::Unknown),
            ("/rest/api/2/search", Route::Search, Route::Search),
            ("/rest/api/2/issue/PAY-1/changelog", Route::Changelog("PAY-1".to_owned()), Route::Unknown),
            ("/rest/agile/1.0/board/3/sprint", Route::BoardSprints(3), Route::BoardSprints(3)),
            (
                "/rest/software/1.0/sprint/4/issue",
                Route::Listed(Listed::Sprint(4), Style::Software),
                Route::Unknown,
            ),
            ("/rest/software/1.0/board", Route::Unknown, Route::Unknown),
            ("/rest/agile/1.0/board/x", Route::Unknown, Route::Unknown),
        ] {
            assert_eq!((read(Cloud, path), read(DataCenter, path)), (cloud, data_center), "{path}");
        }
        assert_eq!(Route::read(Cloud, &Method::DELETE, "/rest/api/3/issue/PAY-1"), Route::Unknown);
    }
}
