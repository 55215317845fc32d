//! Owns the conversion of one value to the type that its field declares: exactly, or not at all.
//! Values are written where they are to stay; the normal case allocates nothing.
//!
//! Must not know which field a value belongs to.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Value;

use super::calendar;
use super::field::{FieldDefinition, FieldKind, Transform};
use super::json::{self, JsonError};
use super::row::Cell;
use super::time_error::TimeError;
use super::timestamp::TimeFormat;
use crate::domain::decimal::{self, DecimalError, DecimalNotation};
use crate::domain::reject::ReasonCode;
use crate::domain::text::visible;

/// The most bytes of one text; PostgreSQL's own limit is a gigabyte for a whole row.
const MAX_TEXT: usize = json::MAX_BYTES;
/// The most characters of a value that a message shows.
const MAX_SHOWN: usize = 80;

/// What keeps a value from its type, as the end of a sentence about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConversionError {
    pub(crate) reason: ReasonCode,
    pub(crate) problem: Cow<'static, str>,
}

impl ConversionError {
    pub(crate) fn new(reason: ReasonCode, problem: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, problem: problem.into() }
    }

    /// Whether the value is of another type, rather than a bad value of the right one.
    pub(crate) fn is_of_type(&self) -> bool {
        use ReasonCode::{
            InvalidBoolean, InvalidDate, InvalidDecimal, InvalidInteger, InvalidJson,
            InvalidTimestamp,
        };
        matches!(
            self.reason,
            InvalidDecimal
                | InvalidInteger
                | InvalidBoolean
                | InvalidTimestamp
                | InvalidDate
                | InvalidJson
        )
    }
}

/// How a converted value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// As the text of a column.
    Column,
    /// As a JSON value within `attributes`.
    Json,
}

/// The rules of a field, compiled.
#[derive(Debug, Clone)]
pub(crate) struct Converter {
    pub(crate) kind: FieldKind,
    notation: DecimalNotation,
    scale: i64,
    transform: Vec<Transform>,
    min: Option<String>,
    max: Option<String>,
    times: TimeFormat,
}

