//! Owns the versions of a source's schema and the drift between them.

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
use crate::db::schemas::{self, RecordedDrift};
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

/// What changed about one field between two versions.
#[derive(Debug, Object)]
pub(crate) struct Drift {
    /// Name of the source.
    pub(crate) source: String,
    pub(crate) from_version: i32,
    pub(crate) to_version: i32,
    /// The source's own name of the field.
    pub(crate) field: String,
    /// `added`, `removed` or `type_changed`.
    pub(crate) change: String,
    /// Its type before; null when it was added.
    #[oai(nullable)]
    pub(crate) old_type: Option<String>,
    /// Its type now; null when it was removed.
    #[oai(nullable)]
    pub(crate) new_type: Option<String>,
    /// What the contract says of it: `evolve`, `freeze`, `discard_value` or `quarantine_row`.
    pub(crate) policy: String,
    /// `open` or `acknowledged`.
    pub(crate) status: String,
    /// The first raw payload that shows it; null for a removal.
    #[oai(nullable)]
    pub(crate) raw_ref: Option<String>,
    /// The row within it, from 1.
    #[oai(nullable)]
    pub(crate) raw_row: Option<i64>,
    /// The run that saw it.
    pub(crate) run_id: i64,
    pub(crate) detected_at: DateTime<Utc>,
}

/// Drift of one source or of all.
#[derive(Debug, Object)]
pub(crate) struct Drifts {
    /// Newest first.
    pub(crate) items: Vec<Drift>,
}

/// `GET /schemas/{source}`
struct ListVersions;
impl Declares for ListVersions {
    const KINDS: &'static [Kind] = &[Kind::InvalidParameter, Kind::UnknownSource];
}

/// `GET /drift`
struct ListDrift;
impl Declares for ListDrift {
    const KINDS: &'static [Kind] = &[Kind::InvalidParameter];
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

    /// List drift
    ///
    /// Newest first.
    #[oai(path = "/drift", method = "get", operation_id = "list_drift")]
    async fn drift(
        &self,
        state: Data<&ApiState>,
        /// Only drift of this source.
        source: Query<Option<SourceName>>,
        /// The most changes to answer.
        #[oai(default)]
        limit: Query<Limit>,
    ) -> Result<Json<Drifts>, Refusal<ListDrift>> {
        let source = source.0.as_ref().map(SourceName::as_str);
        let mut connection = state.connection().await?;
        let rows = schemas::drift(&mut *connection, source, limit.items()).await?;
        Ok(Json(Drifts { items: rows.into_iter().map(Into::into).collect() }))
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

impl From<RecordedDrift> for Drift {
    fn from(row: RecordedDrift) -> Self {
        Self {
            source: row.source,
            from_version: row.from_version,
            to_version: row.to_version,
            field: row.field,
            change: row.change,
            old_type: row.old_type,
            new_type: row.new_type,
            policy: row.policy,
            status: row.status,
            raw_ref: row.raw_ref,
            raw_row: row.raw_row,
            run_id: row.run_id,
            detected_at: row.detected_at,
        }
    }
}
