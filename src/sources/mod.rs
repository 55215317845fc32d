//! Floor 3: the kinds of sources. A kind plans slices, reads them (I/O, no database), and maps what was
//! read to rows (pure).
//!
//! To add a kind: one file here with its parameters and the trait [`Source`], and its line in `KINDS`.
//! Must not know: the database, the queue, runs.

mod access;
mod allowed_roots;
mod error;
pub mod export;
mod field_for;
pub mod files;
mod finding;
pub mod formats;
mod known_pages;
mod lanes;
mod parents;
mod parents_check;
mod plan;
mod readable_row;
pub mod rest_api;
mod rows;
mod slice;
mod source;
mod stored_bytes;
pub mod token_store;
mod upload;

pub use access::{Access, RateLimit, RateState};
pub use allowed_roots::AllowedRoots;
pub use error::{SourceError, SourceErrorKind};
pub use field_for::{Suggested, field_for};
pub use files::file_source::{
    AbsentColumn, FilePlan, FileScan, FileSource, FirstRow, FoundPaths, KeyWatch, LeftOut, Loss,
    MOST_PICKED, ParsedChunk, Widths,
};
pub use files::location::INCOMING;
pub use files::planning::SlicedFiles;
pub use finding::Finding;
pub use known_pages::KnownPages;
pub use lanes::{GoesOn, ReadLanes};
pub use parents::Parents;
pub use parents_check::parents_problems;
pub use plan::{AskedRange, CommittedFiles, FilesThere, FoundFile, Plan, PlanRequest};
pub use readable_row::ReadableRow;
pub use slice::{
    BlockRows, ChunkPosition, Document, LedNowhere, Met, News, NextSlice, OneSlice, Position,
    RawRow, RawRows, RawSlice, SignsOfLife, SliceContent, SliceNotes, SliceReader, SliceRequest,
    StreamedChunk,
};
pub use source::{FailedParents, Kind, Listing, Opened, ParentsProfile, Profile, Source};
pub use stored_bytes::StoredBytes;
pub use token_store::TokenStore;
pub use upload::Upload;

use crate::job_file::error::Problem;
use crate::job_file::{Definition, DefinitionError, KindSchema, json_schema};

/// Every kind there is.
pub const KINDS: &[Kind] = &[
    rest_api::KIND,
    export::kind::<formats::csv::Csv>(),
    export::kind::<formats::jsonl::Jsonl>(),
    export::kind::<formats::json::Json>(),
    export::kind::<formats::parquet::Parquet>(),
    export::kind::<formats::parquet::Parquet>(),
    export::kind::<formats::xlsx::Xlsx>(),
];

/// Every kind, by which job files are read and inspected.
pub fn kinds() -> &'static [Kind] {
    KINDS
}

/// The names of all kinds, by which a job file is read that was inspected when its run began: what
/// was good then goes on.
pub fn kind_names(kinds: &[Kind]) -> Vec<&'static str> {
    kinds.iter().map(|kind| kind.name).collect()
}

fn kind_of<'a>(kinds: &'a [Kind], definition: &Definition) -> Result<&'a Kind, SourceError> {
    kinds.iter().find(|kind| kind.name == definition.kind).ok_or_else(|| {
        let known = kind_names(kinds).join(", ");
        let message = format!("{}: unknown kind; known are {known}", definition.kind);
        SourceError::new(SourceErrorKind::InvalidConfig, message)
    })
}

/// Whether what a source reads can be recorded; where it comes from means nothing to others.
pub fn recordable(definition: &Definition) -> bool {
    kind_of(KINDS, definition).is_ok_and(|kind| kind.recordable)
}

/// Checks what can be checked of a definition on any machine.
///
/// # Errors
/// When the kind is unknown, or its parameters cannot be used.
pub fn check(definition: &Definition) -> Result<(), SourceError> {
    let checked = kind_of(KINDS, definition).and_then(|kind| (kind.check)(definition));
    checked.map_err(|error| error.in_file(&definition.path))
}

/// What is wrong with a good definition on this machine: what keeps it from being used, and what is
/// missing, which may be there on others.
///
/// # Errors
/// When the job file cannot be read again.
pub fn look(
    definition: &Definition,
    allowed_roots: &AllowedRoots,
) -> Result<(Vec<Problem>, Vec<Problem>), DefinitionError> {
    let Ok(kind) = kind_of(KINDS, definition) else { return Ok((Vec::new(), Vec::new())) };
    definition.inspect(|job| (kind.look)(definition, allowed_roots, job))
}

/// Whether a source that was left in this state normalizes what is stored again before it reads: see
/// [`Source::replays_first`].
pub fn replays_first(definition: &Definition, state: &serde_json::Value) -> bool {
    open(definition, &AllowedRoots::default()).is_ok_and(|source| source.replays_first(state))
}

/// The range that a backfill of a source is asked to read: see [`Source::read_range`].
///
/// # Errors
/// Why it cannot be read.
pub fn read_range(
    definition: &Definition,
    asked: AskedRange<'_>,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<crate::domain::run::ReadRange, SourceError> {
    open(definition, &AllowedRoots::default())?.read_range(asked, now)
}

/// Why nothing but a run that loads it can read a source, where that is so.
pub fn only_by_runs(definition: &Definition) -> Option<&'static str> {
    // What cannot be opened is told when it is to be read.
    open(definition, &AllowedRoots::default()).ok()?.profile().only_by_runs
}

/// Opens the source of a definition, which may read the files below the allowed roots.
///
/// # Errors
/// When the kind is unknown, or its parameters cannot be used or lead to files outside the allowed roots.
pub fn open(definition: &Definition, allowed_roots: &AllowedRoots) -> Opened {
    open_of(KINDS, definition, allowed_roots)
}

/// The same, of other kinds.
///
/// # Errors
/// As of [`open`].
pub fn open_of(kinds: &[Kind], definition: &Definition, allowed_roots: &AllowedRoots) -> Opened {
    let opened = kind_of(kinds, definition).and_then(|kind| (kind.open)(definition, allowed_roots));
    opened.map_err(|error| error.in_file(&definition.path))
}

/// A whole job file, as short as can be.
pub const EXAMPLE: &str = "\
# jobs/products_csv.toml: the file's name is the source's name
kind = \"csv\"
primary_key = [\"sku\"]

[csv]
paths = [\"data/*.csv\"]

[fields]
name = { column = \"Product Name\" }
price = { type = \"decimal\" }
";

/// The JSON Schema of job files, for editors.
pub fn job_schema_json() -> String {
    let kind = |kind: &Kind| KindSchema {
        name: kind.name,
        reads_files: kind.reads_files,
        table: (kind.schema)(),
    };
    let kinds: Vec<_> = KINDS.iter().map(kind).collect();
    let files = schemars::schema_for!(files::FilesParams);
    let export = schemars::schema_for!(export::ExportParams);
    let schema = json_schema(&kinds, &files, &export);
    format!("{schema:#}\n")
}

#[cfg(test)]
mod job_file_tests;
