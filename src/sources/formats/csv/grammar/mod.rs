//! Owns the grammar of rows: where a row ends, where its fields are. One function decides where a
//! quoted field closes, so that cutting a file into rows and cutting a row into fields
//! cannot disagree. Bytes only; must not know encodings, what makes a row acceptable, or how a dialect was
//! found.
//!
//! The grammar. A quote opens a field only as the first byte of the field; a byte order mark at the start
//! of a row, which files that were put together have, does not count, nor do spaces where the dialect passes over
//! them. Inside, an escape takes the special meaning from a quote or from another escape behind it and is
//! text before anything else. The next quote closes the field; text behind it belongs to the field and is a
//! *stray* defect. With stray quotes kept, only a quote in front of a delimiter, a line end or the end of
//! the file closes it, and no line end may be between the first stray quote and that one: a stray quote must
//! not cost the rows behind it. A line end outside quotes ends the row; the blank lines behind it belong to
//! the row's span, so that spans follow each other without a gap. Blank is a line with nothing on it; if the
//! layout says so, also one with delimiters only, and lines that repeat the header as a whole, or its names.
//!
//! A quoted field that does not close within the row limit or before the end of the file, or only
//! lines later at a quote that text follows (the next opening quote, that is), is *unclosed*: its row ends
//! at the row's first line end, wherever that is, and reading goes on behind it. Cutting the row into
//! fields then ends within quotes, which is how it is recognized.
//!
//! Without quotes an escape, if there is one, takes the special meaning from the byte behind it, be it a
//! delimiter or a line end.

mod escapes;
mod fields;
mod lines;
mod names;
mod near;
mod repeated;
mod rows;

use memchr::memmem;

pub(super) use repeated::Headers;

use super::dialect::{Dialect, LineEnd};
use super::header_names::HeaderNames;
use super::params::StrayQuotes;
use crate::sources::files::format::{LineBreaks, Memo, RecordSpan};

/// The most fields of a row, so that a row of nothing but delimiters does not cost twelve times its
/// size in memory. PostgreSQL's own tables end at 1,600 columns.
pub(super) const MAX_FIELDS: usize = 1 << 16;

/// UTF-8's byte order mark.
pub(super) const MARK: &[u8] = "\u{feff}".as_bytes();

/// A compiled dialect.
#[derive(Debug)]
pub(super) struct Grammar {
    delimiter: Box<[u8]>,
    finder: memmem::Finder<'static>,
    quote: Option<u8>,
    escape: Option<u8>,
    breaks: LineBreaks,
    stray: StrayQuotes,
    spaces: bool,
    blank: Blank,
    max_row: usize,
}

/// Which lines between rows are none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Blank {
    /// Whether empty lines are rows, as in a table of one column.
    pub empty_is_row: bool,
    /// Whether lines of nothing but delimiters are blank.
    pub delimiters: bool,
    /// The header as it may be repeated.
    pub headers: Headers,
    /// Its names, which may be written otherwise then.
    pub names: Option<HeaderNames>,
    /// Lines without their quotes that are rows, and may be headers.
    pub doubtful: Box<[Box<[u8]>]>,
}

impl Blank {
    /// For a table of so many columns: of one, a blank line is a row whose only cell is empty.
    pub fn of(columns: usize) -> Self {
        Self { empty_is_row: columns == 1, ..Self::default() }
    }
}

/// A field within a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Field {
    /// First byte, the opening quote not counted.
    pub start: u32,
    /// Behind the last byte, the closing quote not counted.
    pub end: u32,
    /// What is special about it.
    pub kind: FieldKind,
}

/// What is special about a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FieldKind {
    /// No quotes.
    Plain,
    /// In quotes, its bytes are its text.
    Quoted,
    /// With escapes still to be resolved.
    Escaped,
    /// A quote where the grammar has no place for one.
    Stray,
    /// The quotes do not close.
    Unclosed,
}

/// What is known not to close: no field that opens at or behind `from` closes before `until`.
/// Saves reading the same megabytes for every row behind an unclosed quote.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoCloseMemo {
    from: usize,
    until: usize,
}

impl Memo for NoCloseMemo {
    fn advance(&mut self, by: usize) {
        self.from = self.from.saturating_sub(by);
        self.until = self.until.saturating_sub(by);
    }
}

impl NoCloseMemo {
    fn learn(&mut self, opened: usize, until: usize) {
        if opened < self.from || self.until <= opened {
            self.from = opened;
        }
        self.until = until;
    }
}

impl Grammar {
    /// Compiles a dialect.
    pub fn new(dialect: &Dialect, blank: Blank, max_row: u64) -> Self {
        // An escaped line end would be taken for the one in front of such a line.
        let plain = dialect.quote.is_some() || dialect.escape.is_none();
        let blank = if plain {
            blank
        } else {
            Blank { empty_is_row: blank.empty_is_row, ..Blank::default() }
        };
        Self {
            delimiter: dialect.delimiter.as_bytes().into(),
            finder: memmem::Finder::new(dialect.delimiter.as_bytes()).into_owned(),
            quote: dialect.quote.map(|c| c as u8),
            escape: dialect.escape.map(|c| c as u8),
            breaks: match dialect.line_end {
                LineEnd::Lf => LineBreaks::Lf,
                LineEnd::Any => LineBreaks::Any,
            },
            stray: dialect.stray_quotes,
            spaces: dialect.spaces_before_quotes && !dialect.delimiter.starts_with(' '),
            blank,
            max_row: usize::try_from(max_row).unwrap_or(usize::MAX),
        }
    }

    /// What ends lines.
    pub fn line_breaks(&self) -> LineBreaks {
        self.breaks
    }

    /// What is between fields.
    pub fn delimiter(&self) -> &[u8] {
        &self.delimiter
    }

    /// What is around fields.
    pub fn quote(&self) -> Option<u8> {
        self.quote
    }

    /// The most bytes a row may have, its line end not counted.
    pub fn max_row(&self) -> usize {
        self.max_row
    }

    /// The span of the row at the start of `text`, which is not empty. `complete` says that
    /// nothing follows `text`; otherwise `None` means that more bytes are needed.
    pub fn span(&self, text: &[u8], complete: bool, memo: &mut NoCloseMemo) -> Option<RecordSpan> {
        let row = self.row_end(text, complete, memo)?;
        let next = row + self.blank_lines(&text[row..], complete)?;
        Some(RecordSpan { row, next })
    }

    /// The escape of a dialect without quotes.
    fn bare_escape(&self) -> Option<u8> {
        self.escape.filter(|_| self.quote.is_none())
    }
}
