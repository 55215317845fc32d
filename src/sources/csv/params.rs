//! Owns the `[csv]` table of a job file: its keys, their defaults and what values they take.
//! Resolving `"auto"` belongs to [`super::dialect`], which needs a file for it.

use encoding_rs::Encoding;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SourceError;
use crate::domain::suggest;

/// PostgreSQL stores at most 1 GB in one value, and a row has to fit into one.
pub(super) const MAX_ROW_BYTES: u64 = 512 << 20;
/// So long may a row be in any case, to be set aside when `max_row_bytes` is less.
pub(super) const HELD_ROW_BYTES: u64 = 64 << 20;
/// The word for "find out from the file".
const AUTO: &str = "auto";
/// The word for "the files have none".
const NONE: &str = "none";

/// How CSV files are found and read. Every key but `paths` may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CsvParams {
    /// Files to read, in the order in which their rows count; `*`, `?`, `[a-z]` and `**` are
    /// patterns. Relative to the folder of the job file.
    pub paths: Vec<String>,
    /// What stands between fields, one or more characters; `"auto"` tries comma, semicolon, tab
    /// and bar on the file.
    #[serde(default = "auto")]
    pub delimiter: String,
    /// The character around fields that contain delimiters or line ends; `"auto"` tries `"` and
    /// `'`, `"none"` means that no character is special.
    #[serde(default = "auto")]
    pub quote: String,
    /// The character in front of a quote within a quoted field. The quote character itself means
    /// that it is doubled; `"auto"` tries doubled quotes and the backslash, `"none"` means that
    /// quotes within fields are not marked (then `stray_quotes = "keep"` helps).
    #[serde(default = "auto")]
    pub escape: String,
    /// Encoding of the files: `"auto"` is UTF-8; any single-byte encoding by its WHATWG label,
    /// such as `"windows-1252"` or `"latin1"`.
    #[serde(default = "auto")]
    pub encoding: String,
    /// Whether the first row names the columns (`true`, the default and `"auto"`), the columns are
    /// to be called `column_1`, `column_2` … (`false`), or the list of names of the columns of
    /// files without a header.
    #[serde(default)]
    pub header: Header,
    /// Rows that the header takes; the names of a column are joined by a space.
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub header_rows: u32,
    /// Lines in front of the header (or the first row) that are no part of the table.
    #[serde(default)]
    pub skip_lines: u32,
    /// Cells that mean "no value".
    #[serde(default = "empty_cell")]
    pub null_values: Vec<String>,
    /// Rows with fewer fields than the header: set aside, or filled up with missing values. Rows
    /// with more fields are always set aside.
    #[serde(default)]
    pub ragged_rows: RaggedRows,
    /// A quote within an unquoted field, or text behind a closing quote: the row is set aside, or
    /// the quotes are kept as text and a field only closes in front of a delimiter or line end.
    #[serde(default)]
    pub stray_quotes: StrayQuotes,
    /// Rows of more bytes are set aside, and a quoted field must close within so many. A file with a
    /// row that is longer than this and than 64 MiB is not read.
    #[serde(default = "default_max_row_bytes")]
    #[schemars(range(min = 1, max = 536_870_912))]
    pub max_row_bytes: u64,
    /// Bytes after which a file is cut at the next row, to be read in parallel.
    #[serde(default = "default_chunk_size")]
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
    /// Set the row aside.
    #[default]
    Quarantine,
    /// Keep them as text.
    Keep,
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

fn auto() -> String {
    AUTO.to_owned()
}

fn one() -> u32 {
    1
}

fn empty_cell() -> Vec<String> {
    vec![String::new()]
}

fn default_max_row_bytes() -> u64 {
    64 << 20
}

fn default_chunk_size() -> u64 {
    4 << 20
}

impl CsvParams {
    /// Checks everything that can be checked without a file.
    ///
    /// # Errors
    /// Permanent, naming the key and the values it takes.
    pub(super) fn validate(&self) -> Result<(), SourceError> {
        self.problems().into_iter().next().map_or(Ok(()), |problem| Err(problem.into()))
    }

