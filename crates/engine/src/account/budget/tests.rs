//! What a node lets go: by its counts, by what it was granted, and for whom.
//!
//! It must never take a time from a clock.

use std::sync::Arc;

use domain::connector::{Meter, Refusal, Spec, WHOLE_ACCOUNT};
use domain::policy::Thresholds;
use domain::policy::ledger::Class;
use jiff::{SignedDuration, Timestamp};
use store::Granted;

use super::{Budgets, End, Stop};

const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

fn at(seconds: i64) -> Timestamp {
    NOW + SignedDuration::from_secs(seconds)
}

fn spec(provider: &str) -> &'static Spec {
    connectors::find(provider).unwrap().spec()
}

fn budgets() -> Budgets {
    Budgets::new(spec("github"), Thresholds::default(), Arc::default())
}

fn counted(remaining: u64, resets_at: Timestamp) -> Meter {
    Meter {
        bucket: "core",
        limit: Some(5000),
        remaining: Some(remaining),
        resets_at: Some(resets_at),
        refused: None,
    }
}

fn refused(bucket: &'static str, until: Option<Timestamp>) -> Meter {
    Meter { bucket, limit: None, remaining: None, resets_at: None, refused: Some(Refusal { until }) }
}

/// Grants whatever is wanted.
fn grant(budgets: &Budgets, class: Class, now: Timestamp) {
    if let Some(want) = budgets.want("core", class, now) {
        budgets.take(&want, Granted { requests: 50, until: now + SignedDuration::from_mins(1) });
    }
}

/// Lets a request of a person go, with a grant where it needs one, and says how long it has to wait.
fn spent_until(budgets: &Budgets, now: Timestamp) -> Option<Timestamp> {
    spent_for(budgets, Class::Human, now)
}

fn spent_for(budgets: &Budgets, class: Class, now: Timestamp) -> Option<Timestamp> {
    grant(budgets, class, now);
    match budgets.admit("core", class, now) {
        Ok(pass) => {
            budgets.finish(&pass, End::Unchanged(1), &[], now);
            None
        }
        Err(Stop::Spent(until)) => Some(until),
        Err(Stop::Ungranted(bucket)) => panic!("no grant of {bucket}"),
    }
}

/// Makes a request whose answer says this.
fn note(budgets: &Budgets, meter: Meter, now: Timestamp) {
    grant(budgets, Class::Human, now);
    let pass = budgets.admit("core", Class::Human, now).unwrap();
    budgets.finish(&pass, End::Answered(1), &[meter], now);
}

#[test]
fn a_budget_at_its_floor_waits_for_its_reset_and_is_then_full() {
    let budgets = budgets();
    note(&budgets, counted(100, at(600)), NOW);
    let pass = budgets.admit("core", Class::Human, NOW).unwrap();
    // The one under way may cost the last request that the floor of 100 allows, or nothing.
    assert_eq!(spent_until(&budgets, NOW), Some(at(1)));
    budgets.finish(&pass, End::Answered(1), &[counted(100, at(600))], NOW);
    assert_eq!(spent_until(&budgets, NOW), None);
    note(&budgets, counted(99, at(600)), NOW);
    assert_eq!(spent_until(&budgets, NOW), Some(at(600)));
    assert_eq!(spent_until(&budgets, at(600)), None);
}

#[test]
fn a_class_stops_where_its_reserve_begins() {
    for (left, waiting) in [
        (600, &[][..]),
        (599, &[Class::Cron, Class::Backfill]),
        (100, &[Class::Cron, Class::Backfill]),
        (99, &Class::ALL),
    ] {
        let budgets = budgets();
        note(&budgets, counted(left, at(600)), NOW);
        for class in Class::ALL {
            let expected = waiting.contains(&class).then_some(at(600));
            assert_eq!(spent_for(&budgets, class, NOW), expected, "{class:?} with {left} left");
        }
    }
}

