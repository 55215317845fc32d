//! Owns what `POST /runs` takes, does and answers.

use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Enum, Object, Union};
use serde::Deserialize;

use super::catalog::Catalog;
use super::run::{MOST_CHAINS, Run};
use crate::api::http::problem::{Declares, Kind, Problem};
use crate::api::state::ApiState;
use crate::db::{run_chains, runs};
use crate::domain::run::{Mode, RunId, Trigger};
use crate::job_file::Definition;
use crate::sources::AskedRange;
use crate::tasks::start_run::{RawRange, RunRequest, Started, start_run};

/// What to run: exactly one of `source`, `sources` and `all`.
#[derive(Debug, Default, Deserialize, Object)]
#[serde(deny_unknown_fields)]
#[oai(example, skip_serializing_if_is_none)]
pub(crate) struct StartRuns {
    /// One source.
    #[oai(nullable)]
    source: Option<String>,
    /// Several sources.
    #[oai(nullable)]
    sources: Option<Vec<String>>,
    /// `true`: every source that has a job file.
    #[oai(nullable)]
    all: Option<bool>,
    /// `incremental` (the default) reads what is new, `full` everything; `replay` reads nothing and
    /// normalizes again what earlier runs have read.
    #[oai(nullable)]
    mode: Option<Mode>,
    /// For `mode = replay` of one source: which runs' rows.
    #[oai(nullable)]
    replay: Option<ReplayRange>,
    /// A backfill: from where on to read, such as `2026-01-01`, whatever the checkpoint says, which stays where it is.
    /// For sources with `rest_api.incremental`.
    #[oai(nullable)]
    from: Option<String>,
    /// Up to where a backfill reads; up to now if it is not given.
    #[oai(nullable)]
    to: Option<String>,
    /// `true`: only show what the run would do, at `GET /runs/{id}/samples`.
    #[oai(nullable)]
    dry_run: Option<bool>,
}

/// The runs whose rows a replay normalizes again, both ends included. Without ends: all whose rows
/// are kept.
#[derive(Debug, Clone, Copy, Default, Deserialize, Object)]
#[serde(deny_unknown_fields)]
#[oai(skip_serializing_if_is_none)]
pub(crate) struct ReplayRange {
    /// The first run.
    #[oai(nullable)]
    from_run: Option<i64>,
    /// The last run.
    #[oai(nullable)]
    to_run: Option<i64>,
}

/// What became of the request for one of several sources.
#[derive(Debug, Object)]
pub(crate) struct SourceOutcome {
    /// Name of the source.
    source: String,
    outcome: Outcome,
    /// The run that was started, or that is in the way.
    #[oai(nullable)]
    run_id: Option<i64>,
    /// What is wrong with the job file, or who paused the source, when and why.
    #[oai(nullable)]
    detail: Option<String>,
}

/// `started`: a new run; `same`: the run that the idempotency key began earlier; `busy`: the source
/// has an active run; `paused`: the source is paused; `nothing_to_replay`: no rows of it are kept; `no_range`: the
/// range that a backfill is asked for cannot be read;
/// `invalid`: its job file cannot be used (only with `all`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
enum Outcome {
    Started,
    Same,
    Busy,
    Paused,
    NothingToReplay,
    NoRange,
    Invalid,
}

/// What became of the request, source by source.
#[derive(Debug, Object)]
pub(crate) struct Outcomes {
    runs: Vec<SourceOutcome>,
}

/// The run for one source, the outcomes for several.
#[derive(Debug, Union)]
pub(crate) enum StartedRuns {
    Run(Box<Run>),
    Outcomes(Outcomes),
}

/// What `POST /runs` answers.
#[derive(ApiResponse)]
pub(crate) enum StartAnswer {
    /// The idempotency key was used before: the run that it started then.
    #[oai(status = 200)]
    Same(
        Json<Box<Run>>,
        /// Where the run is.
        #[oai(header = "Location")]
        String,
    ),
    /// Recorded and queued: the run for `source`, the outcome for each source else.
    #[oai(status = 202)]
    Accepted(
        Json<StartedRuns>,
        /// Where the run is, when one source was asked for.
        #[oai(header = "Location")]
        Option<String>,
    ),
}

