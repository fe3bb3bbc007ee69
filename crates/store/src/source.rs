//! Sources: adds, changes and removes them, with their sealed credentials and root partitions.
//!
//! Never returns a credential except from `secret`.

pub(crate) mod partition;
pub(crate) mod webhook;

use std::collections::BTreeSet;
use std::sync::Arc;

use domain::id::{SourceId, TenantId};
use domain::page::Partition;
use domain::source::Settings;
use jiff::Timestamp;
use sqlx::AssertSqlSafe;

use crate::db::{Conn, Row, args, to_json};
use crate::dialect::{each, for_update, now_ms};
use crate::error::{StoreError, broken, corrupt};
use crate::landing::Layouts;
use crate::vault::{Secret, Vault};
use partition::FoundBy;

/// A source to add.
#[derive(Clone, Debug)]
pub struct NewSource {
    /// Its owner.
    pub tenant: TenantId,
    /// The word that people call it by.
    pub name: String,
    /// The word of its connector.
    pub provider: String,
    /// Its base URL and options.
    pub settings: Settings,
    /// Its credential.
    pub secret: Option<Secret>,
    /// The partitions that follow from the settings.
    pub roots: Vec<Partition>,
}

/// What a source becomes.
#[derive(Clone, Debug)]
pub struct SourceChange {
    /// Its base URL and options.
    pub settings: Settings,
    /// Whether it may be synced.
    pub enabled: bool,
    /// What to do with its credential.
    pub secret: SecretChange,
    /// The partitions that follow from the settings; those that are no longer among them are not read any more.
    pub roots: Vec<Partition>,
}

/// What to do with a source's credential.
#[derive(Clone, Debug, Default)]
pub enum SecretChange {
    /// Leave it.
    #[default]
    Keep,
    /// Forget it.
    Clear,
    /// Replace it.
    Set(Secret),
}

/// A stored source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceRow {
    /// Its id.
    pub id: SourceId,
    /// The word that people call it by.
    pub name: String,
    /// The word of its connector.
    pub provider: String,
    /// Its base URL and options.
    pub settings: Settings,
    /// Whether it may be synced.
    pub enabled: bool,
    /// Its owner.
    pub tenant: Option<TenantId>,
    /// What people call its owner.
    pub tenant_name: Option<String>,
    /// Whether it has a credential.
    pub has_secret: bool,
    /// When it was added.
    pub created_at: Timestamp,
}

/// What a source asks with.
#[derive(Clone, Debug)]
pub struct Credential {
    /// The credential itself.
    pub secret: Option<Secret>,
    /// Whose it is, once that is known.
    pub account: Option<String>,
    /// When the source was last changed: whom a credential belongs to is kept only of the one that was asked with.
    pub changed_at: Timestamp,
}

const COLUMNS: &str =
    "select source.id, source.name, provider, base_url, options, enabled, tenant_id, tenant.name as tenant_name,
    secret is not null as has_secret, source.created_at
    from sources as source left join tenants as tenant on tenant.id = tenant_id where removed_at is null";

fn read(row: &Row) -> Result<SourceRow, StoreError> {
    let id = SourceId(row.get("id")?);
    let options = row.json("options", ("sources", &id))?;
    Ok(SourceRow {
        id,
        name: row.get("name")?,
        provider: row.get("provider")?,
        settings: Settings {
            base_url: row.get("base_url")?,
            options: options.ok_or_else(|| corrupt("sources", id, "options"))?,
        },
        enabled: row.get("enabled")?,
        tenant: row.get::<Option<i64>>("tenant_id")?.map(TenantId),
        tenant_name: row.get("tenant_name")?,
        has_secret: row.get("has_secret")?,
        created_at: row.time("created_at")?.ok_or_else(|| corrupt("sources", id, "created_at"))?,
    })
}

/// Finds the sources of a name, one for each tenant that uses it.
pub(crate) async fn by_name(
    conn: &mut Conn,
    (scope, name): &(Option<TenantId>, String),
) -> Result<Vec<SourceRow>, StoreError> {
    let of = if scope.is_some() { "and tenant_id = $2" } else { "" };
    let sql = format!("{COLUMNS} and source.name = $1 {of} order by source.id");
    let mut args = args![name];
    args.extend(scope.map(Into::into));
    conn.rows(AssertSqlSafe(sql), args).await?.iter().map(read).collect()
}

pub(crate) async fn by_id(conn: &mut Conn, id: SourceId) -> Result<Option<SourceRow>, StoreError> {
    let sql = format!("{COLUMNS} and source.id = $1");
    conn.row(AssertSqlSafe(sql), args![id]).await?.map(|row| read(&row)).transpose()
}

pub(crate) async fn all(conn: &mut Conn, scope: Option<TenantId>) -> Result<Vec<SourceRow>, StoreError> {
    let of = if scope.is_some() { "and tenant_id = $1" } else { "" };
    let sql = format!("{COLUMNS} {of} order by source.name, source.id");
    let args = scope.map_or_else(Vec::new, |id| args![id]);
    conn.rows(AssertSqlSafe(sql), args).await?.iter().map(read).collect()
}

