//! Owns a JSON object as a row: how its text is parsed within limits, its cells as a mapping asks for
//! them, and its fields as a shape counts them. Pure.
//!
//! Each record is parsed by itself, and one that cannot be read (half of a surrogate pair is enough)
//! takes no other with it.
//!
//! Must not know how the text was had.

use std::borrow::Cow;

use serde_json::Value;

use super::no_number::{self, NoNumber};
use super::path::{Path, Query, invalid, walk};
use super::segments::meant;
use crate::domain::json_size::{self, JsonSize, MAX_DEPTH, MAX_VALUES};
use crate::domain::reject::{Defect, ReasonCode};
use crate::domain::shape::{FieldType, Place, Shape};
use crate::domain::text;
use crate::sources::{LedNowhere, SourceError, SourceErrorKind};
use crate::values::content::RowContent;
use crate::values::exact_numbers;
use crate::values::field::Locator;
use crate::values::row::{Cell, Row};

/// Records of a page in which the key that was meant is searched.
const LOOKED_THROUGH: usize = 5;

/// Reads JSON objects as rows: how the values of the locators are found in them.
#[derive(Debug)]
pub(in crate::sources) struct JsonRowReader {
    cells: Vec<CellPath>,
    /// The JSONPaths of the locators that have one.
    paths: Vec<Option<String>>,
    /// The members that say where a record stands in its file.
    place: &'static [&'static str],
}

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
enum Unparsed {
    #[error("expected readable JSON: {0}")]
    Invalid(#[from] serde_json::Error),
    #[error("expected JSON nested at most {MAX_DEPTH} levels deep")]
    TooDeep,
    #[error("expected a record of at most {MAX_VALUES} values")]
    TooMany,
    #[error(
        "expected each key of an object once, found \"{0}\" twice: it is unknown which value counts"
    )]
    Twice(String),
}

impl Unparsed {
    fn defect(&self) -> Defect {
        let reason = match self {
            Self::Invalid(_) | Self::TooDeep | Self::Twice(_) => ReasonCode::InvalidJson,
            Self::TooMany => ReasonCode::TooLong,
        };
        Defect::without_value(None, reason, self.to_string())
    }
}

/// Where the value of a locator is in a record.
#[derive(Debug)]
enum CellPath {
    Nowhere,
    Keys(Vec<String>),
    /// The values found are kept in this slot of the row.
    Query(Query, usize),
}

/// The value of a text.
///
/// # Errors
/// When it is no JSON, or more of it than a record may hold.
fn parse(json: &str) -> Result<Value, Unparsed> {
    let size = JsonSize::of(json);
    if size.depth > MAX_DEPTH {
        return Err(Unparsed::TooDeep);
    }
    if size.values > MAX_VALUES {
        return Err(Unparsed::TooMany);
    }
    let value = exact_numbers::parse(json)?;
    if json_size::values_of(&value) != size.values
        && let Some(key) = json_size::repeated_key(json)
    {
        let key = text::visible(&text::cut(&key, text::MAX_QUOTED)).into_owned();
        return Err(Unparsed::Twice(key));
    }
    Ok(value)
}

/// Parses a record's text.
///
/// # Errors
/// The defect of one that is no object, or cannot be read.
pub(in crate::sources) fn record(json: &str) -> Result<Value, Defect> {
    match parse(json) {
        Ok(record @ Value::Object(_)) => Ok(record),
        Ok(_) => {
            let found = text::beginning(json);
            let message = format!("expected an object, found {found}");
            let reason = ReasonCode::NotAnObject;
            Err(Defect { field: None, reason, message, found: Some(found) })
        }
        Err(error) => Err(match no_number::first(json) {
            Some(NoNumber { word, pointer, at }) => {
                let message = format!(
                    "expected readable JSON, found {word}, which JSON does not have, at `{pointer}` (byte {at} of \
                     the record)"
                );
                Defect::without_value(None, ReasonCode::InvalidJson, message)
            }
            None => error.defect(),
        }),
    }
}

/// Counts the fields of a record, which is `row` of the raw payload; what is no object has none.
pub(in crate::sources) fn observe(shape: &mut Shape, record: &Value, raw_ref: &str, row: i64) {
    let Value::Object(fields) = record else { return };
    shape.rows += 1;
    for (name, value) in fields {
        shape.observe(name, type_of(value), || Place { raw_ref: raw_ref.to_owned(), row });
    }
}

impl JsonRowReader {
    /// Compiles the locators of a definition.
    ///
    /// # Errors
    /// When one is a column, or no JSONPath.
    pub fn new(locators: &[Locator]) -> Result<Self, SourceError> {
        let mut cells = Vec::with_capacity(locators.len());
        let mut slots = 0;
        for locator in locators {
            let cell = CellPath::new(locator, slots)?;
            slots += usize::from(matches!(cell, CellPath::Query(..)));
            cells.push(cell);
        }
        let paths = locators.iter().map(|locator| locator.nested_path().map(str::to_owned));
        Ok(Self { cells, paths: paths.collect(), place: &[] })
    }

