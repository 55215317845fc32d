//! Owns bytes that come once and may have to be read from their start again: as long as nothing of a file is stored, it
//! may turn out to be another than its start made believe. Blocking.
//!
//! What came is put aside until that is known. It is in a file without a name, which is gone with the process: no state.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::sources::files::spool::Spool;
use crate::sources::files::unpack::{Bytes, Packing};

/// Bytes that come once. Each reader begins where the bytes do.
pub(super) struct Rewindable {
    coming: Arc<Mutex<Coming>>,
}

struct Coming {
    bytes: Bytes,
    /// How many have come.
    came: u64,
    /// All that have come; `None` once they are not put aside any more.
    aside: Option<Spool>,
    packing: Packing,
    /// The most that are put aside.
    most: u64,
}

/// Reads the bytes from their start.
struct FromStart {
    coming: Arc<Mutex<Coming>>,
    at: u64,
}

impl Rewindable {
    /// Of bytes of which at most so many are put aside. An archive's are not: it is put aside to be unpacked.
    pub fn of(bytes: Bytes, packing: Packing, most: u64) -> Self {
        // Without room the file is asked for again, if that has to be.
        let aside = Spool::empty().ok();
        Self { coming: Arc::new(Mutex::new(Coming { bytes, came: 0, aside, packing, most })) }
    }

    /// Whether all that came is there still.
    pub fn is_whole(&self) -> bool {
        let coming = self.lock();
        coming.came == 0 || coming.aside.is_some()
    }

    /// Reads from the start of the bytes. Whoever has read so far must not go on.
    pub fn read(&self) -> Bytes {
        Box::new(FromStart { coming: Arc::clone(&self.coming), at: 0 })
    }

    /// Nobody has to read from the start again.
    pub fn stop(&self) {
        self.lock().aside = None;
    }

    fn lock(&self) -> MutexGuard<'_, Coming> {
        self.coming.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Read for FromStart {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        let Coming { bytes, came, aside, packing, most } = &mut *coming;
        if self.at < *came {
            let Some(aside) = aside else {
                return Err(io::Error::other("what came is not put aside any more"));
            };
            let read = aside.part(self.at, *came - self.at).read(buffer)?;
            self.at += read as u64;
            return Ok(read);
        }
        let read = bytes.read(buffer)?;
        let new = &buffer[..read];
        let is_kept = match aside {
            Some(_) if *came == 0 && packing.is_archive(new) => false,
            Some(aside) => aside.append(new, *most).is_ok(),
            None => false,
        };
        if !is_kept && read > 0 {
            *aside = None;
        }
        *came += read as u64;
        self.at = *came;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::sources::files::unpack::Compression;

    fn of(bytes: &[u8], most: u64) -> Rewindable {
        Rewindable::of(Box::new(Cursor::new(bytes.to_vec())), Packing::of(Compression::Auto), most)
    }

    fn all(mut bytes: Bytes) -> Vec<u8> {
        let mut read = Vec::new();
        bytes.read_to_end(&mut read).unwrap();
        read
    }

    #[test]
    fn bytes_that_come_once_are_read_from_their_start_until_that_is_over_or_they_are_too_many() {
        let bytes: Vec<u8> = (0..900_000_usize).map(|at| (at % 251) as u8).collect();
        for read in [0, 1, 70_000, 899_999, 900_000] {
            let rewindable = of(&bytes, 1 << 20);
            let mut first = rewindable.read();
            let mut beginning = vec![0; read];
            first.read_exact(&mut beginning).unwrap();
            drop(first);
            assert!(beginning == bytes[..read]);
            let mut second = rewindable.read();
            second.read_exact(&mut vec![0; read / 2]).unwrap();
            drop(second);
            let last = rewindable.read();
            assert!(rewindable.is_whole() && all(last) == bytes, "{read}");
        }
        let rewindable = of(&bytes, 1 << 20);
        let mut first = rewindable.read();
        first.read_exact(&mut [0; 1000]).unwrap();
        rewindable.stop();
        assert!(!rewindable.is_whole());
        assert!(all(first) == bytes[1000..]);
        let rewindable = of(&bytes, 1000);
        assert!(all(rewindable.read()) == bytes);
        assert!(!rewindable.is_whole());
        let archive = [b"PK\x03\x04", &bytes[..]].concat();
        let rewindable = of(&archive, 1 << 20);
        assert!(all(rewindable.read()) == archive);
        assert!(!rewindable.is_whole());
    }
}
