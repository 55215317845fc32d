//! Owns the one streaming pass over a file: what is new of it, and where it may be cut. Reads each
//! byte once, keeps one buffer and the list of chunks.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use super::damage::{damaged, is_damage};
use super::format::{
    Alike, Doubts, HELD_ROW_BYTES, Head, Memo, Refusal, RowFormat, RowReader, Survey,
};
use super::readable::{self, Readable, Text, readable};
use super::store::{FileState, Store, whole_micros};
use super::stream::Stream;
use super::unpack::{self, Packing};
use crate::domain::file::{FileStamp, KnownFile, Progress};
use crate::domain::hash::ChunkHash;
use crate::domain::task::Chunk;
use crate::sources::{FilePlan, FileScan, SourceError, SourceErrorKind};
use crate::values::row::Row;

/// A file of this machine.
#[derive(Clone, Copy)]
pub(super) struct LocalFile<'a> {
    /// Where it is.
    pub store: &'a dyn Store,
    /// What it is called there.
    pub path: &'a Path,
    /// How it is unpacked.
    pub packing: &'a Packing,
}

/// Looks at a file and cuts what is new of it into chunks. A file that grows meanwhile is what it was at first, as
/// far as its last line had ended.
///
/// # Errors
/// Permanent when the file is missing, a directory, unreadable or has no usable header; transient
/// when it changed meanwhile.
pub(super) fn plan<F: RowFormat>(
    format: &F,
    file: LocalFile<'_>,
    known: Option<&KnownFile>,
    visit: &mut dyn FnMut(&dyn Row),
) -> Result<FilePlan, SourceError> {
    let state = file.store.stat(file.path)?;
    if known.is_some_and(|known| is_untouched(format, known, &state)) {
        let (modified, etag) = (state.stamp.modified, state.etag);
        return Ok(FilePlan::Unchanged { modified, hash: None, layout: None, etag });
    }
    let doubts = known.map_or_else(Doubts::default, |known| F::doubts(&known.layout));
    let inherited = doubts != Doubts::default();
    let mut attempt = Attempt { size: state.stamp.size, doubts, inherited };
    loop {
        match attempt.run(format, file, &state, known, visit)? {
            ControlFlow::Break(plan) => return Ok(plan),
            ControlFlow::Continue(again) => attempt = again,
        }
    }
}

/// A pass over a file.
struct Attempt {
    /// So many of its bytes are read.
    size: u64,
    /// What is wrong of what its start makes believe.
    doubts: Doubts,
    /// Whether what was known of the file before says so: that counts only if it has grown since.
    inherited: bool,
}