impl Converter {
    /// The rules for the source's values.
    ///
    /// # Errors
    /// When the date format is none, as the end of a sentence about it.
    pub(crate) fn new(field: &FieldDefinition) -> Result<Self, &'static str> {
        Ok(Self {
            kind: field.kind,
            notation: field.notation,
            scale: field.scale,
            transform: field.transform.clone(),
            min: field.min.clone(),
            max: field.max.clone(),
            times: TimeFormat::new(field.date_format.as_deref(), field.time_zone)?,
        })
    }

    /// The rules for values that the job file itself holds: plain notation, the same bounds.
    pub(crate) fn plain(field: &FieldDefinition) -> Self {
        Self {
            kind: field.kind,
            notation: DecimalNotation::PLAIN,
            scale: 0,
            transform: Vec::new(),
            min: field.min.clone(),
            max: field.max.clone(),
            times: TimeFormat::iso(field.time_zone),
        }
    }

    /// Appends the converted value to `out`, which after an error holds rests of it.
    ///
    /// `typed` says that a text is a JSON string and not just the spelling of some value.
    pub(crate) fn write(
        &self,
        cell: Cell<'_>,
        typed: bool,
        form: Form,
        out: &mut String,
    ) -> Result<(), ConversionError> {
        match self.kind {
            FieldKind::Text if self.transform.is_empty() => write_text(cell, form, out),
            FieldKind::Text => {
                let text = storable_text(cell)?.to_owned();
                let text = self.transform.iter().fold(text, |text, step| step.apply(&text));
                write_text(Cell::Text(&text), form, out)
            }
            FieldKind::Decimal | FieldKind::Integer => self.write_number(cell, out),
            FieldKind::Boolean => write_boolean(cell, out),
            FieldKind::Timestamp => {
                let micros = self.instant(cell)?;
                written_quoted(form, out, |out| calendar::write_instant(micros, out));
                Ok(())
            }
            FieldKind::Date => {
                let days = self.date(cell)?;
                written_quoted(form, out, |out| calendar::write_date(days, out));
                Ok(())
            }
            FieldKind::Json => write_json(cell, typed, out),
        }
    }

    fn write_number(&self, cell: Cell<'_>, out: &mut String) -> Result<(), ConversionError> {
        let start = out.len();
        let result = match cell {
            Cell::Text(text) => decimal::write_shifted(text.trim(), self.notation, self.scale, out),
            Cell::Json(Value::Number(digits)) => {
                decimal::write_shifted(digits.as_str(), DecimalNotation::PLAIN, self.scale, out)
            }
            _ => Err(DecimalError::Invalid),
        };
        match result {
            Ok(()) => {}
            Err(DecimalError::Invalid) => return Err(self.not_a_number()),
            Err(DecimalError::OutOfRange) => {
                let problem = "has more than 1,000 digits when it is written out";
                return Err(ConversionError::new(ReasonCode::OutOfRange, problem));
            }
        }
        if self.kind == FieldKind::Integer && self.scale != 0 {
            without_zero_fraction(out, start);
        }
        let number = &out[start..];
        if self.kind == FieldKind::Integer && number.contains('.') {
            return Err(self.not_a_number());
        }
        self.check_bounds(number)
    }

    fn check_bounds(&self, number: &str) -> Result<(), ConversionError> {
        if let Some(min) = &self.min
            && decimal::compare(number, min) == Ordering::Less
        {
            let problem = format!("is smaller than the declared min = {min}");
            return Err(ConversionError::new(ReasonCode::OutOfRange, problem));
        }
        if let Some(max) = &self.max
            && decimal::compare(number, max) == Ordering::Greater
        {
            let problem = format!("is larger than the declared max = {max}");
            return Err(ConversionError::new(ReasonCode::OutOfRange, problem));
        }
        Ok(())
    }

    fn not_a_number(&self) -> ConversionError {
        let separator = char::from(self.notation.decimal_separator);
        let groups = match self.notation.group_separator {
            Some(group) => {
                format!(" and \"{}\" between groups of three digits", char::from(group))
            }
            None => String::new(),
        };
        if self.kind == FieldKind::Integer {
            let groups = groups.replacen(" and", " with", 1);
            let problem = format!("is not a whole number (expected digits{groups})");
            return ConversionError::new(ReasonCode::InvalidInteger, problem);
        }
        let problem = format!(
            "is not a decimal number (expected digits with \"{separator}\" as decimal \
             separator{groups})"
        );
        ConversionError::new(ReasonCode::InvalidDecimal, problem)
    }

    /// The value as microseconds since 1970 UTC; a date is its midnight.
    pub(crate) fn instant(&self, cell: Cell<'_>) -> Result<i64, ConversionError> {
        if self.kind == FieldKind::Date {
            let days = self.date(cell)?;
            return self.times.midnight(days).map_err(|error| self.not_a_time(error));
        }
        let text = scalar_text(cell).ok_or_else(|| self.not_a_time(TimeError::Format))?;
        self.times.instant(text).map_err(|error| self.not_a_time(error))
    }

    fn date(&self, cell: Cell<'_>) -> Result<i64, ConversionError> {
        let text = scalar_text(cell).ok_or_else(|| self.not_a_time(TimeError::Format))?;
        self.times.date(text).map_err(|error| self.not_a_time(error))
    }

    fn not_a_time(&self, error: TimeError) -> ConversionError {
        let date = self.kind == FieldKind::Date;
        let reason = if date { ReasonCode::InvalidDate } else { ReasonCode::InvalidTimestamp };
        if error != TimeError::Format {
            return ConversionError::new(reason, error.to_string());
        }
        let what = if date { "a date" } else { "a date and time" };
        let expected = match (self.times.format(), date) {
            (Some(format), _) => format!("the date_format \"{format}\""),
            (None, true) => "ISO 8601, for example 2025-01-02".into(),
            (None, false) => "RFC 3339 or ISO 8601, for example 2025-01-02T03:04:05Z".into(),
        };
        ConversionError::new(reason, format!("is not {what} (expected {expected})"))
    }
}

