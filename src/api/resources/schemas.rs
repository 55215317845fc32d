//! Owns the versions of a source's schema.

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use serde_json::Value;

use super::catalog::Catalog;
use crate::api::http::pagination::{Limit, MAX_BYTES};
use crate::api::http::problem::{Declares, Kind, Refusal};
use crate::api::openapi::tags::Tag;
use crate::api::state::ApiState;
use crate::db::schemas;
use crate::domain::source_name::SourceName;

/// A version of a source's schema.
#[derive(Debug, Object)]
pub(crate) struct SchemaVersion {
    /// From 1.
    pub(crate) version: i32,
    /// Field to type: `number`, `string?` (may be absent), `integer|string`, `null` (never seen).
    pub(crate) schema_signature: Value,
    /// The run that saw it first.
    pub(crate) run_id: i64,
    pub(crate) first_seen_at: DateTime<Utc>,
}

/// The versions of a source's schema.
#[derive(Debug, Object)]
pub(crate) struct SchemaVersions {
    /// Newest first; empty before the first complete run.
    pub(crate) items: Vec<SchemaVersion>,
}

/// `GET /schemas/{source}`
struct ListVersions;
impl Declares for ListVersions {
    const KINDS: &'static [Kind] = &[Kind::InvalidParameter, Kind::UnknownSource];
}

/// The operations on schemas.
pub(crate) struct SchemasApi;

#[OpenApi(tag = "Tag::Schemas")]
impl SchemasApi {
    /// List schema versions
    ///
    /// Newest first, as many as fit into 16 MiB.
    #[oai(path = "/schemas/:source", method = "get", operation_id = "list_schema_versions")]
    async fn versions(
        &self,
        state: Data<&ApiState>,
        /// Name of the source.
        source: Path<SourceName>,
        /// The most versions to answer.
        #[oai(default)]
        limit: Query<Limit>,
    ) -> Result<Json<SchemaVersions>, Refusal<ListVersions>> {
        let mut connection = state.connection().await?;
        let rows =
            schemas::versions(&mut *connection, source.as_str(), limit.items(), MAX_BYTES).await?;
        if rows.is_empty() {
            let catalog = Catalog::load(&state.jobs).await?;
            if !catalog.has(source.as_str()) {
                return Err(catalog.unknown(source.as_str()).into());
            }
        }
        Ok(Json(SchemaVersions { items: rows.into_iter().map(Into::into).collect() }))
    }
}

impl From<schemas::SchemaVersion> for SchemaVersion {
    fn from(row: schemas::SchemaVersion) -> Self {
        Self {
            version: row.version,
            schema_signature: row.schema_signature,
            run_id: row.run_id,
            first_seen_at: row.first_seen_at,
        }
    }
}
