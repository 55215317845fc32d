//! Owns the layout of a file: everything that turns its bytes into rows, decided once when the
//! file is planned, stored with the file, and the same for every later reading of its chunks and
//! of its stored blocks.

use encoding_rs::Encoding;
use serde::{Deserialize, Serialize};

use super::dialect::{Dialect, LineEnd};
use super::grammar::{Blank, Grammar, Headers};
use super::header::is_invisible;
use super::header_names::HeaderNames;
use super::params::{RaggedRows, StrayQuotes};
use crate::domain::file::Layout;
use crate::sources::{SourceError, SourceErrorKind};

/// How files are understood today. A file that was understood in an earlier way is passed over once more: most
/// mean what they meant.
const REVISION: u32 = 1;

/// A decided layout. What was added later means, when it is absent, what it meant before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CsvLayout {
    /// How bytes become rows and fields.
    pub dialect: Dialect,
    /// WHATWG name of the encoding.
    pub encoding: String,
    /// WHATWG name of what it was transcoded from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transcoded: Option<String>,
    /// Names of the columns; none in an empty file.
    pub columns: Vec<String>,
    /// What becomes of rows with too few fields.
    pub ragged_rows: RaggedRows,
    /// The most bytes of a row.
    pub max_row_bytes: u64,
    /// Bytes after which a chunk ends at the next row.
    pub chunk_size: u64,
    /// Fingerprint of the parameters: under others the file has to be read again.
    pub declared: String,
    /// [`REVISION`] of whoever decided it.
    #[serde(default)]
    pub revision: u32,
    /// Rows may end behind so many fields: the columns behind have no names in the header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub named_columns: Option<usize>,
    /// What becomes of fields behind the last column.
    #[serde(default)]
    pub extra: Extra,
    /// Whether lines of nothing but delimiters are blank.
    #[serde(default)]
    pub skip_empty_rows: bool,
    /// The header without its quotes, which may be repeated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeated_header: Option<String>,
    /// Lines without their quotes that may be repeated where they follow each other: a header of several lines, or one with
    /// lines above it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repeated_lines: Vec<Vec<String>>,
    /// The names of headers that may be repeated and written otherwise: the cells of the rows of each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub header_names: Vec<Vec<Vec<String>>>,
    /// Lines without their quotes that may be headers, and may be rows as well: such a row is read, and told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubtful_lines: Vec<String>,
    /// The same of names, as [`Self::header_names`] has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubtful_names: Vec<Vec<Vec<String>>>,
    /// What reading the whole file showed to be a wrong guess, see [`super::doubts`].
    #[serde(default, skip_serializing_if = "is_none")]
    pub doubts: u8,
    /// What was decided that somebody may want otherwise, and the key for that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The same of what may well be wrong.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What becomes of fields behind the last column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Extra {
    /// The row is set aside.
    #[default]
    Quarantine,
    /// They are dropped if they are empty, otherwise the row is set aside.
    DropEmpty,
    /// They are dropped.
    Drop,
}

fn is_none(doubts: &u8) -> bool {
    *doubts == 0
}

