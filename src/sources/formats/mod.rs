//! The formats of rows, the content of files. One file or folder each.
//!
//! Must not know: where bytes come from, and one another.

pub mod csv;
pub mod json;
pub mod jsonl;
pub mod parquet;
pub mod xlsx;
