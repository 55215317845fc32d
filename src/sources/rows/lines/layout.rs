//! Owns what is kept of a file whose rows are lines of JSON.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::file::Layout;
use crate::sources::{SourceError, SourceErrorKind};

/// How a file was read, and which of the mapped fields any of its rows has. What was added later means, when it is absent,
/// what it meant before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinesLayout {
    /// The most bytes of a row.
    pub(super) max_row_bytes: u64,
    /// Bytes after which a chunk ends at the next row.
    pub(super) chunk_size: u64,
    /// The parameters that decide how a file becomes lines, where they are not lines already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) made_of: Option<String>,
    /// What it was transcoded from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) transcoded: Option<String>,
    /// What it says of its rows itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) described: Option<Described>,
    /// What must not go by without a word.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) warnings: Vec<String>,
    /// The fields, as the job file of then names them; `None` of a file without a good row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) present: Option<BTreeSet<String>>,
    /// What may have been meant by some of the others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) meant: BTreeMap<String, String>,
}

/// What a file says of its rows before the first of them: the first of the lines that it is turned into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Described {
    /// A row with every field that rows have, and no values.
    pub row: Value,
    /// The names that several columns have.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub twice: Vec<String>,
}

impl LinesLayout {
    /// The stored form.
    ///
    /// # Errors
    /// Never in practice: the layout has nothing that JSON lacks.
    pub fn store(&self) -> Result<Layout, SourceError> {
        serde_json::to_value(self).map(Layout::new).map_err(|error| {
            SourceError::new(
                SourceErrorKind::Internal,
                format!("the layout of a file cannot be stored: {error}"),
            )
        })
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// When another version of kasparro wrote it.
    pub fn load(layout: &Layout) -> Result<Self, SourceError> {
        Self::deserialize(layout.value()).map_err(|error| {
            let message = format!(
                "the stored layout of a file of JSON is not one of this version of kasparro ({error})"
            );
            SourceError::new(SourceErrorKind::InvalidState, message)
                .advise("run the source with mode = full")
        })
    }

    /// What decides how bytes become rows.
    pub fn cut(&self) -> (u64, u64, Option<&str>, Option<&str>) {
        (self.max_row_bytes, self.chunk_size, self.made_of.as_deref(), self.transcoded.as_deref())
    }
}
