//! Owns the list of sources: what the job files say, and how each source is doing.

use std::collections::HashMap;

use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use sqlx::PgConnection;

use super::catalog::Catalog;
use super::pauses::Pause;
use super::run::Run;
use crate::api::http::problem::{Declares, Kind, Refusal};
use crate::api::openapi::tags::Tag;
use crate::api::state::ApiState;
use crate::db::{runs, source_pauses, totals};
use crate::job_file::Definition;
use crate::job_file::schedule::ON_CHANGE;

/// A job file and how its source is doing.
#[derive(Debug, Object)]
pub(crate) struct Source {
    /// Name of the source: the file's stem.
    pub(crate) source: String,
    /// The same, under its earlier name.
    pub(crate) name: String,
    /// How it is read; null when the job file is broken.
    #[oai(nullable)]
    pub(crate) kind: Option<String>,
    #[oai(nullable)]
    pub(crate) description: Option<String>,
    /// A cron expression, or `on_change`; null when it runs on demand only.
    #[oai(nullable)]
    pub(crate) schedule: Option<String>,
    /// The sources whose runs this one's follow.
    pub(crate) after: Vec<String>,
    /// Why the job file cannot be used; null when it can.
    #[oai(nullable)]
    pub(crate) problem: Option<String>,
    /// The pause in force; null when there is none.
    #[oai(nullable)]
    pub(crate) pause: Option<Pause>,
    /// Records of the source.
    pub(crate) records: i64,
    /// Its newest run.
    #[oai(nullable)]
    pub(crate) last_run: Option<Run>,
}

/// Every source.
#[derive(Debug, Object)]
pub(crate) struct Sources {
    /// In the order of names.
    pub(crate) items: Vec<Source>,
}

/// `GET /sources`
struct ListSources;
impl Declares for ListSources {
    const KINDS: &'static [Kind] = &[];
}

/// The operations on sources.
pub(crate) struct SourcesApi;

#[OpenApi(tag = "Tag::Sources")]
impl SourcesApi {
    /// List sources
    ///
    /// Those that have a job file, broken ones included.
    #[oai(path = "/sources", method = "get", operation_id = "list_sources")]
    async fn list(&self, state: Data<&ApiState>) -> Result<Json<Sources>, Refusal<ListSources>> {
        let catalog = Catalog::load(&state.jobs).await?;
        let items = Source::all(&mut *state.connection().await?, &catalog).await?;
        Ok(Json(Sources { items }))
    }
}

impl Source {
    /// Every source that has a job file, in the order of names.
    ///
    /// # Errors
    /// Database errors.
    pub(crate) async fn all(
        connection: &mut PgConnection,
        catalog: &Catalog,
    ) -> Result<Vec<Self>, sqlx::Error> {
        let totals = totals::per_source(&mut *connection).await?;
        let mut records: HashMap<_, _> =
            totals.into_iter().map(|total| (total.source, total.records)).collect();
        let latest = runs::latest_per_source(&mut *connection).await?;
        let mut latest: HashMap<_, _> =
            latest.into_iter().map(|run| (run.source.clone(), run)).collect();
        let pauses = source_pauses::all_in_force(&mut *connection).await?;
        let mut pauses: HashMap<_, _> =
            pauses.into_iter().map(|pause| (pause.source.clone(), pause)).collect();
        let source = |(name, job): (&str, Result<&Definition, &str>)| Source {
            pause: pauses.remove(name).map(Pause::from),
            records: records.remove(name).unwrap_or(0),
            last_run: latest.remove(name).map(Run::from),
            ..Source::of(name, job)
        };
        Ok(catalog.iter().map(source).collect())
    }

    fn of(name: &str, job: Result<&Definition, &str>) -> Self {
        let definition = job.ok();
        let schedule = definition.and_then(|definition| definition.schedule.as_ref());
        Self {
            source: name.to_owned(),
            name: name.to_owned(),
            kind: definition.map(|definition| definition.kind.clone()),
            description: definition.and_then(|definition| definition.description.clone()),
            schedule: schedule
                .map(|schedule| schedule.expression().to_owned())
                .or_else(|| definition.filter(|of| of.on_change).map(|_| ON_CHANGE.to_owned())),
            after: definition
                .map(|definition| definition.after.iter().map(ToString::to_string).collect())
                .unwrap_or_default(),
            problem: job.err().map(str::to_owned),
            pause: None,
            records: 0,
            last_run: None,
        }
    }
}
