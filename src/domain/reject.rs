//! Owns why a row was set aside: the closed list of reason codes and the reject itself.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a row or one of its fields was refused. The text form is stored and stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonCode {
    /// The row has more or fewer fields than the header.
    WrongFieldCount,
    /// A quote opens a field and never closes.
    UnclosedQuote,
    /// A quote stands inside an unquoted field, or text follows a closing quote.
    StrayQuote,
    /// The bytes are not text in the declared encoding.
    InvalidEncoding,
    /// The text contains U+0000, which PostgreSQL cannot store.
    NulCharacter,
    /// The row is longer than the limit.
    RowTooLong,
    /// The element of an API list is not an object.
    NotAnObject,
    /// A part of the primary key is absent or empty.
    MissingKey,
    /// A required field is absent, null or empty.
    MissingField,
    /// Not a decimal number in the declared notation.
    InvalidDecimal,
    /// Not a whole number.
    InvalidInteger,
    /// Neither true nor false.
    InvalidBoolean,
    /// Not a date and time in the declared format, or not one of the calendar.
    InvalidTimestamp,
    /// Not a date in the declared format, or not one of the calendar.
    InvalidDate,
    /// Not JSON, or JSON that PostgreSQL cannot store.
    InvalidJson,
    /// A JSON object or list stands where a single value was declared.
    InvalidText,
    /// A number beyond the declared bounds or beyond what PostgreSQL's `numeric` holds.
    OutOfRange,
    /// A value longer than PostgreSQL can store or index.
    TooLong,
    /// The contract: a field that the schema does not have.
    NewField,
    /// The contract: a field of another type than the schema's.
    TypeChanged,
}

impl ReasonCode {
    /// The stable text stored in `quarantined_rows.reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WrongFieldCount => "wrong_field_count",
            Self::UnclosedQuote => "unclosed_quote",
            Self::StrayQuote => "stray_quote",
            Self::InvalidEncoding => "invalid_encoding",
            Self::NulCharacter => "nul_character",
            Self::RowTooLong => "row_too_long",
            Self::NotAnObject => "not_an_object",
            Self::MissingKey => "missing_key",
            Self::MissingField => "missing_field",
            Self::InvalidDecimal => "invalid_decimal",
            Self::InvalidInteger => "invalid_integer",
            Self::InvalidBoolean => "invalid_boolean",
            Self::InvalidTimestamp => "invalid_timestamp",
            Self::InvalidDate => "invalid_date",
            Self::InvalidJson => "invalid_json",
            Self::InvalidText => "invalid_text",
            Self::OutOfRange => "out_of_range",
            Self::TooLong => "too_long",
            Self::NewField => "new_field",
            Self::TypeChanged => "type_changed",
        }
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing wrong with one row: every error of a row becomes one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defect {
    /// The source's own name of the field (column or path); `None` when the row as a whole is bad.
    pub field: Option<String>,
    /// What is wrong.
    pub reason: ReasonCode,
    /// One sentence for people: what was found, what was expected.
    pub message: String,
}

/// A row set aside, with everything needed to find it again and to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// The row's number within its raw payload, from 1.
    pub raw_row: i64,
    /// The line in the file at which the row starts, from 1; `None` for API records.
    pub line: Option<i64>,
    /// First byte of the row within the file and the byte after its last; `None` for API records.
    pub byte_range: Option<(i64, i64)>,
    /// The row as it came, cut at [`Reject::MAX_RAW`] bytes.
    pub raw: Vec<u8>,
    /// At least one.
    pub defects: Vec<Defect>,
}

impl Reject {
    /// The most raw bytes kept with a quarantined row; the whole row stays in the raw tables.
    pub const MAX_RAW: usize = 1 << 20;
}