impl CsvLayout {
    /// A layout under parameters of this fingerprint.
    pub fn new(dialect: Dialect, encoding: String, declared: String) -> Self {
        Self {
            dialect,
            encoding,
            transcoded: None,
            columns: Vec::new(),
            ragged_rows: RaggedRows::default(),
            max_row_bytes: 0,
            chunk_size: 0,
            declared,
            revision: REVISION,
            named_columns: None,
            extra: Extra::default(),
            skip_empty_rows: false,
            repeated_header: None,
            repeated_lines: Vec::new(),
            header_names: Vec::new(),
            doubtful_lines: Vec::new(),
            doubtful_names: Vec::new(),
            doubts: 0,
            notes: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// The grammar of its rows.
    pub fn grammar(&self, encoding: &'static Encoding) -> Grammar {
        let line = |line: &String| encoding.encode(line).0.into_owned();
        let several = self.repeated_lines.iter().map(|lines| lines.iter().map(line).collect());
        let one = self.repeated_header.iter().map(|header| vec![line(header)]);
        let blank = Blank {
            delimiters: self.skip_empty_rows && self.columns.len() > 1,
            headers: Headers::new(several.chain(one)),
            names: self.names(encoding),
            doubtful: self.doubtful_lines.iter().map(|row| line(row).into_boxed_slice()).collect(),
            ..Blank::of(self.columns.len())
        };
        Grammar::new(&self.dialect, blank, self.max_row_bytes)
    }

    /// The names of its headers.
    pub fn names(&self, encoding: &'static Encoding) -> Option<HeaderNames> {
        HeaderNames::new(&self.header_names, encoding)
    }

    /// The names of headers that may be rows as well.
    pub fn doubtful_names(&self, encoding: &'static Encoding) -> Option<HeaderNames> {
        HeaderNames::new(&self.doubtful_names, encoding)
    }

    /// The grammar where a CR alone ends lines, if it does not here.
    pub fn any_line_ends(&self, encoding: &'static Encoding) -> Option<Grammar> {
        let dialect = Dialect { line_end: LineEnd::Any, ..self.dialect.clone() };
        let lf = self.dialect.line_end == LineEnd::Lf && self.columns.len() > 1;
        lf.then(|| Self { dialect, ..self.clone() }.grammar(encoding))
    }

    /// The encoding.
    ///
    /// # Errors
    /// When another version of kasparro wrote the layout.
    pub fn encoding(&self) -> Result<&'static Encoding, SourceError> {
        Encoding::for_label(self.encoding.as_bytes()).ok_or_else(|| {
            SourceError::new(
                SourceErrorKind::InvalidConfig,
                format!("unknown encoding {:?}", self.encoding),
            )
        })
    }

    /// Whether a file that did not change since is taken for read: it was understood as files are today, or nothing that is
    /// kept of it says that it would be understood otherwise.
    pub fn is_like_today(&self) -> bool {
        let Dialect { delimiter, quote, line_end, .. } = &self.dialect;
        let doubtful = *line_end == LineEnd::Any
            || *quote == Some('\'')
            || *quote == Some('"') && matches!(delimiter.as_str(), "\t" | "|")
            || self.columns.iter().any(|name| name.contains(is_invisible));
        self.revision == REVISION || !doubtful
    }

    /// Whether it means the same as the other to every file.
    pub fn means(&self, other: &Self) -> bool {
        let meaning =
            |layout: &Self| Self { notes: Vec::new(), warnings: Vec::new(), ..layout.clone() };
        meaning(self) == meaning(other)
    }

    /// Whether a file without anything that only one of them knows is read alike: this one was decided as
    /// files are understood today, `old` earlier.
    pub fn could_be(&self, old: &Self) -> bool {
        let stray_quotes = match self.dialect.stray_quotes {
            StrayQuotes::Auto => StrayQuotes::Quarantine,
            given => given,
        };
        let of_today = Self {
            header_names: Vec::new(),
            doubtful_lines: Vec::new(),
            doubtful_names: Vec::new(),
            notes: old.notes.clone(),
            warnings: old.warnings.clone(),
            ..self.clone()
        };
        // Since then the names of the header are known when they come again.
        if of_today == *old {
            return true;
        }
        let before = Self {
            dialect: Dialect { stray_quotes, ..self.dialect.clone() },
            header_names: Vec::new(),
            doubtful_lines: Vec::new(),
            doubtful_names: Vec::new(),
            skip_empty_rows: false,
            repeated_header: None,
            repeated_lines: Vec::new(),
            notes: Vec::new(),
            warnings: Vec::new(),
            revision: old.revision,
            ..self.clone()
        };
        old.revision == 0 && self.dialect.line_end == LineEnd::Lf && before == *old
    }

    /// The stored form.
    ///
    /// # Errors
    /// Never in practice: the layout has nothing that JSON lacks.
    pub fn store(&self) -> Result<Layout, SourceError> {
        serde_json::to_value(self).map(Layout::new).map_err(|e| {
            SourceError::new(
                SourceErrorKind::Internal,
                format!("the layout of a CSV file cannot be stored: {e}"),
            )
        })
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// When another version of kasparro wrote it.
    pub fn load(layout: &Layout) -> Result<Self, SourceError> {
        Self::deserialize(layout.value()).map_err(|e| {
            SourceError::new(
                SourceErrorKind::InvalidState,
                format!(
                    "the stored layout of a CSV file is not one of this version of kasparro ({e})"
                ),
            )
            .advise("run the source with mode = full")
        })
    }
}