    /// Everything that is wrong without a look at a file.
    pub(super) fn problems(&self) -> Vec<ParamProblem> {
        let mut problems = self.problems_of_paths();
        let delimiter = self.given_delimiter().map_err(|problem| problems.push(problem));
        let quote = self.given_quote().map_err(|problem| problems.push(problem));
        let escape = self.given_escape();
        problems.extend(escape.err());
        let encoding = self.given_encoding().map_err(|problem| problems.push(problem));
        if let Ok(Given::As(delimiter)) = &delimiter {
            if matches!(quote, Ok(Given::As(Some(q))) if delimiter.contains(q)) {
                problems.push(ParamProblem::of("delimiter", "must not contain csv.quote"));
            }
            if !delimiter.is_ascii() && encoding.is_ok_and(|e| e != encoding_rs::UTF_8) {
                problems.push(ParamProblem::of(
                    "delimiter",
                    format!("{delimiter:?} is not ASCII, which only works with UTF-8 files"),
                ));
            }
        }
        if self.header_rows == 0 {
            problems
                .push(ParamProblem::of("header_rows", "must be at least 1; use header = false"));
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

    fn problems_of_paths(&self) -> Vec<ParamProblem> {
        if self.paths.is_empty() {
            return vec![ParamProblem::of("paths", "is empty: name at least one file")];
        }
        let problem = |(at, path): (usize, &String)| {
            let message = if path.trim().is_empty() {
                "is empty: name a file, such as \"data/*.csv\"".to_owned()
            } else if path.contains("://") {
                format!("{path} is an address; only files can be read: download it first")
            } else if path.starts_with("~/") {
                "`~` is not the home folder here: write the whole path".to_owned()
            } else {
                return None;
            };
            Some(ParamProblem { at: Some(at), ..ParamProblem::of("paths", message) })
        };
        self.paths.iter().enumerate().filter_map(problem).collect()
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

    /// The encoding.
    pub(super) fn given_encoding(&self) -> Result<&'static Encoding, ParamProblem> {
        if self.encoding == AUTO {
            return Ok(encoding_rs::UTF_8);
        }
        let given = &self.encoding;
        let message = match Encoding::for_label(given.as_bytes()) {
            Some(e) if e == encoding_rs::UTF_8 => return Ok(e),
            Some(e) if e.is_single_byte() && e.is_ascii_compatible() => return Ok(e),
            Some(e) => format!(
                "{given:?} cannot be read: convert the files to UTF-8 first, for example with \
                 `iconv -f {} -t UTF-8`",
                e.name()
            ),
            None => match label_meant(given) {
                Some(label) => format!("{given:?} is unknown; did you mean \"{label}\"?"),
                None => format!(
                    "{given:?} is unknown: use \"auto\" (UTF-8), \"windows-1252\", \"latin1\" or \
                     another WHATWG label, or convert the files to UTF-8 first with `iconv`"
                ),
            },
        };
        Err(ParamProblem::of("encoding", message))
    }

    /// Hash of every key that decides how bytes become rows. A file read under other keys has to
    /// be read again even if it did not change. It stands in stored layouts, and only whoever writes
    /// the job file could make two of one hash: it stays xxh3.
    pub(super) fn fingerprint(&self) -> String {
        let reading = Self { paths: Vec::new(), null_values: Vec::new(), ..self.clone() };
        let text = serde_json::to_string(&reading).unwrap_or_default();
        format!("{:016x}", xxhash_rust::xxh3::xxh3_64(text.as_bytes()))
    }
}

/// What is wrong with a parameter.
#[derive(Debug)]
pub(super) struct ParamProblem {
    /// The key below `csv`.
    pub(super) key: &'static str,
    /// The place within the list, when it is one.
    pub(super) at: Option<usize>,
    /// What is wrong, and what to do.
    pub(super) message: String,
}

impl ParamProblem {
    fn of(key: &'static str, message: impl Into<String>) -> Self {
        Self { key, at: None, message: message.into() }
    }
}

impl From<ParamProblem> for SourceError {
    fn from(problem: ParamProblem) -> Self {
        Self::permanent(format!("csv.{}: {}", problem.key, problem.message))
    }
}

/// The label that was probably meant by one that is none.
fn label_meant(given: &str) -> Option<&'static str> {
    const LABELS: &[&str] = &[
        "utf-8",
        "windows-1250",
        "windows-1251",
        "windows-1252",
        "windows-1253",
        "windows-1254",
        "windows-1255",
        "windows-1256",
        "windows-1257",
        "windows-1258",
        "latin1",
        "latin2",
        "iso-8859-1",
        "iso-8859-2",
        "iso-8859-5",
        "iso-8859-7",
        "iso-8859-9",
        "iso-8859-15",
        "macintosh",
        "koi8-r",
        "koi8-u",
        "ibm866",
    ];
    let plain = given.trim().to_ascii_lowercase().replace(['_', ' '], "-");
    match plain.as_str() {
        "ansi" | "western" | "win-1252" => return Some("windows-1252"),
        "utf-8-sig" | "utf-8-bom" | "utf8-bom" | "utf8-sig" | "unicode" => return Some("utf-8"),
        // There is no label that is near, and what it means is not read.
        _ if plain.starts_with("cp") || plain.starts_with("ibm") => return None,
        _ => {}
    }
    suggest::nearest(&plain, LABELS.iter().copied())
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
