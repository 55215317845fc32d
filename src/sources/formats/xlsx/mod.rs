//! The kind `xlsx`: tables in the sheets of workbooks.
//!
//! `ooxml` and `legacy` read workbooks as a `book` of sheets and rows of cells; `table` knows which of them are rows and
//! makes lines of JSON of these, which go on as those of any file.

mod book;
mod cell;
mod dates;
mod inspect;
mod layout;
mod legacy;
mod ooxml;
mod params;
mod strings;
mod survey;
mod table;
#[cfg(test)]
mod tests;
mod xml;

use std::io;

use crate::domain::file::Layout;
use crate::domain::remark::Remark;
use crate::job_file::Inspection;
use crate::sources::files::Wanted;
use crate::sources::files::first_bytes;
use crate::sources::files::format::{Alike, Doubts, Head, RowFormat};
use crate::sources::files::location::ParamProblem;
use crate::sources::files::spool::Spool;
use crate::sources::files::unpack::{Archive, Bytes};
use crate::sources::rows::lines::LinesReader;
use crate::sources::{AbsentColumn, SourceError, SourceErrorKind};
use book::Book;
use layout::XlsxLayout;
pub use params::XlsxParams;
use survey::XlsxSurvey;
use table::{Lines, Prologue};

/// What a workbook of Excel before 2007 begins with, and one that is encrypted.
const OLE: &[u8] = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1";

/// Workbooks.
#[derive(Debug)]
pub struct Xlsx {
    params: XlsxParams,
    wanted: Vec<Wanted>,
}

impl RowFormat for Xlsx {
    const NAME: &'static str = params::TABLE;
    const ENDLESS_ROW: &'static str = "raise xlsx.max_row_bytes if the row is good";
    const CONVERTED: bool = true;
    const OWN_ARCHIVES: &'static [&'static str] = &[".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"];

    type Params = XlsxParams;
    type Reader = LinesReader;
    type Survey = XlsxSurvey;

    fn inspect_fields(job: &mut Inspection<'_>) {
        inspect::fields(job);
    }

    fn problems(params: &XlsxParams) -> Vec<ParamProblem> {
        params.problems()
    }

    fn new(params: XlsxParams, wanted: Vec<Wanted>) -> Result<Self, SourceError> {
        match params.problems().into_iter().next() {
            Some(problem) => Err(problem.of_table(Self::NAME)),
            None => Ok(Self { params, wanted }),
        }
    }

    fn made(&self, layout: &Layout) -> bool {
        XlsxLayout::load(layout).is_ok_and(|layout| layout.declared == self.params.declared())
    }

    fn cuts_alike(known: &Layout, now: &Layout) -> Alike {
        let cut =
            |layout| XlsxLayout::load(layout).map(|it| (it.declared, it.columns, it.sheets)).ok();
        if cut(known).is_some() && cut(known) == cut(now) { Alike::Yes } else { Alike::No }
    }

    fn max_row_bytes(&self) -> u64 {
        self.params.max_row_bytes
    }

    fn chunk_size(&self) -> u64 {
        self.params.chunk_size
    }

    fn content(&self, _: &str, mut bytes: Bytes, max_spool: u64) -> io::Result<Bytes> {
        let spool = Spool::of(&mut bytes, max_spool)?;
        Ok(Box::new(Lines::of(opened(spool)?, self.params.table())?))
    }

    fn head(
        &self,
        file: &str,
        text: &[u8],
        complete: bool,
        _: Doubts,
    ) -> Result<Option<Head>, SourceError> {
        let end = match memchr::memchr(b'\n', text) {
            Some(end) => end + 1,
            None if complete => text.len(),
            None => return Ok(None),
        };
        let prologue: Prologue = serde_json::from_slice(&text[..end]).map_err(|_| {
            let message = format!("{file} was not read as a workbook");
            SourceError::new(SourceErrorKind::Internal, message)
        })?;
        let layout = XlsxLayout {
            columns: prologue.columns,
            sheets: prologue.sheets,
            notes: prologue.notes,
            max_row_bytes: self.params.max_row_bytes,
            chunk_size: self.params.chunk_size,
            declared: self.params.declared(),
        };
        let layout = layout.with_notes_of_sheets(&self.wanted);
        Ok(Some(Head { layout: layout.store()?, header_end: end, first_row: end }))
    }

    fn notes(layout: &Layout) -> Vec<Remark> {
        let notes = XlsxLayout::load(layout).map(|layout| layout.notes).unwrap_or_default();
        notes.into_iter().map(Remark::note).collect()
    }

    fn reader(&self, file: &str, layout: &Layout) -> Result<LinesReader, SourceError> {
        XlsxLayout::load(layout)?.reader(file, &self.wanted)
    }

    fn survey(&self, _: &LinesReader) -> XlsxSurvey {
        XlsxSurvey
    }

    fn absent(&self, layout: &Layout, _: Option<u32>) -> Option<Vec<AbsentColumn>> {
        let layout = XlsxLayout::load(layout).ok()?;
        layout.has_table().then(|| layout.lacking(&self.wanted))
    }
}

/// A workbook of any kind.
fn opened(spool: Spool) -> io::Result<Box<dyn Book>> {
    let mut beginning = Vec::new();
    io::Read::read_to_end(&mut spool.part(0, 512), &mut beginning)?;
    if beginning.starts_with(b"PK") {
        let archive = Archive::of(spool.clone())?;
        if ooxml::is_one(&archive) {
            return Ok(Box::new(ooxml::Workbook::of(archive)?));
        }
        return Ok(Box::new(legacy::Workbook::of(spool, Some(archive))?));
    }
    if beginning.starts_with(OLE) {
        return Ok(Box::new(legacy::Workbook::of(spool, None)?));
    }
    let is = first_bytes::without_rows(&beginning).map_or_else(
        || "is no workbook: if it is a text, write kind = \"csv\"".to_owned(),
        |is| match first_bytes::kind(&beginning) {
            Some(kind) => format!("is no workbook: it {is}; {kind}"),
            None => format!("is no workbook: it {is}"),
        },
    );
    Err(io::Error::new(io::ErrorKind::InvalidData, is))
}
