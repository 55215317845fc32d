//! Owns cutting a file into chunks while it comes as a stream: each byte is seen once, and no more of it is held
//! than a chunk and what is not understood yet.
//!
//! Must not know where the bytes come from. Equal bytes are cut alike: so a reader that begins again passes over
//! what was stored, and sees whether it is still the same.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use encoding_rs::Encoding;
use serde::{Deserialize, Serialize};

use super::blocks;
use super::damage::{damaged, is_damage};
use super::format::{Doubts, Memo, RecordSpan, RowFormat, RowReader, Survey};
use super::plan::{refuse_endless_row, refuse_other_table, understand_head};
use super::readable::{Readable, Text, readable};
use super::source::Files;
use super::stream::Stream;
use super::unpack::{Bytes, Packing, Unpacked};
use crate::domain::file::{KnownFile, Layout, Progress};
use crate::domain::hash::{ChunkHash, ContentHash};
use crate::domain::task::Chunk;
use crate::sources::{FileSource, FirstRow, ParsedChunk, SourceError, SourceErrorKind};

/// The most bytes in front of the first row that are remembered.
const LONGEST_BEGINNING: usize = 16 << 10;

/// Whether a file that cannot be unpacked may be whole when it comes again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// It may: it may have been damaged on its way.
    MayPass,
    /// It has come as it is.
    Stays,
}

/// How a file comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coming {
    /// Whether its bytes do not just stop: a file that does, and may be cut, is refused.
    pub end_is_told: bool,
    /// What whoever sends it says that its text is in.
    pub charset: Option<&'static Encoding>,
    /// What it means that it cannot be unpacked.
    pub damage: Damage,
    /// What is wrong of what its start makes believe, as far as that is known.
    pub doubts: Doubts,
}

/// A file that is coming, whatever its format. Blocking.
pub trait LandingFile: Send {
    /// How it is read.
    fn layout(&self) -> &Layout;

    /// What stands in front of its first row, where offsets within it are those of the bytes as they came.
    fn beginning(&self) -> Option<&[u8]>;

    /// Whether the rows so far, or the beginning of the file, say that it has all of these mapped fields.
    fn has_met(&self, fields: &[String]) -> bool;

    /// What the rows have shown to be wrong of what its start made believe, where that is why it could not be read.
    fn raised(&self) -> Option<Doubts>;

    /// Passes over what was stored before.
    ///
    /// # Errors
    /// When it is not what comes now.
    fn pass(&mut self, stored: &Landed) -> Result<(), SourceError>;

    /// The next chunk; nobody asks behind the last.
    ///
    /// # Errors
    /// When it cannot be read.
    fn next(&mut self) -> Result<LandedChunk, SourceError>;
}

/// Files that can be read as streams.
pub trait Lands: FileSource {
    /// Begins to read one, if its bytes could be unpacked.
    ///
    /// # Errors
    /// When it cannot be read, is no file of the format, or may be cut.
    fn land(
        self: Arc<Self>,
        name: String,
        bytes: io::Result<Unpacked>,
        coming: Coming,
    ) -> Result<Box<dyn LandingFile>, SourceError>;

    /// How they are unpacked.
    fn packing(&self) -> &Packing;

    /// What rows are looked for in, of the unpacked bytes of the file of this name.
    ///
    /// # Errors
    /// When its beginning cannot be read, or is none of such a file.
    fn readable(
        &self,
        name: &str,
        bytes: Bytes,
        charset: Option<&'static Encoding>,
    ) -> Result<Bytes, SourceError>;
}

impl<F: RowFormat> Lands for Files<F> {
    fn land(
        self: Arc<Self>,
        name: String,
        bytes: io::Result<Unpacked>,
        coming: Coming,
    ) -> Result<Box<dyn LandingFile>, SourceError> {
        Ok(Box::new(Landing::open(self, name, bytes, coming)?))
    }

    fn packing(&self) -> &Packing {
        &self.packing
    }

