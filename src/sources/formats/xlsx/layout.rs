//! Owns what is kept of a workbook: its columns, and how it was read.

use serde::{Deserialize, Serialize};

use super::params::TABLE;
use super::table::{ROW, SHEET};
use crate::domain::file::Layout;
use crate::domain::text::quoted;
use crate::sources::files::Wanted;
use crate::sources::files::columns::{self, Unresolved};
use crate::sources::rows::lines::{Lines, LinesReader};
use crate::sources::{SourceError, SourceErrorKind};
use crate::values::field::Locator;

/// A decided layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct XlsxLayout {
    /// The columns as the headers call them.
    pub columns: Vec<String>,
    /// What was decided that somebody may want otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The most bytes of a row.
    pub max_row_bytes: u64,
    /// Bytes after which a chunk ends at the next row.
    pub chunk_size: u64,
    /// The parameters under which it was read.
    pub declared: String,
}

impl XlsxLayout {
    /// The stored form.
    ///
    /// # Errors
    /// Never in practice: the layout has nothing that JSON lacks.
    pub fn store(&self) -> Result<Layout, SourceError> {
        serde_json::to_value(self).map(Layout).map_err(|error| {
            let message = format!("the layout of a workbook cannot be stored: {error}");
            SourceError::new(SourceErrorKind::Internal, message)
        })
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// When another version of kasparro wrote it.
    pub fn load(layout: &Layout) -> Result<Self, SourceError> {
        Self::deserialize(&layout.0).map_err(|error| {
            let message = format!(
                "the stored layout of a workbook is not one of this version of kasparro ({error})"
            );
            SourceError::new(SourceErrorKind::InvalidState, message)
                .advise("run the source with mode = full")
        })
    }

    /// Whether there is a table at all.
    pub fn has_table(&self) -> bool {
        self.columns.iter().any(|name| name != SHEET && name != ROW)
    }

    /// Reads rows for the locators of a mapping: a column is the key of that name in a row.
    ///
    /// # Errors
    /// When a needed column is absent, or a name fits two columns.
    pub fn reader(&self, file: &str, wanted: &[Wanted]) -> Result<LinesReader, SourceError> {
        // An empty workbook has no columns to find.
        let wanted = if self.has_table() { wanted } else { &[] };
        let found = columns::resolve(&self.columns, wanted).map_err(|unresolved| match unresolved {
            Unresolved::Ambiguous(name, one, other) if self.columns[one] == self.columns[other] => {
                let message = format!("{file}: two columns are called {}, and it is mapped", quoted(name));
                SourceError::new(SourceErrorKind::InvalidFile, message)
                    .advise("leave one of them out with xlsx.columns, or give them different names in the workbook")
            }
            unresolved => unresolved.in_file(file, &self.columns),
        })?;
        let keys = columns::distinct(&self.columns);
        let named = |(wanted, column): (&Wanted, Option<usize>)| {
            let name = column.and_then(|at| keys.get(at)).cloned();
            Wanted { locator: name.map_or(Locator::Nowhere, Locator::Named), ..wanted.clone() }
        };
        let wanted: Vec<Wanted> = wanted.iter().zip(found).map(named).collect();
        let lines = Lines {
            table: TABLE,
            max_row_bytes: self.max_row_bytes,
            transcoded: None,
            marked: true,
        };
        LinesReader::new(&lines, &wanted)
    }
}
