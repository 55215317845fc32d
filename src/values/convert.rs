//! Owns the conversion of one value to the type that its field declares: exactly, or not at all.
//! Values are written where they are to stay; the normal case allocates nothing.
//!
//! Must not know which field a value belongs to.

use std::cmp::Ordering;

use serde_json::Value;

use super::calendar;
pub(crate) use super::conversion_error::ConversionError;
use super::field::{FieldDefinition, FieldKind, TextRules};
use super::json::{self, JsonError};
use super::number_text::{NumberText, Unit};
use super::row::Cell;
use super::time_error::TimeError;
use super::timestamp::TimeFormat;
use super::transform::{Transform, few};
use crate::domain::decimal::{self, DecimalError, DecimalNotation};
use crate::domain::reject::ReasonCode;
use crate::domain::text::visible;

/// The most bytes of one text; PostgreSQL's own limit is a gigabyte for a whole row.
const MAX_TEXT: usize = json::MAX_BYTES;
/// The most characters of a value that a message shows.
const MAX_SHOWN: usize = 80;

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
    /// What stands around a number.
    around: NumberText,
    scale: i64,
    transform: Vec<Transform>,
    text: TextRules,
    words: BooleanWords,
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
        let times = TimeFormat::new(field.date_format.as_deref(), field.time_zone)?;
        let times = times.with_clock(field.repeated_hour, field.two_digit_years_from);
        let group_separator = field.notation.group_separator;
        let unit = unit(field.kind);
        Ok(Self {
            kind: field.kind,
            notation: field.notation,
            around: NumberText { unit, negative: field.negative, group_separator },
            scale: field.scale - if unit == Unit::Percent { 2 } else { 0 },
            transform: field.transform.clone(),
            text: field.text.clone(),
            words: BooleanWords::of(field),
            min: field.min.clone(),
            max: field.max.clone(),
            times,
        })
    }

    /// The rules for values that the job file itself holds: plain notation, the same bounds.
    pub(crate) fn plain(field: &FieldDefinition) -> Self {
        Self {
            kind: field.kind,
            notation: DecimalNotation::PLAIN,
            around: NumberText::PLAIN,
            scale: 0,
            transform: Vec::new(),
            text: field.text.clone(),
            words: BooleanWords::default(),
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
        if self.transform.is_empty() {
            return self.write_as_it_is(cell, typed, form, out);
        }
        let text = self.transformed(cell)?;
        if text.is_empty() && self.kind == FieldKind::Text {
            return Err(ConversionError::new(
                ReasonCode::MissingField,
                "is nothing after `transform`",
            ));
        }
        self.write_as_it_is(Cell::Text(&text), typed, form, out)
    }

    /// The text after all steps.
    fn transformed(&self, cell: Cell<'_>) -> Result<String, ConversionError> {
        let text = storable_text(cell)?.to_owned();
        self.transform.iter().try_fold(text, |text, step| step.apply(&text))
    }

    fn write_as_it_is(
        &self,
        cell: Cell<'_>,
        typed: bool,
        form: Form,
        out: &mut String,
    ) -> Result<(), ConversionError> {
        match self.kind {
            FieldKind::Text if self.text == TextRules::default() => write_text(cell, form, out),
            FieldKind::Text => {
                self.check_text(storable_text(cell)?)?;
                write_text(cell, form, out)
            }
            FieldKind::Url => {
                let text = storable_text(cell)?.trim();
                check_url(text)?;
                self.check_text(text)?;
                write_text(Cell::Text(text), form, out)
            }
            FieldKind::Uuid => {
                let text = uuid(storable_text(cell)?)?;
                self.check_text(&text)?;
                write_text(Cell::Text(&text), form, out)
            }
            FieldKind::Decimal | FieldKind::Integer | FieldKind::Money | FieldKind::Percent => {
                self.write_number(cell, out)
            }
            FieldKind::Boolean => self.words.write(cell, out),
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
            Cell::Text(text) => match self.around.number(text) {
                Some(number) => decimal::write_shifted(&number, self.notation, self.scale, out),
                None => Err(DecimalError::Invalid),
            },
            // A percentage says that it is one.
            Cell::Json(Value::Number(digits)) if self.kind != FieldKind::Percent => {
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

    fn check_text(&self, text: &str) -> Result<(), ConversionError> {
        let TextRules { pattern, allowed, min_length, max_length } = &self.text;
        let failed = |reason, problem: String| Err(ConversionError::new(reason, problem));
        if allowed.as_ref().is_some_and(|allowed| !allowed.contains(text)) {
            let allowed = few(allowed.iter().flatten().collect::<Vec<_>>().into_iter());
            return failed(ReasonCode::NotAllowed, format!("is not in `allowed` ({allowed})"));
        }
        if let Some((written, pattern)) = pattern
            && !pattern.finds(text)
        {
            return failed(ReasonCode::NoMatch, format!("does not fit `pattern` ({written})"));
        }
        if min_length.is_none() && max_length.is_none() {
            return Ok(());
        }
        let length = text.chars().count() as u64;
        match (min_length, max_length) {
            (Some(least), _) if length < *least => {
                let problem = format!("has {length} characters, and `min_length` is {least}");
                failed(ReasonCode::WrongLength, problem)
            }
            (_, Some(most)) if length > *most => {
                let problem = format!("has {length} characters, and `max_length` is {most}");
                failed(ReasonCode::WrongLength, problem)
            }
            _ => Ok(()),
        }
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
        let what = match self.kind {
            FieldKind::Money => "a sum of money (expected digits, perhaps with a currency,",
            FieldKind::Percent => "a percentage (expected digits, a percent sign,",
            _ => "a decimal number (expected digits",
        };
        let problem = format!("is not {what} with \"{separator}\" as decimal separator{groups})");
        ConversionError::new(ReasonCode::InvalidDecimal, problem)
    }

    /// The value as microseconds since 1970 UTC; a date is its midnight.
    pub(crate) fn instant(&self, cell: Cell<'_>) -> Result<i64, ConversionError> {
        if self.kind == FieldKind::Date {
            let days = self.date(cell)?;
            return self.times.midnight(days).map_err(|error| self.not_a_time(error));
        }
        self.time(cell, |text| self.times.instant(text))
    }

    fn date(&self, cell: Cell<'_>) -> Result<i64, ConversionError> {
        self.time(cell, |text| self.times.date(text))
    }

    fn time(
        &self,
        cell: Cell<'_>,
        read: impl Fn(&str) -> Result<i64, TimeError>,
    ) -> Result<i64, ConversionError> {
        let read = |text: &str| read(text).map_err(|error| self.not_a_time(error));
        if self.transform.is_empty() {
            return read(scalar_text(cell).ok_or_else(|| self.not_a_time(TimeError::Format))?);
        }
        read(&self.transformed(cell)?)
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

/// The words for true and false; case does not matter.
#[derive(Debug, Clone, Default)]
struct BooleanWords {
    /// In place of [`TRUE`].
    of_true: Option<Vec<String>>,
    /// In place of [`FALSE`].
    of_false: Option<Vec<String>>,
}

const TRUE: [&str; 3] = ["true", "1", "yes"];
const FALSE: [&str; 3] = ["false", "0", "no"];

impl BooleanWords {
    fn of(field: &FieldDefinition) -> Self {
        Self { of_true: field.true_values.clone(), of_false: field.false_values.clone() }
    }

    fn write(&self, cell: Cell<'_>, out: &mut String) -> Result<(), ConversionError> {
        // JSON's own need no words.
        if let Cell::Json(Value::Bool(flag)) = cell {
            out.push_str(if *flag { "true" } else { "false" });
            return Ok(());
        }
        let text = scalar_text(cell).unwrap_or_default().trim();
        if is_one_of(text, self.of_true.as_deref(), &TRUE) {
            out.push_str("true");
        } else if is_one_of(text, self.of_false.as_deref(), &FALSE) {
            out.push_str("false");
        } else if self.of_true.is_none() && self.of_false.is_none() {
            let problem = "is neither true nor false (expected true, false, 1, 0, yes or no)";
            return Err(ConversionError::new(ReasonCode::InvalidBoolean, problem));
        } else {
            let words = |own: &Option<Vec<String>>, usual: [&str; 3]| match own {
                Some(own) => few(own.iter()),
                None => usual.join(", "),
            };
            let (yes, no) = (words(&self.of_true, TRUE), words(&self.of_false, FALSE));
            let problem = format!("is neither true ({yes}) nor false ({no})");
            return Err(ConversionError::new(ReasonCode::InvalidBoolean, problem));
        }
        Ok(())
    }
}

fn is_one_of(text: &str, own: Option<&[String]>, usual: &[&str]) -> bool {
    match own {
        Some(own) => own.iter().any(|word| word.to_lowercase() == text.to_lowercase()),
        None => usual.iter().any(|word| text.eq_ignore_ascii_case(word)),
    }
}

/// What stands around the numbers of a type.
fn unit(kind: FieldKind) -> Unit {
    match kind {
        FieldKind::Money => Unit::Currency,
        FieldKind::Percent => Unit::Percent,
        _ => Unit::None,
    }
}

/// Refuses what is no absolute address of the web.
fn check_url(text: &str) -> Result<(), ConversionError> {
    // Browsers mend `https:example.com`; who stores it would store something else than they show.
    let written = |url: &url::Url| {
        let rest = text.get(url.scheme().len()..);
        rest.is_some_and(|rest| rest.starts_with("://"))
    };
    let is_one = url::Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https" | "ftp") && url.has_host() && written(&url)
    });
    let odd = |c: char| c.is_whitespace() || c.is_control();
    if is_one && !text.contains(odd) {
        return Ok(());
    }
    let problem = "is not an address (expected one such as https://example.com/page)";
    Err(ConversionError::new(ReasonCode::InvalidUrl, problem))
}

/// A UUID as RFC 9562 writes it: 32 hexadecimal digits in lower case, in groups of 8, 4, 4, 4 and 12. Capital
/// letters, braces, `urn:uuid:` and missing hyphens are accepted.
fn uuid(text: &str) -> Result<String, ConversionError> {
    let text = text.trim();
    let none = || {
        let problem =
            "is not a UUID (expected 32 hexadecimal digits in groups of 8, 4, 4, 4 and 12)";
        ConversionError::new(ReasonCode::InvalidUuid, problem)
    };
    let lower = text.to_ascii_lowercase();
    let inner = lower.strip_prefix('{').and_then(|inner| inner.strip_suffix('}'));
    let inner = inner.or_else(|| lower.strip_prefix("urn:uuid:")).unwrap_or(&lower);
    let digits: String = inner.chars().filter(|c| *c != '-').collect();
    let is_hex = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex {
        return Err(none());
    }
    let groups = [0..8, 8..12, 12..16, 16..20, 20..32].map(|group| &digits[group]);
    let written = groups.join("-");
    (inner.len() == 32 || inner == written).then_some(written).ok_or_else(none)
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
        JsonError::Invalid(_) | JsonError::Repeated | JsonError::Nul => ReasonCode::InvalidJson,
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
