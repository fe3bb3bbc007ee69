//! Words for people, made from the codes that the engine and the policy answer with: what happened, and the fix.
//!
//! The only home of such sentences. It never quotes a provider's answer, and never decides anything.

mod fault;
mod why;

use domain::policy::{Decision, Reason};
use engine::provider_specs;
use jiff::Timestamp;

pub(crate) use fault::fault;
pub(crate) use why::{escalation, last, missed, why};

use crate::output::{clock_time, count, span};

/// Whom a sentence is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About<'a> {
    /// The source's name.
    pub(crate) source: &'a str,
    /// The provider's word.
    pub(crate) provider: &'a str,
}

impl About<'_> {
    /// Returns the provider's name for people.
    pub(crate) fn title(&self) -> &str {
        provider_specs().find(|it| it.provider == self.provider).map_or(self.provider, |it| it.title)
    }

    /// Fills a sentence's blanks.
    fn fill(&self, sentence: &str, detail: &str) -> String {
        sentence
            .replace("{title}", self.title())
            .replace("{provider}", self.provider)
            .replace("{source}", self.source)
            .replace("{detail}", detail)
    }
}

/// Says why a request was not made into a sync, and what to do about it.
pub(crate) fn decision(about: About<'_>, decision: &Decision, now: Timestamp) -> String {
    let metadata = &decision.metadata;
    let sentence = match decision.reason {
        Reason::Ready => "`{source}` can be synced now".to_owned(),
        Reason::Disabled => {
            "`{source}` is switched off: let syncs begin again with `syncline source enable {source}`"
                .to_owned()
        }
        Reason::NoOwner => {
            "`{source}` belongs to nobody, or to a tenant that is revoked: remove it and add it again \
                            for another with --tenant NAME"
                .to_owned()
        }
        Reason::NothingToSync => {
            "nothing is known of `{source}` to read here yet: sync all of it first with `syncline sync start \
             --source {source} --wait`, or say what to read with `syncline source add {provider} --name {source} \
             --update`"
                .to_owned()
        }
        Reason::CooldownActive => {
            let rest = metadata.cooldown_ms.and_then(|it| u64::try_from(it).ok()).unwrap_or_default();
            let rest = span(std::time::Duration::from_millis(rest));
            format!("`{{source}}` was synced a short while ago: start it again in {rest}")
        }
        Reason::RateLimited => {
            let left = metadata.available_budget.map_or("too few".to_owned(), count);
            let required = metadata.required_budget.map_or("more".to_owned(), count);
            let until = match metadata.blocked_until {
                Some(at) => format!("after {}", clock_time(at, now)),
                None => "later".to_owned(),
            };
            format!(
                "{{title}} has {left} requests left for `{{source}}` and {required} are kept back: start it again {until}"
            )
        }
        Reason::AlreadySyncing => {
            "`{source}` is being synced already: join in with `syncline sync start --source \
                                   {source} --wait`, or look with `syncline sync status`"
                .to_owned()
        }
    };
    about.fill(&sentence, "")
}

#[cfg(test)]
mod tests;
