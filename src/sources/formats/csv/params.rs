//! Owns the `[csv]` table of a job file: its keys, their defaults and what values they take.
//! Resolving `"auto"` belongs to [`super::dialect`], which needs a file for it.

use encoding_rs::Encoding;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::sources::SourceError;
use crate::sources::files::encodings::{
    self, AUTO, Given as Encoded, Readable, Reading, Unreadable,
};
use crate::sources::files::format::MAX_ROW_BYTES;
use crate::sources::files::location::ParamProblem;

/// The table's name.
pub(super) const TABLE: &str = "csv";
/// The word for "the files have none".
const NONE: &str = "none";

/// How CSV files are read. Every key may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CsvParams {
    /// The same as `paths` of `[files]`, for job files that have no such table.
    #[schemars(with = "Vec<String>", skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<String>>,
    /// What separates fields, one or more characters; `"auto"` tries comma, semicolon, tab
    /// and bar on the file.
    pub delimiter: String,
    /// The character around fields that contain delimiters or line ends; `"auto"` tries `"` and
    /// `'`, `"none"` means that no character is special.
    pub quote: String,
    /// The character in front of a quote within a quoted field. The quote character itself means
    /// that it is doubled; `"auto"` tries doubled quotes and the backslash, `"none"` means that
    /// quotes within fields are not marked (then `stray_quotes = "keep"` helps).
    pub escape: String,
    /// Encoding of the files: `"auto"` is UTF-8, UTF-16 as their first bytes say, or what those of a file that is
    /// neither look like most; any other by its WHATWG label, such as `"windows-1252"`, `"latin1"` or `"shift_jis"`.
    pub encoding: String,
    /// Whether the first row names the columns (`true`, the default and `"auto"`), the columns are
    /// to be called `column_1`, `column_2` … (`false`), or the list of names of the columns of
    /// files without a header.
    pub header: Header,
    /// Rows that the header takes; the names of a column are joined by a space.
    #[schemars(range(min = 1))]
    pub header_rows: u32,
    /// Lines in front of the header (or the first row) that are no part of the table. Lines above a header
    /// that has the mapped columns are passed over without it, and the run says so; `header = true` takes the
    /// first row for the header whatever is in it.
    pub skip_lines: u32,
    /// Rows in front of the header (or the first row) that are no part of the table, behind the lines of
    /// `skip_lines`: a row with a line break within quotes is one row and several lines.
    #[serde(skip_serializing_if = "is_zero")]
    pub skip_rows: u32,
    /// Cells that mean "no value".
    pub null_values: Vec<String>,
    /// Rows with fewer fields than the header: set aside, or filled up with missing values.
    pub ragged_rows: RaggedRows,
    /// Rows with more fields than the header: set aside; kept, the columns behind the header being called
    /// `column_3`, `column_4` …; or read without those fields. Without this key a file decides whose rows
    /// agree: where nearly all of them have more fields than the header, these are kept, or dropped if they are
    /// empty; a single row that has more is set aside.
    #[schemars(with = "ExtraFields")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_fields: Option<ExtraFields>,
    /// A quote within an unquoted field, or text behind a closing quote: `"auto"` takes the first as it is and
    /// sets the row aside for the second; `"quarantine"` sets the row aside for both; `"keep"` keeps the quotes as
    /// text, and a field only closes in front of a delimiter or line end, in the same line.
    pub stray_quotes: StrayQuotes,
    /// Whether spaces between a delimiter and an opening quote are passed over; without this key they are where
    /// the start of the file only makes sense so.
    #[schemars(with = "bool")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_initial_space: Option<bool>,
    /// Rows of more bytes are set aside, and a quoted field must close within so many. A file with a
    /// row that is longer than this and than 64 MiB is not read.
    #[schemars(range(min = 1, max = 536_870_912))]
    pub max_row_bytes: u64,
    /// Bytes after which a file is cut at the next row, to be read in parallel.
    #[schemars(range(min = 1))]
    pub chunk_size: u64,
}

