//! Owns the start of a file: byte order mark, preamble, dialect and header, up to the first row.
//! Looks at bytes; must not know where they come from.

use super::grammar::NoCloseMemo;
use super::header::{carried, duplicates, joined, numbered, resolve, visible_name};
use super::header_rows;
use super::layout::CsvLayout;
use super::params::{CsvParams, Header, TABLE};
use super::preamble::{Preamble, lines_above_header, lines_above_tall_header};
use super::repeated::{self, HeaderRow, Sample};
use super::row::{CsvReader, RowBuffer};
use super::sniff::{self, Known, SAMPLE, Sniffed};
use super::width;
use crate::sources::files::Wanted;
use crate::sources::files::columns;
use crate::sources::files::encodings::{Reading, Unreadable};
use crate::sources::files::first_bytes;
use crate::sources::files::format::{Doubts, Head};
use crate::sources::{SourceError, SourceErrorKind};
use crate::values::field::Locator;

/// The most bytes of a header: its names are kept with the file, and each reader of it holds them.
const MAX_HEADER: usize = 8 << 20;

/// Understands the start of files.
pub(super) struct Beginning<'a> {
    /// The file's name.
    pub file: &'a str,
    /// How the job file says that it is read.
    pub params: &'a CsvParams,
    /// What the mapping looks for.
    pub wanted: &'a [Wanted],
    /// What the rest of the file shows.
    pub doubts: Doubts,
}

/// A table understood: how it is read, and how long the header is.
struct Table {
    layout: CsvLayout,
    header: usize,
    /// How many of the mapped columns it has, and whether those are among them without which no file is read.
    located: usize,
    has_needed: bool,
}