#[test]
fn nothing_goes_without_a_grant_and_none_is_another_classs() {
    let budgets = budgets();
    let ungranted = || budgets.admit("core", Class::Human, NOW).unwrap_err();
    assert_eq!(ungranted(), Stop::Ungranted("core"), "the provider's full limit is not ours alone");
    let want = budgets.want("core", Class::Human, NOW).unwrap();
    assert_eq!((want.assumed, want.under_way), (Some(5000), 0));
    budgets.take(&want, Granted { requests: 2, until: at(60) });
    assert_eq!(budgets.want("core", Class::Human, NOW).map(|it| it.bucket), None, "another task took one");
    let pass = budgets.admit("core", Class::Human, NOW).unwrap();
    assert_eq!(budgets.admit("core", Class::Cron, NOW).unwrap_err(), Stop::Ungranted("core"));
    // An answer that nothing has changed costs nothing, and its request may be made once more.
    budgets.finish(&pass, End::Unchanged(1), &[counted(4000, at(600))], NOW);
    let pass = budgets.admit("core", Class::Human, NOW).unwrap();
    budgets.finish(&pass, End::Answered(1), &[counted(3999, at(600))], NOW);
    let _under_way = budgets.admit("core", Class::Human, NOW).unwrap();
    assert_eq!(ungranted(), Stop::Ungranted("core"));
    let want = budgets.want("core", Class::Human, NOW).unwrap();
    assert_eq!(want.under_way, 1);
    budgets.take(&want, Granted { requests: 0, until: at(1) });
    assert_eq!(ungranted(), Stop::Spent(at(1)));
    budgets.take(&want, Granted { requests: 9, until: at(60) });
    assert_eq!(budgets.admit("core", Class::Human, at(60)).unwrap_err(), Stop::Ungranted("core"));
}

#[test]
fn a_window_of_a_minute_is_counted_by_every_node_for_its_part() {
    let budgets = Budgets::new(spec("gitlab"), Thresholds::default(), Arc::default());
    budgets.share_with(3);
    let admit = || budgets.admit("api", Class::Human, NOW);
    let meter = |remaining| Meter { bucket: "api", limit: Some(100), ..counted(remaining, at(60)) };
    budgets.finish(&admit().unwrap(), End::Answered(1), &[meter(10)], NOW);
    // Two stay, and of the other eight two others take as many as this node.
    let under_way: Vec<_> = (0..3).map(|_| admit().unwrap()).collect();
    assert_eq!(admit().unwrap_err(), Stop::Spent(at(1)));
    for pass in under_way {
        budgets.finish(&pass, End::Answered(1), &[meter(1)], NOW);
    }
    assert_eq!(admit().unwrap_err(), Stop::Spent(at(60)));
    assert_eq!(budgets.tell(false, NOW).0, [], "the ledger is not told");
    assert_eq!(budgets.left(), [("api".to_owned(), 1)]);
}

#[test]
fn the_ledger_is_told_once_what_was_spent() {
    let budgets = budgets();
    for remaining in [4999, 4998, 4997] {
        note(&budgets, counted(remaining, at(600)), NOW);
    }
    note(&budgets, refused("core", Some(at(5))), NOW);
    assert!(budgets.is_untold() && budgets.owes(NOW));
    let (told, kept) = budgets.tell(false, NOW);
    // The fourth was refused, which costs nothing.
    let said = |it: &store::BudgetRow| (it.limit, it.remaining, it.resets_at, it.own, it.blocked_until);
    assert_eq!(
        told.iter().map(said).collect::<Vec<_>>(),
        [(Some(5000), Some(4997), Some(at(600)), Some(3), Some(at(5)))]
    );
    assert_eq!(kept.iter().map(|it| it.requests).collect::<Vec<_>>(), [46]);
    assert_eq!(budgets.tell(false, NOW).0, []);
    // What could not be told is told the next time.
    budgets.untell(&told);
    assert_eq!(budgets.tell(false, NOW).0, told);
    note(&budgets, counted(4999, at(4200)), at(600));
    assert_eq!(budgets.tell(true, at(600)).0.iter().map(|it| it.own).collect::<Vec<_>>(), [Some(1)]);
    assert_eq!(budgets.tell(true, at(600)).1, [], "all is given back");
    assert!(!budgets.owes(at(600)));
}

#[test]
fn every_redirect_is_a_request() {
    let budgets = budgets();
    for end in [End::Answered(2), End::Unchanged(3), End::Unknown] {
        grant(&budgets, Class::Human, NOW);
        let pass = budgets.admit("core", Class::Human, NOW).unwrap();
        budgets.finish(&pass, end, &[counted(4990, at(600))], NOW);
    }
    assert_eq!(budgets.tell(false, NOW).0[0].own, Some(2 + 2 + 1));
}

