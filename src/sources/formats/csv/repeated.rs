//! Owns which lines at the start of a file are no rows either when they come again between rows.

use encoding_rs::Encoding;

use super::dialect::LineEnd;
use super::grammar::{Blank, Field, Grammar, NoCloseMemo};
use super::header::first_row;
use super::header_names::{are_many, tell, tells};
use super::layout::CsvLayout;
use super::params::{CsvParams, Header};
use crate::sources::files::columns::fold;
use crate::sources::{FirstRow, SourceError};

/// The most bytes of lines that are looked for again between rows.
const MOST: usize = 64 << 10;

/// So many rows tell whether a line above them is a header.
const LOOKED_AT: usize = 1_000;

/// The beginning of a table.
#[derive(Clone, Copy)]
pub(super) struct Sample<'t> {
    /// From its header on, if it has one.
    pub text: &'t [u8],
    /// Whether nothing follows.
    pub is_all: bool,
}

/// A row of the header.
pub(super) struct HeaderRow<'t> {
    /// As it stands there.
    pub content: &'t [u8],
    /// The names.
    pub cells: Vec<String>,
}

/// Notes in the layout of a table of several columns how its header may be repeated: as a whole, and each of its rows that
/// has the columns without which no file is read, so that it can be no data. What may be data is read, and told.
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
    (layout.header_names, layout.doubtful_names) = names(header, rows, located);
    if let Header::Names(names) = header {
        let (row, is_there) = named(names, layout, encoding, sample);
        let line = lines(layout, encoding, &row).and_then(only);
        let given = std::slice::from_ref(names);
        match tell(given, true) && (is_there || are_many(given)) {
            true => layout.repeated_header = line,
            false => layout.doubtful_lines.extend(line),
        }
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
    let has_letters = |row: &HeaderRow<'_>| row.cells.iter().any(|name| tells(name));
    if !rows.iter().any(has_letters) {
        layout.doubtful_lines = all;
        return Ok(());
    }
    match <[String; 1]>::try_from(all) {
        Ok([row]) => layout.repeated_header = Some(row),
        Err(all) => {
            layout.repeated_lines.push(all);
            let names_all = |row: &HeaderRow<'_>| {
                let (found, has_needed) = located(&row.cells);
                found > 0 && has_needed && has_letters(row)
            };
            let several = rows.len() > 1;
            let alone = rows.iter().zip(of_rows).filter(|(row, _)| several && names_all(row));
            layout.repeated_lines.extend(alone.map(|(_, lines)| lines));
        }
    }
    layout.repeated_lines.retain(|lines| !lines.is_empty());
    Ok(())
}

/// The names of headers.
type Names = Vec<Vec<Vec<String>>>;

/// The names by which the header is known when they are written otherwise, and those that may be data then.
fn names(
    header: &Header,
    rows: &[HeaderRow<'_>],
    located: &dyn Fn(&[String]) -> (usize, bool),
) -> (Names, Names) {
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
    told.filter(|rows| bytes(rows) <= MOST).partition(|rows| are_many(rows))
}

/// The header of a file whose columns the job file names: its first row, if that is one, or these names; and whether it is
/// the first row.
fn named(
    names: &[String],
    layout: &CsvLayout,
    encoding: &'static Encoding,
    sample: &[u8],
) -> (String, bool) {
    let grammar: Grammar = layout.grammar(encoding);
    let blank = grammar.blank_lines(sample, true).unwrap_or(0);
    let length = grammar.first_line(&sample[blank..], true).unwrap_or(0);
    let content = grammar.content(&sample[blank..blank + length]);
    let cells = cells(&grammar, encoding, content);
    if cells.len() == names.len() && is_header(names, &cells) {
        (encoding.decode_without_bom_handling(content).0.into_owned(), true)
    } else {
        (names.join(&layout.dialect.delimiter), false)
    }
}

fn cells(grammar: &Grammar, encoding: &'static Encoding, content: &[u8]) -> Vec<String> {
    let mut fields = Vec::new();
    grammar.fields(content, &mut fields);
    let text = |field: &Field| {
        let text = &content[field.start as usize..field.end as usize];
        encoding.decode_without_bom_handling(text).0.into_owned()
    };
    fields.iter().map(text).collect()
}

/// Whether these cells are a header of columns that the job file calls so.
fn is_header(names: &[String], cells: &[String]) -> bool {
    let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
    first_row(names, &cells) == FirstRow::Header
}

/// Notes that the lines above the header, which is so long, may be repeated with it. Those above a table whose columns the
/// job file names or counts have its header, if it has one: then they may be repeated without.
pub(super) fn lines_above(
    params: &CsvParams,
    layout: &mut CsvLayout,
    above: &[u8],
    header: usize,
    sample: Sample<'_>,
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
        let names = cells(&plain, encoding, &encoding.encode(last).0);
        if names.len() != layout.columns.len() || !tell(std::slice::from_ref(&names), false) {
            return Ok(());
        }
        let is_given = matches!(&params.header, Header::Names(given) if is_header(given, &names));
        if !is_given && !stand_apart(&names, layout, encoding, sample) {
            layout.doubtful_lines.extend(above.pop());
            return Ok(());
        }
        if matches!(params.header, Header::Names(_)) {
            let names = vec![names];
            match are_many(&names) {
                true => layout.header_names.push(names),
                false => layout.doubtful_names.push(names),
            }
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

/// Whether a line that the job file passes over is a header, for all that can be seen of the rows below: it has letters
/// where these have none. Otherwise it may be a row of units or a sample as well, and the same row below be data.
fn stand_apart(
    names: &[String],
    layout: &CsvLayout,
    encoding: &'static Encoding,
    Sample { text, is_all }: Sample<'_>,
) -> bool {
    let grammar: Grammar = layout.grammar(encoding);
    let mut columns: Vec<Column> = names.iter().map(|name| Column::below(name)).collect();
    // However they are written: of fewer names such a row may be data.
    let many = are_many(&[names.to_vec()]).then(|| folded(names));
    let mut at = grammar.blank_lines(text, true).unwrap_or(0);
    for _ in 0..LOOKED_AT {
        if at >= text.len() {
            break;
        }
        let span = grammar.span(&text[at..], is_all, &mut NoCloseMemo::default());
        let Some(span) = span else { break };
        let row = cells(&grammar, encoding, grammar.content(&text[at..at + span.next]));
        at += span.next;
        let is_header = row == names || many.as_ref().is_some_and(|many| folded(&row) == *many);
        if row.len() == names.len() && !is_header {
            columns.iter_mut().zip(&row).for_each(|(column, cell)| column.look(cell));
        }
    }
    columns.iter().any(|column| column.name_has_letters && column.filled && !column.has_letters)
}

/// Cells as they are compared, in whatever order.
fn folded(cells: &[String]) -> Vec<String> {
    let mut folded: Vec<String> = cells.iter().map(|cell| fold(cell)).collect();
    folded.sort_unstable();
    folded
}

/// What is seen of a column below its name.
struct Column {
    name_has_letters: bool,
    filled: bool,
    has_letters: bool,
}

impl Column {
    fn below(name: &str) -> Self {
        Self { name_has_letters: tells(name), filled: false, has_letters: false }
    }

    fn look(&mut self, cell: &str) {
        self.filled |= !cell.trim().is_empty();
        self.has_letters |= tells(cell);
    }
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