    fn readable(
        &self,
        name: &str,
        bytes: Bytes,
        charset: Option<&'static Encoding>,
    ) -> Result<Bytes, SourceError> {
        let failed = |error| failed(name, error, Damage::Stays);
        let text = Text { bytes, charset };
        Ok(readable(&self.format, name, text, self.packing.max_spool, failed)?.bytes)
    }
}

impl<F: RowFormat> LandingFile for Landing<F> {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn beginning(&self) -> Option<&[u8]> {
        self.beginning.as_deref()
    }

    fn has_met(&self, fields: &[String]) -> bool {
        let met = self.survey.as_ref().and_then(|survey| survey.met());
        met.is_none_or(|met| fields.iter().all(|field| met.contains(field)))
    }

    fn raised(&self) -> Option<Doubts> {
        self.raised
    }

    fn pass(&mut self, stored: &Landed) -> Result<(), SourceError> {
        while self.landed.end.chunks < stored.end.chunks {
            if self.next()?.end.is_some() {
                break;
            }
        }
        if self.landed == *stored {
            return Ok(());
        }
        let message = format!(
            "{} is not what it was when its first {} bytes were read",
            self.name, stored.end.bytes
        );
        Err(SourceError::new(SourceErrorKind::FileChanged, message)
            .advise("the next run asks for a new one"))
    }

    fn next(&mut self) -> Result<LandedChunk, SourceError> {
        self.chunk()
    }
}

/// A file that is coming.
pub struct Landing<F: RowFormat> {
    files: Arc<Files<F>>,
    name: String,
    stream: Stream<'static>,
    end_is_told: bool,
    charset: Option<&'static Encoding>,
    layout: Layout,
    reader: Arc<F::Reader>,
    memo: <F::Reader as RowReader>::Memo,
    buffer: <F::Reader as RowReader>::Buffer,
    survey: Option<F::Survey>,
    doubts: Doubts,
    raised: Option<Doubts>,
    beginning: Option<Vec<u8>>,
    landed: Landed,
}

/// How far a file has come: behind the last chunk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Landed {
    /// What is in front of it.
    pub end: Progress,
    /// A hash over the bytes of all chunks in front of it, and how they were cut.
    pub hash: String,
}

/// A chunk that has come.
pub struct LandedChunk {
    /// Where it is.
    pub chunk: Chunk,
    /// Its rows. Their shape does not know the file yet.
    pub parsed: ParsedChunk,
    /// How far the file has come with it.
    pub landed: Landed,
    /// What the first row is, if it is in this chunk.
    pub first_row: FirstRow,
    /// What is known of the file, if this is its last chunk.
    pub end: Option<KnownFile>,
}

