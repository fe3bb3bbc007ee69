//! Credentials: sealed at rest, opened only with the right key and for the right source.

use std::os::unix::fs::PermissionsExt;

use domain::id::SourceId;
use store::{KeyError, NewSource, Secret, SecretChange, SecretError, SourceChange, Store, StoreError, Vault};

use crate::database::Database;
use crate::world::*;

for_each_database!(
    a_credential_is_sealed_and_opened,
    a_changed_credential_does_not_open,
    a_credential_moved_to_another_source_does_not_open,
    another_key_is_named,
    a_credential_is_replaced_kept_and_forgotten,
);

async fn with_secret(database: &Database) -> (Store, SourceId) {
    let store = open(database).await;
    let secret = Some(Secret::from("ghp_secret".to_owned()));
    let new = NewSource { secret, ..new_source("work", vec![]) };
    let source = store.add_source(new, &vault(), at(0)).await.unwrap();
    (store, source)
}

async fn opened(store: &Store, source: SourceId) -> Option<String> {
    store.credential(source, &vault()).await.unwrap().secret.map(|it| it.expose().to_owned())
}

async fn a_credential_is_sealed_and_opened(database: &Database) {
    let (store, source) = with_secret(database).await;
    assert_eq!(opened(&store, source).await.as_deref(), Some("ghp_secret"));
    assert!(source_named(&store, "work").await.unwrap().has_secret);
    let dump = database.dump("sources").await.join("\n");
    let hex = "6768705f736563726574";
    assert!(!dump.contains("ghp_secret") && !dump.to_lowercase().contains(hex), "{dump}");
    assert!(dump.contains(vault().key_id()), "{dump}");
    let shown = format!("{:?} {}", Secret::from("ghp_secret".to_owned()), Secret::from("x".to_owned()));
    assert_eq!(shown, "[redacted] [redacted]");
    assert!(!format!("{:?}", vault()).contains("abab"), "{:?}", vault());
}

async fn refused(store: &Store, source: SourceId) -> SecretError {
    match store.credential(source, &vault()).await {
        Err(StoreError::Secret(error)) => error,
        other => panic!("{other:?}"),
    }
}

async fn a_changed_credential_does_not_open(database: &Database) {
    let (store, source) = with_secret(database).await;
    let flip = if database.is_sqlite() {
        "update sources set secret = cast(substr(secret, 1, 30)
             || case substr(secret, 31, 1) when x'00' then x'01' else x'00' end || substr(secret, 32) as blob)"
    } else {
        "update sources set secret = set_byte(secret, 30, get_byte(secret, 30) # 1)"
    };
    database.execute(flip).await;
    assert_eq!(refused(&store, source).await, SecretError::Tampered);
    let short = if database.is_sqlite() { "x'00'" } else { "'\\x00'" };
    database.execute(&format!("update sources set secret = {short}")).await;
    assert_eq!(refused(&store, source).await, SecretError::Tampered);
}

async fn a_credential_moved_to_another_source_does_not_open(database: &Database) {
    let (store, _) = with_secret(database).await;
    let other = store.add_source(new_source("other", vec![]), &vault(), at(0)).await.unwrap();
    assert_eq!(opened(&store, other).await, None);
    database
        .execute(
            "update sources set secret = (select secret from sources where name = 'work'),
                 secret_key_id = (select secret_key_id from sources where name = 'work') where name = 'other'",
        )
        .await;
    assert_eq!(refused(&store, other).await, SecretError::Tampered);
}

async fn another_key_is_named(database: &Database) {
    let (store, source) = with_secret(database).await;
    let other = Vault::from_key_text(&"cd".repeat(32)).unwrap();
    let error = store.credential(source, &other).await.unwrap_err();
    let StoreError::Secret(SecretError::WrongKey { sealed_with, have }) = &error else { panic!("{error:?}") };
    assert_eq!((sealed_with.as_str(), have.as_str()), (vault().key_id(), other.key_id()));
    assert!(error.to_string().contains("put the old key back"), "{error}");
}

async fn a_credential_is_replaced_kept_and_forgotten(database: &Database) {
    let (store, source) = with_secret(database).await;
    let steps = [
        (SecretChange::Keep, Some("ghp_secret")),
        (SecretChange::Set(Secret::from("second".to_owned())), Some("second")),
        (SecretChange::Clear, None),
    ];
    for (secret, expected) in steps {
        let row = store.source_by_id(source).await.unwrap().unwrap();
        let change = SourceChange { settings: row.settings, enabled: true, secret, roots: vec![] };
        store.update_source(source, change, &vault(), at(1)).await.unwrap();
        assert_eq!(opened(&store, source).await.as_deref(), expected);
    }
}

#[test]
fn a_key_is_read_from_hex_and_from_base64() {
    let hex = Vault::from_key_text(&format!(" {}\n", "AB".repeat(32))).unwrap();
    let base64 = Vault::from_key_text("q6urq6urq6urq6urq6urq6urq6urq6urq6urq6urq6s=").unwrap();
    assert_eq!(hex.key_id(), base64.key_id());
    assert_eq!(hex.key_id(), vault().key_id());
    assert_eq!(hex.key_id().len(), 8);
    for bad in ["", "abc", &"zz".repeat(32), &"ab".repeat(31), &"+a".repeat(32), "q6urq6urq6s="] {
        assert!(matches!(Vault::from_key_text(bad), Err(KeyError::Malformed)), "{bad:?}");
    }
}

#[test]
fn a_key_file_is_made_for_its_owner_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let made = Vault::from_key_file(&path).unwrap();
    let permissions = || std::fs::metadata(&path).unwrap().permissions();
    assert_eq!(permissions().mode() & 0o777, 0o600);
    assert_eq!(Vault::from_key_file(&path).unwrap().key_id(), made.key_id());
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    let error = Vault::from_key_file(&path).unwrap_err();
    assert!(matches!(error, KeyError::Exposed { mode: 0o640, .. }), "{error}");
    assert!(error.to_string().contains("chmod 600"), "{error}");
    let missing = Vault::from_key_file(&folder.path().join("no/such/folder/key")).unwrap_err();
    assert!(matches!(missing, KeyError::Unusable { .. }), "{missing}");
}

#[test]
fn many_first_starts_agree_on_one_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    let ids: std::collections::BTreeSet<String> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..16)
            .map(|_| scope.spawn(|| Vault::from_key_file(&path).unwrap().key_id().to_owned()))
            .collect();
        starts.into_iter().map(|it| it.join().unwrap()).collect()
    });
    assert_eq!(ids.len(), 1);
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing but the key is left: {left:?}");
}
