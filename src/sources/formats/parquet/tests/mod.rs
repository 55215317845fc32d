//! Files of Parquet as programs write them, and the rows that come of them.

mod damaged;
mod files;
mod memory;
mod types;

use std::io::{Cursor, Read};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

use super::*;
use crate::sources::files::format::RowFormat;

/// A file with these columns.
fn file_of(columns: Vec<(&str, ArrayRef)>, properties: WriterProperties) -> Vec<u8> {
    written(&RecordBatch::try_from_iter(columns).unwrap(), properties)
}

fn written(batch: &RecordBatch, properties: WriterProperties) -> Vec<u8> {
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

/// The lines of a file: the first says which fields rows have.
fn lines_of(file: &[u8]) -> Result<Vec<String>, String> {
    let format = Parquet::new(ParquetParams::default(), Vec::new()).unwrap();
    let bytes = Box::new(Cursor::new(file.to_vec()));
    let mut text = String::new();
    format
        .content("f.parquet", bytes, 1 << 30)
        .and_then(|mut rows| rows.read_to_string(&mut text))
        .map_err(|error| error.to_string())?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn rows_of(file: &[u8]) -> Vec<String> {
    let lines = lines_of(file).unwrap();
    for line in &lines {
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    lines[1..].to_vec()
}

/// The values of the only column, in its rows.
fn values(array: impl arrow_array::Array + 'static) -> Vec<String> {
    let field = Field::new("v", array.data_type().clone(), true);
    let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![Arc::new(array)]);
    let inner = |row: String| row["{\"v\":".len()..row.len() - 1].to_owned();
    let rows = rows_of(&written(&batch.unwrap(), WriterProperties::default()));
    rows.into_iter().map(inner).collect()
}
