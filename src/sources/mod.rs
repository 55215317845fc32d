//! Floor 3: the kinds of sources. A kind plans slices, reads them (I/O, no database), and maps what was
//! read to rows (pure).
//!
//! To add a kind: one file here with its parameters and the trait [`Source`], and its line in `KINDS`.
//! Must not know: the database, the queue, runs.

mod allowed_roots;
mod error;
pub mod files;
pub mod formats;
mod plan;
pub mod rest_api;
mod rows;
mod slice;

pub use allowed_roots::AllowedRoots;
pub use error::{SourceError, SourceErrorKind};
pub use files::planning::SlicedFiles;
pub use plan::{FoundFile, Plan, PlanRequest};
pub use slice::{
    ChunkPosition, Document, LedNowhere, NextSlice, OneSlice, Position, RawRows, RawSlice,
    SliceContent, SliceNotes, SliceReader, SliceRequest,
};

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use serde_json::Value;

use crate::domain::file::{ChosenRows, FileStamp, KnownFile, Layout, Progress, RawBlock};
use crate::domain::hash::{ContentHash, Hashes};
use crate::domain::presence::Reads;
use crate::domain::raw::RawRef;
use crate::domain::shape::Shape;
use crate::domain::task::Chunk;
use crate::job_file::error::Problem;
use crate::job_file::{
    Definition, DefinitionError, Inspection, KindRules, KindSchema, json_schema,
};
use crate::mapping::{Mapped, Mapping};
use crate::values::row::Row;

/// Where API pages come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Access {
    /// From the network.
    #[default]
    Network,
    /// From the network, keeping a copy of each page in the recording.
    Record,
    /// From the recording, without any network.
    Offline,
}

impl Access {
    /// The word stored with a run.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Record => "record",
            Self::Offline => "offline",
        }
    }

    /// The inverse of [`Access::as_str`].
    pub fn from_word(word: &str) -> Self {
        match word {
            "record" => Self::Record,
            "offline" => Self::Offline,
            _ => Self::Network,
        }
    }
}

/// How often the requests of a bucket may be made, across all workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// Sources with the same key share one bucket.
    pub key: String,
    /// Requests allowed per period; also the size of the bucket.
    pub requests: u32,
    /// The period.
    pub per: Duration,
}

/// What is to be read of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilePlan {
    /// The content is that of the known file; the time of modification may be another.
    Unchanged {
        /// Time of last modification.
        modified: SystemTime,
        /// Hash of all bytes, when they were read to see that.
        hash: Option<ContentHash>,
    },
    /// The known file with more rows behind it: only those are to be read.
    Appended(FileScan),
    /// To be read from its start.
    Whole(FileScan),
}

/// What one streaming pass over a file found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileScan {
    /// Size in bytes.
    pub size: u64,
    /// Time of last modification.
    pub modified: SystemTime,
    /// Hashes of all bytes.
    pub hashes: Hashes,
    /// How to read it.
    pub layout: Layout,
    /// The chunks to read, in order.
    pub chunks: Vec<Chunk>,
    /// The end of the file.
    pub end: Progress,
    /// How far its rows reach; `None` where rows of another length than the header's are no rows.
    pub widths: Option<Widths>,
    /// What the first row is, where the job file says that there is no header.
    pub first_row: FirstRow,
}

/// What the first row of a file is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FirstRow {
    /// A row like any other.
    #[default]
    Data,
    /// A header, which says what the job file says.
    Header,
    /// A header that has the names of the job file in another order.
    OtherHeader,
}

/// The most fields that a row has, rows with too many left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Widths {
    /// Of all rows of the file.
    pub all: u32,
    /// Of those that are to be read.
    pub new: u32,
}

/// A column that a file does not have, although its values are needed or the places of others hang
/// on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AbsentColumn {
    /// As the job file names it.
    pub column: String,
    /// The file's column of the most similar name.
    pub nearest: Option<String>,
    /// Whether the file names the column, or the job file does, and no row is long enough to have it.
    pub unreached: bool,
}

