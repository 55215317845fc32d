//! Owns why a row was set aside: the closed list of reason codes and the reject itself.

use std::fmt;
use std::str::FromStr;

use xxhash_rust::xxh3::xxh3_128;

use super::field_name;
use super::string_enum::string_enum;

string_enum! {
    /// Why a row or one of its fields was refused. The words are stored and stable.
    ReasonCode ("reason code") {
        /// The row has more or fewer fields than the header.
        WrongFieldCount = "wrong_field_count",
        /// A quote opens a field and never closes.
        UnclosedQuote = "unclosed_quote",
        /// A quote is inside an unquoted field, or text follows a closing quote.
        StrayQuote = "stray_quote",
        /// The bytes are not text in the declared encoding.
        InvalidEncoding = "invalid_encoding",
        /// The text contains U+0000, which PostgreSQL cannot store.
        NulCharacter = "nul_character",
        /// The row is longer than the limit.
        RowTooLong = "row_too_long",
        /// The element of an API list is not an object.
        NotAnObject = "not_an_object",
        /// A part of the primary key is absent or empty.
        MissingKey = "missing_key",
        /// A part of the primary key holds a secret of the request, which is not stored.
        RedactedKey = "redacted_key",
        /// A required field is absent, null or empty.
        MissingField = "missing_field",
        /// Not a decimal number in the declared notation.
        InvalidDecimal = "invalid_decimal",
        /// Not a whole number.
        InvalidInteger = "invalid_integer",
        /// Neither true nor false.
        InvalidBoolean = "invalid_boolean",
        /// Not a date and time in the declared format, or not one of the calendar.
        InvalidTimestamp = "invalid_timestamp",
        /// Not a date in the declared format, or not one of the calendar.
        InvalidDate = "invalid_date",
        /// Not JSON, or JSON that PostgreSQL cannot store.
        InvalidJson = "invalid_json",
        /// Not an absolute address.
        InvalidUrl = "invalid_url",
        /// Not a UUID.
        InvalidUuid = "invalid_uuid",
        /// None of the values that are declared.
        NotAllowed = "not_allowed",
        /// The declared expression, or the part of the text that it asks for, is not found.
        NoMatch = "no_match",
        /// Fewer or more characters than declared.
        WrongLength = "wrong_length",
        /// A value that another record of the source has.
        NotUnique = "not_unique",
        /// A JSON object or list is where a single value was declared.
        InvalidText = "invalid_text",
        /// A number beyond the declared bounds, or with more than 1,000 digits when it is written out.
        OutOfRange = "out_of_range",
        /// A value longer than PostgreSQL can store or index.
        TooLong = "too_long",
        /// The cell of a spreadsheet holds an error, or a formula without a result.
        ErrorCell = "error_cell",
        /// The contract: a field that the schema does not have.
        NewField = "new_field",
        /// The contract: a field of another type than the schema's.
        TypeChanged = "type_changed",
    }
}

/// Where what is wrong can be put right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Only in the job file: the rows are as the source means them.
    JobFile,
    /// Only at the source.
    Data,
    /// In either, whichever is wrong.
    Either,
    /// In either, but how a file is cut into rows is kept with what was read of it: it has to be read
    /// anew.
    Dialect,
}

impl ReasonCode {
    /// Where rows that were set aside for this can be put right.
    pub fn remedy(self) -> Remedy {
        match self {
            Self::NulCharacter => Remedy::Data,
            Self::NotAnObject
            | Self::RedactedKey
            | Self::InvalidText
            | Self::NewField
            | Self::TypeChanged => Remedy::JobFile,
            Self::WrongFieldCount
            | Self::UnclosedQuote
            | Self::StrayQuote
            | Self::InvalidEncoding
            | Self::RowTooLong => Remedy::Dialect,
            Self::MissingKey
            | Self::MissingField
            | Self::InvalidDecimal
            | Self::InvalidInteger
            | Self::InvalidBoolean
            | Self::InvalidTimestamp
            | Self::InvalidDate
            | Self::InvalidJson
            | Self::InvalidUrl
            | Self::InvalidUuid
            | Self::NotAllowed
            | Self::NoMatch
            | Self::WrongLength
            | Self::NotUnique
            | Self::OutOfRange
            | Self::TooLong
            | Self::ErrorCell => Remedy::Either,
        }
    }
}

/// What to do about rows that were set aside for these reasons.
pub fn what_to_do(reasons: impl Iterator<Item = ReasonCode>) -> &'static str {
    let remedies: Vec<Remedy> = reasons.map(ReasonCode::remedy).collect();
    let all = |remedy| remedies.iter().all(|other| *other == remedy);
    if all(Remedy::JobFile) {
        "fix the job file, then `kasparro run SOURCE --redrive` puts the rows through again"
    } else if all(Remedy::Data) {
        "fix the data at the source, then the next `kasparro run SOURCE` reads it"
    } else if remedies.contains(&Remedy::Dialect) {
        "fix the data, or say in the job file how the file is to be read; then `kasparro run SOURCE` reads \
         it anew"
    } else {
        "fix the job file, then `kasparro run SOURCE --redrive` puts the rows through again; or fix the \
         data, then the next `kasparro run SOURCE` reads it"
    }
}

