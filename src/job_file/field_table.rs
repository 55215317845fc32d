//! Owns one table of `[fields]` as it is written, and its way to a [`FieldDefinition`] without
//! contradictions.

use std::fmt;

use schemars::JsonSchema;
use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::document::Document;
use super::error::Problem;
use super::schedule::parse_time_zone;
use super::transform_table::TransformTable;
use crate::domain::decimal::{self, DecimalNotation, Grouping};
use crate::domain::text;
use crate::values::convert::{Converter, Form};
use crate::values::field::{Concat, FieldDefinition, FieldKind, Locator, Target, TextRules};
use crate::values::json_path;
use crate::values::number_text::Negative;
use crate::values::row::Cell;
use crate::values::timestamp::RepeatedHour;
use crate::values::transform::{Pattern, Transform};

/// Where a value comes from and what it becomes. A field named `name`, `description`, `category`,
/// `price`, `currency`, `quantity`, `url` or `source_updated_at` fills that column of
/// `unified_records`; any other becomes a key of its `attributes`. A field named `attributes` is
/// the object that those keys are added to. Null and missing values are left out of `attributes`.
#[derive(Debug, Default, serde::Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct FieldTable {
    /// A JSONPath such as `$.image.small`, or a key of the API's records. Without `from`,
    /// `column`, `aliases` and `const` a field is read from the key or column of its own name.
    from: Option<String>,
    /// The header of a CSV column.
    column: Option<String>,
    /// Other headers that the column may have; case, spaces and punctuation do not matter.
    aliases: Option<Vec<String>>,
    /// The columns, keys or JSONPaths that the value is put together of, in this order; those that are blank are left
    /// out.
    concat: Option<Vec<String>>,
    /// With `concat`: what stands between two of them; a space if not given.
    separator: Option<String>,
    /// What the value becomes; what the column of `unified_records` holds if not given, else text.
    #[serde(rename = "type")]
    kind: Option<FieldKind>,
    /// Whether a row without the value is set aside.
    required: Option<bool>,
    /// Whether no two records of the source may have the same value: a row with a value that another record has is set
    /// aside.
    unique: Option<bool>,
    /// The smallest number allowed.
    min: Option<Scalar>,
    /// The largest number allowed.
    max: Option<Scalar>,
    /// Between the whole part of a number and its fraction: `.` (if not given) or `,`.
    decimal_separator: Option<String>,
    /// Between groups of three digits: `.`, `,`, `'`, `_` or a space. A space stands for those that do not
    /// break as well, `'` for the typographic apostrophe.
    group_separator: Option<String>,
    /// How many digits are in a group: `thousands`, if not given, or `indian`, as in 12,34,567.
    grouping: Option<Grouping>,
    /// How negative numbers are written, besides a minus in front: `leading` (if not given) is in no other
    /// way, `trailing` is 12.50-, `parentheses` is (12.50).
    negative: Option<Negative>,
    /// By how many digits the decimal point of a number is shifted, exactly: `-2` makes 19.99 of 1999.
    scale: Option<i64>,
    /// What is done to a text before it is converted, in this order: `"trim"`, `"upper"`, `"lower"`,
    /// `"spreadsheet_text"`, `{ extract = "…" }`, `{ replace = "…", with = "…" }`, `{ split = "…", part = 1 }`,
    /// `{ lookup = { … } }`.
    transform: Option<Vec<TransformTable>>,
    /// A regular expression that all of a text has to fit.
    pattern: Option<String>,
    /// The only texts allowed.
    allowed: Option<Vec<String>>,
    /// Characters that a text has at least.
    min_length: Option<u64>,
    /// Characters that a text has at most.
    max_length: Option<u64>,
    /// The words for true, in place of `true`, `1` and `yes`.
    true_values: Option<Vec<String>>,
    /// The words for false, in place of `false`, `0` and `no`.
    false_values: Option<Vec<String>>,
    /// `strftime` format of dates and times, for example `%d.%m.%Y`; `%s`, `%Q`, `epoch_us` and `epoch_ns`
    /// are seconds, milliseconds, microseconds and nanoseconds since 1970. RFC 3339 and ISO 8601 if not
    /// given.
    date_format: Option<String>,
    /// Time zone of times that carry none, for example `Europe/Berlin`; UTC if not given.
    time_zone: Option<String>,
    /// Which one a local time means that came twice, when the clock was put back: the `first` or the `second`.
    /// A row with such a time is set aside if not given.
    repeated_hour: Option<RepeatedHour>,
    /// The first year that the two digits of `%y` can mean; 1970 if not given. With 1930, 30 is 1930 and 29 is
    /// 2029.
    two_digit_years_from: Option<u16>,
    /// The value of every row, read from nowhere.
    #[serde(rename = "const")]
    constant: Option<Scalar>,
    /// The value of rows that have none.
    default: Option<Scalar>,
}

