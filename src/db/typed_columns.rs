//! Owns how the mapped fields of a source are read as columns of their own: typed, as text, or as JSON. It takes
//! the row of `unified_records` to be called `r`.
//!
//! A record that was written under another job file may hold a value of another type; a value that is not of the
//! column's type is null where it is typed, and is what it is elsewhere. Must not know who asks.

use std::collections::HashSet;

use crate::domain::hash::ContentHash;
use crate::domain::record::{Column, ColumnType};
use crate::values::field::{FieldDefinition, FieldKind, Target};

/// The longest name that PostgreSQL keeps of a column, in bytes.
const MAX_NAME: usize = 63;
/// Hexadecimal digits behind a name that was cut.
const DIGITS: usize = 8;

/// A mapped field as a column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypedColumn {
    /// The field's name.
    pub name: String,
    kind: FieldKind,
    target: Target,
}

impl TypedColumn {
    /// The fields of a job file, in its order.
    pub fn of(fields: &[FieldDefinition]) -> Vec<Self> {
        let column = |field: &FieldDefinition| Self {
            name: field.name.clone(),
            kind: field.kind,
            target: Target::of(&field.name),
        };
        fields.iter().map(column).collect()
    }

    /// Its type.
    pub(super) fn kind(&self) -> FieldKind {
        self.kind
    }

    /// Its value with its own type. The functions are in the schema of the views.
    pub(super) fn value(&self) -> String {
        let Some(key) = self.key() else {
            return format!("r.{}", quoted(&self.name));
        };
        let typed = |of: &str, to: &str| {
            format!(
                "case jsonb_typeof(r.attributes -> {key}) when '{of}' then (r.attributes ->> {key})::{to} end"
            )
        };
        match self.kind {
            FieldKind::Text | FieldKind::Url => format!("r.attributes ->> {key}"),
            FieldKind::Uuid => format!("sources.as_uuid(r.attributes ->> {key})"),
            FieldKind::Decimal | FieldKind::Integer | FieldKind::Money | FieldKind::Percent => {
                typed("number", "numeric")
            }
            FieldKind::Boolean => typed("boolean", "boolean"),
            FieldKind::Timestamp => format!("sources.as_timestamp(r.attributes ->> {key})"),
            FieldKind::Date => format!("sources.as_date(r.attributes ->> {key})"),
            FieldKind::Json => format!("r.attributes -> {key}"),
        }
    }

    /// Its value as text: all digits of numbers, JSON as it is, times as [`TypedColumn::is_time`] says.
    pub(super) fn text(&self) -> String {
        match self.key() {
            Some(key) if self.kind == FieldKind::Json => format!("(r.attributes -> {key})::text"),
            Some(key) => format!("r.attributes ->> {key}"),
            None => of_column(&self.name),
        }
    }

    /// Its value as JSON text. A number with a fraction is a text, so that every digit stays.
    pub(super) fn json(&self) -> String {
        let text = match self.key() {
            Some(key) => match self.kind {
                FieldKind::Json | FieldKind::Boolean | FieldKind::Integer => {
                    return format!("(r.attributes -> {key})::text");
                }
                _ => format!("r.attributes ->> {key}"),
            },
            None if self.is_json() || self.is_time() => return of_column(&self.name),
            None => of_column(&self.name),
        };
        format!("to_json({text})::text")
    }

    /// Whether text and JSON give it as microseconds since 1970.
    pub(super) fn is_time(&self) -> bool {
        matches!(self.target, Target::Column(column) if column.spec().kind == ColumnType::Timestamp)
    }

    fn is_json(&self) -> bool {
        matches!(self.target, Target::Column(column) if column.spec().kind == ColumnType::Json)
    }

    /// The key of `attributes`, as a literal, of a field that has no column.
    fn key(&self) -> Option<String> {
        (self.target == Target::Attribute).then(|| literal(&self.name))
    }
}

/// The text of a column of the table.
fn of_column(name: &str) -> String {
    let column = format!("r.{}", quoted(name));
    match Column::named(name).map(|column| column.spec().kind) {
        Some(ColumnType::Timestamp) => micros(&column),
        Some(ColumnType::Numeric | ColumnType::Json) => format!("{column}::text"),
        Some(ColumnType::Text) | None => column,
    }
}

/// A time as microseconds since 1970: text functions of PostgreSQL know no years before the first.
pub(super) fn micros(column: &str) -> String {
    format!("(extract(epoch from {column}) * 1000000)::bigint::text")
}

/// A text as SQL takes it.
pub(super) fn literal(text: &str) -> String {
    let quotes = text.replace('\'', "''");
    match quotes.contains('\\') {
        true => format!("E'{}'", quotes.replace('\\', "\\\\")),
        false => format!("'{quotes}'"),
    }
}

/// A name as SQL takes it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Names that PostgreSQL keeps and tells apart: one that is too long, or is taken, ends in a hash of it.
pub(super) fn distinct(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut taken = HashSet::new();
    let name = |name: String| {
        let mut kept = name.clone();
        let mut salt = 0;
        while kept.is_empty() || kept.len() > MAX_NAME || !taken.insert(kept.clone()) {
            let hash = ContentHash::of(format!("{salt} {name}").as_bytes()).to_string();
            let head = name.floor_char_boundary(MAX_NAME - DIGITS - 1);
            kept = format!("{}_{}", &name[..head.min(name.len())], &hash[..DIGITS]);
            salt += 1;
        }
        kept
    };
    names.map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_different_and_short_enough() {
        let long = "x".repeat(70);
        let names =
            [long.clone(), format!("{long}y"), "a".to_owned(), "a".to_owned(), String::new()];
        let kept = distinct(names.into_iter());
        let different: HashSet<_> = kept.iter().collect();
        assert_eq!(different.len(), 5, "{kept:?}");
        assert!(kept.iter().all(|name| (1..=MAX_NAME).contains(&name.len())), "{kept:?}");
        assert_eq!(kept[2], "a");
        assert_eq!(distinct(["é".repeat(40)].into_iter())[0].len(), 63);
    }

    #[test]
    fn texts_and_names_cannot_end_their_quotes() {
        assert_eq!(literal("o'clock"), "'o''clock'");
        assert_eq!(literal(r"a\'b"), r"E'a\\''b'");
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }
}
