//! Owns the one streaming pass over a file: what is new of it, and where it may be cut. Reads each
//! byte once, keeps one buffer and the list of chunks.

use std::fs::File;
use std::path::Path;

use super::SourceError;
use super::grammar::{Field, Grammar, NoCloseMemo};
use super::head::{self, Head};
use super::header::{self, Wanted};
use super::layout::CsvLayout;
use super::params::{CsvParams, HELD_ROW_BYTES, Header, RaggedRows};
use super::row::{RowBuffer, RowReader};
use super::stream::{Stream, stamp, whole_micros};
use crate::domain::file::{FileStamp, KnownFile, Progress};
use crate::domain::hash::ChunkHash;
use crate::domain::task::Chunk;
use crate::sources::{FilePlan, FileScan, FirstRow, Widths};
use crate::values::row::Row;

/// Looks at a file and cuts what is new of it into chunks.
///
/// # Errors
/// Permanent when the file is missing, a directory, unreadable or has no usable header; transient
/// when it changed meanwhile.
pub(super) fn plan(
    params: &CsvParams,
    wanted: &[Wanted],
    path: &Path,
    known: Option<&KnownFile>,
    open: impl FnOnce() -> Result<File, SourceError>,
    visit: &mut dyn FnMut(&dyn Row),
) -> Result<FilePlan, SourceError> {
    let before = stamp(path)?;
    if known.is_some_and(|known| is_untouched(params, known, &before)) {
        return Ok(FilePlan::Unchanged { modified: before.modified, hash: None });
    }
    let mut stream = Stream::new(path, open()?, known.map_or(0, |known| known.size));
    let head = read_head(params, wanted, path, &mut stream)?;
    let layout = head.layout.store()?;
    let known = known.filter(|known| known.layout == layout);
    let file = header::shown(path);
    let nulls = params.null_values.clone();
    // A file without anything in it has no columns to find.
    let reader = match head.layout.columns.is_empty() {
        true => None,
        false => Some(RowReader::new(&file, &head.layout, wanted, nulls)?),
    };
    let mut pass = Pass::new(&head, known, reader, visit);
    if let Header::Names(names) = &params.header {
        pass.names = Some(names);
    }
    pass.start(&head, &mut stream);
    while pass.row(path, &mut stream)? {}
    let lines = stream.lines() + i64::from(stream.ends_within_line());
    let size = stream.offset();
    if stamp(path)? != before || size != before.size {
        return Err(SourceError::transient(format!(
            "{} changed while it was being read; it is tried again",
            path.display()
        )));
    }
    refuse_one_line(&file, &head.layout.columns, pass.rows)?;
    let hashes = stream.hashes();
    if known.is_some_and(|known| known.size == size && hashes.matches(known.hash)) {
        let hash = Some(hashes.content);
        return Ok(FilePlan::Unchanged { modified: before.modified, hash });
    }
    let (appended, widths) = (pass.appended, pass.widths.map(|widths| widths.found));
    let (chunks, next_chunk) = pass.cutter.finish(&mut stream);
    let end = Progress { bytes: size, rows: pass.rows, lines, chunks: next_chunk };
    let (modified, first_row) = (before.modified, pass.first_row);
    let scan = FileScan { size, modified, hashes, layout, chunks, end, widths, first_row };
    Ok(if appended { FilePlan::Appended(scan) } else { FilePlan::Whole(scan) })
}

/// Size and time are the known ones, and so are the parameters it was read with.
fn is_untouched(params: &CsvParams, known: &KnownFile, now: &FileStamp) -> bool {
    known.size == now.size
        && whole_micros(known.modified) == now.modified
        && CsvLayout::load(&known.layout)
            .is_ok_and(|layout| layout.declared == params.fingerprint())
}

fn read_head(
    params: &CsvParams,
    wanted: &[Wanted],
    path: &Path,
    stream: &mut Stream<'_>,
) -> Result<Head, SourceError> {
    let head = understand_head(params, path, stream)?;
    if !head.layout.columns.is_empty() {
        header::resolve(&header::shown(path), &head.layout.columns, wanted)?;
    }
    Ok(head)
}

/// Refuses a file that is all header because its lines end in CR, and one of them in LF: it has rows,
/// and would pass for one without any.
fn refuse_one_line(file: &str, columns: &[String], rows: i64) -> Result<(), SourceError> {
    let lone = |name: &String| name.replace("\r\n", "").contains('\r');
    if rows > 0 || !columns.iter().any(lone) {
        return Ok(());
    }
    Err(SourceError::permanent(format!(
        "{file}: the whole file is one line, for its lines end in CR and one in LF: convert it first, for \
         example with `tr '\\r' '\\n'`"
    )))
}

fn understand_head(
    params: &CsvParams,
    path: &Path,
    stream: &mut Stream<'_>,
) -> Result<Head, SourceError> {
    let file = header::shown(path);
    loop {
        stream.more()?;
        if let Some(head) = head::understand(&file, params, stream.rest(), stream.ended())? {
            return Ok(head);
        }
        refuse_endless_row(path, params.max_row_bytes, stream)?;
    }
}

