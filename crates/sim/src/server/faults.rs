//! Faults on demand: which request is answered badly, decided from a seed and the request's number.
//! Must never touch the world: what is served after a fault is true.

use std::str::FromStr;
use std::time::Duration;

use crate::error::{SpecError, pairs};
use crate::hash::mix;

/// What is allowed in a fault setting.
const ALLOWED: &str = "seed=NUMBER, only=github|gitlab|jira, 5xx|cut|html|slow|reset|secondary|hang=PROBABILITY (0 to 1, together at most 1), \
                       empty|gone|legal|denied|opaque|nolast|paused|stale=OWNER/NAME, renamed=OWNER/OLD>OWNER/NEW";

/// Which faults to serve, and which repositories are not as usual.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Faults {
    /// Decides which requests are hit.
    pub seed: u64,
    /// How often a server error is answered, as a probability.
    pub server_error: f64,
    /// How often a body is cut in the middle.
    pub cut: f64,
    /// How often HTML comes instead of JSON, with status 200.
    pub html: f64,
    /// How often an answer takes 300 ms to 2 s.
    pub slow: f64,
    /// How often a limit answers with an absurd reset.
    pub reset: f64,
    /// How often the secondary limit answers.
    pub secondary: f64,
    /// How often no answer ever comes.
    pub hang: f64,
    /// Which provider is hit; without one, all are.
    pub only: Option<Provider>,
    /// Repositories without a commit.
    pub empty: Vec<String>,
    /// Repositories that are gone.
    pub gone: Vec<String>,
    /// Repositories that are blocked for legal reasons.
    pub legal: Vec<String>,
    /// Repositories that the credential may not read.
    pub denied: Vec<String>,
    /// Repositories whose commits list is linked in a form that only the server understands.
    pub opaque: Vec<String>,
    /// Repositories whose commits list has no link to its last page.
    pub nolast: Vec<String>,
    /// Repositories that GitHub has no answer for, and asks to wait for an hour each time: by their name.
    pub paused: Vec<String>,
    /// Repositories of which GitHub's cache is behind: branches that a client asks for with a condition have not changed.
    pub stale: Vec<String>,
    /// Repositories that were renamed: old and new name.
    pub renamed: Vec<(String, String)>,
}

/// One of the fake providers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// GitHub.
    GitHub,
    /// GitLab.
    GitLab,
    /// Jira, of either kind.
    Jira,
}

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    ServerError(u64),
    Cut,
    Html,
    Slow(Duration),
    Reset(u64),
    Secondary,
    Hang,
    Paused,
}

impl Fault {
    /// Returns the key that asks for this fault.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::ServerError(_) => "5xx",
            Self::Cut => "cut",
            Self::Html => "html",
            Self::Slow(_) => "slow",
            Self::Reset(_) => "reset",
            Self::Secondary => "secondary",
            Self::Hang => "hang",
            Self::Paused => "paused",
        }
    }
}

impl Faults {
    /// Decides about the request to this provider with this number.
    pub(crate) fn decide(&self, provider: Provider, request: u64) -> Option<Fault> {
        if self.only.is_some_and(|only| only != provider) {
            return None;
        }
        let random = mix(self.seed ^ mix(request.wrapping_add(1)));
        let detail = mix(random);
        let drawn = f64::from(u32::try_from(random >> 32).unwrap_or_default()) / f64::from(u32::MAX);
        let mut below = 0.0;
        let slow = Duration::from_millis(300 + detail % 1_701);
        let kinds = [
            (self.server_error, Fault::ServerError(detail)),
            (self.cut, Fault::Cut),
            (self.html, Fault::Html),
            (self.slow, Fault::Slow(slow)),
            (self.reset, Fault::Reset(detail)),
            (self.secondary, Fault::Secondary),
            (self.hang, Fault::Hang),
        ];
        kinds.into_iter().find_map(|(probability, fault)| {
            below += probability;
            (probability > 0.0 && drawn <= below).then_some(fault)
        })
    }

    /// Says whether a repository is paused.
    pub(crate) fn pauses(&self, name: &str) -> bool {
        self.paused.iter().any(|it| it.eq_ignore_ascii_case(name))
    }

    /// Says whether the cache of a repository is behind.
    pub(crate) fn is_stale(&self, name: &str) -> bool {
        self.stale.iter().any(|it| it.eq_ignore_ascii_case(name))
    }

    fn probability(&mut self, key: &str) -> Option<&mut f64> {
        Some(match key {
            "5xx" => &mut self.server_error,
            "cut" => &mut self.cut,
            "html" => &mut self.html,
            "slow" => &mut self.slow,
            "reset" => &mut self.reset,
            "secondary" => &mut self.secondary,
            "hang" => &mut self.hang,
            _ => return None,
        })
    }

