//! Owns what is remembered of a file between runs, and the raw blocks its rows are kept in.

use std::time::SystemTime;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::raw::ContentHash;

/// A position within a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Progress {
    /// Bytes before it.
    pub bytes: u64,
    /// Rows before it, the header not counted.
    pub rows: i64,
    /// Lines before it.
    pub lines: i64,
    /// Chunks before it.
    pub chunks: i32,
}

/// How a file is to be read: dialect, header and chunk size, decided once when it is planned.
/// Opaque to all but its kind; equal layouts cut equal bytes into equal chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Layout(pub Value);

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStamp {
    /// Size in bytes.
    pub size: u64,
    /// Time of last modification.
    pub modified: SystemTime,
}

/// What was known of a file when it was last read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownFile {
    /// Size in bytes.
    pub size: u64,
    /// Time of last modification.
    pub modified: SystemTime,
    /// Hash of all `size` bytes.
    pub hash: ContentHash,
    /// How it was read.
    pub layout: Layout,
    /// Bytes, rows and lines read, and chunks made, up to the end.
    pub end: Progress,
}

/// Consecutive rows of a file, byte for byte, as they are stored in `raw_csv_blocks`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawBlock {
    /// Number of the first row within the file, from 1.
    pub first_row: i64,
    /// Line within the file at which the first row starts, from 1.
    pub first_line: i64,
    /// Offset of the first byte within the file.
    pub start: u64,
    /// The rows with their line ends.
    pub payload: Bytes,
    /// For each row the offset behind its last byte within `payload`.
    pub row_ends: Vec<i32>,
}