/// What reading one chunk gave.
#[derive(Debug, Default)]
pub struct ParsedChunk {
    /// All rows, good and bad.
    pub blocks: Vec<RawBlock>,
    /// Number of rows, good and bad.
    pub rows: i64,
    /// The numbers of the rows whose keys were picked out.
    pub picked: Vec<i64>,
    /// These rows, a block each; none when they would take more than [`MOST_PICKED`].
    pub watched: Vec<RawBlock>,
    /// What the good rows look like.
    pub shape: Shape,
}

/// The most bytes of rows that are picked out of chunks, and held besides these.
pub const MOST_PICKED: usize = 4 << 20;

/// Picks rows out by their keys; other cells need not be there.
pub type KeyWatch<'a> = &'a mut dyn FnMut(&dyn Row) -> bool;

/// What the paths and patterns of a source lead to.
#[derive(Debug, Default)]
pub struct FoundPaths {
    /// The files, in the order in which their rows count.
    pub files: Vec<PathBuf>,
    /// What a pattern leads to besides, and is not read.
    pub left_out: Vec<LeftOut>,
}

/// Something that a pattern leads to and that is not read, or could not be looked into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// Where it is.
    pub path: PathBuf,
    /// For people: its name, relative to the folder of the job file, what is wrong and what to do.
    pub why: String,
    /// How much that matters.
    pub loss: Loss,
}

/// What is lost with something that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// Nothing that the pattern matches; it may have been meant all the same.
    Nothing,
    /// A file.
    File,
    /// Unknown: a folder could not be read.
    Unknown,
}

/// A source of files that are cut into chunks, which are then read in any order.
pub trait FileSource: Send + Sync {
    /// The setting that leads to the files, as messages name it: `files.paths`.
    fn setting(&self) -> String;

    /// The files, in the order in which their rows count. Blocking I/O, which ends soon once
    /// `stopped` is set.
    ///
    /// # Errors
    /// When a path or pattern names nothing, or more than is looked at.
    fn files(&self, stopped: &AtomicBool) -> Result<FoundPaths, SourceError>;

    /// Looks at a file and cuts what is new of it into chunks. Blocking I/O; one streaming pass
    /// at most, none when size and time of modification are unchanged. `visit` is shown the key of
    /// every row that the pass meets; other cells need not be there.
    ///
    /// # Errors
    /// When the file cannot be read, is a directory, or has no header that the mapping can use.
    fn plan(
        &self,
        path: &Path,
        known: Option<&KnownFile>,
        visit: &mut dyn FnMut(&dyn Row),
    ) -> Result<FilePlan, SourceError>;

    /// The mapped columns that a file of this layout lacks; `None` when it has no columns at all, or
    /// nobody can tell. `width` is the number of fields of its longest row, where shorter ones are
    /// filled up. Columns that are known by their places only lack each other: where one is missing,
    /// nobody can tell which, so unmapped ones count as well.
    fn absent(&self, layout: &Layout, width: Option<u32>) -> Option<Vec<AbsentColumn>>;

    /// Reads one chunk and cuts it into rows; whether a row is good is found when it is mapped.
    /// `watch` is shown the key of every row. Blocking I/O and CPU work.
    ///
    /// # Errors
    /// When the file cannot be read; permanent when it is not the file that was `planned`.
    fn read(
        &self,
        path: &Path,
        planned: &FileStamp,
        layout: &Layout,
        chunk: &Chunk,
        file_id: i64,
        watch: Option<KeyWatch<'_>>,
    ) -> Result<ParsedChunk, SourceError>;

