//! Reading: what a source is asked for, and what it gives. A slice is what is read and stored at a time.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::BoxFuture;
use serde_json::Value;

use super::{
    Access, Finding, KnownPages, Parents, RateState, SourceError, SourceErrorKind, StoredBytes,
    TokenStore,
};
use crate::domain::chain_end::ChainEnd;
use crate::domain::file::{ChosenRows, FileStamp, KnownFile, Layout, RawBlock, StreamedFile};
use crate::domain::file_note::FileNote;
use crate::domain::hash::ContentHash;
use crate::domain::known_page::Validators;
use crate::domain::shape::Shape;
use crate::domain::slice::SliceId;
use crate::domain::task::Chunk;

/// What to read.
#[derive(Debug, Clone)]
pub struct SliceRequest {
    /// Which slice it becomes.
    pub slice: SliceId,
    /// Where it is.
    pub position: Position,
    /// Where API pages come from.
    pub access: Access,
    /// Where tokens of login servers are kept.
    pub tokens: Arc<dyn TokenStore>,
    /// Whether to say what there is to find, see [`SliceNotes::findings`]. It may cost a further request.
    pub examine: bool,
    /// The sorted hashes of the keys whose rows are wanted apart.
    pub watched_keys: Option<Arc<Vec<u64>>>,
    /// What is known of the pages that earlier runs have kept, where a source may rely on it.
    pub known_pages: Option<Arc<dyn KnownPages>>,
    /// The parents of the run, see [`super::Plan::parents`].
    pub parents: Option<Arc<dyn Parents>>,
    /// What the run has stored of files.
    pub stored: Option<Arc<dyn StoredBytes>>,
    /// Whether the task has no other attempt if the first slice cannot be read: of several things one that cannot be had
    /// may be left out.
    pub last_attempt: bool,
    /// Given while much is read of which nothing is stored.
    pub signs: SignsOfLife,
}

/// What a task gives while it reads much of which nothing is stored, such as what was stored before it was killed: its
/// time limit does not count from its start then.
#[derive(Debug, Clone, Default)]
pub struct SignsOfLife(Arc<AtomicU64>);

impl SignsOfLife {
    /// So many bytes have come in all.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The same bytes, each of which is a sign.
    pub fn over(&self, bytes: Box<dyn Read + Send>) -> Box<dyn Read + Send> {
        Box::new(Signing { bytes, signs: self.clone() })
    }
}

struct Signing {
    bytes: Box<dyn Read + Send>,
    signs: SignsOfLife,
}

impl Read for Signing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read(buffer)?;
        self.signs.0.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// Where a slice is.
#[derive(Debug, Clone, PartialEq)]
pub enum Position {
    /// In the source's own words: see [`NextSlice`] and [`SliceContent::continues_at`].
    Own(Value),
    /// A range of a file that was planned.
    Chunk(ChunkPosition),
}

/// A range of a file that was planned.
#[derive(Debug, Clone, PartialEq)]
pub struct ChunkPosition {
    /// `source_files.id` of the version; negative when it is not kept.
    pub file_id: i64,
    /// The file.
    pub path: PathBuf,
    /// How it is read.
    pub layout: Layout,
    /// What the file must still be.
    pub stamp: FileStamp,
    /// The range.
    pub chunk: Chunk,
}

/// A slice to be read.
#[derive(Debug, Clone, PartialEq)]
pub struct NextSlice {
    /// Its place: behind that of the slice that names it.
    pub slice: SliceId,
    /// Where it is, in the source's own words.
    pub position: Value,
}

/// What was read; by default nothing, and nothing follows.
#[derive(Debug, Default)]
pub struct SliceContent {
    /// The rows, as they came.
    pub raw: RawSlice,
    /// Bytes read.
    pub bytes: u64,
    /// Number of rows, good and bad.
    pub rows: i64,
    /// What the rows look like; of those that are streamed each chunk says so itself.
    pub shape: Shape,
    /// What those of the rows look like that no run before has read, where some have been.
    pub news: Option<News>,
    /// Further slices, now that they are known: none, one or many. A task each.
    pub next: Vec<NextSlice>,
    /// Where the same task goes on with the slice behind this one; `None` when it has come to its end.
    /// For what is read as a stream: each slice is committed on its own, and a task that was killed goes
    /// on behind the last.
    pub continues_at: Option<Value>,
    /// How the chain ended that this slice is the last of; `None` when it goes on, or is none.
    pub end: Option<ChainEnd>,
    /// What no other slice of its lane may have; `None` where that says nothing.
    pub met: Option<Met>,
    /// How far the source has been read, for [`super::Source::advance`].
    pub watermark: Option<Value>,
    /// What there is to say.
    pub notes: SliceNotes,
}

/// Rows that no run before has read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct News {
    /// What they look like.
    pub shape: Shape,
    /// See [`SliceNotes::leading_nowhere`].
    pub leading_nowhere: Vec<LedNowhere>,
    /// How many there are, those left out that say that they are deleted.
    pub records: u64,
}

/// What a slice has that no other of its lane may have: where it comes again, the source leads in a circle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Met {
    /// How the slice is named in messages.
    pub name: String,
    /// Hashes, of its request and of its rows.
    pub hashes: Vec<ContentHash>,
}

