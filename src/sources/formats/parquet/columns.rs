//! Owns how each column is read: as which type, and under which name its values stand in a row.
//!
//! Texts are read as views into their pages, so that a long one that a million rows share is in memory once. What the
//! reader gives no type that holds it, instants of 96 bits and intervals, is read twice: each time a part of it.

use std::io;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, IntervalUnit, Schema, SchemaRef, TimeUnit};
use parquet::arrow::ProjectionMask;
use parquet::basic::Type;
use parquet::schema::types::SchemaDescriptor;
use serde_json::{Map, Value};

use super::layout::damaged;
use crate::sources::files::columns::distinct;
use crate::sources::rows::lines::Described;

/// How a field says that its values mean more than their type does.
const EXTENSION: &str = "ARROW:extension:name";
/// Rows that are read at once, at most.
const MOST_ROWS: i64 = 4096;
/// Bytes of rows that are read at once, about.
const AT_ONCE: i64 = 4 << 20;

/// A column, or one within it.
#[derive(Debug)]
pub(super) struct Column {
    /// Its name as JSON, with the colon.
    pub key: String,
    /// What its values mean besides.
    pub meaning: Meaning,
    /// The columns within: of a structure its fields, of a list its elements, of a map its keys and values.
    pub inner: Vec<Self>,
}

/// What values are beyond their type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// What their type is.
    Itself,
    /// Bytes that are a UUID.
    Uuid,
    /// Texts that are JSON.
    Json,
}

/// The columns of a file.
#[derive(Debug)]
pub(super) struct Columns {
    /// As which types they are read.
    pub schema: SchemaRef,
    /// As which types some of them are read a second time, and which.
    pub second: Option<(SchemaRef, ProjectionMask)>,
    /// Whether each of them is.
    pub read_twice: Vec<bool>,
    /// How they are written.
    pub all: Vec<Column>,
    /// What is said of them in front of the rows.
    pub described: Described,
    /// Bytes of a row that are there whatever it holds.
    width: i64,
}

impl Columns {
    /// Those of a file, of which the reader says that it would read them so.
    pub fn of(schema: &Schema, leaves: &SchemaDescriptor) -> io::Result<Self> {
        let mut types = Types { leaves, next: 0, twice: Vec::new(), width: 0 };
        let (mut first, mut second, mut read_twice) = (Vec::new(), Vec::new(), Vec::new());
        for field in schema.fields() {
            let before = types.twice.len();
            let (one, other) = types.field(field)?;
            first.push(one);
            second.push(other);
            read_twice.push(types.twice.len() > before);
        }
        if types.next != leaves.num_columns() {
            return Err(damaged("its columns are not those that it has the types of"));
        }
        let roots = types.twice.iter().map(|leaf| leaves.get_column_root_idx(*leaf));
        let second = match types.twice.is_empty() {
            true => None,
            false => {
                let schema = Schema::new_with_metadata(second, schema.metadata().clone());
                Some((Arc::new(schema), ProjectionMask::roots(leaves, roots)))
            }
        };
        let schema = Arc::new(Schema::new_with_metadata(first, schema.metadata().clone()));
        let names: Vec<_> = schema.fields().iter().map(|field| field.name().clone()).collect();
        let mut twice: Vec<_> = names
            .iter()
            .zip(distinct(&names))
            .filter(|(name, kept)| *name != kept)
            .map(|(name, _)| name.clone())
            .collect();
        twice.dedup();
        let row = Value::Object(fields_of(schema.fields()));
        Ok(Self {
            all: columns(schema.fields()),
            described: Described { row, twice },
            width: types.width,
            schema,
            second,
            read_twice,
        })
    }

    /// How many rows are read at once, of parts of a file with so many rows and bytes.
    pub fn rows_at_once(&self, parts: impl Iterator<Item = (i64, i64)>) -> usize {
        let widest = parts.map(|(rows, bytes)| bytes.max(0) / rows.max(1)).max().unwrap_or(0);
        let rows = AT_ONCE / widest.max(self.width).max(1);
        usize::try_from(rows.clamp(1, MOST_ROWS)).unwrap_or(1)
    }
}

/// Walks through the types of columns; those without others in them come in the order of the file.
struct Types<'f> {
    leaves: &'f SchemaDescriptor,
    next: usize,
    twice: Vec<usize>,
    width: i64,
}

