//! The kind `csv`: tables in delimited text files, in any dialect.
//!
//! `plan` reads a file once as a stream and cuts it between rows; `read` and `map` then work on
//! single chunks and blocks, in any order and any number of times. All three see the same rows
//! because they share one grammar (`grammar`) and one stored `layout`.
//!
//! Must not know: the database, the queue, runs, what a mapping does with a cell.

mod blocks;
mod dialect;
mod find;
mod grammar;
mod head;
mod header;
mod inspect;
mod layout;
mod params;
mod plan;
#[cfg(any(test, fuzzing))]
pub mod reference_grammar;
mod row;
mod stream;
#[cfg(test)]
mod tests;
mod type_inference;

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use super::{
    AbsentColumn, AllowedRoots, FilePlan, FileSource, FoundPaths, KeyWatch, Kind, ParsedChunk,
    Source, SourceError,
};
use crate::domain::file::{ChosenRows, FileStamp, KnownFile, Layout, RawBlock};
use crate::domain::raw::RawRef;
use crate::domain::task::Chunk;
use crate::files::{self, Unfit};
use crate::job_file::Definition;
use crate::mapping::{Mapped, Mapping};
use crate::values::row::Row;
use find::{Finder, is_pattern};
pub use header::Wanted;
use layout::CsvLayout;
pub use params::{AutoWord, CsvParams, Header, RaggedRows, StrayQuotes};
use row::RowReader;

/// The setting that leads to files.
const PATHS: &str = "csv.paths";

/// The kind, for [`super::KINDS`].
pub(super) const KIND: Kind = Kind {
    name: "csv",
    has_pages: false,
    inspect: inspect::inspect,
    check,
    look: inspect::look,
    open,
    schema: || schemars::schema_for!(CsvParams),
};

fn source_of(definition: &Definition) -> Result<CsvSource, SourceError> {
    let params = definition.params().map_err(|error| SourceError::permanent(error.to_string()))?;
    let fields = definition.fields.iter().map(|field| Wanted {
        locator: field.from.clone(),
        needed: field.required && field.default.is_none(),
        key: false,
    });
    let parts = &definition.external_id.parts;
    let key = parts.iter().map(|part| Wanted { locator: part.clone(), needed: true, key: true });
    // In the order of `Definition::locators`.
    let wanted = fields.chain(key).collect();
    CsvSource::new(params, definition.base_dir().to_owned(), wanted)
}

fn check(definition: &Definition) -> Result<(), SourceError> {
    source_of(definition).map(drop)
}

fn open(definition: &Definition, allowed_roots: &AllowedRoots) -> Result<Source, SourceError> {
    let source = source_of(definition)?.within(allowed_roots.clone());
    source.check_roots()?;
    Ok(Source::Files(Box::new(source)))
}

/// Files of delimited text.
#[derive(Debug)]
pub struct CsvSource {
    params: CsvParams,
    base_dir: PathBuf,
    allowed_roots: AllowedRoots,
    wanted: Vec<Wanted>,
    /// The reader of the layout used last: blocks of one file come in thousands.
    reader: Mutex<Option<(Layout, Arc<RowReader>)>>,
}

impl CsvSource {
    /// Opens the source. Paths are relative to `base_dir`; `wanted` are the locators of the
    /// definition in their order.
    ///
    /// # Errors
    /// Permanent, when a parameter has no usable value.
    pub fn new(
        params: CsvParams,
        base_dir: PathBuf,
        wanted: Vec<Wanted>,
    ) -> Result<Self, SourceError> {
        params.validate()?;
        Ok(Self {
            params,
            base_dir,
            allowed_roots: AllowedRoots::default(),
            wanted,
            reader: Mutex::new(None),
        })
    }

    /// The same source, which may read more than what is below its own folder.
    #[must_use]
    pub fn within(self, allowed_roots: AllowedRoots) -> Self {
        Self { allowed_roots, ..self }
    }

    /// Whether the files that are named without a pattern are below the allowed roots.
    fn check_roots(&self) -> Result<(), SourceError> {
        let plain = self.params.paths.iter().filter(|entry| !is_pattern(entry));
        for path in plain.map(|entry| self.base_dir.join(entry)) {
            self.allowed_roots
                .check(&self.base_dir, &path, PATHS, |error| io_error(&path, error))?;
            // The file may come later; what is there now and is none can be said at once.
            if let Ok(metadata) = path.metadata() {
                files::refuse_no_file(&metadata).map_err(|error| io_error(&path, error))?;
            }
        }
        Ok(())
    }

    /// Whether what an entry of `paths` writes out, up to its first wildcard, is below the allowed roots.
    fn named_within_roots(&self, entry: &str) -> Result<(), SourceError> {
        let never = AtomicBool::new(false);
        self.finder(&never).check_named(entry)
    }

    fn finder<'a>(&'a self, stopped: &'a AtomicBool) -> Finder<'a> {
        Finder::new(&self.base_dir, &self.allowed_roots, stopped)
    }

    fn open_file(&self, path: &Path) -> Result<File, SourceError> {
        self.allowed_roots.open(&self.base_dir, path, PATHS, |error| io_error(path, error))
    }

