//! Owns schema versions of a source and what changed between two of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::presence::optional_is_missed_in;
use super::shape::{FieldShape, FieldType, MAX_FIELDS, Place, Shape};
use super::string_enum::{UnknownVariant, string_enum};

/// The type of one field: the types seen, and whether it may be null or absent.
///
/// Its text form is a signature's value: `number`, `string?`, `integer|string`, or `null` when
/// nothing but nulls was ever seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FieldSchema {
    /// Empty when only nulls were seen.
    pub types: BTreeSet<FieldType>,
    /// Null or absent in at least one row.
    pub optional: bool,
}

/// One version of a source's schema, by the source's own field names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Schema {
    /// Field name to type.
    pub fields: BTreeMap<String, FieldSchema>,
}

string_enum! {
    /// What happened to a field between two schema versions.
    Change ("schema change") {
        /// The field is new.
        Added = "added",
        /// The field is gone.
        Removed = "removed",
        /// The field has another type.
        TypeChanged = "type_changed",
    }
}

/// One difference between two schema versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// The source's own name of the field.
    pub field: String,
    /// What happened to it.
    pub change: Change,
    /// Its type before; `None` when it was added.
    pub old: Option<FieldSchema>,
    /// Its type now; `None` when it was removed.
    pub new: Option<FieldSchema>,
    /// The first raw row that shows it; `None` for a removal.
    pub first: Option<Place>,
}

impl FieldSchema {
    fn of(shape: &FieldShape, rows: u64, types_inferred: bool) -> Self {
        let values: u64 = shape.types.values().map(|seen| seen.count).sum();
        let mut types: BTreeSet<FieldType> = match types_inferred {
            true => majority(shape, values),
            false => shape.types.keys().copied().collect(),
        };
        if types.contains(&FieldType::Number) {
            types.remove(&FieldType::Integer);
        }
        Self { types, optional: shape.nulls > 0 || shape.present < rows }
    }

    /// Whether a value of type `found` needs no change of this field's type.
    ///
    /// A field that was only ever null takes any type, and an integer is a number.
    pub fn admits(&self, found: FieldType) -> bool {
        self.types.is_empty()
            || self.types.contains(&found)
            || (found == FieldType::Integer && self.types.contains(&FieldType::Number))
            || (found == FieldType::Number && self.types.contains(&FieldType::Integer))
    }
}

/// A CSV cell carries no type, so one odd cell says nothing about its column: the column has the
/// type of more than half of its values, and is a string when no type reaches that.
fn majority(shape: &FieldShape, values: u64) -> BTreeSet<FieldType> {
    let count = |kind| shape.types.get(&kind).map_or(0, |seen| seen.count);
    let more_than_half = |n: u64| n * 2 > values;
    if values == 0 {
        return BTreeSet::new();
    }
    let numbers = count(FieldType::Integer) + count(FieldType::Number);
    let kind = if more_than_half(numbers) {
        if count(FieldType::Number) > 0 { FieldType::Number } else { FieldType::Integer }
    } else {
        shape
            .types
            .iter()
            .find(|(_, seen)| more_than_half(seen.count))
            .map_or(FieldType::String, |(kind, _)| *kind)
    };
    BTreeSet::from([kind])
}

impl Schema {
    /// The schema that a run's merged shape shows.
    pub fn of(shape: &Shape) -> Self {
        let field = |(name, field): (&String, &FieldShape)| {
            (name.clone(), FieldSchema::of(field, shape.rows, shape.types_inferred))
        };
        Self { fields: shape.fields.iter().map(field).collect() }
    }

    /// Whether there is no room for another name: then nothing can be said of names that are not there.
    pub fn is_full(&self) -> bool {
        self.fields.len() >= MAX_FIELDS
    }