/// A write of a source: the vault is shared, because a write may be run again.
pub(crate) type Sealing<T> = (T, Vault, Timestamp);

pub(crate) async fn add(
    conn: &mut Conn,
    (new, vault, now): &Sealing<NewSource>,
) -> Result<SourceId, StoreError> {
    make_way(conn, new).await?;
    let sql =
        "insert into sources (tenant_id, name, provider, base_url, options, enabled, created_at, updated_at)
        select id, $2, $3, $4, $5, true, $6, $6 from tenants where id = $1 and revoked_at is null
        on conflict (coalesce(tenant_id, 0), name) do update
            set options = excluded.options, enabled = true, removed_at = null, updated_at = excluded.updated_at
            where sources.removed_at is not null
        returning id";
    let options = to_json(&new.settings.options)?;
    let args = args![new.tenant, &new.name, &new.provider, &new.settings.base_url, options, *now];
    let Some(row) = conn.row(sql, args).await? else {
        let alive = "select id from tenants where id = $1 and revoked_at is null";
        conn.one(alive, args![new.tenant]).await?;
        let why = format!("there is already a source named {}; choose another name", new.name);
        return Err(StoreError::Conflict(why));
    };
    let id = SourceId(row.get("id")?);
    if let Some(secret) = &new.secret {
        seal(conn, id, &new.provider, secret, vault).await?;
    }
    partition::keep(conn, id, &new.roots, FoundBy::Settings, *now).await?;
    Ok(id)
}

/// Renames a removed source of the same name at another provider or address: its rows are another service's, and a new
/// source must not take them for its own. No name that a person can give has a space.
async fn make_way(conn: &mut Conn, new: &NewSource) -> Result<(), StoreError> {
    let sql = "update sources set name = name || ' (removed ' || cast(id as text) || ')'
        where coalesce(tenant_id, 0) = $1 and name = $2 and removed_at is not null
            and (provider <> $3 or base_url <> $4)";
    conn.execute(sql, args![new.tenant, &new.name, &new.provider, &new.settings.base_url]).await?;
    Ok(())
}

pub(crate) async fn update(
    conn: &mut Conn,
    (change, vault, now): &Sealing<(SourceId, SourceChange)>,
) -> Result<(), StoreError> {
    let (id, change) = change;
    let row = lock(conn, *id).await?;
    let provider: String = row.get("provider")?;
    if change.settings.base_url != row.get::<String>("base_url")?
        || !matches!(change.secret, SecretChange::Keep)
    {
        forget_account(conn, *id).await?;
    }
    let sql = "update sources set base_url = $2, options = $3, enabled = $4, updated_at = $5 where id = $1";
    let options = to_json(&change.settings.options)?;
    conn.execute(sql, args![*id, &change.settings.base_url, options, change.enabled, *now]).await?;
    // Another address or credential may be another account.
    conn.execute("delete from learned where source_id = $1", args![*id]).await?;
    match &change.secret {
        SecretChange::Keep => {}
        SecretChange::Clear => clear_secret(conn, *id).await?,
        SecretChange::Set(secret) => seal(conn, *id, &provider, secret, vault).await?,
    }
    partition::keep(conn, *id, &change.roots, FoundBy::Settings, *now).await?;
    deactivate_other_roots(conn, *id, &change.roots).await
}

async fn lock(conn: &mut Conn, id: SourceId) -> Result<Row, StoreError> {
    let sql = format!(
        "select provider, base_url, enabled from sources where id = $1 and removed_at is null {}",
        for_update(conn)
    );
    conn.one(AssertSqlSafe(sql), args![id]).await
}

async fn clear_secret(conn: &mut Conn, id: SourceId) -> Result<(), StoreError> {
    conn.execute("update sources set secret = null, secret_key_id = null where id = $1", args![id]).await?;
    Ok(())
}

async fn seal(
    conn: &mut Conn,
    id: SourceId,
    provider: &str,
    secret: &Secret,
    vault: &Vault,
) -> Result<(), StoreError> {
    let sealed = vault.seal(id, provider, secret).map_err(broken)?;
    let sql = "update sources set secret = $2, secret_key_id = $3 where id = $1";
    conn.execute(sql, args![id, Some(sealed), vault.key_id()]).await?;
    Ok(())
}

/// Forgets whose credential a source has, and what is known of that account where no other source has one of it.
async fn forget_account(conn: &mut Conn, id: SourceId) -> Result<(), StoreError> {
    let row = conn.one("select account from sources where id = $1", args![id]).await?;
    let Some(account) = row.get::<Option<String>>("account")? else { return Ok(()) };
    conn.execute("update sources set account = null where id = $1", args![id]).await?;
    forget_budgets(conn, &account).await
}

/// Forgets an account that no source has a credential of.
async fn forget_budgets(conn: &mut Conn, account: &str) -> Result<(), StoreError> {
    for table in ["budgets", "grants"] {
        let sql = format!(
            "delete from {table} where account = $1 and not exists (select 1 from sources where account = $1)"
        );
        conn.execute(AssertSqlSafe(sql), args![account]).await?;
    }
    Ok(())
}

