//! Owns pausing and resuming a source, and how a pause is shown.

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use serde::Deserialize;

use super::catalog::Catalog;
use crate::api::http::json_body::{JsonBody, OptionalJsonBody};
use crate::api::http::problem::{Declares, Kind, Problem, Refusal};
use crate::api::openapi::tags::Tag;
use crate::api::state::ApiState;
use crate::db::source_pauses::SourcePause;
use crate::domain::actor::Actor;
use crate::domain::pause::PauseReason;
use crate::domain::source_name::SourceName;
use crate::tasks::pause_source::{pause_source, resume_source};

/// No run of the source starts, and the tasks of an active one wait.
#[derive(Debug, Object)]
pub(crate) struct Pause {
    /// Name of the source.
    pub(crate) source: String,
    /// Since when.
    pub(crate) paused_at: DateTime<Utc>,
    /// Who did it: `token:ID (NAME)`, `address:IP` or `cli:USER`.
    pub(crate) paused_by: String,
    /// Why.
    pub(crate) reason: String,
}

/// Why a source is paused.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields)]
#[oai(example)]
struct PauseRequest {
    /// For others: 1 to 1000 characters on one line.
    #[oai(validator(
        min_length = 1,
        max_length = 1000,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    ))]
    reason: String,
}

/// Why a source is resumed.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields)]
struct ResumeRequest {
    /// For the record: 1 to 1000 characters on one line.
    #[oai(
        nullable,
        validator(
            min_length = 1,
            max_length = 1000,
            pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
        )
    )]
    reason: Option<String>,
}

/// `POST /sources/{name}/pause`
struct PauseSource;
impl Declares for PauseSource {
    const KINDS: &'static [Kind] = &[
        Kind::InvalidParameter,
        Kind::MalformedBody,
        Kind::UnknownSource,
        Kind::BodyTooLarge,
        Kind::UnsupportedMediaType,
        Kind::InvalidRequest,
    ];
}

/// `POST /sources/{name}/resume`
struct ResumeSource;
impl Declares for ResumeSource {
    const KINDS: &'static [Kind] = &[
        Kind::InvalidParameter,
        Kind::MalformedBody,
        Kind::SourceNotPaused,
        Kind::BodyTooLarge,
        Kind::UnsupportedMediaType,
        Kind::InvalidRequest,
    ];
}

/// The operations that pause and resume.
pub(crate) struct PausesApi;

#[OpenApi(tag = "Tag::Sources")]
impl PausesApi {
    /// Pause a source
    ///
    /// Starts no scheduled runs and refuses others; tasks of an active run wait once those under way
    /// are done. A source that is paused already keeps its pause, which is answered.
    #[oai(path = "/sources/:name/pause", method = "post", operation_id = "pause_source")]
    async fn pause(
        &self,
        state: Data<&ApiState>,
        actor: Data<&Actor>,
        /// The source's name.
        name: Path<SourceName>,
        body: JsonBody<PauseRequest>,
    ) -> Result<Json<Pause>, Refusal<PauseSource>> {
        let reason = reason(&body.0.reason)?;
        let catalog = Catalog::load(&state.jobs).await?;
        Ok(Json(paused(&state, &catalog, name.0.as_str(), &actor, &reason).await?.into()))
    }

    /// Resume a source
    ///
    /// Answers the pause that ended.
    #[oai(path = "/sources/:name/resume", method = "post", operation_id = "resume_source")]
    async fn resume(
        &self,
        state: Data<&ApiState>,
        actor: Data<&Actor>,
        /// The source's name.
        name: Path<SourceName>,
        body: OptionalJsonBody<ResumeRequest>,
    ) -> Result<Json<Pause>, Refusal<ResumeSource>> {
        let reason = body.0.and_then(|body| body.reason).as_deref().map(reason).transpose()?;
        Ok(Json(resumed(&state, name.0.as_str(), &actor, reason.as_ref()).await?.into()))
    }
}

/// Pauses a source; one that is paused already keeps its pause, which is answered.
///
/// # Errors
/// A problem when there is no such job file, or when the database does not answer.
pub(crate) async fn paused(
    state: &ApiState,
    catalog: &Catalog,
    name: &str,
    actor: &Actor,
    reason: &PauseReason,
) -> Result<SourcePause, Problem> {
    if !catalog.has(name) {
        return Err(catalog.unknown(name));
    }
    let mut transaction = state.begin().await?;
    let pause = pause_source(&mut transaction, name, actor, reason).await?;
    transaction.commit().await?;
    Ok(pause)
}

/// Resumes a source, and answers the pause that ended.
///
/// # Errors
/// A problem when it is not paused, or when the database does not answer.
pub(crate) async fn resumed(
    state: &ApiState,
    name: &str,
    actor: &Actor,
    reason: Option<&PauseReason>,
) -> Result<SourcePause, Problem> {
    let mut transaction = state.begin().await?;
    let pause = resume_source(&mut transaction, name, actor, reason).await?;
    transaction.commit().await?;
    let not_paused =
        || Problem::new(Kind::SourceNotPaused, format!("source {name:?} is not paused"));
    pause.ok_or_else(not_paused)
}

/// Reads why a source is paused.
///
/// # Errors
/// A problem when it is not one line of 1 to 1000 characters.
pub(crate) fn reason(text: &str) -> Result<PauseReason, Problem> {
    text.parse().map_err(|error| Problem::new(Kind::InvalidRequest, format!("reason: {error}")))
}

impl From<SourcePause> for Pause {
    fn from(pause: SourcePause) -> Self {
        let SourcePause { source, paused_at, paused_by, reason } = pause;
        Self { source, paused_at, paused_by, reason }
    }
}

impl Example for PauseRequest {
    fn example() -> Self {
        Self { reason: "the supplier is moving its servers".to_owned() }
    }
}
