//! Owns the shape of what was read: which fields, of which types, seen how often and where first.
//! One reading task observes one shape; a run's shape is the merge of its tasks' shapes.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::words::words;

words! {
    /// What a value looks like. JSON knows its types; a CSV cell is judged by its text.
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
    /// Whether types are guesses from text (CSV): then most cells decide, instead of every value.
    pub lexical: bool,
    /// By the source's own field name.
    pub fields: BTreeMap<String, FieldShape>,
}

impl Shape {
    /// Says which raw payload all of it was seen in.
    pub fn seen_in(&mut self, raw_ref: &str) {
        let seen = self.fields.values_mut().flat_map(|field| field.types.values_mut());
        seen.for_each(|seen| raw_ref.clone_into(&mut seen.first.raw_ref));
    }

    /// Notes one value of `field`; `None` is null.
    pub fn observe(
        &mut self,
        field: &str,
        value: Option<FieldType>,
        place: impl FnOnce() -> Place,
    ) {
        if !self.fields.contains_key(field) {
            self.fields.insert(field.to_owned(), FieldShape::default());
        }
        let Some(shape) = self.fields.get_mut(field) else {
            return;
        };
        shape.present += 1;
        match value {
            None => shape.nulls += 1,
            Some(kind) => {
                shape
                    .types
                    .entry(kind)
                    .and_modify(|seen| seen.count += 1)
                    .or_insert_with(|| Seen { count: 1, first: place() });
            }
        }
    }

    /// Adds what another slice saw. `other` comes later in the run: the first place stays.
    pub fn merge(&mut self, other: &Shape) {
        self.rows += other.rows;
        self.lexical |= other.lexical;
        for (name, theirs) in &other.fields {
            let ours = self.fields.entry(name.clone()).or_default();
            ours.present += theirs.present;
            ours.nulls += theirs.nulls;
            for (kind, seen) in &theirs.types {
                ours.types
                    .entry(*kind)
                    .and_modify(|o| o.count += seen.count)
                    .or_insert_with(|| seen.clone());
            }
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.raw_ref, self.row)
    }
}
