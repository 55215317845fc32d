//! Owns what a body holds: which values of it are records, what they look like, and a record's
//! cells as a mapping asks for them. Pure.
//!
//! A body is taken apart as text and each record is parsed by itself: a page is never held twice
//! as a tree, a reject keeps its bytes, and one unreadable record (half of a surrogate pair is
//! enough) does not take its page with it.
//!
//! Must not know how the body was had.

use std::borrow::Cow;

use serde_json::{Map, Value};
use serde_json_path::JsonPath;

use super::more_pages::RecordsPlace;
use super::path::{Path, walk};
use super::segments::meant;
use super::selector::Selector;
use crate::domain::hash::ContentHash;
use crate::domain::json_extent::{self, Extent, MAX_DEPTH, MAX_VALUES};
use crate::domain::raw::RawRef;
use crate::domain::reject::{Defect, ReasonCode};
use crate::domain::shape::{FieldType, Place, Shape};
use crate::domain::text;
use crate::sources::{LedNowhere, SourceError};
use crate::values::field::Locator;
use crate::values::row::{Cell, Row};

/// How records are found in a body, and values in a record.
#[derive(Debug)]
pub(super) struct Records {
    selector: Selector,
    cells: Vec<CellPath>,
    /// The JSONPaths of the locators that have one.
    paths: Vec<Option<String>>,
}

/// Records of a page in which a key that was meant is looked for.
const LOOKED_THROUGH: usize = 5;

/// Why a record cannot be looked into.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unparsed {
    #[error("expected readable JSON: {0}")]
    Invalid(#[from] serde_json::Error),
    #[error("expected JSON nested at most {MAX_DEPTH} levels deep")]
    TooDeep,
    #[error("expected a record of at most {MAX_VALUES} values; ask the API for fewer fields")]
    TooMany,
    #[error(
        "expected each key of an object once, found \"{0}\" twice: nobody can tell which value counts"
    )]
    Twice(String),
}

impl Unparsed {
    /// The defect of such a record.
    pub fn defect(&self) -> Defect {
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
    Query(JsonPath, usize),
}

impl Records {
    /// Compiles the selector and the locators of the definition.
    pub fn new(selector: &str, locators: &[Locator]) -> Result<Self, SourceError> {
        let mut cells = Vec::with_capacity(locators.len());
        let mut slots = 0;
        for locator in locators {
            let cell = CellPath::new(locator, slots)?;
            slots += usize::from(matches!(cell, CellPath::Query(..)));
            cells.push(cell);
        }
        let paths = locators.iter().map(|locator| locator.nested_path().map(str::to_owned));
        Ok(Self { selector: Selector::new(selector)?, cells, paths: paths.collect() })
    }

    /// Where the records are in a body.
    pub fn place(&self) -> &RecordsPlace {
        &self.selector.place
    }

    /// Whether there is nothing but null where the list of records should be.
    pub fn finds_null(&self, body: &str) -> bool {
        self.selector.finds_null(body)
    }

