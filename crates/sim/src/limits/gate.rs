//! Where every request passes: how many are in flight, and whether it keeps what earlier answers demanded.
//! Must never blame a client for a demand that was not sent to it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::kind::{Kind, Scope};
use super::{Limits, github, gitlab, jira};
use crate::clock::Clock;
use crate::hash::Digest;
use crate::lock::hold;
use crate::report::{Recorder, ViolationKind};

/// A request may be under way when a limiting answer arrives; no provider gives a number, a second is generous.
const GRACE: Duration = Duration::from_secs(1);
/// GitHub's documented maximum of concurrent requests; nobody has a reason to send more to Jira.
pub(super) const CONCURRENT_MAX: u32 = 100;
/// Stands for a request without a credential.
pub(super) const NO_TOKEN: &str = "";

/// What a limiting answer told a client to wait for.
#[derive(Clone)]
struct Demand {
    kind: Kind,
    scope: Scope,
    sent: Instant,
    wait: Wait,
}

/// Until when to wait: the earlier of the real moment and that of the providers' clock, which can be set by hand.
#[derive(Clone, Copy)]
struct Wait {
    until: Instant,
    until_ms: u64,
}

/// One moment, by both clocks.
#[derive(Clone, Copy)]
struct Moment {
    at: Instant,
    ms: u64,
}

impl Demand {
    fn is_over(&self, now: Moment) -> bool {
        self.wait.until <= now.at || self.wait.until_ms <= now.ms
    }

    fn holds_back(&self, parts: &[Scope]) -> bool {
        self.scope == Scope::All || parts.contains(&self.scope)
    }

    fn told(&self, now: Moment) -> String {
        let (late, early) = (now.at - self.sent, self.wait.until - now.at);
        let kind = self.kind.word();
        format!("began {late:.1?} after an answer of the {kind} was sent and {early:.1?} before it allows")
    }
}

/// One credential's account.
#[derive(Default)]
pub(super) struct Account {
    pub(super) in_flight: u32,
    pub(super) github: github::Book,
    pub(super) gitlab: gitlab::Book,
    pub(super) jira: jira::Book,
    demands: Vec<Demand>,
}

#[derive(Default)]
pub(super) struct Accounts {
    by_token: HashMap<String, Account>,
    in_flight: u64,
    limiting_answers: u64,
}

/// Where every request passes.
pub(crate) struct Gate {
    pub(super) limits: Limits,
    pub(super) site: Mutex<jira::Traffic>,
    recorder: Arc<Recorder>,
    clock: Arc<Clock>,
    accounts: Mutex<Accounts>,
}

impl Gate {
    /// Opens the gate.
    pub(crate) fn new(limits: Limits, recorder: Arc<Recorder>, clock: Arc<Clock>) -> Self {
        Self { limits, site: Mutex::default(), recorder, clock, accounts: Mutex::default() }
    }

    /// Returns the limits that are kept.
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// Returns the time of the providers' clock in milliseconds.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.clock.now_ms()).unwrap_or_default()
    }

    fn now(&self) -> Moment {
        Moment { at: Instant::now(), ms: self.now_ms() }
    }

    /// Lets a request in and watches it; an empty token stands for none. It is part of what demands may hold back.
    pub(crate) fn enter(self: &Arc<Self>, token: &str, request: &str, parts: &[Scope]) -> Passage {
        self.enter_at(token, request, parts, self.now())
    }

    fn enter_at(self: &Arc<Self>, token: &str, request: &str, parts: &[Scope], now: Moment) -> Passage {
        let mut violations = Vec::new();
        let in_flight = {
            let mut accounts = hold(&self.accounts);
            accounts.in_flight += 1;
            let total = accounts.in_flight;
            let account = accounts.by_token.entry(token.to_owned()).or_default();
            account.in_flight += 1;
            account.demands.retain(|demand| !demand.is_over(now));
            let early = |demand: &&Demand| now.at > demand.sent + GRACE && demand.holds_back(parts);
            if let Some(demand) = account.demands.iter().find(early) {
                violations.push((ViolationKind::BeforeAllowed, demand.told(now)));
            }
            if account.in_flight > CONCURRENT_MAX {
                let detail = format!("was number {} at once", account.in_flight);
                violations.push((ViolationKind::TooManyAtOnce, detail));
            }
            total
        };
        self.recorder.in_flight(in_flight);
        for (kind, detail) in violations {
            let shown = if token == NO_TOKEN {
                "no token".to_owned()
            } else {
                format!("token #{:04x}", number(token))
            };
            self.recorder.violation(kind, now.at, format!("{request} with {shown} {detail}"));
        }
        Passage { gate: Arc::clone(self), token: token.to_owned(), open: true, demand: None }
    }

    /// Counts a limiting answer, and chooses its status, also where GitHub uses two.
    pub(crate) fn limiting_status(&self, kind: Kind) -> u16 {
        self.recorder.limited(|met| kind.place(met));
        if kind == Kind::Pause {
            return 503;
        }
        if !matches!(kind, Kind::Primary | Kind::Secondary) {
            return 429;
        }
        let mut accounts = hold(&self.accounts);
        accounts.limiting_answers += 1;
        if accounts.limiting_answers.is_multiple_of(2) { 429 } else { 403 }
    }
}

/// Makes a short number that tells credentials apart and nothing else.
fn number(token: &str) -> u64 {
    Digest::new(11).bytes(token.as_bytes()).short() & 0xffff
}

/// One request on its way through.
pub(crate) struct Passage {
    gate: Arc<Gate>,
    token: String,
    open: bool,
    demand: Option<(Kind, Scope, Wait)>,
}

