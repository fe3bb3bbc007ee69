//! The OpenAPI document: what the endpoints' own descriptions lack is added here, for all of them alike.
//!
//! It must never describe a single endpoint; those stand with their functions.

use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Components, ContentBuilder, HeaderBuilder, OpenApi as Document, Ref, RefOr, Response, ResponseBuilder,
    SecurityRequirement,
};

use super::problem::{MEDIA_TYPE, Told};

/// The document before the endpoints are added.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Syncline",
        description = "Keeps a team's data from its providers in step with the team's own database. Times are epoch \
                       milliseconds, but for `/api/sync/status`. Everything is seen in the scope of the token's \
                       tenant: what is another's is not there (404).",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    components(schemas(Told))
)]
pub(super) struct Beginning;

/// The name of the security scheme.
const TOKEN: &str = "token";

/// Adds the token, and the problems that every endpoint may answer with, and writes the document down.
pub(super) fn finish(mut document: Document) -> String {
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("slt_…")
        .description(Some("A token of a tenant; `syncline token create` makes one."))
        .build();
    document
        .components
        .get_or_insert_with(Components::new)
        .add_security_scheme(TOKEN, SecurityScheme::Http(scheme));
    document.security = Some(vec![SecurityRequirement::new(TOKEN, Vec::<String>::new())]);
    for item in document.paths.paths.values_mut() {
        let operations =
            [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch, &mut item.head];
        for operation in operations.into_iter().flatten() {
            let problem = RefOr::T(problem());
            operation.responses.responses.entry("default".to_owned()).or_insert(problem);
        }
    }
    // Everything in it was made of strings and numbers here, which cannot fail to be written.
    document.to_json().unwrap_or_default()
}

fn problem() -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new()
        .description("A problem (RFC 9457): `code` is stable, `detail` is for people.")
        .content(MEDIA_TYPE, content)
        .header(
            "x-request-id",
            HeaderBuilder::new().description(Some("The request, as it stands in the log.")).build(),
        )
        .build()
}