    /// The same of records in which these members say where they stand in their file.
    pub fn placed_by(self, place: &'static [&'static str]) -> Self {
        Self { place, ..self }
    }

    /// A record as the mapping sees it.
    pub fn row<'r>(&'r self, record: &'r Value) -> JsonRow<'r> {
        let found = self.cells.iter().filter_map(|cell| match cell {
            CellPath::Query(path, _) => Some(Found::of(path.all(record))),
            CellPath::Nowhere | CellPath::Keys(_) => None,
        });
        JsonRow { record, cells: &self.cells, place: self.place, found: found.collect() }
    }

    /// What the records of a raw payload look like, which [`RawRef`] names by this text, and which
    /// locators that lead into fields led nowhere in any of them. What is no object has no fields to
    /// show.
    ///
    /// [`RawRef`]: crate::domain::raw::RawRef
    pub fn shape_of(&self, found: &[Cow<'_, str>], raw_ref: &str) -> (Shape, Vec<LedNowhere>) {
        self.shape_of_each(found, raw_ref, |_, _| {})
    }

    /// The same, for whoever wants to see each object among the records, its text and what that was parsed to.
    pub fn shape_of_each(
        &self,
        found: &[Cow<'_, str>],
        raw_ref: &str,
        mut see: impl FnMut(&str, &Value),
    ) -> (Shape, Vec<LedNowhere>) {
        let mut shape = Shape::default();
        let within = |cell: &CellPath| match cell {
            CellPath::Nowhere => false,
            CellPath::Keys(keys) => keys.len() > 1,
            CellPath::Query(..) => true,
        };
        let mut nowhere: Vec<usize> =
            (0..self.cells.len()).filter(|at| within(&self.cells[*at])).collect();
        for (row, text) in (1..).zip(found) {
            let Ok(record @ Value::Object(_)) = parse(text) else { continue };
            see(text, &record);
            observe(&mut shape, &record, raw_ref, row);
            nowhere.retain(|at| !self.cells[*at].leads_somewhere(&record));
        }
        let nowhere = nowhere.into_iter().map(|locator| LedNowhere { locator, meant: None });
        (shape, self.with_what_was_meant(nowhere.collect(), found))
    }

    /// Looks into the first records for keys that may have been meant.
    fn with_what_was_meant(
        &self,
        mut nowhere: Vec<LedNowhere>,
        found: &[Cow<'_, str>],
    ) -> Vec<LedNowhere> {
        for record in found.iter().take(LOOKED_THROUGH) {
            if nowhere.iter().all(|led| led.meant.is_some()) {
                break;
            }
            let Ok(record) = parse(record) else { continue };
            for led in nowhere.iter_mut().filter(|led| led.meant.is_none()) {
                led.meant =
                    self.paths[led.locator].as_deref().and_then(|path| meant(path, &record));
            }
        }
        nowhere
    }
}

impl CellPath {
    fn new(locator: &Locator, slot: usize) -> Result<Self, SourceError> {
        let text = match locator {
            Locator::Whole(_) | Locator::Nowhere => return Ok(Self::Nowhere),
            Locator::Named(name) => return Ok(Self::Keys(vec![name.clone()])),
            Locator::Column(names) => {
                let message = format!(
                    "a field of JSON is found by `from`, a JSONPath, not by a column: {names:?}"
                );
                return Err(SourceError::new(SourceErrorKind::InvalidConfig, message));
            }
            Locator::Path(text) if !text.starts_with('$') => {
                return Ok(Self::Keys(vec![text.clone()]));
            }
            Locator::Path(text) => text,
        };
        match Path::parse(text).map_err(|error| invalid("from", text, &error))? {
            Path::Keys(keys) => Ok(Self::Keys(keys)),
            Path::Query(path) => Ok(Self::Query(path, slot)),
        }
    }

    fn leads_somewhere(&self, record: &Value) -> bool {
        match self {
            Self::Nowhere => false,
            Self::Keys(keys) => walk(keys, record).is_some(),
            Self::Query(path, _) => !path.all(record).is_empty(),
        }
    }
}

/// The type of a value; `None` is null.
fn type_of(value: &Value) -> Option<FieldType> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(_) => FieldType::Boolean,
        Value::Number(number) if number.as_str().contains(['.', 'e', 'E']) => FieldType::Number,
        Value::Number(_) => FieldType::Integer,
        Value::String(_) => FieldType::String,
        Value::Object(_) => FieldType::Object,
        Value::Array(_) => FieldType::Array,
    })
}

/// A record as the mapping sees it.
#[derive(Debug)]
pub struct JsonRow<'r> {
    record: &'r Value,
    cells: &'r [CellPath],
    place: &'static [&'static str],
    found: Vec<Found<'r>>,
}

