//! The ledger: budgets belong to accounts, and what is granted to one node is no other's.

use domain::id::SourceId;
use domain::policy::Thresholds;
use domain::policy::ledger::Class;
use store::{
    Accounted, Accounting, BudgetRow, Granted, Kept, Secret, SecretChange, SourceChange, Store, Want,
    account_of_owner,
};

use crate::database::Database;
use crate::world::*;

for_each_database!(
    the_lowest_count_of_the_newest_window_holds_and_a_refusal_lasts,
    a_time_that_no_window_has_is_not_believed,
    what_is_granted_to_one_node_is_no_others,
    a_grant_ends_with_its_time_or_its_node,
    a_class_leaves_its_reserve,
    a_window_that_is_over_is_full,
    two_nodes_that_ask_at_once_are_not_granted_the_same,
    credentials_of_one_account_share_their_budgets,
    another_credential_is_another_account,
);

const ACCOUNT: &str = "one";

fn budget(bucket: &str, remaining: i64, own: i64, observed_at: i64) -> BudgetRow {
    BudgetRow {
        bucket: bucket.to_owned(),
        limit: Some(5000),
        remaining: Some(remaining),
        resets_at: Some(at(3600)),
        own: Some(own),
        blocked_until: None,
        observed_at: at(observed_at),
    }
}

fn accounting(node: &str, told: Vec<BudgetRow>) -> Accounting {
    Accounting { account: ACCOUNT.to_owned(), node: node.to_owned(), told, kept: Vec::new(), wants: None }
}

fn want(class: Class, under_way: u64) -> Want {
    Want {
        bucket: "core".to_owned(),
        class,
        assumed: Some(5000),
        thresholds: Thresholds::default(),
        nodes: 1,
        under_way,
    }
}

async fn told(store: &Store, told: Vec<BudgetRow>, now: i64) -> Vec<BudgetRow> {
    store.account(accounting("a", told), at(now)).await.unwrap().budgets
}

/// Asks for a grant, giving back what was granted before.
async fn ask(store: &Store, node: &str, class: Class, now: i64) -> Granted {
    let it = Accounting { wants: Some(want(class, 0)), ..accounting(node, Vec::new()) };
    store.account(it, at(now)).await.unwrap().granted.unwrap()
}

async fn requests(store: &Store, node: &str, now: i64) -> u64 {
    ask(store, node, Class::Human, now).await.requests
}

async fn the_lowest_count_of_the_newest_window_holds_and_a_refusal_lasts(database: &Database) {
    let store = open(database).await;
    let two = vec![budget("core", 7, 2, 10), budget("search", 3, 1, 1)];
    assert_eq!(told(&store, two.clone(), 10).await, two);
    // A late answer of the same window: its count is old, what was spent is not.
    assert_eq!(told(&store, vec![budget("core", 9, 3, 12)], 12).await[0], budget("core", 7, 5, 12));
    let blocked = BudgetRow { blocked_until: Some(at(99)), ..budget("core", 0, 0, 13) };
    assert_eq!(told(&store, vec![blocked], 13).await[0].blocked_until, Some(at(99)));
    let next = BudgetRow { resets_at: Some(at(7100)), ..budget("core", 4999, 1, 3500) };
    let still = BudgetRow { blocked_until: Some(at(99)), ..next.clone() };
    assert_eq!(told(&store, vec![next], 3500).await[0], still);
    assert_eq!(told(&store, vec![budget("core", 0, 4, 13)], 3500).await[0], still, "that window is over");
    assert_eq!(store.budgets(ACCOUNT).await.unwrap()[0], still);
    assert_eq!(store.budgets("another").await.unwrap(), []);
}

async fn a_time_that_no_window_has_is_not_believed(database: &Database) {
    let store = open(database).await;
    // As a node wrote it down whose clock was three hours ahead.
    let ahead = BudgetRow {
        resets_at: Some(at(14_000)),
        blocked_until: Some(at(14_000)),
        ..budget("core", 0, 1, 10_900)
    };
    told(&store, vec![ahead], 10_900).await;
    assert_eq!(requests(&store, "a", 10_901).await, 0, "the node's own time bears it out");
    assert_eq!(requests(&store, "a", 20).await, 50, "it counts as full");
    let true_one = budget("core", 4000, 1, 21);
    let known = told(&store, vec![true_one.clone()], 21).await.remove(0);
    assert_eq!((known.remaining, known.resets_at), (true_one.remaining, true_one.resets_at));
    assert_eq!(known.blocked_until, None);
}

