//! The secrets that deliveries are signed with: made here, sealed as credentials are, and shown once.
//!
//! Never returns one but to whoever just made it, and to the check of a signature.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::id::SourceId;
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::lock;
use crate::Store;
use crate::db::{Conn, args};
use crate::error::{StoreError, broken};
use crate::vault::{Secret, Vault, fill_random};

/// The bytes of a secret: as many as the HMAC that is made with it has.
const SECRET_BYTES: usize = 32;

/// What deliveries for a source are checked with.
#[derive(Clone, Debug)]
pub struct StoredWebhook {
    /// The word of the source's connector.
    pub provider: String,
    /// The secret.
    pub secret: Secret,
}

impl Store {
    /// Makes the secret of a source's deliveries, or another one in its place, and returns it this once.
    pub async fn make_webhook(
        &self,
        id: SourceId,
        vault: &Vault,
        now: Timestamp,
    ) -> Result<Secret, StoreError> {
        let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
        fill_random(bytes.as_mut_slice()).map_err(broken)?;
        // In the form that GitLab asks of one it signs with; to all others it is a text like any other.
        let secret = Secret::from(format!("whsec_{}", STANDARD.encode(bytes.as_slice())));
        let input = (id, secret.clone(), vault.clone(), now);
        self.inner.db.write(input, 0, |conn, input| Box::pin(keep(conn, input))).await?;
        Ok(secret)
    }

    /// Reads what deliveries for a source are checked with; `None` where there is no such source, or it has no secret.
    pub async fn webhook(
        &self,
        id: Option<SourceId>,
        vault: &Vault,
    ) -> Result<Option<StoredWebhook>, StoreError> {
        let input = (id.unwrap_or(SourceId(0)), vault.clone());
        self.inner.db.read(input, |conn, (id, vault)| Box::pin(read(conn, *id, vault))).await
    }

    /// Reads since when a source has a secret.
    pub async fn webhook_since(&self, id: SourceId) -> Result<Option<Timestamp>, StoreError> {
        self.inner.db.read(id, |conn, id| Box::pin(since(conn, *id))).await
    }
}

/// What a secret is sealed for, so that it opens in no place where a credential stands.
fn purpose(provider: &str) -> String {
    format!("{provider} webhook")
}

async fn keep(
    conn: &mut Conn,
    (id, secret, vault, now): &(SourceId, Secret, Vault, Timestamp),
) -> Result<(), StoreError> {
    let provider: String = lock(conn, *id).await?.get("provider")?;
    let sealed = vault.seal(*id, &purpose(&provider), secret).map_err(broken)?;
    let sql = "insert into webhooks (source_id, secret, secret_key_id, created_at) values ($1, $2, $3, $4)
        on conflict (source_id) do update set secret = excluded.secret, secret_key_id = excluded.secret_key_id,
            created_at = excluded.created_at";
    conn.execute(sql, args![*id, Some(sealed), vault.key_id(), *now]).await?;
    Ok(())
}

async fn read(conn: &mut Conn, id: SourceId, vault: &Vault) -> Result<Option<StoredWebhook>, StoreError> {
    let sql = "select source.provider, webhook.secret, webhook.secret_key_id
        from webhooks as webhook join sources as source on source.id = webhook.source_id
            join tenants as tenant on tenant.id = source.tenant_id
        where webhook.source_id = $1 and source.removed_at is null and tenant.revoked_at is null";
    let Some(row) = conn.row(sql, args![id]).await? else {
        // As much work as opening one, so that the time it takes does not tell whether there is one.
        vault.seal(id, "nothing", &Secret::from("-".repeat(2 * SECRET_BYTES))).map_err(broken)?;
        return Ok(None);
    };
    let (provider, sealed): (String, Vec<u8>) = (row.get("provider")?, row.get("secret")?);
    let key_id: String = row.get("secret_key_id")?;
    let secret = vault.open(id, &purpose(&provider), &sealed, &key_id)?;
    Ok(Some(StoredWebhook { provider, secret }))
}

async fn since(conn: &mut Conn, id: SourceId) -> Result<Option<Timestamp>, StoreError> {
    let row = conn.row("select created_at from webhooks where source_id = $1", args![id]).await?;
    Ok(row.map(|it| it.time("created_at")).transpose()?.flatten())
}
