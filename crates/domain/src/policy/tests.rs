//! The policy as tables: every boundary that a user can meet, each a line of facts, trigger, time and answer.
//!
//! It must never take a time from a clock: every test names its own now.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::ledger::Class;
use super::{
    ATTEMPTS_MAX, Action, Budget, Decision, Facts, Metadata, Outcome, RESET_FALLBACK, RESET_MAX, Reason,
    Thresholds, Verdict, WAIT_HERE_MAX, evaluate, reset, settle,
};
use crate::fault::{Cause, Fault};
use crate::job::Lane;
use crate::trigger::Trigger::{self, Cron, Maintenance, Manual, Recovery, Webhook};

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const SECOND: SignedDuration = SignedDuration::from_secs(1);
const NANO: SignedDuration = SignedDuration::from_nanos(1);

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

/// Facts that nothing stands in the way of: synced an hour and a half ago, by nobody's hand, with a full budget.
fn facts() -> Facts {
    Facts {
        enabled: true,
        has_owner: true,
        partitions: 3,
        last_manual_at: None,
        last_success_at: Some(now() - SignedDuration::from_mins(90)),
        budget: counted(5_000, Some(5_000), Some(now() + HOUR)),
        syncing: false,
        thresholds: Thresholds::default(),
    }
}

fn counted(limit: u64, remaining: Option<u64>, resets_at: Option<Timestamp>) -> Budget {
    Budget::Counted { limit, remaining, resets_at }
}

fn with(change: impl FnOnce(&mut Facts)) -> Facts {
    let mut facts = facts();
    change(&mut facts);
    facts
}

fn left(limit: u64, remaining: u64) -> Facts {
    with(|it| it.budget = counted(limit, Some(remaining), Some(now() + HOUR)))
}

fn by_hand(since_manual: SignedDuration, since_success: Option<SignedDuration>) -> Facts {
    with(|it| {
        it.last_manual_at = Some(now() - since_manual);
        it.last_success_at = since_success.map(|since| now() - since);
    })
}

/// Writes a decision as its JSON says it: action, reason, then each number of the metadata in order.
fn say(decision: &Decision) -> String {
    let json = serde_json::to_value(decision).unwrap();
    let mut said = format!("{} {}", json["action"].as_str().unwrap(), json["reason"].as_str().unwrap());
    for name in ["cooldownMs", "blockedUntil", "requiredBudget", "availableBudget"] {
        if let Some(number) = json["metadata"].get(name) {
            write!(said, " {name}={number}").unwrap();
        }
    }
    said
}

#[track_caller]
fn check(facts: &Facts, trigger: Trigger, now: Timestamp, expect: &str) {
    assert_eq!(say(&evaluate(facts, trigger, now)), expect, "{trigger:?} at {now}: {facts:?}");
}

#[track_caller]
fn check_all(facts: &Facts, expect: &str) {
    for trigger in Trigger::ALL {
        check(facts, trigger, now(), expect);
    }
}

#[track_caller]
fn short(facts: &Facts, trigger: Trigger, required: u64, available: u64) {
    let until = (now() + HOUR).as_millisecond();
    let expect = format!(
        "block rate_limited blockedUntil={until} requiredBudget={required} availableBudget={available}"
    );
    check(facts, trigger, now(), &expect);
}

#[test]
fn nothing_in_the_way_starts() {
    check_all(&facts(), "start ready");
}

#[test]
fn a_source_that_cannot_be_synced_is_blocked_for_every_trigger() {
    check_all(&with(|it| it.enabled = false), "block disabled");
    check_all(&with(|it| it.has_owner = false), "block no_owner");
    check_all(&with(|it| it.partitions = 0), "block nothing_to_sync");
    check_all(&with(|it| it.partitions = 1), "start ready");
}

