//! Tenants and their tokens: what opens, until when, and that nothing of a token is kept.

use domain::id::{EventId, TenantId};
use domain::tenant::Role;
use domain::trigger::Trigger;
use jiff::Timestamp;
use store::{MakeToken, NewSource, StoreError};

use crate::database::Database;
use crate::world::*;

for_each_database!(
    a_token_opens_until_it_ends,
    a_revoked_tenant_has_no_access_and_keeps_its_rows,
    two_tenants_use_one_name,
    a_token_is_kept_as_a_hash_only,
    each_tenant_sees_its_own_events_and_syncs,
);

fn token(tenant: TenantId, name: &str, expires_at: Option<Timestamp>) -> MakeToken {
    MakeToken { tenant, name: name.to_owned(), role: Role::Operator, expires_at }
}

async fn a_token_opens_until_it_ends(database: &Database) {
    let store = open(database).await;
    let acme = store.create_tenant("acme".to_owned(), at(0)).await.unwrap();
    let made = store.create_token(token(acme.id, "ci", Some(at(7200))), at(0)).await.unwrap();
    let text = made.text.expose();
    assert!(text.starts_with("slt_") && text.len() == 68, "{text}");
    let holder = store.authenticate(text, at(3599)).await.unwrap().unwrap();
    assert_eq!((holder.tenant, holder.tenant_name.as_str(), holder.role), (acme.id, "acme", Role::Operator));
    assert_eq!((holder.token, holder.name.as_str()), (made.id, "ci"));
    // Which hour it was used in is kept, not which second.
    let used = store.tokens(Some(acme.id)).await.unwrap()[0].last_used_at.unwrap();
    assert_eq!((used.as_second() % 3600, used <= at(3599)), (0, true));
    assert!(store.authenticate(text, at(7199)).await.unwrap().is_some());
    assert!(store.authenticate(text, at(7200)).await.unwrap().is_none(), "it has ended");
    for wrong in ["", "slt_", &text[..67], &text.to_uppercase(), "slt_0000"] {
        assert!(store.authenticate(wrong, at(1)).await.unwrap().is_none(), "{wrong:?}");
    }
    let taken = store.create_token(token(acme.id, "ci", None), at(1)).await;
    assert!(matches!(taken, Err(StoreError::Conflict(_))), "{taken:?}");
    store.revoke_token(made.id, at(10)).await.unwrap();
    store.revoke_token(made.id, at(20)).await.unwrap();
    assert!(store.authenticate(text, at(11)).await.unwrap().is_none(), "it is revoked");
    assert_eq!(store.tokens(None).await.unwrap()[0].revoked_at, Some(at(10)));
    // The name is free again.
    store.create_token(token(acme.id, "ci", None), at(21)).await.unwrap();
}

async fn a_revoked_tenant_has_no_access_and_keeps_its_rows(database: &Database) {
    let (store, source) = begin(database, vec![partition("projects", "all")]).await;
    let made = store.create_token(token(TenantId(1), "ci", None), at(0)).await.unwrap();
    store.revoke_tenant(TenantId(1), at(5)).await.unwrap();
    assert!(store.authenticate(made.text.expose(), at(6)).await.unwrap().is_none());
    let refused = store.create_token(token(TenantId(1), "more", None), at(6)).await;
    assert!(matches!(refused, Err(StoreError::NotFound)), "{refused:?}");
    let refused = store.add_source(new_source("more", vec![]), &vault(), at(6)).await;
    assert!(matches!(refused, Err(StoreError::NotFound)), "{refused:?}");
    assert!(!store.facts(source, &GROUP, at(6)).await.unwrap().has_owner);
    assert!(!status(&store).await.facts.has_owner);
    assert_eq!(source_named(&store, "work").await.unwrap().id, source);
    let tenants = store.tenants().await.unwrap();
    assert_eq!(
        (tenants[0].name.as_str(), tenants[0].revoked_at, tenants[0].sources),
        ("default", Some(at(5)), 1)
    );
    let taken = store.create_tenant("default".to_owned(), at(7)).await;
    assert!(matches!(taken, Err(StoreError::Conflict(_))), "{taken:?}");
    assert!(matches!(store.revoke_tenant(TenantId(99), at(7)).await, Err(StoreError::NotFound)));
}

async fn two_tenants_use_one_name(database: &Database) {
    let (store, first) = begin(database, vec![]).await;
    let acme = store.create_tenant("acme".to_owned(), at(0)).await.unwrap().id;
    let new = NewSource { tenant: acme, ..new_source("work", vec![]) };
    let second = store.add_source(new, &vault(), at(1)).await.unwrap();
    let ids = |rows: Vec<store::SourceRow>| rows.into_iter().map(|it| it.id).collect::<Vec<_>>();
    assert_eq!(ids(store.sources_named(None, "work").await.unwrap()), [first, second]);
    assert_eq!(ids(store.sources_named(Some(acme), "work").await.unwrap()), [second]);
    assert_eq!(ids(store.sources(Some(TenantId(1))).await.unwrap()), [first]);
    assert_eq!(store.source_by_id(second).await.unwrap().unwrap().tenant_name.as_deref(), Some("acme"));
}

async fn a_token_is_kept_as_a_hash_only(database: &Database) {
    let store = open(database).await;
    let made = store.create_token(token(TenantId(1), "ci", None), at(0)).await.unwrap();
    let text = made.text.expose();
    store.authenticate(text, at(1)).await.unwrap().unwrap();
    let secret = &text[4..];
    let rows = database.dump("api_tokens").await.join("\n").to_lowercase();
    assert!(rows.contains("ci") && !rows.contains(secret), "{rows}");
    assert!(!format!("{made:?}").contains(secret));
    let other = store.create_token(token(TenantId(1), "other", None), at(0)).await.unwrap();
    assert_ne!(other.text.expose(), text);
}

async fn each_tenant_sees_its_own_events_and_syncs(database: &Database) {
    let (store, mine) = begin(database, vec![partition("projects", "all")]).await;
    let acme = store.create_tenant("acme".to_owned(), at(0)).await.unwrap().id;
    let new = NewSource { tenant: acme, ..new_source("theirs", vec![partition("projects", "all")]) };
    let theirs = store.add_source(new, &vault(), at(1)).await.unwrap();
    store.enqueue(request(mine, Trigger::Cron), at(2)).await.unwrap();
    store.enqueue(request(theirs, Trigger::Cron), at(3)).await.unwrap();
    event_rows(database, &store).await;
    for (tenant, source) in [(TenantId(1), mine), (acme, theirs)] {
        let events = store.events_after(Some(tenant), EventId(0), 10).await.unwrap();
        assert_eq!(events.iter().map(|it| it.source).collect::<Vec<_>>(), [Some(source)]);
        let syncs = store.syncs(Some(tenant), None, 10).await.unwrap();
        assert_eq!(
            syncs.iter().map(|it| (it.source, it.tenant)).collect::<Vec<_>>(),
            [(source, Some(tenant))]
        );
    }
    assert_eq!(store.syncs(None, None, 10).await.unwrap().len(), 2);
}