impl Beginning<'_> {
    /// Understands `text`, the start of the file. `complete` says that it is all of it;
    /// otherwise `None` means that more bytes are needed.
    ///
    /// # Errors
    /// Permanent, when the file is not in the declared encoding's family, or has no usable header.
    pub fn understand(&self, text: &[u8], complete: bool) -> Result<Option<Head>, SourceError> {
        if !complete && text.len() < SAMPLE {
            return Ok(None);
        }
        let mark = first_bytes::byte_order_mark(self.file, text, "CSV")?;
        let Some(reading) = self.reading(text, complete)? else { return Ok(None) };
        let Some(preamble) = Preamble::of(self.params, &text[mark..], complete) else {
            return Ok(None);
        };
        let mut start = mark + preamble.length;
        let params = preamble.params(self.params);
        if !complete && text.len() - start < SAMPLE {
            return Ok(None);
        }
        let first = self.table(&params, reading, &text[start..], complete);
        let (found, below_rows) = match &first {
            Ok(None) => return Ok(None),
            Ok(Some(Table { has_needed: true, .. })) => (None, None),
            _ => match self.table_below(&params, reading, &text[start..], complete) {
                Some((lines, length, table))
                    if self.are_rows(&text[start..start + length], &table) =>
                {
                    (None, Some(lines).filter(|_| table.located > 1))
                }
                found => (found, None),
            },
        };
        let is_first = matches!(&first, Ok(Some(Table { has_needed: true, .. })));
        let tall = match found.is_none() && !is_first {
            true => self.tall_table_below(&params, reading, &text[start..], complete),
            false => None,
        };
        if found.is_none() && tall.is_none() && !is_first {
            self.refuse_json(&text[mark..])?;
        }
        let mut notes = Vec::new();
        let (mut above, length, table) = match (found, tall) {
            (Some(found), _) => found,
            (None, Some(tall)) => {
                notes.push(header_rows::note(tall.rows, tall.more));
                (tall.lines, tall.start, tall.table)
            }
            (None, None) => match first? {
                Some(table) => (0, 0, table),
                None => return Ok(None),
            },
        };
        let (length, table) = match self.taller_header(
            &params,
            reading,
            &text[start..],
            (length, &table),
            complete,
        ) {
            Some(taller) => {
                above -= taller.lines;
                notes.push(header_rows::note(taller.rows, taller.more));
                (taller.start, taller.table)
            }
            None => (length, table),
        };
        if let Some(lines) = below_rows.filter(|_| !table.has_needed) {
            self.refuse_lines_above(&table, preamble.lines + lines)?;
        }
        start += length;
        if above > 0 {
            notes.push(header_rows::lines_above(preamble.lines, above));
        }
        let Table { mut layout, header, .. } = table;
        notes.extend(preamble.note);
        notes.append(&mut layout.notes);
        layout.notes = notes;
        let header_end = start + header;
        if layout.columns.is_empty() {
            let (header_end, first_row) = (text.len(), text.len());
            return Ok(Some(Head { layout: layout.store()?, header_end, first_row }));
        }
        let end = text.len().min(start + SAMPLE);
        let sample = Sample { text: &text[start..end], is_all: complete && end == text.len() };
        repeated::lines_above(&params, &mut layout, &text[mark..start], header, sample)?;
        let grammar = layout.grammar(layout.encoding()?);
        let Some(blank) = grammar.blank_lines(&text[header_end..], complete) else {
            return Ok(None);
        };
        let again = grammar.headers_within(&text[header_end..header_end + blank]);
        layout.notes.extend(header_rows::again(again, header > 0));
        Ok(Some(Head { layout: layout.store()?, header_end, first_row: header_end + blank }))
    }

    /// A file of JSON has no columns: its first line would be taken for a header. A file without a header may have
    /// JSON in its cells.
    fn refuse_json(&self, text: &[u8]) -> Result<(), SourceError> {
        let Some((what, kind)) = first_bytes::json(text) else { return Ok(()) };
        let message = format!("{} is {what}, and no CSV", self.file);
        Err(SourceError::new(SourceErrorKind::InvalidFile, message).advise(format!(
            "write kind = \"{kind}\", and rename the table [csv] to [{kind}]; fields are found by `from`, such as from = \"$.name\""
        )))
    }

    /// How the text is encoded. What has to be transcoded was transcoded before, and is UTF-8 now.
    fn reading(&self, text: &[u8], complete: bool) -> Result<Option<Reading>, SourceError> {
        let reading = self.params.reading(text, complete);
        let invalid = |what: String, advice: String| {
            let message = format!("{} {what}", self.file);
            SourceError::new(SourceErrorKind::InvalidFile, message).advise(advice)
        };
        match reading.map_err(|Unreadable { what, advice }| invalid(what, advice))? {
            Some(reading) if reading.transcoded => {
                let name = reading.encoding.name();
                Err(invalid(
                    format!("is {name}, and was not transcoded"),
                    format!("convert it first, for example with `iconv -f {name} -t UTF-8`"),
                ))
            }
            reading => Ok(reading),
        }
    }

    /// The table below the lines above a header that has the mapped columns, with the number of those lines and their length.
    fn table_below(
        &self,
        params: &CsvParams,
        reading: Reading,
        text: &[u8],
        complete: bool,
    ) -> Option<(u32, usize, Table)> {
        if !matches!(params.header, Header::Auto(_)) {
            return None;
        }
        lines_above_header(text, self.wanted).find_map(|(lines, length)| {
            match self.table(params, reading, &text[length..], complete) {
                Ok(Some(table)) if table.has_needed => Some((lines, length, table)),
                _ => None,
            }
        })
    }

    /// Says of lines that stand above the header, and may be rows, how they are passed over.
    fn refuse_lines_above(&self, table: &Table, lines: u32) -> Result<(), SourceError> {
        let advise = |error: SourceError| {
            error.advise(format!(
                "line {} has the mapped columns; what stands above it looks like rows: csv.skip_lines = {lines} passes over it",
                lines + 1
            ))
        };
        resolve(self.file, &table.layout.columns, self.wanted).map(|_| ()).map_err(advise)
    }

    /// The table whose header takes more rows than one, if only so more of the mapped columns are found than in `table`,
    /// which begins at that place of the text. It may begin in the lines above.
    fn taller_header(
        &self,
        params: &CsvParams,
        reading: Reading,
        text: &[u8],
        (at, table): (usize, &Table),
        complete: bool,
    ) -> Option<Taller> {
        let named =
            |wanted: &&Wanted| matches!(wanted.locator, Locator::Column(_) | Locator::Named(_));
        let given = !matches!(params.header, Header::Auto(_)) || params.header_rows != 1;
        if given || table.located == self.wanted.iter().filter(named).count() {
            return None;
        }
        let above = header_rows::starts_of_lines(&text[..at]);
        let starts = (1..).zip(above).map(|(lines, start)| (lines, start, lines + 1));
        let here = (2..=header_rows::MOST).map(|rows| (0, at, rows));
        let mut best: Option<Taller> = None;
        for (lines, start, rows) in starts.chain(here) {
            let params = CsvParams { header_rows: rows, ..params.clone() };
            let Ok(Some(found)) = self.table(&params, reading, &text[start..], complete) else {
                continue;
            };
            let most = best.as_ref().map_or(table.located, |best| best.table.located);
            if found.has_needed && found.located > most {
                let more = found.located - table.located;
                best = Some(Taller { lines, start, rows, more, table: found });
            }
        }
        best
    }

    /// The table below lines above a header of several rows, none of which names a mapped column by itself. Its `lines`
    /// are those above it.
    fn tall_table_below(
        &self,
        params: &CsvParams,
        reading: Reading,
        text: &[u8],
        complete: bool,
    ) -> Option<Taller> {
        if !matches!(params.header, Header::Auto(_)) || params.header_rows != 1 {
            return None;
        }
        let starts = lines_above_tall_header(text, self.wanted);
        let starts = starts.into_iter().take(header_rows::MOST_TRIED);
        starts.into_iter().find_map(|(lines, start)| {
            let of_rows = (2..=header_rows::MOST).filter_map(|rows| {
                let params = CsvParams { header_rows: rows, ..params.clone() };
                let table = self.table(&params, reading, &text[start..], complete).ok()??;
                let more = table.located;
                let is_one = table.has_needed && more > 0;
                (is_one && !self.are_rows(&text[..start], &table)).then_some(Taller {
                    lines,
                    start,
                    rows,
                    more,
                    table,
                })
            });
            // Of those with as many columns the one with the fewest rows.
            of_rows.rev().max_by_key(|tall| tall.table.located)
        })
    }

    /// Whether the lines above a header hold rows of its width, or quotes that it stands in: then they are data, and
    /// the header is none.
    fn are_rows(&self, above: &[u8], table: &Table) -> bool {
        let width = table.layout.columns.len();
        let Ok(reader) = CsvReader::of_header(&table.layout) else { return true };
        let (mut at, mut fields) = (0, Vec::new());
        while at < above.len() {
            let span = reader.grammar.span(&above[at..], true, &mut Default::default());
            let Some(span) = span else { return true };
            let row = reader.grammar.content(&above[at..at + span.next]);
            at += span.next;
            // A comment, however many delimiters are in it.
            if row.starts_with(b"#") {
                continue;
            }
            reader.grammar.fields(row, &mut fields);
            // A title may be filled up with delimiters.
            let filled = fields.iter().filter(|field| field.end > field.start).count();
            if filled >= width && width > 1 {
                return true;
            }
        }
        memchr::memchr_iter(b'"', above).count() % 2 == 1
    }

    /// Understands the table at the start of `text`.
    fn table(
        &self,
        params: &CsvParams,
        reading: Reading,
        text: &[u8],
        complete: bool,
    ) -> Result<Option<Table>, SourceError> {
        let located = |names: &[String]| match params.header {
            Header::Auto(_) | Header::Present(true) => columns::located(names, self.wanted),
            Header::Present(false) | Header::Names(_) => (0, true),
        };
        let named = match &params.header {
            Header::Names(names) => Some(names.len()),
            _ => None,
        };
        let known = Known { located: &located, columns: named, doubts: self.doubts };
        let Sniffed { dialect, notes } = sniff::decide(params, &known, text, complete)?;
        let encoding = reading.encoding.name().to_owned();
        let mut layout = CsvLayout {
            ragged_rows: params.ragged_rows,
            max_row_bytes: params.max_row_bytes,
            chunk_size: params.chunk_size,
            doubts: self.doubts.0,
            skip_empty_rows: self.wanted.iter().any(|wanted| wanted.key),
            notes,
            warnings: reading.warning(TABLE).into_iter().collect(),
            ..CsvLayout::new(dialect, encoding, self.params.fingerprint())
        };
        if complete && text.trim_ascii().is_empty() && named != Some(1) {
            let (header, located) = (text.len(), 0);
            return Ok(Some(Table { layout, header, located, has_needed: true }));
        }
        let Some(header) = self.header(params, &layout, text, complete)? else { return Ok(None) };
        layout.columns = header.columns;
        layout.notes.extend(duplicates(&layout.columns));
        let sample = &text[header.length..text.len().min(header.length + SAMPLE)];
        let whole = complete && header.length + sample.len() == text.len();
        if !matches!(params.header, Header::Present(false)) {
            repeated::decide(&params.header, &mut layout, &header.rows, sample, &located)?;
        }
        let has_header = matches!(params.header, Header::Auto(_) | Header::Present(true));
        if has_header || params.extra_fields.is_some() {
            width::decide(params.extra_fields, &mut layout, sample, whole)?;
        }
        let (located, has_needed) = located(&layout.columns);
        Ok(Some(Table { layout, header: header.length, located, has_needed }))
    }

    /// The names of the columns, and the length of the header.
    fn header<'t>(
        &self,
        params: &CsvParams,
        layout: &CsvLayout,
        table: &'t [u8],
        complete: bool,
    ) -> Result<Option<Names<'t>>, SourceError> {
        let rows = match &params.header {
            Header::Names(names) => {
                return Ok(Some(Names { columns: names.clone(), length: 0, rows: Vec::new() }));
            }
            Header::Present(false) => 1,
            Header::Present(true) | Header::Auto(_) => params.header_rows,
        };
        let file = self.file;
        let reader = CsvReader::of_header(layout)?;
        let mut found: Vec<HeaderRow<'_>> = Vec::new();
        let (mut at, mut end) = (0, 0);
        let Some(blank) = reader.grammar.blank_lines(table, complete) else { return Ok(None) };
        at += blank;
        for _ in 0..rows {
            if at == table.len() && complete {
                break;
            }
            if at > MAX_HEADER {
                return Err(too_long(file));
            }
            let rest = &table[at..];
            let Some(span) = reader.grammar.span(rest, complete, &mut NoCloseMemo::default())
            else {
                return Ok(None);
            };
            if span.row > MAX_HEADER && params.header != Header::Present(false) {
                return Err(too_long(file));
            }
            let content = reader.grammar.content(&rest[..span.row]);
            found.push(HeaderRow { content, cells: names(file, &reader, content)? });
            end = at + span.row;
            at += span.next;
        }
        Ok(Some(match params.header {
            Header::Present(false) => {
                let columns = numbered(found.first().map_or(0, |row| row.cells.len()));
                Names { columns, length: 0, rows: Vec::new() }
            }
            _ => {
                let cells: Vec<_> = found.iter().map(|row| row.cells.clone()).collect();
                Names { columns: self.joined(&cells), length: end, rows: found }
            }
        }))
    }

    /// One name per column: names of groups reach to the right if the mapping knows the columns so.
    fn joined(&self, rows: &[Vec<String>]) -> Vec<String> {
        let (plain, carried) = (joined(rows), joined(&carried(rows)));
        let located = |names: &[String]| columns::located(names, self.wanted).0;
        if plain != carried && located(&carried) > located(&plain) { carried } else { plain }
    }
}

