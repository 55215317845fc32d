//! Owns noticing between rows the header of another table, as in files that were put together: the rows behind it would be
//! read under the wrong columns.

use std::borrow::Cow;

use super::grammar::Field;
use super::header_names::{NamesOfRow, Order};
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
        let Some(names) = reader.names() else { return };
        if self.refusal.is_some() || self.rows == 1 && self.by_names {
            return;
        }
        reader.grammar.first_fields(content, LOOKED_AT, &mut self.fields);
        let bytes = |field: &Field| &content[field.start as usize..field.end as usize];
        let mut begins = self.fields.iter().map(bytes).filter(|cell| names.may_have(cell));
        let has = |cell: &[u8]| {
            let cell = names.text(cell);
            names.ways().flatten().any(|row| row.has(&cell))
        };
        if !begins.any(has) || content.len() > reader.grammar.max_row() {
            return;
        }
        for row in names.ways().flatten().filter(|row| row.len() > 1) {
            match reader.grammar.order(names, row, content, &mut self.fields) {
                Some(Order::Other) => {
                    let cells = self.fields.iter().map(|field| names.text(bytes(field)));
                    let cells = shown(&cells.collect::<Vec<_>>());
                    self.refusal =
                        Some(format!("has the header's names in another order ({cells})"));
                    return;
                }
                Some(Order::Same) => {
                    self.lone_rows += 1;
                    return;
                }
                None => {}
            }
        }
        let cells: Vec<_> = self.fields.iter().map(|field| names.text(bytes(field))).collect();
        let mut whole = names.ways().filter_map(|rows| <&[NamesOfRow; 1]>::try_from(rows).ok());
        let of_others = whole.find_map(|[row]| self.of_other_columns(row, &cells));
        // One of another width is set aside, and so are the rows behind it.
        let Some(in_place) = of_others.filter(|_| reader.read(content, buffer).is_ok()) else {
            return;
        };
        if in_place && self.rows == 1 {
            self.second = true;
        } else {
            self.refusal =
                Some(format!("looks like a header of other columns ({})", shown(&cells)));
        }
    }

    /// Whether the cells are a header that has some of these names, and whether each is at its place: half of them, with all
    /// columns without which no file is read, or two thirds.
    fn of_other_columns(&self, row: &NamesOfRow, cells: &[Cow<'_, str>]) -> Option<bool> {
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
        (found > 0 && has_needed).then_some(in_place)
    }
}

fn shown(cells: &[Cow<'_, str>]) -> String {
    let names: Vec<String> = cells.iter().take(SHOWN).map(|cell| quoted(cell.trim())).collect();
    let more = if cells.len() > SHOWN { ", …" } else { "" };
    format!("{}{more}", names.join(", "))
}
