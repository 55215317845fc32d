//! Owns what an export is: its requests, the jobs that a run creates, and which columns its files must have.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::job::JobPaths;
use super::params::{ExportParams, TABLE, renamed};
use super::position::ExportPosition;
use crate::domain::file::{Layout, StreamedFile};
use crate::domain::remark::few;
use crate::domain::slice::SliceId;
use crate::job_file::policy::Policy;
use crate::job_file::{Definition, DefinitionError};
use crate::sources::files::format::RowFormat;
use crate::sources::files::params::TABLE as FILES;
use crate::sources::files::unpack::Packing;
use crate::sources::files::{Files, FilesParams};
use crate::sources::rest_api::{RestApiSource, mapping_of};
use crate::sources::{
    Access, FileSource, NextSlice, Plan, PlanRequest, Position, SourceError, SourceErrorKind,
};

/// The key of the columns that all files of a run had.
pub(super) const HAD: &str = "had";
/// The key of the name of a file that has nothing, where the files of the last good run had something.
pub(super) const EMPTY: &str = "empty";

/// Files of a format that an API makes.
pub struct Export<F: RowFormat> {
    pub(super) definition: Arc<Definition>,
    pub(super) params: ExportParams,
    pub(super) paths: JobPaths,
    /// Asks for jobs.
    pub(super) create: RestApiSource,
    /// Looks at them, and gets their files.
    pub(super) poll: RestApiSource,
    pub(super) files: Arc<Files<F>>,
    pub(super) packing: Packing,
}

impl<F: RowFormat> fmt::Debug for Export<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Export").field("create", &self.create).finish_non_exhaustive()
    }
}

impl<F: RowFormat> Export<F> {
    /// The source of a definition. Asks nothing and reads no secret.
    ///
    /// # Errors
    /// When a path, an address or a name in the parameters cannot be used.
    pub fn new(definition: &Definition, params: ExportParams) -> Result<Self, SourceError> {
        let unusable = |error: DefinitionError| {
            SourceError::new(SourceErrorKind::InvalidConfig, error.to_string())
        };
        let files: FilesParams = definition.table(FILES).map_err(unusable)?;
        let paths = JobPaths::new(&params).map_err(|problems| {
            let first = problems
                .first()
                .map(|([table, key], problem)| format!("`export.{table}.{key}` {problem}"));
            SourceError::new(SourceErrorKind::InvalidConfig, first.unwrap_or_default())
        })?;
        let api = |params| {
            let base_dir = definition.base_dir().to_owned();
            RestApiSource::new(params, base_dir, Vec::new()).map_err(renamed)
        };
        let mapping = mapping_of(&definition.text, &[TABLE, FILES, F::NAME]);
        let create = api(params.creating(read_by::<F>(&definition.text)))?.mapped_by(mapping);
        Ok(Self {
            definition: Arc::new(definition.clone()),
            poll: api(params.polling())?,
            create,
            paths,
            params,
            files: Arc::new(Files::streamed(definition)?),
            packing: files.packing::<F>(),
        })
    }

    pub(super) fn planned(&self, request: &PlanRequest) -> Result<Plan, SourceError> {
        if request.access != Access::Network {
            return Err(SourceError::new(
                SourceErrorKind::BadRecording,
                "the files of [export] are not recorded, and nothing of them can be read without a network",
            )
            .advise("leave out `--record` and `--offline`; `kasparro run SOURCE --replay` normalizes again what is stored"));
        }
        let mut plan = self.create.plan_jobs(request)?;
        let had = columns(request.state.get(HAD));
        plan.restarts = plan.slices.iter().any(|next| self.create.begins_anew(&next.position));
        for next in &mut plan.slices {
            let at = std::mem::take(&mut next.position);
            next.position = ExportPosition { at, had: had.clone(), job: None }.to_json();
        }
        Ok(plan)
    }

    /// The columns of the mapping that a file of this layout has; `None` when nobody can tell.
    pub(super) fn columns_in(&self, layout: &Layout) -> Option<Vec<String>> {
        let absent = self.files.absent(layout, None)?;
        let mapped = self.definition.locators();
        let mapped = mapped.iter().filter_map(|locator| locator.label());
        let is_there = |label: &&str| !absent.iter().any(|absent| absent.column == **label);
        let mut there: Vec<_> = mapped.filter(is_there).map(str::to_owned).collect();
        there.sort();
        there.dedup();
        Some(there)
    }

