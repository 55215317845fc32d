//! Owns what to write into a job file so that it reads a field that it does not read yet.

use super::files::format::RowFormat;
use super::formats::csv::Csv;
use super::formats::xlsx::Xlsx;
use crate::domain::schema::{FieldSchema, Schema};
use crate::domain::shape::FieldType;
use crate::job_file::Definition;
use crate::mapping::contract::mapped_fields;
use crate::values::field::{FieldKind, Target};

/// The longest name of a field that is made of a header, in characters.
const LONGEST: usize = 60;

/// What to write, or that it is written already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggested {
    /// The lines.
    pub lines: String,
    /// Whether the job file reads the field already.
    pub is_mapped: bool,
}

/// The lines of a job file that read a field, whose type is written as in a schema; `None` when it is no
/// type, or a column without a header, which cannot be named.
pub fn field_for(definition: &Definition, field: &str, types: &str) -> Option<Suggested> {
    let schema: FieldSchema = types.parse().ok()?;
    if reads_columns(definition) && field.trim().is_empty() {
        return None;
    }
    let kind = kind_of(&schema);
    let mut names = Schema::default();
    names.fields.insert(field.to_owned(), schema);
    let is_mapped = mapped_fields(definition, &names).contains(field);
    let name = free_name(definition, field, kind);
    let from = match reads_columns(definition) {
        true => format!("column = {}", quoted(field)),
        false => format!("from = {}", quoted(&json_path(field))),
    };
    let kind = match kind {
        FieldKind::Text => String::new(),
        kind => format!(", type = \"{}\"", kind.as_str()),
    };
    let heading = "# below [fields], which is there already\n";
    let lines = format!("{heading}{name} = {{ {from}{kind} }}");
    Some(Suggested { lines, is_mapped })
}

/// What a value of these types becomes without losing anything.
fn kind_of(schema: &FieldSchema) -> FieldKind {
    use FieldType::{Array, Boolean, Date, Integer, Number, Object, String, Timestamp};
    let types: Vec<FieldType> = schema.types.iter().copied().collect();
    let is_of = |known: &[FieldType]| !types.is_empty() && types.iter().all(|t| known.contains(t));
    match () {
        () if is_of(&[Integer]) => FieldKind::Integer,
        () if is_of(&[Integer, Number]) => FieldKind::Decimal,
        () if is_of(&[Boolean]) => FieldKind::Boolean,
        () if is_of(&[Date]) => FieldKind::Date,
        () if is_of(&[Timestamp]) => FieldKind::Timestamp,
        () if is_of(&[String, Integer, Number, Boolean, Date, Timestamp]) => FieldKind::Text,
        () if types.is_empty() => FieldKind::Text,
        () if types.iter().any(|t| matches!(t, Array | Object)) => FieldKind::Json,
        () => FieldKind::Text,
    }
}

/// Whether the source's rows have columns, and no keys of JSON.
fn reads_columns(definition: &Definition) -> bool {
    [Csv::NAME, Xlsx::NAME].contains(&definition.kind.as_str())
}

/// What `from` says of one key: a JSONPath, or the key as it is where a path would have to escape it.
fn json_path(key: &str) -> String {
    let is_plain = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let has_quote = key.contains(|c: char| matches!(c, '\'' | '\\') || c.is_control());
    match (is_plain, has_quote) {
        (true, _) => format!("$.{key}"),
        (false, false) => format!("$['{key}']"),
        // That would be taken for a path.
        (false, true) if key.starts_with('$') || key.contains('.') => {
            format!("$['{}']", key.replace('\\', "\\\\").replace('\'', "\\'"))
        }
        (false, true) => key.to_owned(),
    }
}

/// A text of TOML.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// A name that no field has and whose column, if it has one of its own, takes such values, made of the source's own.
fn free_name(definition: &Definition, field: &str, kind: FieldKind) -> String {
    let mut name = String::new();
    for c in field.chars().take(LONGEST) {
        match c.is_ascii_alphanumeric() {
            true => name.push(c.to_ascii_lowercase()),
            false if !name.is_empty() && !name.ends_with('_') => name.push('_'),
            false => {}
        }
    }
    let name = name.trim_end_matches('_');
    let name = if name.is_empty() { "field" } else { name };
    let is_taken = |name: &str| {
        definition.fields.iter().any(|field| field.name == name)
            || !Target::of(name).kinds().contains(&kind)
    };
    let numbered = (2..).map(|number| format!("{name}_{number}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    names.find(|name| !is_taken(name)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::sources::KINDS;

    const CSV: &str = "kind = 'csv'\nprimary_key = ['id']\n[csv]\npaths = ['*.csv']\n[fields]\n\
                       name = { column = 'name' }\n";
    const JSONL: &str = "kind = 'jsonl'\nprimary_key = ['id']\n[files]\npaths = ['*.jsonl']\n[fields]\n\
                         name = { from = '$.name' }\n";

    fn parsed(text: &str) -> Definition {
        let source = "shop".parse().unwrap();
        Definition::parse(source, Path::new("shop.toml"), text.to_owned(), KINDS).unwrap()
    }

    fn line(job: &str, field: &str, types: &str) -> String {
        let lines = field_for(&parsed(job), field, types).unwrap().lines;
        lines.lines().last().unwrap().to_owned()
    }

    #[test]
    fn a_field_is_read_from_where_it_is_as_what_it_is() {
        for (job, field, types, expected) in [
            (CSV, "Stock", "integer?", r#"stock = { column = "Stock", type = "integer" }"#),
            (CSV, "price", "number", r#"price = { column = "price", type = "decimal" }"#),
            (CSV, "price", "string", r#"price_2 = { column = "price" }"#),
            (CSV, "name", "string", r#"name_2 = { column = "name" }"#),
            (CSV, "价格", "null", r#"field = { column = "价格" }"#),
            (JSONL, "a b", "boolean", r#"a_b = { from = "$['a b']", type = "boolean" }"#),
            (JSONL, "tags", "array?", r#"tags = { from = "$.tags", type = "json" }"#),
            (JSONL, "x", "integer|string", r#"x = { from = "$.x" }"#),
            (JSONL, "at", "object|string", r#"at = { from = "$.at", type = "json" }"#),
        ] {
            assert_eq!(line(job, field, types), expected);
        }
        assert_eq!(field_for(&parsed(CSV), "x", "no type"), None);
        assert_eq!(field_for(&parsed(CSV), " ", "string"), None);
    }

    #[test]
    fn what_is_suggested_can_be_added_whatever_the_field_is_called() {
        for field in
            ["a\"b", "a'b", "a\\b", "a\nb", "<b>", "true", "1", "a.b", "Ä ö", "$", "attributes"]
        {
            for (job, types) in [(CSV, "string"), (JSONL, "string"), (JSONL, "object?")] {
                let suggested = field_for(&parsed(job), field, types).unwrap();
                let with = parsed(&format!("{job}{}\n", suggested.lines));
                let again = field_for(&with, field, types).unwrap();
                assert!(!suggested.is_mapped && again.is_mapped, "{job}{}", suggested.lines);
            }
        }
    }
}
