//! Tenants and their tokens. Only the operator of the machine makes and revokes tenants.
//!
//! Never logs or keeps a token's text.

use domain::id::{TenantId, TokenId};
use domain::tenant::Role;
use jiff::SignedDuration;
use store::{MakeToken, NewToken, Principal, StoreError, TenantRow, TokenRow};

use super::SyncService;
use super::source::name;
use crate::error::Error;

/// The longest life that a token can be given; without one it lives until it is revoked.
const EXPIRES_MAX: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);

/// What is longer is no token of ours, and is not hashed: 68 characters are one, the rest is a margin.
const TOKEN_BYTES_MAX: usize = 128;

impl SyncService {
    /// Makes a tenant.
    pub async fn create_tenant(&self, named: &str) -> Result<TenantRow, Error> {
        self.only_operator("makes tenants")?;
        match self.store.create_tenant(name(named)?, self.clock.now()).await {
            Err(StoreError::Conflict(_)) => Err(Error::Conflict(format!(
                "there is already a tenant `{named}`, or there was one; choose another name"
            ))),
            other => Ok(other?),
        }
    }

    /// Lists the tenants; a handle of one sees only that one.
    pub async fn tenants(&self) -> Result<Vec<TenantRow>, Error> {
        let mut all = self.store.tenants().await?;
        all.retain(|it| self.sees(Some(it.id)));
        Ok(all)
    }

    /// Finds a tenant by its name.
    pub async fn tenant(&self, named: &str) -> Result<TenantRow, Error> {
        let found = self.tenants().await?.into_iter().find(|it| it.name == named);
        found.ok_or_else(|| Error::Unknown { what: "tenant", id: named.to_owned() })
    }

    /// Finds a tenant by its id.
    pub async fn tenant_by_id(&self, id: TenantId) -> Result<TenantRow, Error> {
        let found = self.tenants().await?.into_iter().find(|it| it.id == id);
        found.ok_or_else(|| Error::Unknown { what: "tenant", id: id.to_string() })
    }

    /// Ends a tenant's access: its tokens are dead, and its sources are not synced any more. Its rows stay.
    pub async fn revoke_tenant(&self, named: &str) -> Result<TenantRow, Error> {
        self.only_operator("revokes tenants")?;
        let tenant = self.tenant(named).await?;
        self.store.revoke_tenant(tenant.id, self.clock.now()).await?;
        self.tenant(named).await
    }

    /// Makes a token of a tenant. Its text is returned this once.
    pub async fn create_token(
        &self,
        tenant: TenantId,
        named: &str,
        role: Role,
        expires_in: Option<SignedDuration>,
    ) -> Result<NewToken, Error> {
        let tenant = self.tenant_by_id(tenant).await?;
        let now = self.clock.now();
        let expires_at = match expires_in {
            None => None,
            Some(life) if life.is_positive() && life <= EXPIRES_MAX => now.saturating_add(life).ok(),
            Some(life) => {
                let why =
                    format!("{life:#} is not allowed; allowed is more than nothing, and ten years at most");
                return Err(Error::Invalid { field: "expires-in", why });
            }
        };
        let make = MakeToken { tenant: tenant.id, name: name(named)?, role, expires_at };
        let tenant = tenant.name;
        match self.store.create_token(make, now).await {
            Err(StoreError::Conflict(_)) => Err(Error::Conflict(format!(
                "the tenant `{tenant}` has a token `{named}` already; revoke it, or choose another name"
            ))),
            Err(StoreError::NotFound) => {
                Err(Error::Conflict(format!("the tenant `{tenant}` is revoked: it gets no tokens")))
            }
            other => Ok(other?),
        }
    }

    /// Lists the tokens of a tenant, or of all that the handle sees.
    pub async fn tokens(&self, tenant: Option<TenantId>) -> Result<Vec<TokenRow>, Error> {
        if let Some(tenant) = tenant {
            self.tenant_by_id(tenant).await?;
        }
        Ok(self.store.tokens(tenant.or(self.scope)).await?)
    }

    /// Revokes a token; twice is once.
    pub async fn revoke_token(&self, id: TokenId) -> Result<TokenRow, Error> {
        let unknown = || Error::Unknown { what: "token", id: id.to_string() };
        self.tokens(None).await?.into_iter().find(|it| it.id == id).ok_or_else(unknown)?;
        self.store.revoke_token(id, self.clock.now()).await?;
        self.tokens(None).await?.into_iter().find(|it| it.id == id).ok_or_else(unknown)
    }

    /// Says who holds a token; `None` for one that opens nothing.
    pub async fn authenticate(&self, text: &str) -> Result<Option<Principal>, Error> {
        if text.len() > TOKEN_BYTES_MAX {
            return Ok(None);
        }
        let principal = self.store.authenticate(text, self.clock.now()).await?;
        Ok(principal.filter(|it| self.sees(Some(it.tenant))))
    }

    fn only_operator(&self, does: &str) -> Result<(), Error> {
        if self.scope.is_none() {
            return Ok(());
        }
        Err(Error::Conflict(format!("only the operator of the machine {does}, with `syncline tenant`")))
    }
}