impl Attempt {
    fn run<F: RowFormat>(
        &self,
        format: &F,
        LocalFile { store, path, packing }: LocalFile<'_>,
        before: &FileState,
        known: Option<&KnownFile>,
        visit: &mut dyn FnMut(&dyn Row),
    ) -> Result<ControlFlow<FilePlan, Self>, SourceError> {
        let mut stream = Stream::open(store, path, known.map_or(0, |known| known.size), self.size)?;
        let is_plain = loop {
            stream.more()?;
            let (beginning, complete) = (stream.rest(), stream.ended());
            if let Some(is_plain) = readable::is_plain(format, packing, beginning, complete) {
                break is_plain;
            }
        };
        if !is_plain {
            return Ok(ControlFlow::Break(FilePlan::Landed));
        }
        let head = understand_head(format, path, &mut stream, self.doubts)?;
        let file = path.display().to_string();
        let reader = format.reader(&file, &head.layout)?;
        let alike = known.map_or(Alike::No, |known| F::cuts_alike(&known.layout, &head.layout));
        let same = known.filter(|_| alike != Alike::No);
        let mut pass = Pass::new(format, same, &reader, visit);
        if alike == Alike::IfPlain {
            pass.compares = true;
            pass.survey.compare();
        }
        pass.start(&head, &mut stream);
        while pass.row(path, &mut stream)? {}
        let lines = stream.lines() + i64::from(stream.ends_within_line());
        let size = stream.offset();
        let grows = refuse_changed(store, path, &before.stamp, self.size)?;
        if size != self.size {
            return Err(changing(path));
        }
        if grows && size == before.stamp.size && stream.ends_within_line() && pass.last_row > 0 {
            return Ok(ControlFlow::Continue(Self { size: pass.last_row, ..*self }));
        }
        let has_grown = known.is_some_and(|known| {
            stream.prefix_hashes().is_some_and(|start| start.matches(known.hash))
        });
        if self.inherited && !has_grown {
            let doubts = Doubts::default();
            return Ok(ControlFlow::Continue(Self { size: self.size, doubts, inherited: false }));
        }
        let doubts = self.doubts.and(pass.survey.doubts());
        if doubts != self.doubts {
            return Ok(ControlFlow::Continue(Self { doubts, ..*self }));
        }
        let Pass { survey, cutter, rows, appended, .. } = pass;
        let plain = survey.is_plain();
        let surveyed = survey.finish(&file, rows, head.layout)?;
        let hashes = stream.hashes();
        let (modified, etag) = (before.stamp.modified, before.etag.clone());
        if let Some(known) = known.filter(|known| known.size == size && hashes.matches(known.hash))
        {
            let means_the_same = match alike {
                Alike::Yes => true,
                Alike::IfPlain => plain && known.end.rows == rows,
                Alike::No => false,
            };
            if means_the_same {
                let layout = Some(surveyed.layout).filter(|layout| *layout != known.layout);
                let hash = Some(hashes.content);
                return Ok(ControlFlow::Break(FilePlan::Unchanged {
                    modified,
                    hash,
                    layout,
                    etag,
                }));
            }
        }
        let (chunks, next_chunk) = cutter.finish(&mut stream);
        let scan = FileScan {
            size,
            modified,
            hashes,
            etag,
            layout: surveyed.layout,
            chunks,
            end: Progress { bytes: size, rows, lines, chunks: next_chunk },
            widths: surveyed.widths,
            first_row: surveyed.first_row,
        };
        let plan = if appended { FilePlan::Appended(scan) } else { FilePlan::Whole(scan) };
        Ok(ControlFlow::Break(plan))
    }
}

/// Whether a file has grown since `before`, of which so many bytes were read.
///
/// # Errors
/// When it has changed in another way.
fn refuse_changed(
    store: &dyn Store,
    path: &Path,
    before: &FileStamp,
    size: u64,
) -> Result<bool, SourceError> {
    let now = store.stat(path)?.stamp;
    let grows = now.size > size;
    if now.size < before.size || !grows && now != *before {
        return Err(changing(path));
    }
    Ok(grows)
}

fn changing(path: &Path) -> SourceError {
    SourceError::new(
        SourceErrorKind::FileChanging,
        format!("{} changed while it was being read", path.display()),
    )
    .advise("it is tried again")
}

/// Size and time are the known ones, what else tells files apart is if it is known, and so are the parameters it was read with.
fn is_untouched<F: RowFormat>(format: &F, known: &KnownFile, now: &FileState) -> bool {
    known.size == now.stamp.size
        && whole_micros(known.modified) == now.stamp.modified
        && known.etag.as_ref().is_none_or(|etag| now.etag.as_ref() == Some(etag))
        && format.made(&known.layout)
}

/// Understands the start of a file, of which no more is read than that.
///
/// # Errors
/// As of [`plan`].
pub(super) fn head<F: RowFormat>(
    format: &F,
    LocalFile { store, path, packing }: LocalFile<'_>,
) -> Result<Head, SourceError> {
    let failed = move |error| match is_damage(&error) {
        true => damaged(&path.display().to_string(), &error),
        false => store.failed(path, error),
    };
    let mut contents = unpack::contents(store.open(path)?, packing, true).map_err(failed)?;
    // Of an archive the first member speaks for all.
    let first = contents
        .next()
        .map_or_else(|| Err(io::ErrorKind::UnexpectedEof.into()), |content| content.bytes);
    let name = path.display().to_string();
    let bytes = first.map_err(failed)?.bytes;
    let text = Text { bytes, charset: None };
    let Readable { bytes, transcoded } = readable(format, &name, text, packing.max_spool, failed)?;
    let mut stream = Stream::of(bytes, Box::new(failed));
    let head = understand_head(format, path, &mut stream, Doubts::default())?;
    match &transcoded {
        Some(reading) => Ok(Head { layout: F::transcoded(&head.layout, reading)?, ..head }),
        None => Ok(head),
    }
}

