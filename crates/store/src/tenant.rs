//! Tenants, and the tokens that open the API for them.
//!
//! Never keeps a token's text, only its hash, and never logs either. Begin with [`Store::authenticate`].

use domain::id::{TenantId, TokenId};
use domain::tenant::Role;
use jiff::Timestamp;
use sqlx::AssertSqlSafe;

use crate::Store;
use crate::db::{Conn, Row, args};
use crate::error::{StoreError, broken, corrupt};
use crate::vault::{Secret, fill_random, hex};

/// What every token begins with, so that people and scanners know one when they see it.
const PREFIX: &str = "slt_";

/// The size of a token before it is written as text: nobody guesses 256 bits.
const TOKEN_BYTES: usize = 32;

/// How precisely it is kept when a token was used: enough to see that one is not, and at most one write an hour.
const USED_EVERY_MS: i64 = 60 * 60 * 1000;

/// A stored tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantRow {
    /// Its id.
    pub id: TenantId,
    /// The word that it is known by.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its access ended.
    pub revoked_at: Option<Timestamp>,
    /// Its sources.
    pub sources: u64,
}

/// A token to make.
#[derive(Clone, Debug)]
pub struct MakeToken {
    /// Whose sources it opens.
    pub tenant: TenantId,
    /// What people call it.
    pub name: String,
    /// What its holder may do.
    pub role: Role,
    /// When it stops to work.
    pub expires_at: Option<Timestamp>,
}

/// A token that was made; the only time that its text is seen.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Its id.
    pub id: TokenId,
    /// The token itself.
    pub text: Secret,
}

/// A stored token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// Its id.
    pub id: TokenId,
    /// Whose sources it opens.
    pub tenant: TenantId,
    /// That tenant's name.
    pub tenant_name: String,
    /// What people call it.
    pub name: String,
    /// What its holder may do.
    pub role: Role,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops to work.
    pub expires_at: Option<Timestamp>,
    /// The hour in which it was last used.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// Who a token's holder is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Whose sources are seen.
    pub tenant: TenantId,
    /// That tenant's name.
    pub tenant_name: String,
    /// What may be done.
    pub role: Role,
    /// The token.
    pub token: TokenId,
    /// What people call the token.
    pub name: String,
}

impl Store {
    /// Makes a tenant.
    pub async fn create_tenant(&self, name: String, now: Timestamp) -> Result<TenantRow, StoreError> {
        self.inner.db.write((name, now), 0, |conn, input| Box::pin(create(conn, input))).await
    }

    /// Lists the tenants by name.
    pub async fn tenants(&self) -> Result<Vec<TenantRow>, StoreError> {
        self.inner.db.read((), |conn, input| Box::pin(all(conn, input))).await
    }

    /// Ends a tenant's access: its tokens are dead and its sources are no longer synced. Its rows stay.
    pub async fn revoke_tenant(&self, id: TenantId, now: Timestamp) -> Result<(), StoreError> {
        self.inner.db.write((id, now), 0, |conn, input| Box::pin(revoke(conn, input))).await
    }

    /// Makes a token. Its text is returned this once, and kept nowhere.
    pub async fn create_token(&self, make: MakeToken, now: Timestamp) -> Result<NewToken, StoreError> {
        let mut bytes = zeroize::Zeroizing::new([0; TOKEN_BYTES]);
        fill_random(bytes.as_mut_slice()).map_err(broken)?;
        let text = Secret::from(format!("{PREFIX}{}", hex(bytes.as_slice())));
        let input = (make, hash(text.expose()), now);
        let id = self.inner.db.write(input, 0, |conn, input| Box::pin(insert_token(conn, input))).await?;
        Ok(NewToken { id, text })
    }

    /// Lists the tokens of a tenant, or of all, those that still work first.
    pub async fn tokens(&self, tenant: Option<TenantId>) -> Result<Vec<TokenRow>, StoreError> {
        self.inner.db.read(tenant, |conn, it| Box::pin(tokens(conn, *it))).await
    }

    /// Revokes a token; twice is once.
    pub async fn revoke_token(&self, id: TokenId, now: Timestamp) -> Result<(), StoreError> {
        self.inner.db.write((id, now), 0, |conn, input| Box::pin(revoke_token(conn, input))).await
    }

    /// Says who holds a token; `None` for one that is unknown, revoked or expired, or whose tenant is revoked.
    pub async fn authenticate(&self, text: &str, now: Timestamp) -> Result<Option<Principal>, StoreError> {
        // What is looked up is a hash: how long the comparison takes tells nothing of the token.
        let found =
            self.inner.db.read((hash(text), now), |conn, input| Box::pin(holder(conn, input))).await?;
        let Some((principal, last_used_at)) = found else { return Ok(None) };
        let hour = now.as_millisecond() - now.as_millisecond().rem_euclid(USED_EVERY_MS);
        if last_used_at.is_none_or(|at| at.as_millisecond() < hour) {
            let input = (principal.token, hour);
            self.inner.db.write(input, 0, |conn, input| Box::pin(used(conn, input))).await?;
        }
        Ok(Some(principal))
    }
}

/// A hash in a context of its own. A token is random in all its bits, so that no slow hash is needed.
fn hash(text: &str) -> Vec<u8> {
    blake3::derive_key("syncline api token 1", text.as_bytes()).to_vec()
}