impl<F: RowFormat> Landing<F> {
    /// Begins with the first byte, if the bytes could be unpacked. Blocking.
    ///
    /// # Errors
    /// When it cannot be read, is no file of the format, or may be cut.
    pub fn open(
        files: Arc<Files<F>>,
        name: String,
        bytes: io::Result<Unpacked>,
        Coming { end_is_told, charset, damage, doubts }: Coming,
    ) -> Result<Self, SourceError> {
        // A file whose end nobody told may always have been cut.
        let damage = if end_is_told { damage } else { Damage::MayPass };
        let Unpacked { bytes, packed } = bytes.map_err(|error| failed(&name, error, damage))?;
        // What is turned into rows has an end of its own.
        let end_is_told = end_is_told || packed || F::CONVERTED;
        let not_read = |error| failed(&name, error, damage);
        let most = files.packing.max_spool;
        let text = Text { bytes, charset };
        let Readable { bytes, transcoded } = readable(&files.format, &name, text, most, not_read)?;
        let shown = name.clone();
        let mut stream = Stream::of(bytes, Box::new(move |error| failed(&shown, error, damage)));
        let head = understand_head(&files.format, Path::new(&name), &mut stream, doubts);
        // What is wrong with the beginning of a cut file may be that it is cut.
        if let (true, false) = (head.is_err(), end_is_told) {
            refuse_cut(&name, &stream)?;
        }
        let mut head = head?;
        if let Some(reading) = &transcoded {
            head.layout = F::transcoded(&head.layout, reading)?;
        }
        let reader = files.reader(&name, &head.layout)?;
        stream.set_line_breaks(reader.line_breaks());
        if !end_is_told {
            refuse_cut(&name, &stream)?;
        }
        let came_as_it_is = !packed && !F::CONVERTED && transcoded.is_none();
        let is_short = head.first_row <= LONGEST_BEGINNING;
        let beginning = stream.rest().get(..head.first_row);
        let beginning = beginning.filter(|_| came_as_it_is && is_short).map(<[u8]>::to_vec);
        stream.advance(head.first_row);
        let hash = stream.begin_chunk();
        let end = Progress { bytes: stream.offset(), rows: 0, lines: stream.lines(), chunks: 0 };
        let survey = Some(files.format.survey(&reader));
        Ok(Self {
            files,
            name,
            stream,
            end_is_told,
            charset,
            layout: head.layout,
            reader,
            memo: Default::default(),
            buffer: Default::default(),
            survey,
            doubts,
            raised: None,
            beginning,
            landed: Landed { end, hash: hash.to_string() },
        })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether its bytes do not just stop.
    pub fn end_is_told(&self) -> bool {
        self.end_is_told
    }

    /// What whoever sends it says that its text is in.
    pub fn charset(&self) -> Option<&'static Encoding> {
        self.charset
    }

    fn chunk(&mut self) -> Result<LandedChunk, SourceError> {
        let before = self.landed.end;
        let mut rows = Rows { bytes: Vec::new(), count: 0, first_row: FirstRow::Data };
        let mut ended = false;
        while !ended && self.row(&mut rows, before.rows == 0, &mut ended)? {}
        let hash = self.stream.begin_chunk();
        let chained = [self.landed.hash.as_bytes(), hash.as_bytes()].concat();
        let chunk = Chunk {
            index: before.chunks,
            start: before.bytes,
            end: self.stream.offset(),
            first_row: before.rows + 1,
            first_line: before.lines + 1,
            hash: Some(ChunkHash::Blake3(hash)),
        };
        let end = Progress {
            bytes: chunk.end,
            rows: before.rows + rows.count,
            lines: self.stream.lines() + i64::from(ended && self.stream.ends_within_line()),
            chunks: before.chunks + 1,
        };
        self.landed = Landed { end, hash: ContentHash::of(&chained).to_string() };
        let parsed = blocks::parse(&*self.reader, &rows.bytes.into(), &chunk, 0, None);
        let end = if ended { Some(self.known()?) } else { None };
        Ok(LandedChunk {
            chunk,
            parsed,
            landed: self.landed.clone(),
            first_row: rows.first_row,
            end,
        })
    }

    /// Passes over one row of a chunk; `false` when it belongs to the next one.
    fn row(
        &mut self,
        rows: &mut Rows,
        is_first_chunk: bool,
        ended: &mut bool,
    ) -> Result<bool, SourceError> {
        let complete = self.stream.ended();
        let found = match self.stream.rest() {
            [] if complete => {
                *ended = true;
                return Ok(true);
            }
            [] => None,
            rest if complete && !self.end_is_told => Some(
                ended_row(&*self.reader, rest)
                    .ok_or_else(|| may_be_cut(&self.name, WITHIN_LINE))?,
            ),
            rest => self.reader.next_row(rest, complete, &mut self.memo),
        };
        let Some(span) = found else {
            refuse_endless_row(&self.files.format, Path::new(&self.name), &mut self.stream)?;
            self.stream.more()?;
            if !self.end_is_told {
                refuse_cut(&self.name, &self.stream)?;
            }
            return Ok(true);
        };
        if rows.bytes.len() as u64 >= self.files.format.chunk_size() {
            return Ok(false);
        }
        self.memo.advance(span.next);
        let row = &self.stream.rest()[..span.next];
        let content = self.reader.content(row);
        if is_first_chunk && rows.count == 0 {
            let mut first = self.files.format.survey(&self.reader);
            first.row(&self.reader, content, &[], &mut self.buffer, &mut |_| {});
            rows.first_row = first.finish(&self.name, 1, self.layout.clone())?.first_row;
        }
        if let Some(survey) = &mut self.survey {
            let gap = &row[content.len()..];
            survey.row(&self.reader, content, gap, &mut self.buffer, &mut |_| {});
        }
        rows.bytes.extend_from_slice(row);
        rows.count += 1;
        if let Some(survey) = &self.survey {
            refuse_other_table(survey, Path::new(&self.name), &mut self.stream)?;
        }
        self.stream.advance(span.next);
        Ok(true)
    }