/// The same of a file that is open; its bytes stay in the stream.
pub(super) fn understand_head<F: RowFormat>(
    format: &F,
    path: &Path,
    stream: &mut Stream<'_>,
    doubts: Doubts,
) -> Result<Head, SourceError> {
    let file = path.display().to_string();
    if stream.rest().is_empty() && !stream.ended() {
        stream.more()?;
    }
    loop {
        if let Some(head) = format.head(&file, stream.rest(), stream.ended(), doubts)? {
            return Ok(head);
        }
        refuse_endless_row(format, path, stream)?;
        stream.more()?;
    }
}

/// Rows beyond the job file's limit are set aside; but planning does not wait for the end of an endless one for the
/// end: it has to be held while that is looked for.
pub(super) fn refuse_endless_row<F: RowFormat>(
    format: &F,
    path: &Path,
    stream: &mut Stream<'_>,
) -> Result<(), SourceError> {
    let longest = format.max_row_bytes().max(HELD_ROW_BYTES);
    if stream.rest().len() as u64 <= longest {
        return Ok(());
    }
    let line = stream.lines() + 1;
    Err(SourceError::new(
        SourceErrorKind::InvalidFile,
        format!("{}: the row at line {line} has more than {longest} bytes", path.display()),
    )
    .advise(F::ENDLESS_ROW))
}

/// Refuses to read on where the survey says that another table begins with the row at the start of the stream's rest.
pub(super) fn refuse_other_table<R: RowReader>(
    survey: &impl Survey<R>,
    path: &Path,
    stream: &mut Stream<'_>,
) -> Result<(), SourceError> {
    let Some(Refusal { what, if_data }) = survey.refusal() else { return Ok(()) };
    let line = stream.lines() + 1;
    let message = format!(
        "{}: the row at line {line} {what}: the rows behind it would be read under the wrong columns",
        path.display()
    );
    let advice = format!(
        "make two files of it, the second from that line on; if the row is data, {if_data}"
    );
    Err(SourceError::new(SourceErrorKind::InvalidFile, message).advise(advice))
}

/// The state of the pass between two rows.
struct Pass<'a, F: RowFormat> {
    format: &'a F,
    reader: &'a F::Reader,
    memo: <F::Reader as RowReader>::Memo,
    buffer: <F::Reader as RowReader>::Buffer,
    survey: F::Survey,
    cutter: Cutter,
    /// The file as it was, if it was read with this layout.
    known: Option<&'a KnownFile>,
    visit: &'a mut dyn FnMut(&dyn Row),
    rows: i64,
    /// Where the last row starts.
    last_row: u64,
    /// Whether the known file is only the same if it is plain.
    compares: bool,
    appended: bool,
}

impl<'a, F: RowFormat> Pass<'a, F> {
    fn new(
        format: &'a F,
        known: Option<&'a KnownFile>,
        reader: &'a F::Reader,
        visit: &'a mut dyn FnMut(&dyn Row),
    ) -> Self {
        Self {
            format,
            reader,
            memo: Default::default(),
            buffer: Default::default(),
            survey: format.survey(reader),
            cutter: Cutter {
                chunk_size: format.chunk_size(),
                setting: F::NAME,
                next: 0,
                chunks: Vec::new(),
            },
            known,
            visit,
            rows: 0,
            last_row: 0,
            compares: false,
            appended: false,
        }
    }

