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

/// The lines of a job file that read a field, whose type is written as in a schema; `None` when it is no type.
pub fn field_for(definition: &Definition, field: &str, types: &str) -> Option<Suggested> {
    let schema: FieldSchema = types.parse().ok()?;
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

/// A JSONPath of one key, however it is written.
fn json_path(key: &str) -> String {
    let is_plain = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    match is_plain {
        true => format!("$.{key}"),
        false => {
            let escaped: String = key
                .chars()
                .map(|c| match c {
                    '\'' | '\\' => format!("\\{c}"),
                    c if (c as u32) < 0x20 => format!("\\u{:04x}", c as u32),
                    c => c.to_string(),
                })
                .collect();
            format!("$['{escaped}']")
        }
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
