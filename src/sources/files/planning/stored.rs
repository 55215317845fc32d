//! Owns the bytes of a file that were stored before its task was killed, or had to try again: they are not fetched again.

use std::io::{self, Cursor, Read};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::position::Within;
use crate::domain::slice::SliceId;
use crate::sources::{SourceError, SourceErrorKind, StoredBytes};

/// What stands in front of the rows of a file, as a position holds it.
pub(super) fn encoded(beginning: &[u8]) -> String {
    STANDARD.encode(beginning)
}

/// The first bytes of a file.
pub(super) struct Stored {
    /// So many.
    pub size: u64,
    /// These.
    pub bytes: Box<dyn Read + Send>,
}

impl Stored {
    /// What is stored in front of a place within a file, if all of it is, and came as it is.
    ///
    /// # Errors
    /// When nobody can tell now.
    pub async fn before(
        at: Within,
        stored: Arc<dyn StoredBytes>,
    ) -> Result<Option<Self>, SourceError> {
        let (Some(landed), Some(beginning)) = (&at.landed, &at.beginning) else { return Ok(None) };
        let Ok(beginning) = STANDARD.decode(beginning) else { return Ok(None) };
        let (size, end) = (landed.end.bytes, landed.end.chunks);
        let rows = stored.size(at.begins, end).await?;
        if beginning.len() as u64 + rows != size {
            return Ok(None);
        }
        let handle = Handle::current();
        let rows = Rows { stored, handle, begins: at.begins, next: 0, end, piece: Bytes::new() };
        Ok(Some(Self { size, bytes: Box::new(Cursor::new(beginning).chain(rows)) }))
    }
}

/// The bytes of rows, chunk by chunk.
struct Rows {
    stored: Arc<dyn StoredBytes>,
    handle: Handle,
    begins: SliceId,
    next: i32,
    end: i32,
    piece: Bytes,
}

impl Rows {
    fn load(&self) -> Result<Bytes, SourceError> {
        let (sender, loaded) = oneshot::channel();
        let (stored, begins, chunk) = (Arc::clone(&self.stored), self.begins, self.next);
        self.handle.spawn(async move {
            // Nobody may wait for it any more.
            let _ = sender.send(stored.chunk(begins, chunk).await);
        });
        loaded.blocking_recv().unwrap_or_else(|_| {
            let message = "what is stored of the file was not loaded";
            Err(SourceError::new(SourceErrorKind::Internal, message))
        })
    }
}

impl Read for Rows {
    /// Waits for the next chunk: not for async threads.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && self.next < self.end {
            self.piece = self.load().map_err(io::Error::other)?;
            self.next += 1;
        }
        let length = buffer.len().min(self.piece.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}
