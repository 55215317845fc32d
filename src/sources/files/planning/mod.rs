//! Files as a source: which of them to read and how far, and reading them chunk by chunk.
//!
//! What is not to be read is said; it never stops the others.
//! Must not know: what a row of a file looks like.

mod found;
mod guard;
mod kept;
mod lander;
mod lanes;
mod listing;
mod lost;
mod opened;
mod patience;
mod plan_files;
mod position;
mod remarks;
mod rewindable;
mod rules;
mod same_files;
mod setup;
mod stored;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::Value;

use self::lander::Lander;
use self::patience::Patience;
use self::plan_files::Planning;
use self::position::Group;
use self::setup::Setup;
use super::landing::Lands;
use super::off_thread::off_thread;
use super::params::TABLE;
use super::places::all::{is_remote, scheme};
use super::store::{leads_to, stored_name};
use crate::domain::file::Layout;
use crate::domain::presence::Reads;
use crate::domain::raw::RawRef;
use crate::domain::run::ReadRange;
use crate::domain::slice::SliceId;
use crate::domain::upload::UploadOutcome;
use crate::job_file::{Definition, DefinitionError};
use crate::mapping::{Mapped, Mapping};
use crate::sources::{
    Access, AllowedRoots, AskedRange, KeyWatch, Listing, NextSlice, OneSlice, ParsedChunk, Plan,
    PlanRequest, Position, Profile, RawRow, RawRows, RawSlice, ReadableRow, SliceContent,
    SliceNotes, SliceReader, SliceRequest, Source, SourceError, SourceErrorKind, Upload,
};
use crate::values::row::Row;

/// Small files, or what is new of them, that are read in one transaction, and normalized in one: enough for what
/// each transaction costs not to count. Together they have no more bytes than one chunk, so a whole chunk is
/// alone.
const CHUNKS_PER_BATCH: i64 = 128;

/// Files, as a source: cut into slices.
pub struct SlicedFiles {
    setup: Arc<Setup>,
}

impl SlicedFiles {
    /// The files of a definition.
    ///
    /// # Errors
    /// When its table `[files]` cannot be used.
    pub fn new(
        files: impl Lands + 'static,
        definition: &Definition,
        allowed_roots: &AllowedRoots,
    ) -> Result<Self, SourceError> {
        let params = definition.table(TABLE).map_err(|error: DefinitionError| {
            SourceError::new(SourceErrorKind::InvalidConfig, error.to_string())
        })?;
        let files: Arc<dyn Lands> = Arc::new(files);
        let setup = Setup::new(files, definition, params, allowed_roots.clone());
        Ok(Self { setup: Arc::new(setup) })
    }
}

impl Source for SlicedFiles {
    fn profile(&self) -> Profile {
        Profile {
            reads: Reads::News,
            guards_itself: true,
            rows_by_job_file: false,
            tells_deletions: false,
            may_shift: false,
            pages: false,
            slices_per_batch: CHUNKS_PER_BATCH,
            bytes_per_batch: i64::try_from(self.setup.files.chunk_size()).unwrap_or(i64::MAX),
            rate_limit: None,
            max_attempts: None,
            max_block: None,
            max_wait: None,
            kept_tokens: Vec::new(),
            recording: None,
            parents: None,
            only_by_runs: None,
            must_have_rows: false,
        }
    }

