//! `/api/v1/sources`: adding, showing, changing and removing sources, and what each one reads.
//!
//! A credential goes in and never comes out; an answer says only whether there is one.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::IntoResponse;
use domain::connector::Spec;
use domain::id::SourceId;
use engine::{
    AddSource, PartitionPage, PartitionRow, Secret, SecretChange, SourceChanges, SourceRow, provider_specs,
};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use utoipa::{IntoParams, ToSchema};

use super::access::{Admin, Caller, Viewer};
use super::extract::{Body, Path, Query};
use super::problem::Problem;
use crate::words::{self, About};

/// A source: one configured account at a provider.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Source {
    /// Its number.
    id: i64,
    /// Its name, unique among the tenant's.
    name: String,
    /// The provider's word.
    provider: String,
    /// The root of the provider's API.
    base_url: String,
    /// The connector's settings.
    #[schema(value_type = Object)]
    options: Value,
    /// Whether it may be synced.
    enabled: bool,
    /// Whether it has a credential.
    credential: bool,
    /// When it was added.
    created_at: i64,
}

impl From<SourceRow> for Source {
    fn from(row: SourceRow) -> Self {
        Self {
            id: row.id.0,
            name: row.name,
            provider: row.provider,
            base_url: row.settings.base_url,
            options: row.settings.options,
            enabled: row.enabled,
            credential: row.has_secret,
            created_at: row.created_at.as_millisecond(),
        }
    }
}

/// The tenant's sources.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Sources {
    sources: Vec<Source>,
}

/// A source to be added.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewSource {
    /// The provider's word, such as `github`.
    provider: String,
    /// 1 to 64 of `a-z A-Z 0-9 - _ .`
    name: String,
    /// The API's root; the provider's own when it is left out.
    base_url: Option<String>,
    /// The connector's settings, by name.
    #[schema(value_type = Option<Object>)]
    options: Option<Map<String, Value>>,
    /// The credential. It is sealed before it is stored, and never shown again.
    #[serde(default, deserialize_with = "secret")]
    #[schema(value_type = Option<String>, write_only, format = Password)]
    credential: Option<Secret>,
}

/// What is to be changed; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SourceChange {
    /// The API's root. Another server needs a credential of its own in the same request.
    base_url: Option<String>,
    /// The connector's settings, all of them.
    #[schema(value_type = Option<Object>)]
    options: Option<Map<String, Value>>,
    /// The credential; null takes it back.
    #[serde(default, deserialize_with = "secret_change")]
    #[schema(value_type = Option<String>, write_only, format = Password)]
    credential: SecretChange,
    /// Whether it may be synced.
    enabled: Option<bool>,
}

/// The longest credential: a signed one with many claims.
const CREDENTIAL_BYTES_MAX: usize = 16 << 10;

fn secret<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Secret>, D::Error> {
    use serde::de::Error as _;
    let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
    let fits = (1..=CREDENTIAL_BYTES_MAX).contains(&text.len()) && !text.contains(char::is_control);
    let secret = Secret::from(text);
    if fits {
        Ok(Some(secret))
    } else {
        Err(D::Error::custom("a credential has 1 to 16384 characters on one line"))
    }
}

/// Tells null, which takes a credential back, from nothing, which leaves it.
fn secret_change<'de, D: Deserializer<'de>>(from: D) -> Result<SecretChange, D::Error> {
    Ok(secret(from)?.map_or(SecretChange::Clear, SecretChange::Set))
}

/// How a source is removed.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Removal {
    /// Whether its landed rows are deleted too.
    #[serde(default)]
    purge: bool,
}

/// Lists the sources.
#[utoipa::path(get, path = "/api/v1/sources", tag = "sources", responses((status = 200, body = Sources)))]
pub(super) async fn list(caller: Caller<Viewer>) -> Result<Json<Sources>, Problem> {
    let sources = caller.service.sources().await?;
    Ok(Json(Sources { sources: sources.into_iter().map(Into::into).collect() }))
}

/// Adds a source. Nothing is asked of the provider.
#[utoipa::path(
    post, path = "/api/v1/sources", tag = "sources", request_body = NewSource,
    responses((status = 201, body = Source, headers(("location" = String))))
)]
pub(super) async fn add(
    caller: Caller<Admin>,
    Body(new): Body<NewSource>,
) -> Result<impl IntoResponse, Problem> {
    let add = AddSource {
        provider: new.provider,
        name: new.name,
        base_url: new.base_url,
        options: Value::Object(new.options.unwrap_or_default()),
        token: new.credential,
    };
    let id = caller.service.add_source(add).await?;
    let source = Source::from(caller.service.source_by_id(id).await?);
    Ok((StatusCode::CREATED, [(LOCATION, format!("/api/v1/sources/{id}"))], Json(source)))
}

/// Shows a source.
#[utoipa::path(
    get, path = "/api/v1/sources/{source}", tag = "sources", params(("source" = i64, Path)),
    responses((status = 200, body = Source))
)]
pub(super) async fn show(caller: Caller<Viewer>, Path(source): Path<i64>) -> Result<Json<Source>, Problem> {
    Ok(Json(caller.service.source_by_id(SourceId(source)).await?.into()))
}