    fn repositories(&mut self, key: &str) -> Option<&mut Vec<String>> {
        Some(match key {
            "empty" => &mut self.empty,
            "gone" => &mut self.gone,
            "legal" => &mut self.legal,
            "denied" => &mut self.denied,
            "opaque" => &mut self.opaque,
            "nolast" => &mut self.nolast,
            "paused" => &mut self.paused,
            "stale" => &mut self.stale,
            _ => return None,
        })
    }

    /// Takes one setting, or tells what is allowed for its key.
    fn set(&mut self, key: &str, value: &str) -> Result<(), &'static str> {
        if let Some(probability) = self.probability(key) {
            let parsed: Option<f64> = value.parse().ok().filter(|parsed| (0.0..=1.0).contains(parsed));
            *probability = parsed.ok_or("a probability from 0 to 1 is allowed")?;
        } else if let Some(repositories) = self.repositories(key) {
            repositories.push(full_name(value).ok_or("a repository as OWNER/NAME is allowed")?);
        } else if key == "seed" {
            self.seed = value.parse().map_err(|_| "a whole number from 0 is allowed")?;
        } else if key == "only" {
            self.only = Some(match value {
                "github" => Provider::GitHub,
                "gitlab" => Provider::GitLab,
                "jira" => Provider::Jira,
                _ => return Err("github, gitlab or jira is allowed"),
            });
        } else if key == "renamed" {
            let names = value.split_once('>').and_then(|(old, new)| full_name(old).zip(full_name(new)));
            self.renamed.push(names.ok_or("OWNER/OLD>OWNER/NEW is allowed")?);
        } else {
            return Err(ALLOWED);
        }
        Ok(())
    }
}

fn full_name(text: &str) -> Option<String> {
    let (owner, name) = text.split_once('/')?;
    (!owner.is_empty() && !name.is_empty() && !name.contains(['/', '>'])).then(|| text.to_owned())
}

impl FromStr for Faults {
    type Err = SpecError;

    fn from_str(spec: &str) -> Result<Self, SpecError> {
        let mut faults = Self::default();
        let refuse = |key: &str, value: &str, allowed: &str| SpecError {
            key: key.to_owned(),
            value: value.to_owned(),
            allowed: allowed.to_owned(),
        };
        for (key, value) in pairs(spec) {
            faults.set(key, value).map_err(|allowed| refuse(key, value, allowed))?;
            let sum = faults.server_error
                + faults.cut
                + faults.html
                + faults.slow
                + faults.reset
                + faults.secondary
                + faults.hang;
            if sum > 1.0 {
                return Err(refuse(key, value, "the probabilities may be 1 together at most"));
            }
        }
        Ok(faults)
    }
}

#[cfg(test)]
mod tests {
    use super::{Faults, Provider};

    #[test]
    fn a_bad_setting_names_key_value_and_what_is_allowed() {
        for (spec, key, allowed) in [
            ("5xx=2", "5xx=2", "0 to 1"),
            ("seed=x", "seed=x", "whole number"),
            ("only=gitea", "only=gitea", "github, gitlab or jira"),
            ("gone=repo", "gone=repo", "OWNER/NAME"),
            ("renamed=a/b", "renamed=a/b", "OWNER/OLD>OWNER/NEW"),
            ("seed=1,5x=0.1", "5x=0.1", "secondary"),
            ("cut=0.6,html=0.6", "html=0.6", "together"),
        ] {
            let error = spec.parse::<Faults>().expect_err(spec).to_string();
            assert!(error.contains(key) && error.contains(allowed), "{spec}: {error}");
        }
    }

    #[test]
    fn the_same_seed_hits_the_same_requests_about_as_often_as_asked() {
        let faults: Faults =
            "seed=7,5xx=0.05,cut=0.02,html=0.01,slow=0.02,reset=0.01,secondary=0.01".parse().unwrap();
        let hits = |faults: &Faults| {
            (0..10_000).filter_map(|n| faults.decide(Provider::Jira, n)).collect::<Vec<_>>()
        };
        let (first, second) = (hits(&faults), hits(&faults.clone()));
        assert_eq!(first, second);
        let count = |key| first.iter().filter(|fault| fault.key() == key).count();
        assert!((420..580).contains(&count("5xx")), "{}", count("5xx"));
        for key in ["cut", "html", "slow", "reset", "secondary"] {
            assert!(count(key) > 50, "{key}: {}", count(key));
        }
        assert_eq!((0..10_000).find_map(|n| Faults::default().decide(Provider::GitHub, n)), None);
        let elsewhere = Faults { only: Some(Provider::GitHub), ..faults };
        assert!(hits(&elsewhere).is_empty());
    }
}
