//! Owns how the rows of CSV are found and read on behalf of all that is common to files.

use super::grammar::NoCloseMemo;
use super::row::{CsvReader, CsvRow, RowBuffer};
use super::shape::CsvShape;
use crate::domain::reject::Defect;
use crate::sources::ReadableRow;
use crate::sources::files::format::{LineBreaks, RecordSpan, RowReader};

impl RowReader for CsvReader {
    type Row<'a> = CsvRow<'a>;
    type Buffer = RowBuffer;
    type Memo = NoCloseMemo;
    type Shape = CsvShape;

    fn line_breaks(&self) -> LineBreaks {
        self.grammar.line_breaks()
    }

    fn next_row(&self, text: &[u8], complete: bool, memo: &mut NoCloseMemo) -> Option<RecordSpan> {
        self.grammar.span(text, complete, memo)
    }

    fn content<'t>(&self, span: &'t [u8]) -> &'t [u8] {
        self.grammar.content(span)
    }

    fn read<'a>(
        &'a self,
        raw: &'a [u8],
        buffer: &'a mut RowBuffer,
    ) -> Result<CsvRow<'a>, Vec<Defect>> {
        self.read(raw, buffer)
    }

    fn read_key<'a>(&'a self, raw: &'a [u8], buffer: &'a mut RowBuffer) -> Option<CsvRow<'a>> {
        self.read_key(raw, buffer)
    }

    fn row_for_people<'r>(&self, content: &'r [u8], field: &str) -> ReadableRow<'r> {
        self.readable(content, field)
    }

    fn shape(&self, file_id: i64) -> CsvShape {
        CsvShape::new(self, file_id)
    }
}
