//! Owns taking what comes of a file, up to its end: until then it is in a file that nobody reads.

use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::kept::NotKept;

/// Pieces that wait to be written.
const WAITING: usize = 8;

/// How much may come, and how slowly.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// The most bytes of a file.
    pub(super) most: Option<u64>,
    /// How long nothing may come of it.
    pub(super) silence: Duration,
}

/// All of a file.
pub(super) struct Received<F> {
    pub(super) file: F,
    pub(super) bytes: u64,
    pub(super) sha256: [u8; 32],
}

/// Takes all that comes of a file, into one that is opened off the threads of others.
///
/// # Errors
/// When not all of it comes, it is empty, or has not this digest.
pub(super) async fn receive<F: Write + Send + 'static>(
    mut pieces: impl Stream<Item = io::Result<Bytes>> + Unpin,
    expected: Option<[u8; 32]>,
    limits: Limits,
    open: impl FnOnce() -> io::Result<F> + Send + 'static,
) -> Result<Received<F>, NotKept> {
    let (send, receive) = mpsc::channel(WAITING);
    let writing = spawn_blocking(move || write(open()?, receive));
    let mut bytes = 0_u64;
    let came = loop {
        let piece = match timeout(limits.silence, pieces.next()).await {
            Err(_elapsed) => break Err(NotKept::Stalled),
            Ok(None) => break Ok(()),
            Ok(Some(Err(_))) => break Err(NotKept::CutOff),
            Ok(Some(Ok(piece))) => piece,
        };
        bytes += piece.len() as u64;
        if let Some(most) = limits.most.filter(|most| bytes > *most) {
            break Err(NotKept::TooLarge(most));
        }
        // Nobody takes it: writing has failed, and says why.
        if send.send(piece).await.is_err() {
            break Ok(());
        }
    };
    drop(send);
    let written = writing.await.map_err(io::Error::other).and_then(|written| written);
    came?;
    let (file, sha256) = written?;
    if bytes == 0 {
        return Err(NotKept::Empty);
    }
    if expected.is_some_and(|expected| expected != sha256) {
        return Err(NotKept::OtherDigest(sha256));
    }
    Ok(Received { file, bytes, sha256 })
}

/// Writes what comes. Blocking.
fn write<F: Write>(mut file: F, mut pieces: mpsc::Receiver<Bytes>) -> io::Result<(F, [u8; 32])> {
    let mut hasher = Sha256::new();
    while let Some(piece) = pieces.blocking_recv() {
        hasher.update(&piece);
        file.write_all(&piece)?;
    }
    file.flush()?;
    Ok((file, hasher.finalize().into()))
}
