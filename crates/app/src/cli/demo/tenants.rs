//! The demo's two tenants, the folder's own and a made-up neighbour: their sources, schedules and tokens.
//!
//! It never touches a tenant, a source or a token that a person made.

use std::time::Duration;

use domain::id::TenantId;
use domain::policy::schedule::Own;
use domain::tenant::Role;
use engine::{AddSource, NewToken, Secret, SourceChanges, SourceRow, SyncService};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::super::follow::groups;
use super::world;

/// The simulator takes any word for a credential.
const TOKEN: &str = "made-up-for-the-demo";

/// How often each source is synced by itself: often enough to be watched. At 900 times an hour there is still room in the
/// 5,000 requests that the fake GitHub allows, also where each time something is new.
const EVERY: SignedDuration = SignedDuration::from_secs(4);

/// How long a token lives that could not be revoked because the demo was killed.
const TOKEN_LIFE: SignedDuration = SignedDuration::from_hours(24);

/// Names that are tried for the neighbour before giving up; each one taken is somebody's tenant, or revoked.
const NAMES_MAX: u32 = 100;

/// What the neighbour calls its sources.
const GITHUB: &str = "github";
const JIRA: &str = "jira";

/// What a source is to be.
pub(super) struct Wanted<'a> {
    pub(super) provider: &'a str,
    pub(super) name: &'a str,
    pub(super) base_url: String,
    pub(super) options: Value,
}

/// Adds a source, or gives the one that is there the simulator's address of today.
pub(super) async fn keep(service: &SyncService, wanted: Wanted<'_>) -> anyhow::Result<SourceRow> {
    let Wanted { provider, name, base_url, options } = wanted;
    match service.source(name).await {
        Ok(known) => {
            world::must_be_ours(&known)?;
            let changes = SourceChanges { base_url: Some(base_url), ..SourceChanges::default() };
            service.update_source(name, changes).await?;
        }
        Err(engine::Error::Unknown { .. }) => {
            let add = AddSource {
                provider: provider.to_owned(),
                name: name.to_owned(),
                base_url: Some(base_url),
                options,
                token: Some(Secret::from(TOKEN.to_owned())),
            };
            service.add_source(add).await?;
        }
        Err(error) => return Err(error.into()),
    }
    Ok(service.source(name).await?)
}

/// One tenant with what the demo keeps for it.
pub(super) struct Party {
    pub(super) name: String,
    pub(super) sources: Vec<SourceRow>,
    /// Opens the API for it until the demo ends.
    pub(super) token: NewToken,
    service: SyncService,
}

/// Gives the tenant of the folder's history a Jira beside it: Cloud, where the neighbour has Data Center.
pub(super) async fn own(service: &SyncService, source: &SourceRow, sim: &sim::Sim) -> anyhow::Result<Party> {
    let owner =
        source.tenant.ok_or_else(|| engine::Error::Internal("the demo's source is nobody's".to_owned()))?;
    let scoped = service.scoped(owner);
    let jira = Wanted {
        provider: "jira",
        name: &format!("{}-jira", source.name),
        base_url: sim.jira_cloud_url(),
        options: json!({ "email": "demo@example.com" }),
    };
    let jira = keep(&scoped, jira).await?;
    Party::open(scoped, owner, &source.name, vec![source.clone(), jira]).await
}

/// Makes the neighbour, or finds the one of an earlier run, and starts what it reads.
pub(super) async fn neighbour(
    service: &SyncService,
    own: &SourceRow,
    is_our_folders: bool,
    latency: Duration,
) -> anyhow::Result<(Party, sim::Sim)> {
    // A database that other folders may use too has a neighbour for each of them: several demos may run at once.
    let suffix = own.name.strip_prefix("demo").filter(|_| !is_our_folders).unwrap_or_default();
    let tenant = neighbour_of(service, own, &format!("neighbour{suffix}")).await?;
    let scoped = service.scoped(tenant);
    let sim = world::start_neighbour(latency, &scoped.sources().await?).await?;
    let wanted = [
        Wanted { provider: "github", name: GITHUB, base_url: sim.github_url(), options: json!({}) },
        Wanted { provider: "jira", name: JIRA, base_url: sim.jira_dc_url(), options: json!({}) },
    ];
    let mut sources = Vec::new();
    for it in wanted {
        sources.push(keep(&scoped, it).await?);
    }
    Ok((Party::open(scoped, tenant, &own.name, sources).await?, sim))
}

/// Finds the neighbour, or makes it under the first name that is nobody's.
async fn neighbour_of(service: &SyncService, own: &SourceRow, name: &str) -> anyhow::Result<TenantId> {
    let known = service.tenants().await?;
    for number in 1..=NAMES_MAX {
        let name = if number == 1 { name.to_owned() } else { format!("{name}-{number}") };
        let Some(tenant) = known.iter().find(|it| it.name == name) else {
            return Ok(service.create_tenant(&name).await?.id);
        };
        if tenant.revoked_at.is_some() || Some(tenant.id) == own.tenant {
            continue;
        }
        let sources = service.scoped(tenant.id).sources().await?;
        if sources.iter().any(|it| it.name == GITHUB && world::is_ours(it)) {
            return Ok(tenant.id);
        }
    }
    Err(engine::Error::Conflict(format!("every name from `{name}` to `{name}-{NAMES_MAX}` is taken")).into())
}

impl Party {
    async fn open(
        service: SyncService,
        tenant: TenantId,
        source: &str,
        sources: Vec<SourceRow>,
    ) -> anyhow::Result<Self> {
        // Nobody else calls a token so; one that lives was left by a run that was killed.
        let called = format!("syncline-{source}");
        let left = service.tokens(Some(tenant)).await?.into_iter();
        for it in left.filter(|it| it.name == called && it.revoked_at.is_none()) {
            service.revoke_token(it.id).await?;
        }
        let name = service.tenant_by_id(tenant).await?.name;
        let token = service.create_token(tenant, &called, Role::Viewer, Some(TOKEN_LIFE)).await?;
        Ok(Self { name, sources, token, service })
    }

    /// Has its sources synced by themselves.
    pub(super) async fn wake(&self) -> Result<(), engine::Error> {
        self.schedule(Own::Every(EVERY)).await
    }

    /// Has no sync of its sources begin by itself any more: without the simulators none would succeed.
    pub(super) async fn rest(&self) -> Result<(), engine::Error> {
        self.schedule(Own::Off).await
    }

    /// Ends its token.
    pub(super) async fn close(&self) -> Result<(), engine::Error> {
        self.service.revoke_token(self.token.id).await.map(drop)
    }

    async fn schedule(&self, own: Own) -> Result<(), engine::Error> {
        for source in &self.sources {
            for group in groups(source, None) {
                self.service.set_schedule(source.id, group, own).await?;
            }
        }
        Ok(())
    }
}