#[test]
fn what_nobody_spends_is_given_back() {
    let budgets = budgets();
    note(&budgets, counted(4999, at(600)), NOW);
    // The first look sees what was spent just before it, and that it was not told.
    assert_eq!(budgets.is_due(NOW), Some(false));
    budgets.tell(false, NOW);
    note(&budgets, counted(4998, at(600)), NOW);
    assert_eq!(
        [budgets.is_due(at(1)), budgets.is_due(at(1)), budgets.is_due(at(2))],
        [None, None, Some(true)]
    );
    budgets.tell(true, at(2));
    assert_eq!([budgets.is_due(at(3)), budgets.is_due(at(3)), budgets.is_due(at(9))], [None; 3]);
    let _under_way = {
        grant(&budgets, Class::Human, at(9));
        budgets.admit("core", Class::Human, at(9)).unwrap()
    };
    assert_eq!([budgets.is_due(at(9)), budgets.is_due(at(9)), budgets.is_due(at(9))], [None; 3]);
}

#[test]
fn a_floor_of_ones_own_holds() {
    let thresholds = Thresholds { floor: 200, floor_percent: 100, ..Thresholds::default() };
    let budgets = Budgets::new(spec("github"), thresholds, Arc::default());
    note(&budgets, counted(199, at(600)), NOW);
    assert_eq!(spent_until(&budgets, NOW), Some(at(600)));
}

#[test]
fn late_answers_of_a_window_do_not_raise_its_count() {
    let budgets = budgets();
    note(&budgets, counted(99, at(600)), NOW);
    let late = budgets.tell(false, NOW).0;
    budgets.load(
        &[store::BudgetRow { remaining: Some(4000), resets_at: Some(at(601)), ..late[0].clone() }],
        NOW,
    );
    assert_eq!(spent_until(&budgets, NOW), Some(at(600)));
    note(&budgets, counted(4999, at(4200)), at(601));
    assert_eq!(spent_until(&budgets, at(601)), None);
}

#[test]
fn a_secondary_limit_holds_for_every_bucket() {
    let budgets = budgets();
    note(&budgets, refused(WHOLE_ACCOUNT, Some(at(30))), NOW);
    assert_eq!(spent_until(&budgets, NOW), Some(at(30)));
    assert_eq!(budgets.refused_until("core", NOW), Some(at(30)));
    assert_eq!(spent_until(&budgets, at(30)), None);
}

#[test]
fn refusals_without_a_time_wait_longer_each_time() {
    let budgets = budgets();
    note(&budgets, refused("core", None), NOW);
    assert_eq!(spent_until(&budgets, NOW), Some(at(60)));
    note(&budgets, refused("core", None), at(60));
    assert_eq!(spent_until(&budgets, at(60)), Some(at(180)));
}

#[test]
fn an_absurd_reset_ends() {
    let budgets = budgets();
    note(&budgets, counted(0, Timestamp::MAX), NOW);
    let until = spent_until(&budgets, NOW).unwrap();
    assert_eq!(until, at(65 * 60));
    assert_eq!(spent_until(&budgets, until), None);
}

#[test]
fn what_the_database_knows_survives_a_restart() {
    let before = budgets();
    note(&before, counted(0, at(600)), NOW);
    let after = budgets();
    after.load(&before.tell(true, NOW).0, NOW);
    assert_eq!(spent_until(&after, at(1)), Some(at(600)));
}

#[test]
fn what_was_asked_before_the_owner_was_known_is_the_owners() {
    let (unnamed, owner) = (budgets(), budgets());
    note(&unnamed, counted(4990, at(600)), NOW);
    note(&unnamed, refused(WHOLE_ACCOUNT, Some(at(30))), NOW);
    note(&owner, counted(4995, at(600)), NOW);
    owner.absorb(&unnamed, NOW);
    assert_eq!(spent_until(&owner, NOW), Some(at(30)));
    let told = owner.tell(true, NOW).0;
    let core = told.iter().find(|it| it.bucket == "core").unwrap();
    assert_eq!((core.remaining, core.own), (Some(4990), Some(2)));
}