    fn reader(&self, file: &str, layout: &Layout) -> Result<Arc<RowReader>, SourceError> {
        let mut cached = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, reader)) = cached.as_ref()
            && known == layout
        {
            return Ok(Arc::clone(reader));
        }
        let null_values = self.params.null_values.clone();
        let loaded = CsvLayout::load(layout)?;
        let reader = Arc::new(RowReader::new(file, &loaded, &self.wanted, null_values)?);
        *cached = Some((layout.clone(), Arc::clone(&reader)));
        Ok(reader)
    }
}

impl FileSource for CsvSource {
    fn files(&self, stopped: &AtomicBool) -> Result<FoundPaths, SourceError> {
        let mut finder = self.finder(stopped);
        for entry in &self.params.paths {
            finder.find(entry)?;
        }
        Ok(finder.found())
    }

    fn plan(
        &self,
        path: &Path,
        known: Option<&KnownFile>,
        visit: &mut dyn FnMut(&dyn Row),
    ) -> Result<FilePlan, SourceError> {
        plan::plan(&self.params, &self.wanted, path, known, || self.open_file(path), visit)
    }

    fn absent(&self, layout: &Layout, width: Option<u32>) -> Option<Vec<AbsentColumn>> {
        let columns = CsvLayout::load(layout).ok()?.columns;
        if columns.is_empty() {
            return None;
        }
        let mut absent = header::lacking(&columns, &self.wanted);
        if let Some(width) = width {
            let by_place = matches!(self.params.header, Header::Names(_) | Header::Present(false));
            absent.extend(header::unreached(&columns, &self.wanted, width as usize, by_place));
        }
        Some(absent)
    }

    fn read(
        &self,
        path: &Path,
        planned: &FileStamp,
        layout: &Layout,
        chunk: &Chunk,
        file_id: i64,
        watch: Option<KeyWatch<'_>>,
    ) -> Result<ParsedChunk, SourceError> {
        let reader = self.reader(&header::shown(path), layout)?;
        let bytes = read_range(path, self.open_file(path)?, planned, chunk)?.into();
        Ok(blocks::parse(&reader, &bytes, chunk, file_id, watch))
    }

    fn map(
        &self,
        block: &RawBlock,
        layout: &Layout,
        raw: RawRef,
        rows: &ChosenRows,
        mapping: &Mapping,
        out: &mut Mapped,
    ) -> Result<(), SourceError> {
        let reader = self.reader(&raw.to_string(), layout)?;
        out.records.enter_raw(raw);
        blocks::rows(&reader, block, rows, |mut found, row| match row {
            Ok(row) => mapping.map(&row, raw, found.number, out, |defects| found.reject(defects)),
            Err(defects) => {
                out.rejects.push(raw, found.reject(defects));
                Ok(())
            }
        })
        .map_err(|frozen| SourceError::permanent(frozen.to_string()))
    }
}

/// Reads the bytes of a chunk from the file that was planned.
fn read_range(
    path: &Path,
    mut file: File,
    planned: &FileStamp,
    chunk: &Chunk,
) -> Result<Vec<u8>, SourceError> {
    // Trying again cannot help: what was planned is gone, and the next run plans anew.
    let changed = || {
        SourceError::permanent(format!(
            "{} changed while it was being read; the next run reads what it is now",
            path.display()
        ))
    };
    let io = |error: io::Error| io_error(path, error);
    let same = |file: &File| -> Result<bool, SourceError> {
        let now = stream::stamp_of(path, &file.metadata().map_err(io)?)?;
        Ok(now.size == planned.size && now.modified == stream::whole_micros(planned.modified))
    };
    if !same(&file)? {
        return Err(changed());
    }
    let length = chunk.end.saturating_sub(chunk.start);
    let mut bytes = Vec::with_capacity(length as usize);
    file.seek(SeekFrom::Start(chunk.start)).map_err(io)?;
    let read = (&file).take(length).read_to_end(&mut bytes).map_err(io)?;
    if read as u64 != length || !same(&file)? {
        return Err(changed());
    }
    // Neither size nor time tells when somebody writes into the file and sets its time back, or
    // faster than the file system's clock ticks.
    if chunk.hash.is_some_and(|planned| !planned.is_of(&bytes)) {
        return Err(changed());
    }
    Ok(bytes)
}

/// What cannot be mended by waiting is permanent; a disk or network share may come back.
fn io_error(path: &Path, error: io::Error) -> SourceError {
    let path = path.display();
    if Unfit::of(&error).is_some() {
        return SourceError::permanent(format!("{path} is not read")).caused_by(error);
    }
    let message = match error.kind() {
        io::ErrorKind::NotFound => {
            format!("{path} does not exist: put the file there, or change csv.paths")
        }
        io::ErrorKind::PermissionDenied => {
            format!("{path} may not be read: give the user that kasparro runs as the right to")
        }
        _ if leads_nowhere(&error) => {
            format!("{path} leads nowhere")
        }
        _ => {
            return SourceError::transient(format!("{path} cannot be read just now"))
                .caused_by(error);
        }
    };
    SourceError::permanent(message).caused_by(error)
}

/// Whether a path will never lead to a file as it stands: links in a circle, a name that is too long.
fn leads_nowhere(error: &io::Error) -> bool {
    use nix::errno::Errno;
    let bad = [Errno::ELOOP, Errno::ENAMETOOLONG, Errno::ENOTDIR, Errno::EINVAL, Errno::ENXIO];
    error.kind() == io::ErrorKind::InvalidInput
        || error.raw_os_error().is_some_and(|code| bad.contains(&Errno::from_raw(code)))
}