    /// The next version after `self` given what a run saw, with its drift; `None` when nothing
    /// worth a version happened.
    ///
    /// A field that the run saw only as null keeps its type, one that becomes optional is no drift,
    /// and one whose first values appear gets its type without an alarm; so does one of integers
    /// when fractions appear, and one of numbers stays one when a run saw integers only. A field counts as removed
    /// only after a `complete` full sync, and only then does one of JSON lose a type; one that an API's records may lack only when so many lack it that
    /// this is no accident.
    pub fn evolve(&self, shape: &Shape, complete: bool) -> Option<(Self, Vec<Drift>)> {
        let seen = Self::of(shape);
        let mut next = self.clone();
        let mut drift = Vec::new();
        let mut learned = false;
        for (name, mut new) in seen.fields {
            let full = next.is_full();
            let Some(old) = next.fields.get_mut(&name) else {
                if full {
                    continue;
                }
                let first = first_place(shape, &name, &FieldSchema::default());
                drift.push(Drift {
                    field: name.clone(),
                    change: Change::Added,
                    old: None,
                    new: Some(new.clone()),
                    first,
                });
                next.fields.insert(name, new);
                continue;
            };
            old.optional |= new.optional;
            if !complete && !shape.types_inferred && !new.types.is_empty() {
                // What was not read has its types still: rows behind the end of a file, say.
                new.types.extend(&old.types);
                if new.types.contains(&FieldType::Number) {
                    new.types.remove(&FieldType::Integer);
                }
            }
            if new.types.is_empty() || new.types == old.types {
                continue;
            }
            if old.types.is_empty() {
                old.types = new.types;
                learned = true;
                continue;
            }
            if as_numbers(&old.types) == as_numbers(&new.types) {
                // Whole numbers are numbers; the first fraction widens the type permanently.
                if !old.types.contains(&FieldType::Number) {
                    old.types = new.types;
                    learned = true;
                }
                continue;
            }
            let before =
                std::mem::replace(old, FieldSchema { types: new.types, optional: old.optional });
            let first = first_place(shape, &name, &before);
            drift.push(Drift {
                field: name,
                change: Change::TypeChanged,
                old: Some(before),
                new: Some(old.clone()),
                first,
            });
        }
        // A name that the shape lacks may be one of those that it had no room for.
        if complete && !shape.cut {
            let any = shape.types_inferred || optional_is_missed_in(shape.rows);
            let gone: Vec<String> = next
                .fields
                .iter()
                .filter(|(name, field)| {
                    !shape.fields.contains_key(*name) && (any || !field.optional)
                })
                .map(|(name, _)| name.clone())
                .collect();
            for field in gone {
                let old = next.fields.remove(&field);
                drift.push(Drift { field, change: Change::Removed, old, new: None, first: None });
            }
        }
        (learned || !drift.is_empty()).then_some((next, drift))
    }
}

/// The types with integers as the numbers that they are.
fn as_numbers(types: &BTreeSet<FieldType>) -> BTreeSet<FieldType> {
    let as_number = |kind: &FieldType| match kind {
        FieldType::Integer => FieldType::Number,
        other => *other,
    };
    types.iter().map(as_number).collect()
}

/// The first row whose value the `known` type did not cover.
fn first_place(shape: &Shape, field: &str, known: &FieldSchema) -> Option<Place> {
    let types = &shape.fields.get(field)?.types;
    let news = types.iter().filter(|(kind, _)| !known.types.contains(kind));
    news.map(|(_, seen)| seen.first.clone())
        .next()
        .or_else(|| types.values().map(|seen| seen.first.clone()).next())
}

impl fmt::Display for FieldSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.types.is_empty() {
            return f.write_str("null");
        }
        for (i, kind) in self.types.iter().enumerate() {
            if i > 0 {
                f.write_str("|")?;
            }
            f.write_str(kind.as_str())?;
        }
        if self.optional { f.write_str("?") } else { Ok(()) }
    }
}

impl FromStr for FieldSchema {
    type Err = UnknownVariant;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "null" {
            return Ok(Self { types: BTreeSet::new(), optional: true });
        }
        let (types, optional) = match text.strip_suffix('?') {
            Some(types) => (types, true),
            None => (text, false),
        };
        Ok(Self { types: types.split('|').map(str::parse).collect::<Result<_, _>>()?, optional })
    }
}

impl Serialize for FieldSchema {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FieldSchema {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_behind_the_end_of_a_file_take_no_type_away() {
        let seen = |kinds: &[FieldType]| {
            let mut shape = Shape { rows: kinds.len() as u64, ..Shape::default() };
            for kind in kinds {
                let place = || Place { raw_ref: "file/1".to_owned(), row: 1 };
                shape.observe("v", Some(*kind), place);
            }
            shape
        };
        use FieldType::{Boolean, Integer, Number, String};
        let schema = Schema::of(&seen(&[String, Integer]));
        for (appended, types) in [
            (&[Integer][..], None),
            (&[String], None),
            (&[Boolean], Some(vec![Boolean, Integer, String])),
            (&[Number], Some(vec![Number, String])),
        ] {
            let next = schema.evolve(&seen(appended), false).map(|(next, _)| next);
            let next = next.map(|next| next.fields["v"].types.iter().copied().collect::<Vec<_>>());
            assert_eq!(next, types, "{appended:?}");
        }
        let (narrow, drift) = schema.evolve(&seen(&[Integer]), true).unwrap();
        assert_eq!(narrow.fields["v"].types, [Integer].into());
        assert_eq!(drift.len(), 1);
    }