/// `POST /runs`
pub(crate) struct StartRunsOperation;
impl Declares for StartRunsOperation {
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

/// The sources asked for.
enum Selection {
    One(String),
    Several(Vec<String>),
    All,
}

impl StartRuns {
    fn selection(&self) -> Result<Selection, Problem> {
        match (&self.source, &self.sources, self.all) {
            (Some(source), None, None) => Ok(Selection::One(source.clone())),
            (None, Some(sources), None) if !sources.is_empty() => {
                Ok(Selection::Several(sources.clone()))
            }
            (None, None, Some(true)) => Ok(Selection::All),
            _ => Err(Problem::new(
                Kind::InvalidRequest,
                "give exactly one of `source` (a name), `sources` (a list of at least one name) \
                 and `all` (true)",
            )),
        }
    }
}

impl StartRuns {
    /// Run numbers are those of one source: a range for several means nothing.
    fn raw_range(&self) -> Result<RawRange, Problem> {
        let Some(ReplayRange { from_run, to_run }) = self.replay else {
            return Ok(RawRange::default());
        };
        if self.mode != Some(Mode::Replay) || self.source.is_none() {
            let detail = "`replay` goes with `mode` = \"replay\" and one `source`";
            return Err(Problem::new(Kind::InvalidRequest, detail));
        }
        Ok(RawRange { from: from_run.map(RunId), to: to_run.map(RunId) })
    }
}

impl StartRuns {
    fn range(&self) -> Result<Option<AskedRange<'_>>, Problem> {
        match (self.from.as_deref(), self.to.as_deref()) {
            (None, None) => Ok(None),
            (None, Some(_)) => {
                let detail = "`to` goes with `from`, from where on a backfill reads";
                Err(Problem::new(Kind::InvalidRequest, detail))
            }
            (Some(from), to) => Ok(Some(AskedRange { from, to })),
        }
    }
}

/// Starts what is asked for. Nothing is started when a source named is unknown or broken.
pub(crate) async fn start(
    state: &ApiState,
    asked: StartRuns,
    idempotency_key: Option<&str>,
) -> Result<StartAnswer, Problem> {
    let selection = asked.selection()?;
    let raw = asked.raw_range()?;
    let catalog = Catalog::load(&state.jobs).await?;
    let request = RunRequest {
        mode: asked.mode.unwrap_or(Mode::Incremental),
        trigger: Trigger::Api,
        access: state.access,
        idempotency_key,
        raw,
        dry_run: asked.dry_run.unwrap_or(false),
        range: asked.range()?,
    };
    match selection {
        Selection::One(name) => start_one(state, catalog.require(&name)?, &request).await,
        Selection::Several(names) => {
            let mut chosen: Vec<Job<'_>> = Vec::with_capacity(names.len());
            for name in &names {
                if !chosen.iter().any(|(known, _)| known == name) {
                    chosen.push((name, Ok(catalog.require(name)?)));
                }
            }
            start_several(state, &chosen, &request).await
        }
        Selection::All => start_several(state, &every(&catalog)?, &request).await,
    }
}

/// A source and its definition, or what is wrong with that.
type Job<'a> = (&'a str, Result<&'a Definition, &'a str>);

/// Broken job files do not keep the other sources from running, unless there are no others.
fn every(catalog: &Catalog) -> Result<Vec<Job<'_>>, Problem> {
    let jobs: Vec<_> = catalog.iter().collect();
    if jobs.iter().any(|(_, definition)| definition.is_ok()) {
        return Ok(jobs);
    }
    let texts: Vec<_> = jobs.iter().filter_map(|(_, definition)| definition.err()).collect();
    Err(match texts.is_empty() {
        true => Problem::new(Kind::InvalidJobFile, "the jobs folder holds no job file"),
        false => Problem::new(Kind::InvalidJobFile, texts.join("\n")),
    })
}

async fn start_one(
    state: &ApiState,
    definition: &Definition,
    request: &RunRequest<'_>,
) -> Result<StartAnswer, Problem> {
    let started = begin(state, definition, request).await?;
    answer(state, definition, started).await
}

/// What is answered about the run of one source.
pub(crate) async fn answer(
    state: &ApiState,
    definition: &Definition,
    started: Started,
) -> Result<StartAnswer, Problem> {
    let is_new = matches!(started, Started::New(_));
    let id = begun(definition.source.as_str(), started)?;
    let mut connection = state.connection().await?;
    let run = runs::get(&mut *connection, id).await?;
    let run = Run::from(run.ok_or_else(|| Problem::unknown_run(id.0))?);
    // The same as is there at its `Location`.
    let run = run.with_chains(run_chains::list(&mut *connection, id, MOST_CHAINS).await?);
    let location = format!("/runs/{id}");
    Ok(match is_new {
        false => StartAnswer::Same(Json(Box::new(run)), location),
        true => StartAnswer::Accepted(Json(StartedRuns::Run(Box::new(run))), Some(location)),
    })
}