async fn create(conn: &mut Conn, (name, now): &(String, Timestamp)) -> Result<TenantRow, StoreError> {
    let sql = "insert into tenants (name, created_at) values ($1, $2) on conflict do nothing returning id";
    let row = conn.row(sql, args![name, *now]).await?;
    let row = row.ok_or_else(|| StoreError::Conflict(format!("there is already a tenant `{name}`")))?;
    let id = TenantId(row.get("id")?);
    Ok(TenantRow { id, name: name.clone(), created_at: *now, revoked_at: None, sources: 0 })
}

async fn all(conn: &mut Conn, (): &()) -> Result<Vec<TenantRow>, StoreError> {
    let sql =
        "select tenant.id, tenant.name, tenant.created_at, tenant.revoked_at, count(source.id) as sources
        from tenants as tenant
        left join sources as source on source.tenant_id = tenant.id and source.removed_at is null
        group by tenant.id, tenant.name, tenant.created_at, tenant.revoked_at order by tenant.name";
    let rows = conn.rows(sql, args![]).await?;
    let read = |row: &Row| {
        let id = TenantId(row.get("id")?);
        Ok(TenantRow {
            id,
            name: row.get("name")?,
            created_at: row.time("created_at")?.ok_or_else(|| corrupt("tenants", id, "created_at"))?,
            revoked_at: row.time("revoked_at")?,
            sources: row.count("sources")?,
        })
    };
    rows.iter().map(read).collect()
}

async fn revoke(conn: &mut Conn, (id, now): &(TenantId, Timestamp)) -> Result<(), StoreError> {
    let sql = "update tenants set revoked_at = coalesce(revoked_at, $2) where id = $1 returning id";
    conn.one(sql, args![*id, *now]).await?;
    let sql = "update api_tokens set revoked_at = $2 where tenant_id = $1 and revoked_at is null";
    conn.execute(sql, args![*id, *now]).await?;
    Ok(())
}

async fn insert_token(
    conn: &mut Conn,
    (make, hash, now): &(MakeToken, Vec<u8>, Timestamp),
) -> Result<TokenId, StoreError> {
    let sql = "insert into api_tokens (tenant_id, name, role, hash, created_at, expires_at)
        select id, $2, $3, $4, $5, $6 from tenants where id = $1 and revoked_at is null
        on conflict do nothing returning id";
    let (role, hash) = (make.role.as_str(), Some(hash.clone()));
    let args = args![make.tenant, &make.name, role, hash, *now, make.expires_at];
    if let Some(row) = conn.row(sql, args).await? {
        return Ok(TokenId(row.get("id")?));
    }
    let sql = "select id from tenants where id = $1 and revoked_at is null";
    conn.one(sql, args![make.tenant]).await?;
    Err(StoreError::Conflict(format!("the tenant has a token `{}` already", make.name)))
}

const TOKENS: &str = "select token.id, token.tenant_id, tenant.name as tenant_name, token.name, token.role,
        token.created_at, token.expires_at, token.last_used_at, token.revoked_at
    from api_tokens as token join tenants as tenant on tenant.id = token.tenant_id";

async fn tokens(conn: &mut Conn, tenant: Option<TenantId>) -> Result<Vec<TokenRow>, StoreError> {
    let of = if tenant.is_some() { "where token.tenant_id = $1" } else { "" };
    let sql =
        format!("{TOKENS} {of} order by token.revoked_at is not null, tenant.name, token.name, token.id");
    let args = tenant.map_or_else(Vec::new, |id| args![id]);
    conn.rows(AssertSqlSafe(sql), args).await?.iter().map(token).collect()
}

fn token(row: &Row) -> Result<TokenRow, StoreError> {
    let id = TokenId(row.get("id")?);
    Ok(TokenRow {
        id,
        tenant: TenantId(row.get("tenant_id")?),
        tenant_name: row.get("tenant_name")?,
        name: row.get("name")?,
        role: row.word("role", Role::from_word, ("api_tokens", &id))?,
        created_at: row.time("created_at")?.ok_or_else(|| corrupt("api_tokens", id, "created_at"))?,
        expires_at: row.time("expires_at")?,
        last_used_at: row.time("last_used_at")?,
        revoked_at: row.time("revoked_at")?,
    })
}

async fn revoke_token(conn: &mut Conn, (id, now): &(TokenId, Timestamp)) -> Result<(), StoreError> {
    let sql = "update api_tokens set revoked_at = coalesce(revoked_at, $2) where id = $1 returning id";
    conn.one(sql, args![*id, *now]).await?;
    Ok(())
}

async fn holder(
    conn: &mut Conn,
    (hash, now): &(Vec<u8>, Timestamp),
) -> Result<Option<(Principal, Option<Timestamp>)>, StoreError> {
    let sql = format!(
        "{TOKENS} where token.hash = $1 and token.revoked_at is null and tenant.revoked_at is null
             and (token.expires_at is null or token.expires_at > $2)",
    );
    let Some(row) = conn.row(AssertSqlSafe(sql), args![Some(hash.clone()), *now]).await? else {
        return Ok(None);
    };
    let row = token(&row)?;
    let principal = Principal {
        tenant: row.tenant,
        tenant_name: row.tenant_name,
        role: row.role,
        token: row.id,
        name: row.name,
    };
    Ok(Some((principal, row.last_used_at)))
}

async fn used(conn: &mut Conn, (id, hour): &(TokenId, i64)) -> Result<(), StoreError> {
    let sql = "update api_tokens set last_used_at = $2 where id = $1 and coalesce(last_used_at, 0) < $2";
    conn.execute(sql, args![*id, *hour]).await?;
    Ok(())
}
