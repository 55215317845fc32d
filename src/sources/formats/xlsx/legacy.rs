//! Owns workbooks of Excel before 2007 (.xls), binary ones (.xlsb) and those of OpenDocument (.ods), which are read into
//! memory as a whole. Their numbers are binary fractions, and written with as many digits as tell them apart.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use calamine::{Data, ExcelDateTime, Reader, SheetType, SheetVisible, Sheets};

use super::book::{Book, Merged, SheetRows, Worksheet, damaged};
use super::cell::{Cell, SheetRow};
use super::dates::{self, Shows};
use crate::sources::files::spool::Spool;
use crate::sources::files::unpack::Archive;

/// The most bytes of such a file, unpacked.
const MAX_BYTES: u64 = 64 << 20;

/// A workbook.
pub(super) struct Workbook {
    book: Sheets<Spool>,
    sheets: Vec<Worksheet>,
}

impl Workbook {
    /// Reads all but the sheets. `archive` is what the file is, if it is one.
    pub fn of(spool: Spool, archive: Option<Archive>) -> io::Result<Self> {
        let size = archive.as_ref().map_or(u128::from(spool.len()), Archive::unpacked_size);
        if size > u128::from(MAX_BYTES) {
            let most = MAX_BYTES >> 20;
            let text = format!(
                "is a workbook of more than {most} MiB that has to be read as a whole: save it as .xlsx, which is read piece \
                 by piece"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        if let Some(mut archive) = archive {
            // What the directory says of their sizes holds, and they are what they were.
            for index in 0..archive.names().len() {
                io::copy(&mut archive.open(index)?, &mut io::sink())?;
            }
        }
        let book = calm(|| calamine::open_workbook_auto_from_rs(spool))?;
        let tables =
            book.sheets_metadata().iter().filter(|sheet| sheet.typ == SheetType::WorkSheet);
        let named = tables.map(|sheet| Worksheet {
            name: sheet.name.clone(),
            hidden: sheet.visible != SheetVisible::Visible,
        });
        let sheets = named.collect();
        Ok(Self { book, sheets })
    }
}

impl Book for Workbook {
    fn sheets(&self) -> &[Worksheet] {
        &self.sheets
    }

    fn merged(&mut self, _: usize, _: u32) -> io::Result<Vec<Merged>> {
        Ok(Vec::new())
    }

    fn open(&mut self, sheet: usize) -> io::Result<Box<dyn SheetRows>> {
        let name = self.sheets.get(sheet).map(|sheet| sheet.name.clone()).unwrap_or_default();
        let range = calm(|| self.book.worksheet_range(&name))?;
        let (first_row, first_column) = range.start().unwrap_or_default();
        let rows = range.rows().zip(first_row..).filter_map(|(cells, row)| {
            let cells: Vec<_> = cells
                .iter()
                .zip(first_column..)
                .map(|(data, column)| (column, cell(data)))
                .filter(|(_, cell)| *cell != Cell::Blank)
                .collect();
            (!cells.is_empty()).then_some(SheetRow { number: row + 1, cells })
        });
        Ok(Box::new(Rows(rows.collect::<Vec<_>>().into_iter())))
    }
}

struct Rows(std::vec::IntoIter<SheetRow>);

impl SheetRows for Rows {
    fn next(&mut self) -> io::Result<Option<SheetRow>> {
        Ok(self.0.next())
    }
}

/// What the reader of such files answers; it may fail in any way on a damaged one.
fn calm<T, E: std::fmt::Display>(read: impl FnOnce() -> Result<T, E>) -> io::Result<T> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(damaged(&error.to_string())),
        Err(_) => Err(damaged("it cannot be understood")),
    }
}

fn cell(data: &Data) -> Cell {
    match data {
        Data::Empty => Cell::Blank,
        Data::String(text) if text.is_empty() => Cell::Blank,
        Data::String(text) | Data::DateTimeIso(text) | Data::DurationIso(text) => {
            Cell::Text(text.clone())
        }
        Data::Int(number) => Cell::Number(number.to_string()),
        Data::Float(number) => Cell::Number(digits(*number)),
        Data::Bool(value) => Cell::Bool(*value),
        Data::DateTime(time) => date(time),
        Data::Error(error) => Cell::Error(error.to_string()),
    }
}

/// The shortest digits that tell a number from any other.
fn digits(number: f64) -> String {
    if number.fract() == 0.0 && number.abs() < 1e15 {
        return format!("{number:.0}");
    }
    serde_json::Number::from_f64(number)
        .map_or_else(|| number.to_string(), |number| number.to_string())
}

fn date(time: &ExcelDateTime) -> Cell {
    let number = time.as_f64();
    if time.is_duration() {
        let shown = dates::shown(number, Shows::Duration, false);
        return shown.map_or_else(|| Cell::Number(digits(number)), Cell::Text);
    }
    if (0.0..1.0).contains(&number) {
        let shown = dates::shown(number, Shows::Time, false);
        return shown.map_or_else(|| Cell::Number(digits(number)), Cell::Text);
    }
    let (year, month, day, hour, minute, second, milli) = time.to_ymd_hms_milli();
    let day = format!("{year:04}-{month:02}-{day:02}");
    Cell::Text(match (hour, minute, second, milli) {
        (0, 0, 0, 0) => day,
        (_, _, _, 0) => format!("{day}T{hour:02}:{minute:02}:{second:02}"),
        _ => format!("{day}T{hour:02}:{minute:02}:{second:02}.{milli:03}"),
    })
}