#[test]
fn the_cooldown_ends_to_the_millisecond() {
    let recent = Some(HOUR * 2);
    check(&by_hand(SignedDuration::ZERO, recent), Manual, now(), "skip cooldown_active cooldownMs=3600000");
    check(&by_hand(HOUR - SECOND, recent), Manual, now(), "skip cooldown_active cooldownMs=1000");
    // Less than a millisecond left is said as one, so that whoever waits as long as told is let in.
    check(&by_hand(HOUR - NANO, recent), Manual, now(), "skip cooldown_active cooldownMs=1");
    check(&by_hand(HOUR, recent), Manual, now(), "start ready");
    check(&by_hand(HOUR + NANO, recent), Manual, now(), "start ready");
    check(&with(|it| it.last_manual_at = None), Manual, now(), "start ready");
}

#[test]
fn the_cooldown_is_for_people_only() {
    let asked_just_now = by_hand(SECOND, Some(HOUR));
    for trigger in [Cron, Webhook, Maintenance, Recovery] {
        check(&asked_just_now, trigger, now(), "start ready");
    }
}

#[test]
fn a_source_never_synced_or_stale_has_no_cooldown() {
    let two_days = HOUR * 48;
    check(&by_hand(SECOND, None), Manual, now(), "start ready");
    check(&by_hand(SECOND, Some(two_days)), Manual, now(), "skip cooldown_active cooldownMs=3599000");
    check(&by_hand(SECOND, Some(two_days + NANO)), Manual, now(), "start ready");
    check(&by_hand(SECOND, Some(two_days - NANO)), Manual, now(), "skip cooldown_active cooldownMs=3599000");
}

#[test]
fn the_cooldown_is_never_longer_than_configured() {
    // Another node's clock runs a second ahead of ours.
    check(&by_hand(-SECOND, Some(HOUR)), Manual, now(), "skip cooldown_active cooldownMs=3599000");
    // Our clock was a day ahead, and was set right.
    check(&by_hand(HOUR * -24, Some(HOUR * -24)), Manual, now(), "start ready");
    let none = with(|it| {
        it.last_manual_at = Some(now());
        it.thresholds.manual_cooldown = SignedDuration::ZERO;
    });
    check(&none, Manual, now(), "start ready");
}

#[test]
fn the_budget_may_equal_the_floor_but_not_fall_below() {
    for trigger in [Manual, Webhook, Maintenance, Recovery] {
        check(&left(5_000, 100), trigger, now(), "start ready");
        short(&left(5_000, 99), trigger, 100, 99);
        short(&left(5_000, 0), trigger, 100, 0);
    }
}

#[test]
fn the_schedule_leaves_a_reserve_for_webhooks() {
    check(&left(5_000, 600), Cron, now(), "start ready");
    short(&left(5_000, 599), Cron, 600, 599);
    check(&left(5_000, 599), Webhook, now(), "start ready");
}

#[test]
fn small_limits_shrink_the_floor_and_the_reserve() {
    // (limit, floor, floor and reserve): two and ten percent, rounded up, and never more than 100 and 500.
    for (limit, floor, scheduled) in [
        (100_000, 100, 600),
        (5_001, 100, 600),
        (5_000, 100, 600),
        (4_999, 100, 600),
        (4_950, 99, 594),
        (1_000, 20, 120),
        (500, 10, 60),
        (60, 2, 8),
        (10, 1, 2),
        (1, 1, 1),
    ] {
        let thresholds = Thresholds::default();
        assert_eq!(thresholds.required(Class::Human, limit), floor, "floor of {limit}");
        assert_eq!(thresholds.required(Class::Cron, limit), scheduled, "floor and reserve of {limit}");
        check(&left(limit, floor), Manual, now(), "start ready");
        short(&left(limit, floor - 1), Manual, floor, floor - 1);
        check(&left(limit, scheduled), Cron, now(), "start ready");
        short(&left(limit, scheduled - 1), Cron, scheduled, scheduled - 1);
    }
}

#[test]
fn a_limit_of_nothing_is_no_reason_to_refuse() {
    check_all(&left(0, 0), "start ready");
}

