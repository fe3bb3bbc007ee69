//! `syncline token`: what opens the API, and for whom.
//!
//! A token is shown once, when it is made, and on standard output only.

use clap::{Args, Subcommand, ValueEnum};
use domain::id::TokenId;
use domain::tenant::Role;
use engine::{SyncService, TokenRow};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::App;
use super::view;
use crate::config::parse_go_duration;
use crate::exit::{Exit, Failure};
use crate::output::{Field, Style, clock_time};

/// Whose token it is where nobody was named.
const DEFAULT_TENANT: &str = "default";

/// Make, list and revoke tokens
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token; it is shown this once
    #[command(after_help = "Examples:
  syncline token create --name laptop                                    of the tenant `default`, to look only
  syncline token create --tenant acme --name ci --role operator --expires-in 90d
  syncline token create --name ci --json | jq -r .token

A viewer looks, an operator also starts and stops syncs, an admin also manages sources,
schedules and tokens. Only a hash of the token is kept: who loses it makes another.")]
    Create(CreateArgs),
    /// List the tokens, without what they are
    #[command(after_help = "Examples:\n  syncline token list --tenant acme")]
    List,
    /// End a token at once
    #[command(after_help = "Examples:\n  syncline token revoke 3")]
    Revoke(RevokeArgs),
}

/// What the token is to be.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// What it is called
    #[arg(long, value_name = "NAME")]
    name: String,
    /// What its holder may do
    #[arg(long, value_enum, default_value = "viewer")]
    role: RoleWord,
    /// When it ends, such as 90d or 12h [default: when it is revoked]
    #[arg(long, value_name = "DURATION")]
    expires_in: Option<String>,
}

/// Which token.
#[derive(Debug, Args)]
pub(crate) struct RevokeArgs {
    /// Its number, as `syncline token list` shows it
    #[arg(value_name = "ID")]
    id: i64,
}

/// A role as it is typed.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum RoleWord {
    Admin,
    Operator,
    Viewer,
}

impl From<RoleWord> for Role {
    fn from(word: RoleWord) -> Self {
        match word {
            RoleWord::Admin => Self::Admin,
            RoleWord::Operator => Self::Operator,
            RoleWord::Viewer => Self::Viewer,
        }
    }
}

/// Runs the command.
pub(crate) async fn run(command: TokenCommand, app: &App) -> anyhow::Result<Exit> {
    let service = app.open().await?;
    let ended = match command {
        TokenCommand::Create(args) => create(&args, app, &service).await,
        TokenCommand::List => list(app, &service).await,
        TokenCommand::Revoke(args) => revoke(&args, app, &service).await,
    };
    service.close().await;
    ended
}

fn token_json(token: &TokenRow) -> Value {
    json!({
        "id": token.id,
        "tenant": token.tenant_name,
        "name": token.name,
        "role": token.role,
        "createdAt": token.created_at.as_millisecond(),
        "expiresAt": token.expires_at.map(Timestamp::as_millisecond),
        "lastUsedAt": token.last_used_at.map(Timestamp::as_millisecond),
        "revokedAt": token.revoked_at.map(Timestamp::as_millisecond),
    })
}

/// Reads `90d`, or a duration in hours and less.
fn life(text: &str) -> anyhow::Result<SignedDuration> {
    let days = text.strip_suffix('d').and_then(|it| it.parse::<i64>().ok());
    let life = match days {
        Some(days) => days.checked_mul(24).and_then(SignedDuration::try_from_hours),
        None => parse_go_duration(text),
    };
    life.ok_or_else(|| Failure::usage(format!("--expires-in: `{text}` is not a duration; write 90d or 12h")))
}

async fn create(args: &CreateArgs, app: &App, service: &SyncService) -> anyhow::Result<Exit> {
    let expires_in = args.expires_in.as_deref().map(life).transpose()?;
    let tenant = service.tenant(app.tenant.as_deref().unwrap_or(DEFAULT_TENANT)).await?;
    let made = service.create_token(tenant.id, &args.name, args.role.into(), expires_in).await?;
    let rows = service.tokens(Some(tenant.id)).await?;
    let row = rows.iter().find(|it| it.id == made.id);
    let mut value = row.map_or(Value::Null, token_json);
    value["token"] = json!(made.text.expose());
    app.out.json(&value)?;
    app.out.line(made.text.expose())?;
    app.out.note(format!(
        "this is the only time that it is shown: {} of tenant `{}`; end it with `syncline token revoke {}`",
        Role::from(args.role),
        tenant.name,
        made.id
    ));
    Ok(Exit::Done)
}

async fn list(app: &App, service: &SyncService) -> anyhow::Result<Exit> {
    let tokens = service.tokens(None).await?;
    let now = service.clock().now();
    app.out.json(&json!({ "tokens": tokens.iter().map(token_json).collect::<Vec<_>>() }))?;
    if tokens.is_empty() {
        app.out.line("no token yet: make one with `syncline token create --name NAME`")?;
        return Ok(Exit::Done);
    }
    let rows = tokens.iter().map(|it| {
        let ended = it.expires_at.is_some_and(|at| at <= now);
        let state = match (it.revoked_at, it.expires_at) {
            (Some(at), _) => {
                Field::styled(Style::Careful, format!("revoked {}", view::moment(Some(at), now)))
            }
            (None, Some(at)) if ended => {
                Field::styled(Style::Careful, format!("ended {}", clock_time(at, now)))
            }
            (None, Some(at)) => Field::styled(Style::Good, format!("until {}", clock_time(at, now))),
            (None, None) => Field::styled(Style::Good, "active"),
        };
        vec![
            Field::styled(Style::Quiet, it.id),
            it.tenant_name.as_str().into(),
            Field::styled(Style::Strong, &it.name),
            it.role.into(),
            view::moment(it.last_used_at, now).into(),
            state,
        ]
    });
    app.out.line(app.out.table(&["token", "tenant", "name", "role", "used", "state"], rows).trim_fmt())?;
    Ok(Exit::Done)
}

async fn revoke(args: &RevokeArgs, app: &App, service: &SyncService) -> anyhow::Result<Exit> {
    let token = service.revoke_token(TokenId(args.id)).await?;
    app.out.json(&token_json(&token))?;
    app.out.line(format!("token {} of tenant `{}` is revoked", token.name, token.tenant_name))?;
    Ok(Exit::Done)
}