impl Passage {
    /// Remembers what the answer demands, to be held against the client once it is sent.
    pub(crate) fn demand(&mut self, kind: Kind, scope: Scope, wait: Duration) {
        let now = self.gate.now();
        self.demand_from(kind, scope, wait, now);
    }

    fn demand_from(&mut self, kind: Kind, scope: Scope, wait: Duration, now: Moment) {
        // Counted from the decision and not from the sending: the client must not be blamed for ours.
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let wait = Wait { until: now.at + wait, until_ms: now.ms.saturating_add(wait_ms) };
        self.demand = Some((kind, scope, wait));
    }

    /// Ends the passage with the whole answer handed over.
    pub(crate) fn sent(self, bytes: usize) {
        self.gate.recorder.sent(bytes);
        self.sent_at(Instant::now());
    }

    fn sent_at(mut self, sent: Instant) {
        if let Some((kind, scope, wait)) = self.demand.take() {
            self.with(|_, account| {
                // Of two demands for the same moment the one sent first says everything.
                let said = |known: &Demand| {
                    known.kind == kind && known.scope == scope && known.wait.until >= wait.until
                };
                if !account.demands.iter().any(said) {
                    account.demands.push(Demand { kind, scope, sent, wait });
                }
            });
        }
    }

    pub(super) fn token(&self) -> &str {
        &self.token
    }

    pub(super) fn with<T>(&self, act: impl FnOnce(&Gate, &mut Account) -> T) -> T {
        let mut accounts = hold(&self.gate.accounts);
        act(&self.gate, accounts.by_token.entry(self.token.clone()).or_default())
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if std::mem::take(&mut self.open) {
            let mut accounts = hold(&self.gate.accounts);
            accounts.in_flight = accounts.in_flight.saturating_sub(1);
            if let Some(account) = accounts.by_token.get_mut(&self.token) {
                account.in_flight = account.in_flight.saturating_sub(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::{Gate, Kind, Moment, Scope};
    use crate::report::{Recorder, ViolationKind};

    fn gate(limits: &str) -> (Arc<Gate>, Arc<Recorder>) {
        let recorder = Arc::new(Recorder::new());
        (Arc::new(Gate::new(limits.parse().unwrap(), Arc::clone(&recorder), Arc::default())), recorder)
    }

    #[test]
    fn only_a_request_between_the_grace_and_the_allowed_moment_is_a_violation() {
        let (gate, recorder) = gate("");
        let start = Instant::now();
        let at = |ms: u64| Moment { at: start + Duration::from_millis(ms), ms };
        let mut limited = gate.enter_at("secret-token", "GET /repos/o/r", &[], at(0));
        limited.demand_from(Kind::Secondary, Scope::All, Duration::from_secs(5), at(0));
        limited.sent_at(at(100).at);
        for (token, ms, violations) in [
            ("secret-token", 1_000, 0),
            ("other", 2_000, 0),
            ("secret-token", 1_101, 1),
            ("secret-token", 4_999, 2),
            ("secret-token", 5_000, 2),
        ] {
            drop(gate.enter_at(token, "GET /repos/o/r/commits", &[], at(ms)));
            assert_eq!(recorder.report().violations.len(), violations, "{token} after {ms} ms");
        }
        let violation = &recorder.report().violations[0];
        assert_eq!(violation.kind, ViolationKind::BeforeAllowed);
        assert!(
            violation.detail.contains("secondary") && violation.detail.contains("GET /repos/o/r/commits")
        );
        assert!(!violation.detail.contains("secret"), "{}", violation.detail);
    }

    #[test]
    fn a_demand_holds_back_what_it_is_about_and_ends_with_either_clock() {
        let (gate, recorder) = gate("");
        let start = Instant::now();
        let at = |real_ms: u64, ms: u64| Moment { at: start + Duration::from_millis(real_ms), ms };
        let only = |part: &str| Scope::Only(part.to_owned());
        let mut limited = gate.enter_at("t", "GET /search", &[only("search")], at(0, 0));
        limited.demand_from(Kind::Burst, only("search"), Duration::from_mins(1), at(0, 0));
        limited.sent_at(start);
        for (part, real_ms, ms, violations) in
            [("issue", 2_000, 2_000, 0), ("search", 2_000, 2_000, 1), ("search", 3_000, 60_000, 1)]
        {
            drop(gate.enter_at("t", "GET /x", &[only(part)], at(real_ms, ms)));
            assert_eq!(recorder.report().violations.len(), violations, "{part} at {ms} ms");
        }
    }

    #[test]
    fn an_answer_that_was_never_sent_demands_nothing() {
        let (gate, recorder) = gate("");
        let start = Instant::now();
        let at = |ms: u64| Moment { at: start + Duration::from_millis(ms), ms };
        let mut limited = gate.enter_at("t", "/", &[], at(0));
        limited.demand_from(Kind::Primary, Scope::All, Duration::from_mins(1), at(0));
        drop(limited);
        drop(gate.enter_at("t", "/", &[], at(30_000)));
        assert!(recorder.report().violations.is_empty());
    }

    #[test]
    fn the_hundred_and_first_at_once_is_a_violation_whatever_the_limit() {
        let (gate, recorder) = gate("concurrent=0");
        let enter = |token: &str| gate.enter(token, "/", &[]);
        let mut open: Vec<_> = (0..100).map(|_| enter("t")).collect();
        open.push(enter("another"));
        assert!(recorder.report().violations.is_empty());
        open.push(enter("t"));
        assert_eq!(recorder.report().violations[0].kind, ViolationKind::TooManyAtOnce);
        assert_eq!(recorder.report().in_flight_max, 102);
        drop(open);
        drop(enter("t"));
        assert_eq!(recorder.report().violations.len(), 1);
    }
}
