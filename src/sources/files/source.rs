//! Owns a source of files of one format: what is common to planning, reading and mapping.

use std::convert::Infallible;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use super::blocks::BlockRow;
use super::columns::Wanted;
use super::file_source::WhenGone;
use super::format::{RowFormat, RowReader};
use super::location::{Location, PATHS, Setting, is_pattern};
use super::params::{self, FilesParams};
use super::store::local::LocalStore;
use super::store::{FileState, Store, changed, whole_micros};
use super::unpack::Packing;
use super::{blocks, plan};
use crate::domain::file::{FileStamp, KnownFile, Layout};
use crate::domain::raw::RawRef;
use crate::domain::reject::Reject;
use crate::domain::remark::Remark;
use crate::domain::task::Chunk;
use crate::job_file::{Definition, DefinitionError};
use crate::mapping::{Mapped, Mapping};
use crate::sources::{
    AbsentColumn, AllowedRoots, BlockRows, FilePlan, FileSource, FoundPaths, KeyWatch, ParsedChunk,
    RawRow, ReadableRow, SourceError, SourceErrorKind,
};
use crate::values::row::Row;

/// Files of one format.
pub struct Files<F: RowFormat> {
    pub(super) format: F,
    pub(super) location: Location,
    pub(super) store: Box<dyn Store>,
    when_gone: WhenGone,
    pub(super) packing: Packing,
    /// The reader of the layout used last: blocks of one file come in thousands.
    reader: Mutex<Option<(Layout, Arc<F::Reader>)>>,
}

impl<F: RowFormat> fmt::Debug for Files<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Files");
        shown.field("format", &F::NAME).field("location", &self.location);
        shown.field("store", &self.store).finish_non_exhaustive()
    }
}

impl<F: RowFormat> Files<F> {
    /// The source of a definition. Whether it may read what it names is not checked yet.
    pub fn of(definition: &Definition, allowed_roots: &AllowedRoots) -> Result<Self, SourceError> {
        let unusable = |error: DefinitionError| {
            SourceError::new(SourceErrorKind::InvalidConfig, error.to_string())
        };
        let files: FilesParams = definition.table(params::TABLE).map_err(unusable)?;
        let params = definition.table(F::NAME).map_err(unusable)?;
        let location = files.location::<F>(&params).map_err(|unlocated| {
            let message = unlocated.message::<F>();
            SourceError::new(
                SourceErrorKind::InvalidConfig,
                format!("{}.{PATHS}: {message}", params::TABLE),
            )
        })?;
        let format = F::new(params, Wanted::of(definition))?;
        let base_dir = definition.base_dir().to_owned();
        let source = Self::new(format, location, base_dir, allowed_roots.clone())?;
        let packing = files.packing::<F>();
        Ok(Self { when_gone: files.when_gone, packing, ..source })
    }

    /// A source of files that come as streams: it looks for none.
    ///
    /// # Errors
    /// Permanent, when the parameters of the format cannot be used.
    pub(in super::super) fn streamed(definition: &Definition) -> Result<Self, SourceError> {
        let params = definition.table(F::NAME).map_err(|error: DefinitionError| {
            SourceError::new(SourceErrorKind::InvalidConfig, error.to_string())
        })?;
        let format = F::new(params, Wanted::of(definition))?;
        let setting = Setting { table: params::TABLE, extension: F::NAME };
        let location = Location { setting, entries: Vec::new() };
        let (base_dir, roots) = (definition.base_dir().to_owned(), AllowedRoots::default());
        let store = Box::new(LocalStore::new(base_dir, roots, setting));
        Ok(Self::of_parts(format, location, store))
    }

    fn of_parts(format: F, location: Location, store: Box<dyn Store>) -> Self {
        Self {
            format,
            location,
            store,
            when_gone: WhenGone::Keep,
            packing: FilesParams::default().packing::<F>(),
            reader: Mutex::new(None),
        }
    }

    /// Opens the source. Paths are relative to `base_dir`, and may lead to what is within `reach`.
    ///
    /// # Errors
    /// Permanent, when an entry of the location is no path.
    pub fn new(
        format: F,
        location: Location,
        base_dir: PathBuf,
        allowed_roots: AllowedRoots,
    ) -> Result<Self, SourceError> {
        if let Some(problem) = location.problems().into_iter().next() {
            return Err(problem.of_table(location.setting.table));
        }
        let store = Box::new(LocalStore::new(base_dir, allowed_roots, location.setting));
        Ok(Self::of_parts(format, location, store))
    }

    /// Whether the files that are named without a pattern are below the allowed roots. They may come later; what
    /// is there now and is no file can be said at once.
    ///
    /// # Errors
    /// Permanent when one is not, or is no file.
    pub(in super::super) fn check_named(&self) -> Result<(), SourceError> {
        for entry in self.location.entries.iter().filter(|entry| !is_pattern(entry)) {
            self.store.admit(entry)?;
            self.store.refuse_no_file(entry)?;
        }
        Ok(())
    }