#[test]
fn a_full_budget_is_enough_whatever_is_configured() {
    for (limit, floor_percent, reserve_percent) in [(60, 80, 80), (5_000, 400, 0), (u64::MAX, 100, 100)] {
        let greedy = with(|it| {
            it.budget = counted(limit, Some(limit), Some(now() + HOUR));
            it.thresholds = Thresholds {
                floor: u64::MAX,
                reserve: u64::MAX,
                floor_percent,
                reserve_percent,
                ..it.thresholds
            };
        });
        check_all(&greedy, "start ready");
    }
}

#[test]
fn configured_thresholds_count() {
    let thresholds = Thresholds {
        manual_cooldown: HOUR * 2,
        stale_after: HOUR * 3,
        floor: 7,
        floor_percent: 100,
        reserve: 11,
        reserve_percent: 100,
    };
    let configured = |remaining, since_success| {
        let mut facts = by_hand(HOUR, Some(since_success));
        facts.budget = counted(5_000, Some(remaining), Some(now() + HOUR));
        facts.thresholds = thresholds;
        facts
    };
    check(&configured(7, HOUR), Webhook, now(), "start ready");
    short(&configured(6, HOUR), Webhook, 7, 6);
    check(&configured(18, HOUR), Cron, now(), "start ready");
    short(&configured(17, HOUR), Cron, 18, 17);
    check(&configured(18, HOUR * 3), Manual, now(), "skip cooldown_active cooldownMs=3600000");
    check(&configured(18, HOUR * 3 + NANO), Manual, now(), "start ready");
}

#[test]
fn an_unknown_count_is_a_full_budget() {
    check_all(&with(|it| it.budget = counted(5_000, None, Some(now() + HOUR))), "start ready");
    check_all(&with(|it| it.budget = counted(5_000, None, None)), "start ready");
}

#[test]
fn a_reset_that_has_come_is_a_full_budget() {
    let spent_until = |at| with(|it| it.budget = counted(5_000, Some(0), Some(at)));
    check_all(&spent_until(now() - HOUR), "start ready");
    check_all(&spent_until(now()), "start ready");
    let until = (now() + NANO).as_millisecond() + 1;
    check(
        &spent_until(now() + NANO),
        Manual,
        now(),
        &format!("block rate_limited blockedUntil={until} requiredBudget=100 availableBudget=0"),
    );
}

#[test]
fn a_shortage_that_no_time_ends_does_not_block_for_ever() {
    let spent_until = |at| with(|it| it.budget = counted(5_000, Some(0), at));
    check_all(&spent_until(None), "start ready");
    check_all(&spent_until(Some(Timestamp::MAX)), "start ready");
    check_all(&spent_until(Some(now() + RESET_MAX + NANO)), "start ready");
    let until = (now() + RESET_MAX).as_millisecond();
    check(
        &spent_until(Some(now() + RESET_MAX)),
        Manual,
        now(),
        &format!("block rate_limited blockedUntil={until} requiredBudget=100 availableBudget=0"),
    );
}

#[test]
fn a_provider_that_counts_nothing_is_never_short() {
    check_all(&with(|it| it.budget = Budget::Paced), "start ready");
}

#[test]
fn an_active_sync_blocks_people_and_is_enough_for_all_others() {
    let syncing = with(|it| it.syncing = true);
    check(&syncing, Manual, now(), "block already_syncing");
    for trigger in [Cron, Webhook, Maintenance, Recovery] {
        check(&syncing, trigger, now(), "skip already_syncing");
    }
}

