//! Owns which sheets of a workbook are read, what their columns are called, and their rows as lines of JSON.
//!
//! The first line says which columns there are, so that a mapping finds its own before the first row.

use std::io::{self, Read, Write as _};

use glob::{MatchOptions, Pattern};
use serde::{Deserialize, Serialize};

use super::book::{Book, Merged, SheetRows, Worksheet};
use super::cell::{Cell, SheetRow, letters};
use crate::domain::text::quoted;
use crate::sources::files::columns;

/// The column with the name of the sheet.
pub(super) const SHEET: &str = "_sheet";
/// The column with the number of the row in its sheet.
pub(super) const ROW: &str = "_row";
/// Names of sheets that a message shows.
const SHOWN: usize = 10;

/// Where in a workbook a table is.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    /// The sheets; none of these patterns means the only one that people see.
    pub sheets: Vec<Pattern>,
    /// The first row of the header, from 1; otherwise the first that holds something.
    pub header_row: Option<u32>,
    /// Rows that it takes.
    pub header_rows: u32,
    /// The first and the last column.
    pub columns: Option<(u32, u32)>,
    /// Cells that mean "no value".
    pub null_values: Vec<String>,
}

/// What the first line says.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Prologue {
    /// The columns as the headers call them: a name may be there twice.
    pub columns: Vec<String>,
    /// The columns of each sheet, where sheets differ in them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sheets: Vec<SheetColumns>,
    /// What was decided that somebody may want otherwise.
    pub notes: Vec<String>,
}

/// What the columns of a sheet are called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SheetColumns {
    /// Its name.
    pub sheet: String,
    /// As its header calls them.
    pub columns: Vec<String>,
}

/// A sheet that is read.
struct Planned {
    sheet: usize,
    name: String,
    /// The last row of the header.
    header_end: u32,
    /// The first column, and the names of all from there on.
    first: u32,
    names: Vec<String>,
}

/// The rows of a workbook as lines.
pub(super) struct Lines {
    book: Box<dyn Book>,
    table: Table,
    planned: std::vec::IntoIter<Planned>,
    open: Option<Open>,
    output: Vec<u8>,
    given: usize,
}

/// A sheet that is being read.
struct Open {
    rows: Box<dyn SheetRows>,
    planned: Planned,
    /// The names of the columns as JSON, with the colon behind them.
    keys: Vec<Vec<u8>>,
    /// What stands behind the values: the sheet, up to the number of the row.
    tail: Vec<u8>,
}

impl Lines {
    /// The rows of the chosen sheets, whose headers are looked at first.
    pub fn of(mut book: Box<dyn Book>, table: Table) -> io::Result<Self> {
        let (chosen, notes) = table.chosen(book.sheets())?;
        let mut planned = Vec::new();
        for sheet in chosen {
            planned.extend(table.plan(book.as_mut(), sheet)?);
        }
        let columns = united(planned.iter().map(|planned| planned.names.as_slice()));
        let differ = planned.windows(2).any(|two| two[0].names != two[1].names);
        let sheets = planned.iter().filter(|_| differ).map(|planned| SheetColumns {
            sheet: planned.name.clone(),
            columns: planned.names.clone(),
        });
        let sheets = sheets.collect();
        let mut output = serde_json::to_vec(&Prologue { columns, sheets, notes })?;
        output.push(b'\n');
        Ok(Self { book, table, planned: planned.into_iter(), open: None, output, given: 0 })
    }

    /// Writes more rows; `false` behind the last.
    fn more(&mut self) -> io::Result<bool> {
        /// So much at once.
        const ENOUGH: usize = 64 << 10;
        self.output.clear();
        self.given = 0;
        while self.output.len() < ENOUGH {
            let open = match &mut self.open {
                Some(open) => open,
                None => {
                    let Some(planned) = self.planned.next() else { break };
                    let rows = self.book.open(planned.sheet)?;
                    self.open.insert(Open::of(rows, planned)?)
                }
            };
            match open.rows.next()? {
                Some(row) if row.number > open.planned.header_end => {
                    open.write(row, &self.table, &mut self.output)?;
                }
                Some(_) => {}
                None => self.open = None,
            }
        }
        Ok(!self.output.is_empty())
    }
}

impl Read for Lines {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        while self.given == self.output.len() {
            if !self.more()? {
                return Ok(0);
            }
        }
        let length = buffer.len().min(self.output.len() - self.given);
        buffer[..length].copy_from_slice(&self.output[self.given..self.given + length]);
        self.given += length;
        Ok(length)
    }
}

