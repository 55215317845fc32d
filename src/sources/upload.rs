//! Owns what it takes to keep a file where a source reads it.

use std::fs::File;
use std::sync::Arc;

/// A file that is to be kept in a bucket.
#[derive(Debug, Clone)]
pub struct Upload {
    /// Where: `s3://bucket/folder/name`.
    pub address: String,
    /// All of its bytes.
    pub file: Arc<File>,
    /// How many there are.
    pub bytes: u64,
    /// Their SHA-256.
    pub sha256: [u8; 32],
    /// Whether another file of that name is replaced.
    pub replace: bool,
}
