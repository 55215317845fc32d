//! Owns the shape of what was read: which fields, of which types, seen how often and where first.
//! One reading task observes one shape; a run's shape is the merge of its tasks' shapes.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::field_name;
use super::string_enum::string_enum;

string_enum! {
    /// What a value looks like. JSON knows its types; a CSV cell is evaluated by its text.
    FieldType ("field type") {
        /// `true` or `false`.
        Boolean = "boolean",
        /// A number without fraction and exponent.
        Integer = "integer",
        /// Any other number.
        Number = "number",
        /// A calendar date (CSV only).
        Date = "date",
        /// A date with a time (CSV only).
        Timestamp = "timestamp",
        /// Any other text.
        String = "string",
        /// A JSON object.
        Object = "object",
        /// A JSON list.
        Array = "array",
    }
}

/// Where a value was seen: a raw payload and a row of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Text form of [`super::raw::RawRef`].
    pub raw_ref: String,
    /// Row within it, from 1.
    pub row: i64,
}

/// How often a type was seen in a field, and where first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Number of values.
    pub count: u64,
    /// The first of them.
    pub first: Place,
}

/// What was seen in one field.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldShape {
    /// Rows that have the field, null or not.
    pub present: u64,
    /// Rows in which it is null or, in a CSV, empty.
    pub nulls: u64,
    /// The types of its other values.
    pub types: BTreeMap<FieldType, Seen>,
}

/// What was seen in one slice, or in all slices of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Rows looked at.
    pub rows: u64,
    /// Whether types are inferred from text (CSV): then most cells decide, instead of every value. Earlier
    /// versions stored it as `lexical`.
    #[serde(alias = "lexical")]
    pub types_inferred: bool,
    /// By the source's own field name, as [`field_name::kept`] keeps it.
    pub fields: BTreeMap<String, FieldShape>,
    /// Whether there were more names than [`MAX_FIELDS`]: the first ones are kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}

/// The most names of fields that are kept of a source. Where names are data, such as keys of an object
/// that change from day to day, there is no end of them. Rows are loaded with all their fields,
/// whatever their names.
pub const MAX_FIELDS: usize = 10_000;

impl FieldShape {
    /// Notes one value; `None` is null.
    pub fn observe(&mut self, value: Option<FieldType>, place: impl FnOnce() -> Place) {
        self.present += 1;
        match value {
            None => self.nulls += 1,
            Some(kind) => {
                self.types
                    .entry(kind)
                    .and_modify(|seen| seen.count += 1)
                    .or_insert_with(|| Seen { count: 1, first: place() });
            }
        }
    }

    fn merge(&mut self, other: &Self) {
        self.present += other.present;
        self.nulls += other.nulls;
        for (kind, seen) in &other.types {
            self.types
                .entry(*kind)
                .and_modify(|ours| ours.count += seen.count)
                .or_insert_with(|| seen.clone());
        }
    }
}

impl Shape {
    /// Says which raw payload all of it was seen in.
    pub fn seen_in(&mut self, raw_ref: &str) {
        let seen = self.fields.values_mut().flat_map(|field| field.types.values_mut());
        seen.for_each(|seen| raw_ref.clone_into(&mut seen.first.raw_ref));
    }

    /// Rows with a value in a field that is none but null.
    pub fn with_value(&self, field: &str) -> u64 {
        let types = self.fields.get(field).map(|field| field.types.values());
        types.into_iter().flatten().map(|seen| seen.count).sum()
    }

    /// Notes one value of `field`; `None` is null.
    pub fn observe(
        &mut self,
        field: &str,
        value: Option<FieldType>,
        place: impl FnOnce() -> Place,
    ) {
        let field = field_name::kept(field);
        if let Some(shape) = self.field(&field) {
            shape.observe(value, place);
        }
    }

    /// Adds what was seen in one field.
    pub fn add(&mut self, field: &str, seen: FieldShape) {
        let field = field_name::kept(field);
        if let Some(shape) = self.field(&field) {
            shape.merge(&seen);
        }
    }

    /// The field of a kept name, unless it is one too many.
    fn field(&mut self, name: &str) -> Option<&mut FieldShape> {
        if !self.fields.contains_key(name) {
            if self.fields.len() >= MAX_FIELDS {
                self.cut = true;
                return None;
            }
            self.fields.insert(name.to_owned(), FieldShape::default());
        }
        self.fields.get_mut(name)
    }

    /// Adds what another slice saw. `other` comes later in the run: the first place stays.
    pub fn merge(&mut self, other: &Shape) {
        self.rows += other.rows;
        self.types_inferred |= other.types_inferred;
        self.cut |= other.cut;
        for (name, theirs) in &other.fields {
            if let Some(ours) = self.field(name) {
                ours.merge(theirs);
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.raw_ref, self.row)
    }
}