    /// Passes over the head.
    fn start(&mut self, head: &Head, stream: &mut Stream<'_>) {
        stream.set_line_breaks(self.reader.line_breaks());
        self.watch_for_append(head.header_end, head.first_row, stream);
        stream.advance(head.first_row);
    }

    /// Passes over one row; `false` at the end of the file.
    fn row(&mut self, path: &Path, stream: &mut Stream<'_>) -> Result<bool, SourceError> {
        let complete = stream.ended();
        if stream.rest().is_empty() && complete {
            return Ok(false);
        }
        let found = match stream.rest() {
            [] => None,
            rest => self.reader.next_row(rest, complete, &mut self.memo),
        };
        let Some(span) = found else {
            refuse_endless_row(self.format, path, stream)?;
            stream.more()?;
            return Ok(true);
        };
        self.memo.advance(span.next);
        let bytes = &stream.rest()[..span.next];
        let content = self.reader.content(bytes);
        let gap = &bytes[content.len()..];
        self.survey.row(self.reader, content, gap, &mut self.buffer, self.visit);
        refuse_other_table(&self.survey, path, stream)?;
        self.last_row = stream.offset();
        if self.cutter.wants(stream.offset()) {
            self.cutter.cut(path, stream, self.rows + 1)?;
        }
        self.rows += 1;
        self.watch_for_append(span.row, span.next, stream);
        stream.advance(span.next);
        Ok(true)
    }

    /// Notices that the known file ended here, between the line ends at `from` and `to` of the
    /// stream's rest: the same bytes, read as the same number of rows, and its last line ended.
    /// What was cut so far is then the known file's, and only what follows is new.
    fn watch_for_append(&mut self, from: usize, to: usize, stream: &Stream<'_>) {
        let Some(known) = self.known else { return };
        let here = stream.offset();
        let within = here + from as u64 <= known.size && known.size <= here + to as u64;
        if self.appended || !within || known.size == here {
            return;
        }
        let last = stream.rest().get((known.size - here) as usize - 1);
        let same = stream.prefix_hashes().is_some_and(|prefix| prefix.matches(known.hash))
            && known.end.rows == self.rows
            && (!self.compares || self.survey.is_plain());
        if same && last.is_some_and(|last| self.reader.line_breaks().is_end(*last)) {
            self.appended = true;
            self.cutter.chunks.clear();
            self.survey.known_end();
            self.cutter.next = known.end.chunks;
        }
    }
}

/// Cuts rows into chunks; the last chunk is open until the next begins.
struct Cutter {
    chunk_size: u64,
    /// The table that has the chunk size.
    setting: &'static str,
    next: i32,
    chunks: Vec<Chunk>,
}

impl Cutter {
    /// Whether a row that starts at `start` begins a new chunk.
    fn wants(&self, start: u64) -> bool {
        self.chunks.last().is_none_or(|open| start - open.start >= self.chunk_size)
    }

    fn cut(&mut self, path: &Path, stream: &mut Stream<'_>, row: i64) -> Result<(), SourceError> {
        self.close(stream);
        let index = self.next;
        self.next = index.checked_add(1).ok_or_else(|| {
            SourceError::new(
                SourceErrorKind::TooLarge,
                format!("{}: too many chunks", path.display()),
            )
            .advise(format!("raise {}.chunk_size", self.setting))
        })?;
        let (start, first_line) = (stream.offset(), stream.lines() + 1);
        let (end, first_row, hash) = (start, row, None);
        self.chunks.push(Chunk { index, start, end, first_row, first_line, hash });
        Ok(())
    }

    fn close(&mut self, stream: &mut Stream<'_>) {
        let hash = stream.begin_chunk();
        if let Some(open) = self.chunks.last_mut() {
            open.end = stream.offset();
            open.hash = Some(ChunkHash::Blake3(hash));
        }
    }

    /// The chunks, and the number of the chunk that would come next.
    fn finish(mut self, stream: &mut Stream<'_>) -> (Vec<Chunk>, i32) {
        self.close(stream);
        (self.chunks, self.next)
    }
}
