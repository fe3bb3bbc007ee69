//! The names of the limits, and what a demand holds back.
//! Must never tell more of a request than its part.

use crate::report::LimitsMet;

/// Which limit answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// GitHub: requests per window.
    Primary,
    /// GitHub: too much in a short time.
    Secondary,
    /// GitHub: one repository is to be left alone.
    Pause,
    /// GitLab: requests per minute.
    Throttle,
    /// GitLab: too many to one endpoint.
    Application,
    /// Jira Cloud: points per hour.
    Quota,
    /// Jira Cloud: requests per second to one endpoint.
    Burst,
    /// Jira Cloud: writes to one issue.
    Writes,
    /// Jira Data Center: a user's bucket.
    Bucket,
}

impl Kind {
    /// Finds where the report counts it.
    pub(super) fn place(self, met: &mut LimitsMet) -> &mut u64 {
        match self {
            Self::Primary => &mut met.primary,
            Self::Secondary => &mut met.secondary,
            Self::Pause => &mut met.paused,
            Self::Throttle => &mut met.gitlab,
            Self::Application => &mut met.gitlab_application,
            Self::Quota => &mut met.jira_quota,
            Self::Burst => &mut met.jira_burst,
            Self::Writes => &mut met.jira_writes,
            Self::Bucket => &mut met.dc_bucket,
        }
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Primary => "primary limit",
            Self::Secondary => "secondary limit",
            Self::Pause => "pause of a repository",
            Self::Throttle => "limit per minute",
            Self::Application => "application limit",
            Self::Quota => "quota",
            Self::Burst => "burst limit",
            Self::Writes => "limit of writes to an issue",
            Self::Bucket => "bucket",
        }
    }
}

/// What a request is part of, and what a demand holds back.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    /// Everything with this credential.
    All,
    /// Only this part.
    Only(String),
}