impl Open {
    fn of(rows: Box<dyn SheetRows>, planned: Planned) -> io::Result<Self> {
        let key = |name: &String| -> io::Result<Vec<u8>> {
            let mut key = serde_json::to_vec(name)?;
            key.push(b':');
            Ok(key)
        };
        let mut names = planned.names.clone();
        names.extend([SHEET.to_owned(), ROW.to_owned()]);
        let mut keys = columns::distinct(&names).iter().map(key).collect::<io::Result<Vec<_>>>()?;
        let (row, sheet) = (keys.pop().unwrap_or_default(), keys.pop().unwrap_or_default());
        let name = serde_json::to_vec(&planned.name)?;
        let tail = [&sheet[..], &name, b",", &row].concat();
        Ok(Self { rows, planned, keys, tail })
    }

    /// Writes a row, if it holds something.
    fn write(&self, row: SheetRow, table: &Table, out: &mut Vec<u8>) -> io::Result<()> {
        let number = row.number;
        let cells: Vec<(u32, Cell)> =
            row.cells.into_iter().filter(|(at, cell)| table.holds(*at, cell)).collect();
        if cells.is_empty() {
            return Ok(());
        }
        out.push(b'{');
        let mut cells = cells.iter().peekable();
        let beside = |out: &mut Vec<u8>, column: u32, cell: &Cell| -> io::Result<()> {
            // It has no name, and is kept all the same.
            serde_json::to_writer(&mut *out, &unnamed(column))?;
            out.push(b':');
            cell.write(out)?;
            out.push(b',');
            Ok(())
        };
        for (column, key) in (self.planned.first..).zip(&self.keys) {
            while let Some((at, cell)) = cells.next_if(|(at, _)| *at < column) {
                beside(out, *at, cell)?;
            }
            out.extend_from_slice(key);
            match cells.next_if(|(at, _)| *at == column) {
                Some((_, cell)) => cell.write(out)?,
                None => Cell::Blank.write(out)?,
            }
            out.push(b',');
        }
        for (at, cell) in cells {
            beside(out, *at, cell)?;
        }
        out.extend_from_slice(&self.tail);
        writeln!(out, "{number}}}")
    }
}

impl Table {
    /// Whether a cell is one of the table, and holds something.
    fn holds(&self, column: u32, cell: &Cell) -> bool {
        let is_within = self.columns.is_none_or(|(first, last)| (first..=last).contains(&column));
        let is_null = || match cell {
            Cell::Text(text) | Cell::Error(text) => self.null_values.contains(text),
            Cell::Blank => true,
            Cell::Number(_) | Cell::Bool(_) | Cell::Formula(_) => false,
        };
        is_within && !is_null()
    }

    /// The sheets that are read, and a note of those that are not.
    fn chosen(&self, sheets: &[Worksheet]) -> io::Result<(Vec<usize>, Vec<String>)> {
        let refused = |what: &str| {
            let names: Vec<_> = sheets.iter().take(SHOWN).map(shown).collect();
            let more = if sheets.len() > SHOWN { ", …" } else { "" };
            let text = format!("{what}: the workbook has {}{more}", names.join(", "));
            Err(io::Error::new(io::ErrorKind::InvalidData, text))
        };
        if self.sheets.is_empty() {
            let seen: Vec<usize> = (0..sheets.len()).filter(|at| !sheets[*at].hidden).collect();
            let hidden: Vec<_> = sheets
                .iter()
                .filter(|sheet| sheet.hidden)
                .map(|sheet| quoted(&sheet.name))
                .collect();
            let notes = match hidden.is_empty() {
                true => Vec::new(),
                false => vec![format!(
                    "hidden sheets are not read: {}; xlsx.sheets names those that are",
                    hidden.join(", ")
                )],
            };
            return match seen.len() {
                1 => Ok((seen, notes)),
                _ => refused(
                    "say in xlsx.sheets which sheets are read, such as [\"*\"] for all that people see",
                ),
            };
        }
        let options = MatchOptions { case_sensitive: false, ..MatchOptions::default() };
        let matches = |pattern: &Pattern, sheet: &Worksheet| {
            pattern.as_str() == sheet.name
                || !sheet.hidden && pattern.matches_with(&sheet.name, options)
        };
        for pattern in &self.sheets {
            if !sheets.iter().any(|sheet| matches(pattern, sheet)) {
                return refused(&format!(
                    "there is no sheet {} of xlsx.sheets",
                    quoted(pattern.as_str())
                ));
            }
        }
        let is_chosen =
            |at: &usize| self.sheets.iter().any(|pattern| matches(pattern, &sheets[*at]));
        Ok(((0..sheets.len()).filter(is_chosen).collect(), Vec::new()))
    }

