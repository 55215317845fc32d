//! Owns what is noted of the rows of a workbook: their keys. Which columns there are its first line says.

use crate::domain::file::Layout;
use crate::sources::files::format::{RowReader, Survey, Surveyed};
use crate::sources::rows::lines::{LinesReader, Record};
use crate::sources::{FirstRow, SourceError};
use crate::values::row::Row;

/// Shows keys.
#[derive(Debug)]
pub struct XlsxSurvey;

impl Survey<LinesReader> for XlsxSurvey {
    fn row(
        &mut self,
        reader: &LinesReader,
        content: &[u8],
        _: &[u8],
        buffer: &mut Record,
        visit: &mut dyn FnMut(&dyn Row),
    ) {
        if let Some(row) = reader.read_key(content, buffer) {
            visit(&row);
        }
    }

    fn known_end(&mut self) {}

    fn finish(self, _: &str, _: i64, layout: Layout) -> Result<Surveyed, SourceError> {
        Ok(Surveyed { layout, widths: None, first_row: FirstRow::Data })
    }
}