    /// What is known of the file at its end.
    fn known(&mut self) -> Result<KnownFile, SourceError> {
        let end = self.landed.end;
        let (layout, width) = match self.survey.take() {
            Some(survey) => {
                let doubts = self.doubts.and(survey.doubts());
                if doubts != self.doubts {
                    self.raised = Some(doubts);
                    let message = format!(
                        "{} is not what its first lines made believe, and is not read again",
                        self.name
                    );
                    let error = SourceError::new(SourceErrorKind::InvalidFile, message);
                    return Err(error.advise(F::doubtful(doubts)));
                }
                let surveyed = survey.finish(&self.name, end.rows, self.layout.clone())?;
                (surveyed.layout, surveyed.widths.map(|widths| widths.all))
            }
            None => (self.layout.clone(), None),
        };
        let hash = self.stream.hashes().content.into();
        let (modified, etag) = (UNIX_EPOCH, None);
        Ok(KnownFile { size: end.bytes, modified, hash, layout, end, width, etag })
    }
}

/// The rows of a chunk so far.
struct Rows {
    bytes: Vec<u8>,
    count: i64,
    first_row: FirstRow,
}

/// What a file does that ends where it should not.
const WITHIN_LINE: &str = "ends in the middle of a line";

/// Refuses a file whose end nobody told once it is there, if it is within a line or nothing came before it.
fn refuse_cut(name: &str, stream: &Stream<'_>) -> Result<(), SourceError> {
    match stream.ended() {
        true if stream.is_empty() => Err(may_be_cut(name, "is empty")),
        true if stream.ends_within_line() => Err(may_be_cut(name, WITHIN_LINE)),
        _ => Ok(()),
    }
}

/// The row at the start of `rest`, behind which nothing came; `None` when it is one that goes on, as within quotes.
fn ended_row<R: RowReader>(reader: &R, rest: &[u8]) -> Option<RecordSpan> {
    let next = |text: &[u8]| reader.next_row(text, false, &mut Default::default());
    // Behind the last row blank lines and headers that come again are looked for: not behind this line, whatever ends
    // one, which is another row.
    let another = b"0\r\n0";
    next(rest).or_else(|| next(&[rest, another].concat()).filter(|span| span.next == rest.len()))
}

fn may_be_cut(name: &str, what: &str) -> SourceError {
    let message =
        format!("{name} {what}, and the server did not say how long it is: it may be cut");
    SourceError::new(SourceErrorKind::BrokenOff, message)
        .advise("if all its files are like that, let the API pack them with gzip, which has an end")
}

/// What it means that bytes did not come, or cannot be unpacked.
fn failed(name: &str, error: io::Error, damage: Damage) -> SourceError {
    match error.downcast::<SourceError>() {
        Ok(error) => error,
        Err(error) if damage == Damage::Stays && is_damage(&error) => damaged(name, &error),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            SourceError::new(SourceErrorKind::InvalidFile, format!("{name}: {error}"))
        }
        Err(error) => {
            let message = format!("{name} breaks off, or is damaged: {error}");
            SourceError::new(SourceErrorKind::BrokenOff, message)
        }
    }
}
