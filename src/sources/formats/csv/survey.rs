//! Owns what planning notes of the rows of a CSV file: their keys, how far they reach, whether the
//! first of them is a header, and what they show to be wrong of the guess from the start of the file.

use std::collections::BTreeSet;

use super::grammar::Field;
use super::guess_check::GuessCheck;
use super::header;
use super::layout::CsvLayout;
use super::other_header::OtherHeader;
use super::params::{CsvParams, Header, RaggedRows};
use super::row::{CsvReader, RowBuffer};
use crate::domain::file::Layout;
use crate::domain::number::grouped;
use crate::sources::files::columns::Wanted;
use crate::sources::files::format::{Doubts, Refusal, Survey, Surveyed};
use crate::sources::{FirstRow, SourceError, Widths};
use crate::values::row::Row;

/// How a file that has a header is read without taking any other row for one, …
const NO_OTHER_HEADER: &str = "csv.header = false with csv.skip_lines = 1 (or as many lines as the header ends behind) takes no \
                               row for a header, and calls the columns column_1, column_2 and so on";

/// … and a file that has none.
const NO_HEADER: &str = "csv.header = false takes no row for a header, and calls the columns column_1, column_2 and so on";

/// What was seen of the rows so far.
pub struct CsvSurvey {
    /// How far rows reach, where short ones are filled up.
    widths: Option<Counted>,
    /// Whether the file has the header itself.
    has_header: bool,
    /// The names that the job file gives to columns, until the first row was looked at.
    names: Option<Vec<String>>,
    first_row: FirstRow,
    guess: GuessCheck,
    other_header: OtherHeader,
    headers: usize,
    /// Rows that are the same as a line of a header of several.
    lone_lines: usize,
    /// Rows whose keys are read without something at their ends that cannot be seen.
    trimmed_keys: i64,
    /// Whether all rows meant the same in earlier layouts, if that is asked for.
    plain: Option<bool>,
}

/// How far rows reach, as far as they were counted.
struct Counted {
    found: Widths,
    columns: u32,
    fields: Vec<Field>,
    /// The mapped columns that no row has reached, and how many fields a row has that does.
    ahead: Vec<(u32, String)>,
    /// The others.
    met: BTreeSet<String>,
}

impl Counted {
    fn of(params: &CsvParams, reader: &CsvReader, wanted: &[Wanted]) -> Self {
        let columns = reader.columns().len() as u32;
        let by_place = matches!(params.header, Header::Names(_) | Header::Present(false));
        let (mut ahead, mut met) = (Vec::new(), BTreeSet::new());
        for (wanted, at) in wanted.iter().zip(reader.located()) {
            let Some(label) = wanted.locator.label() else { continue };
            match at {
                // Columns that are known by their places count for each other.
                Some(_) if by_place => ahead.push((columns, label.to_owned())),
                Some(at) => ahead.push((*at as u32 + 1, label.to_owned())),
                // The header says that it has none.
                None => {
                    met.insert(label.to_owned());
                }
            }
        }
        Self { found: Widths::default(), columns, fields: Vec::new(), ahead, met }
    }

    /// Counts the fields of a row, as long as none had all.
    fn row(&mut self, reader: &CsvReader, content: &[u8]) {
        if self.found.new >= self.columns || content.len() > reader.grammar.max_row() {
            return;
        }
        reader.grammar.fields(content, &mut self.fields);
        let fields = self.fields.len() as u32;
        if fields <= self.columns {
            self.found.new = self.found.new.max(fields);
            self.found.all = self.found.all.max(fields);
            let reached = self.ahead.extract_if(.., |(width, _)| *width <= fields);
            self.met.extend(reached.map(|(_, label)| label));
        }
    }
}

impl CsvSurvey {
    /// A survey of a file whose columns are those of the reader.
    pub(super) fn new(params: &CsvParams, reader: &CsvReader, wanted: &[Wanted]) -> Self {
        let columns = reader.columns();
        let counted = params.ragged_rows == RaggedRows::Pad && !columns.is_empty();
        let names = match &params.header {
            Header::Names(names) if !columns.is_empty() => Some(names.clone()),
            _ => None,
        };
        Self {
            widths: counted.then(|| Counted::of(params, reader, wanted)),
            names,
            has_header: matches!(params.header, Header::Auto(_) | Header::Present(true)),
            first_row: FirstRow::Data,
            guess: GuessCheck::new(params, reader),
            other_header: OtherHeader::new(params, wanted),
            headers: 0,
            lone_lines: 0,
            trimmed_keys: 0,
            plain: None,
        }
    }
}

