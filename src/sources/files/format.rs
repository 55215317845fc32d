//! The seam between files and what stands in them.
//!
//! A format of rows is one file or folder in [`crate::sources::formats`] that implements
//! [`RowFormat`] and [`RowReader`], and its line in [`crate::sources::KINDS`]. It sees bytes and never
//! asks where they come from: planning, reading, lineage and what grew at its end are done once for
//! all formats.

use std::collections::BTreeSet;
use std::io;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::columns::Wanted;
use super::encodings::{Reading, Unreadable};
use super::location::ParamProblem;
use super::unpack::Bytes;
use crate::domain::file::Layout;
use crate::domain::reject::Defect;
use crate::domain::remark::Remark;
use crate::domain::shape::Shape;
use crate::job_file::Inspection;
use crate::sources::rows::spans;
use crate::sources::{AbsentColumn, FirstRow, ReadableRow, SourceError, Widths};
use crate::values::row::Row;

/// PostgreSQL stores at most 1 GB in one value, and a row has to fit into one.
pub const MAX_ROW_BYTES: u64 = 512 << 20;
/// So long may a row be in any case, to be set aside when the job file's limit is less.
pub const HELD_ROW_BYTES: u64 = 64 << 20;

/// A format of rows, under the parameters of a job file.
pub trait RowFormat: Sized + Send + Sync + 'static {
    /// The value of `kind`, the name of the table with the parameters, and what the names of such
    /// files mostly end in.
    const NAME: &'static str;

    /// What to ask and to do about a row that goes on and on.
    const ENDLESS_ROW: &'static str;

    /// Whether files are turned into rows while they are read, so that they are read from their beginning to their end.
    const CONVERTED: bool = false;

    /// What the names of files end in that are archives to others and none to the format, such as `.xlsx`.
    const OWN_ARCHIVES: &'static [&'static str] = &[];

    /// Whether files are no texts, and the format itself knows what is none of them.
    const BINARY: bool = false;

    /// Why this kasparro reads no such files, if it was built so, and what to do.
    const MISSING: Option<&'static str> = None;

    /// Whether paths may stand in the format's own table instead of `[files]`.
    const TAKES_PATHS: bool = false;

    /// The format's own table of a job file.
    type Params: DeserializeOwned + Default + JsonSchema;

    /// Reads the rows of one layout.
    type Reader: RowReader;

    /// What is noted while planning passes over the rows of one file.
    type Survey: Survey<Self::Reader> + Send;

    /// Says what is wrong with the fields of a job file: ways to values that such files do not have.
    fn inspect_fields(job: &mut Inspection<'_>);

    /// The paths in the format's own table, of a format that takes them there.
    fn own_paths(params: &Self::Params) -> Option<&[String]> {
        let _ = params;
        None
    }

    /// Everything that is wrong with the parameters without a look at a file.
    fn problems(params: &Self::Params) -> Vec<ParamProblem>;

    /// The format under these parameters, for the locators of a mapping.
    ///
    /// # Errors
    /// Permanent, when a parameter has no usable value, or a locator means nothing in such files.
    fn new(params: Self::Params, wanted: Vec<Wanted>) -> Result<Self, SourceError>;

    /// Whether a layout was made under these parameters. A file read under others has to be read
    /// again even if it did not change.
    fn made(&self, layout: &Layout) -> bool;

    /// Whether a file that was read under one of the layouts is cut into the same rows and chunks under
    /// the other.
    fn cuts_alike(known: &Layout, now: &Layout) -> Alike {
        if known == now { Alike::Yes } else { Alike::No }
    }

    /// Rows of more bytes are set aside.
    fn max_row_bytes(&self) -> u64;

    /// Bytes after which a chunk ends at the next row.
    fn chunk_size(&self) -> u64;

    /// Understands `text`, the start of the file named `file`. `complete` says that it is all of it;
    /// otherwise `None` means that more bytes are needed.
    ///
    /// # Errors
    /// Permanent, when the file is not one of this format.
    fn head(
        &self,
        file: &str,
        text: &[u8],
        complete: bool,
        doubts: Doubts,
    ) -> Result<Option<Head>, SourceError>;

    /// How the text of a file is encoded that begins so. `complete` says that this is all of it; otherwise `None` means that
    /// more bytes are needed.
    ///
    /// # Errors
    /// When it cannot be read.
    fn encoding(&self, beginning: &[u8], complete: bool) -> Result<Option<Reading>, Unreadable> {
        let _ = (beginning, complete);
        Ok(Some(Reading::AS_IT_IS))
    }

    /// Whether nobody else can say how files are encoded: the job file does, or they are no texts.
    fn names_encoding(&self) -> bool {
        true
    }

    /// The layout of a file that was transcoded, of what [`RowFormat::head`] understood then.
    ///
    /// # Errors
    /// Never in practice: it is a layout of this version.
    fn transcoded(layout: &Layout, from: &Reading) -> Result<Layout, SourceError> {
        let _ = from;
        Ok(layout.clone())
    }

    /// What rows are looked for in, of the unpacked and transcoded bytes of the file named `file`; the same if they are
    /// rows already. Blocking.
    ///
    /// At most `max_spool` bytes are put aside for it.
    ///
    /// # Errors
    /// When it cannot be read, or is none of this format.
    fn content(&self, file: &str, bytes: Bytes, max_spool: u64) -> io::Result<Bytes> {
        let _ = (file, max_spool);
        Ok(bytes)
    }

    /// Under which doubts a layout was made.
    fn doubts(layout: &Layout) -> Doubts {
        let _ = layout;
        Doubts::default()
    }

    /// What was decided of a file that somebody may want otherwise.
    fn notes(layout: &Layout) -> Vec<Remark> {
        let _ = layout;
        Vec::new()
    }

    /// A reader of the rows of a file.
    ///
    /// # Errors
    /// Permanent, when the mapping cannot use such a file, or another version wrote the layout.
    fn reader(&self, file: &str, layout: &Layout) -> Result<Self::Reader, SourceError>;

    /// What is to be noted of the rows of a file.
    fn survey(&self, reader: &Self::Reader) -> Self::Survey;

    /// Says what to do about a file of which the rest raises doubts, where it cannot be read again.
    fn doubtful(doubts: Doubts) -> &'static str {
        let _ = doubts;
        ""
    }

    /// See [`crate::sources::FileSource::absent`].
    fn absent(&self, layout: &Layout, width: Option<u32>) -> Option<Vec<AbsentColumn>>;
}

