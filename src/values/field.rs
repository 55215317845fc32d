//! Owns what is known of one field before any row is read: where it is, what it becomes, and how the
//! key is made.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::number_text::Negative;
use super::timestamp::RepeatedHour;
use super::transform::{Pattern, Transform};
use crate::domain::decimal::DecimalNotation;
use crate::domain::record::{Column, ColumnType};

/// The type a field is converted to. A value that cannot be converted is a defect of its row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FieldKind {
    /// Text as it is.
    #[default]
    Text,
    /// An exact decimal number of any length.
    Decimal,
    /// A whole number of any length.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// A point in time.
    Timestamp,
    /// A calendar date.
    Date,
    /// Any JSON value.
    Json,
    /// A decimal number with a currency around it, which is left out.
    Money,
    /// A decimal number with a percent sign, as a share: `12.5 %` is 0.125.
    Percent,
    /// An absolute address.
    Url,
    /// A UUID in lower case with hyphens.
    Uuid,
}

impl FieldKind {
    /// The word used in job files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Decimal => "decimal",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
            Self::Timestamp => "timestamp",
            Self::Date => "date",
            Self::Json => "json",
            Self::Money => "money",
            Self::Percent => "percent",
            Self::Url => "url",
            Self::Uuid => "uuid",
        }
    }

    /// Whether values are numbers, with bounds and separators.
    pub fn is_number(self) -> bool {
        matches!(self, Self::Decimal | Self::Integer | Self::Money | Self::Percent)
    }

    /// Whether values are texts, with patterns and lengths.
    pub fn is_text(self) -> bool {
        matches!(self, Self::Text | Self::Url | Self::Uuid)
    }

    /// Whether values are points in time or dates, with formats and time zones.
    pub fn is_time(self) -> bool {
        matches!(self, Self::Timestamp | Self::Date)
    }
}

/// What a text must be like to be kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextRules {
    /// The expression that all of it fits, as it is written and compiled.
    pub pattern: Option<(String, Pattern)>,
    /// The only texts allowed.
    pub allowed: Option<BTreeSet<String>>,
    /// Characters that it has at least.
    pub min_length: Option<u64>,
    /// Characters that it has at most.
    pub max_length: Option<u64>,
}

/// Where a field goes in `unified_records`, decided by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// A column of its own.
    Column(Column),
    /// A key of `attributes`.
    Attribute,
}

impl Target {
    /// The names of the columns that fields can go to.
    pub fn columns() -> impl Iterator<Item = &'static str> {
        Column::SPECS.iter().map(|column| column.name)
    }

    /// Where the field of this name goes.
    pub fn of(name: &str) -> Self {
        Column::named(name).map_or(Self::Attribute, Self::Column)
    }

    /// The types that can be kept there; a field without a type has the first.
    pub fn kinds(self) -> &'static [FieldKind] {
        match self {
            Self::Column(column) => match column.spec().kind {
                ColumnType::Text => &[FieldKind::Text, FieldKind::Url, FieldKind::Uuid],
                ColumnType::Numeric => {
                    &[FieldKind::Decimal, FieldKind::Integer, FieldKind::Money, FieldKind::Percent]
                }
                ColumnType::Timestamp => &[FieldKind::Timestamp, FieldKind::Date],
                ColumnType::Json => &[FieldKind::Json],
            },
            Self::Attribute => &[
                FieldKind::Text,
                FieldKind::Decimal,
                FieldKind::Integer,
                FieldKind::Boolean,
                FieldKind::Timestamp,
                FieldKind::Date,
                FieldKind::Json,
                FieldKind::Money,
                FieldKind::Percent,
                FieldKind::Url,
                FieldKind::Uuid,
            ],
        }
    }
}

/// Where a value comes from in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Locator {
    /// `from`: a JSONPath such as `$.name` within an API record, or one of its keys as it is.
    Path(String),
    /// `column` and `aliases`: a CSV column with the first of these headers that the file has. A
    /// header fits exactly, or else by [`plain_header`].
    Column(Vec<String>),
    /// A top-level field by its name, whatever the kind of source: parts of keys, and fields that
    /// say nothing about where they come from.
    Named(String),
    /// The whole row, or its place: keys that are made of no field.
    Whole(RowPart),
    /// Nowhere: the field is a constant.
    Nowhere,
}

/// What of a whole row takes part in its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowPart {
    /// The name of its file.
    File,
    /// Its number in the file, or what else the format calls its place there.
    Number,
    /// A hash of all its values.
    Content,
}

impl Locator {
    /// The locator of a source field as job files name it: a JSONPath when it starts with `$` and a step, else the
    /// name of a top-level field, which may be `$id`.
    pub fn of_source_field(text: &str) -> Self {
        let name = |c: char| c.is_alphanumeric() || c == '_';
        if text.starts_with('$') && !text[1..].starts_with(name) {
            Self::Path(text.to_owned())
        } else {
            Self::Named(text.to_owned())
        }
    }

    /// The JSONPath, when it leads to something else than one top-level field by its name.
    pub fn nested_path(&self) -> Option<&str> {
        match self {
            Self::Path(path) if path.starts_with('$') => {
                let top_level = first_segment(path).is_some_and(|(_, nested)| !nested);
                (!top_level).then_some(path)
            }
            Self::Path(_) | Self::Column(_) | Self::Named(_) | Self::Whole(_) | Self::Nowhere => {
                None
            }
        }
    }