#[test]
fn the_first_check_that_fails_wins() {
    type Spoil = fn(&mut Facts);
    let checks: [(&str, Spoil); 6] = [
        ("disabled", |it| it.enabled = false),
        ("no_owner", |it| it.has_owner = false),
        ("nothing_to_sync", |it| it.partitions = 0),
        ("cooldown_active", |it| it.last_manual_at = Some(now())),
        ("rate_limited", |it| it.budget = counted(5_000, Some(0), Some(now() + HOUR))),
        ("already_syncing", |it| it.syncing = true),
    ];
    for (first, (reason, spoil)) in checks.iter().enumerate() {
        for (later, also_spoil) in &checks[first..] {
            let facts = with(|it| {
                spoil(it);
                also_spoil(it);
            });
            let said = say(&evaluate(&facts, Manual, now()));
            assert_eq!(said.split(' ').nth(1), Some(*reason), "{reason} and {later}");
        }
    }
}

#[test]
fn the_json_is_the_one_that_consumers_know() {
    let json =
        |action, reason, metadata| serde_json::to_string(&Decision { action, reason, metadata }).unwrap();
    assert_eq!(
        json(Action::Start, Reason::Ready, Metadata::default()),
        r#"{"action":"start","reason":"ready"}"#
    );
    assert_eq!(
        json(Action::Skip, Reason::CooldownActive, Metadata { cooldown_ms: Some(5), ..Metadata::default() }),
        r#"{"action":"skip","reason":"cooldown_active","metadata":{"cooldownMs":5}}"#
    );
    let at = Timestamp::from_second(1_800_000_000).unwrap();
    let spent = Metadata {
        cooldown_ms: None,
        blocked_until: Some(at),
        required_budget: Some(600),
        available_budget: Some(7),
    };
    assert_eq!(
        json(Action::Block, Reason::RateLimited, spent),
        r#"{"action":"block","reason":"rate_limited","metadata":{"blockedUntil":1800000000000,"requiredBudget":600,"availableBudget":7}}"#
    );
    // Before 1970 the next whole millisecond is the one nearer to zero.
    let early = Metadata { blocked_until: Some(Timestamp::UNIX_EPOCH - NANO), ..Metadata::default() };
    assert_eq!(
        json(Action::Block, Reason::RateLimited, early),
        r#"{"action":"block","reason":"rate_limited","metadata":{"blockedUntil":0}}"#
    );
}

#[track_caller]
fn check_settle(outcome: &Outcome, attempt: u32, expect: Verdict) {
    assert_eq!(settle(outcome, attempt, now()), expect, "attempt {attempt}: {outcome:?}");
}

fn limited(until: Option<Timestamp>) -> Outcome {
    Outcome::Faulted(Fault::RateLimited { until, bucket: "core" })
}

fn passing(after: Option<Duration>) -> Outcome {
    Outcome::Faulted(Fault::Transient { after, cause: Cause::Timeout })
}

fn malformed() -> Outcome {
    Outcome::Faulted(Fault::Malformed { what: "no array".to_owned() })
}

fn in_secs(secs: i64) -> Timestamp {
    now() + SignedDuration::from_secs(secs)
}

const SPENT: Verdict = Verdict::Discard { invalidates: false };

#[test]
fn an_end_without_a_fault_is_settled_at_any_attempt() {
    for attempt in [0, 1, ATTEMPTS_MAX, u32::MAX] {
        check_settle(&Outcome::CaughtUp, attempt, Verdict::Complete);
        check_settle(&Outcome::Interrupted, attempt, Verdict::Release);
        check_settle(&Outcome::Cancelled, attempt, Verdict::Cancel);
    }
}

#[test]
fn a_passing_fault_is_tried_again_after_1_and_2_seconds() {
    for outcome in [passing(None), malformed()] {
        check_settle(&outcome, 0, Verdict::WaitHere { until: in_secs(1) });
        check_settle(&outcome, 1, Verdict::WaitHere { until: in_secs(1) });
        check_settle(&outcome, 2, Verdict::WaitHere { until: in_secs(2) });
        check_settle(&outcome, 3, SPENT);
        check_settle(&outcome, u32::MAX, SPENT);
    }
}