impl Survey<CsvReader> for CsvSurvey {
    fn row(
        &mut self,
        reader: &CsvReader,
        content: &[u8],
        gap: &[u8],
        buffer: &mut RowBuffer,
        visit: &mut dyn FnMut(&dyn Row),
    ) {
        if gap.len() > 2 {
            self.headers += reader.grammar.headers_within(gap);
        }
        let lone_rows = self.other_header.lone_rows;
        self.other_header.row(reader, content, buffer);
        let is_lone = self.other_header.lone_rows > lone_rows;
        self.lone_lines += usize::from(is_lone || reader.grammar.is_line_of_header(content));
        self.guess.row(reader, content);
        if self.plain == Some(true) {
            self.plain = Some(reader.meant_the_same(content, gap));
        }
        if let Some(names) = self.names.take()
            && let Ok(row) = reader.read(content, buffer)
        {
            let cells: Vec<&str> = (0..row.len()).filter_map(|column| row.text(column)).collect();
            self.first_row = header::first_row(&names, &cells);
        }
        if let Some(row) = reader.read_key(content, buffer) {
            self.trimmed_keys += i64::from(row.has_trimmed_key());
            visit(&row);
        }
        if let Some(widths) = &mut self.widths {
            widths.row(reader, content);
        }
    }

    fn known_end(&mut self) {
        if let Some(widths) = &mut self.widths {
            widths.found.new = 0;
        }
    }

    fn met(&self) -> Option<&BTreeSet<String>> {
        self.widths.as_ref().map(|widths| &widths.met)
    }

    fn doubts(&self) -> Doubts {
        self.guess.doubts()
    }

    fn refusal(&self) -> Option<Refusal<'_>> {
        let if_data = if self.has_header { NO_OTHER_HEADER } else { NO_HEADER };
        self.other_header.refusal().map(|what| Refusal { what, if_data })
    }

    fn is_plain(&self) -> bool {
        self.plain == Some(true)
    }

    fn compare(&mut self) {
        self.plain = Some(true);
    }

    fn finish(self, _: &str, _: i64, layout: Layout) -> Result<Surveyed, SourceError> {
        let notes: Vec<String> =
            headers_note(self.headers).into_iter().chain(keys_note(self.trimmed_keys)).collect();
        let doubtful = doubtful_rows_warning(self.other_header.doubtful_rows, self.has_header);
        let warnings = [lone_lines_warning(self.lone_lines), doubtful, self.other_header.warning()];
        let warnings: Vec<String> = warnings.into_iter().flatten().collect();
        let layout = match notes.is_empty() && warnings.is_empty() {
            true => layout,
            false => {
                let mut layout = CsvLayout::load(&layout)?;
                layout.notes.extend(notes);
                layout.warnings.extend(warnings);
                layout.store()?
            }
        };
        let widths = self.widths.map(|widths| widths.found);
        Ok(Surveyed { layout, widths, first_row: self.first_row })
    }
}

fn headers_note(headers: usize) -> Option<String> {
    let times = match headers {
        0 => return None,
        1 => "once".to_owned(),
        more => format!("{more} times"),
    };
    Some(format!("the header is repeated {times} between rows, and is no record"))
}

/// One of the lines of a header may be data, and mostly is none.
fn lone_lines_warning(lines: usize) -> Option<String> {
    let (rows, are) = match lines {
        0 => return None,
        1 => ("row", "is"),
        _ => ("rows", "are"),
    };
    let lines = grouped(lines as u64);
    Some(format!(
        "{lines} {rows} {are} the same as a line of the header or above it, without the others beside it, and {are} read as any row: \
         where files were put together, let each part begin with all of these lines, or with none"
    ))
}

/// What looks like a header may be data: none is lost, and if it is a header, that is said.
fn doubtful_rows_warning(rows: usize, has_header: bool) -> Option<String> {
    let (looks, are) = match rows {
        0 => return None,
        1 => ("1 row looks like the header, or like another one,".to_owned(), "is"),
        rows => {
            let rows = grouped(rows as u64);
            (format!("{rows} rows look like the header, or like other ones,"), "are")
        }
    };
    let data = match has_header {
        true => format!("; where this is data, {NO_OTHER_HEADER}"),
        false => String::new(),
    };
    Some(format!(
        "{looks} and {are} read as any row: where files were put together, make a file of each part{data}"
    ))
}

/// Records that an earlier version made are found by the keys as they stand.
fn keys_note(trimmed: i64) -> Option<String> {
    let (keys, have, their) = match trimmed {
        0 => return None,
        1 => ("key", "has", "its"),
        _ => ("keys", "have", "their"),
    };
    Some(format!(
        "{} {keys} {have} something at {their} ends that cannot be seen, and {} read without it; where an earlier \
         version of kasparro has loaded such rows, it kept that: docs/operating.md, Upgrades, says how to find their records",
        grouped(trimmed.unsigned_abs()),
        if trimmed == 1 { "is" } else { "are" }
    ))
}
