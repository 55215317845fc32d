//! Owns the way from what comes over the network to bytes that are read by threads that wait for them.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc::Receiver;

use crate::sources::{SourceError, SourceErrorKind};

/// A file that is coming.
pub(super) struct Incoming {
    pieces: Receiver<Result<Option<Bytes>, SourceError>>,
    piece: Bytes,
    ended: bool,
}

impl Incoming {
    /// Of these pieces, behind which its end is told: without that it is no whole file.
    pub fn of(pieces: Receiver<Result<Option<Bytes>, SourceError>>) -> Self {
        Self { pieces, piece: Bytes::new(), ended: false }
    }
}

impl Read for Incoming {
    /// Waits for the next piece: not for async threads.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.ended {
            match self.pieces.blocking_recv() {
                Some(Ok(Some(piece))) => self.piece = piece,
                Some(Ok(None)) => self.ended = true,
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => {
                    let message = "the file was not read to its end";
                    let error = SourceError::new(SourceErrorKind::Internal, message);
                    return Err(io::Error::other(error));
                }
            }
        }
        let length = buffer.len().min(self.piece.len());
        self.piece.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
