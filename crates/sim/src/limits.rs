//! Keeps the accounts of every credential: what it spent, what is in flight, and what it was told to wait for.
//! Must never write a credential anywhere; accounts are shown by a short number.

use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::clock;
use crate::error::{SpecError, pairs};
use crate::github::Allowance;
use crate::hash::Digest;
use crate::lock::hold;
use crate::report::{Recorder, ViolationKind};

/// A request may be under way when a limiting answer arrives; GitHub gives no number, a second is generous.
const GRACE: Duration = Duration::from_secs(1);
/// GitHub's documented maximum of concurrent requests.
const CONCURRENT_MAX: u32 = 100;
/// What the secondary limit asks for when too many requests run at once.
const CROWDED_S: u64 = 2;
/// The window of the points limit, which is also what it asks for.
const POINTS_S: u64 = 60;
/// What is shown when there is no primary limit: GitHub's usual one.
const SHOWN_WITHOUT_LIMIT: u32 = 5_000;

/// The limits of every credential; 0 switches one off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests per window and credential.
    pub primary: u32,
    /// Points per minute and credential; a GET costs one. Off unless asked for.
    pub points: u32,
    /// Requests at once per credential.
    pub concurrent: u32,
    /// Requests per window without a credential; 0 means as many as with one.
    pub anonymous: u32,
    /// The length of the primary limit's window.
    pub window_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        // GitHub's own numbers for a personal token.
        Self { primary: 5_000, points: 0, concurrent: CONCURRENT_MAX, anonymous: 0, window_s: 3_600 }
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
            match key {
                "primary" => limits.primary = number?,
                "points" => limits.points = number?,
                "concurrent" => limits.concurrent = number?,
                "anonymous" => limits.anonymous = number?,
                "window" => match number? {
                    0 => return Err(refuse("a number of seconds from 1 is allowed")),
                    seconds => limits.window_s = seconds.into(),
                },
                _ => return Err(refuse("primary, points, concurrent, anonymous and window are allowed")),
            }
        }
        Ok(limits)
    }
}

/// What a limiting answer told a client to wait for.
#[derive(Clone, Copy)]
struct Demand {
    primary: bool,
    sent: Instant,
    until: Instant,
}

/// One credential's account.
struct Account {
    used: u32,
    reset_s: u64,
    points: u32,
    points_since: Instant,
    closed_until: Option<Instant>,
    in_flight: u32,
    demands: Vec<Demand>,
}

impl Account {
    fn new(now: Instant) -> Self {
        Self {
            used: 0,
            reset_s: 0,
            points: 0,
            points_since: now,
            closed_until: None,
            in_flight: 0,
            demands: Vec::new(),
        }
    }

    /// Begins a new window when the last one is over.
    fn roll(&mut self, window_s: u64) {
        let now = clock::since_epoch();
        if now.as_secs() >= self.reset_s {
            self.used = 0;
            // A whole second, rounded up: the window is never shorter than promised.
            self.reset_s = now.as_secs() + window_s + u64::from(now.subsec_nanos() > 0);
        }
    }
}

/// Why a request is held back.
pub(crate) enum Refusal {
    /// The primary limit is spent.
    Primary(Allowance),
    /// The secondary limit wants a pause.
    Secondary { after_s: u64 },
}

#[derive(Default)]
struct Accounts {
    by_token: HashMap<String, Account>,
    in_flight: u64,
    limiting_answers: u64,
}

/// Where every request passes.
pub(crate) struct Gate {
    limits: Limits,
    recorder: Arc<Recorder>,
    accounts: Mutex<Accounts>,
}

impl Gate {
    /// Opens the gate.
    pub(crate) fn new(limits: Limits, recorder: Arc<Recorder>) -> Self {
        Self { limits, recorder, accounts: Mutex::default() }
    }

    /// Lets a request in and watches it; an empty token stands for none.
    pub(crate) fn enter(self: &Arc<Self>, token: &str, path: &str) -> Passage {
        self.enter_at(token, path, Instant::now())
    }

