//! Owns noticing between rows the header of another table, as in files that were put together: the rows behind it would be
//! read under the wrong columns.

use std::borrow::Cow;

use super::grammar::Field;
use super::header_names::{HeaderNames, NamesOfRow, Order, tells};
use super::params::{CsvParams, Header};
use super::row::{CsvReader, RowBuffer};
use crate::domain::text::quoted;
use crate::sources::files::columns::{self, Wanted};

/// One of the first so many cells of a header is a name that is known.
const LOOKED_AT: usize = 3;

/// The most names that are shown.
const SHOWN: usize = 12;

/// What was seen of the rows so far.
pub(super) struct OtherHeader {
    wanted: Vec<Wanted>,
    /// Whether a column has to be there by itself.
    any_needed: bool,
    /// Whether the first row is looked at by somebody else.
    by_names: bool,
    rows: usize,
    fields: Vec<Field>,
    /// Why the file cannot be read on.
    refusal: Option<String>,
    /// Whether the first row looks like another header of the same columns.
    second: bool,
    /// Rows that are one of several of a header, without the others.
    pub lone_rows: usize,
    /// Rows that may be headers.
    pub doubtful_rows: usize,
}

impl OtherHeader {
    /// Nothing was seen yet.
    pub fn new(params: &CsvParams, wanted: &[Wanted]) -> Self {
        Self {
            any_needed: wanted.iter().any(Wanted::is_needed_column),
            wanted: wanted.to_vec(),
            by_names: matches!(params.header, Header::Names(_)),
            rows: 0,
            fields: Vec::new(),
            refusal: None,
            second: false,
            lone_rows: 0,
            doubtful_rows: 0,
        }
    }

    /// Why the file cannot be read on from the row that was seen last.
    pub fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// What is to be said of the first row.
    pub fn warning(&self) -> Option<String> {
        self.second.then(|| {
            "the first row looks like another header, and is read as a row: csv.skip_lines = 1 takes it for the header, \
             csv.header_rows = 2 both"
                .to_owned()
        })
    }

    /// Looks at a row.
    pub fn row(&mut self, reader: &CsvReader, content: &[u8], buffer: &mut RowBuffer) {
        self.rows += 1;
        if self.refusal.is_some() {
            return;
        }
        if reader.grammar.is_doubtful_line(content) {
            self.doubtful_rows += 1;
            return;
        }
        if self.rows == 1 && self.by_names {
            return;
        }
        let found = reader.names().and_then(|names| self.look(reader, names, content, buffer));
        match found {
            Some(Found::Other(what)) => self.refusal = Some(what),
            Some(Found::Same) => self.lone_rows += 1,
            Some(Found::Second) => self.second = true,
            Some(Found::Doubtful) => self.doubtful_rows += 1,
            None => {
                let names = reader.doubtful_names();
                match names.and_then(|names| self.look(reader, names, content, buffer)) {
                    Some(Found::Second) => self.second = true,
                    Some(_) => self.doubtful_rows += 1,
                    None => {}
                }
            }
        }
    }

    /// What a row is among these names.
    fn look(
        &mut self,
        reader: &CsvReader,
        names: &HeaderNames,
        content: &[u8],
        buffer: &mut RowBuffer,
    ) -> Option<Found> {
        reader.grammar.first_fields(content, LOOKED_AT, &mut self.fields);
        let bytes = |field: &Field| &content[field.start as usize..field.end as usize];
        let mut begins = self.fields.iter().map(bytes).filter(|cell| names.may_have(cell));
        let has = |cell: &[u8]| {
            let cell = names.text(cell);
            names.ways().flatten().any(|row| row.has(&cell))
        };
        if !begins.any(has) || content.len() > reader.grammar.max_row() {
            return None;
        }
        for row in names.ways().flatten().filter(|row| row.len() > 1) {
            match reader.grammar.order(names, row, content, &mut self.fields) {
                Some(Order::Other) => {
                    let cells = self.fields.iter().map(|field| names.text(bytes(field)));
                    let cells = shown(&cells.collect::<Vec<_>>());
                    let what = format!("has the header's names in another order ({cells})");
                    return Some(Found::Other(what));
                }
                Some(Order::Same) => return Some(Found::Same),
                None => {}
            }
        }
        let cells: Vec<_> = self.fields.iter().map(|field| names.text(bytes(field))).collect();
        let mut whole = names.ways().filter_map(|rows| <&[NamesOfRow; 1]>::try_from(rows).ok());
        let of_others = whole.find_map(|[row]| self.of_other_columns(row, &cells));
        // One of another width is set aside, and so are the rows behind it.
        let Shared { in_place, is_told } =
            of_others.filter(|_| reader.read(content, buffer).is_ok())?;
        Some(if in_place && self.rows == 1 {
            Found::Second
        } else if is_told {
            Found::Other(format!("looks like a header of other columns ({})", shown(&cells)))
        } else {
            Found::Doubtful
        })
    }

    /// How the cells are a header that has some of these names: half of them, with all columns without which no file is
    /// read, or two thirds.
    fn of_other_columns(&self, row: &NamesOfRow, cells: &[Cow<'_, str>]) -> Option<Shared> {
        let (shared, in_place) = row.shared(cells);
        let filled = cells.iter().filter(|cell| !cell.trim().is_empty()).count();
        let are_most = match self.any_needed {
            true => shared * 2 >= filled,
            false => shared * 3 >= filled.max(row.len()) * 2,
        };
        if shared < 2 || !are_most {
            return None;
        }
        let names: Vec<String> = cells.iter().map(|cell| cell.trim().to_owned()).collect();
        let (found, has_needed) = columns::located(&names, &self.wanted);
        let is_told = shared > 2 || cells.iter().all(|cell| row.has(cell) || tells(cell));
        (found > 0 && has_needed).then_some(Shared { in_place, is_told })
    }
}

/// What a row is.
enum Found {
    /// The names of a header.
    Same,
    /// What it is if it is another header, from which on the rows are others.
    Other(String),
    /// Another header, or a row.
    Doubtful,
    /// Another header of the same columns.
    Second,
}

/// How a row has some of the names of a header.
#[derive(Clone, Copy)]
struct Shared {
    /// Whether each of these stands at its place.
    in_place: bool,
    /// Whether it is no row of data: more than two are names, or the others may be.
    is_told: bool,
}

fn shown(cells: &[Cow<'_, str>]) -> String {
    let names: Vec<String> = cells.iter().take(SHOWN).map(|cell| quoted(cell.trim())).collect();
    let more = if cells.len() > SHOWN { ", …" } else { "" };
    format!("{}{more}", names.join(", "))
}
