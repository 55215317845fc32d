//! Owns the start of a file: byte order mark, preamble, dialect and header, up to the first row.
//! Looks at bytes; must not know where they come from.

use super::dialect::{Dialect, LineEnd};
use super::grammar::{Grammar, NoCloseMemo};
use super::header::{joined, numbered, refuse_duplicates};
use super::layout::CsvLayout;
use super::params::{CsvParams, Header, unusable};
use super::row::{CsvReader, RowBuffer};
use super::sniff::{self, SAMPLE};
use crate::sources::files::first_bytes;
use crate::sources::files::format::Head;
use crate::sources::{SourceError, SourceErrorKind};

/// The most bytes of a header: its names are kept with the file, and each reader of it holds them.
const MAX_HEADER: usize = 8 << 20;

/// Understands `text`, the start of the file named `file`. `complete` says that it is all of it;
/// otherwise `None` means that more bytes are needed.
///
/// # Errors
/// Permanent, when the file is not in the declared encoding's family, or has no usable header.
pub(super) fn understand(
    file: &str,
    params: &CsvParams,
    text: &[u8],
    complete: bool,
) -> Result<Option<Head>, SourceError> {
    if !complete && text.len() < SAMPLE {
        return Ok(None);
    }
    let mark = byte_order_mark(file, params, text)?;
    let Some(preamble) = preamble(params, &text[mark..], complete) else { return Ok(None) };
    let start = mark + preamble;
    let table = &text[start..];
    if !complete && table.len() < SAMPLE {
        return Ok(None);
    }
    let dialect = sniff::decide(params, table, complete)?;
    let mut layout = layout_of(params, dialect)?;
    if complete && table.trim_ascii().is_empty() && !is_one_declared_column(params) {
        let end = text.len();
        return Ok(Some(Head { layout: layout.store()?, header_end: end, first_row: end }));
    }
    let Some((columns, length)) = columns(file, params, &layout, table, complete)? else {
        return Ok(None);
    };
    refuse_duplicates(file, &columns)?;
    layout.columns = columns;
    let header_end = start + length;
    let grammar = Grammar::new(&layout.dialect, layout.columns.len(), layout.max_row_bytes);
    let Some(blank) = grammar.blank_lines(&text[header_end..], complete) else { return Ok(None) };
    Ok(Some(Head { layout: layout.store()?, header_end, first_row: header_end + blank }))
}

/// Length of UTF-8's byte order mark. What begins like another kind of file is refused.
fn byte_order_mark(file: &str, params: &CsvParams, text: &[u8]) -> Result<usize, SourceError> {
    let mark = first_bytes::byte_order_mark(file, text, "CSV")?;
    let encoding = params.given_encoding().map_err(unusable)?;
    if mark > 0 && encoding != encoding_rs::UTF_8 {
        return Err(SourceError::new(
            SourceErrorKind::InvalidFile,
            format!(
                "{file} starts with the byte order mark of UTF-8, but csv.encoding says {:?}",
                params.encoding
            ),
        )
        .advise("leave csv.encoding out"));
    }
    Ok(mark)
}

/// Length of the lines in front of the table.
fn preamble(params: &CsvParams, text: &[u8], complete: bool) -> Option<usize> {
    let newline = match sniff::line_end(&text[..text.len().min(SAMPLE)]) {
        LineEnd::Lf => b'\n',
        LineEnd::Cr => b'\r',
    };
    let mut at = 0;
    for _ in 0..params.skip_lines {
        match memchr::memchr(newline, &text[at..]) {
            Some(length) => at += length + 1,
            None if complete => return Some(text.len()),
            None => return None,
        }
    }
    Some(at)
}

fn layout_of(params: &CsvParams, dialect: Dialect) -> Result<CsvLayout, SourceError> {
    Ok(CsvLayout {
        dialect,
        encoding: params.given_encoding().map_err(unusable)?.name().to_owned(),
        columns: Vec::new(),
        ragged_rows: params.ragged_rows,
        max_row_bytes: params.max_row_bytes,
        chunk_size: params.chunk_size,
        declared: params.fingerprint(),
    })
}

/// A file of nothing but line ends is a table of empty cells when the job file gives it one column.
fn is_one_declared_column(params: &CsvParams) -> bool {
    matches!(&params.header, Header::Names(names) if names.len() == 1)
}

/// The names of the columns, and the length of the header.
fn columns(
    file: &str,
    params: &CsvParams,
    layout: &CsvLayout,
    table: &[u8],
    complete: bool,
) -> Result<Option<(Vec<String>, usize)>, SourceError> {
    let rows = match &params.header {
        Header::Names(names) => return Ok(Some((names.clone(), 0))),
        Header::Present(false) => 1,
        Header::Present(true) | Header::Auto(_) => params.header_rows,
    };
    let reader = CsvReader::of_header(layout)?;
    let mut found = Vec::new();
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
        let Some(span) = reader.grammar.span(rest, complete, &mut NoCloseMemo::default()) else {
            return Ok(None);
        };
        if span.row > MAX_HEADER && params.header != Header::Present(false) {
            return Err(too_long(file));
        }
        found.push(names(file, &reader, reader.grammar.content(&rest[..span.row]))?);
        end = at + span.row;
        at += span.next;
    }
    Ok(Some(match params.header {
        Header::Present(false) => (numbered(found.first().map_or(0, Vec::len)), 0),
        _ => (joined(&found), end),
    }))
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
    Ok((0..row.len()).filter_map(|column| row.text(column)).map(str::to_owned).collect())
}