    /// The source's own name of the field, as the job file writes it.
    pub fn label(&self) -> Option<&str> {
        match self {
            Self::Path(name) | Self::Named(name) => Some(name),
            Self::Column(names) => names.first().map(String::as_str),
            Self::Whole(_) | Self::Nowhere => None,
        }
    }
}

/// A header without what people vary in it: case, white space and punctuation. `Item #` and
/// `item` are the same header.
pub fn plain_header(header: &str) -> String {
    header.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The top-level field that a JSONPath leads through, and whether it leads on from there. `None`
/// when it selects by something else than a name.
pub fn first_segment(path: &str) -> Option<(String, bool)> {
    let rest = path.strip_prefix('$')?;
    let (name, rest) = if let Some(rest) = rest.strip_prefix('.') {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        rest.split_at(end)
    } else {
        let rest = rest.strip_prefix('[')?;
        let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let (name, rest) = rest[1..].split_once(quote)?;
        (name, rest.strip_prefix(']')?)
    };
    let odd = name.is_empty() || name.contains(['*', '\\']);
    (!odd).then(|| (name.to_owned(), !rest.is_empty()))
}

/// The values that a field is put together of, behind the one of its locator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concat {
    /// Where they come from, in order.
    pub also: Vec<Locator>,
    /// What stands between two of them.
    pub separator: String,
}

/// One field of the mapping.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldDefinition {
    /// A column of `unified_records`, or else a key of its `attributes`.
    pub name: String,
    /// Where the value comes from.
    pub from: Locator,
    /// What else it is put together of.
    pub concat: Option<Concat>,
    /// What it becomes.
    pub kind: FieldKind,
    /// Whether a row without it is set aside.
    pub required: bool,
    /// Whether no two records have the same value.
    pub unique: bool,
    /// Smallest number allowed, canonical digits.
    pub min: Option<String>,
    /// Largest number allowed, canonical digits.
    pub max: Option<String>,
    /// How the source writes numbers.
    pub notation: DecimalNotation,
    /// By how many digits the decimal point of a number is shifted.
    pub scale: i64,
    /// How negative numbers are written, besides a minus in front.
    pub negative: Negative,
    /// What is done to a text first.
    pub transform: Vec<Transform>,
    /// What a text must be like.
    pub text: TextRules,
    /// The words for true, in place of the usual ones.
    pub true_values: Option<Vec<String>>,
    /// The words for false, in place of the usual ones.
    pub false_values: Option<Vec<String>>,
    /// `strftime` format of dates and times; RFC 3339 and ISO 8601 when absent.
    pub date_format: Option<String>,
    /// Time zone of times that carry none; UTC when absent.
    pub time_zone: Option<chrono_tz::Tz>,
    /// Which one is meant by a local time that came twice; refused when absent.
    pub repeated_hour: Option<RepeatedHour>,
    /// The first year that two digits can mean; 1970 when absent.
    pub two_digit_years_from: Option<u16>,
    /// The value of every row, in plain notation (`1234.5`, `2025-01-02T03:04:05Z`).
    pub constant: Option<String>,
    /// The value of rows that have none, in plain notation.
    pub default: Option<String>,
}

impl FieldDefinition {
    /// What it is put together of besides the value of its locator.
    pub fn also(&self) -> &[Locator] {
        self.concat.as_ref().map_or(&[], |concat| &concat.also)
    }
}

/// How `external_id` is made of a row's fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalId {
    /// The source fields that take part, in order.
    pub parts: Vec<Locator>,
    /// Text before, between and behind the parts: always one more than there are parts. For
    /// `primary_key = ["a", "b"]` that is `""`, `"|"`, `""`.
    pub literals: Vec<String>,
    /// Whether `|` and `\` in parts are escaped with `\`, so that different keys stay different:
    /// with a `primary_key` of several fields.
    pub escaped: bool,
}

impl ExternalId {
    /// Whether it is the file and the row's number there: no two rows of a run have one.
    pub fn is_row_number(&self) -> bool {
        self.parts.contains(&Locator::Whole(RowPart::Number))
    }

    /// Whether it is made of all that the row holds: rows that are equal are one record.
    pub fn is_content(&self) -> bool {
        self.parts.contains(&Locator::Whole(RowPart::Content))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_compared_without_case_space_and_punctuation() {
        assert_eq!(plain_header(" Item # "), plain_header("item"));
        assert_eq!(plain_header("Größe (cm)"), "größecm");
    }

    #[test]
    fn a_dollar_makes_a_path() {
        assert_eq!(Locator::of_source_field("$.a.b"), Locator::Path("$.a.b".into()));
        assert_eq!(Locator::of_source_field("$id"), Locator::Named("$id".into()));
        assert_eq!(Locator::of_source_field("$['a']"), Locator::Path("$['a']".into()));
        assert_eq!(Locator::of_source_field("$"), Locator::Path("$".into()));
        assert_eq!(Locator::of_source_field("a.b"), Locator::Named("a.b".into()));
    }

    #[test]
    fn the_first_segment_of_a_path_names_the_top_level_field() {
        let of = |path| first_segment(path).map(|(name, nested)| format!("{name} {nested}"));
        assert_eq!(of("$.a").as_deref(), Some("a false"));
        assert_eq!(of("$.a.b[0]").as_deref(), Some("a true"));
        assert_eq!(of("$['a b']").as_deref(), Some("a b false"));
        assert_eq!(of("$[\"a\"].b").as_deref(), Some("a true"));
        for path in ["$", "$.*", "$[*]", "$..a", "$[0]", "$['a", "a"] {
            assert_eq!(of(path), None, "{path}");
        }
    }
}