/// Whether two layouts mean the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alike {
    /// They do.
    Yes,
    /// Not to each file.
    No,
    /// They do to a file whose survey says so.
    IfPlain,
}

/// What of a first guess the rest of a file shows to be wrong: bits that mean something to the format.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Doubts(pub u8);

impl Doubts {
    /// Whether all of these are among them.
    pub fn has(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// These and others.
    #[must_use]
    pub fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }
}

/// The start of a file, understood.
#[derive(Debug)]
pub struct Head {
    /// How to read the rest. Decided once when the file is planned, stored with the file, and the
    /// same for every later reading of its chunks and of its stored blocks.
    pub layout: Layout,
    /// Behind the last line end of what is no row.
    pub header_end: usize,
    /// The first row's first byte.
    pub first_row: usize,
}

/// Where a row is within a text that starts at the row's first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordSpan {
    /// Behind the row's line end.
    pub row: usize,
    /// Behind the blank lines that follow it: the start of the next row.
    pub next: usize,
}

/// What ends lines: what they are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineBreaks {
    /// LF, whatever CR is in front of it.
    Lf,
    /// LF, CR LF, or CR.
    Any,
}

impl LineBreaks {
    /// Lines that end within `text`, which ends in none of the CR of a CR LF.
    pub fn count(self, text: &[u8]) -> i64 {
        let feeds = memchr::memchr_iter(b'\n', text).count();
        if self == Self::Lf {
            return feeds as i64;
        }
        let lone = |at: &usize| text.get(at + 1) != Some(&b'\n');
        (feeds + memchr::memchr_iter(b'\r', text).filter(lone).count()) as i64
    }

    /// Whether a line can end in this byte.
    pub fn is_end(self, byte: u8) -> bool {
        byte == b'\n' || byte == b'\r' && self == Self::Any
    }
}