    fn shape(rows: &[&[(&str, Option<FieldType>)]], types_inferred: bool) -> Shape {
        let mut shape = Shape { rows: rows.len() as u64, types_inferred, ..Shape::default() };
        for (i, row) in rows.iter().enumerate() {
            for (field, kind) in *row {
                shape.observe(field, *kind, || Place {
                    raw_ref: "file/1".into(),
                    row: i as i64 + 1,
                });
            }
        }
        shape
    }

    fn schema(signature: &str) -> Schema {
        serde_json::from_str(signature).unwrap()
    }

    use FieldType::{Integer, Number, Object, String as Text};

    #[test]
    fn a_signature_is_a_map_of_type_words() {
        let seen = Schema::of(&shape(
            &[
                &[("id", Some(Text)), ("roi", None), ("price", Some(Integer))],
                &[("id", Some(Text)), ("price", Some(Number))],
            ],
            false,
        ));
        let signature = serde_json::to_string(&seen).unwrap();
        assert_eq!(signature, r#"{"id":"string","price":"number","roi":"null"}"#);
        assert_eq!(schema(r#"{"a":"integer|string?"}"#).fields["a"].to_string(), "integer|string?");
    }

    #[test]
    fn a_null_column_or_an_integer_among_numbers_is_no_drift() {
        let old = schema(r#"{"price":"number","roi":"object?"}"#);
        let odd = shape(
            &[
                &[("price", Some(Integer)), ("roi", None)],
                &[("price", Some(Number)), ("roi", None)],
            ],
            false,
        );
        assert_eq!(old.evolve(&odd, true), None);
    }

    #[test]
    fn integers_become_numbers_without_an_alarm_and_never_back() {
        let run = |kind| shape(&[&[("price", Some(kind))]], true);
        let whole = schema(r#"{"price":"integer"}"#);
        let (next, drift) = whole.evolve(&run(Number), true).unwrap();
        assert!(drift.is_empty());
        assert_eq!(next.fields["price"].to_string(), "number");
        assert_eq!(next.evolve(&run(Integer), true), None);
    }

    #[test]
    fn added_removed_and_retyped_fields_are_drift_with_their_first_row() {
        let old = schema(r#"{"a":"integer","b":"string"}"#);
        let now =
            shape(&[&[("a", Some(Integer))], &[("a", Some(Text)), ("c", Some(Object))]], false);
        let (next, drift) = old.evolve(&now, true).unwrap();
        let found: Vec<_> = drift
            .iter()
            .map(|d| (d.field.as_str(), d.change, d.first.as_ref().map(|p| p.row)))
            .collect();
        assert_eq!(
            found,
            [
                ("a", Change::TypeChanged, Some(2)),
                ("c", Change::Added, Some(2)),
                ("b", Change::Removed, None)
            ]
        );
        assert_eq!(
            serde_json::to_string(&next).unwrap(),
            r#"{"a":"integer|string","c":"object?"}"#
        );
    }

    #[test]
    fn nothing_is_removed_before_a_sweep_is_complete() {
        let old = schema(r#"{"a":"integer","b":"string"}"#);
        assert_eq!(old.evolve(&shape(&[&[("a", Some(Integer))]], false), false), None);
    }

    #[test]
    fn a_field_that_records_may_lack_is_not_removed_by_a_few_that_do() {
        let old = schema(r#"{"id":"integer","sale":"number?"}"#);
        let row: &[_] = &[("id", Some(Integer))];
        assert_eq!(old.evolve(&shape(&[row; 65], false), true), None);
        let (_, drift) = old.evolve(&shape(&[row; 66], false), true).unwrap();
        assert_eq!((drift.len(), drift[0].change), (1, Change::Removed));
        // A column of a file is there or not, however many rows it has.
        assert!(old.evolve(&shape(&[row], true), true).is_some());
    }

    #[test]
    fn most_cells_decide_the_type_of_a_csv_column() {
        let column = |kinds: &[FieldType]| {
            let rows: Vec<Vec<_>> = kinds.iter().map(|k| vec![("x", Some(*k))]).collect();
            let rows: Vec<&[_]> = rows.iter().map(Vec::as_slice).collect();
            Schema::of(&shape(&rows, true)).fields["x"].to_string()
        };
        assert_eq!(column(&[Number, Integer, Text]), "number");
        assert_eq!(column(&[Integer, Text]), "string");
        assert_eq!(column(&[Text, Text, Number]), "string");
    }

    #[test]
    fn the_first_values_of_a_null_field_give_it_a_type_without_an_alarm() {
        let old = schema(r#"{"roi":"null"}"#);
        let (next, drift) = old.evolve(&shape(&[&[("roi", Some(Object))]], false), true).unwrap();
        assert!(drift.is_empty());
        assert_eq!(next.fields["roi"].to_string(), "object?");
    }
}
