//! Owns how a record or a quarantined row points back to the raw payload it came from.

use std::fmt;
use std::str::FromStr;

use super::hash::StoredHash;

/// The raw payload a row came from; with a row number it is the row's lineage.
///
/// Its text form, `file/12` or `page/<hash>`, is the `raw_ref` column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RawRef {
    /// A version of a file: `source_files.id`; rows are numbered from 1 through the whole file.
    File(i64),
    /// An API body in `raw_api_data`; rows are numbered from 1 through the page.
    Page(StoredHash),
}

impl fmt::Display for RawRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(id) => write!(f, "file/{id}"),
            Self::Page(hash) => write!(f, "page/{hash}"),
        }
    }
}

/// Where a row is, as it is shown everywhere: `shop.csv line 12 (row 11)`, `page/5f1d row 11`.
/// Rows are counted without the header, lines with it.
pub fn place(payload: &str, line: Option<i64>, row: i64) -> String {
    match line {
        Some(line) => format!("{payload} line {line} (row {row})"),
        None => format!("{payload} row {row}"),
    }
}

/// A text that is no raw reference.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a raw reference: expected `file/ID` or `page/HASH`")]
pub struct InvalidRawRef(String);

impl FromStr for RawRef {
    type Err = InvalidRawRef;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidRawRef(text.to_owned());
        match text.split_once('/') {
            Some(("file", id)) => id.parse().map(Self::File).map_err(|_| invalid()),
            Some(("page", hash)) => hash.parse().map(Self::Page).map_err(|_| invalid()),
            _ => Err(invalid()),
        }
    }
}