    fn plan(
        self: Arc<Self>,
        request: PlanRequest,
    ) -> BoxFuture<'static, Result<Plan, SourceError>> {
        let patience = Patience::default();
        let stopped = patience.ended();
        async move {
            let _patience = patience;
            let found = found::find(&self.setup, request.access, &stopped).await?;
            off_thread(move || Planning::new(&self.setup, &request, &stopped)?.plan(found)).await
        }
        .boxed()
    }

    fn read_range(
        &self,
        _asked: AskedRange<'_>,
        _now: DateTime<Utc>,
    ) -> Result<ReadRange, SourceError> {
        Err(SourceError::new(
            SourceErrorKind::InvalidConfig,
            "a range cannot be read of files, since nothing says which rows are of it: a run reads what is new in them, \
             and one with `--full` all of them again",
        ))
    }

    fn listed_every(&self) -> Duration {
        match self.setup.files.location().entries.iter().any(|entry| is_remote(entry)) {
            true => listing::ELSEWHERE,
            false => listing::HERE,
        }
    }

    fn listing(
        self: Arc<Self>,
        access: Access,
    ) -> BoxFuture<'static, Result<Option<Listing>, SourceError>> {
        let patience = Patience::default();
        let stopped = patience.ended();
        async move {
            let _patience = patience;
            let found = found::find_some(&self.setup, access, &stopped).await?;
            off_thread(move || Ok(Some(listing::of(&self.setup, &found)))).await
        }
        .boxed()
    }

    fn row_for_people<'r>(
        &self,
        raw: &'r [u8],
        layout: Option<&Layout>,
        field: &str,
    ) -> ReadableRow<'r> {
        match layout {
            Some(layout) => self.setup.files.row_for_people(raw, layout, field),
            None => ReadableRow::unmarked(raw),
        }
    }

    fn takes_file(&self, path: &Path) -> Result<(), SourceError> {
        let (location, base) = (self.setup.files.location(), self.setup.definition.base_dir());
        let setting = location.setting;
        let mut entries = location.entries.iter().filter(|entry| !is_remote(entry));
        let refused = |text| Err(SourceError::new(SourceErrorKind::InvalidConfig, text));
        let Some(called) = entries.find_map(|entry| leads_to(base, entry, path)) else {
            let folder = path.parent().unwrap_or(path);
            let ending = path.extension().and_then(|ending| ending.to_str());
            let pattern = folder.join(format!("*.{}", ending.unwrap_or(setting.extension)));
            let pattern = from_folder(base, &pattern);
            let text = format!("{setting}: no entry leads to {}", path.display());
            return refused(format!("{text}; add {pattern:?}"));
        };
        if self.setup.params.excludes(&stored_name(base, &called)) {
            return refused(format!("files.exclude leaves {} out", path.display()));
        }
        Ok(())
    }

    fn takes_object(&self, access: Access, address: &str) -> Result<(), SourceError> {
        let location = self.setup.files.location();
        let refused = |text| Err(SourceError::new(SourceErrorKind::InvalidConfig, text));
        let is_near = |entry: &&String| scheme(entry) == scheme(address);
        let near: Vec<&String> = location.entries.iter().filter(is_near).collect();
        if !near.is_empty() {
            let places = self.setup.places(access)?;
            for entry in near {
                if places.of(entry).leads_to(entry, address)? {
                    return Ok(());
                }
            }
        }
        let setting = location.setting;
        let (folder, file) = address.rsplit_once('/').unwrap_or((address, ""));
        let ending = file.rsplit_once('.').map_or(setting.extension, |(_, ending)| ending);
        refused(format!(
            "{setting}: no entry leads to {address}, or `files.exclude` leaves it out; add {:?}",
            format!("{folder}/*.{ending}")
        ))
    }

    fn keep_object(
        self: Arc<Self>,
        access: Access,
        upload: Upload,
    ) -> BoxFuture<'static, Result<Option<UploadOutcome>, SourceError>> {
        async move {
            let places = self.setup.places(access)?;
            places.of(&upload.address).keep(&upload).await
        }
        .boxed()
    }

    fn read(self: Arc<Self>, request: SliceRequest) -> Box<dyn SliceReader> {
        match &request.position {
            Position::Own(_) => Box::new(Lander::new(Arc::clone(&self.setup), request)),
            Position::Chunk(_) => {
                OneSlice::of(async move { off_thread(move || self.read_chunk(&request)).await })
            }
        }
    }

    fn behind_a_failure(&self, position: &Value, slice: SliceId) -> Vec<NextSlice> {
        let group = Group::of(&Position::Own(position.clone())).ok().and_then(Group::behind_first);
        let next = group.map(|group| NextSlice { slice: slice.next(), position: group.to_json() });
        next.into_iter().collect()
    }

    fn map(
        &self,
        rows: RawRows<'_>,
        raw: RawRef,
        mapping: &Mapping,
        out: &mut Mapped,
    ) -> Result<(), SourceError> {
        match rows {
            RawRows::Block(rows) => self.setup.files.map(rows, raw, mapping, out),
            RawRows::Document { .. } => Err(rows.wrong_form()),
        }
    }

    fn raw_row(&self, rows: RawRows<'_>, _: i64) -> Result<Option<RawRow>, SourceError> {
        match rows {
            RawRows::Block(rows) => self.setup.files.raw_row(rows),
            RawRows::Document { .. } => Err(rows.wrong_form()),
        }
    }
}