/// Keeps whose credential a source has, unless it has another one by now.
pub(crate) async fn name_account(
    conn: &mut Conn,
    (id, account, was, changed_at): &(SourceId, String, String, Timestamp),
) -> Result<(), StoreError> {
    let sql = "update sources set account = $2 where id = $1 and updated_at = $3 and removed_at is null";
    conn.execute(sql, args![*id, account, *changed_at]).await?;
    forget_budgets(conn, was).await
}

/// Stops reading roots that are no longer in the settings, and everything that was found through them.
async fn deactivate_other_roots(
    conn: &mut Conn,
    id: SourceId,
    roots: &[Partition],
) -> Result<(), StoreError> {
    let kept: BTreeSet<(&str, &str)> = roots.iter().map(|it| (it.stream, it.key.as_str())).collect();
    let sql = format!(
        "with recursive gone (stream, key) as (
             select stream, key from partitions
             where source_id = $1 and listed_by_stream is null and active
                 and (stream, key) not in (select t.value ->> 0, t.value ->> 1 from {})
             union
             select partitions.stream, partitions.key from partitions join gone
                 on partitions.listed_by_stream = gone.stream and partitions.listed_by_key = gone.key
             where partitions.source_id = $1
         )
         update partitions set active = false
         where source_id = $1 and active and (stream, key) in (select stream, key from gone)",
        each(conn, "$2"),
    );
    conn.execute(AssertSqlSafe(sql), args![id, to_json(&kept)?]).await?;
    partition::forget_stopped(conn, id).await
}

/// Opens a source's credential.
pub(crate) async fn credential(
    conn: &mut Conn,
    id: SourceId,
    vault: &Vault,
) -> Result<Credential, StoreError> {
    let sql = "select provider, secret, secret_key_id, account, updated_at from sources
        where id = $1 and removed_at is null";
    let row = conn.one(sql, args![id]).await?;
    let changed_at = row.time("updated_at")?.ok_or_else(|| corrupt("sources", id, "updated_at"))?;
    let account = row.get("account")?;
    let Some(sealed) = row.get::<Option<Vec<u8>>>("secret")? else {
        return Ok(Credential { secret: None, account, changed_at });
    };
    let key_id = row.get::<Option<String>>("secret_key_id")?;
    let key_id = key_id.ok_or_else(|| corrupt("sources", id, "secret_key_id"))?;
    let provider: String = row.get("provider")?;
    Ok(Credential { secret: Some(vault.open(id, &provider, &sealed, &key_id)?), account, changed_at })
}

/// Our own tables with rows of a source, children first.
const OWN: [&str; 23] = [
    "delivery_counts",
    "delivery_marks",
    "recoveries",
    "healing",
    "census_absences",
    "census_seen",
    "censuses",
    "webhooks",
    "hints",
    "deliveries",
    "decisions",
    "forecasts",
    "learned",
    "events",
    "jobs",
    "syncs",
    "seen",
    "validators",
    "checkpoints",
    "items",
    "partitions",
    "schedules",
    "standings",
];

/// Removes a source: its credential, state and jobs; with `purge` also what it landed.
pub(crate) async fn remove(
    conn: &mut Conn,
    (layouts, id, purge): &(Arc<Layouts>, SourceId, bool),
) -> Result<(), StoreError> {
    let id = *id;
    lock(conn, id).await?;
    let busy = "select id from jobs where source_id = $1 and state = 'running'
        union select id from syncs where source_id = $1 and state = 'running'";
    if conn.row(busy, args![id]).await?.is_some() {
        let why = "a sync of the source is running; cancel it, or wait for its end";
        return Err(StoreError::Conflict(why.to_owned()));
    }
    for table in OWN {
        let sql = format!("delete from {table} where source_id = $1");
        conn.execute(AssertSqlSafe(sql), args![id]).await?;
    }
    forget_account(conn, id).await?;
    if !purge {
        clear_secret(conn, id).await?;
        let sql = format!("update sources set removed_at = {}, enabled = false where id = $1", now_ms(conn));
        conn.execute(AssertSqlSafe(sql), args![id]).await?;
        return Ok(());
    }
    for table in layouts.tables() {
        let sql = format!("delete from {} where source_id = $1", table.name);
        conn.execute(AssertSqlSafe(sql), args![id]).await?;
    }
    conn.execute("delete from sources where id = $1", args![id]).await?;
    Ok(())
}

/// Counts the rows that a source has landed and that still exist, per table.
pub(crate) async fn landed_counts(
    conn: &mut Conn,
    layouts: &Layouts,
    id: SourceId,
) -> Result<Vec<(String, i64)>, StoreError> {
    let mut counts = Vec::new();
    for table in layouts.tables() {
        let live = match table.upkeep {
            domain::table::Upkeep::Tracked => "and deleted_at is null",
            domain::table::Upkeep::Immutable => "",
        };
        let sql = format!("select count(*) as rows from {} where source_id = $1 {live}", table.name);
        let row = conn.one(AssertSqlSafe(sql), args![id]).await?;
        counts.push((table.name.to_owned(), row.get("rows")?));
    }
    counts.sort();
    Ok(counts)
}