/// Rows as they came.
#[derive(Debug, Default)]
pub enum RawSlice {
    /// There are none, and nothing is kept: the slice says what follows, or how far was read.
    #[default]
    Nothing,
    /// Chunks of files that are read as streams, kept in `raw_csv_blocks`. Each becomes a slice, one behind the other.
    Streamed(Vec<StreamedChunk>),
    /// One document, kept in `raw_api_data`: what its rows are, mapping finds out.
    Document(Document),
    /// Rows of a file, kept in `raw_csv_blocks`.
    Blocks {
        /// All rows, good and bad.
        blocks: Vec<RawBlock>,
        /// The numbers of the rows whose keys are watched.
        watched: Vec<i64>,
        /// These rows, a block each; none when they would take more than [`super::MOST_PICKED`].
        watched_rows: Vec<RawBlock>,
    },
}

/// A chunk of a file that is read as a stream: planning did not see the file.
#[derive(Debug)]
pub struct StreamedChunk {
    /// The file.
    pub file: StreamedFile,
    /// Where in the file, as it is unpacked.
    pub chunk: Chunk,
    /// All rows, good and bad.
    pub blocks: Vec<RawBlock>,
    /// Their number.
    pub rows: i64,
    /// What they look like. It does not know the file yet.
    pub shape: Shape,
    /// What is known of the file, if this is its last chunk.
    pub end: Option<KnownFile>,
}

/// A document that was read.
#[derive(Debug, Clone)]
pub struct Document {
    /// Fingerprint of the request: method, address without secrets, body.
    pub request: ContentHash,
    /// The address asked, without secrets.
    pub url: String,
    /// HTTP status, 200 for what was recorded.
    pub status: u16,
    /// Valid JSON text, exactly as it came, but for the secrets of the request, should it repeat them.
    pub text: String,
    /// Hash of the text.
    pub hash: ContentHash,
    /// What mapping has to know besides, such as fields of a parent; null when nothing.
    pub context: Value,
    /// By what the server tells whether it has changed, where the source is to ask for that.
    pub validators: Option<Box<Validators>>,
    /// Whether the server said that it has not changed, and sent nothing.
    pub not_modified: bool,
}

/// What there is to say about a slice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SliceNotes {
    /// The locators that lead into fields and led nowhere in any of the rows.
    pub leading_nowhere: Vec<LedNowhere>,
    /// How many of the rows say that their records are deleted.
    pub deleted: u64,
    /// What shows that the source has more that nobody will ask for.
    pub more: Option<String>,
    /// What an answer says is wrong with it, such as `` `error`: quota exceeded ``.
    pub complaint: Option<String>,
    /// What an API said of rates.
    pub rate: RateState,
    /// What was found, when that was asked for.
    pub findings: Vec<Finding>,
    /// What there is to say of files that were read as streams, or were not.
    pub files: Vec<FileNote>,
}

/// A locator that leads into a field of the records, and led nowhere in any of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedNowhere {
    /// Its number.
    pub locator: usize,
    /// The path that may have been meant, with the nearest key that is there.
    pub meant: Option<String>,
}

/// Reads slices one after the other.
pub trait SliceReader: Send {
    /// The next slice. Asked until one says that it is the last, see [`SliceContent::continues_at`].
    ///
    /// # Errors
    /// [`SourceError`], whose class says what it means for the task.
    fn next(&mut self) -> BoxFuture<'_, Result<SliceContent, SourceError>>;
}

/// The reader of a slice that is read at once.
pub struct OneSlice(Option<BoxFuture<'static, Result<SliceContent, SourceError>>>);

impl OneSlice {
    /// Reads when it is asked.
    pub fn of(
        read: impl Future<Output = Result<SliceContent, SourceError>> + Send + 'static,
    ) -> Box<dyn SliceReader> {
        Box::new(Self(Some(Box::pin(read))))
    }
}

impl SliceReader for OneSlice {
    fn next(&mut self) -> BoxFuture<'_, Result<SliceContent, SourceError>> {
        match self.0.take() {
            Some(read) => read,
            None => {
                let error =
                    SourceError::new(SourceErrorKind::InvalidFile, "the slice was read already");
                Box::pin(std::future::ready(Err(error)))
            }
        }
    }
}

/// Rows to be mapped, as they are kept.
#[derive(Debug, Clone, Copy)]
pub enum RawRows<'a> {
    /// Those of a document.
    Document {
        /// Its text.
        text: &'a str,
        /// See [`Document::context`].
        context: &'a Value,
    },
    /// Those of a file.
    Block(BlockRows<'a>),
}

/// The chosen rows of a block of a file.
#[derive(Debug, Clone, Copy)]
pub struct BlockRows<'a> {
    /// What the file is called in keys, see [`crate::domain::file::CommittedFile::in_keys`].
    pub file: &'a str,
    /// The block.
    pub block: &'a RawBlock,
    /// How the file is read.
    pub layout: &'a Layout,
    /// Which rows.
    pub chosen: &'a ChosenRows,
}

/// A row as it came, and where it stands in what was read: for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRow {
    /// Its bytes, without its line end.
    pub bytes: Vec<u8>,
    /// The JSON pointer that leads to it in its document, where there is one.
    pub pointer: Option<String>,
    /// The line of its file at which it begins, from 1; `None` where the file has no lines.
    pub line: Option<i64>,
    /// Its first byte in the file, and the one behind its last.
    pub byte_range: Option<(i64, i64)>,
}

impl RawRows<'_> {
    /// What a source says to rows of a form that it does not read.
    pub fn wrong_form(&self) -> SourceError {
        SourceError::new(
            SourceErrorKind::InvalidState,
            "the raw rows are not of the kind that the source reads",
        )
    }
}
