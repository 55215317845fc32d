//! Owns what a workbook is to whoever reads its tables: sheets, and the rows of each, from the first to the last.

use std::io;

use super::cell::SheetRow;

/// A sheet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Worksheet {
    /// Its name.
    pub name: String,
    /// Whether people see it.
    pub hidden: bool,
}

/// Cells that are merged: the first one holds what all of them show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Merged {
    /// Row from 1 and column from 0 on of the first.
    pub first: (u32, u32),
    /// Those of the last.
    pub last: (u32, u32),
}

/// A workbook.
pub(super) trait Book: Send {
    /// Its sheets of cells, in their order.
    fn sheets(&self) -> &[Worksheet];

    /// The merged cells of a sheet that begin in its first rows, as many as that.
    fn merged(&mut self, sheet: usize, rows: u32) -> io::Result<Vec<Merged>>;

    /// The rows of a sheet.
    fn open(&mut self, sheet: usize) -> io::Result<Box<dyn SheetRows>>;
}

/// The rows of a sheet that hold something.
pub(super) trait SheetRows: Send {
    /// The next one.
    fn next(&mut self) -> io::Result<Option<SheetRow>>;
}

/// A workbook that is not as it should be.
pub(super) fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the workbook is damaged: {what}"))
}
