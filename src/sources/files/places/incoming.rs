//! Owns the way from what comes over the network to bytes that are read by threads that wait for them.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc::Receiver;

use crate::sources::{SourceError, SourceErrorKind};

/// A piece of a file; `None` is its end, and an error ends it.
pub type Piece = Result<Option<Bytes>, SourceError>;

/// A file that is coming.
pub struct Incoming {
    pieces: Receiver<Piece>,
    piece: Bytes,
    ended: bool,
}

impl Incoming {
    /// Of these pieces, behind which its end is told: without that it is no whole file.
    pub fn of(pieces: Receiver<Piece>) -> Self {
        Self { pieces, piece: Bytes::new(), ended: false }
    }

    /// Waits for the first bytes, which stay where they are; none of a file that has none.
    ///
    /// # Errors
    /// When the file breaks off in front of them.
    pub async fn beginning(&mut self) -> Result<&[u8], SourceError> {
        while self.piece.is_empty() && !self.ended {
            match self.pieces.recv().await {
                Some(piece) => self.take(piece)?,
                None => return Err(unread()),
            }
        }
        Ok(&self.piece)
    }

    fn take(&mut self, piece: Piece) -> Result<(), SourceError> {
        match piece? {
            Some(piece) => self.piece = piece,
            None => self.ended = true,
        }
        Ok(())
    }
}

impl Read for Incoming {
    /// Waits for the next piece: not for async threads.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.ended {
            match self.pieces.blocking_recv() {
                Some(piece) => self.take(piece).map_err(io::Error::other)?,
                None => return Err(io::Error::other(unread())),
            }
        }
        let length = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

fn unread() -> SourceError {
    SourceError::new(SourceErrorKind::Internal, "the file was not read to its end")
}
