//! Owns the `[xlsx]` table of a job file.

use glob::Pattern;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::cell::column_of;
use super::table::Table;
use crate::sources::files::format::MAX_ROW_BYTES;
use crate::sources::files::location::ParamProblem;

/// The table's name.
pub(super) const TABLE: &str = "xlsx";
/// The last row that a header may begin in.
const MAX_HEADER_ROW: u32 = 10_000;
/// The most rows of a header.
const MAX_HEADER_ROWS: u32 = 20;

/// How workbooks are read: .xlsx and .xlsm, and up to 64 MiB unpacked also .xls, .xlsb and .ods. Every key may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct XlsxParams {
    /// The sheets that are read, by their names or by patterns of them: `["Prices *"]`. A hidden sheet is read only if it
    /// is named. Without this key the only sheet that people see is read; if there are several, it must be said.
    pub sheets: Vec<String>,
    /// The row of the header, from 1; without this key the first that holds something.
    #[schemars(with = "u32", range(min = 1, max = 10_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header_row: Option<u32>,
    /// Rows that the header takes; the names of a column are joined by a space. Cells that are merged count for all columns
    /// that they span.
    #[schemars(range(min = 1, max = 20))]
    pub header_rows: u32,
    /// The columns of the table, by their letters: `"B:H"`. Without this key all; one that the header has no name for is
    /// called `column_D`.
    #[schemars(with = "String")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<String>,
    /// Cells that mean "no value": texts, and errors such as `"#N/A"`. Any other error in a mapped column sets its row
    /// aside.
    pub null_values: Vec<String>,
    /// Rows of more bytes, written as JSON, are set aside.
    #[schemars(range(min = 1, max = 536_870_912))]
    pub max_row_bytes: u64,
    /// Bytes after which rows are a chunk, to be stored and normalized.
    #[schemars(range(min = 1))]
    pub chunk_size: u64,
}

impl Default for XlsxParams {
    fn default() -> Self {
        Self {
            sheets: Vec::new(),
            header_row: None,
            header_rows: 1,
            columns: None,
            null_values: vec![String::new()],
            max_row_bytes: 64 << 20,
            chunk_size: 4 << 20,
        }
    }
}

impl XlsxParams {
    /// Everything that is wrong without reading a file.
    pub(super) fn problems(&self) -> Vec<ParamProblem> {
        let mut problems = Vec::new();
        let mut refuse = |key, message: String| problems.push(ParamProblem::of(key, message));
        if self.header_row.is_some_and(|row| !(1..=MAX_HEADER_ROW).contains(&row)) {
            refuse("header_row", format!("must be 1 to {MAX_HEADER_ROW}: rows are counted from 1"));
        }
        if !(1..=MAX_HEADER_ROWS).contains(&self.header_rows) {
            refuse("header_rows", format!("must be 1 to {MAX_HEADER_ROWS}"));
        }
        if let Some(columns) = &self.columns
            && span(columns).is_none()
        {
            refuse(
                "columns",
                format!("{columns:?} is no span of columns: write their letters, such as \"B:H\""),
            );
        }
        if self.chunk_size == 0 {
            refuse("chunk_size", "must be at least 1 byte".to_owned());
        }
        if !(1..=MAX_ROW_BYTES).contains(&self.max_row_bytes) {
            refuse("max_row_bytes", format!("must be 1 to {MAX_ROW_BYTES}"));
        }
        let sheets = self.sheets.iter().enumerate().filter_map(|(at, sheet)| {
            let error = Pattern::new(sheet).err()?;
            let message = format!("is no pattern: {}", error.msg);
            Some(ParamProblem { at: Some(at), ..ParamProblem::of("sheets", message) })
        });
        problems.extend(sheets);
        problems
    }

    /// Where the table is.
    pub(super) fn table(&self) -> Table {
        Table {
            sheets: self.sheets.iter().filter_map(|sheet| Pattern::new(sheet).ok()).collect(),
            header_row: self.header_row,
            header_rows: self.header_rows,
            columns: self.columns.as_deref().and_then(span),
            null_values: self.null_values.clone(),
        }
    }

    /// What decides how a workbook becomes rows. A file read under other keys has to be read again.
    pub(super) fn declared(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The first and the last column: `B:H`, or `B` for one.
fn span(columns: &str) -> Option<(u32, u32)> {
    let (first, last) = columns.split_once(':').unwrap_or((columns, columns));
    let span = (column_of(first.trim())?, column_of(last.trim())?);
    (span.0 <= span.1).then_some(span)
}
