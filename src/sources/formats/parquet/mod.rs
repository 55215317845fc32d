//! The kind `parquet`: tables in files of Parquet. It reads them if kasparro was built with the feature `parquet`; without
//! it a job file of this kind is refused in plain words.
//!
//! Their rows go on as lines of JSON. `stored` is the file, put aside. `layout` looks through it before anything is made of
//! it, by what `thrift` finds; `pages` hands its pages to the reader, each only when `budget` has room for it and for what
//! `streams` finds that it becomes; `columns` knows how each column is read, `values` how a value is written in its `row`,
//! `times` dates and times, and `table` makes lines of all that.

#[cfg(feature = "parquet")]
mod budget;
#[cfg(feature = "parquet")]
mod columns;
#[cfg(feature = "parquet")]
mod layout;
#[cfg(feature = "parquet")]
mod pages;
#[cfg(feature = "parquet")]
mod row;
#[cfg(feature = "parquet")]
mod stored;
#[cfg(feature = "parquet")]
mod streams;
#[cfg(feature = "parquet")]
mod table;
#[cfg(test)]
#[cfg(feature = "parquet")]
mod tests;
#[cfg(feature = "parquet")]
mod thrift;
#[cfg(feature = "parquet")]
mod times;
#[cfg(feature = "parquet")]
mod values;

#[cfg(feature = "parquet")]
use std::io;

use schemars::JsonSchema;
use serde::Deserialize;

#[cfg(feature = "parquet")]
use crate::sources::files::format::HELD_ROW_BYTES;
#[cfg(feature = "parquet")]
use crate::sources::files::unpack::Bytes;
use crate::sources::rows::lines::{Limits, LinesFormat, LinesKind};

/// What is said where Parquet is asked for, and kasparro was built without it.
pub const MISSING: Option<&str> = match cfg!(feature = "parquet") {
    true => None,
    false => Some("this kasparro was built without Parquet: build it with `--features parquet`"),
};

/// How files of Parquet are read: they say themselves which columns they have, and of which types. Every key may be left
/// out.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ParquetParams {
    /// Rows of more bytes, written as JSON, are set aside.
    #[schemars(range(min = 1, max = 536_870_912))]
    pub max_row_bytes: u64,
    /// Bytes after which rows are a chunk, to be stored and normalized.
    #[schemars(range(min = 1))]
    pub chunk_size: u64,
}

impl Default for ParquetParams {
    fn default() -> Self {
        Self { max_row_bytes: 64 << 20, chunk_size: 4 << 20 }
    }
}

/// Files of Parquet.
pub type Parquet = LinesFormat<ParquetFiles>;

/// What tells files of Parquet from other formats of lines.
#[derive(Debug)]
pub struct ParquetFiles;

impl LinesKind for ParquetFiles {
    const NAME: &'static str = "parquet";
    const ENDLESS_ROW: &'static str = "raise parquet.max_row_bytes if the row is good";
    const TITLE: &'static str = "Parquet";
    const CONVERTED: bool = true;
    const DESCRIBED: bool = true;
    const MISSING: Option<&'static str> = MISSING;

    type Params = ParquetParams;

    fn limits(params: &ParquetParams) -> Limits {
        Limits { max_row_bytes: params.max_row_bytes, chunk_size: params.chunk_size }
    }

    #[cfg(feature = "parquet")]
    fn content(params: &ParquetParams, _: &str, bytes: Bytes, max_spool: u64) -> io::Result<Bytes> {
        table::lines(bytes, max_spool, params.max_row_bytes.max(HELD_ROW_BYTES))
    }
}

#[cfg(all(test, not(feature = "parquet")))]
mod without {
    use super::*;
    use crate::sources::files::format::RowFormat;

    #[test]
    fn a_kasparro_without_parquet_says_so() {
        let error = Parquet::new(ParquetParams::default(), Vec::new()).unwrap_err();
        assert_eq!(Some(error.to_string().as_str()), MISSING);
    }
}