/// Removes a fraction of zeros, which a shift of the point has made.
fn without_zero_fraction(out: &mut String, start: usize) {
    if let Some(at) = out[start..].find('.')
        && out[start + at + 1..].bytes().all(|digit| digit == b'0')
    {
        out.truncate(start + at);
    }
}

fn written_quoted(form: Form, out: &mut String, write: impl FnOnce(&mut String)) {
    let quote = if form == Form::Json { "\"" } else { "" };
    out.push_str(quote);
    write(out);
    out.push_str(quote);
}

/// The text of a single value as written; `None` for a list or an object.
fn scalar_text(cell: Cell<'_>) -> Option<&str> {
    match cell {
        Cell::Text(text) => Some(text),
        Cell::Json(Value::Number(digits)) => Some(digits.as_str()),
        Cell::Json(Value::Bool(true)) => Some("true"),
        Cell::Json(Value::Bool(false)) => Some("false"),
        Cell::Json(Value::String(text)) => Some(text),
        Cell::Json(Value::Null | Value::Array(_) | Value::Object(_))
        | Cell::Missing
        | Cell::Null => None,
    }
}

/// The text of a single value, if PostgreSQL can store it.
pub(crate) fn storable_text(cell: Cell<'_>) -> Result<&str, ConversionError> {
    let Some(text) = scalar_text(cell) else {
        let problem = "is not a single value (expected text; declare type = \"json\" to keep it)";
        return Err(ConversionError::new(ReasonCode::InvalidText, problem));
    };
    if text.len() > MAX_TEXT {
        return Err(ConversionError::new(ReasonCode::TooLong, "is longer than 200 MB"));
    }
    if memchr::memchr(0, text.as_bytes()).is_some() {
        let problem = "contains U+0000, which PostgreSQL cannot store";
        return Err(ConversionError::new(ReasonCode::NulCharacter, problem));
    }
    Ok(text)
}

fn write_text(cell: Cell<'_>, form: Form, out: &mut String) -> Result<(), ConversionError> {
    let text = storable_text(cell)?;
    match form {
        Form::Column => {
            out.push_str(text);
            Ok(())
        }
        Form::Json => json::write_string(text, out).map_err(not_json),
    }
}

fn write_boolean(cell: Cell<'_>, out: &mut String) -> Result<(), ConversionError> {
    let text = scalar_text(cell).unwrap_or_default().trim();
    let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is(&["true", "1", "yes"]) {
        out.push_str("true");
    } else if is(&["false", "0", "no"]) {
        out.push_str("false");
    } else {
        let problem = "is neither true nor false (expected true, false, 1, 0, yes or no)";
        return Err(ConversionError::new(ReasonCode::InvalidBoolean, problem));
    }
    Ok(())
}

fn write_json(cell: Cell<'_>, typed: bool, out: &mut String) -> Result<(), ConversionError> {
    let result = match cell {
        Cell::Text(text) if typed && text.len() > MAX_TEXT => Err(JsonError::TooLong),
        Cell::Text(text) if typed => json::write_string(text, out),
        Cell::Text(text) => json::write_text(text, out),
        Cell::Json(value) => json::write_value(value, out),
        Cell::Missing | Cell::Null => json::write_value(&Value::Null, out),
    };
    result.map_err(not_json)
}

pub(crate) fn not_json(error: JsonError) -> ConversionError {
    let reason = match error {
        JsonError::Invalid(_) | JsonError::Nul => ReasonCode::InvalidJson,
        JsonError::Number => ReasonCode::OutOfRange,
        JsonError::TooLong => ReasonCode::TooLong,
    };
    ConversionError::new(reason, error.to_string())
}

/// A value as messages show it: quoted, and cut when it is long.
pub(crate) fn shown(cell: Cell<'_>) -> String {
    let cut = |text: &str| match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => (text[..end].to_owned(), "…"),
        None => (text.to_owned(), ""),
    };
    match cell {
        Cell::Missing => "nothing".into(),
        Cell::Null => "null".into(),
        Cell::Text(text) => {
            let (text, more) = cut(text);
            format!("\"{}\"{more}", visible(&text))
        }
        Cell::Json(value) => {
            let (text, more) = cut(&value.to_string());
            format!("{}{more}", visible(&text))
        }
    }
}
