//! Owns how the reader of Parquet gets at a file that is put aside, and what is said when that fails.

use std::io::{self, BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes as Piece;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use super::layout::{damaged, refused};
use crate::sources::files::spool::{Part, Spool};

/// Bytes of a file that are read ahead where the length of a piece is not known.
const AHEAD: usize = 4 << 10;

/// Reads, and takes a panic for damage: the reader of such files may fail in any way on a damaged one.
pub(super) fn catch_panic<T>(read: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(damaged("it cannot be understood")))
}

/// What an error of the reader says of the file.
pub(super) fn file_error(error: ParquetError) -> io::Error {
    /// Who says so, of others that say it on.
    const SAYING: [&str; 3] = ["Parquet argument error: ", "Parquet error: ", "External: "];
    match error {
        ParquetError::NYI(what) => refused(&format!("has what cannot be read: {what}")),
        ParquetError::General(what) | ParquetError::EOF(what) | ParquetError::ArrowError(what) => {
            let what =
                SAYING.iter().fold(what.as_str(), |what, saying| what.trim_start_matches(*saying));
            damaged(what)
        }
        error => damaged(&error.to_string()),
    }
}

/// A file that is put aside.
#[derive(Clone)]
pub(super) struct Stored {
    pub spool: Spool,
    /// That its bytes did not come, which is not the fault of the file.
    failed: Arc<Mutex<Option<io::Error>>>,
}

/// Reads a part of such a file.
pub(super) struct PartReader {
    part: Part,
    failed: Arc<Mutex<Option<io::Error>>>,
}

impl Read for PartReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.part.read(buffer).map_err(|error| {
            let copy = io::Error::new(error.kind(), error.to_string());
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            copy
        })
    }
}

impl Stored {
    pub fn of(spool: Spool) -> Self {
        Self { spool, failed: Arc::default() }
    }

    pub fn part(&self, start: u64, length: u64) -> PartReader {
        PartReader { part: self.spool.part(start, length), failed: Arc::clone(&self.failed) }
    }

    /// The same answer; or that the bytes did not come, if that is why it is an error.
    pub fn or_read_error<T>(&self, answer: io::Result<T>) -> io::Result<T> {
        answer.map_err(|error| {
            let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
            failed.unwrap_or(error)
        })
    }
}

impl Length for Stored {
    fn len(&self) -> u64 {
        self.spool.len()
    }
}

impl ChunkReader for Stored {
    type T = BufReader<PartReader>;

    fn get_read(&self, start: u64) -> Result<BufReader<PartReader>, ParquetError> {
        Ok(BufReader::with_capacity(AHEAD, self.part(start, u64::MAX)))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Piece, ParquetError> {
        let there = self.spool.len().saturating_sub(start);
        if length as u64 > there {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} are not there")));
        }
        let mut bytes = Vec::with_capacity(length);
        self.part(start, length as u64).read_to_end(&mut bytes)?;
        match bytes.len() == length {
            true => Ok(bytes.into()),
            false => Err(ParquetError::EOF(format!("{length} bytes at {start} are not there"))),
        }
    }
}