    /// The JSON text of the records of a body, in order; some may turn out to be no objects.
    pub fn select<'b>(&self, body: &'b str) -> Result<Vec<Cow<'b, str>>, SourceError> {
        self.selector.select(body)
    }

    /// Parses a record's text.
    ///
    /// # Errors
    /// When it is no JSON, or more of it than a record may hold.
    pub fn parse(json: &str) -> Result<Value, Unparsed> {
        let extent = Extent::of(json);
        if extent.depth > MAX_DEPTH {
            return Err(Unparsed::TooDeep);
        }
        if extent.values > MAX_VALUES {
            return Err(Unparsed::TooMany);
        }
        let value = serde_json::from_str(json)?;
        if json_extent::values_of(&value) != extent.values
            && let Some(key) = json_extent::repeated_key(json)
        {
            let key = text::visible(&text::cut(&key, text::MAX_QUOTED)).into_owned();
            return Err(Unparsed::Twice(key));
        }
        Ok(value)
    }

    /// A record as the mapping sees it; `None` when it is no object.
    pub fn row<'r>(&'r self, record: &'r Value) -> Option<JsonRow<'r>> {
        let fields = record.as_object()?;
        let found = self.cells.iter().filter_map(|cell| match cell {
            CellPath::Query(path, _) => Some(Found::of(path.query(record).all())),
            CellPath::Nowhere | CellPath::Keys(_) => None,
        });
        Some(JsonRow { record, fields, cells: &self.cells, found: found.collect() })
    }

    /// What the records of a page look like, and which locators that lead into fields led nowhere in
    /// any of them. What is no object has no fields to show.
    pub fn shape_of(&self, found: &[Cow<'_, str>], hash: ContentHash) -> (Shape, Vec<LedNowhere>) {
        let raw_ref = RawRef::Page(hash.into()).to_string();
        let mut shape = Shape::default();
        let within = |cell: &CellPath| match cell {
            CellPath::Nowhere => false,
            CellPath::Keys(keys) => keys.len() > 1,
            CellPath::Query(..) => true,
        };
        let mut nowhere: Vec<usize> =
            (0..self.cells.len()).filter(|at| within(&self.cells[*at])).collect();
        for (row, record) in (1..).zip(found) {
            let Ok(record @ Value::Object(_)) = Self::parse(record) else { continue };
            shape.rows += 1;
            for (name, value) in record.as_object().into_iter().flatten() {
                shape.observe(name, type_of(value), || Place { raw_ref: raw_ref.clone(), row });
            }
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
            let Ok(record) = Self::parse(record) else { continue };
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
            Locator::Nowhere => return Ok(Self::Nowhere),
            Locator::Named(name) => return Ok(Self::Keys(vec![name.clone()])),
            Locator::Column(names) => {
                return Err(SourceError::permanent(format!(
                    "a field of an API is found by `from`, a JSONPath, not by a column: {names:?}"
                )));
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
            Self::Query(path, _) => !path.query(record).is_empty(),
        }
    }
}

pub(super) fn invalid(key: &str, path: &str, error: &str) -> SourceError {
    let path = text::cut(path, text::MAX_QUOTED);
    // A key alone is what most tools would take.
    let advice = match path.starts_with('$') {
        false if key == "data_selector" => {
            format!("; write `$.{path}[*]` for the list under that key")
        }
        _ => String::new(),
    };
    SourceError::permanent(format!("`{key}` = `{path}` is no JSONPath: {error}{advice}"))
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

/// A record of an API page.
#[derive(Debug)]
pub(super) struct JsonRow<'r> {
    record: &'r Value,
    fields: &'r Map<String, Value>,
    cells: &'r [CellPath],
    found: Vec<Found<'r>>,
}

/// What a query found in a record.
#[derive(Debug)]
enum Found<'r> {
    Nothing,
    One(&'r Value),
    /// All of them, as a list: none is dropped without a word.
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

    fn visit_fields(&self, visit: &mut dyn FnMut(&str, Option<FieldType>)) {
        for (name, value) in self.fields {
            visit(name, type_of(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
            let message = Records::parse(json).expect_err(json).defect().message;
            assert!(message.contains(&format!("found \"{key}\" twice")), "{message}");
        }
        for json in [r#"{"a":{"a":{"a":[]}}}"#, r#"[{"a":1},{"a":1.5e3}]"#, "{}", r#"{"a,":"{,}"}"#]
        {
            assert!(Records::parse(json).is_ok(), "{json}");
        }
    }

    proptest! {
        /// No good record is taken for one with a key twice.
        #[test]
        fn what_json_writes_can_be_read(value in value()) {
            let json = value.to_string();
            prop_assert_eq!(json_extent::values_of(&value), Extent::of(&json).values);
            prop_assert_eq!(Records::parse(&json).ok(), Some(value));
        }

        /// What a page says of its mapped paths is what its rows say, and pages say what all rows say.
        #[test]
        fn a_path_leads_nowhere_when_no_record_has_anything_there(
            pages in prop::collection::vec(prop::collection::vec(value(), 0..4), 1..4),
        ) {
            let locators = PATHS.map(Locator::of_source_field);
            let records = Records::new("$[*]", &locators).unwrap();
            let mut nowhere: Vec<usize> = (0..PATHS.len()).collect();
            for page in &pages {
                let body = Value::from(page.clone()).to_string();
                let found = records.select(&body).unwrap();
                let (_, led) = records.shape_of(&found, ContentHash::of(body.as_bytes()));
                let led: Vec<_> = led.into_iter().map(|led| led.locator).collect();
                nowhere.retain(|at| led.contains(at));
            }
            let rows: Vec<&Value> = pages.iter().flatten().collect();
            let missing = |at: &usize| {
                let mut rows = rows.iter().filter_map(|record| records.row(record));
                rows.all(|row| matches!(row.cell(*at), Cell::Missing))
            };
            let expected: Vec<_> = (0..PATHS.len()).filter(missing).collect();
            prop_assert_eq!(nowhere, expected);
        }
    }
}