impl Types<'_> {
    fn field(&mut self, field: &Field) -> io::Result<(Arc<Field>, Arc<Field>)> {
        let (one, other) = self.of(field.data_type())?;
        let as_type = |data_type| Arc::new(field.clone().with_data_type(data_type));
        Ok((as_type(one), as_type(other)))
    }

    fn of(&mut self, data_type: &DataType) -> io::Result<(DataType, DataType)> {
        let of_list = |make: fn(Arc<Field>) -> DataType, (one, other)| (make(one), make(other));
        Ok(match data_type {
            DataType::Struct(fields) => {
                let fields: io::Result<Vec<_>> =
                    fields.iter().map(|field| self.field(field)).collect();
                let (one, other): (Vec<_>, Vec<_>) = fields?.into_iter().unzip();
                (DataType::Struct(Fields::from(one)), DataType::Struct(Fields::from(other)))
            }
            DataType::List(field) | DataType::ListView(field) => {
                of_list(DataType::List, self.field(field)?)
            }
            DataType::LargeList(field) | DataType::LargeListView(field) => {
                of_list(DataType::LargeList, self.field(field)?)
            }
            DataType::FixedSizeList(field, length) => {
                let (one, other) = self.field(field)?;
                let of = |field| DataType::FixedSizeList(field, *length);
                (of(one), of(other))
            }
            DataType::Map(field, sorted) => {
                let (one, other) = self.field(field)?;
                (DataType::Map(one, *sorted), DataType::Map(other, *sorted))
            }
            leaf => self.leaf(leaf)?,
        })
    }

    fn leaf(&mut self, data_type: &DataType) -> io::Result<(DataType, DataType)> {
        let at = self.next;
        self.next += 1;
        if at >= self.leaves.num_columns() {
            return Err(damaged("it has fewer columns than it has the types of"));
        }
        let leaf = self.leaves.column(at);
        self.width = self.width.saturating_add(i64::from(leaf.type_length().max(16)));
        let twice = match (leaf.physical_type(), data_type) {
            (Type::INT96, _) => Some((
                DataType::Timestamp(TimeUnit::Nanosecond, None),
                DataType::Timestamp(TimeUnit::Second, None),
            )),
            (Type::FIXED_LEN_BYTE_ARRAY, DataType::Interval(_)) => Some((
                DataType::Interval(IntervalUnit::DayTime),
                DataType::Interval(IntervalUnit::YearMonth),
            )),
            _ => None,
        };
        if let Some(twice) = twice {
            self.twice.push(at);
            return Ok(twice);
        }
        let plain = plain(data_type);
        Ok((plain.clone(), plain))
    }
}

/// The type that a value is read as, whatever way it is stored in.
fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, values) => plain(values),
        DataType::RunEndEncoded(_, values) => plain(values.data_type()),
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        other => other.clone(),
    }
}

/// The columns of fields that stand side by side.
fn columns(fields: &Fields) -> Vec<Column> {
    let names: Vec<_> = fields.iter().map(|field| field.name().clone()).collect();
    let column = |(field, name): (&Arc<Field>, String)| Column {
        key: format!("{}:", Value::from(name)),
        meaning: match (field.data_type(), field.metadata().get(EXTENSION).map(String::as_str)) {
            (DataType::FixedSizeBinary(16), Some("arrow.uuid")) => Meaning::Uuid,
            (DataType::Utf8View, Some("arrow.json")) => Meaning::Json,
            _ => Meaning::Itself,
        },
        inner: match field.data_type() {
            DataType::Struct(fields) => columns(fields),
            DataType::List(field)
            | DataType::LargeList(field)
            | DataType::FixedSizeList(field, _) => columns(&Fields::from(vec![Arc::clone(field)])),
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(fields) => of_map(columns(fields)),
                _ => Vec::new(),
            },
            _ => Vec::new(),
        },
    };
    fields.iter().zip(distinct(&names)).map(column).collect()
}

/// The keys of a map are texts, also where they are said to be JSON: two of them may mean the same.
fn of_map(mut columns: Vec<Column>) -> Vec<Column> {
    if let Some(key) = columns.first_mut().filter(|key| key.meaning == Meaning::Json) {
        key.meaning = Meaning::Itself;
    }
    columns
}

/// A row without values: its fields are those that rows have.
fn fields_of(fields: &Fields) -> Map<String, Value> {
    let names: Vec<_> = fields.iter().map(|field| field.name().clone()).collect();
    let fields = fields.iter().map(|field| shown(field.data_type()));
    distinct(&names).into_iter().zip(fields).collect()
}

fn shown(data_type: &DataType) -> Value {
    match data_type {
        DataType::Struct(fields) => Value::Object(fields_of(fields)),
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            Value::Array(vec![shown(field.data_type())])
        }
        // Which keys there are only the rows say.
        DataType::Map(..) => Value::Object(Map::new()),
        _ => Value::Null,
    }
}
