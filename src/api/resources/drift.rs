//! Owns the changes of schemas as an inbox: what changed, in how many rows, who has looked at it.

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use serde::Deserialize;
use sqlx::PgConnection;

use super::lineage::{Origin, payload_permit};
use crate::api::http::json_body::OptionalJsonBody;
use crate::api::http::pagination::Limit;
use crate::api::http::problem::{Declares, Kind, Problem, Refusal};
use crate::api::openapi::enums::string_enums;
use crate::api::openapi::tags::Tag;
use crate::api::state::ApiState;
use crate::db::schema_drift::{self, DriftFilter, RecordedDrift};
use crate::domain::actor::Actor;
use crate::domain::note::Note;
use crate::domain::source_name::SourceName;
use crate::domain::string_enum::string_enum;

string_enum! {
    /// Where a change of a schema stands.
    DriftStatus ("status") {
        /// Nobody has said that it is known.
        Open = "open",
        /// Somebody has.
        Acknowledged = "acknowledged",
    }
}
string_enums! { DriftStatus = "DriftStatus": "Where a change of a schema stands." }

/// What changed about one field between two versions.
#[derive(Debug, Object)]
pub(crate) struct Drift {
    /// Its number.
    pub(crate) id: i64,
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
    /// Rows that the run read which saw it; null where an earlier version of kasparro recorded it.
    #[oai(nullable)]
    pub(crate) rows_seen: Option<i64>,
    /// Those of them with a value in the field.
    #[oai(nullable)]
    pub(crate) rows_with_value: Option<i64>,
    /// The first raw payload that shows it; null for a removal.
    #[oai(nullable)]
    pub(crate) raw_ref: Option<String>,
    /// The row within it, from 1.
    #[oai(nullable)]
    pub(crate) raw_row: Option<i64>,
    /// The run that saw it.
    pub(crate) run_id: i64,
    pub(crate) detected_at: DateTime<Utc>,
    /// When somebody acknowledged it.
    #[oai(nullable)]
    pub(crate) acknowledged_at: Option<DateTime<Utc>>,
    /// Who did: `token:ID (NAME)`, `address:IP` or `cli:USER`.
    #[oai(nullable)]
    pub(crate) acknowledged_by: Option<String>,
    /// What they said of it.
    #[oai(nullable)]
    pub(crate) note: Option<String>,
}

/// Drift of one source or of all.
#[derive(Debug, Object)]
pub(crate) struct Drifts {
    /// Newest first.
    pub(crate) items: Vec<Drift>,
}

/// A change with the first row that shows it.
#[derive(Debug, Object)]
struct DriftWithRow {
    drift: Drift,
    /// The first row that shows it; null for a removal.
    #[oai(nullable)]
    first: Option<Origin>,
}

/// What is said of a change.
#[derive(Debug, Default, Deserialize, Object)]
#[serde(deny_unknown_fields)]
#[oai(example)]
struct AcknowledgeRequest {
    /// For others: 1 to 1000 characters on one line.
    #[serde(default)]
    #[oai(
        nullable,
        validator(
            min_length = 1,
            max_length = 1000,
            pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
        )
    )]
    note: Option<String>,
}

/// `GET /drift`
struct ListDrift;
impl Declares for ListDrift {
    const KINDS: &'static [Kind] = &[Kind::InvalidParameter];
}

/// `GET /drift/{id}`
struct GetDrift;
impl Declares for GetDrift {
    const KINDS: &'static [Kind] = &[Kind::InvalidParameter, Kind::UnknownDrift, Kind::Busy];
}

/// `POST /drift/{id}/acknowledge`
struct AcknowledgeDrift;
impl Declares for AcknowledgeDrift {
    const KINDS: &'static [Kind] = &[
        Kind::InvalidParameter,
        Kind::MalformedBody,
        Kind::UnknownDrift,
        Kind::DriftAcknowledged,
        Kind::BodyTooLarge,
        Kind::UnsupportedMediaType,
        Kind::InvalidRequest,
    ];
}

/// The operations on changes of schemas.
pub(crate) struct DriftApi;

#[OpenApi(tag = "Tag::Schemas")]
impl DriftApi {
    /// List drift
    ///
    /// Newest first.
    #[oai(path = "/drift", method = "get", operation_id = "list_drift")]
    async fn list(
        &self,
        state: Data<&ApiState>,
        /// Only drift of this source.
        source: Query<Option<SourceName>>,
        /// Only drift with this status.
        status: Query<Option<DriftStatus>>,
        /// The most changes to answer.
        #[oai(default)]
        limit: Query<Limit>,
    ) -> Result<Json<Drifts>, Refusal<ListDrift>> {
        let source = source.0.as_ref().map(SourceName::as_str);
        let status = status.0.map(DriftStatus::as_str);
        let mut connection = state.connection().await?;
        let filter = DriftFilter { source, status, after: None };
        let rows = schema_drift::list(&mut *connection, filter, limit.items()).await?;
        Ok(Json(Drifts { items: rows.into_iter().map(Into::into).collect() }))
    }

