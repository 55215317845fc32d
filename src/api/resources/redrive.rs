//! Owns putting quarantined rows through again.

use poem::web::Data;
use poem_openapi::param::Header;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};
use serde::Deserialize;

use super::catalog::Catalog;
use super::start_runs::{StartAnswer, answer};
use crate::api::http::json_body::JsonBody;
use crate::api::http::problem::{Declares, Kind, Problem, Refusal};
use crate::api::openapi::tags::Tag;
use crate::api::state::ApiState;
use crate::domain::reject::Fingerprint;
use crate::domain::run::Trigger;
use crate::job_file::Definition;
use crate::tasks::redrive::{RedriveRequest, Redriven, redrive};
use crate::tasks::start_run::Started;

/// Which quarantined rows to put through again.
#[derive(Debug, Deserialize, Object)]
#[serde(deny_unknown_fields)]
#[oai(example)]
struct Redrive {
    /// Name of the source.
    source: String,
    /// Only rows that are bad in this way, as `GET /quarantine?group_by=fingerprint` names it.
    #[oai(nullable, validator(pattern = "^[0-9a-fA-F]{32}$"))]
    fingerprint: Option<String>,
    /// `true`: only show what would become of them, at `GET /runs/{id}/samples`.
    #[oai(nullable)]
    dry_run: Option<bool>,
}

/// `POST /quarantine/redrive`
struct RedriveOperation;
impl Declares for RedriveOperation {
    const KINDS: &'static [Kind] = &[
        Kind::InvalidParameter,
        Kind::MalformedBody,
        Kind::UnknownSource,
        Kind::RunActive,
        Kind::SourcePaused,
        Kind::NothingToReplay,
        Kind::BodyTooLarge,
        Kind::UnsupportedMediaType,
        Kind::InvalidRequest,
        Kind::InvalidJobFile,
    ];
}

/// The operation that redrives.
pub(crate) struct RedriveApi;

#[OpenApi(tag = "Tag::Quarantine")]
impl RedriveApi {
    /// Redrive quarantined rows
    ///
    /// After the job file was fixed: a run with `mode = replay` normalizes the kept rows again from
    /// the run on that read the first of them, in their order, so that later rows of a key still
    /// count more. Rows that pass are `resolved`, those that do not are `redriven`.
    #[oai(path = "/quarantine/redrive", method = "post", operation_id = "redrive_quarantine")]
    async fn redrive(
        &self,
        state: Data<&ApiState>,
        /// Requests with the same key start a source's run once; later ones answer that run.
        #[oai(name = "Idempotency-Key", validator(min_length = 1, max_length = 255))]
        idempotency_key: Header<Option<String>>,
        body: JsonBody<Redrive>,
    ) -> Result<StartAnswer, Refusal<RedriveOperation>> {
        let asked = body.0;
        let fingerprint = asked.fingerprint.as_deref().map(fingerprint).transpose()?;
        let catalog = Catalog::load(&state.jobs).await?;
        let definition = catalog.require(&asked.source)?;
        let request = RedriveRequest {
            fingerprint,
            trigger: Trigger::Api,
            idempotency_key: idempotency_key.0.as_deref(),
            dry_run: asked.dry_run.unwrap_or(false),
        };
        let started = started(&state, definition, request).await?;
        Ok(answer(&state, definition, started).await?)
    }
}

/// Begins a redrive.
///
/// # Errors
/// A problem when no such row is set aside, or the database does not answer.
pub(crate) async fn started(
    state: &ApiState,
    definition: &Definition,
    request: RedriveRequest<'_>,
) -> Result<Started, Problem> {
    let mut transaction = state.begin().await?;
    let redriven = redrive(&mut transaction, definition, request).await?;
    transaction.commit().await?;
    match redriven {
        Redriven::Started(started) => Ok(started),
        Redriven::NothingSetAside => {
            let detail = format!("no such row of {} is set aside", definition.source);
            Err(Problem::new(Kind::NothingToReplay, detail))
        }
    }
}

fn fingerprint(text: &str) -> Result<Fingerprint, Problem> {
    let hash = Some(text).filter(|text| text.len() == 32).and_then(|text| text.parse().ok());
    hash.ok_or_else(|| {
        let detail = format!("fingerprint: {text:?} is not one; it has 32 hexadecimal digits");
        Problem::new(Kind::InvalidRequest, detail)
    })
}

impl Example for Redrive {
    fn example() -> Self {
        Self {
            source: "products_csv".to_owned(),
            fingerprint: Some("5f1d7a84db00d2fce00b31a7fc73224f".to_owned()),
            dry_run: None,
        }
    }
}
