//! Owns reading a file once from start to end: a buffer that holds what is not yet understood, the
//! hash of everything read, and the line number. Must not know rows.

use std::io::{self, Read};
use std::path::Path;

use super::format::LineBreaks;
use super::store::Store;
use crate::domain::hash::{ContentHash, ContentHasher, Hasher, Hashes};
use crate::sources::SourceError;

/// Bytes read at once.
const READ: usize = 1 << 20;

/// What an error means that came up while a file was read.
type Meaning<'a> = Box<dyn Fn(io::Error) -> SourceError + Send + 'a>;

/// A file being read.
pub(super) struct Stream<'a> {
    file: Box<dyn Read + Send>,
    failed: Meaning<'a>,
    buffer: Vec<u8>,
    /// Bytes of the buffer that are done with.
    at: usize,
    /// Offset of the buffer within the file.
    base: u64,
    ended: bool,
    hasher: Hasher,
    /// Length of the prefix to hash on its own, and its hashes once it was read.
    prefix: (u64, Option<Hashes>),
    /// Of what was passed since [`Stream::begin_chunk`], as far as `chunk_hashed` in the buffer.
    chunk_hasher: ContentHasher,
    chunk_hashed: usize,
    breaks: LineBreaks,
    /// Lines before `counted` within the buffer.
    lines: i64,
    counted: usize,
    last: Option<u8>,
}

impl<'a> Stream<'a> {
    /// Opens a file, of which at most `size` bytes are read. Its first `prefix` bytes are also hashed on their own.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(
        store: &'a dyn Store,
        path: &'a Path,
        prefix: u64,
        size: u64,
    ) -> Result<Self, SourceError> {
        let failed = move |error| store.failed(path, error);
        let file = Box::new(store.open(path)?.take(size));
        Ok(Self { prefix: (prefix, None), ..Self::of(file, Box::new(failed)) })
    }

    /// What is opened already.
    pub fn of(file: Box<dyn Read + Send>, failed: Meaning<'a>) -> Self {
        Self {
            file,
            failed,
            buffer: Vec::new(),
            at: 0,
            base: 0,
            ended: false,
            hasher: Hasher::default(),
            prefix: (0, None),
            chunk_hasher: ContentHasher::default(),
            chunk_hashed: 0,
            breaks: LineBreaks::Lf,
            lines: 0,
            counted: 0,
            last: None,
        }
    }

    /// What was read and is not done with.
    pub fn rest(&self) -> &[u8] {
        &self.buffer[self.at..]
    }

    /// Whether nothing follows [`Stream::rest`].
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Offset of [`Stream::rest`] within the file.
    pub fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    /// Reads more: half as much as is waiting, so that a long row is looked at only a few times and
    /// little more than it is held.
    pub fn more(&mut self) -> Result<(), SourceError> {
        self.count_lines();
        self.hash_chunk();
        self.buffer.drain(..self.at);
        self.base += self.at as u64;
        self.counted -= self.at;
        self.chunk_hashed = 0;
        self.at = 0;
        let old = self.buffer.len();
        let want = (old / 2).max(READ);
        self.buffer.reserve_exact(want);
        let read = self
            .file
            .by_ref()
            .take(want as u64)
            .read_to_end(&mut self.buffer)
            .map_err(|error| (self.failed)(error))?;
        self.ended = read < want;
        self.hash_from(old);
        self.last = self.buffer.last().copied().or(self.last);
        Ok(())
    }

    fn hash_from(&mut self, old: usize) {
        let mut fresh = &self.buffer[old..];
        let before = self.base + old as u64;
        let (length, hashes) = &mut self.prefix;
        if hashes.is_none() && *length >= before && *length <= before + fresh.len() as u64 {
            let (head, tail) = fresh.split_at((*length - before) as usize);
            self.hasher.update(head);
            *hashes = Some(self.hasher.hashes());
            fresh = tail;
        }
        self.hasher.update(fresh);
    }

    /// Says what ends lines. Before the first [`Stream::advance`].
    pub fn set_line_breaks(&mut self, breaks: LineBreaks) {
        self.breaks = breaks;
    }

    /// Is done with `bytes` of [`Stream::rest`].
    pub fn advance(&mut self, bytes: usize) {
        self.at += bytes;
    }

    /// Begins a chunk at [`Stream::rest`], and answers the hash of the bytes passed since the one
    /// before began.
    pub fn begin_chunk(&mut self) -> ContentHash {
        self.hash_chunk();
        self.chunk_hasher.take()
    }

    fn hash_chunk(&mut self) {
        self.chunk_hasher.update(&self.buffer[self.chunk_hashed..self.at]);
        self.chunk_hashed = self.at;
    }

    /// Lines before [`Stream::rest`].
    pub fn lines(&mut self) -> i64 {
        self.count_lines();
        self.lines
    }

    fn count_lines(&mut self) {
        let passed = &self.buffer[self.counted.min(self.at)..self.at];
        self.lines += self.breaks.count(passed);
        self.counted = self.at;
    }

    /// Whether the file ends in a line that nothing ends.
    pub fn ends_within_line(&self) -> bool {
        self.last.is_some_and(|last| !self.breaks.is_end(last))
    }

    /// Whether nothing of the file has come so far.
    pub fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// Hashes of the prefix, once it was read.
    pub fn prefix_hashes(&self) -> Option<Hashes> {
        self.prefix.1
    }

    /// Hashes of everything read.
    pub fn hashes(&self) -> Hashes {
        self.hasher.hashes()
    }
}
