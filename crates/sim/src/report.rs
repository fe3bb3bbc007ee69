//! Counts what the simulator was asked, and every violation of what it demanded.
//! Must never hold a credential, not even a piece of one.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use serde::Serialize;

use crate::lock::hold;

/// What kind of thing was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// A git host: one repository.
    Repo,
    /// A git host: a list of repositories.
    Repos,
    /// A git host: branches, one or a list.
    Branches,
    /// A git host: commits, one or a list.
    Commits,
    /// A git host: a comparison.
    Compare,
    /// GitLab: where two histories part.
    MergeBase,
    /// GitLab: merge requests, one or a list.
    MergeRequests,
    /// GitHub: issues, one or a list.
    RepoIssues,
    /// GitHub: what happened to an issue.
    Timeline,
    /// GitHub: pull requests, one or a list.
    Pulls,
    /// GitHub: reviews of a pull request.
    Reviews,
    /// GitLab: what was said of a merge request.
    Notes,
    /// Jira: what the server is.
    ServerInfo,
    /// Jira: who asks.
    Myself,
    /// Jira: projects, one or a list.
    Projects,
    /// Jira: boards, one or a list.
    Boards,
    /// Jira: sprints, one or a list.
    Sprints,
    /// Jira: the issues of a board or a sprint.
    Cards,
    /// Jira: a search.
    Search,
    /// Jira: issues by their numbers.
    Issues,
    /// Jira: what happened to issues.
    Changelog,
    /// Anything else.
    Other,
}

/// What a client did that the provider forbids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ViolationKind {
    /// A request begun more than a second after a limiting answer was sent, and before that answer allows it.
    BeforeAllowed,
    /// More than 100 requests with one credential at once.
    TooManyAtOnce,
}

/// One violation.
#[derive(Debug, Clone, Serialize)]
pub struct Violation {
    /// What it was.
    pub kind: ViolationKind,
    /// When, in milliseconds since the simulator started.
    pub at_ms: u64,
    /// The request, and what it should have waited for.
    pub detail: String,
}

/// How often a client was held back, by the limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LimitsMet {
    /// Answers of GitHub's primary limit, absurd ones among them.
    pub primary: u64,
    /// Answers of GitHub's secondary limit.
    pub secondary: u64,
    /// Answers of GitHub for a repository that is paused.
    pub paused: u64,
    /// Answers of GitLab's limit per minute, absurd ones among them.
    pub gitlab: u64,
    /// Answers of GitLab's limits inside the application.
    pub gitlab_application: u64,
    /// Answers of Jira Cloud's quota.
    pub jira_quota: u64,
    /// Answers of Jira Cloud's burst limit.
    pub jira_burst: u64,
    /// Answers of Jira Cloud's limit of writes to one issue.
    pub jira_writes: u64,
    /// Answers of a user's bucket at Jira Data Center.
    pub dc_bucket: u64,
}

/// What the simulator was asked since it started, or since the report was last reset.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    /// Requests to the providers; those to the simulator itself are not counted.
    pub requests: u64,
    /// Requests by what they asked for.
    pub by_endpoint: BTreeMap<Endpoint, u64>,
    /// Answers by their status.
    pub by_status: BTreeMap<u16, u64>,
    /// Answers without a body because nothing had changed.
    pub not_modified: u64,
    /// Bytes of bodies as they were sent, compressed or not.
    pub bytes_sent: u64,
    /// The most requests that were in flight at once, over all credentials.
    pub in_flight_max: u64,
    /// Everything that was forbidden.
    pub violations: Vec<Violation>,
    /// How often a client was held back.
    pub limits_met: LimitsMet,
    /// What the requests to Jira Cloud cost in its points quota: one each, and one for every object in the answer.
    pub jira_points: u64,
    /// Faults by their key.
    pub faults_served: BTreeMap<&'static str, u64>,
}

/// Keeps the report.
pub(crate) struct Recorder {
    started: Instant,
    report: Mutex<Report>,
}

impl Recorder {
    /// Starts an empty report.
    pub(crate) fn new() -> Self {
        Self { started: Instant::now(), report: Mutex::default() }
    }

    /// Returns the report so far.
    pub(crate) fn report(&self) -> Report {
        hold(&self.report).clone()
    }

    /// Starts over.
    pub(crate) fn reset(&self) {
        *hold(&self.report) = Report::default();
    }

    /// Counts a request.
    pub(crate) fn asked(&self, endpoint: Endpoint) {
        let mut report = hold(&self.report);
        report.requests += 1;
        *report.by_endpoint.entry(endpoint).or_default() += 1;
    }

    /// Counts an answer.
    pub(crate) fn answered(&self, status: u16) {
        let mut report = hold(&self.report);
        *report.by_status.entry(status).or_default() += 1;
        report.not_modified += u64::from(status == 304);
    }

    /// Counts bytes of a body.
    pub(crate) fn sent(&self, bytes: usize) {
        hold(&self.report).bytes_sent += bytes as u64;
    }

    /// Notes how many requests are in flight.
    pub(crate) fn in_flight(&self, requests: u64) {
        let mut report = hold(&self.report);
        report.in_flight_max = report.in_flight_max.max(requests);
    }

    /// Counts a limiting answer in its place.
    pub(crate) fn limited(&self, place: impl FnOnce(&mut LimitsMet) -> &mut u64) {
        *place(&mut hold(&self.report).limits_met) += 1;
    }

    /// Counts points of Jira's quota.
    pub(crate) fn points(&self, points: u64) {
        hold(&self.report).jira_points += points;
    }

    /// Counts a fault.
    pub(crate) fn fault(&self, key: &'static str) {
        *hold(&self.report).faults_served.entry(key).or_default() += 1;
    }

    /// Records a violation.
    pub(crate) fn violation(&self, kind: ViolationKind, at: Instant, detail: String) {
        let at_ms = u64::try_from(at.duration_since(self.started).as_millis()).unwrap_or(u64::MAX);
        hold(&self.report).violations.push(Violation { kind, at_ms, detail });
    }
}