#[test]
fn a_panic_gives_the_worker_back() {
    check_settle(&Outcome::Panicked, 1, Verdict::Retry { at: in_secs(1) });
    check_settle(&Outcome::Panicked, 2, Verdict::Retry { at: in_secs(2) });
    check_settle(&Outcome::Panicked, 3, SPENT);
    check_settle(&Outcome::Stuck, 1, Verdict::Retry { at: in_secs(1) });
    check_settle(&Outcome::Stuck, 3, SPENT);
}

#[test]
fn a_passing_fault_waits_as_long_as_the_provider_asks() {
    let asked = |secs| passing(Some(Duration::from_secs(secs)));
    check_settle(&asked(0), 1, Verdict::WaitHere { until: in_secs(1) });
    check_settle(&asked(5), 1, Verdict::WaitHere { until: in_secs(5) });
    check_settle(&asked(60), 2, Verdict::WaitHere { until: in_secs(60) });
    check_settle(&asked(61), 2, Verdict::Retry { at: in_secs(61) });
    check_settle(&asked(5), 3, SPENT);
    check_settle(&asked(60), 3, SPENT);
    for attempt in [3, u32::MAX] {
        check_settle(&asked(61), attempt, Verdict::Retry { at: in_secs(61) });
    }
    let longest = Verdict::Retry { at: now() + RESET_MAX };
    check_settle(&asked(65 * 60 + 1), 1, longest);
    check_settle(&asked(u64::MAX), 1, longest);
}

#[test]
fn a_limit_within_a_minute_is_waited_for_here() {
    for attempt in [0, 1, ATTEMPTS_MAX, u32::MAX] {
        check_settle(&limited(Some(in_secs(1))), attempt, Verdict::WaitHere { until: in_secs(1) });
        check_settle(&limited(Some(in_secs(60))), attempt, Verdict::WaitHere { until: in_secs(60) });
        let later = in_secs(60) + NANO;
        check_settle(&limited(Some(later)), attempt, Verdict::Snooze { until: later });
        check_settle(&limited(Some(in_secs(3_600))), attempt, Verdict::Snooze { until: in_secs(3_600) });
    }
}

#[test]
fn a_reset_is_believed_within_reason() {
    // Already past, or now: an answer that refuses is not asked again at once.
    check_settle(&limited(Some(in_secs(-3_600))), 1, Verdict::WaitHere { until: in_secs(1) });
    check_settle(&limited(Some(now())), 1, Verdict::WaitHere { until: in_secs(1) });
    check_settle(&limited(Some(Timestamp::MIN)), 1, Verdict::WaitHere { until: in_secs(1) });
    // Missing.
    check_settle(&limited(None), 1, Verdict::Snooze { until: now() + RESET_FALLBACK });
    // Absurd.
    check_settle(&limited(Some(in_secs(65 * 60))), 1, Verdict::Snooze { until: in_secs(65 * 60) });
    check_settle(&limited(Some(in_secs(65 * 60 + 1))), 1, Verdict::Snooze { until: in_secs(65 * 60) });
    check_settle(&limited(Some(Timestamp::MAX)), 1, Verdict::Snooze { until: in_secs(65 * 60) });
}

#[test]
fn a_lost_place_is_sought_anew_but_not_for_ever() {
    let lost = Outcome::Faulted(Fault::CursorLost);
    check_settle(&lost, 1, Verdict::StartOver);
    check_settle(&lost, 2, Verdict::StartOver);
    check_settle(&lost, 3, SPENT);
    check_settle(&lost, u32::MAX, SPENT);
}

#[test]
fn a_refusal_that_will_not_pass_ends_at_once() {
    for attempt in [0, 1, ATTEMPTS_MAX, u32::MAX] {
        check_settle(&Outcome::Faulted(Fault::Unauthorized), attempt, Verdict::StopSource);
        let invalid = Verdict::Discard { invalidates: true };
        check_settle(&Outcome::Faulted(Fault::Denied), attempt, invalid);
        check_settle(&Outcome::Faulted(Fault::Gone), attempt, invalid);
    }
}

