//! Owns bytes that are put aside for as long as they are read: what comes as a stream and has to be read in another order.
//!
//! They are in a file without a name, which is gone with the process: no state.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Bytes moved at once.
const PIECE: usize = 256 << 10;

/// Bytes that are put aside, and where in them somebody reads: each clone reads on its own.
#[derive(Debug, Clone)]
pub struct Spool {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Spool {
    /// Puts all bytes aside. Blocking.
    ///
    /// # Errors
    /// When they cannot be read, are more than `most`, or there is no room for them.
    pub fn of(bytes: &mut dyn Read, most: u64) -> io::Result<Self> {
        let mut spool = Self::empty()?;
        let mut piece = vec![0; PIECE];
        loop {
            let read = match bytes.read(&mut piece) {
                Ok(0) => return Ok(spool),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            spool.append(&piece[..read], most)?;
        }
    }

    /// Room for bytes, and none yet.
    ///
    /// # Errors
    /// When there is no room.
    pub fn empty() -> io::Result<Self> {
        let file = tempfile::tempfile().map_err(no_room)?;
        Ok(Self { file: Arc::new(file), at: 0, end: 0 })
    }

    /// Puts further bytes aside. Blocking.
    ///
    /// # Errors
    /// When they are more than `most` together, or there is no room for them.
    pub fn append(&mut self, bytes: &[u8], most: u64) -> io::Result<()> {
        let end = self.end + bytes.len() as u64;
        if end > most {
            let text = format!(
                "has more than `files.max_spool` = {most} bytes, and has to be put aside to be read: raise \
                 it, if there is room for it in the folder for temporary files"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        self.file.write_all_at(bytes, self.end).map_err(no_room)?;
        self.end = end;
        Ok(())
    }

    /// A part of the bytes, read from its beginning.
    pub fn part(&self, start: u64, length: u64) -> Part {
        let start = start.min(self.end);
        let end = start.saturating_add(length).min(self.end);
        Part { file: Arc::clone(&self.file), at: start, end }
    }

    /// How many bytes there are.
    pub fn len(&self) -> u64 {
        self.end
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.end == 0
    }
}

fn no_room(error: io::Error) -> io::Error {
    let text = format!("cannot be put aside in the folder for temporary files: {error}");
    io::Error::new(error.kind(), text)
}

impl Read for Spool {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_at(&self.file, &mut self.at, self.end, buffer)
    }
}

impl Seek for Spool {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.end.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        let before =
            || io::Error::new(io::ErrorKind::InvalidInput, "a position before the first byte");
        self.at = target.ok_or_else(before)?;
        Ok(self.at)
    }
}

/// A part of bytes that are put aside.
#[derive(Debug)]
pub struct Part {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Part {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        read_at(&self.file, &mut self.at, self.end, buffer)
    }
}

fn read_at(file: &File, at: &mut u64, end: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let rest = usize::try_from(end.saturating_sub(*at)).unwrap_or(usize::MAX);
    let most = buffer.len().min(rest);
    let read = file.read_at(&mut buffer[..most], *at)?;
    *at += read as u64;
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_put_aside_are_read_anywhere_by_each_reader_on_its_own() {
        let mut spool = Spool::of(&mut &b"0123456789"[..], 10).unwrap();
        let mut other = spool.clone();
        spool.seek(SeekFrom::End(-3)).unwrap();
        let mut text = String::new();
        spool.read_to_string(&mut text).unwrap();
        other.read_to_string(&mut text).unwrap();
        spool.part(2, 3).read_to_string(&mut text).unwrap();
        spool.part(8, 30).read_to_string(&mut text).unwrap();
        assert_eq!(text, "789012345678923489");
        assert!(spool.seek(SeekFrom::Current(-30)).is_err());
        let error = Spool::of(&mut &b"0123456789"[..], 9).unwrap_err();
        assert!(error.to_string().contains("`files.max_spool` = 9"), "{error}");
    }
}