/// Where the names of the columns come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected true, false, \"auto\", or the list of the columns' names")]
pub enum Header {
    /// Whether the file has a header.
    Present(bool),
    /// These names; the file has no header.
    Names(Vec<String>),
    /// The word `"auto"`: the file has a header.
    Auto(AutoWord),
}

/// The word `"auto"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AutoWord {
    /// Find out from the file.
    Auto,
}

/// What to do with rows that have fewer fields than the header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RaggedRows {
    /// Set them aside.
    #[default]
    Quarantine,
    /// Treat the fields at the end as missing.
    Pad,
}

/// What to do with quotes where the grammar has no place for them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StrayQuotes {
    /// Keep those within unquoted fields, which change nothing; set the row aside for text behind a closing quote.
    #[default]
    Auto,
    /// Set the row aside.
    Quarantine,
    /// Keep them as text.
    Keep,
}

/// What to do with fields that the header has no names for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExtraFields {
    /// Set the row aside.
    Quarantine,
    /// Number their columns.
    Keep,
    /// Read the row without them.
    Drop,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A parameter that is given, or left to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Given<T> {
    /// `"auto"`.
    Auto,
    /// As the job file says.
    As(T),
}

impl Default for Header {
    fn default() -> Self {
        Self::Auto(AutoWord::Auto)
    }
}

impl Default for CsvParams {
    fn default() -> Self {
        Self {
            paths: None,
            delimiter: AUTO.to_owned(),
            quote: AUTO.to_owned(),
            escape: AUTO.to_owned(),
            encoding: AUTO.to_owned(),
            header: Header::default(),
            header_rows: 1,
            skip_lines: 0,
            skip_rows: 0,
            null_values: vec![String::new()],
            ragged_rows: RaggedRows::default(),
            extra_fields: None,
            stray_quotes: StrayQuotes::default(),
            skip_initial_space: None,
            max_row_bytes: 64 << 20,
            chunk_size: 4 << 20,
        }
    }
}

impl CsvParams {
    /// Checks everything that can be checked without a file.
    ///
    /// # Errors
    /// Permanent, naming the key and the values it takes.
    pub(super) fn validate(&self) -> Result<(), SourceError> {
        self.problems().into_iter().next().map_or(Ok(()), |problem| Err(unusable(problem)))
    }

    /// Everything that is wrong without reading a file.
    pub(super) fn problems(&self) -> Vec<ParamProblem> {
        let mut problems = Vec::new();
        let delimiter = self.given_delimiter().map_err(|problem| problems.push(problem));
        let quote = self.given_quote().map_err(|problem| problems.push(problem));
        let escape = self.given_escape();
        problems.extend(escape.err());
        problems.extend(self.given_encoding().err());
        if let Ok(Given::As(delimiter)) = &delimiter
            && matches!(quote, Ok(Given::As(Some(q))) if delimiter.contains(q))
        {
            problems.push(ParamProblem::of("delimiter", "must not contain csv.quote"));
        }
        if self.header_rows == 0 {
            problems
                .push(ParamProblem::of("header_rows", "must be at least 1; use header = false"));
        }
        if matches!(&self.header, Header::Names(names) if names.is_empty()) {
            let message = "names no column: write the names of the columns, or leave it out where the file has a header";
            problems.push(ParamProblem::of("header", message));
        }
        if self.header_rows > 1 && matches!(self.header, Header::Names(_)) {
            let message = "says how many rows the header takes, and csv.header names the columns of files without one: \
                           leave it out, and pass over rows above the table with skip_rows";
            problems.push(ParamProblem::of("header_rows", message));
        }
        if self.chunk_size == 0 {
            problems.push(ParamProblem::of("chunk_size", "must be at least 1 byte"));
        }
        if !(1..=MAX_ROW_BYTES).contains(&self.max_row_bytes) {
            problems
                .push(ParamProblem::of("max_row_bytes", format!("must be 1 to {MAX_ROW_BYTES}")));
        }
        problems
    }