/// A header of several rows.
struct Taller {
    /// How many of them stand above what was taken for the header.
    lines: u32,
    /// Where the first begins.
    start: usize,
    rows: u32,
    /// How many columns more are found.
    more: usize,
    table: Table,
}

/// The columns, the length of the header and its rows.
struct Names<'t> {
    columns: Vec<String>,
    length: usize,
    rows: Vec<HeaderRow<'t>>,
}

fn too_long(file: &str) -> SourceError {
    SourceError::new(SourceErrorKind::InvalidFile, format!("{file}: the header has more than {MAX_HEADER} bytes")).advise("is this a CSV file, and does csv.quote fit it? A file without a header has csv.header = false")
}

/// The cells of a header's row.
fn names(file: &str, reader: &CsvReader, row: &[u8]) -> Result<Vec<String>, SourceError> {
    let mut buffer = RowBuffer::default();
    let row = reader.read(row, &mut buffer).map_err(|defects| {
        let what: Vec<String> = defects.into_iter().map(|defect| defect.message).collect();
        SourceError::new(
            SourceErrorKind::InvalidFile,
            format!("{file}: the first row cannot be the header: {}", what.join("; ")),
        )
        .advise("or name the columns in csv.header, and pass over a header with csv.skip_lines")
    })?;
    let cells = (0..row.len()).filter_map(|column| row.text(column));
    Ok(cells.map(|name| visible_name(name).to_owned()).collect())
}
