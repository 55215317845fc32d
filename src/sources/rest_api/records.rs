//! Owns what a body holds: which values of it are records, what they look like, and a record's
//! cells as a mapping asks for them. Pure.
//!
//! A body is taken apart as text and each record is parsed by itself: a page is never held twice
//! as a tree, a reject keeps its bytes, and one unreadable record (half of a surrogate pair is
//! enough) does not take its page with it.
//!
//! Must not know how the body was had.

use std::borrow::Cow;

use serde_json::value::RawValue;
use serde_json::{Map, Value};
use serde_json_path::JsonPath;

use super::answer;
use super::path::{Path, walk, walk_text};
use crate::definition::field::Locator;
use crate::definition::row::{Cell, Row};
use crate::domain::hash::ContentHash;
use crate::domain::json_extent::{Extent, MAX_DEPTH, MAX_VALUES, PRUNED, prune};
use crate::domain::raw::RawRef;
use crate::domain::reject::{Defect, ReasonCode};
use crate::domain::shape::{FieldType, Place, Shape};
use crate::domain::text;
use crate::sources::SourceError;

/// The most records of a page: each of them takes memory many times its own size.
const MAX_RECORDS: usize = 1_000_000;

/// The most values of a page that a query looks through: it is parsed as a whole.
const MAX_QUERIED: usize = 4_000_000;

/// How records are found in a body, and values in a record.
#[derive(Debug)]
pub(super) struct Records {
    selector: Selector,
    cells: Vec<CellPath>,
}

/// Why a record cannot be looked into.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unparsed {
    #[error("expected readable JSON: {0}")]
    Invalid(#[from] serde_json::Error),
    #[error("expected JSON nested at most {MAX_DEPTH} levels deep")]
    TooDeep,
    #[error("expected a record of at most {MAX_VALUES} values; ask the API for fewer fields")]
    TooMany,
}

impl Unparsed {
    /// The defect of such a record.
    pub fn defect(&self) -> Defect {
        let reason = match self {
            Self::Invalid(_) | Self::TooDeep => ReasonCode::InvalidJson,
            Self::TooMany => ReasonCode::TooLong,
        };
        Defect::without_value(None, reason, self.to_string())
    }
}

