//! The limits of the fake providers: which there are, what each account spent, and what it was told to wait for.
//! Must never write a credential anywhere; accounts are shown by a short number.

mod charge;
mod gate;
mod github;
mod gitlab;
mod jira;
mod kind;
mod owner;

use std::str::FromStr;

pub(crate) use self::gate::{Gate, Passage};
pub(crate) use self::github::Refusal;
pub(crate) use self::gitlab::Throttle;
pub(crate) use self::jira::{Call, Shown, Stop};
pub(crate) use self::kind::{Kind, Scope};
pub(crate) use self::owner::{number, owner};
use crate::error::{SpecError, pairs};

/// What is allowed in a limit setting.
const ALLOWED: &str = "primary, points, concurrent, anonymous, window, gitlab, jira_quota, jira_window, jira_burst, \
                       jira_writes, dc_bucket, dc_fill and dc_interval are allowed";

/// The limits of every account, which all its credentials share; 0 switches one off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// GitHub: requests per window and account.
    pub primary: u32,
    /// GitHub: points per minute and account; a GET costs one. Off unless asked for.
    pub points: u32,
    /// GitHub: requests at once per account.
    pub concurrent: u32,
    /// GitHub: requests per window without a credential; 0 means as many as with one.
    pub anonymous: u32,
    /// GitHub: the length of the primary limit's window.
    pub window_s: u64,
    /// GitLab: requests per minute and account.
    pub gitlab: u32,
    /// Jira Cloud: points per window of an access token; logins with an API token are exempt.
    pub jira_quota: u32,
    /// Jira Cloud: the length of the quota's window, which begins at a multiple of it: an hour at the full hour.
    pub jira_window_s: u32,
    /// Jira Cloud: requests per second to one endpoint; reading issues may be half as many more, histories twice as many.
    pub jira_burst: u32,
    /// Jira Cloud: writes to one issue in two seconds; five times as many in thirty.
    pub jira_writes: u32,
    /// Jira Data Center: how many requests a user's bucket holds.
    pub dc_bucket: u32,
    /// Jira Data Center: how many requests flow into it each interval.
    pub dc_fill: u32,
    /// Jira Data Center: the length of the interval.
    pub dc_interval_s: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // GitHub's own numbers for a personal token.
            primary: 5_000,
            points: 0,
            concurrent: gate::CONCURRENT_MAX,
            anonymous: 0,
            window_s: 3_600,
            // GitLab.com's own number for whoever is known.
            gitlab: 2_000,
            // Atlassian's own numbers: the smallest quota, and the burst limits that all sites have.
            jira_quota: 65_000,
            jira_window_s: 3_600,
            jira_burst: 100,
            jira_writes: 20,
            // An administrator's choice; this one holds back only who never pauses.
            dc_bucket: 1_000,
            dc_fill: 100,
            dc_interval_s: 1,
        }
    }
}

impl FromStr for Limits {
    type Err = SpecError;

    fn from_str(spec: &str) -> Result<Self, SpecError> {
        let mut limits = Self::default();
        for (key, value) in pairs(spec) {
            let refuse =
                |allowed: &str| SpecError { key: key.into(), value: value.into(), allowed: allowed.into() };
            let number = value.parse::<u32>().map_err(|_| refuse("a whole number from 0 is allowed"));
            let seconds = || match number {
                Ok(1..) => number.clone(),
                _ => Err(refuse("a number of seconds from 1 is allowed")),
            };
            match key {
                "primary" => limits.primary = number?,
                "points" => limits.points = number?,
                "concurrent" => limits.concurrent = number?,
                "anonymous" => limits.anonymous = number?,
                "window" => limits.window_s = seconds()?.into(),
                "gitlab" => limits.gitlab = number?,
                "jira_quota" => limits.jira_quota = number?,
                "jira_window" => limits.jira_window_s = seconds()?,
                "jira_burst" => limits.jira_burst = number?,
                "jira_writes" => limits.jira_writes = number?,
                "dc_bucket" => limits.dc_bucket = number?,
                "dc_fill" => limits.dc_fill = number?,
                "dc_interval" => limits.dc_interval_s = seconds()?,
                _ => return Err(refuse(ALLOWED)),
            }
        }
        Ok(limits)
    }
}

#[cfg(test)]
mod tests {
    use super::Limits;

    #[test]
    fn a_bad_limit_names_key_value_and_what_is_allowed() {
        for (spec, part) in [
            ("primary=-1", "primary=-1"),
            ("window=0", "from 1"),
            ("prime=3", "concurrent"),
            ("gitlab=many", "whole number"),
            ("jira_window=0", "from 1"),
            ("dc_bucket=x", "whole number"),
        ] {
            let error = spec.parse::<Limits>().expect_err(spec).to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