    /// Maps the chosen rows of a stored block, in order; those that are no rows (wrong field count,
    /// stray quotes, wrong encoding …) become rejects. Pure.
    ///
    /// # Errors
    /// When the contract freezes the schema.
    fn map(
        &self,
        block: &RawBlock,
        layout: &Layout,
        raw: RawRef,
        rows: &ChosenRows,
        mapping: &Mapping,
        out: &mut Mapped,
    ) -> Result<(), SourceError>;
}

/// An opened source. It plans slices, reads them, and turns what was read into rows: all that the
/// engine asks of it. It knows neither the database nor the queue nor runs.
pub trait Source: Send + Sync {
    /// What the engine has to know of how it is read.
    fn profile(&self) -> Profile;

    /// Decides what to read first. May do I/O, and stops soon when nobody waits for it any more.
    ///
    /// # Errors
    /// When nothing can be read.
    fn plan(self: Arc<Self>, request: PlanRequest)
    -> BoxFuture<'static, Result<Plan, SourceError>>;

    /// Begins to read at a position.
    fn read(self: Arc<Self>, request: SliceRequest) -> Box<dyn SliceReader>;

    /// Maps rows that were read, in order; what is no row or no record becomes a reject. Pure.
    ///
    /// # Errors
    /// When the rows are of a form that the source does not read, or the contract freezes the schema.
    fn map(
        &self,
        rows: RawRows<'_>,
        raw: RawRef,
        mapping: &Mapping,
        out: &mut Mapped,
    ) -> Result<(), SourceError>;

    /// What the next run begins with, now that one has read everything: `state` is what it had begun
    /// with, `watermarks` are what its slices left, in their order. An object, or null for nothing.
    fn advance(&self, state: &Value, watermarks: &[Value]) -> Value {
        let _ = watermarks;
        state.clone()
    }
}

/// What the engine has to know of how a source is read.
#[derive(Debug, Clone)]
pub struct Profile {
    /// What an incremental run reads.
    pub reads: Reads,
    /// Whether the job file decides what the rows of a slice are, so that normalizing it under another
    /// job file may find more or fewer.
    pub rows_by_job_file: bool,
    /// The most slices that are normalized in one transaction when they queue up.
    pub slices_per_batch: i64,
    /// The bucket that requests draw from.
    pub rate_limit: Option<RateLimit>,
    /// The most attempts of a reading task; `None`: as for any other.
    pub max_attempts: Option<u32>,
}

/// What opening a source gives.
pub type Opened = Result<Arc<dyn Source>, SourceError>;

/// A kind of source, as it is registered.
pub struct Kind {
    /// The value of `kind` in a job file, and the name of the table with its parameters.
    pub name: &'static str,
    /// Whether what it reads can be recorded, and read again without a network.
    pub recordable: bool,
    /// Whether it reads files, and takes the table `[files]`.
    pub reads_files: bool,
    /// Says everything that is wrong with a job file, wherever the source will be read.
    pub inspect: fn(&mut Inspection<'_>),
    /// Says what is wrong with it on this machine: files and secrets that are not there.
    pub look: fn(&Definition, &AllowedRoots, &mut Inspection<'_>),
    /// Says what is wrong with the parameters, wherever the source will be read.
    pub check: fn(&Definition) -> Result<(), SourceError>,
    /// Opens a source. Reads nothing yet.
    pub open: fn(&Definition, &AllowedRoots) -> Opened,
    /// The JSON Schema of its parameters.
    pub schema: fn() -> schemars::Schema,
}

/// Every kind there is.
pub const KINDS: &[Kind] = &[rest_api::KIND, formats::csv::KIND, formats::jsonl::KIND];

impl KindRules for Kind {
    fn name(&self) -> &str {
        self.name
    }

    fn reads_files(&self) -> bool {
        self.reads_files
    }

    fn inspect(&self, job: &mut Inspection<'_>) {
        (self.inspect)(job);
    }
}

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
    let schema = json_schema(&kinds, &schemars::schema_for!(files::FilesParams));
    format!("{schema:#}\n")
}

#[cfg(test)]
mod job_file_tests;