    /// The columns without which a file is refused: those of these that are mapped.
    pub(super) fn guarded(&self, had: &[String]) -> Vec<String> {
        let mapped = self.definition.locators();
        let is_mapped =
            |column: &&String| mapped.iter().any(|locator| locator.label() == Some(column));
        match self.definition.contract.guards() {
            true => had.iter().filter(is_mapped).cloned().collect(),
            false => Vec::new(),
        }
    }

    /// Refuses a file that has lost a mapped column: its attribute would be lost in every record of it.
    ///
    /// # Errors
    /// When it has, and the job file guards against that.
    pub(super) fn guard(
        &self,
        name: &str,
        layout: &Layout,
        had: &[String],
    ) -> Result<(), SourceError> {
        if !self.definition.contract.guards() {
            return Ok(());
        }
        let Some(there) = self.columns_in(layout) else { return Ok(()) };
        let lost = self.guarded(had).into_iter().filter(|column| !there.contains(column));
        let lost: Vec<_> = lost.map(|column| format!("`{column}`")).collect();
        if lost.is_empty() {
            return Ok(());
        }
        let message = format!("{name}: no column {}, which the last run's files had", few(lost));
        Err(SourceError::new(SourceErrorKind::InvalidFile, message).advise(
            "fix the export or the job file; or write missing_field = \"evolve\" under [contract] to load such files, \
             which empties what they filled",
        ))
    }

    /// Whether a run must have rows when one before had some: it asks for everything, and the job file does not say
    /// that rows may go.
    pub(super) fn must_have_rows(&self) -> bool {
        self.params.incremental.is_none()
            && self.definition.contract.missing_field != Policy::Evolve
    }

    /// What the end of a file of no bytes leaves besides: one that has not even a header, which the others had.
    pub(super) fn with_loss(
        &self,
        trace: Option<Value>,
        file: &StreamedFile,
        had: &[String],
    ) -> Option<Value> {
        if had.is_empty() || !self.must_have_rows() || self.columns_in(&file.layout).is_some() {
            return trace;
        }
        Some(with(trace, EMPTY, json!(file.name)))
    }

    /// What the end of a file leaves besides what its window does.
    pub(super) fn with_columns(&self, trace: Option<Value>, layout: &Layout) -> Option<Value> {
        let Some(there) = self.columns_in(layout) else { return trace };
        Some(with(trace, HAD, json!(there)))
    }
}

fn with(trace: Option<Value>, key: &str, value: Value) -> Value {
    let mut trace = match trace {
        Some(Value::Object(trace)) => trace,
        _ => Map::new(),
    };
    trace.insert(key.to_owned(), value);
    Value::Object(trace)
}

/// What is read of a slice's position.
pub(super) fn own(position: &Position) -> Result<ExportPosition, SourceError> {
    match position {
        Position::Own(position) => ExportPosition::from_json(position),
        Position::Chunk(_) => Err(SourceError::new(
            SourceErrorKind::InvalidState,
            "an export is read as a stream, and has no chunks that were planned",
        )),
    }
}

/// The slice that asks for the job of the window behind this one.
pub(super) fn behind<F: RowFormat>(
    source: &Export<F>,
    position: &ExportPosition,
    slice: SliceId,
) -> Result<Option<NextSlice>, SourceError> {
    let Some(next) = source.create.behind(&position.at, slice)? else { return Ok(None) };
    let at = RestApiSource::without_job(&next.position)?;
    let position = ExportPosition { at, had: position.had.clone(), job: None }.to_json();
    Ok(Some(NextSlice { slice: next.slice, position }))
}

/// Names of columns, as they are stored.
pub(super) fn columns(value: Option<&Value>) -> Vec<String> {
    let texts = value.and_then(Value::as_array).into_iter().flatten();
    texts.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// What of a job file says how its files are read: with other words there they are to be asked for again.
fn read_by<F: RowFormat>(job_file: &str) -> String {
    let table: toml::Table = toml::from_str(job_file).unwrap_or_default();
    let own = [F::NAME, FILES].map(|name| table.get(name).map(toml::Value::to_string));
    own.map(Option::unwrap_or_default).join("\n")
}