fn any_time() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        Just(Timestamp::MIN),
        Just(Timestamp::MAX),
        (Timestamp::MIN.as_second()..Timestamp::MAX.as_second())
            .prop_map(|it| Timestamp::from_second(it).unwrap()),
        (-10_000_i64..10_000).prop_map(in_secs),
    ]
}

fn any_span() -> impl Strategy<Value = SignedDuration> {
    prop_oneof![
        Just(SignedDuration::MIN),
        Just(SignedDuration::MAX),
        any::<i64>().prop_map(SignedDuration::from_secs),
        (0_i64..200_000).prop_map(SignedDuration::from_secs),
    ]
}

fn any_budget() -> impl Strategy<Value = Budget> {
    let number = || prop_oneof![any::<u64>(), 0_u64..10_000];
    prop_oneof![
        Just(Budget::Paced),
        (number(), prop::option::of(number()), prop::option::of(any_time()))
            .prop_map(|(limit, remaining, resets_at)| counted(limit, remaining, resets_at)),
    ]
}

fn any_thresholds() -> impl Strategy<Value = Thresholds> {
    let number = || prop_oneof![any::<u64>(), 0_u64..1_000];
    (any_span(), any_span(), number(), number(), number(), number()).prop_map(
        |(manual_cooldown, stale_after, floor, floor_percent, reserve, reserve_percent)| Thresholds {
            manual_cooldown,
            stale_after,
            floor,
            floor_percent,
            reserve,
            reserve_percent,
        },
    )
}

fn any_facts() -> impl Strategy<Value = Facts> {
    let times = (prop::option::of(any_time()), prop::option::of(any_time()));
    (prop::array::uniform3(prop::bool::weighted(0.8)), 0_u64..3, times, any_budget(), any_thresholds())
        .prop_map(|([enabled, has_owner, idle], partitions, times, budget, thresholds)| Facts {
            enabled,
            has_owner,
            partitions,
            last_manual_at: times.0,
            last_success_at: times.1,
            budget,
            syncing: !idle,
            thresholds,
        })
}

fn any_fault() -> impl Strategy<Value = Fault> {
    let asked =
        prop::option::of(prop_oneof![any::<Duration>(), (0_u64..9_000).prop_map(Duration::from_secs)]);
    prop_oneof![
        prop::option::of(any_time()).prop_map(|until| Fault::RateLimited { until, bucket: "core" }),
        asked.prop_map(|after| Fault::Transient { after, cause: Cause::Cut }),
        Just(Fault::Unauthorized),
        Just(Fault::Denied),
        Just(Fault::Gone),
        Just(Fault::CursorLost),
        Just(Fault::Malformed { what: String::new() }),
    ]
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        1 => Just(Outcome::CaughtUp),
        1 => Just(Outcome::Panicked),
        1 => Just(Outcome::Stuck),
        1 => Just(Outcome::Interrupted),
        1 => Just(Outcome::Cancelled),
        8 => any_fault().prop_map(Outcome::Faulted),
    ]
}

fn any_trigger() -> impl Strategy<Value = Trigger> {
    prop::sample::select(&Trigger::ALL[..])
}

