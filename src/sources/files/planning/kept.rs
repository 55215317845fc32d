//! Owns bytes that are read twice: first to see what they are, then to store them. No file is asked for twice.
//!
//! Few are held in memory, more are put aside in a file without a name, which is gone with the process: no state.

use std::fs::File;
use std::io::{self, Cursor, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;

use crate::sources::files::spool::Spool;

/// The most bytes that are held in memory.
const HELD: u64 = 1 << 20;
/// Bytes moved at once.
const PIECE: usize = 256 << 10;

/// Bytes that can be read again and again.
#[derive(Debug, Clone)]
pub(super) enum Kept {
    /// In memory.
    Here(Bytes),
    /// In a file, so many.
    Aside(Arc<File>, u64),
    /// In a file in which others have put them aside.
    Spooled(Spool),
}

/// What came of keeping bytes.
pub(super) enum Keeping {
    /// All are kept.
    Whole(Kept),
    /// There are too many: these, and behind them what is to come.
    TooMany(Box<dyn Read + Send>),
    /// There is no room for them: the same, and why.
    NoRoom(Box<dyn Read + Send>, io::Error),
}

impl Kept {
    /// Keeps all bytes, if they are no more than `most`. Blocking.
    ///
    /// # Errors
    /// When they do not come.
    pub fn of(bytes: Box<dyn Read + Send>, most: u64) -> io::Result<Keeping> {
        Self::within(bytes, most, tempfile::tempfile)
    }

    fn within(
        mut bytes: Box<dyn Read + Send>,
        most: u64,
        room: impl FnOnce() -> io::Result<File>,
    ) -> io::Result<Keeping> {
        let mut held = Vec::new();
        bytes.by_ref().take(HELD.min(most) + 1).read_to_end(&mut held)?;
        if held.len() as u64 <= HELD.min(most) {
            return Ok(Keeping::Whole(Self::Here(held.into())));
        }
        if held.len() as u64 > most {
            return Ok(Keeping::TooMany(Box::new(Cursor::new(held).chain(bytes))));
        }
        let begun = room().and_then(|mut file| file.write_all(&held).map(|()| file));
        let mut file = match begun {
            Ok(file) => file,
            Err(error) => {
                return Ok(Keeping::NoRoom(Box::new(Cursor::new(held).chain(bytes)), error));
            }
        };
        let mut end = held.len() as u64;
        held.resize(PIECE, 0);
        loop {
            let read = match bytes.read(&mut held) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            if read == 0 {
                return Ok(Keeping::Whole(Self::Aside(Arc::new(file), end)));
            }
            if let Err(error) = file.write_all(&held[..read]) {
                held.truncate(read);
                let aside = Self::Aside(Arc::new(file), end).read();
                let bytes = aside.chain(Cursor::new(held)).chain(bytes);
                return Ok(Keeping::NoRoom(Box::new(bytes), error));
            }
            end += read as u64;
            if end > most {
                let kept = Self::Aside(Arc::new(file), end);
                return Ok(Keeping::TooMany(Box::new(kept.read().chain(bytes))));
            }
        }
    }

    /// Reads them from their start.
    pub fn read(&self) -> Box<dyn Read + Send> {
        match self {
            Self::Here(bytes) => Box::new(Cursor::new(bytes.clone())),
            Self::Aside(file, end) => {
                Box::new(Reading { file: Arc::clone(file), at: 0, end: *end })
            }
            Self::Spooled(spool) => Box::new(spool.part(0, spool.len())),
        }
    }
}

struct Reading {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Reading {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let most = buffer.len().min(rest);
        let read = self.file.read_at(&mut buffer[..most], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_the_same_however_often_they_are_read_and_none_is_lost_where_they_are_too_many() {
        for (size, most) in [(0, 9), (9, 9), (10, 9), (3 << 20, u64::MAX), (3 << 20, 2 << 20)] {
            let bytes: Vec<u8> = (0..size as usize).map(|at| (at % 251) as u8).collect();
            let all = |mut reader: Box<dyn Read + Send>| {
                let mut read = Vec::new();
                reader.read_to_end(&mut read).unwrap();
                read == bytes
            };
            match Kept::of(Box::new(Cursor::new(bytes.clone())), most).unwrap() {
                Keeping::Whole(kept) => {
                    assert!(size <= most && all(kept.read()) && all(kept.read()), "{size}");
                }
                Keeping::TooMany(reader) => assert!(size > most && all(reader), "{size}"),
                Keeping::NoRoom(_, error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn without_room_they_come_once_and_all_of_them() {
        let bytes: Vec<u8> = (0..3 << 20).map(|at| (at % 251) as u8).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("full");
        File::create(&path).unwrap();
        // No right to make one, and one that takes nothing.
        for room in [
            Box::new(|| Err(io::ErrorKind::PermissionDenied.into()))
                as Box<dyn FnOnce() -> io::Result<File>>,
            Box::new(|| File::open(&path)),
        ] {
            let kept = Kept::within(Box::new(Cursor::new(bytes.clone())), u64::MAX, room);
            let Keeping::NoRoom(mut reader, _) = kept.unwrap() else { panic!("there is room") };
            let mut read = Vec::new();
            reader.read_to_end(&mut read).unwrap();
            assert!(read == bytes);
        }
        // Small ones need none.
        let kept = Kept::within(Box::new(&b"1"[..]), 9, || Err(io::ErrorKind::NotFound.into()));
        assert!(matches!(kept.unwrap(), Keeping::Whole(_)));
    }
}
