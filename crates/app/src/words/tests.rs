//! That there is a sentence for everything, and that it names the fix.

use std::time::Duration;

use domain::fault::{Cause, Fault};
use domain::policy::{Action, Decision, Metadata, Reason};
use jiff::Timestamp;

use super::{About, decision, fault};

const ABOUT: About<'static> = About { source: "acme", provider: "github" };

#[test]
fn every_fault_has_a_sentence() {
    let causes = [
        Cause::Server(502),
        Cause::Timeout,
        Cause::UnknownHost,
        Cause::ForbiddenAddress,
        Cause::Connect,
        Cause::Tls,
        Cause::Cut,
        Cause::TooLarge,
        Cause::Ledger,
        Cause::Redirect,
    ];
    let passing = causes.map(|cause| Fault::Transient { after: Some(Duration::ZERO), cause });
    let others = [
        Fault::RateLimited { until: None, bucket: "core" },
        Fault::Unauthorized,
        Fault::Denied,
        Fault::Gone,
        Fault::CursorLost,
        Fault::Malformed { what: "no array".to_owned() },
    ];
    for it in passing.iter().chain(&others) {
        let sentence = fault(ABOUT, it.code(), &it.to_string());
        assert!(sentence.contains(": "), "{}: no fix in {sentence:?}", it.code());
        assert!(!sentence.contains("(server_error)") && !sentence.contains('{'), "{}: {sentence}", it.code());
        assert!(!sentence.contains(&format!("({})", it.code())), "{} has no sentence", it.code());
    }
}

#[test]
fn a_sentence_names_source_provider_and_command() {
    let sentence = fault(ABOUT, "unauthorized", "");
    assert!(sentence.starts_with("GitHub refuses the credential of `acme`"), "{sentence}");
    assert!(sentence.contains("syncline source add github --name acme --update --token-env"), "{sentence}");
    assert!(fault(ABOUT, "server_error", "the provider answered 502").contains("502"));
    assert!(
        fault(ABOUT, "from_a_later_version", "some detail").contains("some detail (from_a_later_version)")
    );
}

#[test]
fn every_decision_says_what_to_do() {
    let now: Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
    let numbers = Metadata {
        cooldown_ms: Some(720_000),
        blocked_until: Some("2026-11-23T12:00:00Z".parse().unwrap()),
        required_budget: Some(100),
        available_budget: Some(12),
    };
    let cases = [
        (Reason::Disabled, "switched off"),
        (Reason::NoOwner, "add it again"),
        (Reason::NothingToSync, "syncline source add github --name acme --update"),
        (Reason::CooldownActive, "start it again in 12 min"),
        (
            Reason::RateLimited,
            "GitHub has 12 requests left for `acme` and 100 are kept back: start it again after 20",
        ),
        (Reason::AlreadySyncing, "syncline sync start --source acme --wait"),
    ];
    for (reason, expected) in cases {
        let sentence = decision(ABOUT, &Decision { action: Action::Block, reason, metadata: numbers }, now);
        assert!(sentence.contains(expected), "{reason:?}: {sentence}");
    }
}