    /// Show a change of a schema
    ///
    /// With the first row that shows it, as it came.
    #[oai(path = "/drift/:id", method = "get", operation_id = "get_drift")]
    async fn get(
        &self,
        state: Data<&ApiState>,
        /// Its number.
        id: Path<i64>,
    ) -> Result<Json<DriftWithRow>, Refusal<GetDrift>> {
        let _permit = payload_permit().await?;
        let mut connection = state.connection().await?;
        let row = schema_drift::get(&mut *connection, *id).await?;
        let row = row.ok_or_else(|| unknown(*id))?;
        let first = first_row(&state, &mut connection, &row).await?;
        Ok(Json(DriftWithRow { drift: row.into(), first }))
    }

    /// Acknowledge a change of a schema
    ///
    /// It is known then, and needs nobody any more. What the contract says of it stays as it is.
    #[oai(path = "/drift/:id/acknowledge", method = "post", operation_id = "acknowledge_drift")]
    async fn acknowledge(
        &self,
        state: Data<&ApiState>,
        actor: Data<&Actor>,
        /// Its number.
        id: Path<i64>,
        body: OptionalJsonBody<AcknowledgeRequest>,
    ) -> Result<Json<Drift>, Refusal<AcknowledgeDrift>> {
        let note = body.0.and_then(|body| body.note);
        let mut transaction = state.begin().await?;
        let row = acknowledge(&mut transaction, *id, &actor, note.as_deref()).await?;
        transaction.commit().await?;
        Ok(Json(row.into()))
    }
}

/// Acknowledges a change, in the caller's transaction.
///
/// # Errors
/// A problem when there is no such change, when somebody has acknowledged it before, or when the note is none.
pub(crate) async fn acknowledge(
    transaction: &mut PgConnection,
    id: i64,
    actor: &Actor,
    note: Option<&str>,
) -> Result<RecordedDrift, Problem> {
    let note: Option<Note> = note
        .map(str::parse)
        .transpose()
        .map_err(|error| Problem::new(Kind::InvalidRequest, format!("note: {error}")))?;
    let note = note.as_ref().map(Note::as_str);
    let is_first = schema_drift::acknowledge(&mut *transaction, id, actor.as_str(), note).await?;
    let row = schema_drift::get(&mut *transaction, id).await?.ok_or_else(|| unknown(id))?;
    if is_first {
        return Ok(row);
    }
    let by = row.acknowledged_by.as_deref().unwrap_or("somebody");
    let at = row.acknowledged_at.map(|at| format!(" at {}", at.format("%Y-%m-%d %H:%M:%S UTC")));
    let detail = format!(
        "{by} acknowledged the change of {:?} of source {}{}",
        row.field,
        row.source,
        at.unwrap_or_default()
    );
    Err(Problem::new(Kind::DriftAcknowledged, detail))
}

/// The first row that shows a change.
///
/// # Errors
/// Database errors.
pub(crate) async fn first_row(
    state: &ApiState,
    connection: &mut PgConnection,
    drift: &RecordedDrift,
) -> Result<Option<Origin>, Problem> {
    let Some((raw_ref, raw_row)) = drift.raw_ref.as_deref().zip(drift.raw_row) else {
        return Ok(None);
    };
    let place = (drift.source.as_str(), raw_ref, raw_row);
    Ok(Some(Origin::find(state, connection, place, Some(drift.run_id)).await?))
}

/// There is no such change.
pub(crate) fn unknown(id: i64) -> Problem {
    Problem::new(Kind::UnknownDrift, format!("there is no change {id} of a schema"))
}

impl From<RecordedDrift> for Drift {
    fn from(row: RecordedDrift) -> Self {
        Self {
            id: row.id,
            source: row.source,
            from_version: row.from_version,
            to_version: row.to_version,
            field: row.field,
            change: row.change,
            old_type: row.old_type,
            new_type: row.new_type,
            policy: row.policy,
            status: row.status,
            rows_seen: row.rows_seen,
            rows_with_value: row.rows_with_value,
            raw_ref: row.raw_ref,
            raw_row: row.raw_row,
            run_id: row.run_id,
            detected_at: row.detected_at,
            acknowledged_at: row.acknowledged_at,
            acknowledged_by: row.acknowledged_by,
            note: row.note,
        }
    }
}

impl Example for AcknowledgeRequest {
    fn example() -> Self {
        Self { note: Some("the vendor has told us: a new column for the warehouse".to_owned()) }
    }
}
