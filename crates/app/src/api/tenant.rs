//! `/api/v1/tenants` and `/api/v1/tokens`: owners, and the tokens that speak for them.
//!
//! A token is shown once, when it is made. Only admins of the tenant `default` see other tenants; to all others
//! those must never seem to exist.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::IntoResponse;
use domain::id::{TenantId, TokenId};
use domain::tenant::Role;
use engine::{SyncService, TenantRow, TokenRow};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::access::{Admin, Caller, Viewer};
use super::extract::{Body, Path, Query};
use super::problem::Problem;

/// An owner of sources.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Tenant {
    id: i64,
    name: String,
    created_at: i64,
    /// When it was revoked: its tokens no longer work, its sources are no longer synced.
    revoked_at: Option<i64>,
    /// How many sources it has.
    sources: u64,
}

impl From<TenantRow> for Tenant {
    fn from(row: TenantRow) -> Self {
        Self {
            id: row.id.0,
            name: row.name,
            created_at: row.created_at.as_millisecond(),
            revoked_at: row.revoked_at.map(Timestamp::as_millisecond),
            sources: row.sources,
        }
    }
}

/// The tenants that the caller sees.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Tenants {
    tenants: Vec<Tenant>,
}

/// A tenant to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewTenant {
    /// 1 to 64 of `a-z A-Z 0-9 - _ .`
    name: String,
}

/// Returns the engine in the scope in which the caller sees tenants and tokens.
fn scope<R>(api: &Api, caller: &Caller<R>) -> SyncService {
    if caller.is_operator() { api.service.clone() } else { caller.service.clone() }
}

/// Lists tenants: the caller's own; all of them for an admin of the tenant `default`.
#[utoipa::path(get, path = "/api/v1/tenants", tag = "tenants", responses((status = 200, body = Tenants)))]
pub(super) async fn list(caller: Caller<Viewer>, State(api): State<Api>) -> Result<Json<Tenants>, Problem> {
    let rows = scope(&api, &caller).tenants().await?;
    Ok(Json(Tenants { tenants: rows.into_iter().map(Into::into).collect() }))
}

/// Shows a tenant.
#[utoipa::path(
    get, path = "/api/v1/tenants/{tenant}", tag = "tenants", params(("tenant" = i64, Path)),
    responses((status = 200, body = Tenant))
)]
pub(super) async fn show(
    caller: Caller<Viewer>,
    State(api): State<Api>,
    Path(tenant): Path<i64>,
) -> Result<Json<Tenant>, Problem> {
    Ok(Json(scope(&api, &caller).tenant_by_id(TenantId(tenant)).await?.into()))
}

/// Makes a tenant. Only an admin of the tenant `default` may.
#[utoipa::path(
    post, path = "/api/v1/tenants", tag = "tenants", request_body = NewTenant,
    responses((status = 201, body = Tenant, headers(("location" = String))))
)]
pub(super) async fn add(
    caller: Caller<Admin>,
    State(api): State<Api>,
    Body(new): Body<NewTenant>,
) -> Result<impl IntoResponse, Problem> {
    operators_only(&caller)?;
    let row = api.service.create_tenant(&new.name).await?;
    let place = [(LOCATION, format!("/api/v1/tenants/{}", row.id))];
    Ok((StatusCode::CREATED, place, Json(Tenant::from(row))))
}

/// Revokes a tenant: its tokens no longer work and its sources are no longer synced; its rows stay.
#[utoipa::path(
    delete, path = "/api/v1/tenants/{tenant}", tag = "tenants", params(("tenant" = i64, Path)),
    responses((status = 200, body = Tenant))
)]
pub(super) async fn revoke(
    caller: Caller<Admin>,
    State(api): State<Api>,
    Path(tenant): Path<i64>,
) -> Result<Json<Tenant>, Problem> {
    let row = scope(&api, &caller).tenant_by_id(TenantId(tenant)).await?;
    operators_only(&caller)?;
    if row.id == caller.principal.tenant {
        let says =
            "this is the tenant that runs the server: revoke it with `syncline tenant revoke`, if you must";
        return Err(Problem::new(StatusCode::CONFLICT, "conflict", says));
    }
    Ok(Json(api.service.revoke_tenant(&row.name).await?.into()))
}

fn operators_only<R>(caller: &Caller<R>) -> Result<(), Problem> {
    if caller.is_operator() {
        return Ok(());
    }
    let says = "only admins of the tenant `default` make and revoke tenants";
    Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", says))
}

/// A token, without its text.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Token {
    id: i64,
    /// The tenant's number.
    tenant: i64,
    /// The tenant's name.
    tenant_name: String,
    name: String,
    #[schema(schema_with = super::word::role)]
    role: &'static str,
    created_at: i64,
    expires_at: Option<i64>,
    /// When it was last used, to the hour.
    last_used_at: Option<i64>,
    revoked_at: Option<i64>,
}

