//! Owns the layout of a file: everything that turns its bytes into rows, decided once when the
//! file is planned, stored with the file, and the same for every later reading of its chunks and
//! of its stored blocks.

use serde::{Deserialize, Serialize};

use super::dialect::Dialect;
use super::params::RaggedRows;
use crate::domain::file::Layout;
use crate::sources::{SourceError, SourceErrorKind};

/// A decided layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CsvLayout {
    /// How bytes become rows and fields.
    pub dialect: Dialect,
    /// WHATWG name of the encoding.
    pub encoding: String,
    /// Names of the columns; none in an empty file.
    pub columns: Vec<String>,
    /// What becomes of rows with too few fields.
    pub ragged_rows: RaggedRows,
    /// The most bytes of a row.
    pub max_row_bytes: u64,
    /// Bytes after which a chunk ends at the next row.
    pub chunk_size: u64,
    /// Fingerprint of the parameters: under others the file has to be read again.
    pub declared: String,
}

impl CsvLayout {
    /// The stored form.
    ///
    /// # Errors
    /// Never in practice: the layout has nothing that JSON lacks.
    pub fn store(&self) -> Result<Layout, SourceError> {
        serde_json::to_value(self).map(Layout).map_err(|e| {
            SourceError::new(
                SourceErrorKind::Internal,
                format!("the layout of a CSV file cannot be stored: {e}"),
            )
        })
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// When another version of kasparro wrote it.
    pub fn load(layout: &Layout) -> Result<Self, SourceError> {
        Self::deserialize(&layout.0).map_err(|e| {
            SourceError::new(
                SourceErrorKind::InvalidState,
                format!(
                    "the stored layout of a CSV file is not one of this version of kasparro ({e})"
                ),
            )
            .advise("run the source with mode = full")
        })
    }
}