/// The most digits by which a point is shifted; a number has no more than 1,000 digits.
const MAX_SCALE: u64 = 100;

/// A text, a number or a boolean.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
#[allow(dead_code, reason = "the schema for editors is made of the payloads")]
pub(super) enum Scalar {
    Text(String),
    Number(f64),
    Boolean(bool),
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl Visitor<'_> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a number, true or false")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(text.to_owned()))
    }

    // The digits are taken from the file (`Draft::scalar`): `f64` would not keep them.
    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number as f64))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number as f64))
    }

    fn visit_i128<E: de::Error>(self, number: i128) -> Result<Scalar, E> {
        Ok(Scalar::Number(number as f64))
    }

    fn visit_u128<E: de::Error>(self, number: u128) -> Result<Scalar, E> {
        Ok(Scalar::Number(number as f64))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number))
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Scalar, E> {
        Ok(Scalar::Boolean(flag))
    }
}

/// Makes the definition of the field `name`; what is wrong with it goes to `problems`.
pub(super) fn define(
    name: &str,
    table: &FieldTable,
    document: &Document<'_>,
    problems: &mut Vec<Problem>,
) -> FieldDefinition {
    let target = Target::of(name);
    let kind = table.kind.unwrap_or(target.kinds()[0]);
    let mut draft = Draft { name, table, kind, document, problems };
    draft.check_name();
    draft.check_column(target);
    draft.check_combinations();
    let field = FieldDefinition {
        name: name.to_owned(),
        from: draft.locator(),
        concat: draft.concat(),
        kind,
        required: table.required.unwrap_or(false),
        unique: table.unique.unwrap_or(false),
        min: draft.bound("min", table.min.as_ref()),
        max: draft.bound("max", table.max.as_ref()),
        notation: draft.notation(),
        scale: draft.scale(),
        negative: table.negative.unwrap_or_default(),
        transform: draft.transform(),
        text: draft.text_rules(),
        true_values: table.true_values.clone(),
        false_values: table.false_values.clone(),
        date_format: table.date_format.clone(),
        time_zone: draft.time_zone(),
        repeated_hour: table.repeated_hour,
        two_digit_years_from: draft.two_digit_years_from(),
        constant: draft.scalar("const", table.constant.as_ref()),
        default: draft.scalar("default", table.default.as_ref()),
    };
    draft.check_bounds(&field);
    draft.check_words();
    draft.check_values(&field);
    field
}

struct Draft<'a> {
    name: &'a str,
    table: &'a FieldTable,
    kind: FieldKind,
    document: &'a Document<'a>,
    problems: &'a mut Vec<Problem>,
}

