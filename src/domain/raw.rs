//! Owns how a record or a quarantined row points back to the raw payload it came from.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The 128-bit xxh3 hash of a body, a file or a record's canonical content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash(pub u128);

impl ContentHash {
    /// Hashes bytes held in memory.
    pub fn of(bytes: &[u8]) -> Self {
        Self(xxhash_rust::xxh3::xxh3_128(bytes))
    }

    /// Big-endian bytes, as stored in `bytea` columns.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Reads what [`ContentHash::to_bytes`] wrote; `None` when it is not 16 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(u128::from_be_bytes(bytes.try_into().ok()?)))
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHash({self})")
    }
}

impl FromStr for ContentHash {
    type Err = std::num::ParseIntError;

    fn from_str(hex: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(hex, 16).map(Self)
    }
}

impl Serialize for ContentHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let hex = String::deserialize(deserializer)?;
        hex.parse().map_err(serde::de::Error::custom)
    }
}

/// The raw payload a row came from; with a row number it is the row's lineage.
///
/// Its text form, `file/12` or `page/<hash>`, is the `raw_ref` column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RawRef {
    /// A version of a file: `source_files.id`; rows are numbered from 1 through the whole file.
    File(i64),
    /// An API body in `raw_api_data`; rows are numbered from 1 through the page.
    Page(ContentHash),
}

impl fmt::Display for RawRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(id) => write!(f, "file/{id}"),
            Self::Page(hash) => write!(f, "page/{hash}"),
        }
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