/// The run that was begun, or that the same request began before.
///
/// # Errors
/// A problem that says why none was.
pub(crate) fn begun(source: &str, started: Started) -> Result<RunId, Problem> {
    Err(match started {
        Started::New(id) | Started::Same(id) => return Ok(id),
        Started::Busy(id) => Problem::run_active(source, id.0),
        Started::Paused(pause) => Problem::source_paused(&pause),
        Started::NothingToReplay(nothing) => {
            Problem::new(Kind::NothingToReplay, nothing.to_string())
        }
        Started::NoRange(why) => Problem::new(Kind::InvalidRequest, why),
        Started::Invalid(problem) => Problem::new(Kind::InvalidJobFile, problem),
    })
}

async fn start_several(
    state: &ApiState,
    jobs: &[Job<'_>],
    request: &RunRequest<'_>,
) -> Result<StartAnswer, Problem> {
    let mut runs = Vec::with_capacity(jobs.len());
    for (name, definition) in jobs {
        runs.push(match definition {
            Ok(definition) => SourceOutcome::of(name, begin(state, definition, request).await?),
            Err(text) => SourceOutcome::invalid(name, text),
        });
    }
    if !runs.iter().any(|run| run.is_under_way()) {
        let all: Vec<_> = runs.iter().map(SourceOutcome::describe).collect();
        let detail = format!("no run was started: {}", all.join("; "));
        let paused = runs.iter().all(|run| run.outcome != Outcome::Busy)
            && runs.iter().any(|run| run.outcome == Outcome::Paused);
        let kind = if paused { Kind::SourcePaused } else { Kind::RunActive };
        return Err(Problem::new(kind, detail));
    }
    Ok(StartAnswer::Accepted(Json(StartedRuns::Outcomes(Outcomes { runs })), None))
}

/// One transaction per source: a source that cannot start does not take back the others.
///
/// # Errors
/// Database errors.
pub(crate) async fn begin(
    state: &ApiState,
    definition: &Definition,
    request: &RunRequest<'_>,
) -> Result<Started, sqlx::Error> {
    let mut transaction = state.begin().await?;
    let started = start_run(&mut transaction, definition, request).await?;
    transaction.commit().await?;
    Ok(started)
}

impl SourceOutcome {
    fn of(source: &str, started: Started) -> Self {
        let (outcome, run, detail) = match started {
            Started::New(id) => (Outcome::Started, Some(id), None),
            Started::Same(id) => (Outcome::Same, Some(id), None),
            Started::Busy(id) => (Outcome::Busy, Some(id), None),
            Started::Paused(pause) => (Outcome::Paused, None, Some(pause.to_string())),
            Started::NothingToReplay(nothing) => {
                (Outcome::NothingToReplay, None, Some(nothing.to_string()))
            }
            Started::NoRange(why) => (Outcome::NoRange, None, Some(why)),
            Started::Invalid(problem) => (Outcome::Invalid, None, Some(problem)),
        };
        Self { source: source.to_owned(), outcome, run_id: run.map(|id| id.0), detail }
    }

    fn invalid(source: &str, text: &str) -> Self {
        Self {
            source: source.to_owned(),
            outcome: Outcome::Invalid,
            run_id: None,
            detail: Some(text.to_owned()),
        }
    }

    /// Whether the client got the run that it asked for.
    fn is_under_way(&self) -> bool {
        matches!(self.outcome, Outcome::Started | Outcome::Same)
    }

    fn describe(&self) -> String {
        match (self.outcome, self.run_id, &self.detail) {
            (_, Some(id), _) => format!("source {:?} has the active run {id}", self.source),
            (Outcome::Paused | Outcome::NothingToReplay | Outcome::NoRange, None, Some(why)) => {
                why.clone()
            }
            _ => format!("the job file of {:?} cannot be used", self.source),
        }
    }
}

impl Example for StartRuns {
    fn example() -> Self {
        Self { source: Some("products_csv".to_owned()), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(body: &str) -> Result<Selection, Problem> {
        serde_json::from_str::<StartRuns>(body).unwrap().selection()
    }

    #[test]
    fn exactly_one_way_to_name_sources_is_taken() {
        assert!(matches!(selection(r#"{"source": "a"}"#), Ok(Selection::One(_))));
        assert!(matches!(selection(r#"{"sources": ["a"]}"#), Ok(Selection::Several(_))));
        assert!(matches!(selection(r#"{"all": true, "mode": "full"}"#), Ok(Selection::All)));
        for bad in [
            "{}",
            r#"{"all": false}"#,
            r#"{"sources": []}"#,
            r#"{"source": "a", "all": true}"#,
            r#"{"source": "a", "sources": ["b"]}"#,
        ] {
            assert_eq!(selection(bad).err().unwrap().status().as_u16(), 422, "{bad}");
        }
    }
}