    /// The delimiter, if given.
    pub(super) fn given_delimiter(&self) -> Result<Given<String>, ParamProblem> {
        const WORDS: &[(&[&str], &str)] = &[
            (&["comma"], ","),
            (&["semicolon"], ";"),
            (&["pipe", "bar"], "|"),
            (&["space"], " "),
            (&["colon"], ":"),
        ];
        let delimiter = match self.delimiter.as_str() {
            AUTO => return Ok(Given::Auto),
            "\\t" | "tab" => "\t",
            other => other,
        };
        let word = delimiter.to_ascii_lowercase();
        if let Some((_, meant)) = WORDS.iter().find(|(words, _)| words.contains(&word.as_str())) {
            let message = format!("{delimiter:?} is a word: write delimiter = \"{meant}\"");
            return Err(ParamProblem::of("delimiter", message));
        }
        if delimiter.is_empty() || delimiter.contains(['\n', '\r', '\0']) {
            return Err(ParamProblem::of(
                "delimiter",
                format!(
                    "{delimiter:?} is not usable: give \"auto\" or the characters between two \
                     fields, such as \";\""
                ),
            ));
        }
        Ok(Given::As(delimiter.to_owned()))
    }

    /// The quote, if given; `None` when no character is special.
    pub(super) fn given_quote(&self) -> Result<Given<Option<char>>, ParamProblem> {
        special_character("quote", &self.quote)
    }

    /// The escape, if given; `None` when quotes within fields are not marked.
    pub(super) fn given_escape(&self) -> Result<Given<Option<char>>, ParamProblem> {
        special_character("escape", &self.escape)
    }

    /// The encoding, if given.
    pub(super) fn given_encoding(&self) -> Result<Option<&'static Encoding>, ParamProblem> {
        encodings::given(&self.encoding).map_err(|message| ParamProblem::of("encoding", message))
    }

    /// How a text is encoded that begins so; see [`encodings::of_text`].
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn reading(
        &self,
        beginning: &[u8],
        complete: bool,
    ) -> Result<Option<Reading>, Unreadable> {
        let given = self.given_encoding().ok().flatten();
        let given = given.map(|encoding| Encoded { encoding, table: TABLE, label: &self.encoding });
        // A delimiter beyond ASCII is looked for as UTF-8 writes it.
        let single_bytes = self.delimiter.is_ascii();
        encodings::of_text(given, beginning, complete, Readable { single_bytes, guesses: true })
    }

    /// Hash of every key that decides how bytes become rows. A file read under other keys has to
    /// be read again even if it did not change. It is in stored layouts, and only who writes
    /// the job file could make two of one hash: it stays xxh3.
    pub(super) fn fingerprint(&self) -> String {
        // Paths were a list that was always there.
        let paths = Some(Vec::new());
        // What is the default today was another word.
        let stray_quotes = match self.stray_quotes {
            StrayQuotes::Auto => StrayQuotes::Quarantine,
            given => given,
        };
        let reading = Self { paths, null_values: Vec::new(), stray_quotes, ..self.clone() };
        let text = serde_json::to_string(&reading).unwrap_or_default();
        format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
    }
}

/// The error of whoever opens the source all the same.
pub(super) fn unusable(problem: ParamProblem) -> SourceError {
    problem.of_table(TABLE)
}

fn special_character(key: &'static str, text: &str) -> Result<Given<Option<char>>, ParamProblem> {
    let mut chars = text.chars();
    match (text, chars.next(), chars.next()) {
        (AUTO, ..) => Ok(Given::Auto),
        (NONE, ..) => Ok(Given::As(None)),
        (_, Some(c), None) if c.is_ascii() && !"\r\n\0".contains(c) => Ok(Given::As(Some(c))),
        _ => Err(ParamProblem::of(
            key,
            format!("{text:?} is not usable: give \"auto\", \"none\" or one ASCII character"),
        )),
    }
}