/// What a query found in a record.
#[derive(Debug)]
enum Found<'r> {
    Nothing,
    One(&'r Value),
    /// All of them, as a list: none is dropped silently.
    Several(Value),
}

impl<'r> Found<'r> {
    fn of(values: Vec<&'r Value>) -> Self {
        match values[..] {
            [] => Self::Nothing,
            [value] => Self::One(value),
            _ => Self::Several(values.into_iter().cloned().collect()),
        }
    }

    fn value(&self) -> Option<&Value> {
        match self {
            Self::Nothing => None,
            Self::One(value) => Some(value),
            Self::Several(values) => Some(values),
        }
    }
}

impl Row for JsonRow<'_> {
    fn cell(&self, locator: usize) -> Cell<'_> {
        let value = match self.cells.get(locator) {
            None | Some(CellPath::Nowhere) => None,
            Some(CellPath::Keys(keys)) => walk(keys, self.record),
            Some(CellPath::Query(_, slot)) => self.found.get(*slot).and_then(Found::value),
        };
        match value {
            None => Cell::Missing,
            Some(Value::Null) => Cell::Null,
            Some(Value::String(text)) => Cell::Text(text),
            Some(other) => Cell::Json(other),
        }
    }

    fn typed(&self) -> bool {
        true
    }

    fn content(&self) -> Option<RowContent> {
        RowContent::of_object(self.record, self.place)
    }

    fn place(&self) -> Option<String> {
        let part = |name: &&str| match self.record.get(*name)? {
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        let parts = self.place.iter().map(part).collect::<Option<Vec<_>>>()?;
        (!parts.is_empty()).then(|| parts.join("!"))
    }

    fn visit_fields(&self, visit: &mut dyn FnMut(&str, Option<FieldType>)) {
        for (name, value) in self.record.as_object().into_iter().flatten() {
            visit(name, type_of(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Map;

    use super::*;

    const PATHS: [&str; 9] = [
        "$.a.b",
        "$['a']['b']",
        "$.a[0].b",
        "$..c",
        "$.a.b.c",
        "$[\"a\"].c",
        "$.b[*].c",
        "$.a[?@.b].c",
        "$.a[-1]",
    ];

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop::sample::select(vec![Value::Null, Value::from(1), Value::from("")]);
        leaf.prop_recursive(3, 12, 3, |inner| {
            let key = prop::sample::select(vec!["a", "b", "c"]).prop_map(str::to_owned);
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map(key, inner, 0..3)
                    .prop_map(|map| map.into_iter().collect::<Map<_, _>>().into()),
            ]
        })
    }

    #[test]
    fn a_record_with_a_key_twice_cannot_be_read() {
        for (json, key) in [
            (r#"{"id":2,"name":"a","id":7}"#, "id"),
            (r#"{"id":1,"a":[{"b":{},"b":[1,2]}]}"#, "b"),
            (r#"{"id":1,"id":1}"#, "id"),
            (r#"{"a":{"x":1},"\u0061":1.5}"#, "a"),
        ] {
            let message = parse(json).expect_err(json).defect().message;
            assert!(message.contains(&format!("found \"{key}\" twice")), "{message}");
        }
        for json in [r#"{"a":{"a":{"a":[]}}}"#, r#"[{"a":1},{"a":1.5e3}]"#, "{}", r#"{"a,":"{,}"}"#]
        {
            assert!(parse(json).is_ok(), "{json}");
        }
    }

    proptest! {
        /// No good record is mistaken for one with a key twice.
        #[test]
        fn what_json_writes_can_be_read(value in value()) {
            let json = value.to_string();
            prop_assert_eq!(json_size::values_of(&value), JsonSize::of(&json).values);
            prop_assert_eq!(parse(&json).ok(), Some(value));
        }

        /// What a page says of its mapped paths is what its rows say, and pages say what all rows say.
        #[test]
        fn a_path_leads_nowhere_when_no_record_has_anything_there(
            pages in prop::collection::vec(prop::collection::vec(value(), 0..4), 1..4),
        ) {
            let locators = PATHS.map(Locator::of_source_field);
            let reader = JsonRowReader::new(&locators).unwrap();
            let mut nowhere: Vec<usize> = (0..PATHS.len()).collect();
            for page in &pages {
                let found: Vec<_> =
                    page.iter().map(|record| Cow::Owned(record.to_string())).collect();
                let (_, led) = reader.shape_of(&found, "");
                let led: Vec<_> = led.into_iter().map(|led| led.locator).collect();
                nowhere.retain(|at| led.contains(at));
            }
            let rows: Vec<&Value> = pages.iter().flatten().collect();
            let missing = |at: &usize| {
                let mut rows = rows.iter().filter(|record| record.is_object()).map(|record| reader.row(record));
                rows.all(|row| matches!(row.cell(*at), Cell::Missing))
            };
            let expected: Vec<_> = (0..PATHS.len()).filter(missing).collect();
            prop_assert_eq!(nowhere, expected);
        }
    }
}
