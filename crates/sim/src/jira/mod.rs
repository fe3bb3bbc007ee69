//! Jira's REST API over a site, as Cloud and as Data Center show it: which answer belongs to which request.
//! Must never know of limits, faults or sockets; those are the server's.

mod agile;
mod answer;
mod fields;
mod history;
mod jql;
mod listing;
mod parameter;
mod platform;
mod route;
mod search;
mod show;
mod time;
mod token;
mod write;

pub(crate) use self::answer::Answer;
use self::jql::Asker;
use self::parameter::Query;
pub(crate) use self::route::Route;
use self::time::Zone;
pub(crate) use self::time::{utc_minute, utc_second};
use crate::world::site::{Issue, Site, State};

/// Which kind of Jira answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deployment {
    Cloud,
    DataCenter,
}

impl Deployment {
    /// Returns the path that it is under.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Cloud => "/jira/cloud",
            Self::DataCenter => "/jira/dc",
        }
    }
}

/// Whose request it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The credential is good.
    Known,
    /// There is none.
    Anonymous,
    /// It is wrong, and Jira goes on without it.
    Refused,
}

/// Where Cloud lists the issues of boards and sprints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CardPaths {
    /// Only under `/rest/software/1.0`, by tokens; the old paths are gone.
    #[default]
    Software,
    /// Only under `/rest/agile/1.0`, by offsets.
    Agile,
}

/// A request as far as the endpoints need it.
pub(crate) struct Ask<'a> {
    pub(crate) deployment: Deployment,
    pub(crate) standing: Standing,
    /// Whether the request has a body that is to be read, not a query.
    pub(crate) post: bool,
    /// The path below the prefix, as written.
    pub(crate) path: &'a str,
    /// The query, as written.
    pub(crate) query: &'a str,
    pub(crate) body: &'a [u8],
    /// The prefix of URLs that lead back here.
    pub(crate) base: &'a str,
    /// Where Cloud lists the issues of boards and sprints.
    pub(crate) cards: CardPaths,
    /// The number of whoever asks.
    pub(crate) person: u64,
}

/// A request together with what answers it.
struct Desk<'a> {
    ask: &'a Ask<'a>,
    state: &'a State,
    zone: Zone,
    now_ms: i64,
    /// Which version of the API was asked.
    version: &'static str,
}

/// Answers a request.
pub(crate) fn answer(site: &Site, route: &Route, ask: &Ask<'_>) -> Answer {
    // A write comes first, so that what is shown then is what it made.
    if let Route::AddComment(named) = route
        && let Err(refusal) = write::comment(site, named, ask)
    {
        return refusal;
    }
    let state = site.state();
    let version = version(ask);
    let zone = Zone::find(&state.zone, state.repeated_hour);
    let desk = Desk { ask, state: &state, zone, now_ms: site.clock.now_ms(), version };
    desk.answer(route).unwrap_or_else(|refusal| refusal)
}

/// Tells which version of the API is asked.
fn version(ask: &Ask<'_>) -> &'static str {
    if ask.path.starts_with("/rest/api/3") { "3" } else { "2" }
}

impl<'a> Desk<'a> {
    fn answer(&self, route: &Route) -> Result<Answer, Answer> {
        match route {
            Route::ServerInfo => Ok(self.server_info()),
            Route::Myself => self.myself(),
            Route::Fields => Ok(Self::field_list()),
            Route::Projects => Ok(self.projects()),
            Route::ProjectSearch => self.project_search(),
            Route::Project(named) => self.project(named),
            Route::Filter(id) => self.filter(*id),
            Route::Search => self.search(),
            Route::SearchJql => self.search_jql(),
            Route::ApproximateCount => self.approximate_count(),
            Route::Issue(named) => self.issue(named),
            Route::IssueBulk => self.issue_bulk(),
            Route::Changelog(named) => self.changelog(named),
            Route::ChangelogBulk => self.changelog_bulk(),
            Route::Comments(named) => self.comments(named),
            Route::AddComment(named) => self.latest_comment(named),
            Route::Boards => self.boards(),
            Route::Board(id) => self.board(*id).map(|it| Answer::value(&self.show_board(it))),
            Route::BoardConfiguration(id) => self.board_configuration(*id),
            Route::BoardSprints(id) => self.board_sprints(*id),
            Route::Sprint(id) => self.sprint(*id).map(|it| Answer::value(&self.show_sprint(it))),
            Route::Listed(listed, style) => self.listed(*listed, *style),
            Route::Unknown => Err(Answer::no_path()),
        }
    }

    fn query(&self) -> Query<'a> {
        Query(self.ask.query)
    }

    fn is_cloud(&self) -> bool {
        self.ask.deployment == Deployment::Cloud
    }

    fn known(&self) -> bool {
        self.ask.standing == Standing::Known
    }

    fn asker(&self) -> Asker<'_> {
        Asker { state: self.state, zone: &self.zone, now_ms: self.now_ms }
    }

    /// Tells whether whoever asks may see an issue; without a good credential nobody sees any.
    fn shows(&self, issue: &Issue) -> bool {
        self.known() && self.state.shows(issue)
    }

    /// Finds an issue that whoever asks may see.
    fn visible(&self, named: &str) -> Result<&'a Issue, Answer> {
        self.state.issue(named).filter(|it| self.shows(it)).ok_or_else(Answer::no_issue)
    }
}