/// Changes a source.
#[utoipa::path(
    patch, path = "/api/v1/sources/{source}", tag = "sources", params(("source" = i64, Path)),
    request_body = SourceChange, responses((status = 200, body = Source))
)]
pub(super) async fn change(
    caller: Caller<Admin>,
    Path(source): Path<i64>,
    Body(change): Body<SourceChange>,
) -> Result<Json<Source>, Problem> {
    let row = caller.service.source_by_id(SourceId(source)).await?;
    let changes = SourceChanges {
        base_url: change.base_url,
        options: change.options.map(Value::Object),
        token: change.credential,
        enabled: change.enabled,
    };
    caller.service.update_source(&row.name, changes).await?;
    Ok(Json(caller.service.source_by_id(row.id).await?.into()))
}

/// Removes a source with its credential and its place in every stream. Its landed rows stay, unless `purge` is true.
#[utoipa::path(
    delete, path = "/api/v1/sources/{source}", tag = "sources", params(("source" = i64, Path), Removal),
    responses((status = 204))
)]
pub(super) async fn remove(
    caller: Caller<Admin>,
    Path(source): Path<i64>,
    Query(removal): Query<Removal>,
) -> Result<StatusCode, Problem> {
    let row = caller.service.source_by_id(SourceId(source)).await?;
    caller.service.remove_source(&row.name, removal.purge).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a source reads.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Streams {
    streams: Vec<Stream>,
}

/// One kind of record of a source.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Stream {
    name: &'static str,
    /// The group that it is synced with.
    group: &'static str,
    /// The table that it lists completely, where it does.
    lists: Option<&'static str>,
}

/// Lists the streams of a source.
#[utoipa::path(
    get, path = "/api/v1/sources/{source}/streams", tag = "sources", params(("source" = i64, Path)),
    responses((status = 200, body = Streams))
)]
pub(super) async fn streams(
    caller: Caller<Viewer>,
    Path(source): Path<i64>,
) -> Result<Json<Streams>, Problem> {
    let row = caller.service.source_by_id(SourceId(source)).await?;
    let streams = groups(&row.provider).flat_map(|group| {
        group.streams.iter().map(|it| Stream {
            name: it.name,
            group: group.name,
            lists: it.lists.map(|table| table.name),
        })
    });
    Ok(Json(Streams { streams: streams.collect() }))
}

fn groups(provider: &str) -> impl Iterator<Item = &'static domain::connector::Group> {
    let spec: Option<&'static Spec> = provider_specs().find(|it| it.provider == provider);
    spec.into_iter().flat_map(|it| it.groups)
}

/// Which partitions.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PartitionQuery {
    /// Whether only those are listed whose last reading failed.
    #[serde(default)]
    failed_only: bool,
    /// How many at most.
    #[serde(default = "super::page::limit")]
    #[param(minimum = 1, maximum = 500, default = 100)]
    limit: u32,
    /// `next` of the page before.
    after: Option<String>,
}

/// Partitions of a source.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Partitions {
    partitions: Vec<Partition>,
    /// What to ask for with `after`; null at the end.
    next: Option<String>,
}

/// The part of a stream that is read by itself.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Partition {
    stream: String,
    key: String,
    /// What people call it.
    title: Option<String>,
    /// Whether it is still read.
    active: bool,
    /// When it was last read to its end.
    last_synced_at: Option<i64>,
    /// Whether the provider lets us read it; if not, it is tried once a day.
    is_valid: bool,
    /// When it was found invalid.
    invalid_at: Option<i64>,
    error: Option<Fault>,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Fault {
    /// A stable word.
    pub(super) code: String,
    /// A sentence for people, which names the fix.
    pub(super) message: String,
}

impl Fault {
    /// Says what a code means for a source.
    pub(super) fn of(about: About<'_>, code: &str, detail: &str) -> Self {
        Self { code: code.to_owned(), message: words::fault(about, code, detail) }
    }
}

/// Lists the partitions of a source, each with what went wrong with it.
#[utoipa::path(
    get, path = "/api/v1/sources/{source}/partitions", tag = "sources", params(("source" = i64, Path), PartitionQuery),
    responses((status = 200, body = Partitions))
)]
pub(super) async fn partitions(
    caller: Caller<Viewer>,
    Path(source): Path<i64>,
    Query(query): Query<PartitionQuery>,
) -> Result<Json<Partitions>, Problem> {
    let row = caller.service.source_by_id(SourceId(source)).await?;
    let limit = super::page::checked(query.limit)?;
    let after = query.after.as_deref().map(super::page::pair).transpose()?;
    let page = PartitionPage { failed_only: query.failed_only, after, limit };
    let rows = caller.service.partitions(row.id, page).await?;
    let next = super::page::next(&rows, limit, |it| super::page::of_pair(&it.stream, &it.key));
    let about = About { source: &row.name, provider: &row.provider };
    Ok(Json(Partitions { partitions: rows.into_iter().map(|it| partition(about, it)).collect(), next }))
}

fn partition(about: About<'_>, row: PartitionRow) -> Partition {
    Partition {
        stream: row.stream,
        key: row.key,
        title: row.title,
        active: row.active,
        last_synced_at: row.last_synced_at.map(Timestamp::as_millisecond),
        is_valid: row.is_valid,
        invalid_at: row.invalid_at.map(Timestamp::as_millisecond),
        error: row.error.map(|(code, detail)| Fault::of(about, &code, &detail)),
    }
}