/// Finds and reads the rows of the files of one layout.
pub trait RowReader: Send + Sync + 'static {
    /// A good row.
    type Row<'a>: Row
    where
        Self: 'a;

    /// Memory that rows are read into, one after another.
    type Buffer: Default + Send;

    /// What is known of the bytes ahead from looking for the ends of the rows before.
    type Memo: Memo + Send;

    /// Looks at the rows of a chunk for its shape.
    type Shape: ShapeBuilder<Self>;

    /// What ends lines.
    fn line_breaks(&self) -> LineBreaks;

    /// The span of the row at the start of `text`, which is not empty. `complete` says that nothing
    /// follows `text`; otherwise `None` means that more bytes are needed.
    fn next_row(&self, text: &[u8], complete: bool, memo: &mut Self::Memo) -> Option<RecordSpan>;

    /// The row without its line end and the blank lines behind it.
    fn content<'t>(&self, span: &'t [u8]) -> &'t [u8];

    /// Reads a row, given as [`RowReader::content`] gives it.
    ///
    /// # Errors
    /// Everything that is wrong with it; at least one defect.
    fn read<'a>(
        &'a self,
        content: &'a [u8],
        buffer: &'a mut Self::Buffer,
    ) -> Result<Self::Row<'a>, Vec<Defect>>;

    /// Reads a row as far as its key goes, good or not behind it; `None` when not even that can be
    /// read. It may cost a fraction of reading the row.
    fn read_key<'a>(
        &'a self,
        content: &'a [u8],
        buffer: &'a mut Self::Buffer,
    ) -> Option<Self::Row<'a>>;

    /// A row as people read it, good or not, and where the value of the field is that defects call so: rows are JSON where
    /// a format says nothing else.
    fn row_for_people<'r>(&self, content: &'r [u8], field: &str) -> ReadableRow<'r> {
        spans::readable(content, field)
    }

    /// Looks at the rows of a chunk of the file of this number.
    fn shape(&self, file_id: i64) -> Self::Shape;
}

/// Knowledge of the bytes ahead.
pub trait Memo: Default {
    /// The same knowledge seen from `bytes` further on.
    fn advance(&mut self, bytes: usize);
}

/// For formats whose rows end without a look ahead.
impl Memo for () {
    fn advance(&mut self, _: usize) {}
}

/// A shape in the making.
pub trait ShapeBuilder<R: RowReader + ?Sized> {
    /// Whether it looks at one more row.
    fn is_open(&self) -> bool;

    /// Looks at a row; one that is not good has no shape. `number` is that within the file.
    fn row(&mut self, reader: &R, content: &[u8], number: i64, buffer: &mut R::Buffer);

    /// What the rows look like.
    fn finish(self, reader: &R) -> Shape;
}

/// What a format notes while planning passes over the rows of one file.
pub trait Survey<R: RowReader> {
    /// Passes over a row, and shows its key to `visit`. `gap` is what lies between it and the next one.
    fn row(
        &mut self,
        reader: &R,
        content: &[u8],
        gap: &[u8],
        buffer: &mut R::Buffer,
        visit: &mut dyn FnMut(&dyn Row),
    );

    /// What was passed so far is known from an earlier run; only what follows is new.
    fn known_end(&mut self);

    /// The mapped fields that rows had so far; `None` where the beginning of a file says which it has.
    fn met(&self) -> Option<&BTreeSet<String>> {
        None
    }

    /// What the rows show to be wrong of what the start of the file made believe.
    fn doubts(&self) -> Doubts {
        Doubts::default()
    }

    /// What the row that was passed last is, if the rows behind it are not those of the table in front of it: of the file no
    /// more is read.
    fn refusal(&self) -> Option<Refusal<'_>> {
        None
    }

    /// Rows are to be looked at for [`Survey::is_plain`].
    fn compare(&mut self) {}

    /// Whether [`Alike::IfPlain`] means yes.
    fn is_plain(&self) -> bool {
        false
    }

    /// What was noted of the file, which has so many rows and this layout.
    ///
    /// # Errors
    /// Permanent, when that shows that the file was not understood.
    fn finish(self, file: &str, rows: i64, layout: Layout) -> Result<Surveyed, SourceError>;
}

/// Why a file is not read on.
#[derive(Debug, Clone, Copy)]
pub struct Refusal<'s> {
    /// What the row is.
    pub what: &'s str,
    /// What makes it a row as any other, if it is one.
    pub if_data: &'static str,
}

/// What a survey found.
#[derive(Debug)]
pub struct Surveyed {
    /// The layout, with what is kept of the survey.
    pub layout: Layout,
    /// See [`crate::sources::FileScan::widths`].
    pub widths: Option<Widths>,
    /// See [`crate::sources::FileScan::first_row`].
    pub first_row: FirstRow,
}
