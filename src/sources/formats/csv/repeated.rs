//! Owns which lines at the start of a file are no rows either when they come again between rows.

use encoding_rs::Encoding;

use super::dialect::LineEnd;
use super::grammar::{Blank, Field, Grammar};
use super::header::first_row;
use super::header_names::tell;
use super::layout::CsvLayout;
use super::params::{CsvParams, Header};
use crate::sources::{FirstRow, SourceError};

/// The most bytes of lines that are looked for again between rows.
const MOST: usize = 64 << 10;

/// A row of the header.
pub(super) struct HeaderRow<'t> {
    /// As it stands there.
    pub content: &'t [u8],
    /// The names.
    pub cells: Vec<String>,
}

/// Notes in the layout of a table of several columns how its header may be repeated: as a whole, and each of its rows that
/// has the columns without which no file is read, so that it can be no data.
pub(super) fn decide(
    header: &Header,
    layout: &mut CsvLayout,
    rows: &[HeaderRow<'_>],
    sample: &[u8],
    located: &dyn Fn(&[String]) -> (usize, bool),
) -> Result<(), SourceError> {
    if layout.columns.len() < 2 {
        return Ok(());
    }
    let encoding = layout.encoding()?;
    layout.header_names = names(header, rows, located);
    if let Header::Names(names) = header {
        let row = named(names, layout, encoding, sample);
        layout.repeated_header = lines(layout, encoding, &row).and_then(only);
        return Ok(());
    }
    let text = |row: &HeaderRow<'_>| {
        let text = encoding.decode_without_bom_handling(row.content).0;
        lines(layout, encoding, &text)
    };
    let Some(of_rows) = rows.iter().map(text).collect::<Option<Vec<_>>>() else { return Ok(()) };
    let all = of_rows.concat();
    if all.iter().map(String::len).sum::<usize>() > MOST {
        return Ok(());
    }
    match <[String; 1]>::try_from(all) {
        Ok([row]) => layout.repeated_header = Some(row),
        Err(all) => {
            layout.repeated_lines.push(all);
            let names_all = |row: &HeaderRow<'_>| {
                let (found, has_needed) = located(&row.cells);
                found > 0 && has_needed
            };
            let several = rows.len() > 1;
            let alone = rows.iter().zip(of_rows).filter(|(row, _)| several && names_all(row));
            layout.repeated_lines.extend(alone.map(|(_, lines)| lines));
        }
    }
    layout.repeated_lines.retain(|lines| !lines.is_empty());
    Ok(())
}

/// The names by which the header is known when they are written otherwise.
fn names(
    header: &Header,
    rows: &[HeaderRow<'_>],
    located: &dyn Fn(&[String]) -> (usize, bool),
) -> Vec<Vec<Vec<String>>> {
    let rows: Vec<Vec<String>> = match header {
        Header::Names(names) => vec![names.clone()],
        _ => rows.iter().map(|row| row.cells.clone()).collect(),
    };
    let is_mapped = |row: &Vec<String>| {
        let (found, has_needed) = located(row);
        found > 0 && has_needed
    };
    let alone = rows.iter().filter(|row| rows.len() > 1 && is_mapped(row));
    let alone: Vec<_> = alone.map(|row| vec![row.clone()]).collect();
    let ways = std::iter::once(rows).chain(alone);
    let told = ways.filter(|rows| tell(rows, rows.iter().any(is_mapped)));
    let bytes = |rows: &Vec<Vec<String>>| rows.iter().flatten().map(String::len).sum::<usize>();
    told.filter(|rows| bytes(rows) <= MOST).collect()
}

/// The header of a file whose columns the job file names: its first row, if that is one, or these names.
fn named(
    names: &[String],
    layout: &CsvLayout,
    encoding: &'static Encoding,
    sample: &[u8],
) -> String {
    let grammar: Grammar = layout.grammar(encoding);
    let blank = grammar.blank_lines(sample, true).unwrap_or(0);
    let length = grammar.first_line(&sample[blank..], true).unwrap_or(0);
    let content = grammar.content(&sample[blank..blank + length]);
    let mut fields = Vec::new();
    grammar.fields(content, &mut fields);
    let text = |start: u32, end: u32| {
        encoding.decode_without_bom_handling(&content[start as usize..end as usize]).0
    };
    let cells: Vec<_> = fields.iter().map(|field| text(field.start, field.end)).collect();
    let cells: Vec<&str> = cells.iter().map(AsRef::as_ref).collect();
    if cells.len() == names.len() && first_row(names, &cells) == FirstRow::Header {
        encoding.decode_without_bom_handling(content).0.into_owned()
    } else {
        names.join(&layout.dialect.delimiter)
    }
}

/// Notes that the lines above the header may be repeated with it. Those above a table whose columns the job file names or
/// counts have its header, if it has one: then they may be repeated without.
pub(super) fn lines_above(
    params: &CsvParams,
    layout: &mut CsvLayout,
    above: &[u8],
    header: usize,
) -> Result<(), SourceError> {
    let encoding = layout.encoding()?;
    if layout.columns.len() < 2 || above.len() > MOST {
        return Ok(());
    }
    let above = encoding.decode_without_bom_handling(above).0;
    let Some(mut above) = lines(layout, encoding, &above) else { return Ok(()) };
    let Some(last) = above.last() else { return Ok(()) };
    if header == 0 {
        let plain = Grammar::new(&layout.dialect, Blank::default(), layout.max_row_bytes);
        let mut fields = Vec::new();
        let last = encoding.encode(last).0;
        plain.fields(&last, &mut fields);
        if fields.len() != layout.columns.len() {
            return Ok(());
        }
        let text = |field: &Field| {
            let text = &last[field.start as usize..field.end as usize];
            encoding.decode_without_bom_handling(text).0.into_owned()
        };
        let names = vec![fields.iter().map(text).collect()];
        if matches!(params.header, Header::Names(_)) && tell(&names, false) {
            layout.header_names.push(names);
        }
    } else if let Some(lines) = layout.repeated_lines.first() {
        above.extend_from_slice(lines);
    } else if let Some(row) = &layout.repeated_header {
        above.push(row.clone());
    } else {
        return Ok(());
    }
    layout.repeated_lines.insert(0, above);
    Ok(())
}

/// The lines of a text that have something on them, without quotes; `None` if they cannot be looked for.
fn lines(layout: &CsvLayout, encoding: &'static Encoding, text: &str) -> Option<Vec<String>> {
    let quote = layout.dialect.quote;
    let text: String =
        text.trim_start_matches('\u{feff}').chars().filter(|c| Some(*c) != quote).collect();
    let any = layout.dialect.line_end == LineEnd::Any;
    let lines = text.split(|c| c == '\n' || any && c == '\r');
    let lines: Vec<String> = lines
        .map(|line| line.trim_end_matches('\r').to_owned())
        .filter(|line| !line.is_empty())
        .collect();
    let (_, _, lossy) = encoding.encode(&text);
    let is_found = !lossy && text.len() <= MOST && !text.contains('\u{fffd}');
    (is_found && !lines.iter().any(|line| line.contains('\r'))).then_some(lines)
}

fn only(lines: Vec<String>) -> Option<String> {
    <[String; 1]>::try_from(lines).ok().map(|[line]| line)
}
