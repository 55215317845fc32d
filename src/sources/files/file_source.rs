//! What files of a format are to whoever plans and reads them: what was found, what is to be read of each, and
//! what reading it gave.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use super::location::Location;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::domain::file::{FileStamp, KnownFile, Layout, Progress, RawBlock};
use crate::domain::hash::{ContentHash, Hashes};
use crate::domain::raw::RawRef;
use crate::domain::remark::Remark;
use crate::domain::shape::Shape;
use crate::domain::task::Chunk;
use crate::mapping::{Mapped, Mapping};
use crate::sources::{BlockRows, RawRow, ReadableRow, SourceError};
use crate::values::row::Row;

/// What is to be read of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilePlan {
    /// The content is that of the known file; the time of modification may be another.
    Unchanged {
        /// Time of last modification.
        modified: SystemTime,
        /// Hash of all bytes, when they were read to see that.
        hash: Option<ContentHash>,
        /// How it is read today, if that was written otherwise before and means the same to it.
        layout: Option<Layout>,
        /// What tells it from another file of the same size and time.
        etag: Option<String>,
    },
    /// The known file with more rows behind it: only those are to be read.
    Appended(FileScan),
    /// To be read from its start.
    Whole(FileScan),
    /// It cannot be read in any order, since it is packed: it is to be read as a stream, and nothing is known of it yet.
    Landed,
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
    /// What tells it from another file of the same size and time.
    pub etag: Option<String>,
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
    /// Which part of the file lacks it, such as a sheet, where others have it.
    pub part: Option<String>,
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

/// What a file that is gone means for the records that came from it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenGone {
    /// They stay.
    #[default]
    Keep,
    /// They are missing, unless another file has them.
    Tombstone,
}

/// A source of files that are cut into chunks, which are then read in any order.
pub trait FileSource: Send + Sync {
    /// The setting that leads to the files, as messages name it: `files.paths`.
    fn setting(&self) -> String;

    /// Where the files are.
    fn location(&self) -> &Location;

    /// What a file that is gone means.
    fn when_gone(&self) -> WhenGone;

    /// The bytes after which a chunk ends with the next row.
    fn chunk_size(&self) -> u64;

    /// The files that entries of `paths` lead to, in the order in which their rows count. Blocking I/O, which ends
    /// soon once `stopped` is set.
    ///
    /// # Errors
    /// When a path or pattern names nothing, or more than is looked at.
    fn files(&self, entries: &[String], stopped: &AtomicBool) -> Result<FoundPaths, SourceError>;

    /// What tells one state of a file from another without reading it.
    ///
    /// # Errors
    /// When it is missing, a directory or unreadable.
    fn state(&self, path: &Path) -> Result<String, SourceError>;

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

    /// Whether a layout was made under the parameters of now.
    fn made(&self, layout: &Layout) -> bool;

    /// What was decided of a file of this layout that somebody may want otherwise.
    fn notes(&self, layout: &Layout) -> Vec<Remark>;

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

    /// See [`crate::sources::Source::row_for_people`].
    fn row_for_people<'r>(&self, raw: &'r [u8], layout: &Layout, field: &str) -> ReadableRow<'r>;

    /// Maps the chosen rows of a stored block, in order; those that are no rows (wrong field count,
    /// stray quotes, wrong encoding …) become rejects. Pure.
    ///
    /// # Errors
    /// When the contract freezes the schema.
    fn map(
        &self,
        rows: BlockRows<'_>,
        raw: RawRef,
        mapping: &Mapping,
        out: &mut Mapped,
    ) -> Result<(), SourceError>;

    /// The first of the chosen rows of a stored block, as it came. Pure.
    ///
    /// # Errors
    /// When the layout cannot be used.
    fn raw_row(&self, rows: BlockRows<'_>) -> Result<Option<RawRow>, SourceError>;
}