/// What defects of one source, field and reason share, for people to name them by. It is xxh3-128:
/// whoever makes two fields of one fingerprint has them redriven together, which a redrive does with
/// all rows behind the first one anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(u128);

impl Fingerprint {
    /// That of a defect.
    pub fn of(source: &str, field: Option<&str>, reason: ReasonCode) -> Self {
        let text = format!("{source}\0{}\0{reason}", field.unwrap_or(""));
        Self(xxh3_128(text.as_bytes()))
    }

    /// As stored in `bytea` columns.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for Fingerprint {
    type Err = NoFingerprint;

    fn from_str(hex: &str) -> Result<Self, NoFingerprint> {
        let digits = Some(hex).filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let number = digits.and_then(|hex| u128::from_str_radix(hex, 16).ok());
        number.map(Self).ok_or(NoFingerprint)
    }
}

/// The text is no fingerprint.
#[derive(Debug, thiserror::Error)]
#[error(
    "expected the fingerprint that `kasparro quarantine` shows: 32 hexadecimal digits, such as \
     f8e807caf6884500ddb9c6b261742807"
)]
pub struct NoFingerprint;

/// The most defects of a row that are reported: one that is bad in that many fields is bad as a whole, and
/// a file in another dialect has such rows by the million.
pub const MAX_DEFECTS: usize = 100;

/// One thing wrong with one row: every error of a row becomes one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defect {
    /// The source's own name of the field (column or path); `None` when the row as a whole is bad.
    pub field: Option<String>,
    /// What is wrong.
    pub reason: ReasonCode,
    /// One sentence for people: what was found, what was expected.
    pub message: String,
    /// The value that was found, as messages show it, when it is a value that is wrong.
    pub found: Option<String>,
}

impl Defect {
    /// A defect of a row as a whole, or of a field that has no value.
    pub fn without_value(
        field: Option<String>,
        reason: ReasonCode,
        message: impl Into<String>,
    ) -> Self {
        Self { field, reason, message: message.into(), found: None }
    }
}

/// A row set aside, with everything needed to find it again and to fix it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// The row's number within its raw payload, from 1.
    pub raw_row: i64,
    /// The line in the file at which the row starts, from 1; `None` for API records.
    pub line: Option<i64>,
    /// First byte of the row within the file and the byte after its last; `None` for API records.
    pub byte_range: Option<(i64, i64)>,
    /// The key that its record would have, where that can be told.
    pub key: Option<String>,
    /// The row as it came, cut at [`Reject::MAX_RAW`] bytes.
    pub raw: Vec<u8>,
    /// At least one.
    pub defects: Vec<Defect>,
}

impl Reject {
    /// Its defects, each kind once, [`MAX_DEFECTS`] at most: two fields of the mapping may come from
    /// one field of the source, and two names may be kept as one.
    pub fn kinds(&self) -> impl Iterator<Item = &Defect> {
        let alike = |a: &Defect, b: &Defect| {
            let names = [a, b].map(|defect| defect.field.as_deref().map(field_name::kept));
            a.reason == b.reason && names[0] == names[1]
        };
        let defects = self.defects.iter().enumerate();
        let first = move |(at, defect): &(usize, &Defect)| {
            !self.defects[..*at].iter().any(|before| alike(before, defect))
        };
        defects.filter(first).map(|(_, defect)| defect).take(MAX_DEFECTS)
    }

    /// The most raw bytes kept with a quarantined row; the whole row stays in the raw tables.
    pub const MAX_RAW: usize = 1 << 20;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_the_source_can_mend_is_not_put_through_again() {
        let say = |reasons: &[ReasonCode]| what_to_do(reasons.iter().copied());
        assert!(!say(&[ReasonCode::NulCharacter]).contains("--redrive"));
        assert!(!say(&[ReasonCode::NewField, ReasonCode::NotAnObject]).contains("data"));
        for either in
            [&[ReasonCode::InvalidDecimal][..], &[ReasonCode::NulCharacter, ReasonCode::NewField]]
        {
            assert!(say(either).contains("--redrive") && say(either).contains("fix the data"));
        }
        // Rows that were kept under another encoding or another quote stay as they were cut.
        for dialect in [ReasonCode::InvalidEncoding, ReasonCode::WrongFieldCount] {
            let said = say(&[dialect, ReasonCode::InvalidDecimal]);
            assert!(said.contains("how the file is to be read"), "{said}");
            assert!(!said.contains("--redrive"), "{said}");
        }
    }
}
