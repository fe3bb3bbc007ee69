//! Sources: added, changed, found and removed. A name is looked for among those that the handle sees.
//!
//! Never asks a provider anything.

use domain::connector::{Connector, Group, Spec};
use domain::id::{SourceId, TenantId};
use domain::source::Settings;
use serde_json::Value;
use store::{
    NewSource, PartitionPage, PartitionRow, Secret, SecretChange, SourceChange, SourceRow, StoreError,
};

use super::SyncService;
use crate::error::Error;
use crate::http::{check_base_url, is_same_keeper};

/// A source to be added.
#[derive(Clone, Debug)]
pub struct AddSource {
    /// The provider's word; see [`provider_specs`].
    pub provider: String,
    /// The source's name, unique among the tenant's.
    pub name: String,
    /// The API's root; `None` is the provider's own.
    pub base_url: Option<String>,
    /// The connector's settings, by name.
    pub options: Value,
    /// The credential.
    pub token: Option<Secret>,
}

/// What is to be changed of a source; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct SourceChanges {
    /// The API's root.
    pub base_url: Option<String>,
    /// The connector's settings, all of them.
    pub options: Option<Value>,
    /// What to do with the credential.
    pub token: SecretChange,
    /// Whether the source is switched on.
    pub enabled: Option<bool>,
}

/// Refuses a credential that the provider gives out for something else.
fn usable(spec: &Spec, token: &Secret) -> Result<(), Error> {
    let why = spec.refuses_token(token.expose());
    why.map_or(Ok(()), |why| Err(Error::Invalid { field: "credential", why }))
}

/// Returns what every connector offers, for help texts and checks.
pub fn provider_specs() -> impl Iterator<Item = &'static Spec> {
    connectors::ALL.iter().map(|it| it.spec())
}

/// The tenant of sources that nobody else was named for.
const DEFAULT_TENANT: &str = "default";

impl SyncService {
    /// Adds a source. Nothing is asked of the provider.
    pub async fn add_source(&self, add: AddSource) -> Result<SourceId, Error> {
        let connector = connector(&add.provider)?;
        let settings = settings(connector.spec(), add.base_url.as_deref(), add.options)?;
        let roots = connector.roots(&settings)?;
        if let Some(token) = &add.token {
            usable(connector.spec(), token)?;
        }
        let new = NewSource {
            tenant: self.owner().await?,
            name: name(&add.name)?,
            provider: connector.spec().provider.to_owned(),
            settings,
            secret: add.token,
            roots,
        };
        match self.store.add_source(new, &self.vault, self.clock.now()).await {
            Err(StoreError::Conflict(_)) => Err(Error::Conflict(format!(
                "there is already a source `{}`; change it with --update",
                add.name
            ))),
            other => Ok(other?),
        }
    }

    /// Changes a source. What the settings no longer name is not read any more; its rows stay.
    pub async fn update_source(&self, name: &str, changes: SourceChanges) -> Result<(), Error> {
        let row = self.source(name).await?;
        let connector = connector(&row.provider)?;
        let base_url = changes.base_url.unwrap_or_else(|| row.settings.base_url.clone());
        let options = changes.options.unwrap_or(row.settings.options);
        let settings = settings(connector.spec(), Some(&base_url), options)?;
        let roots = connector.roots(&settings)?;
        if let SecretChange::Set(token) = &changes.token {
            usable(connector.spec(), token)?;
        }
        let kept = row.has_secret && matches!(changes.token, SecretChange::Keep);
        if kept && !is_same_keeper(&row.settings.base_url, &base_url) {
            let why = "the credential was given for another server; name the one for this server with --token-env VARIABLE"
                .to_owned();
            return Err(Error::Invalid { field: "token-env", why });
        }
        let change = SourceChange {
            settings,
            roots,
            enabled: changes.enabled.unwrap_or(row.enabled),
            secret: changes.token,
        };
        Ok(self.store.update_source(row.id, change, &self.vault, self.clock.now()).await?)
    }

