//! Owns what a source may ask about what its run has stored of a file that is read as a stream: a task that goes on there
//! need not fetch it again.
//!
//! Must not know where it is kept.

use bytes::Bytes;
use futures::future::BoxFuture;

use super::SourceError;
use crate::domain::slice::SliceId;

/// The rows that a run has stored of files, byte for byte. A file is told by the slice that its first chunk became.
pub trait StoredBytes: std::fmt::Debug + Send + Sync {
    /// How many bytes the first `chunks` chunks of a file have, as far as they are kept.
    fn size(&self, begins: SliceId, chunks: i32) -> BoxFuture<'_, Result<u64, SourceError>>;

    /// The bytes of a chunk of a file.
    fn chunk(&self, begins: SliceId, chunk: i32) -> BoxFuture<'_, Result<Bytes, SourceError>>;
}
