//! Owns the shape of a chunk of CSV: what most cells of its first good rows look like.

use super::row::{CsvReader, RowBuffer};
use crate::domain::raw::RawRef;
use crate::domain::shape::{FieldShape, Place, Shape};
use crate::sources::files::format::ShapeBuilder;

/// Rows of a chunk whose cells are evaluated: enough for a majority, few enough not to slow the loading
/// path down.
const SHAPE_ROWS: u64 = 1_000;

/// Looks at the first good rows of a chunk.
pub struct CsvShape {
    raw_ref: String,
    rows: u64,
    /// By column: names are looked up once a chunk.
    columns: Vec<FieldShape>,
}

impl CsvShape {
    /// A shape of rows of the file of this number.
    pub fn new(reader: &CsvReader, file_id: i64) -> Self {
        let columns = vec![FieldShape::default(); reader.columns().len()];
        Self { raw_ref: RawRef::File(file_id).to_string(), rows: 0, columns }
    }
}

impl ShapeBuilder<CsvReader> for CsvShape {
    fn is_open(&self) -> bool {
        self.rows < SHAPE_ROWS
    }

    fn row(&mut self, reader: &CsvReader, content: &[u8], number: i64, buffer: &mut RowBuffer) {
        if !self.is_open() {
            return;
        }
        let Ok(row) = reader.read(content, buffer) else { return };
        self.rows += 1;
        row.visit(|column, kind| {
            let place = || Place { raw_ref: self.raw_ref.clone(), row: number };
            self.columns[column].observe(kind, place);
        });
    }

    fn finish(self, reader: &CsvReader) -> Shape {
        let mut shape = Shape { rows: self.rows, types_inferred: true, ..Shape::default() };
        for (name, column) in reader.columns().iter().zip(self.columns) {
            if column.present > 0 {
                shape.add(name, column);
            }
        }
        shape
    }
}
