//! Owns refusing what is packed so densely that it is no file of rows: a few bytes that unpack to more than any disk holds.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::bytes::Bytes;

/// So many bytes may come of each.
const MOST: u64 = 1_000;
/// Up to so many unpacked bytes it is not looked at.
const UNWATCHED: u64 = 64 << 20;

/// Counts what comes.
pub(super) struct Counted {
    bytes: Bytes,
    came: Arc<AtomicU64>,
}

impl Counted {
    /// The bytes, and their count.
    pub fn of(bytes: Bytes) -> (Self, Arc<AtomicU64>) {
        let came = Arc::new(AtomicU64::new(0));
        (Self { bytes, came: Arc::clone(&came) }, came)
    }
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read(buffer)?;
        self.came.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Unpacked bytes, and how many packed ones they came of.
pub(super) struct Watched {
    bytes: Bytes,
    came: Arc<AtomicU64>,
    unpacked: u64,
}

impl Watched {
    /// Watches over bytes that are unpacked from such as are counted there.
    pub fn of(bytes: Bytes, came: Arc<AtomicU64>) -> Self {
        Self { bytes, came, unpacked: 0 }
    }
}

impl Read for Watched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read(buffer)?;
        self.unpacked += read as u64;
        let came = self.came.load(Ordering::Relaxed);
        if self.unpacked > UNWATCHED && self.unpacked / MOST > came {
            let text = format!(
                "unpacks to more than {MOST} times its bytes, as no file of rows does: this may be a decompression bomb"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(read)
    }
}