impl Draft<'_> {
    fn problem(&mut self, key: &str, message: impl fmt::Display) {
        let problem = self.document.problem_at(&["fields", self.name, key], message.to_string());
        self.problems.push(problem);
    }

    fn check_name(&mut self) {
        let name = self.name;
        let odd = |c: char| c.is_control() || c == '"' || c == '\\';
        let problem = if name.trim().is_empty() || name.trim() != name || name.contains(odd) {
            "a field's name cannot be empty, nor have quotes, backslashes or spaces around it"
        } else if matches!(name, "external_id" | "source") {
            "this column is not mapped: `source` is the file's name, and `external_id` is made by \
             `primary_key` or `external_id` at the top of the file"
        } else {
            return;
        };
        self.problems.push(self.document.problem_at(&["fields", name], problem));
    }

    fn check_column(&mut self, target: Target) {
        let kinds = target.kinds();
        if !kinds.contains(&self.kind) {
            let kinds: Vec<_> = kinds.iter().map(|kind| format!("\"{}\"", kind.as_str())).collect();
            let message = format!(
                "the column `{}` of unified_records cannot hold type = \"{}\"; it needs {}",
                self.name,
                self.kind.as_str(),
                kinds.join(" or ")
            );
            self.problem("type", message);
        }
    }

    fn check_combinations(&mut self) {
        let t = self.table;
        let (number, time, kind) = (self.kind.is_number(), self.kind.is_time(), self.kind.as_str());
        let (text, boolean) = (self.kind.is_text(), self.kind == FieldKind::Boolean);
        let constant = t.constant.is_some();
        let required = t.required == Some(true);
        let unique = t.unique == Some(true);
        for (key, given, allowed, why) in [
            ("from", t.from.is_some(), !constant, "a `const` comes from nowhere: remove one"),
            ("column", t.column.is_some(), !constant, "a `const` comes from nowhere: remove one"),
            ("aliases", t.aliases.is_some(), !constant, "a `const` comes from nowhere: remove one"),
            ("concat", t.concat.is_some(), !constant, "a `const` comes from nowhere: remove one"),
            (
                "concat",
                t.concat.is_some(),
                t.from.is_none() && t.column.is_none() && t.aliases.is_none(),
                "says where the value comes from, as `from`, `column` and `aliases` do: remove one",
            ),
            (
                "concat",
                t.concat.is_some(),
                self.kind != FieldKind::Json,
                "only single values are put together",
            ),
            ("separator", t.separator.is_some(), t.concat.is_some(), "it belongs to `concat`"),
            ("required", required, !constant, "a `const` is never missing: remove one"),
            ("default", t.default.is_some(), !constant, "a `const` is never missing: remove one"),
            ("unique", unique, !constant, "a `const` is the same in all records: remove one"),
            (
                "unique",
                unique,
                t.default.is_none(),
                "a `default` is the same in several records: remove one",
            ),
            ("unique", unique, self.kind != FieldKind::Json, "only single values are compared"),
            (
                "default",
                t.default.is_some(),
                !required,
                "it is never used when `required`: remove one",
            ),
            (
                "column",
                t.column.is_some(),
                t.from.is_none(),
                "`from` is for APIs, `column` for CSV: remove one",
            ),
            (
                "aliases",
                t.aliases.is_some(),
                t.from.is_none(),
                "`from` is for APIs, `aliases` for CSV: remove one",
            ),
            ("min", t.min.is_some(), number, "only numbers have bounds"),
            ("max", t.max.is_some(), number, "only numbers have bounds"),
            (
                "decimal_separator",
                t.decimal_separator.is_some(),
                number && self.kind != FieldKind::Integer,
                "only decimals have one",
            ),
            ("grouping", t.grouping.is_some(), number, "only numbers have groups"),
            (
                "negative",
                t.negative.is_some(),
                matches!(self.kind, FieldKind::Decimal | FieldKind::Integer | FieldKind::Percent),
                "only numbers are negative, and money is read in all of these ways",
            ),
            ("group_separator", t.group_separator.is_some(), number, "only numbers have one"),
            ("scale", t.scale.is_some(), number, "only numbers have one"),
            (
                "transform",
                t.transform.is_some(),
                self.kind != FieldKind::Json,
                "only single values are transformed",
            ),
            ("transform", t.transform.is_some(), !constant, "a `const` is as it is: remove one"),
            ("pattern", t.pattern.is_some(), text, "only texts have one"),
            ("allowed", t.allowed.is_some(), text, "only texts are listed"),
            ("min_length", t.min_length.is_some(), text, "only texts have one"),
            ("max_length", t.max_length.is_some(), text, "only texts have one"),
            ("true_values", t.true_values.is_some(), boolean, "only booleans have them"),
            ("false_values", t.false_values.is_some(), boolean, "only booleans have them"),
            ("date_format", t.date_format.is_some(), time, "only timestamps and dates have one"),
            ("time_zone", t.time_zone.is_some(), time, "only timestamps and dates have one"),
            (
                "repeated_hour",
                t.repeated_hour.is_some(),
                time,
                "only timestamps and dates have one",
            ),
            (
                "two_digit_years_from",
                t.two_digit_years_from.is_some(),
                time,
                "only timestamps and dates have years",
            ),
        ] {
            if given && !allowed {
                let of = if why.starts_with("only") {
                    format!(", not type = \"{kind}\"")
                } else {
                    String::new()
                };
                self.problem(key, format!("{why}{of}"));
            }
        }
    }

    fn locator(&mut self) -> Locator {
        let t = self.table;
        if t.constant.is_some() {
            return Locator::Nowhere;
        }
        if let Some(from) = &t.from {
            if from.starts_with('$')
                && let Err(error) = json_path::parse(from)
            {
                let from = text::cut(from, text::MAX_QUOTED);
                self.problem("from", format!("`{from}` is no JSONPath: {error}"));
            } else if from.is_empty() {
                self.problem("from", "is empty");
            }
            return Locator::Path(from.clone());
        }
        if let Some(first) = t.concat.as_ref().and_then(|parts| parts.first()) {
            return Locator::of_source_field(first);
        }
        let aliases = t.aliases.iter().flatten();
        let names: Vec<String> = t.column.iter().chain(aliases).cloned().collect();
        if names.iter().any(|name| name.trim().is_empty()) {
            let key = if t.column.is_some() { "column" } else { "aliases" };
            self.problem(key, "an empty header");
        }
        if names.is_empty() {
            return Locator::Named(self.name.to_owned());
        }
        Locator::Column(names)
    }

    fn concat(&mut self) -> Option<Concat> {
        let parts = self.table.concat.as_ref()?;
        if parts.len() < 2 {
            self.problem(
                "concat",
                "puts two at least together: name them, or write `column` or `from`",
            );
        }
        for part in parts {
            if part.trim().is_empty() {
                self.problem("concat", "has an empty name in it");
            } else if let Locator::Path(path) = Locator::of_source_field(part)
                && let Err(error) = json_path::parse(&path)
            {
                let path = text::cut(&path, text::MAX_QUOTED);
                self.problem("concat", format!("`{path}` is no JSONPath: {error}"));
            }
        }
        let also = parts.iter().skip(1).map(|part| Locator::of_source_field(part)).collect();
        let separator = self.table.separator.clone().unwrap_or_else(|| " ".to_owned());
        Some(Concat { also, separator })
    }

    /// A value of the job file as text; a number with the digits that the file has.
    fn scalar(&self, key: &str, value: Option<&Scalar>) -> Option<String> {
        Some(match value? {
            Scalar::Text(text) => text.clone(),
            Scalar::Boolean(flag) => flag.to_string(),
            Scalar::Number(_) => {
                self.document.written(&["fields", self.name, key])?.replace('_', "")
            }
        })
    }

    fn bound(&mut self, key: &str, value: Option<&Scalar>) -> Option<String> {
        let text = self.scalar(key, value)?;
        let mut canonical = String::new();
        match decimal::write_canonical(&text, DecimalNotation::PLAIN, &mut canonical) {
            Ok(()) => Some(canonical),
            Err(error) => {
                self.problem(key, format!("{}: {error}", text::quoted(&text)));
                None
            }
        }
    }

    fn check_bounds(&mut self, field: &FieldDefinition) {
        if let (Some(min), Some(max)) = (&field.min, &field.max)
            && decimal::compare(min, max).is_gt()
        {
            self.problem("min", format!("no number is at least {min} and at most {max}"));
        }
    }

    fn notation(&mut self) -> DecimalNotation {
        let mut notation = DecimalNotation::PLAIN;
        let separator = |draft: &mut Self, key: &str, text: &Option<String>, known: &str| {
            let text = text.as_deref()?;
            match text.as_bytes() {
                [byte] if known.contains(text) => Some(*byte),
                _ => {
                    let known: Vec<_> = known.chars().map(|c| format!("\"{c}\"")).collect();
                    draft.problem(key, format!("must be one of {}", known.join(", ")));
                    None
                }
            }
        };
        let decimal = separator(self, "decimal_separator", &self.table.decimal_separator, ".,");
        let group = separator(self, "group_separator", &self.table.group_separator, ".,'_ ");
        notation.decimal_separator = decimal.unwrap_or(notation.decimal_separator);
        notation.group_separator = group;
        notation.grouping = self.table.grouping.unwrap_or_default();
        if self.table.grouping.is_some() && group.is_none() {
            self.problem("grouping", "means nothing without `group_separator`");
        }
        if group == Some(notation.decimal_separator) {
            let message = "is the `decimal_separator` as well; give both";
            self.problem("group_separator", message);
        }
        notation
    }

    fn scale(&mut self) -> i64 {
        let scale = self.table.scale.unwrap_or(0);
        if scale.unsigned_abs() > MAX_SCALE {
            self.problem("scale", format!("must be between -{MAX_SCALE} and {MAX_SCALE}"));
        }
        scale
    }

    fn transform(&mut self) -> Vec<Transform> {
        let mut steps = Vec::new();
        for table in self.table.transform.iter().flatten() {
            match table.step() {
                Ok(step) => steps.push(step),
                Err(message) => self.problem("transform", message),
            }
        }
        let has = |step| steps.contains(&step);
        if has(Transform::Upper) && has(Transform::Lower) {
            self.problem("transform", "has both \"upper\" and \"lower\": remove one");
        }
        steps
    }

    fn text_rules(&mut self) -> TextRules {
        let t = self.table;
        let pattern = t.pattern.as_ref().and_then(|written| match Pattern::whole(written) {
            Ok(pattern) => Some((written.clone(), pattern)),
            Err(why) => {
                self.problem("pattern", format!("{} {why}", text::quoted(written)));
                None
            }
        });
        if t.allowed.as_ref().is_some_and(Vec::is_empty) {
            self.problem("allowed", "is empty, so no row would be kept: name the texts allowed");
        }
        if let (Some(least), Some(most)) = (t.min_length, t.max_length)
            && least > most
        {
            let message = format!("no text has at least {least} and at most {most} characters");
            self.problem("min_length", message);
        }
        TextRules {
            pattern,
            allowed: t.allowed.as_ref().map(|texts| texts.iter().cloned().collect()),
            min_length: t.min_length,
            max_length: t.max_length,
        }
    }

    /// Whether each word for true and false means one of them.
    fn check_words(&mut self) {
        const USUAL: [(&str, [&str; 3]); 2] =
            [("true_values", ["true", "1", "yes"]), ("false_values", ["false", "0", "no"])];
        let own = [&self.table.true_values, &self.table.false_values];
        for ((key, _), words) in USUAL.iter().zip(own) {
            if words.as_ref().is_some_and(Vec::is_empty) {
                self.problem(key, "is empty: leave it out, or name the words");
            }
        }
        let words = |at: usize| match own[at] {
            Some(words) => words.iter().map(|word| word.to_lowercase()).collect::<Vec<_>>(),
            None => USUAL[at].1.map(str::to_owned).to_vec(),
        };
        let of_false = words(1);
        if let Some(both) = words(0).into_iter().find(|word| of_false.contains(word)) {
            let key = if own[0].is_some() { "true_values" } else { "false_values" };
            self.problem(key, format!("{} means true and false: give both", text::quoted(&both)));
        }
    }

    fn two_digit_years_from(&mut self) -> Option<u16> {
        let first = self.table.two_digit_years_from?;
        let format = self.table.date_format.as_deref().unwrap_or_default();
        // `%D` and `%x` are `%m/%d/%y`.
        if !["%y", "%-y", "%_y", "%0y", "%D", "%x"].iter().any(|years| format.contains(years)) {
            self.problem("two_digit_years_from", "means nothing without `%y` in `date_format`");
        }
        if !(1..=9_900).contains(&first) {
            self.problem("two_digit_years_from", "must be a year between 1 and 9900");
        }
        Some(first)
    }

    fn time_zone(&mut self) -> Option<chrono_tz::Tz> {
        match parse_time_zone(self.table.time_zone.as_deref()?) {
            Ok(zone) => Some(zone),
            Err(message) => {
                self.problem("time_zone", message);
                None
            }
        }
    }

    /// Whether the file's own values can be converted, so that no row fails because of them.
    fn check_values(&mut self, field: &FieldDefinition) {
        if let Err(why) = Converter::new(field) {
            let format = self.table.date_format.as_deref().unwrap_or_default();
            self.problem("date_format", format!("{} {why}", text::quoted(format)));
        }
        let plain = Converter::plain(field);
        for (key, value) in [("const", &field.constant), ("default", &field.default)] {
            let Some(text) = value else { continue };
            let mut out = String::new();
            if let Err(error) = plain.write(Cell::Text(text), false, Form::Column, &mut out) {
                self.problem(key, format!("{} {}", text::quoted(text), error.problem));
            }
        }
    }
}
