//! Owns reading a file while it stays the one that was listed.

use std::io::SeekFrom;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use russh_sftp::client::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::mpsc::{Sender, channel};

use super::connect::Connection;
use super::find::listed;
use crate::sources::files::places::incoming::{Incoming, Piece};
use crate::sources::files::places::{Body, Coded, Listed};
use crate::sources::files::store::changed;
use crate::sources::{SourceError, SourceErrorKind};

/// Bytes of a piece.
const PIECE: usize = 256 << 10;
/// Pieces of a file that wait to be read.
const WAITING: usize = 2;

/// Opens a file, which must be as it was listed.
///
/// # Errors
/// When it is another, or cannot be read.
pub async fn open(
    connection: Arc<Connection>,
    path: &str,
    file: &Listed,
    from: u64,
) -> Result<Body, SourceError> {
    let failed = |error| connection.failed(&file.name, &error);
    let mut opened = connection.sftp.open(path).await.map_err(failed)?;
    let now = opened.metadata().await.map_err(failed)?;
    if listed(file.name.clone(), &now) != *file {
        return Err(changed(Path::new(&file.name)));
    }
    if from > 0 {
        opened.seek(SeekFrom::Start(from)).await.map_err(|error| broken(&file.name, &error))?;
    }
    let (sender, pieces) = channel(WAITING);
    let reading = Reading { connection, path: path.to_owned(), file: file.clone() };
    tokio::spawn(async move { reading.pump(opened, from, sender).await });
    let bytes = Box::new(Incoming::of(pieces));
    Ok(Body {
        file: file.clone(),
        bytes,
        end_is_told: true,
        charset: None,
        from,
        coded: Coded::Not,
        is_same: true,
    })
}

struct Reading {
    connection: Arc<Connection>,
    path: String,
    file: Listed,
}

impl Reading {
    /// Reads to the end, where the file must be what it was.
    async fn pump(self, mut opened: File, from: u64, sender: Sender<Piece>) {
        let mut at = from;
        loop {
            let piece = self.piece(&mut opened, &mut at).await;
            if let Err(error) = &piece
                && matches!(error.kind, SourceErrorKind::BrokenOff | SourceErrorKind::TimedOut)
            {
                self.connection.give_up();
            }
            let ended = !matches!(piece, Ok(Some(_)));
            if sender.send(piece).await.is_err() || ended {
                break;
            }
        }
        let _ = opened.close().await;
    }

    async fn piece(&self, opened: &mut File, at: &mut u64) -> Piece {
        let name = &self.file.name;
        let mut buffer = vec![0; PIECE];
        let mut length = 0;
        while length < PIECE {
            let read =
                tokio::time::timeout(self.connection.timeout, opened.read(&mut buffer[length..]))
                    .await;
            let late = |_| self.connection.failed(name, &russh_sftp::client::error::Error::Timeout);
            let read = read.map_err(late)?.map_err(|error| match error.kind() {
                std::io::ErrorKind::TimedOut => {
                    self.connection.failed(name, &russh_sftp::client::error::Error::Timeout)
                }
                _ => broken(name, &error),
            })?;
            if read == 0 {
                break;
            }
            length += read;
        }
        *at += length as u64;
        if length > 0 {
            buffer.truncate(length);
            return Ok(Some(Bytes::from(buffer)));
        }
        let failed = |error| self.connection.failed(name, &error);
        // One that was put in its place has another look, and one that was written into as well.
        let (by_handle, by_path) =
            (opened.metadata().await, self.connection.sftp.metadata(&self.path).await);
        let is_same = |metadata| listed(name.clone(), &metadata) == self.file;
        let is_whole = self.file.size.is_none_or(|size| size == *at);
        match is_whole && is_same(by_handle.map_err(failed)?) && is_same(by_path.map_err(failed)?) {
            true => Ok(None),
            false => Err(changed(Path::new(name))),
        }
    }
}

fn broken(name: &str, error: &std::io::Error) -> SourceError {
    let message = format!("{name} broke off: {error}");
    SourceError::new(SourceErrorKind::BrokenOff, message)
}