    fn enter_at(self: &Arc<Self>, token: &str, path: &str, now: Instant) -> Passage {
        let mut violations = Vec::new();
        let in_flight = {
            let mut accounts = hold(&self.accounts);
            accounts.in_flight += 1;
            let total = accounts.in_flight;
            let account = accounts.by_token.entry(token.to_owned()).or_insert_with(|| Account::new(now));
            account.in_flight += 1;
            account.demands.retain(|demand| demand.until > now);
            if let Some(demand) = account.demands.iter().find(|demand| now > demand.sent + GRACE) {
                violations.push((ViolationKind::BeforeAllowed, told(*demand, now)));
            }
            if account.in_flight > CONCURRENT_MAX {
                let detail = format!("was number {} at once", account.in_flight);
                violations.push((ViolationKind::TooManyAtOnce, detail));
            }
            total
        };
        self.recorder.in_flight(in_flight);
        for (kind, detail) in violations {
            let shown = if token.is_empty() {
                "no token".to_owned()
            } else {
                format!("token #{:04x}", number(token))
            };
            self.recorder.violation(kind, now, format!("GET {path} with {shown} {detail}"));
        }
        Passage { gate: Arc::clone(self), token: token.to_owned(), open: true, demand: None }
    }

    /// Chooses the next limiting answer's status: GitHub uses both.
    pub(crate) fn limiting_status(&self, primary: bool) -> u16 {
        self.recorder.limited(primary);
        let mut accounts = hold(&self.accounts);
        accounts.limiting_answers += 1;
        if accounts.limiting_answers.is_multiple_of(2) { 429 } else { 403 }
    }

    fn primary(&self, token: &str) -> u32 {
        let anonymous = token.is_empty() && self.limits.anonymous > 0;
        if anonymous { self.limits.anonymous } else { self.limits.primary }
    }

    fn show(&self, token: &str, account: &Account) -> Allowance {
        let reset_s = account.reset_s;
        match self.primary(token) {
            0 => Allowance { limit: SHOWN_WITHOUT_LIMIT, used: 1, reset_s },
            limit => Allowance { limit, used: account.used, reset_s },
        }
    }
}

fn told(demand: Demand, now: Instant) -> String {
    let kind = if demand.primary { "primary" } else { "secondary" };
    let (late, early) = (now - demand.sent, demand.until - now);
    format!("began {late:.1?} after an answer of the {kind} limit was sent and {early:.1?} before it allows")
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
    demand: Option<(bool, Instant)>,
}

impl Passage {
    /// Shows what is left, without spending.
    pub(crate) fn allowance(&self) -> Allowance {
        self.with(|gate, account| {
            account.roll(gate.limits.window_s);
            gate.show(&self.token, account)
        })
    }

    /// Spends one request, or tells why not.
    pub(crate) fn charge(&self) -> Result<Allowance, Refusal> {
        self.with(|gate, account| {
            let (now, limits) = (Instant::now(), gate.limits);
            if limits.concurrent > 0 && account.in_flight > limits.concurrent {
                return Err(Refusal::Secondary { after_s: CROWDED_S });
            }
            if let Some(until) = account.closed_until.filter(|until| *until > now) {
                return Err(Refusal::Secondary { after_s: (until - now).as_secs() + 1 });
            }
            if limits.points > 0 {
                if now.duration_since(account.points_since) >= Duration::from_secs(POINTS_S) {
                    (account.points, account.points_since) = (0, now);
                }
                account.points += 1;
                if account.points > limits.points {
                    account.closed_until = Some(now + Duration::from_secs(POINTS_S));
                    return Err(Refusal::Secondary { after_s: POINTS_S });
                }
            }
            account.roll(limits.window_s);
            let primary = gate.primary(&self.token);
            if primary > 0 && account.used >= primary {
                return Err(Refusal::Primary(gate.show(&self.token, account)));
            }
            account.used = account.used.saturating_add(1);
            Ok(gate.show(&self.token, account))
        })
    }

    /// Gives the request back: a 304 costs nothing.
    pub(crate) fn refund(&self) -> Allowance {
        self.with(|gate, account| {
            account.used = account.used.saturating_sub(1);
            gate.show(&self.token, account)
        })
    }

    /// Remembers what the answer demands, to be held against the client once it is sent.
    pub(crate) fn demand(&mut self, primary: bool, wait: Duration) {
        self.demand_until(primary, Instant::now() + wait);
    }

    fn demand_until(&mut self, primary: bool, until: Instant) {
        // A moment counted from the decision and not from the sending: the client must not be blamed for ours.
        self.demand = Some((primary, until));
    }

