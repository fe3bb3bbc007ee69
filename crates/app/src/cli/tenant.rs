//! `syncline tenant`: who owns sources.
//!
//! Nothing is ever deleted with a tenant; revoking one ends its access.

use clap::{Args, Subcommand};
use engine::{SyncService, TenantRow};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::App;
use super::view;
use crate::exit::{Exit, Failure};
use crate::output::{Field, Style, count, plural};

/// Make, list and revoke tenants
#[derive(Debug, Subcommand)]
pub(crate) enum TenantCommand {
    /// Make a tenant
    #[command(after_help = "Examples:\n  syncline tenant create acme")]
    Create(NameArgs),
    /// List the tenants
    #[command(after_help = "Examples:\n  syncline tenant list --json | jq -r '.tenants[].name'")]
    List,
    /// End a tenant's access: its tokens are dead, its sources are not synced any more; what landed stays
    #[command(after_help = "Examples:\n  syncline tenant revoke acme --yes")]
    Revoke(RevokeArgs),
}

/// Which tenant.
#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    /// The tenant
    #[arg(value_name = "NAME")]
    name: String,
}

/// Which tenant, and whether to ask.
#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    /// The tenant
    #[arg(value_name = "NAME")]
    name: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// Runs the command.
pub(crate) async fn run(command: TenantCommand, app: &App) -> anyhow::Result<Exit> {
    let service = app.open().await?;
    let ended = match command {
        TenantCommand::Create(args) => create(&args.name, app, &service).await,
        TenantCommand::List => list(app, &service).await,
        TenantCommand::Revoke(args) => revoke(&args, app, &service).await,
    };
    service.close().await;
    ended
}

fn tenant_json(tenant: &TenantRow) -> Value {
    json!({
        "id": tenant.id,
        "name": tenant.name,
        "sources": tenant.sources,
        "createdAt": tenant.created_at.as_millisecond(),
        "revokedAt": tenant.revoked_at.map(Timestamp::as_millisecond),
    })
}

async fn create(name: &str, app: &App, service: &SyncService) -> anyhow::Result<Exit> {
    let tenant = service.create_tenant(name).await?;
    app.out.json(&tenant_json(&tenant))?;
    let paint = app.out.paint();
    let name = paint.of(Style::Strong, &tenant.name);
    app.out.line(format!("{} made tenant {name}", paint.of(Style::Good, "✓")))?;
    app.out.note(format!("give it a source with `syncline source add … --tenant {}`", tenant.name));
    Ok(Exit::Done)
}

async fn list(app: &App, service: &SyncService) -> anyhow::Result<Exit> {
    let tenants = service.tenants().await?;
    let now = service.clock().now();
    app.out.json(&json!({ "tenants": tenants.iter().map(tenant_json).collect::<Vec<_>>() }))?;
    let rows = tenants.iter().map(|it| {
        let state = match it.revoked_at {
            None => Field::styled(Style::Good, "active"),
            Some(at) => Field::styled(Style::Careful, format!("revoked {}", view::moment(Some(at), now))),
        };
        let made = view::moment(Some(it.created_at), now);
        vec![Field::styled(Style::Strong, &it.name), count(it.sources).into(), made.into(), state]
    });
    app.out.line(app.out.table(&["tenant", ">sources", "made", "state"], rows).trim_fmt())?;
    Ok(Exit::Done)
}

async fn revoke(args: &RevokeArgs, app: &App, service: &SyncService) -> anyhow::Result<Exit> {
    let tenant = service.tenant(&args.name).await?;
    let sources = plural(tenant.sources, "source");
    let question = format!("End the access of `{}` and stop syncing its {sources}?", tenant.name);
    if !args.yes {
        if !app.out.can_ask() {
            return Err(Failure::usage(format!("nobody can be asked here: say --yes. {question}")));
        }
        if !app.out.ask(&question)? {
            app.out.note("nothing was changed");
            return Ok(Exit::Refused);
        }
    }
    let tenant = service.revoke_tenant(&args.name).await?;
    app.out.json(&tenant_json(&tenant))?;
    app.out.line(format!("tenant {} is revoked; what landed stays", tenant.name))?;
    Ok(Exit::Done)
}