    /// Looks for the header of a sheet; `None` if it holds nothing.
    fn plan(&self, book: &mut dyn Book, sheet: usize) -> io::Result<Option<Planned>> {
        let name = book.sheets().get(sheet).map(|sheet| sheet.name.clone()).unwrap_or_default();
        let mut rows = book.open(sheet)?;
        let mut above: Vec<SheetRow> = Vec::new();
        let (mut header_row, mut is_empty) = (self.header_row, true);
        while let Some(row) = rows.next()? {
            is_empty = false;
            if header_row.is_none() && row.cells.iter().any(|(at, cell)| self.holds(*at, cell)) {
                header_row = Some(row.number);
            }
            let Some(start) = header_row else { continue };
            if row.number >= start + self.header_rows {
                break;
            }
            above.push(row);
        }
        drop(rows);
        let Some(start) = header_row.filter(|_| !is_empty) else { return Ok(None) };
        let header_end = start + self.header_rows - 1;
        let mut header = Header { rows: above, start, end: header_end, merged: Vec::new() };
        let Some((first, last)) = self.columns.or_else(|| header.extent()) else {
            let text = format!(
                "the sheet {} has nothing in row {start}, where its header should be: see xlsx.header_row",
                quoted(&name)
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        };
        if (first..=last).any(|column| header.has_blank(column)) {
            header.merged = book.merged(sheet, header_end)?;
        }
        let last = self.columns.map_or_else(|| header.merged_to(last), |(_, last)| last);
        let names = (first..=last).map(|column| header.name(column)).collect();
        Ok(Some(Planned { sheet, name, header_end, first, names }))
    }
}

/// The rows of a header, and those above it.
struct Header {
    rows: Vec<SheetRow>,
    start: u32,
    end: u32,
    merged: Vec<Merged>,
}

impl Header {
    fn cell(&self, row: u32, column: u32) -> Option<&Cell> {
        let row = self.rows.iter().find(|of| of.number == row)?;
        row.cells.iter().find(|(at, _)| *at == column).map(|(_, cell)| cell)
    }

    /// The first and the last column in which it holds something.
    fn extent(&self) -> Option<(u32, u32)> {
        let rows = self.rows.iter().filter(|row| row.number >= self.start);
        let columns = rows.flat_map(|row| row.cells.iter().map(|(at, _)| *at));
        columns.fold(None, |extent, at| {
            let (first, last) = extent.unwrap_or((at, at));
            Some((first.min(at), last.max(at)))
        })
    }

    fn has_blank(&self, column: u32) -> bool {
        (self.start..=self.end).any(|row| self.cell(row, column).is_none())
    }

    /// The last column, if the one that looks like it reaches further.
    fn merged_to(&self, last: u32) -> u32 {
        let of_header = |merged: &&Merged| {
            merged.last.0 >= self.start && (merged.first.1..=merged.last.1).contains(&last)
        };
        self.merged.iter().filter(of_header).map(|merged| merged.last.1).max().unwrap_or(last)
    }

    /// What a column is called: what its cells show, from top to bottom.
    fn name(&self, column: u32) -> String {
        let mut parts: Vec<String> = Vec::new();
        for row in self.start..=self.end {
            let cell = self.cell(row, column).or_else(|| {
                let within = |merged: &&Merged| {
                    (merged.first.0..=merged.last.0).contains(&row)
                        && (merged.first.1..=merged.last.1).contains(&column)
                };
                let (row, column) = self.merged.iter().find(within)?.first;
                self.cell(row, column)
            });
            let part = cell.map(Cell::shown).unwrap_or_default();
            let part = part.split_whitespace().collect::<Vec<_>>().join(" ");
            if !part.is_empty() && parts.last() != Some(&part) {
                parts.push(part);
            }
        }
        if parts.is_empty() { unnamed(column) } else { parts.join(" ") }
    }
}

/// What a column without a name is called.
fn unnamed(column: u32) -> String {
    format!("column_{}", letters(column))
}

fn shown(sheet: &Worksheet) -> String {
    match sheet.hidden {
        true => format!("{} (hidden)", quoted(&sheet.name)),
        false => quoted(&sheet.name),
    }
}

/// All columns that any of the sheets has, each as often as the one that has it most, and those that say where a row was.
fn united<'n>(sheets: impl Iterator<Item = &'n [String]>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for names in sheets {
        for (at, name) in names.iter().enumerate() {
            let count = names[..=at].iter().filter(|other| *other == name).count();
            if all.iter().filter(|other| *other == name).count() < count {
                all.push(name.clone());
            }
        }
    }
    all.extend([SHEET.to_owned(), ROW.to_owned()]);
    all
}