async fn what_is_granted_to_one_node_is_no_others(database: &Database) {
    let store = open(database).await;
    // Nothing is known: the provider's full limit is taken for granted.
    assert_eq!(ask(&store, "a", Class::Human, 1).await, Granted { requests: 50, until: at(61) });
    told_by(&store, "a", vec![budget("core", 181, 0, 2)], 2).await;
    // 181 are left and 100 stay: a twentieth of the rest, for two nodes a fortieth.
    assert_eq!(requests(&store, "a", 3).await, 4);
    assert_eq!(requests(&store, "b", 3).await, 1);
    // Near the end every request counts, also those of others and those under way.
    told_by(&store, "a", vec![budget("core", 103, 0, 4)], 4).await;
    let it = Accounting { wants: Some(want(Class::Human, 2)), ..accounting("a", Vec::new()) };
    assert_eq!(store.account(it, at(5)).await.unwrap().granted.unwrap().requests, 1);
    let refused = ask(&store, "b", Class::Human, 5).await;
    assert_eq!(refused, Granted { requests: 1, until: at(65) }, "three of a are out");
    let refused = ask(&store, "c", Class::Human, 5).await;
    assert_eq!(refused, Granted { requests: 0, until: at(6) }, "a node may give back what it has");
    told_by(&store, "a", vec![budget("core", 99, 0, 6)], 6).await;
    let refused = ask(&store, "c", Class::Human, 6).await;
    assert_eq!(refused, Granted { requests: 0, until: at(3600) }, "the floor is reached until the reset");
}

async fn told_by(store: &Store, node: &str, rows: Vec<BudgetRow>, now: i64) {
    let accounted: Accounted = store.account(accounting(node, rows), at(now)).await.unwrap();
    assert_eq!(accounted.granted, None);
}

async fn a_grant_ends_with_its_time_or_its_node(database: &Database) {
    let store = open(database).await;
    told(&store, vec![budget("core", 101, 0, 1)], 1).await;
    assert_eq!(requests(&store, "dead", 1).await, 1);
    assert_eq!(requests(&store, "late", 1).await, 1);
    assert_eq!(requests(&store, "a", 2).await, 0);
    assert_eq!(store.nodes(at(2)).await.unwrap(), ["dead", "late"]);
    store.rescue(&["dead".to_owned()], at(3)).await.unwrap();
    assert_eq!(store.nodes(at(3)).await.unwrap(), ["late"]);
    assert_eq!(requests(&store, "a", 3).await, 1);
    assert_eq!(requests(&store, "b", 60).await, 0);
    assert_eq!(requests(&store, "b", 61).await, 1, "a minute later what was not told counts no longer");
}

async fn a_class_leaves_its_reserve(database: &Database) {
    let store = open(database).await;
    told(&store, vec![budget("core", 599, 0, 1)], 1).await;
    for (class, granted) in [
        (Class::Cron, Granted { requests: 0, until: at(3600) }),
        (Class::Backfill, Granted { requests: 0, until: at(3600) }),
        (Class::Webhook, Granted { requests: 24, until: at(62) }),
        (Class::Human, Granted { requests: 24, until: at(62) }),
    ] {
        assert_eq!(ask(&store, "a", class, 2).await, granted, "{class:?}");
    }
    // What a node keeps for one class is not granted to it for another.
    let kept = Kept { bucket: "core".to_owned(), class: Class::Cron, requests: 499, until: at(60) };
    let wants = Some(want(Class::Human, 0));
    let it = Accounting { kept: vec![kept], wants, ..accounting("a", Vec::new()) };
    assert_eq!(store.account(it, at(3)).await.unwrap().granted.unwrap().requests, 1);
    assert_eq!(requests(&store, "b", 3).await, 0, "what it keeps is known to others");
}

async fn a_window_that_is_over_is_full(database: &Database) {
    let store = open(database).await;
    told(&store, vec![budget("core", 0, 0, 1)], 1).await;
    assert_eq!(requests(&store, "a", 3599).await, 0);
    assert_eq!(requests(&store, "a", 3600).await, 50);
}

async fn two_nodes_that_ask_at_once_are_not_granted_the_same(database: &Database) {
    let store = open(database).await;
    let small = Thresholds { floor: 0, ..Thresholds::default() };
    let mut asking = tokio::task::JoinSet::new();
    for node in 0..60 {
        let wants = Some(Want { assumed: Some(40), thresholds: small, ..want(Class::Human, 0) });
        let it = Accounting { wants, ..accounting(&format!("node-{node}"), Vec::new()) };
        let store = store.clone();
        asking.spawn(async move { store.account(it, at(1)).await.unwrap().granted.unwrap().requests });
    }
    let granted = asking.join_all().await;
    let granted: u64 = granted.iter().sum();
    assert_eq!(granted, 40, "forty are there");
}