/// The names of the columns of a file, of which no more is read than its start; none in an empty one.
///
/// # Errors
/// As of [`plan`], but for columns that are absent.
pub(super) fn columns(
    params: &CsvParams,
    path: &Path,
    file: File,
) -> Result<Vec<String>, SourceError> {
    let mut stream = Stream::new(path, file, 0);
    Ok(understand_head(params, path, &mut stream)?.layout.columns)
}

/// Rows beyond `csv.max_row_bytes` are set aside; but of one that goes on and on, nobody waits for the
/// end: it has to be held while that is looked for.
fn refuse_endless_row(
    path: &Path,
    max_row: u64,
    stream: &mut Stream<'_>,
) -> Result<(), SourceError> {
    let longest = max_row.max(HELD_ROW_BYTES);
    if stream.rest().len() as u64 <= longest {
        return Ok(());
    }
    let line = stream.lines() + 1;
    Err(SourceError::permanent(format!(
        "{}: the row at line {line} has more than {longest} bytes; is this a CSV file, and does \
         csv.quote fit it? If it is, raise csv.max_row_bytes",
        path.display()
    )))
}

/// The state of the pass between two rows.
struct Pass<'a> {
    grammar: Grammar,
    memo: NoCloseMemo,
    cutter: Cutter,
    /// The file as it was, if it was read with this layout.
    known: Option<&'a KnownFile>,
    reader: Option<RowReader>,
    buffer: RowBuffer,
    visit: &'a mut dyn FnMut(&dyn Row),
    rows: i64,
    appended: bool,
    /// How far rows reach, where short ones are filled up.
    widths: Option<Counted>,
    /// The names that the job file gives to columns, until the first row was looked at.
    names: Option<&'a [String]>,
    first_row: FirstRow,
}

/// How far rows reach, as far as they were counted.
struct Counted {
    found: Widths,
    columns: u32,
    fields: Vec<Field>,
}

impl Counted {
    fn of(layout: &CsvLayout) -> Option<Self> {
        let counted = layout.ragged_rows == RaggedRows::Pad && !layout.columns.is_empty();
        let columns = layout.columns.len() as u32;
        counted.then(|| Self { found: Widths::default(), columns, fields: Vec::new() })
    }

    /// Counts the fields of a row, as long as none had all.
    fn row(&mut self, grammar: &Grammar, content: &[u8]) {
        if self.found.new >= self.columns || content.len() > grammar.max_row() {
            return;
        }
        grammar.fields(content, &mut self.fields);
        let fields = self.fields.len() as u32;
        if fields <= self.columns {
            self.found.new = self.found.new.max(fields);
            self.found.all = self.found.all.max(fields);
        }
    }
}

impl<'a> Pass<'a> {
    fn new(
        head: &Head,
        known: Option<&'a KnownFile>,
        reader: Option<RowReader>,
        visit: &'a mut dyn FnMut(&dyn Row),
    ) -> Self {
        let layout = &head.layout;
        Self {
            grammar: Grammar::new(&layout.dialect, layout.columns.len(), layout.max_row_bytes),
            memo: NoCloseMemo::default(),
            cutter: Cutter { chunk_size: layout.chunk_size, next: 0, chunks: Vec::new() },
            known,
            reader,
            buffer: RowBuffer::default(),
            visit,
            rows: 0,
            appended: false,
            widths: Counted::of(layout),
            names: None,
            first_row: FirstRow::Data,
        }
    }

    /// Passes over the head.
    fn start(&mut self, head: &Head, stream: &mut Stream<'_>) {
        stream.set_newline(self.grammar.newline());
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
            rest => self.grammar.span(rest, complete, &mut self.memo),
        };
        let Some(span) = found else {
            refuse_endless_row(path, self.grammar.max_row() as u64, stream)?;
            stream.more()?;
            return Ok(true);
        };
        self.memo.advance(span.next);
        let content = self.grammar.content(&stream.rest()[..span.next]);
        let reader = self.reader.as_ref();
        if let Some((names, reader)) = self.names.take().zip(reader)
            && let Ok(row) = reader.read(content, &mut self.buffer)
        {
            let cells: Vec<&str> = (0..row.len()).filter_map(|column| row.text(column)).collect();
            self.first_row = header::first_row(names, &cells);
        }
        if let Some(row) = reader.and_then(|r| r.read_key(content, &mut self.buffer)) {
            (self.visit)(&row);
        }
        if let Some(widths) = &mut self.widths {
            widths.row(&self.grammar, content);
        }
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
            && known.end.rows == self.rows;
        if same && last == Some(&self.grammar.newline()) {
            self.appended = true;
            self.cutter.chunks.clear();
            if let Some(widths) = &mut self.widths {
                widths.found.new = 0;
            }
            self.cutter.next = known.end.chunks;
        }
    }
}

/// Cuts rows into chunks; the last chunk is open until the next begins.
struct Cutter {
    chunk_size: u64,
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
            SourceError::permanent(format!(
                "{}: too many chunks; raise csv.chunk_size",
                path.display()
            ))
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