/// What a job file in the folder `base` calls a path: as far as it is near, beginning there.
fn from_folder(base: &Path, path: &Path) -> String {
    let real = |folder: Option<&Path>| {
        let folder = folder.filter(|folder| *folder != Path::new(""));
        folder.unwrap_or(Path::new(".")).canonicalize().ok()
    };
    let near = || {
        let (base, folder) = (real(Some(base))?, real(path.parent())?);
        let same = base.components().zip(folder.components()).take_while(|(one, two)| one == two);
        let same: PathBuf = same.map(|(one, _)| one).collect();
        let up = base.strip_prefix(&same).ok()?.components().map(|_| "..");
        let down = folder.strip_prefix(&same).ok()?;
        // They have only the top of the file system in common.
        let is_far = same.parent().is_none();
        let from = if is_far { folder.clone() } else { up.collect::<PathBuf>().join(down) };
        Some(from.join(path.file_name()?).display().to_string())
    };
    near().unwrap_or_else(|| path.display().to_string())
}

impl SlicedFiles {
    fn read_chunk(&self, request: &SliceRequest) -> Result<SliceContent, SourceError> {
        let Position::Chunk(at) = &request.position else {
            return Err(SourceError::new(
                SourceErrorKind::InvalidState,
                "files are read in chunks, and no chunk was asked for",
            ));
        };
        let mut watch = request.watched_keys.as_ref().map(|keys| {
            let (mapping, mut scratch) =
                (Mapping::new(&self.setup.definition, None), String::new());
            move |row: &dyn Row| {
                let hash = mapping.key_hash(row, &mut scratch);
                hash.is_some_and(|hash| keys.binary_search(&hash).is_ok())
            }
        });
        let watch = watch.as_mut().map(|watch| watch as KeyWatch<'_>);
        let (stamp, chunk) = (&at.stamp, &at.chunk);
        let parsed =
            self.setup.files.read(&at.path, stamp, &at.layout, chunk, at.file_id, watch)?;
        let ParsedChunk { blocks, rows, picked, watched, shape } = parsed;
        Ok(SliceContent {
            raw: RawSlice::Blocks { blocks, watched: picked, watched_rows: watched },
            bytes: chunk.end - chunk.start,
            rows,
            shape,
            news: None,
            next: Vec::new(),
            continues_at: None,
            end: None,
            met: None,
            watermark: None,
            notes: SliceNotes::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_called_as_the_job_file_would_have_to() {
        let root = tempfile::tempdir().unwrap();
        let (jobs, shop) = (root.path().join("jobs"), root.path().join("uploads/shop"));
        std::fs::create_dir_all(&jobs).unwrap();
        std::fs::create_dir_all(&shop).unwrap();
        let called = |base: &Path| from_folder(base, &shop.join("*.csv"));
        assert_eq!(called(&jobs), "../uploads/shop/*.csv");
        assert_eq!(called(&root.path().join("uploads")), "shop/*.csv");
        assert_eq!(called(&shop), "*.csv");
        assert_eq!(from_folder(&jobs, Path::new("/proc/*.csv")), "/proc/*.csv");
    }
}