async fn credentials_of_one_account_share_their_budgets(database: &Database) {
    let (store, first) = begin(database, vec![partition("projects", "all")]).await;
    let second = store.add_source(new_source("second", vec![]), &vault(), at(1)).await.unwrap();
    told(&store, vec![budget("core", 7, 0, 2)], 2).await;
    let budgets = async |source: SourceId| store.facts(source, &GROUP, at(3)).await.unwrap().budgets.to_vec();
    assert_eq!(budgets(first).await, []);
    for source in [first, second] {
        assert_eq!(facts_of_status(&store, source).await, [], "nobody knows yet who pays");
        name(&store, source, ACCOUNT).await;
        assert_eq!(budgets(source).await, [budget("core", 7, 0, 2)]);
        assert_eq!(facts_of_status(&store, source).await, [budget("core", 7, 0, 2)]);
    }
    // As long as one source has a credential of it, the account is known.
    store.remove_source(first, false).await.unwrap();
    assert_eq!(budgets(second).await, [budget("core", 7, 0, 2)]);
    store.remove_source(second, true).await.unwrap();
    assert_eq!(store.budgets(ACCOUNT).await.unwrap(), []);
    let owner = |provider, url, owner| account_of_owner(provider, url, owner);
    let one = owner("toy", "https://toy.example", "1");
    assert_eq!(one.len(), 32);
    for other in [
        owner("toy", "https://toy.example", "2"),
        owner("toy", "https://t.example", "1"),
        owner("t", "https://toy.example", "1"),
    ] {
        assert_ne!(one, other);
    }
}

async fn facts_of_status(store: &Store, source: SourceId) -> Vec<BudgetRow> {
    let mut found = store.status(look(None, store::Among::One(source))).await.unwrap().rows;
    found.remove(0).facts.budgets.to_vec()
}

async fn name(store: &Store, source: SourceId, account: &str) {
    let credential = store.credential(source, &vault()).await.unwrap();
    let was = "what it was taken for".to_owned();
    store.name_account(source, account.to_owned(), was, credential.changed_at).await.unwrap();
    let named = store.credential(source, &vault()).await.unwrap().account;
    assert_eq!(named.as_deref(), Some(account));
}

async fn another_credential_is_another_account(database: &Database) {
    let (store, source) = begin(database, vec![partition("projects", "all")]).await;
    let account = async || store.credential(source, &vault()).await.unwrap().account;
    name(&store, source, ACCOUNT).await;
    told(&store, vec![budget("core", 7, 0, 2)], 2).await;
    let row = store.source_by_id(source).await.unwrap().unwrap();
    let change = async |secret, base_url: &str, now| {
        let settings = domain::source::Settings { base_url: base_url.to_owned(), ..row.settings.clone() };
        let change = SourceChange { settings, enabled: true, secret, roots: vec![] };
        store.update_source(source, change, &vault(), at(now)).await.unwrap();
    };
    let url = row.settings.base_url.clone();
    change(SecretChange::Keep, &url, 3).await;
    assert_eq!(account().await.as_deref(), Some(ACCOUNT), "nothing of it changed");
    let asked_with = store.credential(source, &vault()).await.unwrap();
    change(SecretChange::Set(Secret::from("other".to_owned())), &url, 4).await;
    assert_eq!(account().await, None);
    assert_eq!(store.budgets(ACCOUNT).await.unwrap(), [], "nobody has a credential of it");
    store.name_account(source, ACCOUNT.to_owned(), String::new(), asked_with.changed_at).await.unwrap();
    assert_eq!(account().await, None, "what was found out with the old one is not the new one's");
    name(&store, source, ACCOUNT).await;
    change(SecretChange::Keep, "https://another.example", 5).await;
    assert_eq!(account().await, None);
    let secret = |text: &str| Some(Secret::from(text.to_owned()));
    let of =
        |provider, url, text: Option<Secret>| vault().account_of_credential(provider, url, text.as_ref());
    let known = of("toy", "https://toy.example", secret("s3cret"));
    assert_eq!(known, of("toy", "https://toy.example", secret("s3cret")));
    assert!(!known.contains("s3cret"));
    for other in [
        of("toy", "https://toy.example", secret("other")),
        of("toy", "https://toy.example", None),
        of("toy", "https://another.example", secret("s3cret")),
        of("t", "https://toy.example", secret("s3cret")),
    ] {
        assert_ne!(known, other);
    }
}
