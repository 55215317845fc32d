//! Owns what a dry run shows.

use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use serde_json::Value;

use crate::api::http::problem::{Declares, Kind, Problem, Refusal};
use crate::api::openapi::enums::string_enums;
use crate::api::openapi::tags::Tag;
use crate::api::state::ApiState;
use crate::db::runs;
use crate::domain::run::RunId;
use crate::domain::sample::{self, SampleChange};
use crate::tasks::dry_run;

string_enums! { SampleChange = "SampleChange": "What a run would do with a row." }

/// A row and what a run would do with it.
#[derive(Debug, Object)]
pub(crate) struct Sample {
    pub(crate) change: SampleChange,
    /// The key; null for rows set aside.
    #[oai(nullable)]
    pub(crate) external_id: Option<String>,
    /// The file or address that the row is in, or the kept payload: `file/ID` or `page/HASH`.
    pub(crate) payload: String,
    /// The row within it, from 1.
    pub(crate) row: i64,
    /// The record as it is in the table: its filled columns.
    #[oai(nullable)]
    pub(crate) before: Option<Value>,
    /// The record as the run would leave it.
    #[oai(nullable)]
    pub(crate) after: Option<Value>,
    /// Everything that is wrong with a row set aside.
    pub(crate) defects: Vec<SampleDefect>,
}

/// One thing wrong with a row.
#[derive(Debug, Object)]
pub(crate) struct SampleDefect {
    /// The source's own name of the field; null when the row as a whole is bad.
    #[oai(nullable)]
    pub(crate) field: Option<String>,
    /// Stable code of what is wrong.
    pub(crate) reason: String,
    /// What was found, and what was expected.
    pub(crate) message: String,
}

/// Some of the rows that a run would write or set aside, at most 20.
#[derive(Debug, Object)]
pub(crate) struct Samples {
    /// Updates first, then inserts, then rows set aside.
    pub(crate) items: Vec<Sample>,
}

/// `GET /runs/{id}/samples`
struct ListSamples;
impl Declares for ListSamples {
    const KINDS: &'static [Kind] = &[Kind::InvalidParameter, Kind::UnknownRun];
}

/// The operation that shows samples.
pub(crate) struct SamplesApi;

#[OpenApi(tag = "Tag::Runs")]
impl SamplesApi {
    /// Show the samples of a dry run
    ///
    /// None before it has ended, and none of a run that is not dry.
    #[oai(path = "/runs/:id/samples", method = "get", operation_id = "list_run_samples")]
    async fn list(
        &self,
        state: Data<&ApiState>,
        /// The run's id.
        id: Path<i64>,
    ) -> Result<Json<Samples>, Refusal<ListSamples>> {
        let mut connection = state.connection().await?;
        let run = runs::get(&mut *connection, RunId(id.0)).await?;
        let run = run.ok_or_else(|| Problem::unknown_run(id.0))?;
        let shown = match run.dry_run {
            true => dry_run::shown(&mut *connection, run.id).await?,
            false => Vec::new(),
        };
        Ok(Json(Samples { items: shown.into_iter().map(Into::into).collect() }))
    }
}

impl From<sample::Sample> for Sample {
    fn from(sample: sample::Sample) -> Self {
        let defects = sample.defects.into_iter().map(|defect| SampleDefect {
            field: defect.field,
            reason: defect.reason,
            message: defect.message,
        });
        Self {
            change: sample.change,
            external_id: sample.external_id,
            payload: sample.payload,
            row: sample.row,
            before: sample.before,
            after: sample.after,
            defects: defects.collect(),
        }
    }
}