    pub(in super::super) fn reader(
        &self,
        file: &str,
        layout: &Layout,
    ) -> Result<Arc<F::Reader>, SourceError> {
        let mut cached = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, reader)) = cached.as_ref()
            && known == layout
        {
            return Ok(Arc::clone(reader));
        }
        let reader = Arc::new(self.format.reader(file, layout)?);
        *cached = Some((layout.clone(), Arc::clone(&reader)));
        Ok(reader)
    }
}

impl<F: RowFormat> FileSource for Files<F> {
    fn setting(&self) -> String {
        self.location.setting.to_string()
    }

    fn location(&self) -> &Location {
        &self.location
    }

    fn when_gone(&self) -> WhenGone {
        self.when_gone
    }

    fn chunk_size(&self) -> u64 {
        self.format.chunk_size()
    }

    fn files(&self, entries: &[String], stopped: &AtomicBool) -> Result<FoundPaths, SourceError> {
        self.store.list(entries, stopped)
    }

    fn state(&self, path: &Path) -> Result<String, SourceError> {
        let FileState { stamp, etag } = self.store.stat(path)?;
        Ok(format!("{} {:?} {}", stamp.size, stamp.modified, etag.unwrap_or_default()))
    }

    fn plan(
        &self,
        path: &Path,
        known: Option<&KnownFile>,
        visit: &mut dyn FnMut(&dyn Row),
    ) -> Result<FilePlan, SourceError> {
        let file = plan::LocalFile { store: self.store.as_ref(), path, packing: &self.packing };
        plan::plan(&self.format, file, known, visit)
    }

    fn made(&self, layout: &Layout) -> bool {
        self.format.made(layout)
    }

    fn absent(&self, layout: &Layout, width: Option<u32>) -> Option<Vec<AbsentColumn>> {
        self.format.absent(layout, width)
    }

    fn notes(&self, layout: &Layout) -> Vec<Remark> {
        F::notes(layout)
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
        let reader = self.reader(&path.display().to_string(), layout)?;
        let bytes = self.store.read_range(path, planned, chunk.start..chunk.end)?;
        // Neither size nor time shows that a program writes into the file and sets its time back, or
        // faster than the file system's clock ticks.
        let same = match chunk.hash {
            Some(planned) => planned.is_of(&bytes),
            // An earlier version planned it.
            None => {
                let modified = whole_micros(planned.modified);
                self.store.stat(path)?.stamp == FileStamp { modified, ..*planned }
            }
        };
        if !same {
            return Err(changed(path));
        }
        Ok(blocks::parse(reader.as_ref(), &bytes.into(), chunk, file_id, watch))
    }

    fn row_for_people<'r>(&self, raw: &'r [u8], layout: &Layout, field: &str) -> ReadableRow<'r> {
        match self.reader("", layout) {
            Ok(reader) => reader.row_for_people(raw, field),
            // The job file of today cannot use such a file.
            Err(_) => ReadableRow::unmarked(raw),
        }
    }

    fn map(
        &self,
        rows: BlockRows<'_>,
        raw: RawRef,
        mapping: &Mapping,
        out: &mut Mapped,
    ) -> Result<(), SourceError> {
        let BlockRows { file, block, layout, chosen } = rows;
        let reader = self.reader(&raw.to_string(), layout)?;
        out.records.enter_raw(raw);
        let placed = mapping.keys_are_places();
        if placed && out.file != file {
            file.clone_into(&mut out.file);
        }
        let mut buffer = <F::Reader as RowReader>::Buffer::default();
        // A line of what the file was turned into is none of the file.
        let has_lines = !F::CONVERTED;
        let reject = |mut found: BlockRow<'_, '_>, defects| {
            let reject = found.reject(defects);
            Reject { line: reject.line.filter(|_| has_lines), ..reject }
        };
        blocks::rows(reader.as_ref(), block, chosen, |found, row| match row {
            Ok(row) => {
                let number = found.number;
                mapping.map(&row, raw, number, out, |defects| reject(found, defects))
            }
            Err(defects) if placed => {
                let key = reader.read_key(found.content(), &mut buffer);
                let key = key.as_ref().map(|row| row as &dyn Row);
                let number = found.number;
                mapping.set_aside(key, raw, number, out, reject(found, defects));
                Ok(())
            }
            Err(defects) => {
                out.rejects.push(raw, reject(found, defects));
                Ok(())
            }
        })
        .map_err(SourceError::frozen)
    }

    fn raw_row(&self, rows: BlockRows<'_>) -> Result<Option<RawRow>, SourceError> {
        let BlockRows { file, block, layout, chosen } = rows;
        let reader = self.reader(file, layout)?;
        let mut first = None;
        let visited: Result<(), Infallible> =
            blocks::rows(reader.as_ref(), block, chosen, |mut row, _| {
                let bytes = row.content().to_vec();
                let Reject { line, byte_range, .. } = row.reject(Vec::new());
                // A line of what the file was turned into is none of the file.
                let line = line.filter(|_| !F::CONVERTED);
                first.get_or_insert(RawRow { bytes, pointer: None, line, byte_range });
                Ok(())
            });
        let Ok(()) = visited;
        Ok(first)
    }
}