    /// Returns the tenant that new sources belong to: the handle's own, or the default one.
    async fn owner(&self) -> Result<TenantId, Error> {
        let tenants = self.tenants().await?;
        let found = tenants.into_iter().find(|it| self.scope().is_some() || it.name == DEFAULT_TENANT);
        let tenant = match found {
            Some(tenant) => tenant,
            None => self.create_tenant(DEFAULT_TENANT).await?,
        };
        if tenant.revoked_at.is_some() {
            let name = tenant.name;
            return Err(Error::Conflict(format!("the tenant `{name}` is revoked; name another one")));
        }
        Ok(tenant.id)
    }

    /// Finds a source by its name.
    pub async fn source(&self, name: &str) -> Result<SourceRow, Error> {
        let mut found = self.store.sources_named(self.scope, name).await?;
        match found.len() {
            0 => Err(Error::Unknown { what: "source", id: name.to_owned() }),
            1 => Ok(found.remove(0)),
            _ => {
                let owners: Vec<String> =
                    found.into_iter().map(|it| it.tenant_name.unwrap_or_default()).collect();
                let owners = owners.join(", ");
                Err(Error::Conflict(format!(
                    "several tenants have a source `{name}`: say which with --tenant ({owners})"
                )))
            }
        }
    }

    /// Finds a source by its id.
    pub async fn source_by_id(&self, id: SourceId) -> Result<SourceRow, Error> {
        let row = self.store.source_by_id(id).await?.filter(|it| self.sees(it.tenant));
        row.ok_or_else(|| Error::Unknown { what: "source", id: id.to_string() })
    }

    /// Lists the sources.
    pub async fn sources(&self) -> Result<Vec<SourceRow>, Error> {
        Ok(self.store.sources(self.scope).await?)
    }

    /// Lists partitions of a source, a page at a time.
    pub async fn partitions(
        &self,
        source: SourceId,
        page: PartitionPage,
    ) -> Result<Vec<PartitionRow>, Error> {
        self.source_by_id(source).await?;
        Ok(self.store.partitions(source, page).await?)
    }

    /// Counts the landed rows of a source, by table.
    pub async fn landed_counts(&self, source: SourceId) -> Result<Vec<(String, i64)>, Error> {
        self.source_by_id(source).await?;
        Ok(self.store.landed_counts(source).await?)
    }

    /// Removes a source with its credential and state; with `purge` its landed rows too.
    pub async fn remove_source(&self, name: &str, purge: bool) -> Result<(), Error> {
        let row = self.source(name).await?;
        match self.store.remove_source(row.id, purge).await {
            Err(StoreError::Conflict(_)) => Err(Error::Conflict(format!(
                "a sync of `{name}` is running; `syncline sync status` tells its number, and `syncline sync cancel` stops it"
            ))),
            other => Ok(other?),
        }
    }
}

pub(crate) fn connector(provider: &str) -> Result<&'static dyn Connector, Error> {
    connectors::find(provider).ok_or_else(|| Error::Unknown { what: "provider", id: provider.to_owned() })
}

/// Finds a group of a connector's streams.
pub(super) fn group_of(spec: &'static Spec, name: &str) -> Result<&'static Group, Error> {
    let found = spec.groups.iter().find(|it| it.name == name);
    found.ok_or_else(|| Error::Unknown { what: "stream group", id: name.to_owned() })
}

fn settings(spec: &Spec, base_url: Option<&str>, options: Value) -> Result<Settings, Error> {
    let Some(text) = base_url.or(spec.default_base_url) else {
        let why = format!(
            "is missing: {} has no address that all share; name yours, as --base-url https://…",
            spec.title
        );
        return Err(Error::Invalid { field: "base-url", why });
    };
    let base_url = check_base_url(text)
        .map_err(|why| Error::Invalid { field: "base-url", why: format!("`{text}` {why}") })?;
    Ok(Settings { base_url, options })
}

/// Names are typed and shown in tables: short, and without what a shell or a terminal would take for its own.
pub(super) fn name(text: &str) -> Result<String, Error> {
    let fits = (1..=64).contains(&text.len())
        && text.bytes().all(|it| it.is_ascii_alphanumeric() || b"-_.".contains(&it))
        && !text.starts_with('-');
    if fits {
        Ok(text.to_owned())
    } else {
        let why = format!("`{text}` is not a name: use 1 to 64 of a-z A-Z 0-9 - _ . (not starting with -)");
        Err(Error::Invalid { field: "name", why })
    }
}