/// `rest_api.data_selector`, compiled.
#[derive(Debug)]
struct Selector {
    text: String,
    path: Path,
    /// Whether it ends in `[*]`. JSONPath would take the values of an object as well there; an
    /// object in place of the list is an error message, and its values are no records.
    wants_list: bool,
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
        Ok(Self { selector: Selector::new(selector)?, cells })
    }

    /// The keys that lead to the records, when it takes no more than keys.
    pub fn path(&self) -> Option<&[String]> {
        match &self.selector.path {
            Path::Keys(keys) => Some(keys),
            Path::Query(_) => None,
        }
    }

    /// The JSON text of the records of a body, in order; some may turn out to be no objects.
    pub fn select<'b>(&self, body: &'b str) -> Result<Vec<Cow<'b, str>>, SourceError> {
        self.selector.select(body)
    }

    /// Parses a record's text.
    ///
    /// # Errors
    /// When it is no JSON, or more of it than a record may hold.
    pub fn parse(text: &str) -> Result<Value, Unparsed> {
        let extent = Extent::of(text);
        if extent.depth > MAX_DEPTH {
            return Err(Unparsed::TooDeep);
        }
        if extent.values > MAX_VALUES {
            return Err(Unparsed::TooMany);
        }
        Ok(serde_json::from_str(text)?)
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
    pub fn shape_of(&self, found: &[Cow<'_, str>], hash: ContentHash) -> (Shape, Vec<usize>) {
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
        (shape, nowhere)
    }
}

impl Selector {
    fn new(text: &str) -> Result<Self, SourceError> {
        let (list, wants_list) = match text.strip_suffix("[*]") {
            Some(list) if !list.ends_with("..") => (list, true),
            _ => (text, false),
        };
        let path = Path::parse(list).map_err(|error| invalid("data_selector", text, &error))?;
        Ok(Self { text: text.to_owned(), path, wants_list })
    }

    fn select<'b>(&self, body: &'b str) -> Result<Vec<Cow<'b, str>>, SourceError> {
        if let Path::Query(_) = self.path
            && Extent::of(body).values > MAX_QUERIED
        {
            return Err(SourceError::permanent(format!(
                "the answer holds more than {MAX_QUERIED} values, too many for `{}`: ask for smaller \
                 pages, or name the list by keys alone, such as `$.data[*]`",
                self.text
            )));
        }
        let records = self.records(body)?;
        if records.len() > MAX_RECORDS {
            return Err(SourceError::permanent(format!(
                "the answer has {} records, and {MAX_RECORDS} are the most: ask for smaller pages, \
                 see `rest_api.paginator`",
                records.len()
            )));
        }
        Ok(records)
    }

    fn records<'b>(&self, body: &'b str) -> Result<Vec<Cow<'b, str>>, SourceError> {
        let found = self.find(body).map_err(|error| self.unreadable(error))?;
        if found.is_empty() && (self.is_one_value() || is_error(body)) {
            return Err(self.mismatch("finds nothing", body));
        }
        let is_single = !self.wants_list && found.len() == 1;
        let mut records = Vec::new();
        for value in found {
            match value.as_bytes().first() {
                Some(b'[') if self.wants_list || is_single => {
                    records.extend(elements(value).map_err(|error| self.unreadable(error))?);
                }
                Some(b'n') if self.wants_list || is_single => {}
                _ if self.wants_list => return Err(self.mismatch("expects a list", body)),
                Some(b'{') if is_single && is_error(&value) => {
                    return Err(self.mismatch("finds no records", body));
                }
                Some(b'{') => records.push(value),
                _ if is_single => return Err(self.mismatch("finds no records", body)),
                _ => records.push(value),
            }
        }
        Ok(records)
    }

    /// Whether the path leads to one value, which is to be there, and not to any number of them.
    fn is_one_value(&self) -> bool {
        matches!(self.path, Path::Keys(_))
    }

    fn find<'b>(&self, body: &'b str) -> Result<Vec<Cow<'b, str>>, serde_json::Error> {
        match &self.path {
            Path::Keys(keys) => Ok(walk_text(keys, body)?.map(Cow::Borrowed).into_iter().collect()),
            Path::Query(path) => {
                // What is too deep to be parsed makes the record it stands in unreadable, and no other.
                let body: Value = serde_json::from_str(&prune(body, MAX_DEPTH))?;
                let unpruned = |text: String| match text.contains(PRUNED) {
                    true => text.replace(PRUNED, &too_deep()),
                    false => text,
                };
                let found = path.query(&body).all();
                Ok(found.into_iter().map(|v| Cow::Owned(unpruned(v.to_string()))).collect())
            }
        }
    }

    fn unreadable(&self, error: serde_json::Error) -> SourceError {
        let selector = &self.text;
        SourceError::permanent(format!("the answer has JSON that `{selector}` cannot look into"))
            .caused_by(error)
    }

    fn mismatch(&self, problem: &str, body: &str) -> SourceError {
        let selector = &self.text;
        let (found, says) = match small(body) {
            Some(body) => (describe(&body), answer::error_in(&body).map(answer::beginning)),
            None => (answer::beginning(body), None),
        };
        let says = says.map(|text| format!("; it says: {text}")).unwrap_or_default();
        SourceError::permanent(format!(
            "`rest_api.data_selector` = `{selector}` {problem}: the answer is {found}{says}"
        ))
    }
}

fn is_error(json: &str) -> bool {
    small(json).is_some_and(|value| answer::is_error(&value))
}

/// The value of a text that is short enough to be an error. Parsed, it takes many times its size.
fn small(json: &str) -> Option<Value> {
    const MOST: usize = 1 << 20;
    if json.len() > MOST { None } else { serde_json::from_str(json).ok() }
}

/// JSON that no record may hold.
fn too_deep() -> String {
    format!("{}{}", "[".repeat(MAX_DEPTH + 1), "]".repeat(MAX_DEPTH + 1))
}

/// The elements of a list, each as it stands there.
fn elements(list: Cow<'_, str>) -> Result<Vec<Cow<'_, str>>, serde_json::Error> {
    let texts = match list {
        Cow::Borrowed(list) => {
            let elements: Vec<&RawValue> = serde_json::from_str(list)?;
            elements.into_iter().map(|element| Cow::Borrowed(element.get())).collect()
        }
        Cow::Owned(list) => {
            let elements: Vec<&RawValue> = serde_json::from_str(&list)?;
            elements.into_iter().map(|element| Cow::Owned(element.get().to_owned())).collect()
        }
    };
    Ok(texts)
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

fn invalid(key: &str, path: &str, error: &str) -> SourceError {
    let path = text::cut(path, text::MAX_QUOTED);
    SourceError::permanent(format!("`{key}` = `{path}` is no JSONPath: {error}"))
}

/// A JSON value in a few words.
fn describe(value: &Value) -> String {
    const SHOWN: usize = 8;
    match value {
        Value::Object(fields) if fields.is_empty() => "an empty object".to_owned(),
        Value::Object(fields) => {
            let keys: Vec<_> = fields.keys().take(SHOWN).map(|key| format!("`{key}`")).collect();
            let more = if fields.len() > SHOWN { ", …" } else { "" };
            format!("an object with {}{more}", keys.join(", "))
        }
        Value::Array(elements) => format!("a list of {}", elements.len()),
        Value::Null => "null".to_owned(),
        scalar => format!("the value {}", answer::beginning(&scalar.to_string())),
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
