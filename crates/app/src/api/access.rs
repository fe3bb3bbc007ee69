//! Who asks: the token of a request, its tenant and its role. Handlers get the engine in that tenant's scope only.
//!
//! It must never let a handler have the engine without a role, and never log a token.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use domain::tenant::Role;
use engine::{Principal, SyncService};

use super::Api;
use super::problem::Problem;

/// The tenant that exists from the start. Its admins run this server: they make and revoke tenants.
const OPERATORS: &str = "default";

/// The longest header that may hold a token; ours are shorter than a tenth of it.
const HEADER_BYTES_MAX: usize = 512;

/// Somebody with a token, whose role is at least what `R` says.
pub(super) struct Caller<R> {
    /// The engine in the scope of the caller's tenant.
    pub(super) service: SyncService,
    /// Whose token it is.
    pub(super) principal: Arc<Principal>,
    role: PhantomData<R>,
}

/// A role that an endpoint asks for.
pub(super) trait Needs {
    /// The role.
    const ROLE: Role;
}

/// May look.
pub(super) struct Viewer;
/// May start and cancel syncs too.
pub(super) struct Operator;
/// May change sources, schedules and tokens too.
pub(super) struct Admin;

impl Needs for Viewer {
    const ROLE: Role = Role::Viewer;
}

impl Needs for Operator {
    const ROLE: Role = Role::Operator;
}

impl Needs for Admin {
    const ROLE: Role = Role::Admin;
}

impl<R> Caller<R> {
    /// Says whether the caller may see what is of all tenants together.
    pub(super) fn sees_all(&self) -> bool {
        self.principal.tenant_name == OPERATORS
    }

    /// Says whether the caller runs this server.
    pub(super) fn is_operator(&self) -> bool {
        self.sees_all() && self.principal.role.may(Role::Admin)
    }
}

impl<R: Needs> FromRequestParts<Api> for Caller<R> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let principal = parts.extensions.get::<Arc<Principal>>().cloned().ok_or_else(unauthorized)?;
        if !principal.role.may(R::ROLE) {
            let says =
                format!("the token's role is {}; this needs {}", principal.role.as_str(), R::ROLE.as_str());
            return Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", says));
        }
        let service = api.service.scoped(principal.tenant);
        Ok(Self { service, principal, role: PhantomData })
    }
}

/// Lets a request pass whose token is good, and counts it.
pub(super) async fn authenticate(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    match recognise(&api, request.headers()).await {
        Ok(principal) => {
            request.extensions_mut().insert(principal);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

/// Finds out whose token a request carries, and counts it.
pub(super) async fn recognise(api: &Api, headers: &HeaderMap) -> Result<Arc<Principal>, Problem> {
    let header = headers.get(AUTHORIZATION).and_then(|it| it.to_str().ok()).ok_or_else(unauthorized)?;
    let token = header
        .split_once(' ')
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer") && header.len() <= HEADER_BYTES_MAX)
        .map(|(_, token)| token.trim())
        .ok_or_else(unauthorized)?;
    let principal = api.service.authenticate(token).await?.ok_or_else(unauthorized)?;
    api.limits.count_token(principal.token)?;
    Ok(Arc::new(principal))
}

/// One answer for no token, a wrong one, an expired and a revoked one.
fn unauthorized() -> Problem {
    let says = "send a token that is valid: `Authorization: Bearer slt_…`; `syncline token create` makes one";
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", says)
}
