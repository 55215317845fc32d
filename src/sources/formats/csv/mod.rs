//! The kind `csv`: tables in delimited text files, in any dialect.
//!
//! Planning, reading and mapping see the same rows because they share one grammar (`grammar`) and one
//! stored `layout`.

mod dialect;
mod doubts;
mod grammar;
mod guess_check;
mod head;
mod header;
mod header_names;
mod header_rows;
mod inspect;
mod layout;
mod other_header;
mod params;
mod preamble;
mod readable;
mod reader;
#[cfg(any(test, fuzzing))]
pub mod reference_grammar;
mod repeated;
mod row;
mod shape;
mod sniff;
mod survey;
#[cfg(test)]
mod tests;
mod trial;
mod type_inference;
mod width;

use crate::domain::file::Layout;
use crate::domain::remark::Remark;
use crate::job_file::Inspection;
use crate::sources::files::Wanted;
use crate::sources::files::columns;
use crate::sources::files::encodings::{AUTO, Reading, Unreadable};
use crate::sources::files::format::{Alike, Doubts, Head, RowFormat};
use crate::sources::files::location::ParamProblem;
use crate::sources::{AbsentColumn, SourceError};
use head::Beginning;
use layout::CsvLayout;
pub use params::{AutoWord, CsvParams, ExtraFields, Header, RaggedRows, StrayQuotes};
use row::CsvReader;
use survey::CsvSurvey;

/// Delimited text.
#[derive(Debug)]
pub struct Csv {
    params: CsvParams,
    wanted: Vec<Wanted>,
}

impl RowFormat for Csv {
    const NAME: &'static str = params::TABLE;
    const ENDLESS_ROW: &'static str = "is this a CSV file, and does csv.quote fit it? If it is, raise \
                                       csv.max_row_bytes";

    // They stood there before there was `[files]`.
    const TAKES_PATHS: bool = true;

    type Params = CsvParams;
    type Reader = CsvReader;
    type Survey = CsvSurvey;

    fn inspect_fields(job: &mut Inspection<'_>) {
        inspect::fields(job);
    }

    fn own_paths(params: &CsvParams) -> Option<&[String]> {
        params.paths.as_deref()
    }

    fn problems(params: &CsvParams) -> Vec<ParamProblem> {
        params.problems()
    }

    fn new(params: CsvParams, wanted: Vec<Wanted>) -> Result<Self, SourceError> {
        params.validate()?;
        Ok(Self { params, wanted })
    }

    fn made(&self, layout: &Layout) -> bool {
        let made = |layout: CsvLayout| {
            layout.is_like_today() && layout.declared == self.params.fingerprint()
        };
        CsvLayout::load(layout).is_ok_and(made)
    }

    fn cuts_alike(known: &Layout, now: &Layout) -> Alike {
        match (CsvLayout::load(known), CsvLayout::load(now)) {
            (Ok(known), Ok(now)) if now.means(&known) => Alike::Yes,
            (Ok(known), Ok(now)) if now.could_be(&known) => Alike::IfPlain,
            _ => Alike::No,
        }
    }

    fn doubts(layout: &Layout) -> Doubts {
        CsvLayout::load(layout).map_or(Doubts::default(), |layout| Doubts(layout.doubts))
    }

    fn notes(layout: &Layout) -> Vec<Remark> {
        let Ok(CsvLayout { notes, warnings, .. }) = CsvLayout::load(layout) else {
            return Vec::new();
        };
        let warnings = warnings.into_iter().map(Remark::degrading);
        warnings.chain(notes.into_iter().map(Remark::note)).collect()
    }

    fn doubtful(doubts: Doubts) -> &'static str {
        doubts::advice(doubts)
    }

    fn max_row_bytes(&self) -> u64 {
        self.params.max_row_bytes
    }

    fn chunk_size(&self) -> u64 {
        self.params.chunk_size
    }

    fn head(
        &self,
        file: &str,
        text: &[u8],
        complete: bool,
        doubts: Doubts,
    ) -> Result<Option<Head>, SourceError> {
        let Self { params, wanted } = self;
        Beginning { file, params, wanted, doubts }.understand(text, complete)
    }

    fn encoding(&self, beginning: &[u8], complete: bool) -> Result<Option<Reading>, Unreadable> {
        self.params.reading(beginning, complete)
    }

    fn names_encoding(&self) -> bool {
        self.params.encoding != AUTO
    }

    fn transcoded(layout: &Layout, from: &Reading) -> Result<Layout, SourceError> {
        let mut layout = CsvLayout::load(layout)?;
        layout.transcoded = Some(from.encoding.name().to_owned());
        layout.warnings.extend(from.warning(params::TABLE));
        layout.store()
    }

    fn reader(&self, file: &str, layout: &Layout) -> Result<CsvReader, SourceError> {
        let null_values = self.params.null_values.clone();
        CsvReader::new(file, &CsvLayout::load(layout)?, &self.wanted, null_values)
    }

    fn survey(&self, reader: &CsvReader) -> CsvSurvey {
        CsvSurvey::new(&self.params, reader, &self.wanted)
    }

    fn absent(&self, layout: &Layout, width: Option<u32>) -> Option<Vec<AbsentColumn>> {
        let columns = CsvLayout::load(layout).ok()?.columns;
        if columns.is_empty() {
            return None;
        }
        let mut absent = columns::lacking(&columns, &self.wanted);
        if let Some(width) = width {
            let by_place = matches!(self.params.header, Header::Names(_) | Header::Present(false));
            absent.extend(columns::unreached(&columns, &self.wanted, width as usize, by_place));
        }
        Some(absent)
    }
}