    /// Ends the passage with the whole answer handed over.
    pub(crate) fn sent(self, bytes: usize) {
        self.gate.recorder.sent(bytes);
        self.sent_at(Instant::now());
    }

    fn sent_at(mut self, sent: Instant) {
        if let Some((primary, until)) = self.demand.take() {
            self.with(|_, account| {
                // Of two demands for the same moment the one sent first says everything.
                let said = |known: &Demand| known.primary == primary && known.until >= until;
                if !account.demands.iter().any(said) {
                    account.demands.push(Demand { primary, sent, until });
                }
            });
        }
    }

    fn with<T>(&self, act: impl FnOnce(&Gate, &mut Account) -> T) -> T {
        let mut accounts = hold(&self.gate.accounts);
        let account =
            accounts.by_token.entry(self.token.clone()).or_insert_with(|| Account::new(Instant::now()));
        act(&self.gate, account)
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

    use super::{Gate, Limits, Refusal};
    use crate::report::{Recorder, ViolationKind};

    fn gate(limits: &str) -> (Arc<Gate>, Arc<Recorder>) {
        let recorder = Arc::new(Recorder::new());
        (Arc::new(Gate::new(limits.parse().unwrap(), Arc::clone(&recorder))), recorder)
    }

    #[test]
    fn only_a_request_between_the_grace_and_the_allowed_moment_is_a_violation() {
        let (gate, recorder) = gate("");
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut limited = gate.enter_at("secret-token", "/repos/o/r", start);
        limited.demand_until(false, at(5_000));
        limited.sent_at(at(100));
        for (token, ms, violations) in [
            ("secret-token", 1_000, 0),
            ("other", 2_000, 0),
            ("secret-token", 1_101, 1),
            ("secret-token", 4_999, 2),
            ("secret-token", 5_000, 2),
        ] {
            drop(gate.enter_at(token, "/repos/o/r/commits", at(ms)));
            assert_eq!(recorder.report().violations.len(), violations, "{token} after {ms} ms");
        }
        let violation = &recorder.report().violations[0];
        assert_eq!(violation.kind, ViolationKind::BeforeAllowed);
        assert!(violation.detail.contains("secondary") && violation.detail.contains("/repos/o/r/commits"));
        assert!(!violation.detail.contains("secret"), "{}", violation.detail);
    }

    #[test]
    fn an_answer_that_was_never_sent_demands_nothing() {
        let (gate, recorder) = gate("");
        let start = Instant::now();
        let mut limited = gate.enter_at("t", "/", start);
        limited.demand_until(true, start + Duration::from_mins(1));
        drop(limited);
        drop(gate.enter_at("t", "/", start + Duration::from_secs(30)));
        assert!(recorder.report().violations.is_empty());
    }

    #[test]
    fn the_hundred_and_first_at_once_is_a_violation_whatever_the_limit() {
        let (gate, recorder) = gate("concurrent=0");
        let mut open: Vec<_> = (0..100).map(|_| gate.enter("t", "/")).collect();
        open.push(gate.enter("another", "/"));
        assert!(recorder.report().violations.is_empty());
        open.push(gate.enter("t", "/"));
        assert_eq!(recorder.report().violations[0].kind, ViolationKind::TooManyAtOnce);
        assert_eq!(recorder.report().in_flight_max, 102);
        drop(open);
        drop(gate.enter("t", "/"));
        assert_eq!(recorder.report().violations.len(), 1);
    }

    #[test]
    fn points_close_the_door_for_a_minute() {
        let (gate, _) = gate("points=2,primary=0");
        let passage = gate.enter("t", "/");
        assert!(passage.charge().is_ok() && passage.charge().is_ok());
        assert!(matches!(passage.charge(), Err(Refusal::Secondary { after_s: 60 })));
        assert!(matches!(passage.charge(), Err(Refusal::Secondary { after_s: 59..=60 })));
        assert!(gate.enter("other", "/").charge().is_ok());
    }

    #[test]
    fn a_bad_limit_names_key_value_and_what_is_allowed() {
        for (spec, part) in [("primary=-1", "primary=-1"), ("window=0", "from 1"), ("prime=3", "concurrent")]
        {
            let error = spec.parse::<Limits>().expect_err(spec).to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
