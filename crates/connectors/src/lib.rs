//! The connectors: one folder per provider, all of them pure functions behind [`domain::connector::Connector`].
//!
//! Nothing here sends, waits, stores or looks at a clock. Begin with [`ALL`].

use domain::connector::Connector;

#[cfg(test)]
mod contract;
mod git;
pub mod github;
pub mod gitlab;
pub mod jira;
mod kit;

/// Every connector, one line each.
pub static ALL: &[&dyn Connector] = &[&github::GitHub, &gitlab::GitLab, &jira::Jira];

/// Finds the connector of `provider`, the word in [`domain::connector::Spec::provider`].
#[must_use]
pub fn find(provider: &str) -> Option<&'static dyn Connector> {
    ALL.iter().copied().find(|it| it.spec().provider == provider)
}