impl From<TokenRow> for Token {
    fn from(row: TokenRow) -> Self {
        Self {
            id: row.id.0,
            tenant: row.tenant.0,
            tenant_name: row.tenant_name,
            name: row.name,
            role: row.role.as_str(),
            created_at: row.created_at.as_millisecond(),
            expires_at: row.expires_at.map(Timestamp::as_millisecond),
            last_used_at: row.last_used_at.map(Timestamp::as_millisecond),
            revoked_at: row.revoked_at.map(Timestamp::as_millisecond),
        }
    }
}

/// The tokens that the caller sees.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Tokens {
    tokens: Vec<Token>,
}

/// A token to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewToken {
    /// 1 to 64 of `a-z A-Z 0-9 - _ .`
    name: String,
    role: NewRole,
    /// How long it works; for ever when it is left out.
    #[schema(minimum = 1_000)]
    expires_in_ms: Option<u64>,
    /// The tenant's number; the caller's own when it is left out.
    tenant: Option<i64>,
}

/// What a token may do.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum NewRole {
    Admin,
    Operator,
    Viewer,
}

impl From<NewRole> for Role {
    fn from(role: NewRole) -> Self {
        match role {
            NewRole::Admin => Self::Admin,
            NewRole::Operator => Self::Operator,
            NewRole::Viewer => Self::Viewer,
        }
    }
}

/// A token that was made: the only time that its text is shown.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MadeToken {
    /// What goes behind `Authorization: Bearer`.
    token: String,
    #[serde(rename = "info")]
    row: Token,
}

/// The longest life of a token that has an end: a hundred years is for ever.
const EXPIRES_MAX_MS: u64 = 100 * 365 * 24 * 3_600_000;

/// Which tokens.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenQuery {
    /// Only those of this tenant.
    tenant: Option<i64>,
}

/// Lists tokens, without their text.
#[utoipa::path(
    get, path = "/api/v1/tokens", tag = "tenants", params(TokenQuery), responses((status = 200, body = Tokens))
)]
pub(super) async fn tokens(
    caller: Caller<Admin>,
    State(api): State<Api>,
    Query(query): Query<TokenQuery>,
) -> Result<Json<Tokens>, Problem> {
    let service = scope(&api, &caller);
    let tenant = match query.tenant {
        Some(id) => Some(service.tenant_by_id(TenantId(id)).await?.id),
        None => None,
    };
    let rows = service.tokens(tenant).await?;
    Ok(Json(Tokens { tokens: rows.into_iter().map(Into::into).collect() }))
}

/// Makes a token. Its text is in this answer and nowhere else.
#[utoipa::path(
    post, path = "/api/v1/tokens", tag = "tenants", request_body = NewToken,
    responses((status = 201, body = MadeToken))
)]
pub(super) async fn add_token(
    caller: Caller<Admin>,
    State(api): State<Api>,
    Body(new): Body<NewToken>,
) -> Result<(StatusCode, Json<MadeToken>), Problem> {
    let service = scope(&api, &caller);
    let tenant = match new.tenant {
        Some(id) => service.tenant_by_id(TenantId(id)).await?.id,
        None => caller.principal.tenant,
    };
    let expires_in = new.expires_in_ms.map(lifetime).transpose()?;
    let made = service.create_token(tenant, &new.name, new.role.into(), expires_in).await?;
    let rows = service.tokens(Some(tenant)).await?;
    let row = rows.into_iter().find(|it| it.id == made.id).ok_or_else(Problem::internal)?;
    let made = MadeToken { token: made.text.expose().to_owned(), row: row.into() };
    Ok((StatusCode::CREATED, Json(made)))
}

fn lifetime(ms: u64) -> Result<SignedDuration, Problem> {
    let fits = i64::try_from(ms).ok().filter(|_| (1_000..=EXPIRES_MAX_MS).contains(&ms));
    fits.map(SignedDuration::from_millis).ok_or_else(|| {
        Problem::invalid(
            "expiresInMs",
            "expiresInMs: a token works for a second at least, and a hundred years at most",
        )
    })
}

/// Revokes a token at once.
#[utoipa::path(
    delete, path = "/api/v1/tokens/{token}", tag = "tenants", params(("token" = i64, Path)),
    responses((status = 200, body = Token))
)]
pub(super) async fn revoke_token(
    caller: Caller<Admin>,
    State(api): State<Api>,
    Path(token): Path<i64>,
) -> Result<Json<Token>, Problem> {
    Ok(Json(scope(&api, &caller).revoke_token(TokenId(token)).await?.into()))
}