proptest! {
    #[test]
    fn the_same_question_has_the_same_answer(facts in any_facts(), trigger in any_trigger(), now in any_time()) {
        let first = evaluate(&facts, trigger, now);
        prop_assert_eq!(first, evaluate(&facts.clone(), trigger, now));
        // The reason alone says what is done about it, and the numbers belong to the reason.
        let manual = trigger == Manual;
        let action = match first.reason {
            Reason::Ready => Action::Start,
            Reason::CooldownActive => Action::Skip,
            Reason::AlreadySyncing if !manual => Action::Skip,
            _ => Action::Block,
        };
        prop_assert_eq!(first.action, action);
        let Metadata { cooldown_ms, blocked_until, required_budget, available_budget } = first.metadata;
        prop_assert_eq!(cooldown_ms.is_some(), first.reason == Reason::CooldownActive);
        for known in [blocked_until.is_some(), required_budget.is_some(), available_budget.is_some()] {
            prop_assert_eq!(known, first.reason == Reason::RateLimited);
        }
    }

    #[test]
    fn a_refusal_ends_in_the_future_and_ends(facts in any_facts(), trigger in any_trigger(), now in any_time()) {
        let Metadata { cooldown_ms, blocked_until, .. } = evaluate(&facts, trigger, now).metadata;
        if let Some(rest) = cooldown_ms {
            prop_assert!(rest > 0);
            // The rest is said in whole milliseconds, the longest of them rounded up.
            let whole = facts.thresholds.manual_cooldown.as_millis() + 1;
            prop_assert!(i128::from(rest) <= whole);
        }
        if let Some(until) = blocked_until {
            prop_assert!(until > now);
            prop_assert!(until.duration_since(now) <= RESET_MAX);
            // Who comes back then is not refused for the budget again.
            prop_assert_ne!(evaluate(&facts, trigger, until).reason, Reason::RateLimited);
        }
    }

    #[test]
    fn a_full_budget_never_refuses(facts in any_facts(), trigger in any_trigger(), now in any_time(), limit: u64) {
        let budget = counted(limit, Some(limit), Some(now));
        prop_assert_ne!(evaluate(&Facts { budget, ..facts.clone() }, trigger, now).reason, Reason::RateLimited);
        prop_assert!(facts.thresholds.required(Class::of(trigger, Lane::Forward), limit) <= limit);
    }

    #[test]
    fn no_verdict_lies_in_the_past(outcome in any_outcome(), attempt: u32, now in any_time()) {
        let (earliest, latest) = (reset(Some(Timestamp::MIN), now), reset(Some(Timestamp::MAX), now));
        match settle(&outcome, attempt, now) {
            Verdict::WaitHere { until } => {
                prop_assert!(earliest <= until && until.duration_since(now) <= WAIT_HERE_MAX);
            }
            Verdict::Snooze { until } => {
                prop_assert!(until.duration_since(now) > WAIT_HERE_MAX && until <= latest);
            }
            Verdict::Retry { at } => prop_assert!(earliest <= at && at <= latest),
            _ => {}
        }
    }

    #[test]
    fn attempts_are_bounded(outcome in any_outcome(), now in any_time()) {
        // A limit and a long pause are the provider's, not failures: waiting for one costs no attempt. All else ends.
        prop_assume!(!matches!(outcome, Outcome::Faulted(Fault::RateLimited { .. })));
        let asks_for_long = |after: Option<Duration>| after.is_some_and(|it| it > WAIT_HERE_MAX.unsigned_abs());
        prop_assume!(
            !matches!(outcome, Outcome::Faulted(Fault::Transient { after, .. }) if asks_for_long(after))
        );
        let goes_on = |verdict| {
            matches!(verdict, Verdict::WaitHere { .. } | Verdict::Retry { .. } | Verdict::StartOver)
        };
        let attempts = (1..100).take_while(|&it| goes_on(settle(&outcome, it, now))).count();
        prop_assert!(attempts < ATTEMPTS_MAX as usize);
    }

    #[test]
    fn a_reset_is_ahead_and_within_reach(until in prop::option::of(any_time()), now in any_time()) {
        let at = reset(until, now);
        prop_assert!(at > now || now == Timestamp::MAX);
        prop_assert!(at.duration_since(now) <= RESET_MAX);
    }
}

#[test]
fn the_words_of_a_decision_read_back() {
    for &action in Action::ALL {
        assert_eq!(Action::from_word(action.as_str()), Some(action));
        assert_eq!(serde_json::to_value(action).unwrap(), action.to_string());
    }
    for &reason in Reason::ALL {
        assert_eq!(Reason::from_word(reason.as_str()), Some(reason));
        assert_eq!(serde_json::to_value(reason).unwrap(), reason.to_string());
    }
    assert_eq!(Reason::from_word("boredom"), None);
}
